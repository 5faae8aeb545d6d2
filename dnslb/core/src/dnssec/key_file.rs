//! The key files of BIND: `K<zone>+<algorithm>+<tag>.key` and `.private`, as text.
//!
//! What `dnssec-keygen` writes is read, and what is written here BIND's and NLnet Labs' tools read. The shell does the files. A
//! problem with a private file names its line and never what stands there.

use std::fmt::{self, Write as _};

use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};

use super::civil;
use super::key::{Algorithm, Dnskey, FLAG_SEP, PRIVATE_LEN, SigningKey};
use crate::name::Name;

/// Octets that a key file can have.
pub const KEY_FILE_LEN_MAX: usize = 64 << 10;

/// Times of a key's life, in seconds since the epoch: hints for whoever schedules it by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyTimes {
    /// Made.
    pub created_s: Option<u64>,
    /// Its DNSKEY record appears.
    pub publish_s: Option<u64>,
    /// It starts to sign.
    pub activate_s: Option<u64>,
    /// It is revoked (RFC 5011).
    pub revoke_s: Option<u64>,
    /// It stops signing.
    pub inactive_s: Option<u64>,
    /// Its DNSKEY record goes.
    pub delete_s: Option<u64>,
    /// CDS and CDNSKEY records of it appear.
    pub sync_publish_s: Option<u64>,
    /// They go.
    pub sync_delete_s: Option<u64>,
}

impl KeyTimes {
    fn fields(&mut self) -> [(&'static str, &mut Option<u64>); 8] {
        [
            ("Created", &mut self.created_s),
            ("Publish", &mut self.publish_s),
            ("Activate", &mut self.activate_s),
            ("Revoke", &mut self.revoke_s),
            ("Inactive", &mut self.inactive_s),
            ("Delete", &mut self.delete_s),
            ("SyncPublish", &mut self.sync_publish_s),
            ("SyncDelete", &mut self.sync_delete_s),
        ]
    }

    fn lines(mut self, prefix: &str) -> String {
        let set = self.fields().into_iter().filter_map(|(name, time)| time.map(|time| (name, time)));
        set.fold(String::new(), |mut text, (name, time)| {
            let _ = writeln!(text, "{prefix}{name}: {}", civil::compact(time));
            text
        })
    }
}

/// A zone's key, as a pair of files holds it.
#[derive(Debug)]
pub struct KeyFile {
    /// The zone.
    pub owner: Name,
    /// The key.
    pub key: SigningKey,
    /// When what happens.
    pub times: KeyTimes,
}

/// What is wrong with a key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFileError {
    /// Whether it is the `.private` file.
    pub private: bool,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is there, as far as it is no secret.
    pub found: String,
    /// What should be.
    pub expected: &'static str,
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = if self.private { ".private" } else { ".key" };
        write!(f, "{file} file, line {}: found {}; expected {}", self.line, self.found, self.expected)
    }
}

impl std::error::Error for KeyFileError {}

/// The name that both files of a key start with, such as `Kexample.+013+00042`.
pub fn base_name(owner: &Name, algorithm: u8, tag: u16) -> String {
    let mut text = String::from("K");
    for label in owner.labels() {
        for &octet in label {
            match octet {
                b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' => text.push(char::from(octet)),
                _ => {
                    let _ = write!(text, "%{octet:02x}");
                }
            }
        }
        text.push('.');
    }
    if owner.is_root() {
        text.push('.');
    }
    format!("{text}+{algorithm:03}+{tag:05}")
}

impl KeyFile {
    /// The name that both of its files start with.
    pub fn base_name(&self) -> String {
        base_name(&self.owner, self.key.algorithm().number(), self.key.tag())
    }

    /// The content of the `.key` file.
    pub fn public_text(&self) -> String {
        let kind = if self.key.flags() & FLAG_SEP == 0 { "zone" } else { "key" };
        let (owner, tag) = (&self.owner, self.key.tag());
        let head = format!("; This is a {kind}-signing key, keyid {tag}, for {owner}\n");
        let public = BASE64.encode(self.key.dnskey().public());
        let (flags, algorithm) = (self.key.flags(), self.key.algorithm().number());
        format!("{head}{}{owner} IN DNSKEY {flags} 3 {algorithm} {public}\n", self.times.lines("; "))
    }

    /// The content of the `.private` file, which only its owner may read.
    pub fn private_text(&self) -> String {
        let algorithm = self.key.algorithm();
        format!(
            "Private-key-format: v1.3\nAlgorithm: {} ({algorithm})\nPrivateKey: {}\n{}",
            algorithm.number(),
            BASE64.encode(self.key.private()),
            self.times.lines("")
        )
    }

    /// Reads both files of a key, and checks that they belong together.
    ///
    /// # Errors
    /// The first problem.
    pub fn read(public: &str, private: &str) -> Result<Self, KeyFileError> {
        let (owner, dnskey) = read_public(public)?;
        let (algorithm, secret, times) = read_private(private)?;
        let whole = |found: String, expected| KeyFileError { private: true, line: 0, found, expected };
        let key = SigningKey::from_private(algorithm, dnskey.flags(), &secret)
            .map_err(|error| whole(error.to_string(), "a private key"))?;
        if *key.dnskey() != dnskey {
            return Err(whole(format!("the key with tag {}", key.tag()), "the private part of the .key file beside it"));
        }
        if !dnskey.signs_zones() {
            let found = format!("flags {}", dnskey.flags());
            return Err(KeyFileError { private: false, line: 0, found, expected: "the zone flag, and no revocation" });
        }
        Ok(Self { owner, key, times })
    }
}

/// Reads a `.key` file: one DNSKEY record in presentation format.
///
/// # Errors
/// The first problem.
pub fn read_public(text: &str) -> Result<(Name, Dnskey), KeyFileError> {
    const EXPECTED: &str = "ZONE IN DNSKEY FLAGS 3 ALGORITHM KEY";
    let problem = |line, found: &str, expected| KeyFileError { private: false, line, found: format!("{found:?}"), expected };
    let bare = |line: &str| line.split(';').next().unwrap_or_default().replace(['(', ')'], " ");
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, bare(line)));
    let Some((line, first)) = lines.find(|(_, text)| !text.trim().is_empty()) else {
        return Err(problem(0, "", EXPECTED));
    };
    let rest: String = lines.map(|(_, text)| text + " ").collect();
    let record = format!("{first} {rest}");
    let mut words = record.split_ascii_whitespace();
    let owner = words.next().unwrap_or_default();
    let owner = Name::from_text(owner).map_err(|_| problem(line, owner, "the name of a zone"))?;
    let mut words = words.skip_while(|word| word.parse::<u32>().is_ok() || word.eq_ignore_ascii_case("in"));
    let rtype = words.next().unwrap_or_default();
    if !rtype.eq_ignore_ascii_case("dnskey") {
        return Err(problem(line, rtype, "DNSKEY"));
    }
    let mut next = || words.next().unwrap_or_default();
    let (flags, protocol, algorithm) = (next(), next(), next());
    let Ok(flags) = flags.parse::<u16>() else { return Err(problem(line, flags, "the flags, up to 65535")) };
    if protocol != "3" {
        return Err(problem(line, protocol, "protocol 3"));
    }
    let Ok(known) = algorithm.parse::<Algorithm>() else {
        return Err(problem(line, algorithm, "algorithm 13 (ECDSAP256SHA256) or 15 (ED25519)"));
    };
    let public: String = words.collect();
    match BASE64.decode(&public) {
        Ok(octets) if octets.len() == known.public_len() => Ok((owner, Dnskey::new(flags, known, &octets))),
        _ => Err(problem(line, &public, "a public key of the algorithm, in base64")),
    }
}

fn read_private(text: &str) -> Result<(Algorithm, [u8; PRIVATE_LEN], KeyTimes), KeyFileError> {
    let problem = |line, found: &str, expected| KeyFileError { private: true, line, found: found.to_owned(), expected };
    let mut algorithm = None;
    let mut secret = None;
    let mut times = KeyTimes::default();
    let mut format = None;
    for (at, line) in text.lines().enumerate() {
        let at = at + 1;
        if line.trim().is_empty() {
            continue;
        }
        let (key, value) = line.split_once(':').ok_or_else(|| problem(at, "a line without ':'", "FIELD: VALUE"))?;
        let value = value.trim();
        match key {
            "Private-key-format" => {
                if !value.starts_with("v1.") {
                    return Err(problem(at, "another format", "Private-key-format: v1.3"));
                }
                format = Some(());
            }
            "Algorithm" => {
                let number = value.split_ascii_whitespace().next().unwrap_or_default();
                let known =
                    number.parse().map_err(|_| problem(at, value, "algorithm 13 (ECDSAP256SHA256) or 15 (ED25519)"))?;
                algorithm = Some(known);
            }
            "PrivateKey" => {
                let octets = BASE64.decode(value).ok().and_then(|octets| octets.try_into().ok());
                secret = Some(octets.ok_or_else(|| problem(at, "another value", "32 octets in base64"))?);
            }
            "Engine" | "Label" => return Err(problem(at, "a key in a hardware module", "the private key itself")),
            _ => {
                if let Some((_, time)) = times.fields().into_iter().find(|(name, _)| *name == key) {
                    let read = civil::from_compact(value).ok_or_else(|| problem(at, value, "a time, YYYYMMDDHHMMSS"))?;
                    *time = Some(read);
                }
            }
        }
    }
    match (format, algorithm, secret) {
        (Some(()), Some(algorithm), Some(secret)) => Ok((algorithm, secret, times)),
        (None, ..) => Err(problem(0, "no Private-key-format", "Private-key-format: v1.3")),
        (_, None, _) => Err(problem(0, "no Algorithm", "Algorithm: 13 (ECDSAP256SHA256) or 15 (ED25519)")),
        _ => Err(problem(0, "no PrivateKey", "PrivateKey: 32 octets in base64")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    // As dnssec-keygen 9.18 writes them.
    const PUBLIC: &str = "\
; This is a key-signing key, keyid 30631, for example.test.
; Created: 20261121150401 (Sat Nov 21 15:04:01 2026)
; Publish: 20261121150401 (Sat Nov 21 15:04:01 2026)
; Activate: 20261121150401 (Sat Nov 21 15:04:01 2026)
example.test. IN DNSKEY 257 3 13 YEv3oFms5DPZA/8qozHz5rlNxzmaViN1ONCRYFtXJzzqnDChjL/jtgtQ 2u9E7/1Reo/t03ZWGM/RroLmmWlJsA==
";
    const PRIVATE: &str = "\
Private-key-format: v1.3
Algorithm: 13 (ECDSAP256SHA256)
PrivateKey: Xip+v0L5BypZg8b9uLVdYUDjjACScFGYaVHQLYjRhFg=
Created: 20261121150401
Publish: 20261121150401
Activate: 20261121150401
";

    #[test]
    fn files_of_bind_there_and_back() {
        let file = KeyFile::read(PUBLIC, PRIVATE).unwrap();
        assert_eq!(file.base_name(), "Kexample.test.+013+30631");
        assert_eq!(file.times.activate_s, Some(1_795_273_441));
        assert_eq!(file.private_text(), PRIVATE);
        let again = KeyFile::read(&file.public_text(), &file.private_text()).unwrap();
        assert_eq!((again.owner, again.key.tag(), again.times), (file.owner, 30_631, file.times));
    }

    #[test]
    fn other_ways_to_write_a_public_key() {
        let key = "ydOEsxma2dH24Vf833I525tZztQ4pxVyYqQLYlJWotQ=";
        for text in [
            format!("example.test. 3600 IN DNSKEY 256 3 15 {key}"),
            format!("example.test. IN 3600 dnskey 256 3 ED25519 (\n {key} ) ; a comment"),
            format!(";\n\nEXAMPLE.test DNSKEY 256 3 15 {}\n{}", &key[..7], &key[7..]),
        ] {
            let (owner, dnskey) = read_public(&text).unwrap();
            assert_eq!((owner.to_string().as_str(), dnskey.tag()), ("example.test.", 51_623), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_but_no_secret() {
        let check = |public: &str, private: &str, expect: &str| {
            let error = KeyFile::read(public, private).unwrap_err().to_string();
            assert_eq!(error, expect);
        };
        let other = PRIVATE.replace("Xip+", "Xiq+");
        check("", PRIVATE, ".key file, line 0: found \"\"; expected ZONE IN DNSKEY FLAGS 3 ALGORITHM KEY");
        check(&PUBLIC.replace("DNSKEY", "KEY"), PRIVATE, ".key file, line 5: found \"KEY\"; expected DNSKEY");
        check(
            &PUBLIC.replace(" 3 13 ", " 3 8 "),
            PRIVATE,
            ".key file, line 5: found \"8\"; expected algorithm 13 (ECDSAP256SHA256) or 15 (ED25519)",
        );
        check(
            &PUBLIC.replace("257", "385"),
            PRIVATE,
            ".key file, line 0: found flags 385; expected the zone flag, and no revocation",
        );
        check(
            PUBLIC,
            &PRIVATE.replace("RhFg=", ""),
            ".private file, line 3: found another value; expected 32 octets in base64",
        );
        check(
            PUBLIC,
            &PRIVATE.replace("Publish: 2026", "Publish: 2O26"),
            ".private file, line 5: found 2O261121150401; expected a time, YYYYMMDDHHMMSS",
        );
        check(
            PUBLIC,
            &other.replace("Algorithm: 13", "Engine: x\nAlgorithm: 13"),
            ".private file, line 2: found a key in a hardware module; expected the private key itself",
        );
        let error = KeyFile::read(PUBLIC, &other).unwrap_err();
        assert!(error.private && error.found.starts_with("the key with tag ") && !error.found.contains("Xiq"));
    }

    #[test]
    fn names_of_files() {
        let check = |owner: &str, expect: &str| assert_eq!(base_name(&Name::from_text(owner).unwrap(), 15, 42), expect);
        check(".", "K.+015+00042");
        check("Example", "Kexample.+015+00042");
        check(r"a\/b_c.x", "Ka%2fb_c.x.+015+00042");
        check(r"\.\..x", "K%2e%2e.x.+015+00042");
    }

    proptest! {
        #[test]
        fn any_text_is_read(public in ".{0,200}", private in "([A-Za-z-]{1,20}: .{0,40}\n){0,9}") {
            let _ = KeyFile::read(&public, &private);
            let _ = KeyFile::read(PUBLIC, &private);
            let _ = read_public(&format!("x. DNSKEY {public}"));
        }
    }
}

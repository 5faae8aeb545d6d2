//! What the server says of itself, cookies and rate limits: their options, and the [`Service`] that they make.
//!
//! All of it can change by a reload. The content of a secret must never show in a problem.

use crate::cookie::Secrets;
use crate::rrl::{KINDS, Kind, Policy};
use crate::service::{Service, TEXT_LEN_MAX};
use crate::zone::Files;
use farm_shared::config::{Place, Section};
use farm_shared::draw::Draws;
use farm_shared::prefix::Prefix;

/// Most prefixes that a limit does not hold for: each response that is limited is compared with all of them.
const EXEMPT_MAX: usize = 64;
/// Most octets of a name server identifier.
const NSID_LEN_MAX: usize = 128;

/// `[server] identity, version_text, nsid`, `[server.cookies]` and `[rrl]`.
#[derive(Clone, Debug, Default)]
pub struct ServiceSpec {
    /// What `id.server` says, if anything.
    pub identity: Option<String>,
    /// What `version.server` says, if anything.
    pub version_text: Option<String>,
    /// The name server identifier, if it is told.
    pub nsid: Option<Box<[u8]>>,
    /// Whether server cookies are made.
    pub cookies: bool,
    /// The file of the secrets that they are made with, and where the configuration names it.
    pub secret_file: Option<(String, Place)>,
    /// Its content, once somebody has read it.
    pub secrets: Option<Secrets>,
    /// Rate limits, if there are any.
    pub rrl: Option<RrlSpec>,
}

/// `[rrl]`
#[derive(Clone, Debug, PartialEq)]
pub struct RrlSpec {
    /// Responses a second by [`Kind`]; 0 for any number.
    pub per_second: [u32; KINDS],
    /// Responses a second in all; 0 for any number.
    pub all_per_second: u32,
    /// How long a flood is remembered, in seconds.
    pub window_s: u32,
    /// One in so many limited responses is sent truncated; 0 for none.
    pub slip: u32,
    /// Length of an IPv4 network's prefix, in bits.
    pub v4_bits: u8,
    /// Length of an IPv6 network's prefix, in bits.
    pub v6_bits: u8,
    /// Whom no limit holds for.
    pub exempt: Vec<Prefix>,
    /// Whether limits are only counted.
    pub log_only: bool,
    /// Entries of the table.
    pub table_entries: usize,
}

impl ServiceSpec {
    /// Reads the options of `[server]` and its subsection.
    pub(super) fn read_server(server: &Section) -> Self {
        let text = |key: &str, about| {
            let text = server.optional_string(key, about)?;
            if text.is_empty() || text.len() > TEXT_LEN_MAX {
                server.problem(key, format!("a text of {} octets", text.len()), "1 to 255 octets");
                return None;
            }
            Some(text)
        };
        let identity =
            text("identity", "What `id.server` and `hostname.bind` (TXT of class CH) say. Without it they are refused.");
        let version_text =
            text("version_text", "What `version.server` and `version.bind` say. Without it they are refused.");
        let nsid = server.optional_string(
            "nsid",
            "Name server identifier for those who ask for it (RFC 5001): a text, or `0x` and hexadecimal digits. Without it nothing is told.",
        );
        let nsid = nsid.and_then(|text| {
            let octets = nsid_octets(&text);
            if octets.is_none() {
                server.problem("nsid", format!("{text:?}"), "1 to 128 octets, as a text or as 0x and hexadecimal digits");
            }
            octets
        });
        let s =
            server.table("cookies", "DNS cookies (RFC 7873): proof of a client's address, for which no rate limit holds.");
        let cookies = s.boolean("enabled", true, "Whether server cookies are made.");
        let secret_file = s.optional_string(
            "secret_file",
            "File of the secrets that all nodes of one name share (RFC 9018): 32 hexadecimal digits a line, the one in use first, then those that are still or already good. Without it a secret is made at each start.",
        );
        let secret_file = secret_file.map(|file| (file, s.place("secret_file")));
        Self { identity, version_text, nsid, cookies, secret_file, secrets: None, rrl: None }
    }

    /// Reads `[rrl]`.
    pub(super) fn read_rrl(&mut self, root: &Section) {
        let s = root.table(
            "rrl",
            "Response rate limiting over UDP: with this section, a network gets no more than so many responses a second. Clients with a valid cookie and streams are never limited.",
        );
        let rate = |key: &str, default, about| s.integer(key, default, 0..=100_000, about) as u32;
        let answers = rate(
            "responses_per_second",
            20,
            "Answers a second to one network for one name and type, and each of the following kinds for one zone; 0 for any number.",
        );
        let mut per_second = [answers; KINDS];
        let mut kind = |kind: Kind, key: &str, about| {
            let given = s.optional_integer(key, 0..=100_000, about);
            if let (Some(given), Some(rate)) = (given, per_second.get_mut(kind as usize)) {
                *rate = given as u32;
            }
        };
        kind(Kind::Referral, "referrals_per_second", "The same of referrals; `responses_per_second` if absent.");
        kind(Kind::NoData, "nodata_per_second", "The same of answers without data.");
        kind(Kind::NxDomain, "nxdomains_per_second", "The same of names that do not exist.");
        kind(Kind::Error, "errors_per_second", "The same of REFUSED, FORMERR and the like, whatever was asked.");
        let bits = |key: &str, default, max, about| s.integer(key, default, 1..=max, about) as u8;
        let spec = RrlSpec {
            per_second,
            all_per_second: rate("all_per_second", 1_000, "Responses a second to one network in all; 0 for any number."),
            window_s: s.duration_s("window", 15, 1..=3_600, "How long a flood is remembered after its end, at most.") as u32,
            slip: s.integer(
                "slip",
                2,
                0..=100,
                "One in so many limited responses is sent short, with TC or BADCOOKIE, so that the network's own clients can come back; 0 for none.",
            ) as u32,
            v4_bits: bits("ipv4_prefix", 24, 32, "Length of the prefix that makes an IPv4 network, in bits."),
            v6_bits: bits("ipv6_prefix", 56, 64, "Length of the prefix that makes an IPv6 network, in bits."),
            exempt: s.list("exempt", &[], "ADDRESS/BITS", "Prefixes that no limit holds for."),
            log_only: s.boolean("log_only", false, "Whether limits are counted and not enforced."),
            table_entries: s.integer(
                "table_entries",
                65_536,
                1_024..=16_777_216,
                "Entries of the table of networks, 8 octets each; it never grows.",
            ) as usize,
        };
        if spec.exempt.len() > EXEMPT_MAX {
            s.problem("exempt", format!("{} prefixes", spec.exempt.len()), format!("at most {EXEMPT_MAX}"));
        }
        self.rrl = s.is_present().then_some(spec);
    }

    /// Reads the secrets of cookies.
    pub(super) fn read_secrets(&mut self, root: &Section, files: &dyn Files) {
        let Some((file, _)) = self.secret_file.as_ref().filter(|_| self.cookies) else { return };
        let section = root.table("server", "").table("cookies", "");
        let text = match files.read(file) {
            Err(why) => return section.problem("secret_file", why, "a file that can be read"),
            Ok(text) => text,
        };
        match Secrets::from_text(&String::from_utf8_lossy(&text)) {
            Ok(secrets) => self.secrets = Some(secrets),
            Err(expected) => section.problem("secret_file", format!("the content of {file:?}"), expected.to_string()),
        }
    }

    /// The settings of answers. `draws` gives the secrets that no file gives: the same ones as long as the daemon runs.
    pub fn service(&self, draws: &Draws, tcp_idle_timeout_ms: u64) -> Service {
        let secret = |consumer: &str| {
            let mut draws = draws.child(consumer, 0);
            let mut octets = [0; 16];
            for (to, from) in octets.as_chunks_mut::<8>().0.iter_mut().zip([draws.u64(), draws.u64()]) {
                *to = from.to_le_bytes();
            }
            octets
        };
        let cookies = self.secrets.clone().or_else(|| Some(Secrets::one(secret("cookies"))));
        Service {
            nsid: self.nsid.clone(),
            identity: self.identity.as_deref().map(Service::text),
            version: self.version_text.as_deref().map(Service::text),
            cookies: cookies.filter(|_| self.cookies),
            keepalive_100ms: u16::try_from(tcp_idle_timeout_ms / 100).unwrap_or(u16::MAX),
            client_subnet: false,
            rrl: self.rrl.as_ref().map(|rrl| rrl.policy(secret("rate limits"))),
        }
    }
}

impl RrlSpec {
    fn policy(&self, key: [u8; 16]) -> Policy {
        Policy {
            per_second: self.per_second,
            all_per_second: self.all_per_second,
            window_s: self.window_s,
            slip: self.slip,
            v4_bits: self.v4_bits,
            v6_bits: self.v6_bits,
            exempt: self.exempt.clone(),
            log_only: self.log_only,
            ..Policy::new(key)
        }
    }
}

fn nsid_octets(text: &str) -> Option<Box<[u8]>> {
    let octets: Box<[u8]> = match text.strip_prefix("0x") {
        None => text.as_bytes().into(),
        Some(digits) => {
            let digits: Option<Vec<u8>> = digits.chars().map(|digit| Some(digit.to_digit(16)? as u8)).collect();
            let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
            digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect()
        }
    };
    (1..=NSID_LEN_MAX).contains(&octets.len()).then_some(octets)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::load;

    struct Disk;

    impl Files for Disk {
        fn read(&self, path: &str) -> Result<Vec<u8>, String> {
            match path {
                "z" => Ok(b"@ 60 SOA ns1 host 1 2 3 4 5\n@ 60 NS ns1\nns1 60 A 192.0.2.1\n".to_vec()),
                "good" => Ok(b"e5e973e5a6b2a43f48e7dc849e37bfcf\n445536bcd2513298075a5d379663c962\n".to_vec()),
                "bad" => Ok(b"secret".to_vec()),
                _ => Err("no such file".into()),
            }
        }
    }

    fn read(options: &str) -> Result<ServiceSpec, Vec<String>> {
        let text = format!("{options}\n[[zone]]\nname = 'example'\nfile = 'z'\n");
        let loaded = load("t", &text, &Disk);
        loaded
            .map(|loaded| loaded.spec.service.clone())
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn without_options_cookies_are_made_and_nothing_is_told() {
        let spec = read("").unwrap();
        let service = spec.service(&Draws::from_u64(1), 10_000);
        assert!(service.nsid.is_none() && service.identity.is_none() && service.version.is_none() && service.rrl.is_none());
        assert_eq!(service.keepalive_100ms, 100);
        assert_eq!(service.cookies, spec.service(&Draws::from_u64(1), 0).cookies);
        assert_ne!(service.cookies, spec.service(&Draws::from_u64(2), 0).cookies);
        assert!(read("[server.cookies]\nenabled = false").unwrap().service(&Draws::from_u64(1), 0).cookies.is_none());
    }

    #[test]
    fn options_arrive() {
        let spec = read(
            "[server]\nidentity = 'ns1'\nversion_text = 'v'\nnsid = '0x6e7331'\n[server.cookies]\nsecret_file = 'good'\n[rrl]\nresponses_per_second = 5\n\
             nxdomains_per_second = 2\nexempt = ['192.0.2.0/24']\nslip = 1",
        )
        .unwrap();
        let service = spec.service(&Draws::from_u64(1), 700_000_000);
        assert_eq!((service.nsid.as_deref(), service.identity.as_deref()), (Some(&b"ns1"[..]), Some(&b"\x03ns1"[..])));
        assert_eq!(service.keepalive_100ms, u16::MAX);
        assert_eq!(service.cookies, spec.secrets);
        let rrl = service.rrl.unwrap();
        assert_eq!((rrl.per_second, rrl.slip, rrl.exempt.len()), ([5, 5, 5, 2, 5], 1, 1));
    }

    #[test]
    fn problems_are_all_named_and_secrets_never_shown() {
        let problems = read(
            "[server]\nidentity = ''\nnsid = '0x1'\n[server.cookies]\nsecret_file = 'bad'\n[rrl]\nslip = 101\nipv4_prefix = 33\nexempt = ['x']",
        );
        let problems = problems.unwrap_err();
        let starts = |line: usize, key: &str| problems.iter().any(|p| p.starts_with(&format!("t:{line}: {key}")));
        for (line, key) in [
            (2, "server.identity"),
            (3, "server.nsid"),
            (5, "server.cookies.secret_file"),
            (7, "rrl.slip"),
            (8, "rrl.ipv4_prefix"),
            (9, "rrl.exempt"),
        ] {
            assert!(starts(line, key), "{key}: {problems:#?}");
        }
        assert!(problems.iter().all(|problem| !problem.contains("found secret")), "{problems:#?}");
        assert!(read("[server.cookies]\nsecret_file = 'none'").unwrap_err()[0].contains("no such file"));
    }
}

//! Keys, and the files they come in: BIND's `key` clauses, as `tsig-keygen` prints them and `nsupdate -k` reads them, or the secret
//! alone in base64.
//!
//! The content of a file must never show in an error: it is a secret.

use crate::name::Name;
use aws_lc_rs::hmac;
use domain::utils::base64;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest secret, in octets. Longer ones are hashed down to a block anyway (RFC 2104 section 3).
const SECRET_OCTETS_MAX: usize = 1_024;

/// Keys in one file.
const KEYS_PER_FILE_MAX: usize = 1_000;

/// The hash of a MAC (RFC 8945 section 6). HMAC-MD5 is left out: nobody must implement it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum HmacAlgorithm {
    /// For peers that have nothing better.
    Sha1,
    /// 28 octets.
    Sha224,
    /// 32 octets: the usual one.
    #[default]
    Sha256,
    /// 48 octets.
    Sha384,
    /// 64 octets.
    Sha512,
}

impl HmacAlgorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its name in configurations and, with a final dot, in messages.
    pub fn label(self) -> &'static str {
        match self {
            Self::Sha1 => "hmac-sha1",
            Self::Sha224 => "hmac-sha224",
            Self::Sha256 => "hmac-sha256",
            Self::Sha384 => "hmac-sha384",
            Self::Sha512 => "hmac-sha512",
        }
    }

    /// Octets of a whole MAC.
    pub fn mac_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Its name in messages, in wire format.
    pub(super) fn wire(self) -> &'static [u8] {
        match self {
            Self::Sha1 => b"\x09hmac-sha1\0",
            Self::Sha224 => b"\x0bhmac-sha224\0",
            Self::Sha256 => b"\x0bhmac-sha256\0",
            Self::Sha384 => b"\x0bhmac-sha384\0",
            Self::Sha512 => b"\x0bhmac-sha512\0",
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha224 => hmac::HMAC_SHA224,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

impl FromStr for HmacAlgorithm {
    type Err = BadKey;
    fn from_str(text: &str) -> Result<Self, BadKey> {
        let text = text.strip_suffix('.').unwrap_or(text);
        Self::ALL.into_iter().find(|algorithm| algorithm.label().eq_ignore_ascii_case(text)).ok_or(BadKey::Algorithm)
    }
}

impl fmt::Display for HmacAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Why a text holds no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadKey {
    /// The algorithm is none that is known.
    Algorithm,
    /// The secret is not base64, is empty or is longer than 1,024 octets.
    Secret,
    /// The file is neither one secret in base64 nor made of `key` clauses.
    File,
    /// The file has `key` clauses, but none of the name wanted.
    Missing,
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Algorithm => "an unknown algorithm",
            Self::Secret => "a secret that is not base64, empty or longer than 1024 octets",
            Self::File => "neither a secret in base64 nor key clauses",
            Self::Missing => "no key of that name",
        })
    }
}

impl std::error::Error for BadKey {}

/// A secret that two parties share, under a name.
#[derive(Clone)]
pub struct TsigKey {
    name: Name,
    algorithm: HmacAlgorithm,
    secret: hmac::Key,
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TsigKey({} {})", self.name, self.algorithm)
    }
}

impl TsigKey {
    /// A key from its octets.
    ///
    /// # Errors
    /// [`BadKey::Secret`] if there are none, or more than 1,024.
    pub fn new(name: Name, algorithm: HmacAlgorithm, secret: &[u8]) -> Result<Self, BadKey> {
        if secret.is_empty() || secret.len() > SECRET_OCTETS_MAX {
            return Err(BadKey::Secret);
        }
        Ok(Self { name, algorithm, secret: hmac::Key::new(algorithm.hmac(), secret) })
    }

    /// A key from base64, in which white space does not count.
    ///
    /// # Errors
    /// [`BadKey::Secret`].
    pub fn from_base64(name: Name, algorithm: HmacAlgorithm, secret: &str) -> Result<Self, BadKey> {
        let text: String = secret.split_whitespace().collect();
        let octets: Vec<u8> = base64::decode(&text).map_err(|_| BadKey::Secret)?;
        Self::new(name, algorithm, &octets)
    }

    /// The key `name` from the text of a file. `algorithm` is what the configuration says, if it does: it must agree with a
    /// clause, and a bare secret without it is one for HMAC-SHA256.
    ///
    /// # Errors
    /// See [`BadKey`].
    pub fn from_file(name: &Name, algorithm: Option<HmacAlgorithm>, text: &str) -> Result<Self, BadKey> {
        if !has_clauses(text) {
            return Self::from_base64(name.clone(), algorithm.unwrap_or_default(), text).map_err(|_| BadKey::File);
        }
        let keys = keys_from_file(text)?;
        let key = keys.into_iter().find(|key| key.name == *name).ok_or(BadKey::Missing)?;
        if algorithm.is_some_and(|algorithm| algorithm != key.algorithm) {
            return Err(BadKey::Algorithm);
        }
        Ok(key)
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> HmacAlgorithm {
        self.algorithm
    }

    /// Octets that a signature with this key adds to a message, at most.
    pub fn record_len_max(&self) -> usize {
        // Type, class, TTL and length; time, fudge, MAC length, original ID, error, length of other data, and the server's time.
        self.name.wire().len() + 10 + self.algorithm.wire().len() + 16 + self.algorithm.mac_len() + 6
    }

    pub(super) fn context(&self) -> hmac::Context {
        hmac::Context::with_key(&self.secret)
    }
}

/// Keys by name.
#[derive(Debug, Clone, Default)]
pub struct Keys(BTreeMap<Name, Arc<TsigKey>>);

impl Keys {
    /// Adds a key, or replaces the one of its name.
    pub fn insert(&mut self, key: TsigKey) {
        self.0.insert(key.name.clone(), Arc::new(key));
    }

    /// The key of a name.
    pub fn get(&self, name: &Name) -> Option<&Arc<TsigKey>> {
        self.0.get(name)
    }

    /// All names, in canonical order.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }
}

/// Whether a text has `key` clauses: a secret in base64 has no brace.
fn has_clauses(text: &str) -> bool {
    text.contains('{')
}

/// All keys of a file of `key "name" { algorithm hmac-sha256; secret "…"; };` clauses.
///
/// # Errors
/// See [`BadKey`].
pub fn keys_from_file(text: &str) -> Result<Vec<TsigKey>, BadKey> {
    let tokens = tokens(text).ok_or(BadKey::File)?;
    let mut rest = tokens.iter().map(String::as_str);
    let mut keys = Vec::new();
    while let Some(word) = rest.next() {
        if word != "key" || keys.len() >= KEYS_PER_FILE_MAX {
            return Err(BadKey::File);
        }
        let name = rest.next().and_then(|name| Name::from_text(name).ok()).ok_or(BadKey::File)?;
        if rest.next() != Some("{") {
            return Err(BadKey::File);
        }
        let (mut algorithm, mut secret) = (None, None);
        loop {
            let place = match rest.next() {
                Some("algorithm") => &mut algorithm,
                Some("secret") => &mut secret,
                Some("}") => break,
                _ => return Err(BadKey::File),
            };
            *place = rest.next();
            if rest.next() != Some(";") {
                return Err(BadKey::File);
            }
        }
        if rest.next() != Some(";") {
            return Err(BadKey::File);
        }
        let algorithm = algorithm.ok_or(BadKey::Algorithm)?.parse()?;
        keys.push(TsigKey::from_base64(name, algorithm, secret.ok_or(BadKey::Secret)?)?);
    }
    Ok(keys)
}

/// Words, quoted strings without their quotes, braces and semicolons; comments are left out. `None` when a quote does not end.
fn tokens(text: &str) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&next) = chars.peek() {
        match next {
            '{' | '}' | ';' => {
                tokens.push(next.to_string());
                chars.next();
            }
            '"' => {
                chars.next();
                let mut word = String::new();
                loop {
                    match chars.next()? {
                        '"' => break,
                        other => word.push(other),
                    }
                }
                tokens.push(word);
            }
            '#' => while chars.next().is_some_and(|c| c != '\n') {},
            _ if next.is_whitespace() => drop(chars.next()),
            _ => {
                let mut word = String::new();
                while let Some(&c) = chars.peek() {
                    if c.is_whitespace() || "{};\"#".contains(c) {
                        break;
                    }
                    word.push(c);
                    chars.next();
                }
                if let Some((head, _)) = word.split_once("//") {
                    tokens.extend((!head.is_empty()).then(|| head.to_owned()));
                    while chars.next().is_some_and(|c| c != '\n') {}
                } else {
                    tokens.push(word);
                }
            }
        }
    }
    Some(tokens)
}

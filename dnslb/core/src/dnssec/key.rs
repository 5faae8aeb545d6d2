//! Signing keys: P-256 and Ed25519, their DNSKEY data and key tags.
//!
//! Nothing here draws a random number: a key is made of a private scalar that is given. The nonce of an ECDSA signature comes
//! from inside the library, so two signatures by P-256 over the same octets differ; nothing may depend on them being equal.
//! A private key must never show in a debug print or an error.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::agreement;
use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};

/// Flag of every key of a zone (RFC 4034 section 2.1.1).
pub const FLAG_ZONE: u16 = 0x0100;
/// Flag of a secure entry point (RFC 4034 section 2.1.1): a KSK or CSK.
pub const FLAG_SEP: u16 = 0x0001;
/// Flag of a revoked key (RFC 5011 section 2.1).
pub const FLAG_REVOKE: u16 = 0x0080;
/// The only value of the protocol field (RFC 4034 section 2.1.2).
const PROTOCOL: u8 = 3;

/// Octets of a private key of either algorithm.
pub const PRIVATE_LEN: usize = 32;

/// Algorithms that we sign with, by their numbers in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256 (RFC 6605).
    EcdsaP256Sha256 = 13,
    /// Ed25519 (RFC 8080).
    Ed25519 = 15,
}

impl Algorithm {
    /// The algorithm of that number, if we sign with it.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            13 => Some(Self::EcdsaP256Sha256),
            15 => Some(Self::Ed25519),
            _ => None,
        }
    }

    /// Its number in the registry.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Its mnemonic in the registry.
    pub fn mnemonic(self) -> &'static str {
        match self {
            Self::EcdsaP256Sha256 => "ECDSAP256SHA256",
            Self::Ed25519 => "ED25519",
        }
    }

    /// Octets of a public key.
    pub fn public_len(self) -> usize {
        match self {
            Self::EcdsaP256Sha256 => 64,
            Self::Ed25519 => 32,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mnemonic())
    }
}

impl FromStr for Algorithm {
    type Err = &'static str;
    /// Reads a mnemonic in any case, or a number.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "ecdsap256sha256" | "ecdsa-p256-sha256" | "p256" | "13" => Ok(Self::EcdsaP256Sha256),
            "ed25519" | "15" => Ok(Self::Ed25519),
            _ => Err("\"ecdsap256sha256\" or \"ed25519\""),
        }
    }
}

/// The library refuses a key or a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The octets are no private key of the algorithm.
    Private,
    /// No signature could be made.
    Sign,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Private => "octets that are no private key of the algorithm",
            Self::Sign => "the cryptographic library made no signature",
        })
    }
}

impl std::error::Error for KeyError {}

/// The data of a DNSKEY record with an algorithm and flags of any kind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dnskey {
    rdata: Box<[u8]>,
}

impl Dnskey {
    /// A zone's key.
    pub fn new(flags: u16, algorithm: Algorithm, public: &[u8]) -> Self {
        let mut rdata = Vec::with_capacity(4 + public.len());
        rdata.extend_from_slice(&flags.to_be_bytes());
        rdata.extend_from_slice(&[PROTOCOL, algorithm.number()]);
        rdata.extend_from_slice(public);
        Self { rdata: rdata.into() }
    }

    /// Reads record data; `None` if it is too short to be a DNSKEY.
    pub fn from_rdata(rdata: &[u8]) -> Option<Self> {
        (rdata.len() > 4).then(|| Self { rdata: rdata.into() })
    }

    /// The record data.
    pub fn rdata(&self) -> &[u8] {
        &self.rdata
    }

    /// The flags field.
    pub fn flags(&self) -> u16 {
        self.rdata.first_chunk().map_or(0, |flags| u16::from_be_bytes(*flags))
    }

    /// The number of its algorithm, which may be one that we do not know.
    pub fn algorithm_number(&self) -> u8 {
        self.rdata.get(3).copied().unwrap_or_default()
    }

    /// The public key, in the form of its algorithm.
    pub fn public(&self) -> &[u8] {
        self.rdata.get(4..).unwrap_or_default()
    }

    /// The key tag (RFC 4034 appendix B).
    pub fn tag(&self) -> u16 {
        let words = self.rdata.chunks(2).map(|pair| match *pair {
            [high, low] => u32::from(u16::from_be_bytes([high, low])),
            [high] => u32::from(high) << 8,
            _ => 0,
        });
        let sum: u32 = words.sum();
        (sum + (sum >> 16)) as u16
    }

    /// Whether the key may sign a zone: the zone flag, no revocation, the right protocol.
    pub fn signs_zones(&self) -> bool {
        self.flags() & (FLAG_ZONE | FLAG_REVOKE) == FLAG_ZONE && self.rdata.get(2) == Some(&PROTOCOL)
    }

    /// Whether `signature` over `octets` is by this key; `false` too for an algorithm that we do not know.
    pub fn verifies(&self, octets: &[u8], signature: &[u8]) -> bool {
        match Algorithm::from_number(self.algorithm_number()) {
            Some(Algorithm::EcdsaP256Sha256) => {
                let point = [&[4], self.public()].concat();
                signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                    .verify(octets, signature)
                    .is_ok()
            }
            Some(Algorithm::Ed25519) => {
                signature::UnparsedPublicKey::new(&signature::ED25519, self.public()).verify(octets, signature).is_ok()
            }
            None => false,
        }
    }
}

/// Presentation format of the data (RFC 4034 section 2.2).
impl fmt::Display for Dnskey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = self.rdata.get(2).copied().unwrap_or_default();
        write!(f, "{} {protocol} {} {}", self.flags(), self.algorithm_number(), BASE64.encode(self.public()))
    }
}

impl fmt::Debug for Dnskey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dnskey({} {} {})", self.flags(), self.algorithm_number(), self.tag())
    }
}

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key that signs.
pub struct SigningKey {
    algorithm: Algorithm,
    dnskey: Dnskey,
    tag: u16,
    private: [u8; PRIVATE_LEN],
    pair: Pair,
}

impl SigningKey {
    /// A key from its private part: the scalar of P-256 (big endian), the seed of Ed25519; as in the files of BIND.
    ///
    /// # Errors
    /// [`KeyError::Private`]: the octets are none. Random octets are refused once in 2^32 by P-256, never by Ed25519.
    pub fn from_private(algorithm: Algorithm, flags: u16, private: &[u8; PRIVATE_LEN]) -> Result<Self, KeyError> {
        let (pair, public) = match algorithm {
            Algorithm::EcdsaP256Sha256 => {
                let scalar = agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, private)
                    .map_err(|_| KeyError::Private)?;
                let point = scalar.compute_public_key().map_err(|_| KeyError::Private)?;
                let format = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = EcdsaKeyPair::from_private_key_and_public_key(format, private, point.as_ref())
                    .map_err(|_| KeyError::Private)?;
                let public = point.as_ref().get(1..).ok_or(KeyError::Private)?.to_vec();
                (Pair::P256(pair), public)
            }
            Algorithm::Ed25519 => {
                let pair = Ed25519KeyPair::from_seed_unchecked(private).map_err(|_| KeyError::Private)?;
                let public = pair.public_key().as_ref().to_vec();
                (Pair::Ed25519(pair), public)
            }
        };
        let dnskey = Dnskey::new(flags, algorithm, &public);
        let tag = dnskey.tag();
        Ok(Self { algorithm, dnskey, tag, private: *private, pair })
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its public part as a DNSKEY.
    pub fn dnskey(&self) -> &Dnskey {
        &self.dnskey
    }

    /// The flags of its DNSKEY.
    pub fn flags(&self) -> u16 {
        self.dnskey.flags()
    }

    /// Its key tag.
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// The private part, for the one file that holds it.
    pub fn private(&self) -> &[u8; PRIVATE_LEN] {
        &self.private
    }

    /// Signs `octets`, in the form that RRSIG records carry.
    ///
    /// # Errors
    /// [`KeyError::Sign`], when the library fails.
    pub fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = match &self.pair {
            Pair::P256(pair) => pair.sign_digest(&digest::digest(&digest::SHA256, octets)),
            Pair::Ed25519(pair) => pair.try_sign(octets),
        };
        signature.map(|signature| signature.as_ref().to_vec()).map_err(|_| KeyError::Sign)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {} {})", self.flags(), self.algorithm, self.tag)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key(algorithm: Algorithm, private: &str) -> SigningKey {
        SigningKey::from_private(algorithm, 257, &BASE64.decode(private).unwrap().try_into().unwrap()).unwrap()
    }

    #[test]
    fn keys_of_the_rfcs() {
        // RFC 6605 section 6.1, RFC 8080 section 6.1.
        let check = |algorithm, private, tag: u16, public: &str| {
            let key = key(algorithm, private);
            assert_eq!((key.tag(), BASE64.encode(key.dnskey().public()).as_str()), (tag, public));
            assert_eq!(key.dnskey().public().len(), algorithm.public_len());
            assert!(key.dnskey().signs_zones());
        };
        check(
            Algorithm::EcdsaP256Sha256,
            "GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=",
            55648,
            "GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==",
        );
        check(
            Algorithm::Ed25519,
            "ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=",
            3613,
            "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
        );
    }

    #[test]
    fn a_signature_holds_for_its_octets_alone() {
        for algorithm in [Algorithm::EcdsaP256Sha256, Algorithm::Ed25519] {
            let key = SigningKey::from_private(algorithm, FLAG_ZONE, &[7; 32]).unwrap();
            let mut signature = key.sign(b"octets").unwrap();
            assert_eq!(signature.len(), 64);
            assert!(key.dnskey().verifies(b"octets", &signature));
            assert!(!key.dnskey().verifies(b"Octets", &signature));
            signature.reverse();
            assert!(!key.dnskey().verifies(b"octets", &signature));
            assert!(!key.dnskey().verifies(b"octets", &[]));
        }
    }

    #[test]
    fn no_private_key() {
        for octets in [[0; 32], [255; 32]] {
            assert_eq!(
                SigningKey::from_private(Algorithm::EcdsaP256Sha256, FLAG_ZONE, &octets).err(),
                Some(KeyError::Private)
            );
        }
    }

    #[test]
    fn a_debug_print_tells_no_secret() {
        let key = key(Algorithm::Ed25519, "ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=");
        assert_eq!(format!("{key:?}"), "SigningKey(257 ED25519 3613)");
    }
}

//! What a parent is told of a key: DS (RFC 4034 section 5, RFC 4509, RFC 6605), and the CDS and CDNSKEY records that ask it to
//! (RFC 7344, RFC 8078).
//!
//! SHA-1 is never made: RFC 8624 forbids it.

use std::fmt;

use aws_lc_rs::digest::{SHA256, SHA384, digest};

use super::key::Dnskey;
use crate::name::Name;

/// The digest of a DS record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DigestType {
    /// SHA-256, which every parent takes.
    Sha256 = 2,
    /// SHA-384.
    Sha384 = 4,
}

/// The data of a DS or CDS record.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ds {
    rdata: Box<[u8]>,
}

impl Ds {
    /// The DS of a key of the zone `owner`.
    pub fn new(owner: &Name, key: &Dnskey, digest_type: DigestType) -> Self {
        let algorithm = match digest_type {
            DigestType::Sha256 => &SHA256,
            DigestType::Sha384 => &SHA384,
        };
        let mut rdata = key.tag().to_be_bytes().to_vec();
        rdata.extend_from_slice(&[key.algorithm_number(), digest_type as u8]);
        rdata.extend_from_slice(digest(algorithm, &[owner.wire(), key.rdata()].concat()).as_ref());
        Self { rdata: rdata.into() }
    }

    /// The record data.
    pub fn rdata(&self) -> &[u8] {
        &self.rdata
    }

    /// Whether `rdata` of a DS record at `owner` stands for `key`, by either digest.
    pub fn stands_for(rdata: &[u8], owner: &Name, key: &Dnskey) -> bool {
        [DigestType::Sha256, DigestType::Sha384].into_iter().any(|digest| Self::new(owner, key, digest).rdata() == rdata)
    }
}

/// Presentation format of the data, the digest in capitals as BIND writes it.
impl fmt::Display for Ds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(&[tag_high, tag_low, algorithm, digest_type]), Some(digest)) =
            (self.rdata.first_chunk(), self.rdata.get(4..))
        else {
            return Ok(());
        };
        write!(f, "{} {algorithm} {digest_type} ", u16::from_be_bytes([tag_high, tag_low]))?;
        digest.iter().try_for_each(|octet| write!(f, "{octet:02X}"))
    }
}

impl fmt::Debug for Ds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ds({self})")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dnssec::key::{Algorithm, SigningKey};
    use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};

    #[test]
    fn digests_of_the_rfcs() {
        let check = |zone: &str, algorithm, private: &str, digest_type, expect: &str| {
            let zone = Name::from_text(zone).unwrap();
            let private = BASE64.decode(private).unwrap().try_into().unwrap();
            let key = SigningKey::from_private(algorithm, 257, &private).unwrap();
            let ds = Ds::new(&zone, key.dnskey(), digest_type);
            assert_eq!(ds.to_string().to_lowercase(), expect);
            assert!(Ds::stands_for(ds.rdata(), &zone, key.dnskey()));
            assert!(!Ds::stands_for(ds.rdata(), &Name::root(), key.dnskey()));
        };
        check(
            "example.net",
            Algorithm::EcdsaP256Sha256,
            "GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=",
            DigestType::Sha256,
            "55648 13 2 b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17",
        );
        check(
            "example.com",
            Algorithm::Ed25519,
            "ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=",
            DigestType::Sha256,
            "3613 15 2 3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b",
        );
    }
}

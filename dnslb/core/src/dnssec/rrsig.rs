//! RRSIG records: made over a canonical RRset, and verified as a resolver does (RFC 4034 section 3.1, RFC 4035 section 5.3).
//!
//! Times are seconds since the epoch modulo 2^32 and compared by serial arithmetic (RFC 4034 section 3.1.5), never as numbers.

use farm_shared::time::Wall;

use super::canonical::CanonicalSet;
use super::key::{Dnskey, KeyError, SigningKey};
use crate::name::Name;
use crate::zone::Rtype;

/// Octets of an RRSIG's data before the signer's name.
const FIXED_LEN: usize = 18;

/// When a signature holds, in seconds since the epoch modulo 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first second.
    pub inception_s: u32,
    /// The last second.
    pub expiration_s: u32,
}

/// A time as signatures have it.
pub fn seconds(wall: Wall) -> u32 {
    (wall.0 / 1_000) as u32
}

/// Seconds from `from` to `to`, negative when `to` is earlier (RFC 1982).
pub fn seconds_between(from: u32, to: u32) -> i64 {
    i64::from(to.wrapping_sub(from) as i32)
}

impl Window {
    /// Whether a signature of this window holds at `wall`.
    pub fn contains(self, wall: Wall) -> bool {
        let now = seconds(wall);
        seconds_between(self.inception_s, now) >= 0 && seconds_between(now, self.expiration_s) >= 0
    }
}

/// Signs a set: the data of its RRSIG record. `signer` is the apex of its zone.
///
/// # Errors
/// [`KeyError::Sign`], when the library fails.
pub fn sign_set(key: &SigningKey, signer: &Name, set: &CanonicalSet, window: Window) -> Result<Vec<u8>, KeyError> {
    let mut rdata = Vec::with_capacity(FIXED_LEN + signer.wire().len() + 64);
    let labels = set.owner.label_count() - usize::from(set.owner.is_wildcard());
    rdata.extend_from_slice(&set.rtype.0.to_be_bytes());
    rdata.extend_from_slice(&[key.algorithm().number(), labels as u8]);
    rdata.extend_from_slice(&set.ttl_s.to_be_bytes());
    rdata.extend_from_slice(&window.expiration_s.to_be_bytes());
    rdata.extend_from_slice(&window.inception_s.to_be_bytes());
    rdata.extend_from_slice(&key.tag().to_be_bytes());
    rdata.extend_from_slice(signer.wire());
    let signed = [&rdata, set.octets.as_slice()].concat();
    rdata.extend_from_slice(&key.sign(&signed)?);
    Ok(rdata)
}

/// The data of an RRSIG record, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rrsig<'a> {
    /// The type of the records that it signs.
    pub covered: Rtype,
    /// The number of its algorithm.
    pub algorithm: u8,
    /// Labels of the owner without the root and a wildcard.
    pub labels: u8,
    /// TTL of the signed records, in seconds.
    pub original_ttl_s: u32,
    /// When it holds.
    pub window: Window,
    /// The tag of its key.
    pub key_tag: u16,
    /// The zone whose key it is by.
    pub signer: Name,
    /// The signature proper.
    pub signature: &'a [u8],
}

/// Why a signature is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bogus {
    /// It is not by this key: tag, algorithm or flags differ.
    OtherKey,
    /// It covers another type, or more labels than the owner has.
    OtherSet,
    /// The time is outside its window.
    Expired,
    /// The octets do not fit.
    Forged,
}

impl<'a> Rrsig<'a> {
    /// Reads record data.
    pub fn read(rdata: &'a [u8]) -> Option<Self> {
        let signer = Name::from_wire(rdata.get(FIXED_LEN..)?).ok()?;
        let word = |at: usize| rdata.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word));
        let half = |at: usize| rdata.get(at..)?.first_chunk().map(|half| u16::from_be_bytes(*half));
        Some(Self {
            covered: Rtype(half(0)?),
            algorithm: *rdata.get(2)?,
            labels: *rdata.get(3)?,
            original_ttl_s: word(4)?,
            window: Window { expiration_s: word(8)?, inception_s: word(12)? },
            key_tag: half(16)?,
            signature: rdata.get(FIXED_LEN + signer.wire().len()..)?,
            signer,
        })
    }

    /// Checks it against the records that it came with, as a resolver does at `wall`. The owner may be expanded from a wildcard.
    ///
    /// # Errors
    /// The first reason not to believe it.
    pub fn verify<'r>(
        &self,
        key: &Dnskey,
        owner: &Name,
        rtype: Rtype,
        rdata: impl IntoIterator<Item = &'r [u8]>,
        wall: Wall,
    ) -> Result<(), Bogus> {
        if key.tag() != self.key_tag || key.algorithm_number() != self.algorithm || !key.signs_zones() {
            return Err(Bogus::OtherKey);
        }
        if self.covered != rtype || !owner.is_at_or_below(&self.signer) {
            return Err(Bogus::OtherSet);
        }
        if !self.window.contains(wall) {
            return Err(Bogus::Expired);
        }
        let owner = self.signed_owner(owner).ok_or(Bogus::OtherSet)?;
        let set = CanonicalSet::new(&owner, rtype, self.original_ttl_s, rdata);
        let mut signed = self.covered.0.to_be_bytes().to_vec();
        signed.extend_from_slice(&[self.algorithm, self.labels]);
        for word in [self.original_ttl_s, self.window.expiration_s, self.window.inception_s] {
            signed.extend_from_slice(&word.to_be_bytes());
        }
        signed.extend_from_slice(&self.key_tag.to_be_bytes());
        signed.extend_from_slice(self.signer.wire());
        signed.extend_from_slice(&set.octets);
        if key.verifies(&signed, self.signature) { Ok(()) } else { Err(Bogus::Forged) }
    }

    /// The owner under which the records were signed: a wildcard for an answer that was made of one.
    fn signed_owner(&self, owner: &Name) -> Option<Name> {
        let has = owner.label_count() - usize::from(owner.is_wildcard());
        let above = has.checked_sub(usize::from(self.labels))?;
        if above == 0 {
            return Some(owner.clone());
        }
        let suffix = (0..owner.label_count() - usize::from(self.labels)).try_fold(owner.clone(), |name, _| name.parent())?;
        suffix.child(b"*").ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dnssec::key::Algorithm;
    use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
    use proptest::prelude::*;

    fn key(algorithm: Algorithm, private: &str) -> SigningKey {
        SigningKey::from_private(algorithm, 257, &BASE64.decode(private).unwrap().try_into().unwrap()).unwrap()
    }

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    #[test]
    fn the_signature_of_rfc_8080_is_ours() {
        let key = key(Algorithm::Ed25519, "ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=");
        let owner = name("example.com");
        let rdata = b"\0\x0a\x04mail\x07example\x03com\0".as_slice();
        let set = CanonicalSet::new(&owner, Rtype::MX, 3_600, [rdata]);
        let window = Window { inception_s: 1_438_207_200, expiration_s: 1_440_021_600 };
        let made = sign_set(&key, &owner, &set, window).unwrap();
        let rrsig = Rrsig::read(&made).unwrap();
        assert_eq!((rrsig.key_tag, rrsig.labels, rrsig.algorithm), (3_613, 2, 15));
        assert_eq!(
            BASE64.encode(rrsig.signature),
            "oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg=="
        );
    }

    #[test]
    fn the_signature_of_rfc_6605_verifies() {
        let key = key(Algorithm::EcdsaP256Sha256, "GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=");
        let signature = BASE64
            .decode("qx6wLYqmh+l9oCKTN6qIc+bw6ya+KJ8oMz0YP107epXAyGmt+3SNruPFKG7tZoLBLlUzGGus7ZwmwWep666VCw==")
            .unwrap();
        // 2010-08-12 10:04:39 and 2010-09-09 10:04:39.
        let window = Window { inception_s: 1_281_607_479, expiration_s: 1_284_026_679 };
        let rrsig = Rrsig {
            covered: Rtype::A,
            algorithm: 13,
            labels: 3,
            original_ttl_s: 3_600,
            window,
            key_tag: 55_648,
            signer: name("example.net"),
            signature: &signature,
        };
        let check = |rdata: &[u8], owner: &str, wall_s: u64, expect| {
            let wall = Wall(wall_s * 1_000);
            assert_eq!(rrsig.verify(key.dnskey(), &name(owner), Rtype::A, [rdata], wall), expect, "{owner} {wall_s}");
        };
        check(&[192, 0, 2, 1], "www.example.net", 1_281_607_479, Ok(()));
        check(&[192, 0, 2, 1], "www.example.net", 1_284_026_679, Ok(()));
        check(&[192, 0, 2, 1], "www.example.net", 1_284_026_680, Err(Bogus::Expired));
        check(&[192, 0, 2, 1], "www.example.net", 1_281_607_478, Err(Bogus::Expired));
        check(&[192, 0, 2, 2], "www.example.net", 1_284_026_679, Err(Bogus::Forged));
        check(&[192, 0, 2, 1], "ww.example.net", 1_284_026_679, Err(Bogus::Forged));
        check(&[192, 0, 2, 1], "example.net", 1_284_026_679, Err(Bogus::OtherSet));
        check(&[192, 0, 2, 1], "www.example.org", 1_284_026_679, Err(Bogus::OtherSet));
    }

    #[test]
    fn a_wildcard_signs_for_what_is_made_of_it() {
        let key = SigningKey::from_private(Algorithm::Ed25519, 256, &[3; 32]).unwrap();
        let (apex, wildcard) = (name("example"), name("*.w.example"));
        let set = CanonicalSet::new(&wildcard, Rtype::TXT, 60, [b"\x01x".as_slice()]);
        let made = sign_set(&key, &apex, &set, Window { inception_s: 0, expiration_s: 10 }).unwrap();
        let rrsig = Rrsig::read(&made).unwrap();
        assert_eq!(rrsig.labels, 2);
        let check = |owner: &str, expect| {
            let rdata = [b"\x01x".as_slice()];
            assert_eq!(rrsig.verify(key.dnskey(), &name(owner), Rtype::TXT, rdata, Wall(5_000)), expect, "{owner}");
        };
        check("*.w.example", Ok(()));
        check("a.w.example", Ok(()));
        check("b.a.w.example", Ok(()));
        check("a.v.example", Err(Bogus::Forged));
    }

    #[test]
    fn times_wrap() {
        let window = Window { inception_s: u32::MAX - 10, expiration_s: 10 };
        assert!(window.contains(Wall(u64::from(u32::MAX) * 1_000)));
        assert!(window.contains(Wall((1 << 32) * 1_000 + 5_000)));
        assert!(!window.contains(Wall((1 << 32) * 1_000 + 11_000)));
        assert_eq!(seconds_between(10, 5), -5);
    }

    proptest! {
        #[test]
        fn any_octets_are_read(rdata in proptest::collection::vec(any::<u8>(), 0..120)) {
            let key = Dnskey::from_rdata(&[1, 0, 3, 15, 1]).unwrap();
            if let Some(rrsig) = Rrsig::read(&rdata) {
                prop_assert!(rrsig.verify(&key, &Name::root(), rrsig.covered, [], Wall(0)).is_err());
            }
        }
    }
}

//! Hashed owner names (RFC 5155 section 5).
//!
//! The one use of SHA-1, which is the only algorithm of NSEC3 and protects nothing here. It allocates nothing, and a zone's
//! iterations bound the work.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::name::NAME_LEN_MAX;

/// Octets of a SHA-1 hash.
const HASH_LEN: usize = 20;

/// A hashed owner name.
pub(crate) type Hash = [u8; HASH_LEN];

/// More iterations than this are not done: validators take such zones for unsigned or fail (RFC 9276 section 3.2), and every
/// denial would cost three times as many hashes.
const ITERATIONS_MAX: u16 = 100;

/// How names are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nsec3Params<'z> {
    iterations: u16,
    salt: &'z [u8],
}

impl<'z> Nsec3Params<'z> {
    /// The parameters in the data of an NSEC3PARAM or NSEC3 record; `None` if they are cut short, of an unknown algorithm, or
    /// call for more work than we do.
    pub(crate) fn from_rdata(rdata: &'z [u8]) -> Option<Self> {
        let [1, _flags, high, low, salt_len, rest @ ..] = rdata else { return None };
        let iterations = u16::from_be_bytes([*high, *low]);
        let salt = rest.get(..usize::from(*salt_len))?;
        (iterations <= ITERATIONS_MAX).then_some(Self { iterations, salt })
    }

    /// The hash of a lower-case name in wire format.
    pub(crate) fn hash(&self, name: &[u8]) -> Hash {
        let mut salted = [0; NAME_LEN_MAX + 255];
        let mut hash: Hash = [0; HASH_LEN];
        let mut len = put(&mut salted, name, self.salt);
        for _ in 0..=self.iterations {
            let result = digest(&SHA1_FOR_LEGACY_USE_ONLY, salted.get(..len).unwrap_or_default());
            hash = result.as_ref().first_chunk().copied().unwrap_or_default();
            len = put(&mut salted, &hash, self.salt);
        }
        hash
    }
}

/// Puts octets and the salt behind them; returns their length.
fn put(buffer: &mut [u8], octets: &[u8], salt: &[u8]) -> usize {
    let len = octets.len() + salt.len();
    if let Some((front, back)) = buffer.get_mut(..len).and_then(|buffer| buffer.split_at_mut_checked(octets.len())) {
        front.copy_from_slice(octets);
        back.copy_from_slice(salt);
    }
    len
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::name::Name;

    #[test]
    fn hashes_are_those_of_rfc_5155_appendix_a() {
        let params = Nsec3Params::from_rdata(&[1, 0, 0, 12, 4, 0xaa, 0xbb, 0xcc, 0xdd]).unwrap();
        for (text, expect) in [
            ("example", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
            ("a.example", "35mthgpgcu1qg68fab165klnsnk3dpvl"),
            ("ai.example", "gjeqe526plbf1g8mklp59enfd789njgi"),
            ("*.w.example", "r53bq7cc2uvmubfu5ocmm6pers9tk9en"),
            ("x.y.w.example", "2vptu5timamqttgl4luu9kg21e0aor3s"),
        ] {
            let hash = params.hash(Name::from_text(text).unwrap().wire());
            let bits = hash.iter().fold(String::new(), |bits, octet| bits + &format!("{octet:08b}"));
            let digit = |bits: &[u8]| {
                let value = u32::from_str_radix(std::str::from_utf8(bits).unwrap(), 2).unwrap();
                char::from_digit(value, 32).unwrap()
            };
            let label: String = bits.as_bytes().chunks(5).map(digit).collect();
            assert_eq!(label, expect, "{text}");
        }
    }

    #[test]
    fn parameters_are_read_and_what_is_cut_is_not() {
        let rdata = [1, 1, 0, 12, 2, 0xaa, 0xbb, 20];
        assert_eq!(Nsec3Params::from_rdata(&rdata), Some(Nsec3Params { iterations: 12, salt: &[0xaa, 0xbb] }));
        for len in 0..7 {
            assert_eq!(Nsec3Params::from_rdata(rdata.get(..len).unwrap()), None, "{len}");
        }
        assert_eq!(Nsec3Params::from_rdata(&[2, 0, 0, 0, 0]), None);
        assert!(Nsec3Params::from_rdata(&[1, 0, 0, 100, 0]).is_some());
        assert_eq!(Nsec3Params::from_rdata(&[1, 0, 0, 101, 0]), None);
    }
}

//! Denial of existence as records: type bitmaps (RFC 4034 section 4.1.2), NSEC, NSEC3 with the parameters of RFC 9276.
//!
//! Only the form of these records is here; which names get one is decided by who signs the zone or answers.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::name::{Name, NameError};
use crate::zone::Rtype;

/// Octets of the hash of a name.
pub const HASH_LEN: usize = 20;

/// NSEC3 parameters as RFC 9276 section 3.1 wants them: SHA-1, no flags, no additional iterations, no salt.
pub const NSEC3PARAM: [u8; 5] = [1, 0, 0, 0, 0];

/// The bitmap of types that NSEC and NSEC3 carry. Types must come in ascending order; duplicates do no harm.
pub fn type_bitmap(types: impl IntoIterator<Item = Rtype>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut block = [0_u8; 32];
    let mut window = None;
    let mut len = 0;
    let mut flush = |window: Option<u8>, block: &mut [u8; 32], len: usize| {
        if let Some(window) = window {
            out.extend_from_slice(&[window, len as u8]);
            out.extend_from_slice(block.get(..len).unwrap_or_default());
            *block = [0; 32];
        }
    };
    for rtype in types {
        let [high, low] = rtype.0.to_be_bytes();
        if window != Some(high) {
            flush(window, &mut block, len);
            window = Some(high);
        }
        let at = usize::from(low / 8);
        if let Some(octet) = block.get_mut(at) {
            *octet |= 0x80 >> (low % 8);
        }
        len = at + 1;
    }
    flush(window, &mut block, len);
    out
}

/// The data of an NSEC record.
pub fn nsec_rdata(next: &Name, types: impl IntoIterator<Item = Rtype>) -> Vec<u8> {
    let mut rdata = next.wire().to_vec();
    rdata.extend(type_bitmap(types));
    rdata
}

/// The hash of a name (RFC 5155 section 5, no salt, no additional iterations).
pub fn nsec3_hash(name: &Name) -> [u8; HASH_LEN] {
    let mut hash = [0; HASH_LEN];
    for (to, from) in hash.iter_mut().zip(digest(&SHA1_FOR_LEGACY_USE_ONLY, name.wire()).as_ref()) {
        *to = *from;
    }
    hash
}

/// The data of an NSEC3 record.
pub fn nsec3_rdata(next: &[u8; HASH_LEN], types: impl IntoIterator<Item = Rtype>) -> Vec<u8> {
    let mut rdata = NSEC3PARAM.to_vec();
    rdata.push(HASH_LEN as u8);
    rdata.extend_from_slice(next);
    rdata.extend(type_bitmap(types));
    rdata
}

/// The owner of the NSEC3 record with this hash.
///
/// # Errors
/// [`NameError::TooLong`] for an apex of more than 222 octets.
pub fn nsec3_owner(hash: &[u8; HASH_LEN], apex: &Name) -> Result<Name, NameError> {
    apex.child(&base32hex(hash))
}

/// Base32 with the extended hex alphabet, without padding (RFC 4648 section 7), in small letters. Twenty octets need none.
fn base32hex(octets: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let mut out = Vec::with_capacity(octets.len().div_ceil(5) * 8);
    for group in octets.chunks(5) {
        let bits = group.iter().fold(0_u64, |bits, octet| bits << 8 | u64::from(*octet)) << (40 - 8 * group.len());
        let digits = (group.len() * 8).div_ceil(5);
        out.extend((0..digits).map(|at| DIGITS.get((bits >> (35 - 5 * at) & 31) as usize).copied().unwrap_or_default()));
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bitmaps() {
        let check =
            |types: &[u16], expect: &[u8]| assert_eq!(type_bitmap(types.iter().map(|t| Rtype(*t))), expect, "{types:?}");
        check(&[], &[]);
        // RFC 4034 section 4.3: A MX RRSIG NSEC TYPE1234.
        let mut example = vec![0, 6, 0x40, 1, 0, 0, 0, 3, 4, 27];
        example.extend_from_slice(&[0; 26]);
        example.push(0x20);
        check(&[1, 15, 46, 47, 1234], &example);
        check(&[1, 1, 2], &[0, 1, 0x60]);
        check(&[255, 256], &[&[0, 32][..], &[0; 31], &[1, 1, 1, 0x80]].concat());
    }

    #[test]
    fn hashes() {
        // Without salt and iterations, as BIND's nsec3hash prints them.
        let check = |name: &str, expect: &str| {
            let apex = Name::from_text("example").unwrap();
            let owner = nsec3_owner(&nsec3_hash(&Name::from_text(name).unwrap()), &apex).unwrap();
            assert_eq!(owner.to_string(), format!("{expect}.example."), "{name}");
        };
        check("example", "3msev9usmd4br9s97v51r2tdvmr9iqo1");
        check("a.example", "6cd522290vma0nr8lqu1ivtcofj94rga");
        let long = Name::from_text(&format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(40))).unwrap();
        assert_eq!(nsec3_owner(&[0; 20], &long), Err(NameError::TooLong));
    }

    #[test]
    fn base32() {
        // RFC 4648 section 10, without padding.
        for (octets, expect) in [
            ("", ""),
            ("f", "co"),
            ("fo", "cpng"),
            ("foo", "cpnmu"),
            ("foob", "cpnmuog"),
            ("fooba", "cpnmuoj1"),
            ("foobar", "cpnmuoj1e8"),
        ] {
            assert_eq!(base32hex(octets.as_bytes()), expect.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn a_bitmap_has_the_types_and_no_others(types in proptest::collection::btree_set(any::<u16>(), 0..40)) {
            let bitmap = type_bitmap(types.iter().map(|t| Rtype(*t)));
            let mut found = Vec::new();
            let mut rest = bitmap.as_slice();
            while let [window, len, tail @ ..] = rest {
                let (block, tail) = tail.split_at(usize::from(*len));
                prop_assert!(block.last().is_some_and(|last| *last != 0), "no trailing zeros");
                for (at, octet) in block.iter().enumerate() {
                    found.extend((0..8_u16).filter(|bit| octet & (0x80 >> bit) != 0).map(|bit| u16::from(*window) << 8 | (at as u16 * 8 + bit)));
                }
                rest = tail;
            }
            prop_assert_eq!(found, types.into_iter().collect::<Vec<_>>());
        }
    }
}

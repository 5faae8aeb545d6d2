//! The canonical form of records, which signatures cover (RFC 4034 section 6.2 as amended by RFC 6840 section 5.1).
//!
//! Record data comes in uncompressed and of its type's form; whatever else comes in is left as it is, without a panic.

use std::borrow::Cow;

use crate::name::Name;
use crate::zone::Rtype;

/// Where the names are in the data of a type.
enum Names {
    /// So many, one after the other, from this octet on.
    At(usize, usize),
    /// One after four octets and three character-strings.
    Naptr,
    /// One after a prefix length and what is left of an address.
    A6,
    /// None that is made small.
    None,
}

fn names_of(rtype: Rtype) -> Names {
    match rtype.0 {
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, NXT, DNAME
        2..=5 | 7..=9 | 12 | 30 | 39 => Names::At(0, 1),
        // SOA, MINFO, RP
        6 | 14 | 17 => Names::At(0, 2),
        // MX, AFSDB, RT, KX
        15 | 18 | 21 | 36 => Names::At(2, 1),
        // SIG
        24 => Names::At(18, 1),
        // PX
        26 => Names::At(2, 2),
        // SRV
        33 => Names::At(6, 1),
        35 => Names::Naptr,
        38 => Names::A6,
        // HINFO, NSEC and all newer types keep the case of what they hold.
        _ => Names::None,
    }
}

/// The canonical form of record data: the names that RFC 4034 lists made small.
pub fn canonical_rdata(rtype: Rtype, rdata: &[u8]) -> Cow<'_, [u8]> {
    let (start, count) = match names_of(rtype) {
        Names::At(start, count) => (start, count),
        Names::Naptr => (naptr_name_at(rdata), 1),
        Names::A6 => (rdata.first().map_or(0, |&len| 1 + (16 - usize::from(len.min(128)) / 8)), 1),
        Names::None => return Cow::Borrowed(rdata),
    };
    let end = (0..count).fold(start, |at, _| at + name_len(rdata.get(at..).unwrap_or_default()));
    match rdata.get(start..end) {
        Some(names) if names.iter().any(u8::is_ascii_uppercase) => {
            let mut out = rdata.to_vec();
            // Length octets are below 64, so they are no capitals.
            if let Some(names) = out.get_mut(start..end) {
                names.make_ascii_lowercase();
            }
            Cow::Owned(out)
        }
        _ => Cow::Borrowed(rdata),
    }
}

/// Octets of the name at the start; 0 if there is none.
fn name_len(octets: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match octets.get(at) {
            Some(0) => return at + 1,
            Some(&len) if len < 64 => at += 1 + usize::from(len),
            _ => return 0,
        }
    }
}

fn naptr_name_at(rdata: &[u8]) -> usize {
    (0..3).fold(4, |at, _| at + 1 + rdata.get(at).map_or(0, |&len| usize::from(len)))
}

/// An RRset in canonical form, ready to be signed by any number of keys.
#[derive(Debug)]
pub struct CanonicalSet {
    pub(super) owner: Name,
    pub(super) rtype: Rtype,
    pub(super) ttl_s: u32,
    /// Every record: owner, type, class, TTL, length, data; in canonical order.
    pub(super) octets: Vec<u8>,
}

impl CanonicalSet {
    /// The canonical form of an RRset. `rdata` may come in any order and with duplicates.
    pub fn new<'a>(owner: &Name, rtype: Rtype, ttl_s: u32, rdata: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut data: Vec<Cow<'a, [u8]>> = rdata.into_iter().map(|rdata| canonical_rdata(rtype, rdata)).collect();
        data.sort_unstable();
        data.dedup();
        let len = data.iter().map(|rdata| owner.wire().len() + 10 + rdata.len()).sum();
        let mut octets = Vec::with_capacity(len);
        for rdata in data {
            octets.extend_from_slice(owner.wire());
            octets.extend_from_slice(&rtype.0.to_be_bytes());
            octets.extend_from_slice(&[0, 1]);
            octets.extend_from_slice(&ttl_s.to_be_bytes());
            octets.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
            octets.extend_from_slice(&rdata);
        }
        Self { owner: owner.clone(), rtype, ttl_s, octets }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_are_made_small() {
        let check = |rtype: u16, rdata: &[u8], expect: &[u8]| {
            assert_eq!(canonical_rdata(Rtype(rtype), rdata), expect, "{rtype}");
        };
        check(2, b"\x02NS\x03Com\0", b"\x02ns\x03com\0");
        check(6, b"\x01A\0\x01B\0ABCDEFGHIJKLMNOPQRST", b"\x01a\0\x01b\0ABCDEFGHIJKLMNOPQRST");
        check(15, b"AB\x02MX\0", b"AB\x02mx\0");
        check(33, b"ABCDEF\x01T\0", b"ABCDEF\x01t\0");
        check(26, b"AB\x01T\0\x01U\0", b"AB\x01t\0\x01u\0");
        check(35, b"ABCD\x01S\x02AB\x03XYZ\x01T\0", b"ABCD\x01S\x02AB\x03XYZ\x01t\0");
        check(38, b"\x78A\x01T\0", b"\x78A\x01t\0");
        check(38, b"\x80\x01T\0", b"\x80\x01t\0");
        // TXT, NSEC and HTTPS stay.
        check(16, b"\x03ABC", b"\x03ABC");
        check(47, b"\x01A\0AB", b"\x01A\0AB");
        check(65, b"\0\x01\x01A\0", b"\0\x01\x01A\0");
    }

    proptest! {
        #[test]
        fn any_octets_are_taken(rtype in 0_u16..300, rdata in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(canonical_rdata(Rtype(rtype), &rdata).len(), rdata.len());
        }

        #[test]
        fn order_and_duplicates_do_not_matter(mut data in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..5), 1..6)) {
            let name = Name::from_text("a.example").unwrap();
            let set = |data: &[Vec<u8>]| CanonicalSet::new(&name, Rtype::TXT, 5, data.iter().map(Vec::as_slice)).octets;
            let one = set(&data);
            data.push(data.first().cloned().unwrap_or_default());
            data.reverse();
            prop_assert_eq!(one, set(&data));
        }
    }
}

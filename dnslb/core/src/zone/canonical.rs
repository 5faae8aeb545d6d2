//! Where names lie in record data, and the canonical form of record data: what makes two records the same, and what is signed.
//!
//! It reads data that has been checked, but survives any octets: what it cannot follow it leaves as it is.

use std::borrow::Cow;
use std::ops::Range;

use super::rtype::Rtype;

/// Length in octets of the uncompressed name at the start of `octets`, with its root label; `None` if it does not end there.
pub(super) fn name_len(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match octets.get(at)? {
            0 => return Some(at + 1),
            len @ 1..=63 => at += 1 + usize::from(*len),
            _ => return None,
        }
    }
}

/// Octets before the first name, and number of names, in data of the types whose names are lowercase in canonical form
/// (RFC 4034 section 6.2 without NSEC, as RFC 6840 section 5.1 amends it).
fn layout(rtype: Rtype, rdata: &[u8]) -> Option<(usize, usize)> {
    Some(match rtype.0 {
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, DNAME
        2..=5 | 7..=9 | 12 | 39 => (0, 1),
        // SOA, MINFO, RP
        6 | 14 | 17 => (0, 2),
        // MX, AFSDB, RT, KX
        15 | 18 | 21 | 36 => (2, 1),
        // PX
        26 => (2, 2),
        // SRV
        33 => (6, 1),
        // SIG, RRSIG
        24 | 46 => (18, 1),
        // NAPTR: two numbers and three character strings
        35 => {
            let mut at = 4;
            for _ in 0..3 {
                at += 1 + usize::from(*rdata.get(at)?);
            }
            (at, 1)
        }
        _ => return None,
    })
}

/// Where the names lie in `rdata` that are lowercase in canonical form.
pub fn name_ranges(rtype: Rtype, rdata: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let (mut at, mut left) = layout(rtype, rdata).unwrap_or_default();
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let range = at..at + name_len(rdata.get(at..)?)?;
        at = range.end;
        Some(range)
    })
}

/// Record data in canonical form (RFC 4034 section 6.2): itself, but for capitals in the names of some types.
pub fn canonical_rdata(rtype: Rtype, rdata: &[u8]) -> Cow<'_, [u8]> {
    let mut data = Cow::Borrowed(rdata);
    for range in name_ranges(rtype, rdata) {
        if rdata.get(range.clone()).is_some_and(|name| name.iter().any(u8::is_ascii_uppercase))
            && let Some(name) = data.to_mut().get_mut(range)
        {
            // Length octets are below every letter.
            name.make_ascii_lowercase();
        }
    }
    data
}

/// Whether two data of one type are the same record (RFC 2181 section 5, RFC 4343): the case of names does not count.
pub fn same_rdata(rtype: Rtype, a: &[u8], b: &[u8]) -> bool {
    a == b || (a.eq_ignore_ascii_case(b) && canonical_rdata(rtype, a) == canonical_rdata(rtype, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lowered_where_the_rfc_says() {
        let check = |rtype: u16, rdata: &[u8], expect: &[u8]| {
            assert_eq!(&*canonical_rdata(Rtype(rtype), rdata), expect, "TYPE{rtype}");
        };
        check(2, b"\x01A\0", b"\x01a\0");
        check(6, b"\x01A\0\x01B\0AAAAAAAAAAAAAAAAAAAA", b"\x01a\0\x01b\0AAAAAAAAAAAAAAAAAAAA");
        check(15, b"AA\x01A\0", b"AA\x01a\0");
        check(33, b"AAAAAA\x01A\0", b"AAAAAA\x01a\0");
        check(35, b"AAAA\x01S\x03E2U\0\x01A\0", b"AAAA\x01S\x03E2U\0\x01a\0");
        check(16, b"\x01A", b"\x01A");
        check(47, b"\x01A\0AA", b"\x01A\0AA");
        check(64, b"AA\x01A\0", b"AA\x01A\0");
        check(46, b"AAAAAAAAAAAAAAAAAA\x01A\0SSS", b"AAAAAAAAAAAAAAAAAA\x01a\0SSS");
        // What is broken stays as it is.
        check(2, b"\x09A", b"\x09A");
        check(35, b"AAAA\x09", b"AAAA\x09");
        assert!(same_rdata(Rtype::NS, b"\x01A\0", b"\x01a\0") && !same_rdata(Rtype::TXT, b"\x01A", b"\x01a"));
    }
}

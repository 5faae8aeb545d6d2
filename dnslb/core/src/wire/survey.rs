//! What a transport must know about a whole message that it carries and did not write: how long it may be kept, and whether an
//! option stands in it.
//!
//! It walks over records without following names, and must end for any octets.

use super::HEADER_LEN;

const TYPE_SOA: u16 = 6;
const TYPE_OPT: u16 = 41;
/// Type, class, TTL and the length of the data.
const FIXED_LEN: usize = 10;
/// The length of an SOA's data behind its two names; the last four octets are the negative TTL.
const SOA_TAIL_LEN: usize = 20;

/// The option code of edns-tcp-keepalive (RFC 7828).
pub const KEEPALIVE: u16 = 11;

/// How long an answer may be kept, in seconds: no longer than any of its records, nor than the zone says for an empty one (RFC 8484
/// 5.1, RFC 2308). 0 for an error, and for what cannot be read.
pub fn freshness_s(message: &[u8]) -> u32 {
    let rcode = message.get(3).map_or(u8::MAX, |octet| octet & 0x0f);
    if !matches!(rcode, 0 | 3) {
        return 0;
    }
    let mut ttl_s = None::<u32>;
    let mut lower = |ttl: u32| ttl_s = Some(ttl_s.map_or(ttl, |known| known.min(ttl)));
    let whole = records(message, |section, record| match (section, record.rtype) {
        (Section::Authority, TYPE_SOA) => {
            lower(record.ttl_s);
            let minimum = record.data.len().checked_sub(4).filter(|_| record.data.len() >= SOA_TAIL_LEN);
            lower(minimum.and_then(|at| number(record.data, at)).unwrap_or(0));
        }
        (Section::Additional, TYPE_OPT) => {}
        _ => lower(record.ttl_s),
    });
    // A TTL with its highest bit set counts as 0 (RFC 2181 8).
    whole.and(ttl_s).filter(|ttl_s| i32::try_from(*ttl_s).is_ok()).unwrap_or(0)
}

/// Whether an OPT record of the message has the option `code`.
pub fn has_option(message: &[u8], code: u16) -> bool {
    let mut found = false;
    let _ = records(message, |_, record| {
        let mut rest = if record.rtype == TYPE_OPT { record.data } else { &[] };
        while let Some((option, tail)) = rest.split_first_chunk::<4>() {
            let [c1, c0, l1, l0] = *option;
            found |= u16::from_be_bytes([c1, c0]) == code;
            rest = tail.get(usize::from(u16::from_be_bytes([l1, l0]))..).unwrap_or_default();
        }
    });
    found
}

#[derive(Clone, Copy)]
enum Section {
    Answer,
    Authority,
    Additional,
}

struct Record<'a> {
    rtype: u16,
    ttl_s: u32,
    data: &'a [u8],
}

/// Shows every record to `see`; `None` if the message is cut short.
fn records<'a>(message: &'a [u8], mut see: impl FnMut(Section, Record<'a>)) -> Option<()> {
    let count = |at: usize| message.get(at..at + 2).map(|o| o.iter().fold(0, |n, o| n << 8 | usize::from(*o)));
    let mut at = HEADER_LEN;
    for _ in 0..count(4)? {
        at = after_name(message, at)?.checked_add(4)?;
    }
    for (section, counter) in [(Section::Answer, 6), (Section::Authority, 8), (Section::Additional, 10)] {
        for _ in 0..count(counter)? {
            let fixed = after_name(message, at)?;
            let head = message.get(fixed..fixed + FIXED_LEN)?;
            let rtype = number(head, 0)? >> 16;
            let len = number(head, 6)? & 0xffff;
            let begin = fixed + FIXED_LEN;
            at = begin.checked_add(len as usize)?;
            see(section, Record { rtype: rtype as u16, ttl_s: number(head, 4)?, data: message.get(begin..at)? });
        }
    }
    Some(())
}

/// The four octets at `at` as a number.
fn number(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..)?.first_chunk::<4>().map(|octets| u32::from_be_bytes(*octets))
}

/// Where the name at `at` ends: after its root label or its first pointer.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let len = *message.get(at)?;
        match len {
            0 => return Some(at + 1),
            1..=63 => at += 1 + usize::from(len),
            192.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAME: &[u8] = b"\x01a\x00";

    fn record(rtype: u16, ttl_s: u32, data: &[u8]) -> Vec<u8> {
        let fixed = [&rtype.to_be_bytes()[..], &[0, 1], &ttl_s.to_be_bytes(), &(data.len() as u16).to_be_bytes()].concat();
        [b"\xc0\x0c", &fixed[..], data].concat()
    }

    fn message(rcode: u8, sections: [&[Vec<u8>]; 3]) -> Vec<u8> {
        let counts: Vec<u8> = sections.iter().flat_map(|section| (section.len() as u16).to_be_bytes()).collect();
        let head = [&[0, 0, 0x80, rcode, 0, 1][..], &counts, NAME, &[0, 1, 0, 1]].concat();
        [head, sections.concat().concat()].concat()
    }

    #[test]
    fn an_answer_is_as_fresh_as_its_shortest_record() {
        let a = |ttl_s| record(1, ttl_s, &[192, 0, 2, 1]);
        let soa = |ttl_s, minimum: u32| record(6, ttl_s, &[&[0; 18][..], &minimum.to_be_bytes()].concat());
        let opt = || record(41, 0, &[]);
        let check = |rcode, sections: [&[Vec<u8>]; 3], expect| assert_eq!(freshness_s(&message(rcode, sections)), expect);
        check(0, [&[a(60), a(5)], &[], &[opt()]], 5);
        check(0, [&[a(60)], &[a(30)], &[a(20), opt()]], 20);
        check(0, [&[], &[soa(900, 7)], &[]], 7);
        check(3, [&[], &[soa(5, 70)], &[]], 5);
        check(3, [&[a(3)], &[soa(5, 70)], &[]], 3);
        check(2, [&[a(60)], &[], &[]], 0);
        check(5, [&[], &[], &[]], 0);
        check(0, [&[], &[], &[]], 0);
        check(0, [&[a(0x8000_0000)], &[], &[]], 0);
        check(0, [&[], &[record(6, 5, &[0; 8])], &[]], 0);
        let cut = message(0, [&[a(60), a(5)], &[], &[]]);
        assert_eq!(freshness_s(cut.get(..cut.len() - 1).unwrap_or_default()), 0);
    }

    #[test]
    fn options_are_found() {
        let opt = |options: &[u8]| message(0, [&[], &[], &[record(41, 0, options)]]);
        for (options, expect) in [
            (&b"\x00\x0b\x00\x02\x00\x00"[..], true),
            (b"\x00\x0a\x00\x01x\x00\x0b\x00\x00", true),
            (b"\x00\x0a\x00\x04\x00\x0b\x00\x00", false),
            (b"\x00\x0a\xff\xff\x00\x0b\x00\x00", false),
            (b"\x00\x0b", false),
            (b"", false),
        ] {
            assert_eq!(has_option(&opt(options), KEEPALIVE), expect, "{options:?}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_come_to_an_end(octets: Vec<u8>) {
            let _ = (freshness_s(&octets), has_option(&octets, KEEPALIVE));
        }
    }
}

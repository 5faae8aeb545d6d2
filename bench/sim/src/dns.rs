//! Questions and answers on the wire, as a resolver writes and reads them (RFC 1035 section 4), and the caches of resolvers.
//!
//! The reading is of its own, not the name server's: a mistake there must not be repeated here.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// How long it is believed that there is nobody, in milliseconds: the zone's negative TTL.
const NEGATIVE_MS: u64 = 5_000;

/// What an answer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The response code: 0 is success, 3 that there is no such name.
    pub rcode: u8,
    /// Addresses in the order of the answer.
    pub addrs: Vec<Ipv4Addr>,
    /// The lowest TTL in seconds.
    pub ttl_s: u32,
}

/// The query for the IPv4 addresses of a name.
pub(crate) fn query(name: &str) -> Vec<u8> {
    let mut octets = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        octets.push(label.len() as u8);
        octets.extend_from_slice(label.as_bytes());
    }
    octets.extend_from_slice(&[0, 0, 1, 0, 1]);
    octets
}

/// Reads an answer; none if it is no message.
pub(crate) fn read(message: &[u8]) -> Option<Answer> {
    let word = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    let mut answer = Answer { rcode: message.get(3)? & 15, ttl_s: u32::MAX, ..Answer::default() };
    let mut at = 12;
    for _ in 0..word(4)? {
        at = skip_name(message, at)? + 4;
    }
    for _ in 0..word(6)? {
        at = skip_name(message, at)?;
        let (rtype, len) = (word(at)?, usize::from(word(at + 8)?));
        let ttl_s = u32::from(word(at + 4)?) << 16 | u32::from(word(at + 6)?);
        if let (1, Some([a, b, c, d])) = (rtype, message.get(at + 10..at + 10 + len)) {
            answer.addrs.push(Ipv4Addr::new(*a, *b, *c, *d));
            answer.ttl_s = answer.ttl_s.min(ttl_s);
        }
        at += 10 + len;
    }
    Some(answer)
}

fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            pointer if pointer >= 0xc0 => return Some(at + 2),
            label => at += usize::from(label) + 1,
        }
    }
}

/// A caching resolver and its clients' habits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolver {
    /// It keeps answers for so long whatever they say, in milliseconds; 0 honours TTLs.
    pub overstays_ms: u64,
    /// Its clients take the lowest address.
    pub sorts: bool,
    pub(crate) cache: BTreeMap<String, (u64, Vec<Ipv4Addr>)>,
}

impl Resolver {
    /// What it holds of a name.
    pub(crate) fn cached(&self, name: &str, now_ms: u64) -> Option<Vec<Ipv4Addr>> {
        self.cache.get(name).filter(|(until, _)| *until > now_ms).map(|(_, addrs)| addrs.clone())
    }

    /// Keeps an answer.
    pub(crate) fn keep(&mut self, name: &str, answer: &Answer, now_ms: u64) -> Vec<Ipv4Addr> {
        let mut addrs = answer.addrs.clone();
        if self.sorts {
            addrs.sort_unstable();
        }
        let ttl_ms = if addrs.is_empty() { NEGATIVE_MS } else { (u64::from(answer.ttl_s) * 1_000).max(self.overstays_ms) };
        self.cache.insert(name.to_owned(), (now_ms + ttl_ms, addrs.clone()));
        addrs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let mut message = query("www.lb.test");
        assert_eq!(message.len(), 12 + 13 + 4);
        (message[2], message[7]) = (0x84, 2);
        for last in [9, 4] {
            message.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30 + last, 0, 4, 10, 0, 0, last]);
        }
        let answer = read(&message).unwrap();
        assert_eq!((answer.rcode, answer.ttl_s), (0, 34));
        let mut resolver = Resolver { sorts: true, ..Resolver::default() };
        let lowest = Ipv4Addr::new(10, 0, 0, 4);
        assert_eq!(resolver.keep("www.lb.test", &answer, 1_000).first(), Some(&lowest));
        assert!(resolver.cached("www.lb.test", 34_999).is_some());
        assert!(resolver.cached("www.lb.test", 35_000).is_none());
        for end in 0..message.len() {
            let _ = read(&message[..end]);
        }
    }
}

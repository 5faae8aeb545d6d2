//! How many connections each source has open, in memory that is fixed, without a lock: a count-min sketch with a secret.
//!
//! A source can never have more than it may. It is refused below that only if others, with about as many connections as it may have,
//! share both of its counters; they are chosen by a secret, so that nobody can aim at a neighbour.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const ROW: usize = 1 << 15;

/// The counters of all workers.
#[derive(Debug)]
pub(super) struct Sources {
    secrets: [u64; 2],
    rows: [Box<[AtomicU32]>; 2],
}

/// A source's connection, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Counted<'a>([&'a AtomicU32; 2]);

impl Sources {
    /// With secrets of nobody's knowing.
    pub(super) fn new(secrets: [u64; 2]) -> Self {
        let row = || (0..ROW).map(|_| AtomicU32::new(0)).collect();
        Self { secrets, rows: [row(), row()] }
    }

    /// One more connection of a source; `None` if it has `max` already.
    pub(super) fn enter(&self, source: IpAddr, max: usize) -> Option<Counted<'_>> {
        let source = counted_as(source);
        let [first, second] = &self.rows;
        let [a, b] = self.secrets.map(|secret| place(source, secret));
        let counters = [first.get(a)?, second.get(b)?];
        let [a, b] = counters.map(|counter| counter.fetch_add(1, Relaxed));
        let counted = Counted(counters);
        // Dropped, it counts no more.
        ((a.min(b) as usize) < max).then_some(counted)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        for counter in self.0 {
            counter.fetch_sub(1, Relaxed);
        }
    }
}

/// An IPv6 client commands a whole /64.
fn counted_as(source: IpAddr) -> u64 {
    match source.to_canonical() {
        // No /64 of ::/32 is anybody's.
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

/// Multiplied and folded with a secret three times, as splitmix64 does.
fn place(source: u64, secret: u64) -> usize {
    let mut mixed = source ^ secret;
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, secret | 1] {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(factor);
    }
    (mixed >> 32) as usize % ROW
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where it cannot go on")]
    use super::*;

    #[test]
    fn a_source_has_its_share_and_gives_it_back() {
        let sources = Sources::new([7, 11]);
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        let first = sources.enter(ip("2001:db8::1"), 2).unwrap();
        let _second = sources.enter(ip("2001:db8::2"), 2).unwrap();
        assert!(sources.enter(ip("2001:db8::3"), 2).is_none());
        let _other = sources.enter(ip("2001:db8:0:1::3"), 2).unwrap();
        let _mapped = sources.enter(ip("::ffff:192.0.2.1"), 1).unwrap();
        assert!(sources.enter(ip("192.0.2.1"), 1).is_none());
        assert!(sources.enter(ip("192.0.2.2"), 0).is_none());
        drop(first);
        assert!(sources.enter(ip("2001:db8::3"), 2).is_some());
    }

    #[test]
    fn a_flood_from_many_sources_hits_few_others() {
        let sources = Sources::new([0x1234_5678_9abc_def0, 0xfeed_beef_0bad_cafe]);
        let v4 = |n: u32| IpAddr::from(std::net::Ipv4Addr::from(n));
        let max = 100;
        let flood: Vec<_> = (0..1_000).flat_map(|n| (0..max).map(move |_| v4(0x0a00_0000 + n))).collect();
        let held: Vec<_> = flood.into_iter().filter_map(|source| sources.enter(source, max)).collect();
        assert!(held.len() > 99_000, "{} of 100,000 that kept to their share", held.len());
        let refused = (0..10_000).filter(|n| sources.enter(v4(0xc000_0000 + n), max).is_none()).count();
        assert!(refused < 50, "{refused} of 10,000 honest sources");
        drop(held);
        assert!(sources.rows.iter().flatten().all(|counter| counter.load(Relaxed) == 0));
    }
}

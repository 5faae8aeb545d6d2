//! Response rate limiting: what one network may be sent over UDP, so that nobody is flooded with answers that somebody else
//! asked for in its name.
//!
//! As in BIND, responses of one kind to one network have a rate, a burst of one second and a memory of `window_s`. The state is a
//! table of fixed size: no source, name or number of them makes it grow, allocate or search, and two networks share an entry
//! only when keyed hashes of 38 bits (in a table of 65,536 entries) collide. A client with a valid cookie is never limited; streams prove their address.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use farm_shared::prefix::Prefix;
use farm_shared::time::Mono;

use crate::siphash::SipKey;

/// Kinds of responses, each with a rate of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Records for the question. Counted per name and type; what a wildcard gives, per zone.
    #[default]
    Answer,
    /// A delegation, per zone.
    Referral,
    /// A name without the type, per zone.
    NoData,
    /// No such name, per zone.
    NxDomain,
    /// REFUSED, FORMERR, SERVFAIL and the like, all together.
    Error,
}

/// Number of kinds.
pub const KINDS: usize = 5;

/// What may be sent.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Responses a second to one network, by [`Kind`]; 0 for any number.
    pub per_second: [u32; KINDS],
    /// Responses a second to one network in all; 0 for any number.
    pub all_per_second: u32,
    /// So long a flood is remembered after its end, at most, in seconds.
    pub window_s: u32,
    /// One in so many responses above the rate is sent without records and with TC, so that a client in the network that is
    /// flooded can turn to TCP; 0 for none, 1 for all.
    pub slip: u32,
    /// Length of the prefix that makes an IPv4 network, in bits.
    pub v4_bits: u8,
    /// Length of the prefix that makes an IPv6 network, in bits.
    pub v6_bits: u8,
    /// Whom no limit holds for.
    pub exempt: Vec<Prefix>,
    /// Limits are counted and not enforced.
    pub log_only: bool,
    pub(crate) key: SipKey,
}

impl Policy {
    /// Without limits; `key` keeps strangers from choosing the place of an entry in the table.
    pub fn new(key: [u8; 16]) -> Self {
        Self {
            per_second: [0; KINDS],
            all_per_second: 0,
            window_s: 15,
            slip: 2,
            v4_bits: 24,
            v6_bits: 56,
            exempt: Vec::new(),
            log_only: false,
            key: SipKey::new(key),
        }
    }

    /// What stands for a name in [`Response::subject`].
    pub(crate) fn subject(&self, name: &[u8]) -> u64 {
        self.key.hash(name)
    }

    fn exempts(&self, client: IpAddr) -> bool {
        self.exempt.iter().any(|prefix| prefix.contains(client))
    }

    fn network(&self, client: IpAddr) -> u128 {
        let upper = |bits: u8, width: u8, address: u128| {
            address & u128::MAX.checked_shl(u32::from(width.saturating_sub(bits))).unwrap_or(0)
        };
        match client {
            // An IPv4 network gets a number that no global IPv6 network has.
            IpAddr::V4(v4) => upper(self.v4_bits, 32, u128::from(v4.to_bits())) | 0xffff << 32,
            IpAddr::V6(v6) => upper(self.v6_bits, 128, v6.to_bits()),
        }
    }

    fn place(&self, network: u128, subject: u64, kind: u8) -> u64 {
        let mut input = [0; 25];
        let octets = network.to_le_bytes().into_iter().chain(subject.to_le_bytes()).chain([kind]);
        input.iter_mut().zip(octets).for_each(|(to, from)| *to = from);
        self.key.hash(&input)
    }
}

/// A response that is about to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Its kind.
    pub kind: Kind,
    /// What it is about: a name and type, or a zone, hashed.
    pub subject: u64,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent.
    Pass,
    /// Something short is sent instead.
    Slip,
    /// Nothing is sent.
    Drop,
}

/// Entries in one place of the table.
const WAYS: usize = 4;
/// The time in an entry, in microseconds, modulo 2^40 (12 days).
const TIME: u64 = (1 << 40) - 1;
const SECOND_US: u64 = 1_000_000;
/// Attempts to write an entry that others write too.
const ATTEMPTS: usize = 4;

/// What networks were sent lately. 8 octets an entry, shared by all threads.
///
/// An entry holds 24 bits of its key's hash, and when the network will have been sent no more than its rate allows: that one
/// time is its debt. A new key takes the place of the smallest debt among four; a flood from many networks thus replaces its
/// own entries, and those of others only while they owe nothing worth remembering.
#[derive(Debug)]
pub struct Table {
    sets: Box<[[AtomicU64; WAYS]]>,
}

impl Table {
    /// A table of `entries`, rounded up to a power of two.
    pub fn new(entries: usize) -> Self {
        let sets = entries.div_ceil(WAYS).clamp(1, 1 << 26).next_power_of_two();
        Self { sets: (0..sets).map(|_| <[AtomicU64; WAYS]>::default()).collect() }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// Always false.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Adds what a response costs to the debt of its place; whether the network has had too much.
    fn charge(&self, place: u64, per_second: u32, window_s: u32, now: Mono) -> bool {
        if per_second == 0 {
            return false;
        }
        let now_us = now.0.wrapping_mul(1_000) & TIME;
        let cap_us = (u64::from(window_s) + 1) * SECOND_US;
        let cost_us = SECOND_US / u64::from(per_second);
        let tag = place & !TIME;
        let Some(set) = self.sets.get(place as usize & (self.sets.len() - 1)) else { return false };
        let debt_us = |entry: u64| {
            let debt_us = entry.wrapping_sub(now_us) & TIME;
            // One that is further away than any debt can be lies in the past.
            if debt_us > cap_us { 0 } else { debt_us }
        };
        for _ in 0..ATTEMPTS {
            let mut chosen: Option<(&AtomicU64, u64, u64)> = None;
            for slot in set {
                let entry = slot.load(Relaxed);
                let owed_us = debt_us(entry);
                if entry & !TIME == tag {
                    chosen = Some((slot, entry, owed_us));
                    break;
                }
                if chosen.is_none_or(|(_, _, least_us)| owed_us < least_us) {
                    chosen = Some((slot, entry, owed_us));
                }
            }
            let Some((slot, entry, owed_us)) = chosen else { return false };
            let owed_us = if entry & !TIME == tag { owed_us } else { 0 };
            let owes_us = (owed_us + cost_us).min(cap_us);
            let new = tag | (now_us + owes_us) & TIME;
            if slot.compare_exchange(entry, new, Relaxed, Relaxed).is_ok() {
                return owes_us > SECOND_US;
            }
        }
        // So contended that it cannot be counted: the others who write it are being counted.
        false
    }
}

/// Decides about one response over UDP to a client that has not proven its address. `draw` is a uniform 64-bit number.
pub fn decide(table: &Table, policy: &Policy, now: Mono, client: IpAddr, response: Response, draw: u64) -> Verdict {
    let client = client.to_canonical();
    if policy.exempts(client) {
        return Verdict::Pass;
    }
    let network = policy.network(client);
    let rate = policy.per_second.get(response.kind as usize).copied().unwrap_or(0);
    let place = policy.place(network, response.subject, response.kind as u8);
    let mut limited = table.charge(place, rate, policy.window_s, now);
    if policy.all_per_second > 0 {
        let place = policy.place(network, 0, KINDS as u8);
        limited |= table.charge(place, policy.all_per_second, policy.window_s, now);
    }
    match policy.slip {
        _ if !limited => Verdict::Pass,
        0 => Verdict::Drop,
        // The low bits: the high ones have chosen the subset of a pool.
        slip if (draw & 0xffff_ffff).is_multiple_of(u64::from(slip)) => Verdict::Slip,
        _ => Verdict::Drop,
    }
}

#[cfg(test)]
mod tests;

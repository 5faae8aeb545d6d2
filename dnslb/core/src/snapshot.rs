//! All that an answer depends on, complete and immutable: the one thing the control loop publishes.
//!
//! A snapshot is swapped in whole. Answering reads it and nothing else, so an answer is never made of two generations.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use farm_shared::time::Mono;

use crate::overlay::Overlay;
use crate::zone::{Rtype, Zones};

/// One generation of everything that is served.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Counts the publications from 1.
    pub generation: u64,
    /// Static data.
    pub zones: Arc<Zones>,
    /// Pool and member names.
    pub overlay: Arc<Overlay>,
    /// Answers of the pools, by the index in [`crate::overlay::OverlayTarget::Pool`].
    pub pools: Vec<Arc<PoolAnswers>>,
    /// Bounds of every answer.
    pub limits: Limits,
}

/// Bounds of every answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// EDNS payload size announced, and the longest UDP answer, in octets.
    pub udp_len_max: u16,
    /// Most CNAME and DNAME records followed in one answer; at most [`Limits::CHAIN_CEILING`].
    pub chain_max: u8,
}

impl Limits {
    /// Most steps of a chain that any configuration allows.
    pub const CHAIN_CEILING: u8 = 16;
}

impl Default for Limits {
    /// 1232 octets, which no path fragments, and 8 steps.
    fn default() -> Self {
        Self { udp_len_max: 1_232, chain_max: 8 }
    }
}

/// Prebuilt answers of one pool.
#[derive(Debug, Clone, Default)]
pub struct PoolAnswers {
    /// Subsets for A queries.
    pub v4: FamilyAnswers,
    /// Subsets for AAAA queries.
    pub v6: FamilyAnswers,
    /// Lowest TTL of an answer, in seconds.
    pub ttl_s_min: u32,
    /// Highest TTL of an answer, in seconds.
    pub ttl_s_max: u32,
    /// Highest TTL of a NODATA answer for the pool's name, in seconds.
    pub negative_ttl_s: u32,
}

impl PoolAnswers {
    /// The answers for a record type; `None` for types a pool does not have.
    pub fn family(&self, rtype: Rtype) -> Option<&FamilyAnswers> {
        match rtype {
            Rtype::A => Some(&self.v4),
            Rtype::AAAA => Some(&self.v6),
            _ => None,
        }
    }

    /// TTL in seconds of an answer that holds until `change_at`: the time left, within the pool's bounds.
    pub fn ttl_s(&self, change_at: Mono, now: Mono) -> u32 {
        let left_s = u32::try_from(change_at.since_ms(now) / 1_000).unwrap_or(u32::MAX);
        left_s.min(self.ttl_s_max).max(self.ttl_s_min)
    }
}

/// The prebuilt answer sections of one pool and address family: one contiguous run of records, cut into subsets.
///
/// All records have the same length, because all data has.
#[derive(Debug, Clone, Default)]
pub struct FamilyAnswers {
    records: Vec<u8>,
    slots: Vec<u32>,
    /// End of each subset in `slots`, and when the state of a named member can change first.
    subsets: Vec<(u32, Mono)>,
    record_len: usize,
}

/// One prebuilt answer section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section<'a> {
    /// Whole records with an owner pointer to the question and TTL 0.
    pub records: &'a [u8],
    /// Length of each record in octets.
    pub record_len: usize,
    /// The members named, in the order of the records.
    pub slots: &'a [u32],
    /// When the state of a named member can change first; [`Mono::NEVER`] if nothing is pending.
    pub change_at: Mono,
}

impl FamilyAnswers {
    /// Subsets of IPv4 members, each a list of slot and address with the time of the first possible change.
    pub fn v4<'a>(subsets: impl IntoIterator<Item = (&'a [(u32, Ipv4Addr)], Mono)>) -> Self {
        Self::build(Rtype::A, subsets, Ipv4Addr::octets)
    }

    /// Subsets of IPv6 members; see [`FamilyAnswers::v4`].
    pub fn v6<'a>(subsets: impl IntoIterator<Item = (&'a [(u32, Ipv6Addr)], Mono)>) -> Self {
        Self::build(Rtype::AAAA, subsets, Ipv6Addr::octets)
    }

    /// Empty subsets are left out: no members is NODATA, not an answer of nothing.
    fn build<'a, A: Copy + 'a, const N: usize>(
        rtype: Rtype,
        subsets: impl IntoIterator<Item = (&'a [(u32, A)], Mono)>,
        octets: impl Fn(&A) -> [u8; N],
    ) -> Self {
        let mut family = Self { record_len: 12 + N, ..Self::default() };
        for (members, change_at) in subsets {
            if members.is_empty() {
                continue;
            }
            for (slot, address) in members {
                family.slots.push(*slot);
                write_record(&mut family.records, rtype, &octets(address));
            }
            family.subsets.push((family.slots.len() as u32, change_at));
        }
        family
    }

    /// Number of subsets.
    pub fn len(&self) -> usize {
        self.subsets.len()
    }

    /// Whether nobody can be named.
    pub fn is_empty(&self) -> bool {
        self.subsets.is_empty()
    }

    /// The subset of a uniform 64-bit draw; `None` when there is none.
    #[inline]
    pub fn pick(&self, draw: u64) -> Option<Section<'_>> {
        let index = (u128::from(draw) * self.subsets.len() as u128) >> 64;
        self.section(index as usize)
    }

    /// The subset at `index`.
    #[inline]
    pub fn section(&self, index: usize) -> Option<Section<'_>> {
        let &(end, change_at) = self.subsets.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => self.subsets.get(before)?.0,
            None => 0,
        };
        let (start, end) = (start as usize, end as usize);
        Some(Section {
            records: self.records.get(start * self.record_len..end * self.record_len)?,
            record_len: self.record_len,
            slots: self.slots.get(start..end)?,
            change_at,
        })
    }

    /// All subsets, in order.
    pub fn sections(&self) -> impl Iterator<Item = Section<'_>> {
        (0..self.len()).filter_map(|index| self.section(index))
    }
}

fn write_record(records: &mut Vec<u8>, rtype: Rtype, rdata: &[u8]) {
    records.extend_from_slice(&[0xc0, 0x0c]);
    records.extend_from_slice(&rtype.0.to_be_bytes());
    records.extend_from_slice(&[0, 1, 0, 0, 0, 0]);
    records.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
    records.extend_from_slice(rdata);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, last)
    }

    #[test]
    fn subsets_come_back_as_given() {
        let one = [(3, address(3)), (1, address(1))];
        let two = [(2, address(2))];
        let family = FamilyAnswers::v4([(&one[..], Mono(5)), (&[][..], Mono(6)), (&two[..], Mono::NEVER)]);
        assert_eq!(family.len(), 2);
        let first = family.section(0).unwrap();
        assert_eq!((first.slots, first.change_at, first.records.len()), (&[3, 1][..], Mono(5), 32));
        assert_eq!(first.records.get(12..16), Some(&[192, 0, 2, 3][..]));
        let second = family.section(1).unwrap();
        assert_eq!((second.slots, second.change_at, second.records.len()), (&[2][..], Mono::NEVER, 16));
        assert_eq!(family.section(2), None);
        assert_eq!(family.sections().count(), 2);
    }

    #[test]
    fn draws_reach_every_subset_evenly() {
        let members: Vec<[(u32, Ipv4Addr); 1]> = (0..5).map(|i| [(i, address(i as u8))]).collect();
        let family = FamilyAnswers::v4(members.iter().map(|m| (&m[..], Mono::NEVER)));
        let mut hits = [0; 5];
        for step in 0..1_000_u64 {
            let section = family.pick(step * (u64::MAX / 1_000)).unwrap();
            *hits.get_mut(*section.slots.first().unwrap() as usize).unwrap() += 1;
        }
        assert!(hits.iter().all(|&n: &i32| (199..=201).contains(&n)), "{hits:?}");
        assert_eq!(family.pick(u64::MAX).unwrap().slots, &[4]);
        assert_eq!(FamilyAnswers::default().pick(7), None);
    }

    #[test]
    fn ttl_is_the_time_left_within_bounds() {
        let pool = PoolAnswers { ttl_s_min: 2, ttl_s_max: 30, ..PoolAnswers::default() };
        let check = |change_at: u64, expect: u32| assert_eq!(pool.ttl_s(Mono(change_at), Mono(10_000)), expect);
        check(u64::MAX, 30);
        check(10_000 + 12_999, 12);
        check(10_000 + 500, 2);
        check(9_000, 2);
    }
}

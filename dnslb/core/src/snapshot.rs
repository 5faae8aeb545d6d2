//! All that an answer depends on, complete and immutable: the one thing the control loop publishes.
//!
//! A snapshot is swapped in whole. Answering reads it and nothing else, so an answer is never made of two generations.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use farm_shared::time::Mono;

use crate::overlay::Overlay;
use crate::service::Service;
use crate::signed_answers::SignedAnswers;
use crate::site::ClientMap;
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
    /// Which clients are told apart, and by what.
    pub clients: Arc<ClientMap>,
    /// Answers with their signatures, for zones that are signed here.
    pub signed: Arc<SignedAnswers>,
    /// Bounds of every answer.
    pub limits: Limits,
    /// What the server says of itself, cookies and rate limits.
    pub service: Arc<Service>,
}

/// Bounds of every answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// EDNS payload size announced, and the longest UDP answer, in octets.
    pub udp_len_max: u16,
    /// Most CNAME and DNAME records followed in one answer; at most [`Limits::CHAIN_CEILING`].
    pub chain_max: u8,
    /// Most signatures that one answering thread makes a second for names that exist, and as many for those that do not. See
    /// [`crate::online`].
    pub signatures_s_max: u32,
}

impl Limits {
    /// Most steps of a chain that any configuration allows.
    pub const CHAIN_CEILING: u8 = 16;
}

impl Default for Limits {
    /// 1232 octets, which no path fragments, 8 steps, and 1,000 signatures a second: some 2 % of a core's time each way.
    fn default() -> Self {
        Self { udp_len_max: 1_232, chain_max: 8, signatures_s_max: 1_000 }
    }
}

/// Prebuilt answers of one pool.
#[derive(Debug, Clone, Default)]
pub struct PoolAnswers {
    /// What clients get of whom nothing is known, and all clients of a pool that does not tell them apart.
    pub sets: AnswerSets,
    /// What clients of other classes get.
    pub others: Vec<AnswerSets>,
    /// For each class of clients (see [`crate::site::ClientMap`]) 0 for `sets`, or one more than an index in `others`. Empty for
    /// a pool that does not tell clients apart: then their class is never looked for.
    pub classes: Box<[u16]>,
    /// Whether the pool's names have HTTPS records, though there may be nobody to name now.
    pub has_https: bool,
    /// Lowest TTL of an answer, in seconds.
    pub ttl_s_min: u32,
    /// Highest TTL of an answer, in seconds.
    pub ttl_s_max: u32,
    /// Highest TTL of a NODATA answer for the pool's name, in seconds.
    pub negative_ttl_s: u32,
}

/// Prebuilt answers for one class of clients, by record type.
#[derive(Debug, Clone, Default)]
pub struct AnswerSets {
    /// For A queries.
    pub v4: FamilyAnswers,
    /// For AAAA queries.
    pub v6: FamilyAnswers,
    /// For HTTPS queries (RFC 9460); empty if the pool has none.
    pub https: FamilyAnswers,
    /// For SRV queries (RFC 2782), one for each service of the pool.
    pub srv: Vec<FamilyAnswers>,
}

impl AnswerSets {
    /// The answers for a record type at the pool's own names; `None` for types a pool does not have.
    #[inline]
    pub fn of(&self, rtype: Rtype) -> Option<&FamilyAnswers> {
        match rtype {
            Rtype::A => Some(&self.v4),
            Rtype::AAAA => Some(&self.v6),
            Rtype::HTTPS => Some(&self.https),
            _ => None,
        }
    }

    /// All that can be answered: what is signed when answers are.
    pub fn all(&self) -> impl Iterator<Item = &FamilyAnswers> {
        [&self.v4, &self.v6, &self.https].into_iter().chain(&self.srv)
    }
}

impl PoolAnswers {
    /// All that can be answered, to whomever.
    pub fn all_sets(&self) -> impl Iterator<Item = &AnswerSets> {
        std::iter::once(&self.sets).chain(&self.others)
    }

    /// What clients of a class get: 0 for everybody's answers. See [`PoolAnswers::classes`].
    #[inline]
    pub fn variant(&self, class: u16) -> u16 {
        self.classes.get(usize::from(class)).copied().unwrap_or(0)
    }

    /// The answers of a variant.
    #[inline]
    pub fn sets(&self, variant: u16) -> &AnswerSets {
        usize::from(variant).checked_sub(1).and_then(|index| self.others.get(index)).unwrap_or(&self.sets)
    }

    /// TTL in seconds of an answer that holds until `change_at`: the time left, within the pool's bounds.
    pub fn ttl_s(&self, change_at: Mono, now: Mono) -> u32 {
        let left_s = u32::try_from(change_at.since_ms(now) / 1_000).unwrap_or(u32::MAX);
        left_s.min(self.ttl_s_max).max(self.ttl_s_min)
    }
}

/// The prebuilt answer sections of one pool and record type: one contiguous run of records, cut into subsets.
#[derive(Debug, Clone)]
pub struct FamilyAnswers {
    rtype: Rtype,
    /// The records of each subset, then its additional records.
    octets: Vec<u8>,
    slots: Vec<u32>,
    subsets: Vec<Subset>,
}

/// Where a subset ends.
#[derive(Debug, Clone, Copy, Default)]
struct Subset {
    records: u32,
    extra: u32,
    slots: u32,
    /// When the state of a named member can change first.
    change_at: Mono,
}

/// One prebuilt answer section, and the additional records that go with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section<'a> {
    /// The type of the records.
    pub rtype: Rtype,
    /// Whole records with an owner pointer to the question and TTL 0.
    pub records: &'a [u8],
    /// Whole records for the additional section with TTL 0. The two octets of each owner say where the name stands: in octets from
    /// the start of `records`, or 0 for the owner of those.
    pub extra: &'a [u8],
    /// The members named, in the order of the records.
    pub slots: &'a [u32],
    /// When the state of a named member can change first; [`Mono::NEVER`] if nothing is pending.
    pub change_at: Mono,
}

impl<'a> Section<'a> {
    /// The records one by one.
    pub fn each(&self) -> impl Iterator<Item = &'a [u8]> {
        split(self.records)
    }

    /// The data of each record.
    pub fn rdata(&self) -> impl Iterator<Item = &'a [u8]> {
        split(self.records).filter_map(|record| record.get(12..))
    }
}

/// Records whose owner takes two octets, one by one.
pub fn split(mut records: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let len = records.get(10..)?.first_chunk::<2>()?;
        let (record, rest) = records.split_at_checked(12 + usize::from(u16::from_be_bytes(*len)))?;
        records = rest;
        Some(record)
    })
}

impl Default for FamilyAnswers {
    fn default() -> Self {
        Self::new(Rtype::A)
    }
}

impl FamilyAnswers {
    /// No subsets yet.
    pub fn new(rtype: Rtype) -> Self {
        Self { rtype, octets: Vec::new(), slots: Vec::new(), subsets: Vec::new() }
    }

    /// Subsets of IPv4 members, each a list of slot and address with the time of the first possible change.
    pub fn v4<'a>(subsets: impl IntoIterator<Item = (&'a [(u32, Ipv4Addr)], Mono)>) -> Self {
        Self::build(Rtype::A, subsets, Ipv4Addr::octets)
    }

    /// Subsets of IPv6 members; see [`FamilyAnswers::v4`].
    pub fn v6<'a>(subsets: impl IntoIterator<Item = (&'a [(u32, Ipv6Addr)], Mono)>) -> Self {
        Self::build(Rtype::AAAA, subsets, Ipv6Addr::octets)
    }

    fn build<'a, A: Copy + 'a, const N: usize>(
        rtype: Rtype,
        subsets: impl IntoIterator<Item = (&'a [(u32, A)], Mono)>,
        octets: impl Fn(&A) -> [u8; N],
    ) -> Self {
        let mut family = Self::new(rtype);
        for (members, change_at) in subsets {
            for (slot, address) in members {
                family.add(*slot, &octets(address));
            }
            family.end(change_at);
        }
        family
    }

    /// Adds a record of one more member to the subset that is being made.
    pub(crate) fn add(&mut self, slot: u32, rdata: &[u8]) {
        self.slots.push(slot);
        self.add_record(rdata);
    }

    /// Adds a record that names no more members.
    pub(crate) fn add_record(&mut self, rdata: &[u8]) {
        write_record(&mut self.octets, [0xc0, 0x0c], self.rtype, rdata);
    }

    /// Notes members that a record without a slot of its own names.
    pub(crate) fn add_slots(&mut self, slots: &[u32]) {
        self.slots.extend_from_slice(slots);
    }

    /// Length in octets of the records of the subset that is being made.
    pub(crate) fn len_open(&self) -> usize {
        self.octets.len() - self.subsets.last().map_or(0, |subset| subset.extra as usize)
    }

    /// Adds a whole subset.
    pub(crate) fn push(&mut self, section: Section<'_>) {
        self.slots.extend_from_slice(section.slots);
        self.octets.extend_from_slice(section.records);
        self.end_with(section.change_at, section.extra);
    }

    /// Ends the subset that is being made. One without members is left out: no members is NODATA, not an answer of nothing.
    pub(crate) fn end(&mut self, change_at: Mono) {
        self.end_with(change_at, &[]);
    }

    /// The same, with additional records in the form of [`Section::extra`].
    pub(crate) fn end_with(&mut self, change_at: Mono, extra: &[u8]) {
        if self.subsets.last().map_or(0, |subset| subset.slots as usize) == self.slots.len() {
            return;
        }
        let records = self.octets.len() as u32;
        self.octets.extend_from_slice(extra);
        self.subsets.push(Subset { records, extra: self.octets.len() as u32, slots: self.slots.len() as u32, change_at });
    }

    /// The type of the records.
    pub fn rtype(&self) -> Rtype {
        self.rtype
    }

    /// Number of subsets.
    pub fn len(&self) -> usize {
        self.subsets.len()
    }

    /// Whether nobody can be named.
    pub fn is_empty(&self) -> bool {
        self.subsets.is_empty()
    }

    /// The index of the subset of a uniform 64-bit draw; one behind the last when there is none.
    #[inline]
    pub fn index(&self, draw: u64) -> usize {
        ((u128::from(draw) * self.subsets.len() as u128) >> 64) as usize
    }

    /// The subset of a uniform 64-bit draw; `None` when there is none.
    #[inline]
    pub fn pick(&self, draw: u64) -> Option<Section<'_>> {
        self.section(self.index(draw))
    }

    /// The subset at `index`.
    #[inline]
    pub fn section(&self, index: usize) -> Option<Section<'_>> {
        let end = self.subsets.get(index)?;
        let before = match index.checked_sub(1) {
            Some(before) => *self.subsets.get(before)?,
            None => Subset::default(),
        };
        Some(Section {
            rtype: self.rtype,
            records: self.octets.get(before.extra as usize..end.records as usize)?,
            extra: self.octets.get(end.records as usize..end.extra as usize)?,
            slots: self.slots.get(before.slots as usize..end.slots as usize)?,
            change_at: end.change_at,
        })
    }

    /// All subsets, in order.
    pub fn sections(&self) -> impl Iterator<Item = Section<'_>> {
        (0..self.len()).filter_map(|index| self.section(index))
    }
}

/// Appends a record of class IN and TTL 0.
pub(crate) fn write_record(records: &mut Vec<u8>, owner: [u8; 2], rtype: Rtype, rdata: &[u8]) {
    records.extend_from_slice(&owner);
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
        assert_eq!(family.section(0).unwrap().rdata().collect::<Vec<_>>(), [[192, 0, 2, 3], [192, 0, 2, 1]]);
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

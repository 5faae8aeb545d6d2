//! The schedule of one address family (or service) of one pool, and when it is built anew.
//!
//! A member that may not be named any more is dropped at once, with every subset that names it; the refill comes later, off the
//! loop when it is large. A schedule here must never name a member that is not wanted, whatever a builder brings.

use super::variant::VariantKey;
use crate::pool::{Schedule, ScheduleMember, build, subsets_for};
use farm_shared::draw::Draws;
use farm_shared::id::Id;
use farm_shared::time::Mono;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Members times subsets up to which a schedule is built on the loop: a few milliseconds.
const INLINE_COST_MAX: usize = 400_000;
/// Fewer subsets than this, and a rough schedule takes the place of what is left.
const SUBSETS_LEFT_MIN: usize = 32;
/// Subsets of a rough schedule.
const SUBSETS_ROUGH: usize = 64;
/// A build that has not come back after so many milliseconds is started again.
const BUILD_MS_MAX: u64 = 10_000;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
    /// The SRV records of the service of this index; its schedule is of members, whatever their addresses.
    Service(u16),
}

/// What a schedule is made from.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wanted {
    pub(super) members: Vec<ScheduleMember>,
    pub(super) k: usize,
    pub(super) sort_share: f64,
    /// Fewer subsets than the members call for, if records are long.
    pub(super) subsets_max: usize,
}

/// A schedule to build off the loop.
#[derive(Clone, Debug)]
pub struct ScheduleJob {
    pool: Id,
    key: VariantKey,
    family: Family,
    epoch: u64,
    wanted: Wanted,
    draws: Draws,
}

/// A schedule that was built.
#[derive(Clone, Debug)]
pub struct BuiltSchedule {
    pub(super) pool: Id,
    pub(super) key: VariantKey,
    pub(super) family: Family,
    epoch: u64,
    wanted: Wanted,
    schedule: Schedule,
}

impl ScheduleJob {
    /// Builds it: up to some hundred milliseconds for 10,000 members.
    pub fn run(mut self) -> BuiltSchedule {
        let subsets = self.wanted.subsets();
        let schedule = self.wanted.build(subsets, &mut self.draws);
        let Self { pool, key, family, epoch, wanted, .. } = self;
        BuiltSchedule { pool, key, family, epoch, wanted, schedule }
    }
}

impl Wanted {
    fn subsets(&self) -> usize {
        subsets_for(&self.members, self.k, self.sort_share).min(self.subsets_max)
    }

    fn build(&self, subsets: usize, draws: &mut Draws) -> Schedule {
        build(&self.members, self.k, self.sort_share, subsets, draws)
    }
}

/// The schedule in use.
#[derive(Clone, Debug, Default)]
pub(super) struct FamilyState {
    pub(super) schedule: Schedule,
    built_for: Wanted,
    /// Subsets were dropped, or it was built in a hurry.
    rough: bool,
    pending: Option<(u64, Mono)>,
    /// A builder brought it, and no answers were made of it yet.
    fresh: bool,
}

/// Numbers builds and seeds them.
pub(super) struct Builds<'a> {
    pub(super) count: &'a mut u64,
    pub(super) draws: &'a Draws,
}

impl Builds<'_> {
    fn next(&mut self) -> (u64, Draws) {
        *self.count += 1;
        (*self.count, self.draws.child("schedule", *self.count))
    }
}

impl FamilyState {
    /// Makes the schedule name nobody but the wanted. Returns whether it changed, and what is to be built off the loop.
    pub(super) fn update(
        &mut self,
        (pool, key, family): (&Id, VariantKey, Family),
        wanted: Wanted,
        now: Mono,
        builds: &mut Builds<'_>,
    ) -> (bool, Option<Box<ScheduleJob>>) {
        let fresh = std::mem::take(&mut self.fresh);
        if wanted == self.built_for && !self.rough {
            return (fresh, None);
        }
        if wanted.members.is_empty() {
            let changed = !self.schedule.is_empty();
            *self = Self { built_for: wanted, ..Self::default() };
            return (changed, None);
        }
        let subsets = wanted.subsets();
        if wanted.members.len() * subsets <= INLINE_COST_MAX {
            self.schedule = wanted.build(subsets, &mut builds.next().1);
            (self.built_for, self.rough, self.pending) = (wanted, false, None);
            return (true, None);
        }
        let changed = self.drop_unwanted(&wanted, builds) || fresh;
        if self.pending.is_some() && !self.overdue(now) {
            return (changed, None);
        }
        let (epoch, draws) = builds.next();
        self.pending = Some((epoch, now));
        (changed, Some(Box::new(ScheduleJob { pool: pool.clone(), key, family, epoch, wanted, draws })))
    }

    /// Takes a schedule that was built off the loop, unless a newer one is on its way. [`FamilyState::update`] comes next.
    pub(super) fn take(&mut self, built: BuiltSchedule) {
        if self.pending.is_some_and(|(epoch, _)| epoch == built.epoch) {
            *self = Self { schedule: built.schedule, built_for: built.wanted, fresh: true, ..Self::default() };
        }
    }

    /// Whether a builder is lost.
    pub(super) fn overdue(&self, now: Mono) -> bool {
        self.pending.is_some_and(|(_, since)| now.since_ms(since) >= BUILD_MS_MAX)
    }

    fn drop_unwanted(&mut self, wanted: &Wanted, builds: &mut Builds<'_>) -> bool {
        let before = self.schedule.len();
        let old: BTreeMap<u32, IpAddr> = self.built_for.members.iter().map(|m| (m.slot, m.addr)).collect();
        let new: BTreeMap<u32, IpAddr> = wanted.members.iter().map(|m| (m.slot, m.addr)).collect();
        self.schedule.retain(|slot| new.get(&slot).is_some_and(|addr| old.get(&slot) == Some(addr)));
        let dropped = self.schedule.len() < before;
        self.rough |= dropped;
        if self.schedule.len() >= SUBSETS_LEFT_MIN {
            return dropped;
        }
        self.schedule = wanted.build(SUBSETS_ROUGH, &mut builds.next().1);
        self.built_for = wanted.clone();
        self.rough = true;
        true
    }
}

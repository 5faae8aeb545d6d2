//! The shares that members were given, to be held against their targets.
//!
//! Counters only rise, while members come and go and targets change: this module remembers from which counts on it counts. The
//! control loop has it look once a second while something changes; it must not be asked on the path of a query.

use dnslb_core::control::{MemberStatus, PoolStatus, Served};
use dnslb_core::snapshot::Snapshot;
use farm_shared::id::Id;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::named::{Live, Registry};

/// Who was named, and since when that is compared with the targets.
#[derive(Default)]
pub struct Shares {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    registry: Registry,
    accounts: BTreeMap<Id, Account>,
}

/// What was seen of one pool.
#[derive(Debug, Default)]
struct Account {
    /// Per slot: whose it is, and the count when that was first seen. A slot is given again when its member is gone.
    owners: BTreeMap<u32, (Id, u64)>,
    /// The target shares by slot, as bits, and the counts (named, lowest) when they were first seen.
    targets: BTreeMap<u32, u64>,
    since: BTreeMap<u32, (u64, u64)>,
}

/// What answers gave one member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// How often it was named.
    pub named: u64,
    /// Its share since the targets are what they are; none before the first answer.
    pub served: Option<f64>,
}

impl Shares {
    /// Counters for so many threads.
    pub fn new(threads: usize) -> Self {
        Self { state: Mutex::new(State { registry: Registry::new(threads), accounts: BTreeMap::new() }) }
    }

    /// A snapshot with the counters of its pools, which have these names.
    pub fn live(&self, snapshot: Arc<Snapshot>, names: &[Id], before: Option<&Live>) -> Live {
        self.lock().registry.live(snapshot, names, before)
    }

    /// Answers of each pool, and one row for each of its members, in the order of `pools`. Targets that changed since the last
    /// call begin a new comparison.
    pub fn account(&self, pools: &[PoolStatus]) -> (Vec<u64>, Vec<Vec<Row>>) {
        let mut state = self.lock();
        let State { registry, accounts } = &mut *state;
        accounts.retain(|name, _| pools.iter().any(|pool| pool.name == *name));
        let each = pools.iter().map(|pool| {
            let counters = registry.pool(&pool.name);
            let counts = |slot| counters.map_or((0, 0), |counters| counters.named(slot));
            let rows = accounts.entry(pool.name.clone()).or_default().rows(&pool.members, pool.sort_share, counts);
            (counters.map_or(0, |counters| counters.answers()), rows)
        });
        each.unzip()
    }

    /// How often the members of a pool with these slots were named so far.
    pub fn served(&self, pool: Id, slots: &[u32]) -> Served {
        let state = self.lock();
        let counters = state.registry.pool(&pool);
        let count = |slot: &u32| counters.map_or((0, 0), |counters| counters.named(*slot));
        let counts = slots.iter().map(|slot| (*slot, count(slot).0, count(slot).1)).collect();
        Served { pool, counts }
    }

    /// Answers of a pool to clients of each site, empty ones among them.
    pub fn by_site(&self, pool: &Id) -> Vec<(String, u64)> {
        self.lock().registry.by_site(pool)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    /// One row for each member of the pool, from the counts (named, lowest) of its slot.
    fn rows(&mut self, members: &[MemberStatus], sort_share: f64, counts: impl Fn(u32) -> (u64, u64)) -> Vec<Row> {
        let slots: Vec<(u32, (u64, u64))> = members.iter().map(|member| (member.slot, counts(member.slot))).collect();
        let targets: BTreeMap<u32, u64> =
            members.iter().map(|member| (member.slot, member.target_share.to_bits())).collect();
        let mut moved = targets != self.targets;
        for (member, (slot, (named, _))) in members.iter().zip(&slots) {
            let base = match self.owners.get(slot) {
                Some((owner, base)) if *owner == member.name => *base,
                // The first owner that is seen has counted from the start; a later one takes over a slot that was used.
                Some(_) => *named,
                None => 0,
            };
            moved |= self.owners.get(slot).is_some_and(|(owner, _)| *owner != member.name);
            self.owners.insert(*slot, (member.name.clone(), base));
        }
        if moved {
            // At the first sight of a pool nothing was counted for other targets, so its counts stand.
            let first = self.targets.is_empty();
            self.since = slots.iter().map(|(slot, counts)| (*slot, if first { (0, 0) } else { *counts })).collect();
            self.targets = targets;
        }
        let since = |slot: &u32, (named, lowest): &(u64, u64)| {
            let (named_then, lowest_then) = self.since.get(slot).copied().unwrap_or_default();
            (named.saturating_sub(named_then) as f64, lowest.saturating_sub(lowest_then) as f64)
        };
        let fresh: Vec<(f64, f64)> = slots.iter().map(|(slot, counts)| since(slot, counts)).collect();
        let named_sum: f64 = fresh.iter().map(|(named, _)| named).sum();
        let lowest_sum: f64 = fresh.iter().map(|(_, lowest)| lowest).sum();
        let rows = slots.iter().zip(&fresh).map(|((slot, (named, _)), (named_fresh, lowest_fresh))| {
            let base = self.owners.get(slot).map_or(0, |(_, base)| *base);
            let served = (named_sum > 0.0 && lowest_sum > 0.0)
                .then(|| (1.0 - sort_share) * named_fresh / named_sum + sort_share * lowest_fresh / lowest_sum);
            Row { named: named.saturating_sub(base), served }
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn member(name: &str, slot: u32, target_share: f64) -> MemberStatus {
        MemberStatus {
            name: Id::new(name).unwrap(),
            slot,
            dynamic: true,
            standing: "in_service",
            measured: "in_service",
            forced: None,
            word: None,
            why: String::new(),
            v4: None,
            v6: None,
            zone: None,
            weight: 1.0,
            target_share,
            certificate_days: None,
            run_queue: None,
            votes: None,
            eligible: true,
        }
    }

    #[test]
    fn shares_begin_anew_with_new_targets() {
        let mut account = Account::default();
        let mut check = |members: &[MemberStatus], counts: &[(u64, u64)], expect: &[(u64, Option<f64>)]| {
            let rows = account.rows(members, 0.5, |slot| counts[slot as usize]);
            assert_eq!(rows.iter().map(|row| (row.named, row.served)).collect::<Vec<_>>(), expect);
        };
        let halves = [member("a", 0, 0.5), member("b", 1, 0.5)];
        check(&halves, &[(0, 0), (0, 0)], &[(0, None), (0, None)]);
        check(&halves, &[(10, 6), (10, 4)], &[(10, Some(0.55)), (10, Some(0.45))]);
        // A third member: what was counted for other targets does not count.
        let thirds = [member("a", 0, 0.3), member("b", 1, 0.3), member("c", 2, 0.4)];
        check(&thirds, &[(10, 6), (10, 4), (0, 0)], &[(10, None), (10, None), (0, None)]);
        check(&thirds, &[(12, 8), (11, 4), (1, 0)], &[(12, Some(0.75)), (11, Some(0.125)), (1, Some(0.125))]);
        // b is gone and d has its slot: it begins at nothing.
        let again = [member("a", 0, 0.3), member("d", 1, 0.3), member("c", 2, 0.4)];
        check(&again, &[(12, 8), (11, 4), (1, 0)], &[(12, None), (0, None), (1, None)]);
        check(&again, &[(12, 8), (13, 5), (1, 0)], &[(12, Some(0.0)), (2, Some(1.0)), (1, Some(0.0))]);
    }
}

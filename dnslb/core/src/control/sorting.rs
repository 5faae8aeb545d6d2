//! `sort_share` in a closed loop: who was named, held against the sessions that members say were begun.
//!
//! Only pools that ask for it. Counts that cannot be compared (a new incarnation, a slot that changed hands) are left out.

use super::Control;
use super::view::Who;
use crate::pool::{Counted, follow, sort_share};
use farm_shared::id::Id;
use farm_shared::time::Mono;
use std::collections::BTreeMap;

/// Counts that say too little are added up for so long, in milliseconds, before they begin anew.
const COLLECT_MS_MAX: u64 = 3_600_000;

/// How often each member of a pool was named since the process began, by slot: answers, and those in which it was the lowest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The pool.
    pub pool: Id,
    /// Slot, named, lowest.
    pub counts: Vec<(u32, u64, u64)>,
}

/// What was counted when the comparison began.
#[derive(Clone, Debug, Default)]
pub(super) struct Sorting {
    since: Mono,
    /// Slot, incarnation and counts by member.
    base: BTreeMap<Who, (u32, u64, Counted)>,
}

impl Control {
    /// The pools whose counts are wanted, with the slots of their members.
    pub fn counts_wanted(&self) -> Vec<(Id, Vec<u32>)> {
        let wanted = self.pools.iter().filter(|pool| pool.spec.sort_auto);
        wanted.map(|pool| (pool.spec.name.clone(), pool.views.iter().map(|view| view.slot).collect())).collect()
    }

    /// Compares, and follows what comes of it by a bounded step.
    pub(super) fn served(&mut self, now: Mono, served: &Served) {
        let Some(pool) = self.pools.iter_mut().find(|pool| pool.spec.sort_auto && pool.spec.name == served.pool) else {
            return;
        };
        let counts: BTreeMap<u32, (u64, u64)> =
            served.counts.iter().map(|(slot, named, low)| (*slot, (*named, *low))).collect();
        let mut seen = BTreeMap::new();
        for view in &pool.views {
            let Who::Farm(farm, id) = &view.who else { continue };
            let Some(member) = self.farms.get(farm).and_then(|farm| farm.roster.get(id)) else { continue };
            let Some(&(named, lowest)) = counts.get(&view.slot) else { continue };
            let counted = Counted { named, lowest, sessions: member.heartbeat.load.arrivals };
            seen.insert(view.who.clone(), (view.slot, member.heartbeat.inc, counted));
        }
        let since = |(who, (slot, inc, now)): (&Who, &(u32, u64, Counted))| {
            let (_, _, then) = pool.sorting.base.get(who).filter(|base| (base.0, base.1) == (*slot, *inc))?;
            Some(Counted {
                named: now.named.checked_sub(then.named)?,
                lowest: now.lowest.checked_sub(then.lowest)?,
                sessions: now.sessions.checked_sub(then.sessions)?,
            })
        };
        let counted: Vec<Counted> = seen.iter().filter_map(since).collect();
        let estimate = sort_share(&counted);
        if let Some(estimate) = estimate {
            let next = follow(pool.sort_share, estimate);
            pool.dirty |= next != pool.sort_share;
            pool.sort_share = next;
        }
        let stale = pool.sorting.base.is_empty() || now.since_ms(pool.sorting.since) >= COLLECT_MS_MAX;
        if estimate.is_some() || stale {
            pool.sorting = Sorting { since: now, base: seen };
        }
    }
}

//! Whose silence is believed, whose zone is preferred, and which rule holds: what stands between the roster and the table.
//!
//! When most servers fall silent at once, it is the network, or this door, that is likely to be at fault: then silence must never
//! take a server out. A provider's word that an instance is terminated does, since its member is buried by then.

use super::Control;
use crate::route::{Candidate, RoutePolicy};
use farm_shared::heartbeat::Role;
use farm_shared::id::Id;
use farm_shared::member::{Freshness, Member, Standing};

/// A single server that falls silent is most of its farm, and says nothing about the network.
const PANIC_SILENT_MIN: usize = 2;
/// Servers of other zones get their share over this band of the own zone's load, half below and half above its limit: a switch would
/// send a crowd back and forth.
const ZONE_BAND: f64 = 0.2;

impl Control {
    /// Whether so many servers are silent that silence is not believed, and how many: silent ones and all.
    pub(super) fn panic(&self) -> Option<(usize, usize)> {
        // A server that was drained falls silent because it is stopped: that says nothing about the network, and a farm that shrinks
        // must not take its own doing for an outage.
        let stays = |m: &&Member| m.heartbeat.role == Role::Backend && !m.drain_wish && !m.heartbeat.draining();
        let backends = || self.roster.members().values().filter(stays);
        // The roster's own count is cheap, and zero nearly always.
        if self.roster.silent() < PANIC_SILENT_MIN {
            return None;
        }
        let (silent, all) = (backends().filter(|m| m.freshness == Freshness::Silent).count(), backends().count());
        let most = silent as f64 > self.spec.door.panic_share * all as f64;
        (most && silent >= PANIC_SILENT_MIN).then_some((silent, all))
    }

    /// What a member is good for at this door.
    pub(super) fn trusted(member: &Member, panic: bool) -> Standing {
        let drains = member.drain_wish || member.heartbeat.draining();
        match member.standing() {
            Standing::Silent if panic && drains => Standing::Draining,
            Standing::Silent if panic => Standing::Unknown,
            standing => standing,
        }
    }

    /// The rule for the next table.
    pub(super) fn rule(&self, candidates: &[Candidate]) -> RoutePolicy {
        let period_ms = candidates.iter().map(|c| c.period_ms).max().unwrap_or(1_000);
        let before = self.published.as_ref().map(|snapshot| snapshot.table.policy());
        self.spec.door.policy.resolved(&self.speeds, period_ms, before)
    }

    /// Gives servers of other zones what the load of the door's own zone leaves for them. `zones` are those of the candidates, and how
    /// many of how many cores are busy.
    pub(super) fn prefer_zone(&self, candidates: &mut [Candidate], zones: &[(Option<&Id>, f64, f64)]) {
        let Some(own) = &self.spec.door.zone else { return };
        let (mut busy, mut cores) = (0.0, 0.0);
        for (_, b, c) in zones.iter().filter(|(zone, _, _)| *zone == Some(own)) {
            (busy, cores) = (busy + b, cores + c);
        }
        // Without a server of the own zone there is nothing to prefer.
        let load = if cores > 0.0 { busy / cores } else { f64::INFINITY };
        let share = ((load - self.spec.door.zone_load_max) / ZONE_BAND + 0.5).clamp(0.0, 1.0);
        for (candidate, (zone, _, _)) in candidates.iter_mut().zip(zones) {
            if *zone != Some(own) {
                candidate.preference = share;
            }
        }
    }
}

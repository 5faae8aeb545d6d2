//! Which servers are taken out of service, and which of those are stopped.
//!
//! Zones are kept balanced first; within the fullest zone the servers go whose sessions are most stale. Fixed roles and what the
//! provider does not run are never chosen.

use super::check::undrained;
use super::observation::{Observation, Plan, ServerLoad, ServerState};
use super::plan::Policy;
use farm_shared::id::Id;
use std::collections::BTreeMap;

/// At most so many to be drained, all of one zone.
pub(super) fn victims(policy: &Policy, observation: &Observation, count: usize) -> Vec<Id> {
    if count == 0 {
        return Vec::new();
    }
    let mut zones: BTreeMap<Option<&Id>, (usize, Vec<&ServerLoad>)> = BTreeMap::new();
    for server in observation.servers.iter().filter(|s| s.state == ServerState::Live) {
        let (live, candidates) = zones.entry(server.zone.as_ref()).or_default();
        *live += 1;
        if server.managed && !server.role {
            candidates.push(server);
        }
    }
    let least = policy.limits.min_per_zone as usize;
    for (zone, (live, candidates)) in &mut zones {
        candidates.sort_by(|a, b| staleness(b).cmp(&staleness(a)).then(a.sessions.cmp(&b.sessions)).then(a.id.cmp(&b.id)));
        if zone.is_some() {
            candidates.truncate(live.saturating_sub(least));
        }
    }
    let stalest = |list: &[&ServerLoad]| list.first().map(|s| staleness(s));
    let fullest = zones.iter().filter(|(_, (_, candidates))| !candidates.is_empty()).max_by(
        |(a_zone, (a, of_a)), (b_zone, (b, of_b))| a.cmp(b).then(stalest(of_a).cmp(&stalest(of_b))).then(b_zone.cmp(a_zone)),
    );
    let Some((zone, (live, candidates))) = fullest else { return Vec::new() };
    // No further than to the next zone, which is then as full.
    let next = zones.iter().filter(|(other, _)| *other != zone).map(|(_, (live, _))| *live).max();
    let count = next.map_or(count, |next| count.min(live.saturating_sub(next).max(1)));
    candidates.iter().take(count).map(|s| s.id.clone()).collect()
}

/// Milliseconds since its youngest session was active; without sessions it is the stalest of all.
fn staleness(server: &ServerLoad) -> u64 {
    if server.sessions == 0 { u64::MAX } else { server.youngest_ms.unwrap_or(0) }
}

/// Stops what is drained, and what was launched and never heard. How many sessions are lost by that.
pub(super) fn stop_drained(policy: &Policy, observation: &Observation, plan: &mut Plan, refused: &mut Vec<String>) -> u32 {
    if let Some(why) = &observation.frozen_in {
        refused.push(format!("taking servers away: {why}"));
        return 0;
    }
    plan.terminate.extend(observation.overdue.iter().cloned());
    let mut lost = 0;
    let mut warm = policy.warm.saturating_sub(observation.warm);
    let leaves = |s: &&ServerLoad| match s.state {
        ServerState::Draining => true,
        ServerState::Leaving => s.draining_ms.is_some(),
        _ => false,
    };
    for server in observation.servers.iter().filter(|s| s.managed).filter(leaves) {
        if plan.terminate.contains(&server.id) {
            continue;
        }
        if let Some(why) = undrained(server, &policy.limits) {
            refused.push(format!("stopping {}: {why}", server.id));
            continue;
        }
        lost += server.sessions;
        // What is about to be lost is nothing to start again.
        if warm > 0 && server.state == ServerState::Draining && !server.role {
            warm -= 1;
            plan.stop.push(server.id.clone());
        } else {
            plan.terminate.push(server.id.clone());
        }
    }
    lost
}

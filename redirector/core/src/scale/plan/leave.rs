//! Servers whose machine is to go: they are no capacity, so their replacements are launched by the ordinary rule; here they are sent
//! out of service once those are there.
//!
//! It must never drain one while the others are too few: a machine that may be interrupted serves better than none.

use super::super::observation::{Observation, Plan, ServerLoad, ServerState};
use farm_shared::id::Id;

/// Leaving servers that the scaler does not drain yet.
fn staying(observation: &Observation) -> impl Iterator<Item = &ServerLoad> {
    observation.servers.iter().filter(|s| s.managed && !s.role && s.state == ServerState::Leaving && s.draining_ms.is_none())
}

/// Drains as many of them as are replaced: those beyond what is missing of `desired`, the ones with the fewest sessions first.
pub(super) fn drain_leaving(observation: &Observation, live: u32, desired: u32, plan: &mut Plan, refused: &mut Vec<String>) {
    let mut leaving: Vec<&ServerLoad> = staying(observation).collect();
    if leaving.is_empty() || observation.frozen_in.is_some() {
        return;
    }
    // Servers are added or taken away, never both at once; what is launched now is not there yet anyway.
    if plan.launch > 0 || !plan.undrain.is_empty() {
        refused.push(format!("draining {} whose machine is to go: replacements first", leaving.len()));
        return;
    }
    leaving.sort_by(|a, b| a.sessions.cmp(&b.sessions).then(a.id.cmp(&b.id)));
    let missing = desired.saturating_sub(live) as usize;
    let replaced = leaving.len().saturating_sub(missing);
    if replaced < leaving.len() {
        refused.push(format!("draining {} whose machine is to go: replacements boot", leaving.len() - replaced));
    }
    let ids = leaving.iter().take(replaced).map(|s| s.id.clone());
    let new: Vec<Id> = ids.filter(|id| !plan.drain.contains(id)).collect();
    plan.drain.extend(new);
}

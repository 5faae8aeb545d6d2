//! The rule of seed 003, 4.1: spare processors on servers with short run queues.
//!
//! "When the total CPU capacity available on servers with short run queues is less than 50%, the redirector launches a new
//! server; when the total CPU capacity is more than 150%, the redirector terminates a server whose sessions are most stale."
//! One at a time; it must never see arrivals or boot times, since the paper's did not.

use super::observation::{Observation, ServerState};

/// Below this much spare, in servers, one more is wanted.
pub(super) const LAUNCH_BELOW: f64 = 0.5;
/// Above this much spare, in servers, one less.
pub(super) const DRAIN_ABOVE: f64 = 1.5;

/// Spare capacity of live servers whose queue is at most `q_short`, counted in average servers.
pub(super) fn available(observation: &Observation, q_short: f64) -> f64 {
    let live = || observation.servers.iter().filter(|s| s.state == ServerState::Live);
    let cores: f64 = live().map(|s| s.cores).sum();
    let count = live().count() as f64;
    if count == 0.0 || cores <= 0.0 {
        return 0.0;
    }
    let spare: f64 = live().filter(|s| s.queue <= q_short).map(|s| s.cores * (1.0 - s.busy)).sum();
    spare / (cores / count)
}

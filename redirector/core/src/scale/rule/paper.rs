//! The rule of seed 003, 4.1: spare processors on servers with short run queues.
//!
//! "When the total CPU capacity available on servers with short run queues is less than 50%, the redirector launches a new
//! server; when the total CPU capacity is more than 150%, the redirector terminates a server whose sessions are most stale."
//! One at a time; it must never see arrivals or boot times, since the paper's did not.

use super::{View, Wanted, hold};

/// Below this much spare, in servers, one more is wanted.
const LAUNCH_BELOW: f64 = 0.5;
/// Above this much spare, in servers, one less.
const DRAIN_ABOVE: f64 = 1.5;

pub(super) fn want(view: &View<'_>) -> Wanted {
    let (min, q_short, pending) = (view.policy.limits.min, view.policy.q_short, view.observation.pending);
    let have = view.have();
    let spare = available(view);
    if !spare.is_finite() {
        return hold(have, "servers do not say how busy they are");
    }
    let mut refused = None;
    let (servers, reason) = if have < min {
        (min, format!("{have} servers, at least {min} are wanted"))
    } else if spare < LAUNCH_BELOW && pending == 0 {
        (view.live + 1, format!("spare capacity {spare:.2} servers is below {LAUNCH_BELOW}"))
    } else if spare < LAUNCH_BELOW {
        refused = Some(format!("a launch: {pending} under way, and the paper launches one at a time"));
        (have, format!("spare capacity {spare:.2} servers is below {LAUNCH_BELOW}"))
    } else if spare > DRAIN_ABOVE && pending == 0 {
        (view.live.saturating_sub(1), format!("spare capacity {spare:.2} servers is above {DRAIN_ABOVE}"))
    } else {
        (have, format!("spare capacity {spare:.2} servers"))
    };
    let formula = format!("sum of cores*(1-busy) where q <= {q_short} in average servers = {spare:.3}");
    Wanted { servers, reason, formula, refused }
}

/// Spare capacity of live servers whose queue is at most `q_short`, counted in average servers.
fn available(view: &View<'_>) -> f64 {
    let cores: f64 = view.servers().map(|s| s.cores).sum();
    let count = f64::from(view.live);
    if count == 0.0 || cores <= 0.0 {
        return 0.0;
    }
    let short = view.servers().filter(|s| s.queue.partial_cmp(&view.policy.q_short).is_none_or(std::cmp::Ordering::is_le));
    let spare: f64 = short.map(|s| s.cores * (1.0 - s.busy)).sum();
    spare / (cores / count)
}

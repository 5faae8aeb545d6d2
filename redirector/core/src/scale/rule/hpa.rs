//! A horizontal pod autoscaler's rule: <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details>.
//!
//! `ceil(n * metric/target)` every 15 s, nothing within a tenth of the target. Servers that are not ready count as idle before
//! more are launched. At most twice as many or four more within 15 s. Its downscale stabilisation is the policy's own window.

use super::{View, Wanted, hold};
use farm_shared::time::Mono;

const SYNC_MS: u64 = 15_000;
const TOLERANCE: f64 = 0.1;
const MORE_MIN: u32 = 4;

/// The last synchronisation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Synced {
    last: Option<(Mono, Wanted)>,
}

pub(super) fn want(view: &View<'_>, synced: &mut Synced) -> Wanted {
    if let Some((at, wanted)) = &synced.last
        && view.now.since_ms(*at) < SYNC_MS
    {
        return wanted.clone();
    }
    let replicas = synced.last.as_ref().map_or(view.have(), |(_, w)| w.servers);
    let mut wanted = sync(view, replicas);
    wanted.servers = wanted.servers.min(view.policy.limits.max).max(view.policy.limits.min);
    synced.last = Some((view.now, wanted.clone()));
    wanted
}

fn sync(view: &View<'_>, replicas: u32) -> Wanted {
    let target = view.policy.target;
    let Some(busy) = view.busy() else { return hold(replicas, "no server says how busy it is") };
    let (ready, have) = (f64::from(view.live), f64::from(view.have()));
    let reason = format!("busy {busy:.2}, target {target:.2}");
    let stay = || Wanted { servers: replicas, reason: reason.clone(), ..Wanted::default() };
    let ratio = busy / target;
    if (ratio - 1.0).abs() <= TOLERANCE {
        return stay();
    }
    if ratio < 1.0 {
        let servers = (ready * ratio - 1e-9).ceil().max(1.0) as u32;
        return Wanted { servers, formula: format!("ceil({ready} * {busy:.3}/{target:.2}) = {servers}"), ..stay() };
    }
    // Those that are not ready are taken for idle: they will carry some of the load.
    let spread = ratio * ready / have;
    if spread <= 1.0 + TOLERANCE {
        return stay();
    }
    let servers = ((have * spread - 1e-9).ceil() as u32).min((2 * view.have()).max(view.have() + MORE_MIN));
    Wanted { servers, formula: format!("ceil({have} * {:.3}/{target:.2}) = {servers}", spread * target), ..stay() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::story;
    use crate::config::ScalePolicy::Hpa;

    #[test]
    fn proportional_with_tolerance() {
        for (parts, expect) in [
            (&[(0, 0.9, 4, 0)][..], 6),
            (&[(0, 0.65, 4, 0)], 4),
            (&[(0, 0.55, 4, 0)], 4),
            (&[(0, 0.9, 4, 2)], 6),
            (&[(0, 0.9, 4, 1)], 6),
            (&[(0, 0.3, 4, 0)], 2),
            (&[(0, 0.0, 4, 0)], 1),
            // Not before the next synchronisation.
            (&[(0, 0.6, 4, 0), (10, 0.9, 4, 0)], 4),
            (&[(0, 0.6, 4, 0), (15, 0.9, 4, 0)], 6),
        ] {
            assert_eq!(story(Hpa, parts), expect, "{parts:?}");
        }
    }
}

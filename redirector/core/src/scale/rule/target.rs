//! Target tracking as an auto scaling group does it: <https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-scaling-target-tracking.html>.
//!
//! Out after three minutes above the target, in after fifteen below nine tenths of it. Launches under way are warming up: not part
//! of the metric, but of the capacity; while there are any, nothing is taken away.

use super::alarm::Alarms;
use super::{View, Wanted, hold};

const PERIODS_OUT: usize = 3;
const PERIODS_IN: usize = 15;
/// In only below this share of the target.
const IN_BELOW: f64 = 0.9;

pub(super) fn want(view: &View<'_>, alarms: &mut Alarms) -> Wanted {
    let target = view.policy.target;
    alarms.observe(view.now, view.busy());
    let desired = alarms.desired(view.have());
    let Some(busy) = view.busy() else { return hold(desired, "no server says how busy it is") };
    let proportional = |metric: f64| (f64::from(view.live) * metric / target - 1e-9).ceil().max(0.0) as u32;
    let formula = |metric: f64| format!("ceil({} * {metric:.3}/{target:.2}) = {}", view.live, proportional(metric));
    let limits = &view.policy.limits;
    if let Some(metric) = alarms.fires(view.now, PERIODS_OUT, |v| v > target) {
        let servers = alarms.act(view.now, proportional(metric).max(desired), limits);
        let reason = format!("busy {metric:.2} for 3 minutes, above {target:.2}");
        return Wanted { servers, reason, formula: formula(metric), refused: None };
    }
    if let Some(metric) = alarms.fires(view.now, PERIODS_IN, |v| v < IN_BELOW * target) {
        let reason = format!("busy {metric:.2} for 15 minutes, below {:.2}", IN_BELOW * target);
        if view.observation.pending > 0 {
            let refused = Some("draining: launches warm up".into());
            return Wanted { servers: desired, reason, formula: formula(metric), refused };
        }
        let servers = alarms.act(view.now, proportional(metric).min(desired), limits);
        return Wanted { servers, reason, formula: formula(metric), refused: None };
    }
    Wanted { servers: desired, reason: format!("busy {busy:.2}, no alarm"), formula: formula(busy), refused: None }
}

#[cfg(test)]
mod tests {
    use super::super::tests::story;
    use crate::config::ScalePolicy::TargetTracking;

    #[test]
    fn out_soon_and_in_late() {
        for (parts, expect) in [
            (&[(179, 0.9, 4, 0)][..], 4),
            (&[(180, 0.9, 4, 0)], 6),
            (&[(180, 0.65, 4, 0)], 5),
            (&[(600, 0.6, 4, 0)], 4),
            (&[(120, 0.9, 4, 0), (180, 0.5, 4, 0), (240, 0.9, 4, 0)], 4),
            (&[(180, 0.9, 4, 2)], 6),
            (&[(180, 1.0, 4, 1)], 7),
            (&[(899, 0.1, 4, 0)], 4),
            (&[(900, 0.1, 4, 0)], 1),
            (&[(900, 0.55, 4, 0)], 4),
            (&[(900, 0.1, 4, 1)], 5),
        ] {
            assert_eq!(story(TargetTracking, parts), expect, "{parts:?}");
        }
    }
}

//! Step scaling as an auto scaling group does it, with the steps of its documentation's example:
//! <https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-scaling-simple-step.html>.
//!
//! The further a one-minute average is from the target, the larger the step. Launches under way count as made.

use super::alarm::Alarms;
use super::{View, Wanted, hold};

/// So far above the target, so large a share more; the last that holds counts.
const STEPS: [(f64, f64); 3] = [(0.0, 0.1), (0.1, 0.2), (0.2, 0.3)];
const PERIODS_OUT: usize = 1;
const PERIODS_IN: usize = 15;
/// Nothing is taken away closer than this below the target.
const DEAD_BAND: f64 = 0.1;

pub(super) fn want(view: &View<'_>, alarms: &mut Alarms) -> Wanted {
    let target = view.policy.target;
    alarms.observe(view.now, view.busy());
    let desired = alarms.desired(view.have());
    let Some(busy) = view.busy() else { return hold(desired, "no server says how busy it is") };
    let (live, limits) = (f64::from(view.live), &view.policy.limits);
    let share = |distance: f64| STEPS.iter().rev().find(|(from, _)| distance > *from).map_or(0.0, |(_, share)| *share);
    if let Some(metric) = alarms.fires(view.now, PERIODS_OUT, |v| v > target) {
        let more = (live * share(metric - target)).round().max(1.0) as u32;
        let formula = format!("{} + {:.0} % = {}", view.live, share(metric - target) * 100.0, view.live + more);
        let servers = alarms.act(view.now, (view.live + more).max(desired), limits);
        return Wanted { servers, reason: format!("busy {metric:.2}, above {target:.2}"), formula, refused: None };
    }
    let low = target - DEAD_BAND;
    if let Some(metric) = alarms.fires(view.now, PERIODS_IN, |v| v < low)
        && view.observation.pending == 0
    {
        let less = (live * share(low - metric)).round().max(1.0) as u32;
        let formula = format!("{} - {:.0} % = {}", view.live, share(low - metric) * 100.0, view.live.saturating_sub(less));
        let reason = format!("busy {metric:.2} for 15 minutes, below {low:.2}");
        let servers = alarms.act(view.now, view.live.saturating_sub(less).min(desired), limits);
        return Wanted { servers, reason, formula, refused: None };
    }
    Wanted { servers: desired, reason: format!("busy {busy:.2}, no alarm"), ..Wanted::default() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::story;
    use crate::config::ScalePolicy::Step;

    #[test]
    fn steps() {
        for (parts, expect) in [
            (&[(59, 0.9, 10, 0)][..], 10),
            (&[(60, 0.65, 10, 0)], 11),
            (&[(60, 0.75, 10, 0)], 12),
            (&[(60, 0.9, 10, 0)], 13),
            (&[(60, 0.9, 2, 0)], 3),
            (&[(60, 0.9, 10, 2)], 13),
            (&[(60, 0.9, 10, 5)], 15),
            (&[(60, 0.6, 10, 0)], 10),
            (&[(900, 0.45, 10, 0)], 9),
            (&[(900, 0.1, 10, 0)], 7),
            (&[(900, 0.1, 10, 1)], 11),
            (&[(900, 0.55, 10, 0)], 10),
        ] {
            assert_eq!(story(Step, parts), expect, "{parts:?}");
        }
    }
}

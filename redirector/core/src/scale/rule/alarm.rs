//! What an alarm of a cloud's monitoring sees: averages over whole minutes.
//!
//! A minute without a number is a minute without data: an alarm that needs it does not fire.

use super::super::check::Limits;
use farm_shared::time::Mono;
use std::collections::VecDeque;

const MINUTE_MS: u64 = 60_000;
/// The longest look back, in minutes.
const MINUTES_MAX: usize = 16;

/// Averages of the last minutes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Alarms {
    /// Minute, sum and count of numbers; the last one is not over yet.
    minutes: VecDeque<(u64, f64, u32)>,
    /// The last minute that was acted upon.
    acted: Option<u64>,
    /// The group's desired capacity: what was decided last. A server that dies is replaced without an alarm.
    desired: Option<u32>,
}

impl Alarms {
    pub(super) fn observe(&mut self, now: Mono, metric: Option<f64>) {
        let minute = now.0 / MINUTE_MS;
        if self.minutes.back().is_none_or(|(last, ..)| *last != minute) {
            self.minutes.push_back((minute, 0.0, 0));
        }
        if let (Some((_, sum, count)), Some(metric)) = (self.minutes.back_mut(), metric) {
            (*sum, *count) = (*sum + metric, *count + 1);
        }
        while self.minutes.len() > MINUTES_MAX {
            self.minutes.pop_front();
        }
    }

    /// The last `periods` whole minutes, newest first, if each has data.
    fn last(&self, now: Mono, periods: usize) -> Option<impl Iterator<Item = f64>> {
        let this = now.0 / MINUTE_MS;
        let whole = || self.minutes.iter().rev().filter(move |(minute, ..)| *minute < this).take(periods);
        let consecutive = whole().zip(1..).all(|((minute, _, count), back)| minute + back == this && *count > 0);
        (consecutive && whole().count() == periods).then(|| whole().map(|(_, sum, count)| sum / f64::from(*count)))
    }

    /// The newest minute's average if the last `periods` all hold, and this minute was not acted upon yet.
    pub(super) fn fires(&mut self, now: Mono, periods: usize, holds: impl Fn(f64) -> bool) -> Option<f64> {
        let this = now.0 / MINUTE_MS;
        let mut newest = None;
        for value in self.last(now, periods)? {
            if !holds(value) {
                return None;
            }
            newest = newest.or(Some(value));
        }
        if self.acted == Some(this) { None } else { newest }
    }

    /// The desired capacity; at first what there is.
    pub(super) fn desired(&mut self, have: u32) -> u32 {
        *self.desired.get_or_insert(have)
    }

    /// A decision: nothing more in this minute.
    pub(super) fn act(&mut self, now: Mono, desired: u32, limits: &Limits) -> u32 {
        self.acted = Some(now.0 / MINUTE_MS);
        let desired = desired.min(limits.max).max(limits.min);
        self.desired = Some(desired);
        desired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_needs_every_minute() {
        let at = |minute: u64| Mono(minute * 60_000 + 30_000);
        let mut alarms = Alarms::default();
        for (minute, metric) in [(0, Some(0.9)), (1, Some(0.8)), (2, None), (3, Some(0.9)), (4, Some(0.9)), (5, Some(0.7))] {
            alarms.observe(at(minute), metric);
        }
        let high = |v: f64| v > 0.5;
        assert_eq!(alarms.fires(at(2), 2, high), Some(0.8));
        assert_eq!(alarms.fires(at(5), 2, high), Some(0.9));
        assert_eq!(alarms.fires(at(5), 3, high), None, "minute 2 has no data");
        assert_eq!(alarms.fires(at(6), 1, |v| v > 0.8), None);
        assert_eq!(alarms.fires(at(8), 1, high), None, "nothing was seen lately");
        let limits = Limits { max: 9, ..Limits::default() };
        assert_eq!((alarms.desired(4), alarms.act(at(6), 20, &limits), alarms.desired(4)), (4, 9, 9));
        assert_eq!(alarms.fires(at(6), 1, high), None);
    }
}

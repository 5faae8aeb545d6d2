//! What the farm has cost in this month, and what may still be spent.
//!
//! It is counted from prices and time alone: an estimate of the bill, never the bill. Calendar months are UTC.

use super::observation::Observation;
use crate::calendar::date;
use serde::{Deserialize, Serialize};

const DAY_MS: u64 = 86_400_000;
/// A clock beyond that is wrong.
const DAYS_MAX: u64 = 3_000_000;
const HOUR_MS: f64 = 3_600_000.0;
/// Longer gaps between observations are not charged: nobody knows what ran meanwhile. Milliseconds.
const GAP_MS_MAX: u64 = 600_000;

/// Money spent, as far as it was watched. It survives restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spend {
    /// Months since January 1970.
    pub month: u32,
    /// US dollars in that month.
    pub usd: f64,
    /// The last observation, milliseconds since the epoch.
    pub wall_ms: u64,
    /// The month before and what was spent in it: a clock that jumps ahead and back must not make anybody forget.
    #[serde(default)]
    pub former: Option<(u32, f64)>,
}

impl Spend {
    /// Charges the time since the last observation. A clock that went back charges nothing.
    pub(super) fn observe(&mut self, observation: &Observation) {
        let wall_ms = observation.wall_ms;
        let month = month_of(wall_ms).0;
        self.turn_to(month);
        let elapsed_ms = wall_ms.saturating_sub(self.wall_ms);
        if self.wall_ms > 0 && elapsed_ms <= GAP_MS_MAX {
            self.usd += observation.usd_h.filter(|p| p.is_finite()).unwrap_or(0.0).max(0.0) * elapsed_ms as f64 / HOUR_MS;
        }
        self.wall_ms = wall_ms;
    }

    /// What a journal says was spent, where it knows more: the state on disk may be lost, or older.
    pub(crate) fn recall(&mut self, observation: &Observation) {
        let Some(usd) = observation.usd_month.filter(|usd| usd.is_finite()) else { return };
        self.turn_to(month_of(observation.wall_ms).0);
        self.usd = self.usd.max(usd);
        self.wall_ms = self.wall_ms.max(observation.wall_ms);
    }

    fn turn_to(&mut self, month: u32) {
        if month == self.month {
            return;
        }
        let back = self.former.filter(|(former, _)| *former == month).map(|(_, usd)| usd);
        // What was spent while the clock was wrong counts, too.
        let usd = if month < self.month { self.usd + back.unwrap_or(0.0) } else { back.unwrap_or(0.0) };
        self.former = if month > self.month { Some((self.month, self.usd)) } else { None };
        (self.month, self.usd) = (month, usd);
    }

    /// US dollars spent in the month of a time.
    pub fn in_month(&self, wall_ms: u64) -> f64 {
        if month_of(wall_ms).0 > self.month { 0.0 } else { self.usd }
    }
}

/// Hours from a time to the end of its month.
pub(super) fn hours_left(wall_ms: u64) -> f64 {
    (month_of(wall_ms).1.saturating_sub(wall_ms)) as f64 / HOUR_MS
}

/// Months since January 1970, and when this one ends, milliseconds since the epoch.
fn month_of(wall_ms: u64) -> (u32, u64) {
    let since_1970 = (wall_ms / DAY_MS).min(DAYS_MAX);
    let (full_year, month, day) = date(since_1970);
    let leap = full_year.is_multiple_of(4) && (!full_year.is_multiple_of(100) || full_year.is_multiple_of(400));
    let length = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let months = (full_year.saturating_sub(1_970) * 12 + month - 1) as u32;
    (months, (since_1970 + 1 - day + length) * DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months() {
        // Times and the months since 1970, and days to the end of the month.
        for (wall_ms, month, days) in [
            (0, 0, 31.0),
            (31 * DAY_MS, 1, 28.0),
            (951_696_000_000, 361, 2.0),     // 28 February 2000
            (951_868_800_000, 362, 31.0),    // 1 March 2000
            (4_107_456_000_000, 1_561, 1.0), // 28 February 2100, no leap year
            (1_795_219_200_000, 682, 10.0),  // 21 November 2026
            (1_798_675_200_000, 683, 1.0),   // 31 December 2026
            (1_798_761_600_000, 684, 31.0),  // 1 January 2027
        ] {
            assert_eq!((month_of(wall_ms).0, hours_left(wall_ms) / 24.0), (month, days), "{wall_ms}");
        }
        assert!(hours_left(u64::MAX) >= 0.0);
    }

    #[test]
    fn money_is_counted_by_the_month() {
        let at = |wall_ms: u64, usd_h: Option<f64>| Observation { wall_ms, usd_h, ..Observation::default() };
        let start = 1_798_761_600_000 - 600_000;
        let mut spend = Spend::default();
        for (wall_ms, price, expect) in [
            (start, Some(6.0), 0.0),
            (start + 300_000, Some(6.0), 0.5),
            (start + 300_000, Some(6.0), 0.5),
            (start + 200_000, Some(6.0), 0.5),
            (start + 500_000, None, 0.5),
            (start + 600_000, Some(6.0), 0.1666),
            (start + 600_000 + 7_200_000, Some(6.0), 0.1666),
        ] {
            spend.observe(&at(wall_ms, price));
            assert!((spend.usd - expect).abs() < 0.001, "{wall_ms} {spend:?}");
        }
        assert_eq!(spend.in_month(1_798_761_600_000 + 40 * DAY_MS), 0.0);
    }

    #[test]
    fn a_clock_that_jumps_to_the_next_month_and_back_forgets_no_money() {
        let at = |wall_ms: u64| Observation { wall_ms, usd_h: Some(6.0), ..Observation::default() };
        let start = 1_798_761_600_000 - 10 * DAY_MS;
        let mut spend = Spend::default();
        let mut usd_after = |wall_ms: u64| {
            spend.observe(&at(wall_ms));
            (spend.usd * 10.0).round() / 10.0
        };
        assert_eq!([start, start + 300_000].map(&mut usd_after), [0.0, 0.5]);
        let ahead = start + 40 * DAY_MS;
        assert_eq!([ahead, ahead + 300_000].map(&mut usd_after), [0.0, 0.5]);
        assert_eq!([start + 600_000, start + 900_000].map(&mut usd_after), [1.0, 1.5], "both are spent");
        assert_eq!(usd_after(1_798_761_600_000), 0.0, "the next month begins with nothing");
    }

    #[test]
    fn a_journal_tells_what_a_lost_state_does_not() {
        let wall_ms = 1_798_761_600_000 - DAY_MS;
        let mut spend = Spend::default();
        for usd_month in [Some(3.0), None, Some(2.0)] {
            spend.recall(&Observation { wall_ms, usd_month, ..Observation::default() });
        }
        assert_eq!((spend.in_month(wall_ms), spend.in_month(wall_ms + 2 * DAY_MS)), (3.0, 0.0));
    }
}

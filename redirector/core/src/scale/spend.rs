//! What the farm has cost in this month, and what may still be spent.
//!
//! It is counted from prices and time alone: an estimate of the bill, never the bill. Calendar months are UTC.

use super::observation::Observation;
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
}

impl Spend {
    /// Charges the time since the last observation. A clock that went back charges nothing.
    pub(super) fn observe(&mut self, observation: &Observation) {
        let wall_ms = observation.wall_ms;
        let month = month_of(wall_ms).0;
        if month > self.month {
            (self.month, self.usd) = (month, 0.0);
        }
        let elapsed_ms = wall_ms.saturating_sub(self.wall_ms);
        if self.wall_ms > 0 && elapsed_ms <= GAP_MS_MAX {
            self.usd += observation.usd_h.filter(|p| p.is_finite()).unwrap_or(0.0).max(0.0) * elapsed_ms as f64 / HOUR_MS;
        }
        self.wall_ms = wall_ms;
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
    // Civil date of a day number, with years that begin in March, so that the leap day is the last.
    let since_1970 = (wall_ms / DAY_MS).min(DAYS_MAX);
    let days = since_1970 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5;
    let (month, next_year) = if from_march < 10 { (from_march + 2, 0) } else { (from_march - 10, 1) };
    let full_year = era * 400 + year + next_year;
    let leap = full_year.is_multiple_of(4) && (!full_year.is_multiple_of(100) || full_year.is_multiple_of(400));
    let length = match month {
        1 => 28 + u64::from(leap),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    };
    let months = (full_year.saturating_sub(1_970) * 12 + month) as u32;
    (months, (since_1970 - day + length) * DAY_MS)
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
}

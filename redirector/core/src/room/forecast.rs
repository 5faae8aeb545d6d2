//! How long somebody is likely to wait: from free places, the rate at which sessions end, and launches under way.
//!
//! It must never promise what is not known: where the pessimistic reckoning comes to no end, there is no estimate.

/// Sessions end at least this much faster or slower than lately, in the optimistic and the pessimistic reckoning.
const RATE_MARGIN: f64 = 0.25;
/// Nobody is told more, in seconds.
const ESTIMATE_S_MAX: f64 = 24.0 * 3_600.0;
/// An end of sessions this rare is none, per second.
const RATE_MIN: f64 = 1e-4;

/// A server that was launched and has not been heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// It is here in so many milliseconds if it boots as fast as the median.
    pub early_ms: u64,
    /// It is here in so many milliseconds if it boots as slowly as the 95th percentile.
    pub late_ms: u64,
}

/// What is to come, as of a snapshot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecast {
    /// Places that are free.
    pub room: u32,
    /// Sessions that end in a second, on all servers.
    pub ends_per_s: f64,
    /// Launches under way, the earliest first.
    pub launches: Vec<Launch>,
    /// Places that each of them brings.
    pub places_per_launch: u32,
}

/// How long somebody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estimate {
    /// Nothing is known that would end it.
    Unknown,
    /// Between two numbers of seconds.
    Between {
        /// If all goes well.
        low_s: u32,
        /// If it goes slowly.
        high_s: u32,
    },
}

impl Forecast {
    /// For one who has so many before him at all doors.
    pub fn wait(&self, before: u32) -> Estimate {
        let missing = (f64::from(before) + 1.0 - f64::from(self.room)).max(0.0);
        let low = self.until(missing, self.ends_per_s * (1.0 + RATE_MARGIN), |l| l.early_ms);
        let high = self.until(missing, self.ends_per_s * (1.0 - RATE_MARGIN), |l| l.late_ms);
        match (low, high) {
            (Some(low), Some(high)) => {
                let low_s = low.min(ESTIMATE_S_MAX) as u32;
                Estimate::Between { low_s, high_s: (high.ceil().min(ESTIMATE_S_MAX) as u32).max(low_s) }
            }
            _ => Estimate::Unknown,
        }
    }

    /// Seconds until so many places have come, if they come.
    fn until(&self, missing: f64, ends_per_s: f64, ready_ms: impl Fn(&Launch) -> u64) -> Option<f64> {
        let ends_per_s = if ends_per_s < RATE_MIN { 0.0 } else { ends_per_s };
        let by_ends = |missing: f64| match missing {
            m if m <= 0.0 => 0.0,
            m if ends_per_s > 0.0 => m / ends_per_s,
            _ => f64::INFINITY,
        };
        let mut left = missing;
        for launch in &self.launches {
            let ready_s = ready_ms(launch) as f64 / 1_000.0;
            if by_ends(left) <= ready_s {
                break;
            }
            left -= f64::from(self.places_per_launch);
            if by_ends(left) <= ready_s {
                return Some(ready_s);
            }
        }
        Some(by_ends(left)).filter(|s| s.is_finite() && *s <= ESTIMATE_S_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(early_s: u64, late_s: u64) -> Launch {
        Launch { early_ms: early_s * 1_000, late_ms: late_s * 1_000 }
    }

    #[test]
    fn estimates() {
        let check = |room, ends_per_s, launches: &[Launch], before, expect: Option<(u32, u32)>| {
            let forecast = Forecast { room, ends_per_s, launches: launches.to_vec(), places_per_launch: 10 };
            let found = match forecast.wait(before) {
                Estimate::Between { low_s, high_s } => Some((low_s, high_s)),
                Estimate::Unknown => None,
            };
            assert_eq!(found, expect, "{forecast:?}, {before} before");
        };
        // There is room already.
        check(5, 0.0, &[], 4, Some((0, 0)));
        // Nothing ends, nothing comes.
        check(0, 0.0, &[], 0, None);
        check(5, 0.0, &[], 5, None);
        // Sessions end.
        check(0, 1.0, &[], 99, Some((80, 134)));
        check(50, 1.0, &[], 99, Some((40, 67)));
        // A launch brings ten places.
        check(0, 0.0, &[launch(30, 60)], 9, Some((30, 60)));
        check(0, 0.0, &[launch(30, 60)], 10, None);
        check(0, 0.0, &[launch(30, 60), launch(90, 120)], 10, Some((90, 120)));
        // Sessions end before it comes, or after.
        check(0, 1.0, &[launch(30, 60)], 9, Some((8, 14)));
        check(0, 1.0, &[launch(30, 60)], 99, Some((72, 120)));
        // Too far away to be said.
        check(0, 0.001, &[], 1_000_000, None);
    }
}

//! How fast calls may follow each other: what keeps a provider's trouble from being made worse by us.
//!
//! Calls leave at a rate that is halved whenever the provider is throttling or in trouble and rises again with every success.
//! Retries must pay beside that, from a bucket that successes fill: a tenth of a retry for a first call that succeeded, two for a
//! retry that did. While nothing succeeds, retries dwindle to one in ten seconds, whatever waits; once they succeed their number
//! doubles from answer to answer. (The outage of seed 004 was a storm of retries.) It must never stand still for good.

use farm_shared::time::Wall;
use serde::{Deserialize, Serialize};

const RATE_PER_S_MAX: f64 = 10.0;
const RATE_PER_S_MIN: f64 = 0.5;
/// What a success adds to the rate, per second.
const RATE_STEP: f64 = 1.0;
const CALLS_BURST: f64 = 20.0;
const RETRIES_BURST: f64 = 10.0;
const RETRIES_PER_S: f64 = 0.1;
const RETRIES_PER_SUCCESS: f64 = 0.1;
const RETRIES_PER_RETRY_SUCCESS: f64 = 2.0;
/// A clock that jumps forward fills the buckets by no more than this many seconds.
const ELAPSED_S_MAX: f64 = 10.0;

/// Two token buckets, and the rate that fills one of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Calls that may leave now.
    calls: f64,
    /// Calls per second.
    rate_per_s: f64,
    /// Of them, retries.
    retries: f64,
    /// When the buckets were filled last, milliseconds since the epoch.
    at_wall_ms: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { calls: CALLS_BURST, rate_per_s: RATE_PER_S_MAX, retries: RETRIES_BURST, at_wall_ms: 0 }
    }
}

impl Pace {
    /// Calls per second at present.
    pub fn rate_per_s(&self) -> f64 {
        self.rate_per_s
    }

    /// Retries that may leave at once.
    pub fn retries(&self) -> f64 {
        self.retries
    }

    /// Whether a call may leave now; if so, it is paid for.
    pub(super) fn take(&mut self, is_retry: bool, now: Wall) -> bool {
        self.fill(now);
        if self.calls < 1.0 || (is_retry && self.retries < 1.0) {
            return false;
        }
        self.calls -= 1.0;
        if is_retry {
            self.retries -= 1.0;
        }
        true
    }

    /// A call succeeded.
    pub(super) fn succeeded(&mut self, was_retry: bool) {
        let earned = if was_retry { RETRIES_PER_RETRY_SUCCESS } else { RETRIES_PER_SUCCESS };
        self.retries = (self.retries + earned).min(RETRIES_BURST);
        self.rate_per_s = (self.rate_per_s + RATE_STEP).min(RATE_PER_S_MAX);
    }

    /// A call was throttled, or nobody knows what became of it.
    pub(super) fn troubled(&mut self) {
        self.rate_per_s = (self.rate_per_s / 2.0).max(RATE_PER_S_MIN);
        self.calls = self.calls.min(self.rate_per_s.max(1.0));
    }

    fn fill(&mut self, now: Wall) {
        let elapsed_s = (now.0.saturating_sub(self.at_wall_ms) as f64 / 1_000.0).min(ELAPSED_S_MAX);
        self.at_wall_ms = now.0;
        // A slow rate must not save up a burst.
        let burst = CALLS_BURST * self.rate_per_s / RATE_PER_S_MAX;
        self.calls = (self.calls + elapsed_s * self.rate_per_s).min(burst.max(1.0));
        self.retries = (self.retries + elapsed_s * RETRIES_PER_S).min(RETRIES_BURST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pace: &mut Pace, is_retry: bool, from_ms: u64, ms: u64) -> usize {
        (from_ms..from_ms + ms).step_by(100).filter(|at| pace.take(is_retry, Wall(*at))).count()
    }

    #[test]
    fn retries_are_few_unless_they_succeed() {
        let mut pace = Pace::default();
        assert_eq!(taken(&mut pace, true, 1_000_000, 1_000), 10, "the burst");
        assert_eq!(taken(&mut pace, true, 1_001_000, 100_000), 10, "one in ten seconds");
        for _ in 0..10 {
            pace.succeeded(false);
        }
        assert_eq!(taken(&mut pace, true, 1_101_000, 1_000), 1, "a tenth of what succeeded");
        pace.succeeded(true);
        assert_eq!(taken(&mut pace, true, 1_102_000, 1_000), 2);
    }

    #[test]
    fn trouble_slows_and_success_speeds_up() {
        let mut pace = Pace::default();
        for _ in 0..9 {
            pace.troubled();
        }
        let slow = taken(&mut pace, false, 1_000_000, 60_000);
        assert!((29..=31).contains(&slow), "{slow} calls a minute at the slowest");
        for _ in 0..20 {
            pace.succeeded(false);
        }
        let fast = taken(&mut pace, false, 1_060_000, 60_000);
        assert!((599..=601).contains(&fast), "{fast}: as often as asked");
    }

    #[test]
    fn a_clock_that_jumps_brings_no_storm_and_no_standstill() {
        let mut pace = Pace::default();
        taken(&mut pace, true, 10_000_000, 1_000);
        assert!(taken(&mut pace, true, 99_000_000, 100) <= 1, "a day later on the clock");
        let back = taken(&mut pace, true, 1_000, 20_000);
        assert!((1..=3).contains(&back), "{back}");
    }
}

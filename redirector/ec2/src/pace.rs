//! How fast EC2 is asked: a token bucket whose rate halves when EC2 says "too fast" and recovers slowly.
//!
//! Throttling must slow us and never amplify, and an hour in which nothing could be asked must not be made up for in a burst: the
//! bucket holds a few calls, no more. Pure: `now` is an argument, and whoever asks waits by itself.

use farm_shared::time::Mono;

/// The rate never falls below this share of its maximum.
const RATE_SHARE_MIN: f64 = 1.0 / 64.0;
/// From nothing back to the full rate, in milliseconds.
const RECOVERY_MS: f64 = 60_000.0;
/// Refusals within this time of each other tell of one congestion, in milliseconds.
const HALVING_MS: u64 = 1_000;

/// The pace of one kind of call.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    rate_max_per_s: f64,
    rate_per_s: f64,
    burst: f64,
    /// Calls that may be made at once; negative while some wait for their turn.
    tokens: f64,
    at: Mono,
    halved_at: Option<Mono>,
}

impl Pace {
    /// A full bucket. `burst` calls may be made at once after a pause.
    pub fn new(rate_max_per_s: f64, burst: f64, now: Mono) -> Self {
        Self { rate_max_per_s, rate_per_s: rate_max_per_s, burst, tokens: burst, at: now, halved_at: None }
    }

    /// Reserves one call, and says in how many milliseconds it may be made. `None`, and nothing is reserved, if that is more than
    /// `wait_ms_max`.
    pub fn reserve(&mut self, now: Mono, wait_ms_max: u64) -> Option<u64> {
        self.advance(now);
        let missing = (1.0 - self.tokens).max(0.0);
        let wait_ms = (missing / self.rate_per_s * 1e3).ceil() as u64;
        if wait_ms > wait_ms_max {
            return None;
        }
        self.tokens -= 1.0;
        Some(wait_ms)
    }

    /// A call was refused as one too many.
    pub fn throttled(&mut self, now: Mono) {
        self.advance(now);
        if self.halved_at.is_some_and(|at| now.since_ms(at) < HALVING_MS) {
            return;
        }
        self.halved_at = Some(now);
        self.rate_per_s = (self.rate_per_s / 2.0).max(self.rate_max_per_s * RATE_SHARE_MIN);
        self.tokens = self.tokens.min(0.0);
    }

    /// Calls a second that may be made now.
    pub fn rate_per_s(&self) -> f64 {
        self.rate_per_s
    }

    fn advance(&mut self, now: Mono) {
        let elapsed_ms = now.since_ms(self.at) as f64;
        self.at = self.at.max(now);
        self.tokens = (self.tokens + self.rate_per_s * elapsed_ms / 1e3).min(self.burst);
        self.rate_per_s = (self.rate_per_s + self.rate_max_per_s * elapsed_ms / RECOVERY_MS).min(self.rate_max_per_s);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    const FOREVER: u64 = 1 << 40;

    /// Calls made in the `ms` after `from`, by a caller that always has something to ask.
    fn calls(pace: &mut Pace, from: u64, ms: u64) -> u64 {
        let mut now = from;
        let mut made = 0;
        while let Some(wait) = pace.reserve(Mono(now), FOREVER) {
            now += wait;
            if now >= from + ms {
                break;
            }
            made += 1;
        }
        made
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut pace = Pace::new(5.0, 10.0, Mono(0));
        assert_eq!((0..10).map(|_| pace.reserve(Mono(0), 0)).collect::<Vec<_>>(), [Some(0); 10]);
        assert_eq!(pace.reserve(Mono(0), 199), None);
        assert_eq!(pace.reserve(Mono(0), 200), Some(200));
        assert_eq!(pace.reserve(Mono(0), 500), Some(400));
    }

    #[test]
    fn an_hour_of_silence_saves_up_a_burst_and_no_more() {
        let mut pace = Pace::new(5.0, 10.0, Mono(0));
        let busy = calls(&mut pace, 0, 60_000);
        let after = calls(&mut pace, 3_600_000, 60_000);
        assert!(after <= busy, "{after} calls in the first minute after an outage, {busy} in a busy one");
        assert!(after <= 310, "{after}");
    }

    #[test]
    fn refusals_halve_the_rate_once_and_it_recovers() {
        let mut pace = Pace::new(8.0, 4.0, Mono(0));
        pace.throttled(Mono(0));
        assert_eq!(pace.reserve(Mono(0), FOREVER), Some(250), "what was saved up is gone");
        for ms in [10, 500, 999] {
            pace.throttled(Mono(ms));
        }
        assert!((4.0..4.2).contains(&pace.rate_per_s()), "{}", pace.rate_per_s());
        for second in 1..100 {
            pace.throttled(Mono(second * 1_000));
        }
        assert!(pace.rate_per_s() >= 8.0 * RATE_SHARE_MIN && pace.rate_per_s() < 0.4, "{}", pace.rate_per_s());
        pace.reserve(Mono(99_000 + 60_000), FOREVER).unwrap();
        assert_eq!(pace.rate_per_s(), 8.0);
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate_allow(
            steps in prop::collection::vec((0_u64..5_000, any::<bool>()), 1..200),
            rate in 0.1_f64..50.0,
            burst in 1.0_f64..20.0,
        ) {
            let mut pace = Pace::new(rate, burst, Mono(0));
            let (mut now, mut made) = (0, 0_u32);
            for (pause, refused) in steps {
                now += pause;
                if refused {
                    pace.throttled(Mono(now));
                }
                if pace.reserve(Mono(now), 0).is_some() {
                    made += 1;
                }
                prop_assert!(f64::from(made) <= burst + rate * now as f64 / 1e3 + 1e-6);
                prop_assert!(pace.rate_per_s() >= rate * RATE_SHARE_MIN * 0.999 && pace.rate_per_s() <= rate);
            }
        }
    }
}

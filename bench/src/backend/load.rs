//! Why: an agent that asks once a period must not see the instant it happened to ask at, so queue and busy fraction are
//! averaged over the last second, from exact integrals and without a ticking timer.
//! Never: no clock, no I/O. Memory is a fixed ring of buckets.

use serde::{Deserialize, Serialize};

/// The span that is averaged over, microseconds.
pub const SPAN_US: u64 = 1_000_000;
const BUCKET_US: u64 = 50_000;
/// One more than the span needs for the bucket that is half out of it, one more for the current.
const BUCKETS: usize = (SPAN_US / BUCKET_US) as usize + 2;

/// What the backend tells an agent: the body of `GET /farm/load`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// Jobs in service or waiting, averaged over the last second.
    pub queue: f64,
    /// Cores of the backend.
    pub cores: f64,
    /// Busy fraction of the cores over the last second, 0 to 1.
    pub busy: f64,
    /// Live sessions.
    pub sessions: u32,
    /// Sessions begun since the start.
    pub arrivals: u64,
    /// Sessions ended since the start.
    pub completions: u64,
    /// Milliseconds since the latest activity of any live session; null without sessions.
    pub youngest_ms: Option<u64>,
    /// Sessions at once that the backend takes; null without a limit.
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    number: u64,
    queue_integral: f64,
    busy_integral: f64,
}

/// Averages of queue length and busy fraction over the last second.
#[derive(Debug)]
pub struct LoadMeter {
    at_us: u64,
    queue_integral: f64,
    busy_integral: f64,
    ring: [Bucket; BUCKETS],
}

impl Default for LoadMeter {
    fn default() -> Self {
        Self { at_us: 0, queue_integral: 0.0, busy_integral: 0.0, ring: [Bucket::default(); BUCKETS] }
    }
}

impl LoadMeter {
    /// Notes the integrals of queue length and busy fraction as they stand at `now_us`. What came since the last call is
    /// spread evenly over the time since then, so calls must come at every change of level.
    pub fn note(&mut self, now_us: u64, queue_integral: f64, busy_integral: f64) {
        if now_us <= self.at_us {
            return;
        }
        let span_us = (now_us - self.at_us) as f64;
        let queue = (queue_integral - self.queue_integral) / span_us;
        let busy = (busy_integral - self.busy_integral) / span_us;
        // What is older than the ring is not kept, however long nothing happened.
        let mut from_us = self.at_us.max(now_us.saturating_sub(SPAN_US + BUCKET_US));
        while from_us < now_us {
            let number = from_us / BUCKET_US;
            let to_us = now_us.min((number + 1) * BUCKET_US);
            if let Some(bucket) = self.ring.get_mut((number % BUCKETS as u64) as usize) {
                if bucket.number != number {
                    *bucket = Bucket { number, ..Bucket::default() };
                }
                bucket.queue_integral += queue * (to_us - from_us) as f64;
                bucket.busy_integral += busy * (to_us - from_us) as f64;
            }
            from_us = to_us;
        }
        self.at_us = now_us;
        self.queue_integral = queue_integral;
        self.busy_integral = busy_integral;
    }

    /// Mean queue length and mean busy fraction over the second before the last `note` (over all the time, in the first).
    pub fn averages(&self) -> (f64, f64) {
        let start_us = self.at_us.saturating_sub(SPAN_US);
        let span_us = (self.at_us - start_us).max(1) as f64;
        let (mut queue, mut busy) = (0.0, 0.0);
        for bucket in &self.ring {
            let from_us = bucket.number * BUCKET_US;
            let to_us = (from_us + BUCKET_US).min(self.at_us);
            if to_us <= start_us || from_us >= self.at_us {
                continue;
            }
            let share = (to_us - from_us.max(start_us)) as f64 / (to_us - from_us) as f64;
            queue += bucket.queue_integral * share;
            busy += bucket.busy_integral * share;
        }
        ((queue / span_us).max(0.0), (busy / span_us).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds levels (from this time on, so many jobs on one core) and checks the averages at the end.
    fn check(levels: &[(u64, f64)], now_us: u64, expect: (f64, f64)) {
        let mut meter = LoadMeter::default();
        let (mut at_us, mut jobs, mut queue, mut busy) = (0, 0.0, 0.0, 0.0);
        for &(next_us, next_jobs) in levels.iter().chain([&(now_us, 0.0)]) {
            queue += jobs * (next_us - at_us) as f64;
            busy += f64::min(jobs, 1.0) * (next_us - at_us) as f64;
            meter.note(next_us, queue, busy);
            (at_us, jobs) = (next_us, next_jobs);
        }
        let found = meter.averages();
        assert!((found.0 - expect.0).abs() < 1e-6 && (found.1 - expect.1).abs() < 1e-6, "{found:?} against {expect:?}");
    }

    #[test]
    fn averages_over_the_last_second() {
        check(&[], 0, (0.0, 0.0));
        check(&[], 5_000_000, (0.0, 0.0));
        check(&[(0, 3.0)], 5_000_000, (3.0, 1.0));
        check(&[(0, 3.0)], 100_000, (3.0, 1.0));
        check(&[(4_500_000, 4.0)], 5_000_000, (2.0, 0.5));
        check(&[(0, 9.0), (3_999_999, 0.0)], 5_000_000, (0.0, 0.0));
        check(&[(0, 2.0), (4_250_000, 0.0)], 5_000_000, (0.5, 0.25));
        // Changes that fall between the buckets' borders: the oldest bucket counts by its share.
        check(&[(0, 2.0)], 5_012_345, (2.0, 1.0));
    }

    #[test]
    fn report_has_the_agreed_fields() {
        let report = LoadReport {
            queue: 1.5,
            cores: 1.0,
            busy: 0.75,
            sessions: 2,
            arrivals: 5,
            completions: 3,
            youngest_ms: None,
            limit: None,
        };
        let expect = r#"{"queue":1.5,"cores":1.0,"busy":0.75,"sessions":2,"arrivals":5,"completions":3,"youngest_ms":null,"limit":null}"#;
        assert_eq!(serde_json::to_string(&report).ok().as_deref(), Some(expect));
    }
}

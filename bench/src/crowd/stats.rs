//! Why: the experiment's result, kept as it happens: session outcomes, latencies, who served whom.
//! Never: no clock and no I/O. Every session that was started ends in exactly one count.

use super::histogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;

/// Backends that are told apart; sessions of any more are counted under `other`.
pub const BACKENDS_MAX: usize = 4_096;

/// Why a session was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A request was not answered in time.
    Timeout,
    /// A connection could not be made.
    Refused,
    /// A connection broke off during a request.
    Reset,
    /// An answer of 500 or above.
    ServerError,
    /// The backend no longer knew the session (401).
    SessionLost,
    /// Too many waits at the door.
    GaveUp,
    /// An answer that makes no sense here: no redirect, or one that cannot be followed.
    Protocol,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Logged out, nothing was slow.
    Completed,
    /// Logged out, but waited at the door or for a slow answer.
    Delayed,
    /// Broken off.
    Aborted(Reason),
    /// Still under way when the experiment ended, and given up by the crowd itself.
    Unfinished,
}

impl From<Reason> for Outcome {
    fn from(reason: Reason) -> Self {
        Self::Aborted(reason)
    }
}

/// Percentiles, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Requests.
    pub count: u64,
    /// 5th percentile.
    pub p5: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Slowest.
    pub max: f64,
}

impl From<&Histogram> for Latency {
    fn from(histogram: &Histogram) -> Self {
        Self {
            count: histogram.count(),
            p5: histogram.quantile_ms(0.05),
            p50: histogram.quantile_ms(0.50),
            p95: histogram.quantile_ms(0.95),
            p99: histogram.quantile_ms(0.99),
            max: histogram.max_ms(),
        }
    }
}

/// Sessions by outcome since the start; `started` is the sum of the others and of those live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Sessions begun at the door.
    pub started: u64,
    /// See [`Outcome::Completed`]; does not contain `delayed`.
    pub completed: u64,
    /// See [`Outcome::Delayed`].
    pub delayed: u64,
    /// See [`Outcome::Aborted`].
    pub aborted: u64,
    /// See [`Outcome::Unfinished`].
    pub unfinished: u64,
    /// Arrivals of the open loop that found the crowd at its upper bound; not in `started`.
    pub skipped: u64,
    /// 503 answers of the door that made a client wait.
    pub waits: u64,
}

/// Sessions of one backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Served {
    /// Sessions that were redirected there.
    pub sessions: u64,
    /// Of these, aborted.
    pub aborted: u64,
}

/// One report on the way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Interval {
    /// Seconds since the start.
    pub t_s: f64,
    /// Clients the profile asks for.
    pub target: u32,
    /// Sessions under way, waiting ones included.
    pub live: u32,
    /// Sessions so far.
    #[serde(flatten)]
    pub counts: Counts,
    /// Requests to backends since the last report.
    pub latency_ms: Latency,
    /// Requests to the door since the last report.
    pub door_ms: Latency,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Length of the experiment, seconds.
    pub duration_s: f64,
    /// The seed it ran with.
    pub seed: u64,
    /// All sessions.
    #[serde(flatten)]
    pub counts: Counts,
    /// Aborted sessions by reason.
    pub aborted_why: BTreeMap<Reason, u64>,
    /// All requests to backends.
    pub latency_ms: Latency,
    /// All requests to the door.
    pub door_ms: Latency,
    /// Sessions by backend, named by the authority in the redirect.
    pub backends: BTreeMap<String, Served>,
}

/// What has happened so far.
#[derive(Debug, Default)]
pub struct Stats {
    counts: Counts,
    live: u32,
    aborted_why: BTreeMap<Reason, u64>,
    backends: BTreeMap<String, Served>,
    latency: [Histogram; 2],
    door: [Histogram; 2],
}

impl Stats {
    /// A session begins at the door.
    pub fn begin(&mut self) {
        self.counts.started += 1;
        self.live += 1;
    }

    /// An arrival found no room in the crowd.
    pub fn skip(&mut self) {
        self.counts.skipped += 1;
    }

    /// The door made a client wait.
    pub fn wait(&mut self) {
        self.counts.waits += 1;
    }

    /// A request was answered or timed out.
    pub fn request(&mut self, at_door: bool, latency_us: u64) {
        let histograms = if at_door { &mut self.door } else { &mut self.latency };
        for histogram in histograms {
            histogram.add(latency_us);
        }
    }

    /// A session ends; `backend` is where it was sent, if it got so far.
    pub fn end(&mut self, outcome: Outcome, backend: Option<&str>) {
        self.live = self.live.saturating_sub(1);
        let is_aborted = match outcome {
            Outcome::Completed => {
                self.counts.completed += 1;
                false
            }
            Outcome::Delayed => {
                self.counts.delayed += 1;
                false
            }
            Outcome::Unfinished => {
                self.counts.unfinished += 1;
                false
            }
            Outcome::Aborted(reason) => {
                self.counts.aborted += 1;
                *self.aborted_why.entry(reason).or_default() += 1;
                true
            }
        };
        if let Some(name) = backend {
            let has_room = self.backends.len() < BACKENDS_MAX || self.backends.contains_key(name);
            let served = self.backends.entry(if has_room { name.to_owned() } else { "other".to_owned() }).or_default();
            served.sessions += 1;
            served.aborted += u64::from(is_aborted);
        }
    }

    /// Sessions under way.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// The report of the time since the last one.
    pub fn interval(&mut self, t_s: f64, target: u32) -> Interval {
        let [recent, _] = &mut self.latency;
        let [recent_door, _] = &mut self.door;
        let report = Interval {
            t_s,
            target,
            live: self.live,
            counts: self.counts,
            latency_ms: Latency::from(&*recent),
            door_ms: Latency::from(&*recent_door),
        };
        recent.clear();
        recent_door.clear();
        report
    }

    /// The result so far.
    pub fn summary(&self, duration_s: f64, seed: u64) -> Summary {
        let [_, latency] = &self.latency;
        let [_, door] = &self.door;
        Summary {
            duration_s,
            seed,
            counts: self.counts,
            aborted_why: self.aborted_why.clone(),
            latency_ms: Latency::from(latency),
            door_ms: Latency::from(door),
            backends: self.backends.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_session_is_counted_once() {
        let mut stats = Stats::default();
        let ends = [
            (Outcome::Completed, Some("a")),
            (Outcome::Delayed, Some("a")),
            (Outcome::Aborted(Reason::Timeout), Some("b")),
            (Outcome::Aborted(Reason::GaveUp), None),
            (Outcome::Unfinished, Some("b")),
        ];
        (0..6).for_each(|_| stats.begin());
        for (outcome, backend) in ends {
            stats.end(outcome, backend);
        }
        let counts = stats.summary(1.0, 0).counts;
        assert_eq!((counts.completed, counts.delayed, counts.aborted, counts.unfinished), (1, 1, 2, 1));
        assert_eq!(counts.started, 5 + u64::from(stats.live()));
        let backends = stats.summary(1.0, 0).backends;
        assert_eq!(backends.get("b"), Some(&Served { sessions: 2, aborted: 1 }));
    }

    #[test]
    fn intervals_forget_latencies_and_the_summary_does_not() {
        let mut stats = Stats::default();
        stats.request(false, 10_000);
        stats.request(true, 1_000);
        let first = stats.interval(5.0, 1);
        assert_eq!((first.latency_ms.count, first.door_ms.count), (1, 1));
        stats.request(false, 20_000);
        assert_eq!(stats.interval(10.0, 1).latency_ms.count, 1);
        assert_eq!(stats.summary(10.0, 0).latency_ms.count, 2);
    }

    #[test]
    fn backends_are_bounded() {
        let mut stats = Stats::default();
        for number in 0..BACKENDS_MAX + 10 {
            stats.end(Outcome::Completed, Some(&number.to_string()));
        }
        let backends = stats.summary(1.0, 0).backends;
        assert_eq!(backends.get("other").map(|served| served.sessions), Some(10));
    }
}

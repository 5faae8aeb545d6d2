//! What came of a run: totals, and a series for plots.

use super::fleet::{Fleet, Place};
use crate::scale::Plan;

/// A change of direction within this time is a flap, in milliseconds.
const FLAP_MS: u64 = 600_000;
/// Samples of a series.
const SAMPLES: u64 = 600;

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Sessions that came.
    pub sessions: u64,
    /// Sessions that had to wait, those that gave up included.
    pub waited: u64,
    /// How long they waited together, in seconds.
    pub waited_s: f64,
    /// The longest wait, in seconds.
    pub wait_s_max: f64,
    /// Sessions that gave up waiting, or whose server died or was stopped under them.
    pub aborted: u64,
    /// Servers launched.
    pub launches: u32,
    /// Servers that were drained.
    pub drains: u32,
    /// Times that the farm turned from growing to shrinking, or back, within ten minutes.
    pub flaps: u32,
    /// Server-hours, from launch to termination.
    pub server_h: f64,
    /// What they cost, in US dollars; 0 without a price.
    pub usd: f64,
    /// The most servers there were, booting ones included.
    pub servers_max: u32,
    /// Plans that the check stopped: a mistake in a rule.
    pub stopped_plans: u32,
    /// The run over time.
    pub series: Vec<Sample>,
}

/// The farm at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// When, in seconds from the start.
    pub at_s: f64,
    /// Sessions on servers.
    pub sessions: f64,
    /// Sessions that wait.
    pub waiting: f64,
    /// Servers that are up.
    pub up: f64,
    /// Servers that boot.
    pub booting: f64,
    /// Sessions aborted so far.
    pub aborted: f64,
}

#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) outcome: Outcome,
    every_ms: u64,
    next_ms: u64,
    /// The last change of size: when, and whether the farm grew.
    turned: Option<(u64, bool)>,
}

impl Recorder {
    pub(super) fn new(duration_ms: u64) -> Self {
        Self { outcome: Outcome::default(), every_ms: (duration_ms / SAMPLES).max(1), next_ms: 0, turned: None }
    }

    pub(super) fn waited(&mut self, ms: u64) {
        self.outcome.waited += 1;
        self.outcome.waited_s += ms as f64 / 1e3;
        self.outcome.wait_s_max = self.outcome.wait_s_max.max(ms as f64 / 1e3);
    }

    pub(super) fn decided(&mut self, now_ms: u64, plan: &Plan) {
        self.outcome.launches += plan.launch;
        self.outcome.drains += plan.drain.len() as u32;
        let grows = plan.launch > 0 || !plan.undrain.is_empty();
        if !grows && plan.drain.is_empty() {
            return;
        }
        let flap = self.turned.is_some_and(|(at, grew)| grew != grows && now_ms - at < FLAP_MS);
        self.outcome.flaps += u32::from(flap);
        self.turned = Some((now_ms, grows));
    }

    pub(super) fn sample(&mut self, now_ms: u64, fleet: &Fleet, waiting: u32, elapsed_ms: u64) {
        let (up, booting) = (fleet.count(Place::Live), fleet.count(Place::Booting(0)));
        self.outcome.server_h += f64::from(up + booting) * elapsed_ms as f64 / 3.6e6;
        self.outcome.servers_max = self.outcome.servers_max.max(up + booting);
        if now_ms >= self.next_ms {
            self.next_ms = now_ms + self.every_ms;
            self.outcome.series.push(Sample {
                at_s: now_ms as f64 / 1e3,
                sessions: fleet.sessions as f64,
                waiting: f64::from(waiting),
                up: f64::from(up),
                booting: f64::from(booting),
                aborted: self.outcome.aborted as f64,
            });
        }
    }

    pub(super) fn finish(mut self, usd_h: f64) -> Outcome {
        self.outcome.usd = self.outcome.server_h * usd_h;
        self.outcome
    }
}

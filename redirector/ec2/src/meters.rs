//! Counters of calls, by action and outcome. Both are fixed words, so that the number of series is bounded.

use std::collections::BTreeMap;

/// One action with one outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallMeter {
    /// Calls.
    pub calls: u64,
    /// The time they took, waiting for their turn included, in milliseconds.
    pub total_ms: u64,
}

/// All calls so far, and the pace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meters {
    /// By action, as in `RunInstances`, and outcome: `ok` or the kind of the error.
    pub calls: BTreeMap<(&'static str, &'static str), CallMeter>,
    /// Calls a second that only read, as allowed now.
    pub reads_per_s: f64,
    /// Calls a second that change something, as allowed now.
    pub writes_per_s: f64,
}

impl Meters {
    pub(crate) fn count(&mut self, action: &'static str, outcome: &'static str, took_ms: u64) {
        let meter = self.calls.entry((action, outcome)).or_default();
        meter.calls += 1;
        meter.total_ms += took_ms;
    }
}

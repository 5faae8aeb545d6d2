//! What the three kernel sources have in common: looked at often, asked once per heartbeat.

use super::LoadError;
use farm_shared::time::Mono;

/// Load as the kernel sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usage {
    /// Tasks running or ready to run, averaged.
    pub(super) queue: f64,
    /// Cores that may be used.
    pub(super) cores: f64,
    /// Share of them that was busy, 0 to 1.
    pub(super) busy: f64,
}

/// A source that compares two looks at the kernel's counters.
pub(super) trait Gauge: Send {
    /// Looks at the run queue.
    fn sample(&mut self);

    /// The usage since the last call; none if there was none, or no time has passed since.
    fn take(&mut self, now: Mono) -> Result<Option<Usage>, LoadError>;
}

/// A mean of samples.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    pub(super) fn add(&mut self, sample: f64) {
        self.sum += sample;
        self.count = self.count.saturating_add(1);
    }

    /// The mean since the last call; none without samples.
    pub(super) fn take(&mut self) -> Option<f64> {
        let Self { sum, count } = std::mem::take(self);
        (count > 0).then(|| sum / f64::from(count))
    }
}

/// Busy share of `cores` from processor time used within a span, both in microseconds.
pub(super) fn busy_share(used_us: u64, span_us: u64, cores: f64) -> f64 {
    (used_us as f64 / (span_us.max(1) as f64 * cores.max(0.001))).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_shares() {
        let mut mean = Mean::default();
        assert_eq!(mean.take(), None);
        mean.add(1.0);
        mean.add(2.0);
        assert_eq!((mean.take(), mean.take()), (Some(1.5), None));
        for (used_us, span_us, cores, expect) in
            [(500, 1_000, 1.0, 0.5), (500, 1_000, 0.5, 1.0), (9_000, 1_000, 1.0, 1.0), (0, 0, 0.0, 0.0)]
        {
            assert_eq!(busy_share(used_us, span_us, cores), expect);
        }
    }
}

//! Why: latency percentiles of millions of requests in constant memory.
//! Never: no allocation after the start; the error of a percentile is at most 1/32 of its value.

/// Sub-buckets per power of two.
const STEPS: u64 = 32;
const STEPS_LOG2: u32 = 5;
/// Highest value told apart: 2^36 microseconds, 19 hours.
const BUCKETS: usize = (STEPS as usize) * 33;

/// Counts of values in log-linear buckets.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max_us: 0 }
    }
}

/// Values below 32 have a bucket each; above, each power of two has 32.
fn bucket(value_us: u64) -> usize {
    if value_us < STEPS {
        return value_us as usize;
    }
    let shift = value_us.ilog2() - STEPS_LOG2;
    let index = (u64::from(shift) + 1) * STEPS + ((value_us >> shift) - STEPS);
    (index as usize).min(BUCKETS - 1)
}

/// The middle of a bucket.
fn middle(index: usize) -> f64 {
    let index = index as u64;
    if index < STEPS {
        return index as f64;
    }
    let shift = index / STEPS - 1;
    let low = (index % STEPS + STEPS) << shift;
    low as f64 + ((1_u64 << shift) - 1) as f64 / 2.0
}

impl Histogram {
    /// Counts one value, microseconds.
    pub fn add(&mut self, value_us: u64) {
        if let Some(count) = self.counts.get_mut(bucket(value_us)) {
            *count += 1;
        }
        self.total += 1;
        self.max_us = self.max_us.max(value_us);
    }

    /// Values counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The largest value, milliseconds; 0 without values.
    pub fn max_ms(&self) -> f64 {
        self.max_us as f64 / 1_000.0
    }

    /// The value that `share` (0 to 1) of all values do not exceed, milliseconds; 0 without values.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return middle(index).min(self.max_us as f64) / 1_000.0;
            }
        }
        0.0
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
        self.max_us = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn empty_is_zero() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile_ms(0.5), histogram.max_ms()), (0.0, 0.0));
        histogram.add(5_000);
        histogram.clear();
        assert_eq!((histogram.quantile_ms(0.99), histogram.count()), (0.0, 0));
    }

    proptest! {
        #[test]
        fn quantiles_are_near_the_sorted_ones(mut values in prop::collection::vec(0_u64..200_000_000, 1..300), share in 0.0..=1.0_f64) {
            let mut histogram = Histogram::default();
            for value in &values {
                histogram.add(*value);
            }
            values.sort_unstable();
            let rank = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len());
            let expect_ms = values[rank - 1] as f64 / 1_000.0;
            prop_assert!((histogram.quantile_ms(share) - expect_ms).abs() <= expect_ms / 32.0 + 0.001);
        }

        #[test]
        fn any_value_has_a_bucket(value: u64) {
            let mut histogram = Histogram::default();
            histogram.add(value);
            prop_assert_eq!(histogram.counts.iter().sum::<u64>(), 1);
        }
    }
}

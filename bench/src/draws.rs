//! Why: an experiment that cannot be repeated proves nothing, so every random number comes from a pinned, seeded stream.
//! Never: no entropy from the machine or the clock; the same seed and stream give the same run for ever.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A stream of draws. Streams of one seed are independent of each other.
#[derive(Debug, Clone)]
pub struct Draws(ChaCha8Rng);

impl Draws {
    /// Stream number `stream` of `seed`.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `(0, 1]`: never zero, so that its logarithm is finite.
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Exponential with the given mean, in the unit of the mean; at most 36.8 times the mean, since 53 bits go in.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -self.unit().ln() * mean
    }

    /// Uniform in `0..bound` (0 when `bound` is 0), by the multiply-shift reduction; its bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u32
    }
}

/// A seed from a name (FNV-1a, 64 bits), so that every backend draws a stream of its own without being given a number.
pub fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_stream_same_draws() {
        let draw = |seed, stream| {
            let mut draws = Draws::new(seed, stream);
            (0..8).map(|_| draws.bits()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7, 1), draw(7, 1));
        assert_ne!(draw(7, 1), draw(7, 2));
        assert_ne!(draw(seed_of("b1"), 0), draw(seed_of("b2"), 0));
    }

    #[test]
    fn exponential_has_its_mean_and_is_bounded() {
        let mut draws = Draws::new(1, 0);
        let sample: Vec<f64> = (0..20_000).map(|_| draws.exponential(40.0)).collect();
        let mean = sample.iter().sum::<f64>() / sample.len() as f64;
        assert!((38.0..42.0).contains(&mean), "mean {mean}");
        assert!(sample.iter().all(|value| (0.0..40.0 * 36.8).contains(value)));
    }

    #[test]
    fn below_covers_its_range() {
        let mut draws = Draws::new(3, 0);
        let mut seen = [0_u32; 5];
        for _ in 0..1_000 {
            seen[draws.below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
        assert_eq!(draws.below(0), 0);
    }
}

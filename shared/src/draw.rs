//! Random draws from a pinned stream: the same seed gives the same run for ever.
//!
//! Each consumer takes a child stream by name, so that one more draw in one place does not shift the draws of all others.
//! Seeds come from outside (the operating system in production, a number in a test or a replay).

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// A deterministic stream of draws.
#[derive(Clone, Debug)]
pub struct Draws {
    seed: [u8; 32],
    rng: ChaCha8Rng,
}

impl Draws {
    /// The root stream of a seed of 32 bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self { seed, rng: ChaCha8Rng::from_seed(seed) }
    }

    /// The root stream of a small number, for tests and simulations.
    pub fn from_u64(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self::from_seed(bytes)
    }

    /// The stream of one consumer, by name and number. It depends on the seed alone, not on what was drawn before.
    pub fn child(&self, consumer: &str, number: u64) -> Self {
        let mut context =
            aws_lc_rs::hmac::Context::with_key(&aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &self.seed));
        context.update(consumer.as_bytes());
        context.update(&[0]);
        context.update(&number.to_le_bytes());
        let tag = context.sign();
        let mut seed = [0; 32];
        seed.copy_from_slice(&tag.as_ref()[..32]);
        Self::from_seed(seed)
    }

    /// 64 uniform bits.
    pub fn u64(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        unit_of(self.u64())
    }

    /// Uniform in `0..n`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        index_of(self.u64(), n)
    }

    /// A whole number of milliseconds, uniform in `base * (1 ± share)`: what keeps 10,000 timers from firing together.
    pub fn jitter_ms(&mut self, base_ms: u64, share: f64) -> u64 {
        let factor = 1.0 + share * (2.0 * self.unit() - 1.0);
        (base_ms as f64 * factor).max(0.0) as u64
    }
}

/// A draw of 64 bits as a number in `[0, 1)`.
pub fn unit_of(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1_u64 << 53) as f64
}

/// A draw of 64 bits as an index in `0..n` (multiply-shift; the bias is below n/2^64); 0 if `n` is 0.
pub fn index_of(draw: u64, n: usize) -> usize {
    ((u128::from(draw) * n as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_pinned() {
        let mut draws = Draws::from_u64(7).child("schedule", 3);
        let first: Vec<u64> = (0..3).map(|_| draws.u64()).collect();
        let mut again = Draws::from_u64(7).child("schedule", 3);
        assert_eq!(first, (0..3).map(|_| again.u64()).collect::<Vec<_>>());
        assert_ne!(first[0], Draws::from_u64(7).child("schedule", 4).u64());
        assert_ne!(first[0], Draws::from_u64(8).child("schedule", 3).u64());
    }

    #[test]
    fn children_do_not_depend_on_earlier_draws() {
        let mut root = Draws::from_u64(1);
        let before = root.child("a", 0).u64();
        root.u64();
        assert_eq!(before, root.child("a", 0).u64());
    }

    #[test]
    fn indices_stay_in_range() {
        for n in [0, 1, 2, 12, usize::MAX] {
            for draw in [0, 1, u64::MAX / 2, u64::MAX] {
                assert!(index_of(draw, n) < n.max(1));
            }
        }
        assert!(unit_of(u64::MAX) < 1.0);
    }
}

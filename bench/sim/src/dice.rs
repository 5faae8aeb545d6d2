//! Random numbers of the simulated world: one child stream of the seed for each actor, so that a change in one leaves the others as
//! they were.

use farm_shared::draw::Draws;

/// One actor's stream.
#[derive(Clone, Debug)]
pub(crate) struct Die(Draws);

impl Die {
    /// The stream of an actor.
    pub(crate) fn new(seed: u64, actor: &str) -> Self {
        Self(Draws::from_u64(seed).child(actor, 0))
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0.unit()
    }

    /// 64 uniform bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.u64()
    }

    /// Uniform in `0..n`; 0 if `n` is 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0.below(n)
    }

    /// Uniform in `low..=high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.below((high.saturating_sub(low) + 1) as usize) as u64
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.0.unit() < probability
    }

    /// Exponential with this mean, in whole units.
    pub(crate) fn exponential(&mut self, mean: f64) -> u64 {
        (-(1.0 - self.0.unit()).ln() * mean) as u64
    }

    /// Log-normal with this median; `sigma` is the standard deviation of its logarithm.
    pub(crate) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.0.unit()).ln()).sqrt();
        median * (sigma * radius * (2.0 * std::f64::consts::PI * self.0.unit()).cos()).exp()
    }

    /// One of them.
    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.0.below(all.len())).copied()
    }
}

/// All streams of one world.
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    /// Delays and losses.
    pub net: Die,
    /// The cloud's moods.
    pub cloud: Die,
    /// Boot times and speeds of machines.
    pub boots: Die,
    /// Clients.
    pub crowd: Die,
    /// What breaks, and when.
    pub faults: Die,
}

impl Dice {
    /// From a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            net: Die::new(seed, "net"),
            cloud: Die::new(seed, "cloud"),
            boots: Die::new(seed, "boots"),
            crowd: Die::new(seed, "crowd"),
            faults: Die::new(seed, "faults"),
        }
    }
}

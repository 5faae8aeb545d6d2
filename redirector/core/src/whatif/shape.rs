//! The rate over time.

use super::scenario::Shape;
use farm_shared::draw::Draws;

impl Shape {
    /// The factor at a time in seconds. Noise has factor 1 here: see [`Noise`].
    pub fn factor_at(&self, t_s: f64) -> f64 {
        match *self {
            Self::Ramp { at_s, over_s, factor, hold_s, back_s } => {
                let up = share(t_s - at_s, over_s);
                let down = share(t_s - at_s - over_s - hold_s, back_s);
                1.0 + (factor - 1.0) * (up - down)
            }
            Self::Slashdot { at_s, rise_s, factor, half_life_s } => {
                let since_peak_s = (t_s - at_s - rise_s).max(0.0);
                1.0 + (factor - 1.0) * share(t_s - at_s, rise_s) * (-since_peak_s / half_life_s).exp2()
            }
            Self::Sawtooth { period_s, factor } => 1.0 + (factor - 1.0) * (t_s / period_s).fract(),
            Self::Day { period_s, factor } => {
                1.0 + (factor - 1.0) * (1.0 - (t_s / period_s * std::f64::consts::TAU).cos()) / 2.0
            }
            Self::Noise { .. } => 1.0,
        }
    }

    /// The largest factor, or for noise one that is seldom passed.
    pub fn peak(&self) -> f64 {
        match *self {
            Self::Ramp { factor, .. }
            | Self::Slashdot { factor, .. }
            | Self::Sawtooth { factor, .. }
            | Self::Day { factor, .. } => factor.max(1.0),
            Self::Noise { share, .. } => (3.0 * share).exp(),
        }
    }
}

/// How much of `over_s` has passed, 0 to 1. At the very beginning of a step all of it has.
fn share(since_s: f64, over_s: f64) -> f64 {
    if since_s < 0.0 {
        0.0
    } else if over_s <= 0.0 {
        1.0
    } else {
        (since_s / over_s).min(1.0)
    }
}

/// A log-normal factor of mean 1 whose logarithm is an Ornstein-Uhlenbeck process, second by second.
#[derive(Debug)]
pub(super) struct Noise {
    sigma: f64,
    memory: f64,
    log: f64,
    draws: Draws,
}

impl Noise {
    pub(super) fn new(share: f64, over_s: f64, mut draws: Draws) -> Self {
        let log = share * normal(&mut draws);
        Self { sigma: share, memory: (-1.0 / over_s.max(1.0)).exp(), log, draws }
    }

    /// The factor of the next second.
    pub(super) fn next(&mut self) -> f64 {
        let now = (self.log - self.sigma * self.sigma / 2.0).exp();
        let step = self.sigma * (1.0 - self.memory * self.memory).sqrt();
        self.log = self.memory * self.log + step * normal(&mut self.draws);
        now
    }
}

/// Standard normal, by Box and Muller.
pub(super) fn normal(draws: &mut Draws) -> f64 {
    (-2.0 * (1.0 - draws.unit()).ln()).sqrt() * (std::f64::consts::TAU * draws.unit()).cos()
}

/// Exponential of mean 1.
pub(super) fn exponential(draws: &mut Draws) -> f64 {
    -(1.0 - draws.unit()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let ramp = Shape::Ramp { at_s: 100.0, over_s: 50.0, factor: 6.0, hold_s: 10.0, back_s: 20.0 };
        let step = Shape::Ramp { at_s: 100.0, over_s: 0.0, factor: 6.0, hold_s: 10.0, back_s: 0.0 };
        let crowd = Shape::Slashdot { at_s: 100.0, rise_s: 10.0, factor: 51.0, half_life_s: 30.0 };
        let saw = Shape::Sawtooth { period_s: 100.0, factor: 3.0 };
        let day = Shape::Day { period_s: 100.0, factor: 3.0 };
        let cases: [(&Shape, &[(f64, f64)]); 5] = [
            (&ramp, &[(0.0, 1.0), (100.0, 1.0), (125.0, 3.5), (155.0, 6.0), (170.0, 3.5), (200.0, 1.0)]),
            (&step, &[(99.9, 1.0), (100.0, 6.0), (109.9, 6.0), (110.0, 1.0)]),
            (&crowd, &[(100.0, 1.0), (105.0, 26.0), (110.0, 51.0), (140.0, 26.0), (170.0, 13.5)]),
            (&saw, &[(0.0, 1.0), (50.0, 2.0), (100.0, 1.0), (150.0, 2.0)]),
            (&day, &[(0.0, 1.0), (50.0, 3.0), (25.0, 2.0), (100.0, 1.0)]),
        ];
        for (shape, points) in cases {
            for (t, expect) in points {
                assert!((shape.factor_at(*t) - expect).abs() < 1e-9, "{shape:?} at {t}: {}", shape.factor_at(*t));
            }
        }
    }

    #[test]
    fn noise_has_mean_one_and_its_share() {
        let mut noise = Noise::new(0.3, 20.0, Draws::from_u64(1));
        let all: Vec<f64> = (0..200_000).map(|_| noise.next()).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let logs = all.iter().map(|v| (v.ln() + 0.045).powi(2)).sum::<f64>() / all.len() as f64;
        assert!((mean - 1.0).abs() < 0.02 && (logs.sqrt() - 0.3).abs() < 0.02, "{mean} {}", logs.sqrt());
        let near = all.windows(2).map(|w| (w[1] - w[0]).abs()).sum::<f64>() / all.len() as f64;
        assert!(near < 0.1, "it wanders: {near}");
    }
}

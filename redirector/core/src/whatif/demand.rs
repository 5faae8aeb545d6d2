//! The sessions of one run: when each begins to want a server, and how long it lasts once it has one.

use super::scenario::{Scenario, Shape};
use super::shape::{Noise, exponential};
use farm_shared::draw::Draws;

/// A safety net behind the scenario's own check, for journals and noise: more sessions than that are not drawn.
const SESSIONS_MAX: usize = 60_000_000;

/// All sessions of a run, ordered by arrival.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// How long the run lasts, in milliseconds.
    pub duration_ms: u64,
    /// The first so many run already when it begins, each on a server.
    pub running: usize,
    /// Each session.
    pub sessions: Vec<Session>,
}

/// One session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// When it wants a server, in milliseconds from the start of the run.
    pub at_ms: u64,
    /// How long it lasts then, in milliseconds; at least 1.
    pub length_ms: u64,
}

impl Scenario {
    /// Expected arrivals per second at a time, in seconds; without noise.
    pub fn rate_at(&self, t_s: f64) -> f64 {
        self.rate_per_s * self.shapes.iter().map(|s| s.factor_at(t_s)).product::<f64>()
    }

    /// The arrivals per second of each second of a run, with its noise.
    pub fn rates(&self, seed: u64) -> Vec<f64> {
        let root = Draws::from_u64(seed);
        let noise = |(n, shape): (usize, &Shape)| match *shape {
            Shape::Noise { share, over_s } => Some(Noise::new(share, over_s, root.child("noise", n as u64))),
            _ => None,
        };
        let mut noises: Vec<Noise> = self.shapes.iter().enumerate().filter_map(noise).collect();
        let rate = |s: u64| self.rate_at(s as f64 + 0.5) * noises.iter_mut().map(Noise::next).product::<f64>();
        (0..self.duration_s).map(rate).collect()
    }

    /// The sessions of a run: a Poisson process with these rates, lengths exponential. As many as Little's law says run at its
    /// beginning. Draws of arrivals and of lengths are streams of their own.
    pub fn demand(&self, seed: u64) -> Demand {
        let root = Draws::from_u64(seed);
        let (mut arrivals, mut lengths) = (root.child("arrivals", 0), root.child("lengths", 0));
        let mut length_ms = || ((exponential(&mut lengths) * self.session_s * 1_000.0) as u64).max(1);
        let rates = self.rates(seed);
        let mut sessions = Vec::new();
        let first = rates.first().copied().unwrap_or(0.0) * self.session_s;
        // Exponential lengths have no memory: what is left of a running session is as long as a new one.
        for _ in 0..(first.round().max(0.0) as usize).min(SESSIONS_MAX) {
            sessions.push(Session { at_ms: 0, length_ms: length_ms() });
        }
        let running = sessions.len();
        // Time is stretched by the rate: unit exponentials are used up by the integral of it.
        let mut left = exponential(&mut arrivals);
        for (second, rate) in rates.iter().enumerate() {
            let mut at = 0.0;
            while left <= rate * (1.0 - at) && sessions.len() < SESSIONS_MAX {
                at += left / rate;
                sessions.push(Session { at_ms: ((second as f64 + at) * 1_000.0) as u64, length_ms: length_ms() });
                left = exponential(&mut arrivals);
            }
            left -= (rate * (1.0 - at)).max(0.0);
        }
        Demand { duration_ms: self.duration_s * 1_000, running, sessions }
    }
}

impl Demand {
    /// Sessions at a time, if each begins when it wants to: `(time in milliseconds, sessions)` at each change.
    pub fn concurrency(&self) -> Vec<(u64, u32)> {
        let mut ends: Vec<u64> = self.sessions.iter().map(|s| s.at_ms.saturating_add(s.length_ms)).collect();
        ends.sort_unstable();
        let mut changes = Vec::with_capacity(2 * ends.len());
        let (mut ends, mut now) = (ends.into_iter().peekable(), 0_u32);
        let mut push = |at: u64, now: u32| match changes.last_mut() {
            Some((last, count)) if *last == at => *count = now,
            _ => changes.push((at, now)),
        };
        for session in &self.sessions {
            while let Some(end) = ends.next_if(|e| *e <= session.at_ms) {
                now -= 1;
                push(end, now);
            }
            now += 1;
            push(session.at_ms, now);
        }
        for end in ends.take_while(|e| *e < self.duration_ms) {
            now -= 1;
            push(end, now);
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn arrivals_follow_the_rate_and_the_seed() {
        let scenario = Scenario {
            duration_s: 2_000,
            rate_per_s: 2.0,
            session_s: 50.0,
            shapes: vec![Shape::Ramp { at_s: 1_000.0, over_s: 0.0, factor: 5.0, hold_s: 1e9, back_s: 0.0 }],
            ..Scenario::default()
        };
        let demand = scenario.demand(3);
        assert_eq!(demand, scenario.demand(3));
        assert_ne!(demand, scenario.demand(4));
        assert_eq!(demand.running, 100);
        let count = |from: u64, to: u64| demand.sessions.iter().skip(100).filter(|s| (from..to).contains(&s.at_ms)).count();
        let (before, after) = (count(0, 1_000_000) as f64, count(1_000_000, 2_000_000) as f64);
        assert!((before - 2_000.0).abs() < 200.0 && (after - 10_000.0).abs() < 400.0, "{before} {after}");
        let mean_ms = demand.sessions.iter().map(|s| s.length_ms as f64).sum::<f64>() / demand.sessions.len() as f64;
        assert!((mean_ms - 50_000.0).abs() < 2_000.0, "{mean_ms}");
        assert!(demand.sessions.windows(2).all(|w| w[0].at_ms <= w[1].at_ms));
        let late = demand.concurrency().into_iter().rfind(|(at, _)| *at < 1_900_000).unwrap().1;
        assert!((400..600).contains(&late), "{late}");
    }

    #[test]
    fn concurrency() {
        let session = |at_ms, length_ms| Session { at_ms, length_ms };
        let sessions = vec![session(0, 10), session(0, 30), session(10, 5), session(40, 99)];
        let demand = Demand { duration_ms: 50, running: 2, sessions };
        assert_eq!(demand.concurrency(), [(0, 2), (10, 2), (15, 1), (30, 0), (40, 1)]);
    }
}

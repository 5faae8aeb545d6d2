//! What the sizing needs to know of the farm, measured from one observation to the next.
//!
//! It must never divide by what was not seen: until there is enough, priors stand.

use super::observation::{Observation, ServerState};
use farm_shared::time::Mono;
use std::collections::VecDeque;

/// A configured session length counts for as many sessions that ended.
const PRIOR_ENDS: f64 = 10.0;
/// Sessions that ended count for less as time passes: by a factor e after so many session lengths.
const MEMORY_LENGTHS: f64 = 5.0;
/// Samples kept; beyond that, old ones are thinned out.
const SAMPLES_MAX: usize = 2_048;

/// Measurements so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// When, sessions that came (or were turned away) until then.
    samples: VecDeque<(Mono, u64)>,
    last: Option<(Mono, u64)>,
    /// Sessions times seconds, fading.
    area_s: f64,
    /// Sessions ended, fading likewise.
    ends: f64,
}

/// A rate and where it is going.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) per_s: f64,
    pub(super) trend_per_s2: f64,
    /// The window it was measured over, shorter than configured after a start.
    pub(super) window_s: f64,
}

impl Measured {
    pub(super) fn observe(&mut self, observation: &Observation, now: Mono, window_ms: u64, prior_s: f64) {
        let demand = observation.arrivals.saturating_add(observation.waited);
        // Counters begin anew with the process only, and this state with them; should one fall all the same, begin anew too.
        if self.samples.back().is_some_and(|(_, before)| *before > demand) {
            self.samples.clear();
        }
        self.samples.push_back((now, demand));
        while self.samples.len() > SAMPLES_MAX || self.samples.get(1).is_some_and(|(at, _)| now.since_ms(*at) >= window_ms) {
            self.samples.pop_front();
        }
        let kept = |s: ServerState| s != ServerState::Silent;
        let sessions: f64 = observation.servers.iter().filter(|s| kept(s.state)).map(|s| f64::from(s.sessions)).sum();
        if let Some((at, completions)) = self.last {
            let elapsed_s = now.since_ms(at) as f64 / 1_000.0;
            let fade = (-elapsed_s / (MEMORY_LENGTHS * prior_s.max(1.0))).exp();
            self.area_s = self.area_s * fade + sessions * elapsed_s;
            self.ends = self.ends * fade + observation.completions.saturating_sub(completions) as f64;
        }
        self.last = Some((now, observation.completions));
    }

    /// Mean session length by Little's law, in seconds: sessions times seconds over sessions that ended. For exponential lengths
    /// that holds while the farm grows, too.
    pub(super) fn session_s(&self, prior_s: f64) -> f64 {
        (self.area_s + PRIOR_ENDS * prior_s) / (self.ends + PRIOR_ENDS)
    }

    /// Arrivals per second over the window, and the trend between its halves.
    pub(super) fn rate(&self) -> Rate {
        let (Some((first, from)), Some((last, to))) = (self.samples.front(), self.samples.back()) else { return Rate::default() };
        let window_s = last.since_ms(*first) as f64 / 1_000.0;
        if window_s <= 0.0 {
            return Rate::default();
        }
        let per_s = (to - from) as f64 / window_s;
        let half_ms = last.since_ms(*first) / 2;
        let middle = self.samples.iter().find(|(at, _)| at.since_ms(*first) >= half_ms);
        let Some((middle, until)) = middle.filter(|(at, _)| *at < *last && *at > *first) else {
            return Rate { per_s, trend_per_s2: 0.0, window_s };
        };
        let (before_s, after_s) = (middle.since_ms(*first) as f64 / 1_000.0, last.since_ms(*middle) as f64 / 1_000.0);
        let (before, after) = ((until - from) as f64, (to - until) as f64);
        let trend = (after / after_s - before / before_s) / (window_s / 2.0);
        // Arrivals are noisy: what one standard deviation of two Poisson counts explains is no trend.
        let noise = (before / before_s.powi(2) + after / after_s.powi(2)).sqrt() / (window_s / 2.0);
        Rate { per_s, trend_per_s2: trend.signum() * (trend.abs() - noise).max(0.0), window_s }
    }
}

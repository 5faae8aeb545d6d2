//! What the sizing needs to know of the farm, measured from one observation to the next.
//!
//! It must never divide by what was not seen: until there is enough, priors stand.

use super::observation::{Observation, ServerState};
use super::returns::{Before, LOOK_BACK_HEARTBEATS, Returns};
use farm_shared::time::Mono;
use std::collections::VecDeque;

/// A configured session length counts for as many sessions that ended.
const PRIOR_ENDS: f64 = 10.0;
/// Sessions that ended count for less as time passes: by a factor e after so many session lengths.
const MEMORY_LENGTHS: f64 = 5.0;
/// Samples kept; beyond that, old ones are thinned out.
const SAMPLES_MAX: usize = 2_048;

/// A slow trend is looked for over so many windows.
const LONG_WINDOWS: u64 = 3;
/// A trend counts for what it exceeds its noise by, in standard deviations.
const NOISE_DEVIATIONS: f64 = 1.5;
/// Arrivals are a burst when they exceed the rate before them by so many standard deviations.
const BURST_DEVIATIONS: f64 = 6.0;

/// Measurements so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// When, and sessions that came until then: those that began and those that waited to begin, without those that came again
    /// because their server was lost. Falls when some give up.
    samples: VecDeque<(Mono, f64)>,
    last: Option<(Mono, u64)>,
    /// Sessions times seconds, fading.
    area_s: f64,
    /// Sessions ended, fading likewise.
    ends: f64,
    returns: Returns,
    /// How long a lost server may go unnoticed, in milliseconds.
    noticed_ms: u64,
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
        let all = observation.arrivals as f64 + f64::from(observation.waiting);
        let samples = &self.samples;
        let before = |ms: u64| before(samples, ms, window_ms);
        let demand = self.returns.without(observation, all, now, window_ms, before);
        if let Some(((began, before), rate_per_s)) = self.returns.began() {
            // What came again before the loss was noticed stands in the samples.
            for (at, seen) in self.samples.iter_mut().filter(|(at, _)| *at > began) {
                *seen = seen.min(before + rate_per_s * at.since_ms(began) as f64 / 1_000.0);
            }
        }
        self.noticed_ms = LOOK_BACK_HEARTBEATS * observation.heartbeat_ms;
        self.samples.push_back((now, demand));
        while self.samples.len() > SAMPLES_MAX
            || self.samples.get(1).is_some_and(|(at, _)| now.since_ms(*at) >= LONG_WINDOWS * window_ms)
        {
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

    /// Arrivals per second over the window, and their trend. None while less than a quarter of the window has been seen: too few
    /// arrivals would decide too much.
    ///
    /// The trend is looked for within the window, which sees a rise early, and within a longer one, which tells a slow rise from noise;
    /// the higher of the two counts, because a server too few costs sessions and one too many costs money. A burst counts once it has
    /// lasted for as long as a lost server may go unnoticed: its sessions all come again at once.
    pub(super) fn rate(&self, window_ms: u64) -> Option<Rate> {
        let ((first, _), (last, to)) = (self.samples.front()?, self.samples.back()?);
        let seen_ms = last.since_ms(*first);
        if seen_ms == 0 || seen_ms < window_ms / 4 {
            return None;
        }
        let from = back_to(&self.samples, last.0.saturating_sub(window_ms.min(seen_ms)))?;
        let window_s = last.since_ms(from.0) as f64 / 1_000.0;
        if window_s <= 0.0 {
            return None;
        }
        let per_s = (to - from.1).max(0.0) / window_s;
        let trend = self.trend_until((*last, *to), window_ms);
        let trend_per_s2 = self.before_burst(window_ms).map_or(trend, |before| trend.min(before.max(0.0)));
        Some(Rate { per_s, trend_per_s2, window_s })
    }

    /// Sessions that were lost with their server and did not come again yet.
    pub(super) fn owed(&self) -> f64 {
        self.returns.owed()
    }

    /// The trend before a burst that has not lasted long enough to be believed; none if there is no such burst.
    fn before_burst(&self, window_ms: u64) -> Option<f64> {
        let (last, to) = *self.samples.back()?;
        let until = back_to(&self.samples, last.0.saturating_sub(self.noticed_ms))?;
        let (_, per_s) = before(&self.samples, until.0.0, 2 * window_ms)?;
        let expected = per_s * last.since_ms(until.0) as f64 / 1_000.0;
        let burst = to - until.1 - expected > BURST_DEVIATIONS * expected.max(1.0).sqrt();
        burst.then(|| self.trend_until(until, window_ms))
    }

    /// The trend as it was seen at a sample.
    fn trend_until(&self, last: (Mono, f64), window_ms: u64) -> f64 {
        let trend = |back_ms: u64| {
            let from = back_to(&self.samples, last.0.0.saturating_sub(back_ms));
            from.map_or(0.0, |from| self.trend(from, last))
        };
        trend(window_ms).max(trend(LONG_WINDOWS * window_ms))
    }

    /// How the rate changes between the halves of the time between two samples, per second and second.
    fn trend(&self, (first, from): (Mono, f64), (last, to): (Mono, f64)) -> f64 {
        let half_ms = last.since_ms(first) / 2;
        let middle = self.samples.iter().find(|(at, _)| at.since_ms(first) >= half_ms && *at > first);
        let Some((middle, until)) = middle.copied().filter(|(at, _)| *at < last) else { return 0.0 };
        let (before_s, after_s) = (middle.since_ms(first) as f64 / 1_000.0, last.since_ms(middle) as f64 / 1_000.0);
        let apart_s = f64::midpoint(before_s, after_s);
        let (before, after) = ((until - from).max(0.0), (to - until).max(0.0));
        let trend = (after / after_s - before / before_s) / apart_s;
        // Arrivals are noisy: what so many standard deviations of two Poisson counts explain is no trend.
        let noise = (before / before_s.powi(2) + after / after_s.powi(2)).sqrt() / apart_s;
        trend.signum() * (trend.abs() - NOISE_DEVIATIONS * noise).max(0.0)
    }
}

/// The last sample at or before a time, or the first.
fn back_to(samples: &VecDeque<(Mono, f64)>, at_ms: u64) -> Option<(Mono, f64)> {
    let after = samples.partition_point(|(at, _)| at.0 <= at_ms);
    samples.get(after.saturating_sub(1)).copied()
}

/// The demand at a time, and how fast it rose in the half window before; none while that was not watched.
fn before(samples: &VecDeque<(Mono, f64)>, at_ms: u64, window_ms: u64) -> Option<Before> {
    let to = back_to(samples, at_ms)?;
    let from = back_to(samples, to.0.0.saturating_sub(window_ms / 2))?;
    let elapsed_s = to.0.since_ms(from.0) as f64 / 1_000.0;
    (elapsed_s > 0.0).then(|| (to, ((to.1 - from.1) / elapsed_s).max(0.0)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Measures once a second for so many seconds, of a farm with heartbeats each second and these arrivals until each.
    fn measure_every(seconds: u64, arrivals: fn(u64) -> u64) -> Measured {
        let mut measured = Measured::default();
        for s in 0..=seconds {
            let observation = Observation { arrivals: arrivals(s), heartbeat_ms: 1_000, ..Observation::default() };
            measured.observe(&observation, Mono(s * 1_000), 60_000, 100.0);
        }
        measured
    }

    /// Measures once a second for so many seconds, of a farm with these sessions, arrivals and ends until each second.
    fn measure(seconds: u64, sessions: u32, arrivals: fn(u64) -> u64, ends: fn(u64) -> u64) -> Measured {
        let mut measured = Measured::default();
        for s in 0..=seconds {
            let observation = Observation {
                waiting: sessions,
                arrivals: arrivals(s).saturating_sub(u64::from(sessions)),
                completions: ends(s),
                ..Observation::default()
            };
            measured.observe(&observation, Mono(s * 1_000), 60_000, 100.0);
        }
        measured
    }

    #[test]
    fn rates_and_trends() {
        let steady = measure(200, 0, |s| 3 * s, |_| 0).rate(60_000).unwrap_or_default();
        assert_eq!((steady.per_s, steady.trend_per_s2, steady.window_s), (3.0, 0.0, 60.0));
        // Fifty more a second, every second: noise is small beside that.
        let rising = measure(200, 0, |s| 25 * s * s, |_| 0).rate(60_000).unwrap_or_default();
        assert!((rising.per_s - 50.0 * 170.0).abs() < 1.0, "{rising:?}");
        assert!((rising.trend_per_s2 - 50.0).abs() < 20.0, "{rising:?}");
        assert_eq!(measure(14, 0, |s| s, |_| 0).rate(60_000), None, "too early");
        assert_eq!(measure(60, 0, |s| 9 - s.min(9), |_| 0).rate(60_000).map(|r| r.per_s), Some(0.0), "those who give up");
    }

    #[test]
    fn a_burst_must_last() {
        let watched = |second: u64| measure_every(second, |s| 10 * s + if s > 200 { 300 + 60 * (s - 200) } else { 0 });
        let trend = |second: u64| watched(second).rate(60_000).unwrap_or_default().trend_per_s2;
        assert_eq!([200, 201, 203].map(trend), [0.0; 3]);
        assert!(trend(208) > 0.3, "{}", trend(208));
        // Without a heartbeat to wait for, at once.
        assert!(
            measure(201, 0, |s| 10 * s + if s > 200 { 300 } else { 0 }, |_| 0).rate(60_000).unwrap_or_default().trend_per_s2
                > 0.0
        );
    }

    #[test]
    fn session_lengths() {
        assert_eq!(Measured::default().session_s(100.0), 100.0);
        let mut measured = Measured::default();
        for s in 0..3_000 {
            let observation = Observation { completions: 2 * s, servers: vec![busy(60)], ..Observation::default() };
            measured.observe(&observation, Mono(s * 1_000), 60_000, 100.0);
        }
        // Sixty sessions and two ends a second: thirty seconds each, by Little's law.
        assert!((measured.session_s(100.0) - 30.0).abs() < 1.5, "{}", measured.session_s(100.0));
    }

    pub(in super::super) fn busy(sessions: u32) -> super::super::ServerLoad {
        super::super::ServerLoad {
            id: farm_shared::id::Id::new("b1").unwrap(),
            state: ServerState::Live,
            managed: true,
            queue: 0.0,
            cores: 1.0,
            busy: 0.0,
            sessions,
            limit: None,
            youngest_ms: None,
            zone: None,
            role: false,
            draining_ms: None,
            ttl_clear: false,
        }
    }
}

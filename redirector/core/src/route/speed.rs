//! How fast each backend is, from what it completed while it was busy.
//!
//! Plain completions per second would feed on itself: who gets little completes little and would get less. So completions are
//! counted per busy core second, and a backend with few of them is taken for an average one.
//!
//! Long sessions complete too rarely for that. What they ask is seen while they live: busy core seconds per second of a session.

use farm_shared::heartbeat::Load;

/// Older completions count for less: by a factor e after so long, in seconds, or the longer time while there are few.
const MEMORY_S: f64 = 60.0;
const MEMORY_OF_FEW_S: f64 = 600.0;
/// So many tell a backend's speed to a few percent, which routing raises to the fourth power.
const ENOUGH_COMPLETIONS: f64 = 400.0;
/// A backend's own rate counts as much as the farm's after so many completions.
const PRIOR_COMPLETIONS: f64 = 20.0;
/// No backend is believed to be more than so many times faster or slower per core than the farm.
const RATIO_MAX: f64 = 8.0;
/// A backend's own demand per session counts as much as the farm's after so many seconds of sessions.
const PRIOR_SESSION_S: f64 = 60.0;
/// What is busier than this share is saturated: more sessions would not make it busier, so it says nothing about one session's demand.
const CALM_BUSY_MAX: f64 = 0.9;

/// One backend's completions and busy time, fading.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SpeedMeter {
    completions: f64,
    busy_core_s: f64,
    session_s: f64,
    calm: Demand,
    last: Option<u64>,
}

/// What sessions asked while the cores had time left.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Demand {
    busy_core_s: f64,
    session_s: f64,
}

/// The farm's rates, for one build of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speeds {
    /// Completions per busy core second; none known yet.
    per_core_s: Option<f64>,
    /// Run queue that one session adds (r).
    pub queue_per_session: f64,
    /// Cores that one session keeps busy on average; none known yet.
    pub cores_per_session: Option<f64>,
    /// Mean length of a session in seconds, by Little's law; none known yet.
    pub session_s: Option<f64>,
}

impl SpeedMeter {
    /// A new report, `elapsed_ms` after the one before.
    pub fn observe(&mut self, load: &Load, elapsed_ms: u64) {
        let elapsed_s = elapsed_ms as f64 / 1_000.0;
        if let Some(last) = self.last.filter(|last| load.completions >= *last && elapsed_s > 0.0) {
            let memory_s = if self.completions < ENOUGH_COMPLETIONS { MEMORY_OF_FEW_S } else { MEMORY_S };
            let fade = (-elapsed_s / memory_s).exp();
            // A completion is bounded by nothing in the schema: a lie must not turn into an infinity.
            let completions = ((load.completions - last) as f64).min(1e6 * elapsed_s);
            self.completions = self.completions * fade + completions;
            self.busy_core_s = self.busy_core_s * fade + load.cores * load.busy * elapsed_s;
            let session_s = f64::from(load.sessions) * elapsed_s;
            self.session_s = self.session_s * fade + session_s;
            if load.busy <= CALM_BUSY_MAX {
                self.calm.busy_core_s = self.calm.busy_core_s * fade + load.cores * load.busy * elapsed_s;
                self.calm.session_s = self.calm.session_s * fade + session_s;
            }
        }
        self.last = Some(load.completions);
    }
}

impl Default for Speeds {
    fn default() -> Self {
        Self { per_core_s: None, queue_per_session: 1.0, cores_per_session: None, session_s: None }
    }
}

impl Speeds {
    /// From all backends; `queue_per_session` is the last one, which moves slowly.
    pub fn of<'a>(meters: impl Iterator<Item = (&'a SpeedMeter, &'a Load)>, queue_per_session: f64) -> Self {
        let meters = meters.filter(|(_, load)| load.reported);
        let (mut completions, mut busy_core_s, mut queue, mut sessions) = (0.0, 0.0, 0.0, 0.0);
        let (mut session_s, mut calm) = (0.0, Demand::default());
        for (meter, load) in meters {
            completions += meter.completions;
            busy_core_s += meter.busy_core_s;
            queue += load.queue;
            sessions += f64::from(load.sessions);
            session_s += meter.session_s;
            calm.busy_core_s += meter.calm.busy_core_s;
            calm.session_s += meter.calm.session_s;
        }
        let per_core_s = (completions >= 1.0 && busy_core_s > 0.01).then(|| completions / busy_core_s);
        let queue_per_session = if sessions > 0.0 {
            let measured = (queue / sessions).clamp(0.01, 10.0);
            queue_per_session + 0.05 * (measured - queue_per_session)
        } else {
            queue_per_session
        };
        let cores_per_session =
            (calm.session_s >= 1.0 && calm.busy_core_s > 0.01).then(|| calm.busy_core_s / calm.session_s);
        let session_s = (completions >= 1.0 && session_s > 0.0).then(|| session_s / completions);
        Self { per_core_s, queue_per_session, cores_per_session, session_s }
    }

    /// A backend's completions per second when all its cores are busy (mu), or only relative to others when nothing was
    /// completed yet; and how fast its queue shrinks, in run queue per second.
    ///
    /// DESIGN 4.3 writes `mu*a` for a farm whose sessions are one task each (r = 1); a session that completes takes r from
    /// the queue, so it is `r*mu*a` here, in the same units as `r*K*d`.
    pub fn speed(&self, meter: &SpeedMeter, load: &Load) -> (f64, f64) {
        let Some(farm) = self.per_core_s else { return (load.cores, 0.0) };
        let own = (meter.completions + PRIOR_COMPLETIONS) / (meter.busy_core_s + PRIOR_COMPLETIONS / farm);
        let mu = load.cores * own.clamp(farm / RATIO_MAX, farm * RATIO_MAX);
        (mu, mu * self.queue_per_session)
    }

    /// Sessions that would keep all cores of a backend busy; only relative to others when nothing is known of their demand yet.
    pub fn capacity(&self, meter: &SpeedMeter, load: &Load) -> f64 {
        let Some(farm) = self.cores_per_session else { return load.cores };
        let own = (meter.calm.busy_core_s + PRIOR_SESSION_S * farm) / (meter.calm.session_s + PRIOR_SESSION_S);
        load.cores / own.clamp(farm / RATIO_MAX, farm * RATIO_MAX)
    }

    /// Of the sessions that a backend reported, those that go on after `age_ms`.
    pub fn remaining(&self, sessions: u32, age_ms: u64) -> f64 {
        let share = self.session_s.map_or(1.0, |mean_s| (-(age_ms as f64) / 1_000.0 / mean_s.max(0.1)).exp());
        f64::from(sessions) * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(cores: f64, busy: f64, completions: u64) -> Load {
        Load { cores, busy, completions, sessions: 10, queue: 2.0, ..Load::default() }
    }

    /// Speeds of two backends that completed so many in 100 s at this busy share, on one core each.
    fn speeds(a: (u64, f64), b: (u64, f64)) -> [f64; 2] {
        let loads = [load(1.0, a.1, a.0), load(1.0, b.1, b.0)];
        let mut meters = [SpeedMeter::default(); 2];
        for (meter, load) in meters.iter_mut().zip(&loads) {
            meter.observe(&Load { completions: 0, ..*load }, 0);
            meter.observe(load, 100_000);
        }
        let speeds = Speeds::of(meters.iter().zip(&loads), 1.0);
        [speeds.speed(&meters[0], &loads[0]).0, speeds.speed(&meters[1], &loads[1]).0]
    }

    #[test]
    fn speed_is_what_is_done_while_busy() {
        let [fast, slow] = speeds((3_000, 1.0), (1_000, 1.0));
        assert!((2.8..3.2).contains(&(fast / slow)), "{fast} {slow}");
        let [much, little] = speeds((3_000, 1.0), (300, 0.1));
        assert!((0.95..1.05).contains(&(much / little)), "who got less is not slower: {much} {little}");
        let [_, lucky] = speeds((3_000, 1.0), (2, 0.0));
        assert!(lucky < 2.5 * 30.0, "two completions say little: {lucky}");
        assert_eq!(speeds((0, 0.0), (0, 0.0)), [1.0, 1.0]);
    }

    /// Two backends with 50 sessions each for 100 s, of which one is twice as busy; and one that is saturated by 200.
    #[test]
    fn a_session_asks_what_it_keeps_busy() {
        let loads = [(0.4, 50), (0.8, 50), (1.0, 200)].map(|(busy, sessions)| Load { sessions, ..load(1.0, busy, 100) });
        let mut meters = [SpeedMeter::default(); 3];
        for (meter, load) in meters.iter_mut().zip(&loads) {
            meter.observe(&Load { completions: 0, ..*load }, 0);
            meter.observe(load, 100_000);
        }
        let speeds = Speeds::of(meters.iter().zip(&loads), 1.0);
        let [fast, slow, full] = [0, 1, 2].map(|i| speeds.capacity(&meters[i], &loads[i]));
        assert!((1.9..2.1).contains(&(fast / slow)) && (60.0..65.0).contains(&slow), "{fast} {slow}");
        assert!((slow..fast).contains(&full), "saturation says nothing about a session: {full}");
        let mean_s = speeds.session_s.unwrap();
        assert!((mean_s - 100.0).abs() < 0.1, "300 sessions of which 3 end each second: {mean_s}");
        assert!((speeds.remaining(200, 100_000) - 200.0 / std::f64::consts::E).abs() < 0.1);
        assert_eq!(Speeds::default().remaining(200, 100_000), 200.0);
    }

    #[test]
    fn hostile_counters_stay_finite() {
        let [a, b] = speeds((u64::MAX, 0.0), (0, 1.0));
        assert!(a.is_finite() && b.is_finite() && a > 0.0 && b > 0.0);
    }

    #[test]
    fn the_queue_that_a_session_adds_is_learnt() {
        let (meter, load) = (SpeedMeter::default(), load(1.0, 0.5, 0));
        let mut r = 1.0;
        for _ in 0..200 {
            r = Speeds::of([(&meter, &load)].into_iter(), r).queue_per_session;
        }
        assert!((r - 0.2).abs() < 0.01, "{r}");
    }
}

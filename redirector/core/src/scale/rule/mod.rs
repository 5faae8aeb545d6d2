//! The rules: from what was measured to a number of servers.
//!
//! Each rule says only how many servers it wants. What is done about it, and when, and what is never done, is the same for all
//! ([`super::plan`], [`super::check`]): a rule must not look at limits, prices or freezes.

mod alarm;
mod hpa;
mod paper;
mod sizing;
mod step;
mod target;

pub use sizing::{Sizing, servers_wanted, sessions_expected};

use super::measure::Measured;
use super::observation::{Observation, ServerLoad, ServerState};
use super::plan::Policy;
use crate::config::ScalePolicy;
use farm_shared::time::Mono;

/// What a rule looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) policy: &'a Policy,
    pub(super) observation: &'a Observation,
    pub(super) measured: &'a Measured,
    /// Servers that take sessions.
    pub(super) live: u32,
    pub(super) now: Mono,
}

/// What a rule wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wanted {
    pub(super) servers: u32,
    pub(super) reason: String,
    pub(super) formula: String,
    /// Considered and refused by the rule itself.
    pub(super) refused: Option<String>,
}

/// What rules remember from plan to plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Memory {
    alarms: alarm::Alarms,
    hpa: hpa::Synced,
}

/// Asks the policy's rule.
pub(super) fn want(view: &View<'_>, memory: &mut Memory) -> Wanted {
    match view.policy.rule {
        ScalePolicy::Paper => paper::want(view),
        ScalePolicy::TargetTracking => target::want(view, &mut memory.alarms),
        ScalePolicy::Step => step::want(view, &mut memory.alarms),
        ScalePolicy::Hpa => hpa::want(view, &mut memory.hpa),
        ScalePolicy::Sizing => sizing::want(view),
    }
}

/// Whether the rule wants servers drained only after the stabilisation window; the others have slowness of their own.
pub(super) fn stabilises(rule: ScalePolicy) -> bool {
    matches!(rule, ScalePolicy::Sizing | ScalePolicy::Hpa)
}

impl View<'_> {
    /// Servers there are and will be.
    fn have(&self) -> u32 {
        self.live + self.observation.pending
    }

    fn servers(&self) -> impl Iterator<Item = &ServerLoad> {
        self.observation.servers.iter().filter(|s| s.state == ServerState::Live)
    }

    /// Mean busy share of the servers that take sessions and report one, 0 to 1: the metric of the alarms. None without any.
    fn busy(&self) -> Option<f64> {
        let reported = self.servers().map(|s| s.busy).filter(|b| b.is_finite());
        let (sum, count) = reported.fold((0.0, 0_u32), |(sum, count), busy| (sum + busy, count + 1));
        (count > 0).then(|| sum / f64::from(count))
    }
}

/// As many as before, because nothing is known.
fn hold(servers: u32, why: &str) -> Wanted {
    Wanted { servers, reason: format!("{why}: as many as before"), ..Wanted::default() }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::plan::Policy;
    use super::*;
    use crate::config::ScalerSpec;
    use farm_shared::id::Id;

    /// Servers that are so busy.
    pub(in super::super) fn farm(busy: &[f64]) -> Observation {
        let server = |(n, busy): (usize, &f64)| ServerLoad {
            id: Id::new(&format!("b{n}")).unwrap(),
            state: ServerState::Live,
            managed: true,
            queue: 0.0,
            cores: 2.0,
            busy: *busy,
            sessions: (busy * 100.0) as u32,
            limit: None,
            youngest_ms: None,
            zone: None,
            role: false,
            draining_ms: None,
            ttl_clear: false,
        };
        Observation { servers: busy.iter().enumerate().map(server).collect(), ..Observation::default() }
    }

    /// What a rule wants at the end of a story: `(until when in seconds, busy share, servers, pending)`, looked at each 5 s.
    pub(super) fn story(rule: ScalePolicy, parts: &[(u64, f64, usize, u32)]) -> u32 {
        let policy = Policy::new(&ScalerSpec { policy: rule, max: 100, ..ScalerSpec::default() }, 0);
        let (measured, mut memory, mut wanted) = (Measured::default(), Memory::default(), Wanted::default());
        let mut now_s = 0;
        for (until_s, busy, servers, pending) in parts {
            while now_s <= *until_s {
                let observation = Observation { pending: *pending, ..farm(&vec![*busy; *servers]) };
                let (live, now) = (*servers as u32, Mono(now_s * 1_000));
                wanted =
                    want(&View { policy: &policy, observation: &observation, measured: &measured, live, now }, &mut memory);
                now_s += 5;
            }
        }
        wanted.servers
    }

    #[test]
    fn no_rule_moves_on_missing_data() {
        // The sizing looks at sessions, which are never missing.
        for rule in ScalePolicy::ALL.into_iter().filter(|r| *r != ScalePolicy::Sizing) {
            assert_eq!(story(rule, &[(2_000, f64::NAN, 4, 1)]), 5, "{rule:?}");
        }
    }
}

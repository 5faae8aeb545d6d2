//! From one observation to one plan.
//!
//! `plan` keeps no memory but its [`PlanState`], so that a journal can be replayed against another policy. It must never look at
//! anything that the observation does not hold.

mod leave;

use super::check::{Limits, undrained};
use super::measure::{Measured, Rate};
use super::observation::{Observation, Plan, Report, ServerLoad, ServerState};
use super::paper::{DRAIN_ABOVE, LAUNCH_BELOW, available};
use super::sizing::{Sizing, servers_wanted, sessions_expected};
use crate::config::{ScalePolicy, ScalerSpec};
use farm_shared::id::Id;
use farm_shared::time::{Mono, Now};
use std::collections::VecDeque;

/// The stabilisation window is remembered in so many pieces.
const PIECES: u64 = 60;

/// The numbers that a plan is made by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Which rule.
    pub rule: ScalePolicy,
    /// What bounds every plan.
    pub limits: Limits,
    /// Sessions a server holds unless it says.
    pub sessions_per_server: u32,
    /// The paper's short queue.
    pub q_short: f64,
    /// Time between two plans, in milliseconds.
    pub poll_ms: u64,
    /// A new server's slow start, in milliseconds.
    pub ramp_ms: u64,
    /// Window of arrivals, in milliseconds.
    pub window_ms: u64,
    /// Session length to start from, in milliseconds.
    pub session_prior_ms: u64,
    /// See [`ScalerSpec::stabilisation_ms`].
    pub stabilisation_ms: u64,
}

impl Policy {
    /// From the configuration.
    pub fn new(spec: &ScalerSpec, ramp_ms: u64) -> Self {
        Self {
            rule: spec.policy,
            limits: Limits { min: spec.min, max: spec.max, drain_deadline_ms: spec.drain_deadline_ms },
            sessions_per_server: spec.sessions_per_server,
            q_short: spec.q_short,
            poll_ms: spec.poll_ms,
            ramp_ms,
            window_ms: spec.window_ms,
            session_prior_ms: spec.session_prior_ms,
            stabilisation_ms: spec.stabilisation_ms,
        }
    }
}

/// What is remembered from plan to plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanState {
    measured: Measured,
    /// The most servers wanted in each piece of the stabilisation window.
    peaks: VecDeque<(u64, u32)>,
    began: Option<Mono>,
}

/// What a rule wants.
struct Wanted {
    servers: u32,
    reason: String,
    formula: String,
}

/// One plan, and why. The state is the next one's.
pub fn plan(policy: &Policy, state: &PlanState, observation: &Observation, now: Now) -> (PlanState, Plan, Report) {
    let mut state = state.clone();
    let prior_s = policy.session_prior_ms as f64 / 1_000.0;
    state.measured.observe(observation, now.mono, policy.window_ms, prior_s);
    let live = live(observation).count() as u32;
    let mut refused = Vec::new();
    let wanted = match policy.rule {
        ScalePolicy::Paper => by_paper(policy, observation, live, &mut refused),
        ScalePolicy::Sizing => by_sizing(policy, &state.measured, observation, prior_s),
    };
    let desired = wanted.servers.clamp(policy.limits.min, policy.limits.max.max(policy.limits.min));
    if desired != wanted.servers {
        refused.push(format!("{} servers: limits are {} to {}", wanted.servers, policy.limits.min, policy.limits.max));
    }
    let peak = state.peak(policy, desired, now.mono);
    let mut plan = Plan::default();
    if let Some(why) = &observation.frozen {
        refused.push(format!("any change: {why}"));
    } else {
        stop_drained(policy, observation, &mut plan, &mut refused);
        let have = live + observation.pending;
        if desired > have {
            grow(policy, observation, desired - have, &mut plan, &mut refused);
        } else if desired < live {
            shrink(policy, observation, (live, desired, peak), &mut plan, &mut refused);
        }
        leave::drain_leaving(observation, live, desired, &mut plan, &mut refused);
    }
    // The paper's rule knows no surplus before it acts on one.
    let surplus = if policy.rule == ScalePolicy::Sizing { live.saturating_sub(desired) } else { 0 };
    let victims = stalest(observation, surplus as usize);
    let action = describe(&plan);
    let report = Report { reason: wanted.reason, formula: wanted.formula, refused, victims, desired, action };
    (state, plan, report)
}

fn live(observation: &Observation) -> impl Iterator<Item = &ServerLoad> {
    observation.servers.iter().filter(|s| s.state == ServerState::Live)
}

fn by_paper(policy: &Policy, observation: &Observation, live: u32, refused: &mut Vec<String>) -> Wanted {
    let spare = available(observation, policy.q_short);
    let have = live + observation.pending;
    let (servers, reason) = if have < policy.limits.min {
        (policy.limits.min, format!("{have} servers, at least {} are wanted", policy.limits.min))
    } else if spare < LAUNCH_BELOW && observation.pending == 0 {
        (live + 1, format!("spare capacity {spare:.2} servers is below {LAUNCH_BELOW}"))
    } else if spare < LAUNCH_BELOW {
        refused.push(format!("a launch: {} under way, and the paper launches one at a time", observation.pending));
        (have, format!("spare capacity {spare:.2} servers is below {LAUNCH_BELOW}"))
    } else if spare > DRAIN_ABOVE && observation.pending == 0 {
        (live.saturating_sub(1), format!("spare capacity {spare:.2} servers is above {DRAIN_ABOVE}"))
    } else {
        (have, format!("spare capacity {spare:.2} servers"))
    };
    let formula = format!("sum of cores*(1-busy) where q <= {} in average servers = {spare:.3}", policy.q_short);
    Wanted { servers, reason, formula }
}

fn by_sizing(policy: &Policy, measured: &Measured, observation: &Observation, prior_s: f64) -> Wanted {
    let (mut sessions, mut limits, mut count) = (0.0, 0.0, 0.0);
    for server in live(observation) {
        sessions += f64::from(server.sessions);
        limits += f64::from(server.limit.filter(|l| *l > 0).unwrap_or(policy.sessions_per_server));
        count += 1.0;
    }
    // Sessions on a machine that is to go will soon want a place elsewhere.
    let leaving = observation.servers.iter().filter(|s| s.state == ServerState::Leaving);
    sessions += leaving.map(|s| f64::from(s.sessions)).sum::<f64>() + f64::from(observation.waiting);
    let session_s = measured.session_s(prior_s);
    // Until arrivals were watched for long enough, the farm is taken to be steady (Little's law).
    let steady = Rate { per_s: sessions / session_s.max(1e-3), ..Rate::default() };
    let rate = measured.rate(policy.window_ms).unwrap_or(steady);
    let lead_ms = observation.boot_ms_p95 + observation.heartbeat_ms + policy.poll_ms + policy.ramp_ms;
    let sizing = Sizing {
        sessions,
        session_s,
        rate_per_s: rate.per_s,
        trend_per_s2: rate.trend_per_s2,
        window_s: rate.window_s,
        lead_s: lead_ms as f64 / 1_000.0,
        per_server: if count > 0.0 { limits / count } else { f64::from(policy.sessions_per_server) },
    };
    let (expected, servers) = (sessions_expected(&sizing), servers_wanted(&sizing));
    let Sizing { session_s, rate_per_s, trend_per_s2, window_s, lead_s, per_server, .. } = sizing;
    let formula = format!(
        "n={sessions:.0} L={session_s:.1}s lambda={rate_per_s:.3}/s s={trend_per_s2:.5}/s2 W={window_s:.0}s D={lead_s:.1}s: \
         nhat = n*exp(-D/L) + integral = {expected:.1}; ceil((nhat + 2*sqrt(nhat))/(0.9*{per_server:.0})) = {servers}"
    );
    let reason =
        format!("{sessions:.0} sessions now, {expected:.0} expected when a launch would be ready: {servers} servers");
    Wanted { servers, reason, formula }
}

impl PlanState {
    /// The most servers wanted within the stabilisation window; none if it has not passed once.
    fn peak(&mut self, policy: &Policy, desired: u32, now: Mono) -> Option<u32> {
        let began = *self.began.get_or_insert(now);
        let piece_ms = (policy.stabilisation_ms / PIECES).max(1);
        let piece = now.0 / piece_ms;
        match self.peaks.back_mut() {
            Some((last, most)) if *last == piece => *most = desired.max(*most),
            _ => self.peaks.push_back((piece, desired)),
        }
        while self.peaks.front().is_some_and(|(at, _)| at + PIECES < piece) {
            self.peaks.pop_front();
        }
        let passed = now.since_ms(began) >= policy.stabilisation_ms;
        passed.then(|| self.peaks.iter().map(|(_, most)| *most).max().unwrap_or(desired))
    }
}

/// Stops what is drained, and what was launched and never heard.
fn stop_drained(policy: &Policy, observation: &Observation, plan: &mut Plan, refused: &mut Vec<String>) {
    if let Some(why) = &observation.frozen_in {
        refused.push(format!("taking servers away: {why}"));
        return;
    }
    plan.terminate.extend(observation.overdue.iter().cloned());
    let drains = |s: &&ServerLoad| match s.state {
        ServerState::Draining => true,
        ServerState::Leaving => s.draining_ms.is_some(),
        ServerState::Live | ServerState::Held | ServerState::Silent => false,
    };
    for server in observation.servers.iter().filter(|s| s.managed).filter(drains) {
        match undrained(server, &policy.limits) {
            None if !plan.terminate.contains(&server.id) => plan.terminate.push(server.id.clone()),
            None => {}
            Some(why) => refused.push(format!("stopping {}: {why}", server.id)),
        }
    }
}

/// A server that still drains is there at once; a launch takes a boot.
fn grow(policy: &Policy, observation: &Observation, missing: u32, plan: &mut Plan, refused: &mut Vec<String>) {
    let mut draining: Vec<&ServerLoad> =
        observation.servers.iter().filter(|s| s.managed && s.state == ServerState::Draining).collect();
    // The one with most sessions is farthest from being stopped.
    draining.sort_by(|a, b| b.sessions.cmp(&a.sessions).then(a.id.cmp(&b.id)));
    plan.undrain = draining.iter().take(missing as usize).map(|s| s.id.clone()).collect();
    plan.terminate.retain(|id| !plan.undrain.contains(id));
    let launch = missing - plan.undrain.len() as u32;
    let there = observation.servers_there();
    plan.launch = launch.min(policy.limits.max.saturating_sub(there));
    if plan.launch < launch {
        refused.push(format!(
            "{} more launches: {there} servers there, the maximum is {}",
            launch - plan.launch,
            policy.limits.max
        ));
    }
    if !plan.undrain.is_empty() {
        refused.push(format!("launching {}: as many still drain", plan.undrain.len()));
    }
}

fn shrink(
    policy: &Policy,
    observation: &Observation,
    (live_count, desired, peak): (u32, u32, Option<u32>),
    plan: &mut Plan,
    refused: &mut Vec<String>,
) {
    if observation.frozen_in.is_some() {
        return;
    }
    if observation.pending > 0 {
        refused.push(format!("draining: {} launches are under way", observation.pending));
        return;
    }
    let surplus = match (policy.rule, peak) {
        (ScalePolicy::Paper, _) => 1,
        (ScalePolicy::Sizing, None) => 0,
        (ScalePolicy::Sizing, Some(peak)) => live_count.saturating_sub(peak.max(desired)),
    };
    let surplus = surplus.min(live_count.saturating_sub(policy.limits.min));
    if surplus == 0 {
        refused.push(format!(
            "draining {}: wanted within the last {} s",
            live_count - desired,
            policy.stabilisation_ms / 1_000
        ));
        return;
    }
    if observation.servers.iter().any(|s| s.managed && s.state == ServerState::Draining) && policy.rule == ScalePolicy::Paper
    {
        refused.push("draining another: one at a time".into());
        return;
    }
    plan.drain = stalest(observation, surplus as usize);
}

/// The servers whose sessions are most stale, all of one failure domain.
fn stalest(observation: &Observation, count: usize) -> Vec<Id> {
    let mut all: Vec<&ServerLoad> = live(observation).filter(|s| s.managed).collect();
    let age_ms = |s: &ServerLoad| if s.sessions == 0 { u64::MAX } else { s.youngest_ms.unwrap_or(0) };
    all.sort_by(|a, b| age_ms(b).cmp(&age_ms(a)).then(a.sessions.cmp(&b.sessions)).then(a.id.cmp(&b.id)));
    let Some(first) = all.first() else { return Vec::new() };
    let zone = first.zone.clone();
    all.iter().filter(|s| s.zone == zone).take(count).map(|s| s.id.clone()).collect()
}

fn describe(plan: &Plan) -> String {
    let mut words = Vec::new();
    if plan.launch > 0 {
        words.push(format!("launch {}", plan.launch));
    }
    for (verb, ids) in [("undrain", &plan.undrain), ("drain", &plan.drain), ("terminate", &plan.terminate)] {
        if !ids.is_empty() {
            let ids: Vec<&str> = ids.iter().map(Id::as_str).collect();
            words.push(format!("{verb} {}", ids.join(" ")));
        }
    }
    if words.is_empty() { "nothing".into() } else { words.join(", ") }
}

#[cfg(test)]
mod tests;

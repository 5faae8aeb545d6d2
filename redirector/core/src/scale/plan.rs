//! From one observation to one plan.
//!
//! `plan` keeps no memory but its [`PlanState`], so that a journal can be replayed against another policy. It must never look at
//! anything that the observation does not hold.

mod leave;

use super::bounds::bounded;
use super::check::{Limits, check};
use super::growth::survivable_growth_of;
use super::measure::Measured;
use super::observation::{Observation, Plan, Report, ServerLoad, ServerState, Shadow};
use super::rule::{self, View};
use super::schedule::Floor;
use super::shrink::{stop_drained, victims};
use super::spend::Spend;
use super::window::Window;
use crate::config::{ScalePolicy, ScalerSpec};
use farm_shared::id::Id;
use farm_shared::time::{Mono, Now};

/// When most of a farm falls silent at once, it is the monitor that is suspected, for so long. Milliseconds.
const DOUBT_MS: u64 = 60_000;
/// The warm pool is filled this often at most, in milliseconds.
const FILL_MS: u64 = 1_800_000;

/// The numbers that a plan is made by.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Which rule.
    pub rule: ScalePolicy,
    /// What bounds every plan.
    pub limits: Limits,
    /// Servers beyond what the rule wants.
    pub spare: u32,
    /// Stopped instances to keep ready.
    pub warm: u32,
    /// Fewest servers at certain times.
    pub floors: Vec<Floor>,
    /// Sessions a server holds unless it says.
    pub sessions_per_server: u32,
    /// The paper's short queue.
    pub q_short: f64,
    /// The busy share that alarms aim at.
    pub target: f64,
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
    /// See [`ScalerSpec::stabilisation_up_ms`].
    pub stabilisation_up_ms: u64,
}

impl Policy {
    /// From the configuration.
    pub fn new(spec: &ScalerSpec, ramp_ms: u64) -> Self {
        Self {
            rule: spec.policy,
            limits: Limits {
                min: spec.min,
                max: spec.max,
                min_per_zone: spec.min_per_zone,
                drain_deadline_ms: spec.drain_deadline_ms,
                usd_h_max: spec.usd_h_max,
                usd_month_max: spec.usd_month_max,
            },
            spare: spec.spare,
            warm: spec.warm,
            floors: spec.floors.clone(),
            sessions_per_server: spec.sessions_per_server,
            q_short: spec.q_short,
            target: spec.target,
            poll_ms: spec.poll_ms,
            ramp_ms,
            window_ms: spec.window_ms,
            session_prior_ms: spec.session_prior_ms,
            stabilisation_ms: spec.stabilisation_ms,
            stabilisation_up_ms: spec.stabilisation_up_ms,
        }
    }

    /// From a decision to the first session on a new server (D), in milliseconds.
    pub(super) fn lead_ms(&self, observation: &Observation) -> u64 {
        [observation.heartbeat_ms, self.poll_ms, self.ramp_ms].into_iter().fold(observation.boot_ms_p95, u64::saturating_add)
    }
}

/// What is remembered from plan to plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanState {
    measured: Measured,
    memory: rule::Memory,
    /// The most servers wanted within the stabilisation window.
    peaks: Window,
    /// The fewest within that for launches.
    lows: Window,
    spend: Spend,
    /// Since when most of the farm has been silent.
    doubt: Option<Mono>,
    /// What was wanted before that.
    sure: u32,
    /// When the warm pool was filled last.
    filled: Option<Mono>,
}

impl PlanState {
    /// What survives a restart: the money spent.
    pub fn spend(&self) -> Spend {
        self.spend
    }

    /// After a restart.
    pub fn restored(spend: Spend) -> Self {
        Self { spend, ..Self::default() }
    }

    /// Session length in seconds and arrivals a second, as measured; until then as Little's law says of so many sessions.
    pub(super) fn rates(&self, policy: &Policy, sessions: f64) -> (f64, f64) {
        let session_s = self.measured.session_s(policy.session_prior_ms as f64 / 1_000.0);
        let rate = self.measured.rate(policy.window_ms).map_or(sessions / session_s.max(1e-3), |r| r.per_s);
        (session_s, rate)
    }
}

/// One plan, and why. The state is the next one's.
pub fn plan(policy: &Policy, state: &PlanState, observation: &Observation, now: Now) -> (PlanState, Plan, Report) {
    let mut state = state.clone();
    state.measured.observe(observation, now.mono, policy.window_ms, policy.session_prior_ms as f64 / 1_000.0);
    state.spend.observe(observation);
    let live = live(observation).count() as u32;
    let have = live + observation.pending;
    let view = View { policy, observation, measured: &state.measured, live, now: now.mono };
    let wanted = rule::want(&view, &mut state.memory);
    let mut refused: Vec<String> = wanted.refused.into_iter().collect();
    let desired = bounded(policy, observation, wanted.servers, have, &mut refused);
    let desired = state.doubted(policy, observation, desired, have, now.mono, &mut refused);
    let peak = state.peaks.note(policy.stabilisation_ms, desired, now.mono, u32::max);
    let low = state.lows.note(policy.stabilisation_up_ms, desired, now.mono, u32::min);
    let mut plan = Plan::default();
    let mut lost = 0;
    if let Some(why) = &observation.frozen {
        refused.push(format!("any change: {why}"));
    } else {
        lost = stop_drained(policy, observation, &mut plan, &mut refused);
        launch_roles(policy, observation, &mut plan, &mut refused);
        // What has been wanted all the while; the minimum needs no patience.
        let patient = low.unwrap_or(have).max(policy.limits.min).min(desired);
        if desired > have && patient <= have {
            refused.push(format!(
                "launching {}: not wanted for {} s yet",
                desired - have,
                policy.stabilisation_up_ms / 1_000
            ));
        } else if desired > have {
            grow(policy, observation, patient - have, &mut plan, &mut refused);
        } else {
            let filling = state.fill_warm(policy, observation, live - desired.min(live), now.mono, &mut plan, &mut refused);
            if desired < live && plan.launch == 0 {
                shrink(policy, observation, Surplus { live, desired, peak, filling }, &mut plan, &mut refused);
            }
        }
        leave::drain_leaving(observation, live, desired, &mut plan, &mut refused);
    }
    // The paper's rule knows no surplus before it acts on one.
    let surplus = if policy.rule == ScalePolicy::Paper { 0 } else { live.saturating_sub(desired) };
    let report = Report {
        reason: wanted.reason,
        formula: wanted.formula,
        refused,
        victims: victims(policy, observation, surplus as usize),
        desired,
        action: describe(&plan, lost),
        lost,
        survivable_growth: survivable_growth_of(policy, &state, observation),
        shadow: None,
    };
    (state, plan, report)
}

impl Shadow {
    /// What another policy would do now; its state is its own.
    pub(crate) fn watch(policy: Policy, state: &PlanState, observation: &Observation, now: Now) -> (PlanState, Self) {
        let (state, wanted, report) = plan(&policy, state, observation, now);
        let action = match check(&wanted, &policy.limits, observation) {
            Ok(_) => report.action,
            Err(broken) => broken.iter().map(|v| format!("stopped: {v}")).collect::<Vec<_>>().join("; "),
        };
        let shadow = Self { policy: policy.rule.label().into(), desired: report.desired, action, reason: report.reason };
        (state, shadow)
    }
}

fn live(observation: &Observation) -> impl Iterator<Item = &ServerLoad> {
    observation.servers.iter().filter(|s| s.state == ServerState::Live)
}

fn draining(observation: &Observation) -> impl Iterator<Item = &ServerLoad> {
    observation.servers.iter().filter(|s| s.managed && s.state == ServerState::Draining)
}

impl PlanState {
    /// While most of the farm is silent nothing is known of the demand: first as many as there are, then as many as were wanted
    /// before, never more.
    fn doubted(
        &mut self,
        policy: &Policy,
        observation: &Observation,
        desired: u32,
        have: u32,
        now: Mono,
        refused: &mut Vec<String>,
    ) -> u32 {
        let Some(why) = &observation.frozen_in else {
            (self.doubt, self.sure) = (None, desired);
            return desired;
        };
        let since_ms = now.since_ms(*self.doubt.get_or_insert(now));
        let most = if since_ms < DOUBT_MS { have } else { self.sure.max(policy.limits.min) };
        if desired > most {
            refused.push(format!("{desired} servers: {why}, for {} s", since_ms / 1_000));
        }
        desired.min(most)
    }

    /// Launches what the warm pool lacks when the farm is calm; it is drained again and stopped. So many may be drained at once.
    fn fill_warm(
        &mut self,
        policy: &Policy,
        observation: &Observation,
        surplus: u32,
        now: Mono,
        plan: &mut Plan,
        refused: &mut Vec<String>,
    ) -> u32 {
        let missing = policy.warm.saturating_sub(observation.warm + plan.stop.len() as u32);
        let calm = observation.pending == 0 && observation.frozen_in.is_none() && draining(observation).next().is_none();
        if missing == 0 || !calm {
            return 0;
        }
        if self.filled.is_some_and(|at| now.since_ms(at) < FILL_MS) {
            return missing.min(surplus);
        }
        // A launch starts a stopped instance first: all of the pool must be launched to have one more.
        let room = policy.limits.max.saturating_sub(observation.servers_there() + plan.launch_roles.len() as u32);
        let launch = policy.warm.min(room);
        let dear = bounded(policy, observation, policy.limits.max, live(observation).count() as u32, &mut Vec::new());
        if launch < policy.warm || dear < live(observation).count() as u32 + launch {
            refused.push(format!("filling the warm pool with {missing}: the limits leave no room"));
            return 0;
        }
        self.filled = Some(now);
        plan.launch = launch;
        0
    }
}

fn launch_roles(policy: &Policy, observation: &Observation, plan: &mut Plan, refused: &mut Vec<String>) {
    let room = policy.limits.max.saturating_sub(observation.servers_there()) as usize;
    plan.launch_roles = observation.roles_missing.iter().take(room).cloned().collect();
    if plan.launch_roles.len() < observation.roles_missing.len() {
        refused.push(format!("launching all missing roles: the maximum is {} servers", policy.limits.max));
    }
}

/// A server that still drains is there at once; a launch takes a boot.
fn grow(policy: &Policy, observation: &Observation, missing: u32, plan: &mut Plan, refused: &mut Vec<String>) {
    let mut draining: Vec<&ServerLoad> = draining(observation).collect();
    // The one with most sessions is farthest from being stopped.
    draining.sort_by(|a, b| b.sessions.cmp(&a.sessions).then(a.id.cmp(&b.id)));
    plan.undrain = draining.iter().take(missing as usize).map(|s| s.id.clone()).collect();
    plan.terminate.retain(|id| !plan.undrain.contains(id));
    plan.stop.retain(|id| !plan.undrain.contains(id));
    let launch = missing - plan.undrain.len() as u32;
    let there = observation.servers_there() + plan.launch_roles.len() as u32;
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

struct Surplus {
    live: u32,
    desired: u32,
    /// The most that was wanted within the stabilisation window, if it has passed.
    peak: Option<u32>,
    /// For the warm pool, which needs no patience.
    filling: u32,
}

fn shrink(policy: &Policy, observation: &Observation, surplus: Surplus, plan: &mut Plan, refused: &mut Vec<String>) {
    let Surplus { live: live_count, desired, peak, filling } = surplus;
    if observation.frozen_in.is_some() {
        return;
    }
    if observation.pending > 0 {
        refused.push(format!("draining: {} launches are under way", observation.pending));
        return;
    }
    if live(observation).any(|s| !(s.busy.is_finite() && s.queue.is_finite())) {
        refused.push("draining: a server does not say how busy it is".into());
        return;
    }
    let patient = match (rule::stabilises(policy.rule), peak) {
        (false, _) if policy.rule == ScalePolicy::Paper => 1,
        (false, _) => live_count - desired,
        (true, None) => 0,
        (true, Some(peak)) => live_count.saturating_sub(peak.max(desired)),
    };
    let count = patient.max(filling).min(live_count.saturating_sub(policy.limits.min));
    if count == 0 {
        refused.push(format!(
            "draining {}: wanted within the last {} s",
            live_count - desired,
            policy.stabilisation_ms / 1_000
        ));
        return;
    }
    if policy.rule == ScalePolicy::Paper && draining(observation).next().is_some() {
        refused.push("draining another: one at a time".into());
        return;
    }
    plan.drain.extend(victims(policy, observation, count as usize));
}

fn describe(plan: &Plan, lost: u32) -> String {
    let mut words = Vec::new();
    if plan.launch > 0 {
        words.push(format!("launch {}", plan.launch));
    }
    let lists = [
        ("launch role", &plan.launch_roles),
        ("undrain", &plan.undrain),
        ("drain", &plan.drain),
        ("stop", &plan.stop),
        ("terminate", &plan.terminate),
    ];
    for (verb, ids) in lists {
        if !ids.is_empty() {
            let ids: Vec<&str> = ids.iter().map(Id::as_str).collect();
            words.push(format!("{verb} {}", ids.join(" ")));
        }
    }
    if lost > 0 {
        words.push(format!("{lost} sessions lost"));
    }
    if words.is_empty() { "nothing".into() } else { words.join(", ") }
}

#[cfg(test)]
mod tests;

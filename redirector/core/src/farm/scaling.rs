//! The scaler within the control loop: what it sees, when it may act, and what its plans do to members.

use super::{Control, Effect, Topic};
use crate::scale::{
    ExecEvent, Instance, Observation, Offering, Plan, Policy, ProviderCall, Report, ServerLoad, ServerState, Shadow, check,
    plan,
};
use farm_shared::heartbeat::Role;
use farm_shared::id::Id;
use farm_shared::member::{Member, Standing};
use farm_shared::time::{Mono, Now};
use std::collections::BTreeSet;

/// Boots measured before they replace the configured time.
const BOOTS_MIN: usize = 3;
const DECISIONS_MAX: usize = 30;
/// A listing older than this many polls is no ground to act on.
const LISTING_POLLS: u64 = 5;
const LISTING_MS_MIN: u64 = 10_000;
/// Plans that do nothing and say nothing new are journalled this often only, in milliseconds.
const IDLE_PLAN_MS: u64 = 30_000;
/// Between two samples of requests turned away, in milliseconds.
const WAITS_MS: u64 = 500;

/// To what comes back from a journal as it was: hundredths of a cent.
fn rounded(usd: f64) -> f64 {
    (usd * 10_000.0).round() / 10_000.0
}

impl Control {
    /// A plan, if one is due and there is enough to see. After a start: not before one lease has passed, so that every member had
    /// its chance to be heard, and one complete listing.
    pub(super) fn scale(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.execute(ExecEvent::Tick, now, effects);
        let scaler = &self.spec.scaler;
        let due = self.planned.is_none_or(|at| now.mono.since_ms(at) >= scaler.poll_ms);
        let lease_ms =
            self.roster.members().values().map(Member::lease_ms).max().unwrap_or(0).max(self.spec.lease.lease_ms_min);
        if !scaler.enabled || !due || self.listed.is_none() || now.mono.since_ms(self.started.mono) < lease_ms {
            return;
        }
        self.planned = Some(now.mono);
        let policy = Policy::new(scaler, self.spec.door.ramp_ms);
        let shadow = scaler.shadow;
        let dry_run = scaler.dry_run;
        let observation = self.observation(now);
        self.tell_freeze(observation.frozen.clone(), now, effects);
        let (state, wanted, mut report) = plan(&policy, &self.plan_state, &observation, now);
        self.plan_state = state;
        if let Some(rule) = shadow {
            let (state, shadow) = Shadow::watch(Policy { rule, ..policy.clone() }, &self.shadow_state, &observation, now);
            (self.shadow_state, report.shadow) = (state, Some(shadow));
        }
        let (checked, violations) = match check(&wanted, &policy.limits, &observation) {
            Ok(checked) => (checked, Vec::new()),
            Err(broken) => (Plan::default(), broken.iter().map(ToString::to_string).collect()),
        };
        let news = self.decide_news(&checked, &report, &violations, now);
        self.desired = report.desired;
        self.victims = report.victims.iter().cloned().collect();
        if !news {
            return;
        }
        self.journalled_plan = Some(now.mono);
        if !checked.is_empty() {
            let verb = if dry_run { "would" } else { "will" };
            self.notice(Topic::Scaling, now, format!("the scaler {verb} {}: {}", report.action, report.reason), effects);
        }
        for violation in &violations {
            self.notice(Topic::Scaling, now, format!("a plan was stopped: {violation}"), effects);
        }
        self.decisions.push_back((now.wall.0, report.clone()));
        if self.decisions.len() > DECISIONS_MAX {
            self.decisions.pop_front();
        }
        if !dry_run {
            self.wish(&checked, now);
            self.count_late(&checked, &observation.overdue);
        }
        let taken: BTreeSet<Id> = self.roster.members().keys().cloned().collect();
        let plan = checked;
        let event = ExecEvent::Plan { observation: Box::new(observation), plan, report, violations, dry_run, taken };
        self.execute(event, now, effects);
    }

    /// Whether enough boots were seen to go by them.
    pub(super) fn boots_are_measured(&self) -> bool {
        self.boots_ms.len() >= BOOTS_MIN
    }

    /// The 95th percentile of boot times, or the configured one while too few were measured. Milliseconds.
    pub(super) fn boot_ms_p95(&self) -> u64 {
        if !self.boots_are_measured() {
            return self.spec.scaler.boot_prior_ms;
        }
        let mut boots: Vec<u64> = self.boots_ms.iter().copied().collect();
        boots.sort_unstable();
        let at = (boots.len() * 95).div_ceil(100).saturating_sub(1);
        boots.get(at).copied().unwrap_or(self.spec.scaler.boot_prior_ms)
    }

    /// The median of boot times, or the configured one while too few were measured. Milliseconds.
    pub(super) fn boot_ms_p50(&self) -> u64 {
        if !self.boots_are_measured() {
            return self.spec.scaler.boot_prior_ms;
        }
        let mut boots: Vec<u64> = self.boots_ms.iter().copied().collect();
        boots.sort_unstable();
        boots.get(boots.len() / 2).copied().unwrap_or(self.spec.scaler.boot_prior_ms)
    }

    /// Requests turned away so far, twice a second at most.
    pub(super) fn waits(&mut self, waited: u64, now: Now) {
        if self.waits.back().is_some_and(|(at, _)| now.mono.since_ms(*at) < WAITS_MS) {
            return;
        }
        self.waits.push_back((now.mono, waited));
        let retry_ms = u64::from(self.spec.door.retry_after_s) * 1_000;
        while self.waits.get(1).is_some_and(|(at, _)| now.mono.since_ms(*at) >= retry_ms) {
            self.waits.pop_front();
        }
    }

    /// Sessions that wait to begin: those turned away within one `Retry-After` come again, each of them once. Every door turns
    /// away about as many as this one.
    fn waiting(&self, now: Mono) -> u32 {
        if self.spec.room.enabled {
            return self.room.waiting().min(1_000_000);
        }
        let (Some((_, from)), Some((_, to))) = (self.waits.front(), self.waits.back()) else { return 0 };
        (to.saturating_sub(*from).min(1_000_000) as u32).saturating_mul(self.doors(now))
    }

    /// Why nothing may be changed, if so.
    pub(super) fn freeze(&self, now: Mono) -> Option<String> {
        if let Some(foreign) = &self.foreign {
            return Some(format!(
                "the state on disk is of instances at the provider {foreign:?}, and {:?} is configured: go back to that one and end \
                 them there, or move the state and the journal away",
                self.spec.provider.identity()
            ));
        }
        let fresh = |(id, m): (&Id, &Member)| {
            self.seen.get(id).filter(|s| s.is_fresh(m.heartbeat.period_ms, now)).and_then(|s| s.scaler.clone())
        };
        if let Some(other) = self.roster.members().iter().find_map(fresh) {
            return Some(format!("{other} scales this farm, too"));
        }
        let patience_ms = (LISTING_POLLS * self.spec.scaler.poll_ms).max(LISTING_MS_MIN);
        let stale = self.listed.is_some_and(|at| now.since_ms(at) > patience_ms);
        stale.then(|| "the provider has not listed its instances for too long".into())
    }

    fn tell_freeze(&mut self, frozen: Option<String>, now: Now, effects: &mut Vec<Effect>) {
        if self.frozen == frozen {
            return;
        }
        match &frozen {
            Some(why) => self.notice(Topic::Alarm, now, format!("scaling is frozen: {why}"), effects),
            None => self.notice(Topic::Scaling, now, "scaling goes on".into(), effects),
        }
        self.frozen = frozen;
    }

    /// Whether a decision is worth a line of the journal.
    fn decide_news(&self, plan: &Plan, report: &Report, violations: &[String], now: Now) -> bool {
        let last = self.decisions.back().map(|(_, r)| r);
        let same =
            |r: &Report| r.desired == report.desired && r.action == report.action && r.refused.len() == report.refused.len();
        let idle = plan.is_empty() && violations.is_empty() && last.is_some_and(same);
        !idle || self.journalled_plan.is_none_or(|at| now.mono.since_ms(at) >= IDLE_PLAN_MS)
    }

    /// Drains are wishes in the replies to the members' heartbeats.
    fn wish(&mut self, plan: &Plan, now: Now) {
        let wishes = plan.drain.iter().map(|id| (id, true)).chain(plan.undrain.iter().map(|id| (id, false)));
        for (id, drain) in wishes {
            self.roster.wish_drain(id, drain);
            if let Some(seen) = self.seen.get_mut(id) {
                seen.drain_since = drain.then_some(now.mono);
            }
            (self.dirty, self.unsaved) = (true, true);
        }
    }

    pub(super) fn observation(&self, now: Now) -> Observation {
        let (impaired, ending) = (self.impaired(), self.exec.ending());
        let managed: BTreeSet<&Id> = self.exec.running().filter_map(|i| i.member_id.as_ref()).collect();
        let servers: Vec<ServerLoad> = self
            .roster
            .members()
            .values()
            .filter(|m| m.heartbeat.role == Role::Backend)
            .map(|m| {
                let id = &m.heartbeat.id;
                let mut load = self.server_load(m, managed.contains(id), impaired.contains(id), now);
                if ending.contains(id) {
                    load.managed = false;
                    load.state = if load.state == ServerState::Live { ServerState::Leaving } else { load.state };
                }
                load
            })
            .collect();
        let held = |s: &&ServerLoad| !s.managed && s.state != ServerState::Live && managed.contains(&s.id);
        let unheard_ending = ending.iter().filter(|id| self.roster.get(id).is_none()).count();
        let held = (servers.iter().filter(held).count() + unheard_ending) as u32;
        let (pending, overdue) = self.unheard(&ending, now);
        let usd_h_open = self.usd_h_open();
        let frozen_in = if self.roster.mostly_silent() {
            Some("more than half of the members are silent".to_owned())
        } else {
            self.panic().map(|(silent, all)| format!("{silent} of {all} servers are silent, more than the panic share"))
        };
        Observation {
            wall_ms: now.wall.0,
            servers,
            pending,
            overdue,
            warm: (self.exec.warm().count() + self.exec.stops_open()) as u32,
            kept: self.exec.kept().count() as u32,
            held,
            roles_missing: self.exec.roles_missing(self.blueprint.roles()),
            arrivals: self.arrivals,
            completions: self.completions,
            waiting: self.waiting(now.mono),
            boot_ms_p95: self.boot_ms_p95(),
            usd_h: self.usd_h(),
            usd_h_open: usd_h_open.filter(|usd| *usd > 0.0),
            usd_h_launch: usd_h_open.and_then(|_| self.usd_h_launch()),
            usd_month: Some(rounded(self.plan_state.spend().in_month(now.wall.0))).filter(|usd| *usd > 0.0),
            zones: self.zones(),
            heartbeat_ms: self.roster.members().values().map(|m| m.heartbeat.period_ms).max().unwrap_or(1_000),
            frozen: self.freeze(now.mono),
            frozen_in,
        }
    }

    /// The price of everything that runs, if all of it is known, in US dollars an hour.
    fn usd_h(&self) -> Option<f64> {
        let price = |i: &Instance| i.offering.as_ref().and_then(|o| self.blueprint.price_usd_h(o));
        // What is kept for inspection runs, too.
        let kept = self.exec.kept().filter(|i| i.state.is_alive());
        let mut running = self.exec.running().chain(kept).peekable();
        running.peek()?;
        running.map(price).sum::<Option<f64>>().map(rounded)
    }

    /// What the launches and starts that are under way will add to that, if all of it is known.
    fn usd_h_open(&self) -> Option<f64> {
        let price = |o: Option<&Offering>| o.and_then(|o| self.blueprint.price_usd_h(o));
        let open = self.exec.intents.values().filter_map(|i| match &i.call {
            ProviderCall::Launch(r) => Some(price(r.offering.as_ref())),
            ProviderCall::Start(r) => Some(price(self.exec.instances.get(&r.instance_id).and_then(|i| i.offering.as_ref()))),
            _ => None,
        });
        open.sum::<Option<f64>>().map(rounded)
    }

    /// What one more server may cost: the dearest of what may be bought, since nobody knows what the provider has left. None if a
    /// price is not known.
    fn usd_h_launch(&self) -> Option<f64> {
        let prices = self.blueprint.offerings(None).iter().map(|o| self.blueprint.price_usd_h(o));
        prices.collect::<Option<Vec<f64>>>()?.into_iter().reduce(f64::max)
    }

    /// Zones of elastic offerings, where their names can stand in a heartbeat.
    fn zones(&self) -> Vec<Id> {
        let offerings = self.blueprint.offerings(None).iter();
        let zones: BTreeSet<Id> = offerings.filter_map(|o| Id::new(&o.zone).ok()).collect();
        zones.into_iter().collect()
    }

    fn server_load(&self, member: &Member, managed: bool, impaired: bool, now: Now) -> ServerLoad {
        let heartbeat = &member.heartbeat;
        let load = &heartbeat.load;
        let seen = self.seen.get(&heartbeat.id);
        let by_others = heartbeat.drain_by.iter().any(|by| *by != self.spec.id);
        let leaves = heartbeat.notice.is_some_and(|notice| self.spec.notices.leaves(&notice, now.wall));
        let state = match member.standing() {
            Standing::Silent | Standing::AdminDown => ServerState::Silent,
            _ if leaves || (impaired && managed) => ServerState::Leaving,
            Standing::InService | Standing::Unknown => ServerState::Live,
            Standing::Draining if member.drain_wish && !by_others => ServerState::Draining,
            Standing::Draining => ServerState::Held,
        };
        ServerLoad {
            id: heartbeat.id.clone(),
            state,
            // What an operator holds is not the scaler's to take.
            managed: managed && member.forced.is_none(),
            queue: load.queue,
            cores: load.cores,
            busy: load.busy,
            sessions: load.sessions,
            limit: load.limit,
            youngest_ms: load.youngest_ms,
            zone: heartbeat.zone.clone(),
            role: self.blueprint.roles().contains(&heartbeat.id),
            draining_ms: seen.and_then(|s| s.draining_ms(now.mono)),
            ttl_clear: seen.is_some_and(|s| s.ttl_left_ms(member.lease_ms(), &self.spec, now.mono) == 0),
        }
    }
}

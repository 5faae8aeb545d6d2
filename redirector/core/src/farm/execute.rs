//! The executor within the control loop: what it is told, what comes of it, and what a launch owes until it is heard.
//!
//! It must never let the executor begin anything while the farm is frozen or a dry run is on.

use super::{Control, Effect, Topic};
use crate::scale::{CallOutcome, ExecContext, ExecEffect, ExecEvent, Instance, InstanceState, LISTING_LAG_MS, Plan, step};
use farm_shared::id::Id;
use farm_shared::member::Standing;
use farm_shared::time::Now;
use std::collections::{BTreeMap, BTreeSet};

/// A measured boot deadline is this many times the slowest boots, and the configured prior.
const BOOTS_PER_DEADLINE: u64 = 2;
/// The measured deadline doubles with every launch in a row that missed it, up to so many times: boots may have become slower.
const LATE_DOUBLINGS_MAX: u32 = 16;

impl Control {
    pub(super) fn list(&mut self, list: Result<Vec<Instance>, String>, now: Now, effects: &mut Vec<Effect>) {
        match list {
            Ok(list) => {
                self.listed = Some(now.mono);
                self.provider_error = None;
                let ours: Vec<Instance> = list.into_iter().filter(|i| i.farm == self.spec.farm).collect();
                // Providers list what is gone for a while; operators need not see it.
                self.listing = ours.iter().filter(|i| i.state != InstanceState::Gone).cloned().collect();
                let known: BTreeSet<String> = self.exec.unknown.keys().cloned().collect();
                let heard = self.heard(now);
                self.execute(ExecEvent::Listing { list: ours, heard }, now, effects);
                let new: Vec<String> = self.exec.unknown.keys().filter(|id| !known.contains(*id)).cloned().collect();
                for id in new {
                    let text = format!("{id} carries the farm's tag, but nothing here launched it: it is left alone");
                    self.notice(Topic::Provider, now, text, effects);
                }
            }
            Err(error) => self.provider_failed(format!("listing failed: {error}"), now, effects),
        }
    }

    pub(super) fn outcome(&mut self, outcome: CallOutcome, now: Now, effects: &mut Vec<Effect>) {
        match &outcome.result {
            Ok(_) => self.provider_error = None,
            Err(error) => {
                let text = format!(
                    "{} {} failed ({}): {}",
                    outcome.call.label(),
                    outcome.call.intent(),
                    error.kind.label(),
                    error.message
                );
                self.provider_failed(text, now, effects);
            }
        }
        self.execute(ExecEvent::Outcome(outcome), now, effects);
        // What was given up is not ended any more.
        self.drop_wishes_of_no_scaler();
    }

    pub(super) fn journalled(&mut self, seq: u64, ok: bool, now: Now, effects: &mut Vec<Effect>) {
        if !ok {
            self.journal_failures += 1;
            self.notice(
                Topic::Alarm,
                now,
                "the journal could not be written: nothing is launched or stopped".into(),
                effects,
            );
        }
        self.execute(ExecEvent::Journalled { seq, ok }, now, effects);
        self.drill_journalled(seq, ok, now, effects);
    }

    fn provider_failed(&mut self, text: String, now: Now, effects: &mut Vec<Effect>) {
        if self.provider_error.as_ref() != Some(&text) {
            self.notice(Topic::Provider, now, text.clone(), effects);
        }
        self.provider_error = Some(text);
    }

    /// One step of the executor. Members whose instance went with it are buried.
    pub(super) fn execute(&mut self, event: ExecEvent, now: Now, effects: &mut Vec<Effect>) {
        if self.foreign.is_some() {
            return;
        }
        // Only an answer or a list takes an instance away.
        let may_end = matches!(event, ExecEvent::Listing { .. } | ExecEvent::Outcome(_));
        let before: BTreeMap<String, Option<Id>> = if may_end {
            self.exec.running().map(|i| (i.instance_id.clone(), i.member_id.clone())).collect()
        } else {
            BTreeMap::new()
        };
        let new = matches!(event, ExecEvent::Plan { .. } | ExecEvent::Order { .. })
            || self.exec.intents.values().any(|i| i.calls == 0);
        let context = ExecContext {
            farm: &self.spec.farm,
            blueprint: &*self.blueprint,
            keep_failed_max: self.spec.scaler.keep_failed_max,
            frozen: new && (self.spec.scaler.dry_run || self.freeze(now.mono).is_some()),
        };
        let problem = self.exec.problem.clone();
        let (exec, out) = step(std::mem::take(&mut self.exec), event, &context, now.wall, &mut self.draws);
        self.exec = exec;
        self.unsaved |= !out.is_empty();
        effects.extend(out.into_iter().map(|effect| match effect {
            ExecEffect::Journal(record) => Effect::Journal(record),
            ExecEffect::Call(call) => Effect::Call(call),
        }));
        if let Some(new) = self.exec.problem.clone().filter(|new| problem.as_ref() != Some(new)) {
            self.notice(Topic::Provider, now, new, effects);
        }
        if may_end {
            let mut known = std::mem::take(&mut self.known);
            let still = |i: &Instance| (i.instance_id.clone(), known.remove(&i.instance_id).unwrap_or(now.mono));
            self.known = self.exec.running().map(still).collect();
        }
        if before.is_empty() {
            return;
        }
        let after: BTreeSet<String> = self.exec.running().map(|i| i.instance_id.clone()).collect();
        for (_, member) in before.into_iter().filter(|(instance, _)| !after.contains(instance)) {
            if let Some(id) = member {
                self.bury(&id, now, effects);
            }
        }
    }

    /// Members that a list may not bury: those that were heard within their lease, and those whose instance has been known for less
    /// than lists lag behind, on the clock that does not jump.
    fn heard(&self, now: Now) -> BTreeSet<Id> {
        let is_young = |i: &&Instance| {
            now.mono.since_ms(self.known.get(&i.instance_id).copied().unwrap_or(self.started.mono)) < LISTING_LAG_MS
        };
        let young = self.exec.running().filter(is_young).filter_map(|i| i.member_id.clone());
        let is_heard = |id: &&Id| {
            let member = self.roster.get(id);
            let fresh = |m: &farm_shared::member::Member| {
                self.seen.get(*id).is_some_and(|s| s.is_fresh(m.heartbeat.period_ms, now.mono))
            };
            member.is_some_and(|m| m.standing() != Standing::Silent && fresh(m))
        };
        self.roster.members().keys().filter(is_heard).cloned().chain(young).collect()
    }

    /// How long a launch may take until its first heartbeat: measured where it can be, never beyond the configured deadline.
    /// Milliseconds.
    pub(super) fn boot_deadline_ms(&self) -> u64 {
        let scaler = &self.spec.scaler;
        if !self.boots_are_measured() {
            return scaler.boot_deadline_ms;
        }
        let measured_ms = (BOOTS_PER_DEADLINE * self.boot_ms_p95()).max(BOOTS_PER_DEADLINE * scaler.boot_prior_ms);
        measured_ms.saturating_mul(1 << self.late_launches.min(LATE_DOUBLINGS_MAX)).min(scaler.boot_deadline_ms)
    }

    /// Launches that a plan gives up now.
    pub(super) fn count_late(&mut self, plan: &Plan, overdue: &[Id]) {
        let never_heard = |i: &&Instance| {
            let given_up = |id: &Id| overdue.contains(id) && plan.terminate.contains(id) && self.roster.get(id).is_none();
            i.member_id.as_ref().is_some_and(given_up) && !self.exec.is_busy(&i.instance_id)
        };
        let late = self.exec.running().filter(never_heard).count() as u32;
        self.late_launches = self.late_launches.saturating_add(late);
    }

    /// Whether more than half of the instances fail their checks.
    pub(super) fn impaired_in_doubt(&self) -> bool {
        let (all, failing) =
            self.exec.running().fold((0, 0), |(all, failing), i| (all + 1, failing + u32::from(i.impaired.is_some())));
        failing * 2 > all && failing > 1
    }

    /// Members whose instance fails its checks, if those are to be believed: when more than half fail, the checks are to be
    /// doubted, not the servers.
    pub(super) fn impaired(&self) -> BTreeSet<&Id> {
        if self.impaired_in_doubt() {
            return BTreeSet::new();
        }
        self.exec.running().filter(|i| i.impaired.is_some()).filter_map(|i| i.member_id.as_ref()).collect()
    }

    /// Launches that nobody heard from yet, and instances whose member should have been heard by now.
    pub(super) fn unheard(&self, ending: &BTreeSet<&Id>, now: Now) -> (u32, Vec<Id>) {
        let (deadline_ms, silence_ms) = (self.boot_deadline_ms(), self.spec.scaler.boot_deadline_ms);
        let (mut pending, mut overdue) = (self.exec.launches_open() as u32, Vec::new());
        for instance in self.exec.running() {
            let Some(id) = instance.member_id.as_ref().filter(|id| !ending.contains(id)) else { continue };
            // After our own start, everybody gets the time of a boot to be heard. Never the wall clock: it may jump.
            let known = self.known.get(&instance.instance_id).copied().unwrap_or(self.started.mono);
            let is_past = |ms: u64| now.mono.since_ms(known) > ms;
            match self.roster.get(id) {
                None if is_past(deadline_ms) => overdue.push(id.clone()),
                None => pending += 1,
                Some(member) if member.standing() == Standing::Silent => {
                    if self.roster.silent_ms(member, now) > silence_ms && is_past(silence_ms) && member.forced.is_none() {
                        overdue.push(id.clone());
                    }
                }
                Some(_) => {}
            }
        }
        (pending, overdue)
    }
}

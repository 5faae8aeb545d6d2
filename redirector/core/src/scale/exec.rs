//! The executor: from plans to journal records and provider calls, `step(state, event) -> (state, effects)`.
//!
//! An intent is journalled, with the exact request, before the first call; it is settled only by the answer to that request, sent
//! again as it was (same token) as often as it takes; `attempt` rises only after a definite refusal. So a crash between any two
//! effects leaves neither an orphan nor a duplicate: what was on disk is asked for again and the provider, idempotent by token,
//! answers with the same instance. It must never emit a call whose intent is not on disk (DESIGN 4.5).

use super::observation::{Observation, Plan, Report};
use super::provider::{
    CallOutcome, ErrorKind, Instance, InstanceRequest, InstanceState, LaunchRequest, ProviderCall, ProviderError,
};
use super::record::{Entry, ExecState, Intent, IntentState, Record};
use farm_shared::draw::Draws;
use farm_shared::hex;
use farm_shared::id::Id;
use farm_shared::time::Wall;
use std::collections::{BTreeMap, BTreeSet};

/// A launch that is refused for good so many times is given up; the next plan decides anew.
const ATTEMPTS_MAX: u32 = 4;
/// First pause before a call is repeated, in milliseconds; it doubles with every failure.
const RETRY_MS: u64 = 1_000;
const RETRY_MS_MAX: u64 = 60_000;
/// Provider lists lag behind launches: an instance younger than this is not gone because it is not listed. Milliseconds.
const LISTING_LAG_MS: u64 = 60_000;

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum ExecEvent {
    /// A checked plan.
    Plan {
        /// The farm whose tag instances carry.
        farm: Id,
        /// What it was made from, for the journal.
        observation: Box<Observation>,
        /// What to do.
        plan: Plan,
        /// Why.
        report: Report,
        /// What the check took out.
        violations: Vec<String>,
        /// Journal it, and do nothing.
        dry_run: bool,
        /// Ids that members use already.
        taken: BTreeSet<Id>,
    },
    /// A complete list of the farm's instances.
    Listing(Vec<Instance>),
    /// A call was answered.
    Outcome(CallOutcome),
    /// A record is on disk, or could not be written.
    Journalled {
        /// Which.
        seq: u64,
        /// Written.
        ok: bool,
    },
    /// A record that changes nothing here, and keeps its place among the others.
    Note(Box<Entry>),
    /// Time passes: calls may be due.
    Tick,
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum ExecEffect {
    /// Append it, and report [`ExecEvent::Journalled`].
    Journal(Box<Record>),
    /// Make the call, and report [`ExecEvent::Outcome`].
    Call(ProviderCall),
}

/// One step.
pub fn step(mut state: ExecState, event: ExecEvent, now: Wall, draws: &mut Draws) -> (ExecState, Vec<ExecEffect>) {
    let mut effects = Vec::new();
    match event {
        ExecEvent::Plan { farm, observation, plan, report, violations, dry_run, taken } => {
            let todo = plan.clone();
            let entry = Entry::Plan { observation, plan, report, violations, dry_run };
            state.write(entry, now, &mut effects);
            if !dry_run {
                state.carry_out(&todo, &farm, taken, now, &mut effects);
            }
        }
        ExecEvent::Listing(list) => state.reconcile(list, now, &mut effects),
        ExecEvent::Outcome(outcome) => state.settle(outcome, now, draws, &mut effects),
        ExecEvent::Journalled { seq, ok } => state.journalled(seq, ok, now, &mut effects),
        ExecEvent::Note(entry) => state.write(*entry, now, &mut effects),
        ExecEvent::Tick => {}
    }
    state.call_due(now, &mut effects);
    (state, effects)
}

impl ExecState {
    /// The state that a journal leads to, on top of one that was saved. Every unsettled intent is open: its call may or may not
    /// have been made, and is made again. One that was saved before its record reached the disk was never called, and is dropped.
    pub fn replay(mut self, records: &[Record]) -> Self {
        for record in records {
            self.apply(record);
        }
        let on_disk: BTreeSet<u64> = records.iter().map(|r| r.seq).collect();
        self.intents.retain(|_, i| i.state != IntentState::Journalling || on_disk.contains(&i.record));
        for intent in self.intents.values_mut() {
            intent.state = IntentState::Open;
            intent.retry_wall_ms = 0;
        }
        self
    }

    /// Launches whose instance is not known yet.
    pub fn launches_open(&self) -> usize {
        self.intents.values().filter(|i| matches!(i.call, ProviderCall::Launch(_))).count()
    }

    /// When the open launch of a member was first asked for, milliseconds since the epoch.
    pub fn launch_asked_ms(&self, id: &Id) -> Option<u64> {
        let of_member = |i: &&Intent| matches!(&i.call, ProviderCall::Launch(r) if r.member_id == *id);
        self.intents.values().find(of_member).map(|i| i.wall_ms)
    }

    /// Instances that serve or will, and are not being stopped.
    pub fn running(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values().filter(|i| i.state.is_alive() && !self.stopping.contains_key(&i.instance_id))
    }

    /// Instances that failed and are kept for inspection.
    pub fn kept(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values().filter(|i| i.kept && i.state != InstanceState::Gone)
    }

    /// Those of these roles that no instance fills and none is being launched for.
    pub fn roles_missing(&self, roles: &[Id]) -> Vec<Id> {
        let launched = |role: &Id| {
            let mut requests = self.intents.values().filter_map(|i| match &i.call {
                ProviderCall::Launch(request) => Some(&request.member_id),
                _ => None,
            });
            requests.any(|id| id == role)
        };
        let exists = |role: &Id| self.instances.values().any(|i| i.member_id.as_ref() == Some(role));
        roles.iter().filter(|role| !launched(role) && !exists(role)).cloned().collect()
    }

    fn apply(&mut self, record: &Record) {
        if record.seq <= self.seq {
            return;
        }
        self.seq = record.seq;
        match &record.entry {
            Entry::Plan { .. } | Entry::Drill { .. } | Entry::Healed { .. } => {}
            Entry::Intent { call } => {
                self.next_intent += 1;
                let intent = Intent {
                    call: call.clone(),
                    state: IntentState::Journalling,
                    wall_ms: record.wall_ms,
                    failures: 0,
                    retry_wall_ms: 0,
                    record: record.seq,
                };
                // A new attempt of the same intent keeps the count of failures, and with it the pause.
                let failures = self.intents.get(call.intent()).map_or((0, 0), |old| (old.failures, old.retry_wall_ms));
                let intent = Intent { failures: failures.0, retry_wall_ms: failures.1, ..intent };
                self.intents.insert(call.intent().to_owned(), intent);
            }
            Entry::Outcome { outcome } => self.apply_outcome(outcome),
            Entry::Adopt { instance } => {
                self.instances.insert(instance.instance_id.clone(), instance.clone());
            }
            Entry::Gone { instance_id } => {
                self.instances.remove(instance_id);
                self.stopping.remove(instance_id);
            }
            Entry::Abandon { intent, .. } => {
                self.intents.remove(intent);
            }
        }
    }

    fn apply_outcome(&mut self, outcome: &CallOutcome) {
        match (&outcome.call, &outcome.result) {
            (ProviderCall::Launch(request), Ok(Some(instance))) => {
                self.intents.remove(&request.intent);
                self.instances.insert(instance.instance_id.clone(), instance.clone());
            }
            (ProviderCall::Terminate(request), result) => {
                let gone = matches!(result, Err(ProviderError { kind: ErrorKind::NotFound, .. }));
                if gone || result.is_ok() {
                    self.intents.remove(&request.intent);
                }
                let Some(instance) = self.instances.get(&request.instance_id) else { return };
                if gone {
                    self.instances.remove(&request.instance_id);
                    self.stopping.remove(&request.instance_id);
                } else if let (Ok(_), Some(id)) = (result, &instance.member_id) {
                    self.stopping.insert(request.instance_id.clone(), id.clone());
                }
            }
            _ => {}
        }
    }

    /// Journals an entry and applies it at once; what must be on disk before anything follows waits for it.
    fn write(&mut self, entry: Entry, now: Wall, effects: &mut Vec<ExecEffect>) {
        let record = Record { seq: self.seq + 1, wall_ms: now.0, entry };
        self.apply(&record);
        effects.push(ExecEffect::Journal(Box::new(record)));
    }

    fn carry_out(&mut self, plan: &Plan, farm: &Id, mut taken: BTreeSet<Id>, now: Wall, effects: &mut Vec<ExecEffect>) {
        taken.extend(self.instances.values().filter_map(|i| i.member_id.clone()));
        taken.extend(self.intents.values().filter_map(|i| match &i.call {
            ProviderCall::Launch(request) => Some(request.member_id.clone()),
            _ => None,
        }));
        for _ in 0..plan.launch {
            let Some(member_id) = (self.next_intent + 1..).find_map(|n| free_id(n, &taken)) else { break };
            taken.insert(member_id.clone());
            let intent = self.intent_name(now);
            let request = LaunchRequest {
                token: token(farm, &intent, 1),
                intent,
                attempt: 1,
                farm: farm.clone(),
                member_id,
                role: None,
                offering: None,
                body: Vec::new(),
            };
            self.write(Entry::Intent { call: ProviderCall::Launch(request) }, now, effects);
        }
        for id in &plan.terminate {
            let Some(instance_id) = self.stoppable(id) else { continue };
            let request = InstanceRequest { intent: self.intent_name(now), instance_id };
            self.write(Entry::Intent { call: ProviderCall::Terminate(request) }, now, effects);
        }
    }

    /// The running instance of a member, unless its termination is under way.
    fn stoppable(&self, id: &Id) -> Option<String> {
        let instance = self.running().find(|i| i.member_id.as_ref() == Some(id))?;
        let asked = |i: &Intent| matches!(&i.call, ProviderCall::Terminate(t) if t.instance_id == instance.instance_id);
        (!self.intents.values().any(asked)).then(|| instance.instance_id.clone())
    }

    /// Unique even if all state was lost: tokens of another life must not meet.
    fn intent_name(&self, now: Wall) -> String {
        format!("i{}-{}", now.0, self.next_intent + 1)
    }

    fn journalled(&mut self, seq: u64, ok: bool, now: Wall, effects: &mut Vec<ExecEffect>) {
        let Some((name, intent)) = self.intents.iter_mut().find(|(_, i)| i.record == seq) else { return };
        if intent.state != IntentState::Journalling {
            return;
        }
        if ok {
            intent.state = IntentState::Open;
        } else {
            let intent = name.clone();
            self.write(Entry::Abandon { intent, why: "the journal could not be written".into() }, now, effects);
        }
    }

    fn call_due(&mut self, now: Wall, effects: &mut Vec<ExecEffect>) {
        for intent in self.intents.values_mut() {
            if intent.state == IntentState::Open && is_due(intent.retry_wall_ms, now) {
                intent.state = IntentState::Calling;
                effects.push(ExecEffect::Call(intent.call.clone()));
            }
        }
    }

    fn settle(&mut self, outcome: CallOutcome, now: Wall, draws: &mut Draws, effects: &mut Vec<ExecEffect>) {
        let name = outcome.call.intent().to_owned();
        // An answer to a request of an earlier attempt, or of another life, changes nothing.
        let known = self.intents.get(&name).is_some_and(|i| i.call == outcome.call && i.state == IntentState::Calling);
        if !known {
            return;
        }
        let kind = match (&outcome.call, &outcome.result) {
            (ProviderCall::Launch(_), Ok(None)) => Some(ErrorKind::Transient),
            (_, Ok(_)) => None,
            (_, Err(error)) => Some(error.kind),
        };
        self.write(Entry::Outcome { outcome }, now, effects);
        let (Some(kind), Some(intent)) = (kind, self.intents.get_mut(&name)) else { return };
        intent.failures += 1;
        intent.state = IntentState::Open;
        intent.retry_wall_ms = now.0 + pause_ms(kind, intent.failures, draws);
        let ProviderCall::Launch(request) = &intent.call else { return };
        if !kind.is_definite() && kind != ErrorKind::NotFound {
            return;
        }
        if request.attempt >= ATTEMPTS_MAX {
            let why = format!("refused {} times, last: {}", request.attempt, kind.label());
            self.write(Entry::Abandon { intent: name, why }, now, effects);
            return;
        }
        let attempt = request.attempt + 1;
        let next = LaunchRequest { attempt, token: token(&request.farm, &name, attempt), ..request.clone() };
        self.write(Entry::Intent { call: ProviderCall::Launch(next) }, now, effects);
    }

    fn reconcile(&mut self, list: Vec<Instance>, now: Wall, effects: &mut Vec<ExecEffect>) {
        let listed: BTreeMap<String, Instance> = list.into_iter().map(|i| (i.instance_id.clone(), i)).collect();
        for instance in listed.values() {
            if let Some(known) = self.instances.get_mut(&instance.instance_id) {
                known.state = instance.state;
                continue;
            }
            // An open intent is settled by its own call, never by a listing.
            let open = instance.intent.as_ref().is_some_and(|name| self.intents.contains_key(name));
            if !open && instance.state.is_alive() {
                self.write(Entry::Adopt { instance: instance.clone() }, now, effects);
            }
        }
        let gone = |known: &&Instance| match listed.get(&known.instance_id) {
            Some(instance) => instance.state == InstanceState::Gone,
            None => {
                self.stopping.contains_key(&known.instance_id)
                    || known.launched_wall_ms.saturating_add(LISTING_LAG_MS) < now.0
            }
        };
        let gone: Vec<String> = self.instances.values().filter(gone).map(|i| i.instance_id.clone()).collect();
        for instance_id in gone {
            self.write(Entry::Gone { instance_id }, now, effects);
        }
    }
}

fn free_id(number: u64, taken: &BTreeSet<Id>) -> Option<Id> {
    Id::new(&format!("b{number}")).ok().filter(|id| !taken.contains(id))
}

/// Whether a pause is over. A clock that was set back must not stretch it: it counts as over when more is left than any pause lasts.
fn is_due(retry_wall_ms: u64, now: Wall) -> bool {
    retry_wall_ms.checked_sub(now.0).is_none_or(|left_ms| left_ms == 0 || left_ms > 2 * RETRY_MS_MAX)
}

/// Doubles with every failure, with jitter so that retries of many do not meet (seed 004's outage was a storm of retries).
fn pause_ms(kind: ErrorKind, failures: u32, draws: &mut Draws) -> u64 {
    let base = if kind == ErrorKind::Denied { RETRY_MS_MAX } else { RETRY_MS << failures.min(16) };
    draws.jitter_ms(base.min(RETRY_MS_MAX), 0.5)
}

/// SHA-256 of farm, intent and attempt, cut to 16 octets, in hexadecimal digits: an EC2 client token holds 64 characters.
fn token(farm: &Id, intent: &str, attempt: u32) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, format!("{farm}/{intent}/{attempt}").as_bytes());
    hex::encode(&digest.as_ref()[..16])
}

//! What the journal's records mean for the state: the only way the executor's state changes for good.
//!
//! It must not depend on anything but the records: a restart folds the same ones and must come to the same state.

use super::super::provider::{CallOutcome, ErrorKind, Instance, InstanceState, LaunchRequest, ProviderCall, ProviderError};
use super::super::record::{Absence, Buried, Entry, ExecState, Intent, IntentState, Record};
use super::shortage;
use farm_shared::id::Id;
use farm_shared::time::Wall;
use std::collections::BTreeSet;

/// Instances that are gone are remembered for so long, in milliseconds: a list may be older than what we know.
const BURIED_MS: u64 = 3_600_000;
const BURIED_MAX: usize = 2_000;
/// A provider is trusted to know a token for so long, in milliseconds. Half of what a launch template is kept for.
const TOKEN_MS: u64 = 12 * 3_600_000;
/// The time between two lists that leave an instance out counts as its absence up to this, in milliseconds.
const LISTS_GAP_MS: u64 = 20_000;

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
            intent.calls = intent.calls.max(1);
            intent.unsure = true;
        }
        self.absent.clear();
        self
    }

    /// Takes back what a start must not send again: everything but terminations, if it was decided longer ago than a provider need
    /// remember a token, or if records that may have settled it are missing between the saved state (up to `saved_seq`) and the
    /// journal (an old state file). Sent again, a launch would be a second one. What it launched is found by its tag.
    pub fn forget_overtaken(&mut self, saved_seq: u64, first_record: Option<u64>, now: Wall) -> usize {
        let gap = first_record.is_some_and(|first| first > saved_seq.saturating_add(1));
        let overtaken = |i: &Intent| {
            let old = now.0.saturating_sub(i.wall_ms) > TOKEN_MS || (gap && i.record <= saved_seq);
            old && !matches!(i.call, ProviderCall::Terminate(_))
        };
        let before = self.intents.len();
        self.intents.retain(|_, i| !overtaken(i));
        before - self.intents.len()
    }

    /// Launches and starts whose instance is not known to come up yet.
    pub fn launches_open(&self) -> usize {
        self.intents.values().filter(|i| matches!(i.call, ProviderCall::Launch(_) | ProviderCall::Start(_))).count()
    }

    /// Stops whose fate is not known: what the warm pool will have.
    pub fn stops_open(&self) -> usize {
        self.intents.values().filter(|i| matches!(i.call, ProviderCall::Stop(_))).count()
    }

    /// When the open launch of a member was first asked for, milliseconds since the epoch.
    pub fn launch_asked_ms(&self, id: &Id) -> Option<u64> {
        self.launching(id).map(|i| i.wall_ms)
    }

    fn launching(&self, id: &Id) -> Option<&Intent> {
        self.intents.values().find(|i| matches!(&i.call, ProviderCall::Launch(r) if r.member_id == *id))
    }

    /// Instances that serve or will, and are not being stopped or kept.
    pub fn running(&self) -> impl Iterator<Item = &Instance> {
        let serves = |i: &&Instance| i.state.is_alive() && !i.kept && !self.stopping.contains_key(&i.instance_id);
        self.instances.values().filter(serves)
    }

    /// Instances that are stopped and can be started again: the warm pool.
    pub fn warm(&self) -> impl Iterator<Item = &Instance> {
        let idle = |i: &&Instance| {
            i.state == InstanceState::Stopped && !i.kept && i.role.is_none() && !self.stopping.contains_key(&i.instance_id)
        };
        self.instances.values().filter(idle)
    }

    /// Instances that failed and are kept for inspection.
    pub fn kept(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values().filter(|i| i.kept && i.state != InstanceState::Gone)
    }

    /// Whether a call about that instance is open.
    pub fn is_busy(&self, instance_id: &str) -> bool {
        self.intents.values().any(|i| i.call.instance_id() == Some(instance_id))
    }

    /// Members whose instance a call is open for that takes it away, sent or not: whatever a heartbeat says, they are no capacity any
    /// more, and nothing may bring them back into service.
    pub fn ending(&self) -> BTreeSet<&Id> {
        let ends =
            |call: &ProviderCall| matches!(call, ProviderCall::Terminate(_) | ProviderCall::Stop(_) | ProviderCall::Keep(_));
        let open = self.intents.values().filter(|i| ends(&i.call)).filter_map(|i| i.call.instance_id());
        open.filter_map(|id| self.instances.get(id)?.member_id.as_ref()).collect()
    }

    /// Those of these roles that no instance fills and none is being launched for. An instance that is being terminated fills its
    /// role until it is gone for certain: there are never two of one role.
    pub fn roles_missing(&self, roles: &[Id]) -> Vec<Id> {
        let exists = |role: &Id| {
            let fills = |i: &&Instance| i.member_id.as_ref() == Some(role) || i.role.as_ref() == Some(role);
            self.instances.values().chain(self.unknown.values()).any(|i| fills(&i))
        };
        roles.iter().filter(|role| self.launching(role).is_none() && !exists(role)).cloned().collect()
    }

    pub(super) fn apply(&mut self, record: &Record) {
        if record.seq <= self.seq {
            return;
        }
        self.seq = record.seq;
        match &record.entry {
            Entry::Plan { .. } | Entry::Order { .. } | Entry::Drill { .. } | Entry::Healed { .. } => {}
            Entry::Intent { call } => self.apply_intent(call, record),
            Entry::Outcome { outcome } => self.apply_outcome(outcome, record.wall_ms),
            Entry::Adopt { instance } => self.insert(instance.clone()),
            Entry::Gone { instance_id } => self.apply_gone(instance_id, record.wall_ms),
            Entry::Abandon { intent, .. } => {
                self.intents.remove(intent);
            }
        }
    }

    fn apply_intent(&mut self, call: &ProviderCall, record: &Record) {
        self.next_intent += 1;
        // A new attempt of the same intent keeps the count of failures, and with it the pause.
        let (failures, retry_wall_ms) =
            self.intents.get(call.intent()).map_or((0, 0), |old| (old.failures, old.retry_wall_ms));
        let intent = Intent {
            call: call.clone(),
            state: IntentState::Journalling,
            wall_ms: record.wall_ms,
            failures,
            retry_wall_ms,
            record: record.seq,
            calls: 0,
            called_wall_ms: 0,
            denials: 0,
            unsure: false,
        };
        self.intents.insert(call.intent().to_owned(), intent);
    }

    fn apply_outcome(&mut self, outcome: &CallOutcome, wall_ms: u64) {
        let short = matches!(&outcome.result, Err(ProviderError { kind: ErrorKind::NoCapacity, .. }));
        match (&outcome.call, &outcome.result) {
            (ProviderCall::Launch(request), Ok(Some(instance))) => {
                self.intents.remove(&request.intent);
                shortage::forget(&mut self.shortages, request.offering.as_ref());
                self.insert(completed(instance.clone(), request));
            }
            (ProviderCall::Launch(request), Err(_)) if short => {
                shortage::remember(&mut self.shortages, request.offering.as_ref(), wall_ms);
            }
            (ProviderCall::Launch(_), _) => {}
            (call, Ok(answer)) => {
                self.intents.remove(call.intent());
                self.took_effect(call, answer.as_ref(), wall_ms);
            }
            (ProviderCall::Start(request), Err(_)) if short => {
                let offering = self.instances.get(&request.instance_id).and_then(|i| i.offering.clone());
                shortage::remember(&mut self.shortages, offering.as_ref(), wall_ms);
            }
            (ProviderCall::Stop(request), Err(ProviderError { kind: ErrorKind::Denied, .. })) => {
                self.unstoppable.insert(request.instance_id.clone());
            }
            (_, Err(_)) => {}
        }
    }

    fn took_effect(&mut self, call: &ProviderCall, answer: Option<&Instance>, wall_ms: u64) {
        let Some(instance) = call.instance_id().and_then(|id| self.instances.get_mut(id)) else { return };
        let told = answer.map(|i| i.state);
        let instance_id = instance.instance_id.clone();
        match call {
            ProviderCall::Terminate(_) => {
                if let Some(id) = instance.member_id.clone() {
                    self.stopping.insert(instance_id.clone(), id);
                }
                self.changed.insert(instance_id, wall_ms);
            }
            ProviderCall::Start(_) => {
                instance.state = told.filter(|s| s.is_alive()).unwrap_or(InstanceState::Pending);
                instance.launched_wall_ms = wall_ms;
                instance.impaired = None;
                self.changed.insert(instance_id, wall_ms);
            }
            ProviderCall::Stop(_) => {
                instance.state = told.filter(|s| !s.is_alive()).unwrap_or(InstanceState::Stopping);
                self.changed.insert(instance_id, wall_ms);
            }
            ProviderCall::Keep(_) => instance.kept = true,
            ProviderCall::Attach(_) => {
                self.attached.insert(instance_id);
            }
            ProviderCall::Reboot(_) | ProviderCall::Launch(_) => {}
        }
    }

    fn insert(&mut self, instance: Instance) {
        self.buried.remove(&instance.instance_id);
        self.unknown.remove(&instance.instance_id);
        self.instances.insert(instance.instance_id.clone(), instance);
    }

    fn apply_gone(&mut self, instance_id: &str, wall_ms: u64) {
        let instance = self.instances.remove(instance_id);
        self.stopping.remove(instance_id);
        self.changed.remove(instance_id);
        self.absent.remove(instance_id);
        self.attached.remove(instance_id);
        self.unstoppable.remove(instance_id);
        self.intents.retain(|_, i| i.call.instance_id() != Some(instance_id));
        self.buried.retain(|_, b| b.wall_ms.abs_diff(wall_ms) < BURIED_MS);
        if let Some(instance) = instance.filter(|_| self.buried.len() < BURIED_MAX) {
            self.buried.insert(instance_id.to_owned(), Buried { intent: instance.intent, wall_ms });
        }
    }

    /// Counts one more list without that instance; whether it is believed to be gone now.
    pub(super) fn miss(&mut self, instance_id: &str, wall_ms: u64) -> Absence {
        let first = Absence { since_wall_ms: wall_ms, lists: 0, last_wall_ms: wall_ms };
        let absence = self.absent.entry(instance_id.to_owned()).or_insert(first);
        // While there were no lists nothing was left out; nor when the clock was set forward.
        let silent_ms = wall_ms.saturating_sub(absence.last_wall_ms).saturating_sub(LISTS_GAP_MS);
        // A clock that was set back: begin anew.
        absence.since_wall_ms = absence.since_wall_ms.saturating_add(silent_ms).min(wall_ms);
        absence.last_wall_ms = wall_ms;
        absence.lists = absence.lists.saturating_add(1);
        *absence
    }
}

/// The provider may not repeat what it was told.
fn completed(mut instance: Instance, request: &LaunchRequest) -> Instance {
    instance.member_id.get_or_insert_with(|| request.member_id.clone());
    instance.intent.get_or_insert_with(|| request.intent.clone());
    if instance.role.is_none() {
        instance.role.clone_from(&request.role);
    }
    if instance.offering.is_none() {
        instance.offering.clone_from(&request.offering);
    }
    instance
}

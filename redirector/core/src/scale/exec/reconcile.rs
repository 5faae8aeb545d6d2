//! What a list of instances means. The list may be old, and may leave things out; only an instance that it calls gone is gone at once.
//!
//! It must never settle an intent, and never touch what no intent of ours launched.

use super::super::provider::{Instance, InstanceRequest, InstanceState, ProviderCall};
use super::super::record::{Buried, Entry, ExecState};
use super::{ExecEffect, is_due, is_over};
use farm_shared::id::Id;
use farm_shared::time::Wall;
use std::collections::{BTreeMap, BTreeSet};

/// Lists lag behind calls: what they leave out for less than this, or say against what we did less than this ago, is not believed.
/// Milliseconds.
pub(crate) const LISTING_LAG_MS: u64 = 60_000;
/// An instance is gone when so many lists in a row left it out, too.
const LISTS_MIN: u32 = 3;
/// An instance that still runs so long after its termination was answered is terminated again, in milliseconds.
const UNDEAD_MS: u64 = 600_000;
/// A list that still shows an instance so long after we took it for gone is right, in milliseconds.
const OLD_LIST_MS: u64 = 3 * LISTING_LAG_MS;
const UNKNOWN_MAX: usize = 1_000;

impl ExecState {
    pub(super) fn reconcile(&mut self, list: Vec<Instance>, heard: &BTreeSet<Id>, now: Wall, effects: &mut Vec<ExecEffect>) {
        let listed: BTreeMap<String, Instance> = list.into_iter().map(|i| (i.instance_id.clone(), i)).collect();
        self.unknown.clear();
        for instance in listed.values() {
            if self.instances.contains_key(&instance.instance_id) {
                self.refresh(instance, now);
                if self.is_undead(instance, now) {
                    let request =
                        InstanceRequest { intent: self.intent_name(now), instance_id: instance.instance_id.clone() };
                    self.intend(ProviderCall::Terminate(request), now, effects);
                }
                continue;
            }
            // An open intent is settled by its own call, never by a listing.
            let open = instance.intent.as_ref().is_some_and(|name| self.intents.contains_key(name));
            let ends = matches!(instance.state, InstanceState::Stopping | InstanceState::Gone);
            let old = |b: &Buried| b.intent == instance.intent && !is_due(b.wall_ms, OLD_LIST_MS, now);
            let buried = self.buried.get(&instance.instance_id).is_some_and(old);
            if open || ends || buried {
                continue;
            }
            if self.is_ours(instance) {
                self.write(Entry::Adopt { instance: instance.clone() }, now, effects);
            } else if self.unknown.len() < UNKNOWN_MAX {
                self.unknown.insert(instance.instance_id.clone(), instance.clone());
            }
        }
        let known: Vec<String> = self.instances.keys().cloned().collect();
        for instance_id in known {
            let gone = match listed.get(&instance_id) {
                Some(instance) => {
                    self.absent.remove(&instance_id);
                    instance.state == InstanceState::Gone
                }
                None => self.is_gone(&instance_id, heard, now),
            };
            if gone {
                self.write(Entry::Gone { instance_id }, now, effects);
            }
        }
    }

    /// Whether the provider promised to terminate it, and it runs on.
    fn is_undead(&self, listed: &Instance, now: Wall) -> bool {
        let id = &listed.instance_id;
        let asked = self.changed.get(id).filter(|_| self.stopping.contains_key(id));
        asked.is_some_and(|at| is_due(*at, UNDEAD_MS, now)) && listed.state.is_alive() && !self.is_busy(id)
    }

    /// What a list tells of an instance that we know.
    fn refresh(&mut self, listed: &Instance, now: Wall) {
        let changed = self.changed.get(&listed.instance_id).copied();
        let lags = changed.is_some_and(|at| !is_over(at.saturating_add(LISTING_LAG_MS), LISTING_LAG_MS, now));
        if !lags && !self.stopping.contains_key(&listed.instance_id) {
            self.changed.remove(&listed.instance_id);
        }
        let Some(known) = self.instances.get_mut(&listed.instance_id) else { return };
        // We started it, and the list has it stopped, or the other way round: the list is older.
        if !lags || listed.state.is_alive() == known.state.is_alive() {
            known.state = listed.state;
        }
        known.impaired.clone_from(&listed.impaired);
        known.kept |= listed.kept;
        known.addrs.clone_from(&listed.addrs);
        if known.offering.is_none() {
            known.offering.clone_from(&listed.offering);
        }
        if known.role.is_none() {
            known.role.clone_from(&listed.role);
        }
    }

    /// An instance that carries an intent of our form, for a member that no other instance is for: launched by this scaler, and its
    /// record was lost. A copy that somebody made of an instance, tags and all, is not.
    fn is_ours(&self, instance: &Instance) -> bool {
        let (Some(id), Some(intent)) = (&instance.member_id, &instance.intent) else { return false };
        let used = |call: &ProviderCall| matches!(call, ProviderCall::Launch(r) if r.member_id == *id);
        let same = |other: &Instance| other.member_id.as_ref() == Some(id) || other.intent.as_ref() == Some(intent);
        is_intent_name(intent) && !self.instances.values().any(same) && !self.intents.values().any(|open| used(&open.call))
    }

    /// Whether an instance that a list leaves out is gone.
    fn is_gone(&mut self, instance_id: &str, heard: &BTreeSet<Id>, now: Wall) -> bool {
        // Its termination was answered.
        if self.stopping.contains_key(instance_id) {
            return true;
        }
        let member = self.instances.get(instance_id).and_then(|i| i.member_id.as_ref());
        if member.is_some_and(|id| heard.contains(id)) {
            self.absent.remove(instance_id);
            return false;
        }
        let absence = self.miss(instance_id, now.0);
        absence.lists >= LISTS_MIN && absence.since_wall_ms.saturating_add(LISTING_LAG_MS) <= now.0
    }
}

/// `i<milliseconds>-<number>`, as the executor names intents.
fn is_intent_name(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.len() <= 20 && part.bytes().all(|b| b.is_ascii_digit());
    text.strip_prefix('i').and_then(|rest| rest.split_once('-')).is_some_and(|(wall, number)| digits(wall) && digits(number))
}

//! What may be asked of the cloud, and what there may be in it.

use super::{Rule, Watch};
use crate::cloud::{Cloud, Machine};
use crate::host::Host;
use farm_shared::id::Id;
use redirector_core::scale::ProviderCall;
use std::collections::{BTreeMap, BTreeSet};

/// Calls within a minute that any plan of a small farm with all its retries may need.
const CALLS_PER_MIN_MAX: usize = 120;
const MINUTE_MS: u64 = 60_000;

impl Watch {
    /// A call left for the cloud.
    pub(crate) fn called(&mut self, now_ms: u64, on_disk: bool, what: &str) {
        self.check(on_disk, now_ms, Rule::Unjournalled, || format!("{what} was called, and its intent is not on disk"));
        self.calls.push_back(now_ms);
        while self.calls.front().is_some_and(|at| at + MINUTE_MS < now_ms) {
            self.calls.pop_front();
        }
        let calls = self.calls.len();
        self.check(calls <= CALLS_PER_MIN_MAX, now_ms, Rule::CallStorm, || format!("{calls} calls within a minute"));
    }

    /// Something was journalled that a plan wants. What is asked for again, after a refusal, was planned before.
    pub(crate) fn planned(&mut self, now_ms: u64, call: &ProviderCall) {
        let listed = self.door_listed || matches!(call, ProviderCall::Launch(request) if request.attempt > 1);
        let what = call.intent();
        self.check(listed, now_ms, Rule::Blind, || format!("{what} without a listing since the start"));
        if let ProviderCall::Terminate(request) = call {
            self.decided.insert(request.instance_id.clone(), (now_ms, self.door_since));
        }
    }

    /// The cloud after a launch.
    pub(crate) fn launched(&mut self, cloud: &Cloud, max: u32, now_ms: u64) {
        let mut alive = 0;
        let (mut members, mut intents): (BTreeSet<&Id>, BTreeMap<&str, usize>) = (BTreeSet::new(), BTreeMap::new());
        let mut broken = None;
        for (_, machine) in cloud.alive(now_ms) {
            alive += 1;
            let count = intents.entry(machine.intent.as_str()).or_default();
            *count += 1;
            if *count > 1 {
                broken = Some((Rule::Duplicate, format!("{count} instances of {}", machine.intent)));
            } else if !members.insert(&machine.member) {
                broken = broken.or_else(|| Some((Rule::Twins, format!("two instances are {}", machine.member))));
            }
        }
        self.checks += 2;
        if let Some((rule, what)) = broken {
            self.break_rule(now_ms, rule, || what);
        }
        self.check(alive <= max, now_ms, Rule::AboveMax, || format!("{alive} instances, and the maximum is {max}"));
    }

    /// A call for the end of a machine leaves. It is judged once, by what the door had been told, and by what it should have been told.
    pub(crate) fn stopping(&mut self, machine: &Machine, host: &Host, now_ms: u64) {
        if !self.judged.insert(machine.instance_id.clone()) || !machine.is_alive(now_ms) {
            return;
        }
        let id = &machine.member;
        let patience_ms = self.boot_deadline_ms;
        // A deadline that was measured may be shorter than the configured one, but never below two boots as configured.
        // By what was known when it was decided: a door that starts again sends what is on its disk.
        let (decided_ms, since_ms) = self.decided.get(&machine.instance_id).copied().unwrap_or((now_ms, self.door_since));
        let young = decided_ms < machine.born_ms.max(since_ms) + patience_ms.min(2 * self.boot_ms);
        let Some(seen) = self.door.get(id).cloned() else {
            let what = || format!("{id} was stopped before it could be heard, launched at {}", machine.born_ms);
            return self.check(!young, now_ms, Rule::StoppedEarly, what);
        };
        // One that was forgotten counts as one that was never heard.
        let forgotten_ms = self.forget_ms.min(patience_ms);
        let failing = machine.impaired_ms.is_some() || machine.leaves_ms.is_some();
        if !host.serves || failing || now_ms > seen.heard_ms + forgotten_ms {
            return;
        }
        // Told in the present life of the door, or in an earlier one.
        let told_ms = seen.told_ms.unwrap_or(now_ms);
        let over = now_ms + 3 * self.period_ms >= told_ms + self.drain_deadline_ms && seen.told_ms.is_some();
        // By its word, or in truth: whatever was there when it was heard last should have been in its word.
        let there = host.sessions.values().filter(|(began_ms, _)| began_ms + self.period_ms < seen.heard_ms).count() as u32;
        let sessions = seen.sessions.max(there);
        self.check(seen.told_ms.is_some() && (sessions == 0 || over), now_ms, Rule::StoppedEarly, || {
            format!("{id} was stopped with {sessions} sessions, told to drain at {:?}", seen.told_ms)
        });
        let cached_ms = self.cached_until.get(id).copied().unwrap_or(0);
        self.check(cached_ms <= now_ms, now_ms, Rule::StoppedNamed, || {
            format!("{id} was stopped, and caches may name it until {cached_ms}")
        });
    }
}

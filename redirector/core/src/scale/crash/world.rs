//! A provider and a disk that survive the scaler's crashes, and that check everything that is asked of them.

use super::super::*;
use super::id;
use farm_shared::id::Id;
use std::collections::{BTreeMap, BTreeSet};

/// A mistake planted to see whether the checks find it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Bug {
    #[default]
    None,
    /// The provider launches anew whatever the token.
    IgnoresTokens,
    /// A request that is sent again goes out as a new attempt.
    DoublesAttempts,
    /// Calls are made before the records in front of them are written.
    CallsBeforeRecords,
    /// Records are reported as written, and a crash loses the last ones.
    LosesRecords,
    /// What one list leaves out is taken for gone.
    BelievesLists,
    /// A termination hits the neighbour.
    EndsTheWrongOne,
}

impl Bug {
    pub(super) const ALL: [Self; 6] = [
        Self::IgnoresTokens,
        Self::DoublesAttempts,
        Self::CallsBeforeRecords,
        Self::LosesRecords,
        Self::BelievesLists,
        Self::EndsTheWrongOne,
    ];
}

/// Offerings in three zones, the first of which never has capacity; one fixed role.
#[derive(Debug)]
pub(super) struct Shop {
    offerings: Vec<Offering>,
    roles: Vec<Id>,
}

impl Shop {
    pub(super) fn new() -> Self {
        let offering = |zone: &str| Offering { instance_type: "m5".into(), zone: zone.into(), market: Market::OnDemand };
        Self { offerings: ["za", "zb", "zc"].map(offering).into(), roles: vec![id("web-1")] }
    }
}

impl Blueprint for Shop {
    fn offerings(&self, _role: Option<&Id>) -> &[Offering] {
        &self.offerings
    }

    fn body(&self, request: &LaunchRequest) -> Result<Vec<String>, String> {
        let zone = request.offering.as_ref().map_or("", |o| &o.zone);
        Ok(vec![format!("Action=RunInstances&ClientToken={}&Zone={zone}&Member={}", request.token, request.member_id)])
    }

    fn price_usd_h(&self, _offering: &Offering) -> Option<f64> {
        Some(0.1)
    }

    fn attach(&self, role: &Id, instance_id: &str, intent: &str) -> Option<AttachRequest> {
        assert_eq!(*role, self.roles[0]);
        let volume = VolumeAttachment { volume_id: "vol-1".into(), device: "/dev/sdf".into() };
        Some(AttachRequest {
            intent: intent.into(),
            instance_id: instance_id.into(),
            addresses: vec!["eipalloc-1".into()],
            volumes: vec![volume],
        })
    }

    fn roles(&self) -> &[Id] {
        &self.roles
    }
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// It has no effect, and nobody hears.
    Before,
    /// It takes effect, and nobody hears.
    After,
}

#[derive(Clone, Default)]
pub(super) struct World {
    pub(super) bug: Bug,
    pub(super) journal: Vec<Record>,
    /// Records that are on disk for certain; the rest is lost in a crash, if the bug says so.
    pub(super) synced: usize,
    pub(super) by_token: BTreeMap<String, (String, LaunchRequest)>,
    pub(super) instances: BTreeMap<String, Instance>,
    /// As of the last look: lists lag by that.
    pub(super) old: Vec<Instance>,
    pub(super) attached: BTreeSet<String>,
    /// Instances that some plan or order wants ended.
    pub(super) may_end: BTreeSet<String>,
    /// Elastic servers wanted now: a launch must never make more.
    pub(super) wanted: usize,
    pub(super) calls: usize,
    pub(super) lists: usize,
    pub(super) now_ms: u64,
    /// Progress of the script.
    pub(super) stage: usize,
    pub(super) reboots: usize,
    /// Calls by what they were: what the crash points cover.
    pub(super) kinds: BTreeMap<&'static str, usize>,
    pub(super) wrong: Vec<String>,
}

impl World {
    pub(super) fn append(&mut self, record: &Record) {
        self.journal.push(record.clone());
        if self.bug != Bug::LosesRecords || self.journal.len().is_multiple_of(4) {
            self.synced = self.journal.len();
        }
    }

    pub(super) fn crash(&mut self) {
        self.journal.truncate(self.synced);
    }

    /// A list as old as the last look; one in five leaves an instance out.
    pub(super) fn list(&mut self) -> Vec<Instance> {
        self.lists += 1;
        let now: Vec<Instance> = self.instances.values().cloned().collect();
        let mut list = std::mem::replace(&mut self.old, now);
        if self.lists.is_multiple_of(5) && !list.is_empty() {
            list.remove(self.lists / 5 % list.len());
        }
        list
    }

    pub(super) fn call(&mut self, call: &ProviderCall, loss: Option<Loss>) -> CallOutcome {
        self.calls += 1;
        *self.kinds.entry(call.label()).or_default() += 1;
        let written = |r: &Record| matches!(&r.entry, Entry::Intent { call: c } if c == call);
        if !self.journal.iter().any(written) {
            self.wrong.push(format!("called before its intent was on disk: {call:?}"));
        }
        let lost = ProviderError { kind: ErrorKind::Transient, message: String::new() };
        if loss == Some(Loss::Before) {
            return CallOutcome { call: call.clone(), result: Err(lost) };
        }
        let result = match call {
            ProviderCall::Launch(request) => self.launch(request),
            _ => self.change(call),
        };
        let result = if loss == Some(Loss::After) { Err(lost) } else { result };
        CallOutcome { call: call.clone(), result }
    }

    fn launch(&mut self, request: &LaunchRequest) -> Result<Option<Instance>, ProviderError> {
        let refusal = |kind| Err(ProviderError { kind, message: String::new() });
        if let Some((name, first)) = self.by_token.get(&request.token).filter(|_| self.bug != Bug::IgnoresTokens) {
            if first != request {
                self.wrong.push(format!("a token with two meanings: {request:?}"));
                return refusal(ErrorKind::Mismatch);
            }
            return Ok(self.instances.get(name).cloned());
        }
        if request.offering.as_ref().is_some_and(|o| o.zone == "za") {
            return refusal(ErrorKind::NoCapacity);
        }
        let name = format!("i-{}", self.instances.len());
        let (farm, state) = (request.farm.clone(), InstanceState::Running);
        let instance = Instance {
            member_id: Some(request.member_id.clone()),
            intent: Some(request.intent.clone()),
            offering: request.offering.clone(),
            role: request.role.clone(),
            ..Instance::new(name.clone(), farm, state, self.now_ms)
        };
        let twin = |i: &Instance| i.intent == instance.intent || (i.role.is_some() && i.role == instance.role);
        if self.instances.values().any(|i| i.state != InstanceState::Gone && twin(i)) {
            self.wrong.push(format!("two instances of one intent or role: {instance:?}"));
        }
        self.by_token.insert(request.token.clone(), (name.clone(), request.clone()));
        self.instances.insert(name, instance.clone());
        self.not_too_many();
        Ok(Some(instance))
    }

    fn change(&mut self, call: &ProviderCall) -> Result<Option<Instance>, ProviderError> {
        let name = call.instance_id().unwrap_or_default().to_owned();
        let unwanted = !self.may_end.contains(&name);
        let Some(instance) = self.instances.get_mut(&name).filter(|i| i.state != InstanceState::Gone) else {
            return Err(ProviderError { kind: ErrorKind::NotFound, message: name });
        };
        let ends = matches!(call, ProviderCall::Terminate(_) | ProviderCall::Stop(_) | ProviderCall::Reboot(_));
        if ends && (unwanted || instance.kept) {
            self.wrong.push(format!("nobody wanted that: {call:?}"));
        }
        match call {
            ProviderCall::Terminate(_) => instance.state = InstanceState::Gone,
            ProviderCall::Stop(_) => instance.state = InstanceState::Stopped,
            ProviderCall::Start(_) => instance.state = InstanceState::Running,
            ProviderCall::Keep(_) => instance.kept = true,
            ProviderCall::Reboot(_) => self.reboots += 1,
            ProviderCall::Attach(_) => drop(self.attached.insert(name.clone())),
            ProviderCall::Launch(_) => {}
        }
        let instance = instance.clone();
        if matches!(call, ProviderCall::Start(_)) {
            self.not_too_many();
        }
        Ok(Some(instance))
    }

    /// Elastic servers that run, kept ones aside.
    pub(super) fn elastic(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values().filter(|i| i.state.is_alive() && i.role.is_none() && !i.kept)
    }

    fn not_too_many(&mut self) {
        let own = self.elastic().filter(|i| i.intent.is_some()).count();
        if own > self.wanted {
            self.wrong.push(format!("{own} servers, and {} are wanted", self.wanted));
        }
    }

    /// What somebody else puts there, with the farm's tag.
    pub(super) fn put_guest(&mut self) {
        let guest =
            Instance { member_id: Some(id("guest")), ..Instance::new("i-guest", id("mail"), InstanceState::Running, 1) };
        self.instances.entry("i-guest".into()).or_insert(guest);
    }
}

//! A cloud that keeps the letter of its contract and no more: idempotent by token, eventually consistent, often busy, sometimes away.
//!
//! It knows the truth that the checkers compare with. It must never tell the scaler more than an answer or a listing says.

use crate::dice::Die;
use crate::setup::WALL_MS;
use farm_shared::id::Id;
use redirector_core::scale::{CallOutcome, ErrorKind, Instance, InstanceState, LaunchRequest, ProviderCall, ProviderError};
use std::collections::BTreeMap;

/// Terminated instances are listed for so long, in milliseconds.
const LISTED_GONE_MS: u64 = 900_000;
/// From a termination to its end.
const STOPPING_MS: u64 = 20_000;

/// One instance, as it really is.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Its name.
    pub instance_id: String,
    /// The member that it was launched for.
    pub member: Id,
    /// The tag.
    pub intent: String,
    /// When it was launched, on the world's clock.
    pub born_ms: u64,
    /// When listings show it first.
    pub visible_ms: u64,
    /// Since when its status checks fail.
    pub impaired_ms: Option<u64>,
    /// When the cloud will take it away, as it announced.
    pub leaves_ms: Option<u64>,
    /// Its tag says that it is kept for inspection.
    pub kept: bool,
    /// States and since when.
    pub states: Vec<(u64, InstanceState)>,
    request: LaunchRequest,
}

impl Machine {
    /// Its state at a time.
    pub(crate) fn state_at(&self, at_ms: u64) -> InstanceState {
        self.states.iter().rev().find(|(since, _)| *since <= at_ms).map_or(InstanceState::Pending, |(_, state)| *state)
    }

    /// Runs, or will.
    pub(crate) fn is_alive(&self, now_ms: u64) -> bool {
        self.state_at(now_ms).is_alive()
    }

    /// As a listing that is believed too early would have it.
    pub(crate) fn gone(&self) -> Instance {
        Instance { state: InstanceState::Gone, ..self.as_of(self.born_ms) }
    }

    fn as_of(&self, at_ms: u64) -> Instance {
        let farm = self.request.farm.clone();
        Instance {
            member_id: Some(self.member.clone()),
            intent: Some(self.intent.clone()),
            offering: self.request.offering.clone(),
            role: self.request.role.clone(),
            impaired: self.impaired_ms.filter(|at| *at <= at_ms).map(|_| "instance status: failed".to_owned()),
            kept: self.kept,
            ..Instance::new(self.instance_id.clone(), farm, self.state_at(at_ms), WALL_MS + self.born_ms)
        }
    }
}

/// What is wrong with the cloud, each until a time in milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moods {
    /// Most calls are refused as too many.
    pub throttled_ms: u64,
    /// Nothing answers.
    pub down_ms: u64,
    /// Nothing can be launched.
    pub full_ms: u64,
    /// New instances take up to 50 s to be listed, and states are old.
    pub lagging_ms: u64,
    /// Each instance is left out of a listing now and then.
    pub omitting_ms: u64,
    /// Answers are lost after the effect.
    pub losing_ms: u64,
    /// Calls fail before the effect.
    pub failing_ms: u64,
    /// Calls take effect long after they were given up.
    pub slow_ms: u64,
    /// Permissions are missing.
    pub denied_ms: u64,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answered {
    /// What the caller hears.
    pub outcome: CallOutcome,
    /// After how many milliseconds.
    pub after_ms: u64,
    /// A machine that this call made, by number.
    pub made: Option<usize>,
    /// A machine that this call ends.
    pub ended: Option<usize>,
}

/// The cloud.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cloud {
    /// Every instance there ever was, by number.
    pub machines: Vec<Machine>,
    pub(crate) by_token: BTreeMap<String, usize>,
    pub(crate) by_name: BTreeMap<String, usize>,
    /// What is wrong.
    pub moods: Moods,
    /// A planted fault: client tokens are ignored.
    pub ignores_tokens: bool,
}

/// After this a caller gives up, in milliseconds.
pub(crate) const TIMEOUT_MS: u64 = 30_000;

impl Cloud {
    /// A number of a machine by the provider's name.
    pub(crate) fn find(&self, instance_id: &str) -> Option<usize> {
        self.by_name.get(instance_id).copied()
    }

    /// Instances that run or will.
    pub(crate) fn alive(&self, now_ms: u64) -> impl Iterator<Item = (usize, &Machine)> {
        self.machines.iter().enumerate().filter(move |(_, m)| m.is_alive(now_ms))
    }

    /// How long a call is on its way: now and then far longer than the caller waits.
    pub(crate) fn delay_ms(&self, now_ms: u64, die: &mut Die) -> u64 {
        if self.moods.slow_ms > now_ms && die.chance(0.5) { die.between(35_000, 120_000) } else { die.between(20, 1_500) }
    }

    /// A call arrives that was sent `sent_ms_ago`.
    pub(crate) fn call(&mut self, call: ProviderCall, now_ms: u64, sent_ms_ago: u64, die: &mut Die) -> Answered {
        let late = sent_ms_ago >= TIMEOUT_MS;
        let refusal = |kind: ErrorKind| Err(ProviderError { kind, message: kind.label().to_owned() });
        let moods = &self.moods;
        let down = moods.down_ms > now_ms;
        let refused = if down || (moods.failing_ms > now_ms && die.chance(0.6)) {
            Some(ErrorKind::Transient)
        } else if moods.throttled_ms > now_ms && die.chance(0.8) {
            Some(ErrorKind::Throttled)
        } else if moods.denied_ms > now_ms {
            Some(ErrorKind::Denied)
        } else {
            None
        };
        let (mut made, mut ended) = (None, None);
        let result = match refused {
            Some(kind) => refusal(kind),
            None => self.perform(&call, now_ms, die, &mut made, &mut ended).or_else(refusal),
        };
        let lost = late || (self.moods.losing_ms > now_ms && die.chance(0.6));
        let after_ms = if lost || down { TIMEOUT_MS.saturating_sub(sent_ms_ago) } else { die.between(5, 200) };
        let result = if lost { refusal(ErrorKind::Transient) } else { result };
        Answered { outcome: CallOutcome { call, result }, after_ms, made, ended }
    }

    fn perform(
        &mut self,
        call: &ProviderCall,
        now_ms: u64,
        die: &mut Die,
        made: &mut Option<usize>,
        ended: &mut Option<usize>,
    ) -> Result<Option<Instance>, ErrorKind> {
        match call {
            ProviderCall::Launch(request) => self.launch(request, now_ms, die, made),
            ProviderCall::Terminate(request) => {
                let Some(at) = self.find(&request.instance_id) else { return Err(ErrorKind::NotFound) };
                let Some(machine) = self.machines.get(at) else { return Err(ErrorKind::NotFound) };
                if machine.state_at(now_ms) == InstanceState::Gone {
                    let listed = machine.states.last().is_some_and(|(since, _)| now_ms < since + LISTED_GONE_MS);
                    return if listed { Ok(Some(machine.as_of(now_ms))) } else { Err(ErrorKind::NotFound) };
                }
                if machine.is_alive(now_ms) {
                    *ended = Some(at);
                    self.end(at, now_ms);
                }
                Ok(self.machines.get(at).map(|m| m.as_of(now_ms)))
            }
            ProviderCall::Keep(request) => {
                let Some(machine) = self.find(&request.instance_id).and_then(|at| self.machines.get_mut(at)) else {
                    return Err(ErrorKind::NotFound);
                };
                machine.kept = true;
                Ok(Some(machine.as_of(now_ms)))
            }
            ProviderCall::Start(_) | ProviderCall::Stop(_) | ProviderCall::Reboot(_) | ProviderCall::Attach(_) => {
                Err(ErrorKind::Denied)
            }
        }
    }

    fn launch(
        &mut self,
        request: &LaunchRequest,
        now_ms: u64,
        die: &mut Die,
        made: &mut Option<usize>,
    ) -> Result<Option<Instance>, ErrorKind> {
        if let Some(machine) = self.by_token.get(&request.token).and_then(|at| self.machines.get(*at))
            && !self.ignores_tokens
        {
            if machine.request != *request || !machine.is_alive(now_ms) {
                return Err(ErrorKind::Mismatch);
            }
            return Ok(Some(machine.as_of(now_ms)));
        }
        if self.moods.full_ms > now_ms {
            return Err(ErrorKind::NoCapacity);
        }
        let at = self.machines.len();
        let lag_ms = if self.moods.lagging_ms > now_ms { die.between(5_000, 50_000) } else { die.between(0, 3_000) };
        let machine = Machine {
            instance_id: format!("i-{at:05}"),
            member: request.member_id.clone(),
            intent: request.intent.clone(),
            born_ms: now_ms,
            visible_ms: now_ms + lag_ms,
            impaired_ms: None,
            leaves_ms: None,
            kept: false,
            states: vec![(now_ms, InstanceState::Pending), (now_ms + die.between(3_000, 15_000), InstanceState::Running)],
            request: request.clone(),
        };
        self.by_token.insert(request.token.clone(), at);
        self.by_name.insert(machine.instance_id.clone(), at);
        let instance = machine.as_of(now_ms);
        self.machines.push(machine);
        *made = Some(at);
        Ok(Some(instance))
    }

    /// The end of a machine, whoever wanted it.
    pub(crate) fn end(&mut self, at: usize, now_ms: u64) {
        if let Some(machine) = self.machines.get_mut(at) {
            machine.states.retain(|(since, _)| *since <= now_ms);
            machine.states.push((now_ms, InstanceState::Stopping));
            machine.states.push((now_ms + STOPPING_MS, InstanceState::Gone));
        }
    }

    /// A complete listing, as far as this cloud knows at the moment.
    pub(crate) fn list(&self, now_ms: u64, die: &mut Die) -> Result<Vec<Instance>, String> {
        let moods = &self.moods;
        if moods.down_ms > now_ms {
            return Err("no answer".into());
        }
        if moods.throttled_ms > now_ms && die.chance(0.5) {
            return Err("RequestLimitExceeded".into());
        }
        if moods.denied_ms > now_ms {
            return Err("UnauthorizedOperation".into());
        }
        let old_ms = if moods.lagging_ms > now_ms { die.between(0, 30_000) } else { die.between(0, 1_000) };
        let as_of = now_ms.saturating_sub(old_ms);
        let omits = moods.omitting_ms > now_ms;
        let mut list = Vec::new();
        for machine in self.machines.iter().filter(|m| m.visible_ms <= now_ms) {
            let gone = machine.states.last().filter(|(_, state)| *state == InstanceState::Gone);
            if gone.is_some_and(|(since, _)| since + LISTED_GONE_MS < now_ms) || (omits && die.chance(0.15)) {
                continue;
            }
            list.push(machine.as_of(as_of.max(machine.born_ms)));
        }
        Ok(list)
    }
}

//! From a plan to intents: which instance is started again, what is bought and where, what is kept instead of terminated.
//!
//! It must never intend a second thing for an instance that a call is open for, nor a launch whose exact bytes it does not have.

use super::super::blueprint::MarketChoice;
use super::super::observation::{Observation, Plan, ServerState};
use super::super::provider::{
    AttachRequest, Instance, InstanceRequest, InstanceState, LaunchRequest, Market, Offering, ProviderCall,
};
use super::super::record::ExecState;
use super::shortage::Shortage;
use super::{ExecContext, ExecEffect};
use farm_shared::hex;
use farm_shared::id::Id;
use farm_shared::time::Wall;
use std::collections::{BTreeMap, BTreeSet};

/// Members whose instance is no loss.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost {
    /// Never heard, or not any more.
    overdue: BTreeSet<Id>,
    /// About to be lost.
    leaving: BTreeSet<Id>,
}

impl Lost {
    pub(super) fn of(observation: &Observation) -> Self {
        let leaving = observation.servers.iter().filter(|s| s.state == ServerState::Leaving);
        Self { overdue: observation.overdue.iter().cloned().collect(), leaving: leaving.map(|s| s.id.clone()).collect() }
    }
}

/// What a new instance is for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) intent: String,
    pub(super) attempt: u32,
    pub(super) member_id: Id,
    pub(super) role: Option<Id>,
}

impl ExecState {
    pub(super) fn carry_out(
        &mut self,
        plan: &Plan,
        lost: &Lost,
        context: &ExecContext,
        mut taken: BTreeSet<Id>,
        now: Wall,
        effects: &mut Vec<ExecEffect>,
    ) {
        self.problem = None;
        for role in &plan.launch_roles {
            self.launch_role(role, context, now, effects);
        }
        for _ in 0..plan.launch {
            if !self.start_warm(now, effects) && !self.launch_one(context, &mut taken, now, effects) {
                break;
            }
        }
        for id in &plan.terminate {
            let Some(instance) = self.idle_instance(id) else { continue };
            let (instance_id, role) = (instance.instance_id.clone(), instance.role.is_some());
            let failed = lost.overdue.contains(id);
            if role && !failed && !lost.leaving.contains(id) {
                continue;
            }
            let keep = failed && (self.kept().count() as u32) < context.keep_failed_max;
            let request = InstanceRequest { intent: self.intent_name(now), instance_id };
            let call = if keep { ProviderCall::Keep(request) } else { ProviderCall::Terminate(request) };
            self.intend(call, now, effects);
        }
        for id in &plan.stop {
            let Some(instance) = self.idle_instance(id).filter(|i| i.role.is_none()) else { continue };
            let spot = instance.offering.as_ref().is_some_and(|o| o.market == Market::Spot);
            let ends = spot || self.unstoppable.contains(&instance.instance_id);
            let request = InstanceRequest { instance_id: instance.instance_id.clone(), intent: self.intent_name(now) };
            // A spot instance that was stopped cannot be counted on to start again.
            let call = if ends { ProviderCall::Terminate(request) } else { ProviderCall::Stop(request) };
            self.intend(call, now, effects);
        }
    }

    /// The instance of a member that serves or is stopped, unless a call about it is open.
    fn idle_instance(&self, id: &Id) -> Option<&Instance> {
        let instance = self.running().chain(self.warm()).find(|i| i.member_id.as_ref() == Some(id))?;
        (!self.is_busy(&instance.instance_id)).then_some(instance)
    }

    /// Starts a stopped instance, in the zone that has the fewest.
    fn start_warm(&mut self, now: Wall, effects: &mut Vec<ExecEffect>) -> bool {
        let zones = self.by_zone();
        let can = |i: &&Instance| !self.is_busy(&i.instance_id) && !self.is_short(i.offering.as_ref(), now);
        let live = |i: &&Instance| i.offering.as_ref().map_or(0, |o| zones.get(o.zone.as_str()).copied().unwrap_or(0));
        let Some(instance_id) = self.warm().filter(can).min_by_key(live).map(|i| i.instance_id.clone()) else {
            return false;
        };
        let request = InstanceRequest { intent: self.intent_name(now), instance_id };
        self.intend(ProviderCall::Start(request), now, effects);
        true
    }

    /// Launches one elastic server; if that cannot be asked for, says why and tells no.
    pub(super) fn launch_one(
        &mut self,
        context: &ExecContext,
        taken: &mut BTreeSet<Id>,
        now: Wall,
        effects: &mut Vec<ExecEffect>,
    ) -> bool {
        let roles = context.blueprint.roles();
        let is_free = |id: &Id| !taken.contains(id) && !roles.contains(id) && !self.uses(id);
        let numbers = self.next_intent + 1..;
        let Some(member_id) = numbers.filter_map(|n| Id::new(&format!("b{n}")).ok()).find(is_free) else { return false };
        taken.insert(member_id.clone());
        let wanted = Wanted { intent: self.intent_name(now), attempt: 1, member_id, role: None };
        self.launch(&wanted, context, now, effects)
    }

    /// Launches the instance of a fixed role, unless there is one that is not gone for certain.
    pub(super) fn launch_role(
        &mut self,
        role: &Id,
        context: &ExecContext,
        now: Wall,
        effects: &mut Vec<ExecEffect>,
    ) -> bool {
        if self.roles_missing(std::slice::from_ref(role)).is_empty() {
            return false;
        }
        let wanted = Wanted { intent: self.intent_name(now), attempt: 1, member_id: role.clone(), role: Some(role.clone()) };
        self.launch(&wanted, context, now, effects)
    }

    fn launch(&mut self, wanted: &Wanted, context: &ExecContext, now: Wall, effects: &mut Vec<ExecEffect>) -> bool {
        match self.request(wanted, context, now) {
            Ok(request) => {
                self.intend(ProviderCall::Launch(request), now, effects);
                true
            }
            Err(why) => {
                self.problem = Some(why);
                false
            }
        }
    }

    /// The complete request: what to buy, the token, the bytes.
    pub(super) fn request(&self, wanted: &Wanted, context: &ExecContext, now: Wall) -> Result<LaunchRequest, String> {
        let offering = self.pick(wanted.role.as_ref(), context, now)?;
        let mut request = LaunchRequest {
            token: token(context.farm, &wanted.intent, offering.as_ref(), wanted.attempt),
            intent: wanted.intent.clone(),
            attempt: wanted.attempt,
            farm: context.farm.clone(),
            member_id: wanted.member_id.clone(),
            role: wanted.role.clone(),
            offering,
            body: Vec::new(),
        };
        request.body = context.blueprint.body(&request).map_err(|why| format!("nothing is launched: {why}"))?;
        Ok(request)
    }

    /// What to buy: not what the provider ran out of; on the market whose turn it is; then the zone with the fewest servers; then in the
    /// blueprint's order.
    fn pick(&self, role: Option<&Id>, context: &ExecContext, now: Wall) -> Result<Option<Offering>, String> {
        let offerings = context.blueprint.offerings(role);
        let (short, mut left): (Vec<&Offering>, Vec<&Offering>) =
            offerings.iter().partition(|o| self.is_short(Some(o), now));
        if left.is_empty() && (!short.is_empty() || self.is_short(None, now)) {
            let first_ms = self.shortages.iter().filter(|s| s.holds(now)).map(|s| s.until_wall_ms).min().unwrap_or(now.0);
            let wait_s = first_ms.saturating_sub(now.0).div_ceil(1_000);
            return Err(format!(
                "the provider has no capacity for any of {} offerings; asked again in {wait_s} s",
                short.len().max(1)
            ));
        }
        let have = |market| self.elastic_offerings().filter(|o| o.market == market).count() as u32;
        let choice = context.blueprint.market(have(Market::OnDemand), have(Market::Spot)).filter(|_| role.is_none());
        if let Some(MarketChoice { market, fallback }) = choice {
            let there = left.iter().any(|o| o.market == market);
            if !there && !fallback {
                return Err(format!(
                    "the provider has no capacity on the market {:?}, and no other may serve",
                    market.label()
                ));
            }
            left.retain(|o| !there || o.market == market);
        }
        let zones = if role.is_none() { self.by_zone() } else { BTreeMap::new() };
        Ok(left.into_iter().min_by_key(|o| zones.get(o.zone.as_str()).copied().unwrap_or(0)).cloned())
    }

    fn is_short(&self, offering: Option<&Offering>, now: Wall) -> bool {
        self.shortages.iter().any(|s: &Shortage| s.offering.as_ref() == offering && s.holds(now))
    }

    /// What the elastic servers are that there are or will be.
    fn elastic_offerings(&self) -> impl Iterator<Item = &Offering> {
        let there = self.running().filter(|i| i.role.is_none()).filter_map(|i| i.offering.as_ref());
        let coming = self.intents.values().filter_map(|i| match &i.call {
            ProviderCall::Launch(r) if r.role.is_none() => r.offering.as_ref(),
            ProviderCall::Start(r) => self.instances.get(&r.instance_id).and_then(|i| i.offering.as_ref()),
            _ => None,
        });
        there.chain(coming)
    }

    fn by_zone(&self) -> BTreeMap<&str, u32> {
        let mut zones = BTreeMap::new();
        for offering in self.elastic_offerings() {
            *zones.entry(offering.zone.as_str()).or_insert(0) += 1;
        }
        zones
    }

    /// Whether an instance, known or not, or a launch uses that member id.
    fn uses(&self, id: &Id) -> bool {
        let launched = |call: &ProviderCall| matches!(call, ProviderCall::Launch(r) if r.member_id == *id);
        self.instances.values().chain(self.unknown.values()).any(|i| i.member_id.as_ref() == Some(id))
            || self.intents.values().any(|i| launched(&i.call))
    }

    /// Instances of roles that run get what belongs to the role.
    pub(super) fn attach_roles(&mut self, context: &ExecContext, now: Wall, effects: &mut Vec<ExecEffect>) {
        let lacks = |i: &&Instance| {
            i.role.is_some()
                && i.state == InstanceState::Running
                && !self.attached.contains(&i.instance_id)
                && !self.is_busy(&i.instance_id)
        };
        let bare: Vec<(Id, String)> =
            self.running().filter(lacks).filter_map(|i| Some((i.role.clone()?, i.instance_id.clone()))).collect();
        for (role, instance_id) in bare {
            let intent = self.intent_name(now);
            let Some(request) = context.blueprint.attach(&role, &instance_id, &intent) else { continue };
            self.intend(ProviderCall::Attach(AttachRequest { intent, instance_id, ..request }), now, effects);
        }
    }
}

/// SHA-256 of farm, intent, offering and attempt, cut to 16 octets, in hexadecimal digits: an EC2 client token holds 64 characters.
fn token(farm: &Id, intent: &str, offering: Option<&Offering>, attempt: u32) -> String {
    let what = offering.map(|o| format!("{}/{}/{}", o.instance_type, o.zone, o.market.label())).unwrap_or_default();
    let text = format!("{farm}/{intent}/{what}/{attempt}");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    hex::encode(&digest.as_ref()[..16])
}

//! Operators' orders about instances: what is refused, and why; what is done is the executor's part.
//!
//! Whatever could end a session is refused unless it is forced, and everything is refused while the farm is frozen or in doubt.

use super::{Control, Effect, InstanceVerb};
use crate::scale::{ExecEvent, Order, ServerState};
use farm_shared::id::Id;
use farm_shared::time::Now;
use std::collections::BTreeSet;

/// Launches in one order.
const LAUNCHES_MAX: u32 = 1_000;

impl Control {
    pub(super) fn order_launch(
        &mut self,
        role: Option<Id>,
        count: u32,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<String, String> {
        self.doubt(now)?;
        if !(1..=LAUNCHES_MAX).contains(&count) {
            return Err(format!("{count} launches: expected 1 to {LAUNCHES_MAX}"));
        }
        let (there, max) = (self.observation(now).servers_there(), self.spec.scaler.max);
        let order = match role {
            Some(role) if !self.blueprint.roles().contains(&role) => return Err(format!("no role {role} is configured")),
            Some(role) => Order::LaunchRole(role),
            None if there.saturating_add(count) > max => {
                return Err(format!("{there} servers there and {count} more: the maximum is {max}"));
            }
            None => Order::Launch(count),
        };
        self.order(order, now, effects)
    }

    pub(super) fn order_instance(
        &mut self,
        verb: InstanceVerb,
        target: &str,
        force: bool,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<String, String> {
        self.doubt(now)?;
        let named = |i: &&crate::scale::Instance| {
            i.instance_id == target || i.member_id.as_ref().is_some_and(|id| id.as_str() == target)
        };
        let known = self.exec.instances.values().chain(self.exec.unknown.values());
        let mut found = known.filter(named).map(|i| (i.instance_id.clone(), i.member_id.clone()));
        let Some((instance_id, member)) = found.next() else {
            return Err(format!("no instance and no member is called {target:?}"));
        };
        if found.next().is_some() {
            return Err(format!("{target:?} is more than one instance: name it by its instance id"));
        }
        drop(found);
        let ends = matches!(verb, InstanceVerb::Stop | InstanceVerb::Reboot | InstanceVerb::Terminate);
        if let Some(why) = member.as_ref().filter(|_| ends && !force).and_then(|id| self.in_use(id, now)) {
            return Err(format!("{why}; drain it first, or force it"));
        }
        let order = match verb {
            InstanceVerb::Start => {
                let (there, max) = (self.observation(now).servers_there(), self.spec.scaler.max);
                if there >= max {
                    return Err(format!("{there} servers there: the maximum is {max}"));
                }
                Order::Start(instance_id)
            }
            InstanceVerb::Stop => Order::Stop(instance_id),
            InstanceVerb::Reboot => Order::Reboot(instance_id),
            InstanceVerb::Terminate => Order::Terminate(instance_id),
            InstanceVerb::Adopt => Order::Adopt(instance_id),
        };
        self.order(order, now, effects)
    }

    fn order(&mut self, order: Order, now: Now, effects: &mut Vec<Effect>) -> Result<String, String> {
        if let Some(why) = self.exec.refuses(&order) {
            return Err(why);
        }
        let taken: BTreeSet<Id> = self.roster.members().keys().cloned().collect();
        let (done, before) = (format!("an operator's order is journalled: {order}"), self.exec.next_intent);
        let adopts = matches!(order, Order::Adopt(_));
        self.execute(ExecEvent::Order { order, taken }, now, effects);
        let intents = self.exec.next_intent - before;
        match self.exec.problem.clone() {
            Some(why) if intents == 0 => Err(why),
            Some(why) => Ok(format!("{done}; {intents} calls, then: {why}")),
            None if adopts => Ok(done),
            None => Ok(format!("{done} ({intents} calls)")),
        }
    }

    /// Why nothing may be begun now.
    fn doubt(&self, now: Now) -> Result<(), String> {
        if self.spec.scaler.dry_run {
            return Err("a dry run is on: nothing is launched or ended".into());
        }
        if self.listed.is_none() {
            let why = self.provider_error.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            return Err(format!("the provider has not listed its instances yet{why}"));
        }
        self.freeze(now.mono).map_or(Ok(()), |why| Err(format!("scaling is frozen: {why}")))
    }

    /// Why ending a member's instance would hurt somebody.
    fn in_use(&self, id: &Id, now: Now) -> Option<String> {
        let observation = self.observation(now);
        let server = observation.servers.iter().find(|s| s.id == *id)?;
        if server.sessions > 0 && server.state != ServerState::Silent {
            return Some(format!("{} sessions run on {id}", server.sessions));
        }
        match server.state {
            ServerState::Live => Some(format!("{id} takes sessions")),
            ServerState::Draining | ServerState::Held | ServerState::Leaving if !server.ttl_clear => {
                Some(format!("a cache may name {id} still"))
            }
            _ => None,
        }
    }
}

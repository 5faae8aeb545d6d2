//! An operator's orders: the same intents that plans lead to, with the same care.
//!
//! It must never do to an instance what it cannot name, and never act on one that a call is open for.

use super::super::provider::{Instance, InstanceRequest, InstanceState, ProviderCall};
use super::super::record::{Entry, ExecState};
use super::{ExecContext, ExecEffect};
use farm_shared::id::Id;
use farm_shared::time::Wall;
use std::collections::BTreeSet;
use std::fmt;

/// What an operator orders; instances by the provider's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Launch elastic servers.
    Launch(u32),
    /// Launch the server of a fixed role.
    LaunchRole(Id),
    /// Start a stopped instance.
    Start(String),
    /// Stop one.
    Stop(String),
    /// Restart one.
    Reboot(String),
    /// End one for good.
    Terminate(String),
    /// Take one into the farm that carries its tag.
    Adopt(String),
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Launch(1) => f.write_str("launch 1 server"),
            Self::Launch(count) => write!(f, "launch {count} servers"),
            Self::LaunchRole(role) => write!(f, "launch {role}"),
            Self::Start(id) => write!(f, "start {id}"),
            Self::Stop(id) => write!(f, "stop {id}"),
            Self::Reboot(id) => write!(f, "reboot {id}"),
            Self::Terminate(id) => write!(f, "terminate {id}"),
            Self::Adopt(id) => write!(f, "adopt {id}"),
        }
    }
}

impl ExecState {
    /// Why an order cannot be obeyed, if so.
    pub fn refuses(&self, order: &Order) -> Option<String> {
        match order {
            Order::Launch(_) => None,
            Order::LaunchRole(role) => self
                .roles_missing(std::slice::from_ref(role))
                .is_empty()
                .then(|| format!("there is an instance of {role} that is not gone for certain, or one is being launched")),
            Order::Adopt(id) => match self.unknown.get(id) {
                None => Some(format!("no instance {id} waits to be adopted")),
                Some(instance) => self.cannot_adopt(instance),
            },
            Order::Start(id) => self.unfit(id, "stopped", |s| s == InstanceState::Stopped),
            Order::Stop(id) | Order::Reboot(id) => self.unfit(id, "running", InstanceState::is_alive),
            Order::Terminate(id) => self.unfit(id, "there", |s| s != InstanceState::Gone),
        }
    }

    fn unfit(&self, instance_id: &str, must_be: &str, fits: fn(InstanceState) -> bool) -> Option<String> {
        let Some(instance) = self.instances.get(instance_id) else {
            let hint = if self.unknown.contains_key(instance_id) { "; adopt it first" } else { "" };
            return Some(format!("{instance_id} is none of the farm's instances{hint}"));
        };
        if self.is_busy(instance_id) || self.stopping.contains_key(instance_id) {
            return Some(format!("a call about {instance_id} is under way"));
        }
        (!fits(instance.state)).then(|| format!("{instance_id} is {}, not {must_be}", instance.state.label()))
    }

    fn cannot_adopt(&self, instance: &Instance) -> Option<String> {
        let Some(member) = &instance.member_id else {
            return Some(format!("{} carries no tag farm:member, so no heartbeat would be its own", instance.instance_id));
        };
        let twin = self.instances.values().find(|i| i.member_id.as_ref() == Some(member))?;
        Some(format!("{member} is {} already", twin.instance_id))
    }

    pub(super) fn obey(
        &mut self,
        order: Order,
        context: &ExecContext,
        mut taken: BTreeSet<Id>,
        now: Wall,
        effects: &mut Vec<ExecEffect>,
    ) {
        if self.refuses(&order).is_some() {
            return;
        }
        self.problem = None;
        self.write(Entry::Order { order: order.to_string() }, now, effects);
        let request = |state: &Self, instance_id| InstanceRequest { intent: state.intent_name(now), instance_id };
        let call = match order {
            Order::Launch(count) => {
                for _ in 0..count {
                    if !self.launch_one(context, &mut taken, now, effects) {
                        break;
                    }
                }
                return;
            }
            Order::LaunchRole(role) => {
                self.launch_role(&role, context, now, effects);
                return;
            }
            Order::Adopt(id) => {
                if let Some(instance) = self.unknown.get(&id).cloned() {
                    self.write(Entry::Adopt { instance }, now, effects);
                }
                return;
            }
            Order::Start(id) => ProviderCall::Start(request(self, id)),
            Order::Stop(id) => ProviderCall::Stop(request(self, id)),
            Order::Reboot(id) => ProviderCall::Reboot(request(self, id)),
            Order::Terminate(id) => ProviderCall::Terminate(request(self, id)),
        };
        self.intend(call, now, effects);
    }
}

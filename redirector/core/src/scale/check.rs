//! Limits that no policy may break, held against every plan before anything is done about it.
//!
//! It knows nothing of why a plan was made, and must stay that way: a mistake in a policy stops here.

use super::observation::{Observation, Plan, ServerLoad, ServerState};
use farm_shared::id::Id;
use std::fmt;

/// What bounds every plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Fewest servers that take sessions.
    pub min: u32,
    /// Most servers, draining ones and launches under way included.
    pub max: u32,
    /// A server that drained so long may be stopped with sessions on it, in milliseconds.
    pub drain_deadline_ms: u64,
}

/// A limit that a plan breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// It launches beyond the maximum.
    AboveMax {
        /// Servers there would be.
        servers: u32,
        /// The maximum.
        max: u32,
    },
    /// It drains below the minimum.
    BelowMin {
        /// Servers that would take sessions.
        live: u32,
        /// The minimum.
        min: u32,
    },
    /// It stops a server that is not drained.
    Undrained(Id, &'static str),
    /// It drains or stops a server that the provider does not run, or that is unknown.
    NotOurs(Id),
    /// It grows and shrinks the farm at once.
    BothDirections,
    /// It acts although the farm is frozen.
    Frozen,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AboveMax { servers, max } => write!(f, "{servers} servers, and the maximum is {max}"),
            Self::BelowMin { live, min } => write!(f, "{live} servers left, and the minimum is {min}"),
            Self::Undrained(id, why) => write!(f, "{id} may not be stopped: {why}"),
            Self::NotOurs(id) => write!(f, "{id} is not run by the provider"),
            Self::BothDirections => f.write_str("it grows and shrinks at once"),
            Self::Frozen => f.write_str("the farm is frozen"),
        }
    }
}

/// The plan, if it breaks no limit; otherwise all that it breaks.
pub fn check(plan: &Plan, limits: &Limits, observation: &Observation) -> Result<Plan, Vec<Violation>> {
    let mut broken = Vec::new();
    let find = |id: &Id| observation.servers.iter().find(|s| s.id == *id);
    // Sending away what is no capacity takes none away.
    let leaves = |id: &&Id| find(id).is_some_and(|s| s.state == ServerState::Leaving);
    let drained = plan.drain.iter().filter(|id| !leaves(id)).count() as u32;
    let shrinks = drained > 0;
    if (observation.frozen.is_some() && !plan.is_empty())
        || (observation.frozen_in.is_some() && (!plan.drain.is_empty() || !plan.terminate.is_empty()))
    {
        broken.push(Violation::Frozen);
    }
    if shrinks && (plan.launch > 0 || !plan.undrain.is_empty()) {
        broken.push(Violation::BothDirections);
    }
    let count = |state: ServerState| observation.servers.iter().filter(|s| s.state == state).count() as u32;
    let servers = observation.servers_there().saturating_add(plan.launch);
    if plan.launch > 0 && servers > limits.max {
        broken.push(Violation::AboveMax { servers, max: limits.max });
    }
    let live = (count(ServerState::Live) + plan.undrain.len() as u32).saturating_sub(drained);
    if shrinks && live < limits.min {
        broken.push(Violation::BelowMin { live, min: limits.min });
    }
    for id in &plan.drain {
        if !find(id).is_some_and(|s| s.managed) {
            broken.push(Violation::NotOurs(id.clone()));
        }
    }
    for id in plan.terminate.iter().filter(|id| !observation.overdue.contains(id)) {
        match find(id) {
            Some(server) if server.managed => {
                if let Some(why) = undrained(server, limits) {
                    broken.push(Violation::Undrained(id.clone(), why));
                }
            }
            _ => broken.push(Violation::NotOurs(id.clone())),
        }
    }
    if broken.is_empty() { Ok(plan.clone()) } else { Err(broken) }
}

/// Why a server may not be stopped yet.
pub(super) fn undrained(server: &ServerLoad, limits: &Limits) -> Option<&'static str> {
    let drains = matches!(server.state, ServerState::Draining | ServerState::Leaving);
    let Some(draining_ms) = server.draining_ms.filter(|_| drains) else {
        return Some("it is not draining");
    };
    if !server.ttl_clear {
        return Some("a cache may name it still");
    }
    (server.sessions > 0 && draining_ms < limits.drain_deadline_ms).then_some("sessions run on it")
}

//! Limits that no policy may break, held against every plan before anything is done about it.
//!
//! It knows nothing of why a plan was made, and must stay that way: a mistake in a policy stops here.

use super::bounds::running_usd_h;
use super::observation::{Observation, Plan, ServerLoad, ServerState};
use farm_shared::id::Id;
use std::collections::BTreeMap;
use std::fmt;

/// What bounds every plan.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Fewest servers that take sessions.
    pub min: u32,
    /// Most servers, draining ones and launches under way included.
    pub max: u32,
    /// Fewest servers that take sessions in each zone that has any.
    pub min_per_zone: u32,
    /// What the farm may cost, in US dollars an hour; none is no cap.
    pub usd_h_max: Option<f64>,
    /// What it may cost in a calendar month, in US dollars; none is no cap.
    pub usd_month_max: Option<f64>,
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
    /// It drains a zone below its minimum.
    BelowZoneMin {
        /// The zone.
        zone: Id,
        /// Servers there that would take sessions.
        live: u32,
        /// The minimum.
        min: u32,
    },
    /// It launches although a cap on cost is reached, or prices are not known.
    TooDear(String),
    /// It takes away a fixed role, or launches one that is not missing.
    Role(Id),
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
            Self::BelowZoneMin { zone, live, min } => {
                write!(f, "{live} servers left in zone {zone}, and its minimum is {min}")
            }
            Self::TooDear(why) => write!(f, "it costs too much: {why}"),
            Self::Role(id) => write!(f, "{id} is a fixed role that is there"),
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
    let is = |id: &Id, state: ServerState| find(id).is_some_and(|s| s.state == state);
    // What is about to go is drained whatever else is done: that takes no capacity away.
    let taken: Vec<&Id> = plan.drain.iter().filter(|id| !is(id, ServerState::Leaving)).collect();
    let stopped = || plan.terminate.iter().chain(&plan.stop);
    if (observation.frozen.is_some() && !plan.is_empty())
        || (observation.frozen_in.is_some() && (!plan.drain.is_empty() || stopped().next().is_some()))
    {
        broken.push(Violation::Frozen);
    }
    if !taken.is_empty() && (plan.launch > 0 || !plan.undrain.is_empty()) {
        broken.push(Violation::BothDirections);
    }
    let launched = plan.launch.saturating_add(plan.launch_roles.len() as u32);
    let servers = observation.servers_there().saturating_add(launched);
    if launched > 0 && servers > limits.max {
        broken.push(Violation::AboveMax { servers, max: limits.max });
    }
    if launched > 0 {
        broken.extend(too_dear(launched, limits, observation).map(Violation::TooDear));
    }
    let live = observation.servers.iter().filter(|s| s.state == ServerState::Live).count() as u32;
    let live = (live + plan.undrain.len() as u32).saturating_sub(taken.len() as u32);
    if !taken.is_empty() && live < limits.min {
        broken.push(Violation::BelowMin { live, min: limits.min });
    }
    broken.extend(zones_below(&taken, limits, observation));
    broken
        .extend(plan.launch_roles.iter().filter(|id| !observation.roles_missing.contains(id)).cloned().map(Violation::Role));
    for id in &plan.drain {
        match find(id) {
            Some(server) if server.role && server.state != ServerState::Leaving => broken.push(Violation::Role(id.clone())),
            Some(server) if server.managed => {}
            _ => broken.push(Violation::NotOurs(id.clone())),
        }
    }
    for id in stopped().filter(|id| !observation.overdue.contains(id)) {
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

/// Why so many launches cost too much, if they do.
fn too_dear(launched: u32, limits: &Limits, observation: &Observation) -> Option<String> {
    if limits.usd_h_max.is_none() && limits.usd_month_max.is_none() {
        return None;
    }
    let (Some(running), Some(each)) = (running_usd_h(observation), observation.usd_h_launch.filter(|p| *p > 0.0)) else {
        return Some("prices are not known".into());
    };
    let hourly = running + f64::from(launched) * each;
    let spent = observation.usd_month.unwrap_or(0.0);
    if let Some(cap) = limits.usd_h_max.filter(|cap| hourly > *cap + 1e-9) {
        return Some(format!("{hourly:.3} USD an hour, the cap is {cap:.2}"));
    }
    limits.usd_month_max.filter(|cap| spent >= *cap).map(|cap| format!("{spent:.2} USD this month, the cap is {cap:.2}"))
}

/// Zones that would have too few servers.
fn zones_below(taken: &[&Id], limits: &Limits, observation: &Observation) -> Vec<Violation> {
    let mut left: BTreeMap<&Id, (u32, bool)> = BTreeMap::new();
    if limits.min_per_zone == 0 || taken.is_empty() {
        return Vec::new();
    }
    for server in observation.servers.iter().filter(|s| s.state == ServerState::Live) {
        if let Some(zone) = &server.zone {
            let (live, touched) = left.entry(zone).or_default();
            if taken.contains(&&server.id) { *touched = true } else { *live += 1 }
        }
    }
    let min = limits.min_per_zone;
    let below = left.into_iter().filter(|(_, (live, touched))| *touched && *live < min);
    below.map(|(zone, (live, _))| Violation::BelowZoneMin { zone: zone.clone(), live, min }).collect()
}

/// Why a server may not be stopped yet.
pub(super) fn undrained(server: &ServerLoad, limits: &Limits) -> Option<&'static str> {
    let leaves = matches!(server.state, ServerState::Draining | ServerState::Leaving);
    let Some(draining_ms) = server.draining_ms.filter(|_| leaves) else {
        return Some("it is not draining");
    };
    if !server.ttl_clear {
        return Some("a cache may name it still");
    }
    (server.sessions > 0 && draining_ms < limits.drain_deadline_ms).then_some("sessions run on it")
}

//! Failure drills: which servers are to fail, when, and when to stop (the four models of seed 000, section 4.1).
//!
//! A drill is made of two halves that do not trust each other. The [`Runner`] in the operator's command chooses targets and stops
//! when users notice; the [`Ward`] in the redirector's control loop lets only those hits through that keep the farm alive, journals
//! each before it happens, and heals on its own when the command is gone. Neither may ever hit the last healthy server, or more at
//! once than the blast radius: both ask [`Radius`].

mod filter;
mod graph;
mod radius;
mod report;
mod runner;
mod schedule;
mod stop;
mod ward;

pub use filter::{BadFilter, Filter};
pub use graph::{BadGraph, Graph};
pub use radius::{Census, Radius};
pub use report::{HitReport, Report, Sample, Users};
pub use runner::{Act, Look, Order, Runner};
pub use schedule::{BadSchedule, Schedule};
pub use stop::{BadRule, Counts, StopRule, Watch};
pub use ward::{DrillStatus, DrillTotals, HitRequest, SavedWard, Scene, Ward, WardEffect, WoundState};

use farm_shared::id::Id;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The four failure models (seed 000, 4.1.1 to 4.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// A random instance ends without a word.
    Random,
    /// An instance is cut off: it lives, and nobody hears it.
    Network,
    /// One process of an instance ends.
    Process,
    /// The instance with the most connections ends.
    Graph,
}

impl Model {
    /// All of them, in the order of the paper.
    pub const ALL: [Self; 4] = [Self::Random, Self::Network, Self::Process, Self::Graph];

    /// The word in commands, journal and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Network => "network",
            Self::Process => "process",
            Self::Graph => "graph",
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What is done to one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// It ends at once: SIGKILL for local processes, `TerminateInstances` at EC2.
    Kill,
    /// It is cut off until it is healed: SIGSTOP for local processes, another security group at EC2.
    Isolate,
    /// Its agent ends the processes of this name, if it is allowed to.
    KillProcess(String),
}

/// One server, as a drill sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// The member.
    pub id: String,
    /// Its failure domain.
    pub zone: Option<String>,
    /// Its fixed role, if it has one.
    pub role: Option<String>,
    /// Its pool's role is that of a backend and it gets new sessions.
    pub is_healthy: bool,
    /// It is silent or forced down: it counts as down whoever did it.
    pub is_down: bool,
    /// The provider's instance behind it.
    pub instance_id: Option<String>,
    /// Scheme and authority of its service.
    pub location: String,
}

/// The key of one hit: what makes a repeated request the same hit. `drill` is at most 40 octets long.
pub fn hit_key(drill: &Id, number: u32) -> Option<Id> {
    Id::new(&format!("{drill}-{number}")).ok()
}

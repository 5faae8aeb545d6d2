//! Who is in the farm: the one state machine that turns heartbeats, silence and operators' words into the standing of a member.
//!
//! Both daemons keep a [`Roster`], each from the heartbeats that reached it alone. The roster decides nothing about answers or
//! redirects; it says what stands. DESIGN 4.2: leases, forgetting, admin states, restart as *unknown*.

mod lease;
mod roster;
mod saved;

pub use lease::{Freshness, LeasePolicy};
pub use roster::{Change, Member, Roster};
pub use saved::{SavedDeparted, SavedMember, SavedRoster};

use serde::{Deserialize, Serialize};

/// What an operator forced. It wins over what is measured, survives a restart, and both are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forced {
    /// Nothing new; running sessions go on.
    Drain,
    /// As if it did not answer.
    Down,
    /// As if it answered.
    Up,
}

/// What a member is good for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Gets new sessions.
    InService,
    /// Known from before a restart and not heard since: served for one grace lease.
    Unknown,
    /// Keeps its sessions, gets no new ones.
    Draining,
    /// Its lease ran out.
    Silent,
    /// Forced down by an operator.
    AdminDown,
}

impl Standing {
    /// Whether new sessions may go there.
    pub fn takes_new(self) -> bool {
        matches!(self, Self::InService | Self::Unknown)
    }

    /// Whether a session that runs there may go on.
    pub fn keeps_sessions(self) -> bool {
        matches!(self, Self::InService | Self::Unknown | Self::Draining)
    }

    /// The label in metrics, status and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::InService => "in_service",
            Self::Unknown => "unknown",
            Self::Draining => "draining",
            Self::Silent => "silent",
            Self::AdminDown => "admin_down",
        }
    }
}

//! What a backend says, and the bounds that a message must keep before anything else looks at it.

use super::drill::KillWord;
use super::reply::Tombstone;
use super::room::RoomWord;
use crate::id::Id;
use crate::prefix::Prefix;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The schema's version. A message of another version is counted and dropped; new fields within a version are ignored by
/// those who do not know them.
pub const VERSION: u32 = 1;

const ADDRS_MAX: usize = 8;
const HEARD_MAX: usize = 64;
const TOMBSTONES_MAX: usize = 32;

/// One message of one incarnation of one member to one front end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// [`VERSION`].
    pub v: u32,
    /// The farm it belongs to.
    pub farm: Id,
    /// Its id in the farm: also its DNS label.
    pub id: Id,
    /// What it is to the front ends.
    #[serde(default)]
    pub role: Role,
    /// Incarnation: milliseconds since the epoch when the agent started, never lower than one used before.
    pub inc: u64,
    /// Rises by at least one with every message of an incarnation.
    pub seq: u64,
    /// The sender's wall clock, corrected by what the front end's challenge told it, in milliseconds since the epoch.
    pub time_ms: u64,
    /// When the next one is due, in milliseconds.
    pub period_ms: u64,
    /// Where clients reach it. Each must be the message's source or lie in the farm's `allowed_prefixes`.
    pub addrs: Vec<IpAddr>,
    /// The port of its service.
    pub port: u16,
    /// Its failure domain (availability zone, rack), if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Id>,
    /// `up`, or `goodbye` as the last word of an incarnation.
    #[serde(default)]
    pub state: State,
    /// The front ends that want it drained, as they said in their replies. It drains while this is not empty.
    #[serde(default)]
    pub drain_by: Vec<Id>,
    /// What the machine's landlord has announced, if anything: the machine is to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// What it bears; one that leaves it out is taken for an average one.
    #[serde(default = "Load::unreported")]
    pub load: Load,
    /// What each front end told it last: how front ends learn of one another.
    #[serde(default)]
    pub heard: Vec<Heard>,
    /// Signed notes of terminated members, on their way from the redirector to every dnslb.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tombstones: Vec<Tombstone>,
    /// What became of the last [`super::KillWish`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed: Option<KillWord>,
}

/// What a member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Serves sessions.
    #[default]
    Backend,
    /// A redirector: a member of the pool that the front door's name leads to.
    Door,
}

/// Whether more is to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// More heartbeats follow.
    #[default]
    Up,
    /// The member stops: forget it at once.
    Goodbye,
}

/// A cloud's word that a machine is to go (EC2: the instance metadata service's notices).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Notice {
    /// Which word.
    pub kind: NoticeKind,
    /// When: of an interruption and of maintenance, the time it happens; of a rebalance recommendation, the time it was given.
    /// Milliseconds since the epoch.
    pub at_ms: u64,
}

/// Why a machine is to go, the most pressing first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// A spot instance is taken back, two minutes from the notice.
    Interruption,
    /// Maintenance is scheduled: a reboot, a stop, the retirement of the hardware.
    Maintenance,
    /// A spot instance is likelier than others to be interrupted.
    Rebalance,
}

impl NoticeKind {
    /// As in the JSON text.
    pub fn label(self) -> &'static str {
        match self {
            Self::Interruption => "interruption",
            Self::Maintenance => "maintenance",
            Self::Rebalance => "rebalance",
        }
    }
}

/// What a front end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A name server.
    Dnslb,
    /// A front door.
    Redirector,
}

/// Load as the member measured it since the last period.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Run queue: tasks running or ready to run, averaged over the period.
    pub queue: f64,
    /// Cores it may use (a cgroup's quota counts; may be a fraction).
    pub cores: f64,
    /// Share of those cores that was busy, 0 to 1.
    pub busy: f64,
    /// Live sessions.
    pub sessions: u32,
    /// Sessions it is willing to hold, if it knows.
    pub limit: Option<u32>,
    /// Sessions begun since its incarnation started.
    pub arrivals: u64,
    /// Sessions ended since its incarnation started.
    pub completions: u64,
    /// Milliseconds since its youngest session was last active; none without sessions.
    pub youngest_ms: Option<u64>,
    /// False if nothing of this was measured: an idle member and one that does not tell are not the same.
    #[serde(skip_serializing_if = "is_true")]
    pub reported: bool,
}

impl Default for Load {
    /// An idle member of one core.
    fn default() -> Self {
        Self {
            queue: 0.0,
            cores: 1.0,
            busy: 0.0,
            sessions: 0,
            limit: None,
            arrivals: 0,
            completions: 0,
            youngest_ms: None,
            reported: true,
        }
    }
}

impl Load {
    /// That of a member that does not tell.
    pub fn unreported() -> Self {
        Self { reported: false, ..Self::default() }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_true(flag: &bool) -> bool {
    *flag
}

/// What one front end said in its last reply to this member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    /// The front end.
    pub id: Id,
    /// What it is.
    pub kind: Kind,
    /// Age of its last reply in milliseconds.
    pub age_ms: u64,
    /// A dnslb: it serves this member's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serves: Option<bool>,
    /// A dnslb: no cache holds an answer naming this member after so many milliseconds; none while it is still being named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_left_ms: Option<u64>,
    /// A dnslb: live doors it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doors: Option<u32>,
    /// A redirector: the scaler that runs in it for this farm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaler: Option<Id>,
    /// A redirector: who waits at its door, if anybody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomWord>,
}

impl Heartbeat {
    /// Whether it wants to be drained, by anybody's wish.
    pub fn draining(&self) -> bool {
        !self.drain_by.is_empty()
    }

    /// The bounds of the schema, beyond what the types hold. `Err` names the field.
    pub fn check(&self) -> Result<(), &'static str> {
        let number = |x: f64, max: f64| x.is_finite() && (0.0..=max).contains(&x);
        let load = &self.load;
        let bounds: [(bool, &'static str); 13] = [
            (self.v == VERSION, "v"),
            ((100..=60_000).contains(&self.period_ms), "period_ms"),
            ((1..=ADDRS_MAX).contains(&self.addrs.len()), "addrs"),
            (self.addrs.iter().all(is_reachable), "addrs"),
            (self.port != 0, "port"),
            (self.drain_by.len() <= HEARD_MAX, "drain_by"),
            (self.heard.len() <= HEARD_MAX, "heard"),
            (self.heard.iter().filter_map(|h| h.room.as_ref()).all(RoomWord::holds), "heard.room"),
            (self.tombstones.len() <= TOMBSTONES_MAX, "tombstones"),
            (number(load.queue, 1e6), "load.queue"),
            (number(load.cores, 4096.0) && load.cores > 0.0, "load.cores"),
            (number(load.busy, 1.0), "load.busy"),
            (self.inc > 0, "inc"),
        ];
        bounds.iter().find(|(ok, _)| !ok).map_or(Ok(()), |(_, field)| Err(field))
    }

    /// Announced addresses that are neither the source's nor in one of the prefixes.
    pub fn foreign_address(&self, source: IpAddr, allowed: &[Prefix]) -> Option<IpAddr> {
        let source = source.to_canonical();
        let ours = |a: &IpAddr| *a == source || allowed.iter().any(|p| p.contains(*a));
        self.addrs.iter().copied().find(|a| !ours(a))
    }
}

fn is_reachable(addr: &IpAddr) -> bool {
    let mapped = matches!(addr, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    !addr.is_unspecified() && !addr.is_multicast() && !mapped
}

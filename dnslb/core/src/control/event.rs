//! What goes into the control loop and what comes out of it.
//!
//! Plain data, so that runs can be recorded and replayed; nothing here decides.

use super::family::{BuiltSchedule, ScheduleJob};
use super::saved::Saved;
use super::signing::{MadeSignatures, SignJob};
use super::sorting::Served;
use crate::config::Spec;
use crate::health::{CheckId, CheckJob, Finding, Report};
use crate::snapshot::Snapshot;
use crate::zone::Zones;
use farm_shared::heartbeat::{Heartbeat, Refusal, Reply};
use farm_shared::id::Id;
use farm_shared::member::{Change, Forced};
use farm_shared::time::Mono;
use std::fmt;
use std::sync::Arc;

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// A message that the keyring let through. Its first effect is [`Effect::Reply`] or [`Effect::Refused`].
    Heartbeat(Box<Heartbeat>),
    /// A check ended; `Err` says how it failed.
    Checked {
        /// Which.
        job: CheckId,
        /// How.
        result: Result<Finding, String>,
    },
    /// Another viewpoint answered, and its signature held.
    Viewpoint {
        /// Which.
        from: Id,
        /// When it was asked: the report is no older.
        asked: Mono,
        /// What it measured.
        report: Report,
    },
    /// Time passed. Comes at least once a second; ten times are better.
    Tick,
    /// A new configuration, checked and loaded.
    Reload {
        /// What it says.
        spec: Arc<Spec>,
        /// Its zones.
        zones: Arc<Zones>,
    },
    /// Zones changed: an update, a transfer, a signature. The configuration is the same.
    Zones(Arc<Zones>),
    /// An operator's word. Its first effect is [`Effect::Answer`].
    Admin(AdminCommand),
    /// Signatures were made.
    Signatures(Box<MadeSignatures>),
    /// A schedule was built.
    Scheduled(Box<BuiltSchedule>),
    /// How often members of a pool were named: see [`super::Control::counts_wanted`]. Every ten seconds or so.
    Served(Served),
}

/// An operator's word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminCommand {
    /// `POOL/MEMBER` or `FARM/ID`.
    pub target: String,
    /// What to force; `None` takes it back.
    pub force: Option<Forced>,
    /// Why, for those who look later.
    pub why: String,
    /// Who says so, for the same.
    pub by: String,
    /// For how long, in milliseconds; none for until it is taken back.
    pub for_ms: Option<u64>,
}

/// Something is to be done.
#[derive(Debug)]
pub enum Effect {
    /// Answer the heartbeat.
    Reply(Reply),
    /// The heartbeat was dropped: count it.
    Refused(Refusal),
    /// Serve this from now on.
    Publish(Arc<Snapshot>),
    /// Write this to the state directory.
    Persist(Saved),
    /// Run this off the loop and bring [`Event::Signatures`].
    Sign(Box<SignJob>),
    /// Run this off the loop and bring [`Event::Scheduled`].
    Build(Box<ScheduleJob>),
    /// Run this check and bring [`Event::Checked`].
    Check(CheckJob),
    /// Answer the operator.
    Answer(Result<String, String>),
    /// Write a log line.
    Notice(Notice),
}

/// A line for the log: something that an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What happened.
    pub kind: NoticeKind,
    /// `FARM/ID`, `POOL/MEMBER` or `POOL`.
    pub subject: String,
    /// More about it; may be empty.
    pub detail: String,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeKind {
    /// A heartbeat member changed.
    Member(Change),
    /// Two incarnations of a member are alive.
    Twins,
    /// A member's checks succeed again.
    Up,
    /// A member's checks fail.
    Down,
    /// A member's certificate ends soon.
    Expiry,
    /// Too few members are up: answers name all.
    FailOpen,
    /// Enough members are up again.
    FailClosed,
    /// Another viewpoint is heard.
    ViewpointHeard,
    /// Another viewpoint is not heard any more.
    ViewpointSilent,
    /// A member's own name has other data in the zone and is not served.
    NameTaken,
}

impl NoticeKind {
    /// The label in logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Member(change) => change.label(),
            Self::Twins => "twins",
            Self::Up => "up",
            Self::Down => "down",
            Self::Expiry => "expiry",
            Self::FailOpen => "fail_open",
            Self::FailClosed => "fail_closed",
            Self::ViewpointHeard => "viewpoint_heard",
            Self::ViewpointSilent => "viewpoint_silent",
            Self::NameTaken => "name_taken",
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.subject, self.kind.label())?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

impl Notice {
    pub(super) fn of(kind: NoticeKind, group: &Id, member: &Id, detail: impl Into<String>) -> Effect {
        Effect::Notice(Self { kind, subject: format!("{group}/{member}"), detail: detail.into() })
    }

    pub(super) fn pool(kind: NoticeKind, pool: &Id, detail: impl Into<String>) -> Effect {
        Effect::Notice(Self { kind, subject: pool.to_string(), detail: detail.into() })
    }
}

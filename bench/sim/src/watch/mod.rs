//! The checkers: what must hold at every step, judged from what really happened and from the messages that were believed.
//!
//! They keep books of their own and never ask the code under test for its opinion. The first violation ends a run.

mod cloud;
mod names;

pub(crate) use names::{DoorSeen, NameSeen};

use farm_shared::id::Id;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Two instances of one intent.
    Duplicate,
    /// Two live instances with one member id.
    Twins,
    /// More live instances than the maximum.
    AboveMax,
    /// A call whose intent is not on disk.
    Unjournalled,
    /// A launch or a termination before there was a complete listing.
    Blind,
    /// A server stopped with sessions on it before its deadline.
    StoppedEarly,
    /// A server stopped while an honest cache could name it.
    StoppedNamed,
    /// More calls than any plan needs.
    CallStorm,
    /// An answer names somebody who must not be named.
    Named,
    /// A name of somebody who was terminated.
    NamedDead,
    /// An empty answer although somebody is there.
    Empty,
    /// A redirect to an address of nobody.
    Outside,
    /// A new session for a draining server.
    SentToDraining,
    /// A new session for a server whose lease is over.
    SentToSilent,
    /// A session that left its server without need.
    Affinity,
    /// A request that the door refused.
    Rejected,
    /// A wish to drain was forgotten.
    DrainLost,
    /// The farm did not become what was planned after all faults were over.
    NotConverged,
}

/// One violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When, in milliseconds of the world.
    pub at_ms: u64,
    /// Of which rule.
    pub rule: Rule,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s: {:?}: {}", self.at_ms as f64 / 1_000.0, self.rule, self.what)
    }
}

/// The books.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// The first violation.
    pub broken: Option<Violation>,
    /// Checks made.
    pub checks: u64,
    pub(crate) lease_ms: u64,
    pub(crate) period_ms: u64,
    pub(crate) grace_ms: u64,
    pub(crate) boot_ms: u64,
    pub(crate) boot_deadline_ms: u64,
    pub(crate) drain_deadline_ms: u64,
    /// A member is forgotten after so long a silence.
    pub(crate) forget_ms: u64,
    pub(crate) fail_open: f64,
    /// What the door's believed heartbeats said.
    pub(crate) door: BTreeMap<Id, DoorSeen>,
    /// When the door began to run last; none while it does not.
    pub(crate) door_since: u64,
    /// A complete listing came in the door's present life.
    pub(crate) door_listed: bool,
    /// What each name server's believed heartbeats said.
    pub(crate) names: Vec<BTreeMap<Id, NameSeen>>,
    pub(crate) names_since: Vec<u64>,
    /// Until when an honest cache may name a member, by member.
    pub(crate) cached_until: BTreeMap<Id, u64>,
    pub(crate) calls: VecDeque<u64>,
    /// Instances for which a termination was judged already.
    pub(crate) judged: BTreeSet<String>,
    /// When a termination was journalled last, and since when the door ran then, by instance.
    pub(crate) decided: BTreeMap<String, (u64, u64)>,
}

impl Watch {
    pub(crate) fn break_rule(&mut self, at_ms: u64, rule: Rule, what: impl FnOnce() -> String) {
        if self.broken.is_none() {
            self.broken = Some(Violation { at_ms, rule, what: what() });
        }
    }

    pub(crate) fn check(&mut self, holds: bool, at_ms: u64, rule: Rule, what: impl FnOnce() -> String) {
        self.checks += 1;
        if !holds {
            self.break_rule(at_ms, rule, what);
        }
    }
}

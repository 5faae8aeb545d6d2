//! Who may be named and who may be sent sessions, by what the front ends were told.

use super::{Rule, Watch};
use crate::dns::Answer;
use crate::setup::TICK_MS;
use farm_shared::heartbeat::{Heartbeat, State};
use farm_shared::id::Id;

/// A daemon may act on time alone so much later than it should, in milliseconds: a tick, and the interval of publishing.
const SLACK_MS: u64 = 2 * TICK_MS + 250;
/// A change is on disk at the latest after so long, in milliseconds.
const DISK_MS: u64 = 2 * TICK_MS + 250;

/// What the door knows of a member.
#[derive(Clone, Debug, Default)]
pub(crate) struct DoorSeen {
    /// When it was heard last.
    pub heard_ms: u64,
    /// Its incarnation.
    pub inc: u64,
    /// Sessions that it reported.
    pub sessions: u32,
    /// It said that it drains.
    pub drains: bool,
    /// Since when replies tell it to drain.
    pub told_ms: Option<u64>,
    /// An operator's word stands on it, or did.
    pub forced: bool,
}

/// What a name server knows of a member.
#[derive(Clone, Debug, Default)]
pub(crate) struct NameSeen {
    /// When it was heard first and last.
    pub known_ms: u64,
    /// The last time.
    pub heard_ms: u64,
    /// Its incarnation.
    pub inc: u64,
    /// Since when it says that it drains.
    pub drains_ms: Option<u64>,
    /// It said goodbye, or a tombstone of it came.
    pub left_ms: Option<u64>,
}

impl Watch {
    /// The door believed a heartbeat and answered.
    pub(crate) fn door_believed(&mut self, id: &Id, inc: u64, sessions: u32, drains: bool, told: bool, now_ms: u64) {
        let seen = self.door.entry(id.clone()).or_default();
        if seen.inc != inc {
            *seen = DoorSeen { told_ms: seen.told_ms, forced: seen.forced, ..DoorSeen::default() };
        }
        (seen.heard_ms, seen.inc, seen.sessions, seen.drains) = (now_ms, inc, sessions, drains);
        seen.told_ms = told.then(|| seen.told_ms.unwrap_or(now_ms));
    }

    /// A plan lets a member take sessions again.
    pub(crate) fn undrained(&mut self, id: &Id) {
        if let Some(seen) = self.door.get_mut(id) {
            seen.told_ms = None;
        }
    }

    /// Whether a session of a member must find its way back by its cookie.
    pub(crate) fn keeps_sessions(&self, id: &Id, now_ms: u64) -> bool {
        self.door.get(id).is_some_and(|seen| {
            let fresh = now_ms + SLACK_MS <= seen.heard_ms + self.lease_ms;
            fresh && seen.heard_ms > self.door_since && seen.heard_ms + SLACK_MS < now_ms && !seen.forced
        })
    }

    /// The door sent a session somewhere.
    pub(crate) fn redirected(&mut self, id: &Id, returning: bool, now_ms: u64) {
        let Some(seen) = self.door.get(id).cloned() else {
            return self.check(false, now_ms, Rule::Outside, || format!("{id} was never heard by the door"));
        };
        let fresh = now_ms <= seen.heard_ms + self.lease_ms + SLACK_MS
            || now_ms <= self.door_since + self.grace_ms + SLACK_MS
            || seen.forced;
        let silent_ms = now_ms.saturating_sub(seen.heard_ms);
        self.check(fresh, now_ms, Rule::SentToSilent, || format!("a session was sent to {id}, silent for {silent_ms} ms"));
        if returning || seen.forced {
            return;
        }
        let told_ms = seen.told_ms.filter(|at| at + SLACK_MS < now_ms);
        let drains = seen.drains && seen.heard_ms + SLACK_MS < now_ms;
        self.check(told_ms.is_none() && !drains, now_ms, Rule::SentToDraining, || {
            format!("a new session for {id}, told to drain at {told_ms:?}, draining by its own word: {drains}")
        });
    }

    /// The door crashed. What it was told in the last moments may not have reached its disk.
    pub(crate) fn door_died(&mut self, now_ms: u64) {
        for seen in self.door.values_mut() {
            seen.told_ms = seen.told_ms.filter(|at| at + DISK_MS < now_ms);
            seen.drains &= seen.heard_ms + DISK_MS < now_ms;
        }
    }

    /// A name server crashed, likewise.
    pub(crate) fn name_died(&mut self, ns: usize, now_ms: u64) {
        for seen in self.names.get_mut(ns).into_iter().flatten().map(|(_, seen)| seen) {
            seen.drains_ms = seen.drains_ms.filter(|at| at + DISK_MS < now_ms);
            seen.left_ms = seen.left_ms.filter(|at| at + DISK_MS < now_ms);
            if seen.known_ms + DISK_MS >= now_ms {
                seen.heard_ms = 0;
            }
        }
    }

    /// A name server runs again.
    pub(crate) fn name_began(&mut self, ns: usize, now_ms: u64) {
        if let Some(since) = self.names_since.get_mut(ns) {
            *since = now_ms;
        }
    }

    /// A name server opened a heartbeat; `believed` unless its roster refused it.
    pub(crate) fn name_heard(&mut self, ns: usize, heartbeat: &Heartbeat, believed: bool, now_ms: u64) {
        let Some(seen) = self.names.get_mut(ns) else { return };
        if believed {
            let entry = seen.entry(heartbeat.id.clone()).or_default();
            if entry.inc < heartbeat.inc || entry.left_ms.is_some() {
                *entry = NameSeen { known_ms: now_ms, ..NameSeen::default() };
            }
            (entry.heard_ms, entry.inc) = (now_ms, heartbeat.inc);
            entry.left_ms = (heartbeat.state == State::Goodbye).then_some(now_ms);
            entry.drains_ms = heartbeat.draining().then(|| entry.drains_ms.unwrap_or(now_ms));
        }
        for stone in &heartbeat.tombstones {
            let entry = seen.entry(stone.id.clone()).or_default();
            if entry.inc <= stone.inc {
                (entry.inc, entry.left_ms) = (stone.inc, Some(entry.left_ms.unwrap_or(now_ms)));
            }
        }
    }

    /// A name server answered for the pool; `named` are the members behind the addresses, none for an address of nobody.
    pub(crate) fn pool_answered(&mut self, ns: usize, answer: &Answer, named: &[Option<Id>], now_ms: u64) {
        let (lease_ms, grace_ms) = (self.lease_ms, self.grace_ms);
        let since_ms = self.names_since.get(ns).copied().unwrap_or(0);
        let Some(seen) = self.names.get(ns) else { return };
        let young = now_ms <= since_ms + grace_ms + SLACK_MS;
        let counts = |s: &&NameSeen| s.left_ms.is_none() && s.drains_ms.is_none();
        let surely_up =
            |s: &&NameSeen| counts(s) && now_ms + SLACK_MS <= s.heard_ms + lease_ms && s.heard_ms + SLACK_MS < now_ms;
        let up = seen.values().filter(surely_up).count();
        let empty = answer.addrs.is_empty();
        let rcode = answer.rcode;
        self.check(!(empty && up > 0) && rcode == 0, now_ms, Rule::Empty, || {
            format!("ns{ns} answers code {rcode} with no address, and {up} members are surely up")
        });
        for id in named {
            let Some(id) = id else {
                self.check(false, now_ms, Rule::Named, || format!("ns{ns} names an address of nobody"));
                continue;
            };
            let entry = self.names.get(ns).and_then(|seen| seen.get(id)).cloned().unwrap_or_default();
            let long_ago = |at: Option<u64>| at.is_some_and(|at| at + SLACK_MS < now_ms);
            self.check(!long_ago(entry.left_ms), now_ms, Rule::NamedDead, || {
                format!("ns{ns} names {id}, gone since {:?}", entry.left_ms)
            });
            self.check(!long_ago(entry.drains_ms), now_ms, Rule::Named, || {
                format!("ns{ns} names {id}, which drains since {:?}", entry.drains_ms)
            });
            let silent = entry.heard_ms + lease_ms + SLACK_MS < now_ms;
            if silent && !young {
                let seen = self.names.get(ns);
                let all = seen.map_or(0, |s| s.values().filter(counts).count());
                // Those that may count as up: if they are enough, a silent one must not be named.
                let suspects = self.fail_open * all as f64;
                self.check((up as f64) < suspects.ceil() + 0.5, now_ms, Rule::Named, || {
                    format!("ns{ns} names {id}, silent since {}, while {up} of {all} are up", entry.heard_ms)
                });
            }
        }
    }

    /// A cache may name this member until then, because a name server believed in it. One that is cut off from most members fails
    /// open and names what it last knew for as long as that lasts (DESIGN 4.2): no drain can wait for that.
    pub(crate) fn cached(&mut self, ns: usize, id: Id, until_ms: u64, now_ms: u64) {
        let since_ms = self.names_since.get(ns).copied().unwrap_or(0);
        let heard_ms = self.names.get(ns).and_then(|seen| seen.get(&id)).map_or(0, |seen| seen.heard_ms);
        let heard = now_ms <= heard_ms + self.lease_ms + SLACK_MS;
        if heard || now_ms <= since_ms + self.grace_ms + SLACK_MS {
            let cached = self.cached_until.entry(id).or_default();
            *cached = until_ms.max(*cached);
        }
    }

    /// A name server answered for a member's own name.
    pub(crate) fn member_answered(&mut self, ns: usize, id: &Id, answer: &Answer, now_ms: u64) {
        let left_ms = self.names.get(ns).and_then(|seen| seen.get(id)).and_then(|s| s.left_ms);
        let buried = left_ms.is_some_and(|at| at + SLACK_MS < now_ms);
        self.check(!buried || answer.addrs.is_empty(), now_ms, Rule::NamedDead, || {
            format!("ns{ns} serves the name of {id}, gone since {left_ms:?}")
        });
    }
}

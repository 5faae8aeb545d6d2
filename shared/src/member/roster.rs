//! The roster: `observe(heartbeat)`, `tick(now)`, `force(…)` in, changes out.
//!
//! A step costs O(log n) at the most: each member has one live entry in a heap of deadlines, and an entry that fires early (the
//! member was heard since) is put back, so a heartbeat that only renews a lease touches no heap at all.

use super::saved::{SavedDeparted, SavedMember, SavedRoster};
use super::{Forced, Freshness, LeasePolicy, Standing};
use crate::heartbeat::{Heartbeat, Refusal, SKEW_MS_MAX, State};
use crate::id::Id;
use crate::time::{Mono, Now};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Something that others see about a member has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Never heard before, or forgotten since.
    Joined,
    /// Heard again after silence or after our restart, or begun anew.
    Returned,
    /// Its lease is running out.
    Late,
    /// Its lease ran out.
    Silent,
    /// Its addresses, port, zone or role changed.
    Moved,
    /// It began or ended draining.
    Drain,
    /// Its machine is to go, or no longer.
    Notice,
    /// An operator's word, or its end.
    Forced,
    /// It said goodbye, fell silent for long, or was terminated: gone from the roster.
    Forgotten,
}

impl Change {
    /// The label in logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Returned => "returned",
            Self::Late => "late",
            Self::Silent => "silent",
            Self::Moved => "moved",
            Self::Drain => "drain",
            Self::Notice => "notice",
            Self::Forced => "forced",
            Self::Forgotten => "forgotten",
        }
    }
}

/// One member, as last heard.
#[derive(Clone, Debug)]
pub struct Member {
    /// The last heartbeat that was believed (from before the restart, for one not heard since).
    pub heartbeat: Heartbeat,
    /// When it was heard, on the roster's own clock.
    pub heard: Mono,
    /// When it joined or returned: what a ramp counts from.
    pub since: Mono,
    /// How fresh it was at the last step.
    pub freshness: Freshness,
    /// What an operator forced, and why.
    pub forced: Option<(Forced, String)>,
    /// This front end's own wish that it be drained: what its replies say.
    pub drain_wish: bool,
    /// Two incarnations were heard within one lease; until when that is shown.
    pub twins_until: Mono,
    lease_ms: u64,
    /// When its entry in the heap of deadlines is due. Any other entry of it is stale and dropped when it comes up.
    due: Mono,
}

impl Member {
    /// What it is good for.
    pub fn standing(&self) -> Standing {
        match self.forced {
            Some((Forced::Down, _)) => Standing::AdminDown,
            Some((Forced::Drain, _)) => Standing::Draining,
            Some((Forced::Up, _)) => Standing::InService,
            None => self.measured(),
        }
    }

    /// What it would be good for without an operator's word.
    pub fn measured(&self) -> Standing {
        match self.freshness {
            Freshness::Silent => Standing::Silent,
            _ if self.drain_wish || self.heartbeat.draining() => Standing::Draining,
            Freshness::Unheard { .. } => Standing::Unknown,
            Freshness::Fresh | Freshness::Late { .. } => Standing::InService,
        }
    }

    /// The earliest time at which silence could change its standing; [`Mono::NEVER`] for a fresh or a forced one.
    pub fn change_at(&self) -> Mono {
        match self.freshness {
            Freshness::Late { until } | Freshness::Unheard { until } if self.forced.is_none() => until,
            _ => Mono::NEVER,
        }
    }

    /// How long its heartbeats are believed, in milliseconds.
    pub fn lease_ms(&self) -> u64 {
        self.lease_ms
    }

    /// Whether this front end or an operator wants it drained: the level that replies assert.
    pub fn wants_drain(&self) -> bool {
        self.drain_wish || matches!(self.forced, Some((Forced::Drain, _)))
    }
}

/// A member that is gone: so that a replayed message cannot bring it back, and an operator's word outlives its reboot.
#[derive(Clone, Debug)]
struct Departed {
    inc: u64,
    seq: u64,
    terminated: bool,
    forced: Option<(Forced, String)>,
    until: Mono,
}

/// The silence of most is believed in the end if the others were heard for so many times as long as it takes to forget one: then
/// they are forgotten one by one, each after as long again.
const DOUBT_FORGETS: u64 = 20;
/// Twice the skew: a message captured before the departure is stale by then.
const REPLAY_MS: u64 = 2 * SKEW_MS_MAX;
/// A terminated instance does not come back, but its last words may travel far.
const TERMINATED_MS: u64 = 3_600_000;
/// How long an operator's word waits for a member that said goodbye.
const FORCED_MS: u64 = 7 * 24 * 3_600_000;

/// All members of one farm that one front end knows.
#[derive(Clone, Debug)]
pub struct Roster {
    policy: LeasePolicy,
    members: BTreeMap<Id, Member>,
    departed: BTreeMap<Id, Departed>,
    deadlines: BinaryHeap<Reverse<(Mono, Id)>>,
    silent: usize,
    /// When most members were silent last: until then, silence said nothing about any one of them.
    doubted: Mono,
    /// Since when most members, but not all, have been silent; and when one of them was forgotten last.
    mass_silence: Option<(Mono, Mono)>,
    last_step: Option<Mono>,
    slept_ms: u64,
}

impl Roster {
    /// An empty roster.
    pub fn new(policy: LeasePolicy) -> Self {
        Self {
            policy,
            members: BTreeMap::new(),
            departed: BTreeMap::new(),
            deadlines: BinaryHeap::new(),
            silent: 0,
            doubted: Mono(0),
            mass_silence: None,
            last_step: None,
            slept_ms: 0,
        }
    }

    /// The roster of a restart: everybody *unknown* for one grace, those who were silent still silent, and operators' words kept.
    pub fn restore(policy: LeasePolicy, saved: SavedRoster, now: Now) -> Self {
        let mut roster = Self::new(policy);
        let until = now.mono.plus_ms(policy.grace_ms);
        for saved in saved.members.into_iter().take(policy.members_max) {
            let lease_ms = policy.lease_ms(saved.heartbeat.period_ms);
            let freshness = if saved.silent { Freshness::Silent } else { Freshness::Unheard { until } };
            roster.silent += usize::from(saved.silent);
            let id = saved.heartbeat.id.clone();
            roster.deadlines.push(Reverse((until, id.clone())));
            roster.members.insert(
                id,
                Member {
                    heartbeat: saved.heartbeat,
                    heard: now.mono,
                    since: now.mono,
                    freshness,
                    forced: saved.forced,
                    drain_wish: saved.drain_wish,
                    twins_until: Mono(0),
                    lease_ms,
                    due: until,
                },
            );
        }
        for gone in saved.departed.into_iter().take(policy.members_max) {
            let SavedDeparted { id, inc, seq, terminated, forced } = gone;
            roster.remember(now.mono, id, inc, seq, terminated, forced);
        }
        roster
    }

    /// What must survive a restart.
    pub fn save(&self) -> SavedRoster {
        let members = self.members.values().map(|m| SavedMember {
            heartbeat: Heartbeat { heard: Vec::new(), tombstones: Vec::new(), killed: None, ..m.heartbeat.clone() },
            silent: m.freshness == Freshness::Silent,
            forced: m.forced.clone(),
            drain_wish: m.drain_wish,
        });
        let departed = self.departed.iter().map(|(id, gone)| SavedDeparted {
            id: id.clone(),
            inc: gone.inc,
            seq: gone.seq,
            terminated: gone.terminated,
            forced: gone.forced.clone(),
        });
        SavedRoster { v: 1, members: members.collect(), departed: departed.collect() }
    }

    /// One message that [`crate::heartbeat::Keyring::open`] let through. The changes are those that others can see; a heartbeat
    /// that only renews a lease changes nothing.
    pub fn observe(&mut self, now: Now, heartbeat: Heartbeat) -> Result<Vec<Change>, Refusal> {
        let at = self.step(now);
        self.check_order(at, &heartbeat)?;
        if heartbeat.state == State::Goodbye {
            let known = self.members.contains_key(&heartbeat.id);
            self.depart(at, &heartbeat.id, heartbeat.inc, heartbeat.seq, false);
            return Ok(if known { vec![Change::Forgotten] } else { Vec::new() });
        }
        let lease_ms = self.policy.lease_ms(heartbeat.period_ms);
        let Some(member) = self.members.get_mut(&heartbeat.id) else {
            if self.members.len() >= self.policy.members_max {
                return Err(Refusal::Full);
            }
            let id = heartbeat.id.clone();
            let forced = self.departed.get_mut(&id).and_then(|gone| gone.forced.take());
            let due = at.plus_ms(lease_ms / 2);
            self.deadlines.push(Reverse((due, id.clone())));
            self.members.insert(
                id,
                Member {
                    heartbeat,
                    heard: at,
                    since: at,
                    freshness: Freshness::Fresh,
                    forced,
                    drain_wish: false,
                    twins_until: Mono(0),
                    lease_ms,
                    due,
                },
            );
            return Ok(vec![Change::Joined]);
        };
        let old = std::mem::replace(&mut member.heartbeat, heartbeat);
        let new = &member.heartbeat;
        let mut changes = Vec::new();
        let restarted = new.inc != old.inc;
        let was = std::mem::replace(&mut member.freshness, Freshness::Fresh);
        if restarted || matches!(was, Freshness::Silent) {
            member.since = at;
        }
        self.silent -= usize::from(was == Freshness::Silent);
        if restarted || was != Freshness::Fresh {
            changes.push(Change::Returned);
        }
        if (&old.addrs, old.port, &old.zone, old.role) != (&new.addrs, new.port, &new.zone, new.role) {
            changes.push(Change::Moved);
        }
        if old.draining() != new.draining() {
            changes.push(Change::Drain);
        }
        if old.notice != new.notice {
            changes.push(Change::Notice);
        }
        member.heard = at;
        member.lease_ms = lease_ms;
        let late_at = at.plus_ms(lease_ms / 2);
        if late_at < member.due {
            // The entry that stands comes too late for the shorter lease.
            member.due = late_at;
            self.deadlines.push(Reverse((late_at, new.id.clone())));
        }
        Ok(changes)
    }

    /// Time passes: who is late, silent, forgotten.
    pub fn tick(&mut self, now: Now) -> Vec<(Id, Change)> {
        let at = self.step(now);
        let mut changes = Vec::new();
        while self.deadlines.peek().is_some_and(|Reverse((due, _))| *due <= at) {
            let Some(Reverse((due, id))) = self.deadlines.pop() else { break };
            if self.members.get(&id).is_some_and(|member| member.due == due) {
                self.expire(at, id, &mut changes);
            }
        }
        self.departed.retain(|_, d| d.until > at);
        changes
    }

    /// An operator's word; `None` takes it back. `None` is returned for a member that is not known.
    pub fn force(&mut self, id: &Id, forced: Option<(Forced, String)>) -> Option<Change> {
        let place = match self.members.get_mut(id) {
            Some(member) => &mut member.forced,
            None => &mut self.departed.get_mut(id).filter(|gone| gone.forced.is_some())?.forced,
        };
        *place = forced;
        Some(Change::Forced)
    }

    /// This front end's own wish about draining a member; `None` if nothing changed.
    pub fn wish_drain(&mut self, id: &Id, drain: bool) -> Option<Change> {
        let member = self.members.get_mut(id)?;
        let changed = std::mem::replace(&mut member.drain_wish, drain) != drain;
        changed.then_some(Change::Drain)
    }

    /// The provider terminated every incarnation up to `inc`: forgotten at once, and not believed again.
    pub fn bury(&mut self, now: Now, id: &Id, inc: u64) -> Option<Change> {
        let at = self.step(now);
        let member = self.members.get(id);
        if member.is_some_and(|m| m.heartbeat.inc > inc) {
            return None;
        }
        let known = member.is_some();
        self.depart(at, id, inc, u64::MAX, true);
        known.then_some(Change::Forgotten)
    }

    /// All members by id.
    pub fn members(&self) -> &BTreeMap<Id, Member> {
        &self.members
    }

    /// One member.
    pub fn get(&self, id: &Id) -> Option<&Member> {
        self.members.get(id)
    }

    /// Members whose lease ran out.
    pub fn silent(&self) -> usize {
        self.silent
    }

    /// Whether more than half of the members are silent: suspect the network or ourselves, and forget nobody
    /// for a long time.
    pub fn mostly_silent(&self) -> bool {
        self.silent * 2 > self.members.len()
    }

    /// How long a member's silence has said something about it, in milliseconds: since it was heard, or since most of the others
    /// were silent as well, whichever is later. After a cut that hit us all, those heard last must not be taken for dead.
    pub fn silent_ms(&self, member: &Member, now: Now) -> u64 {
        self.clock(now).since_ms(member.heard.max(self.doubted))
    }

    /// The policy it was made with.
    pub fn policy(&self) -> &LeasePolicy {
        &self.policy
    }

    /// The roster's own clock: monotonic time less what we slept through. Compare [`Member::heard`] with it.
    pub fn clock(&self, now: Now) -> Mono {
        Mono(now.mono.0.saturating_sub(self.slept_ms))
    }

    /// A deadline of the roster's clock as ordinary monotonic time.
    pub fn to_mono(&self, deadline: Mono) -> Mono {
        deadline.plus_ms(self.slept_ms)
    }

    fn step(&mut self, now: Now) -> Mono {
        if let Some(last) = self.last_step {
            self.slept_ms += now.mono.since_ms(last).saturating_sub(self.policy.step_ms_max);
        }
        self.last_step = Some(self.last_step.map_or(now.mono, |last| last.max(now.mono)));
        let at = self.clock(now);
        if self.mostly_silent() {
            self.doubted = at;
        }
        // While nobody is heard it may well be us who are deaf.
        let others_are_heard = self.mostly_silent() && self.silent < self.members.len();
        self.mass_silence = others_are_heard.then(|| self.mass_silence.unwrap_or((at, at)));
        at
    }

    fn check_order(&mut self, at: Mono, new: &Heartbeat) -> Result<(), Refusal> {
        if let Some(gone) = self.departed.get(&new.id)
            && (new.inc, new.seq) <= (gone.inc, gone.seq)
        {
            return Err(if gone.terminated { Refusal::Terminated } else { Refusal::Replayed });
        }
        let Some(member) = self.members.get_mut(&new.id) else { return Ok(()) };
        let old = &member.heartbeat;
        if new.inc < old.inc {
            member.twins_until = at.plus_ms(member.lease_ms * 10);
            return Err(Refusal::OldIncarnation);
        }
        match (new.inc == old.inc, new.seq.cmp(&old.seq)) {
            (true, std::cmp::Ordering::Equal) => Err(Refusal::Replayed),
            (true, std::cmp::Ordering::Less) => Err(Refusal::Reordered),
            _ => Ok(()),
        }
    }

    fn expire(&mut self, at: Mono, id: Id, changes: &mut Vec<(Id, Change)>) {
        let (frozen, doubted, mass_silence) = (self.mostly_silent(), self.doubted, self.mass_silence);
        let forget_leases = self.policy.forget_leases;
        let Some(member) = self.members.get_mut(&id) else { return };
        let lease_end = match member.freshness {
            Freshness::Unheard { until } => until,
            _ => member.heard.plus_ms(member.lease_ms),
        };
        let late_at = member.heard.plus_ms(member.lease_ms / 2);
        let forget_ms = member.lease_ms.saturating_mul(forget_leases);
        let forget_at = lease_end.max(doubted).plus_ms(forget_ms);
        let given_up = mass_silence.is_some_and(|(since, last)| {
            at.since_ms(since) >= forget_ms.saturating_mul(DOUBT_FORGETS) && at.since_ms(last) >= forget_ms
        });
        let forgettable = member.freshness == Freshness::Silent && member.forced.is_none();
        let next = if forgettable && if frozen { given_up } else { at >= forget_at } {
            if let Some((_, last)) = &mut self.mass_silence {
                *last = at;
            }
            let (inc, seq) = (member.heartbeat.inc, member.heartbeat.seq);
            self.depart(at, &id, inc, seq, false);
            changes.push((id, Change::Forgotten));
            return;
        } else if at >= forget_at && member.freshness == Freshness::Silent {
            at.plus_ms(member.lease_ms)
        } else if at >= lease_end {
            if member.freshness != Freshness::Silent {
                member.freshness = Freshness::Silent;
                self.silent += 1;
                changes.push((id.clone(), Change::Silent));
            }
            forget_at.max(at.plus_ms(1))
        } else if matches!(member.freshness, Freshness::Unheard { .. } | Freshness::Silent) {
            lease_end
        } else if at >= late_at {
            if member.freshness == Freshness::Fresh {
                member.freshness = Freshness::Late { until: lease_end };
                changes.push((id.clone(), Change::Late));
            }
            lease_end
        } else {
            late_at
        };
        member.due = next;
        self.deadlines.push(Reverse((next, id)));
    }

    fn depart(&mut self, at: Mono, id: &Id, inc: u64, seq: u64, terminated: bool) {
        let gone = self.members.remove(id);
        self.silent -= usize::from(gone.as_ref().is_some_and(|m| m.freshness == Freshness::Silent));
        let waiting = self.departed.remove(id).and_then(|earlier| earlier.forced);
        let forced = gone.and_then(|m| m.forced).or(waiting).filter(|_| !terminated);
        self.remember(at, id.clone(), inc, seq, terminated, forced);
    }

    fn remember(&mut self, at: Mono, id: Id, inc: u64, seq: u64, terminated: bool, forced: Option<(Forced, String)>) {
        let keep_ms = match (terminated, &forced) {
            (true, _) => TERMINATED_MS,
            (false, Some(_)) => FORCED_MS,
            (false, None) => REPLAY_MS,
        };
        if self.departed.len() < self.policy.members_max.saturating_mul(2) {
            self.departed.insert(id, Departed { inc, seq, terminated, forced, until: at.plus_ms(keep_ms) });
        }
    }
}

#[cfg(test)]
mod tests;

//! Who waits at one door, and which tickets were used there.
//!
//! A waiter stays in it until some time after he was told to come back; what he holds keeps his place, not this. A used ticket stays
//! until it would be refused for its age anyway, so that a copy of it is worth nothing. Its size is bounded: newcomers beyond
//! the bound get no ticket, and used tickets beyond it make all those older ones stale that have not been used, never usable again.

use super::ticket::Ticket;
use farm_shared::heartbeat::ROOM_LANES_MAX;
use farm_shared::time::Mono;
use std::collections::{BTreeMap, BTreeSet};

/// Beyond the time to come back, at least, in milliseconds: pages load, phones wake up.
const LATE_MS_MIN: u64 = 5_000;
/// Waiters that a digest tells one by one; further ones in groups of a 64th of those before them.
const EXACT: usize = 1_024;
const GROUP_SHARE: usize = 64;

/// What a ledger says to a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is good: it has entered now, or it waits.
    Good,
    /// It was used before.
    Used,
    /// Its turn was too long ago.
    Stale,
    /// There is no room in the ledger for a new one.
    Full,
}

/// What a ledger has seen, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Tickets given out.
    pub tickets: u64,
    /// Waiters that entered.
    pub entered: u64,
    /// Times that somebody asked and had to wait.
    pub asked: u64,
    /// Waiters that did not come back in time. Some come later.
    pub left: u64,
    /// Used tickets that were shown again.
    pub used_again: u64,
    /// Tickets whose turn was too long ago.
    pub stale: u64,
    /// Tickets that no door had signed, or not for now.
    pub forged: u64,
    /// Newcomers that got no ticket because too many wait.
    pub full: u64,
    /// Used tickets that had to be forgotten early.
    pub forgotten: u64,
}

/// Who waits, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// By lane.
    pub lanes: [LaneDigest; ROOM_LANES_MAX],
    /// What was seen so far.
    pub totals: Totals,
}

/// Who waits in one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneDigest {
    /// Arrivals, and how many waiters had arrived up to then; both rise, the last one counts everybody.
    pub steps: Vec<(u64, u32)>,
    /// Waiters that entered since the start.
    pub entered: u64,
}

impl LaneDigest {
    /// Everybody.
    pub fn waiting(&self) -> u32 {
        self.steps.last().map_or(0, |(_, n)| *n)
    }
}

/// The ledger of one farm at one door.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Until when each one is waited for.
    waiting: BTreeMap<Ticket, Mono>,
    used: BTreeSet<Ticket>,
    /// Tickets that came no later than this are refused, by lane.
    stale_ms: [u64; ROOM_LANES_MAX],
    entered: [u64; ROOM_LANES_MAX],
    totals: Totals,
    size_max: usize,
}

impl Ledger {
    /// An empty one for so many waiters, and as many used tickets.
    pub fn new(size_max: usize) -> Self {
        Self {
            waiting: BTreeMap::new(),
            used: BTreeSet::new(),
            stale_ms: [0; ROOM_LANES_MAX],
            entered: [0; ROOM_LANES_MAX],
            totals: Totals::default(),
            size_max: size_max.max(1),
        }
    }

    /// Another bound, from a new configuration.
    pub fn resize(&mut self, size_max: usize) {
        self.size_max = size_max.max(1);
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// See [`super::Waiters::enter`].
    pub fn enter(&mut self, ticket: Ticket) -> Answer {
        let refusal = self.refusal(&ticket);
        if refusal != Answer::Good {
            return refusal;
        }
        self.waiting.remove(&ticket);
        self.used.insert(ticket);
        self.totals.entered += 1;
        if let Some(entered) = self.entered.get_mut(usize::from(ticket.lane)) {
            *entered += 1;
        }
        while self.used.len() > self.size_max
            && let Some(oldest) = self.used.pop_first()
        {
            // To forget it must not make it good again.
            self.totals.forgotten += 1;
            self.refuse_up_to(oldest.lane, oldest.arrival_ms);
        }
        Answer::Good
    }

    /// See [`super::Waiters::ask`].
    pub fn ask(&mut self, ticket: Ticket, is_new: bool, now: Mono, due: Mono) -> Answer {
        let refusal = self.refusal(&ticket);
        if refusal != Answer::Good {
            return refusal;
        }
        if self.waiting.len() >= self.size_max && !self.waiting.contains_key(&ticket) {
            // Who comes back goes before the youngest, who keeps his ticket and will be seen again.
            if let Some(last) = self.waiting.last_entry().filter(|last| !is_new && *last.key() > ticket) {
                last.remove();
            } else {
                self.totals.full += u64::from(is_new);
                return if is_new { Answer::Full } else { Answer::Good };
            }
        }
        self.totals.asked += 1;
        self.totals.tickets += u64::from(is_new);
        let late_ms = (due.since_ms(now) / 2).max(LATE_MS_MIN);
        self.waiting.insert(ticket, due.plus_ms(late_ms));
        Answer::Good
    }

    /// A ticket that is none.
    pub fn forged(&mut self) {
        self.totals.forged += 1;
    }

    /// Tickets of a lane that came no later than this are refused from now on.
    pub fn refuse_up_to(&mut self, lane: u8, arrival_ms: u64) {
        if let Some(stale_ms) = self.stale_ms.get_mut(usize::from(lane)) {
            *stale_ms = arrival_ms.max(*stale_ms);
        }
    }

    /// Forgets who has left and what is stale, and tells the rest.
    pub fn digest(&mut self, now: Mono) -> Digest {
        let before = self.waiting.len();
        let stale_ms = self.stale_ms;
        let is_stale = |t: &Ticket| stale_ms.get(usize::from(t.lane)).is_some_and(|stale_ms| t.arrival_ms <= *stale_ms);
        self.waiting.retain(|ticket, until| now < *until && !is_stale(ticket));
        self.totals.left += (before - self.waiting.len()) as u64;
        self.used.retain(|ticket| !is_stale(ticket));
        let mut digest = Digest { totals: self.totals, ..Digest::default() };
        for (lane, entered) in digest.lanes.iter_mut().zip(self.entered) {
            lane.entered = entered;
        }
        let mut counts = [(0_usize, 0_usize); ROOM_LANES_MAX];
        for ticket in self.waiting.keys() {
            let at = usize::from(ticket.lane);
            let (Some(lane), Some((count, told))) = (digest.lanes.get_mut(at), counts.get_mut(at)) else { continue };
            *count += 1;
            let group = if *count <= EXACT { 1 } else { *count / GROUP_SHARE };
            match lane.steps.last_mut() {
                // All who came in one millisecond stand at one point.
                Some((arrival_ms, n)) if *arrival_ms == ticket.arrival_ms || *count - *told < group => {
                    (*arrival_ms, *n) = (ticket.arrival_ms, *count as u32);
                }
                _ => {
                    lane.steps.push((ticket.arrival_ms, *count as u32));
                    *told = *count;
                }
            }
        }
        digest
    }

    fn refusal(&mut self, ticket: &Ticket) -> Answer {
        if self.stale_ms.get(usize::from(ticket.lane)).is_none_or(|stale_ms| ticket.arrival_ms <= *stale_ms) {
            self.totals.stale += 1;
            return Answer::Stale;
        }
        if self.used.contains(ticket) {
            self.totals.used_again += 1;
            return Answer::Used;
        }
        Answer::Good
    }
}

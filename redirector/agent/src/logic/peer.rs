//! What the agent knows of one configured front end: the way there, its clock, which answers are still to come, and whether it
//! is worth a line in the log that it keeps silent.

use farm_shared::heartbeat::{Heard, Kind, Reply};
use farm_shared::id::Id;
use farm_shared::time::{Mono, Wall};
use std::collections::VecDeque;
use std::net::IpAddr;

/// Answers waited for; older ones are no longer news.
const AWAITED_MAX: usize = 16;
const COMPLAINT_MS_FIRST: u64 = 60_000;
const COMPLAINT_MS_MAX: u64 = 3_600_000;

#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The source address towards it; none while there is no way.
    pub(super) source: Option<IpAddr>,
    /// Its clock minus ours, from its last challenge, in milliseconds.
    pub(super) offset_ms: i128,
    /// A challenge was answered since the last regular heartbeat.
    pub(super) challenged: bool,
    /// Which front end it turned out to be.
    pub(super) identity: Option<(Id, Kind)>,
    /// The last error on the way there.
    pub(super) error: Option<String>,
    awaited: VecDeque<u64>,
    /// Since when it owes an answer.
    owes: Option<Mono>,
    complaint: Option<Complaint>,
}

/// A silence that was logged, and when to log it again.
#[derive(Clone, Copy, Debug)]
struct Complaint {
    next: Mono,
    gap_ms: u64,
}

impl Peer {
    pub(super) fn new() -> Self {
        Self {
            source: None,
            offset_ms: 0,
            challenged: false,
            identity: None,
            error: None,
            awaited: VecDeque::with_capacity(AWAITED_MAX),
            owes: None,
            complaint: None,
        }
    }

    /// Our time as this front end counts it.
    pub(super) fn time_ms(&self, wall: Wall) -> u64 {
        let time = i128::from(wall.0) + self.offset_ms;
        time.clamp(0, i128::from(u64::MAX)) as u64
    }

    /// After a time in which it was told nothing, its silence is not its fault.
    pub(super) fn begin(&mut self) {
        self.owes = None;
    }

    /// From now on it owes an answer, unless it does already.
    pub(super) fn owe(&mut self, now: Mono) {
        self.owes.get_or_insert(now);
    }

    pub(super) fn sent(&mut self, seq: u64) {
        if self.awaited.len() == AWAITED_MAX {
            self.awaited.pop_front();
        }
        self.awaited.push_back(seq);
    }

    /// Whether `seq` is waited for. Answers to it and to all before it are then no longer news, so that an answer which was
    /// held back cannot undo a later one.
    pub(super) fn answered(&mut self, seq: u64) -> bool {
        let Some(at) = self.awaited.iter().position(|s| *s == seq) else { return false };
        self.awaited.drain(..=at);
        true
    }

    pub(super) fn forget_awaited(&mut self) {
        self.awaited.clear();
    }

    /// Notes that it was heard; true if that ends a silence that was logged.
    pub(super) fn heard(&mut self) -> bool {
        self.owes = None;
        self.error = None;
        self.complaint.take().is_some()
    }

    /// How long it has been silent, if that is to be logged now: at first after `patience_ms`, then ever more rarely.
    pub(super) fn complain(&mut self, now: Mono, patience_ms: u64) -> Option<u64> {
        let silent_ms = now.since_ms(self.owes?);
        if silent_ms < patience_ms || self.complaint.is_some_and(|c| now < c.next) {
            return None;
        }
        let gap_ms = self.complaint.map_or(COMPLAINT_MS_FIRST, |c| (c.gap_ms * 2).min(COMPLAINT_MS_MAX));
        self.complaint = Some(Complaint { next: now.plus_ms(gap_ms), gap_ms });
        Some(silent_ms)
    }
}

/// What one front end said last, by its id: it may be configured twice, over both carriers.
#[derive(Clone, Debug)]
pub(super) struct Word {
    at: Mono,
    heard: Heard,
}

impl Word {
    pub(super) fn new(now: Mono, reply: &Reply) -> Self {
        let heard = Heard {
            id: reply.from.clone(),
            kind: reply.kind,
            age_ms: 0,
            serves: reply.serves,
            ttl_left_ms: reply.ttl_left_ms,
            doors: reply.doors,
            scaler: reply.scaler.clone(),
            room: reply.room.clone(),
        };
        Self { at: now, heard }
    }

    pub(super) fn age_ms(&self, now: Mono) -> u64 {
        now.since_ms(self.at)
    }

    /// As of now; who waits at a door is told to doors alone.
    pub(super) fn as_of(&self, now: Mono, to_redirector: bool) -> Heard {
        let heard = self.heard.clone();
        Heard { age_ms: self.age_ms(now), room: heard.room.filter(|_| to_redirector), ..heard }
    }
}

//! The table that new sessions are drawn from.
//!
//! What is known when it is built (reported queues, their age, speeds) stands in its entries. What changes with every dispatch, the
//! door's own dispatches since the report, is read when a weight is asked for, and can only lower it.

use super::{FarmDispatched, RoutePolicy};

/// A report begins to lose its say when the next one is overdue, and has none after so many missed periods.
const MISSED_PERIODS: f64 = 3.0;

/// One backend that takes new sessions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Its index in [`crate::door::Snapshot::servers`].
    pub server: u32,
    /// Its slot.
    pub slot: u32,
    /// Its counter of dispatches when it reported.
    pub dispatch_base: u32,
    /// Run queue as reported (q).
    pub queue: f64,
    /// Its speed relative to others (mu, up to a factor common to all).
    pub speed: f64,
    /// How fast its queue shrinks without arrivals, in run queue per second (mu in units of the queue).
    pub drain_per_s: f64,
    /// Age of the report in milliseconds (a).
    pub age_ms: u64,
    /// Its heartbeat period in milliseconds.
    pub period_ms: u64,
    /// Slow start: 0 to 1.
    pub ramp: f64,
    /// Sessions it could take when it reported, if it knows.
    pub room: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    server: u32,
    slot: u32,
    dispatch_base: u32,
    /// `q - mu*a`; may be negative.
    queue: f64,
    speed: f64,
    /// The part of the weight that own dispatches lower is multiplied with this.
    own: f64,
    /// The part that they do not lower.
    floor: f64,
    /// The weight without own dispatches.
    bound: f64,
    room: f64,
}

/// Where new sessions go.
#[derive(Clone, Debug, Default)]
pub struct Table {
    policy: RoutePolicy,
    queue_per_session: f64,
    doors: f64,
    entries: Vec<Entry>,
    total: f64,
}

impl Table {
    /// Builds it. `queue_per_session` is r, the run queue that one session adds; `doors` is K, the live doors, each of which is
    /// taken to send about as many as this one.
    pub fn build(policy: RoutePolicy, queue_per_session: f64, doors: u32, candidates: &[Candidate]) -> Self {
        let mut table = Self { policy, queue_per_session, doors: f64::from(doors.max(1)), ..Self::default() };
        table.entries = candidates.iter().map(|c| table.entry(c)).collect();
        let average = table.entries.iter().map(|e| e.bound).sum::<f64>() / table.entries.len().max(1) as f64;
        for (entry, candidate) in table.entries.iter_mut().zip(candidates) {
            let overdue = candidate.age_ms as f64 / candidate.period_ms.max(1) as f64 - 1.0;
            let stale = (overdue / MISSED_PERIODS).clamp(0.0, 1.0);
            let ramp = candidate.ramp.clamp(0.01, 1.0);
            entry.own = (1.0 - stale) * ramp;
            entry.floor = stale * average * ramp;
            entry.bound = entry.own * entry.bound + entry.floor;
        }
        table.total = table.entries.iter().map(|e| e.bound).sum();
        table
    }

    /// The weights now.
    pub(super) fn weights(&self, dispatched: &(impl FarmDispatched + ?Sized)) -> impl ExactSizeIterator<Item = f64> {
        self.entries.iter().map(|entry| self.weight_now(entry, dispatched))
    }

    /// The weight of an entry now.
    pub(super) fn weight(&self, at: usize, dispatched: &(impl FarmDispatched + ?Sized)) -> f64 {
        self.entries.get(at).map_or(0.0, |entry| self.weight_now(entry, dispatched))
    }

    /// The index of an entry's server.
    pub(super) fn server(&self, at: usize) -> Option<usize> {
        self.entries.get(at).map(|entry| entry.server as usize)
    }

    /// Servers and their shares of new sessions as of the reports, adding up to 1.
    pub fn shares(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let total = if self.total > 0.0 { self.total } else { 1.0 };
        self.entries.iter().map(move |e| (e.server as usize, e.bound / total))
    }

    /// Whether no server takes new sessions.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn entry(&self, candidate: &Candidate) -> Entry {
        let queue = candidate.queue - candidate.drain_per_s * candidate.age_ms as f64 / 1_000.0;
        let mut entry = Entry {
            server: candidate.server,
            slot: candidate.slot,
            dispatch_base: candidate.dispatch_base,
            queue,
            speed: candidate.speed.max(1e-6),
            own: 1.0,
            floor: 0.0,
            bound: 0.0,
            room: candidate.room.map_or(f64::INFINITY, f64::from),
        };
        entry.bound = match self.policy {
            RoutePolicy::Weighted => weighted(&entry, 0.0),
            RoutePolicy::Paper => 1.0 / candidate.queue.max(0.5),
            RoutePolicy::Random => 1.0,
        };
        entry
    }

    fn weight_now(&self, entry: &Entry, dispatched: &(impl FarmDispatched + ?Sized)) -> f64 {
        if self.policy != RoutePolicy::Weighted {
            return entry.bound;
        }
        let since = self.doors * f64::from(dispatched.total(entry.slot).wrapping_sub(entry.dispatch_base));
        if since >= entry.room {
            return 0.0;
        }
        entry.own * weighted(entry, self.queue_per_session * since) + entry.floor
    }
}

/// `(mu/(1+qhat))^4` with `qhat = max(0, q + added - mu*a)`.
fn weighted(entry: &Entry, added: f64) -> f64 {
    (entry.speed / (1.0 + (entry.queue + added).max(0.0))).powi(4)
}

#[cfg(test)]
mod tests;

//! The table that new sessions are drawn from.
//!
//! What is known when it is built (reported queues, their age, speeds) stands in its entries. What changes with every dispatch, the
//! door's own dispatches since the report, is read when a weight is asked for, and can only lower it.

use super::policy::Search;
use super::{FarmDispatched, RoutePolicy};

/// A report begins to lose its say when the next one is overdue, and has none after so many missed periods.
const MISSED_PERIODS: f64 = 3.0;
/// Of its weight, at the least: a server that just began, and one that is only there for when nobody else has room.
const RAMP_MIN: f64 = 0.01;
const PREFERENCE_MIN: f64 = 1e-9;
/// A task in the run queue counts like so many sessions more, where sessions are counted.
const SESSIONS_PER_TASK: f64 = 0.25;

/// One backend that takes new sessions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Its index in [`crate::door::Snapshot::servers`].
    pub server: u32,
    /// Its slot.
    pub slot: u32,
    /// Its counter of dispatches when it reported.
    pub dispatch_base: u32,
    /// Whether it reports its load at all: who does not is taken for an average one.
    pub reported: bool,
    /// Run queue as reported (q).
    pub queue: f64,
    /// Its speed relative to others (mu, up to a factor common to all).
    pub speed: f64,
    /// How fast its queue shrinks without arrivals, in run queue per second (mu in units of the queue).
    pub drain_per_s: f64,
    /// Sessions that it has by now: those it reported, less those that ended since by the farm's rate.
    pub sessions: f64,
    /// Sessions that would keep all its cores busy, up to a factor common to all.
    pub capacity: f64,
    /// Age of the report in milliseconds (a).
    pub age_ms: u64,
    /// Its heartbeat period in milliseconds.
    pub period_ms: u64,
    /// Slow start: 0 to 1.
    pub ramp: f64,
    /// What it gets of its share because of where it is: 0 (only if nobody else has room) to 1.
    pub preference: f64,
    /// Sessions it could take when it reported, if that is limited.
    pub room: Option<u32>,
}

impl Default for Candidate {
    /// An idle server of speed 1 that just reported.
    fn default() -> Self {
        Self {
            server: 0,
            slot: 0,
            dispatch_base: 0,
            reported: true,
            queue: 0.0,
            speed: 1.0,
            drain_per_s: 0.0,
            sessions: 0.0,
            capacity: 1.0,
            age_ms: 0,
            period_ms: 1_000,
            ramp: 1.0,
            preference: 1.0,
            room: None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    server: u32,
    slot: u32,
    dispatch_base: u32,
    /// Queue without own dispatches, `q - mu*a`, in tasks or in sessions; may be negative.
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
    /// What one own dispatch adds to a queue; 0 where dispatches do not count.
    added: f64,
    doors: f64,
    entries: Vec<Entry>,
    total: f64,
}

impl Table {
    /// Builds it in O(n). `queue_per_session` is r, the run queue that one session adds; `doors` is K, the live doors, each of which
    /// is taken to send about as many as this one. [`RoutePolicy::Auto`] is for the caller to resolve; here it is the default.
    pub fn build(policy: RoutePolicy, queue_per_session: f64, doors: u32, candidates: &[Candidate]) -> Self {
        let policy = if policy == RoutePolicy::Auto { RoutePolicy::default() } else { policy };
        let doors = f64::from(doors.max(1));
        let added = match policy {
            RoutePolicy::Sessions => doors,
            RoutePolicy::Paper | RoutePolicy::Random | RoutePolicy::Inverse | RoutePolicy::LeastReported => 0.0,
            _ => doors * queue_per_session,
        };
        let mut table = Self { policy, added, doors, entries: Vec::with_capacity(candidates.len()), total: 0.0 };
        let average = average(policy, candidates);
        for candidate in candidates {
            let (queue, speed) = estimate(policy, candidate, average);
            let mut entry = Entry {
                server: candidate.server,
                slot: candidate.slot,
                dispatch_base: candidate.dispatch_base,
                queue,
                speed: speed.max(1e-6),
                own: 1.0,
                floor: 0.0,
                bound: 0.0,
                room: candidate.room.map_or(f64::INFINITY, f64::from),
            };
            entry.bound = table.rate(&entry, 0.0);
            table.entries.push(entry);
        }
        let average = table.entries.iter().map(|e| e.bound).sum::<f64>() / table.entries.len().max(1) as f64;
        let draws = policy.search() == Search::Draw;
        for (entry, candidate) in table.entries.iter_mut().zip(candidates) {
            let stale = if draws { stale(candidate) } else { 0.0 };
            let fair = candidate.ramp.clamp(RAMP_MIN, 1.0) * candidate.preference.clamp(PREFERENCE_MIN, 1.0);
            entry.own = (1.0 - stale) * fair;
            entry.floor = stale * average * fair;
            entry.bound = entry.own * entry.bound + entry.floor;
        }
        table.total = table.entries.iter().map(|e| e.bound).sum();
        table
    }

    pub(super) fn search(&self) -> Search {
        self.policy.search()
    }

    /// The weights, or scores, now.
    pub(super) fn weights(&self, dispatched: &(impl FarmDispatched + ?Sized)) -> impl ExactSizeIterator<Item = f64> {
        self.entries.iter().map(|entry| self.weight_now(entry, dispatched))
    }

    /// The weight, or score, of an entry now.
    pub(super) fn weight(&self, at: usize, dispatched: &(impl FarmDispatched + ?Sized)) -> f64 {
        self.entries.get(at).map_or(0.0, |entry| self.weight_now(entry, dispatched))
    }

    /// The chances by which two are drawn to be compared.
    pub(super) fn chances(&self) -> impl ExactSizeIterator<Item = f64> {
        self.entries.iter().map(|entry| entry.own * entry.speed)
    }

    /// The index of an entry's server.
    pub(super) fn server(&self, at: usize) -> Option<usize> {
        self.entries.get(at).map(|entry| entry.server as usize)
    }

    /// The rule that it was built for.
    pub fn policy(&self) -> RoutePolicy {
        self.policy
    }

    /// Servers and their weights as of the reports, adding up to 1: their shares of new sessions, where the rule draws by weight.
    pub fn shares(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let total = if self.total > 0.0 { self.total } else { 1.0 };
        self.entries.iter().map(move |e| (e.server as usize, e.bound / total))
    }

    /// Places that are free now on all servers together, as far as they have limits.
    pub fn room(&self, dispatched: &(impl FarmDispatched + ?Sized)) -> u32 {
        // A cast saturates.
        self.entries.iter().map(|e| (e.room - self.doors * Self::since(e, dispatched)).max(0.0)).sum::<f64>() as u32
    }

    /// Whether no server takes new sessions.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sessions that this door has sent there since its report.
    fn since(entry: &Entry, dispatched: &(impl FarmDispatched + ?Sized)) -> f64 {
        f64::from(dispatched.total(entry.slot).wrapping_sub(entry.dispatch_base))
    }

    fn weight_now(&self, entry: &Entry, dispatched: &(impl FarmDispatched + ?Sized)) -> f64 {
        let since = Self::since(entry, dispatched);
        if self.doors * since >= entry.room {
            return 0.0;
        }
        if self.added == 0.0 { entry.bound } else { entry.own * self.rate(entry, self.added * since) + entry.floor }
    }

    /// What the rule makes of speed and queue: `mu/(1+qhat)` with `qhat = max(0, q + added - mu*a)`, or a power of it.
    fn rate(&self, entry: &Entry, added: f64) -> f64 {
        let rate = entry.speed / (1.0 + (entry.queue + added).max(0.0));
        match self.policy {
            RoutePolicy::Weighted | RoutePolicy::Auto => (rate * rate) * (rate * rate),
            RoutePolicy::Square => rate * rate,
            RoutePolicy::Paper => 1.0 / entry.queue.max(0.5),
            RoutePolicy::Random => 1.0,
            _ => rate,
        }
    }
}

/// How much of its say a report has lost: 0 to 1.
fn stale(candidate: &Candidate) -> f64 {
    let overdue = candidate.age_ms as f64 / candidate.period_ms.max(1) as f64 - 1.0;
    (overdue / MISSED_PERIODS).clamp(0.0, 1.0)
}

/// Queue and speed in the rule's own units.
fn reported(policy: RoutePolicy, candidate: &Candidate) -> (f64, f64) {
    match policy {
        RoutePolicy::Sessions => (candidate.sessions + SESSIONS_PER_TASK * candidate.queue, candidate.capacity),
        RoutePolicy::TwoQueues | RoutePolicy::Inverse | RoutePolicy::LeastReported | RoutePolicy::Paper => {
            (candidate.queue, 1.0)
        }
        _ => (candidate.queue - candidate.drain_per_s * candidate.age_ms as f64 / 1_000.0, candidate.speed),
    }
}

/// The mean of those who report.
fn average(policy: RoutePolicy, candidates: &[Candidate]) -> (f64, f64) {
    let (mut queue, mut speed, mut count) = (0.0, 0.0, 0.0_f64);
    for candidate in candidates.iter().filter(|c| c.reported) {
        let (q, s) = reported(policy, candidate);
        (queue, speed, count) = (queue + q, speed + s, count + 1.0);
    }
    if count > 0.0 { (queue / count, speed / count) } else { (0.0, 1.0) }
}

/// What is believed of a candidate. A rule that takes the best would send all to one whose weight is the average and stays so: there,
/// a stale report's queue becomes the average one, and own dispatches count on.
fn estimate(policy: RoutePolicy, candidate: &Candidate, average: (f64, f64)) -> (f64, f64) {
    if !candidate.reported {
        return average;
    }
    let (queue, speed) = reported(policy, candidate);
    let stale = if policy.search() == Search::Draw { 0.0 } else { stale(candidate) };
    (queue + stale * (average.0 - queue), speed + stale * (average.1 - speed))
}

#[cfg(test)]
mod tests;

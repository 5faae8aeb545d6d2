//! Counters of the front door: plain atomics, each worker its own set, so that counting costs no shared cache line.
//!
//! They only rise. Whoever wants a sum reads them all; nobody resets one.

use super::waiting::Waiting;
use redirector_core::door::{Dispatched, REJECT_REASONS};
use redirector_core::farm::SLOTS_MAX;
use redirector_core::limit::Debts;
use redirector_core::room::Waiters;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// New sessions dispatched so far, by farm and slot, of all workers, who waits for each farm, and what sources owe: the core's
/// decisions need them together.
#[derive(Debug)]
pub struct Dispatches {
    farms: Box<[OfFarm]>,
    debts: Option<Debts>,
}

#[derive(Debug)]
struct OfFarm {
    slots: Box<[AtomicU32]>,
    /// Requests told to come back.
    waits: AtomicU64,
    waiting: Waiting,
}

impl Dispatches {
    /// Zero for so many farms.
    pub fn new(farms: usize) -> Self {
        let counters = || (0..SLOTS_MAX).map(|_| AtomicU32::new(0)).collect();
        let farms = (0..farms)
            .map(|_| OfFarm { slots: counters(), waits: AtomicU64::new(0), waiting: Waiting::default() })
            .collect();
        Self { farms, debts: None }
    }

    /// The same, with an account of what sources owe.
    pub fn with_debts(self, secret: [u64; 2]) -> Self {
        Self { debts: Some(Debts::new(secret)), ..self }
    }

    /// One new session went to this slot of a farm.
    pub fn add(&self, farm: u16, slot: u32) {
        if let Some(counter) = self.counter(farm, slot) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One request for a farm was told to come back.
    pub fn add_wait(&self, farm: u16) {
        if let Some(farm) = self.farms.get(usize::from(farm)) {
            count(&farm.waits);
        }
    }

    /// Requests for a farm that were told to come back.
    pub fn waits(&self, farm: u16) -> u64 {
        self.farms.get(usize::from(farm)).map_or(0, |farm| farm.waits.load(Ordering::Relaxed))
    }

    /// Who waits for a farm.
    pub fn waiting(&self, farm: u16) -> Option<&Waiting> {
        self.farms.get(usize::from(farm)).map(|farm| &farm.waiting)
    }

    fn counter(&self, farm: u16, slot: u32) -> Option<&AtomicU32> {
        self.farms.get(usize::from(farm))?.slots.get(slot as usize)
    }
}

impl Dispatched for Dispatches {
    fn total(&self, farm: u16, slot: u32) -> u32 {
        self.counter(farm, slot).map_or(0, |n| n.load(Ordering::Relaxed))
    }

    fn waiters(&self, farm: u16) -> Option<&dyn Waiters> {
        self.waiting(farm).map(|waiting| waiting as &dyn Waiters)
    }

    fn debts(&self) -> Option<&Debts> {
        self.debts.as_ref()
    }
}

/// What a redirect to a server may have for a status.
pub const REDIRECT_STATUSES: [u16; 4] = [302, 307, 303, 308];
const REDIRECTS: usize = 2 * REDIRECT_STATUSES.len();

/// Answers that are neither redirects to servers, nor waits, nor refusals.
pub const OTHERS: [&str; 8] =
    ["moved", "reentry", "assigned", "preflight", "unfollowable", "maintenance", "challenge", "limited"];

/// The counters of one worker.
#[derive(Debug, Default)]
pub struct Tally {
    /// Redirects to servers: for each of [`REDIRECT_STATUSES`] the new sessions, then the returning ones.
    pub redirects: [AtomicU64; REDIRECTS],
    /// Other answers, by the index of [`OTHERS`].
    pub others: [AtomicU64; OTHERS.len()],
    /// Rejects by the index of [`REJECT_REASONS`].
    pub rejects: [AtomicU64; REJECT_REASONS.len()],
    /// 503 for want of a server.
    pub waits: AtomicU64,
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections closed at once because too many were open.
    pub refused: AtomicU64,
    /// Connections closed at once because their source had as many as it may.
    pub over_source: AtomicU64,
    /// Connections closed to make room for others.
    pub shed: AtomicU64,
    /// Connections of listed proxies that did not begin with a PROXY header.
    pub unproxied: AtomicU64,
    /// Connections closed because too much came that asked for nothing.
    pub flood: AtomicU64,
    /// TLS handshakes that failed, or took too long.
    pub handshakes_failed: AtomicU64,
    /// TLS handshakes with a certificate.
    pub handshakes_full: AtomicU64,
    /// TLS handshakes by a ticket.
    pub handshakes_resumed: AtomicU64,
    /// Connections closed because no request came in time.
    pub late: AtomicU64,
    /// Connections that broke HTTP, or broke off.
    pub broken: AtomicU64,
}

/// The sum of several workers' counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TallySum {
    /// See [`Tally::redirects`].
    pub redirects: [u64; REDIRECTS],
    /// See [`Tally::others`].
    pub others: [u64; OTHERS.len()],
    /// See [`Tally::rejects`].
    pub rejects: [u64; REJECT_REASONS.len()],
    /// See [`Tally::waits`].
    pub waits: u64,
    /// See [`Tally::accepted`].
    pub accepted: u64,
    /// See [`Tally::refused`].
    pub refused: u64,
    /// See [`Tally::over_source`].
    pub over_source: u64,
    /// See [`Tally::shed`].
    pub shed: u64,
    /// See [`Tally::unproxied`].
    pub unproxied: u64,
    /// See [`Tally::flood`].
    pub flood: u64,
    /// See [`Tally::handshakes_failed`].
    pub handshakes_failed: u64,
    /// See [`Tally::handshakes_full`].
    pub handshakes_full: u64,
    /// See [`Tally::handshakes_resumed`].
    pub handshakes_resumed: u64,
    /// See [`Tally::late`].
    pub late: u64,
    /// See [`Tally::broken`].
    pub broken: u64,
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Tally {
    pub(super) fn redirect(&self, status: u16, returning: bool) {
        let at = REDIRECT_STATUSES.iter().position(|s| *s == status).unwrap_or(0);
        if let Some(counter) = self.redirects.get(at * 2 + usize::from(returning)) {
            count(counter);
        }
    }

    pub(super) fn other(&self, kind: &str) {
        if let Some(counter) = OTHERS.iter().position(|k| *k == kind).and_then(|i| self.others.get(i)) {
            count(counter);
        }
    }

    pub(super) fn reject(&self, reason: &str) {
        if let Some(counter) = REJECT_REASONS.iter().position(|r| *r == reason).and_then(|i| self.rejects.get(i)) {
            count(counter);
        }
    }
}

impl TallySum {
    /// Redirects of new sessions and of returning ones, whatever their status.
    pub fn sessions(&self) -> (u64, u64) {
        let every = |first| self.redirects.iter().skip(first).step_by(2).sum();
        (every(0), every(1))
    }
}

impl AddAssign<&Tally> for TallySum {
    fn add_assign(&mut self, tally: &Tally) {
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        for (sum, n) in self.redirects.iter_mut().zip(&tally.redirects) {
            *sum += read(n);
        }
        for (sum, n) in self.others.iter_mut().zip(&tally.others) {
            *sum += read(n);
        }
        for (sum, n) in self.rejects.iter_mut().zip(&tally.rejects) {
            *sum += read(n);
        }
        self.waits += read(&tally.waits);
        self.accepted += read(&tally.accepted);
        self.refused += read(&tally.refused);
        self.over_source += read(&tally.over_source);
        self.shed += read(&tally.shed);
        self.unproxied += read(&tally.unproxied);
        self.flood += read(&tally.flood);
        self.handshakes_failed += read(&tally.handshakes_failed);
        self.handshakes_full += read(&tally.handshakes_full);
        self.handshakes_resumed += read(&tally.handshakes_resumed);
        self.late += read(&tally.late);
        self.broken += read(&tally.broken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_counter() {
        let tally = Tally::default();
        for (status, returning) in
            [(302, false), (302, true), (307, false), (307, true), (307, true), (303, true), (308, false)]
        {
            tally.redirect(status, returning);
        }
        for reason in REJECT_REASONS {
            tally.reject(reason);
        }
        tally.reject("no such reason");
        for kind in OTHERS {
            tally.other(kind);
        }
        tally.other("no such kind");
        let mut sum = TallySum::default();
        sum += &tally;
        sum += &tally;
        assert_eq!(sum.redirects, [2, 2, 2, 4, 0, 2, 2, 0]);
        assert_eq!(sum.sessions(), (6, 8));
        assert_eq!(sum.others, [2; OTHERS.len()]);
        assert_eq!(sum.rejects, [2; REJECT_REASONS.len()]);
    }

    #[test]
    fn slots_out_of_range_count_nowhere() {
        let dispatches = Dispatches::new(2);
        dispatches.add(1, 3);
        dispatches.add(1, u32::MAX);
        dispatches.add(2, 3);
        let total = |farm, slot| dispatches.total(farm, slot);
        assert_eq!([total(1, 3), total(0, 3), total(1, 4), total(1, u32::MAX), total(2, 3)], [1, 0, 0, 0, 0]);
    }
}

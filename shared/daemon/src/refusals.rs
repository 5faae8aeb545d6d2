//! Counters of heartbeats: taken, and refused by reason. Every reason is shown from the start, so that a rate has a zero to rise from.

use farm_shared::exposition::{Exposition, Kind};
use farm_shared::heartbeat::Refusal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one receiver.
#[derive(Debug, Default)]
pub struct Refusals {
    by_reason: [AtomicU64; Refusal::REASONS.len()],
    taken: AtomicU64,
    queue_full: AtomicU64,
    pub(crate) connections: Arc<AtomicU64>,
}

impl Refusals {
    /// One message was refused.
    pub fn count(&self, refusal: &Refusal) {
        let reason = refusal.reason();
        if let Some((_, count)) = Refusal::REASONS.iter().zip(&self.by_reason).find(|(r, _)| **r == reason) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were refused for a reason ([`Refusal::reason`], or `queue_full`).
    pub fn refused(&self, reason: &str) -> u64 {
        self.all().find(|(r, _)| *r == reason).map_or(0, |(_, n)| n)
    }

    /// Messages that passed every check of [`farm_shared::heartbeat::Keyring::open`] and were handed on.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn count_taken(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// A message found no room in a queue.
    pub fn count_queue_full(&self) {
        self.queue_full.fetch_add(1, Ordering::Relaxed);
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let reasons = Refusal::REASONS.into_iter().zip(self.by_reason.iter().map(load));
        reasons.chain(std::iter::once(("queue_full", load(&self.queue_full))))
    }

    /// The metrics of a receiver.
    pub fn expose(&self, out: &mut Exposition) {
        let taken = "Heartbeats whose signature, schema, address and time were right.";
        out.single("farm_heartbeats_total", Kind::Counter, taken, self.taken());
        out.family("farm_heartbeats_refused_total", Kind::Counter, &["reason"], "Heartbeats that were dropped, by reason.");
        for (reason, count) in self.all() {
            out.sample(&[("reason", reason)], count);
        }
        let refused = "Connections with HTTP heartbeats that were closed because there were too many.";
        out.single(
            "farm_heartbeat_connections_refused_total",
            Kind::Counter,
            refused,
            self.connections.load(Ordering::Relaxed),
        );
    }
}

//! Counters of the control side: reloads and what a scrape needs beside the tallies.
//!
//! Written rarely and read by a scrape; nothing here is on the path of a query.

use farm_shared::time::Wall;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of the control loop.
#[derive(Debug, Default)]
pub struct Meters {
    reloads_ok: AtomicU64,
    reloads_failed: AtomicU64,
    reloaded_ms: AtomicU64,
    publications: AtomicU64,
}

impl Meters {
    /// A configuration was put in force, at start or by a reload.
    pub fn configured(&self, at: Wall) {
        self.reloaded_ms.store(at.0, Relaxed);
    }

    /// A reload was tried.
    pub fn reloaded(&self, ok: bool) {
        if ok { &self.reloads_ok } else { &self.reloads_failed }.fetch_add(1, Relaxed);
    }

    /// A snapshot was published.
    pub fn published(&self) {
        self.publications.fetch_add(1, Relaxed);
    }

    /// Reloads that succeeded and that failed; snapshots published; when the configuration in force was read, in seconds since the
    /// epoch.
    pub fn read(&self) -> (u64, u64, u64, f64) {
        let [ok, failed, published, at_ms] = [&self.reloads_ok, &self.reloads_failed, &self.publications, &self.reloaded_ms]
            .map(|counter| counter.load(Relaxed));
        (ok, failed, published, at_ms as f64 / 1e3)
    }
}

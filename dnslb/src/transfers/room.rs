//! What all transfers under way hold together, in octets of records.
//!
//! Sixteen hostile primaries must not cost sixteen times the memory of one: all of them together may hold what the largest zone alone
//! may. What is over that fails as too much, and is tried again when its time comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The part of one transfer, given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    all: Arc<AtomicU64>,
    all_max: u64,
    taken: u64,
}

impl Room {
    /// None of `all` yet, which may grow to `all_max`.
    pub(super) fn new(all: &Arc<AtomicU64>, all_max: u64) -> Self {
        Self { all: Arc::clone(all), all_max, taken: 0 }
    }

    /// Takes so much in all from now on; false if others have what is missing.
    pub(super) fn take(&mut self, octets: u64) -> bool {
        let more = octets.saturating_sub(self.taken);
        let grow = |all: u64| all.checked_add(more).filter(|all| *all <= self.all_max);
        let fits = self.all.fetch_update(Relaxed, Relaxed, grow).is_ok();
        if fits {
            self.taken += more;
        }
        fits
    }

    /// Gives all of it back: what was held is gone.
    pub(super) fn clear(&mut self) {
        self.all.fetch_sub(std::mem::take(&mut self.taken), Relaxed);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_together_take_no_more_than_is_there() {
        let all = Arc::default();
        let (mut one, mut other) = (Room::new(&all, 100), Room::new(&all, 100));
        assert!(one.take(40) && one.take(60) && other.take(40));
        assert!(!other.take(41) && !one.take(61) && !one.take(u64::MAX));
        assert!(other.take(10), "it has more than that");
        drop(one);
        assert!(other.take(100) && !other.take(101));
        other.clear();
        assert!(other.take(1));
        drop(other);
        assert_eq!(all.load(Relaxed), 0);
    }
}

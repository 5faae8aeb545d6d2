//! What became of looks at primaries, counted.
//!
//! Counting must never lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How a look at a primary ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    /// There was nothing newer.
    Same,
    /// With a whole zone.
    Whole,
    /// With changes.
    Changes,
    /// It could not be reached, or fell silent.
    Unreachable,
    /// It refused.
    Refused,
    /// Its signature, or its certificate, did not hold.
    NotTrusted,
    /// It sent what is no transfer.
    Malformed,
    /// It sent more than is allowed.
    TooMuch,
    /// What it sent could not be kept.
    NotKept,
}

impl Fetch {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Same,
        Self::Whole,
        Self::Changes,
        Self::Unreachable,
        Self::Refused,
        Self::NotTrusted,
        Self::Malformed,
        Self::TooMuch,
        Self::NotKept,
    ];

    /// The label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Whole => "whole",
            Self::Changes => "changes",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::NotTrusted => "not_trusted",
            Self::Malformed => "malformed",
            Self::TooMuch => "too_much",
            Self::NotKept => "not_kept",
        }
    }
}

/// The counters.
#[derive(Debug, Default)]
pub struct Counters {
    fetched: [AtomicU64; Fetch::ALL.len()],
    given_up: AtomicU64,
}

impl Counters {
    pub(super) fn fetched(&self, what: Fetch) {
        if let Some(counter) = self.fetched.get(what as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn given_up(&self, so_far: u64) {
        self.given_up.store(so_far, Relaxed);
    }

    /// Looks at primaries so far, by how they ended.
    pub fn all_fetched(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Fetch::ALL.into_iter().zip(&self.fetched).map(|(what, counter)| (what.label(), counter.load(Relaxed)))
    }

    /// Secondaries that never answered a notification of one version.
    pub fn all_given_up(&self) -> u64 {
        self.given_up.load(Relaxed)
    }
}

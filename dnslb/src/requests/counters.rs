//! What became of requests, counted.
//!
//! Counting must never lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a request was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Too many requests are under way.
    Busy,
    /// Too many of this client are.
    ClientBusy,
    /// It is signed with a key that is not known.
    BadKey,
    /// Its signature does not hold.
    BadSig,
    /// It was signed at another time.
    BadTime,
    /// It is malformed.
    Malformed,
    /// No rule allows it.
    Denied,
    /// The answer could not be sent.
    NotSent,
}

impl Refused {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Busy,
        Self::ClientBusy,
        Self::BadKey,
        Self::BadSig,
        Self::BadTime,
        Self::Malformed,
        Self::Denied,
        Self::NotSent,
    ];

    /// The label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::ClientBusy => "client_busy",
            Self::BadKey => "bad_key",
            Self::BadSig => "bad_sig",
            Self::BadTime => "bad_time",
            Self::Malformed => "malformed",
            Self::Denied => "denied",
            Self::NotSent => "not_sent",
        }
    }
}

/// The counters.
#[derive(Debug, Default)]
pub struct Counters {
    refused: [AtomicU64; Refused::ALL.len()],
}

impl Counters {
    pub(super) fn refused(&self, why: Refused) {
        if let Some(counter) = self.refused.get(why as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Requests that were not done so far, by reason.
    pub fn all_refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refused::ALL.into_iter().zip(&self.refused).map(|(why, counter)| (why.label(), counter.load(Relaxed)))
    }
}

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

/// What a transfer out was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transferred {
    /// A whole zone.
    Whole,
    /// Changes.
    Changes,
    /// The SOA record alone: nothing was newer.
    Same,
    /// It was not taken to its end.
    Broken,
}

impl Transferred {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Whole, Self::Changes, Self::Same, Self::Broken];

    /// The label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Changes => "changes",
            Self::Same => "same",
            Self::Broken => "broken",
        }
    }
}

/// The counters.
#[derive(Debug, Default)]
pub struct Counters {
    refused: [AtomicU64; Refused::ALL.len()],
    transferred: [AtomicU64; Transferred::ALL.len()],
}

impl Counters {
    pub(super) fn refused(&self, why: Refused) {
        if let Some(counter) = self.refused.get(why as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn transferred(&self, what: Transferred) {
        if let Some(counter) = self.transferred.get(what as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Transfers out so far, by what they were.
    pub fn all_transferred(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Transferred::ALL.into_iter().zip(&self.transferred).map(|(what, counter)| (what.label(), counter.load(Relaxed)))
    }

    /// Requests that were not done so far, by reason.
    pub fn all_refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refused::ALL.into_iter().zip(&self.refused).map(|(why, counter)| (why.label(), counter.load(Relaxed)))
    }
}

//! What was answered, counted: one [`Tally`] per thread that answers, added up when somebody asks. (Who was named is counted in
//! [`crate::named`].)
//!
//! Counting must never lock, allocate or share a cache line between busy threads.

use dnslb_core::cookie::Proof;
use dnslb_core::online::Accounts;
use dnslb_core::respond::{Reply, Transport};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Response codes that are counted each on their own (RFC 6895 2.3: 0 to 23 are assigned); higher ones count as the last.
const RCODES: usize = 25;

/// Number of transports.
const TRANSPORTS: usize = Transport::ALL.len();

/// Why a datagram or a frame got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Too short for a header, or a response.
    NotAQuery,
    /// Sent from port 0, which nothing can be sent back to.
    SourcePort,
    /// Longer than the receive buffer.
    TooLong,
    /// Answering panicked: a defect. The rest of the batch was dropped with it.
    Defect,
}

impl Dropped {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::NotAQuery, Self::SourcePort, Self::TooLong, Self::Defect];

    /// The label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotAQuery => "not_a_query",
            Self::SourcePort => "source_port",
            Self::TooLong => "too_long",
            Self::Defect => "defect",
        }
    }
}

/// What became of an answer that a rate limit held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Nothing was sent.
    Dropped,
    /// TC was sent instead.
    Truncated,
    /// BADCOOKIE was sent instead, with a good cookie.
    BadCookie,
    /// It was sent, because limits are only counted.
    Logged,
}

impl Limited {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Dropped, Self::Truncated, Self::BadCookie, Self::Logged];

    /// The label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Truncated => "truncated",
            Self::BadCookie => "badcookie",
            Self::Logged => "logged",
        }
    }
}

/// What cookies say, by the label in metrics: those of [`Proof`] but for `None`.
const PROOFS: [(Proof, &str); 3] = [(Proof::Asks, "client_only"), (Proof::Invalid, "invalid"), (Proof::Valid, "valid")];

/// The counters of one thread. Each begins on a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
pub struct Tally {
    answers: [[AtomicU64; RCODES]; TRANSPORTS],
    truncated: [AtomicU64; TRANSPORTS],
    dropped: [AtomicU64; Dropped::ALL.len()],
    limited: [AtomicU64; Limited::ALL.len()],
    /// By [`Proof`].
    cookies: [AtomicU64; PROOFS.len() + 1],
    send_errors: AtomicU64,
    /// What it may sign at once, over UDP and over streams.
    signed: [Arc<Accounts>; 2],
}

impl Tally {
    /// One answer.
    pub fn answered(&self, transport: Transport, reply: &Reply<'_>) {
        let transport = transport as usize;
        let rcode = usize::from(reply.rcode).min(RCODES - 1);
        if let Some(counter) = self.answers.get(transport).and_then(|row| row.get(rcode)) {
            counter.fetch_add(1, Relaxed);
        }
        if reply.truncated
            && let Some(counter) = self.truncated.get(transport)
        {
            counter.fetch_add(1, Relaxed);
        }
        if reply.proof != Proof::None
            && let Some(counter) = self.cookies.get(reply.proof as usize)
        {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// One answer that a rate limit held back.
    pub fn limited(&self, how: Limited) {
        if let Some(counter) = self.limited.get(how as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// One question without an answer.
    pub fn dropped(&self, why: Dropped) {
        if let Some(counter) = self.dropped.get(why as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// What a UDP worker of this thread signs on account of.
    pub fn signed_for_datagrams(&self) -> Arc<Accounts> {
        Arc::clone(&self.signed[0])
    }

    /// What the connections of this thread sign on account of.
    pub fn signed_for_streams(&self) -> Arc<Accounts> {
        Arc::clone(&self.signed[1])
    }

    /// Answers that the kernel refused to send.
    pub fn send_failed(&self, answers: usize) {
        if answers > 0 {
            self.send_errors.fetch_add(answers as u64, Relaxed);
        }
    }
}

/// The tallies of all threads.
#[derive(Clone, Default)]
pub struct Tallies(Arc<[Arc<Tally>]>);

impl Tallies {
    /// Tallies for so many threads.
    pub fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| Arc::default()).collect())
    }

    /// The tally of one thread; of the last one for a number beyond.
    pub fn get(&self, thread: usize) -> Arc<Tally> {
        self.0.get(thread).or_else(|| self.0.last()).cloned().unwrap_or_default()
    }

    /// Answers so far, as (transport, response code, count); those that never came are left out.
    pub fn answers(&self) -> Vec<(&'static str, u16, u64)> {
        let mut rows = Vec::new();
        for (t, transport) in Transport::ALL.into_iter().enumerate() {
            for rcode in 0..RCODES {
                let total = self.sum(|tally| tally.answers.get(t).and_then(|row| row.get(rcode)));
                if total > 0 {
                    rows.push((transport.label(), rcode as u16, total));
                }
            }
        }
        rows
    }

    /// Answers so far with the TC bit, by transport.
    pub fn truncated(&self) -> [(&'static str, u64); TRANSPORTS] {
        Transport::ALL.map(|transport| (transport.label(), self.sum(|tally| tally.truncated.get(transport as usize))))
    }

    /// Questions so far that got no answer, by reason.
    pub fn dropped(&self) -> [(Dropped, u64); Dropped::ALL.len()] {
        Dropped::ALL.map(|why| (why, self.sum(|tally| tally.dropped.get(why as usize))))
    }

    /// Answers so far that a rate limit held back, by what became of them.
    pub fn limited(&self) -> [(Limited, u64); Limited::ALL.len()] {
        Limited::ALL.map(|how| (how, self.sum(|tally| tally.limited.get(how as usize))))
    }

    /// Answers so far to queries with a cookie, by what it says.
    pub fn cookies(&self) -> [(&'static str, u64); PROOFS.len()] {
        PROOFS.map(|(proof, label)| (label, self.sum(|tally| tally.cookies.get(proof as usize))))
    }

    /// Signatures so far that were made while a question waited, and those that were refused.
    pub fn signed(&self) -> (u64, u64) {
        let accounts = || self.0.iter().flat_map(|tally| &tally.signed);
        (accounts().map(|account| account.made()).sum(), accounts().map(|account| account.refused()).sum())
    }

    /// Answers so far that the kernel refused to send.
    pub fn send_errors(&self) -> u64 {
        self.sum(|tally| Some(&tally.send_errors))
    }

    fn sum<'a>(&'a self, counter: impl Fn(&'a Tally) -> Option<&'a AtomicU64>) -> u64 {
        self.0.iter().filter_map(|tally| counter(tally)).map(|counter| counter.load(Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let tallies = Tallies::new(2);
        let reply = |rcode, truncated| Reply { len: 20, rcode, truncated, ..Reply::default() };
        tallies.get(0).answered(Transport::Udp, &reply(0, false));
        tallies.get(1).answered(Transport::Udp, &reply(0, true));
        tallies.get(1).answered(Transport::Tcp, &reply(4_000, false));
        tallies.get(9).dropped(Dropped::TooLong);
        tallies.get(0).send_failed(0);
        tallies.get(0).send_failed(2);
        tallies.get(0).limited(Limited::BadCookie);
        tallies.get(1).answered(Transport::Quic, &Reply { proof: Proof::Valid, ..reply(0, false) });
        assert_eq!(tallies.answers(), [("udp", 0, 2), ("tcp", 24, 1), ("quic", 0, 1)]);
        assert_eq!(tallies.truncated(), [("udp", 1), ("tcp", 0), ("tls", 0), ("https", 0), ("quic", 0)]);
        assert_eq!(tallies.dropped().map(|(_, n)| n), [0, 0, 1, 0]);
        assert_eq!(tallies.send_errors(), 2);
        assert_eq!(tallies.limited().map(|(_, n)| n), [0, 0, 1, 0]);
        assert_eq!(tallies.cookies(), [("client_only", 0), ("invalid", 0), ("valid", 1)]);
    }
}

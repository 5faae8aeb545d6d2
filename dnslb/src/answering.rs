//! What every transport needs to answer: the snapshot, the clock, the draws and where to count.

use arc_swap::{ArcSwap, Guard};
use dnslb_core::cookie::Proof;
use dnslb_core::online::OnlineSigner;
use dnslb_core::respond::{Reply, Transport, respond_limited, respond_signing};
use dnslb_core::rrl::{self, Table, Verdict};
use farm_daemon::clock::Clock;
use farm_shared::draw::Draws;
use farm_shared::time::Now;
use std::net::IpAddr;
use std::sync::Arc;

use crate::named::Live;
use crate::query_log::QueryLog;
use crate::tally::{Dropped, Limited, Tallies, Tally};

/// Where the control loop publishes.
pub type Published = Arc<ArcSwap<Live>>;

/// What is common to all answering threads.
#[derive(Clone)]
pub struct Answering {
    /// The current snapshot.
    pub published: Published,
    /// The daemon's clock.
    pub clock: Clock,
    /// One tally for each [`Answerer`].
    pub tallies: Tallies,
    /// The sampled query log.
    pub log: QueryLog,
    /// The parent of the answering threads' draws.
    pub draws: Draws,
    /// What networks were sent lately over UDP, if the daemon was started with a rate limit.
    pub sent: Option<Arc<Table>>,
}

impl Answering {
    /// The answerer of one connection's task; `thread` chooses its tally and its stream of draws. All connections of a thread
    /// share what they may sign.
    pub fn answerer(&self, thread: usize, stream: u64) -> Answerer {
        let signer = OnlineSigner::passing(self.tallies.get(thread).signed_for_streams());
        self.signing(thread, stream, signer)
    }

    /// The answerer of a UDP worker, which lives long enough to keep what it signed.
    pub fn worker(&self, thread: usize, stream: u64) -> Answerer {
        let signer = OnlineSigner::keeping(self.tallies.get(thread).signed_for_datagrams());
        self.signing(thread, stream, signer)
    }

    fn signing(&self, thread: usize, stream: u64, signer: OnlineSigner) -> Answerer {
        Answerer {
            signer,
            published: Arc::clone(&self.published),
            clock: self.clock,
            thread,
            tally: self.tallies.get(thread),
            log: self.log.clone(),
            draws: self.draws.child("answers", stream),
            sent: self.sent.clone(),
        }
    }
}

/// Answers questions, one after the other.
pub struct Answerer {
    signer: OnlineSigner,
    published: Published,
    clock: Clock,
    thread: usize,
    tally: Arc<Tally>,
    log: QueryLog,
    draws: Draws,
    sent: Option<Arc<Table>>,
}

/// An [`Answerer`] with one snapshot and one reading of the clock: for one batch.
pub struct Round<'a> {
    signer: &'a mut OnlineSigner,
    live: Guard<Arc<Live>>,
    now: Now,
    thread: usize,
    tally: &'a Tally,
    log: &'a QueryLog,
    draws: &'a mut Draws,
    sent: Option<&'a Table>,
}

impl Answerer {
    /// Takes the current snapshot and time for a batch. Between batches nothing holds a snapshot: a thousand idle connections must
    /// not keep a thousand old ones alive.
    pub fn round(&mut self) -> Round<'_> {
        Round {
            signer: &mut self.signer,
            live: self.published.load(),
            thread: self.thread,
            now: self.clock.now(),
            tally: &self.tally,
            log: &self.log,
            draws: &mut self.draws,
            sent: self.sent.as_deref(),
        }
    }

    /// Where this answerer counts.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }
}

/// What came of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// So many octets are the answer.
    Whole(usize),
    /// Nothing may be sent.
    Nothing,
    /// It is more than a plain query: [`crate::requests::Lane`] answers it.
    Special,
}

impl Round<'_> {
    /// Answers one question into `out`.
    pub fn answer(&mut self, transport: Transport, client: IpAddr, query: &[u8], out: &mut [u8]) -> Answered {
        let draw = self.draws.u64();
        let snapshot = &self.live.snapshot;
        let reply = respond_signing(snapshot, transport, client, query, self.now, draw, Some(self.signer), out);
        let Some(reply) = reply else {
            self.tally.dropped(Dropped::NotAQuery);
            return Answered::Nothing;
        };
        if reply.special {
            return Answered::Special;
        }
        let reply = match self.sent {
            Some(sent) if transport == Transport::Udp => {
                let Some(reply) = self.within_limits(sent, client, query, draw, reply, out) else {
                    return Answered::Nothing;
                };
                reply
            }
            _ => reply,
        };
        self.tally.answered(transport, &reply);
        if let Some(pool) = reply.pool {
            self.live.count(self.thread, pool, reply.class, reply.named, query);
        }
        self.log.offer(draw, client, transport, query, &reply);
        Answered::Whole(reply.len)
    }

    /// The reply that a rate limit allows; `None` if it allows none.
    fn within_limits<'s>(
        &'s self,
        sent: &Table,
        client: IpAddr,
        query: &[u8],
        draw: u64,
        reply: Reply<'s>,
        out: &mut [u8],
    ) -> Option<Reply<'s>> {
        let snapshot = &self.live.snapshot;
        let Some(policy) = snapshot.service.rrl.as_ref().filter(|_| reply.proof != Proof::Valid) else { return Some(reply) };
        match rrl::decide(sent, policy, self.now.mono, client, reply.response, draw) {
            Verdict::Pass => Some(reply),
            _ if policy.log_only => {
                self.tally.limited(Limited::Logged);
                Some(reply)
            }
            Verdict::Drop => {
                self.tally.limited(Limited::Dropped);
                None
            }
            Verdict::Slip => {
                let short = respond_limited(snapshot, client, query, self.now, out)?;
                self.tally.limited(if short.truncated { Limited::Truncated } else { Limited::BadCookie });
                Some(short)
            }
        }
    }

    /// Counts a question that is not answered.
    pub fn drop(&mut self, why: Dropped) {
        self.tally.dropped(why);
    }
}

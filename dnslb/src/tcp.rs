//! Questions over TCP, and over TLS: two octets of length, then the message (RFC 1035 4.2.2, RFC 7858 3.3), many in flight per
//! connection (RFC 7766).
//!
//! A client must never hold more than its share: connections are capped in all and per client, a connection ends when it brings
//! no whole question for a while, and a client that does not read is not waited for.

use dnslb_core::respond::{MESSAGE_LEN_MAX, Transport};
use std::cell::RefCell;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::accept::{Caps, Taken, accept};
use crate::answering::{Answered, Answerer, Answering};
use crate::requests::Lane;
use crate::security::Security;
use crate::tally::Dropped;
use crate::tcp_clients::{Admitted, Clients};

/// How long a connection may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// A connection that brings no whole question for so long is closed.
    pub idle_timeout: Duration,
    /// And any after so long.
    pub total_timeout: Duration,
}

/// How long a client may take to read its answers. Milliseconds are enough for one that is there.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers wait for one another up to so many octets before they are written.
const OUT_OCTETS: usize = 64 * 1024;

/// A read buffer begins so long, and grows only for a question that is longer.
const READ_OCTETS: usize = 4 * 1024;

thread_local! {
    /// One message's room for each thread of the runtime: answering never waits, so connections can share it.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; MESSAGE_LEN_MAX].into());
}

/// Whence a listener's connections get what they answer with.
pub struct Source {
    /// What is common to all.
    pub answering: Answering,
    /// Number of the tally.
    pub thread: usize,
    /// Number of the listener: each has draws of its own.
    pub address: u32,
    /// Where messages go that are more than plain queries.
    pub lane: Lane,
    /// Connections so far.
    connections: u64,
}

impl Source {
    /// A listener's source.
    pub fn new(answering: &Answering, lane: &Lane, thread: usize, address: u32) -> Self {
        Self { answering: answering.clone(), thread, address, lane: lane.clone(), connections: 0 }
    }

    /// What the next connection answers with.
    pub fn answerer(&mut self) -> Answerer {
        // The high bit keeps these streams of draws apart from those of the UDP workers.
        let stream = 1 << 63 | u64::from(self.address) << 40 | self.connections;
        self.connections += 1;
        self.answering.answerer(self.thread, stream)
    }
}

/// Accepts and serves until `stop` is set, then ends all connections. With `security`, the first thing is a handshake.
pub async fn serve(
    listener: TcpListener,
    mut source: Source,
    security: Option<Arc<Security>>,
    clients: Arc<Clients>,
    caps: Caps,
    limits: StreamLimits,
    stop: watch::Receiver<bool>,
) {
    accept(listener, clients, caps, stop, |Taken { stream, client, admitted }| {
        let (answerer, lane, security) = (source.answerer(), source.lane.clone(), security.clone());
        async move {
            match security {
                None => Connection::new(stream, Transport::Tcp, client, answerer, lane).serve(&admitted, limits).await,
                Some(security) => {
                    let Some(stream) = security.handshake(stream).await else { return };
                    Connection::new(stream, Transport::Tls, client, answerer, lane).serve(&admitted, limits).await;
                }
            }
        }
    })
    .await;
}

struct Connection<S> {
    stream: S,
    transport: Transport,
    client: IpAddr,
    answerer: Answerer,
    lane: Lane,
    /// Octets read and not yet answered: never more than one message and what came with it in one read.
    input: Vec<u8>,
    out: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(stream: S, transport: Transport, client: IpAddr, answerer: Answerer, lane: Lane) -> Self {
        Self { stream, transport, client, answerer, lane, input: Vec::new(), out: Vec::new() }
    }

    /// Serves until the client ends, errs, or runs out of time.
    async fn serve(mut self, admitted: &Admitted, limits: StreamLimits) {
        let end = Instant::now() + limits.total_timeout;
        let mut idle_end = (Instant::now() + limits.idle_timeout).min(end);
        loop {
            let wanted = wanted(&self.input).max(READ_OCTETS);
            self.input.reserve(wanted.saturating_sub(self.input.len()));
            match timeout_at(idle_end, self.stream.read_buf(&mut self.input)).await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) | Err(_) => return,
            }
            match self.answer_whole_frames(admitted).await {
                Step::Close => return,
                Step::Partial => {}
                // Only a whole question counts: octets that trickle in do not keep a connection.
                Step::Answered => idle_end = (Instant::now() + limits.idle_timeout).min(end),
            }
        }
    }

    async fn answer_whole_frames(&mut self, admitted: &Admitted) -> Step {
        let mut at = 0;
        let mut step = Step::Partial;
        loop {
            match frame(self.input.get(at..).unwrap_or_default()) {
                Frame::Partial => break,
                Frame::Empty => {
                    let _ = self.flush().await;
                    return Step::Close;
                }
                Frame::Whole(query) => {
                    at += 2 + query.len();
                    // Before its answer leaves, so that whoever has an answer is known to be active.
                    admitted.active();
                    match answer(&mut self.answerer, self.transport, self.client, query, &mut self.out) {
                        Answered::Whole(_) => {}
                        Answered::Nothing => {
                            let _ = self.flush().await;
                            return Step::Close;
                        }
                        Answered::Special => {
                            let mut messages = self.lane.stream(self.transport, self.client, query);
                            while let Some(message) = messages.recv().await {
                                admitted.active();
                                push_framed(&mut self.out, &message);
                                if self.flush().await.is_err() {
                                    return Step::Close;
                                }
                            }
                        }
                    }
                    step = Step::Answered;
                }
            }
            if self.out.len() >= OUT_OCTETS && self.flush().await.is_err() {
                return Step::Close;
            }
        }
        self.input.drain(..at);
        if self.input.is_empty() {
            self.input.shrink_to(READ_OCTETS);
        }
        if self.flush().await.is_err() { Step::Close } else { step }
    }

    async fn flush(&mut self) -> Result<(), ()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = timeout(WRITE_TIMEOUT, self.stream.write_all(&self.out)).await;
        self.out.clear();
        // A connection that once asked for something large shall not keep the memory.
        self.out.shrink_to(READ_OCTETS);
        if matches!(written, Ok(Ok(()))) { Ok(()) } else { Err(()) }
    }
}

enum Step {
    Answered,
    Partial,
    Close,
}

/// Appends the framed answer. Nothing of it means that the connection must be closed, since what came is no question.
pub(crate) fn answer(
    answerer: &mut Answerer,
    transport: Transport,
    client: IpAddr,
    query: &[u8],
    out: &mut Vec<u8>,
) -> Answered {
    let answered = catch_unwind(AssertUnwindSafe(|| {
        SCRATCH.with_borrow_mut(|scratch| {
            let answered = answerer.round().answer(transport, client, query, scratch);
            if let Answered::Whole(len) = answered {
                push_framed(out, scratch.get(..len).unwrap_or_default());
            }
            answered
        })
    }));
    answered.unwrap_or_else(|_| {
        answerer.tally().dropped(Dropped::Defect);
        Answered::Nothing
    })
}

/// Appends a message with its length before it.
pub(crate) fn push_framed(out: &mut Vec<u8>, message: &[u8]) {
    let len = message.len().min(MESSAGE_LEN_MAX);
    out.extend_from_slice(&(len as u16).to_be_bytes());
    out.extend_from_slice(message.get(..len).unwrap_or_default());
}

#[derive(Debug, PartialEq, Eq)]
enum Frame<'a> {
    Whole(&'a [u8]),
    Partial,
    /// A message of no octets: nothing can be answered, and nobody sends it by accident.
    Empty,
}

fn frame(input: &[u8]) -> Frame<'_> {
    let Some((prefix, rest)) = input.split_first_chunk::<2>() else { return Frame::Partial };
    match usize::from(u16::from_be_bytes(*prefix)) {
        0 => Frame::Empty,
        len => rest.get(..len).map_or(Frame::Partial, Frame::Whole),
    }
}

/// Octets that the buffer must hold for the first frame to become whole.
fn wanted(input: &[u8]) -> usize {
    input.first_chunk::<2>().map_or(2, |prefix| 2 + usize::from(u16::from_be_bytes(*prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let check = |input: &[u8], expect: Frame<'_>, expect_wanted: usize| {
            assert_eq!((frame(input), wanted(input)), (expect, expect_wanted), "{input:?}");
        };
        check(b"", Frame::Partial, 2);
        check(b"\x00", Frame::Partial, 2);
        check(b"\x00\x00abc", Frame::Empty, 2);
        check(b"\x00\x02a", Frame::Partial, 4);
        check(b"\x00\x02ab", Frame::Whole(b"ab"), 4);
        check(b"\x00\x02abc", Frame::Whole(b"ab"), 4);
        check(b"\xff\xff", Frame::Partial, 65_537);
    }
}

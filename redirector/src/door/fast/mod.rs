//! The short way for HTTP/1.1, in front of hyper: plain GET and HEAD are read, decided and answered in place.
//!
//! A connection owns no buffer here: it is read into the worker's one, and a batch of requests is answered by one write. The first
//! octet that is not certainly part of a plain request, and all after it, go to hyper, and the connection stays there. So this must never
//! wait for the rest of a head, read content, or refuse anything: those are hyper's.

mod batch;
mod early;

#[cfg(test)]
mod compare;

use super::answer::Origin;
use super::date::Date;
use super::limits::Limits;
use super::table::Life;
use super::worker::Worker;
use batch::{Next, Scene};
use bytes::Bytes;
pub(super) use early::begin;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Octets read at a time. No head that fits is too long for hyper, which allows as much beyond the longest target.
const READ_BYTES: usize = 8 * 1024;
/// Room for answers. After so many octets of them, what is left of a batch is for hyper, which waits until they are read.
const ANSWERS_BYTES_MAX: usize = 32 * 1024;
/// Room that is kept from one batch to the next: for the longest answers before the last, and it.
const ANSWERS_BYTES_KEPT: usize = 64 * 1024;

/// The buffers of one worker. Nothing stays in them from one batch to the next.
pub(super) struct Buffers {
    input: Box<[u8]>,
    out: Vec<u8>,
    date: Date,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { input: vec![0; READ_BYTES].into(), out: Vec::with_capacity(ANSWERS_BYTES_KEPT), date: Date::default() }
    }
}

/// A connection, and what its requests are answered by.
#[derive(Clone, Copy)]
pub(super) struct Client<'a> {
    pub(super) worker: &'a Worker,
    pub(super) origin: Origin,
    pub(super) life: &'a Life,
    pub(super) limits: &'a Limits,
}

/// What was done for a connection so far.
#[derive(Default)]
pub(super) struct Begun {
    owed: Owed,
    step: Step,
}

/// What follows when the answers are sent.
#[derive(Default)]
enum Step {
    #[default]
    Read,
    End,
    Decline(Bytes),
}

/// Serves a connection for as long as its requests are plain; the octets of it that are for hyper, unless it has ended.
pub(super) async fn serve<IO>(io: &mut IO, begun: Begun, client: Client<'_>) -> io::Result<Option<Bytes>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let Begun { mut owed, mut step } = begun;
    loop {
        if owed.any {
            poll_fn(|context| owed.poll_send(io, context)).await?;
        }
        match step {
            Step::Read => step = poll_fn(|context| poll_step(io, &mut owed, client, context)).await?,
            Step::End => return Ok(None),
            Step::Decline(octets) => return Ok(Some(octets)),
        }
    }
}

/// Answers that the connection did not take at once: its client reads slowly.
#[derive(Default)]
struct Owed {
    /// There are some, here or in the layer below.
    any: bool,
    octets: Vec<u8>,
    sent: usize,
}

impl Owed {
    fn poll_send<IO: AsyncWrite + Unpin>(&mut self, io: &mut IO, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.octets.get(self.sent..).filter(|rest| !rest.is_empty()) {
            self.sent += ready!(poll_some(io, rest, context))?;
        }
        ready!(Pin::new(io).poll_flush(context))?;
        *self = Self::default();
        Poll::Ready(Ok(()))
    }
}

fn poll_some<IO: AsyncWrite + Unpin>(io: &mut IO, octets: &[u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(io).poll_write(context, octets))? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        sent => Poll::Ready(Ok(sent)),
    }
}

/// Reads what has come, answers it, and sends the answers, as far as that goes without waiting.
fn poll_step<IO: AsyncRead + AsyncWrite + Unpin>(
    io: &mut IO,
    owed: &mut Owed,
    client: Client<'_>,
    context: &mut Context<'_>,
) -> Poll<io::Result<Step>> {
    let Buffers { input, out, date } = &mut *client.worker.buffers.borrow_mut();
    let mut buffer = ReadBuf::new(input);
    ready!(Pin::new(&mut *io).poll_read(context, &mut buffer))?;
    let octets = buffer.filled();
    if octets.is_empty() {
        return Poll::Ready(Ok(Step::End));
    }
    out.clear();
    let next = client.answer(octets, out, date);
    let step = Step::after(next, octets);
    let mut sent = 0;
    while sent < out.len() {
        match poll_some(io, out.get(sent..).unwrap_or_default(), context)? {
            Poll::Ready(more) => sent += more,
            Poll::Pending => break,
        }
    }
    if sent < out.len() || Pin::new(io).poll_flush(context)?.is_pending() {
        owed.any = true;
        owed.octets.extend_from_slice(out.get(sent..).unwrap_or_default());
    }
    keep_little(out);
    Poll::Ready(Ok(step))
}

fn keep_little(out: &mut Vec<u8>) {
    if out.capacity() > ANSWERS_BYTES_KEPT {
        *out = Vec::with_capacity(ANSWERS_BYTES_KEPT);
    }
}

impl Step {
    fn after(next: Next, octets: &[u8]) -> Self {
        match next {
            Next::Read => Self::Read,
            Next::Close => Self::End,
            Next::Decline(at) => Self::Decline(Bytes::copy_from_slice(octets.get(at..).unwrap_or_default())),
        }
    }
}

impl Client<'_> {
    fn answer(self, octets: &[u8], out: &mut Vec<u8>, date: &mut Date) -> Next {
        let Self { worker, origin, life, limits } = self;
        let now = worker.door.now();
        let front = worker.door.front.load();
        let scene = Scene {
            front: &front,
            dispatches: &worker.door.dispatches,
            tally: worker.tally(),
            alt_svc: worker.door.alt_svc.as_ref().filter(|_| origin.secure),
            origin,
            header_fields_max: limits.header_fields_max,
            now,
        };
        let next = batch::answer(octets, out, date, &mut worker.desk.borrow_mut(), &scene);
        if next != Next::Decline(0) {
            life.ask(now.mono);
        }
        next
    }
}

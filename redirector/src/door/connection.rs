//! One connection from its first octet to its last: whom it comes from (PROXY protocol), how it is kept secret (TLS), what is spoken on
//! it (HTTP/1.1 or HTTP/2), and how long it may last.
//!
//! A client must never hold a place by what it does not send, nor lose an answer because we closed while it was still sending.

use super::answer::Origin;
use super::fast::{self, Begun, Client};
use super::limits::Limits;
use super::meter::Meter;
use super::prefix::Prefix;
use super::proxied;
use super::race::{First, first_of};
use super::table::Life;
use super::tally::count;
use super::worker::Worker;
use bytes::Bytes;
use farm_shared::time::Mono;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{ALT_SVC, CONNECTION, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::HandshakeKind;

/// From "please end" to being cut off.
const CLOSE_MS_MAX: u64 = 1_000;
/// A request's body is read and thrown away for so long, and so many octets of it, while the client reads our answer to its head.
const LINGER_MS_MAX: u64 = 5_000;
const LINGER_BYTES_MAX: usize = 8 << 20;
const LINGER_CHUNK_BYTES: usize = 16 * 1024;
/// What a client may send of bodies before an HTTP/2 stream or connection has to wait.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024 - 1;
const CONNECTION_WINDOW_BYTES: u32 = 64 * 1024 - 1;
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Streams that the client opened and took back before they were looked at (rapid reset, CVE-2023-44487), and those that were reset for
/// its errors: more ends the connection.
const RESETS_PENDING_MAX: usize = 20;
const RESETS_BY_ERROR_MAX: usize = 64;
/// What is spoken over TLS, the preferred first.
pub const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

impl Worker {
    /// Serves an accepted connection until it ends.
    pub(super) async fn serve(
        self: &Rc<Self>,
        mut stream: TcpStream,
        peer: IpAddr,
        tls: Option<TlsAcceptor>,
        life: &Rc<Life>,
        limits: &Limits,
    ) {
        let tally = self.tally();
        let mut origin = Origin { source: peer.to_canonical(), secure: tls.is_some() };
        if limits.is_proxy(peer) {
            match timeout(header_time(limits), Box::pin(proxied::source(&mut stream, peer))).await {
                Ok(Ok((source, secure))) => (origin.source, origin.secure) = (source, origin.secure || secure),
                _ => return count(&tally.unproxied),
            }
        }
        // Without a share of its own a source has all places, and need not be counted.
        let is_counted = limits.connections_per_source_max < limits.connections_max;
        let counted = is_counted.then(|| self.door.sources.enter(origin.source, limits.connections_per_source_max));
        if matches!(counted, Some(None)) {
            return count(&tally.over_source);
        }
        match tls {
            None => match fast::begin(&stream, Client { worker: self, origin, life, limits }) {
                Ok(begun) => self.serve_http(stream, origin, false, begun, life, limits).await,
                Err(_) => count(&tally.broken),
            },
            Some(acceptor) => {
                // The room for a handshake is for those who begin one.
                match timeout(header_time(limits), stream.peek(&mut [0])).await {
                    Ok(Ok(1..)) => Box::pin(self.serve_tls(stream, origin, acceptor, life, limits)).await,
                    Ok(_) => count(&tally.broken),
                    Err(_) => count(&tally.late),
                }
            }
        }
    }

    async fn serve_tls(
        self: &Rc<Self>,
        stream: TcpStream,
        origin: Origin,
        acceptor: TlsAcceptor,
        life: &Rc<Life>,
        limits: &Limits,
    ) {
        let tally = self.tally();
        let Ok(Ok(stream)) = timeout(header_time(limits), acceptor.accept(stream)).await else {
            return count(&tally.handshakes_failed);
        };
        let (_, tls) = stream.get_ref();
        let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
        count(if resumed { &tally.handshakes_resumed } else { &tally.handshakes_full });
        let http2 = tls.alpn_protocol() == Some(ALPN[0]);
        self.serve_http(stream, origin, http2, Begun::default(), life, limits).await;
    }

    /// Serves what comes after PROXY header and handshake; `http2` if that was agreed on.
    pub(super) async fn serve_http<IO: AsyncRead + AsyncWrite + Unpin>(
        self: &Rc<Self>,
        mut io: IO,
        origin: Origin,
        http2: bool,
        begun: Begun,
        life: &Rc<Life>,
        limits: &Limits,
    ) {
        if http2 {
            return Box::pin(self.serve_http2(io, origin, life, limits)).await;
        }
        let tally = self.tally();
        let outcome = {
            let short = pin!(fast::serve(&mut io, begun, Client { worker: self, origin, life, limits }));
            first_of(short, self.patience(life, limits)).await
        };
        let octets = match outcome {
            First::Connection(Ok(Some(octets))) => octets,
            First::Connection(Ok(None)) | First::Patience(End::Close) if origin.secure => return say_end(&mut io).await,
            First::Connection(Ok(None)) | First::Patience(End::Close) => return,
            First::Connection(Err(_)) => return count(&tally.broken),
            First::Patience(End::Late) => return count(&tally.late),
        };
        // Boxed: a connection that never leaves the short way need not have room for it.
        let long = Box::pin(self.serve_http1(Prefix::new(octets, io), origin, life, limits)).await;
        if let Some((io, octets)) = long {
            // HTTP/2 by prior knowledge (RFC 9113 3.3).
            Box::pin(self.serve_http2(Prefix::new(octets, io), origin, life, limits)).await;
        }
    }

    /// Serves HTTP/1. Gives the connection back, with what was read of it, if it begins as HTTP/2 does.
    async fn serve_http1<IO: AsyncRead + AsyncWrite + Unpin>(
        self: &Rc<Self>,
        io: IO,
        origin: Origin,
        life: &Rc<Life>,
        limits: &Limits,
    ) -> Option<(IO, Bytes)> {
        let tally = self.tally();
        let has_body = Cell::new(false);
        let service = service_fn(|request: Request<Incoming>| {
            let mut response = self.respond(&request, origin, life, limits);
            if !request.body().is_end_stream() {
                // Answered at once; nobody waits here for a body that goes elsewhere.
                has_body.set(true);
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            std::future::ready(Ok::<_, Infallible>(response))
        });
        // hyper's own timeout makes a timer and looks twice for each request; and a redirect is one piece, which a plain write
        // sends with less ado than a vectored one.
        let mut connection = http1::Builder::new()
            .header_read_timeout(None)
            // Whoever says that he will send no more still waits for his answer.
            .half_close(true)
            .writev(false)
            .max_buf_size((limits.url_bytes_max + limits.header_bytes_max).max(8_192))
            .serve_connection(TokioIo::new(io), service);
        let first = {
            let run = pin!(poll_fn(|context| connection.poll_without_shutdown(context)));
            first_of(run, self.patience(life, limits)).await
        };
        let outcome = match first {
            First::Connection(outcome) => outcome,
            First::Patience(End::Late) => {
                count(&tally.late);
                return None;
            }
            First::Patience(End::Close) => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                let run = poll_fn(|context| connection.poll_without_shutdown(context));
                timeout(Duration::from_millis(CLOSE_MS_MAX), run).await.unwrap_or(Ok(()))
            }
        };
        let was_understood = match &outcome {
            Err(error) if error.is_parse_version_h2() => {
                let parts = connection.into_parts();
                return Some((parts.io.into_inner(), parts.read_buf));
            }
            Err(error) if error.is_parse_too_large() => {
                tally.reject("head_length");
                false
            }
            Err(error) if error.is_parse() => {
                tally.reject("syntax");
                false
            }
            Err(_) => {
                count(&tally.broken);
                return None;
            }
            Ok(()) => true,
        };
        let mut io = connection.into_parts().io.into_inner();
        if has_body.get() || !was_understood {
            linger(&mut io).await;
        } else if origin.secure {
            say_end(&mut io).await;
        }
        None
    }

    async fn serve_http2<IO: AsyncRead + AsyncWrite + Unpin>(
        self: &Rc<Self>,
        io: IO,
        origin: Origin,
        life: &Rc<Life>,
        limits: &Limits,
    ) {
        let tally = self.tally();
        let service = service_fn(|request: Request<Incoming>| {
            let response = self.respond(&request, origin, life, limits);
            let (body, life) = (request.into_body(), Rc::clone(life));
            async move {
                if !body.is_end_stream() {
                    take_in(body, &life).await;
                }
                Ok::<_, Infallible>(response)
            }
        });
        // No pings of ours: a connection that says nothing ends by its time.
        let connection = http2::Builder::new(Here)
            .max_concurrent_streams(limits.streams_max)
            .max_header_list_size((limits.url_bytes_max + limits.header_bytes_max) as u32)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
            .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
            .max_local_error_reset_streams(RESETS_BY_ERROR_MAX)
            .serve_connection(TokioIo::new(Meter::new(io, Rc::clone(life))), service);
        let mut connection = pin!(connection);
        let outcome = match first_of(connection.as_mut(), self.patience(life, limits)).await {
            First::Connection(outcome) => outcome,
            First::Patience(end) => {
                if matches!(end, End::Late) {
                    count(&tally.late);
                }
                connection.as_mut().graceful_shutdown();
                timeout(Duration::from_millis(CLOSE_MS_MAX), connection).await.unwrap_or(Ok(()))
            }
        };
        if outcome.is_err() {
            count(if life.is_flood() { &tally.flood } else { &tally.broken });
        }
    }

    /// One request on any version of HTTP.
    pub(super) fn respond<B>(
        &self,
        request: &Request<B>,
        origin: Origin,
        life: &Life,
        limits: &Limits,
    ) -> Response<Full<Bytes>> {
        let now = self.door.now();
        life.ask(now.mono);
        let (tally, dispatches) = (self.tally(), &self.door.dispatches);
        let mut desk = self.desk.borrow_mut();
        if request.headers().len() > limits.header_fields_max {
            tally.reject("head_length");
            return desk.refuse(431, &self.door.front.load());
        }
        let mut response = desk.respond(request, origin, &self.door.front.load(), dispatches, tally, now);
        if let Some(alt_svc) = self.door.alt_svc.as_ref().filter(|_| origin.secure) {
            response.headers_mut().insert(ALT_SVC, alt_svc.clone());
        }
        response
    }

    /// Waits until a connection must end.
    pub(super) async fn patience(&self, life: &Life, limits: &Limits) -> End {
        let begun = life.begun();
        let end = begun.plus_ms(limits.total_timeout_ms);
        let mut stopped = self.stopped();
        loop {
            let due = match life.asked() {
                Some(last) => last.plus_ms(limits.idle_timeout_ms),
                None => begun.plus_ms(limits.header_timeout_ms),
            };
            let now: Mono = self.door.now().mono;
            if now >= due {
                return End::Late;
            }
            if now >= end {
                return End::Close;
            }
            tokio::select! {
                () = sleep(Duration::from_millis(due.min(end).since_ms(now))) => {}
                _ = stopped.wait_for(|stop| *stop) => return End::Close,
            }
        }
    }
}

fn header_time(limits: &Limits) -> Duration {
    Duration::from_millis(limits.header_timeout_ms)
}

/// Why a connection ends that did not by itself.
pub(super) enum End {
    /// No request came in time.
    Late,
    /// It has lasted long enough, or the door closes: a request under way is still answered.
    Close,
}

/// An end that TLS does not tell of could be an attacker's. An error means that the client has gone.
async fn say_end<IO: AsyncWrite + Unpin>(io: &mut IO) {
    let _ = timeout(Duration::from_millis(CLOSE_MS_MAX), io.shutdown()).await;
}

/// Says that no more will be sent, and throws away what still comes: closing at once would make the kernel send a reset, at which
/// clients forget the answer that they have received.
async fn linger<IO: AsyncRead + AsyncWrite + Unpin>(io: &mut IO) {
    let drain = async {
        if io.shutdown().await.is_err() {
            return;
        }
        let mut chunk = vec![0; LINGER_CHUNK_BYTES];
        let mut left = LINGER_BYTES_MAX;
        while let Ok(octets @ 1..) = io.read(&mut chunk).await {
            left = left.saturating_sub(octets);
            if left == 0 {
                return;
            }
        }
    };
    // Whoever sends for longer has had the time to read.
    let _ = timeout(Duration::from_millis(LINGER_MS_MAX), drain).await;
}

/// Reads the body of an HTTP/2 request and throws it away, within bounds. An answer before its end is allowed (RFC 9113 8.1), but widespread
/// clients lose it: curl 7.88 and Java 17 report an error.
async fn take_in(mut body: Incoming, life: &Life) {
    let read = async {
        let mut left = LINGER_BYTES_MAX;
        while left > 0
            && let Some(Ok(frame)) = body.frame().await
        {
            let octets = frame.data_ref().map_or(0, Bytes::len);
            life.forgive(octets);
            left = left.saturating_sub(octets);
        }
    };
    let _ = timeout(Duration::from_millis(LINGER_MS_MAX), read).await;
}

/// Runs the answer to one HTTP/2 request: at once, since it never waits unless the client does not read.
#[derive(Clone, Copy, Debug)]
struct Here;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, future: F) {
        let mut future = Box::pin(future);
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            // It is polled again as a task, and gives its own waker then.
            tokio::task::spawn_local(future);
        }
    }
}

//! Questions over HTTPS (RFC 8484), by GET and POST, over HTTP/2 and HTTP/1.1.
//!
//! A client must never hold more than its share: streams, header, body and time are bounded, and a connection that brings no whole
//! question for a while ends, whatever else it sends.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use dnslb_core::respond::{MESSAGE_LEN_MAX, Transport};
use dnslb_core::wire::freshness_s;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::server::TlsStream;

use crate::accept::{Caps, Taken, accept};
use crate::answering::{Answered, Answerer};
use crate::requests::Lane;
use crate::security::Security;
use crate::tcp::{self, Source, StreamLimits};
use crate::tcp_clients::{Admitted, Clients};

/// The protocols of a listener, the preferred first.
pub const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

const MEDIA_TYPE: &str = "application/dns-message";

/// Octets of a request's header; a question by GET must fit.
const HEADER_OCTETS_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// Requests of an HTTP/2 connection at the same time.
const STREAMS_MAX: u32 = 64;

/// Requests that are read or answered at the same time: a connection costs no more than this many messages.
const TURNS: usize = 4;

/// Octets of a connection that may lie in each direction between the network and us.
const WINDOW_OCTETS: u32 = 128 * 1024;

/// Streams that a client may open and take back before we looked at them, and those that broke a rule: what "rapid reset" is made of.
const RESETS_MAX: usize = 32;

/// A body that nobody wants is read and thrown away up to so many octets: a stream that ends while a client sends costs some
/// clients the response.
const DISCARD_OCTETS_MAX: usize = 512 * 1024;

/// How long a request's body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an idle connection has for its end.
const GOODBYE: Duration = Duration::from_secs(1);

/// The statuses that are answered with.
pub const STATUSES: [StatusCode; 7] = [
    StatusCode::OK,
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
];

/// Requests by status.
#[derive(Debug, Default)]
pub struct Requests([AtomicU64; STATUSES.len()]);

impl Requests {
    /// So far, in the order of [`STATUSES`].
    pub fn counts(&self) -> [u64; STATUSES.len()] {
        self.0.each_ref().map(|counter| counter.load(Relaxed))
    }

    fn count(&self, status: StatusCode) {
        let at = STATUSES.iter().position(|known| *known == status);
        if let Some(counter) = at.and_then(|at| self.0.get(at)) {
            counter.fetch_add(1, Relaxed);
        }
    }
}

/// What all connections of a listener share.
pub struct Listener {
    /// What comes before HTTP.
    pub security: Security,
    /// The path of questions.
    pub path: String,
    /// How long connections may last.
    pub limits: StreamLimits,
    /// Requests so far.
    pub requests: Arc<Requests>,
}

/// Accepts and serves until `stop` is set.
pub async fn serve(
    listener: TcpListener,
    mut source: Source,
    shared: Arc<Listener>,
    clients: Arc<Clients>,
    caps: Caps,
    stop: watch::Receiver<bool>,
) {
    accept(listener, clients, caps, stop, |Taken { stream, client, admitted }| {
        let desk = Arc::new(Desk {
            answerer: Mutex::new(source.answerer()),
            lane: source.lane.clone(),
            client,
            admitted,
            turns: Arc::new(Semaphore::new(TURNS)),
            last: Mutex::new(Instant::now()),
            listener: Arc::clone(&shared),
        });
        async move {
            let Some(stream) = desk.listener.security.handshake(stream).await else { return };
            desk.serve(stream).await;
        }
    })
    .await;
}

/// One connection.
struct Desk {
    answerer: Mutex<Answerer>,
    lane: Lane,
    client: IpAddr,
    admitted: Arc<Admitted>,
    turns: Arc<Semaphore>,
    /// When the last whole question came.
    last: Mutex<Instant>,
    listener: Arc<Listener>,
}

impl Desk {
    async fn serve(self: &Arc<Self>, stream: TlsStream<TcpStream>) {
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let this = Arc::clone(self);
        let service = service_fn(move |request| {
            let this = Arc::clone(&this);
            async move { Ok::<_, Infallible>(this.response(request).await) }
        });
        let io = TokioIo::new(stream);
        // Both ends say goodbye when the time is over, and have a moment for it.
        macro_rules! until_idle {
            ($connection:expr) => {{
                let mut connection = std::pin::pin!($connection);
                tokio::select! {
                    _ = connection.as_mut() => return,
                    () = self.idle() => {}
                }
                connection.as_mut().graceful_shutdown();
                let _ = timeout(GOODBYE, connection).await;
            }};
        }
        if is_h2 {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS_MAX)
                .max_pending_accept_reset_streams(RESETS_MAX)
                .max_local_error_reset_streams(RESETS_MAX)
                .max_header_list_size(HEADER_OCTETS_MAX as u32)
                .initial_stream_window_size(WINDOW_OCTETS)
                .initial_connection_window_size(WINDOW_OCTETS)
                .max_send_buf_size(WINDOW_OCTETS as usize);
            until_idle!(builder.serve_connection(io, service));
        } else {
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(self.listener.limits.idle_timeout)
                .max_headers(HEADERS_MAX)
                .max_buf_size(HEADER_OCTETS_MAX);
            until_idle!(builder.serve_connection(io, service));
        }
    }

    /// Returns when no whole question came for too long, or the connection's time is over.
    async fn idle(&self) {
        let limits = self.listener.limits;
        let end = Instant::now() + limits.total_timeout;
        loop {
            let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (last + limits.idle_timeout).min(end);
            if at <= Instant::now() {
                return;
            }
            sleep_until(at).await;
        }
    }

    async fn response(&self, request: Request<Incoming>) -> Response<Message> {
        let response = match self.exchange(request).await {
            Ok(response) => response,
            Err(Refusal { status, rest }) => {
                if let Some(rest) = rest {
                    let _ = timeout(BODY_TIMEOUT, discard(rest)).await;
                }
                let text = Bytes::from_static(status.canonical_reason().unwrap_or_default().as_bytes());
                let mut response = Response::new(Message { octets: Some(text), _turn: None });
                *response.status_mut() = status;
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
                if status == StatusCode::METHOD_NOT_ALLOWED {
                    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
                }
                response
            }
        };
        self.listener.requests.count(response.status());
        response
    }

    async fn exchange(&self, request: Request<Incoming>) -> Result<Response<Message>, Refusal> {
        if request.uri().path() != self.listener.path {
            return Err(Refusal { status: StatusCode::NOT_FOUND, rest: Some(request.into_body()) });
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
        let query = match *request.method() {
            Method::GET => by_get(request.uri().query().unwrap_or_default()).ok_or(StatusCode::BAD_REQUEST)?,
            Method::POST => by_post(request).await?,
            _ => return Err(Refusal { status: StatusCode::METHOD_NOT_ALLOWED, rest: Some(request.into_body()) }),
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.admitted.active();
        let mut framed = Vec::new();
        let answered = {
            let mut answerer = self.answerer.lock().unwrap_or_else(PoisonError::into_inner);
            tcp::answer(&mut answerer, Transport::Https, self.client, &query, &mut framed)
        };
        let octets = match answered {
            Answered::Nothing => return Err(StatusCode::BAD_REQUEST.into()),
            Answered::Whole(_) => Bytes::from(framed).slice(2..),
            // A response carries one message (RFC 8484 4.2): what would need more has its place on a stream.
            Answered::Special => {
                let mut messages = self.lane.stream(Transport::Https, self.client, &query);
                messages.recv().await.map(Bytes::from).ok_or(StatusCode::BAD_REQUEST)?
            }
        };
        let lifetime = HeaderValue::try_from(format!("max-age={}", freshness_s(&octets)));
        let mut response = Response::new(Message { octets: Some(octets), _turn: Some(turn) });
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Ok(lifetime) = lifetime {
            response.headers_mut().insert(CACHE_CONTROL, lifetime);
        }
        Ok(response)
    }
}

/// The question in a URL's query: base64url without padding (RFC 8484 6), in the first variable `dns`.
fn by_get(query: &str) -> Option<Bytes> {
    let text = query.split('&').find_map(|variable| variable.strip_prefix("dns="))?;
    URL_SAFE_NO_PAD.decode(text).ok().map(Bytes::from)
}

async fn by_post(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let media_type = header(CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or_default();
    let is_message = media_type.trim().eq_ignore_ascii_case(MEDIA_TYPE);
    let len = header(CONTENT_LENGTH).and_then(|len| len.parse::<u64>().ok());
    let body = request.into_body();
    if !is_message {
        return Err(Refusal { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, rest: Some(body) });
    }
    if len.is_some_and(|len| len > MESSAGE_LEN_MAX as u64) {
        return Err(Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, rest: Some(body) });
    }
    timeout(BODY_TIMEOUT, read(body)).await.unwrap_or_else(|_| Err(StatusCode::REQUEST_TIMEOUT.into()))
}

async fn read(mut body: Incoming) -> Result<Bytes, Refusal> {
    let mut octets = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        let Some(data) = frame.data_ref() else { continue };
        if octets.len() + data.len() > MESSAGE_LEN_MAX {
            return Err(Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, rest: Some(body) });
        }
        octets.extend_from_slice(data);
    }
    Ok(octets.into())
}

async fn discard(mut body: Incoming) {
    let mut octets = 0;
    while let Some(Ok(frame)) = body.frame().await {
        octets += frame.data_ref().map_or(0, Bytes::len);
        if octets > DISCARD_OCTETS_MAX {
            return;
        }
    }
}

/// A request that is answered with an error.
struct Refusal {
    status: StatusCode,
    /// What is left of the body.
    rest: Option<Incoming>,
}

impl From<StatusCode> for Refusal {
    fn from(status: StatusCode) -> Self {
        Self { status, rest: None }
    }
}

/// A body of one piece. It keeps its turn until it is handed over: a client that reads no answers gets no more of them made.
struct Message {
    octets: Option<Bytes>,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Body for Message {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.octets.take().map(|octets| Ok(Frame::data(octets))))
    }

    fn is_end_stream(&self) -> bool {
        self.octets.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.octets.as_ref().map_or(0, |octets| octets.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_in_urls() {
        let check = |query, expect: Option<&[u8]>| assert_eq!(by_get(query).as_deref(), expect, "{query}");
        check("dns=AAAB-_", None);
        check("dns=AAE-_w", Some(b"\x00\x01\x3e\xff"));
        check("x=1&dns=AAE", Some(b"\x00\x01"));
        check("dns=AAE=", None);
        check("dns=AAE+/w", None);
        check("dns=", Some(b""));
        check("dnsx=AAE", None);
        check("", None);
    }
}

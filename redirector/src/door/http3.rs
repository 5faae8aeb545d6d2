//! HTTP/3 (RFC 9114): the same answers over QUIC, for those who were told of it by `Alt-Svc`.
//!
//! One endpoint on one thread: a client that moves to another address stays with the connection that it has. A stranger must never make
//! us keep more than a bounded number of half-open handshakes, streams and octets, and early data is never taken.

use super::answer::Origin;
use super::date::Date;
use super::limits::Limits;
use super::table::Life;
use super::tally::count;
use super::worker::Worker;
use h3::server::{Connection, RequestResolver};
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::{Body as _, Bytes};
use hyper::header::{CONTENT_LENGTH, DATE, HeaderValue};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, Incoming, VarInt};
use std::io;
use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_rustls::rustls::ServerConfig;

/// What is spoken.
pub const ALPN_HTTP3: [&[u8]; 1] = [b"h3"];
/// Control stream, two of QPACK, and one that we ignore.
const UNI_STREAMS_MAX: u32 = 4;
const STREAM_WINDOW_BYTES: u32 = 32 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 128 * 1024;
/// Handshakes under way. From the first number on, a client must first show that it has its address; beyond the second it waits.
const HANDSHAKES_UNPROVEN_MAX: usize = 64;
const HANDSHAKES_MAX: usize = 512;
const INCOMING_BYTES_MAX: u64 = 16 * 1024;
const INCOMING_BYTES_ALL_MAX: u64 = 4 << 20;
/// One request, from its stream's first octet to the last of its answer.
const REQUEST_MS_MAX: u64 = 10_000;
/// `H3_NO_ERROR` (RFC 9114 8.1).
const NO_ERROR: VarInt = VarInt::from_u32(0x100);

fn endpoint(socket: UdpSocket, config: ServerConfig, limits: &Limits) -> io::Result<Endpoint> {
    let crypto = QuicServerConfig::try_from(config).map_err(io::Error::other)?;
    let idle = Duration::from_millis(limits.idle_timeout_ms.max(limits.header_timeout_ms));
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.streams_max))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(idle.try_into().map_err(io::Error::other)?));
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    server
        .transport_config(Arc::new(transport))
        .max_incoming(HANDSHAKES_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_ALL_MAX);
    Endpoint::new(EndpointConfig::default(), Some(server), socket, Arc::new(quinn::TokioRuntime))
}

/// Accepts and serves until the door closes.
pub(super) async fn serve(worker: Rc<Worker>, socket: UdpSocket, config: ServerConfig) {
    let endpoint = match endpoint(socket, config, &worker.door.limits()) {
        Ok(endpoint) => endpoint,
        Err(error) => return tracing::error!(%error, "HTTP/3 is not served"),
    };
    let handshakes = Rc::new(());
    let mut stopped = worker.stopped();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            _ = stopped.wait_for(|stop| *stop) => None,
        };
        let Some(incoming) = incoming else { break };
        let under_way = Rc::strong_count(&handshakes) - 1;
        if under_way >= HANDSHAKES_UNPROVEN_MAX && !incoming.remote_address_validated() && incoming.may_retry() {
            let _ = incoming.retry();
            continue;
        }
        let limits = worker.door.limits();
        let Some((life, place)) = worker.admit(&limits).await.filter(|_| under_way < HANDSHAKES_MAX) else {
            incoming.refuse();
            continue;
        };
        let (worker_2, shaking) = (Rc::clone(&worker), Rc::clone(&handshakes));
        let at = place.at();
        let task = tokio::task::spawn_local(async move {
            connection(&worker_2, incoming, shaking, &life, &limits).await;
            drop(place);
        });
        worker.is_served_by(at, task.abort_handle());
    }
    endpoint.close(NO_ERROR, b"");
    endpoint.wait_idle().await;
}

/// One connection: from its handshake to its end.
async fn connection(worker: &Worker, incoming: Incoming, shaking: Rc<()>, life: &Life, limits: &Limits) {
    let tally = worker.tally();
    let source = incoming.remote_address().ip().to_canonical();
    let is_counted = limits.connections_per_source_max < limits.connections_max;
    let counted = is_counted.then(|| worker.door.sources.enter(source, limits.connections_per_source_max));
    if matches!(counted, Some(None)) {
        incoming.refuse();
        return count(&tally.over_source);
    }
    let Ok(Ok(quic)) = timeout(Duration::from_millis(limits.header_timeout_ms), async { incoming.accept()?.await }).await
    else {
        return count(&tally.handshakes_failed);
    };
    drop(shaking);
    count(&tally.handshakes_full);
    let ends = quic.clone();
    let requests = async {
        let head_max = (limits.url_bytes_max + limits.header_bytes_max) as u64;
        let built = h3::server::builder().max_field_section_size(head_max).build(h3_quinn::Connection::new(quic)).await;
        let mut connection: Connection<h3_quinn::Connection, Bytes> = built.map_err(drop)?;
        while let Some(resolver) = connection.accept().await.map_err(drop)? {
            // One after another: an answer waits for nobody but a client that does not read, and that for a while only.
            let origin = Origin { source, secure: true };
            let answered = answer(worker, resolver, origin, life, limits);
            timeout(Duration::from_millis(REQUEST_MS_MAX), answered).await.map_err(drop)??;
        }
        Ok::<_, ()>(())
    };
    tokio::select! {
        outcome = requests => if outcome.is_err() && ends.close_reason().is_none_or(|why| !is_plain_end(&why)) {
            count(&tally.broken);
        },
        end = worker.patience(life, limits) => if matches!(end, super::connection::End::Late) {
            count(&tally.late);
        },
    }
    ends.close(NO_ERROR, b"");
}

/// The client has closed, or gone silent.
fn is_plain_end(why: &quinn::ConnectionError) -> bool {
    use quinn::ConnectionError::{ApplicationClosed, ConnectionClosed, LocallyClosed, TimedOut};
    matches!(why, ApplicationClosed(_) | ConnectionClosed(_) | LocallyClosed | TimedOut)
}

async fn answer(
    worker: &Worker,
    resolver: RequestResolver<h3_quinn::Connection, Bytes>,
    origin: Origin,
    life: &Life,
    limits: &Limits,
) -> Result<(), ()> {
    let (request, mut stream) = resolver.resolve_request().await.map_err(drop)?;
    let (mut head, body) = worker.respond(&request, origin, life, limits).into_parts();
    // hyper does both where it speaks.
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.size_hint().lower()));
    if let Ok(date) = HeaderValue::from_bytes(Date::default().at(worker.door.now().wall)) {
        head.headers.insert(DATE, date);
    }
    // A body that is still on its way goes elsewhere.
    stream.stop_sending(h3::error::Code::H3_NO_ERROR);
    // A stream that the client took back is its own affair.
    if stream.send_response(hyper::Response::from_parts(head, ())).await.is_ok() && request.method() != Method::HEAD {
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        if !body.is_empty() {
            let _ = stream.send_data(body).await;
        }
    }
    let _ = stream.finish().await;
    Ok(())
}

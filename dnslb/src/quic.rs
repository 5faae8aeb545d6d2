//! Questions over QUIC (RFC 9250): one to a stream, framed as over TCP.
//!
//! Whatever the RFC calls a protocol error ends the connection with its code, so that nobody takes silence for an answer. A stranger
//! must never make us keep more than a bounded number of half-open handshakes, streams and octets.

use dnslb_core::respond::Transport;
use dnslb_core::wire::{KEEPALIVE, has_option};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, EndpointConfig, Incoming, ReadError, ReadExactError, RecvStream, SendStream, VarInt};
use std::io;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::rustls::ServerConfig;

use crate::accept::Caps;
use crate::answering::{Answered, Answerer};
use crate::requests::Lane;
use crate::security::{Handshakes, Shaken};
use crate::tcp::{self, Source, StreamLimits, WRITE_TIMEOUT, push_framed};
use crate::tcp_clients::{Admitted, Clients};
use crate::udp::mmsg::client_ip;

// Error codes (RFC 9250 8.4).
const NO_ERROR: VarInt = VarInt::from_u32(0);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const REQUEST_CANCELLED: VarInt = VarInt::from_u32(3);
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);

/// Streams of a connection at the same time, and so questions.
const STREAMS_MAX: u32 = 64;

/// Questions longer than this, and answers under way, take one of [`TURNS`]: a connection costs 64 short questions and no more than
/// this many long ones.
const SHORT_OCTETS: usize = 4 * 1024;
const TURNS: usize = 4;

/// Octets of a connection that may lie in each direction between the network and us.
const WINDOW_OCTETS: u32 = 128 * 1024;

/// Handshakes under way. From the first number on, a client must first show that it has its address (a Retry, which costs us
/// nothing); beyond the second it is refused.
const HANDSHAKES_UNPROVEN_MAX: usize = 64;
const HANDSHAKES_MAX: usize = 512;

/// Octets that come before a connection is accepted: for one handshake and for all.
const INCOMING_OCTETS: u64 = 16 * 1024;
const INCOMING_OCTETS_ALL: u64 = 4 << 20;

/// What all connections of a listener share.
pub struct Listener {
    /// How many there may be.
    pub caps: Caps,
    /// How long they may last.
    pub limits: StreamLimits,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// Who is connected.
    pub clients: Arc<Clients>,
    /// How handshakes ended.
    pub handshakes: Arc<Handshakes>,
}

/// Makes an endpoint of a bound socket. Needs a tokio runtime.
///
/// # Errors
/// If the system refuses, or TLS lacks what QUIC needs.
pub fn endpoint(socket: UdpSocket, config: ServerConfig, limits: StreamLimits) -> io::Result<Endpoint> {
    let crypto = QuicServerConfig::try_from(Arc::new(config)).map_err(io::Error::other)?;
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(WINDOW_OCTETS))
        .receive_window(VarInt::from_u32(WINDOW_OCTETS))
        .send_window(u64::from(WINDOW_OCTETS))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(limits.idle_timeout.try_into().map_err(io::Error::other)?));
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    server
        .transport_config(Arc::new(transport))
        .max_incoming(HANDSHAKES_MAX)
        .incoming_buffer_size(INCOMING_OCTETS)
        .incoming_buffer_size_total(INCOMING_OCTETS_ALL);
    Endpoint::new(EndpointConfig::default(), Some(server), socket, Arc::new(quinn::TokioRuntime))
}

/// Accepts and serves until `stop` is set.
pub async fn serve(endpoint: Endpoint, mut source: Source, listener: Arc<Listener>, mut stop: watch::Receiver<bool>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let Some(incoming) = incoming else { break };
        let under_way = HANDSHAKES_MAX - handshakes.available_permits();
        if under_way >= HANDSHAKES_UNPROVEN_MAX && !incoming.remote_address_validated() && incoming.may_retry() {
            let _ = incoming.retry();
            continue;
        }
        let Ok(place) = Arc::clone(&handshakes).try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let answers = (source.answerer(), source.lane.clone());
        let (listener, mut stop) = (Arc::clone(&listener), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = take(incoming, place, answers, &listener) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
    }
    endpoint.close(NO_ERROR, b"");
    // Long enough for the word to leave; who does not hear it runs into its own timeout.
    let _ = timeout(Duration::from_millis(100), endpoint.wait_idle()).await;
}

/// From the first packet of a client to the end of its connection.
async fn take(incoming: Incoming, place: OwnedSemaphorePermit, (answerer, lane): (Answerer, Lane), listener: &Listener) {
    let client = client_ip(incoming.remote_address());
    let admit = || listener.clients.admit(client, listener.caps.connections_max, listener.caps.connections_per_client_max);
    // An address that is not proven may be somebody else's, who must not be locked out by it: it counts after the handshake.
    let proven = incoming.remote_address_validated();
    let early = if proven { admit() } else { None };
    if proven && early.is_none() {
        incoming.refuse();
        return;
    }
    let shaken = match incoming.accept() {
        Ok(connecting) => timeout(listener.handshake_timeout, connecting).await,
        Err(error) => Ok(Err(error)),
    };
    listener.handshakes.count(match &shaken {
        Ok(Ok(_)) => Shaken::Ok,
        Ok(Err(_)) => Shaken::Failed,
        Err(_) => Shaken::Late,
    });
    drop(place);
    let Ok(Ok(connection)) = shaken else { return };
    let Some(admitted) = early.or_else(admit) else {
        connection.close(EXCESSIVE_LOAD, b"too many connections");
        return;
    };
    let desk = Arc::new(Desk {
        answerer: Mutex::new(answerer),
        lane,
        admitted: Arc::new(admitted),
        turns: Semaphore::new(TURNS),
        connection,
    });
    let admitted = Arc::clone(&desk.admitted);
    tokio::select! {
        () = desk.serve(listener.limits) => {}
        () = admitted.evicted() => desk.connection.close(EXCESSIVE_LOAD, b"others need the place"),
    }
}

/// One connection.
struct Desk {
    answerer: Mutex<Answerer>,
    lane: Lane,
    admitted: Arc<Admitted>,
    turns: Semaphore,
    connection: Connection,
}

/// Why a stream brought no answer.
#[derive(Debug)]
enum Fault {
    /// The client broke a rule: the connection ends (RFC 9250 4.3.3).
    Protocol(&'static str),
    /// It does not want the answer, or does not read it.
    Cancelled,
}

impl Desk {
    /// Serves until the client ends, errs, or runs out of time.
    async fn serve(self: &Arc<Self>, limits: StreamLimits) {
        let end = Instant::now() + limits.total_timeout;
        let mut idle_end = (Instant::now() + limits.idle_timeout).min(end);
        let mut streams = JoinSet::new();
        loop {
            tokio::select! {
                opened = self.connection.accept_bi() => {
                    let Ok((send, recv)) = opened else { return };
                    let this = Arc::clone(self);
                    streams.spawn(async move { this.exchange(send, recv).await });
                }
                Some(done) = streams.join_next() => match done {
                    Ok(Ok(())) => idle_end = (Instant::now() + limits.idle_timeout).min(end),
                    Ok(Err(Fault::Protocol(why))) => {
                        self.connection.close(PROTOCOL_ERROR, why.as_bytes());
                        return;
                    }
                    Ok(Err(Fault::Cancelled)) | Err(_) => {}
                },
                () = sleep_until(idle_end) => {
                    self.connection.close(NO_ERROR, b"");
                    return;
                }
            }
        }
    }

    /// One question and its answer.
    async fn exchange(&self, mut send: SendStream, mut recv: RecvStream) -> Result<(), Fault> {
        let mut prefix = [0; 2];
        read(&mut recv, &mut prefix).await?;
        let len = usize::from(u16::from_be_bytes(prefix));
        let long = if len > SHORT_OCTETS { self.turns.acquire().await.ok() } else { None };
        let mut query = vec![0; len];
        read(&mut recv, &mut query).await?;
        match recv.read(&mut [0]).await {
            Ok(None) => {}
            Ok(Some(_)) => return Err(Fault::Protocol("more than one message")),
            Err(error) => return Err(of_read(&error)),
        }
        if !query.starts_with(&[0, 0]) {
            return Err(Fault::Protocol("a message id"));
        }
        if has_option(&query, KEEPALIVE) {
            return Err(Fault::Protocol("edns-tcp-keepalive"));
        }
        self.admitted.active();
        let _turn = match long {
            Some(turn) => turn,
            None => self.turns.acquire().await.map_err(|_| Fault::Cancelled)?,
        };
        let mut out = Vec::new();
        let client = client_ip(self.connection.remote_address());
        let answered = {
            let mut answerer = self.answerer.lock().unwrap_or_else(PoisonError::into_inner);
            tcp::answer(&mut answerer, Transport::Quic, client, &query, &mut out)
        };
        match answered {
            Answered::Nothing => return Err(Fault::Protocol("no question")),
            Answered::Whole(_) => write(&mut send, &out).await?,
            Answered::Special => {
                let mut messages = self.lane.stream(Transport::Quic, client, &query);
                while let Some(message) = messages.recv().await {
                    self.admitted.active();
                    out.clear();
                    push_framed(&mut out, &message);
                    write(&mut send, &out).await?;
                }
            }
        }
        send.finish().map_err(|_| Fault::Cancelled)
    }
}

async fn write(send: &mut SendStream, octets: &[u8]) -> Result<(), Fault> {
    if let Ok(Ok(())) = timeout(WRITE_TIMEOUT, send.write_all(octets)).await {
        return Ok(());
    }
    let _ = send.reset(REQUEST_CANCELLED);
    Err(Fault::Cancelled)
}

async fn read(recv: &mut RecvStream, octets: &mut [u8]) -> Result<(), Fault> {
    recv.read_exact(octets).await.map_err(|error| match error {
        ReadExactError::FinishedEarly(_) => Fault::Protocol("half a message"),
        ReadExactError::ReadError(error) => of_read(&error),
    })
}

fn of_read(error: &ReadError) -> Fault {
    match error {
        ReadError::IllegalOrderedRead => Fault::Protocol("reading"),
        _ => Fault::Cancelled,
    }
}

//! Heartbeats come in here, by UDP datagram or HTTP POST `/v1/heartbeat`, and nothing leaves that [`Keyring::open`] has not
//! checked. The order of sequence numbers is the roster's part: it answers through the [`ReplyHandle`].
//!
//! The queue behind is bounded. A flood drops messages, and says so in a metric; it never grows memory and never blocks a
//! socket. An unsigned datagram never gets an answer, so nobody can use this port to hit a third party.

use crate::clock::Clock;
use crate::http::{self, Limits, Listener, Peer};
use crate::refusals::Refusals;
use arc_swap::ArcSwap;
use bytes::Bytes;
use farm_shared::heartbeat::{Envelope, Heartbeat, Keyring, Kind, MemberKey, Refusal, Reply, UDP_BYTES_MAX};
use farm_shared::id::Id;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// The path of HTTP heartbeats.
pub const HEARTBEAT_PATH: &str = "/v1/heartbeat";

const BODY_BYTES_MAX: usize = 16 * 1024;
const HEAD_MS_MAX: u64 = 10_000;
const RECEIVE_BUFFER_OCTETS: usize = 4 << 20;
const BODY_TIME_MAX: Duration = Duration::from_secs(5);
const REPLY_TIME_MAX: Duration = Duration::from_secs(5);

/// What a receiver needs beside its sockets.
#[derive(Clone, Debug)]
pub struct ReceiverOptions {
    /// This front end's id, which replies carry.
    pub id: Id,
    /// What it is.
    pub kind: Kind,
    /// The farms it listens to; a reload stores another one.
    pub keyring: Arc<ArcSwap<Keyring>>,
    /// The process's clock.
    pub clock: Clock,
    /// Messages that may wait for the control loop.
    pub queue_max: usize,
    /// HTTP connections at once.
    pub connections_max: usize,
}

/// A heartbeat that passed every check but its place in the sequence.
#[derive(Debug)]
pub struct Received {
    /// The message.
    pub heartbeat: Heartbeat,
    /// Whom it came from.
    pub source: SocketAddr,
    /// The way back.
    pub reply: ReplyHandle,
}

/// The way back to one sender. Dropped unused, it answers nothing (HTTP: 503).
#[derive(Debug)]
pub struct ReplyHandle {
    key: MemberKey,
    way: Way,
    refusals: Arc<Refusals>,
}

#[derive(Debug)]
enum Way {
    Udp(Arc<UdpSocket>, SocketAddr),
    Http(oneshot::Sender<Answer>),
}

#[derive(Debug)]
enum Answer {
    Reply { head: String, body: Vec<u8>, mac: String },
    Refused(&'static str),
}

impl ReplyHandle {
    /// Signs the reply with the member's key and sends it, without waiting: what the kernel will not take is lost, like a
    /// datagram on its way.
    pub fn send(self, reply: &Reply) {
        match self.way {
            Way::Udp(socket, to) => {
                let _ = socket.try_send_to(&reply.datagram(&self.key), to);
            }
            Way::Http(answer) => {
                let (body, mac) = reply.seal(&self.key);
                let _ = answer.send(Answer::Reply { head: format!("{}/{}", reply.farm, reply.to), body, mac });
            }
        }
    }

    /// The roster did not take it: counted, and told over HTTP. A datagram gets no answer.
    pub fn refuse(self, refusal: &Refusal) {
        self.refusals.count(refusal);
        if let Way::Http(answer) = self.way {
            let _ = answer.send(Answer::Refused(refusal.reason()));
        }
    }
}

/// The running receiver. Its sockets close when it is dropped.
#[derive(Debug)]
pub struct Receiver {
    /// What came in.
    pub queue: mpsc::Receiver<Received>,
    /// Counters, for the metrics.
    pub refusals: Arc<Refusals>,
    tasks: JoinSet<()>,
}

impl Receiver {
    /// Listens on every socket given (bound by [`crate::listen`]) on the current tokio runtime.
    pub fn start(
        options: ReceiverOptions,
        udp: Vec<std::net::UdpSocket>,
        http: Vec<std::net::TcpListener>,
    ) -> io::Result<Self> {
        let (sender, queue) = mpsc::channel(options.queue_max.max(1));
        let refusals = Arc::new(Refusals::default());
        let limits = Limits { connections_max: options.connections_max, head_ms_max: HEAD_MS_MAX };
        let intake = Intake { options, sender, refusals: Arc::clone(&refusals) };
        let mut tasks = JoinSet::new();
        for socket in udp {
            socket.set_nonblocking(true)?;
            // Members that beat at the same moment must not crowd each other out. The kernel may grant less (net.core.rmem_max).
            let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_OCTETS);
            tasks.spawn(intake.clone().datagrams(Arc::new(UdpSocket::from_std(socket)?)));
        }
        for listener in http {
            let listener = Listener::from_tcp(listener)?;
            let intake = intake.clone();
            let service = move |request, peer| {
                let intake = intake.clone();
                async move { intake.request(request, peer).await }
            };
            tasks.spawn(http::serve(listener, limits, Arc::clone(&refusals.connections), service));
        }
        Ok(Self { queue, refusals, tasks })
    }

    /// Closes the sockets; what waits in the queue can still be read.
    pub fn close(&mut self) {
        self.tasks.abort_all();
    }
}

#[derive(Clone)]
struct Intake {
    options: ReceiverOptions,
    sender: mpsc::Sender<Received>,
    refusals: Arc<Refusals>,
}

/// What became of a message at once.
enum Outcome {
    Queued,
    Refused(&'static str),
    QueueFull,
}

impl Intake {
    async fn datagrams(self, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; UDP_BYTES_MAX + 1];
        loop {
            let (length, source) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    // An ICMP error of an earlier reply, most likely. Yield, so that a lasting one cannot hold the thread.
                    tracing::debug!(%error, "receiving a heartbeat failed");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
            };
            if source.port() == 0 {
                continue;
            }
            let envelope = Envelope::from_datagram(buffer.get(..length).unwrap_or_default());
            self.take(envelope, source, || Way::Udp(Arc::clone(&socket), source));
        }
    }

    fn take(&self, envelope: Result<Envelope<'_>, Refusal>, source: SocketAddr, way: impl FnOnce() -> Way) -> Outcome {
        let refused = |refusal: Refusal| {
            self.refusals.count(&refusal);
            Outcome::Refused(refusal.reason())
        };
        let envelope = match envelope {
            Ok(envelope) => envelope,
            Err(refusal) => return refused(refusal),
        };
        let keyring = self.options.keyring.load();
        let now = self.options.clock.now().wall;
        let opened = keyring.open(&envelope, source.ip(), now);
        let Some(farm) = keyring.farm(&envelope.farm) else { return refused(Refusal::UnknownFarm) };
        let handle = || ReplyHandle {
            key: farm.member(&envelope.farm, &envelope.id),
            way: way(),
            refusals: Arc::clone(&self.refusals),
        };
        match opened {
            Ok(heartbeat) => {
                // A place first: building the way back for a message that finds none is work for a flood's sake.
                let Ok(place) = self.sender.try_reserve() else {
                    self.refusals.count_queue_full();
                    return Outcome::QueueFull;
                };
                self.refusals.count_taken();
                place.send(Received { heartbeat, source, reply: handle() });
                Outcome::Queued
            }
            Err(Refusal::Stale(heartbeat)) => {
                let reply = Reply::new(&self.options.id, self.options.kind, &heartbeat, now);
                let outcome = refused(Refusal::Stale(heartbeat));
                handle().send(&Reply { challenge: true, ..reply });
                outcome
            }
            Err(refusal) => refused(refusal),
        }
    }

    async fn request(self, request: Request<Incoming>, peer: Peer) -> Response<Full<Bytes>> {
        let Peer::Tcp(source) = peer else { return plain(StatusCode::FORBIDDEN, "no address") };
        if request.uri().path() != HEARTBEAT_PATH {
            return plain(StatusCode::NOT_FOUND, "not found");
        }
        if request.method() != Method::POST {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "POST only");
        }
        let (head, body) = request.into_parts();
        let body = match tokio::time::timeout(BODY_TIME_MAX, Limited::new(body, BODY_BYTES_MAX).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                self.refusals.count(&Refusal::Oversized);
                return plain(StatusCode::PAYLOAD_TOO_LARGE, "oversized");
            }
            Ok(Err(_)) => return plain(StatusCode::BAD_REQUEST, "malformed"),
            Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "too slow"),
        };
        let text = |headers: &HeaderMap, name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
        let (key, mac) = (text(&head.headers, "farm-key"), text(&head.headers, "farm-mac"));
        let (sender, answer) = oneshot::channel();
        match self.take(Envelope::from_parts(&key, &mac, &body), source, || Way::Http(sender)) {
            Outcome::QueueFull => busy(),
            Outcome::Refused("stale") => answered(StatusCode::CONFLICT, answer.await.ok()),
            Outcome::Refused("malformed") => plain(StatusCode::BAD_REQUEST, "malformed"),
            Outcome::Refused("oversized") => plain(StatusCode::PAYLOAD_TOO_LARGE, "oversized"),
            Outcome::Refused(reason) => plain(StatusCode::FORBIDDEN, reason),
            Outcome::Queued => match tokio::time::timeout(REPLY_TIME_MAX, answer).await {
                Ok(Ok(answer)) => answered(StatusCode::OK, Some(answer)),
                _ => busy(),
            },
        }
    }
}

fn answered(status: StatusCode, answer: Option<Answer>) -> Response<Full<Bytes>> {
    match answer {
        Some(Answer::Reply { head, body, mac }) => {
            let mut response = Response::new(Full::new(body.into()));
            *response.status_mut() = status;
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            for (name, value) in [("farm-key", head), ("farm-mac", mac)] {
                if let Ok(value) = HeaderValue::try_from(value) {
                    headers.insert(name, value);
                }
            }
            response
        }
        Some(Answer::Refused(reason)) => plain(StatusCode::FORBIDDEN, reason),
        None => busy(),
    }
}

fn busy() -> Response<Full<Bytes>> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "busy");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;

//! Tells other viewpoints what was measured here, and asks them the same: over HTTP, signed with the secret that all share.
//!
//! Nobody without the secret learns anything or is believed. Reports are bounded, and nothing here counts votes: that is the control
//! loop's.

use bytes::Bytes;
use dnslb_core::config::{Spec, ViewpointSpec, ViewpointsSpec};
use dnslb_core::control::Event;
use dnslb_core::health::{Exchange, Report, ViewpointKey, is_nonce};
use farm_daemon::clock::{Clock, secret_from_os};
use farm_daemon::http::{self, Limits, Listener};
use farm_shared::hex;
use farm_shared::id::Id;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::transfers::Followed;

/// Connections of those who ask.
pub const CONNECTIONS_MAX: usize = 256;

const PATH: &str = "/v1/viewpoint";
const FROM: &str = "dnslb-from";
const NONCE: &str = "dnslb-nonce";
const MAC: &str = "dnslb-mac";
const HEAD_MS_MAX: u64 = 5_000;

/// Octets of a report: some 200 for each of some 40,000 members.
const REPORT_OCTETS_MAX: usize = 8 << 20;

/// What was counted.
#[derive(Debug, Default)]
pub struct Counters {
    /// Questions to others that were answered.
    pub heard: AtomicU64,
    /// And those that were not, or not in a way that holds.
    pub failed: AtomicU64,
    /// Questions of others that were answered.
    pub told: AtomicU64,
    /// And those that nobody may ask.
    pub refused: AtomicU64,
    /// Connections above the limit.
    pub connections: Arc<AtomicU64>,
}

/// What this is made of.
pub struct Parts {
    /// What is in force.
    pub followed: watch::Receiver<Followed>,
    /// What was measured here.
    pub report: watch::Receiver<Arc<Report>>,
    /// Where answers of others go.
    pub heard: mpsc::Sender<Event>,
    /// The daemon's clock.
    pub clock: Clock,
    /// What is counted.
    pub counters: Arc<Counters>,
}

/// Answers on these listeners, and asks whom the configuration in force names. Ends with the control loop.
///
/// # Errors
/// A listener that cannot be used.
pub fn start(parts: Parts, listeners: Vec<std::net::TcpListener>) -> io::Result<()> {
    let limits = Limits { connections_max: CONNECTIONS_MAX, head_ms_max: HEAD_MS_MAX };
    for listener in listeners {
        let (followed, report, counters) = (parts.followed.clone(), parts.report.clone(), Arc::clone(&parts.counters));
        let service = move |request: Request<hyper::body::Incoming>, _| {
            let spec = Arc::clone(&followed.borrow().spec);
            let report = Arc::clone(&report.borrow());
            let response = answer(request.method(), request.uri().path(), request.headers(), &spec, &report);
            if response.status() == StatusCode::OK { &counters.told } else { &counters.refused }.fetch_add(1, Relaxed);
            std::future::ready(response)
        };
        let refused = Arc::clone(&parts.counters.connections);
        tokio::spawn(http::serve(Listener::from_tcp(listener)?, limits, refused, service));
    }
    tokio::spawn(follow(parts));
    Ok(())
}

fn answer(method: &Method, path: &str, headers: &HeaderMap, spec: &Spec, report: &Report) -> Response<Full<Bytes>> {
    let plain = |status, text: &'static str| {
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        response
    };
    if path != PATH {
        return plain(StatusCode::NOT_FOUND, "not found\n");
    }
    if method != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let from = Id::new(text(FROM)).ok();
    let from = from.filter(|from| spec.viewpoints.peers.iter().any(|peer| peer.name == *from));
    let (Some(key), Some(from)) = (&spec.viewpoints.key, from) else {
        return plain(StatusCode::FORBIDDEN, "forbidden\n");
    };
    let exchange = Exchange { from: &from, to: &spec.server.id, nonce: text(NONCE) };
    if !is_nonce(exchange.nonce) || !key.is_request(&exchange, text(MAC)) {
        return plain(StatusCode::FORBIDDEN, "forbidden\n");
    }
    let body = report.to_json();
    let mac = HeaderValue::try_from(key.sign_report(&exchange, &body));
    let mut response = Response::new(Full::new(body.into()));
    if let Ok(mac) = mac {
        response.headers_mut().insert(MAC, mac);
    }
    response
}

/// Asks whom the configuration in force names, and others once it names others.
async fn follow(mut parts: Parts) {
    loop {
        let spec = Arc::clone(&parts.followed.borrow_and_update().spec);
        let mut asking = JoinSet::new();
        for peer in &spec.viewpoints.peers {
            let Some(key) = spec.viewpoints.key.clone() else { continue };
            let asker = Asker {
                key,
                own: spec.server.id.clone(),
                peer: peer.clone(),
                clock: parts.clock,
                heard: parts.heard.clone(),
                counters: Arc::clone(&parts.counters),
            };
            asking.spawn(asker.run(spec.viewpoints.clone()));
        }
        // Zones change more often than the configuration.
        while Arc::ptr_eq(&spec, &parts.followed.borrow_and_update().spec) {
            if parts.followed.changed().await.is_err() {
                return;
            }
        }
    }
}

struct Asker {
    key: ViewpointKey,
    own: Id,
    peer: ViewpointSpec,
    clock: Clock,
    heard: mpsc::Sender<Event>,
    counters: Arc<Counters>,
}

impl Asker {
    async fn run(self, spec: ViewpointsSpec) {
        // One that comes later than the lease would count for nothing.
        let limit = Duration::from_millis(spec.lease_ms.min(5_000));
        let mut ticks = interval(Duration::from_millis(spec.interval_ms));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            ticks.tick().await;
            let asked = self.clock.mono();
            let report = timeout(limit, self.ask()).await.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            if report.is_ok() { &self.counters.heard } else { &self.counters.failed }.fetch_add(1, Relaxed);
            match report {
                Ok(report) => {
                    failing = false;
                    let event = Event::Viewpoint { from: self.peer.name.clone(), asked, report };
                    if self.heard.send(event).await.is_err() {
                        return;
                    }
                }
                Err(why) => {
                    // Once for each series of failures.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(viewpoint = %self.peer.name, addr = %self.peer.addr, why, "a viewpoint does not answer");
                    }
                }
            }
        }
    }

    async fn ask(&self) -> Result<Report, String> {
        let secret = secret_from_os().map_err(|error| error.to_string())?;
        let nonce = hex::encode(secret.get(..16).unwrap_or_default());
        let exchange = Exchange { from: &self.own, to: &self.peer.name, nonce: &nonce };
        let request = Request::get(PATH)
            .header(HOST, self.peer.addr.to_string())
            .header(hyper::header::CONNECTION, "close")
            .header(FROM, self.own.as_str())
            .header(NONCE, &nonce)
            .header(MAC, self.key.sign_request(&exchange))
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let stream = TcpStream::connect(self.peer.addr).await.map_err(|error| format!("connect: {error}"))?;
        let http = |error: hyper::Error| format!("http: {error}");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let (head, body) = sender.send_request(request).await.map_err(http)?.into_parts();
        if head.status != StatusCode::OK {
            return Err(format!("status {}: another secret, or it does not know us", head.status.as_u16()));
        }
        let body = Limited::new(body, REPORT_OCTETS_MAX).collect().await.map_err(|error| format!("body: {error}"))?;
        let body = body.to_bytes();
        let mac = head.headers.get(MAC).and_then(|mac| mac.to_str().ok()).unwrap_or_default();
        if !self.key.is_report(&exchange, &body, mac) {
            return Err("a signature that does not hold".to_owned());
        }
        Report::from_json(&body)
    }
}

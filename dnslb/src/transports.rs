//! All sockets that answer, from bound to stopped.
//!
//! Binding comes first and alone: a daemon whose second address is taken must not have answered on the first.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use dnslb_core::config::ServerSpec;
use farm_daemon::listen::{ListenError, udp_workers_and_tcp};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::accept::Caps;
use crate::answering::Answering;
use crate::encrypted::{self, Encrypted};
use crate::requests::Lane;
use crate::tcp::{self, StreamLimits};
use crate::tcp_clients::Clients;
use crate::udp::worker;
use farm_daemon::certificates::Certificates;

/// Bound and not yet served.
pub struct Bound {
    addresses: Vec<(Vec<UdpSocket>, TcpListener)>,
    encrypted: encrypted::Bound,
    workers: usize,
}

/// What the transports share with the rest of the daemon.
pub struct Shared<'a> {
    /// What is common to all that answers.
    pub answering: &'a Answering,
    /// Where messages go that are more than plain queries.
    pub lane: &'a Lane,
    /// Connections over plain TCP.
    pub clients: &'a Arc<Clients>,
    /// The certificate, if an encrypted transport is configured.
    pub certificates: Option<&'a Arc<Certificates>>,
    /// Where encrypted transports count.
    pub encrypted: &'a encrypted::Counters,
}

impl Bound {
    /// Binds every address over UDP, once for each worker, and over TCP, and those of encrypted transports. 0 workers is one for
    /// each core.
    pub fn bind(server: &ServerSpec) -> Result<Self, ListenError> {
        let workers = match server.workers {
            0 => cores(),
            given => given,
        };
        let addresses = server.listen.iter().map(|address| udp_workers_and_tcp(*address, workers));
        let addresses = addresses.collect::<Result<_, _>>()?;
        Ok(Self { addresses, encrypted: encrypted::Bound::bind(&server.encrypted)?, workers })
    }

    /// The addresses as bound, with the name of the transport and the number among its listeners, in the order given.
    pub fn local_addrs(&self) -> Vec<(&'static str, usize, SocketAddr)> {
        let plain = self.addresses.iter().filter_map(|(_, listener)| listener.local_addr().ok());
        let mut all: Vec<_> = plain.enumerate().map(|(n, addr)| ("dns", n, addr)).collect();
        all.extend(self.encrypted.local_addrs());
        all
    }

    /// Threads that will count: one tally for each worker, one for all of TCP, and one for all that is encrypted.
    pub fn tallies(&self) -> usize {
        self.workers + 2
    }

    /// Starts all workers and listeners. Needs a tokio runtime.
    pub fn start(self, server: &ServerSpec, shared: &Shared<'_>) -> io::Result<Transports> {
        let (stop_streams, stop) = watch::channel(false);
        let mut transports =
            Transports { stop_udp: Arc::default(), stop_streams, threads: Vec::new(), tcp: JoinSet::new(), encrypted: None };
        let answering = shared.answering;
        let limits = StreamLimits {
            idle_timeout: Duration::from_millis(server.tcp_idle_timeout_ms),
            total_timeout: Duration::from_millis(server.tcp_total_timeout_ms),
        };
        let caps = Caps {
            connections_max: server.tcp_connections_max,
            connections_per_client_max: server.tcp_connections_per_client_max,
        };
        let plain = self.addresses.len() as u32;
        for (a, (sockets, listener)) in self.addresses.into_iter().enumerate() {
            for (w, socket) in sockets.into_iter().enumerate() {
                worker::prepare(&socket)?;
                let cpu = server.pin_workers.then(|| w % cores());
                let answerer = answering.worker(w, (a as u64) << 32 | w as u64);
                let name = format!("udp-{w}");
                transports.threads.push(worker::start(
                    name,
                    socket,
                    answerer,
                    shared.lane.clone(),
                    cpu,
                    Arc::clone(&transports.stop_udp),
                )?);
            }
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let source = tcp::Source::new(answering, shared.lane, self.workers, a as u32);
            let clients = Arc::clone(shared.clients);
            transports.tcp.spawn(tcp::serve(listener, source, None, clients, caps, limits, stop.clone()));
        }
        if let Some(certificates) = shared.certificates.filter(|_| server.encrypted.is_wanted()) {
            let parts = encrypted::Parts {
                answering,
                lane: shared.lane,
                thread: self.workers + 1,
                address: plain,
                spec: &server.encrypted,
                limits,
                certificates: Arc::clone(certificates),
                counters: shared.encrypted,
                stop,
            };
            transports.encrypted = Some(self.encrypted.start(parts)?);
        }
        Ok(transports)
    }
}

/// All that answers.
pub struct Transports {
    stop_udp: Arc<AtomicBool>,
    stop_streams: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    tcp: JoinSet<()>,
    encrypted: Option<Encrypted>,
}

impl Transports {
    /// Stops answering, and waits until every thread and task has ended (about 250 ms).
    pub async fn stop(mut self) {
        self.stop_udp.store(true, Relaxed);
        let _ = self.stop_streams.send(true);
        while self.tcp.join_next().await.is_some() {}
        if let Some(encrypted) = self.encrypted.take() {
            encrypted.stop().await;
        }
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
        if !joined.await.unwrap_or(false) {
            tracing::error!("a worker ended in a panic");
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

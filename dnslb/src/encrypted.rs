//! DNS over TLS, HTTPS and QUIC: their sockets, and the threads on which they run.
//!
//! They have a runtime of their own, so that a flood of handshakes takes its processor time from itself and not from the control
//! loop, and a table of connections of their own, so that it evicts nobody from plain TCP.

use dnslb_core::config::EncryptedSpec;
use farm_daemon::listen::{self, ListenError};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::accept::Caps;
use crate::answering::Answering;
use crate::https::{self, Requests};
use crate::quic;
use crate::requests::Lane;
use crate::security::{Handshakes, Security};
use crate::tcp::{self, Source, StreamLimits};
use crate::tcp_clients::Clients;
use farm_daemon::certificates::Certificates;

/// Threads of the runtime. A handshake costs some 100 µs; this many bear thousands a second.
const THREADS_MAX: usize = 4;

/// Bound and not yet served.
pub struct Bound {
    tls: Vec<TcpListener>,
    https: Vec<TcpListener>,
    quic: Vec<UdpSocket>,
}

/// What the encrypted transports count in.
#[derive(Clone, Default)]
pub struct Counters {
    /// Connections.
    pub clients: Arc<Clients>,
    /// Handshakes over TLS, HTTPS and QUIC.
    pub handshakes: [Arc<Handshakes>; 3],
    /// Requests over HTTPS.
    pub requests: Arc<Requests>,
}

/// The labels of [`Counters::handshakes`].
pub const TRANSPORTS: [&str; 3] = ["tls", "https", "quic"];

/// What the listeners need.
pub struct Parts<'a> {
    /// What is common to all that answers.
    pub answering: &'a Answering,
    /// Where messages go that are more than plain queries.
    pub lane: &'a Lane,
    /// Number of the tally.
    pub thread: usize,
    /// Number of the first listener: each has draws of its own.
    pub address: u32,
    /// The options.
    pub spec: &'a EncryptedSpec,
    /// How long a connection may last.
    pub limits: StreamLimits,
    /// What is shown to clients.
    pub certificates: Arc<Certificates>,
    /// Where it is counted.
    pub counters: &'a Counters,
    /// Set to end it all.
    pub stop: watch::Receiver<bool>,
}

impl Bound {
    /// Binds every address.
    pub fn bind(spec: &EncryptedSpec) -> Result<Self, ListenError> {
        Ok(Self {
            tls: spec.listen_tls.iter().map(|addr| listen::tcp(*addr)).collect::<Result<_, _>>()?,
            https: spec.listen_https.iter().map(|addr| listen::tcp(*addr)).collect::<Result<_, _>>()?,
            quic: spec.listen_quic.iter().map(|addr| listen::udp(*addr)).collect::<Result<_, _>>()?,
        })
    }

    /// The addresses as bound, with the name of their transport and their number among its listeners.
    pub fn local_addrs(&self) -> Vec<(&'static str, usize, SocketAddr)> {
        let tcp = |name, listeners: &[TcpListener]| -> Vec<_> {
            let addrs = listeners.iter().filter_map(|listener| listener.local_addr().ok());
            addrs.enumerate().map(|(n, addr)| (name, n, addr)).collect()
        };
        let quic = self.quic.iter().filter_map(|socket| socket.local_addr().ok());
        let quic = quic.enumerate().map(|(n, addr)| ("dns_quic", n, addr)).collect();
        [tcp("dns_tls", &self.tls), tcp("dns_https", &self.https), quic].concat()
    }

    /// Starts all listeners on a runtime of their own, and watches the certificate's files.
    ///
    /// # Errors
    /// If the system gives no threads, or TLS cannot be configured.
    pub fn start(self, parts: Parts<'_>) -> io::Result<Encrypted> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(THREADS_MAX);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(2)
            .thread_name("encrypted")
            .enable_all()
            .build()?;
        let mut listeners = JoinSet::new();
        let handle = runtime.handle();
        let entered = runtime.enter();
        handle.spawn(Arc::clone(&parts.certificates).watch(parts.answering.clock));
        let caps = Caps {
            connections_max: parts.spec.connections_max,
            connections_per_client_max: parts.spec.connections_per_client_max,
        };
        let handshake_timeout = Duration::from_millis(parts.spec.handshake_timeout_ms);
        let mut address = parts.address;
        let mut source = || {
            address += 1;
            Source::new(parts.answering, parts.lane, parts.thread, address - 1)
        };
        let [tls, https, quic] = &parts.counters.handshakes;
        let clients = || Arc::clone(&parts.counters.clients);
        for listener in self.tls {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let config = parts.certificates.server_config(&[b"dot"], false).map_err(io::Error::other)?;
            let security = Some(Arc::new(Security::new(config, handshake_timeout, tls)));
            let stop = parts.stop.clone();
            listeners.spawn_on(tcp::serve(listener, source(), security, clients(), caps, parts.limits, stop), handle);
        }
        for listener in self.https {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let config = parts.certificates.server_config(&https::ALPN, false).map_err(io::Error::other)?;
            let shared = https::Listener {
                security: Security::new(config, handshake_timeout, https),
                path: parts.spec.https_path.clone(),
                limits: parts.limits,
                requests: Arc::clone(&parts.counters.requests),
            };
            let serve = https::serve(listener, source(), Arc::new(shared), clients(), caps, parts.stop.clone());
            listeners.spawn_on(serve, handle);
        }
        for socket in self.quic {
            let config = parts.certificates.server_config(&[b"doq"], true).map_err(io::Error::other)?;
            let endpoint = quic::endpoint(socket, config, parts.limits)?;
            let listener = quic::Listener {
                caps,
                limits: parts.limits,
                handshake_timeout,
                clients: clients(),
                handshakes: Arc::clone(quic),
            };
            listeners.spawn_on(quic::serve(endpoint, source(), Arc::new(listener), parts.stop.clone()), handle);
        }
        drop(entered);
        Ok(Encrypted { runtime, listeners })
    }
}

/// The running listeners.
pub struct Encrypted {
    runtime: Runtime,
    listeners: JoinSet<()>,
}

impl Encrypted {
    /// Waits for the listeners, which were told to stop, and ends the runtime with all that is left on it.
    pub async fn stop(mut self) {
        while self.listeners.join_next().await.is_some() {}
        self.runtime.shutdown_background();
    }
}

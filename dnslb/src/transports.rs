//! All sockets that answer, from bound to stopped.
//!
//! Binding comes first and alone: a daemon whose second address is taken must not have answered on the first.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use farm_daemon::listen::{ListenError, udp_workers_and_tcp};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::answering::Answering;
use crate::requests::Lane;
use crate::tcp::{self, TcpLimits};
use crate::tcp_clients::Clients;
use crate::udp::worker;

/// Bound and not yet served.
pub struct Bound {
    addresses: Vec<(Vec<UdpSocket>, TcpListener)>,
    workers: usize,
}

impl Bound {
    /// Binds every address over UDP, once for each worker, and over TCP. 0 workers is one for each core.
    pub fn bind(listen: &[SocketAddr], workers: usize) -> Result<Self, ListenError> {
        let workers = match workers {
            0 => cores(),
            given => given,
        };
        let addresses = listen.iter().map(|address| udp_workers_and_tcp(*address, workers)).collect::<Result<_, _>>()?;
        Ok(Self { addresses, workers })
    }

    /// The addresses as bound, in the order given.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.addresses.iter().filter_map(|(_, listener)| listener.local_addr().ok()).collect()
    }

    /// Threads that will count: one tally for each worker and one for all of TCP.
    pub fn tallies(&self) -> usize {
        self.workers + 1
    }

    /// Starts all workers and the TCP listeners. Needs a tokio runtime.
    pub fn start(
        self,
        answering: &Answering,
        limits: TcpLimits,
        pin: bool,
        clients: &Arc<Clients>,
        lane: &Lane,
    ) -> io::Result<Transports> {
        let (stop_tcp, stop) = watch::channel(false);
        let mut transports = Transports { stop_udp: Arc::default(), stop_tcp, threads: Vec::new(), tcp: JoinSet::new() };
        for (a, (sockets, listener)) in self.addresses.into_iter().enumerate() {
            for (w, socket) in sockets.into_iter().enumerate() {
                worker::prepare(&socket)?;
                let cpu = pin.then(|| w % cores());
                let answerer = answering.answerer(w, (a as u64) << 32 | w as u64);
                let name = format!("udp-{w}");
                transports.threads.push(worker::start(
                    name,
                    socket,
                    answerer,
                    lane.clone(),
                    cpu,
                    Arc::clone(&transports.stop_udp),
                )?);
            }
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let source =
                tcp::Source { answering: answering.clone(), thread: self.workers, address: a as u32, lane: lane.clone() };
            transports.tcp.spawn(tcp::serve(listener, source, Arc::clone(clients), limits, stop.clone()));
        }
        Ok(transports)
    }
}

/// All that answers.
pub struct Transports {
    stop_udp: Arc<AtomicBool>,
    stop_tcp: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    tcp: JoinSet<()>,
}

impl Transports {
    /// Stops answering, and waits until every thread and task has ended (about 250 ms).
    pub async fn stop(mut self) {
        self.stop_udp.store(true, Relaxed);
        let _ = self.stop_tcp.send(true);
        while self.tcp.join_next().await.is_some() {}
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

//! The threads of the front door, and who gets a place on them.
//!
//! Each thread has a runtime, listening sockets and counters of its own. All places taken must never mean that nobody gets in: whoever
//! has been idle longest makes room.

use super::answer::Desk;
use super::fast::Buffers;
use super::limits::Limits;
use super::sources::Sources;
use super::table::{Life, Table};
use super::tally::{Dispatches, Tally, TallySum, count};
use crate::access_log::AccessLog;
use arc_swap::ArcSwap;
use farm_daemon::clock::Clock;
use farm_shared::draw::Draws;
use farm_shared::time::Now;
use hyper::header::HeaderValue;
use redirector_core::door::Front;
use socket2::SockRef;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{self, LocalOptions};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

const ACCEPT_PAUSE_MS: u64 = 50;
const STOP_MS_MAX: u64 = 1_000;

/// What all workers share.
#[derive(Debug)]
pub struct Door {
    /// What requests are decided by. One task publishes it, the control loop's shell.
    pub front: ArcSwap<Front>,
    /// New sessions sent to each slot of each farm.
    pub dispatches: Dispatches,
    pub(super) sources: Sources,
    /// What is said over HTTPS of where HTTP/3 is (RFC 7838).
    pub(super) alt_svc: Option<HeaderValue>,
    limits: ArcSwap<Limits>,
    open: AtomicUsize,
    tallies: Vec<Arc<Tally>>,
    clock: Clock,
    access_log: Option<Arc<AccessLog>>,
}

impl Door {
    /// A door of `workers` threads that are not started yet.
    pub fn new(first: Front, limits: Limits, workers: usize, clock: Clock, mut draws: Draws) -> Self {
        Self {
            alt_svc: None,
            sources: Sources::new([draws.u64(), draws.u64()]),
            dispatches: Dispatches::new(first.farms.len()).with_debts([draws.u64(), draws.u64()]),
            front: ArcSwap::from_pointee(first),
            limits: ArcSwap::from_pointee(limits),
            open: AtomicUsize::new(0),
            tallies: (0..workers).map(|_| Arc::default()).collect(),
            clock,
            access_log: None,
        }
    }

    /// The same with an access log.
    pub fn with_access_log(self, access_log: Option<Arc<AccessLog>>) -> Self {
        Self { access_log, ..self }
    }

    /// The access log, if there is one.
    pub fn access_log(&self) -> Option<&AccessLog> {
        self.access_log.as_deref()
    }

    /// The same with HTTP/3 at a port.
    pub fn with_http3(self, port: Option<u16>) -> Self {
        let value = port.and_then(|port| HeaderValue::from_str(&format!("h3=\":{port}\"; ma=86400")).ok());
        Self { alt_svc: value, ..self }
    }

    /// New limits, for connections from now on.
    pub fn set_limits(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    /// The limits that hold for new connections.
    pub fn limits(&self) -> Arc<Limits> {
        self.limits.load_full()
    }

    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    /// The counters of all workers.
    pub fn tally(&self) -> TallySum {
        let mut sum = TallySum::default();
        self.tallies.iter().for_each(|t| sum += t.as_ref());
        sum
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// A bound socket of the front door.
pub enum Listening {
    /// For HTTP/1.1 and HTTP/2; with TLS for HTTPS.
    Tcp(std::net::TcpListener, Option<TlsAcceptor>),
    /// For HTTP/3.
    #[cfg(feature = "http3")]
    Quic(std::net::UdpSocket, Box<tokio_rustls::rustls::ServerConfig>),
}

/// The running threads.
#[derive(Debug)]
pub struct Workers {
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// One thread for each set of listening sockets; at most as many as the door was made for.
    pub fn start(door: &Arc<Door>, sockets: Vec<Vec<Listening>>, draws: &Draws) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let mut threads = Vec::with_capacity(sockets.len());
        for ((number, sockets), tally) in sockets.into_iter().enumerate().zip(&door.tallies) {
            let tally = Arc::clone(tally);
            let (door, stopped) = (Arc::clone(door), stopped.clone());
            let draws = draws.child("door", number as u64);
            let pen = door.access_log.as_ref().map(|log| log.pen(number, draws.child("access log", 0)));
            let desk = Desk::new(draws, pen);
            let (begins, begun) = mpsc::sync_channel(1);
            // A runtime for one thread lives and dies on it, and wakes its tasks without a lock.
            let run = move || match runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
            {
                Ok(runtime) => {
                    let _ = begins.send(Ok(()));
                    let (desk, table) = (RefCell::new(desk), Table::default());
                    let buffers = RefCell::default();
                    let worker = Rc::new(Worker { door, tally, desk, buffers, table, stopped });
                    runtime.block_on(worker.run(sockets));
                }
                Err(error) => drop(begins.send(Err(error))),
            };
            threads.push(std::thread::Builder::new().name(format!("door-{number}")).spawn(run)?);
            begun.recv().map_err(io::Error::other)??;
        }
        Ok(Self { stop, threads })
    }

    /// Closes the sockets, lets running requests end, and returns when all threads have ended, within about a second.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the front door panicked");
            }
        }
    }
}

pub(super) struct Worker {
    pub(super) door: Arc<Door>,
    tally: Arc<Tally>,
    pub(super) desk: RefCell<Desk>,
    pub(super) buffers: RefCell<Buffers>,
    table: Table,
    stopped: watch::Receiver<bool>,
}

/// One place among the connections, given back when it is dropped.
pub(super) struct Place {
    worker: Rc<Worker>,
    at: u32,
}

#[cfg(feature = "http3")]
impl Place {
    /// Its number in the worker's table.
    pub(super) fn at(&self) -> u32 {
        self.at
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker.table.leave(self.at);
        self.worker.door.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    async fn run(self: Rc<Self>, sockets: Vec<Listening>) {
        let loops: Vec<_> =
            sockets.into_iter().map(|socket| tokio::task::spawn_local(Rc::clone(&self).listen(socket))).collect();
        for accept in loops {
            let _ = accept.await;
        }
        // The connections that are left have been asked to close; whoever does not is cut off with the runtime.
        let mine_end = async {
            while Rc::strong_count(&self) > 1 {
                sleep(Duration::from_millis(ACCEPT_PAUSE_MS / 5)).await;
            }
        };
        let _ = timeout(Duration::from_millis(STOP_MS_MAX), mine_end).await;
    }

    async fn listen(self: Rc<Self>, listening: Listening) {
        match listening {
            Listening::Tcp(socket, tls) => self.accept(socket, tls).await,
            #[cfg(feature = "http3")]
            Listening::Quic(socket, config) => super::http3::serve(self, socket, *config).await,
        }
    }

    async fn accept(self: Rc<Self>, socket: std::net::TcpListener, tls: Option<TlsAcceptor>) {
        // Connections take after their listener. Small answers must not wait for the acknowledgement of the one before.
        let ready = SockRef::from(&socket).set_tcp_nodelay(true).and_then(|()| socket.set_nonblocking(true));
        let listener = match ready.and_then(|()| TcpListener::from_std(socket)) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "a socket of the front door cannot be used"),
        };
        let mut stopped = self.stopped();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopped.wait_for(|stop| *stop) => return,
            };
            let Ok((stream, peer)) = accepted else {
                // Out of descriptors, or a client that has gone: neither may become a busy loop.
                sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                continue;
            };
            let limits = self.door.limits();
            let Some((life, place)) = self.admit(&limits).await else { continue };
            let at = place.at;
            let tls = tls.clone();
            let task = tokio::task::spawn_local(async move {
                place.worker.serve(stream, peer.ip(), tls, &life, &limits).await;
            });
            self.table.is_served_by(at, task.abort_handle());
        }
    }

    /// A place for a connection; `None` if all are taken and nobody can make room.
    pub(super) async fn admit(self: &Rc<Self>, limits: &Limits) -> Option<(Rc<Life>, Place)> {
        let (tally, now) = (self.tally(), self.door.clock.mono());
        if self.door.open.fetch_add(1, Ordering::Relaxed) >= limits.connections_max {
            if !self.table.make_room(now) {
                self.door.open.fetch_sub(1, Ordering::Relaxed);
                count(&tally.refused);
                return None;
            }
            count(&tally.shed);
            // Lets the one that ends give its place back before the next one comes.
            tokio::task::yield_now().await;
        }
        count(&tally.accepted);
        let life = Rc::new(Life::new(now));
        let at = self.table.enter(Rc::clone(&life));
        Some((life, Place { worker: Rc::clone(self), at }))
    }

    /// The task of a connection, to be ended if it has to make room.
    #[cfg(feature = "http3")]
    pub(super) fn is_served_by(&self, at: u32, task: tokio::task::AbortHandle) {
        self.table.is_served_by(at, task);
    }

    /// The counters of this worker.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Tells when the door closes.
    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.clone()
    }
}

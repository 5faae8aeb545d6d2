//! The threads of the front door: accept, serve, give up on those who take too long.
//!
//! Each thread has a runtime, listening sockets and counters of its own. A connection must never be able to hold a place for ever:
//! the first request, the pause between two, and the whole connection have their limits.

use super::answer::{Desk, Origin};
use super::race::{First, first_of};
use super::tally::{Dispatches, Tally, TallySum, count};
use arc_swap::ArcSwap;
use farm_daemon::clock::Clock;
use farm_shared::draw::Draws;
use farm_shared::time::Mono;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use redirector_core::config::DoorSpec;
use redirector_core::door::Front;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{self, LocalOptions};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Room for a request's head, beyond which hyper answers 431 (or 414 while it is in the request line).
const HEAD_BYTES_MARGIN: usize = 8 * 1024;
const ACCEPT_PAUSE_MS: u64 = 50;
const STOP_MS_MAX: u64 = 1_000;
const CLOSE_MS_MAX: u64 = 1_000;

/// What a connection may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of all workers together.
    pub connections_max: usize,
    /// Octets of a request's target.
    pub url_bytes_max: usize,
    /// Until the first request, in milliseconds.
    pub header_timeout_ms: u64,
    /// From one request to the end of the next one's head, in milliseconds.
    pub idle_timeout_ms: u64,
    /// The whole connection, in milliseconds.
    pub total_timeout_ms: u64,
}

impl From<&DoorSpec> for Limits {
    fn from(spec: &DoorSpec) -> Self {
        Self {
            connections_max: spec.connections_max,
            url_bytes_max: spec.url_bytes_max,
            header_timeout_ms: spec.header_timeout_ms,
            idle_timeout_ms: spec.idle_timeout_ms,
            total_timeout_ms: spec.total_timeout_ms,
        }
    }
}

/// What all workers share.
#[derive(Debug)]
pub struct Door {
    /// What requests are decided by. One task publishes it, the control loop's shell.
    pub front: ArcSwap<Front>,
    /// New sessions sent to each slot of each farm.
    pub dispatches: Dispatches,
    limits: ArcSwap<Limits>,
    open: AtomicUsize,
    tallies: Vec<Tally>,
    clock: Clock,
}

impl Door {
    /// A door of `workers` threads that are not started yet.
    pub fn new(first: Front, limits: Limits, workers: usize, clock: Clock) -> Self {
        Self {
            dispatches: Dispatches::new(first.farms.len()),
            front: ArcSwap::from_pointee(first),
            limits: ArcSwap::from_pointee(limits),
            open: AtomicUsize::new(0),
            tallies: (0..workers).map(|_| Tally::default()).collect(),
            clock,
        }
    }

    /// New limits, for connections from now on.
    pub fn set_limits(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    /// The counters of all workers.
    pub fn tally(&self) -> TallySum {
        let mut sum = TallySum::default();
        self.tallies.iter().for_each(|t| sum += t);
        sum
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// The running threads.
#[derive(Debug)]
pub struct Workers {
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// One thread for each set of listening sockets; at most as many as the door was made for.
    pub fn start(door: &Arc<Door>, sockets: Vec<Vec<std::net::TcpListener>>, draws: &Draws) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let mut threads = Vec::with_capacity(sockets.len());
        for (number, sockets) in sockets.into_iter().enumerate() {
            let (door, stopped) = (Arc::clone(door), stopped.clone());
            let draws = draws.child("door", number as u64);
            let (begins, begun) = mpsc::sync_channel(1);
            // A runtime for one thread lives and dies on it, and wakes its tasks without a lock.
            let run = move || match runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
            {
                Ok(runtime) => {
                    let _ = begins.send(Ok(()));
                    let worker = Rc::new(Worker { door, number, desk: RefCell::new(Desk::new(draws)), stopped });
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

struct Worker {
    door: Arc<Door>,
    number: usize,
    desk: RefCell<Desk>,
    stopped: watch::Receiver<bool>,
}

/// One place among the connections, given back when it is dropped.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    async fn run(self: Rc<Self>, sockets: Vec<std::net::TcpListener>) {
        let loops: Vec<_> =
            sockets.into_iter().map(|socket| tokio::task::spawn_local(Rc::clone(&self).accept(socket))).collect();
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

    async fn accept(self: Rc<Self>, socket: std::net::TcpListener) {
        let listener = match socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket)) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "a socket of the front door cannot be used"),
        };
        let mut stopped = self.stopped.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopped.wait_for(|stop| *stop) => return,
            };
            let Some(tally) = self.door.tallies.get(self.number) else { return };
            let Ok((stream, peer)) = accepted else {
                // Out of descriptors, or a client that has gone: neither may become a busy loop.
                sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                continue;
            };
            let limits = **self.door.limits.load();
            if self.door.open.fetch_add(1, Ordering::Relaxed) >= limits.connections_max {
                drop(Place(&self.door.open));
                count(&tally.refused);
                continue;
            }
            count(&tally.accepted);
            tokio::task::spawn_local(Rc::clone(&self).serve(stream, Origin { source: peer.ip(), secure: false }, limits));
        }
    }

    async fn serve(self: Rc<Self>, stream: TcpStream, origin: Origin, limits: Limits) {
        let _place = Place(&self.door.open);
        let Some(tally) = self.door.tallies.get(self.number) else { return };
        // Small answers must not wait for the acknowledgement of the one before. An error means that the client has gone.
        let _ = stream.set_nodelay(true);
        let asked = Cell::new(None);
        let service = service_fn(|request| {
            let now = self.door.clock.now();
            asked.set(Some(now.mono));
            let front = self.door.front.load();
            let dispatches = &self.door.dispatches;
            let response = self.desk.borrow_mut().respond(&request, origin, &front, dispatches, tally, now);
            std::future::ready(Ok::<_, Infallible>(response))
        });
        // hyper's own timeout makes a timer and looks twice for each request; and a redirect is one piece, which a plain write
        // sends with less ado than a vectored one.
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .writev(false)
            .max_buf_size(limits.url_bytes_max + HEAD_BYTES_MARGIN)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let outcome = match first_of(connection.as_mut(), self.patience(&asked, limits)).await {
            First::Connection(outcome) => outcome,
            First::Patience(End::Late) => return count(&tally.late),
            First::Patience(End::Close) => {
                connection.as_mut().graceful_shutdown();
                timeout(Duration::from_millis(CLOSE_MS_MAX), connection).await.unwrap_or(Ok(()))
            }
        };
        if outcome.is_err() {
            count(&tally.broken);
        }
    }

    /// Waits until a connection must end. `asked` is when its last request came.
    async fn patience(&self, asked: &Cell<Option<Mono>>, limits: Limits) -> End {
        let clock = self.door.clock;
        let begun = clock.mono();
        let end = begun.plus_ms(limits.total_timeout_ms);
        let mut stopped = self.stopped.clone();
        loop {
            let due = match asked.get() {
                Some(last) => last.plus_ms(limits.idle_timeout_ms),
                None => begun.plus_ms(limits.header_timeout_ms),
            };
            let now = clock.mono();
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

/// Why a connection ends that did not by itself.
enum End {
    /// No request came in time.
    Late,
    /// It has lasted long enough, or the door closes: a request under way is still answered.
    Close,
}

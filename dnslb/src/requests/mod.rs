//! The slow lane: every message that is more than a plain query leaves the answering threads here. Notifications, updates, transfers
//! and whatever is signed may take a while, allocate, and wait for a disk.
//!
//! It must never hold more than its bounds: requests in all and per client, messages of an answer that its reader has not taken. What
//! is beyond them is dropped and counted; plain queries go on as if nothing were.

mod counters;
mod handle;
mod rules;
mod transfer;

use dnslb_core::config::ZoneSpec;
use dnslb_core::respond::Transport;
use farm_daemon::clock::Clock;
use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::answering::{Answerer, Answering, Published};
use crate::udp::mmsg::{Origin, client_ip, send_to};
use dnslb_core::name::Name;

pub use counters::{Counters, Refused, Transferred};
pub use rules::Rules;
pub use transfer::Notified;

/// Requests under way.
const REQUESTS_MAX: usize = 256;

/// Requests of one client under way.
const REQUESTS_PER_CLIENT_MAX: u32 = 32;

/// Transfers out under way.
const TRANSFERS_MAX: usize = 32;

/// Messages of one answer that wait for its reader: with them a transfer holds some 200 KiB.
const MESSAGES_AHEAD: usize = 1;

/// An update for whoever keeps the zones. The answer is its response code (RFC 2136 section 3).
#[derive(Debug)]
pub struct Update {
    /// The whole message, without its TSIG record.
    pub message: Vec<u8>,
    /// The key that signed it; none if nobody did.
    pub key: Option<Name>,
    /// Who sent it.
    pub client: IpAddr,
    /// Where the response code goes, once what it says survives a crash.
    pub reply: oneshot::Sender<u16>,
}

/// Where requests go. Cheap to clone.
#[derive(Clone)]
pub struct Lane(Arc<Inner>);

pub(crate) struct Inner {
    published: Published,
    clock: Clock,
    runtime: Handle,
    rules: ArcSwap<Rules>,
    /// Of zones that catalogs brought.
    members: ArcSwap<Rules>,
    /// Answers signed plain queries.
    answerer: Mutex<Answerer>,
    updates: Option<mpsc::Sender<Update>>,
    notified: OnceLock<mpsc::Sender<Notified>>,
    places: Arc<Semaphore>,
    transfers: Semaphore,
    clients: Mutex<BTreeMap<IpAddr, u32>>,
    counters: Arc<Counters>,
}

/// One request.
pub(crate) struct Request {
    pub(crate) transport: Transport,
    pub(crate) client: IpAddr,
    pub(crate) message: Vec<u8>,
}

/// A request's place among those under way, given back when dropped.
struct Place {
    lane: Lane,
    client: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut clients = self.lane.0.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

impl Lane {
    /// A lane beside `answering`, with the tally and draws of `thread`. Needs a tokio runtime. Without `updates`, updates are not
    /// implemented.
    pub fn start(answering: &Answering, thread: usize, rules: Rules, updates: Option<mpsc::Sender<Update>>) -> Self {
        Self(Arc::new(Inner {
            published: Arc::clone(&answering.published),
            clock: answering.clock,
            runtime: Handle::current(),
            rules: ArcSwap::from_pointee(rules),
            members: ArcSwap::from_pointee(Rules::default()),
            // Two high bits keep its draws apart from those of workers and connections.
            answerer: Mutex::new(answering.answerer(thread, 3 << 62)),
            updates,
            notified: OnceLock::new(),
            transfers: Semaphore::new(TRANSFERS_MAX),
            places: Arc::new(Semaphore::new(REQUESTS_MAX)),
            clients: Mutex::default(),
            counters: Arc::default(),
        }))
    }

    /// Puts other rules in force.
    pub fn set_rules(&self, rules: Rules) {
        self.0.rules.store(Arc::new(rules));
    }

    /// Puts other rules in force for the zones that catalogs brought.
    pub fn set_members(&self, members: &[ZoneSpec]) {
        self.0.members.store(Arc::new(Rules::of_members(members)));
    }

    /// Where notifications go from now on; the first queue stays.
    pub fn notify(&self, queue: mpsc::Sender<Notified>) {
        let _ = self.0.notified.set(queue);
    }

    /// What was counted.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.0.counters
    }

    /// Takes a message that came over a stream. Its answers come out one by one, each a whole message; when there are no more, the
    /// next question may be answered. Whoever stops reading ends the request.
    pub fn stream(&self, transport: Transport, client: IpAddr, message: &[u8]) -> mpsc::Receiver<Vec<u8>> {
        let (out, messages) = mpsc::channel(MESSAGES_AHEAD);
        if let Some(place) = self.place(client) {
            let request = Request { transport, client, message: message.to_vec() };
            self.0.runtime.spawn(async move {
                place.lane.0.handle(request, &out).await;
                drop(place);
            });
        }
        messages
    }

    /// Takes a datagram; its answer leaves from the address that was asked.
    pub fn datagram(&self, socket: &Arc<UdpSocket>, origin: Origin, message: &[u8]) {
        let Some(from) = origin.from() else { return };
        let client = client_ip(from);
        let Some(place) = self.place(client) else { return };
        let (socket, request) =
            (Arc::clone(socket), Request { transport: Transport::Udp, client, message: message.to_vec() });
        self.0.runtime.spawn(async move {
            let (out, mut messages) = mpsc::channel(MESSAGES_AHEAD);
            place.lane.0.handle(request, &out).await;
            drop(out);
            if let Some(message) = messages.recv().await
                && send_to(socket.as_fd(), &origin, &message).is_err()
            {
                place.lane.0.counters.refused(Refused::NotSent);
            }
        });
    }

    fn place(&self, client: IpAddr) -> Option<Place> {
        let Ok(permit) = Arc::clone(&self.0.places).try_acquire_owned() else {
            self.0.counters.refused(Refused::Busy);
            return None;
        };
        let mut clients = self.0.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let count = clients.entry(client).or_insert(0);
        if *count >= REQUESTS_PER_CLIENT_MAX {
            self.0.counters.refused(Refused::ClientBusy);
            return None;
        }
        *count += 1;
        drop(clients);
        Some(Place { lane: self.clone(), client, _permit: permit })
    }
}

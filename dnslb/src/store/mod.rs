//! The store of zones: one thread that owns [`dnslb_core::store::Store`], takes updates and orders, and does what the machine says.
//!
//! It decides nothing. What comes while the disk is at work is taken together in one round: one write a zone, one publication. A
//! client hears of its update when the control loop serves it.

mod disk;

use dnslb_core::config::{Spec, ZoneSpec};
use dnslb_core::name::Name;
use dnslb_core::store::{self, Order, RequestId, Restored, Store, StoreEffect, StoreEvent, ZoneStatus, is_dynamic};
use dnslb_core::transfer::{Fetched, Secondary};
use dnslb_core::update::{self, Requestor};
use dnslb_core::zone::{Zone, Zones};
use farm_daemon::clock::Clock;
use farm_daemon::settings::resolve;
use farm_daemon::state_dir::write_atomically;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use crate::load::load_zone;
use crate::parent;
use crate::requests;
use crate::signing::{self, Signing, Statuses};

pub use disk::Disk;

/// Updates and orders that one write follows; more wait for the next.
const BURST: usize = 256;

/// Updates and orders that may wait.
const JOBS_MAX: usize = 1_024;

/// What an operator wants of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// No updates for now; the master file is written.
    Freeze,
    /// Updates again; the master file is read.
    Thaw,
    /// The master file is written.
    Sync,
    /// The master file is read, whatever was updated.
    Reload,
}

/// Counters of the store.
#[derive(Debug, Default)]
pub struct Counters {
    /// Updates by response code, 0 to 15.
    pub updates: [AtomicU64; 16],
    /// Writes that were made durable.
    pub writes: AtomicU64,
    /// Writes that failed.
    pub failures: AtomicU64,
}

/// The zones that are served, numbered from 1 in the order of their publication.
pub type Numbered = (u64, Arc<Zones>);

enum Job {
    Update(requests::Update),
    Wish(Wish, Name, oneshot::Sender<Result<String, String>>),
    Configure(Arc<Spec>, Arc<Zones>, oneshot::Sender<Result<(), Vec<String>>>),
    Status(oneshot::Sender<Vec<ZoneStatus>>),
    Transferred(Name, Fetched, oneshot::Sender<Result<String, String>>),
    Expired(Name, bool),
    Secondaries(oneshot::Sender<Vec<Secondary>>),
    /// The DS records of a zone that all servers of its parent show, by key tag.
    Parent(Name, Vec<u16>),
}

/// The way to the store. Cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    jobs: mpsc::Sender<Job>,
    zones: watch::Receiver<Numbered>,
    members: watch::Receiver<Arc<Vec<ZoneSpec>>>,
    counters: Arc<Counters>,
    signed: Statuses,
}

/// What the store needs.
pub struct Parts {
    /// The configuration file: relative paths start beside it.
    pub config: PathBuf,
    /// Where journals are kept.
    pub state_dir: Option<PathBuf>,
    /// The daemon's clock.
    pub clock: Clock,
    /// The number that the control loop serves.
    pub served: watch::Receiver<u64>,
}

impl Keeper {
    /// Brings back what was stored and starts the thread, which ends with the last way to it. Blocks on the disk; needs a tokio
    /// runtime.
    ///
    /// # Errors
    /// What does not hold of the files, each in words.
    pub fn start(parts: Parts, spec: Arc<Spec>, files: Arc<Zones>) -> Result<Self, Vec<String>> {
        let (jobs, inbox) = mpsc::channel(JOBS_MAX);
        let (published, zones) = watch::channel((0, Arc::default()));
        let (members, followed_members) = watch::channel(Arc::default());
        let counters = Arc::new(Counters::default());
        let signing = Signing::new(parts.clock.now(), parts.state_dir.as_deref());
        let signed = signing.statuses();
        let mut thread = Thread {
            store: Store::new(),
            disk: parts.state_dir.as_deref().map(Disk::below),
            parts,
            published,
            members,
            number: 0,
            clients: BTreeMap::new(),
            operators: BTreeMap::new(),
            requests: 0,
            answers: Vec::new(),
            counters: Arc::clone(&counters),
            runtime: Handle::current(),
            unsigned: Arc::default(),
            signing,
            jobs: jobs.downgrade(),
        };
        thread.configure(spec, files)?;
        let spawned = std::thread::Builder::new().name("store".into()).spawn(move || thread.run(inbox));
        spawned.map_err(|error| vec![format!("the store's thread: {error}")])?;
        Ok(Self { jobs, zones, members: followed_members, counters, signed })
    }

    /// The zones as they are served now.
    pub fn zones(&self) -> Numbered {
        self.zones.borrow().clone()
    }

    /// The zones that are served, whenever they change from now on.
    pub fn changes(&self) -> watch::Receiver<Numbered> {
        let mut zones = self.zones.clone();
        zones.mark_unchanged();
        zones
    }

    /// A queue for updates, which the store takes as they come.
    pub fn updates(&self) -> mpsc::Sender<requests::Update> {
        let (sender, mut updates) = mpsc::channel::<requests::Update>(JOBS_MAX);
        let jobs = self.jobs.clone();
        tokio::spawn(async move {
            while let Some(update) = updates.recv().await {
                if jobs.send(Job::Update(update)).await.is_err() {
                    return;
                }
            }
        });
        sender
    }

    /// Does what an operator wants of a zone; the answer is what was done, or why not.
    pub async fn wish(&self, wish: Wish, apex: Name) -> Option<Result<String, String>> {
        let (to, answer) = oneshot::channel();
        self.jobs.send(Job::Wish(wish, apex, to)).await.ok()?;
        answer.await.ok()
    }

    /// Takes what a primary gave; `Ok` once it is on the disk.
    pub async fn transferred(&self, apex: Name, fetched: Fetched) -> Result<String, String> {
        let gone = || "the store has ended".to_owned();
        let (to, answer) = oneshot::channel();
        self.jobs.send(Job::Transferred(apex, fetched, to)).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// A secondary zone's data is too old to be served, or is served again.
    pub async fn expired(&self, apex: Name, expired: bool) {
        // When the store has ended, nothing is served any more.
        let _ = self.jobs.send(Job::Expired(apex, expired)).await;
    }

    /// What holds for the zones that catalogs brought, whenever that changes.
    pub fn members(&self) -> watch::Receiver<Arc<Vec<ZoneSpec>>> {
        self.members.clone()
    }

    /// The secondary zones and what is there of them.
    pub async fn secondaries(&self) -> Vec<Secondary> {
        let (to, answer) = oneshot::channel();
        if self.jobs.send(Job::Secondaries(to)).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// All zones, for operators.
    pub async fn status(&self) -> Option<Vec<ZoneStatus>> {
        let (to, answer) = oneshot::channel();
        self.jobs.send(Job::Status(to)).await.ok()?;
        answer.await.ok()
    }

    /// Puts another configuration in force; all or nothing. Blocks.
    ///
    /// # Errors
    /// What does not hold of the files, each in words.
    pub fn configure_blocking(&self, spec: Arc<Spec>, files: Arc<Zones>) -> Result<(), Vec<String>> {
        let gone = || vec!["the store has ended".to_owned()];
        let (to, answer) = oneshot::channel();
        self.jobs.blocking_send(Job::Configure(spec, files, to)).map_err(|_| gone())?;
        answer.blocking_recv().unwrap_or_else(|_| Err(gone()))
    }

    /// What is known of the zones that are signed here.
    pub fn signed(&self) -> &Statuses {
        &self.signed
    }

    /// What was counted.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

struct Thread {
    store: Store,
    disk: Option<Disk>,
    parts: Parts,
    published: watch::Sender<Numbered>,
    members: watch::Sender<Arc<Vec<ZoneSpec>>>,
    /// Of what was published last.
    number: u64,
    clients: BTreeMap<RequestId, oneshot::Sender<u16>>,
    operators: BTreeMap<RequestId, oneshot::Sender<Result<String, String>>>,
    requests: u64,
    /// Who is told once what was published is served.
    answers: Vec<(oneshot::Sender<u16>, u16)>,
    counters: Arc<Counters>,
    runtime: Handle,
    /// The zones as the store has them: what is published is signed.
    unsigned: Arc<Zones>,
    signing: Signing,
    /// For what was asked elsewhere. It does not keep the thread.
    jobs: mpsc::WeakSender<Job>,
}

impl Thread {
    fn run(mut self, mut inbox: mpsc::Receiver<Job>) {
        while let Some(job) = self.next(&mut inbox) {
            if let Some(job) = job {
                self.take(job);
                for _ in 1..BURST {
                    let Ok(job) = inbox.try_recv() else { break };
                    self.take(job);
                }
                self.settle();
            }
            self.look();
        }
    }

    /// The next job, or nothing when it is time to look at signatures and keys; `None` at the end.
    #[expect(clippy::option_option, reason = "the end and a pause are two things")]
    fn next(&self, inbox: &mut mpsc::Receiver<Job>) -> Option<Option<Job>> {
        let Some(rest) = self.signing.rest(self.parts.clock.now()) else { return inbox.blocking_recv().map(Some) };
        match self.runtime.block_on(async { tokio::time::timeout(rest, inbox.recv()).await }) {
            Ok(job) => job.map(Some),
            Err(_) => Some(None),
        }
    }

    /// Looks at signatures and keys when it is time to.
    fn look(&mut self) {
        let now = self.parts.clock.now();
        if self.signing.rest(now).is_none_or(|rest| !rest.is_zero()) {
            return;
        }
        for question in self.signing.tick(now) {
            let jobs = self.jobs.clone();
            self.runtime.spawn(async move {
                match (parent::ask(&question).await, jobs.upgrade()) {
                    (Ok(tags), Some(jobs)) => drop(jobs.send(Job::Parent(question.zone, tags)).await),
                    (Err(why), _) => tracing::info!(zone = %question.zone, "the parent's DS set: {why}"),
                    _ => {}
                }
            });
        }
        self.serve(false);
    }

    /// Publishes the zones, signed; all the same or only if a signature is new.
    fn serve(&mut self, always: bool) {
        let (zones, is_new) = self.signing.sign(&self.unsigned, self.parts.clock.now());
        if always || is_new {
            self.number += 1;
            self.published.send_replace((self.number, zones));
        }
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Update(requests::Update { message, key, client, reply }) => match update::read(&message) {
                Ok(update) => {
                    let request = self.request();
                    self.clients.insert(request, reply);
                    let requestor = Requestor { key, from: client };
                    self.step(StoreEvent::Update { request, update: Box::new(update), requestor });
                }
                Err(rcode) => self.respond(reply, rcode),
            },
            Job::Wish(wish, apex, to) => match self.order(wish, &apex) {
                Ok(order) => {
                    let request = self.request();
                    self.operators.insert(request, to);
                    self.step(StoreEvent::Order { request, apex, order });
                }
                Err(why) => drop(to.send(Err(why))),
            },
            // A configuration is never in the same round as an update under way: what it drops was answered.
            Job::Configure(spec, files, to) => {
                self.settle();
                let _ = to.send(self.configure(spec, files));
            }
            Job::Parent(zone, tags) => {
                self.signing.parent(&zone, tags);
                self.serve(false);
            }
            Job::Status(to) => drop(to.send(self.store.status())),
            Job::Transferred(apex, fetched, to) => {
                let request = self.request();
                self.operators.insert(request, to);
                self.step(StoreEvent::Transferred { request, apex, fetched });
            }
            Job::Expired(apex, expired) => self.step(StoreEvent::Expired { apex, expired }),
            Job::Secondaries(to) => drop(to.send(self.store.secondaries())),
        }
    }

    /// A wish with the master file that it needs.
    fn order(&self, wish: Wish, apex: &Name) -> Result<Order, String> {
        let file = || -> Result<Arc<Zone>, String> {
            let file = self.store.file_of(apex).ok_or_else(|| format!("{apex} is no zone of this server"))?;
            let loaded = load_zone(apex, file, &self.parts.config);
            loaded.map(Arc::new).map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        };
        Ok(match wish {
            Wish::Freeze => Order::Freeze,
            Wish::Sync => Order::Sync,
            Wish::Thaw => Order::Thaw(file()?),
            Wish::Reload => Order::Reload(file()?),
        })
    }

    /// All zones that come back are read before anything is put in force.
    fn configure(&mut self, spec: Arc<Spec>, zones: Arc<Zones>) -> Result<(), Vec<String>> {
        let mut restored = BTreeMap::new();
        let mut problems = Vec::new();
        for zone in spec.zones.iter().filter(|zone| is_dynamic(zone) && !self.store.holds(&zone.name)) {
            let Some(disk) = &self.disk else {
                problems.push(format!("{} is updated, and there is no server.state_dir for its journal", zone.name));
                continue;
            };
            match bring_back(disk, &zone.name) {
                Ok(Some(found)) => {
                    restored.insert(zone.name.clone(), found);
                }
                Ok(None) => {}
                Err(why) => problems.push(why),
            }
        }
        let prepared = signing::prepare(&spec, &self.parts.config, self.parts.clock.now());
        let prepared = prepared.unwrap_or_else(|mut found| {
            problems.append(&mut found);
            signing::Prepared::default()
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        self.signing.configure(prepared);
        self.step(StoreEvent::Configured { spec, zones, restored });
        self.settle();
        Ok(())
    }

    fn step(&mut self, event: StoreEvent) {
        let now = self.parts.clock.now();
        for effect in self.store.step(now, event) {
            self.apply(effect);
        }
    }

    /// Until nothing is left to write and everything written is published.
    fn settle(&mut self) {
        loop {
            let effects = self.store.flush();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                self.apply(effect);
            }
        }
        let answers = std::mem::take(&mut self.answers);
        if answers.is_empty() {
            return;
        }
        let (number, mut served) = (self.number, self.parts.served.clone());
        self.runtime.spawn(async move {
            // When the control loop has ended, what was written holds nevertheless.
            let _ = served.wait_for(|served| *served >= number).await;
            for (reply, rcode) in answers {
                let _ = reply.send(rcode);
            }
        });
    }

    fn apply(&mut self, effect: StoreEffect) {
        match effect {
            StoreEffect::Record { apex, generation, at, octets } => {
                let result = self.on_disk(|disk| disk.append(&apex, generation, at, &octets));
                self.step(StoreEvent::Recorded { apex, result });
            }
            StoreEffect::Checkpoint { apex, generation, octets } => {
                let result = self.on_disk(|disk| disk.checkpoint_write(&apex, generation, &octets));
                self.step(StoreEvent::Recorded { apex, result });
            }
            StoreEffect::WriteFile { zone, file } => {
                let mut text = String::new();
                // Writing to a string does not fail.
                let _ = zone.write_text(&mut text);
                let path = resolve(&self.parts.config, &file);
                let result = write_master(&path, text.as_bytes()).map_err(|error| format!("{}: {error}", path.display()));
                self.step(StoreEvent::FileWritten { apex: zone.apex().clone(), result });
            }
            StoreEffect::Publish(zones) => {
                self.unsigned = zones;
                self.serve(true);
            }
            StoreEffect::Respond(request, rcode) => {
                if let Some(reply) = self.clients.remove(&request) {
                    self.respond(reply, rcode);
                }
            }
            StoreEffect::Answer(request, answer) => {
                if let Some(operator) = self.operators.remove(&request) {
                    let _ = operator.send(answer);
                }
            }
            StoreEffect::Forget(apex) => {
                tracing::info!(zone = %apex, "its catalog has it no more");
                self.forget(&apex);
            }
            StoreEffect::Adopt { apex, keep } => {
                tracing::info!(zone = %apex, keep, "a catalog brings it");
                let mut restored = None;
                if keep {
                    let found = self.disk.as_ref().map(|disk| bring_back(disk, &apex)).transpose();
                    match found {
                        Ok(found) => restored = found.flatten(),
                        Err(why) => tracing::error!(zone = %apex, why, "what is stored does not hold: it is had anew"),
                    }
                } else {
                    self.forget(&apex);
                }
                self.step(StoreEvent::Adopted { apex, restored });
            }
            StoreEffect::Members(members) => drop(self.members.send_replace(members)),
            StoreEffect::Changed(apex) => tracing::debug!(zone = %apex, "changed"),
            StoreEffect::Notice(text) => tracing::warn!("{text}"),
        }
    }

    fn respond(&mut self, reply: oneshot::Sender<u16>, rcode: u16) {
        if let Some(counter) = self.counters.updates.get(usize::from(rcode & 15)) {
            counter.fetch_add(1, Relaxed);
        }
        self.answers.push((reply, rcode));
    }

    fn forget(&self, apex: &Name) {
        if let Err(why) = self.on_disk(|disk| disk.remove(apex)) {
            tracing::warn!(zone = %apex, why, "what is stored of it cannot be removed");
        }
    }

    fn on_disk(&self, act: impl FnOnce(&Disk) -> std::io::Result<()>) -> Result<(), String> {
        let result = match &self.disk {
            Some(disk) => act(disk).map_err(|error| error.to_string()),
            None => Err("there is no server.state_dir".to_owned()),
        };
        let counter = if result.is_ok() { &self.counters.writes } else { &self.counters.failures };
        counter.fetch_add(1, Relaxed);
        result
    }
}

/// Replaces a master file. It may be read by whoever could read it before.
fn write_master(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let permissions = std::fs::metadata(path).map(|metadata| metadata.permissions());
    write_atomically(path, text)?;
    permissions.and_then(|permissions| std::fs::set_permissions(path, permissions))
}

/// What is stored of a zone, read and made a zone again.
fn bring_back(disk: &Disk, apex: &Name) -> Result<Option<Restored>, String> {
    let stored = disk.read(apex).map_err(|error| format!("what is stored of {apex}: {error}"))?;
    let restored = store::restore(apex, &stored)?;
    if let Some(cut) = restored.as_ref().map(|restored| restored.cut).filter(|cut| *cut > 0) {
        tracing::warn!(zone = %apex, octets = cut, "the journal ended in a write that was cut short; it was never acknowledged and is cut off");
    }
    Ok(restored)
}

/// The zones of a configuration as they are stored, for those who only look: nothing is locked, nothing changed.
///
/// # Errors
/// What does not hold of the files, each in words.
pub fn as_stored(spec: &Arc<Spec>, files: &Arc<Zones>, state_dir: &Path) -> Result<Arc<Zones>, Vec<String>> {
    let disk = Disk::below(state_dir);
    let (mut restored, mut problems) = (BTreeMap::new(), Vec::new());
    for zone in spec.zones.iter().filter(|zone| is_dynamic(zone)) {
        match bring_back(&disk, &zone.name) {
            Ok(found) => restored.extend(found.map(|found| (zone.name.clone(), found))),
            Err(why) => problems.push(why),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut store = Store::new();
    let now = Clock::start().now();
    store.step(now, StoreEvent::Configured { spec: Arc::clone(spec), zones: Arc::clone(files), restored });
    store.flush();
    Ok(Arc::clone(store.served()))
}

//! What goes on between this server and others about zones: secondaries are kept fresh, and ours are told of changes.
//!
//! The machines of `dnslb_core::transfer` decide; this task gives them the time, runs what they ask for, and hands what a primary
//! gave to the store. It never waits for a peer itself.

mod counters;
mod fetch;
mod room;
mod tell;

use dnslb_core::config::{Spec, ZoneSpec};
use dnslb_core::name::Name;
use dnslb_core::transfer::{Fetched, Limits, Notifier, NotifyEffect, NotifyEvent, RefreshEffect, RefreshEvent, Refresher};
use dnslb_core::zone::{Soa, Zones};
use farm_daemon::clock::Clock;
use farm_shared::draw::Draws;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::requests::{Lane, Notified};
use crate::store::Keeper;
use fetch::{Ask, FetchError};
use room::Room;

pub use counters::{Counters, Fetch};

/// Results of tasks, and notifications, that may wait.
const QUEUE_MAX: usize = 256;

/// Octets a record of a transfer, on average, at most.
const RECORD_OCTETS_MAX: u64 = 256;

/// Octets that every zone may have, however few records it may.
const ZONE_OCTETS_MIN: u64 = 1 << 20;

/// The longest sleep: a clock that was stopped must not make it endless.
const SLEEP_MAX: Duration = Duration::from_hours(1);

/// What is in force and served.
#[derive(Clone)]
pub struct Followed {
    /// The configuration.
    pub spec: Arc<Spec>,
    /// The zones.
    pub zones: Arc<Zones>,
}

/// What the task needs.
pub struct Parts {
    /// What is served, whenever that changes.
    pub followed: watch::Receiver<Followed>,
    /// Where transfers go.
    pub keeper: Keeper,
    /// Whose rules follow the zones of catalogs.
    pub lane: Lane,
    /// The daemon's clock.
    pub clock: Clock,
    /// The parent of its draws.
    pub draws: Draws,
    /// The configuration file: relative paths start beside it.
    pub config: PathBuf,
    /// Where it counts.
    pub counters: Arc<Counters>,
}

/// Starts the task, which takes the lane's notifications from now on; it ends with whoever says what is served.
pub fn start(parts: Parts) {
    let (queue, notified) = mpsc::channel(QUEUE_MAX);
    parts.lane.notify(queue);
    let (results, done) = mpsc::channel(QUEUE_MAX);
    let task = Task {
        refresher: Refresher::new(parts.draws.child("refresh", 0)),
        notifier: Notifier::new(parts.draws.child("notify", 0)),
        ids: parts.draws.child("message ids of transfers", 0),
        members: parts.keeper.members(),
        parts,
        results,
        held: Arc::default(),
    };
    tokio::spawn(task.run(notified, done));
}

/// What a task of ours came to.
enum Done {
    Refresh(RefreshEvent),
    Told(NotifyEvent),
}

struct Task {
    parts: Parts,
    refresher: Refresher,
    notifier: Notifier,
    ids: Draws,
    /// Zones that catalogs brought.
    members: watch::Receiver<Arc<Vec<ZoneSpec>>>,
    results: mpsc::Sender<Done>,
    /// Octets that transfers under way hold.
    held: Arc<AtomicU64>,
}

impl Task {
    async fn run(mut self, mut notified: mpsc::Receiver<Notified>, mut done: mpsc::Receiver<Done>) {
        let (mut spec, mut members) = (None, None);
        loop {
            let followed = self.parts.followed.borrow_and_update().clone();
            let brought = Arc::clone(&self.members.borrow_and_update());
            let is_same = |spec: &Arc<Spec>| Arc::ptr_eq(spec, &followed.spec);
            let are_same = |members: &Arc<Vec<ZoneSpec>>| Arc::ptr_eq(members, &brought);
            if !spec.as_ref().is_some_and(is_same) || !members.as_ref().is_some_and(are_same) {
                self.parts.lane.set_members(&brought);
                (spec, members) = (Some(Arc::clone(&followed.spec)), Some(brought));
                let zones = self.parts.keeper.secondaries().await;
                self.refresh(RefreshEvent::Configured(zones)).await;
            }
            self.tell(NotifyEvent::Zones(targets(&followed)));
            if !self.until_changed(&mut notified, &mut done).await {
                return;
            }
        }
    }

    /// Works until something else is served; false when nothing will be any more.
    async fn until_changed(&mut self, notified: &mut mpsc::Receiver<Notified>, done: &mut mpsc::Receiver<Done>) -> bool {
        loop {
            let longest = Instant::now() + SLEEP_MAX;
            let next = self.parts.clock.instant(self.refresher.next().min(self.notifier.next()));
            let next = next.map_or(longest, |next| Instant::from_std(next).min(longest));
            tokio::select! {
                changed = self.parts.followed.changed() => return changed.is_ok(),
                changed = self.members.changed() => return changed.is_ok(),
                Some(Notified { apex, serial, from }) = notified.recv() => {
                    tracing::info!(zone = %apex, ?serial, %from, "notified");
                    self.refresh(RefreshEvent::Notified { apex, serial, from }).await;
                }
                Some(done) = done.recv() => match done {
                    Done::Refresh(event) => self.refresh(event).await,
                    Done::Told(event) => self.tell(event),
                },
                () = sleep_until(next) => {
                    self.refresh(RefreshEvent::Tick).await;
                    self.tell(NotifyEvent::Tick);
                }
            }
        }
    }

    async fn refresh(&mut self, event: RefreshEvent) {
        for effect in self.refresher.step(self.parts.clock.now(), event) {
            match effect {
                RefreshEffect::Expired(apex, expired) => {
                    if expired {
                        tracing::warn!(zone = %apex, "no primary has confirmed the data in time: it is not served");
                    }
                    self.parts.keeper.expired(apex, expired).await;
                }
                RefreshEffect::Start { apex, attempt, primary, have } => {
                    let followed = self.parts.followed.borrow().clone();
                    let members = Arc::clone(&self.members.borrow());
                    let zones = || followed.spec.zones.iter().chain(members.iter());
                    let records_max = zones().find(|zone| zone.name == apex).map_or(0, |zone| zone.records_max);
                    let largest = zones().map(|zone| zone.records_max).max().unwrap_or(0);
                    let ask = Ask {
                        apex: apex.clone(),
                        key: primary.key.as_ref().and_then(|name| followed.spec.keys.get(name)).cloned(),
                        primary,
                        have,
                        config: self.parts.config.clone(),
                        limits: Limits { records_max, octets_max: octets_max(records_max) },
                        clock: self.parts.clock,
                        id: self.ids.u64(),
                    };
                    let hosted = followed.zones.hosted_at(&apex);
                    let work = Work {
                        room: Room::new(&self.held, octets_max(largest)),
                        soa: hosted.map(|hosted| hosted.zone.soa().clone()),
                        keeper: self.parts.keeper.clone(),
                        counters: Arc::clone(&self.parts.counters),
                    };
                    let results = self.results.clone();
                    tokio::spawn(async move {
                        let result = work.run(ask).await;
                        // When the loop has ended, nobody wants to know.
                        let _ = results.send(Done::Refresh(RefreshEvent::Finished { apex, attempt, result })).await;
                    });
                }
            }
        }
    }

    fn tell(&mut self, event: NotifyEvent) {
        for NotifyEffect { apex, target } in self.notifier.step(self.parts.clock.mono(), event) {
            let followed = self.parts.followed.borrow().clone();
            let key = target.key.as_ref().and_then(|name| followed.spec.keys.get(name)).cloned();
            let (id, clock, results) = (self.ids.u64() as u16, self.parts.clock, self.results.clone());
            tokio::spawn(async move {
                let understood = match followed.zones.hosted_at(&apex) {
                    Some(hosted) => tell::tell(&hosted.zone, target.addr, key, id, clock).await,
                    None => true,
                };
                let _ = results.send(Done::Told(NotifyEvent::Told { apex, target, understood })).await;
            });
        }
        self.parts.counters.given_up(self.notifier.given_up());
    }
}

/// Octets of a zone with so many records, at most.
fn octets_max(records_max: usize) -> u64 {
    (records_max as u64).saturating_mul(RECORD_OCTETS_MAX).max(ZONE_OCTETS_MIN)
}

/// Zones that are served, with whom to tell of them.
fn targets(followed: &Followed) -> Vec<(Name, u32, Vec<dnslb_core::config::NotifySpec>)> {
    let told = followed.spec.zones.iter().filter(|zone| !zone.notify.is_empty()).filter_map(|zone| {
        let hosted = followed.zones.hosted_at(&zone.name).filter(|hosted| !hosted.expired)?;
        Some((zone.name.clone(), hosted.zone.serial(), zone.notify.clone()))
    });
    told.collect()
}

/// One look at a primary, with where its outcome goes.
struct Work {
    room: Room,
    soa: Option<Soa>,
    keeper: Keeper,
    counters: Arc<Counters>,
}

impl Work {
    /// The SOA record of the data that is there afterwards, if the primary gave any that can be used.
    async fn run(mut self, ask: Ask) -> Result<Soa, ()> {
        let (apex, addr) = (ask.apex.clone(), ask.primary.addr);
        match self.all(ask).await {
            Ok((soa, what)) => {
                self.counters.fetched(what);
                if what != Fetch::Same {
                    tracing::info!(zone = %apex, primary = %addr, serial = soa.serial, ?what, "transferred");
                }
                Ok(soa)
            }
            Err(error) => {
                self.counters.fetched(error.kind());
                tracing::warn!(zone = %apex, primary = %addr, %error, "no transfer; what was there stays");
                Err(())
            }
        }
    }

    async fn all(&mut self, ask: Ask) -> Result<(Soa, Fetch), FetchError> {
        let whole = Ask { have: None, ..ask.clone() };
        let fetched = fetch::fetch(ask, &mut self.room).await?;
        let is_change = matches!(fetched, Fetched::Changes(_));
        match self.keep(&whole.apex, fetched).await {
            // Changes that do not fit what is there: the primary and we disagree about the past.
            Err(FetchError::Store(why)) if is_change => {
                tracing::info!(zone = %whole.apex, why, "changes do not fit: the whole zone is asked for");
                let apex = whole.apex.clone();
                self.room.clear();
                let fetched = fetch::fetch(whole, &mut self.room).await?;
                self.keep(&apex, fetched).await
            }
            kept => kept,
        }
    }

    async fn keep(&self, apex: &Name, fetched: Fetched) -> Result<(Soa, Fetch), FetchError> {
        let (soa, what) = match &fetched {
            Fetched::Same => (self.soa.clone(), Fetch::Same),
            Fetched::Whole(zone) => (Some(zone.soa().clone()), Fetch::Whole),
            Fetched::Changes(diffs) => {
                let last = diffs.last().and_then(|diff| diff.added.first());
                (last.and_then(|record| Soa::from_rdata(&record.rdata)), Fetch::Changes)
            }
        };
        let soa = soa.ok_or_else(|| FetchError::Store("no SOA record".into()))?;
        self.keeper.transferred(apex.clone(), fetched).await.map_err(FetchError::Store)?;
        Ok((soa, what))
    }
}

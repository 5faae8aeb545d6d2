//! The zones that change: one pure machine for all of them, as `step(event) -> effects` and `flush() -> effects`.
//!
//! Updates, operators' orders and configurations come in; what is to be written, published and answered goes out. The order is the
//! point of it: a change is on the disk before it is served, and served before anybody is told that it was made. Changes that come
//! together are written together, and what cannot be written is as if it had never come.

mod checkpoint;
mod codec;
mod held;
pub mod journal;
mod orders;
mod restore;
mod secondary;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Spec, ZoneKind, ZoneSpec};
use crate::name::Name;
use crate::transfer::Fetched;
use crate::update::{Context, Protected, Requestor, Update, evaluate};
use crate::wire::rcode;
use crate::zone::{ApplyError, Diff, History, Zone, Zones, serial};
use farm_shared::time::{Now, Wall};
use held::{Held, Waiting};

pub use held::digest;
pub use restore::{Restored, Stored, generation_of, restore};

/// Tells apart who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Something happened.
#[derive(Debug)]
pub enum StoreEvent {
    /// A client wants a zone changed; its signature was verified.
    Update {
        /// Who is to be told.
        request: RequestId,
        /// What is to be done.
        update: Box<Update>,
        /// Who asks for it.
        requestor: Requestor,
    },
    /// What [`StoreEffect::Record`] or [`StoreEffect::Checkpoint`] asked for was done, or why not.
    Recorded {
        /// The zone.
        apex: Name,
        /// Whether it is on the disk now.
        result: Result<(), String>,
    },
    /// A primary gave something newer, or said that there is nothing.
    Transferred {
        /// Who is to be told, as an operator would be.
        request: RequestId,
        /// The secondary zone.
        apex: Name,
        /// What it gave.
        fetched: Fetched,
    },
    /// A secondary zone's data is too old to be served, or is served again.
    Expired {
        /// The zone.
        apex: Name,
        /// Which of the two.
        expired: bool,
    },
    /// An operator's word about one zone.
    Order {
        /// Who is to be told.
        request: RequestId,
        /// The zone.
        apex: Name,
        /// What is wanted.
        order: Order,
    },
    /// What [`StoreEffect::WriteFile`] asked for was done, or why not.
    FileWritten {
        /// The zone.
        apex: Name,
        /// Whether the master file is as the zone now.
        result: Result<(), String>,
    },
    /// A configuration, with the zones of its files and, for those that change and were not held before, what was stored.
    Configured {
        /// What it says.
        spec: Arc<Spec>,
        /// The zones of its files.
        zones: Arc<Zones>,
        /// Zones that came back from the disk.
        restored: BTreeMap<Name, Restored>,
    },
}

/// What an operator wants of a zone that is updated.
#[derive(Debug, Clone)]
pub enum Order {
    /// Write it to its master file and take no updates until it is thawed.
    Freeze,
    /// Take updates again; the master file as it is now, if it was edited meanwhile, becomes the zone.
    Thaw(Arc<Zone>),
    /// Write it to its master file.
    Sync,
    /// The master file becomes the zone, whatever was updated.
    Reload(Arc<Zone>),
}

/// Something is to be done.
#[derive(Debug)]
pub enum StoreEffect {
    /// Append this to the zone's journal and make it durable, then bring [`StoreEvent::Recorded`].
    Record {
        /// The zone.
        apex: Name,
        /// The generation of its journal.
        generation: u64,
        /// Length of the journal before this, in octets.
        at: u64,
        /// What to append: the header first, if the journal is new.
        octets: Vec<u8>,
    },
    /// Put this in the place of the zone's checkpoint and remove the journals of other generations, then bring
    /// [`StoreEvent::Recorded`].
    Checkpoint {
        /// The zone.
        apex: Name,
        /// The generation of the journal that goes on from it.
        generation: u64,
        /// The file.
        octets: Vec<u8>,
    },
    /// Write the zone to its master file, then bring [`StoreEvent::FileWritten`].
    WriteFile {
        /// The zone's data.
        zone: Arc<Zone>,
        /// The file, as configured.
        file: String,
    },
    /// Serve these from now on.
    Publish(Arc<Zones>),
    /// Tell whoever sent an update, once what was published before is served.
    Respond(RequestId, u16),
    /// Tell an operator.
    Answer(RequestId, Result<String, String>),
    /// The zone has a new version: tell its secondaries.
    Changed(Name),
    /// Write a log line.
    Notice(String),
}

/// A zone at one moment.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) zone: Arc<Zone>,
    pub(crate) history: Arc<History>,
    pub(crate) frozen: bool,
    /// The digest of the master file that the data followed last.
    pub(crate) seed: [u8; 32],
    pub(crate) confirmed: Wall,
}

impl State {
    /// The zone of a file.
    fn of(zone: Arc<Zone>) -> Self {
        let seed = digest(&zone);
        Self { zone, history: Arc::default(), frozen: false, seed, confirmed: Wall::default() }
    }

    /// One version further.
    fn change(&mut self, diff: Diff) -> Result<(), ApplyError> {
        self.zone = Arc::new(self.zone.apply(&diff)?);
        self.history = Arc::new(self.history.with(Arc::new(diff)));
        Ok(())
    }
}

/// What is known of a zone, for operators.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ZoneStatus {
    /// Its apex.
    pub name: String,
    /// `static`, `primary`.
    pub kind: &'static str,
    /// The serial that is served.
    pub serial: u32,
    /// Its records.
    pub records: usize,
    /// Whether an operator has it frozen.
    pub frozen: bool,
    /// Whether the master file has other content than the one that the zone's data followed last.
    pub file_differs: bool,
    /// Octets of its journal.
    pub journal_octets: u64,
    /// Changes that an incremental transfer can give.
    pub history: usize,
}

/// All zones, with what is needed to change them.
#[derive(Debug, Default)]
pub struct Store {
    zones: BTreeMap<Name, Held>,
    /// Apexes as configured.
    order: Vec<Name>,
    protected: Protected,
    /// Something was committed since the last publication.
    publish: bool,
    /// To be said with the next flush, behind the publication.
    later: Vec<StoreEffect>,
    served: Arc<Zones>,
}

impl Store {
    /// A store without zones: the first event is a configuration.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is served, as of the last publication.
    pub fn served(&self) -> &Arc<Zones> {
        &self.served
    }

    /// Whether the zone is held by this store as one that changes, so that what lies on the disk must not be read again.
    pub fn holds(&self, apex: &Name) -> bool {
        self.zones.get(apex).is_some_and(|held| held.is_dynamic())
    }

    /// The master file of a zone, as configured.
    pub fn file_of(&self, apex: &Name) -> Option<&str> {
        self.zones.get(apex).map(|held| held.spec.file.as_str())
    }

    /// One event.
    pub fn step(&mut self, now: Now, event: StoreEvent) -> Vec<StoreEffect> {
        match event {
            StoreEvent::Update { request, update, requestor } => self.update(now, request, &update, &requestor),
            StoreEvent::Transferred { request, apex, fetched } => self.transferred(now, request, &apex, fetched),
            StoreEvent::Expired { apex, expired } => {
                if let Some(held) = self.zones.get_mut(&apex) {
                    self.publish |= std::mem::replace(&mut held.expired, expired) != expired;
                }
                Vec::new()
            }
            StoreEvent::Recorded { apex, result } => self.recorded(&apex, result),
            StoreEvent::Order { request, apex, order } => self.order(now, request, &apex, order),
            StoreEvent::FileWritten { apex, result } => self.file_written(&apex, result),
            StoreEvent::Configured { spec, zones, restored } => self.configured(&spec, &zones, restored),
        }
    }

    /// What the events since the last flush call for: first what must be written; once that was brought back, what is published
    /// and who is told. Called after each burst of events and after each burst of outcomes.
    pub fn flush(&mut self) -> Vec<StoreEffect> {
        let mut effects: Vec<StoreEffect> = self.zones.iter_mut().filter_map(|(apex, held)| held.write(apex)).collect();
        effects.extend(self.zones.values_mut().filter_map(Held::write_file));
        if std::mem::take(&mut self.publish) {
            let hosted = self.order.iter().filter_map(|apex| self.zones.get(apex)).map(Held::hosted);
            // Each apex is a key of the map, so none comes twice.
            self.served = Arc::new(Zones::of(hosted).unwrap_or_default());
            effects.push(StoreEffect::Publish(Arc::clone(&self.served)));
        }
        effects.append(&mut self.later);
        effects
    }

    /// Every zone, for operators.
    pub fn status(&self) -> Vec<ZoneStatus> {
        self.order.iter().filter_map(|apex| self.zones.get(apex)).map(Held::status).collect()
    }

    fn update(&mut self, now: Now, request: RequestId, update: &Update, requestor: &Requestor) -> Vec<StoreEffect> {
        let Some(held) = self.zones.get_mut(&update.zone) else {
            return vec![StoreEffect::Respond(request, rcode::NOTAUTH)];
        };
        let grants = &held.spec.update;
        let context = Context { zone: &held.next.zone, grants, requestor, protected: &self.protected, is_signed: false };
        let outcome = match evaluate(update, context) {
            Ok(_) if held.next.frozen => Err(rcode::REFUSED),
            Ok(None) => Ok(rcode::NOERROR),
            Ok(Some(diff)) => held.change(now.wall, diff).map(|()| rcode::NOERROR).map_err(|why| {
                let zone = &update.zone;
                self.later.push(StoreEffect::Notice(format!("an update of {zone} is refused: {why}")));
                rcode::REFUSED
            }),
            Err(rcode) => Err(rcode),
        };
        let rcode = outcome.unwrap_or_else(|rcode| rcode);
        // What an answer speaks of must be on the disk, be it another client's.
        if held.is_clean() {
            return vec![StoreEffect::Respond(request, rcode)];
        }
        held.waiting.push((Waiting::Client(request), rcode));
        Vec::new()
    }

    fn recorded(&mut self, apex: &Name, result: Result<(), String>) -> Vec<StoreEffect> {
        let Some(held) = self.zones.get_mut(apex) else { return Vec::new() };
        let (before, asked) = (held.now.zone.serial(), std::mem::take(&mut held.writing));
        let failed = result.as_ref().err().cloned();
        let answered = held.recorded(asked, result.is_ok());
        if held.now.zone.serial() != before {
            self.publish = true;
            self.later.push(StoreEffect::Changed(apex.clone()));
        }
        for (waiting, rcode) in answered {
            self.later.push(match (waiting, &failed) {
                (Waiting::Client(request), None) => StoreEffect::Respond(request, rcode),
                (Waiting::Client(request), Some(_)) => StoreEffect::Respond(request, rcode::SERVFAIL),
                (Waiting::Operator(request, said), None) => StoreEffect::Answer(request, Ok(said)),
                (Waiting::Operator(request, _), Some(why)) => StoreEffect::Answer(request, Err(why.clone())),
            });
        }
        failed.map(|why| StoreEffect::Notice(format!("changes of {apex} cannot be written: {why}"))).into_iter().collect()
    }

    fn configured(&mut self, spec: &Spec, files: &Zones, mut restored: BTreeMap<Name, Restored>) -> Vec<StoreEffect> {
        self.protected = Protected {
            pools: spec.pools.iter().flat_map(|pool| &pool.publish).cloned().collect(),
            member_zones: spec.farms.iter().filter_map(|farm| farm.member_zone.clone()).collect(),
        };
        let mut old = std::mem::take(&mut self.zones);
        self.order.clear();
        let mut effects = Vec::new();
        for zone_spec in &spec.zones {
            let file = files.get(&zone_spec.name).cloned().or_else(|| secondary::unknown(zone_spec));
            let Some(file) = &file else { continue };
            let held = match old.remove(&zone_spec.name) {
                Some(mut held) if held.is_dynamic() && is_dynamic(zone_spec) && held.spec.kind == zone_spec.kind => {
                    held.spec = zone_spec.clone();
                    held
                }
                _ => Held::new(zone_spec.clone(), Arc::clone(file), restored.remove(&zone_spec.name)),
            };
            let held = held.with_file(file);
            if held.file_differs() {
                let name = &zone_spec.name;
                effects.push(StoreEffect::Notice(format!(
                    "{}: changed since {name} follows updates, and not served; `dnslb zone reload {name}` puts the file in their place",
                    zone_spec.file
                )));
            }
            self.order.push(zone_spec.name.clone());
            self.zones.insert(zone_spec.name.clone(), held);
        }
        // Whoever waits for a zone that is no more hears that nothing came of it.
        for (waiting, _) in old.into_values().flat_map(|held| held.waiting) {
            self.later.push(match waiting {
                Waiting::Client(request) => StoreEffect::Respond(request, rcode::SERVFAIL),
                Waiting::Operator(request, _) => StoreEffect::Answer(request, Err("the zone is gone".to_owned())),
            });
        }
        self.publish = true;
        effects
    }
}

/// Whether a zone's data is the store's, and not its file's alone.
pub fn is_dynamic(spec: &ZoneSpec) -> bool {
    !spec.update.is_empty() || spec.kind == ZoneKind::Secondary
}

/// The difference between two versions of a zone. The new one keeps its serial if it is newer; else it gets the next one.
fn difference(old: &Zone, new: &Zone) -> Option<Diff> {
    use crate::zone::{Record, Rtype};
    use std::collections::BTreeSet;
    let of = |zone: &Zone| zone.records().map(crate::zone::RecordRef::to_record).collect::<BTreeSet<Record>>();
    let (before, mut after) = (of(old), of(new));
    if before == after {
        return None;
    }
    let is_soa = |record: &&Record| record.rtype == Rtype::SOA;
    if !serial::is_newer(new.serial(), old.serial()) {
        let mut soa = after.iter().find(is_soa)?.clone();
        after.remove(&soa);
        crate::update::set_serial(&mut soa.rdata, serial::next(old.serial()));
        after.insert(soa);
    }
    let sorted = |from: &BTreeSet<Record>, other: &BTreeSet<Record>| {
        let mut only: Vec<Record> = from.difference(other).cloned().collect();
        // The SOA first, as in a transfer.
        only.sort_by_key(|record| record.rtype != Rtype::SOA);
        only
    };
    Some(Diff { removed: sorted(&before, &after), added: sorted(&after, &before) })
}

#[cfg(test)]
mod tests;

//! The zones that change: one pure machine for all of them, as `step(event) -> effects` and `flush() -> effects`.
//!
//! Updates, operators' orders and configurations come in; what is to be written, published and answered goes out. The order is the
//! point of it: a change is on the disk before it is served, and served before anybody is told that it was made. Changes that come
//! together are written together, and what cannot be written is as if it had never come.

mod catalogs;
mod checkpoint;
mod codec;
mod event;
mod held;
pub mod journal;
mod orders;
mod restore;
mod secondary;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{PoolSpec, Spec, ZoneKind, ZoneSpec};
use crate::name::Name;
use crate::update::{Context, Protected, Requestor, Update, evaluate};
use crate::wire::rcode;
use crate::zone::{ApplyError, Diff, History, Zone, Zones, serial};
use farm_shared::time::{Now, Wall};
use held::{Held, Waiting};

pub use event::{Order, RequestId, StoreEffect, StoreEvent, ZoneStatus};
pub use held::digest;
pub use restore::{Restored, Stored, generation_of, restore};

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

/// All zones, with what is needed to change them.
#[derive(Debug, Default)]
pub struct Store {
    zones: BTreeMap<Name, Held>,
    /// Apexes as configured.
    order: Vec<Name>,
    protected: Protected,
    catalogs: catalogs::Catalogs,
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
        self.zones.get(apex).is_some_and(Held::is_dynamic)
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
            StoreEvent::Adopted { apex, restored } => self.adopted(now, &apex, restored),
            StoreEvent::Expired { apex, expired } => {
                if let Some(held) = self.zones.get_mut(&apex) {
                    self.publish |= std::mem::replace(&mut held.expired, expired) != expired;
                }
                Vec::new()
            }
            StoreEvent::Recorded { apex, result } => self.recorded(&apex, result),
            StoreEvent::Order { request, apex, order } => self.order(now, request, &apex, order),
            StoreEvent::FileWritten { apex, result } => self.file_written(&apex, result),
            StoreEvent::Configured { spec, zones, restored } => self.configured(now, &spec, &zones, restored),
        }
    }

    /// What the events since the last flush call for: first what must be written; once that was brought back, what is published
    /// and who is told. Called after each burst of events and after each burst of outcomes.
    pub fn flush(&mut self) -> Vec<StoreEffect> {
        let mut effects: Vec<StoreEffect> = self.zones.iter_mut().filter_map(|(apex, held)| held.write(apex)).collect();
        effects.extend(self.zones.values_mut().filter_map(Held::write_file));
        if self.publish {
            self.follow_catalogs();
        }
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
        let is_signed = held.spec.dnssec.is_some();
        let context = Context { zone: &held.next.zone, grants, requestor, protected: &self.protected, is_signed };
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

    fn configured(
        &mut self,
        now: Now,
        spec: &Spec,
        files: &Zones,
        mut restored: BTreeMap<Name, Restored>,
    ) -> Vec<StoreEffect> {
        let farms = spec.farms.iter().filter_map(|farm| farm.member_zone.as_ref());
        let pools = spec.pools.iter().filter_map(|pool| pool.target_zone.as_ref());
        self.protected = Protected {
            pools: spec.pools.iter().flat_map(PoolSpec::names).cloned().collect(),
            member_zones: farms.chain(pools).cloned().collect(),
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
                _ => Held::new(now.wall, zone_spec.clone(), Arc::clone(file), restored.remove(&zone_spec.name)),
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
        for zone_spec in self.catalogs.configured(&spec.catalogs, &spec.zones) {
            if let Some(mut held) = old.remove(&zone_spec.name) {
                self.order.push(zone_spec.name.clone());
                held.spec = zone_spec;
                self.zones.insert(held.spec.name.clone(), held);
            }
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

/// The checkpoint that a zone without a past gets, of generation 1.
pub fn first_checkpoint(zone: &Zone) -> Vec<u8> {
    let (apex, seed) = (zone.apex().clone(), digest(zone));
    let meta = checkpoint::Meta { apex, generation: 1, next: 0, frozen: false, seed, confirmed: Wall::default() };
    checkpoint::write(&meta, zone)
}

/// Whether a zone's data is the store's, and not its file's alone.
pub fn is_dynamic(spec: &ZoneSpec) -> bool {
    !spec.update.is_empty() || spec.kind == ZoneKind::Secondary
}

/// Whose serial a new version of a zone has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serial {
    /// Its own, whatever it is.
    Theirs,
    /// Its own if it is newer; else the one after the old version's.
    Rising,
}

/// The difference between two versions of a zone; `None` if there is none. O(n log n) of their records.
fn difference(old: &Zone, new: &Zone, whose: Serial) -> Option<Diff> {
    use crate::zone::{Record, Rtype};
    use std::collections::BTreeSet;
    let of = |zone: &Zone| zone.records().map(crate::zone::RecordRef::to_record).collect::<BTreeSet<Record>>();
    let (before, mut after) = (of(old), of(new));
    if before == after {
        return None;
    }
    let is_soa = |record: &&Record| record.rtype == Rtype::SOA;
    if whose == Serial::Rising && !serial::is_newer(new.serial(), old.serial()) {
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

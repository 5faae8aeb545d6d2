//! Zones that catalogs bring and take away (RFC 9432): looked at whenever something is published.
//!
//! A catalog that is broken, or not there yet, changes nothing. A zone that goes takes its data along; one that comes back under another
//! unique label begins anew.

use super::held::{Held, Waiting};
use super::{Restored, Store, StoreEffect, secondary};
use crate::config::{CatalogSpec, ZoneSpec};
use crate::name::Name;
use crate::transfer::catalog::{Owned, assign, members};
use crate::wire::rcode;
use crate::zone::Zone;
use farm_shared::time::Wall;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is known of catalogs.
#[derive(Debug, Default)]
pub(super) struct Catalogs {
    specs: Vec<CatalogSpec>,
    /// Zones of the configuration: no catalog may have them.
    configured: BTreeSet<Name>,
    owned: BTreeMap<Name, Owned>,
    /// The versions that were looked at last.
    seen: BTreeMap<Name, Arc<Zone>>,
}

impl Catalogs {
    /// A configuration; gives the zones that stay, with what it says of each.
    pub(super) fn configured(&mut self, specs: &[CatalogSpec], zones: &[ZoneSpec]) -> Vec<ZoneSpec> {
        self.specs = specs.to_vec();
        self.configured = zones.iter().map(|zone| zone.name.clone()).collect();
        self.seen.retain(|apex, _| specs.iter().any(|spec| spec.zone == *apex));
        let is_still = |name: &Name, owned: &Owned| {
            !self.configured.contains(name) && self.specs.iter().any(|spec| spec.zone == owned.catalog)
        };
        self.owned.retain(|name, owned| is_still(name, owned));
        // A look at all of them: groups may mean something else now.
        let specs = self.specs();
        self.seen.clear();
        specs
    }

    fn spec(&self, name: &Name, owned: &Owned) -> Option<ZoneSpec> {
        let catalog = self.specs.iter().find(|spec| spec.zone == owned.catalog)?;
        Some(catalog.zone_spec(name, &owned.member))
    }

    /// What holds for each zone of a catalog.
    pub(super) fn specs(&self) -> Vec<ZoneSpec> {
        self.owned.iter().filter_map(|(name, owned)| self.spec(name, owned)).collect()
    }
}

impl Store {
    /// What holds for each zone that a catalog brought.
    pub fn members(&self) -> Vec<ZoneSpec> {
        self.catalogs.specs()
    }

    /// Looks at the catalogs, if one has another version than last time.
    pub(super) fn follow_catalogs(&mut self) {
        let version = |spec: &CatalogSpec| {
            let held = self.zones.get(&spec.zone)?;
            let is_there = held.spec.primaries.is_empty() || held.now.confirmed != Wall::default();
            is_there.then(|| (spec.zone.clone(), Arc::clone(&held.now.zone)))
        };
        let versions: BTreeMap<Name, Arc<Zone>> = self.catalogs.specs.iter().filter_map(version).collect();
        let same =
            |(apex, zone): (&Name, &Arc<Zone>)| self.catalogs.seen.get(apex).is_some_and(|seen| Arc::ptr_eq(seen, zone));
        if versions.len() == self.catalogs.seen.len() && versions.iter().all(same) {
            return;
        }
        let (mut now, mut kept) = (Vec::new(), Vec::new());
        for spec in &self.catalogs.specs {
            match versions.get(&spec.zone).map(|zone| members(zone)) {
                Some(Ok(members)) => now.push((spec.zone.clone(), members)),
                Some(Err(why)) => {
                    let text = format!("the catalog {} is broken, and its zones stay as they are: {why}", spec.zone);
                    self.later.push(StoreEffect::Notice(text));
                    kept.push(spec.zone.clone());
                }
                None => kept.push(spec.zone.clone()),
            }
        }
        let is_configured = |name: &Name| self.catalogs.configured.contains(name);
        let assigned = assign(&self.catalogs.owned, &now, &kept, is_configured);
        for (zone, catalog) in assigned.clashes {
            let text = format!("{catalog} wants {zone}, which is configured or another catalog's: it stays as it is");
            self.later.push(StoreEffect::Notice(text));
        }
        let before = std::mem::replace(&mut self.catalogs.owned, assigned.zones);
        let seen = std::mem::replace(&mut self.catalogs.seen, versions);
        for name in before.keys().filter(|name| !self.catalogs.owned.contains_key(*name)) {
            remove(&mut self.zones, &mut self.order, &mut self.later, name);
            self.later.push(StoreEffect::Forget(name.clone()));
        }
        for name in assigned.reset {
            remove(&mut self.zones, &mut self.order, &mut self.later, &name);
            // At a start, what lies on the disk is of the life that the catalog on the disk tells of.
            let owner = self.catalogs.owned.get(&name).map(|owned| &owned.catalog);
            let keep = !before.contains_key(&name) && owner.is_some_and(|catalog| !seen.contains_key(catalog));
            self.later.push(StoreEffect::Adopt { apex: name, keep });
        }
        for spec in self.catalogs.specs() {
            if let Some(held) = self.zones.get_mut(&spec.name) {
                held.spec = spec;
            }
        }
        self.later.push(StoreEffect::Members(Arc::new(self.catalogs.specs())));
    }

    /// A zone of a catalog with what was stored of it.
    pub(super) fn adopted(&mut self, apex: &Name, restored: Option<Restored>) -> Vec<StoreEffect> {
        let spec = self.catalogs.owned.get(apex).and_then(|owned| self.catalogs.spec(apex, owned));
        if let Some(spec) = spec
            && let Some(unknown) = secondary::unknown(&spec)
        {
            self.zones.insert(apex.clone(), Held::new(spec, unknown, restored));
            self.order.push(apex.clone());
            self.publish = true;
            self.later.push(StoreEffect::Members(Arc::new(self.catalogs.specs())));
        }
        Vec::new()
    }
}

/// Takes a zone out. Whoever waits for it hears that nothing came of it.
fn remove(zones: &mut BTreeMap<Name, Held>, order: &mut Vec<Name>, later: &mut Vec<StoreEffect>, name: &Name) {
    let Some(held) = zones.remove(name) else { return };
    order.retain(|apex| apex != name);
    for (waiting, _) in held.waiting {
        later.push(match waiting {
            Waiting::Client(request) => StoreEffect::Respond(request, rcode::SERVFAIL),
            Waiting::Operator(request, _) => StoreEffect::Answer(request, Err("the zone is gone".to_owned())),
        });
    }
}

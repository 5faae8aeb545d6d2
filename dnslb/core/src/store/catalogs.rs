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
use farm_shared::time::{Now, Wall};
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
    pub(super) fn adopted(&mut self, now: Now, apex: &Name, restored: Option<Restored>) -> Vec<StoreEffect> {
        let spec = self.catalogs.owned.get(apex).and_then(|owned| self.catalogs.spec(apex, owned));
        if let Some(spec) = spec
            && let Some(unknown) = secondary::unknown(&spec)
        {
            self.zones.insert(apex.clone(), Held::new(now.wall, spec, unknown, restored));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{RequestId, StoreEvent};
    use super::*;
    use crate::config::{Spec, load};
    use crate::transfer::Fetched;
    use crate::zone::{Files, Record, Rtype, Soa, Zones};
    use farm_shared::time::Mono;

    const NOW: Now = Now { mono: Mono(1), wall: Wall(1_700_000_000_000) };

    struct NoFiles;

    impl Files for NoFiles {
        fn read(&self, path: &str) -> Result<Vec<u8>, String> {
            Err(format!("{path}: not here"))
        }
    }

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    fn spec(more: &str) -> Arc<Spec> {
        let text = format!(
            "[server]\nstate_dir = 's'\n[[zone]]\nname = 'cat.test'\nkind = 'secondary'\n[[zone.primary]]\naddr = '192.0.2.1:53'\n\
             [[catalog]]\nzone = 'cat.test'\n[[catalog.primary]]\naddr = '192.0.2.1:53'\n\
             [[catalog.group]]\nname = 'far'\n[[catalog.group.primary]]\naddr = '192.0.2.9:53'\n{more}"
        );
        load("t", &text, &NoFiles).unwrap().spec
    }

    fn catalog(serial: u32, members: &[(&str, &str, Option<&str>)]) -> Arc<Zone> {
        let apex = name("cat.test");
        let invalid = name("invalid");
        let (mname, rname) = (invalid.clone(), invalid.clone());
        let soa = Soa { mname, rname, serial, refresh_s: 60, retry_s: 60, expire_s: 600, minimum_s: 0 };
        let record =
            |owner: &Name, rtype: Rtype, rdata: &[u8]| Record { owner: owner.clone(), rtype, ttl_s: 0, rdata: rdata.into() };
        let ptr = Rtype::PTR;
        let mut records = vec![
            record(&apex, Rtype::SOA, &soa.to_rdata()),
            record(&apex, Rtype::NS, invalid.wire()),
            record(&name("version.cat.test"), Rtype::TXT, b"\x012"),
        ];
        for (unique, zone, group) in members {
            let owner = name(&format!("{unique}.zones.cat.test"));
            records.push(record(&owner, ptr, name(zone).wire()));
            let text = group.map(|group| [&[group.len() as u8], group.as_bytes()].concat());
            records.extend(text.map(|text| record(&owner.child(b"group").unwrap(), Rtype::TXT, &text)));
        }
        Arc::new(Zone::from_records(&apex, records).unwrap().zone)
    }

    /// Does what the store asks for, with a disk that keeps nothing; gives the zones that it forgot and adopted, with whether what was
    /// stored of them was to be kept.
    fn settle(store: &mut Store) -> Vec<String> {
        let mut done = Vec::new();
        loop {
            let effects = store.flush();
            if effects.is_empty() {
                return done;
            }
            for effect in effects {
                let event = match effect {
                    StoreEffect::Record { apex, .. } | StoreEffect::Checkpoint { apex, .. } => {
                        StoreEvent::Recorded { apex, result: Ok(()) }
                    }
                    StoreEffect::Adopt { apex, keep } => {
                        done.push(format!("adopt {apex} {keep}"));
                        StoreEvent::Adopted { apex, restored: None }
                    }
                    StoreEffect::Forget(apex) => {
                        done.push(format!("forget {apex}"));
                        continue;
                    }
                    _ => continue,
                };
                store.step(NOW, event);
            }
        }
    }

    fn configure(store: &mut Store, spec: &Arc<Spec>) -> Vec<String> {
        let (spec, zones) = (Arc::clone(spec), Arc::new(Zones::default()));
        store.step(NOW, StoreEvent::Configured { spec, zones, restored: BTreeMap::new() });
        settle(store)
    }

    fn transferred(store: &mut Store, apex: &str, fetched: Fetched) -> Vec<String> {
        let request = RequestId(1);
        store.step(NOW, StoreEvent::Transferred { request, apex: name(apex), fetched });
        settle(store)
    }

    fn served(store: &Store) -> Vec<String> {
        store
            .served()
            .hosted()
            .map(|hosted| format!("{}{}", hosted.zone.apex(), if hosted.expired { " expired" } else { "" }))
            .collect()
    }

    #[test]
    fn zones_come_and_go_with_the_catalog() {
        let mut store = Store::new();
        assert_eq!(configure(&mut store, &spec("")), [""; 0]);
        assert_eq!(served(&store), ["cat.test. expired"], "before its first transfer it says nothing");
        let whole = |serial, members: &[_]| Fetched::Whole(catalog(serial, members));
        let first = transferred(&mut store, "cat.test", whole(1, &[("u1", "a.test", None), ("u2", "b.test", Some("far"))]));
        assert_eq!(first, ["adopt a.test. true", "adopt b.test. true"], "what lies on the disk is of this life");
        assert_eq!(store.members().len(), 2);
        let of = |store: &Store, zone: &str| {
            store
                .secondaries()
                .into_iter()
                .find(|found| found.apex == name(zone))
                .map(|found| found.primaries[0].addr.to_string())
        };
        assert_eq!(of(&store, "a.test").as_deref(), Some("192.0.2.1:53"));
        assert_eq!(of(&store, "b.test").as_deref(), Some("192.0.2.9:53"), "as its group says");
        let next = transferred(&mut store, "cat.test", whole(2, &[("u3", "a.test", None), ("u4", "c.test", None)]));
        assert_eq!(next, ["forget b.test.", "adopt a.test. false", "adopt c.test. false"]);
        // A catalog that is broken changes nothing.
        assert_eq!(
            transferred(&mut store, "cat.test", whole(3, &[("u3", "a.test", None), ("u4", "a.test", None)])),
            [""; 0]
        );
        assert_eq!(store.members().len(), 2);
        // A reload keeps its zones, and a catalog that is configured no more lets them go.
        assert_eq!(configure(&mut store, &spec("")), [""; 0]);
        assert_eq!(store.members().len(), 2);
        let configured = spec("[[zone]]\nname = 'a.test'\nkind = 'secondary'\n[[zone.primary]]\naddr = '192.0.2.5:53'\n");
        configure(&mut store, &configured);
        assert_eq!(of(&store, "a.test").as_deref(), Some("192.0.2.5:53"), "the configuration goes first");
        assert_eq!(store.members().iter().map(|spec| spec.name.to_string()).collect::<Vec<_>>(), ["c.test."]);
    }
}

//! Zones that come from elsewhere: what a primary gave, put in the place of what was there.
//!
//! A transfer is taken whole or not at all, and as a change where it can be one: so that our own secondaries get it as one.

use super::held::Waiting;
use super::{RequestId, Serial, Store, StoreEffect, difference};
use crate::config::{ZoneKind, ZoneSpec};
use crate::name::Name;
use crate::store::journal::Entry;
use crate::transfer::{Fetched, Secondary};
use crate::wire::rcode;
use crate::zone::{Record, Rtype, Soa, Zone};
use farm_shared::time::{Now, Wall};
use std::sync::Arc;

/// What stands for a secondary zone before its first transfer. It is never answered from: such a zone counts as expired.
pub(super) fn unknown(spec: &ZoneSpec) -> Option<Arc<Zone>> {
    if spec.kind != ZoneKind::Secondary {
        return None;
    }
    let apex = &spec.name;
    let (mname, rname) = (apex.clone(), apex.clone());
    let soa = Soa { mname, rname, serial: 0, refresh_s: 0, retry_s: 0, expire_s: 0, minimum_s: 0 };
    let record = |rtype: Rtype, rdata: Box<[u8]>| Record { owner: apex.clone(), rtype, ttl_s: 0, rdata };
    let records = [record(Rtype::SOA, soa.to_rdata()), record(Rtype::NS, apex.wire().into())];
    Zone::from_records(apex, records).ok().map(|loaded| Arc::new(loaded.zone))
}

impl Store {
    /// The secondary zones, with the SOA record of what is there of them and when that was confirmed.
    pub fn secondaries(&self) -> Vec<Secondary> {
        let secondaries = self.zones.values().filter(|held| held.spec.kind == ZoneKind::Secondary);
        secondaries
            .map(|held| Secondary {
                apex: held.spec.name.clone(),
                primaries: held.spec.primaries.clone(),
                have: (held.next.confirmed != Wall::default()).then(|| held.next.zone.soa().clone()),
                confirmed: held.next.confirmed,
            })
            .collect()
    }

    pub(super) fn transferred(&mut self, now: Now, request: RequestId, apex: &Name, fetched: Fetched) -> Vec<StoreEffect> {
        let held = self.zones.get_mut(apex).filter(|held| held.spec.kind == ZoneKind::Secondary);
        let Some(held) = held else {
            return vec![StoreEffect::Answer(request, Err(format!("{apex} is no secondary zone")))];
        };
        let is_first = held.next.confirmed == Wall::default();
        let result = match fetched {
            Fetched::Same if is_first => return vec![StoreEffect::Answer(request, Err("there is no data yet".into()))],
            Fetched::Same => Ok(()),
            Fetched::Whole(zone) if is_first => {
                held.replace(zone);
                Ok(())
            }
            Fetched::Whole(zone) => match difference(&held.next.zone, &zone, Serial::Theirs) {
                None => Ok(()),
                Some(diff) => held.change(now.wall, diff),
            },
            Fetched::Changes(diffs) => held.change_all(now.wall, diffs),
        };
        if let Err(why) = result {
            return vec![StoreEffect::Answer(request, Err(why.to_string()))];
        }
        held.note(Entry::Confirmed(now.wall));
        let said = format!("{apex}: serial {}", held.next.zone.serial());
        held.waiting.push((Waiting::Operator(request, said), rcode::NOERROR));
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::StoreEvent;
    use super::*;
    use crate::config::load;
    use crate::zone::{Diff, Files, Zones};
    use farm_shared::time::Mono;
    use std::collections::BTreeMap;

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

    fn soa(serial: u32) -> Record {
        let root = Name::root();
        let soa = Soa { mname: root.clone(), rname: root, serial, refresh_s: 1, retry_s: 1, expire_s: 1, minimum_s: 1 };
        Record { owner: name("a.test"), rtype: Rtype::SOA, ttl_s: 1, rdata: soa.to_rdata() }
    }

    fn host(last: u8) -> Record {
        Record { owner: name("h.a.test"), rtype: Rtype::A, ttl_s: 1, rdata: Box::new([192, 0, 2, last]) }
    }

    fn zone(serial: u32, last: u8) -> Fetched {
        let ns = Record { owner: name("a.test"), rtype: Rtype::NS, ttl_s: 1, rdata: Box::new([0]) };
        Fetched::Whole(Arc::new(Zone::from_records(&name("a.test"), [soa(serial), ns, host(last)]).unwrap().zone))
    }

    /// What the store said about a transfer, with a disk that writes as `disk` says.
    fn transferred(store: &mut Store, fetched: Fetched, disk: Result<(), &str>) -> Result<String, String> {
        let event = StoreEvent::Transferred { request: RequestId(1), apex: name("a.test"), fetched };
        let mut effects = store.step(NOW, event);
        let mut answer = None;
        loop {
            effects.extend(store.flush());
            if effects.is_empty() {
                return answer.unwrap();
            }
            for effect in std::mem::take(&mut effects) {
                match effect {
                    StoreEffect::Record { apex, .. } | StoreEffect::Checkpoint { apex, .. } => {
                        let result = disk.map_err(str::to_owned);
                        effects.extend(store.step(NOW, StoreEvent::Recorded { apex, result }));
                    }
                    StoreEffect::Answer(_, said) => answer = Some(said),
                    _ => {}
                }
            }
        }
    }

    fn store() -> Store {
        let text = "[server]\nstate_dir = 's'\n[[zone]]\nname = 'a.test'\nkind = 'secondary'\n[[zone.primary]]\naddr = '192.0.2.1:53'\n";
        let spec = load("t", text, &NoFiles).unwrap().spec;
        let mut store = Store::new();
        store.step(NOW, StoreEvent::Configured { spec, zones: Arc::new(Zones::default()), restored: BTreeMap::new() });
        store.flush();
        store
    }

    /// Serial, changes that are known, and whether nothing is answered from it.
    fn served(store: &Store) -> (u32, usize, bool) {
        let hosted = store.served().hosted_at(&name("a.test")).unwrap();
        (hosted.zone.serial(), hosted.history.len(), hosted.expired)
    }

    #[test]
    fn what_a_primary_gave_is_kept_and_served() {
        let mut store = store();
        assert_eq!((served(&store), store.secondaries()[0].have.is_none()), ((0, 0, true), true));
        assert!(transferred(&mut store, Fetched::Same, Ok(())).is_err(), "there is nothing that could be the same");
        assert!(transferred(&mut store, zone(7, 1), Ok(())).is_ok());
        store.step(NOW, StoreEvent::Expired { apex: name("a.test"), expired: false });
        store.flush();
        assert_eq!(served(&store), (7, 0, false));
        assert_eq!(
            (store.secondaries()[0].have.as_ref().map(|soa| soa.serial), store.secondaries()[0].confirmed),
            (Some(7), NOW.wall)
        );
        // A whole zone that follows another is a change all the same.
        assert!(transferred(&mut store, zone(8, 2), Ok(())).is_ok());
        assert_eq!(served(&store), (8, 1, false));
        assert!(transferred(&mut store, Fetched::Same, Ok(())).is_ok());
        let step = |from: u32, to: u32| Diff {
            removed: vec![soa(from), host(from as u8 - 6)],
            added: vec![soa(to), host(to as u8 - 6)],
        };
        assert!(transferred(&mut store, Fetched::Changes(vec![step(8, 9), step(9, 10)]), Ok(())).is_ok());
        assert_eq!(served(&store), (10, 3, false));
        // Changes that do not fit leave nothing behind, not even those that did.
        let bad = vec![step(10, 11), step(40, 41)];
        assert!(transferred(&mut store, Fetched::Changes(bad), Ok(())).is_err());
        assert_eq!(served(&store), (10, 3, false));
        assert!(transferred(&mut store, Fetched::Changes(vec![step(10, 11)]), Err("the disk is full")).is_err());
        assert_eq!(served(&store), (10, 3, false), "what is not on the disk is not served");
        store.step(NOW, StoreEvent::Expired { apex: name("a.test"), expired: true });
        store.flush();
        assert_eq!(served(&store), (10, 3, true));
    }
}

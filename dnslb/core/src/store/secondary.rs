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

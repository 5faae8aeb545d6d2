//! A zone while an update is carried out: the names that it touches are copied, the others are read where they are.
//!
//! Records are compared in their canonical form, so that the case of names in record data makes no difference (RFC 2136 section
//! 1.1.1), and kept as they were sent.

use std::collections::BTreeMap;

use crate::name::Name;
use crate::zone::{Diff, Record, Rtype, Zone, canonical_rdata, serial};

/// The records of one name and type: canonical form to the form that is served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) ttl_s: u32,
    pub(super) data: BTreeMap<Vec<u8>, Box<[u8]>>,
}

impl Set {
    pub(super) fn insert(&mut self, rtype: Rtype, rdata: &[u8]) {
        self.data.entry(canonical_rdata(rtype, rdata).into_owned()).or_insert_with(|| rdata.into());
    }

    pub(super) fn remove(&mut self, rtype: Rtype, rdata: &[u8]) {
        self.data.remove(canonical_rdata(rtype, rdata).as_ref());
    }

    pub(super) fn contains(&self, rtype: Rtype, rdata: &[u8]) -> bool {
        self.data.contains_key(canonical_rdata(rtype, rdata).as_ref())
    }
}

/// The sets at one name; none of them is empty.
pub(super) type Sets = BTreeMap<Rtype, Set>;

/// A zone and what is changed of it.
pub(super) struct Draft<'z> {
    zone: &'z Zone,
    touched: BTreeMap<Name, Sets>,
}

/// The sets at a name of a zone, without signatures.
pub(super) fn sets_at(zone: &Zone, name: &Name) -> Sets {
    let mut sets = Sets::new();
    for rtype in zone.types_at(name) {
        let Some(found) = zone.rrset(name, rtype) else { continue };
        let mut set = Set { ttl_s: found.ttl_s(), data: BTreeMap::new() };
        found.rdata().for_each(|rdata| set.insert(rtype, rdata));
        sets.insert(rtype, set);
    }
    sets
}

impl<'z> Draft<'z> {
    pub(super) fn new(zone: &'z Zone) -> Self {
        Self { zone, touched: BTreeMap::new() }
    }

    /// The sets at a name, to be changed.
    pub(super) fn at(&mut self, name: &Name) -> &mut Sets {
        let zone = self.zone;
        self.touched.entry(name.clone()).or_insert_with(|| sets_at(zone, name))
    }

    /// What became of the zone, with a new serial if the update gave none (RFC 2136 section 3.6); `None` if nothing changed.
    pub(super) fn finish(mut self) -> Option<Diff> {
        let mut diff = Diff { removed: Vec::new(), added: Vec::new() };
        let apex = self.zone.apex().clone();
        let is_changed = self.touched.iter().any(|(name, sets)| *sets != sets_at(self.zone, name));
        if !is_changed {
            return None;
        }
        let before = soa_serial(&sets_at(self.zone, &apex));
        if soa_serial(self.at(&apex)) == before {
            bump(self.at(&apex));
        }
        // The SOA first, as in a transfer.
        let soa = |sets: &Sets| sets.get(&Rtype::SOA).cloned().unwrap_or_default();
        let (old, new) = (soa(&sets_at(self.zone, &apex)), soa(self.at(&apex)));
        push(&mut diff.removed, &apex, Rtype::SOA, &old, old.data.values());
        push(&mut diff.added, &apex, Rtype::SOA, &new, new.data.values());
        let empty = Set::default();
        for (name, after) in &self.touched {
            let before = sets_at(self.zone, name);
            let types = before.keys().chain(after.keys().filter(|rtype| !before.contains_key(rtype)));
            for rtype in types.filter(|rtype| **rtype != Rtype::SOA) {
                let (old, new) = (before.get(rtype).unwrap_or(&empty), after.get(rtype).unwrap_or(&empty));
                // Another TTL is another record (RFC 1995 knows no other way to say it).
                let same_ttl = old.ttl_s == new.ttl_s;
                let only = |one: &Set, other: &Set| -> Vec<Box<[u8]>> {
                    let lacks = |key: &&Vec<u8>| !(same_ttl && other.data.contains_key(*key));
                    one.data.keys().filter(lacks).filter_map(|key| one.data.get(key).cloned()).collect()
                };
                push(&mut diff.removed, name, *rtype, old, only(old, new).iter());
                push(&mut diff.added, name, *rtype, new, only(new, old).iter());
            }
        }
        Some(diff)
    }
}

fn push<'a>(to: &mut Vec<Record>, owner: &Name, rtype: Rtype, set: &Set, data: impl Iterator<Item = &'a Box<[u8]>>) {
    to.extend(data.map(|rdata| Record { owner: owner.clone(), rtype, ttl_s: set.ttl_s, rdata: rdata.clone() }));
}

/// The serial in SOA data: the four octets before the last sixteen.
pub(super) fn serial_of(rdata: &[u8]) -> Option<u32> {
    let at = rdata.len().checked_sub(20)?;
    Some(u32::from_be_bytes(*rdata.get(at..)?.first_chunk()?))
}

fn soa_serial(sets: &Sets) -> Option<u32> {
    sets.get(&Rtype::SOA)?.data.values().next().and_then(|rdata| serial_of(rdata))
}

/// Puts another serial into SOA data.
pub fn set_serial(rdata: &mut [u8], serial: u32) {
    let at = rdata.len().saturating_sub(20);
    if let Some(slot) = rdata.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) {
        *slot = serial.to_be_bytes();
    }
}

fn bump(apex: &mut Sets) {
    let Some(soa) = apex.get_mut(&Rtype::SOA) else { return };
    let data = std::mem::take(&mut soa.data);
    for mut rdata in data.into_values() {
        if let Some(serial) = serial_of(&rdata) {
            set_serial(&mut rdata, serial::next(serial));
        }
        soa.insert(Rtype::SOA, &rdata);
    }
}

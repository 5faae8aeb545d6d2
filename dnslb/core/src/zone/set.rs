//! All zones of a server, and the search for the one that answers a name.

use std::fmt;
use std::sync::Arc;

use super::data::Zone;
use crate::name::{Name, NameBuf};
use crate::name_table::{HASH_ROOT, NameTable, hash_label};

/// Zones by apex.
#[derive(Debug, Clone)]
pub struct Zones {
    table: NameTable<Arc<Zone>>,
    labels_max: usize,
}

/// Two zones have the same apex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZonesError(pub Name);

impl fmt::Display for ZonesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zone {} is given twice", self.0)
    }
}

impl std::error::Error for ZonesError {}

/// The zone of a name, with the hash of its apex.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ZoneAt<'a> {
    pub(crate) zone: &'a Zone,
    pub(crate) hash: u64,
}

impl Zones {
    /// A set of zones.
    ///
    /// # Errors
    /// The first apex that comes twice.
    pub fn new(zones: impl IntoIterator<Item = Arc<Zone>>) -> Result<Self, ZonesError> {
        let mut table = NameTable::new();
        let mut labels_max = 0;
        for zone in zones {
            let apex = zone.apex().clone();
            labels_max = labels_max.max(zone.labels());
            if !table.get_or_insert_with(&apex, || zone).1 {
                return Err(ZonesError(apex));
            }
        }
        Ok(Self { table, labels_max })
    }

    /// The zones, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Zone>> {
        self.table.iter().map(|(_, zone)| zone)
    }

    /// Number of zones.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no zone.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The zone with this apex.
    pub fn get(&self, apex: &Name) -> Option<&Arc<Zone>> {
        self.table.get_name(apex)
    }

    /// The zone with the longest apex that `name` is at or below.
    pub fn find(&self, name: &Name) -> Option<&Zone> {
        self.zone_of(&NameBuf::of(name), false).map(|found| found.zone)
    }

    /// The zone that answers for `name`. With `parent_side`, a name that is itself an apex is answered by the zone above, if
    /// that is here too: DS records live there (RFC 4035 section 3.1.4.1).
    pub(crate) fn zone_of(&self, name: &NameBuf, parent_side: bool) -> Option<ZoneAt<'_>> {
        let mut best = None;
        let mut hash = HASH_ROOT;
        for depth in 0..=name.labels().min(self.labels_max) {
            if depth > 0 {
                hash = hash_label(hash, name.label(depth));
            }
            if let Some(zone) = self.table.get(hash, name.suffix(depth)) {
                if parent_side && depth == name.labels() && best.is_some() {
                    break;
                }
                best = Some(ZoneAt { zone, hash });
            }
        }
        best
    }
}

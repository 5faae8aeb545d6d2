//! All zones of a server, and the search for the one that answers a name.

use std::fmt;
use std::sync::Arc;

use super::data::Zone;
use crate::name::Name;
use crate::name_buf::{Descent, NameBuf};
use crate::name_table::{Depths, NameTable, root, step};

/// Zones by apex.
#[derive(Debug, Clone)]
pub struct Zones {
    table: NameTable<Arc<Zone>>,
    labels_max: usize,
    depths: Depths,
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

/// The zone of a name, and the walk to that name, at the apex.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ZoneAt<'a, 'n> {
    pub(crate) zone: &'a Zone,
    pub(crate) at: Descent<'n>,
}

impl Zones {
    /// A set of zones.
    ///
    /// # Errors
    /// The first apex that comes twice.
    pub fn new(zones: impl IntoIterator<Item = Arc<Zone>>) -> Result<Self, ZonesError> {
        let mut table = NameTable::new();
        let mut labels_max = 0;
        let mut depths = Depths::default();
        for zone in zones {
            let apex = zone.apex().clone();
            labels_max = labels_max.max(zone.labels());
            depths.insert(zone.labels());
            if !table.get_or_insert_with(&apex, || zone).1 {
                return Err(ZonesError(apex));
            }
        }
        Ok(Self { table, labels_max, depths })
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
    #[inline]
    pub(crate) fn zone_of<'n>(&self, name: &'n NameBuf, parent_side: bool) -> Option<ZoneAt<'_, 'n>> {
        let mut best = None;
        let mut at = root(name);
        loop {
            if self.depths.contains(at.depth())
                && let Some(zone) = self.table.get(&at)
            {
                if parent_side && at.is_whole() && best.is_some() {
                    break;
                }
                best = Some(ZoneAt { zone, at });
            }
            if at.depth() >= self.labels_max || step(&mut at).is_none() {
                break;
            }
        }
        best
    }
}

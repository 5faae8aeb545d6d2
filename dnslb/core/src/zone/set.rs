//! All zones of a server, and the search for the one that answers a name.

use std::fmt;
use std::sync::Arc;

use super::data::Zone;
use super::history::History;
use crate::dnssec::ActiveKeys;
use crate::name::Name;
use crate::name_buf::{Descent, NameBuf};
use crate::name_table::{Depths, NameTable, root, step};

/// A zone as it is served: its data, and what the server knows of it beyond that.
#[derive(Debug, Clone)]
pub struct Hosted {
    /// The data.
    pub zone: Arc<Zone>,
    /// A secondary's data that no primary has confirmed for longer than the SOA's expire field (RFC 1035 section 3.3.13): nothing is
    /// answered from it.
    pub expired: bool,
    /// The changes that led to it, for incremental transfers.
    pub history: Arc<History>,
    /// The keys that sign what is not signed ahead: answers of pools, and denials if the zone itself has none. `None` for a zone
    /// without signatures, or with those of somebody else.
    pub keys: Option<Arc<ActiveKeys>>,
}

impl Hosted {
    /// A zone whose data holds.
    pub fn new(zone: Arc<Zone>) -> Self {
        Self { zone, expired: false, history: Arc::default(), keys: None }
    }
}

/// Zones by apex.
#[derive(Debug, Clone)]
pub struct Zones {
    table: NameTable<Hosted>,
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
    pub(crate) hosted: &'a Hosted,
    pub(crate) at: Descent<'n>,
}

impl Default for Zones {
    /// No zones.
    fn default() -> Self {
        Self { table: NameTable::new(), labels_max: 0, depths: Depths::default() }
    }
}

impl Zones {
    /// A set of zones.
    ///
    /// # Errors
    /// The first apex that comes twice.
    pub fn new(zones: impl IntoIterator<Item = Arc<Zone>>) -> Result<Self, ZonesError> {
        Self::of(zones.into_iter().map(Hosted::new))
    }

    /// A set of zones with what is known beyond their data; see [`Zones::new`].
    ///
    /// # Errors
    /// The first apex that comes twice.
    pub fn of(zones: impl IntoIterator<Item = Hosted>) -> Result<Self, ZonesError> {
        let mut table = NameTable::new();
        let mut labels_max = 0;
        let mut depths = Depths::default();
        for hosted in zones {
            let apex = hosted.zone.apex().clone();
            let labels = hosted.zone.labels();
            labels_max = labels_max.max(labels);
            depths.insert(labels);
            if !table.get_or_insert_with(&apex, || hosted).1 {
                return Err(ZonesError(apex));
            }
        }
        Ok(Self { table, labels_max, depths })
    }

    /// These zones with one more, or another in the place of the one with its apex. Costs O(zones), whatever their size.
    #[must_use]
    pub fn with(&self, hosted: Hosted) -> Self {
        let mut zones = self.clone();
        let apex = hosted.zone.apex().clone();
        zones.labels_max = zones.labels_max.max(hosted.zone.labels());
        zones.depths.insert(hosted.zone.labels());
        let (index, _) = zones.table.get_or_insert_with(&apex, || hosted.clone());
        if let Some(place) = zones.table.value_mut(index) {
            *place = hosted;
        }
        zones
    }

    /// The zones, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Zone>> {
        self.table.iter().map(|(_, hosted)| &hosted.zone)
    }

    /// The zones and what is known beyond their data, in the order given.
    pub fn hosted(&self) -> impl Iterator<Item = &Hosted> {
        self.table.iter().map(|(_, hosted)| hosted)
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
        self.hosted_at(apex).map(|hosted| &hosted.zone)
    }

    /// The zone with this apex, and what is known beyond its data.
    pub fn hosted_at(&self, apex: &Name) -> Option<&Hosted> {
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
                && let Some(hosted) = self.table.get(&at)
            {
                if parent_side && at.is_whole() && best.is_some() {
                    break;
                }
                best = Some(ZoneAt { zone: &hosted.zone, hosted, at });
            }
            if at.depth() >= self.labels_max || step(&mut at).is_none() {
                break;
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::zone::{Files, load};

    struct Text(&'static str);

    impl Files for Text {
        fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
            Ok(self.0.as_bytes().to_vec())
        }
    }

    fn zone(apex: &str, text: &'static str) -> Arc<Zone> {
        Arc::new(load(&apex.parse().unwrap(), &Text(text), "z").unwrap().zone)
    }

    const ONE: &str = "@ 60 SOA ns.a.test. h 1 2 3 4 5\n@ 60 NS ns.a.test.\n";
    const TWO: &str = "@ 60 SOA ns.a.test. h 2 2 3 4 5\n@ 60 NS ns.a.test.\n";

    #[test]
    fn a_zone_is_replaced_and_a_deeper_one_added() {
        let zones = Zones::new([zone("example.com", ONE), zone("example.net", ONE)]).unwrap();
        let with = zones.with(Hosted { expired: true, ..Hosted::new(zone("example.com", TWO)) });
        let with = with.with(Hosted::new(zone("b.a.example.com", TWO)));
        let serials = |zones: &Zones| zones.iter().map(|zone| zone.serial()).collect::<Vec<_>>();
        assert_eq!((serials(&zones), serials(&with)), (vec![1, 1], vec![2, 1, 2]), "the old set stays as it was");
        let apex = |name: &str| with.find(&name.parse().unwrap()).map(|zone| zone.apex().to_string());
        assert_eq!(apex("x.b.a.example.com").as_deref(), Some("b.a.example.com."));
        assert_eq!(apex("a.example.com").as_deref(), Some("example.com."));
        assert!(with.hosted_at(&"example.com".parse().unwrap()).unwrap().expired);
        assert!(Zones::new([zone("example.com", ONE), zone("example.com", TWO)]).is_err());
    }
}

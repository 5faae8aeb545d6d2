//! Names that the control loop lays over the zones: pools and members.
//!
//! An overlay name gives A and AAAA, a pool's perhaps HTTPS as well, and a service's SRV; every other type at the name is the
//! zone's. The names above it exist, as empty non-terminals (RFC 4592 section 2.2.2), so that a wildcard never covers them. An
//! overlay is built whole and never changed.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::name::Name;
use crate::name_buf::Descent;
use crate::name_table::{Depths, NameTable};
use crate::zone::Zones;

/// What an overlay name answers to A and AAAA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlayTarget {
    /// The pool with this index in the snapshot.
    Pool(u32),
    /// A service of a pool: SRV records.
    Service {
        /// The pool's index in the snapshot.
        pool: u32,
        /// The service's index in the pool's answers.
        service: u16,
    },
    /// The addresses of one host.
    Host {
        /// The A record, if any.
        v4: Option<Ipv4Addr>,
        /// The AAAA record, if any.
        v6: Option<Ipv6Addr>,
        /// TTL of both, and the most a negative answer for the name lives, in seconds.
        ttl_s: u32,
    },
}

/// What the overlay has at a name that exists in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Laid {
    /// Nothing: the name is an empty non-terminal above another.
    Between,
    /// Addresses.
    At(OverlayTarget),
}

impl Laid {
    pub(crate) fn target(self) -> Option<OverlayTarget> {
        match self {
            Self::Between => None,
            Self::At(target) => Some(target),
        }
    }
}

/// Overlay names and the empty non-terminals above them.
#[derive(Debug, Clone)]
pub struct Overlay {
    table: NameTable<Laid>,
    depths: Depths,
    has_wildcards: bool,
}

impl Default for Overlay {
    fn default() -> Self {
        Self::empty()
    }
}

impl Overlay {
    /// No names.
    pub fn empty() -> Self {
        Self { table: NameTable::new(), depths: Depths::default(), has_wildcards: false }
    }

    /// An overlay of these names; of two targets for one name the later one holds.
    ///
    /// A name outside `zones` is left out: no zone would answer it.
    pub fn build(zones: &Zones, names: impl IntoIterator<Item = (Name, OverlayTarget)>) -> Self {
        let mut table = NameTable::new();
        for (name, target) in names {
            let Some(zone) = zones.find(&name) else { continue };
            let (index, _) = table.get_or_insert_with(&name, || Laid::Between);
            if let Some(value) = table.value_mut(index) {
                *value = Laid::At(target);
            }
            let mut above = name.parent();
            while let Some(name) = above.filter(|name| name.is_at_or_below(zone.apex())) {
                if !table.get_or_insert_with(&name, || Laid::Between).1 {
                    break;
                }
                above = name.parent();
            }
        }
        let mut depths = Depths::default();
        table.iter().for_each(|(name, _)| depths.insert(name.label_count()));
        let has_wildcards = table.iter().any(|(name, _)| name.is_wildcard());
        Self { table, depths, has_wildcards }
    }

    /// The target at exactly `name`.
    pub fn get(&self, name: &Name) -> Option<OverlayTarget> {
        self.table.get_name(name).copied().and_then(Laid::target)
    }

    /// All names that have answers, in the order in which they were given.
    pub fn targets(&self) -> impl Iterator<Item = (&Name, OverlayTarget)> {
        self.table.iter().filter_map(|(name, laid)| Some((name, laid.target()?)))
    }

    /// Whether `name` exists in the overlay, perhaps as an empty non-terminal.
    pub fn contains(&self, name: &Name) -> bool {
        self.table.find_name(name).is_some()
    }

    /// What is laid over the name that a walk has come to.
    #[inline]
    pub(crate) fn find(&self, at: &Descent<'_>) -> Option<Laid> {
        if self.depths.contains(at.depth()) { self.table.get(at).copied() } else { None }
    }

    /// What is laid over the wildcard directly below the name that a walk has come to.
    #[inline]
    pub(crate) fn find_wildcard(&self, parent: &Descent<'_>) -> Option<Laid> {
        if !self.has_wildcards {
            return None;
        }
        let index = self.table.find_wildcard(parent)?;
        self.table.entry(index).map(|(_, target)| *target)
    }
}

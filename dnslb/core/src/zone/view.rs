//! A zone as those see it who sign, transfer or print it: names and records in canonical order (RFC 4034 section 6.1).
//!
//! Nothing here is needed to answer a plain query, and nothing here changes a zone.

use super::data::{Node, Nsec3, RrSet, Zone};
use super::record::RecordRef;
use super::rtype::Rtype;
use crate::name::{Name, canonical_cmp};

/// A name of a zone, with what lies there.
#[derive(Debug, Clone, Copy)]
pub struct ZoneName<'z> {
    name: &'z Name,
    node: &'z Node,
}

impl<'z> ZoneName<'z> {
    /// The name.
    pub fn name(self) -> &'z Name {
        self.name
    }

    /// Its RRsets in the order of their types.
    pub fn sets(self) -> &'z [RrSet] {
        &self.node.sets
    }

    /// The RRset of a type.
    pub fn set(self, rtype: Rtype) -> Option<&'z RrSet> {
        self.node.set(rtype)
    }

    /// The types of its RRsets in ascending order. RRSIG, which lies with each set, is not among them.
    pub fn types(self) -> impl Iterator<Item = Rtype> {
        self.node.sets.iter().map(RrSet::rtype)
    }

    /// Whether the name is delegated to other servers.
    pub fn is_cut(self) -> bool {
        self.node.cut
    }

    /// Whether a name above it is delegated: its records are glue or never answered.
    pub fn is_below_cut(self) -> bool {
        self.node.below_cut
    }

    /// Whether nothing lies there, but below it (an empty non-terminal).
    pub fn is_empty(self) -> bool {
        self.node.sets.is_empty()
    }
}

impl Zone {
    /// The records of a name and type; `None` for RRSIG and NSEC3, which are no RRsets of names.
    pub fn rrset(&self, name: &Name, rtype: Rtype) -> Option<&RrSet> {
        self.nodes.get_name(name)?.set(rtype)
    }

    /// What lies at a name; `None` when it does not exist.
    pub fn get(&self, name: &Name) -> Option<ZoneName<'_>> {
        self.named(self.nodes.find_name(name)?)
    }

    /// Every name, the empty non-terminals too, in canonical order: the apex first. Owners of NSEC3 records are not among them.
    pub fn names(&self) -> impl Iterator<Item = ZoneName<'_>> {
        self.order.iter().filter_map(|index| self.named(*index))
    }

    /// The last name before `name` in canonical order, which needs not exist. The order is a circle: before the apex comes the
    /// last name.
    pub fn predecessor(&self, name: &Name) -> Option<ZoneName<'_>> {
        self.named_at(self.rank(name.wire()).checked_sub(1))
    }

    /// The owner of the NSEC record that speaks of `name`, a lowercase name in wire format: the last name at or before it that
    /// has a record of that type. `None` when the zone has none.
    ///
    /// It costs a search in the order, and a step for each empty non-terminal and each name below a delegation that lies
    /// between; of the latter no more than one.
    pub fn nsec_at_or_before(&self, name: &[u8]) -> Option<ZoneName<'_>> {
        let mut rank = self.rank(name);
        if self.order.get(rank).and_then(|index| self.nodes.entry(*index)).is_none_or(|(found, _)| found.wire() != name) {
            rank = rank.checked_sub(1)?;
        }
        loop {
            let found = self.named_at(Some(rank))?;
            if found.set(Rtype::NSEC).is_some() {
                return Some(found);
            }
            rank = match self.cut_above(found.name()).filter(|_| found.is_below_cut()) {
                Some(cut) => self.rank(cut.wire()),
                None => rank.checked_sub(1)?,
            };
        }
    }

    /// The NSEC3 record whose hash is `hash` or the last before it, in the circle of hashes; `None` when the zone has none.
    pub fn nsec3_at_or_before(&self, hash: &[u8]) -> Option<&Nsec3> {
        let after = self.nsec3.partition_point(|nsec3| *nsec3.hash <= *hash);
        self.nsec3.get(after.checked_sub(1).unwrap_or(self.nsec3.len().checked_sub(1)?))
    }

    /// Every NSEC3 record, in the order of hashes.
    pub fn nsec3(&self) -> impl Iterator<Item = &Nsec3> {
        self.nsec3.iter()
    }

    /// Every record, signatures behind the set that they sign: the SOA record first, then in canonical order of names, with
    /// NSEC3 records at the end.
    pub fn records(&self) -> impl Iterator<Item = RecordRef<'_>> {
        let apex = self.apex();
        let soa = self.rrset(apex, Rtype::SOA).map(|set| (apex, set));
        let sets = self.names().flat_map(|name| name.sets().iter().map(move |set| (name.name(), set)));
        let others = sets.filter(|(_, set)| set.rtype != Rtype::SOA);
        let hashed = self.nsec3.iter().map(|nsec3| (&nsec3.owner, &nsec3.set));
        soa.into_iter().chain(others).chain(hashed).flat_map(|(owner, set)| {
            let data = set.rdata().map(move |rdata| RecordRef { owner, rtype: set.rtype, ttl_s: set.ttl_s, rdata });
            let sigs = set.sigs().into_iter().flat_map(move |sigs| {
                let ttl_s = sigs.ttl_s();
                sigs.rdata().map(move |rdata| RecordRef { owner, rtype: Rtype::RRSIG, ttl_s, rdata })
            });
            data.chain(sigs)
        })
    }

    /// How many names come before this one.
    fn rank(&self, name: &[u8]) -> usize {
        self.order
            .partition_point(|index| self.nodes.entry(*index).is_some_and(|(at, _)| canonical_cmp(at.wire(), name).is_lt()))
    }

    fn named(&self, index: u32) -> Option<ZoneName<'_>> {
        self.nodes.entry(index).map(|(name, node)| ZoneName { name, node })
    }

    /// The name at a rank; the last one for none.
    fn named_at(&self, rank: Option<usize>) -> Option<ZoneName<'_>> {
        self.named(*self.order.get(rank.unwrap_or(self.order.len().checked_sub(1)?))?)
    }
}

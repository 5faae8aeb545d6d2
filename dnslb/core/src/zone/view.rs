//! A zone as those see it who sign, transfer or print it: names and records in canonical order (RFC 4034 section 6.1).
//!
//! Nothing here is needed to answer a plain query, and nothing here changes a zone.

use super::data::{Node, Nsec3, RrSet, Zone};
use super::record::RecordRef;
use super::rtype::Rtype;
use crate::name::Name;
use crate::name_buf::NameBuf;
use crate::name_table::{root, step};

/// A name of a zone, with what lies there.
#[derive(Debug, Clone, Copy)]
pub struct ZoneName<'z> {
    name: &'z Name,
    node: &'z Node,
}

impl<'z> ZoneName<'z> {
    fn of((name, node): &'z (Name, Node)) -> Self {
        Self { name, node }
    }

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
        self.nodes.entry(self.nodes.find(name)?).map(ZoneName::of)
    }

    /// Every name, the empty non-terminals too, in canonical order: the apex first. Owners of NSEC3 records are not among them.
    pub fn names(&self) -> impl Iterator<Item = ZoneName<'_>> {
        self.nodes.iter().map(ZoneName::of)
    }

    /// Number of names, the empty non-terminals too.
    pub fn name_count(&self) -> usize {
        self.nodes.len()
    }

    /// The last name before `name` in canonical order, which needs not exist. The order is a circle: before the apex comes the
    /// last name.
    pub fn predecessor(&self, name: &Name) -> Option<ZoneName<'_>> {
        match self.nodes.before(self.nodes.position(name.wire())) {
            Some(before) => self.nodes.at(before),
            None => self.nodes.last(),
        }
        .map(ZoneName::of)
    }

    /// The owner of the NSEC record that speaks of `name`, a lowercase name in wire format: the last name at or before it that
    /// has a record of that type. `None` when the zone has none.
    ///
    /// It costs a search in the order, another one if what is found lies below a delegation, and a step for each empty
    /// non-terminal between. It allocates nothing.
    pub fn nsec_at_or_before(&self, name: &[u8]) -> Option<ZoneName<'_>> {
        let mut position = self.nodes.position(name);
        if self.nodes.at(position).is_none_or(|(found, _)| found.wire() != name) {
            position = self.nodes.before(position)?;
        }
        loop {
            let found = ZoneName::of(self.nodes.at(position)?);
            if found.set(Rtype::NSEC).is_some() {
                return Some(found);
            }
            let cut = if found.is_below_cut() { self.cut_of(found.name()) } else { None };
            position = match cut {
                Some(cut) => self.nodes.position(cut),
                None => self.nodes.before(position)?,
            };
        }
    }

    /// The highest delegated name above `name`, in wire format.
    fn cut_of<'n>(&self, name: &'n Name) -> Option<&'n [u8]> {
        let buf = NameBuf::of(name);
        let mut at = root(&buf);
        loop {
            if at.depth() >= self.labels && self.nodes.get(&at).is_some_and(|node| node.cut) {
                return name.wire().get(buf.start_of(at.depth())..);
            }
            step(&mut at)?;
        }
    }

    /// The NSEC3 record whose hash is `hash` or the last before it, in the circle of hashes; `None` when the zone has none.
    pub fn nsec3_at_or_before(&self, hash: &[u8]) -> Option<&Nsec3> {
        let after = self.nsec3.position(|nsec3| *nsec3.hash <= *hash);
        match self.nsec3.before(after) {
            Some(at) => self.nsec3.get(at),
            None => self.nsec3.last(),
        }
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
}

//! A zone and a change to the next version of the zone. The old one stays as it is: whoever answers from it goes on.
//!
//! The new version shares with the old one whatever the change does not touch. A changed name costs a copy of its shard and
//! its part of the order (a few hundred names each); once for all changes comes a copy of the list of shards, which has one
//! entry for about 200 names, and of the parts of the order likewise. Only a new or lost delegation costs a step for each
//! name below it. Nothing here looks at the whole zone, but for one that has grown fourfold since its table was made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::Problem;
use super::build::negative;
use super::data::{Node, Nsec3, Zone};
use super::draft::{Draft, Line, node, set_type};
use super::problem::{Place, Problems};
use super::record::{Diff, Record, Soa};
use super::rtype::Rtype;
use crate::name::Name;

/// Why a change does not fit a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyError {
    /// A record to remove is not there.
    Missing(Box<Record>),
    /// A record to add is there already.
    Present(Box<Record>),
    /// What would come out breaks the rules of zones.
    Invalid(Vec<Problem>),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(record) => write!(f, "the record to remove is not there: {record}"),
            Self::Present(record) => write!(f, "the record to add is there already: {record}"),
            Self::Invalid(problems) => match problems.first() {
                Some(first) => write!(f, "found {}; expected {}", first.found, first.expected),
                None => f.write_str("no zone comes out"),
            },
        }
    }
}

impl std::error::Error for ApplyError {}

/// The RRsets of a changed name by type.
type Sets = BTreeMap<Rtype, Draft>;

const NOWHERE: Place = Place { file: 0, line: 0 };

impl Zone {
    /// The zone after a change. TTLs of removed records do not count; of an RRset's TTLs the lowest holds.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing is changed then.
    pub fn apply(&self, diff: &Diff) -> Result<Self, ApplyError> {
        let mut problems = Problems::default();
        let invalid = |problems: Problems| Err(ApplyError::Invalid(problems.into_list()));
        let (mut names, mut hashed) = (BTreeMap::<&Name, Sets>::new(), BTreeMap::<&Name, Draft>::new());
        for record in &diff.removed {
            let draft = self.draft(&mut names, &mut hashed, record);
            if !draft.remove(record.rtype, &record.rdata) {
                return Err(ApplyError::Missing(record.clone().into()));
            }
        }
        for record in &diff.added {
            if !record.owner.is_at_or_below(&self.apex) {
                let found = format!("the owner {}", record.owner);
                problems.error(NOWHERE, found, format!("a name at or below {}", self.apex));
                continue;
            }
            let draft = self.draft(&mut names, &mut hashed, record);
            let Record { owner, rtype, ttl_s, rdata } = record.clone();
            let errors = problems.error_count();
            if !draft.add(Line { place: NOWHERE, owner, rtype, ttl_s, rdata }, &mut problems)
                && problems.error_count() == errors
            {
                return Err(ApplyError::Present(record.clone().into()));
            }
        }

        let mut nodes = BTreeMap::new();
        for (name, sets) in names {
            nodes.insert(name.clone(), node(&self.apex, name, sets.into_values().collect(), &mut problems));
        }
        let mut changed = self.clone();
        changed.count_changes(&nodes);
        changed.change_nsec3(hashed, &mut problems);
        if problems.has_errors() {
            return invalid(problems);
        }
        let Some(mut changed) = changed.with_nodes(nodes) else {
            problems.error(NOWHERE, "names made to collide", "names as people and programs choose them");
            return invalid(problems);
        };
        let apex_node = changed.apex_node();
        let soa = apex_node
            .and_then(|node| node.set(Rtype::SOA))
            .and_then(|set| Some((set, Soa::from_rdata(set.rdata().next()?)?)));
        let has_servers = apex_node.is_some_and(|node| node.set(Rtype::NS).is_some());
        let Some((set, soa)) = soa.filter(|_| has_servers) else {
            let expected = "one SOA record and at least one NS record there";
            problems.error(NOWHERE, format!("{} without SOA or NS records", self.apex), expected);
            return invalid(problems);
        };
        changed.negative_soa = negative(set, &soa);
        changed.soa = soa;
        if changed.nodes.is_crowded() {
            let records = changed.records().map(super::RecordRef::to_record).collect::<Vec<_>>();
            return Self::from_records(&self.apex, records).map(|loaded| loaded.zone).map_err(ApplyError::Invalid);
        }
        Ok(changed)
    }

    /// The RRset that a record belongs to, as it is after the changes so far.
    fn draft<'d, 'r>(
        &self,
        names: &'d mut BTreeMap<&'r Name, Sets>,
        hashed: &'d mut BTreeMap<&'r Name, Draft>,
        record: &'r Record,
    ) -> &'d mut Draft {
        let rtype = set_type(record.rtype, &record.rdata);
        if rtype == Rtype::NSEC3 {
            return hashed.entry(&record.owner).or_insert_with(|| match self.nsec3_of(&record.owner) {
                Some(nsec3) => Draft::of(&nsec3.set, NOWHERE),
                None => Draft::new(rtype, NOWHERE),
            });
        }
        let sets = names.entry(&record.owner).or_insert_with(|| {
            let node = self.nodes.get_name(&record.owner);
            node.into_iter().flat_map(|node| &node.sets).map(|set| (set.rtype, Draft::of(set, NOWHERE))).collect()
        });
        sets.entry(rtype).or_insert_with(|| Draft::new(rtype, NOWHERE))
    }

    fn nsec3_of(&self, owner: &Name) -> Option<&Nsec3> {
        let hash = Nsec3::hash_of(&self.apex, owner)?;
        self.nsec3_at_or_before(&hash).filter(|nsec3| nsec3.hash == hash)
    }

    fn count_changes(&mut self, nodes: &BTreeMap<Name, Node>) {
        for (name, node) in nodes {
            self.record_count += node.record_count();
            self.record_count -= self.nodes.get_name(name).map_or(0, Node::record_count);
        }
    }

    fn change_nsec3(&mut self, hashed: BTreeMap<&Name, Draft>, problems: &mut Problems) {
        for (owner, draft) in hashed {
            let Some(hash) = Nsec3::hash_of(&self.apex, owner) else {
                let found = format!("the NSEC3 record of {owner}");
                problems.error(NOWHERE, found, format!("a hash in Base32hex directly below {}", self.apex));
                continue;
            };
            let position = self.nsec3.position(|nsec3| nsec3.hash < hash);
            let before = self.nsec3.get(position).filter(|nsec3| nsec3.hash == hash).map(|nsec3| nsec3.set.record_count());
            let set = draft.finish(&self.apex, owner);
            self.record_count += set.as_ref().map_or(0, super::RrSet::record_count);
            self.record_count -= before.unwrap_or_default();
            match (set, before) {
                (Some(set), Some(_)) => self.nsec3.replace(position, Nsec3 { hash, owner: owner.clone(), set }),
                (Some(set), None) => self.nsec3.insert(position, Nsec3 { hash, owner: owner.clone(), set }),
                (None, Some(_)) => self.nsec3.remove(position),
                (None, None) => {}
            }
        }
    }

    /// The zone with these nodes, the names above them, and without names that have nothing left at or below them. `None` when
    /// the names are made to collide.
    fn with_nodes(mut self, mut nodes: BTreeMap<Name, Node>) -> Option<Self> {
        let mut turned = Vec::new();
        let mut emptied = BTreeSet::new();
        let mut above = Vec::new();
        nodes.retain(|name, node| {
            let old = self.nodes.get_name(name);
            if old.is_some_and(|old| old.cut) != node.cut {
                turned.push(name.clone());
            }
            node.below_cut = old.is_some_and(|old| old.below_cut);
            if node.sets.is_empty() {
                emptied.insert(name.clone());
                return old.is_some();
            }
            if old.is_none() {
                turned.push(name.clone());
                above.push(name.clone());
            }
            true
        });
        for name in above {
            let mut parent = name.parent();
            while let Some(name) = parent.filter(|name| !nodes.contains_key(name) && self.nodes.find(name).is_none()) {
                parent = name.parent();
                turned.push(name.clone());
                nodes.insert(name, Node::default());
            }
        }
        self.has_wildcards |= nodes.keys().any(Name::is_wildcard);
        self.nodes = self.nodes.with(nodes.into_iter().map(|(name, node)| (name, Some(node))))?;

        let mut flags = BTreeMap::new();
        // Of names below each other, the highest alone: its walk passes the others.
        turned.sort_unstable();
        turned.dedup_by(|name, before| name.is_at_or_below(before));
        for top in &turned {
            // A walk over all that lies below, which ends at once for a name that is no delegation and has nothing below.
            for (name, node) in
                self.nodes.iter_from(self.nodes.position(top.wire())).take_while(|(name, _)| name.is_at_or_below(top))
            {
                let below_cut = name.parent().is_some_and(|parent| self.cut_above(&parent).is_some());
                if node.below_cut != below_cut {
                    flags.insert(name.clone(), Some(Node { below_cut, ..node.clone() }));
                }
            }
        }
        if !flags.is_empty() {
            self.nodes = self.nodes.with(flags)?;
        }

        // The last in canonical order first: so a name comes behind all that lies below it. Each that goes is kept with the place
        // behind all that lies below it, for its parent to step over.
        let mut gone = BTreeMap::new();
        while let Some(name) = emptied.pop_last() {
            let is_empty = self.nodes.get_name(&name).is_some_and(|node| node.sets.is_empty());
            if !is_empty || name == self.apex {
                continue;
            }
            let mut end = self.nodes.after(self.nodes.position(name.wire()));
            let stays = loop {
                let below = self.nodes.at(end).filter(|(behind, _)| behind.is_at_or_below(&name));
                match below.map(|(below, _)| gone.get(below)) {
                    Some(Some(behind)) => end = *behind,
                    next => break next.is_some(),
                }
            };
            if !stays {
                emptied.extend(name.parent());
                gone.insert(name, end);
            }
        }
        if !gone.is_empty() {
            self.nodes = self.nodes.with(gone.into_keys().map(|name| (name, None)))?;
        }
        Some(self)
    }
}

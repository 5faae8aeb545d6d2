//! The RRsets of one name while they are made, from a file's lines or from a change, and the rules that concern one name alone.
//!
//! No node leaves here that breaks a rule unsaid: one CNAME, DNAME and SOA, a CNAME alone, one TTL an RRset, no record twice,
//! no RRset that a message cannot hold.

use std::collections::BTreeSet;

use super::canonical::{canonical_rdata, same_rdata};
use super::compress::{cuts, left_out};
use super::data::{Extra, More, Node, RrSet, Sigs};
use super::problem::{Place, Problems};
use super::rtype::Rtype;
use crate::name::Name;
use crate::name_table::hash_name;

/// Most octets of one RRset's records: what a TCP message can hold beside header, question and OPT.
const RRSET_LEN_MAX: usize = 65_535 - 12 - 259 - 11;

/// From how many records on duplicates are looked for in a set and not one by one.
const MANY: usize = 16;

/// One record as read, not yet checked against the others.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) place: Place,
    pub(super) owner: Name,
    pub(super) rtype: Rtype,
    pub(super) ttl_s: u32,
    pub(super) rdata: Box<[u8]>,
}

impl Line {
    /// The type of the RRset that it belongs to: the one that a signature covers, else its own.
    pub(super) fn set_type(&self) -> Rtype {
        set_type(self.rtype, &self.rdata)
    }
}

/// The type of the RRset that a record belongs to: the one that a signature covers, else its own.
pub(super) fn set_type(rtype: Rtype, rdata: &[u8]) -> Rtype {
    match rdata.first_chunk() {
        Some(covered) if rtype == Rtype::RRSIG => Rtype(u16::from_be_bytes(*covered)),
        _ => rtype,
    }
}

/// Records of one type, and signatures of them.
#[derive(Debug)]
pub(super) struct Draft {
    /// Where its first record is.
    pub(super) place: Place,
    rtype: Rtype,
    data: Records,
    sigs: Records,
}

/// Record data with the lowest TTL so far.
#[derive(Debug, Default)]
struct Records {
    ttl_s: u32,
    data: Vec<Box<[u8]>>,
    /// In canonical form, once there are many.
    seen: BTreeSet<Box<[u8]>>,
    len: usize,
}

impl Records {
    fn holds(&mut self, rtype: Rtype, rdata: &[u8]) -> bool {
        if self.data.len() < MANY {
            return self.data.iter().any(|other| same_rdata(rtype, other, rdata));
        }
        let canonical = |rdata: &[u8]| canonical_rdata(rtype, rdata).as_ref().into();
        if self.seen.is_empty() {
            self.seen.extend(self.data.iter().map(|rdata| canonical(rdata)));
        }
        !self.seen.insert(canonical(rdata))
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.data.iter().map(AsRef::as_ref)
    }
}

impl Draft {
    /// An RRset that is empty yet.
    pub(super) fn new(rtype: Rtype, place: Place) -> Self {
        Self { place, rtype, data: Records::default(), sigs: Records::default() }
    }

    /// The RRset as it is in a zone, to be changed.
    pub(super) fn of(set: &RrSet, place: Place) -> Self {
        let records = |ttl_s: u32, data: &mut dyn Iterator<Item = &[u8]>| {
            let data: Vec<Box<[u8]>> = data.map(Into::into).collect();
            Records { ttl_s, len: data.iter().map(|rdata| 12 + rdata.len()).sum(), data, seen: BTreeSet::new() }
        };
        let sigs = set.sigs().map(|sigs| records(sigs.ttl_s(), &mut sigs.rdata())).unwrap_or_default();
        Self { place, rtype: set.rtype, data: records(set.ttl_s, &mut set.rdata()), sigs }
    }

    pub(super) fn rtype(&self) -> Rtype {
        self.rtype
    }

    /// Whether it has no record of its own, though perhaps signatures.
    pub(super) fn is_empty(&self) -> bool {
        self.data.data.is_empty()
    }

    /// Adds a record or signature; `false` when it is refused or a duplicate.
    pub(super) fn add(&mut self, line: Line, problems: &mut Problems) -> bool {
        let Line { place, owner, rtype, ttl_s, rdata } = line;
        let records = if rtype == self.rtype { &mut self.data } else { &mut self.sigs };
        if records.holds(rtype, &rdata) {
            problems.warning(place, format!("the {rtype} record of {owner} a second time"), "each record once");
            return false;
        }
        if records.data.is_empty() {
            records.ttl_s = ttl_s;
        } else if matches!(rtype, Rtype::SOA | Rtype::CNAME | Rtype::DNAME) {
            let found = format!("a second {rtype} record at {owner}");
            problems.error(place, found, format!("one, as in line {}", self.place.line));
            return false;
        }
        if records.ttl_s != ttl_s {
            let lower = records.ttl_s.min(ttl_s);
            let found = format!("TTL {ttl_s} beside TTL {} for {owner} {rtype}", records.ttl_s);
            problems.warning(place, found, format!("one TTL for the whole RRset; {lower} is used"));
            records.ttl_s = lower;
        }
        records.len += 12 + rdata.len();
        if records.len > RRSET_LEN_MAX && records.len - 12 - rdata.len() <= RRSET_LEN_MAX {
            let found = format!("more {rtype} records at {owner} than one message can hold");
            problems.error(place, found, format!("at most {RRSET_LEN_MAX} octets"));
        }
        records.data.push(rdata);
        true
    }

    /// Takes a record or signature out; `false` when it is not there.
    pub(super) fn remove(&mut self, rtype: Rtype, rdata: &[u8]) -> bool {
        let records = if rtype == self.rtype { &mut self.data } else { &mut self.sigs };
        let Some(at) = records.data.iter().position(|other| same_rdata(rtype, other, rdata)) else { return false };
        records.len -= 12 + records.data.remove(at).len();
        records.seen.clear();
        true
    }

    /// The RRset; `None` when it has no record.
    pub(super) fn finish(self, apex: &Name, owner: &Name) -> Option<RrSet> {
        let mut set = RrSet::new(self.rtype, self.data.ttl_s, self.data.iter());
        if set.count == 0 {
            return None;
        }
        if !self.sigs.data.is_empty() {
            set.sigs = Some(Box::new(Sigs::new(self.sigs.ttl_s, self.sigs.iter())));
        }
        let target = match self.rtype {
            Rtype::CNAME | Rtype::DNAME => set.rdata().next().and_then(|rdata| Name::from_wire(rdata).ok()),
            _ => None,
        };
        let mut extras = extras(&set, apex, owner);
        let cuts = cuts(&set, owner);
        for extra in &mut extras {
            extra.left_out = left_out(&cuts, extra.name_at);
        }
        if target.is_some() || !extras.is_empty() || !cuts.is_empty() {
            let owner = extras.iter().any(|extra| set.is_owner(extra)).then(|| owner.clone());
            set.more = Some(Box::new(More { target, extras, owner, cuts }));
        }
        Some(set)
    }
}

/// The node of a name from its RRsets, which are in the order of their types.
pub(super) fn node(apex: &Name, owner: &Name, drafts: Vec<Draft>, problems: &mut Problems) -> Node {
    let is_alone = |rtype: Rtype| matches!(rtype, Rtype::CNAME | Rtype::RRSIG | Rtype::NSEC);
    let cname = drafts.iter().find(|draft| draft.rtype == Rtype::CNAME && !draft.is_empty()).map(|draft| draft.place);
    for draft in drafts.iter().filter(|draft| draft.is_empty() && !draft.sigs.data.is_empty()) {
        let found = format!("a signature of {owner} {}, which is not there", draft.rtype);
        problems.warning(draft.place, found, "records that it signs; it is left out");
    }
    for draft in drafts.iter().filter(|draft| !draft.is_empty()) {
        if let Some(cname) = cname
            // RFC 4034 section 2.5: signatures and denials may lie beside a CNAME.
            && !is_alone(draft.rtype)
        {
            let found = format!("{} beside the CNAME of line {} at {owner}", draft.rtype, cname.line);
            problems.error(draft.place, found, "a CNAME alone at its name");
        }
        if draft.rtype == Rtype::SOA && owner != apex {
            problems.error(draft.place, format!("a SOA record at {owner}"), format!("the SOA record at {apex} alone"));
        }
    }
    let sets: Box<[RrSet]> = drafts.into_iter().filter_map(|draft| draft.finish(apex, owner)).collect();
    let has = |rtype: Rtype| sets.iter().any(|set| set.rtype == rtype);
    Node { cut: owner != apex && has(Rtype::NS), dname: has(Rtype::DNAME), below_cut: false, sets }
}

/// The names in an RRset's data that lie in the zone, so that their addresses may go with an answer: what must be there first.
fn extras(set: &RrSet, apex: &Name, owner: &Name) -> Box<[Extra]> {
    let name_in_rdata = match set.rtype {
        Rtype::NS => 0,
        Rtype::MX | Rtype::SVCB | Rtype::HTTPS => 2,
        Rtype::SRV => 6,
        _ => return Box::default(),
    };
    let is_binding = matches!(set.rtype, Rtype::SVCB | Rtype::HTTPS);
    let mut extras: Vec<Extra> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut record_at = 0;
    for rdata in set.rdata() {
        let at = record_at;
        record_at += 12 + rdata.len();
        let Some(target) = rdata.get(name_in_rdata..).and_then(|wire| Name::from_wire(wire).ok()) else { continue };
        // The root stands for the owner in a service binding, unless that is an alias (RFC 9460 section 2.5).
        let is_owner = is_binding && target.is_root() && !rdata.starts_with(&[0, 0]);
        let (target, name_at) = if is_owner { (owner, at) } else { (&target, at + 12 + name_in_rdata) };
        let hash = hash_name(target);
        if target.is_at_or_below(apex) && seen.insert(hash) {
            let required = set.rtype == Rtype::NS && owner != apex && target.is_at_or_below(owner);
            extras.push(Extra { hash, name_at: name_at as u32, left_out: 0, required });
        }
    }
    extras.sort_by_key(|extra| !extra.required);
    extras.into()
}

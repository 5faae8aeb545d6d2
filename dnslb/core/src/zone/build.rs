//! Records to a zone: the checks that concern several records at once, and the preparation for answering.
//!
//! It holds the rules that servers disagree about when nobody checks them: one SOA, CNAME alone, one TTL an RRset, glue where
//! a delegation needs it, nothing outside the zone. No zone leaves here that breaks one.

use std::collections::{BTreeMap, BTreeSet};

use super::canonical::canonical_rdata;
use super::data::{APEX, Extra, Node, Nsec3, RrSet, Sigs, Zone};
use super::problem::{Place, Problems};
use super::reader::Record;
use super::record::Soa;
use super::rtype::Rtype;
use crate::name::Name;
use crate::name_buf::NameBuf;
use crate::name_table::{NameTable, root, step};

/// Most octets of one RRset's records: what a TCP message can hold beside header, question and OPT.
const RRSET_LEN_MAX: usize = 65_535 - 12 - 259 - 11;

/// An RRset while its zone is read.
#[derive(Debug)]
struct Draft {
    place: Place,
    ttl_s: u32,
    data: Vec<Vec<u8>>,
    seen: BTreeSet<Vec<u8>>,
    len: usize,
}

/// Signatures by owner and type they cover.
type Signatures = BTreeMap<(Name, Rtype), Draft>;

/// Whether a delegation without the addresses of its servers is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Glue {
    /// It is: in a file.
    MustBe,
    /// It is not: an update may bring them later.
    MayCome,
}

type Drafts = NameTable<BTreeMap<Rtype, Draft>>;

/// Makes a zone of `records`, or reports why there is none.
pub(super) fn build(
    apex: &Name,
    whole: &Place,
    records: impl IntoIterator<Item = Record>,
    glue: Glue,
    problems: &mut Problems,
) -> Option<Zone> {
    let mut signatures = Signatures::new();
    let mut hashed = BTreeMap::<Name, Draft>::new();
    let mut drafts: Drafts = NameTable::new();
    drafts.get_or_insert_with(apex, BTreeMap::new);
    let mut record_count = 0;
    for record in records {
        if !record.owner.is_at_or_below(apex) {
            problems.error(&record.place, format!("the owner {}", record.owner), format!("a name at or below {apex}"));
            continue;
        }
        let added = match record.rtype {
            Rtype::RRSIG => {
                let covered = record.rdata.first_chunk().map_or(Rtype(0), |covered| Rtype(u16::from_be_bytes(*covered)));
                let key = (record.owner.clone(), covered);
                signatures.entry(key).or_insert_with(|| Draft::new(&record)).add(record, problems)
            }
            Rtype::NSEC3 => hashed.entry(record.owner.clone()).or_insert_with(|| Draft::new(&record)).add(record, problems),
            _ => add(&mut drafts, apex, record, problems),
        };
        record_count += usize::from(added);
    }
    let zone_sets = drafts.get_name(apex)?;
    let Some(soa) = zone_sets.get(&Rtype::SOA).and_then(|draft| draft.data.first().cloned()) else {
        problems.error(whole, format!("no SOA record at {apex}"), "exactly one SOA record at the apex");
        return None;
    };
    if !zone_sets.contains_key(&Rtype::NS) {
        problems.error(whole, format!("no NS record at {apex}"), "at least one NS record at the apex");
    }
    for (name, sets) in drafts.iter() {
        check_node(&drafts, apex, name, sets, glue, problems);
    }
    if problems.has_errors() {
        return None;
    }

    let soa_fields = Soa::from_rdata(&soa)?;
    let minimum_s = soa_fields.minimum_s;
    let soa_ttl_s = zone_sets.get(&Rtype::SOA)?.ttl_s;
    let negative_soa = RrSet::new(Rtype::SOA, soa_ttl_s.min(minimum_s), std::iter::once(soa.as_slice()));
    let mut extras: Vec<BTreeMap<Rtype, Box<[Extra]>>> = Vec::with_capacity(drafts.len());
    for (name, sets) in drafts.iter() {
        extras.push(extras_of(&drafts, apex, name, sets));
    }
    let below_cut: Vec<bool> = drafts.iter().map(|(name, _)| cut_above(&drafts, apex, name).is_some()).collect();
    let mut below_cut = below_cut.into_iter();
    let mut extras = extras.into_iter();
    let nodes = drafts.map(|name, sets| {
        let mut extras = extras.next().unwrap_or_default();
        let cut = name != apex && sets.contains_key(&Rtype::NS);
        let dname = sets.contains_key(&Rtype::DNAME);
        let sets = sets.into_iter().map(|(rtype, draft)| {
            let mut set = RrSet::new(rtype, draft.ttl_s, draft.data.iter().map(Vec::as_slice));
            set.extras = extras.remove(&rtype).unwrap_or_default();
            if matches!(rtype, Rtype::CNAME | Rtype::DNAME) {
                set.target = draft.data.first().and_then(|rdata| Name::from_wire(rdata).ok());
            }
            set.sigs = sigs_of(&mut signatures, name, rtype);
            set
        });
        Node { sets: sets.collect(), cut, dname, below_cut: below_cut.next().unwrap_or_default() }
    });
    let mut nsec3 = Vec::new();
    for (owner, draft) in hashed {
        let mut set = RrSet::new(Rtype::NSEC3, draft.ttl_s, draft.data.iter().map(Vec::as_slice));
        set.sigs = sigs_of(&mut signatures, &owner, Rtype::NSEC3);
        let hash = owner.labels().next().and_then(base32hex);
        match hash.filter(|_| owner.parent().is_some_and(|parent| parent == *apex)) {
            Some(hash) => nsec3.push(Nsec3 { hash, owner, set }),
            None => {
                let found = format!("the NSEC3 record of {owner}");
                problems.warning(&draft.place, found, format!("a hash in Base32hex directly below {apex}; it is left out"));
                record_count -= draft.data.len();
            }
        }
    }
    nsec3.sort_by(|a, b| a.hash.cmp(&b.hash));
    for ((owner, covered), draft) in signatures {
        let found = format!("a signature of {owner} {covered}, which is not there");
        problems.warning(&draft.place, found, "records that it signs; it is left out");
        record_count -= draft.data.len();
    }
    let mut order: Vec<u32> = (0..nodes.len() as u32).collect();
    order.sort_by(|a, b| nodes.entry(*a).map(|(name, _)| name).cmp(&nodes.entry(*b).map(|(name, _)| name)));
    debug_assert!(nodes.entry(APEX).is_some_and(|(name, _)| name == apex), "the apex is the first node");
    let has_wildcards = nodes.iter().any(|(name, _)| name.is_wildcard());
    Some(Zone {
        apex: apex.clone(),
        labels: apex.label_count(),
        nodes,
        has_wildcards,
        negative_soa,
        soa: soa_fields,
        record_count,
        order,
        nsec3,
    })
}

/// Takes the signatures of an RRset out of all.
fn sigs_of(signatures: &mut Signatures, owner: &Name, covered: Rtype) -> Option<Box<Sigs>> {
    let draft = signatures.remove(&(owner.clone(), covered))?;
    Some(Box::new(Sigs::new(draft.ttl_s, draft.data.iter().map(Vec::as_slice))))
}

/// Octets from lowercase Base32 with extended hex alphabet and no padding (RFC 4648 section 7), at most a label's.
fn base32hex(text: &[u8]) -> Option<Box<[u8]>> {
    let (mut octets, mut bits, mut held) = (Vec::with_capacity(text.len() * 5 / 8), 0_u32, 0);
    for digit in text {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'v' => digit - b'a' + 10,
            _ => return None,
        };
        bits = bits << 5 | u32::from(value);
        held += 5;
        if held >= 8 {
            held -= 8;
            octets.push((bits >> held) as u8);
        }
    }
    (!octets.is_empty()).then(|| octets.into())
}

/// Adds one record to the drafts; `false` when it is refused or a duplicate.
fn add(drafts: &mut Drafts, apex: &Name, record: Record, problems: &mut Problems) -> bool {
    let (place, owner, rtype) = (&record.place, &record.owner, record.rtype);
    if rtype == Rtype::SOA && owner != apex {
        problems.error(place, format!("a SOA record at {owner}"), format!("the SOA record at {apex} alone"));
        return false;
    }
    let (index, is_new) = drafts.get_or_insert_with(owner, BTreeMap::new);
    if is_new {
        // The names between here and the next existing one exist as well, without records.
        let mut above = owner.parent();
        while let Some(name) = above {
            if !drafts.get_or_insert_with(&name, BTreeMap::new).1 {
                break;
            }
            above = name.parent();
        }
    }
    let Some(sets) = drafts.value_mut(index) else { return false };
    sets.entry(rtype).or_insert_with(|| Draft::new(&record)).add(record, problems)
}

impl Draft {
    /// An RRset that `record` is the first of, but without it yet.
    fn new(record: &Record) -> Self {
        Self { place: record.place.clone(), ttl_s: record.ttl_s, data: Vec::new(), seen: BTreeSet::new(), len: 0 }
    }

    /// Adds a record; `false` when it is refused or a duplicate.
    fn add(&mut self, record: Record, problems: &mut Problems) -> bool {
        let Record { place, owner, rtype, ttl_s, rdata } = record;
        if !self.seen.insert(canonical_rdata(rtype, &rdata).into_owned()) {
            problems.warning(&place, format!("the {rtype} record of {owner} a second time"), "each record once");
            return false;
        }
        if matches!(rtype, Rtype::SOA | Rtype::CNAME | Rtype::DNAME) && !self.data.is_empty() {
            let found = format!("a second {rtype} record at {owner}");
            problems.error(&place, found, format!("one, as in line {}", self.place.line));
            return false;
        }
        if self.ttl_s != ttl_s {
            let lower = self.ttl_s.min(ttl_s);
            let found = format!("TTL {ttl_s} beside TTL {} for {owner} {rtype}", self.ttl_s);
            problems.warning(&place, found, format!("one TTL for the whole RRset; {lower} is used"));
            self.ttl_s = lower;
        }
        self.len += 12 + rdata.len();
        if self.len > RRSET_LEN_MAX && self.len - 12 - rdata.len() <= RRSET_LEN_MAX {
            let found = format!("more {rtype} records at {owner} than one message can hold");
            problems.error(&place, found, format!("at most {RRSET_LEN_MAX} octets"));
        }
        self.data.push(rdata);
        true
    }
}

/// The names strictly above `name` from the apex down, with their records. One probe a label, however deep the name is.
fn above<'d>(drafts: &'d Drafts, apex: &Name, name: &Name) -> Vec<&'d (Name, BTreeMap<Rtype, Draft>)> {
    let name = NameBuf::of(name);
    let apex_labels = apex.label_count();
    let (mut at, mut found) = (root(&name), Vec::new());
    while !at.is_whole() {
        if at.depth() >= apex_labels {
            let Some(entry) = drafts.find(&at).and_then(|index| drafts.entry(index)) else { break };
            found.push(entry);
        }
        if step(&mut at).is_none() {
            break;
        }
    }
    found
}

/// The delegated name strictly above `name`, if any.
fn cut_above<'d>(drafts: &'d Drafts, apex: &Name, name: &Name) -> Option<&'d Name> {
    let mut cuts = above(drafts, apex, name).into_iter().skip(1).filter(|(_, sets)| sets.contains_key(&Rtype::NS));
    cuts.next().map(|(cut, _)| cut)
}

fn check_node(
    drafts: &Drafts,
    apex: &Name,
    name: &Name,
    sets: &BTreeMap<Rtype, Draft>,
    glue: Glue,
    problems: &mut Problems,
) {
    if let Some(cname) = sets.get(&Rtype::CNAME) {
        for (rtype, other) in sets {
            // RFC 4034 section 2.5: signatures and denials may lie beside a CNAME.
            if !matches!(*rtype, Rtype::CNAME | Rtype::RRSIG | Rtype::NSEC) {
                let found = format!("{rtype} beside the CNAME of line {} at {name}", cname.place.line);
                problems.error(&other.place, found, "a CNAME alone at its name");
            }
        }
    }
    let is_glue = |rtype: Rtype| matches!(rtype, Rtype::A | Rtype::AAAA);
    if let Some(cut) = cut_above(drafts, apex, name) {
        for (rtype, draft) in sets.iter().filter(|(rtype, _)| !is_glue(**rtype)) {
            let found = format!("{rtype} at {name}, below the delegation of {cut}");
            problems.warning(&draft.place, found, "only addresses of name servers there; it is never answered");
        }
        return;
    }
    for (upper, _) in above(drafts, apex, name).into_iter().filter(|(_, sets)| sets.contains_key(&Rtype::DNAME)) {
        for (rtype, draft) in sets {
            problems.warning(
                &draft.place,
                format!("{rtype} at {name}, below the DNAME of {upper}"),
                "nothing there; it is never answered",
            );
        }
    }
    let cut = name != apex && sets.contains_key(&Rtype::NS);
    if cut {
        for (rtype, draft) in sets
            .iter()
            .filter(|(rtype, _)| !is_glue(**rtype) && !matches!(**rtype, Rtype::NS | Rtype::DS | Rtype::NSEC | Rtype::RRSIG))
        {
            problems.warning(
                &draft.place,
                format!("{rtype} at the delegated name {name}"),
                "NS and DS there; it is never answered",
            );
        }
    }
    let Some(servers) = sets.get(&Rtype::NS) else { return };
    for rdata in &servers.data {
        let Ok(target) = Name::from_wire(rdata) else { continue };
        if !target.is_at_or_below(apex) {
            continue;
        }
        let target_sets = drafts.get_name(&target);
        if target_sets.is_some_and(|sets| sets.contains_key(&Rtype::CNAME)) {
            problems.warning(
                &servers.place,
                format!("the name server {target}, which is a CNAME"),
                "a name with addresses (RFC 2181)",
            );
        } else if !target_sets.is_some_and(|sets| sets.keys().any(|rtype| is_glue(*rtype))) {
            let found = format!("no address of the name server {target}");
            if cut && glue == Glue::MustBe && target.is_at_or_below(name) {
                problems.error(&servers.place, found, "an A or AAAA record for it (glue)");
            } else {
                problems.warning(&servers.place, found, "an A or AAAA record, a wildcard, or a pool at that name");
            }
        }
    }
}

/// Where the names in an RRset's data lie, and which of them have addresses here.
fn extras_of(drafts: &Drafts, apex: &Name, owner: &Name, sets: &BTreeMap<Rtype, Draft>) -> BTreeMap<Rtype, Box<[Extra]>> {
    let mut all = BTreeMap::new();
    for (rtype, name_in_rdata) in [(Rtype::NS, 0_usize), (Rtype::MX, 2), (Rtype::SRV, 6)] {
        let Some(draft) = sets.get(&rtype) else { continue };
        let mut extras = Vec::new();
        let mut nodes = BTreeSet::new();
        let mut record_at = 0;
        for rdata in &draft.data {
            let name_at = record_at + 12 + name_in_rdata;
            record_at += 12 + rdata.len();
            let Some(target) = rdata.get(name_in_rdata..).and_then(|wire| Name::from_wire(wire).ok()) else { continue };
            let Some(node) = drafts.find_name(&target) else { continue };
            let has_address =
                drafts.entry(node).is_some_and(|(_, sets)| sets.contains_key(&Rtype::A) || sets.contains_key(&Rtype::AAAA));
            let occluded = rtype != Rtype::NS && cut_above(drafts, apex, &target).is_some();
            if has_address && !occluded && nodes.insert(node) {
                let required = rtype == Rtype::NS && owner != apex && target.is_at_or_below(owner);
                extras.push(Extra { name_at: name_at as u32, node, required });
            }
        }
        // What must be there comes first.
        extras.sort_by_key(|extra| !extra.required);
        all.insert(rtype, extras.into_boxed_slice());
    }
    all
}

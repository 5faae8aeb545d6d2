//! Lines to a zone: sorted once, so that the lines of a name lie together and the names come out in canonical order.
//!
//! Lines outside the zone and a zone without SOA or NS records end here; what concerns several names is looked at in `check`.

use super::check;
use super::chunks::Chunks;
use super::data::{Node, Nsec3, RrSet, Zone};
use super::draft::{Draft, Line, node};
use super::nodes::{Key, Nodes};
use super::problem::{Place, Problems};
use super::record::Soa;
use super::rtype::Rtype;
use super::zonemd;
use crate::name::Name;

/// Where the records of a zone come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A file, whose writer is told of everything odd; a delegation without the addresses it needs is an error.
    File,
    /// Another server or a change: only what must hold is looked at.
    Records,
}

/// Makes a zone of `lines`, or reports why there is none.
pub(super) fn build(
    apex: &Name,
    whole: Place,
    mut lines: Vec<Line>,
    source: Source,
    problems: &mut Problems,
) -> Option<Zone> {
    lines.retain(|line| {
        let is_inside = line.owner.is_at_or_below(apex);
        if !is_inside {
            problems.error(line.place, format!("the owner {}", line.owner), format!("a name at or below {apex}"));
        }
        is_inside
    });
    let (hashed, lines): (Vec<Line>, Vec<Line>) = lines.into_iter().partition(|line| line.set_type() == Rtype::NSEC3);
    let names = names_of(apex, lines, problems);
    let places = names.places;
    let nsec3 = nsec3_of(apex, hashed, problems);
    let record_count = names.nodes.iter().map(|(_, node)| node.record_count()).sum::<usize>()
        + nsec3.iter().map(|nsec3| nsec3.set.record_count()).sum::<usize>();
    let has_wildcards = names.nodes.iter().any(|(name, _)| name.is_wildcard());

    let apex_node = names.nodes.first().map(|(_, node)| node);
    let soa_set = apex_node.and_then(|node| node.set(Rtype::SOA));
    let Some((soa_set, soa)) = soa_set.and_then(|set| Some((set, Soa::from_rdata(set.rdata().next()?)?))) else {
        problems.error(whole, format!("no SOA record at {apex}"), "exactly one SOA record at the apex");
        return None;
    };
    if apex_node.is_none_or(|node| node.set(Rtype::NS).is_none()) {
        problems.error(whole, format!("no NS record at {apex}"), "at least one NS record at the apex");
    }
    let negative_soa = negative(soa_set, &soa);
    let labels = apex.label_count();
    let Some(nodes) = Nodes::new(names.nodes, labels) else {
        problems.error(whole, "names made to collide", "names as people and programs choose them");
        return None;
    };
    let nsec3 = Chunks::from_sorted(&nsec3);
    let zone = Zone { apex: apex.clone(), labels, nodes, has_wildcards, negative_soa, soa, record_count, nsec3 };
    if source == Source::File {
        check::check(&zone, &places, problems);
        zonemd::check(&zone, whole, problems);
    }
    (!problems.has_errors()).then_some(zone)
}

/// The SOA record with the TTL of negative answers: the smaller of its TTL and its minimum field (RFC 2308 section 3).
pub(super) fn negative(set: &RrSet, soa: &Soa) -> RrSet {
    RrSet { more: set.more.clone(), ..RrSet::new(Rtype::SOA, set.ttl_s.min(soa.minimum_s), set.rdata()) }
}

/// Names in canonical order, and where the first record of each of their RRsets is.
struct Named {
    nodes: Vec<(Name, Node)>,
    places: Vec<Place>,
}

/// The nodes of lines that are all in the zone, with the empty non-terminals between them.
fn names_of(apex: &Name, lines: Vec<Line>, problems: &mut Problems) -> Named {
    let labels = apex.label_count();
    let mut keyed: Vec<(Key, Line)> = lines.into_iter().map(|line| (Key::of(line.owner.wire(), labels), line)).collect();
    // Stable: records of an RRset stay in the order of the file.
    keyed.sort_by(|(a_key, a), (b_key, b)| {
        let names = a_key.cmp(b_key).then_with(|| a.owner.cmp(&b.owner));
        names
            .then_with(|| a.set_type().cmp(&b.set_type()))
            .then_with(|| (a.rtype == Rtype::RRSIG).cmp(&(b.rtype == Rtype::RRSIG)))
    });
    let mut named = Named { nodes: Vec::new(), places: Vec::new() };
    // The name at hand and those above it, from the apex down, and whether one of them is a cut.
    let mut path: Vec<(Name, bool)> = Vec::new();
    let mut lines = keyed.into_iter().map(|(_, line)| line).peekable();
    while let Some(line) = lines.next() {
        let owner = line.owner.clone();
        let mut drafts: Vec<Draft> = Vec::new();
        let mut next = Some(line);
        while let Some(line) = next {
            let rtype = line.set_type();
            if drafts.last().is_none_or(|draft| draft.rtype() != rtype) {
                drafts.push(Draft::new(rtype, line.place));
            }
            if let Some(draft) = drafts.last_mut() {
                draft.add(line, problems);
            }
            next = lines.next_if(|line| line.owner == owner);
        }
        named.places.extend(drafts.iter().filter(|draft| !draft.is_empty()).map(|draft| draft.place));
        let node = node(apex, &owner, drafts, problems);
        if !node.sets.is_empty() {
            place(&mut named.nodes, &mut path, apex, owner, node);
        }
    }
    named
}

/// Puts a name behind the others, after the names between it and the next one above that exists.
fn place(nodes: &mut Vec<(Name, Node)>, path: &mut Vec<(Name, bool)>, apex: &Name, name: Name, mut node: Node) {
    while path.last().is_some_and(|(above, _)| !name.is_at_or_below(above)) {
        path.pop();
    }
    let mut between = Vec::new();
    let mut above = if name == *apex { None } else { name.parent() };
    while let Some(name) = above.filter(|above| path.last().is_none_or(|(top, _)| top != above)) {
        above = if name == *apex { None } else { name.parent() };
        between.push(name);
    }
    let below_cut = path.last().is_some_and(|(_, is_cut)| *is_cut);
    for empty in between.into_iter().rev() {
        path.push((empty.clone(), below_cut));
        nodes.push((empty, Node { below_cut, ..Node::default() }));
    }
    node.below_cut = below_cut;
    path.push((name.clone(), below_cut || node.cut));
    nodes.push((name, node));
}

/// Hashed denials in the order of their hashes.
fn nsec3_of(apex: &Name, mut lines: Vec<Line>, problems: &mut Problems) -> Vec<Nsec3> {
    lines.sort_by(|a, b| a.owner.cmp(&b.owner).then_with(|| (a.rtype == Rtype::RRSIG).cmp(&(b.rtype == Rtype::RRSIG))));
    let mut all: Vec<Nsec3> = Vec::new();
    let mut lines = lines.into_iter().peekable();
    while let Some(line) = lines.next() {
        let (owner, place) = (line.owner.clone(), line.place);
        let mut draft = Draft::new(Rtype::NSEC3, place);
        draft.add(line, problems);
        while let Some(line) = lines.next_if(|line| line.owner == owner) {
            draft.add(line, problems);
        }
        let Some(hash) = Nsec3::hash_of(apex, &owner) else {
            let found = format!("the NSEC3 record of {owner}");
            problems.warning(place, found, format!("a hash in Base32hex directly below {apex}; it is left out"));
            continue;
        };
        all.extend(draft.finish(apex, &owner).map(|set| Nsec3 { hash, owner, set }));
    }
    all.sort_by(|a, b| a.hash.cmp(&b.hash));
    all
}

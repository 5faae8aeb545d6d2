//! What is odd about a zone as a whole, as named-checkzone and kzonecheck look at it: delegations, targets, names, parameters.
//!
//! Only a delegation without the addresses that it needs is an error; the rest is served as it is written, and said. Each record
//! costs a bounded number of lookups.

use std::net::Ipv4Addr;

use super::data::{Node, RrSet, Zone};
use super::problem::{Place, Problems};
use super::rtype::Rtype;
use crate::name::Name;
use crate::name_buf::NameBuf;
use crate::name_table::{root, step};

/// Most iterations of a hashed denial that validators accept (RFC 9276 section 3.2).
const ITERATIONS_MAX: u16 = 100;

const TLSA: Rtype = Rtype(52);
const SPF: Rtype = Rtype(99);

/// What a name leads to in the zone.
enum Target<'z> {
    Outside,
    Missing,
    /// It does not exist here, but lies below a delegation.
    Delegated,
    BelowDname,
    Node(&'z Node),
}

struct Checker<'z, 'p> {
    zone: &'z Zone,
    problems: &'p mut Problems,
}

/// Looks at the whole zone; `places` are those of its RRsets in canonical order of names and types.
pub(super) fn check(zone: &Zone, places: &[Place], problems: &mut Problems) {
    let mut checker = Checker { zone, problems };
    let mut places = places.iter().copied();
    let mut dname: Option<&Name> = None;
    for (name, node) in zone.nodes.iter() {
        dname = dname.filter(|above| name.is_at_or_below(above));
        let mut sets = Vec::with_capacity(node.sets.len());
        for set in &node.sets {
            let Some(place) = places.next() else { return };
            sets.push((place, set));
        }
        checker.name(name, node, &sets, dname);
        if node.dname && dname.is_none() {
            dname = Some(name);
        }
    }
}

fn is_address(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::A | Rtype::AAAA)
}

/// The name at `at` in record data.
fn name_at(rdata: &[u8], at: usize) -> Option<Name> {
    Name::from_wire(rdata.get(at..)?).ok()
}

impl<'z> Checker<'z, '_> {
    fn warn(&mut self, place: Place, found: impl Into<String>, expected: impl Into<String>) {
        self.problems.warning(place, found, expected);
    }

    fn name(&mut self, name: &Name, node: &Node, sets: &[(Place, &RrSet)], dname: Option<&Name>) {
        if node.below_cut {
            for (place, set) in sets.iter().filter(|(_, set)| !is_address(set.rtype)) {
                let cut = self.zone.cut_above(name).unwrap_or_else(Name::root);
                let found = format!("{} at {name}, below the delegation of {cut}", set.rtype);
                self.warn(*place, found, "only addresses of name servers there; it is never answered");
            }
            return;
        }
        if let Some(dname) = dname {
            for (place, set) in sets.iter().filter(|(_, set)| set.rtype != Rtype::NSEC) {
                let found = format!("{} at {name}, below the DNAME of {dname}", set.rtype);
                self.warn(*place, found, "nothing there; it is never answered");
            }
        }
        let is_of_cut = |rtype: Rtype| is_address(rtype) || matches!(rtype, Rtype::NS | Rtype::DS | Rtype::NSEC);
        for (place, set) in sets.iter().filter(|(_, set)| node.cut && !is_of_cut(set.rtype)) {
            self.warn(
                *place,
                format!("{} at the delegated name {name}", set.rtype),
                "NS and DS there; it is never answered",
            );
        }
        let is_apex = name == self.zone.apex();
        let star_inside = name.labels().skip(1).any(|label| label == b"*");
        for &(place, set) in sets {
            self.owner(place, name, set, is_apex);
            if star_inside {
                self.warn(place, format!("'*' within {name}"), "'*' as the first label: elsewhere it matches nothing");
            }
            match set.rtype {
                Rtype::NS => self.servers(place, name, set, node.cut),
                Rtype::MX => set.rdata().for_each(|rdata| self.host(place, set.rtype, name_at(rdata, 2))),
                Rtype::SRV => set.rdata().for_each(|rdata| self.host(place, set.rtype, name_at(rdata, 6))),
                Rtype::SOA => self.soa(place),
                Rtype::DS if !node.cut => {
                    let found = format!("DS at {name}, which is not delegated");
                    self.warn(place, found, "NS records beside it, or the records in the parent zone");
                }
                Rtype::NSEC3PARAM => self.nsec3param(place, name, set),
                Rtype::DNSKEY | Rtype::CDNSKEY => {
                    for rdata in set.rdata().filter(|rdata| rdata.get(2).is_some_and(|protocol| *protocol != 3)) {
                        let protocol = rdata.get(2).copied().unwrap_or_default();
                        let found = format!("a {} record with protocol {protocol}", set.rtype);
                        self.warn(place, found, "3, the only one (RFC 4034 section 2.1.2)");
                    }
                }
                SPF if !has_spf(node, Rtype::TXT) => {
                    self.warn(place, format!("SPF at {name}"), "the same text as TXT: nobody asks for SPF (RFC 7208)");
                }
                Rtype::TXT if set.rdata().filter(|rdata| is_spf(rdata)).count() > 1 => {
                    self.warn(
                        place,
                        format!("several TXT records v=spf1 at {name}"),
                        "one: two are an error to those who ask (RFC 7208)",
                    );
                }
                _ => {}
            }
        }
    }

    /// Whether records of this type belong at such a name.
    fn owner(&mut self, place: Place, name: &Name, set: &RrSet, is_apex: bool) {
        let rtype = set.rtype;
        let first = name.labels().next().unwrap_or_default();
        match rtype {
            Rtype::A | Rtype::AAAA | Rtype::MX if !is_hostname(name, true) => {
                self.warn(
                    place,
                    format!("{rtype} at {name}"),
                    "letters, digits and hyphens in the name of a host (RFC 1123)",
                );
            }
            Rtype::NS | Rtype::DNAME if name.is_wildcard() => {
                self.warn(
                    place,
                    format!("{rtype} at the wildcard {name}"),
                    "names of their own: servers disagree (RFC 4592 section 4)",
                );
            }
            Rtype::SRV | TLSA if !first.starts_with(b"_") && !name.is_wildcard() => {
                self.warn(place, format!("{rtype} at {name}"), "a name that starts with '_', as in _service._proto");
            }
            Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY | Rtype::NSEC3PARAM if !is_apex => {
                self.warn(place, format!("{rtype} at {name}"), format!("it at {} alone", self.zone.apex()));
            }
            _ => {}
        }
    }

    fn servers(&mut self, place: Place, name: &Name, set: &RrSet, cut: bool) {
        for target in set.rdata().filter_map(|rdata| name_at(rdata, 0)) {
            if self.odd_host(place, Rtype::NS, &target) {
                continue;
            }
            let found = match self.target(&target) {
                Target::Outside => continue,
                Target::BelowDname => format!("the name server {target}, which is below a DNAME"),
                Target::Node(node) if node.set(Rtype::CNAME).is_some() => {
                    format!("the name server {target}, which is a CNAME")
                }
                Target::Node(node) if node.sets.iter().any(|set| is_address(set.rtype)) => continue,
                Target::Node(_) | Target::Missing | Target::Delegated => {
                    let found = format!("no address of the name server {target}");
                    if cut && target.is_at_or_below(name) {
                        self.problems.error(place, found, "an A or AAAA record for it (glue)");
                    } else {
                        self.warn(place, found, "an A or AAAA record, or a pool at that name");
                    }
                    continue;
                }
            };
            self.warn(place, found, "a name with addresses (RFC 2181 section 10.3)");
        }
    }

    /// The target of an MX or SRV record.
    fn host(&mut self, place: Place, rtype: Rtype, target: Option<Name>) {
        // The root says that there is no such service (RFC 7505, RFC 2782).
        let Some(target) = target.filter(|target| !target.is_root()) else { return };
        if self.odd_host(place, rtype, &target) {
            return;
        }
        let found = match self.target(&target) {
            Target::Outside | Target::Delegated => return,
            Target::BelowDname => format!("the target {target} of {rtype}, which is below a DNAME"),
            Target::Node(node) if node.set(Rtype::CNAME).is_some() => {
                format!("the target {target} of {rtype}, which is a CNAME")
            }
            Target::Node(node) if node.cut || node.below_cut || node.sets.iter().any(|set| is_address(set.rtype)) => return,
            Target::Node(_) | Target::Missing => format!("no address of {target}, the target of {rtype}"),
        };
        self.warn(place, found, "a name with addresses, or a pool at that name");
    }

    /// Whether the name of a host is an address by mistake, or no name of a host; it is said then.
    fn odd_host(&mut self, place: Place, rtype: Rtype, target: &Name) -> bool {
        let mut labels = target.labels().map(|label| std::str::from_utf8(label).unwrap_or("?"));
        let first: Vec<&str> = labels.by_ref().take(4).collect();
        if first.join(".").parse::<Ipv4Addr>().is_ok() {
            self.warn(place, format!("{target} as the target of {rtype}"), "a name: addresses are not read as such there");
            return true;
        }
        if !is_hostname(target, false) {
            self.warn(
                place,
                format!("{target} as the target of {rtype}"),
                "letters, digits and hyphens in the name of a host",
            );
        }
        false
    }

    /// What lies at the target of a record, wildcards looked through.
    fn target(&self, name: &Name) -> Target<'z> {
        let zone = self.zone;
        if !name.is_at_or_below(zone.apex()) {
            return Target::Outside;
        }
        let name = NameBuf::of(name);
        let mut at = root(&name);
        while at.depth() < zone.labels && step(&mut at).is_some() {}
        let Some(mut node) = zone.nodes.get(&at) else { return Target::Missing };
        loop {
            let encloser = at;
            if step(&mut at).is_none() {
                return Target::Node(node);
            }
            if node.dname {
                return Target::BelowDname;
            }
            node = match zone.nodes.get(&at) {
                Some(node) => node,
                // What another server answers is not known here.
                None if node.cut || node.below_cut => return Target::Delegated,
                None => return zone.wildcard(&encloser).map_or(Target::Missing, Target::Node),
            };
        }
    }

    fn soa(&mut self, place: Place) {
        let soa = self.zone.soa().clone();
        if soa.serial == 0 {
            self.warn(place, "serial 0", "1 or more: some secondaries take 0 for none");
        }
        if soa.expire_s <= soa.refresh_s.saturating_add(soa.retry_s) {
            let found = format!("expire {} with refresh {} and retry {}", soa.expire_s, soa.refresh_s, soa.retry_s);
            self.warn(place, found, "an expire beyond refresh and retry, lest one lost look ends the zone on a secondary");
        }
        if soa.rname.labels().next().is_some_and(|label| label.contains(&b'@')) {
            self.warn(place, format!("the mailbox {}", soa.rname), "a dot instead of '@'");
        }
        if !is_hostname(&soa.mname, false) {
            self.warn(place, format!("the primary {}", soa.mname), "letters, digits and hyphens in the name of a host");
        }
    }

    fn nsec3param(&mut self, place: Place, name: &Name, set: &RrSet) {
        for rdata in set.rdata() {
            let &[algorithm, flags, high, low, ..] = rdata else { continue };
            let iterations = u16::from_be_bytes([high, low]);
            if algorithm != 1 || flags != 0 || iterations > ITERATIONS_MAX {
                let found = format!("NSEC3PARAM {algorithm} {flags} {iterations} at {name}");
                self.warn(place, found, format!("algorithm 1, flags 0 and at most {ITERATIONS_MAX} iterations (RFC 9276)"));
            }
        }
        if self.zone.nsec3().next().is_none() {
            self.warn(place, "NSEC3PARAM without NSEC3 records", "a hashed denial, or none of them");
        }
    }
}

/// Whether labels are letters, digits and inner hyphens (RFC 952, RFC 1123), perhaps behind a wildcard.
fn is_hostname(name: &Name, wildcard: bool) -> bool {
    let is_outer = |octet: &u8| octet.is_ascii_alphanumeric();
    let skipped = usize::from(wildcard && name.is_wildcard());
    name.labels().skip(skipped).all(|label| {
        label.first().is_some_and(is_outer)
            && label.last().is_some_and(is_outer)
            && label.iter().all(|octet| is_outer(octet) || *octet == b'-')
    })
}

/// Whether TXT data is a policy of SPF (RFC 7208 section 4.5).
fn is_spf(rdata: &[u8]) -> bool {
    let text = rdata.get(1..).unwrap_or_default();
    let after = text.get(..6).filter(|start| start.eq_ignore_ascii_case(b"v=spf1")).and_then(|_| text.get(6..));
    after.is_some_and(|after| after.first().is_none_or(|octet| *octet == b' '))
}

fn has_spf(node: &Node, rtype: Rtype) -> bool {
    node.set(rtype).is_some_and(|set| set.rdata().any(is_spf))
}

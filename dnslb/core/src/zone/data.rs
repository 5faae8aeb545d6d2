//! A zone in memory, prepared for answering.
//!
//! Every RRset is the octets of its records as they go on the wire, with an owner pointer to offset 12 (the question) that the
//! answer path rewrites when the owner is another name. Nothing here changes after loading.

use super::canonical::name_len;
use super::chunks::Chunks;
use super::compress::Cut;
use super::nodes::Nodes;
use super::record::Soa;
use super::rtype::Rtype;
use crate::name::Name;
use crate::name_buf::{Descent, NameBuf};
use crate::name_table::{root, step};

/// The owner field of every prepared record: a compression pointer to the question's name.
pub(crate) const OWNER_POINTER: [u8; 2] = [0xc0, 0x0c];

/// A checked zone.
#[derive(Debug, Clone)]
pub struct Zone {
    pub(super) apex: Name,
    pub(super) labels: usize,
    pub(super) nodes: Nodes,
    pub(super) has_wildcards: bool,
    pub(super) negative_soa: RrSet,
    pub(super) soa: Soa,
    pub(super) record_count: usize,
    /// Hashed denials in the order of their hashes. Their owners are no names of the zone (RFC 5155 section 7.2.8).
    pub(super) nsec3: Chunks<Nsec3>,
}

/// One record of a hashed denial (RFC 5155).
#[derive(Debug, Clone)]
pub struct Nsec3 {
    /// The hash in its owner's first label.
    pub hash: Box<[u8]>,
    /// The owner.
    pub owner: Name,
    /// The records; one, in all but ill-made zones.
    pub set: RrSet,
}

/// What lies at one name. A name without RRsets is an empty non-terminal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    /// Ordered by type.
    pub(crate) sets: Box<[RrSet]>,
    /// Whether the name is delegated: NS records below the apex.
    pub(crate) cut: bool,
    /// Whether names below are led elsewhere: a DNAME record.
    pub(crate) dname: bool,
    /// Whether a name above it is delegated.
    pub(crate) below_cut: bool,
}

/// The records of one name and type.
#[derive(Debug, Clone)]
pub struct RrSet {
    pub(crate) rtype: Rtype,
    pub(crate) ttl_s: u32,
    pub(crate) count: u16,
    /// Whole records: owner pointer, type, class, TTL, length, data.
    pub(crate) records: Box<[u8]>,
    /// What few sets have.
    pub(super) more: Option<Box<More>>,
    /// Its signatures.
    pub(crate) sigs: Option<Box<Sigs>>,
}

/// The RRSIG records of one RRset, prepared like the set itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sigs {
    /// Whole records: owner pointer, type, class, TTL, length, data.
    pub(crate) records: Box<[u8]>,
    pub(crate) count: u16,
}

/// Where the names in an RRset's data lead.
#[derive(Debug, Clone)]
pub(super) struct More {
    /// Where CNAME and DNAME lead.
    pub(super) target: Option<Name>,
    /// Names in the data of NS, MX, SRV, SVCB and HTTPS that lie in the zone.
    pub(super) extras: Box<[Extra]>,
    /// The owner, when it is among the extras.
    pub(super) owner: Option<Name>,
    /// Where names in its data are cut short, in their order.
    pub(super) cuts: Box<[Cut]>,
}

/// A name whose addresses are worth adding to an answer, if it has any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extra {
    /// Hash of the name.
    pub(super) hash: u64,
    /// Where in the RRset's records the name starts; for the owner, where a record does.
    pub(super) name_at: u32,
    /// How many octets before it are left out when names are cut short.
    pub(super) left_out: u16,
    /// Whether the delegation is useless without them: the name lies at or below the cut (RFC 9471).
    pub(crate) required: bool,
}

impl Extra {
    /// Where in the RRset as it is written the name starts, in octets.
    pub(crate) fn written_at(&self) -> usize {
        self.name_at as usize - usize::from(self.left_out)
    }
}

impl Node {
    pub(crate) fn set(&self, rtype: Rtype) -> Option<&RrSet> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }

    /// Number of records, signatures among them.
    pub(super) fn record_count(&self) -> usize {
        self.sets.iter().map(RrSet::record_count).sum()
    }
}

impl Nsec3 {
    /// The hash that an owner stands for; `None` if it is not of that form.
    pub(super) fn hash_of(apex: &Name, owner: &Name) -> Option<Box<[u8]>> {
        let label = owner.labels().next()?;
        if owner.wire().get(1 + label.len()..) != Some(apex.wire()) {
            return None;
        }
        let (mut octets, mut bits, mut held) = (Vec::with_capacity(label.len() * 5 / 8), 0_u32, 0);
        // Base32 with extended hex alphabet and no padding (RFC 4648 section 7).
        for digit in label {
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
}

impl RrSet {
    /// An RRset from the data of its records.
    pub(crate) fn new<'a>(rtype: Rtype, ttl_s: u32, data: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut records = Vec::new();
        let mut count = 0;
        for rdata in data {
            records.extend_from_slice(&OWNER_POINTER);
            records.extend_from_slice(&rtype.0.to_be_bytes());
            records.extend_from_slice(&[0, 1]);
            records.extend_from_slice(&ttl_s.to_be_bytes());
            records.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
            records.extend_from_slice(rdata);
            count += 1;
        }
        Self { rtype, ttl_s, count, records: records.into(), more: None, sigs: None }
    }

    /// The type.
    pub fn rtype(&self) -> Rtype {
        self.rtype
    }

    /// TTL in seconds.
    pub fn ttl_s(&self) -> u32 {
        self.ttl_s
    }

    /// The data of each record; names in it are uncompressed.
    pub fn rdata(&self) -> impl Iterator<Item = &[u8]> {
        data_of(&self.records)
    }

    /// Its signatures, if it is signed.
    pub fn sigs(&self) -> Option<&Sigs> {
        self.sigs.as_deref()
    }

    /// Where CNAME and DNAME lead.
    pub(crate) fn target(&self) -> Option<&Name> {
        self.more.as_ref()?.target.as_ref()
    }

    /// Where names in its data are cut short, in their order.
    #[inline]
    pub(crate) fn cuts(&self) -> &[Cut] {
        self.more.as_ref().map_or(&[], |more| &more.cuts)
    }

    /// Names whose addresses are worth adding to an answer with this set, what must be there first.
    pub(crate) fn extras(&self) -> &[Extra] {
        self.more.as_ref().map_or(&[], |more| &more.extras)
    }

    /// Whether an extra is the owner itself, for which the root stands in the data.
    pub(super) fn is_owner(&self, extra: &Extra) -> bool {
        self.records.get(extra.name_at as usize) == Some(&OWNER_POINTER[0])
    }

    /// Number of records, signatures among them.
    pub(super) fn record_count(&self) -> usize {
        usize::from(self.count) + self.sigs.as_ref().map_or(0, |sigs| usize::from(sigs.count))
    }
}

impl Sigs {
    /// Signatures from the data of RRSIG records.
    pub fn new<'a>(ttl_s: u32, data: impl Iterator<Item = &'a [u8]>) -> Self {
        let RrSet { records, count, .. } = RrSet::new(Rtype::RRSIG, ttl_s, data);
        Self { records, count }
    }

    /// TTL in seconds.
    pub fn ttl_s(&self) -> u32 {
        self.records.get(6..).and_then(|tail| tail.first_chunk()).map_or(0, |ttl| u32::from_be_bytes(*ttl))
    }

    /// The data of each record.
    pub fn rdata(&self) -> impl Iterator<Item = &[u8]> {
        data_of(&self.records)
    }
}

/// The data of prepared records.
fn data_of(mut records: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_be_bytes(*records.get(10..)?.first_chunk()?));
        let (record, rest) = records.split_at_checked(12 + len)?;
        records = rest;
        record.get(12..)
    })
}

impl Zone {
    /// The name of the zone.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// The serial number of its SOA record.
    pub fn serial(&self) -> u32 {
        self.soa.serial
    }

    /// Its SOA record's data.
    pub fn soa(&self) -> &Soa {
        &self.soa
    }

    /// Number of records.
    pub fn record_count(&self) -> usize {
        self.record_count
    }

    /// Types of the records at `name`, in ascending order; empty when the name does not exist or is an empty non-terminal.
    pub fn types_at(&self, name: &Name) -> Vec<Rtype> {
        self.nodes.get_name(name).map(|node| node.sets.iter().map(|set| set.rtype).collect()).unwrap_or_default()
    }

    /// Whether `name` exists in the zone, perhaps as an empty non-terminal or wildcard.
    pub fn contains(&self, name: &Name) -> bool {
        self.nodes.find(name).is_some()
    }

    /// The highest delegated name at or above `name`, whose data is another server's.
    pub fn cut_above(&self, name: &Name) -> Option<Name> {
        let name = NameBuf::of(name);
        let mut at = root(&name);
        loop {
            if at.depth() >= self.labels && self.nodes.get(&at).is_some_and(|node| node.cut) {
                return Name::from_wire(at.suffix()).ok();
            }
            step(&mut at)?;
        }
    }

    /// The node of a name in the data of `set`, and that name; `None` if it does not exist. Addresses below a delegation go with
    /// NS records alone: elsewhere they would be taken for this zone's own.
    pub(crate) fn extra(&self, set: &RrSet, extra: &Extra) -> Option<(&Name, &Node)> {
        let (name, node) = if set.is_owner(extra) {
            self.nodes.get_hashed(extra.hash, set.more.as_ref()?.owner.as_ref()?.wire())?
        } else {
            let rest = set.records.get(extra.name_at as usize..)?;
            self.nodes.get_hashed(extra.hash, rest.get(..name_len(rest)?)?)?
        };
        (set.rtype == Rtype::NS || !node.below_cut).then_some((name, node))
    }

    pub(crate) fn labels(&self) -> usize {
        self.labels
    }

    pub(crate) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// What lies at the apex.
    pub(crate) fn apex_node(&self) -> Option<&Node> {
        self.nodes.first().map(|(_, node)| node)
    }

    /// The wildcard directly below the name that a walk has come to.
    pub(crate) fn wildcard(&self, at: &Descent<'_>) -> Option<&Node> {
        if self.has_wildcards { self.nodes.wildcard(at) } else { None }
    }

    /// The SOA record with the TTL of negative answers: the smaller of its TTL and its minimum field (RFC 2308 section 3).
    pub(crate) fn negative_soa(&self) -> &RrSet {
        &self.negative_soa
    }
}

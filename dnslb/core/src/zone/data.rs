//! A zone in memory, prepared for answering.
//!
//! Every RRset is the octets of its records as they go on the wire, with an owner pointer to offset 12 (the question) that the
//! answer path rewrites when the owner is another name. Nothing here changes after loading.

use super::rtype::Rtype;
use crate::name::Name;
use crate::name_buf::Descent;
use crate::name_table::NameTable;

/// The owner field of every prepared record: a compression pointer to the question's name.
pub(crate) const OWNER_POINTER: [u8; 2] = [0xc0, 0x0c];

/// Index of the apex among the nodes of a zone.
pub(crate) const APEX: u32 = 0;

/// A checked zone.
#[derive(Debug, Clone)]
pub struct Zone {
    pub(super) apex: Name,
    pub(super) labels: usize,
    pub(super) nodes: NameTable<Node>,
    pub(super) has_wildcards: bool,
    pub(super) negative_soa: RrSet,
    pub(super) serial: u32,
    pub(super) record_count: usize,
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
}

/// The records of one name and type.
#[derive(Debug, Clone)]
pub(crate) struct RrSet {
    pub(crate) rtype: Rtype,
    pub(crate) ttl_s: u32,
    pub(crate) count: u16,
    /// Whole records: owner pointer, type, class, TTL, length, data.
    pub(crate) records: Box<[u8]>,
    /// Where CNAME and DNAME lead.
    pub(crate) target: Option<Name>,
    /// Names in the data of NS, MX and SRV that have addresses in the same zone.
    pub(crate) extras: Box<[Extra]>,
}

/// Addresses worth adding to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extra {
    /// Where in the RRset's records the name starts.
    pub(crate) name_at: u32,
    /// The node of that name.
    pub(crate) node: u32,
    /// Whether the delegation is useless without them: the name lies at or below the cut (RFC 9471).
    pub(crate) required: bool,
}

impl Node {
    pub(crate) fn set(&self, rtype: Rtype) -> Option<&RrSet> {
        self.sets.iter().find(|set| set.rtype == rtype)
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
        Self { rtype, ttl_s, count, records: records.into(), target: None, extras: Box::default() }
    }
}

impl Zone {
    /// The name of the zone.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// The serial number of its SOA record.
    pub fn serial(&self) -> u32 {
        self.serial
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
        self.nodes.find_name(name).is_some()
    }

    /// The delegated name at or above `name`, whose data is another server's.
    pub fn cut_above(&self, name: &Name) -> Option<Name> {
        let mut found = None;
        let mut at = Some(name.clone());
        while let Some(name) = at.filter(|name| name.is_at_or_below(&self.apex)) {
            if self.nodes.get_name(&name).is_some_and(|node| node.cut) {
                found = Some(name.clone());
            }
            at = name.parent();
        }
        found
    }

    pub(crate) fn labels(&self) -> usize {
        self.labels
    }

    pub(crate) fn nodes(&self) -> &NameTable<Node> {
        &self.nodes
    }

    pub(crate) fn node(&self, index: u32) -> Option<&Node> {
        self.nodes.entry(index).map(|(_, node)| node)
    }

    /// The wildcard directly below the name that a walk has come to.
    pub(crate) fn wildcard(&self, at: &Descent<'_>) -> Option<&Node> {
        if self.has_wildcards { self.node(self.nodes.find_wildcard(at)?) } else { None }
    }

    /// The SOA record with the TTL of negative answers: the smaller of its TTL and its minimum field (RFC 2308 section 3).
    pub(crate) fn negative_soa(&self) -> &RrSet {
        &self.negative_soa
    }
}

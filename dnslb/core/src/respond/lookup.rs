//! Finding what a zone and the overlay have at a name: the algorithm of RFC 1034 section 4.3.2 with the closest encloser of
//! RFC 4592, walking down from the apex. It costs one probe a label and knows nothing of messages.

use crate::name::NameBuf;
use crate::name_table::hash_label;
use crate::overlay::{Laid, Overlay, OverlayTarget};
use crate::zone::{APEX, Node, RrSet, Rtype, ZoneAt};

/// What there is at a name.
#[derive(Debug)]
pub(super) enum Found<'s> {
    /// The name exists, or a wildcard covers it.
    Name {
        /// Its records; `None` when only the overlay knows the name.
        node: Option<&'s Node>,
        /// The pool or host laid over it.
        target: Option<OverlayTarget>,
    },
    /// The name is at or below a delegation.
    Cut {
        /// The NS records.
        servers: &'s RrSet,
        /// Number of labels of the delegated name.
        depth: usize,
    },
    /// The name is below a DNAME record.
    Dname {
        /// The record.
        dname: &'s RrSet,
        /// Number of labels of its owner.
        depth: usize,
    },
    /// The name does not exist.
    Missing,
}

/// Looks `name`, which must be at or below the apex of `at`, up for a query of type `rtype`.
pub(super) fn find<'s>(at: ZoneAt<'s>, overlay: &'s Overlay, name: &NameBuf, rtype: Rtype) -> Found<'s> {
    let zone = at.zone;
    let nodes = zone.nodes();
    let mut hash = at.hash;
    let mut node = zone.node(APEX);
    let mut target = overlay.find(hash, name.suffix(zone.labels())).and_then(Laid::target);
    for depth in zone.labels() + 1..=name.labels() {
        if let Some(dname) = node.and_then(|node| node.set(Rtype::DNAME)) {
            return Found::Dname { dname, depth: depth - 1 };
        }
        let encloser_hash = hash;
        hash = hash_label(hash, name.label(depth));
        let suffix = name.suffix(depth);
        node = nodes.get(hash, suffix);
        let laid = overlay.find(hash, suffix);
        if node.is_none() && laid.is_none() {
            let encloser = name.suffix(depth - 1);
            let node = nodes.find_wildcard(encloser_hash, encloser).and_then(|index| zone.node(index));
            let laid = overlay.find_wildcard(encloser_hash, encloser);
            return match (node, laid) {
                (None, None) => Found::Missing,
                _ => Found::Name { node, target: laid.and_then(Laid::target) },
            };
        }
        target = laid.and_then(Laid::target);
        if let Some(node) = node.filter(|node| node.cut)
            // The parent answers for DS at the cut itself (RFC 4035 section 3.1.4.1).
            && !(rtype == Rtype::DS && depth == name.labels())
            && let Some(servers) = node.set(Rtype::NS)
        {
            return Found::Cut { servers, depth };
        }
    }
    Found::Name { node, target }
}

//! Finding what a zone and the overlay have at a name: the algorithm of RFC 1034 section 4.3.2 with the closest encloser of
//! RFC 4592, walking down from the apex. It costs one probe a label and knows nothing of messages.

use crate::name_table::step;
use crate::overlay::{Laid, Overlay, OverlayTarget};
use crate::zone::{Node, RrSet, Rtype, ZoneAt};

/// What there is at a name.
#[derive(Debug)]
pub(super) enum Found<'s> {
    /// The name exists, or a wildcard covers it.
    Name {
        /// Its records; `None` when only the overlay knows the name.
        node: Option<&'s Node>,
        /// The pool or host laid over it.
        target: Option<OverlayTarget>,
        /// Number of labels of the closest encloser, if a wildcard below it covers the name.
        wildcard: Option<usize>,
    },
    /// The name is at or below a delegation.
    Cut {
        /// The delegated name's records.
        node: &'s Node,
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
    Missing {
        /// Number of labels of the closest encloser (RFC 4592 section 3.3.1).
        encloser: usize,
    },
}

/// Looks the name up whose zone was found, for a query of type `rtype`.
#[inline]
pub(super) fn find<'s>(found: ZoneAt<'s, '_>, overlay: &'s Overlay, rtype: Rtype) -> Found<'s> {
    let ZoneAt { zone, mut at, .. } = found;
    let nodes = zone.nodes();
    let mut node = zone.apex_node();
    if at.is_whole() {
        return Found::Name { node, target: overlay.find(&at).and_then(Laid::target), wildcard: None };
    }
    loop {
        let encloser = at;
        step(&mut at);
        if let Some(dname) = node.filter(|node| node.dname).and_then(|node| node.set(Rtype::DNAME)) {
            return Found::Dname { dname, depth: encloser.depth() };
        }
        node = nodes.get(&at);
        let laid = overlay.find(&at);
        if node.is_none() && laid.is_none() {
            let node = zone.wildcard(&encloser);
            let laid = overlay.find_wildcard(&encloser);
            return match (node, laid) {
                (None, None) => Found::Missing { encloser: encloser.depth() },
                _ => Found::Name { node, target: laid.and_then(Laid::target), wildcard: Some(encloser.depth()) },
            };
        }
        if let Some(node) = node.filter(|node| node.cut)
            // The parent answers for DS at the cut itself (RFC 4035 section 3.1.4.1).
            && !(rtype == Rtype::DS && at.is_whole())
            && let Some(servers) = node.set(Rtype::NS)
        {
            return Found::Cut { node, servers, depth: at.depth() };
        }
        if at.is_whole() {
            return Found::Name { node, target: laid.and_then(Laid::target), wildcard: None };
        }
    }
}

//! The canonical form of RRsets, which signatures cover (RFC 4034 section 6, RFC 6840 section 5.1).
//!
//! Record data comes in uncompressed and of its type's form; whatever else comes in is taken as it is, without a panic.

use std::borrow::Cow;

use crate::name::Name;
use crate::zone::{Rtype, canonical_rdata};

/// An RRset in canonical form, ready to be signed by any number of keys.
#[derive(Debug)]
pub struct CanonicalSet {
    pub(super) owner: Name,
    pub(super) rtype: Rtype,
    pub(super) ttl_s: u32,
    /// Every record: owner, type, class, TTL, length, data; in canonical order.
    pub(super) octets: Vec<u8>,
}

impl CanonicalSet {
    /// The canonical form of an RRset. `rdata` may come in any order and with duplicates.
    pub fn new<'a>(owner: &Name, rtype: Rtype, ttl_s: u32, rdata: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut data: Vec<Cow<'a, [u8]>> = rdata.into_iter().map(|rdata| canonical_rdata(rtype, rdata)).collect();
        data.sort_unstable();
        data.dedup();
        let len = data.iter().map(|rdata| owner.wire().len() + 10 + rdata.len()).sum();
        let mut octets = Vec::with_capacity(len);
        for rdata in data {
            octets.extend_from_slice(owner.wire());
            octets.extend_from_slice(&rtype.0.to_be_bytes());
            octets.extend_from_slice(&[0, 1]);
            octets.extend_from_slice(&ttl_s.to_be_bytes());
            octets.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
            octets.extend_from_slice(&rdata);
        }
        Self { owner: owner.clone(), rtype, ttl_s, octets }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_and_duplicates_do_not_matter(mut data in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..5), 1..6)) {
            let name = Name::from_text("a.example").unwrap();
            let set = |data: &[Vec<u8>]| CanonicalSet::new(&name, Rtype::TXT, 5, data.iter().map(Vec::as_slice)).octets;
            let one = set(&data);
            data.push(data.first().cloned().unwrap_or_default());
            data.reverse();
            prop_assert_eq!(one, set(&data));
        }
    }
}

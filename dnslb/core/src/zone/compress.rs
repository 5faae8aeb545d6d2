//! Which ends of names in record data a message holds already: found once when a zone is loaded, so that an answer only has to
//! put pointers there (RFC 1035 section 4.1.4).
//!
//! Only types that every reader decompresses are touched (RFC 3597 section 4), and of them not CNAME: the name that an alias leads to
//! is the next owner of its chain, which must stand in the message in one piece.

use std::collections::BTreeMap;

use super::canonical::name_len;
use super::data::RrSet;
use super::rtype::Rtype;
use crate::name::Name;

/// Longer RRsets are written as they are, so that a pointer reaches whatever it has to.
const RECORDS_LEN_MAX: usize = 8_192;

/// The end of a name that is replaced by a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Its first octet, in the RRset's records.
    pub(crate) at: u16,
    /// Its length in octets.
    pub(crate) len: u8,
    /// Where the same octets stand.
    pub(crate) to: To,
}

/// What a pointer points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// So many octets before the end of the owner, the root label counted.
    OwnerEnd(u8),
    /// So many octets behind the start of the RRset as it is written.
    Set(u16),
}

/// Octets that are left out before `at`, an octet of the RRset's records.
pub(super) fn left_out(cuts: &[Cut], at: u32) -> u16 {
    cuts.iter().take_while(|cut| u32::from(cut.at) < at).map(|cut| u16::from(cut.len) - 2).sum()
}

/// Offsets of the names in the data of a type whose names may be compressed: `None` for all others.
fn names(rtype: Rtype, rdata: &[u8]) -> Option<Vec<usize>> {
    match rtype {
        Rtype::NS | PTR => Some(vec![0]),
        Rtype::MX => Some(vec![2]),
        Rtype::SOA => Some(vec![0, name_len(rdata)?]),
        _ => None,
    }
}

const PTR: Rtype = Rtype(12);

/// Where the labels of an uncompressed name start, the root label last. Nothing if it is broken.
fn label_starts(octets: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(&len) = octets.get(at) {
        starts.push(at);
        if len == 0 {
            return starts;
        }
        at += 1 + usize::from(len);
    }
    Vec::new()
}

/// Finds them, in their order; none for a set that is written as it is.
pub(super) fn cuts(set: &RrSet, owner: &Name) -> Box<[Cut]> {
    if set.records.len() > RECORDS_LEN_MAX || names(set.rtype, &[0, 0]).is_none() {
        return Box::default();
    }
    find(set, owner).unwrap_or_default().into()
}

fn find(set: &RrSet, owner: &Name) -> Option<Vec<Cut>> {
    // An asterisk is not in the message when a wildcard covers the question.
    let owner = if owner.is_wildcard() { owner.parent()? } else { owner.clone() };
    let owner_ends: BTreeMap<&[u8], u8> = label_starts(owner.wire())
        .into_iter()
        .filter_map(|start| owner.wire().get(start..))
        .map(|end| (end, end.len() as u8))
        .collect();
    let mut cuts: Vec<Cut> = Vec::new();
    let mut known: BTreeMap<Vec<u8>, u16> = BTreeMap::new();
    let (mut record_at, mut saved) = (0, 0);
    for rdata in set.rdata() {
        for name_at in names(set.rtype, rdata)? {
            let wire = rdata.get(name_at..)?.to_ascii_lowercase();
            let name = wire.get(..name_len(&wire)?)?;
            let at = record_at + 12 + name_at;
            for start in label_starts(name) {
                let end = name.get(start..)?;
                let to = match (owner_ends.get(end), known.get(end)) {
                    (Some(len), _) => To::OwnerEnd(*len),
                    (None, Some(offset)) => To::Set(*offset),
                    (None, None) => {
                        known.insert(end.to_vec(), (at + start - saved) as u16);
                        continue;
                    }
                };
                // A pointer takes two octets: nothing is gained on the root.
                if end.len() > 2 {
                    cuts.push(Cut { at: (at + start) as u16, len: end.len() as u8, to });
                    saved += end.len() - 2;
                }
                break;
            }
        }
        record_at += 12 + rdata.len();
    }
    Some(cuts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wire(text: &str) -> Vec<u8> {
        Name::from_text(text).unwrap().wire().to_vec()
    }

    fn found(rtype: Rtype, owner: &str, data: &[Vec<u8>]) -> Box<[Cut]> {
        cuts(&RrSet::new(rtype, 60, data.iter().map(Vec::as_slice)), &Name::from_text(owner).unwrap())
    }

    #[test]
    fn ends_are_found_in_the_owner_and_in_earlier_data() {
        let check = |rtype, owner: &str, data: &[Vec<u8>], expect: &[(u16, u8, To)]| {
            let cuts: Vec<_> = found(rtype, owner, data).iter().map(|cut| (cut.at, cut.len, cut.to)).collect();
            assert_eq!(cuts, expect, "{owner}");
        };
        check(Rtype::NS, "a.example", &[wire("ns1.A.example")], &[(16, 11, To::OwnerEnd(11))]);
        check(Rtype::NS, "com", &[wire("a.gtld.net"), wire("b.gtld.net")], &[(38, 10, To::Set(14))]);
        let example = To::OwnerEnd(9);
        let whole = [wire("ns.example"), wire("x.ns.example")];
        check(Rtype::NS, "example", &whole, &[(15, 9, example), (38, 12, To::Set(12))]);
        check(Rtype::NS, "*.example", &[wire("ns.example")], &[(15, 9, example)]);
        check(Rtype::NS, ".", &[wire("a.root"), wire("b.root")], &[(34, 6, To::Set(14))]);
        check(Rtype::MX, "example", &[[vec![0, 5], wire("mail.example")].concat()], &[(19, 9, example)]);
        let soa = [wire("ns.example"), wire("admin.ns.example"), vec![0; 20]].concat();
        check(Rtype::SOA, "example", &[soa], &[(15, 9, example), (30, 12, To::Set(12))]);
        for rtype in [Rtype::SRV, Rtype::CNAME, Rtype::DNAME, Rtype::TXT] {
            check(rtype, "example", &[wire("www.example")], &[]);
        }
        check(Rtype::NS, "example", &[wire("ns.else")], &[]);
    }

    #[test]
    fn what_is_left_out_before_each_name() {
        let cuts = found(Rtype::NS, "com", &[wire("a.gtld.net"), wire("b.gtld.net"), wire("c.gtld.net")]);
        // 12 + 12 octets each.
        assert_eq!([12, 36, 60].map(|at| left_out(&cuts, at)), [0, 0, 8]);
    }

    #[test]
    fn a_large_set_is_left_alone() {
        let data: Vec<Vec<u8>> = (0..400).map(|i| wire(&format!("server-{i}.example"))).collect();
        assert_eq!(found(Rtype::NS, "example", &data).len(), 0);
    }
}

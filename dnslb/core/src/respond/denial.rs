//! Proofs that something does not exist, from the NSEC or NSEC3 records of a zone that was signed beforehand (RFC 4035 section
//! 3.1.3, RFC 5155 section 7.2).
//!
//! It chooses records and writes none: a chain of aliases collects proofs while its answers are still being written. Nothing here
//! allocates, and the work is bounded by the labels of one name.

use super::nsec3::{Hash, Nsec3Params};
use super::resolve::Place;
use crate::name::{NAME_LEN_MAX, Name};
use crate::name_buf::NameBuf;
use crate::snapshot::Limits;
use crate::zone::{RrSet, Rtype, Zone};

/// Most proofs of one answer: one for each wildcard that a chain passed, and three for its end (RFC 5155 section 7.2.2).
const PROOFS_MAX: usize = Limits::CHAIN_CEILING as usize + 3;

/// A denial to write into the authority section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proof<'s> {
    /// The NSEC or NSEC3 record.
    pub(super) set: &'s RrSet,
    /// Whose record it is.
    pub(super) owner: &'s Name,
    /// The zone's apex, which the owner ends with.
    pub(super) apex: &'s Name,
    /// Where the apex is in the message.
    pub(super) apex_at: usize,
}

/// The proofs of one answer, each record once.
#[derive(Debug)]
pub(super) struct Proofs<'s> {
    list: [Option<Proof<'s>>; PROOFS_MAX],
    count: usize,
}

impl<'s> Proofs<'s> {
    pub(super) fn new() -> Self {
        Self { list: [None; _], count: 0 }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Proof<'s>> {
        self.list.iter().flatten()
    }

    fn push(&mut self, proof: Proof<'s>) {
        if self.iter().any(|known| std::ptr::eq(known.set, proof.set)) {
            return;
        }
        if let Some(place) = self.list.get_mut(self.count) {
            *place = Some(proof);
            self.count += 1;
        }
    }
}

/// What is to be proved about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// Neither the name nor a wildcard for it exists; the closest encloser has so many labels.
    NoName { encloser: usize },
    /// The name exists, without the type asked for.
    NoData,
    /// The wildcard below the closest encloser covers the name, without the type asked for.
    NoWildcardData { encloser: usize },
    /// The answer comes from the wildcard below the closest encloser: nothing closer exists.
    Expanded { encloser: usize },
    /// The delegated name of so many labels has no DS record.
    Insecure { cut: usize },
}

/// Whether a zone has denials that were signed ahead.
pub(super) fn has_chain(zone: &Zone) -> bool {
    let has = |rtype: Rtype| zone.apex_node().is_some_and(|apex| apex.set(rtype).is_some());
    has(Rtype::NSEC) || has(Rtype::NSEC3PARAM)
}

/// Adds what proves `claim` about a name. A zone without denials adds nothing.
pub(super) fn prove<'s>(place: Place<'s, '_>, claim: Claim, proofs: &mut Proofs<'s>) {
    let Place { zone, name, at, .. } = place;
    let apex_at = at + name.start_of(zone.labels());
    let Some(apex) = zone.apex_node() else { return };
    if apex.set(Rtype::NSEC).is_some() {
        ByName { zone, name, apex_at, proofs }.prove(claim);
    } else if let Some(params) = apex.set(Rtype::NSEC3PARAM).and_then(|set| Nsec3Params::from_rdata(set.rdata().next()?)) {
        ByHash { zone, params, name, apex_at, proofs }.prove(claim);
    }
}

struct ByName<'s, 'p> {
    zone: &'s Zone,
    name: &'p NameBuf,
    apex_at: usize,
    proofs: &'p mut Proofs<'s>,
}

impl ByName<'_, '_> {
    /// RFC 4035 section 3.1.3. The last record at or before a name denies what is not there, whether the name itself has one (then
    /// it lists the types) or lies in a gap, as empty non-terminals do.
    fn prove(&mut self, claim: Claim) {
        match claim {
            Claim::NoData | Claim::Expanded { .. } => self.add(self.name.wire()),
            Claim::NoName { encloser } | Claim::NoWildcardData { encloser } => {
                self.add(self.name.wire());
                let mut wildcard = [0; NAME_LEN_MAX + 2];
                if let Some(wildcard) = wildcard_of(self.name, encloser, &mut wildcard) {
                    self.add(wildcard);
                }
            }
            Claim::Insecure { cut } => self.add(self.name.suffix(cut)),
        }
    }

    fn add(&mut self, name: &[u8]) {
        let Some(found) = self.zone.nsec_at_or_before(name) else { return };
        let Some(set) = found.set(Rtype::NSEC) else { return };
        self.proofs.push(Proof { set, owner: found.name(), apex: self.zone.apex(), apex_at: self.apex_at });
    }
}

struct ByHash<'s, 'p> {
    zone: &'s Zone,
    params: Nsec3Params<'s>,
    name: &'p NameBuf,
    apex_at: usize,
    proofs: &'p mut Proofs<'s>,
}

impl ByHash<'_, '_> {
    fn prove(&mut self, claim: Claim) {
        match claim {
            // RFC 5155 section 7.2.2.
            Claim::NoName { encloser } => {
                let encloser = self.closest_encloser(encloser);
                self.cover(encloser + 1);
                let mut wildcard = [0; NAME_LEN_MAX + 2];
                if let Some(wildcard) = wildcard_of(self.name, encloser, &mut wildcard) {
                    self.add_covering(self.params.hash(wildcard));
                }
            }
            // Sections 7.2.3 and 7.2.4; without a record of its own, the name is in an opt-out span.
            Claim::NoData => self.deny_at(self.name.labels()),
            // Section 7.2.7.
            Claim::Insecure { cut } => self.deny_at(cut),
            // Section 7.2.5.
            Claim::NoWildcardData { encloser } => {
                let encloser = self.closest_encloser(encloser);
                self.cover(encloser + 1);
                let mut wildcard = [0; NAME_LEN_MAX + 2];
                if let Some(wildcard) = wildcard_of(self.name, encloser, &mut wildcard) {
                    self.add_matching(self.params.hash(wildcard));
                }
            }
            // Section 7.2.6.
            Claim::Expanded { encloser } => self.cover(encloser + 1),
        }
    }

    fn deny_at(&mut self, depth: usize) {
        if !self.add_matching(self.params.hash(self.name.suffix(depth))) && depth > self.zone.labels() {
            let encloser = self.closest_encloser(depth - 1);
            self.cover(encloser + 1);
        }
    }

    /// Adds the record of the longest suffix, of at most `depth` labels, that has one; returns its labels. In an opt-out zone that
    /// may be above the closest encloser.
    fn closest_encloser(&mut self, mut depth: usize) -> usize {
        while !self.add_matching(self.params.hash(self.name.suffix(depth))) && depth > self.zone.labels() {
            depth -= 1;
        }
        depth
    }

    /// Adds what covers the suffix of `depth` labels: the next closer name.
    fn cover(&mut self, depth: usize) {
        self.add_covering(self.params.hash(self.name.suffix(depth)));
    }

    fn add_matching(&mut self, hash: Hash) -> bool {
        self.add(hash, |found| found == hash)
    }

    fn add_covering(&mut self, hash: Hash) {
        self.add(hash, |_| true);
    }

    /// Adds the last record at or before a hash if `fits` says so.
    fn add(&mut self, hash: Hash, fits: impl Fn(&[u8]) -> bool) -> bool {
        let Some(nsec3) = self.zone.nsec3_at_or_before(&hash).filter(|nsec3| fits(&nsec3.hash)) else { return false };
        let apex = self.zone.apex();
        self.proofs.push(Proof { set: &nsec3.set, owner: &nsec3.owner, apex, apex_at: self.apex_at });
        true
    }
}

/// The wildcard below the suffix of `depth` labels; `None` if that would be too long for a name, so that none can exist.
fn wildcard_of<'b>(name: &NameBuf, depth: usize, buffer: &'b mut [u8; NAME_LEN_MAX + 2]) -> Option<&'b [u8]> {
    let suffix = name.suffix(depth);
    let wildcard = buffer.get_mut(..suffix.len() + 2)?;
    let (star, rest) = wildcard.split_at_mut(2);
    star.copy_from_slice(b"\x01*");
    rest.copy_from_slice(suffix);
    Some(wildcard)
}

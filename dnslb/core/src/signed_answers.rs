//! Answers of pools and members with their signatures, for zones that are signed here.
//!
//! Part of the snapshot: made by the control loop, read by answers. Only subsets whose signatures are there are in it, so a client
//! that wants signatures can never be given an answer without them; and none is given out after its time.

use std::sync::Arc;

use farm_shared::time::Wall;

use crate::dnssec::{seconds, seconds_between};
use crate::name::Name;
use crate::name_buf::NameBuf;
use crate::name_table::{NameTable, root, step};
use crate::snapshot::{FamilyAnswers, Section};
use crate::zone::Rtype;

/// The subsets of one owner, type and class of clients that are signed.
#[derive(Debug, Clone)]
pub struct SignedSet {
    answers: FamilyAnswers,
    /// RRSIG records with an owner pointer to the question, one run for each subset.
    octets: Vec<u8>,
    /// End of each run.
    ends: Vec<u32>,
    /// RRSIG records in each run.
    count: u16,
    /// The last second at which all signatures hold, since the epoch modulo 2^32.
    expiration_s: Option<u32>,
}

/// A subset, and its RRSIG records with their number.
pub(crate) type SignedSection<'a> = (Section<'a>, &'a [u8], u16);

impl SignedSet {
    /// No subsets yet, of records of this type that as many keys sign.
    pub fn new(rtype: Rtype, count: u16) -> Self {
        let answers = FamilyAnswers::new(rtype);
        Self { answers, octets: Vec::new(), ends: Vec::new(), count, expiration_s: None }
    }

    /// Adds a subset with its RRSIG records, which hold until `expiration_s`.
    pub(crate) fn push(&mut self, section: Section<'_>, rrsigs: &[u8], expiration_s: u32) {
        let before = self.answers.len();
        self.answers.push(section);
        if self.answers.len() == before {
            return;
        }
        self.octets.extend_from_slice(rrsigs);
        self.ends.push(self.octets.len() as u32);
        let earlier = |known: u32| if seconds_between(known, expiration_s) < 0 { expiration_s } else { known };
        self.expiration_s = Some(self.expiration_s.map_or(expiration_s, earlier));
    }

    /// Number of subsets.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether nothing is signed.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// RRSIG records of each subset.
    pub(crate) fn rrsigs_each(&self) -> u16 {
        self.count
    }

    /// The last second at which all signatures hold; `None` for an empty set.
    pub(crate) fn expiration_s(&self) -> Option<u32> {
        self.expiration_s
    }

    /// All subsets, in order.
    pub(crate) fn sections(&self) -> impl Iterator<Item = SignedSection<'_>> {
        (0..self.len()).filter_map(|index| self.section(index))
    }

    /// The subset of a uniform 64-bit draw; `None` when there is none, or the signatures hold no more.
    pub(crate) fn pick(&self, draw: u64, wall: Wall) -> Option<SignedSection<'_>> {
        if seconds_between(seconds(wall), self.expiration_s?) < 0 {
            return None;
        }
        self.section(self.answers.index(draw))
    }

    fn section(&self, index: usize) -> Option<SignedSection<'_>> {
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        let end = *self.ends.get(index)? as usize;
        Some((self.answers.section(index)?, self.octets.get(start..end)?, self.count))
    }
}

/// The signed sets of one owner, by type and variant (see [`crate::snapshot::PoolAnswers::variant`]).
type OfOwner = Vec<(Rtype, u16, Arc<SignedSet>)>;

/// All signed sets. Owners are as in the overlay: a wildcard stands for what it covers.
#[derive(Debug, Clone)]
pub struct SignedAnswers {
    owners: NameTable<OfOwner>,
}

impl Default for SignedAnswers {
    fn default() -> Self {
        Self { owners: NameTable::new() }
    }
}

impl SignedAnswers {
    pub(crate) fn insert(&mut self, owner: &Name, rtype: Rtype, variant: u16, set: Arc<SignedSet>) {
        let (index, _) = self.owners.get_or_insert_with(owner, Vec::new);
        if let Some(sets) = self.owners.value_mut(index) {
            sets.push((rtype, variant, set));
        }
    }

    /// What is signed at a name, or at the wildcard below the suffix of `wildcard` labels.
    pub(crate) fn find(&self, name: &NameBuf, wildcard: Option<usize>, rtype: Rtype, variant: u16) -> Option<&SignedSet> {
        let mut at = root(name);
        while at.depth() < wildcard.unwrap_or(name.labels()) {
            step(&mut at)?;
        }
        let index = if wildcard.is_some() { self.owners.find_wildcard(&at) } else { self.owners.find(&at) };
        let (_, sets) = self.owners.entry(index?)?;
        sets.iter().find(|(t, v, _)| (*t, *v) == (rtype, variant)).map(|(_, _, set)| &**set)
    }
}

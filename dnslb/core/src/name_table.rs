//! The one lookup structure of the answer path: names to values, hashed label by label from the root.
//!
//! Hashing from the right gives the hash of every suffix of a name in one pass, so that finding the zone and the closest
//! encloser of a name costs one probe a label. The hash has a fixed seed: the same names always lie in the same order. Keys
//! come from zone files and authenticated members, never from queries, so it need not resist chosen keys.

use crate::name::Name;
use crate::name_buf::{Descent, NameBuf};

/// Hash of the root name.
const HASH_ROOT: u64 = 0x9e37_79b9_7f4a_7c15;
const MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93;

/// What the label of every wildcard folds to: `\x01*`.
const WILDCARD: u64 = 0x2a01;

fn mix(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word) * u128::from(MULTIPLIER);
    (product as u64) ^ ((product >> 64) as u64) ^ hash.rotate_left(23)
}

/// The root, from which a name is walked down.
pub(crate) fn root(name: &NameBuf) -> Descent<'_> {
    name.descent(HASH_ROOT)
}

/// Walks down one label; `None` at the whole name.
pub(crate) fn step(at: &mut Descent<'_>) -> Option<()> {
    at.step(mix)
}

/// Hash of the wildcard directly below the name that a walk has come to.
pub(crate) fn hash_wildcard(parent: &Descent<'_>) -> u64 {
    mix(parent.hash(), WILDCARD)
}

/// Hash of a whole name.
pub(crate) fn hash_name(name: &Name) -> u64 {
    let name = NameBuf::of(name);
    let mut at = root(&name);
    while step(&mut at).is_some() {}
    at.hash()
}

/// A set of name depths, in labels: what a table holds at no name of a depth need not be looked for there. Those from 63 are one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Depths(u64);

impl Depths {
    pub(crate) fn insert(&mut self, depth: usize) {
        self.0 |= 1 << depth.min(63);
    }

    pub(crate) fn contains(self, depth: usize) -> bool {
        self.0 >> depth.min(63) & 1 != 0
    }
}

/// A map from names to values with open addressing; entries keep the order of insertion.
#[derive(Debug, Clone)]
pub(crate) struct NameTable<V> {
    /// Upper half of the hash, and the entry's index plus one; zero is empty. The length is a power of two.
    slots: Vec<(u32, u32)>,
    entries: Vec<(Name, V)>,
}

impl<V> NameTable<V> {
    pub(crate) fn new() -> Self {
        Self { slots: vec![(0, 0); 8], entries: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Name, V)> {
        self.entries.iter()
    }

    pub(crate) fn entry(&self, index: u32) -> Option<&(Name, V)> {
        self.entries.get(index as usize)
    }

    /// Index of the entry that has this hash and for which `is_key` holds.
    #[inline]
    fn probe(&self, hash: u64, is_key: impl Fn(&[u8]) -> bool) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let tag = (hash >> 32) as u32;
        let mut at = hash as usize & mask;
        loop {
            let &(slot_tag, index) = self.slots.get(at)?;
            let index = index.checked_sub(1)?;
            if slot_tag == tag && self.entries.get(index as usize).is_some_and(|(name, _)| is_key(name.wire())) {
                return Some(index);
            }
            at = (at + 1) & mask;
        }
    }

    /// Index of the name that a walk has come to.
    #[inline]
    pub(crate) fn find(&self, at: &Descent<'_>) -> Option<u32> {
        self.probe(at.hash(), |key| key == at.suffix())
    }

    fn find_hashed(&self, hash: u64, wire: &[u8]) -> Option<u32> {
        self.probe(hash, |key| key == wire)
    }

    /// The value at the name that a walk has come to.
    #[inline]
    pub(crate) fn get(&self, at: &Descent<'_>) -> Option<&V> {
        self.entry(self.find(at)?).map(|(_, value)| value)
    }

    /// Index of the wildcard directly below the name that a walk has come to.
    pub(crate) fn find_wildcard(&self, parent: &Descent<'_>) -> Option<u32> {
        self.probe(hash_wildcard(parent), |key| key.strip_prefix(b"\x01*") == Some(parent.suffix()))
    }

    pub(crate) fn find_name(&self, name: &Name) -> Option<u32> {
        self.find_hashed(hash_name(name), name.wire())
    }

    pub(crate) fn get_name(&self, name: &Name) -> Option<&V> {
        self.entry(self.find_name(name)?).map(|(_, value)| value)
    }

    /// The value at `name`, put there by `make` when it is new; and whether it was new.
    pub(crate) fn get_or_insert_with(&mut self, name: &Name, make: impl FnOnce() -> V) -> (u32, bool) {
        let hash = hash_name(name);
        if let Some(index) = self.find_hashed(hash, name.wire()) {
            return (index, false);
        }
        if (self.entries.len() + 1) * 2 > self.slots.len() {
            self.grow();
        }
        let index = self.entries.len() as u32;
        self.entries.push((name.clone(), make()));
        self.place(hash, index);
        (index, true)
    }

    pub(crate) fn value_mut(&mut self, index: u32) -> Option<&mut V> {
        self.entries.get_mut(index as usize).map(|(_, value)| value)
    }

    fn place(&mut self, hash: u64, index: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while let Some(slot) = self.slots.get_mut(at) {
            if slot.1 == 0 {
                *slot = ((hash >> 32) as u32, index + 1);
                return;
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self) {
        self.slots = vec![(0, 0); self.slots.len() * 2];
        let hashes: Vec<u64> = self.entries.iter().map(|(name, _)| hash_name(name)).collect();
        for (index, hash) in hashes.into_iter().enumerate() {
            self.place(hash, index as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        let mut table = NameTable::new();
        let name = |i: u32| Name::from_text(&format!("h{i}.farm.example.com")).unwrap();
        for i in 0..10_000 {
            assert!(table.get_or_insert_with(&name(i), || i).1);
        }
        assert!(!table.get_or_insert_with(&name(7), || 0).1);
        for i in 0..10_000 {
            assert_eq!(table.get_name(&name(i)), Some(&i));
        }
        assert_eq!(table.get_name(&name(10_000)), None);
        assert_eq!(table.len(), 10_000);
    }

    #[test]
    fn a_wildcard_is_found_from_its_parent() {
        let mut table = NameTable::new();
        let parent = Name::from_text("example.com").unwrap();
        table.get_or_insert_with(&parent.child(b"*").unwrap(), || 1);
        table.get_or_insert_with(&parent, || 2);
        let find = |name: &str| {
            let name = NameBuf::of(&Name::from_text(name).unwrap());
            let mut at = root(&name);
            while step(&mut at).is_some() {}
            table.find_wildcard(&at)
        };
        assert_eq!(find("example.com"), Some(0));
        assert_eq!(find("example.net"), None);
    }
}

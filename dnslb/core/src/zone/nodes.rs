//! The names of one zone and what lies at each: a hash table in shared shards, and the canonical order beside it.
//!
//! A lookup is one probe, whatever the number of names. A change copies the shards that it touches (about [`SHARD_LEN`] names
//! each) and the list of shards; the old table stays as it was and shares the rest. An entry keeps its number as long as its
//! name is there.

use std::cmp::Ordering;
use std::sync::Arc;

use super::chunks::{Chunks, Position};
use super::data::Node;
use crate::name::{Labels, Name, canonical_cmp};
use crate::name_buf::Descent;
use crate::name_table::{hash_name, hash_wildcard};

/// Names of a shard when a table is made, on average and at most.
const SHARD_LEN: usize = 256;
/// Bits of an entry's number that tell where in its shard it is.
const LOCAL_BITS: u32 = 16;
/// Most entries of a shard: what a slot can express.
const LOCAL_MAX: usize = (1 << LOCAL_BITS) - 1;
/// Most shards.
const SHARDS_MAX: usize = 1 << (32 - LOCAL_BITS);

/// A name and what lies at it; `None` where one was removed.
type Entry = Option<(Name, Node)>;

#[derive(Debug, Clone)]
struct Shard {
    /// Some bits of the hash, and the place of the entry plus one; zero is empty. The length is a power of two.
    slots: Arc<[(u16, u16)]>,
    entries: Arc<[Entry]>,
}

/// Names and nodes.
#[derive(Debug, Clone)]
pub(crate) struct Nodes {
    /// Their number is a power of two.
    shards: Box<[Shard]>,
    order: Chunks<Ordered>,
    /// The first in canonical order, which is the apex and never goes.
    first: u32,
    apex_labels: usize,
    len: usize,
}

/// A place in the canonical order.
#[derive(Debug, Clone, Copy)]
struct Ordered {
    key: Key,
    index: u32,
}

/// The start of a name's labels below the apex, last label first, so that most comparisons of names are one of numbers: each
/// label's octets and a zero, where the octets 0 and 1 are written as 1 1 and 1 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key([u32; 4]);

impl Key {
    pub(super) fn of(name: &[u8], apex_labels: usize) -> Self {
        let mut starts = [0_u8; crate::name::LABELS_MAX];
        let mut count = 0;
        let mut octets = [0_u8; 16];
        let mut at = 0_usize;
        while let Some(&len) = name.get(at).filter(|len| **len > 0)
            && let Some(start) = starts.get_mut(count)
        {
            *start = at as u8;
            count += 1;
            at += 1 + usize::from(len);
        }
        let mut free = octets.iter_mut();
        let below = starts.get(..count.saturating_sub(apex_labels)).unwrap_or_default();
        'full: for start in below.iter().rev() {
            let Some(label) = name.get(usize::from(*start)..).and_then(|rest| Labels::of(rest).next()) else { break };
            for octet in label {
                let Some(place) = free.next() else { break 'full };
                match octet {
                    0 | 1 => {
                        *place = 1;
                        let Some(place) = free.next() else { break 'full };
                        *place = octet + 1;
                    }
                    _ => *place = *octet,
                }
            }
            if free.next().is_none() {
                break;
            }
        }
        let (words, _) = octets.as_chunks::<4>();
        let mut key = [0; 4];
        key.iter_mut().zip(words).for_each(|(number, word)| *number = u32::from_be_bytes(*word));
        Self(key)
    }
}

fn tag(hash: u64) -> u16 {
    (hash >> 32) as u16
}

fn slots_of(entries: &[Entry]) -> Arc<[(u16, u16)]> {
    let mut slots = vec![(0, 0); (entries.len() * 2).next_power_of_two().max(4)];
    let mask = slots.len() - 1;
    for (local, entry) in entries.iter().enumerate() {
        let Some((name, _)) = entry else { continue };
        let hash = hash_name(name);
        let mut at = hash as usize & mask;
        while slots.get(at).is_some_and(|slot| slot.1 != 0) {
            at = (at + 1) & mask;
        }
        if let Some(slot) = slots.get_mut(at) {
            *slot = (tag(hash), local as u16 + 1);
        }
    }
    slots.into()
}

impl Shard {
    /// The entry that has this hash and for which `is_name` holds.
    #[inline]
    fn probe(&self, hash: u64, is_name: impl Fn(&[u8]) -> bool) -> Option<(u16, &(Name, Node))> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let &(slot_tag, local) = self.slots.get(at)?;
            let local = local.checked_sub(1)?;
            if slot_tag == tag(hash)
                && let Some(Some(entry)) = self.entries.get(usize::from(local))
                && is_name(entry.0.wire())
            {
                return Some((local, entry));
            }
            at = (at + 1) & mask;
        }
    }
}

impl Nodes {
    /// A table of these names, which are in canonical order, none twice. `None` when so many fall into one shard that only
    /// malice explains it.
    pub(super) fn new(sorted: Vec<(Name, Node)>, apex_labels: usize) -> Option<Self> {
        let len = sorted.len();
        let shards = len.div_ceil(SHARD_LEN).next_power_of_two().min(SHARDS_MAX);
        let mut order = Vec::with_capacity(len);
        let mut entries: Vec<Vec<Entry>> = Vec::with_capacity(shards);
        entries.resize_with(shards, Vec::new);
        for (name, node) in sorted {
            let shard = shard_of(hash_name(&name), shards);
            let key = Key::of(name.wire(), apex_labels);
            let of_shard = entries.get_mut(shard)?;
            order.push(Ordered { key, index: (shard << LOCAL_BITS | of_shard.len()) as u32 });
            of_shard.push(Some((name, node)));
            if of_shard.len() > LOCAL_MAX {
                return None;
            }
        }
        let shards =
            entries.into_iter().map(|entries| Shard { slots: slots_of(&entries), entries: entries.into() }).collect();
        let first = order.first().map_or(0, |ordered| ordered.index);
        Some(Self { shards, order: Chunks::from_sorted(&order), first, apex_labels, len })
    }

    /// Number of names.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether it has outgrown its shards so far that it should be made anew.
    pub(super) fn is_crowded(&self) -> bool {
        self.shards.len() < SHARDS_MAX && self.len > 4 * SHARD_LEN * self.shards.len()
    }

    #[inline]
    fn probe(&self, hash: u64, is_name: impl Fn(&[u8]) -> bool) -> Option<(u32, &(Name, Node))> {
        let shard = shard_of(hash, self.shards.len());
        let (local, entry) = self.shards.get(shard)?.probe(hash, is_name)?;
        Some(((shard << LOCAL_BITS) as u32 | u32::from(local), entry))
    }

    /// What lies at the name that a walk has come to.
    #[inline]
    pub(crate) fn get(&self, at: &Descent<'_>) -> Option<&Node> {
        self.probe(at.hash(), |name| name == at.suffix()).map(|(_, entry)| &entry.1)
    }

    /// What lies at the wildcard directly below the name that a walk has come to.
    pub(crate) fn wildcard(&self, parent: &Descent<'_>) -> Option<&Node> {
        let is_wildcard = |name: &[u8]| name.strip_prefix(b"\x01*") == Some(parent.suffix());
        self.probe(hash_wildcard(parent), is_wildcard).map(|(_, entry)| &entry.1)
    }

    pub(super) fn find(&self, name: &Name) -> Option<u32> {
        self.probe(hash_name(name), |found| found == name.wire()).map(|(index, _)| index)
    }

    pub(super) fn get_name(&self, name: &Name) -> Option<&Node> {
        self.entry(self.find(name)?).map(|(_, node)| node)
    }

    /// The entry of a name in any case whose hash is known.
    pub(super) fn get_hashed(&self, hash: u64, name: &[u8]) -> Option<&(Name, Node)> {
        // Length octets are below every letter, so comparing whole names without case is right.
        self.probe(hash, |found| found.eq_ignore_ascii_case(name)).map(|(_, entry)| entry)
    }

    pub(super) fn entry(&self, index: u32) -> Option<&(Name, Node)> {
        self.shards.get((index >> LOCAL_BITS) as usize)?.entries.get(index as usize & LOCAL_MAX)?.as_ref()
    }

    /// The first name in canonical order: the apex.
    #[inline]
    pub(super) fn first(&self) -> Option<&(Name, Node)> {
        self.entry(self.first)
    }

    /// Every name in canonical order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(Name, Node)> {
        self.order.iter().filter_map(|ordered| self.entry(ordered.index))
    }

    /// The names from a position on.
    pub(super) fn iter_from(&self, from: Position) -> impl Iterator<Item = &(Name, Node)> {
        self.order.iter_from(from).filter_map(|ordered| self.entry(ordered.index))
    }

    /// Where a lowercase name is in the canonical order, or would be.
    pub(super) fn position(&self, name: &[u8]) -> Position {
        let key = Key::of(name, self.apex_labels);
        self.order.position(|ordered| match ordered.key.cmp(&key) {
            Ordering::Equal => self.entry(ordered.index).is_some_and(|(found, _)| canonical_cmp(found.wire(), name).is_lt()),
            unequal => unequal.is_lt(),
        })
    }

    /// The name at a position.
    pub(super) fn at(&self, position: Position) -> Option<&(Name, Node)> {
        self.entry(self.order.get(position)?.index)
    }

    /// The position before this one.
    pub(super) fn before(&self, position: Position) -> Option<Position> {
        self.order.before(position)
    }

    /// The position behind this one.
    pub(super) fn after(&self, position: Position) -> Position {
        self.order.after(position)
    }

    /// The last name of all.
    pub(super) fn last(&self) -> Option<&(Name, Node)> {
        self.entry(self.order.last()?.index)
    }

    /// The table with other nodes at some names, none of which comes twice: new ones, changed ones, and without those for which
    /// `None` is given. `None` as [`Nodes::new`].
    pub(super) fn with(&self, changes: impl IntoIterator<Item = (Name, Option<Node>)>) -> Option<Self> {
        let mut changed = self.clone();
        let shards = self.shards.len();
        let mut changes: Vec<(usize, Name, Option<Node>)> =
            changes.into_iter().map(|(name, node)| (shard_of(hash_name(&name), shards), name, node)).collect();
        changes.sort_by_key(|(shard, ..)| *shard);
        // The order compares names, so it changes while all are in the entries: those that come and those that go.
        let (mut coming, mut going) = (Vec::new(), Vec::new());
        for of_shard in changes.chunk_by_mut(|(a, ..), (b, ..)| a == b) {
            let number = of_shard.first()?.0;
            let shard = changed.shards.get_mut(number)?;
            let mut entries = shard.entries.to_vec();
            let mut vacant = 0;
            for (_, name, node) in of_shard {
                let found = shard.probe(hash_name(name), |found| found == name.wire()).map(|(local, _)| usize::from(local));
                match (found, node.take()) {
                    (Some(local), Some(node)) => *entries.get_mut(local)? = Some((name.clone(), node)),
                    (Some(local), None) => going.push((number, local, name.clone())),
                    (None, Some(node)) => {
                        while entries.get(vacant).is_some_and(Option::is_some) {
                            vacant += 1;
                        }
                        match entries.get_mut(vacant) {
                            Some(place) => *place = Some((name.clone(), node)),
                            None => entries.push(Some((name.clone(), node))),
                        }
                        coming.push(((number << LOCAL_BITS | vacant) as u32, name.clone()));
                    }
                    (None, None) => {}
                }
            }
            if entries.len() > LOCAL_MAX {
                return None;
            }
            shard.entries = entries.into();
        }
        changed.len = self.len + coming.len() - going.len();
        for (index, name) in coming {
            let key = Key::of(name.wire(), self.apex_labels);
            changed.order.insert(changed.position(name.wire()), Ordered { key, index });
        }
        for (_, _, name) in &going {
            changed.order.remove(changed.position(name.wire()));
        }
        for (number, local, _) in going {
            let entries = &mut changed.shards.get_mut(number)?.entries;
            *Arc::get_mut(entries)?.get_mut(local)? = None;
        }
        for of_shard in changes.chunk_by(|(a, ..), (b, ..)| a == b) {
            let shard = changed.shards.get_mut(of_shard.first()?.0)?;
            shard.slots = slots_of(&shard.entries);
        }
        Some(changed)
    }
}

fn shard_of(hash: u64, shards: usize) -> usize {
    (hash >> 48) as usize & (shards - 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    fn table(len: usize) -> Nodes {
        let mut names: Vec<Name> = (0..len).map(|i| name(&format!("h{i}.example"))).collect();
        names.push(name("example"));
        names.sort();
        Nodes::new(names.into_iter().map(|name| (name, Node::default())).collect(), 1).unwrap()
    }

    #[test]
    fn a_lookup_looks_at_as_many_slots_in_a_large_table_as_in_a_small_one() {
        for len in [1_000, 100_000] {
            let table = table(len);
            let mut looked_at = 0;
            for i in 0..10_000 {
                let hash = hash_name(&name(&format!("missing{i}.example")));
                let shard = &table.shards[shard_of(hash, table.shards.len())];
                let mask = shard.slots.len() - 1;
                let mut at = hash as usize & mask;
                while shard.slots[at].1 != 0 {
                    looked_at += 1;
                    at = (at + 1) & mask;
                }
            }
            assert!(looked_at < 20_000, "{looked_at} slots for 10,000 names that are not among {len}");
        }
    }

    #[test]
    fn a_change_shares_the_shards_and_the_order_that_it_does_not_touch() {
        let old = table(100_000);
        let new = old.with([(name("new.example"), Some(Node::default())), (name("h7.example"), None)]).unwrap();
        let shared = old.shards.iter().zip(&new.shards).filter(|(a, b)| Arc::ptr_eq(&a.entries, &b.entries)).count();
        assert!(shared + 2 >= old.shards.len() && shared < old.shards.len());
        assert_eq!((old.len(), new.len()), (100_001, 100_001));
        assert!(old.find(&name("h7.example")).is_some() && new.find(&name("h7.example")).is_none());
        assert!(old.find(&name("new.example")).is_none() && new.find(&name("new.example")).is_some());
        // Its place is used again.
        let again = new.with([(name("h7.example"), Some(Node::default()))]).unwrap();
        assert_eq!(again.find(&name("h7.example")), old.find(&name("h7.example")));
        assert!(again.iter().map(|(name, _)| name).is_sorted());
    }

    #[test]
    fn keys_are_in_the_order_of_names() {
        let texts = [
            "example",
            "a.example",
            "b.a.example",
            r"\000.example",
            r"\000\000.example",
            r"\001.example",
            r"\000.a.example",
            "aaaaaaaaaaaaaaaaaaaa.example",
            "aaaaaaaaaaaaaaaaaaab.example",
        ];
        for a in texts.map(name) {
            for b in texts.map(name) {
                let keys = Key::of(a.wire(), 1).cmp(&Key::of(b.wire(), 1));
                assert!(keys == Ordering::Equal || keys == a.cmp(&b), "{a} {b}");
            }
        }
    }
}

//! The name that an answer works on: in a fixed buffer, never allocated, walked from the root down.
//!
//! It is read from the network in place. No octets may make it panic, nor reach beyond the buffer.

use crate::name::{LABEL_LEN_MAX, LABELS_MAX, NAME_LEN_MAX, Name};

/// A lowercase name in a fixed buffer, with the start of every label: what the answer path works on.
///
/// It is never allocated, and every suffix of the name is one slice.
#[derive(Debug, Clone)]
pub(crate) struct NameBuf {
    /// The name, and room to read a whole word from any octet of it.
    wire: [u8; NAME_LEN_MAX + 9],
    starts: [u8; LABELS_MAX + 1],
    len: u8,
    labels: u8,
}

impl NameBuf {
    /// The root. Names are read into it in place: it is too large to be moved about on the answer path.
    pub(crate) const fn new() -> Self {
        Self { wire: [0; _], starts: [0; _], len: 1, labels: 0 }
    }

    /// Reads an uncompressed name from the start of `octets`; `None`, and a name of no use, when it is broken or holds a
    /// pointer.
    pub(crate) fn read(&mut self, octets: &[u8]) -> Option<()> {
        // A name ends within these octets or is too long.
        let octets = octets.get(..NAME_LEN_MAX).unwrap_or(octets);
        let mut at = 0;
        let mut labels = 0;
        loop {
            let len = usize::from(*octets.get(at)?);
            if len > LABEL_LEN_MAX {
                return None;
            }
            *self.starts.get_mut(labels)? = at as u8;
            at += 1 + len;
            if len == 0 {
                break;
            }
            labels += 1;
        }
        self.wire.get_mut(..at)?.copy_from_slice(octets.get(..at)?);
        for word in self.wire.as_chunks_mut().0.get_mut(..at.div_ceil(8))? {
            *word = lowercase(u64::from_ne_bytes(*word)).to_ne_bytes();
        }
        self.len = at as u8;
        self.labels = labels as u8;
        Some(())
    }

    /// A copy of a whole name.
    pub(crate) fn of(name: &Name) -> Self {
        let mut buf = Self::new();
        match buf.read(name.wire()) {
            Some(()) => buf,
            None => Self::new(),
        }
    }

    /// The whole name, with the root label.
    pub(crate) fn wire(&self) -> &[u8] {
        self.wire.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Number of labels, without the root label.
    pub(crate) fn labels(&self) -> usize {
        usize::from(self.labels)
    }

    /// Octet at which the last `depth` labels start.
    pub(crate) fn start_of(&self, depth: usize) -> usize {
        self.labels().checked_sub(depth).and_then(|i| self.starts.get(i)).map_or(0, |&at| usize::from(at))
    }

    /// The last `depth` labels and the root label.
    pub(crate) fn suffix(&self, depth: usize) -> &[u8] {
        self.wire().get(self.start_of(depth)..).unwrap_or_default()
    }

    /// The way from the root to the whole name, label by label.
    pub(crate) fn descent(&self, hash_root: u64) -> Descent<'_> {
        Descent { name: self, above: self.labels(), hash: hash_root }
    }
}

/// A suffix of a name, which grows to the left by one label at a time, and its hash.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descent<'a> {
    name: &'a NameBuf,
    /// How many labels are not in the suffix yet.
    above: usize,
    hash: u64,
}

impl<'a> Descent<'a> {
    /// The suffix, with the root label.
    #[inline]
    pub(crate) fn suffix(&self) -> &'a [u8] {
        self.name.wire().get(self.start()..).unwrap_or_default()
    }

    #[inline]
    fn start(&self) -> usize {
        self.name.starts.get(self.above).map_or(0, |&start| usize::from(start))
    }

    /// Its hash.
    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Number of labels in the suffix.
    #[inline]
    pub(crate) fn depth(&self) -> usize {
        self.name.labels() - self.above
    }

    /// Whether the suffix is the whole name.
    #[inline]
    pub(crate) fn is_whole(&self) -> bool {
        self.above == 0
    }

    /// Takes one more label; `None` when the suffix is the whole name.
    ///
    /// The hash takes the label with its length octet in words of eight octets, zeros behind the last, by `mix`.
    #[inline]
    pub(crate) fn step(&mut self, mix: impl Fn(u64, u64) -> u64) -> Option<()> {
        self.above = self.above.checked_sub(1)?;
        let mut at = self.start();
        let mut left = 1 + self.name.wire.get(at).map_or(0, |&len| usize::from(len));
        while let Some(word) = self.name.wire.get(at..at + 8).and_then(|word| word.first_chunk()) {
            let word = u64::from_le_bytes(*word);
            if left <= 8 {
                self.hash = mix(self.hash, word & (u64::MAX >> (64 - 8 * left)));
                break;
            }
            self.hash = mix(self.hash, word);
            at += 8;
            left -= 8;
        }
        Some(())
    }
}

/// Eight octets with ASCII capitals made small.
fn lowercase(octets: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The highest bit of an octet tells in `reaches_a` whether its low seven bits are `A` or more, in `beyond_z` more than `Z`.
    let low = octets & (0x7f * ONES);
    let reaches_a = low + (0x80 - b'A' as u64) * ONES;
    let beyond_z = low + (0x7f - b'Z' as u64) * ONES;
    let capitals = (reaches_a ^ beyond_z) & !octets & (0x80 * ONES);
    octets | capitals >> 2
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_walk_meets_every_suffix() {
        let name = Name::from_text("a.bb.ccc").unwrap();
        let buf = NameBuf::of(&name);
        assert_eq!(buf.suffix(2), b"\x02bb\x03ccc\0");
        let mut descent = buf.descent(7);
        descent.step(|_, _| 0).unwrap();
        descent.step(|hash, word| hash << 32 | word).unwrap();
        assert_eq!((descent.depth(), descent.suffix(), descent.hash()), (2, &b"\x02bb\x03ccc\0"[..], 0x0062_6202));
        assert!(!descent.is_whole());
        descent.step(|_, _| 0).unwrap();
        assert!(descent.is_whole() && descent.step(|_, _| 0).is_none());
        assert_eq!(buf.suffix(0), b"\0");
        assert_eq!(buf.suffix(3), name.wire());
    }

    proptest! {
        #[test]
        fn eight_octets_are_lowered_as_each_is(octets in any::<[u8; 8]>()) {
            let mut expect = octets;
            expect.make_ascii_lowercase();
            prop_assert_eq!(lowercase(u64::from_ne_bytes(octets)).to_ne_bytes(), expect);
        }

        #[test]
        fn a_label_is_folded_whole(label in proptest::collection::vec(any::<u8>(), 1..=63), end in "[a-z]{1,60}") {
            let name = Name::from_text(&end).unwrap().child(&label).unwrap();
            let words = std::cell::RefCell::new(Vec::new());
            let buf = NameBuf::of(&name);
            let mut descent = buf.descent(0);
            descent.step(|_, _| 0).unwrap();
            descent.step(|_, word| { words.borrow_mut().push(word); 0 }).unwrap();
            let words = words.into_inner();
            let octets: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let mut expect = name.wire()[..=label.len()].to_vec();
            expect.resize(expect.len().next_multiple_of(8), 0);
            prop_assert_eq!(octets, expect);
        }

        #[test]
        fn any_octets_are_read_as_a_name_is(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut buf = NameBuf::new();
            let read = buf.read(&octets);
            match Name::from_wire(&octets) {
                Ok(name) => {
                    prop_assert!(read.is_some());
                    prop_assert_eq!(buf.wire(), name.wire());
                }
                Err(_) => prop_assert!(read.is_none()),
            }
        }

        #[test]
        fn long_names_are_read_as_a_name_is(labels in proptest::collection::vec("[A-Za-z0-9]{1,63}", 0..130)) {
            let mut octets = Vec::new();
            for label in labels {
                octets.push(label.len() as u8);
                octets.extend_from_slice(label.as_bytes());
            }
            octets.push(0);
            let mut buf = NameBuf::new();
            let name = Name::from_wire(&octets).ok();
            prop_assert_eq!(buf.read(&octets).map(|()| buf.wire()), name.as_ref().map(Name::wire));
        }
    }
}

//! A sorted list in shared chunks: a copy that differs in a few places shares the rest with what it was copied from.
//!
//! A search is a binary one, and an insertion copies one chunk and the list of chunks. It knows nothing of what it holds; that
//! the elements stay sorted is its caller's care.

use std::sync::Arc;

/// Elements of a chunk when a list is made; one of more than twice as many is split.
const CHUNK_LEN: usize = 256;

/// Where an element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    chunk: usize,
    at: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Chunks<T> {
    /// None is empty.
    chunks: Vec<Arc<[T]>>,
}

impl<T: Clone> Chunks<T> {
    pub(super) fn from_sorted(elements: &[T]) -> Self {
        Self { chunks: elements.chunks(CHUNK_LEN).map(Arc::from).collect() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The elements from a position on.
    pub(super) fn iter_from(&self, from: Position) -> impl Iterator<Item = &T> {
        let mut chunks = self.chunks.get(from.chunk..).unwrap_or_default().iter();
        let first = chunks.next().and_then(|chunk| chunk.get(from.at..)).unwrap_or_default();
        first.iter().chain(chunks.flat_map(|chunk| chunk.iter()))
    }

    /// The first element for which `is_before` does not hold; it must hold for all those before that one and for none behind.
    pub(super) fn position(&self, is_before: impl Fn(&T) -> bool) -> Position {
        let chunk = self.chunks.partition_point(|chunk| chunk.first().is_some_and(&is_before));
        let Some(chunk) = chunk.checked_sub(1) else { return Position { chunk: 0, at: 0 } };
        let at = self.chunks.get(chunk).map_or(0, |elements| elements.partition_point(&is_before));
        self.normal(Position { chunk, at })
    }

    /// The end of one chunk is the start of the next.
    fn normal(&self, position: Position) -> Position {
        match self.chunks.get(position.chunk) {
            Some(chunk) if position.at >= chunk.len() => Position { chunk: position.chunk + 1, at: 0 },
            _ => position,
        }
    }

    pub(super) fn get(&self, position: Position) -> Option<&T> {
        self.chunks.get(position.chunk)?.get(position.at)
    }

    pub(super) fn before(&self, position: Position) -> Option<Position> {
        if let Some(at) = position.at.checked_sub(1) {
            return Some(Position { at, ..position });
        }
        let chunk = position.chunk.checked_sub(1)?;
        Some(Position { chunk, at: self.chunks.get(chunk)?.len().checked_sub(1)? })
    }

    pub(super) fn after(&self, position: Position) -> Position {
        self.normal(Position { at: position.at + 1, ..position })
    }

    pub(super) fn last(&self) -> Option<&T> {
        self.chunks.last()?.last()
    }

    pub(super) fn insert(&mut self, position: Position, element: T) {
        // What comes between two chunks goes to the end of the first.
        let position = match self.chunks.get(position.chunk.wrapping_sub(1)) {
            Some(chunk) if position.at == 0 => Position { chunk: position.chunk - 1, at: chunk.len() },
            _ => position,
        };
        let Some(chunk) = self.chunks.get_mut(position.chunk) else {
            self.chunks.push(Arc::from([element]));
            return;
        };
        let mut elements = chunk.to_vec();
        elements.insert(position.at.min(elements.len()), element);
        if elements.len() > 2 * CHUNK_LEN {
            let back = elements.split_off(CHUNK_LEN);
            *chunk = elements.into();
            self.chunks.insert(position.chunk + 1, back.into());
        } else {
            *chunk = elements.into();
        }
    }

    pub(super) fn remove(&mut self, position: Position) {
        let Some(chunk) = self.chunks.get_mut(position.chunk) else { return };
        if chunk.len() == 1 {
            self.chunks.remove(position.chunk);
            return;
        }
        let mut elements = chunk.to_vec();
        if position.at < elements.len() {
            elements.remove(position.at);
            *chunk = elements.into();
        }
    }

    /// Puts another element where one is.
    pub(super) fn replace(&mut self, position: Position, element: T) {
        if let Some(chunk) = self.chunks.get_mut(position.chunk) {
            let mut elements = chunk.to_vec();
            if let Some(place) = elements.get_mut(position.at) {
                *place = element;
                *chunk = elements.into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_search_compares_no_more_than_the_logarithm() {
        for len in [1_000_u32, 1_000_000] {
            let chunks = Chunks::from_sorted(&(0..len).collect::<Vec<_>>());
            for probe in (0..len + 10).step_by(len as usize / 97) {
                let compared = std::cell::Cell::new(0);
                chunks.position(|element| {
                    compared.set(compared.get() + 1);
                    *element < probe
                });
                assert!(compared.get() <= len.ilog2() + 4, "{} comparisons among {len}", compared.get());
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_set(start in 0_u16..1_500, edits in proptest::collection::vec(0_u16..3_000, 0..1_500)) {
            let elements: Vec<u16> = (0..start).map(|i| i * 2).collect();
            let mut chunks = Chunks::from_sorted(&elements);
            let mut model: BTreeSet<u16> = elements.into_iter().collect();
            let (before, model_before) = (chunks.clone(), model.clone());
            for edit in edits {
                let position = chunks.position(|element| *element < edit);
                if model.insert(edit) {
                    prop_assert_ne!(chunks.get(position), Some(&edit));
                    chunks.insert(position, edit);
                } else {
                    prop_assert_eq!(chunks.get(position), Some(&edit));
                    model.remove(&edit);
                    chunks.remove(position);
                }
            }
            prop_assert!(chunks.iter().eq(model.iter()));
            prop_assert!(before.iter().eq(model_before.iter()), "the old one stays as it was");
            prop_assert_eq!(chunks.last(), model.last());
            for probe in (0..3_000).step_by(97) {
                let position = chunks.position(|element| *element < probe);
                prop_assert_eq!(chunks.get(position), model.range(probe..).next());
                prop_assert!(chunks.iter_from(position).eq(model.range(probe..)));
                let back = chunks.before(position).and_then(|position| chunks.get(position));
                prop_assert_eq!(back, model.range(..probe).next_back());
            }
        }
    }
}

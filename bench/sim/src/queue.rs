//! The one event queue: ordered by time, then by the order in which events were put in, so that a seed replays exactly.
//!
//! It must never look at a clock; time is what its events say.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

struct Entry<E> {
    at_ms: u64,
    number: u64,
    event: E,
}

impl<E> Ord for Entry<E> {
    /// The earliest is the greatest: the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_ms, other.number).cmp(&(self.at_ms, self.number))
    }
}
impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl<E> Eq for Entry<E> {}

/// Events to come.
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Entry<E>>,
    number: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), number: 0 }
    }
}

impl<E> Queue<E> {
    /// Puts an event in at a time, in milliseconds of the simulated world.
    pub(crate) fn put(&mut self, at_ms: u64, event: E) {
        self.number += 1;
        self.heap.push(Entry { at_ms, number: self.number, event });
    }

    /// The next event and its time.
    pub(crate) fn take(&mut self) -> Option<(u64, E)> {
        self.heap.pop().map(|entry| (entry.at_ms, entry.event))
    }
}

impl<E> Queue<E> {
    /// When the next event is.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_time_then_in_order() {
        let mut queue = Queue::default();
        for (at_ms, name) in [(5, 'c'), (1, 'a'), (5, 'd'), (3, 'b')] {
            queue.put(at_ms, name);
        }
        let all: Vec<(u64, char)> = std::iter::from_fn(|| queue.take()).collect();
        assert_eq!(all, [(1, 'a'), (3, 'b'), (5, 'c'), (5, 'd')]);
    }
}

//! The connections of one worker, and which of them has to make room when all places are taken.
//!
//! Nothing is kept in order per request: a connection notes when it was last asked for something, and whoever looks for room looks at a
//! few of them, one after another. It must never cut off a connection that was of use within the last second.

use farm_shared::time::Mono;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tokio::task::AbortHandle;

/// Connections that are looked at for one that makes room.
const LOOKED_AT: usize = 32;
/// A connection that has been idle for less makes room for nobody, in milliseconds.
const IDLE_MS_MIN: u64 = 1_000;
/// Octets that may come without a whole request among them: frames that ask for nothing, or a body that nobody reads.
const OCTETS_WITHOUT_REQUEST_MAX: usize = 128 * 1024;

/// What is known of a connection while it lives.
#[derive(Debug)]
pub(super) struct Life {
    begun: Mono,
    asked: Cell<Option<Mono>>,
    octets: Cell<usize>,
}

impl Life {
    pub(super) fn new(begun: Mono) -> Self {
        Self { begun, asked: Cell::new(None), octets: Cell::new(0) }
    }

    /// A whole request came.
    pub(super) fn ask(&self, now: Mono) {
        self.asked.set(Some(now));
        self.octets.set(0);
    }

    /// Octets came; whether they are more than a request can need.
    pub(super) fn read(&self, octets: usize) -> bool {
        self.octets.set(self.octets.get().saturating_add(octets));
        self.is_flood()
    }

    /// So many of them were of a request's body.
    pub(super) fn forgive(&self, octets: usize) {
        self.octets.set(self.octets.get().saturating_sub(octets));
    }

    /// Whether more came without a request than any can need.
    pub(super) fn is_flood(&self) -> bool {
        self.octets.get() > OCTETS_WITHOUT_REQUEST_MAX
    }

    /// When it was accepted.
    pub(super) fn begun(&self) -> Mono {
        self.begun
    }

    /// When its last request came.
    pub(super) fn asked(&self) -> Option<Mono> {
        self.asked.get()
    }

    /// The smaller, the sooner it makes room: who never asked for anything first, then by the time of the last request.
    fn rank(&self) -> (bool, Mono) {
        (self.asked.get().is_some(), self.asked.get().unwrap_or(self.begun))
    }
}

/// The connections of one worker.
#[derive(Debug, Default)]
pub(super) struct Table {
    places: RefCell<Vec<Option<Entry>>>,
    free: RefCell<Vec<u32>>,
    hand: Cell<usize>,
}

#[derive(Debug)]
struct Entry {
    life: Rc<Life>,
    task: Option<AbortHandle>,
}

impl Table {
    /// A place for a connection.
    pub(super) fn enter(&self, life: Rc<Life>) -> u32 {
        let entry = Some(Entry { life, task: None });
        let mut places = self.places.borrow_mut();
        if let Some(at) = self.free.borrow_mut().pop()
            && let Some(place) = places.get_mut(at as usize)
        {
            *place = entry;
            return at;
        }
        places.push(entry);
        (places.len() - 1) as u32
    }

    /// The task that serves it, to be ended if it has to make room.
    pub(super) fn is_served_by(&self, at: u32, task: AbortHandle) {
        if let Some(Some(entry)) = self.places.borrow_mut().get_mut(at as usize) {
            entry.task = Some(task);
        }
    }

    /// Gives a place back.
    pub(super) fn leave(&self, at: u32) {
        if let Some(place) = self.places.borrow_mut().get_mut(at as usize)
            && place.take().is_some()
        {
            self.free.borrow_mut().push(at);
        }
    }

    /// Ends the connection that can best be spared, of those that the hand passes. Whether there was one.
    pub(super) fn make_room(&self, now: Mono) -> bool {
        let places = self.places.borrow();
        let (mut best, mut looked) = (None, 0);
        for step in 0..places.len() {
            let at = (self.hand.get() + step) % places.len();
            let Some(Some(Entry { life, task: Some(task) })) = places.get(at) else { continue };
            looked += 1;
            let (_, last) = life.rank();
            if now.since_ms(last) >= IDLE_MS_MIN && !task.is_finished() {
                let rank = (life.rank(), at);
                best = Some(best.map_or(rank, |best: ((bool, Mono), usize)| best.min(rank)));
            }
            if looked == LOOKED_AT {
                self.hand.set(at + 1);
                break;
            }
        }
        let Some((_, at)) = best else { return false };
        if let Some(Some(Entry { task: Some(task), .. })) = places.get(at) {
            task.abort();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::task::{JoinHandle, LocalSet, spawn_local};

    fn connection(table: &Rc<Table>, begun: u64, asked: Option<u64>) -> JoinHandle<()> {
        let life = Rc::new(Life::new(Mono(begun)));
        if let Some(asked) = asked {
            life.ask(Mono(asked));
        }
        let at = table.enter(life);
        let (task, table_2) = (spawn_local(pending::<()>()), Rc::clone(table));
        table_2.is_served_by(at, task.abort_handle());
        spawn_local(async move {
            let _ = task.await;
            table_2.leave(at);
        })
    }

    #[tokio::test]
    async fn the_one_that_was_of_least_use_makes_room() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let table = Rc::new(Table::default());
                let now = Mono(10_000);
                let fresh = connection(&table, 9_500, None);
                let served = connection(&table, 1, Some(9_900));
                let idle = connection(&table, 2, Some(3_000));
                let silent = connection(&table, 4_000, None);
                let ended = |task: &JoinHandle<()>| task.is_finished();
                assert!(table.make_room(now));
                silent.await.expect("ended");
                assert!(!ended(&idle));
                assert!(table.make_room(now));
                idle.await.expect("ended");
                assert!(!table.make_room(now), "the others are of use, or just came");
                assert!(!ended(&fresh) && !ended(&served));
                let again = connection(&table, 5, None);
                assert_eq!(table.places.borrow().len(), 4, "places are used again");
                assert!(table.make_room(now));
                again.await.expect("ended");
            })
            .await;
    }

    #[tokio::test]
    async fn all_are_looked_at_in_turn() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let table = Rc::new(Table::default());
                let all: Vec<_> = (0..1_000).map(|n| connection(&table, n % 7, None)).collect();
                for _ in 0..all.len() {
                    assert!(table.make_room(Mono(5_000)));
                    tokio::task::yield_now().await;
                    tokio::task::yield_now().await;
                }
                for task in all {
                    task.await.expect("ended");
                }
                assert!(!table.make_room(Mono(5_000)));
            })
            .await;
    }

    #[test]
    fn octets_without_a_request_are_a_flood() {
        let life = Life::new(Mono(0));
        assert!(!life.read(OCTETS_WITHOUT_REQUEST_MAX));
        life.ask(Mono(1));
        assert!(!life.read(OCTETS_WITHOUT_REQUEST_MAX));
        assert!(life.read(1) && life.is_flood());
    }
}

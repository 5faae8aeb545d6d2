//! One worker's hand in the table: the draws it makes and the weights as it saw them last.
//!
//! Own dispatches only lower a weight or a score while a snapshot lasts. So what is kept here is an upper bound, brought up to date
//! for whatever comes up: a draw is accepted with the probability of weight over bound and is exact, and the best by its bound that
//! is still as good is the best of all.

use super::FarmDispatched;
use super::peaks::Peaks;
use super::policy::Search;
use super::sums::Sums;
use super::table::Table;
use farm_shared::draw::Draws;

/// Rejected draws before all weights are looked at: other workers sent so many that the bounds here mean little.
const TRIES_MAX: usize = 16;

/// Draws servers for one worker. It allocates only when a farm is larger than any before.
#[derive(Clone, Debug)]
pub struct Picker {
    draws: Draws,
    bounds: Sums,
    peaks: Peaks,
    generation: Option<u64>,
}

impl Picker {
    /// A picker with draws of its own.
    pub fn new(draws: Draws) -> Self {
        Self { draws, bounds: Sums::default(), peaks: Peaks::default(), generation: None }
    }

    /// The index of a server for one new session, or `None` if none takes any, or all are full by their own word.
    ///
    /// `generation` tells one table from another. O(n) when it is a new one, O(log n) otherwise: for the best of all, and for full
    /// servers, in the mean over the dispatches of all workers.
    pub fn pick(&mut self, table: &Table, generation: u64, dispatched: &(impl FarmDispatched + ?Sized)) -> Option<usize> {
        let search = table.search();
        if self.generation != Some(generation) {
            match search {
                Search::Draw => self.bounds.fill(table.weights(dispatched)),
                Search::Pair => self.bounds.fill(table.chances()),
                Search::Best => self.peaks.fill(table.weights(dispatched)),
            }
            self.generation = Some(generation);
        }
        let at = match search {
            Search::Draw => self.draw(table, dispatched),
            Search::Pair => self.better_of_two(table, dispatched),
            Search::Best => self.best(table, dispatched),
        };
        table.server(at?)
    }

    fn draw(&mut self, table: &Table, dispatched: &(impl FarmDispatched + ?Sized)) -> Option<usize> {
        for _ in 0..TRIES_MAX {
            let at = self.bounds.find(self.draws.unit())?;
            let (bound, weight) = (self.bounds.weight(at), table.weight(at, dispatched));
            if weight >= bound {
                return Some(at);
            }
            self.bounds.set(at, weight);
            if self.draws.unit() * bound < weight {
                return Some(at);
            }
        }
        self.bounds.fill(table.weights(dispatched));
        self.bounds.find(self.draws.unit())
    }

    fn better_of_two(&mut self, table: &Table, dispatched: &(impl FarmDispatched + ?Sized)) -> Option<usize> {
        let (first, score) = self.one_with_room(table, dispatched)?;
        // Two different ones: the first is out of the draw for a moment.
        let chance = self.bounds.weight(first);
        self.bounds.set(first, 0.0);
        let second = self.one_with_room(table, dispatched);
        self.bounds.set(first, chance);
        Some(second.filter(|(_, other)| *other > score).map_or(first, |(at, _)| at))
    }

    /// One by its chance, and its score. Whoever is full now stays so while the snapshot lasts, and is not drawn again.
    fn one_with_room(&mut self, table: &Table, dispatched: &(impl FarmDispatched + ?Sized)) -> Option<(usize, f64)> {
        loop {
            let at = self.bounds.find(self.draws.unit())?;
            let score = table.weight(at, dispatched);
            if score > 0.0 {
                return Some((at, score));
            }
            self.bounds.set(at, 0.0);
        }
    }

    fn best(&mut self, table: &Table, dispatched: &(impl FarmDispatched + ?Sized)) -> Option<usize> {
        // Each turn but the last takes note of a dispatch that this worker did not know of.
        loop {
            let at = self.peaks.best(self.draws.unit())?;
            let score = table.weight(at, dispatched);
            if score >= self.peaks.score(at) {
                return Some(at);
            }
            self.peaks.set(at, score);
        }
    }
}

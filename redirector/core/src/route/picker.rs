//! One worker's hand in the table: the draws it makes and the weights as it saw them last.
//!
//! Own dispatches only lower a weight while a snapshot lasts. So what is kept here is an upper bound, a draw is accepted with the
//! probability of weight over bound, and is exact; the bound of what was drawn is brought up to date each time, so that hardly any
//! draw is rejected, however far the dispatches have outrun the heartbeats.

use super::FarmDispatched;
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
    generation: Option<u64>,
}

impl Picker {
    /// A picker with draws of its own.
    pub fn new(draws: Draws) -> Self {
        Self { draws, bounds: Sums::default(), generation: None }
    }

    /// The index of a server for one new session, or `None` if none takes any, or all are full by their own word.
    ///
    /// `generation` tells one table from another. O(n) when it is a new one, O(log n) otherwise.
    pub fn pick(&mut self, table: &Table, generation: u64, dispatched: &(impl FarmDispatched + ?Sized)) -> Option<usize> {
        if self.generation != Some(generation) {
            self.bounds.fill(table.weights(dispatched));
            self.generation = Some(generation);
        }
        for _ in 0..TRIES_MAX {
            let at = self.bounds.find(self.draws.unit())?;
            let (bound, weight) = (self.bounds.weight(at), table.weight(at, dispatched));
            if weight >= bound {
                return table.server(at);
            }
            self.bounds.set(at, weight);
            if self.draws.unit() * bound < weight {
                return table.server(at);
            }
        }
        self.bounds.fill(table.weights(dispatched));
        table.server(self.bounds.find(self.draws.unit())?)
    }
}

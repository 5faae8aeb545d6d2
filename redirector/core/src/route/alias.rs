//! Draws from a fixed distribution in O(1): Walker's alias method, built by Vose's algorithm in O(n)
//! (M. D. Vose, "A linear algorithm for generating random numbers with a given distribution", IEEE TSE 17(9), 1991).

use farm_shared::draw::{Draws, index_of, unit_of};

/// A distribution over `0..n`.
#[derive(Clone, Debug, Default)]
pub(super) struct Alias {
    /// Keep the column with this probability, take its alias otherwise.
    columns: Vec<(f64, u32)>,
}

impl Alias {
    /// From weights that are finite, not negative, and not all zero; otherwise there is nothing to draw.
    pub(super) fn new(weights: impl Iterator<Item = f64> + Clone) -> Self {
        let total: f64 = weights.clone().sum();
        let n = weights.clone().count();
        if !(total.is_finite() && total > 0.0) {
            return Self::default();
        }
        let mut columns: Vec<(f64, u32)> = weights.enumerate().map(|(i, w)| (w * n as f64 / total, i as u32)).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) = (0..n as u32).partition(|i| height(&columns, *i) < 1.0);
        while let (Some(low), Some(high)) = (small.pop(), large.pop()) {
            let rest = height(&columns, high) + height(&columns, low) - 1.0;
            if let Some(column) = columns.get_mut(low as usize) {
                column.1 = high;
            }
            if let Some(column) = columns.get_mut(high as usize) {
                column.0 = rest;
            }
            if rest < 1.0 { small.push(high) } else { large.push(high) }
        }
        // What is left on either stack is full but for rounding.
        for full in small.into_iter().chain(large) {
            if let Some(column) = columns.get_mut(full as usize) {
                column.0 = 1.0;
            }
        }
        Self { columns }
    }

    /// One draw; `None` if there is nothing to draw.
    pub(super) fn draw(&self, draws: &mut Draws) -> Option<usize> {
        let at = index_of(draws.u64(), self.columns.len());
        let (keep, alias) = *self.columns.get(at)?;
        Some(if unit_of(draws.u64()) < keep { at } else { alias as usize })
    }
}

fn height(columns: &[(f64, u32)], at: u32) -> f64 {
    columns.get(at as usize).map_or(0.0, |c| c.0)
}

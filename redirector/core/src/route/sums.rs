//! Draws from a distribution that changes with every draw: a binary tree of sums over the weights, O(log n) to draw from and to
//! change.
//!
//! Sums are always made anew from both children, never by differences, so that rounding cannot pile up.

/// Weights and the sums over them. Place 1 is the root, the children of `i` are `2i` and `2i + 1`, the leaves come last.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    nodes: Vec<f64>,
    leaves: usize,
}

impl Sums {
    /// Takes these weights, each finite and not negative, in O(n). Allocates only when there were never so many.
    pub(super) fn fill(&mut self, weights: impl ExactSizeIterator<Item = f64>) {
        self.leaves = weights.len().next_power_of_two();
        self.nodes.clear();
        self.nodes.resize(self.leaves, 0.0);
        self.nodes.extend(weights);
        self.nodes.resize(2 * self.leaves, 0.0);
        for at in (1..self.leaves).rev() {
            self.add_up(at);
        }
    }

    /// The weight at `at`.
    pub(super) fn weight(&self, at: usize) -> f64 {
        self.node(self.leaves + at)
    }

    /// Changes one weight.
    pub(super) fn set(&mut self, at: usize, weight: f64) {
        let mut at = self.leaves + at;
        if let Some(leaf) = self.nodes.get_mut(at) {
            *leaf = weight;
        }
        while at > 1 {
            at /= 2;
            self.add_up(at);
        }
    }

    /// The index that a number in `[0, 1)` falls on, never one of weight 0; `None` if there is none.
    pub(super) fn find(&self, unit: f64) -> Option<usize> {
        let total = self.node(1);
        if !(total > 0.0 && total.is_finite()) {
            return None;
        }
        let (mut at, mut rest) = (1, unit * total);
        while at < self.leaves {
            let (left, right) = (self.node(2 * at), self.node(2 * at + 1));
            at *= 2;
            // Rounding may leave a rest beyond the end: a branch without weight is not taken.
            if rest >= left && right > 0.0 {
                rest -= left;
                at += 1;
            }
        }
        Some(at - self.leaves)
    }

    fn add_up(&mut self, at: usize) {
        let sum = self.node(2 * at) + self.node(2 * at + 1);
        if let Some(node) = self.nodes.get_mut(at) {
            *node = sum;
        }
    }

    fn node(&self, at: usize) -> f64 {
        self.nodes.get(at).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_to_draw() {
        let mut sums = Sums::default();
        assert_eq!(sums.find(0.5), None);
        for weights in [&[][..], &[0.0], &[0.0, 0.0, 0.0], &[f64::INFINITY, 1.0]] {
            sums.fill(weights.iter().copied());
            assert_eq!(sums.find(0.5), None, "{weights:?}");
        }
    }

    proptest! {
        #[test]
        fn each_index_has_its_share(
            mut weights in proptest::collection::vec(prop_oneof![Just(0.0), 0.0..10.0_f64], 1..40),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), 0.0..10.0_f64), 0..20),
            unit in 0.0..1.0_f64,
        ) {
            let mut sums = Sums::default();
            sums.fill(weights.iter().copied());
            for (at, weight) in changes {
                let at = at.index(weights.len());
                weights[at] = weight;
                sums.set(at, weight);
            }
            let total: f64 = weights.iter().sum();
            match sums.find(unit) {
                None => prop_assert_eq!(total, 0.0),
                Some(at) => {
                    prop_assert!(weights[at] > 0.0 && sums.weight(at) == weights[at]);
                    let before: f64 = weights[..at].iter().sum();
                    let (low, high) = (before / total, (before + weights[at]) / total);
                    prop_assert!((low - 1e-9..=high + 1e-9).contains(&unit), "{} not in {}..{}", unit, low, high);
                }
            }
        }
    }
}

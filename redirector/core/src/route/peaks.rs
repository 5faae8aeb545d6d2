//! The best of many whose scores only fall: a binary tree of maxima, O(log n) to ask and to change.
//!
//! Several may be the best alike (all idle servers of one kind), and one of them must be drawn, never the first: the doors of a farm
//! would all send to the same one. So a node also counts how many of its leaves are as good as its best.

/// Scores and the maxima over them. Place 1 is the root, the children of `i` are `2i` and `2i + 1`, the leaves come last.
#[derive(Clone, Debug, Default)]
pub(super) struct Peaks {
    nodes: Vec<Node>,
    leaves: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    best: f64,
    ties: u32,
}

impl Node {
    fn leaf(score: f64) -> Self {
        Self { best: score, ties: u32::from(score > 0.0) }
    }

    fn of(left: Self, right: Self) -> Self {
        if left.best > right.best {
            left
        } else if right.best > left.best {
            right
        } else {
            Self { best: left.best, ties: left.ties + right.ties }
        }
    }
}

impl Peaks {
    /// Takes these scores, each finite and not negative, in O(n). Allocates only when there were never so many.
    pub(super) fn fill(&mut self, scores: impl ExactSizeIterator<Item = f64>) {
        self.leaves = scores.len().next_power_of_two();
        self.nodes.clear();
        self.nodes.resize(self.leaves, Node::default());
        self.nodes.extend(scores.map(Node::leaf));
        self.nodes.resize(2 * self.leaves, Node::default());
        for at in (1..self.leaves).rev() {
            self.compare(at);
        }
    }

    /// The score at `at`.
    pub(super) fn score(&self, at: usize) -> f64 {
        self.node(self.leaves + at).best
    }

    /// Changes one score.
    pub(super) fn set(&mut self, at: usize, score: f64) {
        let mut at = self.leaves + at;
        if let Some(leaf) = self.nodes.get_mut(at) {
            *leaf = Node::leaf(score);
        }
        while at > 1 {
            at /= 2;
            self.compare(at);
        }
    }

    /// The index of the best, never one of score 0; of several that are, the one that a number in `[0, 1)` falls on.
    pub(super) fn best(&self, unit: f64) -> Option<usize> {
        let root = self.node(1);
        if root.ties == 0 {
            return None;
        }
        let mut rank = ((unit * f64::from(root.ties)) as u32).min(root.ties - 1);
        let mut at = 1;
        while at < self.leaves {
            at *= 2;
            let left = self.node(at);
            let here = if left.best < root.best { 0 } else { left.ties };
            if rank >= here {
                rank -= here;
                at += 1;
            }
        }
        Some(at - self.leaves)
    }

    fn compare(&mut self, at: usize) {
        let node = Node::of(self.node(2 * at), self.node(2 * at + 1));
        if let Some(place) = self.nodes.get_mut(at) {
            *place = node;
        }
    }

    fn node(&self, at: usize) -> Node {
        self.nodes.get(at).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_to_take() {
        let mut peaks = Peaks::default();
        assert_eq!(peaks.best(0.5), None);
        for scores in [&[][..], &[0.0], &[0.0, 0.0, 0.0]] {
            peaks.fill(scores.iter().copied());
            assert_eq!(peaks.best(0.5), None, "{scores:?}");
        }
    }

    proptest! {
        #[test]
        fn it_is_the_best_and_each_of_several_has_its_share(
            scores in proptest::collection::vec(0_u8..4, 1..40),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), 0_u8..4), 0..20),
        ) {
            let mut scores: Vec<f64> = scores.into_iter().map(f64::from).collect();
            let mut peaks = Peaks::default();
            peaks.fill(scores.iter().copied());
            for (at, score) in changes {
                let at = at.index(scores.len());
                scores[at] = f64::from(score);
                peaks.set(at, scores[at]);
            }
            let best = scores.iter().copied().fold(0.0, f64::max);
            let wanted: Vec<usize> = (0..scores.len()).filter(|at| best > 0.0 && scores[*at] == best).collect();
            let units = (0..wanted.len().max(1)).map(|i| (i as f64 + 0.5) / wanted.len().max(1) as f64);
            let found: Vec<usize> = units.filter_map(|unit| peaks.best(unit)).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}

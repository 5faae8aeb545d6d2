//! Who is named first: tiers, and within a tier the nearest sites.
//!
//! A level is all members of one tier that are equally near. The first one gets all clients while enough of it is up; what it
//! cannot take goes to the next. Nobody gets a share who may not be named.

/// Where a member stands in the order for one class of clients: tier, then rank of its site.
pub type Order = (u16, u16);

/// A member, to this module.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Its place.
    pub order: Order,
    /// The level's size counts it.
    pub counts: bool,
    /// It may be named.
    pub eligible: bool,
    /// Its weight among those of its level, above 0.
    pub weight: f64,
}

/// What became of a level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Its place.
    pub order: Order,
    /// Members that count.
    pub counted: usize,
    /// Members that may be named.
    pub eligible: usize,
    /// The share of clients that it gets; 0 for one that is not in use.
    pub share: f64,
}

/// The levels in order, and what part of all clients each candidate is to get in proportion (0 for those that are not named).
///
/// A level with the share `u` of its members eligible takes `u / spill_below` of the clients that come to it, all of them at
/// most; with `spill_below` 0 it takes all while anybody is eligible.
pub fn levels(candidates: &[Candidate], spill_below: f64) -> (Vec<Level>, Vec<f64>) {
    let mut orders: Vec<Order> = candidates.iter().filter(|c| c.counts || c.eligible).map(|c| c.order).collect();
    orders.sort_unstable();
    orders.dedup();
    let mut left = 1.0;
    let mut levels = Vec::with_capacity(orders.len());
    for order in orders {
        let members = || candidates.iter().filter(move |c| c.order == order);
        let (counted, eligible) = (members().filter(|c| c.counts).count(), members().filter(|c| c.eligible).count());
        let healthy = if eligible == 0 {
            0.0
        } else if spill_below <= 0.0 {
            1.0
        } else {
            (eligible as f64 / counted.max(eligible) as f64 / spill_below).min(1.0)
        };
        let share = left * healthy;
        left = if healthy >= 1.0 { 0.0 } else { left - share };
        levels.push(Level { order, counted, eligible, share });
    }
    let used: Vec<&Level> = levels.iter().filter(|level| level.share > 0.0).collect();
    let sum = |level: &Level| -> f64 {
        candidates.iter().filter(|c| c.eligible && c.order == level.order).map(|c| c.weight).sum()
    };
    // A level that stands alone keeps the weights as they are.
    let scales: Vec<(Order, f64)> = match used.as_slice() {
        [only] => vec![(only.order, 1.0)],
        many => many.iter().map(|level| (level.order, level.share / sum(level))).collect(),
    };
    let scale = |order: Order| scales.iter().find(|scale| scale.0 == order).map_or(0.0, |scale| scale.1);
    let weights = candidates.iter().map(|c| if c.eligible { c.weight * scale(c.order) } else { 0.0 }).collect();
    (levels, weights)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn check(groups: &[(Order, usize, usize)], spill_below: f64, expect: &[f64]) {
        let candidates: Vec<Candidate> = groups
            .iter()
            .flat_map(|&(order, counted, up)| {
                (0..counted).map(move |i| Candidate { order, counts: true, eligible: i < up, weight: 2.0 })
            })
            .collect();
        let (levels, weights) = levels(&candidates, spill_below);
        let shares: Vec<f64> = levels.iter().map(|level| level.share).collect();
        assert!(shares.iter().zip(expect).all(|(a, b)| (a - b).abs() < 1e-9), "{shares:?} is not {expect:?}: {groups:?}");
        let total: f64 = weights.iter().sum();
        for level in &levels {
            let part: f64 = candidates.iter().zip(&weights).filter(|(c, _)| c.order == level.order).map(|(_, w)| w).sum();
            let shared: f64 = shares.iter().sum();
            assert!(total == 0.0 || (part / total - level.share / shared).abs() < 1e-9, "{groups:?}");
        }
    }

    #[test]
    fn what_a_level_cannot_take_goes_to_the_next() {
        check(&[((0, 0), 4, 4)], 0.5, &[1.0]);
        check(&[((0, 0), 4, 1)], 0.5, &[0.5]);
        check(&[((0, 0), 4, 2), ((1, 0), 2, 2)], 0.5, &[1.0, 0.0]);
        check(&[((0, 0), 4, 1), ((1, 0), 2, 2)], 0.5, &[0.5, 0.5]);
        check(&[((0, 0), 10, 4), ((0, 1), 10, 2), ((1, 0), 3, 3)], 0.8, &[0.5, 0.125, 0.375]);
        check(&[((0, 0), 4, 0), ((0, 2), 4, 0), ((1, 0), 2, 1)], 0.5, &[0.0, 0.0, 1.0]);
        check(&[((0, 0), 4, 1), ((1, 0), 2, 2)], 0.0, &[1.0, 0.0]);
        check(&[((0, 0), 4, 0), ((1, 0), 2, 0)], 0.5, &[0.0, 0.0]);
        check(&[], 0.5, &[]);
    }

    proptest! {
        #[test]
        fn only_the_eligible_get_clients_and_somebody_does(
            members in proptest::collection::vec((0_u16..3, 0_u16..3, any::<bool>(), any::<bool>(), 0.1..4.0), 0..30), spill_below in 0.0..=1.0,
        ) {
            let candidates: Vec<Candidate> = members.into_iter()
                .map(|(tier, rank, counts, up, weight)| Candidate { order: (tier, rank), counts, eligible: counts && up, weight })
                .collect();
            let (levels, weights) = levels(&candidates, spill_below);
            for (candidate, weight) in candidates.iter().zip(&weights) {
                prop_assert!(candidate.eligible || *weight == 0.0);
                prop_assert!(weight.is_finite() && *weight >= 0.0);
            }
            prop_assert_eq!(weights.iter().any(|w| *w > 0.0), candidates.iter().any(|c| c.eligible));
            prop_assert!(levels.is_sorted_by_key(|level| level.order));
            // A level gets nothing before those in front of it have what they can take.
            for pair in levels.windows(2) {
                let full = pair[0].eligible as f64 >= spill_below * pair[0].counted as f64 && pair[0].eligible > 0;
                prop_assert!(!full || pair[1].share == 0.0);
            }
        }
    }
}

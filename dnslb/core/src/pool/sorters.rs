//! What share of clients takes the lowest address of an answer, estimated from who was named and who got sessions.
//!
//! With `x` a member's share of all namings, `y` its share of the lowest places and `a` its share of the sessions that began,
//! clients of which the share `s` sorts give `a = (1 - s) x + s y`. Least squares over the members give `s`. Nothing is concluded
//! from too little: sessions come by chance.

/// Most that one estimate may change what is assumed: a burst of one client must not turn a schedule over.
pub const STEP_MAX: f64 = 0.02;
/// Standard error of an estimate that is good enough to follow.
const ERROR_MAX: f64 = 0.02;
/// No farm has more: doors, pinned clients and monitors take part as well.
const SHARE_MAX: f64 = 0.9;

/// What was counted of one member over the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Answers that named it.
    pub named: u64,
    /// Those in which its address was the lowest.
    pub lowest: u64,
    /// Sessions that began on it.
    pub sessions: u64,
}

/// The estimate, in 0 to 1; `None` while the counts say too little: too few sessions, or members that are alike in what they count.
pub fn sort_share(counted: &[Counted]) -> Option<f64> {
    let sum = |count: fn(&Counted) -> u64| counted.iter().map(count).sum::<u64>() as f64;
    let (named, lowest, sessions) = (sum(|c| c.named), sum(|c| c.lowest), sum(|c| c.sessions));
    if named <= 0.0 || lowest <= 0.0 || sessions <= 0.0 {
        return None;
    }
    let (mut with, mut own, mut noise) = (0.0, 0.0, 0.0);
    for member in counted {
        let (x, y, a) = (member.named as f64 / named, member.lowest as f64 / lowest, member.sessions as f64 / sessions);
        with += (a - x) * (y - x);
        own += (y - x).powi(2);
        // The variance of a share of so many sessions.
        noise += (y - x).powi(2) * x.max(a) / sessions;
    }
    if own <= 0.0 || noise.sqrt() / own > ERROR_MAX {
        return None;
    }
    Some((with / own).clamp(0.0, SHARE_MAX))
}

/// What to assume next: a bounded step towards the estimate, in whole hundredths so that noise makes no new schedules.
pub fn follow(assumed: f64, estimate: f64) -> f64 {
    let next = assumed + (estimate - assumed).clamp(-STEP_MAX, STEP_MAX);
    let next = (next * 100.0).round() / 100.0;
    if (estimate - assumed).abs() < 0.01 { assumed } else { next.clamp(0.0, SHARE_MAX) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::pool::{ScheduleMember, build};
    use farm_shared::draw::Draws;
    use std::net::Ipv4Addr;

    /// Clients of which the share `truth` sorts, before a schedule that is made for `assumed`.
    fn world(truth: f64, assumed: f64, clients: usize, seed: u64) -> Vec<Counted> {
        let mut draws = Draws::from_u64(seed);
        let members: Vec<ScheduleMember> = (0..12)
            .map(|slot| ScheduleMember { slot, addr: Ipv4Addr::from_bits(slot).into(), weight: 1.0, zone: None })
            .collect();
        let schedule = build(&members, 3, assumed, 512, &mut draws);
        let subsets: Vec<&[u32]> = schedule.subsets().collect();
        let mut counted = vec![Counted::default(); 12];
        for _ in 0..clients {
            let subset = subsets[draws.below(subsets.len())];
            let lowest = *subset.iter().min().unwrap() as usize;
            for slot in subset {
                counted[*slot as usize].named += 1;
            }
            counted[lowest].lowest += 1;
            let sorts = draws.below(1_000) < (truth * 1_000.0) as usize;
            let taken = if sorts { lowest } else { subset[draws.below(3)] as usize };
            counted[taken].sessions += 1;
        }
        counted
    }

    #[test]
    fn the_loop_finds_the_share_and_stays_there() {
        for (truth, start) in [(0.25, 0.08), (0.0, 0.08), (0.08, 0.3)] {
            let mut assumed = start;
            for round in 0..40 {
                if let Some(estimate) = sort_share(&world(truth, assumed, 40_000, round)) {
                    let next = follow(assumed, estimate);
                    assert!((next - assumed).abs() <= STEP_MAX + 0.005);
                    assumed = next;
                }
            }
            assert!((assumed - truth).abs() <= 0.03, "{assumed} is not {truth}");
        }
    }

    #[test]
    fn too_little_says_nothing() {
        assert_eq!(sort_share(&[]), None);
        assert_eq!(sort_share(&world(0.5, 0.08, 100, 1)), None);
        let alike = Counted { named: 1_000_000, lowest: 500_000, sessions: 300_000 };
        assert_eq!(sort_share(&[alike; 4]), None);
        assert_eq!(sort_share(&[Counted { sessions: 5, ..Counted::default() }]), None);
    }
}

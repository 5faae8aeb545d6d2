//! Between a digest and what doors tell each other, and how many stand before an arrival at all of them.
//!
//! It must never ask for more precision than travels: a word is a handful of points.

use super::ledger::{Digest, LaneDigest};
use farm_shared::heartbeat::{LaneWord, ROOM_STEPS_MAX, RoomWord};

/// What others are told; `None` if nobody waits.
pub(super) fn word(digest: &Digest, lanes: usize) -> Option<RoomWord> {
    let lanes: Vec<LaneWord> = digest.lanes.iter().take(lanes).map(lane_word).collect();
    Some(RoomWord { lanes }).filter(|word| !word.is_empty())
}

/// Points at ranks that grow by a constant factor: the head of the queue is what matters.
fn lane_word(lane: &LaneDigest) -> LaneWord {
    let Some((first_ms, _)) = lane.steps.first() else { return LaneWord::default() };
    let growth = f64::from(lane.waiting()).powf(1.0 / (ROOM_STEPS_MAX - 1) as f64);
    let mut steps: Vec<(u64, u32)> = Vec::with_capacity(ROOM_STEPS_MAX);
    for point in 0..ROOM_STEPS_MAX {
        // The last one is everybody, however the powers were rounded.
        let rank = if point + 1 == ROOM_STEPS_MAX { lane.waiting() } else { growth.powi(point as i32).floor() as u32 };
        let at = lane.steps.partition_point(|(_, n)| *n < rank);
        if let Some((arrival_ms, n)) = lane.steps.get(at)
            && steps.last().is_none_or(|(_, last)| last < n)
        {
            steps.push((arrival_ms.saturating_sub(*first_ms), *n));
        }
    }
    LaneWord { first_ms: *first_ms, steps }
}

/// Waiters of this door that had arrived up to then.
pub(super) fn up_to(lane: &LaneDigest, arrival_ms: u64) -> u32 {
    let at = lane.steps.partition_point(|(arrival, _)| *arrival <= arrival_ms);
    at.checked_sub(1).and_then(|at| lane.steps.get(at)).map_or(0, |(_, n)| *n)
}

/// The last arrival of those that so many places are enough for, at all doors; at least the first one, if there is a place at all. `None` if nobody
/// waits.
pub(super) fn frontier(own: &LaneDigest, others: &[&LaneWord], places: u32) -> Option<u64> {
    let theirs =
        others.iter().flat_map(|lane| lane.steps.iter().map(|(after_ms, _)| lane.first_ms.saturating_add(*after_ms)));
    let mut points: Vec<u64> = own.steps.iter().map(|(arrival, _)| *arrival).chain(theirs).collect();
    points.sort_unstable();
    if places == 0 {
        return points.first().map(|first| first.saturating_sub(1));
    }
    let total = |at: u64| others.iter().fold(up_to(own, at), |sum, lane| sum.saturating_add(lane.up_to(at)));
    let fits = points.partition_point(|at| total(*at) <= places);
    points.get(fits.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(arrivals: &[u64]) -> LaneDigest {
        LaneDigest { steps: arrivals.iter().zip(1..).map(|(a, n)| (*a, n)).collect(), entered: 0 }
    }

    #[test]
    fn words_are_short_and_keep_the_ends() {
        for count in [1_u64, 2, 9, 10, 11, 100, 5_000] {
            let arrivals: Vec<u64> = (0..count).map(|i| 1_000 + i * 10).collect();
            let word = lane_word(&lane(&arrivals));
            assert!(word.steps.len() <= ROOM_STEPS_MAX && word.steps.len() >= 10.min(count as usize).min(4), "{word:?}");
            assert_eq!((word.first_ms, word.steps[0]), (1_000, (0, 1)), "{count}");
            assert_eq!(word.steps.last().copied(), Some(((count - 1) * 10, count as u32)), "{count}");
        }
    }

    #[test]
    fn frontiers() {
        let check = |own: &[u64], other: &[u64], places, expect| {
            let other = lane_word(&lane(other));
            assert_eq!(frontier(&lane(own), &[&other], places), expect, "{own:?} {other:?} {places}");
        };
        check(&[], &[], 5, None);
        check(&[10, 20, 30], &[], 0, Some(9));
        check(&[10, 20, 30], &[], 1, Some(10));
        check(&[10, 20, 30], &[], 2, Some(20));
        check(&[10, 20, 30], &[], 9, Some(30));
        check(&[10, 20, 30], &[5, 15, 25], 3, Some(15));
        check(&[10, 20, 30], &[5, 15, 25], 4, Some(20));
        check(&[], &[5, 15], 1, Some(5));
        // One place, two who came in the same millisecond: both may try, the picker lets one in.
        check(&[10], &[10], 1, Some(10));
    }
}

//! What a front door tells the others about its waiting room, by way of the members that all of them hear.
//!
//! A few points of the distribution of arrivals, so that every door can tell how many stand before a given arrival at all doors
//! together. It must never grow with the number of those who wait: it travels in each heartbeat, which is one datagram.

use serde::{Deserialize, Serialize};

/// Lanes of a waiting room, the ordinary one included.
pub const ROOM_LANES_MAX: usize = 4;
/// Points of one lane.
pub const ROOM_STEPS_MAX: usize = 10;

/// Who waits at one door, by lane in the order of the configuration. Doors of a farm are configured alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomWord {
    /// The lanes; an empty one has no steps.
    pub lanes: Vec<LaneWord>,
}

/// Who waits in one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneWord {
    /// The arrival of the one who has waited longest, by the clock of the door that he came to first, in milliseconds since the
    /// epoch.
    pub first_ms: u64,
    /// Milliseconds after `first_ms`, and how many had arrived up to then. Both rise; the last one counts everybody.
    pub steps: Vec<(u64, u32)>,
}

impl RoomWord {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.steps.is_empty())
    }

    /// Whether it keeps its bounds.
    pub(super) fn holds(&self) -> bool {
        self.lanes.len() <= ROOM_LANES_MAX && self.lanes.iter().all(LaneWord::holds)
    }
}

impl LaneWord {
    fn holds(&self) -> bool {
        let rise = self.steps.iter().zip(self.steps.iter().skip(1)).all(|(a, b)| a.0 <= b.0 && a.1 < b.1);
        self.steps.len() <= ROOM_STEPS_MAX && rise
    }

    /// How many had arrived up to `arrival_ms`; between two points they are taken to have come evenly.
    pub fn up_to(&self, arrival_ms: u64) -> u32 {
        let Some(offset) = arrival_ms.checked_sub(self.first_ms) else { return 0 };
        let mut before = (0, 0);
        for &(at, count) in &self.steps {
            if offset < at {
                let share = (offset - before.0) as f64 / (at - before.0) as f64;
                return before.1 + (f64::from(count - before.1) * share) as u32;
            }
            before = (at, count);
        }
        before.1
    }

    /// Everybody.
    pub fn waiting(&self) -> u32 {
        self.steps.last().map_or(0, |(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_between_points() {
        let lane = LaneWord { first_ms: 1_000, steps: vec![(0, 1), (100, 3), (1_100, 103)] };
        assert!(lane.holds());
        for (arrival_ms, expect) in
            [(0, 0), (999, 0), (1_000, 1), (1_050, 2), (1_100, 3), (1_600, 53), (2_100, 103), (u64::MAX, 103)]
        {
            assert_eq!(lane.up_to(arrival_ms), expect, "{arrival_ms}");
        }
        assert_eq!((lane.waiting(), LaneWord::default().waiting(), LaneWord::default().up_to(7)), (103, 0, 0));
    }

    #[test]
    fn bounds() {
        let word = |steps: &[(u64, u32)]| RoomWord { lanes: vec![LaneWord { first_ms: 1, steps: steps.to_vec() }] };
        assert!(word(&[]).holds() && word(&[]).is_empty() && word(&[(0, 1), (0, 2)]).holds());
        assert!(!word(&[(0, 1), (1, 1)]).holds() && !word(&[(1, 1), (0, 2)]).holds());
        assert!(!word(&(0..11).map(|i| (i, i as u32)).collect::<Vec<_>>()).holds());
        assert!(!RoomWord { lanes: vec![LaneWord::default(); ROOM_LANES_MAX + 1] }.holds());
    }
}

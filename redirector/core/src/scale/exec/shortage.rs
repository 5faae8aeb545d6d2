//! What the provider has run out of, and for how long that is believed.
//!
//! Remembered per type, zone and market, from the journal alone, so that a restart does not ask for all of it again. It must never
//! outlast its longest pause, whatever the clock does.

use super::super::provider::Offering;
use super::is_over;
use farm_shared::time::Wall;
use serde::{Deserialize, Serialize};

const SHORT_MS: u64 = 15_000;
const SHORT_MS_MAX: u64 = 600_000;
/// Refusals older than this do not lengthen the next pause, in milliseconds.
const FORGET_MS: u64 = 1_800_000;
const SHORTAGES_MAX: usize = 1_024;

/// One offering that was refused for want of capacity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shortage {
    /// Which; none where the provider has no choice.
    pub offering: Option<Offering>,
    /// Refusals in a row.
    pub refusals: u32,
    /// Not asked for before, milliseconds since the epoch.
    pub until_wall_ms: u64,
    /// The last refusal, milliseconds since the epoch.
    pub last_wall_ms: u64,
}

impl Shortage {
    /// Whether it is still believed.
    pub fn holds(&self, now: Wall) -> bool {
        !is_over(self.until_wall_ms, SHORT_MS_MAX, now)
    }
}

/// One more refusal: each one in a row doubles the pause.
pub(super) fn remember(shortages: &mut Vec<Shortage>, offering: Option<&Offering>, wall_ms: u64) {
    shortages.retain(|s| s.last_wall_ms.abs_diff(wall_ms) < FORGET_MS);
    let at = shortages.iter().position(|s| s.offering.as_ref() == offering);
    let refusals = at.map_or(0, |at| shortages.swap_remove(at).refusals).saturating_add(1);
    if shortages.len() >= SHORTAGES_MAX {
        return;
    }
    let pause_ms = (SHORT_MS << (refusals - 1).min(16)).min(SHORT_MS_MAX);
    let until_wall_ms = wall_ms.saturating_add(pause_ms);
    shortages.push(Shortage { offering: offering.cloned(), refusals, until_wall_ms, last_wall_ms: wall_ms });
}

/// It was delivered.
pub(super) fn forget(shortages: &mut Vec<Shortage>, offering: Option<&Offering>) {
    shortages.retain(|s| s.offering.as_ref() != offering);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_forgotten() {
        let mut shortages = Vec::new();
        let mut pause_s = |at_ms: u64| {
            remember(&mut shortages, None, at_ms);
            assert_eq!(shortages.len(), 1);
            shortages.first().map_or(0, |s| (s.until_wall_ms - at_ms) / 1_000)
        };
        let base = 10_000_000;
        assert_eq!([0, 1, 2, 3].map(|n| pause_s(base + n)), [15, 30, 60, 120]);
        assert_eq!((0..40).map(|n| pause_s(base + n)).last(), Some(600));
        assert_eq!(pause_s(base + 2 * FORGET_MS), 15);
        let short = Shortage { offering: None, refusals: 1, until_wall_ms: base + 15_000, last_wall_ms: base };
        let holds = [0, 14_999, 15_000].map(|after| short.holds(Wall(base + after)));
        assert_eq!(holds, [true, true, false]);
        assert!(!short.holds(Wall(base - 3_600_000)), "a clock that was set back");
        forget(&mut shortages, None);
        assert!(shortages.is_empty());
    }
}

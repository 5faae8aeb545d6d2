//! The time by which a node follows a schedule: the wall clock, as long as it can be believed.
//!
//! A wall clock that jumps against the monotonic one is wrong or was wrong. Either way nothing is published or withdrawn by it for
//! an hour; what is served stays. Signatures that have expired by the new time are another matter: those are made anew at once.

use farm_shared::time::{Mono, Now, Wall};

/// A difference between the clocks' ways that counts as a jump, in milliseconds.
pub const JUMP_MS: u64 = 600_000;
/// How long a new time is doubted, in milliseconds.
const DOUBT_MS: u64 = 3_600_000;

/// The clock of a schedule's follower.
#[derive(Clone, Copy, Debug)]
pub struct Follower {
    last: Now,
    /// The wall time in force when the doubt began, and until when it lasts.
    doubt: Option<(Wall, Mono)>,
}

/// A reading of that clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The time by which the schedule is read.
    pub schedule: Wall,
    /// Whether the wall clock is doubted: nothing is planned, and signatures are made anew only if they have expired.
    pub doubted: bool,
    /// By how many milliseconds the wall clock has jumped just now.
    pub jump_ms: i64,
}

impl Follower {
    /// One that believes the clock at the start.
    pub fn new(now: Now) -> Self {
        Self { last: now, doubt: None }
    }

    /// Looks at the clocks.
    pub fn tick(&mut self, now: Now) -> Tick {
        let passed_ms = now.mono.since_ms(self.last.mono) as i64;
        let jump_ms = now.wall.0 as i64 - self.last.wall.0 as i64 - passed_ms;
        let jumped = jump_ms.unsigned_abs() > JUMP_MS;
        let before = Wall(self.last.wall.0.saturating_add_signed(passed_ms));
        // What is believed goes on at the pace of the monotonic clock.
        let doubt = self.doubt.map(|(believed, until)| (Wall(believed.0.saturating_add_signed(passed_ms)), until));
        self.doubt = match doubt {
            // Back to where it was before: the doubt is over.
            Some((believed, _)) if jumped && now.wall.distance_ms(believed) <= JUMP_MS => None,
            Some((believed, _)) if jumped => Some((believed, now.mono.plus_ms(DOUBT_MS))),
            None if jumped => Some((before, now.mono.plus_ms(DOUBT_MS))),
            Some((_, until)) if now.mono >= until => None,
            doubt => doubt,
        };
        self.last = now;
        let schedule = self.doubt.map_or(now.wall, |(believed, _)| believed);
        Tick { schedule, doubted: self.doubt.is_some(), jump_ms: if jumped { jump_ms } else { 0 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;
    const START: u64 = 1_800_000_000_000;

    /// Readings as (monotonic, wall) in milliseconds, and what the schedule goes by.
    fn check(readings: &[(u64, u64, u64, bool)]) {
        let mut follower = Follower::new(Now { mono: Mono(0), wall: Wall(START) });
        for &(mono, wall, expect, doubted) in readings {
            let tick = follower.tick(Now { mono: Mono(mono), wall: Wall(wall) });
            assert_eq!((tick.schedule, tick.doubted), (Wall(expect), doubted), "at {mono}");
        }
    }

    #[test]
    fn a_steady_clock_is_followed() {
        check(&[
            (1_000, START + 1_000, START + 1_000, false),
            (HOUR_MS, START + HOUR_MS + 500, START + HOUR_MS + 500, false),
        ]);
    }

    #[test]
    fn a_jump_is_doubted_for_an_hour_and_then_believed() {
        let far = START + 1_000 * HOUR_MS;
        check(&[
            (1_000, far, START + 1_000, true),
            (HOUR_MS, far + HOUR_MS - 1_000, START + HOUR_MS, true),
            (HOUR_MS + 1_000, far + HOUR_MS, far + HOUR_MS, false),
        ]);
        let back = START - 1_000 * HOUR_MS;
        check(&[(1_000, back, START + 1_000, true), (HOUR_MS + 1_000, back + HOUR_MS, back + HOUR_MS, false)]);
    }

    #[test]
    fn a_jump_that_is_taken_back_changes_nothing() {
        check(&[
            (1_000, START + 1_000 * HOUR_MS, START + 1_000, true),
            (2_000, START + 2_000, START + 2_000, false),
            (3_000, START + 3_000, START + 3_000, false),
        ]);
    }
}

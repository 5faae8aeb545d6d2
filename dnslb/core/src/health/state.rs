//! Rise and fall: outcomes of checks in a row, as one state.
//!
//! Pure counting; a state must never depend on when an outcome came, only on the order.

use super::notes::Notes;
use farm_shared::time::Mono;

const WHY_CHARS_MAX: usize = 200;

/// What checks say of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Measured {
    /// No verdict yet: served, as after a restart.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

/// The state of one checked member.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckState {
    measured: Measured,
    /// Outcomes in a row that speak against `measured`.
    against: u32,
    since: Option<Mono>,
    why: String,
    /// An outcome came since the start.
    seen: bool,
    /// What was found beside success and failure.
    pub notes: Notes,
}

impl CheckState {
    /// The state after a restart: as it was, and no ramp.
    pub fn restored(up: bool, why: &str) -> Self {
        Self { measured: if up { Measured::Up } else { Measured::Down }, why: clip(why), ..Self::default() }
    }

    /// One outcome. `Some` if the verdict changed. The first success of a member without a verdict is enough, since it is
    /// served already; it takes `fall` failures in a row to take one out.
    pub fn observe(&mut self, at: Mono, outcome: Result<(), &str>, rise: u32, fall: u32) -> Option<Measured> {
        let (to, needed) = match (self.measured, outcome) {
            (Measured::Unknown, Ok(())) => (Measured::Up, 1),
            (Measured::Down, Ok(())) => (Measured::Up, rise),
            (Measured::Unknown | Measured::Up, Err(_)) => (Measured::Down, fall),
            (Measured::Up, Ok(())) | (Measured::Down, Err(_)) => {
                self.against = 0;
                self.note(outcome);
                return None;
            }
        };
        self.note(outcome);
        self.against += 1;
        if self.against < needed {
            return None;
        }
        self.against = 0;
        let ramps = self.measured == Measured::Down;
        self.measured = to;
        self.since = (to == Measured::Up && ramps).then_some(at);
        Some(to)
    }

    /// The verdict.
    pub fn measured(&self) -> Measured {
        self.measured
    }

    /// Whether there was an outcome since the start: what is restored was no measurement of ours, maybe.
    pub fn is_seen(&self) -> bool {
        self.seen
    }

    /// When it came back; none if it was never seen down.
    pub fn since(&self) -> Option<Mono> {
        self.since
    }

    /// Whether it is served and the next failure takes it out.
    pub fn may_fall_next(&self, fall: u32) -> bool {
        self.measured != Measured::Down && self.against > 0 && self.against + 1 >= fall
    }

    /// The last failure, in words; empty after a success.
    pub fn why(&self) -> &str {
        &self.why
    }

    fn note(&mut self, outcome: Result<(), &str>) {
        self.seen = true;
        self.why = outcome.err().map(clip).unwrap_or_default();
    }
}

fn clip(text: &str) -> String {
    text.chars().take(WHY_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(outcomes: &str, rise: u32, fall: u32, expect: &str) {
        let mut state = CheckState::default();
        let mut got = String::new();
        for (at, outcome) in outcomes.chars().enumerate() {
            let outcome = if outcome == '+' { Ok(()) } else { Err("refused") };
            state.observe(Mono(at as u64), outcome, rise, fall);
            got.push(match state.measured() {
                Measured::Unknown => '?',
                Measured::Up => 'u',
                Measured::Down => 'd',
            });
        }
        assert_eq!(got, expect, "{outcomes} rise={rise} fall={fall}");
    }

    #[test]
    fn rise_and_fall() {
        check("+--+---++", 2, 3, "uuuuuuddu");
        check("---", 2, 3, "??d");
        check("-+", 1, 1, "du");
        check("--+-+-++", 2, 2, "?ddddddu");
    }

    #[test]
    fn one_failure_from_falling() {
        let mut state = CheckState::default();
        state.observe(Mono(0), Ok(()), 2, 2);
        assert!(!state.may_fall_next(2));
        state.observe(Mono(0), Err("refused"), 2, 2);
        assert!(state.may_fall_next(2));
        state.observe(Mono(0), Err("refused"), 2, 2);
        assert!(!state.may_fall_next(2));
        assert_eq!(state.why(), "refused");
        state.observe(Mono(8), Ok(()), 1, 2);
        assert_eq!(state.since(), Some(Mono(8)));
    }
}

//! How often those who wait ask again.
//!
//! Who is near the front is asked back soon, or his place stands idle; who is far from it, rarely, but as often as the configured
//! rate has room for: whoever is asked back later than his turn is passed by others. All together must never ask more often than that
//! rate, whatever their number.

use super::ticket::Ticket;

/// Asked back after this share of the time until the turn: by halves, one comes no later than the shortest interval after it.
const TURN_SHARE: f64 = 0.5;
/// Shares of the interval that it varies by, so that those who came together do not ask together.
const JITTER: f64 = 0.15;
const SECONDS_MAX: f64 = 3_600.0;
/// Places that come in a second, at least, as far as intervals go.
const PLACES_PER_S_MIN: f64 = 0.01;

/// The pace of one snapshot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    min_s: f64,
    max_s: f64,
    places_per_s: f64,
    room: u32,
    stretch: f64,
}

impl Pace {
    /// For so many who wait at this door and at all doors, with intervals in proportion to the time until the turn, or to `max_ms`
    /// if that is less, as short as `polls_per_s_max` requests a second at this door allow, and never below `min_ms`.
    pub fn new(here: u32, all: u32, room: u32, places_per_s: f64, min_ms: u64, max_ms: u64, polls_per_s_max: f64) -> Self {
        let (min_s, max_s) = (min_ms as f64 / 1_000.0, max_ms.max(min_ms) as f64 / 1_000.0);
        let mut pace = Self { min_s, max_s, places_per_s: places_per_s.max(PLACES_PER_S_MIN), room, stretch: 1.0 };
        let share = f64::from(here) / f64::from(all.max(here).max(1));
        pace.stretch = share * pace.polls_per_s(f64::from(all.max(here))) / polls_per_s_max;
        pace
    }

    /// Seconds until one with so many before him is to ask again.
    pub fn retry_after_s(&self, before: u32, ticket: &Ticket) -> u32 {
        let turn_s = f64::from(before.saturating_sub(self.room)) / self.places_per_s;
        let interval_s = (turn_s * TURN_SHARE).clamp(self.min_s, self.max_s) * self.stretch;
        let interval_s = interval_s.max(self.min_s);
        let unit = farm_shared::draw::unit_of(ticket.nonce.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Only ever longer in the mean, so that whole seconds do not make the rate higher.
        (interval_s * (1.0 + JITTER * unit)).ceil().clamp(1.0, SECONDS_MAX) as u32
    }

    /// Polls of so many in a second, without a stretch: the integral of one by interval over all places.
    fn polls_per_s(&self, waiting: f64) -> f64 {
        let room = f64::from(self.room).min(waiting);
        let per_second = self.places_per_s / TURN_SHARE;
        let (head, tail) = (room + self.min_s * per_second, room + self.max_s * per_second);
        let near = waiting.min(head) / self.min_s;
        let middle = if waiting > head { per_second * ((waiting.min(tail) - room) / (head - room)).ln() } else { 0.0 };
        near + middle + (waiting - tail).max(0.0) / self.max_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ticket(nonce: u64) -> Ticket {
        Ticket { lane: 0, arrival_ms: 1, nonce }
    }

    #[test]
    fn the_first_are_asked_back_soon() {
        let pace = Pace::new(1_000, 1_000, 10, 5.0, 2_000, 30_000, 65.0);
        for (before, range) in [(0, 2..=3), (9, 2..=3), (29, 2..=3), (110, 10..=12), (400, 30..=35), (999, 30..=35)] {
            for nonce in 0..100 {
                let found = pace.retry_after_s(before, &ticket(nonce));
                assert!(range.contains(&found), "{before} before: {found}");
            }
        }
    }

    proptest! {
        /// All polls together stay below the rate that is allowed, and nobody nearer the front is asked back later.
        #[test]
        fn rate_is_bounded(all in 1_u32..200_000, share in 0.01_f64..1.0, room in 0_u32..1_000, places in 0.0_f64..200.0, max in 1.0_f64..2_000.0) {
            let here = ((f64::from(all) * share) as u32).max(1);
            let pace = Pace::new(here, all, room, places, 2_000, 30_000, max);
            let sample = (all / 500).max(1);
            let polls: f64 = (0..all).step_by(sample as usize).map(|b| 1.0 / f64::from(pace.retry_after_s(b, &ticket(u64::from(b))))).sum();
            let polls = polls * f64::from(sample) * f64::from(here) / f64::from(all);
            // Those within one sampling step of the front, and one hour at most.
            prop_assert!(polls <= max * 1.05 + f64::from(sample) + f64::from(all) / 3_600.0, "{polls} of {max}");
            let last = (0..all).step_by(sample as usize).map(|b| pace.retry_after_s(b, &ticket(7)));
            prop_assert!(last.clone().zip(last.skip(1)).all(|(a, b)| a <= b));
        }
    }
}

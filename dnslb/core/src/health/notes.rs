//! What is remembered of a member's findings, and what it makes of the member's weight.
//!
//! A weight that follows every measurement would build a schedule for each: it moves in steps, and only when the queue moved further
//! than a step.

use super::finding::{Finding, Mode};
use farm_shared::time::Wall;

/// A run queue up to so many processes per core is no reason to send less there.
const QUEUE_SHORT: f64 = 0.5;

/// Share of a new measurement in the average.
const NEW_SHARE: f64 = 0.3;

/// The weight halves in so many steps, and never falls below the last one: 1/32.
const STEPS_PER_HALF: f64 = 2.0;
const STEP_MIN: i32 = -10;

/// How far, in steps, the queue must have moved for another weight.
const HYSTERESIS: f64 = 0.75;

/// What the checks of one member found so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notes {
    not_after: Option<Wall>,
    run_queue: Option<f64>,
    step: i32,
    asked: Option<f64>,
    mode: Mode,
}

impl Notes {
    /// Takes a finding over. Whether weight or mode changed with it.
    pub fn take(&mut self, finding: &Finding) -> bool {
        let before = (self.step, self.asked, self.mode);
        self.not_after = finding.not_after.or(self.not_after);
        if let Some(queue) = finding.run_queue {
            let average = self.run_queue.map_or(queue, |known| known + NEW_SHARE * (queue - known));
            self.run_queue = Some(average);
            let exact = STEPS_PER_HALF * (QUEUE_SHORT / average.max(QUEUE_SHORT)).log2();
            if (exact - f64::from(self.step)).abs() > HYSTERESIS {
                self.step = (exact.round() as i32).clamp(STEP_MIN, 0);
            }
        }
        if let Some(advice) = finding.advice {
            self.asked = advice.weight.or(self.asked);
            self.mode = advice.mode.unwrap_or(self.mode);
        }
        before != (self.step, self.asked, self.mode)
    }

    /// The factor on the configured weight.
    pub fn weight(&self) -> f64 {
        (f64::from(self.step) / STEPS_PER_HALF).exp2() * self.asked.unwrap_or(1.0)
    }

    /// Whether the member takes new clients, in its own words. A weight of nothing says the same.
    pub fn mode(&self) -> Mode {
        if self.asked == Some(0.0) { Mode::Drain } else { self.mode }
    }

    /// When its certificate ends, if one was seen.
    pub fn not_after(&self) -> Option<Wall> {
        self.not_after
    }

    /// The average of its run queue per core, if it was measured.
    pub fn run_queue(&self) -> Option<f64> {
        self.run_queue
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Advice;
    use super::*;

    fn queue(run_queue: f64) -> Finding {
        Finding { run_queue: Some(run_queue), ..Finding::default() }
    }

    #[test]
    fn weights_follow_queues_in_steps() {
        for (run_queue, weight) in [(0.0, 1.0), (0.5, 1.0), (1.0, 0.5), (2.0, 0.25), (1e9, 1.0 / 32.0)] {
            let mut notes = Notes::default();
            notes.take(&queue(run_queue));
            assert!((notes.weight() - weight).abs() < 1e-9, "{run_queue}: {}", notes.weight());
        }
    }

    #[test]
    fn noise_changes_no_weight() {
        let mut notes = Notes::default();
        let changes = (0..1_000).filter(|i| notes.take(&queue(if i % 2 == 0 { 0.9 } else { 1.1 }))).count();
        assert_eq!((changes, notes.weight()), (1, 0.5));
        let back = (0..100).filter(|_| notes.take(&queue(0.0))).count();
        assert!((1..=3).contains(&back), "{back}");
        assert!((notes.weight() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_an_agent_said_stays_until_it_says_otherwise() {
        let mut notes = Notes::default();
        let mut say = |weight, mode| {
            let changed = notes.take(&Finding { advice: Some(Advice { weight, mode }), ..Finding::default() });
            (changed, notes.weight(), notes.mode())
        };
        assert_eq!(say(Some(0.5), None), (true, 0.5, Mode::Ready));
        assert_eq!(say(None, Some(Mode::Drain)), (true, 0.5, Mode::Drain));
        assert_eq!(say(None, None), (false, 0.5, Mode::Drain));
        assert_eq!(say(Some(1.0), Some(Mode::Ready)), (true, 1.0, Mode::Ready));
        assert_eq!(say(Some(0.0), None), (true, 0.0, Mode::Drain));
    }
}

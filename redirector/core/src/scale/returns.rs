//! Sessions whose server was lost come again within seconds. They are no crowd: they were there before, and must not look like one.
//!
//! Of the arrivals after a loss, those beyond the rate before it count as returns, up to the sessions that were lost. It must never hide
//! more than that: a crowd that happens to come at the same time is seen but for as many.

use super::observation::{Observation, ServerState};
use farm_shared::id::Id;
use farm_shared::time::Mono;
use std::collections::BTreeMap;

/// A loss shows by a lease that ran out, some heartbeats after its sessions began to come again: so many heartbeats are looked back.
pub(super) const LOOK_BACK_HEARTBEATS: u64 = 6;

/// What was lost and what of it came again.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Returns {
    /// Sessions of each member when it was heard last, and whether it is silent now.
    held: BTreeMap<Id, (f64, bool)>,
    loss: Option<Loss>,
    /// Returns of losses that are over.
    before: f64,
    began: Option<Before>,
}

#[derive(Clone, Debug, PartialEq)]
struct Loss {
    /// When the last server was lost.
    last: Mono,
    /// When and at what demand it is taken to have begun.
    from: (Mono, f64),
    /// Arrivals per second before that.
    rate_per_s: f64,
    lost: f64,
    returned: f64,
}

/// The demand at the end of some time, and how fast it rose before: what a loss is compared with.
pub(super) type Before = ((Mono, f64), f64);

impl Returns {
    /// The demand so far without returns. `demand` is all of it; `before` tells what there was at a time.
    pub(super) fn without(
        &mut self,
        observation: &Observation,
        demand: f64,
        now: Mono,
        window_ms: u64,
        before: impl FnOnce(u64) -> Option<Before>,
    ) -> f64 {
        if self.loss.as_ref().is_some_and(|loss| now.since_ms(loss.last) > window_ms) {
            self.before += self.loss.take().map_or(0.0, |loss| loss.returned);
        }
        let lost = self.lose(observation);
        self.began = None;
        if lost > 0.0 {
            let counted = self.before;
            if self.loss.is_none() {
                let began = now.0.saturating_sub(LOOK_BACK_HEARTBEATS * observation.heartbeat_ms);
                // What was not watched before cannot be told from returns.
                let ((at, without), rate_per_s) = before(began).unwrap_or(((now, demand - counted), 0.0));
                self.began = Some(((at, without), rate_per_s));
                let from = (at, without + counted);
                self.loss = Some(Loss { last: now, from, rate_per_s, lost: 0.0, returned: 0.0 });
            }
            if let Some(loss) = &mut self.loss {
                (loss.last, loss.lost) = (now, loss.lost + lost);
            }
        } else if let Some(loss) = &mut self.loss {
            // Who is heard again had not lost its sessions.
            loss.lost = (loss.lost + lost).max(loss.returned);
        }
        if let Some(loss) = &mut self.loss {
            let expected = loss.rate_per_s * now.since_ms(loss.from.0) as f64 / 1_000.0;
            let beyond = demand - loss.from.1 - expected;
            loss.returned = beyond.clamp(loss.returned, loss.lost.max(loss.returned));
        }
        demand - self.before - self.loss.as_ref().map_or(0.0, |loss| loss.returned)
    }

    /// The demand without returns at the time that a loss began, and its rate, if the last observation was the first to show it.
    pub(super) fn began(&self) -> Option<Before> {
        self.began
    }

    /// Sessions that were lost and did not come again yet.
    pub(super) fn owed(&self) -> f64 {
        self.loss.as_ref().map_or(0.0, |loss| loss.lost - loss.returned)
    }

    /// Sessions lost since the last observation; negative when a server is heard again.
    fn lose(&mut self, observation: &Observation) -> f64 {
        let mut lost = 0.0;
        let mut held = BTreeMap::new();
        for server in &observation.servers {
            let sessions = f64::from(server.sessions);
            let silent = server.state == ServerState::Silent;
            let (had, was_silent) = self.held.remove(&server.id).unwrap_or((sessions, silent));
            match (was_silent, silent) {
                (false, true) => lost += had,
                (true, false) => lost -= had,
                _ => {}
            }
            held.insert(server.id.clone(), (if silent { had } else { sessions }, silent));
        }
        let vanished = std::mem::replace(&mut self.held, held);
        lost + vanished.into_values().filter(|(_, silent)| !silent).map(|(sessions, _)| sessions).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::measure::tests::busy;
    use super::*;

    /// Servers with these sessions; none is a silent one.
    fn farm(sessions: &[Option<u32>]) -> Observation {
        let server = |(i, sessions): (usize, &Option<u32>)| {
            let mut server = busy(sessions.unwrap_or(100));
            server.id = Id::new(&format!("b{i}")).unwrap();
            if sessions.is_none() {
                server.state = ServerState::Silent;
            }
            server
        };
        Observation {
            servers: sessions.iter().enumerate().map(server).collect(),
            heartbeat_ms: 1_000,
            ..Observation::default()
        }
    }

    /// Two servers of 100 sessions with 10 arrivals a second; from second 100 on as `after` says: the second one's sessions, and
    /// arrivals so far beyond the steady ones. The demand without returns at the end, less the steady one, and what is owed.
    fn check(after: &[(u64, Option<u32>, f64)], expect: (f64, f64)) {
        let mut returns = Returns::default();
        let steady = |second: u64| 10.0 * second as f64;
        let before = |ms: u64| Some(((Mono(ms), ms as f64 / 100.0), 10.0));
        for second in 0..100 {
            let without =
                returns.without(&farm(&[Some(100), Some(100)]), steady(second), Mono(second * 1_000), 60_000, before);
            assert_eq!(without, steady(second));
        }
        let mut last = 0.0;
        for (second, sessions, beyond) in after {
            let demand = steady(*second) + beyond;
            last = returns.without(&farm(&[Some(100), *sessions]), demand, Mono(second * 1_000), 60_000, before);
            last -= steady(*second);
        }
        assert_eq!((last, returns.owed()), expect, "{after:?}");
    }

    #[test]
    fn what_comes_again_is_no_crowd_and_what_is_more_is_one() {
        check(&[(100, None, 0.0)], (0.0, 100.0));
        // Before the silence is noticed, and after.
        check(&[(100, Some(100), 40.0), (101, None, 60.0)], (0.0, 40.0));
        check(&[(100, None, 60.0), (110, None, 100.0)], (0.0, 0.0));
        check(&[(100, None, 60.0), (110, None, 350.0)], (250.0, 0.0));
        // Its sessions had not been lost: what came meanwhile was a crowd of fifty after all, and is taken for returns no further.
        check(&[(100, None, 50.0), (110, Some(100), 50.0), (120, Some(100), 90.0)], (40.0, 0.0));
        // Long after a loss everybody is new.
        check(&[(100, None, 0.0), (170, None, 80.0)], (80.0, 0.0));
        // A crowd without a loss.
        check(&[(100, Some(100), 70.0)], (70.0, 0.0));
    }

    #[test]
    fn a_server_that_vanishes_loses_its_sessions_once() {
        let mut returns = Returns::default();
        let before = |_: u64| Some(((Mono(0), 0.0), 0.0));
        returns.without(&farm(&[Some(10), Some(30)]), 0.0, Mono(1_000), 60_000, before);
        returns.without(&farm(&[Some(10)]), 0.0, Mono(2_000), 60_000, before);
        assert_eq!(returns.owed(), 30.0);
        returns.without(&farm(&[None]), 0.0, Mono(3_000), 60_000, before);
        assert_eq!(returns.owed(), 40.0);
        returns.without(&farm(&[]), 0.0, Mono(4_000), 60_000, before);
        assert_eq!(returns.owed(), 40.0);
    }
}

//! Why: a session is what the farm balances, so the backend must know how many it has, how many began and ended, and how
//! fresh the freshest is. Idle ones end by themselves, found in order of their last activity, never by a scan.
//! Never: no clock and no randomness; tokens and times are arguments. Sessions are bounded by the limit.

use std::collections::{BTreeSet, HashMap};

/// Sessions of a backend without a configured limit.
pub const SESSIONS_MAX: u32 = 100_000;

/// The live sessions of one backend. Times are microseconds since the backend's start.
#[derive(Debug)]
pub struct Sessions {
    idle_us: u64,
    limit: u32,
    live: HashMap<u128, u64>,
    by_activity: BTreeSet<(u64, u128)>,
    begun: u64,
    ended: u64,
}

impl Sessions {
    /// No sessions; each may be idle for `idle_us`, and at most `limit` (and [`SESSIONS_MAX`]) may be live.
    pub fn new(idle_us: u64, limit: Option<u32>) -> Self {
        let limit = limit.unwrap_or(SESSIONS_MAX).min(SESSIONS_MAX);
        Self { idle_us, limit, live: HashMap::new(), by_activity: BTreeSet::new(), begun: 0, ended: 0 }
    }

    /// Begins a session under `token`; false when the limit is reached. A token in use is refreshed instead.
    pub fn begin(&mut self, now_us: u64, token: u128) -> bool {
        if self.touch(now_us, token) {
            return true;
        }
        if self.live.len() >= self.limit as usize {
            return false;
        }
        self.live.insert(token, now_us);
        self.by_activity.insert((now_us, token));
        self.begun += 1;
        true
    }

    /// Notes activity; false when there is no such session (any more).
    pub fn touch(&mut self, now_us: u64, token: u128) -> bool {
        self.expire(now_us);
        let Some(last_us) = self.live.get_mut(&token) else { return false };
        self.by_activity.remove(&(*last_us, token));
        *last_us = now_us.max(*last_us);
        self.by_activity.insert((*last_us, token));
        true
    }

    /// Ends a session; false when there is no such session.
    pub fn end(&mut self, now_us: u64, token: u128) -> bool {
        self.expire(now_us);
        let Some(last_us) = self.live.remove(&token) else { return false };
        self.by_activity.remove(&(last_us, token));
        self.ended += 1;
        true
    }

    /// Ends every session that has been idle for too long.
    pub fn expire(&mut self, now_us: u64) {
        while let Some(&(last_us, token)) = self.by_activity.first() {
            if now_us.saturating_sub(last_us) < self.idle_us {
                break;
            }
            self.by_activity.pop_first();
            self.live.remove(&token);
            self.ended += 1;
        }
    }

    /// Live sessions as of the last call that was given a time.
    pub fn live(&self) -> u32 {
        self.live.len() as u32
    }

    /// Whether another one may begin.
    pub fn has_room(&self) -> bool {
        self.live.len() < self.limit as usize
    }

    /// Sessions begun so far.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// Sessions ended so far, by log-out or idleness.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// Time since the latest activity of any live session, microseconds; `None` without sessions.
    pub fn youngest_us(&self, now_us: u64) -> Option<u64> {
        self.by_activity.last().map(|(last_us, _)| now_us.saturating_sub(*last_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lives_and_expires() {
        let mut sessions = Sessions::new(100, None);
        assert!(sessions.begin(0, 1));
        assert!(sessions.begin(50, 2));
        assert_eq!((sessions.live(), sessions.youngest_us(60)), (2, Some(10)));
        assert!(sessions.touch(99, 1));
        assert!(!sessions.touch(150, 2), "idle for exactly the limit");
        assert!(sessions.end(160, 1));
        assert!(!sessions.end(160, 1));
        assert_eq!((sessions.live(), sessions.begun(), sessions.ended(), sessions.youngest_us(160)), (0, 2, 2, None));
    }

    #[test]
    fn limit_holds_until_one_ends() {
        let mut sessions = Sessions::new(100, Some(1));
        assert!(sessions.begin(0, 1));
        assert!(sessions.begin(1, 1), "the same session again");
        assert!(!sessions.begin(2, 2) && !sessions.has_room());
        assert!(sessions.begin(200, 2), "the first one has expired");
    }

    proptest! {
        #[test]
        fn counts_always_balance(steps in prop::collection::vec((0_u8..4, 0_u64..60, 0_u128..6), 0..200)) {
            let mut sessions = Sessions::new(100, Some(4));
            let mut now = 0;
            for (kind, gap, token) in steps {
                now += gap;
                match kind {
                    0 => { sessions.begin(now, token); }
                    1 => { sessions.touch(now, token); }
                    2 => { sessions.end(now, token); }
                    _ => sessions.expire(now),
                }
                prop_assert_eq!(sessions.begun(), sessions.ended() + u64::from(sessions.live()));
                prop_assert_eq!(sessions.live.len(), sessions.by_activity.len());
                prop_assert!(sessions.live() <= 4);
                prop_assert!(sessions.youngest_us(now).is_none_or(|age| age < 100));
            }
        }
    }
}

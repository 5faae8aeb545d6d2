//! Failure drills at the agent: a redirector may wish that processes end here, and the agent's own list decides.
//!
//! Each key is looked at once, through restarts too: what is written down comes before what is done. The word that it will be done
//! leaves before it is done, since the process may take the agent along.

use super::{Agent, Effect, Notice};
use farm_shared::heartbeat::{KillOutcome, KillWish, KillWord, State};
use farm_shared::id::Id;
use farm_shared::time::Now;

/// Wishes that are remembered, the newest.
const WISHED_MAX: usize = 64;

impl Agent {
    pub(super) fn drill(&mut self, now: Now, wish: KillWish, effects: &mut Vec<Effect>) {
        if self.wished.contains(&wish.key) {
            return;
        }
        if self.wished.len() >= WISHED_MAX {
            self.wished.pop_front();
        }
        self.wished.push_back(wish.key.clone());
        self.is_saved = false;
        let is_allowed = self.leaving.is_none() && self.profile.drill_allow.contains(&wish.process);
        let outcome = if is_allowed { KillOutcome::Accepted } else { KillOutcome::NotAllowed };
        self.killed = Some(KillWord { key: wish.key.clone(), outcome });
        let process: String = wish.process.chars().take(farm_shared::heartbeat::PROCESS_BYTES_MAX).collect();
        effects.push(Effect::Notice(Notice::Drill { key: wish.key.clone(), process, outcome }));
        if self.may_speak(now) && self.leaving.is_none() {
            self.send_all(now, State::Up, effects);
        }
        if is_allowed {
            effects.push(Effect::Kill { key: wish.key, process: wish.process });
        }
    }

    /// How many processes were ended.
    pub(super) fn killed(&mut self, key: &Id, count: u32, effects: &mut Vec<Effect>) {
        let outcome = if count == 0 { KillOutcome::NotFound } else { KillOutcome::Ended(count) };
        if let Some(word) = self.killed.as_mut().filter(|word| word.key == *key) {
            word.outcome = outcome;
            self.urgent = true;
            effects.push(Effect::Notice(Notice::Drill { key: key.clone(), process: String::new(), outcome }));
        }
    }
}

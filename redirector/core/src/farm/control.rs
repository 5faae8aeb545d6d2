//! The control loop's state and its steps.

use super::{Effect, Event, Keys, Saved, Status};
use crate::config::Spec;
use crate::scale::Record;
use farm_shared::draw::Draws;
use farm_shared::id::Id;
use farm_shared::time::Now;
use std::sync::Arc;

/// The control loop: one per farm.
#[derive(Clone, Debug)]
pub struct Control {
    spec: Arc<Spec>,
}

impl Control {
    /// A start, or a restart with what was saved and the journal's records (those up to `saved.exec.seq` are skipped). The
    /// shell calls [`Control::flush`] next, which publishes the first snapshot.
    pub fn new(spec: Arc<Spec>, _keys: Keys, _saved: Saved, _journal: &[Record], _now: Now, _draws: Draws) -> Self {
        Self { spec }
    }

    /// One event. Replies and calls come out at once; publishing and persisting wait for [`Control::flush`].
    pub fn step(&mut self, _now: Now, _event: Event) -> Vec<Effect> {
        Vec::new()
    }

    /// What became due: a new snapshot at most every 50 ms, what must persist at most every second. Call it after each burst of
    /// events, and on every tick.
    pub fn flush(&mut self, _now: Now) -> Vec<Effect> {
        Vec::new()
    }

    /// The slot of a member, for [`Event::Heartbeat`].
    pub fn slot(&self, _id: &Id) -> Option<u32> {
        None
    }

    /// What an operator sees.
    pub fn status(&self, _now: Now) -> Status {
        unimplemented!("{}", self.spec.id)
    }
}

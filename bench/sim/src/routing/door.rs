//! One door of the farm: production's control loop and picker, and its counters of dispatches.

use crate::menu::Menu;
use crate::setup::{DOOR, FARM, WALL_MS, id, keys};
use farm_shared::draw::Draws;
use farm_shared::heartbeat::Heartbeat;
use farm_shared::time::{Mono, Now, Wall};
use redirector_core::config::Spec;
use redirector_core::door::Snapshot;
use redirector_core::farm::{Control, Effect, Event, Saved};
use redirector_core::route::{FarmDispatched, Picker, RoutePolicy};
use std::sync::Arc;

/// Dispatches by slot.
#[derive(Default)]
struct Counters(Vec<u32>);

impl Counters {
    fn add(&mut self, slot: u32) {
        let at = slot as usize;
        self.0.resize(self.0.len().max(at + 1), 0);
        if let Some(count) = self.0.get_mut(at) {
            *count = count.wrapping_add(1);
        }
    }
}

impl FarmDispatched for Counters {
    fn total(&self, slot: u32) -> u32 {
        self.0.get(slot as usize).copied().unwrap_or(0)
    }
}

pub(super) struct Door {
    control: Control,
    snapshot: Option<Arc<Snapshot>>,
    picker: Picker,
    counters: Counters,
}

fn now(at_us: u64) -> Now {
    let at_ms = at_us / 1_000;
    Now { mono: Mono(at_ms), wall: Wall(WALL_MS + at_ms) }
}

impl Door {
    pub(super) fn new(policy: RoutePolicy, draws: &Draws) -> Result<Self, String> {
        let mut spec = Spec::new(id(DOOR), id(FARM));
        spec.door.policy = policy;
        let saved = Saved::default();
        let menu = Arc::new(Menu::new(1));
        let control = Control::new(Arc::new(spec), keys()?, menu, saved, &[], now(0), draws.child("control", 0));
        Ok(Self { control, snapshot: None, picker: Picker::new(draws.child("picker", 0)), counters: Counters::default() })
    }

    pub(super) fn hears(&mut self, heartbeat: &Heartbeat, at_us: u64) {
        let dispatched = self.control.slot(&heartbeat.id).map_or(0, |slot| self.counters.total(slot));
        self.control.step(now(at_us), Event::Heartbeat { heartbeat: Box::new(heartbeat.clone()), dispatched });
        self.flushes(at_us);
    }

    pub(super) fn ticks(&mut self, at_us: u64) {
        self.control.step(now(at_us), Event::Tick { waited: 0, room: None });
        self.flushes(at_us);
    }

    fn flushes(&mut self, at_us: u64) {
        for effect in self.control.flush(now(at_us)) {
            if let Effect::Publish(snapshot) = effect {
                self.snapshot = Some(snapshot);
            }
        }
    }

    /// The server that a new session is sent to.
    pub(super) fn sends(&mut self) -> Option<usize> {
        let snapshot = self.snapshot.as_ref()?;
        let at = self.picker.pick(&snapshot.table, snapshot.generation, &self.counters)?;
        let server = snapshot.servers.get(at)?;
        self.counters.add(server.slot);
        server.id.as_str().strip_prefix('b')?.parse().ok()
    }
}

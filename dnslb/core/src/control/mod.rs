//! The control loop: the one owner of everything that changes, as `step(event) -> effects` and `flush() -> effects`.
//!
//! Heartbeats, check outcomes, time, reloads and operators' words come in as [`Event`]s; what is to be done about them goes out
//! as [`Effect`]s. Nothing here does anything itself, so a simulator can stop between any two effects. An event marks what it
//! touched; `flush` builds the next snapshot once for a whole burst.

mod admin;
mod event;
mod events;
mod explain;
mod family;
mod flush;
mod load;
mod pool_state;
mod reload;
mod saved;
mod signing;
mod sorting;
mod status;
mod targets;
mod variant;
mod view;
mod viewpoints;

pub use admin::Word;
pub use event::{AdminCommand, Effect, Event, Notice, NoticeKind};
pub use explain::{Explanation, MemberVerdict, PoolExplanation};
pub use family::{BuiltSchedule, Family, ScheduleJob};
pub use saved::{Saved, SavedStatic};
pub use signing::{MadeSignatures, SignJob};
pub use sorting::Served;
pub use status::{FarmStatus, MemberStatus, PoolStatus, Status, VariantStatus};
pub use variant::VariantKey;
pub use viewpoints::ViewpointStatus;

use crate::config::Spec;
use crate::health::{CheckId, CheckPlan};
use crate::name::Name;
use crate::overlay::Overlay;
use crate::service::Service;
use crate::zone::Zones;
use farm_shared::draw::Draws;
use farm_shared::id::Id;
use farm_shared::member::Roster;
use farm_shared::time::{Mono, Now};
use pool_state::PoolState;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use view::Who;

/// The state of a name server beyond its configuration.
#[derive(Debug)]
pub struct Control {
    spec: Arc<Spec>,
    zones: Arc<Zones>,
    draws: Draws,
    started: Mono,
    farms: BTreeMap<Id, FarmState>,
    pools: Vec<PoolState>,
    /// Other viewpoints that were heard, by id.
    viewpoints: BTreeMap<Id, viewpoints::Viewpoint>,
    /// Pools by index, those inside others before these.
    order: Vec<usize>,
    checks: CheckPlan,
    /// Pool and position among its static members.
    check_owners: BTreeMap<CheckId, (usize, usize)>,
    overlay: Arc<Overlay>,
    signatures: signing::Signatures,
    service: Arc<Service>,
    /// Own names in the snapshot that was published last, by farm and member.
    own_names: BTreeSet<(Id, Id)>,
    /// The names that SRV records give, by pool and member.
    targets: BTreeMap<(Id, Who), Name>,
    /// Members whose own names are not served because the zone or a pool has them.
    names_taken: BTreeSet<(Id, Id)>,
    /// By whom and until when: operators' words, by pool or farm and member.
    words: BTreeMap<(Id, Id), Word>,
    generation: u64,
    builds: u64,
    marks: Marks,
    persisted: Mono,
}

/// What the next flush has to look at.
#[derive(Clone, Debug, Default)]
struct Marks {
    overlay: bool,
    publish: bool,
    /// Something must survive a restart; written at once, or within a second.
    persist_now: bool,
    persist: bool,
    /// What we tell other viewpoints is something else.
    report: bool,
    /// Sequence numbers rose; written within half a minute.
    heard: bool,
}

/// One farm.
#[derive(Clone, Debug)]
struct FarmState {
    roster: Roster,
    /// When the roster came back from what was saved: members since then are no new ones, and not ramped up.
    restored: Mono,
    /// Doors in service at the last flush.
    doors: u32,
    /// Somebody changed since the last flush.
    touched: bool,
    /// Tombstones that were verified, so that each costs one MAC: last incarnation, and until when that is remembered.
    buried: BTreeMap<Id, (u64, Mono)>,
    /// Until when a cache may hold an answer that names a member which is named no more.
    cached_until: BTreeMap<Id, Mono>,
}

impl Control {
    /// The state at start: `saved` comes back as *unknown*, served for one grace lease. The first [`Control::flush`] publishes.
    pub fn new(spec: Arc<Spec>, zones: Arc<Zones>, mut saved: Saved, now: Now, draws: Draws) -> Self {
        let mut control = Self {
            farms: BTreeMap::new(),
            pools: Vec::new(),
            viewpoints: BTreeMap::new(),
            order: Vec::new(),
            checks: CheckPlan::new(draws.child("checks", 0)),
            check_owners: BTreeMap::new(),
            overlay: Arc::new(Overlay::empty()),
            signatures: signing::Signatures::default(),
            service: Arc::default(),
            own_names: BTreeSet::new(),
            targets: BTreeMap::new(),
            names_taken: BTreeSet::new(),
            words: BTreeMap::new(),
            generation: 0,
            builds: 0,
            marks: Marks::default(),
            persisted: now.mono,
            started: now.mono,
            spec: Arc::clone(&spec),
            zones: Arc::clone(&zones),
            draws,
        };
        control.restore_words(&mut saved);
        control.configure(spec, zones, saved, now);
        control
    }

    /// The generation that was published last; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The specification in force.
    pub fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    fn mark_farm(&mut self, farm: &Id) {
        if let Some(farm) = self.farms.get_mut(farm) {
            farm.touched = true;
        }
        for pool in self.pools.iter_mut().filter(|pool| pool.spec.farm.as_ref() == Some(farm)) {
            pool.dirty = true;
        }
    }
}

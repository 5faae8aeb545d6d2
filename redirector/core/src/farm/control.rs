//! The control loop's state and its steps.
//!
//! Replies and calls leave at once; publishing and persisting are coalesced and leave with [`Control::flush`]. A step must never
//! fail: whatever is wrong with an event is an effect, too.

use super::rooms::Rooms;
use super::seen::Seen;
use super::slots::Slots;
use super::{AdminCommand, Effect, Event, Keys, Saved, Topic};
use crate::config::Spec;
use crate::door::Snapshot;
use crate::drill::Ward;
use crate::room::{Lanes, Room, TicketKeys};
use crate::route::Speeds;
use crate::scale::{Blueprint, Entry, ExecState, Instance, PlanState, Record, Report};
use farm_shared::draw::Draws;
use farm_shared::heartbeat::Tombstone;
use farm_shared::id::Id;
use farm_shared::member::{LeasePolicy, Roster, SavedRoster};
use farm_shared::time::{Mono, Now};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

const NOTICES_MAX: usize = 50;
/// Lines for the log within one second; more are counted, not shown: ten thousand joining members must not fill a disk.
const NOTICES_PER_S: u32 = 20;
const WHY_CHARS_MAX: usize = 200;
/// State on disk is at most this old, in milliseconds, when nothing but heartbeats came.
const PERSIST_MS_MAX: u64 = 60_000;
const PERSIST_MS_MIN: u64 = 1_000;

/// The control loop: one per farm.
#[derive(Clone, Debug)]
pub struct Control {
    pub(super) spec: Arc<Spec>,
    pub(super) keys: Keys,
    pub(super) blueprint: Arc<dyn Blueprint>,
    pub(super) draws: Draws,
    pub(super) started: Now,
    pub(super) roster: Roster,
    pub(super) seen: BTreeMap<Id, Seen>,
    pub(super) slots: Slots,
    pub(super) speeds: Speeds,
    pub(super) tombstones: VecDeque<(Mono, Tombstone)>,
    // Publishing.
    pub(super) published: Option<Arc<Snapshot>>,
    pub(super) generation: u64,
    pub(super) dirty: bool,
    /// Queues shrink and ramps rise with time alone: build again although nothing was heard.
    pub(super) restless: bool,
    // The waiting room.
    pub(super) room: Room,
    pub(super) room_keys: Arc<TicketKeys>,
    pub(super) room_lanes: Arc<Lanes>,
    /// Who waits at other doors.
    pub(super) rooms: Rooms,
    pub(super) room_saved: Mono,
    /// Live doors as of the last snapshot: to count them again for each heartbeat would take too long.
    pub(super) doors_known: u32,
    // Scaling.
    pub(super) exec: ExecState,
    /// The provider that `exec` speaks of, if it is not the one that is configured: then nothing is called and no list is believed.
    pub(super) foreign: Option<String>,
    pub(super) plan_state: PlanState,
    /// Of the policy that only watches.
    pub(super) shadow_state: PlanState,
    pub(super) planned: Option<Mono>,
    pub(super) listed: Option<Mono>,
    pub(super) listing: Vec<Instance>,
    /// Since when each running instance is known to run, on the clock that does not jump.
    pub(super) known: BTreeMap<String, Mono>,
    pub(super) provider_error: Option<String>,
    pub(super) boots_ms: VecDeque<u64>,
    /// Launches in a row that missed the measured deadline.
    pub(super) late_launches: u32,
    pub(super) arrivals: u64,
    pub(super) completions: u64,
    /// When, and requests turned away until then: as far back as those who were told to come again.
    pub(super) waits: VecDeque<(Mono, u64)>,
    /// Servers that are likely to be drained soon: they get fewer new sessions beforehand (seed 003, 3.4).
    pub(super) victims: BTreeSet<Id>,
    pub(super) desired: u32,
    pub(super) decisions: VecDeque<(u64, Report)>,
    pub(super) journalled_plan: Option<Mono>,
    pub(super) frozen: Option<String>,
    pub(super) journal_failures: u64,
    // Drills.
    pub(super) ward: Ward,
    /// Records of hits on their way to the disk, with the hits' keys.
    pub(super) drill_records: BTreeMap<u64, Id>,
    // Persisting and telling.
    pub(super) unsaved: bool,
    saved: Mono,
    pub(super) notices: VecDeque<(u64, String)>,
    told: (u64, u32),
}

impl Control {
    /// A start, or a restart with what was saved and the journal's records (those up to `saved.exec.seq` are skipped). The
    /// shell calls [`Control::flush`] next, which publishes the first snapshot.
    pub fn new(
        spec: Arc<Spec>,
        keys: Keys,
        blueprint: Arc<dyn Blueprint>,
        saved: Saved,
        journal: &[Record],
        now: Now,
        draws: Draws,
    ) -> Self {
        let roster = Roster::restore(policy(&spec), saved.roster, now);
        let mut slots = Slots::default();
        let seen = roster.members().values().map(|m| {
            let mut seen = Seen::new(slots.take(), &m.heartbeat, &spec, now.mono, true);
            seen.drain_since = m.drain_wish.then_some(now.mono);
            (m.heartbeat.id.clone(), seen)
        });
        let seen = seen.collect();
        let mut drill = saved.drill;
        let mut spend = saved.spend;
        for record in journal.iter().filter(|r| r.seq > saved.exec.seq) {
            match &record.entry {
                Entry::Plan { observation, .. } => spend.recall(observation),
                Entry::Drill { hit, instance_id } => drill.hit(hit, instance_id.as_deref()),
                Entry::Healed { key } => drill.healed(key),
                _ => {}
            }
        }
        let identity = spec.provider.identity();
        let foreign = saved.provider.filter(|saved| *saved != identity);
        let saved_seq = saved.exec.seq;
        let mut exec = saved.exec.replay(journal);
        // There is nothing to lose sight of.
        let foreign = foreign.filter(|_| !exec.instances.is_empty() || !exec.intents.is_empty());
        let overtaken =
            if foreign.is_some() { 0 } else { exec.forget_overtaken(saved_seq, journal.first().map(|r| r.seq), now.wall) };
        let mut control = Self {
            draws: draws.child("control", 0),
            started: now,
            seen,
            slots,
            roster,
            speeds: Speeds::default(),
            tombstones: super::beats::still_told(saved.tombstones, now),
            room: Room::new(spec.room.clone(), &saved.room, now),
            room_keys: Arc::new(TicketKeys::new(&spec.farm, &keys)),
            room_lanes: Arc::new(Lanes::new(&spec.room.lanes, &spec.farm, &keys)),
            rooms: Rooms::default(),
            room_saved: now.mono,
            doors_known: 1,
            published: None,
            generation: 0,
            dirty: true,
            restless: false,
            exec,
            foreign,
            plan_state: PlanState::restored(spend),
            shadow_state: PlanState::default(),
            planned: None,
            listed: None,
            listing: Vec::new(),
            known: BTreeMap::new(),
            provider_error: None,
            boots_ms: saved.boots_ms.into(),
            late_launches: 0,
            arrivals: 0,
            completions: 0,
            waits: VecDeque::new(),
            victims: BTreeSet::new(),
            desired: 0,
            decisions: VecDeque::new(),
            journalled_plan: None,
            frozen: None,
            journal_failures: 0,
            ward: Ward::restore(drill, now),
            drill_records: BTreeMap::new(),
            unsaved: false,
            saved: now.mono,
            notices: VecDeque::new(),
            told: (0, 0),
            spec,
            keys,
            blueprint,
        };
        if overtaken > 0 {
            let text = format!(
                "{overtaken} calls of the last run are too old to be sent again: what they did is found by its tags"
            );
            control.notices.push_back((now.wall.0, text));
        }
        control.drop_wishes_of_no_scaler();
        control
    }

    /// One event. Replies and calls come out at once; publishing and persisting wait for [`Control::flush`].
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Heartbeat { heartbeat, dispatched } => self.heartbeat(*heartbeat, dispatched, now, &mut effects),
            Event::Tick { waited, room } => {
                self.waits(waited, now);
                self.room_tick(room, now);
                self.tick(now, &mut effects);
                self.drill_tick(now, &mut effects);
                self.scale(now, &mut effects);
            }
            Event::Admin { ticket, command } => {
                let is_drill = matches!(command, AdminCommand::Drill(_));
                let result = self.admin(command, now, &mut effects);
                if let Ok(done) = &result
                    && !is_drill
                {
                    self.notice(Topic::Operator, now, done.clone(), &mut effects);
                }
                effects.push(Effect::Answer { ticket, result });
            }
            Event::Reload { spec, keys, blueprint } => {
                self.blueprint = blueprint;
                self.reload(spec, keys, now);
            }
            Event::Listing(list) => self.list(list, now, &mut effects),
            Event::Provider(outcome) => self.outcome(*outcome, now, &mut effects),
            Event::Fault { key, result } => self.fault_done(&key, result, now, &mut effects),
            Event::Journalled { seq, ok } => self.journalled(seq, ok, now, &mut effects),
        }
        effects
    }

    /// What became due: a new snapshot at most every 50 ms, what must persist at most every second. Call it after each burst of
    /// events, and on every tick.
    pub fn flush(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.publish_due(now) {
            effects.push(Effect::Publish(self.publish(now)));
        }
        let age_ms = now.mono.since_ms(self.saved);
        if (self.unsaved && age_ms >= PERSIST_MS_MIN) || age_ms >= PERSIST_MS_MAX {
            self.unsaved = false;
            self.saved = now.mono;
            effects.push(Effect::Persist(Box::new(self.save())));
        }
        effects
    }

    /// What must survive a restart, as of now: for the shell to write when it stops.
    pub fn save(&self) -> Saved {
        Saved {
            v: 1,
            roster: self.roster.save(),
            exec: self.exec.clone(),
            boots_ms: self.boots_ms.iter().copied().collect(),
            drill: self.ward.save(),
            spend: self.plan_state.spend(),
            tombstones: self.tombstones.iter().map(|(_, stone)| stone.clone()).collect(),
            room: self.room.save(),
            provider: Some(self.foreign.clone().unwrap_or_else(|| self.spec.provider.identity())),
        }
    }

    /// The slot of a member, or the one that it would get if it were heard now: for [`Event::Heartbeat`].
    pub fn slot(&self, id: &Id) -> Option<u32> {
        Some(self.seen.get(id).map_or_else(|| self.slots.next(), |s| s.slot))
    }

    /// Servers that the last plan wanted.
    pub fn desired(&self) -> u32 {
        self.desired
    }

    /// The configuration in force.
    pub fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    fn admin(&mut self, command: AdminCommand, now: Now, effects: &mut Vec<Effect>) -> Result<String, String> {
        let (id, forced) = match command {
            AdminCommand::Launch { role, count } => return self.order_launch(role, count, now, effects),
            AdminCommand::Instance { verb, target, force } => {
                return self.order_instance(verb, &target, force, now, effects);
            }
            AdminCommand::Force { id, forced, why } => {
                (id, Some((forced, why.chars().take(WHY_CHARS_MAX).collect::<String>())))
            }
            AdminCommand::Clear { id } => (id, None),
            AdminCommand::Drill(command) => return self.drill(command, now, effects),
        };
        let done = match &forced {
            Some((forced, why)) => format!("{id} is forced to {forced:?} by an operator: {why}"),
            None => format!("{id} is as measured again"),
        };
        self.roster.force(&id, forced).ok_or_else(|| format!("no member {id}"))?;
        (self.dirty, self.unsaved) = (true, true);
        Ok(done)
    }

    fn reload(&mut self, spec: Arc<Spec>, keys: Keys, now: Now) {
        if *self.roster.policy() != policy(&spec) || self.spec.farm != spec.farm {
            // Leases are measured in the new way from here on; until they are heard, members stand as after a restart.
            let saved = if self.spec.farm == spec.farm { self.roster.save() } else { SavedRoster::default() };
            self.roster = Roster::restore(policy(&spec), saved, now);
            let (roster, slots) = (&self.roster, &mut self.slots);
            self.seen.retain(|id, seen| {
                let stays = roster.get(id).is_some();
                if !stays {
                    slots.give_back(seen.slot);
                }
                stays
            });
        }
        self.room.reload(spec.room.clone());
        self.room_keys = Arc::new(TicketKeys::new(&spec.farm, &keys));
        self.room_lanes = Arc::new(Lanes::new(&spec.room.lanes, &spec.farm, &keys));
        self.spec = spec;
        self.keys = keys;
        for (id, seen) in &mut self.seen {
            if let Some(member) = self.roster.get(id) {
                seen.moved(&member.heartbeat, &self.spec);
            }
        }
        self.drop_wishes_of_no_scaler();
        self.dirty = true;
    }

    /// Without a scaler nobody would ever take back what it wished.
    ///
    /// What a call is open for that ends it stays drained: it would be ended with new sessions on it.
    pub(super) fn drop_wishes_of_no_scaler(&mut self) {
        if self.spec.scaler.enabled && !self.spec.scaler.dry_run {
            return;
        }
        let ending = self.exec.ending();
        for (id, seen) in self.seen.iter_mut().filter(|(id, _)| !ending.contains(id)) {
            seen.drain_since = None;
            self.unsaved |= self.roster.wish_drain(id, false).is_some();
        }
    }

    /// A line for the log and the status page.
    pub(super) fn notice(&mut self, topic: Topic, now: Now, text: String, effects: &mut Vec<Effect>) {
        let second = now.mono.0 / 1_000;
        if self.told.0 != second {
            self.told = (second, 0);
        }
        self.told.1 += 1;
        if self.told.1 > NOTICES_PER_S {
            return;
        }
        let text = if self.told.1 == NOTICES_PER_S { format!("{text} (more in this second are left out)") } else { text };
        self.notices.push_back((now.wall.0, text.clone()));
        if self.notices.len() > NOTICES_MAX {
            self.notices.pop_front();
        }
        effects.push(Effect::Notice(topic, text));
    }
}

fn policy(spec: &Spec) -> LeasePolicy {
    LeasePolicy { members_max: spec.lease.members_max.min(super::SLOTS_MAX), ..spec.lease }
}

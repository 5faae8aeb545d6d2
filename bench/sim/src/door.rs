//! The redirector: its control loop, its snapshot and its door, with a disk of a journal and a state file.
//!
//! A crash can come between any two effects. What is left is what was synced; calls that are on their way to the cloud arrive.

use crate::bug::Bug;
use crate::menu::Menu;
use crate::net::Node;
use crate::setup::{DOOR, FARM, POOL_NAME, TICK_MS, WALL_MS, id, prefixes};
use crate::watch::Rule;
use crate::world::{Ev, World};
use farm_shared::draw::Draws;
use farm_shared::heartbeat::{Envelope, Keyring, Kind, Refusal, Reply};
use farm_shared::time::{Mono, Now, Wall};
use redirector_core::config::Spec;
use redirector_core::door::{Decision, Dispatched, Front, Pickers, Request, Rules, Wait, decide};
use redirector_core::farm::{Control, Effect, Event, Keys, Saved};
use redirector_core::scale::{Blueprint, CallOutcome, Entry, Instance, ProviderCall, Record};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// A state on its way to the disk takes so long, in milliseconds.
const WRITE_MS: u64 = 30;
/// Records that a start reads, as production bounds them.
const RECORDS_MAX: usize = 5_000;
const LISTING_MS_MAX: u64 = 60_000;

/// The one farm, by its place in the published picture.
pub(crate) const FIRST: u16 = 0;

/// Dispatches by slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters(Vec<u32>);

impl Counters {
    /// One more for a slot.
    pub(crate) fn add(&mut self, slot: u32) {
        let at = slot as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        if let Some(count) = self.0.get_mut(at) {
            *count = count.wrapping_add(1);
        }
    }
}

impl Dispatched for Counters {
    fn total(&self, _farm: u16, slot: u32) -> u32 {
        self.0.get(slot as usize).copied().unwrap_or(0)
    }
}

/// The redirector and its disk.
pub(crate) struct Door {
    pub(crate) spec: Arc<Spec>,
    pub(crate) keys: Keys,
    pub(crate) menu: Arc<Menu>,
    keyring: Keyring,
    pub(crate) control: Option<Control>,
    pub(crate) life: u32,
    started_ms: u64,
    /// What its wall clock is ahead by, in milliseconds.
    pub(crate) clock_ms: i64,
    /// What is on disk; it goes through its text when it is read.
    saved: Option<Saved>,
    writing: Option<(u64, Saved)>,
    journal: Vec<Record>,
    /// Records that a planted bug keeps from the disk.
    unsynced: Vec<Record>,
    /// The disk takes nothing until then.
    pub(crate) full_until_ms: u64,
    front: Option<Arc<Front>>,
    pickers: Pickers,
    counters: Counters,
    waits: u64,
    listing: bool,
    list_ms: u64,
    /// It crashes after so many effects.
    pub(crate) dies_after: Option<u32>,
}

impl Door {
    pub(crate) fn new(spec: Spec, keys: Keys, menu: Menu, seed: u64) -> Self {
        let mut keyring = Keyring::default();
        keyring.insert(id(FARM), keys.current.clone(), prefixes());
        Self {
            spec: Arc::new(spec),
            keys,
            menu: Arc::new(menu),
            keyring,
            control: None,
            life: 0,
            started_ms: 0,
            clock_ms: 0,
            saved: None,
            writing: None,
            journal: Vec::new(),
            unsynced: Vec::new(),
            full_until_ms: 0,
            front: None,
            pickers: Pickers::new(Draws::from_u64(seed).child("picker", 0)),
            counters: Counters::default(),
            waits: 0,
            listing: false,
            list_ms: 0,
            dies_after: None,
        }
    }

    pub(crate) fn now(&self, now_ms: u64) -> Now {
        let wall = Wall((WALL_MS + now_ms).saturating_add_signed(self.clock_ms));
        Now { mono: Mono(now_ms - self.started_ms), wall }
    }

    fn on_disk(&self, call: &ProviderCall) -> bool {
        self.journal.iter().rev().any(|r| matches!(&r.entry, Entry::Intent { call: written } if written == call))
    }
}

impl World {
    /// It starts with what is on its disk: the state, and the journal's last records.
    pub(crate) fn door_starts(&mut self) {
        let (now_ms, seed) = (self.now_ms, self.setup.seed);
        let door = &mut self.door;
        if door.control.is_some() {
            return;
        }
        let text = door.saved.as_ref().and_then(|saved| serde_json::to_vec(saved).ok());
        let saved = text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        door.life += 1;
        (door.started_ms, door.front, door.listing, door.list_ms, door.waits) = (now_ms, None, false, now_ms, 0);
        (door.counters, door.dies_after) = (Counters::default(), None);
        let draws = Draws::from_u64(seed).child("door", u64::from(door.life));
        door.pickers = Pickers::new(draws.child("picker", 0));
        let from = door.journal.len().saturating_sub(RECORDS_MAX);
        let journal = door.journal.get(from..).unwrap_or_default();
        let blueprint: Arc<dyn Blueprint> = Arc::clone(&door.menu) as _;
        let now = door.now(now_ms);
        door.control = Some(Control::new(Arc::clone(&door.spec), door.keys.clone(), blueprint, saved, journal, now, draws));
        (self.watch.door_since, self.watch.door_listed) = (now_ms, false);
        let life = self.door.life;
        self.door_flushes();
        self.queue.put(now_ms + TICK_MS, Ev::DoorTick { life });
    }

    /// It crashes: what was not on disk is lost.
    pub(crate) fn door_crashes(&mut self) {
        let now_ms = self.now_ms;
        if self.door.control.is_none() {
            return;
        }
        self.watch.door_died(now_ms);
        let door = &mut self.door;
        if let Some((_, saved)) = door.writing.take().filter(|(at, _)| *at <= now_ms) {
            door.saved = Some(saved);
        }
        door.unsynced.clear();
        (door.control, door.front) = (None, None);
    }

    pub(crate) fn door_ticks(&mut self, life: u32) {
        if self.door.life != life || self.door.control.is_none() {
            return;
        }
        let waited = self.door.waits;
        self.door_step(Event::Tick { waited, room: None }, None);
        let now_ms = self.now_ms;
        self.queue.put(now_ms + TICK_MS, Ev::DoorTick { life });
        if self.door.control.is_some() && !self.door.listing && now_ms >= self.door.list_ms {
            (self.door.listing, self.door.list_ms) = (true, now_ms + self.setup.poll_ms);
            let listing = self.cloud.list(now_ms, &mut self.dice.cloud).map(|list| self.spoil_listing(list));
            let slow = self.cloud.moods.slow_ms > now_ms && self.dice.cloud.chance(0.3);
            let (delay_ms, listing) = if slow {
                (LISTING_MS_MAX, Err("the listing took too long".to_owned()))
            } else {
                (self.dice.cloud.between(20, 2_000), listing)
            };
            self.totals.listings += 1;
            self.queue.put(now_ms + delay_ms, Ev::Listing { life, listing: Box::new(listing) });
        }
    }

    fn spoil_listing(&self, mut list: Vec<Instance>) -> Vec<Instance> {
        if self.bug == Some(Bug::ListingBelieved) {
            for (_, machine) in self.cloud.alive(self.now_ms) {
                if !list.iter().any(|i| i.instance_id == machine.instance_id) {
                    list.push(machine.gone());
                }
            }
        }
        list
    }

    pub(crate) fn door_lists(&mut self, life: u32, listing: Result<Vec<Instance>, String>) {
        if self.door.life == life && self.door.control.is_some() {
            self.door.listing = false;
            self.watch.door_listed |= listing.is_ok();
            self.door_step(Event::Listing(listing), None);
        }
    }

    pub(crate) fn door_answered(&mut self, life: u32, outcome: CallOutcome) {
        if self.door.life == life {
            let (now_ms, failed) = (self.now_ms, outcome.result.is_err());
            if failed && self.bug == Some(Bug::RetryStorm) {
                for _ in 0..40 {
                    self.door_calls(outcome.call.clone());
                }
            }
            self.note(|| format!("door hears at {now_ms}: {outcome:?}"));
            self.door_step(Event::Provider(Box::new(outcome)), None);
        }
    }

    /// A datagram arrives: opened as the receiver does it.
    pub(crate) fn door_hears(&mut self, from: (usize, u32), message: (String, Vec<u8>)) {
        let now_ms = self.now_ms;
        let (number, life) = from;
        let Some(host_id) = self.hosts.get(number).map(|h| h.id.clone()) else { return };
        let Some(control) = &self.door.control else { return };
        let Ok(envelope) = Envelope::from_parts(&format!("{FARM}/{host_id}"), &message.0, &message.1) else { return };
        let now = self.door.now(now_ms);
        match self.door.keyring.open(&envelope, IpAddr::V4(crate::host::addr_of(number)), now.wall) {
            Ok(mut heartbeat) => {
                if self.bug == Some(Bug::GateSkipped) {
                    heartbeat.heard.iter_mut().filter(|h| h.kind == Kind::Dnslb).for_each(|h| h.ttl_left_ms = Some(0));
                }
                let dispatched = control.slot(&heartbeat.id).map_or(0, |slot| self.door.counters.total(FIRST, slot));
                let heard = (heartbeat.inc, heartbeat.load.sessions, heartbeat.draining());
                let event = Event::Heartbeat { heartbeat: Box::new(heartbeat), dispatched };
                self.door_step(event, Some((number, life, heard)));
            }
            Err(Refusal::Stale(heartbeat)) => {
                let reply = Reply::new(&id(DOOR), Kind::Redirector, &heartbeat, now.wall);
                self.door_replies((number, life), &Reply { challenge: true, ..reply });
            }
            Err(_) => self.totals.refused += 1,
        }
    }

    pub(crate) fn door_step(&mut self, event: Event, from: Option<(usize, u32, (u64, u32, bool))>) {
        let now = self.door.now(self.now_ms);
        let Some(control) = self.door.control.as_mut() else { return };
        let effects = control.step(now, event);
        self.door_follows(effects, from);
        self.door_flushes();
    }

    fn door_flushes(&mut self) {
        let now = self.door.now(self.now_ms);
        let Some(control) = self.door.control.as_mut() else { return };
        let effects = control.flush(now);
        self.door_follows(effects, None);
    }

    /// Does what the control loop says, in its order, as the shell does; a crash may come before any of it.
    fn door_follows(&mut self, effects: Vec<Effect>, from: Option<(usize, u32, (u64, u32, bool))>) {
        let now_ms = self.now_ms;
        let mut left = VecDeque::from(effects);
        while let Some(effect) = left.pop_front() {
            if !matches!(effect, Effect::Notice(..) | Effect::Reply(_))
                && let Some(more) = self.door.dies_after.as_mut()
            {
                if *more == 0 {
                    self.totals.crashes_between += 1;
                    self.note(|| "door crashes between two effects".to_owned());
                    self.door_crashes();
                    let back_ms = self.now_ms + self.dice.faults.between(1_000, 60_000);
                    return self.queue.put(back_ms, Ev::DoorStart);
                }
                *more -= 1;
            }
            match effect {
                Effect::Reply(reply) => {
                    if let Some((number, life, (inc, sessions, drains))) = from {
                        self.watch.door_believed(&reply.to, inc, sessions, drains, reply.drain, now_ms);
                        self.door_replies((number, life), &reply);
                    }
                }
                Effect::Refused(_) => self.totals.refused += 1,
                Effect::Publish(snapshot) => {
                    if self.bug != Some(Bug::SnapshotStale) || now_ms < 1_200_000 || self.door.front.is_none() {
                        let rules = Arc::new(Rules::new(&self.door.spec));
                        self.door.front = Some(Arc::new(Front::new(rules, [snapshot])));
                    }
                }
                Effect::Persist(saved) => {
                    if let Some((_, before)) = self.door.writing.replace((now_ms + WRITE_MS, *saved)) {
                        self.door.saved = Some(before);
                    }
                }
                Effect::Journal(record) => {
                    let seq = record.seq;
                    let ok = self.door_writes(*record);
                    let now = self.door.now(now_ms);
                    if let Some(control) = self.door.control.as_mut() {
                        left.extend(control.step(now, Event::Journalled { seq, ok }));
                    }
                }
                Effect::Call(call) => self.door_calls(call),
                // No drills in this world: its faults are its own.
                Effect::Answer { .. } | Effect::Fault(_) => {}
                Effect::Notice(_, text) => self.note(|| format!("door: {text}")),
            }
        }
    }

    fn door_writes(&mut self, record: Record) -> bool {
        self.totals.records += 1;
        if let Entry::Gone { .. } | Entry::Adopt { .. } | Entry::Abandon { .. } = &record.entry {
            self.note(|| format!("door writes: {:?}", record.entry));
        }
        if let Entry::Plan { plan, dry_run: false, .. } = &record.entry {
            plan.undrain.iter().for_each(|id| self.watch.undrained(id));
        }
        if self.door.full_until_ms > self.now_ms {
            return false;
        }
        if let Entry::Intent { call } = &record.entry {
            self.watch.planned(self.now_ms, call);
        }
        if self.bug == Some(Bug::LostFsync) && matches!(record.entry, Entry::Intent { .. }) {
            self.door.unsynced.push(record);
        } else {
            self.door.journal.push(record);
        }
        true
    }

    fn door_calls(&mut self, call: ProviderCall) {
        let (now_ms, on_disk) = (self.now_ms, self.door.on_disk(&call));
        self.totals.calls += 1;
        self.note(|| format!("door calls: {call:?}"));
        self.watch.called(now_ms, on_disk, call.intent());
        if let ProviderCall::Terminate(request) = &call
            && let Some(number) = self.cloud.find(&request.instance_id)
            && let (Some(machine), Some(host)) = (self.cloud.machines.get(number), self.hosts.get(number))
        {
            self.watch.stopping(machine, host, now_ms);
        }
        let mut copies = vec![call];
        if self.bug == Some(Bug::DoubledAttempt)
            && let Some(ProviderCall::Launch(request)) = copies.first()
        {
            let mut again = request.clone();
            (again.attempt, again.token) = (again.attempt + 1, format!("{}x", again.token));
            copies.push(ProviderCall::Launch(again));
        }
        for call in copies {
            let delay_ms = self.cloud.delay_ms(now_ms, &mut self.dice.cloud);
            let life = self.door.life;
            self.queue.put(now_ms + delay_ms, Ev::CallArrives { life, call: Box::new(call), sent_ms: now_ms });
            let timeout = delay_ms >= crate::cloud::TIMEOUT_MS;
            if timeout {
                self.totals.late_calls += 1;
            }
        }
    }

    fn door_replies(&mut self, to: (usize, u32), reply: &Reply) {
        let (number, life) = to;
        let Some(host) = self.hosts.get(number) else { return };
        if let Some(delay_ms) = self.net.datagram(Node::Door, Node::Host(number), self.now_ms, &mut self.dice.net) {
            let (body, mac) = reply.seal(&host.key);
            self.queue.put(self.now_ms + delay_ms, Ev::Reply { number, life, front: 0, message: Box::new((mac, body)) });
        }
    }

    /// One request at the door: where it leads, by address or by a member's name, and the cookie that is set.
    pub(crate) fn door_decides(&mut self, cookie: Option<&str>) -> Went {
        let now_ms = self.now_ms;
        let now = self.door.now(now_ms);
        let (Some(front), true) = (self.door.front.clone(), self.door.control.is_some()) else { return Went::Nowhere };
        let cookies: Vec<&str> = cookie.into_iter().collect();
        let request = Request {
            method: "GET",
            target: "/",
            host: Some(POOL_NAME),
            cookies: &cookies,
            secure: false,
            source: Ipv4Addr::LOCALHOST.into(),
            fields: &(),
        };
        self.totals.decisions += 1;
        match decide(&front, &self.door.counters, &request, now, &mut self.door.pickers) {
            Decision::Redirect { farm, slot, location_prefix, returning, .. } => {
                if !returning {
                    self.door.counters.add(slot);
                }
                let host = location_prefix.trim_start_matches("http://").split(':').next().unwrap_or_default().to_owned();
                let by_addr = |addr: Ipv4Addr| self.hosts.get(crate::host::number_of(addr)).map(|h| h.id.clone());
                let by_name = || host.strip_suffix(crate::setup::MEMBER_ZONE).map(|label| id(label.trim_end_matches('.')));
                let member = host.parse::<Ipv4Addr>().ok().map_or_else(by_name, by_addr);
                match member {
                    Some(member) => self.watch.redirected(&member, returning, now_ms),
                    None => self.watch.check(false, now_ms, Rule::Outside, || format!("a redirect to {host}")),
                }
                let cookie = front.farm(farm).and_then(|snapshot| snapshot.set_cookie(slot, false, now));
                let cookie = cookie.and_then(|c| Some(c.split(';').next()?.to_owned()));
                Went::To { host, cookie: cookie.filter(|_| !returning) }
            }
            Decision::Wait(Wait { told, .. }) => {
                self.door.waits += 1;
                self.totals.waits += 1;
                Went::Wait(u64::from(told.retry_after_s) * 1_000)
            }
            other => {
                self.watch.break_rule(now_ms, Rule::Rejected, || format!("{other:?}"));
                Went::Nowhere
            }
        }
    }
}

/// What became of a request at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Went {
    /// To a host, with a new cookie.
    To {
        /// Its address or name.
        host: String,
        /// `farm=…`, if one is set.
        cookie: Option<String>,
    },
    /// To come again after so many milliseconds.
    Wait(u64),
    /// The door does not run.
    Nowhere,
}

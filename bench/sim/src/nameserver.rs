//! A name server: dnslb's control loop and `respond`, with a disk that holds what was written when it crashed.

use crate::bug::Bug;
use crate::dns::{self, Answer};
use crate::net::Node;
use crate::setup::{FARM, MEMBER_ZONE, POOL_NAME, TICK_MS, WALL_MS, id, prefixes};
use crate::world::{Ev, World};
use dnslb_core::config::Loaded;
use dnslb_core::control::{Control, Effect, Event, Saved};
use dnslb_core::respond::{Transport, respond};
use dnslb_core::snapshot::Snapshot;
use farm_shared::draw::Draws;
use farm_shared::heartbeat::{Envelope, FarmKey, Keyring, Kind, Refusal, Reply};
use farm_shared::id::Id;
use farm_shared::time::{Mono, Now, Wall};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// A state on its way to the disk takes so long, in milliseconds.
const WRITE_MS: u64 = 30;

/// One name server.
pub(crate) struct NameServer {
    loaded: Loaded,
    keyring: Keyring,
    pub(crate) control: Option<Control>,
    pub(crate) life: u32,
    started_ms: u64,
    /// What is on disk; it goes through its text when it is read.
    saved: Option<Saved>,
    /// What is being written, and when it is there.
    writing: Option<(u64, Saved)>,
    snapshot: Option<Arc<Snapshot>>,
}

impl NameServer {
    /// One that does not run yet.
    pub(crate) fn new(loaded: Loaded, key: FarmKey) -> Self {
        let mut keyring = Keyring::default();
        keyring.insert(id(FARM), key, prefixes());
        let (life, started_ms, saved) = (0, 0, None);
        Self { loaded, keyring, control: None, life, started_ms, saved, writing: None, snapshot: None }
    }

    fn now(&self, now_ms: u64) -> Now {
        Now { mono: Mono(now_ms - self.started_ms), wall: Wall(WALL_MS + now_ms) }
    }

    fn ask(&self, name: &str, draw: u64, now_ms: u64) -> Option<Answer> {
        let snapshot = self.snapshot.as_ref().filter(|_| self.control.is_some())?;
        let mut out = [0; 1_300];
        let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));
        let reply = respond(snapshot, Transport::Udp, client, &dns::query(name), self.now(now_ms), draw, &mut out)?;
        dns::read(out.get(..reply.len)?)
    }
}

impl World {
    /// A name server starts with what is on its disk.
    pub(crate) fn name_starts(&mut self, ns: usize) {
        let (now_ms, seed) = (self.now_ms, self.setup.seed);
        let Some(name) = self.names.get_mut(ns).filter(|n| n.control.is_none()) else { return };
        let text = name.saved.as_ref().map(Saved::to_json);
        let saved = text.and_then(|text| Saved::from_json(&text).ok()).unwrap_or_default();
        (name.life, name.started_ms, name.snapshot) = (name.life + 1, now_ms, None);
        let draws = Draws::from_u64(seed).child("name", (ns as u64) << 32 | u64::from(name.life));
        let (spec, zones) = (Arc::clone(&name.loaded.spec), Arc::clone(&name.loaded.zones));
        name.control = Some(Control::new(spec, zones, saved, name.now(now_ms), draws));
        let life = name.life;
        self.watch.name_began(ns, now_ms);
        self.name_flushes(ns);
        self.queue.put(now_ms + TICK_MS, Ev::NameTick { ns, life });
    }

    /// It crashes: what was not on disk is lost.
    pub(crate) fn name_crashes(&mut self, ns: usize) {
        let now_ms = self.now_ms;
        let Some(name) = self.names.get_mut(ns).filter(|n| n.control.is_some()) else { return };
        self.watch.name_died(ns, now_ms);
        if let Some((_, saved)) = name.writing.take().filter(|(at, _)| *at <= now_ms) {
            name.saved = Some(saved);
        }
        (name.control, name.snapshot) = (None, None);
    }

    pub(crate) fn name_ticks(&mut self, ns: usize, life: u32) {
        if self.names.get(ns).is_some_and(|n| n.life == life && n.control.is_some()) {
            self.name_step(ns, Event::Tick, None);
            self.queue.put(self.now_ms + TICK_MS, Ev::NameTick { ns, life });
        }
    }

    /// A datagram arrives: opened as the receiver does it.
    pub(crate) fn name_hears(&mut self, ns: usize, from: (usize, u32), message: (String, Vec<u8>)) {
        let now_ms = self.now_ms;
        let (number, life) = from;
        let Some(host_id) = self.hosts.get(number).map(|h| h.id.clone()) else { return };
        let Some(name) = self.names.get(ns).filter(|n| n.control.is_some()) else { return };
        let key = format!("{FARM}/{host_id}");
        let Ok(envelope) = Envelope::from_parts(&key, &message.0, &message.1) else { return };
        let now = name.now(now_ms);
        match name.keyring.open(&envelope, IpAddr::V4(crate::host::addr_of(number)), now.wall) {
            Ok(heartbeat) => {
                let mut told = heartbeat.clone();
                if self.bug == Some(Bug::TombstoneIgnored) {
                    told.tombstones.clear();
                }
                let believed = self.name_step(ns, Event::Heartbeat(Box::new(told)), Some((number, life)));
                self.watch.name_heard(ns, &heartbeat, believed, now_ms);
            }
            Err(Refusal::Stale(heartbeat)) => {
                let reply = Reply::new(&id(&format!("ns{ns}")), Kind::Dnslb, &heartbeat, now.wall);
                self.name_replies(ns, (number, life), &Reply { challenge: true, ..reply });
            }
            Err(_) => self.totals.refused += 1,
        }
    }

    /// Whether nothing was refused.
    fn name_step(&mut self, ns: usize, event: Event, from: Option<(usize, u32)>) -> bool {
        let now_ms = self.now_ms;
        let Some(name) = self.names.get_mut(ns) else { return false };
        let now = name.now(now_ms);
        let Some(control) = name.control.as_mut() else { return false };
        let effects = control.step(now, event);
        let refused = effects.iter().any(|e| matches!(e, Effect::Refused(_)));
        self.name_follows(ns, effects, from);
        self.name_flushes(ns);
        !refused
    }

    fn name_flushes(&mut self, ns: usize) {
        let now_ms = self.now_ms;
        let Some(name) = self.names.get_mut(ns) else { return };
        let now = name.now(now_ms);
        let Some(control) = name.control.as_mut() else { return };
        let effects = control.flush(now);
        self.name_follows(ns, effects, None);
    }

    fn name_follows(&mut self, ns: usize, effects: Vec<Effect>, from: Option<(usize, u32)>) {
        let now_ms = self.now_ms;
        for effect in effects {
            match effect {
                Effect::Reply(reply) => {
                    if let Some(from) = from {
                        self.name_replies(ns, from, &reply);
                    }
                }
                Effect::Refused(_) => self.totals.refused += 1,
                Effect::Publish(snapshot) => {
                    let stale = self.bug == Some(Bug::AnswersStale) && now_ms > 1_200_000;
                    if let Some(name) = self.names.get_mut(ns).filter(|n| !stale || n.snapshot.is_none()) {
                        name.snapshot = Some(snapshot);
                    }
                }
                Effect::Persist(saved) => {
                    let Some(name) = self.names.get_mut(ns) else { return };
                    if let Some((_, before)) = name.writing.replace((now_ms + WRITE_MS, saved)) {
                        name.saved = Some(before);
                    }
                }
                Effect::Build(job) => {
                    self.name_step(ns, Event::Scheduled(Box::new(job.run())), None);
                }
                Effect::Sign(job) => {
                    self.name_step(ns, Event::Signatures(Box::new(job.run())), None);
                }
                Effect::Check(_) | Effect::Answer(_) => {}
                Effect::Notice(notice) => self.note(|| format!("ns{ns}: {notice}")),
            }
        }
    }

    fn name_replies(&mut self, ns: usize, to: (usize, u32), reply: &Reply) {
        let (number, life) = to;
        let Some(host) = self.hosts.get(number) else { return };
        if let Some(delay_ms) = self.net.datagram(Node::Name(ns), Node::Host(number), self.now_ms, &mut self.dice.net) {
            let (body, mac) = reply.seal(&host.key);
            let message = Box::new((mac, body));
            self.queue.put(self.now_ms + delay_ms, Ev::Reply { number, life, front: ns + 1, message });
        }
    }

    /// Asks a name server; the answer is checked. None if it does not answer.
    pub(crate) fn ask(&mut self, ns: usize, name: &str, honest: bool) -> Option<Answer> {
        let now_ms = self.now_ms;
        let draw = self.dice.crowd.bits();
        let server = self.names.get(ns)?;
        let answer = server.ask(name, draw, now_ms)?;
        self.totals.answers += 1;
        if name == POOL_NAME {
            let named: Vec<Option<Id>> = answer.addrs.iter().map(|addr| self.member_at(*addr)).collect();
            self.watch.pool_answered(ns, &answer, &named, now_ms);
            if honest {
                let until_ms = now_ms + u64::from(answer.ttl_s) * 1_000;
                for id in named.into_iter().flatten() {
                    self.watch.cached(ns, id, until_ms, now_ms);
                }
            }
        } else if let Some(label) = name.strip_suffix(MEMBER_ZONE) {
            self.watch.member_answered(ns, &id(label.trim_end_matches('.')), &answer, now_ms);
        }
        Some(answer)
    }

    fn member_at(&self, addr: Ipv4Addr) -> Option<Id> {
        self.hosts.get(crate::host::number_of(addr)).map(|h| h.id.clone())
    }
}

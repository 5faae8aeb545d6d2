//! A server: a machine that has booted, the backend on it, and the production agent beside it.
//!
//! Its wall clock may be wrong; its disk survives a crash of the agent, but not the end of the machine.

use crate::bug::Bug;
use crate::net::Node;
use crate::setup::{FARM, WALL_MS, id};
use crate::world::{Ev, World};
use farm_agent::logic::{Agent, Effect, Event};
use farm_agent::{OnLoadFailure, Profile, Reading, Saved};
use farm_bench::backend::ps_queue::PsQueue;
use farm_shared::draw::Draws;
use farm_shared::heartbeat::{Load, MemberKey, Role};
use farm_shared::id::Id;
use farm_shared::time::{Mono, Now, Wall};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// One server, by the number of its machine.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) id: Id,
    pub(crate) addr: Ipv4Addr,
    pub(crate) zone: usize,
    pub(crate) agent: Option<Agent>,
    /// Counts the agent's lives, so that what was meant for an earlier one is recognised.
    pub(crate) life: u32,
    tick_ms: u64,
    pub(crate) saved: Saved,
    pub(crate) key: MemberKey,
    /// What the agent's clock is ahead by, in milliseconds.
    clock_ms: i64,
    /// The backend answers.
    pub(crate) serves: bool,
    pub(crate) frozen_until_ms: u64,
    /// Sessions: when each began, and was active last.
    pub(crate) sessions: BTreeMap<u32, (u64, u64)>,
    pub(crate) arrivals: u64,
    pub(crate) completions: u64,
    pub(crate) work: PsQueue,
    /// Integrals at the last reading: queue, busy share, and when.
    read: (f64, f64, u64),
    cores: f64,
    /// Wishes to drain that front ends told it and did not take back, by what was delivered.
    pub(crate) told: BTreeSet<Id>,
}

/// The address of a machine.
pub(crate) fn addr_of(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, (number >> 16) as u8, (number >> 8) as u8, number as u8)
}

/// The machine behind an address.
pub(crate) fn number_of(addr: Ipv4Addr) -> usize {
    let [_, a, b, c] = addr.octets();
    usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
}

impl Host {
    /// A server that has not booted.
    pub(crate) fn new(number: usize, member: &Id, key: MemberKey, zone: usize, speed: f64, clock_ms: i64) -> Self {
        Self {
            id: member.clone(),
            addr: addr_of(number),
            zone,
            agent: None,
            life: 0,
            tick_ms: u64::MAX,
            saved: Saved::default(),
            key,
            clock_ms,
            serves: false,
            frozen_until_ms: 0,
            sessions: BTreeMap::new(),
            arrivals: 0,
            completions: 0,
            work: PsQueue::new(speed),
            read: (0.0, 0.0, 0),
            cores: speed,
            told: BTreeSet::new(),
        }
    }

    fn now(&self, now_ms: u64) -> Now {
        Now { mono: Mono(now_ms), wall: Wall((WALL_MS + now_ms).saturating_add_signed(self.clock_ms)) }
    }

    /// Answers clients now.
    pub(crate) fn answers(&self, now_ms: u64) -> bool {
        self.serves && self.frozen_until_ms <= now_ms
    }

    fn reading(&mut self, limit: u32, now_ms: u64) -> Reading {
        let (queue, busy) = (self.work.queue_integral(), self.work.busy_integral());
        let span_us = (now_ms.saturating_sub(self.read.2) as f64 * 1_000.0).max(1.0);
        let load = Load {
            queue: ((queue - self.read.0) / span_us).max(0.0),
            cores: self.cores,
            busy: ((busy - self.read.1) / span_us).clamp(0.0, 1.0),
            sessions: self.sessions.len() as u32,
            limit: Some(limit),
            arrivals: self.arrivals,
            completions: self.completions,
            youngest_ms: self.sessions.values().map(|(_, at)| *at).max().map(|at| now_ms.saturating_sub(at)),
            reported: true,
        };
        self.read = (queue, busy, now_ms);
        Reading { load, draining: false }
    }
}

impl World {
    /// The agent starts, or starts again, with what is on its disk.
    pub(crate) fn agent_starts(&mut self, number: usize) {
        let (now_ms, seed, fronts) = (self.now_ms, self.setup.seed, 1 + self.names.len());
        let period_ms = self.setup.period_ms;
        let Some(host) = self.hosts.get_mut(number).filter(|h| h.serves && h.agent.is_none()) else { return };
        let profile = Profile {
            farm: id(FARM),
            id: host.id.clone(),
            role: Role::Backend,
            zone: Some(id(&format!("z{}", host.zone))),
            addrs: vec![IpAddr::V4(host.addr)],
            port: 80,
            period_ms,
            load_stale_ms: 4 * period_ms,
            on_load_failure: OnLoadFailure::Silent,
            drill_allow: Vec::new(),
        };
        host.life += 1;
        let draws = Draws::from_u64(seed).child("agent", (number as u64) << 16 | u64::from(host.life));
        let agent = Agent::new(profile, host.key.clone(), fronts, host.saved.clone(), host.now(now_ms), draws);
        let lost: Vec<&Id> = host.told.iter().filter(|by| !agent.drain_by().contains(by)).collect();
        let what = format!("{} began again and forgot that {lost:?} want it drained", host.id);
        let holds = lost.is_empty();
        // What the backend counts begins with the incarnation.
        (host.arrivals, host.completions, host.tick_ms) = (host.sessions.len() as u64, 0, u64::MAX);
        host.agent = Some(agent);
        self.watch.check(holds, now_ms, crate::watch::Rule::DrainLost, || what);
        for front in 0..fronts {
            self.agent_step(number, Event::Route { front, source: Some(IpAddr::V4(addr_of(number))) });
        }
    }

    pub(crate) fn agent_ticks(&mut self, number: usize, life: u32, due_ms: u64) {
        let Some(host) = self.hosts.get_mut(number).filter(|h| h.life == life && h.tick_ms == due_ms) else { return };
        if host.frozen_until_ms == u64::MAX {
            return;
        }
        if host.frozen_until_ms > self.now_ms {
            host.tick_ms = host.frozen_until_ms;
            let event = Ev::AgentTick { number, life, due_ms: host.tick_ms };
            self.queue.put(host.frozen_until_ms, event);
            return;
        }
        host.tick_ms = u64::MAX;
        self.agent_step(number, Event::Tick);
    }

    /// One step of the production agent, and what follows from it.
    pub(crate) fn agent_step(&mut self, number: usize, event: Event) {
        let (now_ms, limit, bug) = (self.now_ms, self.setup.per_server, self.bug);
        let Some(host) = self.hosts.get_mut(number) else { return };
        let now = host.now(now_ms);
        let Some(agent) = host.agent.as_mut() else { return };
        let mut effects = agent.step(now, event);
        if effects.contains(&Effect::Read) {
            let mut reading = host.reading(limit, now_ms);
            if bug == Some(Bug::SessionsHidden) {
                (reading.load.sessions, reading.load.youngest_ms) = (0, None);
            }
            if let Some(agent) = host.agent.as_mut() {
                effects.extend(agent.step(now, Event::Load(Ok(reading))));
            }
        }
        let life = host.life;
        let mut exits = false;
        let mut to_send = Vec::new();
        for effect in effects {
            match effect {
                Effect::Read | Effect::Notice(_) | Effect::Kill { .. } => {}
                Effect::Send { front, mac, body } => to_send.push((front, mac, body)),
                Effect::Persist(mut saved) => {
                    if bug == Some(Bug::DrainForgotten) {
                        saved.drain_by.clear();
                    }
                    host.saved = saved;
                }
                Effect::Exit => exits = true,
            }
        }
        if exits {
            host.agent = None;
        }
        if let Some(due) = host.agent.as_ref().map(Agent::deadline).filter(|due| *due != Mono::NEVER)
            && due.0 != host.tick_ms
        {
            host.tick_ms = due.0.max(now_ms);
            let event = Ev::AgentTick { number, life, due_ms: host.tick_ms };
            self.queue.put(host.tick_ms, event);
        }
        for (front, mac, body) in to_send {
            let to = if front == 0 { Node::Door } else { Node::Name(front - 1) };
            if let Some(delay_ms) = self.net.datagram(Node::Host(number), to, now_ms, &mut self.dice.net) {
                self.queue.put(now_ms + delay_ms, Ev::Beat { number, life, front, message: Box::new((mac, body)) });
            }
        }
    }

    /// A reply comes back from a front end.
    pub(crate) fn agent_hears(&mut self, number: usize, life: u32, front: usize, message: (String, Vec<u8>)) {
        let now_ms = self.now_ms;
        let (mac, body) = message;
        let heard = |h: &Host| h.life == life && h.agent.is_some() && h.frozen_until_ms <= now_ms;
        if self.hosts.get(number).is_none_or(|host| !heard(host)) {
            return;
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = mac.get(2 * at..2 * at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(0);
        }
        self.agent_step(number, Event::Reply { front, mac: bytes, body });
        let Some(host) = self.hosts.get_mut(number) else { return };
        if let Some(agent) = &host.agent {
            host.told = agent.drain_by().iter().filter(|by| **by != host.id).cloned().collect();
        }
    }

    /// The machine ends: whoever is on it is lost. A polite end lets the agent say goodbye.
    pub(crate) fn host_ends(&mut self, number: usize, polite: bool) {
        if polite {
            self.agent_step(number, Event::Stop);
        }
        let Some(host) = self.hosts.get_mut(number) else { return };
        self.totals.sessions_cut += host.sessions.len() as u64;
        (host.agent, host.serves) = (None, false);
        host.life += 1;
        host.sessions.clear();
        self.totals.ended += 1;
    }
}

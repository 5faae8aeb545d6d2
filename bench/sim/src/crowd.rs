//! Clients with sessions: some come through the door and carry its cookie, some by DNS with the habits of resolvers and browsers.
//!
//! They see only what answers, redirects and connections tell them.

use crate::dns::Resolver;
use crate::door::Went;
use crate::host::number_of;
use crate::net::Node;
use crate::setup::{MEMBER_ZONE, POOL_NAME};
use crate::watch::Rule;
use crate::world::{Ev, World};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Seconds until a browser tries the next address, lowest and highest (seed 003, table 2).
const FAILOVER_S: [(u64, u64); 4] = [(21, 21), (3, 3), (15, 75), (12, 75)];
const RESOLVERS: usize = 4;
/// Mean pause between two requests of a session, in milliseconds.
const THINK_MS: f64 = 25_000.0;
/// Service time of a request on an average core, in microseconds.
const DEMAND_US: f64 = 150_000.0;
const RETRY_MS: u64 = 4_000;
/// A client gives up after so many failures in a row.
const TRIES_MAX: u32 = 60;
/// How often a session comes by the door again.
const REVISIT: f64 = 0.15;

/// One session, or one that waits to begin.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    resolver: usize,
    /// Comes through the door.
    door: bool,
    browser: usize,
    cookie: Option<String>,
    host: Option<usize>,
    /// Addresses not tried yet.
    left: Vec<Ipv4Addr>,
    /// When it is over; 0 before it began.
    ends_ms: u64,
    tries: u32,
}

/// All clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crowd {
    pub(crate) sessions: BTreeMap<u32, Session>,
    next: u32,
    resolvers: Vec<Resolver>,
    /// A flash crowd: so many times the load, until when.
    pub(crate) flash: (f64, u64),
    /// The load is held at this share of the peak, once faults are over.
    pub(crate) steady: Option<f64>,
}

impl Crowd {
    /// Clients of a world; one resolver of four overstays, some sort.
    pub(crate) fn new(die: &mut crate::dice::Die) -> Self {
        let resolver =
            |n| Resolver { overstays_ms: if n == 0 { 300_000 } else { 0 }, sorts: die.chance(0.3), ..Resolver::default() };
        Self { resolvers: (0..RESOLVERS).map(resolver).collect(), ..Self::default() }
    }

    /// Sessions that have not begun, or lost their server.
    pub(crate) fn waiting(&self) -> usize {
        self.sessions.values().filter(|s| s.host.is_none()).count()
    }
}

impl World {
    /// A new client, and the time of the next.
    pub(crate) fn client_comes(&mut self) {
        let now_ms = self.now_ms;
        let flash = if self.crowd.flash.1 > now_ms { self.crowd.flash.0 } else { 1.0 };
        let level = self.crowd.steady.unwrap_or_else(|| self.setup.level(now_ms)) * flash;
        let gap_ms = self.setup.session_ms as f64 / (self.setup.sessions_peak * level);
        let die = &mut self.dice.crowd;
        let session = Session {
            resolver: die.below(RESOLVERS),
            door: !die.chance(self.setup.dns_share),
            browser: die.below(FAILOVER_S.len()),
            cookie: None,
            host: None,
            left: Vec::new(),
            ends_ms: 0,
            tries: 0,
        };
        let gap_ms = die.exponential(gap_ms).max(1);
        let number = self.crowd.next;
        self.crowd.next += 1;
        self.crowd.sessions.insert(number, session);
        self.totals.clients += 1;
        self.queue.put(now_ms + gap_ms, Ev::ClientComes);
        self.client_acts(number);
    }

    /// A client's turn: a request within its session, or another try to begin one.
    pub(crate) fn client_acts(&mut self, number: u32) {
        let now_ms = self.now_ms;
        let Some(session) = self.crowd.sessions.get(&number) else { return };
        let Some(at) = session.host else { return self.client_connects(number) };
        let (ends_ms, by_door) = (session.ends_ms, session.door);
        let reachable = self.reaches(at);
        let Some(host) = self.hosts.get_mut(at) else { return };
        if !reachable || !host.sessions.contains_key(&number) {
            host.sessions.remove(&number);
            self.totals.aborted += 1;
            if let Some(session) = self.crowd.sessions.get_mut(&number) {
                (session.host, session.tries) = (None, 0);
            }
            return self.queue.put(now_ms + 1_000, Ev::ClientActs { number });
        }
        if now_ms >= ends_ms {
            host.sessions.remove(&number);
            host.completions += 1;
            self.crowd.sessions.remove(&number);
            self.totals.completed += 1;
            return;
        }
        if let Some((_, active_ms)) = host.sessions.get_mut(&number) {
            *active_ms = now_ms;
        }
        let demand_us = self.dice.crowd.exponential(DEMAND_US) as f64;
        host.work.arrive(now_ms * 1_000, u64::from(number), demand_us);
        self.work_due(at);
        if by_door && self.dice.crowd.chance(REVISIT) {
            self.client_revisits(number, at);
        }
    }

    /// A session comes by the door with its cookie: it must be sent where it is.
    fn client_revisits(&mut self, number: u32, at: usize) {
        let Some(cookie) = self.crowd.sessions.get(&number).and_then(|s| s.cookie.clone()) else { return };
        let Some(here) = self.hosts.get(at).map(|h| (h.id.clone(), h.addr)) else { return };
        let known = self.watch.keeps_sessions(&here.0, self.now_ms);
        // A cookie is dated by the door's own clock: one that jumped honours none.
        if self.door.clock_ms != 0 || !self.net.connects(Node::Clients, Node::Door, self.now_ms) {
            return;
        }
        if let Went::To { host, .. } = self.door_decides(Some(&cookie)) {
            let same = host == here.1.to_string()
                || host.strip_suffix(MEMBER_ZONE).map(|l| l.trim_end_matches('.')) == Some(here.0.as_str());
            self.watch.check(same || !known, self.now_ms, Rule::Affinity, || {
                format!("a session of {} was sent to {host}", here.0)
            });
        }
    }

    fn reaches(&self, at: usize) -> bool {
        let serves = self.hosts.get(at).is_some_and(|h| h.answers(self.now_ms));
        serves && self.net.connects(Node::Clients, Node::Host(at), self.now_ms)
    }

    fn client_connects(&mut self, number: u32) {
        let now_ms = self.now_ms;
        let Some(session) = self.crowd.sessions.get_mut(&number) else { return };
        session.tries += 1;
        if session.tries > TRIES_MAX {
            self.crowd.sessions.remove(&number);
            self.totals.given_up += 1;
            return;
        }
        let (door, browser, cookie) = (session.door, session.browser, session.cookie.clone());
        if let Some(addr) = session.left.pop() {
            return self.client_tries(number, addr, browser);
        }
        let resolver = session.resolver;
        let again = |world: &mut Self, after_ms: u64| world.queue.put(now_ms + after_ms, Ev::ClientActs { number });
        if !door {
            return match self.resolve(resolver, POOL_NAME) {
                Some(addrs) if !addrs.is_empty() => self.client_has(number, addrs, browser),
                _ => again(self, RETRY_MS),
            };
        }
        if !self.net.connects(Node::Clients, Node::Door, now_ms) {
            return again(self, RETRY_MS);
        }
        match self.door_decides(cookie.as_deref()) {
            Went::To { host, cookie } => {
                if let (Some(session), Some(cookie)) = (self.crowd.sessions.get_mut(&number), cookie) {
                    session.cookie = Some(cookie);
                }
                let addrs = match host.parse::<Ipv4Addr>() {
                    Ok(addr) => Some(vec![addr]),
                    Err(_) => self.resolve(resolver, &host).filter(|addrs| !addrs.is_empty()),
                };
                if let Some(addrs) = addrs {
                    self.client_has(number, addrs, browser);
                } else {
                    self.totals.unresolved += 1;
                    again(self, RETRY_MS);
                }
            }
            Went::Wait(after_ms) => again(self, after_ms.max(1_000)),
            Went::Nowhere => again(self, RETRY_MS),
        }
    }

    fn client_has(&mut self, number: u32, mut addrs: Vec<Ipv4Addr>, browser: usize) {
        addrs.reverse();
        let first = addrs.pop();
        if let Some(session) = self.crowd.sessions.get_mut(&number) {
            session.left = addrs;
        }
        if let Some(addr) = first {
            self.client_tries(number, addr, browser);
        }
    }

    fn client_tries(&mut self, number: u32, addr: Ipv4Addr, browser: usize) {
        let (now_ms, at) = (self.now_ms, number_of(addr));
        let session_ms = self.setup.session_ms as f64;
        if !self.reaches(at) {
            let (low, high) = FAILOVER_S.get(browser).copied().unwrap_or((3, 3));
            let after_ms = self.dice.crowd.between(low, high) * 1_000;
            self.totals.failovers += 1;
            return self.queue.put(now_ms + after_ms, Ev::ClientActs { number });
        }
        let length_ms = self.dice.crowd.exponential(session_ms).max(1);
        let think_ms = self.dice.crowd.exponential(THINK_MS);
        let (Some(session), Some(host)) = (self.crowd.sessions.get_mut(&number), self.hosts.get_mut(at)) else { return };
        session.left.clear();
        (session.host, session.tries) = (Some(at), 0);
        // A session that lost its server goes on for what was left of it.
        if session.ends_ms <= now_ms {
            session.ends_ms = now_ms + length_ms;
        }
        host.sessions.insert(number, (now_ms, now_ms));
        host.arrivals += 1;
        self.queue.put(now_ms + think_ms, Ev::ClientActs { number });
    }

    /// What a client's resolver says of a name.
    fn resolve(&mut self, resolver: usize, name: &str) -> Option<Vec<Ipv4Addr>> {
        let now_ms = self.now_ms;
        if let Some(addrs) = self.crowd.resolvers.get(resolver)?.cached(name, now_ms) {
            return Some(addrs);
        }
        let first = self.dice.crowd.below(self.names.len());
        for n in 0..self.names.len() {
            let ns = (first + n) % self.names.len();
            if !self.net.connects(Node::Clients, Node::Name(ns), now_ms) {
                continue;
            }
            let honest = self.crowd.resolvers.get(resolver)?.overstays_ms == 0;
            if let Some(answer) = self.ask(ns, name, honest) {
                return Some(self.crowd.resolvers.get_mut(resolver)?.keep(name, &answer, now_ms));
            }
        }
        None
    }

    /// When the next request of a server is done.
    fn work_due(&mut self, at: usize) {
        if let Some(due_us) = self.hosts.get(at).and_then(|h| h.work.next_completion()) {
            self.queue.put(due_us.div_ceil(1_000).max(self.now_ms), Ev::Work { number: at });
        }
    }

    /// Requests that are done: their clients think, and come again.
    pub(crate) fn work_done(&mut self, at: usize) {
        let now_ms = self.now_ms;
        let Some(host) = self.hosts.get_mut(at) else { return };
        if host.frozen_until_ms > now_ms {
            let until_ms = host.frozen_until_ms;
            if until_ms == u64::MAX {
                return;
            }
            return self.queue.put(until_ms, Ev::Work { number: at });
        }
        let done = host.work.advance(now_ms * 1_000);
        if !done.is_empty() {
            self.work_due(at);
        }
        for job in done {
            let think_ms = self.dice.crowd.exponential(THINK_MS);
            self.totals.requests += 1;
            self.queue.put(now_ms + think_ms, Ev::ClientActs { number: job as u32 });
        }
    }
}

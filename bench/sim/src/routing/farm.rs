//! The farm in virtual time: servers that serve first come, first served, service times exponential, heartbeats with their phases
//! spread evenly.

use super::cases::{Case, Sessions};
use super::door::Door;
use crate::setup::{FARM, WALL_MS, id};
use farm_shared::draw::Draws;
use farm_shared::heartbeat::{Heard, Heartbeat, Kind, Load, Role, State};
use redirector_core::route::RoutePolicy;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

/// Production ticks ten times a second.
const TICK_US: u64 = 100_000;
/// The share of all sessions that come before the farm is in its stride.
const WARM_SHARE: f64 = 0.2;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// 95th and 99th percentile of a request's time at its server, in mean service times.
    pub p95: f64,
    /// See `p95`.
    pub p99: f64,
    /// Most sessions sent to one server between two of its heartbeats.
    pub burst: u32,
    /// Requests in the farm at the end over servers: what grows without bound is unstable.
    pub left: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Tick,
    Beat(u32),
    Arrival,
    Request(u32),
    Served(u32),
}

#[derive(Clone, Copy)]
struct Session {
    server: u32,
    ends_us: u64,
}

#[derive(Default)]
struct Server {
    speed: f64,
    /// Sessions whose requests wait or are served, and when they came.
    queue: VecDeque<(u32, u64)>,
    sessions: u32,
    arrivals: u64,
    completions: u64,
    burst: u32,
    seq: u64,
    since_us: u64,
    level_since_us: u64,
    queue_us: f64,
    busy_us: f64,
}

impl Server {
    /// Takes note of the level until now, before it changes.
    fn note(&mut self, now_us: u64) {
        let span_us = now_us.saturating_sub(self.level_since_us) as f64;
        self.queue_us += span_us * self.queue.len() as f64;
        self.busy_us += if self.queue.is_empty() { 0.0 } else { span_us };
        self.level_since_us = now_us;
    }
}

struct Farm<'a> {
    case: &'a Case,
    /// A mean service time in microseconds of the doors' clocks.
    unit_us: f64,
    now_us: u64,
    number: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    servers: Vec<Server>,
    sessions: Vec<Session>,
    free: Vec<u32>,
    doors: Vec<Door>,
    gaps: Draws,
    services: Draws,
    choices: Draws,
    begun: usize,
    times: Vec<f32>,
    burst: u32,
}

/// Runs a case under a rule.
///
/// # Errors
/// If the doors cannot be made.
pub fn measure(case: &Case, policy: RoutePolicy, seed: u64) -> Result<Measured, String> {
    let root = Draws::from_u64(seed);
    let doors = (0..case.doors).map(|k| Door::new(policy, &root.child("door", u64::from(k))));
    let mut farm = Farm {
        case,
        unit_us: case.service_s * 1e6,
        now_us: 0,
        number: 0,
        events: BinaryHeap::new(),
        servers: Vec::with_capacity(case.servers),
        sessions: Vec::new(),
        free: Vec::new(),
        doors: doors.collect::<Result<_, _>>()?,
        gaps: root.child("gap", 0),
        services: root.child("service", 0),
        choices: root.child("choice", 0),
        begun: 0,
        times: Vec::new(),
        burst: 0,
    };
    Ok(farm.run())
}

fn exponential(draws: &mut Draws, mean: f64) -> u64 {
    (-(1.0 - draws.unit()).ln() * mean) as u64
}

impl Farm<'_> {
    fn run(&mut self) -> Measured {
        let period_us = (self.case.period * self.unit_us) as u64;
        for at in 0..self.case.servers {
            let speed = *self.case.speeds.get(at % 2).unwrap_or(&1.0);
            self.servers.push(Server { speed, ..Server::default() });
            // Everybody is heard once before the first session comes.
            self.beats(at as u32);
            self.put(1 + period_us * at as u64 / self.case.servers as u64, Event::Beat(at as u32));
        }
        self.put(TICK_US, Event::Tick);
        self.put(TICK_US, Event::Arrival);
        let wanted = (self.case.measured as f64 / (1.0 - WARM_SHARE)) as usize;
        while let Some(Reverse((at_us, _, event))) = self.events.pop() {
            self.now_us = at_us;
            match event {
                Event::Tick => {
                    self.doors.iter_mut().for_each(|door| door.ticks(at_us));
                    self.put(at_us + TICK_US, Event::Tick);
                }
                Event::Beat(server) => {
                    self.beats(server);
                    self.put(at_us + period_us, Event::Beat(server));
                }
                Event::Arrival if self.begun >= wanted => break,
                Event::Arrival => self.arrives(wanted),
                Event::Request(session) => self.requests(session),
                Event::Served(server) => self.served(server, wanted),
            }
        }
        let left = self.servers.iter().map(|s| s.queue.len()).sum::<usize>() as f64 / self.servers.len().max(1) as f64;
        let mut times = std::mem::take(&mut self.times);
        times.sort_unstable_by(f32::total_cmp);
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).map_or(0.0, |t| f64::from(*t));
        Measured { p95: at(0.95), p99: at(0.99), burst: self.burst, left }
    }

    fn put(&mut self, at_us: u64, event: Event) {
        self.number += 1;
        self.events.push(Reverse((at_us, self.number, event)));
    }

    /// Sessions a second that make the load.
    fn rate(&self) -> f64 {
        let capacity: f64 = self.servers.iter().map(|s| s.speed).sum();
        let requests = match self.case.sessions {
            Sessions::OneRequest => 1.0,
            // A pause and a service each, about: at this load a request takes a few times its service.
            Sessions::Long { length, think } => length / (think + 2.0),
        };
        self.case.load * capacity / requests
    }

    fn arrives(&mut self, wanted: usize) {
        self.begun += 1;
        let mean = 1.0 / self.rate();
        let gap_us = exponential(&mut self.gaps, mean * self.unit_us);
        self.put(self.now_us + gap_us, Event::Arrival);
        let length_us = match self.case.sessions {
            Sessions::OneRequest => 0,
            Sessions::Long { length, .. } => exponential(&mut self.gaps, length * self.unit_us),
        };
        let door = self.choices.below(self.doors.len());
        let Some(server) = self.doors.get_mut(door).and_then(Door::sends) else { return };
        let session = Session { server: server as u32, ends_us: self.now_us + length_us };
        let at = self.free.pop().unwrap_or(self.sessions.len() as u32);
        match self.sessions.get_mut(at as usize) {
            Some(place) => *place = session,
            None => self.sessions.push(session),
        }
        if let Some(server) = self.servers.get_mut(server) {
            server.sessions += 1;
            server.arrivals += 1;
            server.burst += 1;
            if self.begun > (wanted as f64 * WARM_SHARE) as usize {
                self.burst = self.burst.max(server.burst);
            }
        }
        self.requests(at);
    }

    fn requests(&mut self, session: u32) {
        let Some(at) = self.sessions.get(session as usize).map(|s| s.server) else { return };
        let Some(server) = self.servers.get_mut(at as usize) else { return };
        server.note(self.now_us);
        server.queue.push_back((session, self.now_us));
        if server.queue.len() == 1 {
            self.serves(at);
        }
    }

    fn serves(&mut self, at: u32) {
        let speed = self.servers.get(at as usize).map_or(1.0, |s| s.speed);
        let service_us = exponential(&mut self.services, self.unit_us / speed);
        self.put(self.now_us + service_us, Event::Served(at));
    }

    fn served(&mut self, at: u32, wanted: usize) {
        let now_us = self.now_us;
        let Some(server) = self.servers.get_mut(at as usize) else { return };
        server.note(now_us);
        let Some((number, came_us)) = server.queue.pop_front() else { return };
        let more = !server.queue.is_empty();
        if self.begun > (wanted as f64 * WARM_SHARE) as usize {
            self.times.push(((now_us - came_us) as f64 / self.unit_us) as f32);
        }
        let ends_us = self.sessions.get(number as usize).map_or(0, |s| s.ends_us);
        if ends_us <= now_us {
            server.sessions -= 1;
            server.completions += 1;
            self.free.push(number);
        } else if let Sessions::Long { think, .. } = self.case.sessions {
            let pause_us = exponential(&mut self.gaps, think * self.unit_us);
            self.put(now_us + pause_us, Event::Request(number));
        }
        if more {
            self.serves(at);
        }
    }

    fn beats(&mut self, at: u32) {
        let (now_us, period_us) = (self.now_us, self.case.period * self.unit_us);
        let Some(server) = self.servers.get_mut(at as usize) else { return };
        server.note(now_us);
        let span_us = (now_us - server.since_us).max(1) as f64;
        let queue = match self.case.sessions {
            Sessions::OneRequest => server.queue.len() as f64,
            Sessions::Long { .. } => server.queue_us / span_us,
        };
        server.seq += 1;
        let load = Load {
            queue,
            cores: 1.0,
            busy: (server.busy_us / span_us).min(1.0),
            sessions: server.sessions,
            limit: None,
            arrivals: server.arrivals,
            completions: server.completions,
            youngest_ms: None,
            reported: true,
        };
        let doors = Heard {
            id: id("ns1"),
            kind: Kind::Dnslb,
            age_ms: 0,
            serves: Some(true),
            ttl_left_ms: None,
            doors: Some(self.case.doors),
            scaler: None,
            room: None,
        };
        let heartbeat = Heartbeat {
            v: 1,
            farm: id(FARM),
            id: id(&format!("b{at}")),
            role: Role::Backend,
            inc: WALL_MS,
            seq: server.seq,
            time_ms: WALL_MS + now_us / 1_000,
            period_ms: (period_us / 1_000.0) as u64,
            addrs: vec![IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + at + 1))],
            port: 8_000,
            zone: None,
            state: State::Up,
            drain_by: Vec::new(),
            load,
            heard: vec![doors],
            notice: None,
            tombstones: Vec::new(),
            killed: None,
        };
        (server.since_us, server.queue_us, server.busy_us, server.burst) = (now_us, 0.0, 0.0, 0);
        self.doors.iter_mut().for_each(|door| door.hears(&heartbeat, now_us));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::cases::{Wanted, classic, long};
    use super::*;

    /// DESIGN 4.3 in small: what the door's own rule promises, as an inequality over the rules that it was chosen from.
    #[test]
    fn the_weighted_rule_is_within_a_tenth_of_the_best() {
        let wanted = Wanted { sessions: 40_000, seeds: 1 };
        for doors in [1, 4] {
            let case = classic(doors, wanted).into_iter().nth(1).unwrap();
            let p99 = |policy| measure(&case, policy, 3).unwrap().p99;
            let [weighted, best, blind] =
                [RoutePolicy::Weighted, RoutePolicy::LeastLoaded, RoutePolicy::LeastReported].map(p99);
            println!("K={doors}: weighted {weighted:.1}, least loaded {best:.1}, least reported {blind:.1}");
            assert!(weighted <= best * 1.1, "K={doors}: {weighted} and {best}");
            assert!(blind > 2.5 * weighted, "K={doors}: the least reported queue herds: {blind} and {weighted}");
        }
    }

    #[test]
    fn long_sessions_are_better_counted() {
        let case = long(Wanted { sessions: 400_000, seeds: 1 }).into_iter().nth(1).unwrap();
        let p99 = |policy| measure(&case, policy, 3).unwrap().p99;
        let [sessions, weighted] = [RoutePolicy::Sessions, RoutePolicy::Weighted].map(p99);
        assert!(sessions < weighted, "{sessions} and {weighted}");
    }
}

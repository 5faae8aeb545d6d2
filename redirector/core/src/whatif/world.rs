//! A farm of sessions and servers, under a policy.
//!
//! A session begins on a server with room at once, or waits for one and at last gives up. Plans come from [`plan`] and pass
//! [`check`]; what a server reports follows from its sessions alone. Cheap enough for hundreds of servers and millions of sessions.

use super::demand::Demand;
use super::fleet::{Fleet, Place};
use super::outcome::{Outcome, Recorder};
use super::scenario::{Fault, Scenario};
use crate::config::ScalerSpec;
use crate::scale::{Limits, Observation, Plan, PlanState, Policy, check, plan};
use farm_shared::draw::Draws;
use farm_shared::id::Id;
use farm_shared::time::{Mono, Now, Wall};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Boot times that the 95th percentile is taken over, as the control loop does.
const BOOTS_MIN: usize = 3;
const BOOTS_MAX: usize = 100;
/// The period of heartbeats, in milliseconds.
const HEARTBEAT_MS: u64 = 1_000;
/// A stopped instance is up after this, in milliseconds.
pub const WARM_START_MS: u64 = 30_000;

/// What is the same for every policy that a scenario is played against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Of clients that were turned away, as the door tells them: a waiting session is looked at this often, in milliseconds.
    pub retry_ms: u64,
    /// A drained server may be named by caches for so long, in milliseconds.
    pub ttl_ms: u64,
    /// What a server costs, in US dollars an hour.
    pub usd_h: f64,
    /// When the run begins, milliseconds since the epoch: scheduled floors look at it.
    pub start_wall_ms: u64,
}

impl Default for Rules {
    fn default() -> Self {
        // A Monday at midnight.
        Self { retry_ms: 1_000, ttl_ms: 62_000, usd_h: 0.0, start_wall_ms: 1_795_392_000_000 }
    }
}

impl Scenario {
    /// A policy with the numbers that an operator of this farm would configure: limits, sessions, boot time and session length are
    /// the scenario's, all else is `spec`'s.
    pub fn policy(&self, spec: &ScalerSpec) -> Policy {
        let spec = ScalerSpec {
            min: self.min.max(spec.min),
            max: self.max.min(spec.max.max(self.max)),
            sessions_per_server: self.sessions_per_server,
            session_prior_ms: (self.session_s * 1_000.0) as u64,
            boot_prior_ms: (self.boot.p95_s() * 1_000.0) as u64,
            ..spec.clone()
        };
        Policy::new(&spec, 0)
    }

    /// Plays the scenario against a policy.
    pub fn simulate(&self, policy: &Policy, rules: Rules, demand: &Demand, seed: u64) -> Outcome {
        World::new(self, policy, rules, demand, seed).run()
    }
}

struct World<'a> {
    scenario: &'a Scenario,
    policy: &'a Policy,
    rules: Rules,
    demand: &'a Demand,
    draws: Draws,
    boot_draws: Draws,
    fleet: Fleet,
    /// When a session ends, on which server, and in which life of it.
    ends: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// Servers that boot: when they are up.
    boots: BinaryHeap<Reverse<(u64, u32)>>,
    /// Sessions that wait: since when, and how long they will last.
    waiting: VecDeque<(u64, u64)>,
    /// Boot times that were seen, in milliseconds.
    boots_ms: VecDeque<u64>,
    arrivals: u64,
    completions: u64,
    state: PlanState,
    faults: VecDeque<Fault>,
    record: Recorder,
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, policy: &'a Policy, rules: Rules, demand: &'a Demand, seed: u64) -> Self {
        let draws = Draws::from_u64(seed);
        let mut fleet = Fleet::new(scenario.zones, scenario.sessions_per_server);
        for _ in 0..scenario.servers {
            let server = fleet.launch(0);
            fleet.up(server);
        }
        Self {
            scenario,
            policy,
            rules,
            demand,
            boot_draws: draws.child("boots", 0),
            draws: draws.child("routing", 0),
            fleet,
            ends: BinaryHeap::new(),
            boots: BinaryHeap::new(),
            waiting: VecDeque::new(),
            boots_ms: VecDeque::new(),
            arrivals: 0,
            completions: 0,
            state: PlanState::default(),
            faults: scenario.faults.iter().copied().collect(),
            record: Recorder::new(demand.duration_ms),
        }
    }

    fn run(mut self) -> Outcome {
        let mut sessions = self.demand.sessions.iter().peekable();
        let mut now_ms = 0;
        while now_ms < self.demand.duration_ms {
            let poll_ms = now_ms + self.policy.poll_ms.max(1);
            // What happens between two plans, in its order: sessions that come, those that end, servers that are up.
            loop {
                let arrival = sessions.peek().map_or(u64::MAX, |s| s.at_ms);
                let end = self.ends.peek().map_or(u64::MAX, |e| e.0.0);
                let boot = self.boots.peek().map_or(u64::MAX, |b| b.0.0);
                let next = arrival.min(end).min(boot);
                if next >= poll_ms || next >= self.demand.duration_ms {
                    break;
                }
                if boot <= next {
                    self.booted(next);
                } else if end <= next {
                    self.ended(next);
                } else if let Some(session) = sessions.next() {
                    self.arrived(next, session.length_ms);
                }
            }
            now_ms = poll_ms;
            self.befall(now_ms);
            self.give_up(now_ms);
            self.decide(now_ms);
            self.record.sample(now_ms, &self.fleet, self.waiting.len() as u32, self.policy.poll_ms);
        }
        self.record.finish(self.rules.usd_h)
    }

    fn arrived(&mut self, now_ms: u64, length_ms: u64) {
        self.record.outcome.sessions += 1;
        // Whoever waits is served first.
        if !self.waiting.is_empty() || !self.begin(now_ms, length_ms) {
            self.waiting.push_back((now_ms, length_ms));
        }
    }

    fn begin(&mut self, now_ms: u64, length_ms: u64) -> bool {
        let Some(server) = self.fleet.choose(&mut self.draws) else { return false };
        let life = self.fleet.begin(server, now_ms);
        self.ends.push(Reverse((now_ms.saturating_add(length_ms), server, life)));
        self.arrivals += 1;
        true
    }

    /// Lets those in who waited, the longest first.
    fn admit(&mut self, now_ms: u64) {
        while let Some((since_ms, length_ms)) = self.waiting.front().copied() {
            if !self.begin(now_ms, length_ms) {
                break;
            }
            self.record.waited(now_ms - since_ms);
            self.waiting.pop_front();
        }
    }

    fn give_up(&mut self, now_ms: u64) {
        let patience_ms = (self.scenario.patience_s * 1_000.0) as u64;
        while let Some((since_ms, _)) = self.waiting.front().filter(|(since, _)| now_ms - since > patience_ms) {
            self.record.waited(now_ms - since_ms);
            self.record.outcome.aborted += 1;
            self.waiting.pop_front();
        }
    }

    fn ended(&mut self, now_ms: u64) {
        let Some(Reverse((_, server, life))) = self.ends.pop() else { return };
        if self.fleet.end(server, life) {
            self.completions += 1;
            self.admit(now_ms);
        }
    }

    fn booted(&mut self, now_ms: u64) {
        let Some(Reverse((_, server))) = self.boots.pop() else { return };
        if let Some(launched_ms) = self.fleet.up(server) {
            self.boots_ms.push_back(now_ms - launched_ms);
            if self.boots_ms.len() > BOOTS_MAX {
                self.boots_ms.pop_front();
            }
            self.admit(now_ms);
        }
    }

    fn befall(&mut self, now_ms: u64) {
        while let Some(fault) = self.faults.front().copied().filter(|f| f.at_s() * 1_000.0 <= now_ms as f64) {
            self.faults.pop_front();
            let lost = match fault {
                Fault::ZoneLoss { zone, .. } => self.fleet.lose_zone(zone),
                Fault::ServerLoss { servers, .. } => self.fleet.lose(servers),
            };
            self.record.outcome.aborted += lost;
        }
    }

    fn decide(&mut self, now_ms: u64) {
        let observation = self.observe(now_ms);
        let now = Now { mono: Mono(now_ms), wall: Wall(self.rules.start_wall_ms + now_ms) };
        let (state, wanted, report) = plan(self.policy, &self.state, &observation, now);
        self.state = state;
        let wanted = check(&wanted, &self.policy.limits, &observation).unwrap_or_else(|_| {
            self.record.outcome.stopped_plans += 1;
            Plan::default()
        });
        self.fleet.avoid(&report.victims);
        self.record.decided(now_ms, &wanted);
        self.carry_out(&wanted, now_ms);
    }

    fn carry_out(&mut self, wanted: &Plan, now_ms: u64) {
        for _ in 0..wanted.launch {
            let (server, boot_ms) = match self.fleet.start_warm(now_ms) {
                Some(server) => (server, WARM_START_MS),
                None => (self.fleet.launch(now_ms), self.scenario.boot.draw_ms(&mut self.boot_draws)),
            };
            self.boots.push(Reverse((now_ms + boot_ms.max(1), server)));
        }
        for (ids, place) in [(&wanted.undrain, Place::Live), (&wanted.drain, Place::Draining(now_ms))] {
            for id in ids {
                self.fleet.put(id, place);
            }
        }
        for (ids, place) in [(&wanted.terminate, Place::Gone), (&wanted.stop, Place::Stopped)] {
            for id in ids {
                self.record.outcome.aborted += self.fleet.retire(id, place);
            }
        }
        self.admit(now_ms);
    }

    fn observe(&self, now_ms: u64) -> Observation {
        let mut observation = Observation {
            wall_ms: self.rules.start_wall_ms + now_ms,
            servers: self.fleet.loads(self.scenario, now_ms, self.rules.ttl_ms),
            pending: self.fleet.count(Place::Booting(0)),
            warm: self.fleet.count(Place::Stopped),
            arrivals: self.arrivals,
            completions: self.completions,
            waiting: self.waiting.len() as u32,
            boot_ms_p95: self.boot_ms_p95(),
            heartbeat_ms: HEARTBEAT_MS,
            ..Observation::default()
        };
        if self.rules.usd_h > 0.0 {
            let Limits { usd_h_max, usd_month_max, .. } = self.policy.limits;
            let running = observation.servers.len() as u32 + observation.pending;
            if usd_h_max.is_some() || usd_month_max.is_some() {
                observation.usd_h = Some(f64::from(running) * self.rules.usd_h);
                observation.usd_h_launch = Some(self.rules.usd_h);
                observation.usd_month = Some(self.state.spend().in_month(observation.wall_ms));
            }
        }
        if self.scenario.zones > 1 {
            observation.zones = (0..self.scenario.zones).filter(|z| self.fleet.usable(*z)).filter_map(zone_id).collect();
        }
        observation
    }

    fn boot_ms_p95(&self) -> u64 {
        if self.boots_ms.len() < BOOTS_MIN {
            return (self.scenario.boot.p95_s() * 1_000.0) as u64;
        }
        let mut boots: Vec<u64> = self.boots_ms.iter().copied().collect();
        boots.sort_unstable();
        boots.get((boots.len() * 95).div_ceil(100) - 1).copied().unwrap_or(0)
    }
}

/// The name of a zone, counted from 0.
pub(super) fn zone_id(zone: u32) -> Option<Id> {
    Id::new(&format!("z{}", zone + 1)).ok()
}

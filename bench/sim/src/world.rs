//! The world: all actors, one event queue, one seed. The same seed gives the same run, event for event.

use crate::bug::Bug;
use crate::cloud::Cloud;
use crate::crowd::Crowd;
use crate::dice::Dice;
use crate::door::Door;
use crate::fault::Fault;
use crate::host::Host;
use crate::menu::Menu;
use crate::nameserver::NameServer;
use crate::net::Net;
use crate::queue::Queue;
use crate::setup::{FARM, MEMBER_ZONE, POOL_NAME, Setup, id, keys};
use crate::watch::{Violation, Watch};
use farm_shared::id::Id;
use redirector_core::scale::{CallOutcome, Instance, ProviderCall};
use std::collections::{BTreeMap, BTreeSet};

/// Name servers are asked for the pool, and for one member, this often, in milliseconds.
const PROBE_MS: u64 = 7_000;

/// A message on its way: its MAC and its text.
pub(crate) type Message = Box<(String, Vec<u8>)>;

/// What can happen.
pub(crate) enum Ev {
    DoorTick { life: u32 },
    DoorStart,
    NameTick { ns: usize, life: u32 },
    NameStart { ns: usize },
    AgentTick { number: usize, life: u32, due_ms: u64 },
    AgentStarts { number: usize },
    Beat { number: usize, life: u32, front: usize, message: Message },
    Reply { number: usize, life: u32, front: usize, message: Message },
    CallArrives { life: u32, call: Box<ProviderCall>, sent_ms: u64 },
    Answered { life: u32, outcome: Box<CallOutcome> },
    Listing { life: u32, listing: Box<Result<Vec<Instance>, String>> },
    Booted { number: usize },
    ClientComes,
    ClientActs { number: u32 },
    Work { number: usize },
    FaultComes,
    Probe,
    Converged,
    TakenAway { number: usize },
}

/// What happened, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events of the queue.
    pub events: u64,
    /// Heartbeats that arrived.
    pub heartbeats: u64,
    /// Heartbeats refused.
    pub refused: u64,
    /// Calls to the cloud.
    pub calls: u64,
    /// Calls that took effect after they were given up.
    pub late_calls: u64,
    /// Listings asked for.
    pub listings: u64,
    /// Journal records.
    pub records: u64,
    /// Instances launched.
    pub launched: u64,
    /// Servers that ended.
    pub ended: u64,
    /// Crashes of the redirector between two effects.
    pub crashes_between: u64,
    /// Decisions of the door.
    pub decisions: u64,
    /// Answers of name servers.
    pub answers: u64,
    /// Clients that came.
    pub clients: u64,
    /// Requests served.
    pub requests: u64,
    /// Sessions that ended well.
    pub completed: u64,
    /// Sessions that lost their server.
    pub aborted: u64,
    /// Sessions on servers that ended.
    pub sessions_cut: u64,
    /// Clients that gave up.
    pub given_up: u64,
    /// Requests that had to wait.
    pub waits: u64,
    /// Connections to addresses that did not answer.
    pub failovers: u64,
    /// Redirects to names that did not resolve.
    pub unresolved: u64,
    /// Faults by kind.
    pub faults: BTreeMap<Fault, u64>,
    /// From the end of all faults to a farm as planned, in milliseconds.
    pub converged_ms: u64,
}

/// One world.
pub struct World {
    pub(crate) setup: Setup,
    pub(crate) bug: Option<Bug>,
    pub(crate) now_ms: u64,
    pub(crate) queue: Queue<Ev>,
    pub(crate) dice: Dice,
    pub(crate) net: Net,
    pub(crate) cloud: Cloud,
    pub(crate) hosts: Vec<Host>,
    pub(crate) door: Door,
    pub(crate) names: Vec<NameServer>,
    pub(crate) crowd: Crowd,
    pub(crate) watch: Watch,
    pub(crate) totals: Totals,
    pub(crate) dead_boots_ms: u64,
    pub(crate) forced: BTreeSet<Id>,
    pub(crate) faults_over: bool,
    pub(crate) ended: bool,
    trace: bool,
}

/// What became of one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The first violation, if there was one.
    pub broken: Option<Violation>,
    /// Checks made.
    pub checks: u64,
    /// In numbers.
    pub totals: Totals,
    /// Simulated time in milliseconds.
    pub lasted_ms: u64,
}

impl World {
    /// A world before anything happened.
    ///
    /// # Errors
    /// A configuration that cannot be loaded: a mistake in [`crate::setup`].
    pub fn new(setup: Setup, bug: Option<Bug>, trace: bool) -> Result<Self, String> {
        let keys = keys()?;
        let mut spec = setup.spec();
        if bug == Some(Bug::MaxIgnored) {
            spec.scaler.max += 2;
        }
        let mut dice = Dice::new(setup.seed);
        let names = (0..setup.nameservers)
            .map(|n| Ok(NameServer::new(setup.dnslb(n)?, keys.current.clone())))
            .collect::<Result<Vec<_>, String>>()?;
        let watch = Watch {
            lease_ms: setup.lease_ms(),
            period_ms: setup.period_ms,
            grace_ms: spec.lease.grace_ms,
            boot_ms: setup.boot_ms,
            boot_deadline_ms: setup.boot_deadline_ms,
            drain_deadline_ms: setup.drain_deadline_ms,
            forget_ms: spec.lease.forget_leases * setup.lease_ms(),
            fail_open: 0.5,
            names: vec![BTreeMap::new(); names.len()],
            names_since: vec![0; names.len()],
            ..Watch::default()
        };
        let crowd = Crowd::new(&mut dice.crowd);
        let door = Door::new(spec, keys, Menu::new(setup.zones), setup.seed);
        let cloud = Cloud { ignores_tokens: bug == Some(Bug::TokenIgnored), ..Cloud::default() };
        Ok(Self {
            setup,
            bug,
            now_ms: 0,
            queue: Queue::default(),
            dice,
            net: Net::default(),
            cloud,
            hosts: Vec::new(),
            door,
            names,
            crowd,
            watch,
            totals: Totals::default(),
            dead_boots_ms: 0,
            forced: BTreeSet::new(),
            faults_over: false,
            ended: false,
            trace,
        })
    }

    /// Runs until a violation, or until the farm has become what was planned after the last fault.
    pub fn run(mut self) -> Outcome {
        self.door_starts();
        (0..self.names.len()).for_each(|ns| self.name_starts(ns));
        self.queue.put(0, Ev::ClientComes);
        self.queue.put(self.setup.fault_gap_ms, Ev::FaultComes);
        self.queue.put(PROBE_MS, Ev::Probe);
        while self.watch.broken.is_none() && !self.ended {
            let Some((at_ms, event)) = self.queue.take() else { break };
            self.now_ms = at_ms.max(self.now_ms);
            self.totals.events += 1;
            self.happens(event);
        }
        Outcome {
            seed: self.setup.seed,
            broken: self.watch.broken,
            checks: self.watch.checks,
            totals: self.totals,
            lasted_ms: self.now_ms,
        }
    }

    /// A line of the trace.
    pub(crate) fn note(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:10.3} {}", self.now_ms as f64 / 1_000.0, text());
        }
    }

    fn happens(&mut self, event: Ev) {
        match event {
            Ev::DoorTick { life } => self.door_ticks(life),
            Ev::DoorStart => self.door_starts(),
            Ev::NameTick { ns, life } => self.name_ticks(ns, life),
            Ev::NameStart { ns } => self.name_starts(ns),
            Ev::AgentTick { number, life, due_ms } => self.agent_ticks(number, life, due_ms),
            Ev::AgentStarts { number } => self.agent_starts(number),
            Ev::Beat { number, life, front: 0, message } => {
                self.totals.heartbeats += 1;
                self.door_hears((number, life), *message);
            }
            Ev::Beat { number, life, front, message } => {
                self.totals.heartbeats += 1;
                self.name_hears(front - 1, (number, life), *message);
            }
            Ev::Reply { number, life, front, message } => self.agent_hears(number, life, front, *message),
            Ev::CallArrives { life, call, sent_ms } => self.call_arrives(life, *call, sent_ms),
            Ev::Answered { life, outcome } => self.door_answered(life, *outcome),
            Ev::Listing { life, listing } => self.door_lists(life, *listing),
            Ev::Booted { number } => self.boots(number),
            Ev::ClientComes => self.client_comes(),
            Ev::ClientActs { number } => self.client_acts(number),
            Ev::Work { number } => self.work_done(number),
            Ev::FaultComes => self.fault_comes(),
            Ev::Probe => self.probe(),
            Ev::TakenAway { number } => self.taken_away(number),
            Ev::Converged => self.look_for_convergence(),
        }
    }

    fn call_arrives(&mut self, life: u32, call: ProviderCall, sent_ms: u64) {
        let (now_ms, max) = (self.now_ms, self.setup.max);
        let answered = self.cloud.call(call, now_ms, now_ms - sent_ms, &mut self.dice.cloud);
        if let Some(number) = answered.made {
            self.totals.launched += 1;
            self.note(|| format!("cloud launches {number}"));
            self.machine_made(number);
            self.watch.launched(&self.cloud, max, now_ms);
        }
        if let Some(number) = answered.ended {
            let polite = self.dice.cloud.chance(0.5);
            self.host_ends(number, polite);
        }
        self.queue.put(now_ms + answered.after_ms, Ev::Answered { life, outcome: Box::new(answered.outcome) });
    }

    fn machine_made(&mut self, number: usize) {
        let Some(member) = self.cloud.machines.get(number).map(|m| m.member.clone()) else { return };
        let key = self.door.keys.current.member(&id(FARM), &member);
        let die = &mut self.dice.boots;
        let clock_ms = if die.chance(0.05) { [-600_000, 600_000][die.below(2)] } else { 0 };
        let speed = 0.5 + die.unit();
        let zone = number % self.setup.zones;
        self.hosts.push(Host::new(number, &member, key, zone, speed, clock_ms));
        let boot_ms = die.log_normal(self.setup.boot_ms as f64, 0.3).min(self.setup.boot_ms as f64 * 3.0) as u64;
        if !die.chance(0.01) && self.dead_boots_ms <= self.now_ms {
            self.queue.put(self.now_ms + boot_ms, Ev::Booted { number });
        }
    }

    fn boots(&mut self, number: usize) {
        let alive = self.cloud.machines.get(number).is_some_and(|m| m.is_alive(self.now_ms));
        if let Some(host) = self.hosts.get_mut(number).filter(|_| alive) {
            host.serves = true;
            self.note(|| format!("machine {number} has booted"));
            self.agent_starts(number);
        }
    }

    fn probe(&mut self) {
        self.queue.put(self.now_ms + PROBE_MS, Ev::Probe);
        self.net.tidy(self.now_ms);
        for ns in 0..self.names.len() {
            // Somebody honest may always have asked just now.
            self.ask(ns, POOL_NAME, true);
            let number = self.dice.crowd.below(self.hosts.len());
            if let Some(member) = self.hosts.get(number).map(|h| h.id.clone()) {
                self.ask(ns, &format!("{member}.{MEMBER_ZONE}"), false);
            }
        }
    }
}

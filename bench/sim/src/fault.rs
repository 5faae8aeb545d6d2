//! What breaks: one thing a minute, drawn from the seed, each for a while; and the end of all faults.

use crate::net::{Cut, Node};
use crate::world::{Ev, World};
use farm_shared::heartbeat;
use farm_shared::member::Forced;
use redirector_core::farm::{AdminCommand, Event};
use redirector_core::scale::InstanceState;

/// From a spot instance's notice to its end.
const NOTICE_MS: u64 = 120_000;

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The redirector crashes.
    DoorCrash,
    /// It crashes between two effects of one of its next steps.
    DoorCrashBetween,
    /// A name server crashes.
    NameCrash,
    /// Redirector and name servers crash together.
    AllCrash,
    /// An agent crashes.
    AgentCrash,
    /// A server stands still.
    Freeze,
    /// A server dies, and its instance goes on.
    HostDies,
    /// An instance is taken away by the cloud.
    Vanish,
    /// A spot instance gets its notice, and is taken away two minutes later.
    Interruption,
    /// An instance fails its status checks, and stands still for good.
    Impaired,
    /// Half of all instances are taken away, as when a zone is lost.
    ZoneLost,
    /// A server is cut off from all front ends, or from one.
    CutHost,
    /// A front end is cut off.
    CutFront,
    /// Datagrams are lost.
    Loss,
    /// The cloud refuses calls as too many.
    Throttle,
    /// The cloud's API is away.
    ApiDown,
    /// Nothing can be launched.
    NoCapacity,
    /// Listings lag.
    Lag,
    /// Listings leave instances out.
    Omission,
    /// Answers are lost after their effect.
    LostAnswers,
    /// Calls fail before their effect.
    Failing,
    /// Calls take effect when they were given up long ago.
    Slow,
    /// Permissions are missing.
    Denied,
    /// Machines that are launched now do not boot.
    DeadBoots,
    /// The redirector's wall clock jumps.
    ClockJump,
    /// The journal's disk is full.
    DiskFull,
    /// A flash crowd.
    Flash,
    /// An operator forces a member.
    Operator,
    /// The configuration is read again.
    Reload,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 29] = [
        Self::DoorCrash,
        Self::DoorCrashBetween,
        Self::NameCrash,
        Self::AllCrash,
        Self::AgentCrash,
        Self::Freeze,
        Self::HostDies,
        Self::Vanish,
        Self::Interruption,
        Self::Impaired,
        Self::ZoneLost,
        Self::CutHost,
        Self::CutFront,
        Self::Loss,
        Self::Throttle,
        Self::ApiDown,
        Self::NoCapacity,
        Self::Lag,
        Self::Omission,
        Self::LostAnswers,
        Self::Failing,
        Self::Slow,
        Self::Denied,
        Self::DeadBoots,
        Self::ClockJump,
        Self::DiskFull,
        Self::Flash,
        Self::Operator,
        Self::Reload,
    ];
}

impl std::str::FromStr for Fault {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let all = || Self::ALL.iter().map(|f| label(&format!("{f:?}"))).collect::<Vec<_>>().join(", ");
        Self::ALL.into_iter().find(|f| label(&format!("{f:?}")) == text).ok_or_else(|| format!("expected one of {}", all()))
    }
}

/// `NameLikeThis` as `name-like-this`.
pub(crate) fn label(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

impl World {
    /// The next fault, and the time of the one after it.
    pub(crate) fn fault_comes(&mut self) {
        let now_ms = self.now_ms;
        if now_ms >= self.setup.faults_ms {
            return self.faults_end();
        }
        let gap_ms = self.dice.faults.between(self.setup.fault_gap_ms / 2, self.setup.fault_gap_ms * 3 / 2);
        self.queue.put((now_ms + gap_ms).min(self.setup.faults_ms), Ev::FaultComes);
        if let Some(fault) = self.dice.faults.pick(&Fault::ALL).filter(|f| !self.setup.without.contains(f)) {
            self.note(|| format!("fault: {fault:?}"));
            *self.totals.faults.entry(fault).or_default() += 1;
            self.strike(fault);
        }
    }

    fn strike(&mut self, fault: Fault) {
        let now_ms = self.now_ms;
        let short_ms = self.dice.faults.between(1_000, 60_000);
        let long_ms = self.dice.faults.between(10_000, 300_000);
        let until_ms = now_ms + long_ms;
        let alive: Vec<usize> = self.cloud.alive(now_ms).map(|(at, _)| at).collect();
        let victim = self.dice.faults.pick(&alive);
        let ns = self.dice.faults.below(self.names.len());
        let moods = &mut self.cloud.moods;
        match fault {
            Fault::DoorCrash => self.door_out(short_ms),
            Fault::DoorCrashBetween => self.door.dies_after = Some(self.dice.faults.below(12) as u32),
            Fault::NameCrash => self.name_out(ns, short_ms),
            Fault::AllCrash => {
                self.door_out(short_ms);
                (0..self.names.len()).for_each(|ns| self.name_out(ns, short_ms));
            }
            Fault::Throttle => moods.throttled_ms = until_ms,
            // Now and then for an hour.
            Fault::ApiDown => moods.down_ms = if long_ms > 280_000 { now_ms + 3_600_000 } else { until_ms },
            Fault::NoCapacity => moods.full_ms = until_ms,
            Fault::Lag => moods.lagging_ms = until_ms,
            Fault::Omission => moods.omitting_ms = until_ms,
            Fault::LostAnswers => moods.losing_ms = until_ms,
            Fault::Failing => moods.failing_ms = until_ms,
            Fault::Slow => moods.slow_ms = until_ms,
            Fault::Denied => moods.denied_ms = until_ms,
            Fault::DeadBoots => self.dead_boots_ms = until_ms,
            Fault::Loss => self.net.loss = (0.1 + 0.5 * self.dice.faults.unit(), until_ms),
            Fault::DiskFull => self.door.full_until_ms = now_ms + short_ms,
            Fault::Flash => self.crowd.flash = (1.5 + 2.0 * self.dice.faults.unit(), until_ms),
            Fault::ClockJump => {
                let far = [-7_200_000, -40_000, -2_000, 2_000, 40_000, 7_200_000];
                self.door.clock_ms = self.dice.faults.pick(&far).unwrap_or(0);
            }
            Fault::Reload => {
                let (spec, keys) = (self.door.spec.clone(), self.door.keys.clone());
                let blueprint = self.door.menu.clone();
                self.door_step(Event::Reload { spec, keys, blueprint }, None);
            }
            Fault::Operator => self.operator(victim),
            Fault::ZoneLost => {
                let zone = self.dice.faults.below(self.setup.zones);
                let lost: Vec<usize> =
                    alive.into_iter().filter(|at| self.hosts.get(*at).is_some_and(|h| h.zone == zone)).collect();
                for at in lost {
                    self.taken_away(at);
                }
            }
            Fault::CutFront => {
                let node = if self.dice.faults.chance(0.5) { Node::Door } else { Node::Name(ns) };
                self.net.cuts.push(Cut { a: vec![node], b: vec![], until_ms });
            }
            Fault::AgentCrash
            | Fault::Freeze
            | Fault::HostDies
            | Fault::Vanish
            | Fault::Interruption
            | Fault::Impaired
            | Fault::CutHost => {
                if let Some(at) = victim {
                    self.strike_host(fault, at, ns, short_ms, until_ms);
                }
            }
        }
    }

    fn strike_host(&mut self, fault: Fault, at: usize, ns: usize, short_ms: u64, until_ms: u64) {
        let now_ms = self.now_ms;
        match fault {
            Fault::Vanish => self.taken_away(at),
            Fault::Interruption => {
                if let Some(machine) = self.cloud.machines.get_mut(at) {
                    machine.leaves_ms = Some(now_ms + NOTICE_MS);
                }
                let at_ms = crate::setup::WALL_MS + now_ms + NOTICE_MS;
                let notice = heartbeat::Notice { kind: heartbeat::NoticeKind::Interruption, at_ms };
                self.agent_step(at, farm_agent::logic::Event::Machine(Some(notice)));
                self.queue.put(now_ms + NOTICE_MS, Ev::TakenAway { number: at });
            }
            Fault::CutHost => {
                let fronts = (0..self.names.len()).map(Node::Name).chain([Node::Door]);
                let b = match self.dice.faults.below(3) {
                    0 => fronts.collect(),
                    1 => vec![Node::Door],
                    _ => vec![Node::Name(ns)],
                };
                self.net.cuts.push(Cut { a: vec![Node::Host(at)], b, until_ms });
            }
            _ => {
                let Some(host) = self.hosts.get_mut(at) else { return };
                match fault {
                    Fault::AgentCrash => {
                        host.agent = None;
                        host.life += 1;
                        self.queue.put(now_ms + short_ms, Ev::AgentStarts { number: at });
                    }
                    Fault::Impaired => {
                        host.frozen_until_ms = u64::MAX;
                        if let Some(machine) = self.cloud.machines.get_mut(at) {
                            machine.impaired_ms = Some(now_ms + short_ms);
                        }
                    }
                    // Who is impaired for good does not come back by it.
                    Fault::Freeze => host.frozen_until_ms = host.frozen_until_ms.max(now_ms + 2 * short_ms),
                    _ => self.host_ends(at, false),
                }
            }
        }
    }

    /// The cloud takes an instance back.
    pub(crate) fn taken_away(&mut self, at: usize) {
        let now_ms = self.now_ms;
        if self.cloud.machines.get(at).is_some_and(|m| m.state_at(now_ms) != InstanceState::Gone) {
            self.cloud.end(at, now_ms);
            self.host_ends(at, false);
        }
    }

    fn operator(&mut self, victim: Option<usize>) {
        let Some(id) = victim.and_then(|at| self.hosts.get(at)).map(|h| h.id.clone()) else { return };
        let forced = self.dice.faults.pick(&[Some(Forced::Drain), Some(Forced::Down), None]).flatten();
        let command = match forced {
            Some(forced) => AdminCommand::Force { id: id.clone(), forced, why: "drill".into() },
            None => AdminCommand::Clear { id: id.clone() },
        };
        self.watch.door.entry(id.clone()).or_default().forced = true;
        self.forced.insert(id);
        self.door_step(Event::Admin { ticket: 1, command }, None);
    }

    fn door_out(&mut self, for_ms: u64) {
        self.door_crashes();
        self.queue.put(self.now_ms + for_ms, Ev::DoorStart);
    }

    fn name_out(&mut self, ns: usize, for_ms: u64) {
        self.name_crashes(ns);
        self.queue.put(self.now_ms + for_ms, Ev::NameStart { ns });
    }

    /// Whatever was broken and can heal by itself heals; what died must be replaced by the scaler.
    fn faults_end(&mut self) {
        self.note(|| "all faults end".to_owned());
        self.faults_over = true;
        self.net = crate::net::Net::default();
        self.cloud.moods = crate::cloud::Moods::default();
        (self.dead_boots_ms, self.door.full_until_ms, self.door.dies_after) = (0, 0, None);
        self.crowd.flash = (1.0, 0);
        self.crowd.steady = Some(self.setup.level(self.now_ms));
        self.door_starts();
        (0..self.names.len()).for_each(|ns| self.name_starts(ns));
        for at in 0..self.hosts.len() {
            if let Some(host) = self.hosts.get_mut(at) {
                let impaired = host.frozen_until_ms == u64::MAX;
                host.frozen_until_ms = if impaired { u64::MAX } else { host.frozen_until_ms.min(self.now_ms) };
            }
            self.agent_starts(at);
        }
        for id in std::mem::take(&mut self.forced) {
            self.door_step(Event::Admin { ticket: 2, command: AdminCommand::Clear { id } }, None);
        }
        self.queue.put(self.now_ms + 10_000, Ev::Converged);
    }
}

//! A scenario at full size under one policy: hundreds of servers and their crowds, with the production control loop, door, plan,
//! check and executor; heartbeats are given to it as they are, and requests are arithmetic.
//!
//! It must never let a policy see what production would not see.

mod fleet;
mod latency;

use crate::dice::Die;
use crate::door::{Counters, FIRST};
use crate::menu::Menu;
use crate::queue::Queue;
use crate::setup::{DOOR, FARM, POOL_NAME, WALL_MS, id, keys};
use farm_shared::draw::Draws;
use farm_shared::time::{Mono, Now, Wall};
use fleet::{Fleet, WARM_MS};
use redirector_core::config::{ScalerSpec, Spec};
use redirector_core::door::{Decision, Dispatched as _, Front, Pickers, Request, Rules, decide};
use redirector_core::farm::{Control, Effect, Event, Saved};
use redirector_core::scale::{CallOutcome, Instance};
use redirector_core::whatif::{Fault, Scenario};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The farm runs for so long under the base load before the scenario begins, in milliseconds.
const WARM_UP_MS: u64 = 600_000;
const TICK_MS: u64 = 500;
const RETRY_S: u32 = 5;
/// Requests looked at for each sample's percentiles.
const REQUESTS: usize = 400;

/// One sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Seconds from the start of the scenario.
    pub t_s: f64,
    /// Clients: sessions and those that wait.
    pub clients: u32,
    /// Sessions on servers.
    pub sessions: u32,
    /// Clients that were told to come again.
    pub waiting: u32,
    /// Sessions aborted so far.
    pub aborted: u64,
    /// Servers that take sessions.
    pub live: u32,
    /// Servers that boot.
    pub booting: u32,
    /// Servers that drain.
    pub draining: u32,
    /// Servers the plan wants.
    pub desired: u32,
    /// Response times in multiples of the service time: 5th, 50th and 95th percentile.
    pub latency: [f64; 3],
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunTotals {
    /// Sessions that came.
    pub came: u64,
    /// Sessions that had to wait before they began.
    pub waited: u64,
    /// Seconds that they waited, all together.
    pub waited_s: f64,
    /// Clients that gave up waiting.
    pub gave_up: u64,
    /// Sessions that lost their server.
    pub aborted: u64,
    /// Hours of servers, from launch to end, without those spent stopped.
    pub server_h: f64,
    /// Launches, starts of stopped ones included.
    pub launches: u64,
    /// Servers ended or stopped.
    pub ends: u64,
    /// Changes from growing to shrinking or back.
    pub flaps: u64,
    /// Most servers at once.
    pub servers_max: u32,
}

/// A run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// Over time.
    pub series: Vec<Sample>,
    /// In sum.
    pub totals: RunTotals,
}

enum Ev {
    Tick,
    Beat { at: usize, boots: u32 },
    Boot { at: usize, boots: u32 },
    Comes { client: usize },
    Ends { client: usize, life: u32 },
    Answered(Box<CallOutcome>),
    Listed(Vec<Instance>),
    Strikes(usize),
    Sample,
}

/// A client, by the number of its session.
#[derive(Clone, Copy, Debug, Default)]
struct Client {
    length_ms: u64,
    server: Option<u32>,
    ends_ms: u64,
    /// Since when it waits; 0 if it does not.
    waits_ms: u64,
    life: u32,
}

struct Stage<'a> {
    scenario: &'a Scenario,
    now_ms: u64,
    queue: Queue<Ev>,
    control: Control,
    rules: Arc<Rules>,
    front: Option<Arc<Front>>,
    pickers: Pickers,
    counters: Counters,
    fleet: Fleet,
    clients: Vec<Client>,
    sessions: u32,
    waiting: u32,
    waits: u64,
    list_ms: u64,
    poll_ms: u64,
    period_ms: u64,
    grew: Option<bool>,
    boots: Draws,
    die: Die,
    steady: f64,
    run: Run,
}

/// Runs a scenario under the policy of a scaler's settings; its limits, boot prior and sessions a server come from the scenario.
///
/// # Errors
/// A world that cannot be set up: a mistake in this crate.
pub fn run(scenario: &Scenario, policy: &ScalerSpec, seed: u64) -> Result<Run, String> {
    let mut spec = Spec::new(id(DOOR), id(FARM));
    spec.hosts = vec![POOL_NAME.into()];
    spec.door.retry_after_s = RETRY_S;
    spec.lease.step_ms_max = 5_000;
    spec.scaler = policy.clone();
    (spec.scaler.enabled, spec.scaler.min, spec.scaler.max) = (true, scenario.min, scenario.max);
    spec.scaler.sessions_per_server = scenario.sessions_per_server;
    spec.scaler.session_prior_ms = (scenario.session_s * 1_000.0) as u64;
    spec.scaler.boot_prior_ms = (scenario.boot.mean_s() * 1_000.0) as u64;
    let period_ms = if scenario.servers > 100 { 5_000 } else { 1_000 };
    let root = Draws::from_u64(seed);
    let now = Now { mono: Mono(0), wall: Wall(WALL_MS) };
    let poll_ms = spec.scaler.poll_ms;
    let menu = Arc::new(Menu::new(scenario.zones.max(1) as usize));
    let rules = Arc::new(Rules::new(&spec));
    let control = Control::new(Arc::new(spec), keys()?, menu, Saved::default(), &[], now, root.child("control", 0));
    let mut stage = Stage {
        scenario,
        now_ms: 0,
        queue: Queue::default(),
        control,
        rules,
        front: None,
        pickers: Pickers::new(root.child("picker", 0)),
        counters: Counters::default(),
        fleet: Fleet::default(),
        clients: Vec::new(),
        sessions: 0,
        waiting: 0,
        waits: 0,
        list_ms: 0,
        poll_ms,
        period_ms,
        grew: None,
        boots: root.child("boots", 0),
        die: Die::new(seed, "requests"),
        steady: scenario.rate_at(0.0),
        run: Run::default(),
    };
    stage.play(seed);
    Ok(stage.run)
}

impl Stage<'_> {
    fn play(&mut self, seed: u64) {
        let demand = self.scenario.demand(seed);
        self.open(&demand);
        let end_ms = WARM_UP_MS + demand.duration_ms;
        let mut coming = demand.sessions.iter().enumerate().skip(demand.running).peekable();
        loop {
            let next_ms = coming.peek().map(|(_, s)| WARM_UP_MS + s.at_ms);
            if next_ms.is_some_and(|at| self.queue.next_ms().is_none_or(|queued| at <= queued)) {
                let Some((client, _)) = coming.next() else { break };
                self.now_ms = next_ms.unwrap_or(self.now_ms);
                self.run.totals.came += 1;
                self.comes(client);
            } else {
                let Some((at_ms, event)) = self.queue.take() else { break };
                if at_ms >= end_ms {
                    break;
                }
                self.now_ms = at_ms;
                self.happens(event);
            }
        }
        self.now_ms = end_ms;
        for server in &self.fleet.servers {
            let from_ms = server.born_ms.max(WARM_UP_MS);
            let to_ms = server.ended_ms.unwrap_or(end_ms).max(from_ms);
            let stopped_ms = server.stopped_ms + server.stopped_since.map_or(0, |since| end_ms.saturating_sub(since));
            self.run.totals.server_h += (to_ms - from_ms).saturating_sub(stopped_ms) as f64 / 3_600_000.0;
        }
    }

    /// Servers and sessions that are there from the beginning.
    fn open(&mut self, demand: &redirector_core::whatif::Demand) {
        let servers = self.scenario.servers.max(1);
        for number in 1..=servers {
            let at = self.fleet.found(number, self.scenario, WALL_MS - 3_600_000 + u64::from(number), 0);
            self.fleet.boot(at, WALL_MS + u64::from(number));
            self.queue.put(u64::from(number) * self.period_ms / u64::from(servers), Ev::Beat { at, boots: 0 });
        }
        self.clients = demand.sessions.iter().map(|s| Client { length_ms: s.length_ms, ..Client::default() }).collect();
        for client in 0..demand.running {
            self.begins(client, client % servers as usize, WARM_UP_MS);
        }
        for (n, fault) in self.scenario.faults.iter().enumerate() {
            self.queue.put(WARM_UP_MS + (fault.at_s() * 1_000.0) as u64, Ev::Strikes(n));
        }
        self.queue.put(0, Ev::Tick);
        self.queue.put(WARM_UP_MS, Ev::Sample);
    }

    fn now(&self) -> Now {
        Now { mono: Mono(self.now_ms), wall: Wall(WALL_MS + self.now_ms) }
    }

    fn happens(&mut self, event: Ev) {
        match event {
            Ev::Tick => {
                self.queue.put(self.now_ms + TICK_MS, Ev::Tick);
                self.step(Event::Tick { waited: self.waits, room: None });
                if self.now_ms >= self.list_ms {
                    self.list_ms = self.now_ms + self.poll_ms;
                    let list = self.fleet.list();
                    self.queue.put(self.now_ms + 200, Ev::Listed(list));
                }
            }
            Ev::Listed(list) => self.step(Event::Listing(Ok(list))),
            Ev::Answered(outcome) => self.step(Event::Provider(outcome)),
            Ev::Beat { at, boots } => self.beats(at, boots),
            Ev::Boot { at, boots } => {
                if self.fleet.servers.get(at).is_some_and(|s| s.boots == boots && s.ended_ms.is_none()) {
                    self.fleet.boot(at, WALL_MS + self.now_ms);
                    self.beats(at, boots);
                }
            }
            Ev::Comes { client } => self.comes(client),
            Ev::Ends { client, life } => self.ends(client, life),
            Ev::Strikes(n) => self.strikes(n),
            Ev::Sample => self.sample(),
        }
    }

    fn beats(&mut self, at: usize, boots: u32) {
        let Some(server) = self.fleet.servers.get_mut(at).filter(|s| s.boots == boots && s.up) else { return };
        if self.now_ms < WARM_UP_MS {
            // Sessions come and go at the base rate, which leaves their number as it is.
            let share = self.steady * self.period_ms as f64 / 1_000.0 / f64::from(self.scenario.servers.max(1));
            let whole = share as u64 + u64::from(self.die.chance(share.fract()));
            (server.arrivals, server.completions) = (server.arrivals + whole, server.completions + whole);
        }
        let times = (WALL_MS + self.now_ms, self.now_ms);
        if let Some(heartbeat) = self.fleet.beat(at, self.scenario, self.period_ms, times) {
            let dispatched = self.control.slot(&heartbeat.id).map_or(0, |slot| self.counters.total(FIRST, slot));
            let effects = self.control.step(self.now(), Event::Heartbeat { heartbeat: Box::new(heartbeat), dispatched });
            for effect in &effects {
                if let (Effect::Reply(reply), Some(server)) = (effect, self.fleet.servers.get_mut(at)) {
                    server.drains = reply.drain;
                }
            }
            self.follow(effects);
            self.flush();
        }
        self.queue.put(self.now_ms + self.period_ms, Ev::Beat { at, boots });
    }

    fn step(&mut self, event: Event) {
        let effects = self.control.step(self.now(), event);
        self.follow(effects);
        self.flush();
    }

    fn flush(&mut self) {
        let effects = self.control.flush(self.now());
        self.follow(effects);
    }

    fn follow(&mut self, effects: Vec<Effect>) {
        let mut left = VecDeque::from(effects);
        while let Some(effect) = left.pop_front() {
            match effect {
                Effect::Publish(snapshot) => {
                    self.front = Some(Arc::new(Front::new(Arc::clone(&self.rules), [snapshot])));
                }
                Effect::Journal(record) => {
                    let event = Event::Journalled { seq: record.seq, ok: true };
                    left.extend(self.control.step(self.now(), event));
                }
                Effect::Call(call) => {
                    let called = self.fleet.call(call, self.scenario, WALL_MS + self.now_ms, self.now_ms);
                    if let Some((at, warm)) = called.boots {
                        self.turns(true);
                        self.run.totals.launches += 1;
                        let boot_ms = self.scenario.boot.draw_ms(&mut self.boots);
                        let boot_ms = if warm { boot_ms.min(WARM_MS) } else { boot_ms };
                        let boots = self.fleet.servers.get(at).map_or(0, |s| s.boots);
                        self.queue.put(self.now_ms + boot_ms, Ev::Boot { at, boots });
                    }
                    if let Some(at) = called.ends {
                        self.turns(false);
                        self.dies(at);
                    }
                    self.queue.put(self.now_ms + 500, Ev::Answered(Box::new(called.outcome)));
                }
                _ => {}
            }
        }
    }

    fn turns(&mut self, grows: bool) {
        if self.now_ms >= WARM_UP_MS && self.grew.replace(grows).is_some_and(|before| before != grows) {
            self.run.totals.flaps += 1;
        }
    }

    /// A client comes to the door, for the first time or again.
    fn comes(&mut self, number: usize) {
        let Some(client) = self.clients.get(number).copied() else { return };
        let waited_ms = if client.waits_ms > 0 { self.now_ms - client.waits_ms } else { 0 };
        match self.decides() {
            Some(at) => {
                if client.waits_ms > 0 {
                    self.waiting -= 1;
                    self.run.totals.waited_s += waited_ms as f64 / 1_000.0;
                }
                self.begins(number, at, self.now_ms);
            }
            None if client.waits_ms > 0 && waited_ms as f64 > self.scenario.patience_s * 1_000.0 => {
                self.waiting -= 1;
                self.run.totals.gave_up += 1;
                self.run.totals.waited_s += waited_ms as f64 / 1_000.0;
            }
            None => {
                self.waits += 1;
                if let Some(client) = self.clients.get_mut(number).filter(|c| c.waits_ms == 0) {
                    client.waits_ms = self.now_ms.max(1);
                    self.waiting += 1;
                    self.run.totals.waited += 1;
                }
                self.queue.put(self.now_ms + u64::from(RETRY_S) * 1_000, Ev::Comes { client: number });
            }
        }
    }

    /// Where the door sends a new session; a server that is gone is found out at once, and the door is asked again later.
    fn decides(&mut self) -> Option<usize> {
        let front = self.front.clone()?;
        let now = self.now();
        let request = Request {
            method: "GET",
            target: "/",
            host: Some(POOL_NAME),
            cookies: &[],
            secure: false,
            source: Ipv4Addr::LOCALHOST.into(),
            fields: &(),
        };
        let Decision::Redirect { slot, location_prefix, .. } =
            decide(&front, &self.counters, &request, now, &mut self.pickers)
        else {
            return None;
        };
        self.counters.add(slot);
        let addr = location_prefix.trim_start_matches("http://").split(':').next()?.parse().ok()?;
        let at = crate::host::number_of(addr).checked_sub(1)?;
        self.fleet.servers.get(at).filter(|s| s.up).map(|_| at)
    }

    fn begins(&mut self, number: usize, at: usize, from_ms: u64) {
        let now_ms = self.now_ms;
        let (Some(client), Some(server)) = (self.clients.get_mut(number), self.fleet.servers.get_mut(at)) else { return };
        client.life += 1;
        (client.server, client.ends_ms, client.waits_ms) = (Some(at as u32), from_ms + client.length_ms, 0);
        let event = Ev::Ends { client: number, life: client.life };
        self.queue.put(client.ends_ms, event);
        (server.sessions, server.arrivals, server.active_ms) = (server.sessions + 1, server.arrivals + 1, now_ms);
        self.sessions += 1;
    }

    fn ends(&mut self, number: usize, life: u32) {
        let Some(client) = self.clients.get_mut(number).filter(|c| c.life == life) else { return };
        let Some(at) = client.server.take() else { return };
        if let Some(server) = self.fleet.servers.get_mut(at as usize) {
            (server.sessions, server.completions) = (server.sessions.saturating_sub(1), server.completions + 1);
        }
        self.sessions -= 1;
    }

    /// A server ends; its sessions are aborted, and their clients come again for what was left.
    fn dies(&mut self, at: usize) {
        let aborted = self.fleet.end(at, self.now_ms);
        self.run.totals.ends += 1;
        if aborted == 0 {
            return;
        }
        self.run.totals.aborted += u64::from(aborted);
        self.sessions -= aborted;
        for (number, client) in self.clients.iter_mut().enumerate().filter(|(_, c)| c.server == Some(at as u32)) {
            (client.server, client.length_ms) = (None, client.ends_ms.saturating_sub(self.now_ms).max(1));
            client.life += 1;
            self.queue.put(self.now_ms + 1_000, Ev::Comes { client: number });
        }
    }

    fn strikes(&mut self, n: usize) {
        let up: Vec<usize> = (0..self.fleet.servers.len())
            .filter(|at| self.fleet.servers.get(*at).is_some_and(|s| s.ended_ms.is_none()))
            .collect();
        let victims: Vec<usize> = match self.scenario.faults.get(n) {
            Some(Fault::ZoneLoss { zone, .. }) => {
                self.fleet.lost_zones.push(*zone);
                up.into_iter().filter(|at| self.fleet.servers.get(*at).is_some_and(|s| s.zone == *zone)).collect()
            }
            Some(Fault::ServerLoss { servers, .. }) => up.into_iter().take(*servers as usize).collect(),
            None => Vec::new(),
        };
        for at in victims {
            if let Some(server) = self.fleet.servers.get_mut(at) {
                server.instance.state = redirector_core::scale::InstanceState::Gone;
            }
            self.dies(at);
        }
    }

    fn sample(&mut self) {
        // About a thousand samples whatever the duration, at most one a second.
        let step_ms = (self.scenario.duration_s * 1_000 / 1_000).max(1_000);
        self.queue.put(self.now_ms + step_ms, Ev::Sample);
        let live: Vec<&fleet::Server> = self.fleet.servers.iter().filter(|s| s.up).collect();
        let draining = live.iter().filter(|s| s.drains).count() as u32;
        let there = self.fleet.servers.iter().filter(|s| s.ended_ms.is_none() && s.stopped_since.is_none()).count() as u32;
        let latency = percentiles(&live, self.scenario, &mut self.die);
        let up = live.len() as u32;
        self.run.totals.servers_max = self.run.totals.servers_max.max(there);
        self.run.series.push(Sample {
            t_s: (self.now_ms - WARM_UP_MS) as f64 / 1_000.0,
            clients: self.sessions + self.waiting,
            sessions: self.sessions,
            waiting: self.waiting,
            aborted: self.run.totals.aborted,
            live: up - draining,
            booting: there - up,
            draining,
            desired: self.control.desired(),
            latency,
        });
    }
}

/// Response times over the service time of requests of all sessions.
fn percentiles(servers: &[&fleet::Server], scenario: &Scenario, die: &mut Die) -> [f64; 3] {
    let share = scenario.busy_full * scenario.cores / f64::from(scenario.sessions_per_server.max(1));
    let mut sums = Vec::with_capacity(servers.len());
    let mut sum = 0_u64;
    for server in servers {
        sum += u64::from(server.sessions);
        sums.push((sum, latency::strain(server.sessions, share, scenario.cores).stretch));
    }
    if sum == 0 {
        return [1.0; 3];
    }
    let mut times: Vec<f64> = (0..REQUESTS)
        .map(|_| {
            let wanted = die.below(sum as usize) as u64;
            let at = sums.partition_point(|(until, _)| *until <= wanted);
            // Service times are exponential; processor sharing stretches each by the same factor on average.
            sums.get(at).map_or(1.0, |(_, stretch)| stretch * -(1.0 - die.unit()).ln())
        })
        .collect();
    times.sort_by(f64::total_cmp);
    [0.05, 0.5, 0.95].map(|share| times.get((REQUESTS as f64 * share) as usize).copied().unwrap_or(1.0))
}

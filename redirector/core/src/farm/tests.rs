#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
use super::*;
use crate::config::Spec;
use crate::door::Snapshot;
use crate::scale::{CallOutcome, ErrorKind, Instance, InstanceState, Plain, ProviderCall, ProviderError};
use farm_shared::draw::Draws;
use farm_shared::heartbeat::{FarmKey, Heard, Heartbeat, Kind, Load, Notice, NoticeKind, Refusal, Reply, State};
use farm_shared::id::Id;
use farm_shared::member::{Forced, Standing};
use farm_shared::time::{Mono, Now, Wall};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

mod executor;
mod health;

const START_MS: u64 = 1_700_000_000_000;

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn keys() -> Keys {
    Keys { current: FarmKey::from_hex(&"a".repeat(64)).unwrap(), former: vec![] }
}

fn beat(name: &str, seq: u64) -> Heartbeat {
    Heartbeat {
        v: 1,
        farm: id("mail"),
        id: id(name),
        role: farm_shared::heartbeat::Role::Backend,
        inc: START_MS,
        seq,
        time_ms: START_MS,
        period_ms: 1_000,
        addrs: vec!["10.0.0.7".parse().unwrap()],
        port: 8_000,
        zone: None,
        state: State::Up,
        drain_by: vec![],
        load: Load::default(),
        heard: vec![],
        notice: None,
        tombstones: vec![],
        killed: None,
    }
}

fn dnslb(name: &str, serves: bool, ttl_left_ms: Option<u64>) -> Heard {
    Heard {
        id: id(name),
        kind: Kind::Dnslb,
        age_ms: 100,
        serves: Some(serves),
        ttl_left_ms,
        doors: Some(3),
        scaler: None,
        room: None,
    }
}

/// A control loop in virtual time, with a provider that does as it is told and servers that boot at once.
struct Bench {
    control: Control,
    now: Now,
    seq: u64,
    snapshot: Option<Arc<Snapshot>>,
    saved: Option<Saved>,
    records: Vec<crate::scale::Record>,
    instances: BTreeMap<String, Instance>,
    sessions: BTreeMap<String, u32>,
    drained: BTreeMap<String, bool>,
    notices: BTreeMap<String, Notice>,
    launches: usize,
    waited: u64,
    /// Calls other than launches and terminations.
    others: Vec<&'static str>,
    /// Members that never speak.
    mute: BTreeSet<Id>,
    /// Terminations are not answered: what was asked.
    lost: Option<BTreeSet<Id>>,
}

impl Bench {
    fn new(spec: Spec) -> Self {
        let now = Now { mono: Mono(0), wall: Wall(START_MS) };
        let control = Control::new(Arc::new(spec), keys(), Arc::new(Plain), Saved::default(), &[], now, Draws::from_u64(1));
        let mut bench = Self {
            control,
            now,
            seq: 0,
            snapshot: None,
            saved: None,
            records: vec![],
            instances: BTreeMap::new(),
            sessions: BTreeMap::new(),
            drained: BTreeMap::new(),
            notices: BTreeMap::new(),
            launches: 0,
            waited: 0,
            others: vec![],
            mute: BTreeSet::new(),
            lost: None,
        };
        bench.flush();
        bench
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.control.step(self.now, event);
        for effect in &effects {
            match effect {
                Effect::Journal(record) => {
                    self.records.push((**record).clone());
                    self.step(Event::Journalled { seq: record.seq, ok: true });
                }
                Effect::Call(call) => {
                    let outcome = self.provide(call.clone());
                    self.step(Event::Provider(Box::new(outcome)));
                }
                _ => {}
            }
        }
        effects
    }

    fn provide(&mut self, call: ProviderCall) -> CallOutcome {
        if call.instance_id().is_some_and(|id| !self.instances.contains_key(id)) {
            let error = ProviderError { kind: ErrorKind::NotFound, message: String::new() };
            return CallOutcome { call, result: Err(error) };
        }
        let instance = match &call {
            ProviderCall::Launch(request) => {
                self.launches += 1;
                let instance = Instance {
                    member_id: Some(request.member_id.clone()),
                    intent: Some(request.intent.clone()),
                    ..Instance::new(request.token.clone(), request.farm.clone(), InstanceState::Running, self.now.wall.0)
                };
                self.instances.entry(request.token.clone()).or_insert(instance).clone()
            }
            ProviderCall::Terminate(request) => {
                if let Some(lost) = &mut self.lost {
                    lost.extend(self.instances[&request.instance_id].member_id.clone());
                    let error = ProviderError { kind: ErrorKind::Transient, message: String::new() };
                    return CallOutcome { call, result: Err(error) };
                }
                self.instances.remove(&request.instance_id).unwrap()
            }
            other => {
                let instance = self.instances.get_mut(other.instance_id().unwrap()).unwrap();
                match other {
                    ProviderCall::Stop(_) => instance.state = InstanceState::Stopped,
                    // Its agent is another incarnation.
                    ProviderCall::Start(_) => {
                        (instance.state, instance.launched_wall_ms) = (InstanceState::Running, self.now.wall.0);
                    }
                    ProviderCall::Keep(_) => instance.kept = true,
                    _ => {}
                }
                self.others.push(other.label());
                instance.clone()
            }
        };
        CallOutcome { call, result: Ok(Some(instance)) }
    }

    fn flush(&mut self) {
        for effect in self.control.flush(self.now) {
            match effect {
                Effect::Publish(snapshot) => self.snapshot = Some(snapshot),
                Effect::Persist(saved) => self.saved = Some(*saved),
                _ => {}
            }
        }
    }

    fn beat(&mut self, change: impl FnOnce(&mut Heartbeat)) -> Result<Reply, Refusal> {
        self.seq += 1;
        let mut heartbeat = beat("b1", self.seq);
        change(&mut heartbeat);
        let event = Event::Heartbeat { heartbeat: Box::new(heartbeat), dispatched: 0 };
        let mut answers = self.step(event).into_iter().filter_map(|effect| match effect {
            Effect::Reply(reply) => Some(Ok(*reply)),
            Effect::Refused(refusal) => Some(Err(refusal)),
            _ => None,
        });
        let answer = answers.next().unwrap();
        assert!(answers.next().is_none());
        answer
    }

    /// Time passes in steps of 100 ms.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.now = self.now.plus_ms(100);
            self.step(Event::Tick { waited: self.waited, room: None });
            self.flush();
        }
    }

    /// Time passes and every instance's server beats, each second, with a listing every other.
    fn live(&mut self, seconds: u64) {
        for second in 0..seconds {
            self.pass(1_000);
            for instance in self.instances.clone().into_values().filter(|i| i.state.is_alive()) {
                let name = instance.member_id.unwrap();
                if self.mute.contains(&name) || instance.intent.is_none() {
                    continue;
                }
                let sessions = self.sessions.get(name.as_str()).copied().unwrap_or(0);
                let drain = self.drained.get(name.as_str()).copied().unwrap_or(false);
                let notice = self.notices.get(name.as_str()).copied();
                let inc = instance.launched_wall_ms;
                let reply = self.beat(|h| {
                    (h.id, h.inc, h.load.sessions) = (name.clone(), inc, sessions);
                    h.drain_by = if drain { vec![id("door1")] } else { vec![] };
                    h.drain_by.extend(notice.filter(|n| n.kind == NoticeKind::Interruption).map(|_| name.clone()));
                    h.notice = notice;
                });
                self.drained.insert(name.to_string(), reply.unwrap().drain);
            }
            if second % 2 == 0 {
                self.step(Event::Listing(Ok(self.instances.values().cloned().collect())));
            }
        }
    }

    fn taking(&self) -> Vec<&str> {
        let snapshot = self.snapshot.as_ref().unwrap();
        snapshot.servers.iter().filter(|s| s.takes_new).map(|s| s.id.as_str()).collect()
    }

    fn restart(&mut self) {
        let saved = serde_json::from_str(&serde_json::to_string(&self.saved.clone().unwrap_or_default()).unwrap()).unwrap();
        let spec = Arc::clone(self.control.spec());
        self.now = Now { mono: Mono(0), ..self.now };
        self.control = Control::new(spec, keys(), Arc::new(Plain), saved, &self.records, self.now, Draws::from_u64(2));
        self.flush();
    }
}

fn spec() -> Spec {
    let mut spec = Spec::new(id("door1"), id("mail"));
    spec.hosts = vec!["*".into()];
    spec
}

fn scaling() -> Spec {
    let mut spec = spec();
    spec.scaler.enabled = true;
    (spec.scaler.min, spec.scaler.max, spec.scaler.sessions_per_server) = (2, 5, 10);
    (spec.scaler.stabilisation_ms, spec.scaler.dns_ttl_max_ms, spec.scaler.boot_prior_ms) = (20_000, 5_000, 2_000);
    spec.scaler.boot_deadline_ms = 30_000;
    spec
}

#[test]
fn heard_served_silent() {
    let mut bench = Bench::new(spec());
    assert!(bench.snapshot.as_ref().unwrap().table.is_empty());
    let reply = bench.beat(|_| {}).unwrap();
    assert_eq!((reply.kind, reply.drain, reply.lease_ms, reply.scaler), (Kind::Redirector, false, 3_000, None));
    bench.pass(100);
    assert_eq!(bench.taking(), ["b1"]);
    assert_eq!(&*bench.snapshot.as_ref().unwrap().servers[0].location_prefix, "http://10.0.0.7:8000");
    bench.pass(2_800);
    assert_eq!(bench.taking(), ["b1"]);
    bench.pass(300);
    assert!(bench.taking().is_empty(), "its lease ran out");
    let status = bench.control.status(bench.now);
    assert_eq!((status.servers[0].standing, status.servers[0].share), ("silent", 0.0));
    assert!(!status.alarms.is_empty());
    assert!(serde_json::to_string(&status).unwrap().contains("\"silent\""));
    assert_eq!(bench.beat(|h| h.seq = 1), Err(Refusal::Replayed));
    assert_eq!(bench.beat(|h| h.farm = id("web")), Err(Refusal::UnknownFarm));
    bench.beat(|_| {}).unwrap();
    bench.pass(100);
    assert_eq!(bench.taking(), ["b1"]);
    bench.beat(|h| h.state = State::Goodbye).unwrap();
    bench.pass(100);
    assert!(bench.snapshot.as_ref().unwrap().servers.is_empty());
}

#[test]
fn a_name_must_be_published_first() {
    let mut spec = spec();
    spec.door.target = "http://{id}.farm.example.com:{port}".into();
    let mut bench = Bench::new(spec.clone());
    let mut check = |heard: Vec<Heard>, expect: &[&str], why: &str| {
        bench.beat(|h| h.heard = heard).unwrap();
        bench.pass(100);
        assert_eq!(bench.taking(), expect, "{why}");
    };
    check(vec![], &[], "no dnslb was heard");
    check(vec![dnslb("ns1", true, None), dnslb("ns2", false, None)], &[], "one of two");
    check(vec![Heard { age_ms: 9_000, ..dnslb("ns1", true, None) }], &[], "long ago");
    check(vec![dnslb("ns1", true, None), Heard { age_ms: 9_000, ..dnslb("ns2", false, None) }], &["b1"], "all that live");
    check(vec![], &["b1"], "once published, all dnslb may go away");
    bench.beat(|h| h.inc += 1).unwrap();
    bench.pass(100);
    assert_eq!(bench.taking(), Vec::<&str>::new(), "a new incarnation");
    assert_eq!(
        bench.control.status(bench.now).servers[0].why_not.as_deref(),
        Some("its name is not served by every dnslb yet")
    );
    spec.door.published = crate::config::Published::Ignore;
    bench.step(Event::Reload { spec: Arc::new(spec), keys: keys(), blueprint: Arc::new(Plain) });
    bench.pass(100);
    assert_eq!(bench.taking(), ["b1"]);
}

#[test]
fn operators_words_and_doors() {
    let mut bench = Bench::new(spec());
    bench.beat(|h| h.heard = vec![dnslb("ns1", true, None)]).unwrap();
    let command = AdminCommand::Force { id: id("b1"), forced: Forced::Drain, why: "disk".into() };
    let effects = bench.step(Event::Admin { ticket: 7, command });
    assert!(effects.iter().any(|e| matches!(e, Effect::Answer { ticket: 7, result: Ok(_) })));
    assert!(bench.beat(|_| {}).unwrap().drain);
    bench.pass(1_100);
    assert!(bench.taking().is_empty());
    bench.restart();
    assert_eq!(bench.snapshot.as_ref().unwrap().servers[0].standing, Standing::Draining, "it survives a restart");
    bench.step(Event::Admin { ticket: 8, command: AdminCommand::Clear { id: id("b1") } });
    bench.seq += 5;
    bench.beat(|h| h.heard = vec![dnslb("ns1", true, None)]).unwrap();
    bench.pass(100);
    assert_eq!(bench.taking(), ["b1"]);
    assert_eq!(bench.control.status(bench.now).doors, 3);
    let effects = bench.step(Event::Admin { ticket: 9, command: AdminCommand::Clear { id: id("b9") } });
    assert!(matches!(&effects[..], [Effect::Answer { ticket: 9, result: Err(_) }]));
}

#[test]
fn the_farm_grows_and_shrinks() {
    let mut bench = Bench::new(scaling());
    bench.live(5);
    assert_eq!((bench.launches, bench.taking().len()), (2, 2), "the minimum");
    for name in bench.taking().into_iter().map(str::to_owned).collect::<Vec<_>>() {
        bench.sessions.insert(name, 16);
    }
    bench.live(20);
    assert_eq!((bench.launches, bench.instances.len()), (5, 5), "32 sessions need five servers of ten");
    let scaler = bench.control.status(bench.now).scaler;
    assert_eq!((scaler.live, scaler.pending, scaler.desired), (5, 0, 5));
    assert!(scaler.decisions.iter().any(|d| d.report.action == "launch 3"), "{:?}", scaler.decisions);
    bench.restart();
    bench.live(30);
    assert_eq!(bench.launches, 5, "a restart launches nothing");
    bench.sessions.clear();
    bench.sessions.insert("b1".into(), 1);
    bench.live(28);
    assert_eq!(bench.drained.values().filter(|d| **d).count(), 3);
    assert_eq!(bench.instances.len(), 5, "caches may name them still");
    bench.live(30);
    assert_eq!(bench.instances.len(), 2);
    assert!(bench.instances.values().any(|i| i.member_id == Some(id("b1"))), "the one with sessions stays");
    assert_eq!(bench.beat(|h| (h.id, h.inc) = (id("b2"), 1)).unwrap_err(), Refusal::Terminated);
    assert_eq!(bench.beat(|h| h.id = id("b1")).map(|r| r.tombstones.len()), Err(Refusal::OldIncarnation));
}

#[test]
fn tombstones_travel_in_replies() {
    let mut bench = Bench::new(scaling());
    bench.live(5);
    let victim = bench.instances.keys().next().unwrap().clone();
    let member = bench.instances[&victim].member_id.clone().unwrap();
    let mut list: Vec<Instance> = bench.instances.values().cloned().collect();
    list.iter_mut().filter(|i| i.instance_id == victim).for_each(|i| i.state = InstanceState::Gone);
    bench.instances.remove(&victim);
    bench.step(Event::Listing(Ok(list)));
    let reply = bench.beat(|h| h.id = id("static")).unwrap();
    let stone = &reply.tombstones[0];
    assert_eq!(stone.id, member);
    assert!(keys().current.is_buried(&id("mail"), stone));
    assert_eq!(reply.scaler, Some(id("door1")));
    // Whoever did not hear of it before a restart hears of it afterwards, for an hour in all.
    let saved = bench.control.save();
    assert_eq!(serde_json::from_str::<Saved>(&serde_json::to_string(&saved).unwrap()).unwrap(), saved);
    let told = |age_ms: u64| {
        let now = bench.now.plus_ms(age_ms);
        super::beats::still_told(saved.tombstones.clone(), now).iter().map(|(until, _)| until.since_ms(now.mono)).max()
    };
    assert_eq!((told(0).is_some(), told(600_000).map(|left| left <= 3_000_000)), (true, Some(true)));
    assert_eq!(told(3_600_000), None);
}

#[test]
fn two_scalers_freeze_each_other() {
    let mut bench = Bench::new(scaling());
    let other = Heard { kind: Kind::Redirector, scaler: Some(id("door2")), ..dnslb("door2", false, None) };
    for _ in 0..10 {
        bench.beat(|h| h.heard = vec![other.clone()]).unwrap();
        bench.step(Event::Listing(Ok(vec![])));
        bench.pass(1_000);
    }
    assert_eq!(bench.launches, 0);
    let status = bench.control.status(bench.now);
    assert_eq!(status.scaler.frozen.as_deref(), Some("door2 scales this farm, too"));
    assert!(status.notices.iter().any(|(_, n)| n.contains("frozen")));
}

#[test]
fn nothing_is_scaled_unseen() {
    let mut bench = Bench::new(scaling());
    bench.pass(60_000);
    assert_eq!(bench.launches, 0, "no listing");
    bench.step(Event::Listing(Err("away".into())));
    bench.pass(5_000);
    assert_eq!(bench.launches, 0);
    bench.step(Event::Listing(Ok(vec![])));
    bench.pass(200);
    assert_eq!(bench.launches, 2);
    let mut dry = scaling();
    dry.scaler.dry_run = true;
    let mut bench = Bench::new(dry);
    bench.live(20);
    assert_eq!((bench.launches, bench.records.is_empty()), (0, false), "a dry run journals its plans");
}

#[test]
fn what_never_speaks_is_replaced() {
    let mut bench = Bench::new(scaling());
    bench.pass(1_000);
    for _ in 0..50 {
        bench.step(Event::Listing(Ok(bench.instances.values().cloned().collect())));
        bench.pass(1_000);
    }
    assert_eq!(bench.instances.len(), 2);
    assert!(bench.launches >= 4, "{}", bench.launches);
}

#[test]
fn a_clock_that_jumps_ends_no_boot() {
    let mut bench = Bench::new(scaling());
    bench.live(5);
    bench.sessions.extend(bench.instances.values().filter_map(|i| Some((i.member_id.clone()?.to_string(), 16))));
    // Until more are launched, and none of those is heard.
    while bench.launches == 2 {
        let listed: Vec<Instance> = bench.instances.values().cloned().collect();
        bench.live(1);
        bench.step(Event::Listing(Ok(listed)));
    }
    let launched = bench.instances.len();
    bench.now.wall.0 += 7_200_000;
    bench.live(3);
    assert_eq!(bench.instances.len(), launched, "two hours on the wall clock are no two hours of booting");
}

#[test]
fn what_an_operator_holds_counts_towards_the_maximum() {
    let mut bench = Bench::new(scaling());
    bench.live(5);
    for name in bench.taking().into_iter().map(str::to_owned).collect::<Vec<_>>() {
        let command = AdminCommand::Force { id: id(&name), forced: Forced::Drain, why: "a look inside".into() };
        bench.step(Event::Admin { ticket: 1, command });
        bench.sessions.insert(name, 60);
    }
    bench.live(20);
    for name in bench.taking().into_iter().map(str::to_owned).collect::<Vec<_>>() {
        bench.sessions.insert(name, 60);
    }
    bench.live(60);
    assert_eq!(bench.instances.len(), 5, "two are held, and five are the maximum");
}

#[test]
fn the_ttl_gate() {
    let spec = scaling();
    let left = |heartbeats: &[(u64, bool, Option<u64>)]| {
        let mut seen = seen::Seen::new(0, &beat("b1", 1), &spec, Mono(0), false);
        let mut at = 0;
        for (ms, drains, ttl_left_ms) in heartbeats {
            let mut heartbeat = beat("b1", 1);
            if *drains {
                heartbeat.drain_by = vec![id("door1")];
            }
            heartbeat.heard = vec![dnslb("ns1", true, Some(0)), dnslb("ns2", true, *ttl_left_ms)];
            at = *ms;
            seen.observe(&heartbeat, &spec, 0, 1, Mono(at));
        }
        seen.ttl_left_ms(3_000, &spec, Mono(at))
    };
    assert_eq!(left(&[(0, false, None)]), 10_000, "lease, TTL and slack");
    assert_eq!(left(&[(0, false, None), (1_000, true, None)]), 9_000);
    assert_eq!(left(&[(0, false, None), (1_000, true, Some(500))]), 9_000, "only 0 counts");
    assert_eq!(left(&[(0, false, None), (1_000, true, Some(0))]), 9_000, "said before they knew, perhaps");
    assert_eq!(left(&[(0, false, None), (1_000, true, None), (5_000, true, Some(0))]), 0);
    assert_eq!(left(&[(0, false, None), (1_000, true, None), (2_000, false, None), (4_000, true, Some(0))]), 8_000);
    assert_eq!(left(&[(0, false, None), (1_000, false, Some(0))]), 10_000, "it does not drain");
    assert_eq!(left(&[(0, false, None), (10_000, true, None)]), 0);
}

#[test]
fn those_who_wait_count_once() {
    let mut spec = scaling();
    spec.door.retry_after_s = 5;
    spec.scaler.max = 50;
    let mut bench = Bench::new(spec);
    bench.live(5);
    // Forty clients come again every five seconds: eight requests a second are turned away.
    for _ in 0..30 {
        bench.live(1);
        bench.waited += 8;
    }
    assert!((6..=12).contains(&bench.instances.len()), "{} servers of ten sessions for forty", bench.instances.len());
}

#[test]
fn likely_victims_get_less() {
    let mut bench = Bench::new(scaling());
    bench.live(5);
    for name in bench.taking().into_iter().map(str::to_owned).collect::<Vec<_>>() {
        bench.sessions.insert(name, 16);
    }
    bench.live(30);
    bench.sessions.clear();
    bench.live(10);
    let servers = bench.control.status(bench.now).servers;
    let less = servers.iter().filter(|s| s.share < 0.15).count();
    assert_eq!((less, servers.len()), (3, 5), "{:?}", servers.iter().map(|s| s.share).collect::<Vec<_>>());
    assert!(servers.iter().all(|s| s.takes_new));
}

#[test]
fn a_machine_that_is_to_go_is_replaced() {
    let mut bench = Bench::new(scaling());
    bench.live(5);
    let two: Vec<String> = bench.taking().into_iter().map(str::to_owned).collect();
    let [first, second] = two.as_slice() else { panic!("{two:?}") };
    bench.sessions.insert(first.clone(), 1);
    bench.notices.insert(first.clone(), Notice { kind: NoticeKind::Interruption, at_ms: START_MS });
    bench.live(1);
    bench.pass(100);
    assert_eq!(bench.taking(), [second], "nothing new from the next heartbeat on");
    bench.live(4);
    assert_eq!((bench.launches, bench.taking().len()), (3, 2), "its replacement, at once");
    let status = bench.control.status(bench.now);
    assert_eq!((status.scaler.live, status.scaler.leaving), (2, 1));
    let of_first = status.servers.iter().find(|s| s.id == *first).unwrap();
    assert_eq!(of_first.notice, Some(("interruption", START_MS)));
    bench.live(20);
    assert_eq!(bench.instances.len(), 3, "a session runs on it still");
    bench.sessions.clear();
    bench.live(20);
    assert_eq!(bench.instances.len(), 2);

    // Less pressing: it serves until its replacement does.
    bench.notices.insert(second.clone(), Notice { kind: NoticeKind::Rebalance, at_ms: START_MS });
    let mut least = 2;
    for _ in 0..30 {
        bench.live(1);
        least = least.min(bench.taking().len());
    }
    assert_eq!((bench.launches, least), (4, 2), "never fewer than before");
    assert!(!bench.taking().contains(&second.as_str()));
    assert!(bench.instances.values().all(|i| i.member_id != Some(id(second))));
    bench.restart();
    bench.live(20);
    assert_eq!(bench.launches, 4);
}

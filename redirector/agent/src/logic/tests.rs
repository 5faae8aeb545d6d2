//! The logic in virtual time: a farm of front ends that are a few lines each, and the agent between them.

use super::*;
use farm_shared::heartbeat::{FarmKey, KillOutcome, KillWish, Load, Role, Tombstone};
use proptest::prelude::*;

const START: u64 = 1_700_000_000_000;

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn farm_key() -> FarmKey {
    FarmKey::from_hex(&"5a".repeat(32)).unwrap()
}

fn profile() -> Profile {
    Profile {
        drill_allow: vec!["nginx".to_owned()],
        farm: id("mail"),
        id: id("b1"),
        role: Role::Backend,
        zone: None,
        addrs: Vec::new(),
        port: 80,
        period_ms: 1_000,
        load_stale_ms: 3_000,
        on_load_failure: OnLoadFailure::Silent,
    }
}

/// The agent with a clock, a load source that answers at once, and what came out.
struct World {
    agent: Agent,
    now: Now,
    load: Option<Reading>,
    fronts: usize,
    saved: Saved,
    sent: Vec<(u64, usize, Heartbeat)>,
    notices: Vec<Notice>,
    /// What was to be ended, with the number of heartbeats that were sent before.
    kills: Vec<(String, usize)>,
    has_ended: bool,
}

impl World {
    fn new(profile: Profile, fronts: usize, saved: Saved, now: Now) -> Self {
        let load = Some(Reading { load: Load { queue: 1.5, ..Load::default() }, draining: false });
        Self::with_load(profile, fronts, saved, now, load)
    }

    fn with_load(profile: Profile, fronts: usize, saved: Saved, now: Now, load: Option<Reading>) -> Self {
        let key = farm_key().member(&profile.farm, &profile.id);
        let agent = Agent::new(profile, key, fronts, saved, now, Draws::from_u64(1));
        let mut world = Self {
            agent,
            now,
            load,
            fronts,
            saved: Saved::default(),
            sent: Vec::new(),
            notices: Vec::new(),
            kills: Vec::new(),
            has_ended: false,
        };
        for front in 0..fronts {
            world.step(Event::Route { front, source: Some("192.0.2.7".parse().unwrap()) });
        }
        world
    }

    fn usual(fronts: usize) -> Self {
        Self::new(profile(), fronts, Saved::default(), Now { mono: Mono(0), wall: Wall(START) })
    }

    fn step(&mut self, event: Event) {
        let mut effects: std::collections::VecDeque<Effect> = self.agent.step(self.now, event).into();
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Read => {
                    let reading = self.load.ok_or_else(|| LoadError("away".to_owned()));
                    effects.extend(self.agent.step(self.now, Event::Load(reading)));
                }
                Effect::Send { front, mac, body } => {
                    let heartbeat: Heartbeat = serde_json::from_slice(&body).unwrap();
                    heartbeat.check().unwrap();
                    assert!(body.len() + HEAD_BYTES_MAX <= UDP_BYTES_MAX);
                    assert_eq!(mac, farm_key().member(&id("mail"), &id("b1")).sign(&body));
                    assert!(self.saved.inc >= heartbeat.inc, "an incarnation that is not saved was told");
                    self.sent.push((self.now.mono.0, front, heartbeat));
                }
                Effect::Persist(saved) => self.saved = saved,
                Effect::Notice(notice) => self.notices.push(notice),
                Effect::Kill { key, process } => {
                    assert!(self.saved.wished.contains(&key), "a wish that is obeyed before it is written down");
                    self.kills.push((process, self.sent.len()));
                }
                Effect::Exit => self.has_ended = true,
            }
        }
    }

    /// Lets time pass, tick by tick.
    fn run_ms(&mut self, ms: u64) {
        let end = self.now.mono.plus_ms(ms);
        for _ in 0..100_000 {
            let at = self.agent.deadline();
            if at > end {
                self.now = self.now.plus_ms(end.since_ms(self.now.mono));
                return;
            }
            self.now = self.now.plus_ms(at.since_ms(self.now.mono));
            self.step(Event::Tick);
        }
        panic!("the agent never rests");
    }

    fn last(&self, front: usize) -> Heartbeat {
        self.sent.iter().rev().find(|(_, to, _)| *to == front).unwrap().2.clone()
    }

    /// What front end `name` answers to its last heartbeat.
    fn answer(&mut self, front: usize, name: &str, kind: Kind, change: impl FnOnce(&mut Reply)) {
        let heartbeat = self.last(front);
        self.answer_to(front, &heartbeat, name, kind, change);
    }

    fn answer_to(&mut self, front: usize, heartbeat: &Heartbeat, name: &str, kind: Kind, change: impl FnOnce(&mut Reply)) {
        let mut reply = Reply::new(&id(name), kind, heartbeat, self.now.wall);
        change(&mut reply);
        let (body, _) = reply.seal(&farm_key().member(&id("mail"), &id("b1")));
        let mac = mac_of(&body);
        self.step(Event::Reply { front, mac, body });
    }

    fn restart(self, now: Now) -> Self {
        Self::new(profile(), self.fronts, self.saved, now)
    }
}

/// The MAC as octets, by way of a datagram as a front end would send it.
fn mac_of(body: &[u8]) -> [u8; 32] {
    let mac = farm_key().member(&id("mail"), &id("b1")).sign_reply(body);
    let datagram = farm_shared::heartbeat::Envelope::datagram(&id("mail"), &id("b1"), &mac, body);
    farm_shared::heartbeat::Envelope::from_datagram(&datagram).unwrap().mac
}

#[test]
fn every_period_one_heartbeat_to_every_front_end() {
    let mut world = World::usual(3);
    world.run_ms(60_000);
    for front in 0..3 {
        let mine: Vec<_> = world.sent.iter().filter(|(_, to, _)| *to == front).collect();
        assert!((54..=68).contains(&mine.len()), "{}", mine.len());
        assert!(mine.windows(2).all(|w| w[0].2.seq < w[1].2.seq && (900..=1_100).contains(&(w[1].0 - w[0].0))));
    }
    let first = &world.sent[0].2;
    assert_eq!((first.inc, first.load.queue, first.addrs.len()), (START, 1.5, 1));
}

#[test]
fn drain_is_a_level_of_each_front_end() {
    let mut world = World::usual(2);
    world.run_ms(500);
    world.answer(0, "door1", Kind::Redirector, |r| r.drain = true);
    world.run_ms(100);
    assert_eq!(world.last(1).drain_by, [id("door1")]);
    assert_eq!(world.sent.len(), 4, "a drain that begins is told at once: {:?}", world.sent);
    world.answer(1, "ns1", Kind::Dnslb, |r| r.drain = true);
    world.run_ms(30_000);
    assert_eq!(world.last(0).drain_by, [id("door1"), id("ns1")], "silence takes nothing back");
    world.answer(0, "door1", Kind::Redirector, |_| ());
    world.run_ms(1_500);
    assert_eq!(world.last(0).drain_by, [id("ns1")], "one front end cannot end another's wish");
    let before = world.sent.len();
    world.answer(1, "ns1", Kind::Dnslb, |_| ());
    world.run_ms(150);
    assert!(world.sent.len() >= before + 2);
    assert!(world.last(0).drain_by.is_empty());
}

#[test]
fn the_members_own_wish_stands_beside_the_front_ends() {
    let mut world = World::usual(1);
    world.run_ms(500);
    world.step(Event::OperatorDrain(true));
    world.run_ms(100);
    assert_eq!(world.last(0).drain_by, [id("b1")]);
    world.answer(0, "ns1", Kind::Dnslb, |_| ());
    assert_eq!(world.agent.drain_by(), [id("b1")]);
    world.step(Event::OperatorDrain(false));
    world.load = Some(Reading { draining: true, ..Reading::default() });
    world.run_ms(1_200);
    assert_eq!(world.last(0).drain_by, [id("b1")], "the application's wish");
    world.load = Some(Reading::default());
    world.run_ms(1_200);
    assert!(world.last(0).drain_by.is_empty());
}

#[test]
fn flapping_wishes_do_not_become_a_storm() {
    let mut world = World::usual(1);
    world.run_ms(500);
    let before = world.sent.len();
    for i in 0..1_000 {
        world.answer(0, "door1", Kind::Redirector, |r| r.drain = i % 2 == 0);
        world.run_ms(1);
    }
    assert!(world.sent.len() - before <= 12, "{}", world.sent.len() - before);
}

#[test]
fn wishes_and_incarnations_outlive_a_restart() {
    let mut world = World::usual(2);
    world.run_ms(500);
    world.answer(0, "door1", Kind::Redirector, |r| r.drain = true);
    world.run_ms(1_000);
    let clock_went_back = Now { mono: Mono(0), wall: Wall(START - 86_400_000) };
    let mut world = world.restart(clock_went_back);
    world.run_ms(100);
    assert_eq!(world.last(1).drain_by, [id("door1")]);
    assert_eq!(world.last(1).inc, START + 1);
    world.answer(0, "door1", Kind::Redirector, |_| ());
    assert!(world.saved.drain_by.is_empty());
    assert!(world.agent.drain_by().is_empty());
}

#[test]
fn only_answers_that_are_waited_for_count() {
    let mut world = World::usual(2);
    world.run_ms(3_500);
    let first = world.sent[0].2.clone();
    let newest = world.last(0);
    let body = Reply { drain: true, ..Reply::new(&id("door1"), Kind::Redirector, &newest, world.now.wall) }
        .seal(&farm_key().member(&id("mail"), &id("b1")))
        .0;
    world.step(Event::Reply { front: 0, mac: [7; 32], body: body.clone() });
    let of_another = mac_of(&body);
    world.step(Event::Reply { front: 1, mac: of_another, body });
    world.step(Event::Reply { front: 9, mac: [0; 32], body: Vec::new() });
    for change in [
        |r: &mut Reply| r.re_inc += 1,
        |r: &mut Reply| r.re_seq += 100,
        |r: &mut Reply| r.to = id("b2"),
        |r: &mut Reply| r.farm = id("web"),
        |r: &mut Reply| r.v = 2,
    ] {
        world.answer(0, "door1", Kind::Redirector, |r| {
            r.drain = true;
            change(r);
        });
    }
    assert!(world.agent.drain_by().is_empty());
    world.answer(0, "door1", Kind::Redirector, |_| ());
    world.answer_to(0, &first, "door1", Kind::Redirector, |r| r.drain = true);
    assert!(world.agent.drain_by().is_empty(), "an answer that was held back");
    assert!(world.notices.iter().any(|n| matches!(n, Notice::RepliesRefused { .. })));
}

#[test]
fn a_challenge_sets_the_clock_and_nothing_else() {
    let mut world = World::usual(2);
    world.run_ms(10);
    let true_time = START + 90_000_000;
    let challenge = |r: &mut Reply| (r.challenge, r.time_ms, r.drain) = (true, true_time, true);
    world.answer(0, "ns1", Kind::Dnslb, challenge);
    assert_eq!(world.sent.len(), 3, "said again at once, to that front end");
    let again = world.last(0);
    assert!(again.time_ms.abs_diff(true_time) < 50 && again.inc.abs_diff(true_time) < 50, "{again:?}");
    assert!(again.drain_by.is_empty());
    assert_eq!(world.saved.inc, again.inc);
    world.answer(0, "ns1", Kind::Dnslb, challenge);
    world.answer(0, "ns1", Kind::Dnslb, challenge);
    assert_eq!(world.sent.len(), 3, "a front end that always challenges gets no storm");
    world.run_ms(1_200);
    assert!(world.last(1).time_ms < START + 10_000, "the other one's clock is its own");
    world.answer(1, "ns2", Kind::Dnslb, |_| ());
    let inc = world.last(1).inc;
    world.answer(0, "ns1", Kind::Dnslb, |r| (r.challenge, r.time_ms) = (true, true_time * 2));
    assert_eq!(world.last(0).inc, inc, "an incarnation that was accepted stays");
}

#[test]
fn a_goodbye_is_said_twice_to_all() {
    let mut world = World::usual(2);
    world.run_ms(500);
    let before = world.sent.len();
    world.step(Event::Stop);
    world.run_ms(5_000);
    let after: Vec<_> = world.sent[before..].iter().map(|(_, front, h)| (*front, h.state)).collect();
    assert_eq!(after, [(0, State::Goodbye), (1, State::Goodbye), (0, State::Goodbye), (1, State::Goodbye)]);
    assert!(world.has_ended);
    world.step(Event::Tick);
    assert_eq!(world.sent.len(), before + 4);
}

#[test]
fn a_backend_that_was_never_up_is_not_announced() {
    let booting = || World::with_load(profile(), 1, Saved::default(), Now { mono: Mono(0), wall: Wall(START) }, None);
    let mut world = booting();
    world.run_ms(20_000);
    assert!(world.sent.is_empty());
    world.load = Some(Reading::default());
    world.step(Event::Load(Ok(Reading::default())));
    assert_eq!(world.sent.len(), 1, "its first load is told at once");
    let mut world = booting();
    world.run_ms(2_000);
    world.step(Event::Stop);
    assert!(world.has_ended && world.sent.is_empty());
}

#[test]
fn a_dead_backend_is_not_kept_alive_by_its_agent() {
    for (policy, goodbyes) in [(OnLoadFailure::Silent, 0), (OnLoadFailure::Goodbye, 1)] {
        let start = Now { mono: Mono(0), wall: Wall(START) };
        let mut world = World::new(Profile { on_load_failure: policy, ..profile() }, 1, Saved::default(), start);
        world.run_ms(5_000);
        world.load = None;
        world.run_ms(5_000);
        let before = world.sent.len();
        let said = world.sent.iter().filter(|(_, _, h)| h.state == State::Goodbye).count();
        assert_eq!(said, goodbyes);
        world.run_ms(20_000);
        assert_eq!(world.sent.len(), before, "silence");
        assert_eq!(world.notices.iter().filter(|n| **n == Notice::BackendDead).count(), 1);
        world.load = Some(Reading::default());
        world.run_ms(1_200);
        assert_eq!(world.last(0).state, State::Up);
        assert!(!world.notices.iter().any(|n| matches!(n, Notice::FrontSilent { silent_ms, .. } if *silent_ms > 12_000)));
    }
}

#[test]
fn a_source_that_never_answers_delays_no_heartbeat() {
    let mut world = World::usual(1);
    world.run_ms(100);
    world.now = world.now.plus_ms(1_000);
    let effects = world.agent.step(world.now, Event::Tick);
    assert!(effects.contains(&Effect::Read) && !effects.iter().any(|e| matches!(e, Effect::Send { .. })));
    let until = world.agent.deadline();
    assert_eq!(until.since_ms(world.now.mono), 500);
    let effects = world.agent.step(world.now.plus_ms(500), Event::Tick);
    assert!(effects.iter().any(|e| matches!(e, Effect::Send { .. })));
}

#[test]
fn an_agent_that_was_stopped_does_not_call_its_backend_dead() {
    let start = Now { mono: Mono(0), wall: Wall(START) };
    let mut world = World::new(Profile { on_load_failure: OnLoadFailure::Goodbye, ..profile() }, 1, Saved::default(), start);
    world.run_ms(5_000);
    world.now = world.now.plus_ms(60_000);
    world.step(Event::Tick);
    world.run_ms(2_000);
    assert!(world.sent.iter().all(|(_, _, h)| h.state == State::Up));
    assert!(!world.notices.contains(&Notice::BackendDead));
}

#[test]
fn words_are_repeated_to_all_with_their_age() {
    let mut world = World::usual(2);
    world.run_ms(100);
    world.answer(0, "ns1", Kind::Dnslb, |r| (r.serves, r.ttl_left_ms, r.doors) = (Some(true), Some(1_234), Some(2)));
    world.answer(1, "door1", Kind::Redirector, |r| r.scaler = Some(id("s1")));
    let heard_at = world.now.mono;
    world.run_ms(2_000);
    let heard = world.last(1).heard;
    let age = world.sent.last().unwrap().0 - heard_at.0;
    assert_eq!(heard.iter().map(|h| h.id.as_str()).collect::<Vec<_>>(), ["door1", "ns1"]);
    assert_eq!(
        (heard[1].serves, heard[1].ttl_left_ms, heard[1].doors, heard[1].age_ms),
        (Some(true), Some(1_234), Some(2), age)
    );
    assert_eq!((heard[0].kind, heard[0].scaler.clone()), (Kind::Redirector, Some(id("s1"))));
    world.run_ms(WORD_MS_MAX + 2_000);
    assert!(world.last(0).heard.is_empty(), "old words are dropped");
}

#[test]
fn tombstones_travel_from_redirectors_to_name_servers() {
    let mut world = World::usual(3);
    world.run_ms(100);
    let stones: Vec<Tombstone> =
        (0..12).map(|i| farm_key().bury(&id("mail"), &id(&format!("dead{i}")), 5, world.now.wall)).collect();
    world.answer(0, "ns1", Kind::Dnslb, |r| r.tombstones = stones[..1].to_vec());
    world.answer(2, "ns2", Kind::Dnslb, |_| ());
    world.run_ms(1_500);
    assert!(world.last(1).tombstones.is_empty(), "a name server has none to give");
    world.answer(1, "door1", Kind::Redirector, |r| r.tombstones.clone_from(&stones));
    let before = world.sent.len();
    world.run_ms(3_000);
    for (front, expect) in [(0, 12), (1, 0), (2, 12)] {
        let mut seen: Vec<&str> = Vec::new();
        for (_, to, heartbeat) in &world.sent[before..] {
            assert!(heartbeat.tombstones.iter().all(|stone| farm_key().is_buried(&id("mail"), stone)));
            seen.extend(heartbeat.tombstones.iter().filter(|_| *to == front).map(|stone| stone.id.as_str()));
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), expect, "front end {front}");
    }
    world.run_ms(700_000);
    assert!(world.last(0).tombstones.is_empty());
}

#[test]
fn silence_is_logged_ever_more_rarely() {
    let mut world = World::usual(1);
    world.step(Event::FrontError { front: 0, why: "refused".to_owned() });
    world.run_ms(3_600_000);
    let complaints = world.notices.iter().filter(|n| matches!(n, Notice::FrontSilent { why: Some(_), .. })).count();
    assert!((4..=8).contains(&complaints), "{complaints}");
    world.answer(0, "ns1", Kind::Dnslb, |_| ());
    assert!(matches!(world.notices.last(), Some(Notice::FrontHeard { .. })));
}

#[test]
fn a_front_end_that_cannot_be_found_is_logged_as_silent() {
    let mut world = World::usual(1);
    world.step(Event::Route { front: 0, source: None });
    world.step(Event::FrontError { front: 0, why: "no such host".into() });
    world.run_ms(20_000);
    let complains = |n: &Notice| matches!(n, Notice::FrontSilent { why: Some(why), .. } if why == "no such host");
    assert!(world.notices.iter().any(complains), "{:?}", world.notices);
}

#[test]
fn the_longest_heartbeat_fits_a_datagram() {
    let mut world = World::usual(64);
    world.run_ms(100);
    for front in 0..64 {
        let name = format!("{front:02}{}", "x".repeat(61));
        let stones =
            (0..32).map(|i| farm_key().bury(&id("mail"), &id(&format!("{i:02}{}", "y".repeat(61))), 5, Wall(START)));
        world.answer(front, &name, if front < 32 { Kind::Redirector } else { Kind::Dnslb }, |r| {
            r.drain = true;
            (r.serves, r.ttl_left_ms, r.doors, r.scaler) = (Some(true), Some(u64::MAX), Some(u32::MAX), Some(id(&name)));
            r.tombstones = stones.collect();
        });
    }
    world.run_ms(1_500);
    assert_eq!(world.last(63).drain_by.len(), 63, "everything but wishes may be left out");
}

/// What may happen between a front end and the agent.
#[derive(Clone, Debug)]
enum Happening {
    Answer { front: usize, drain: bool, lost: bool },
    Challenge { front: usize },
    Forged { front: usize, body: Vec<u8> },
    Pass { ms: u64 },
    LoadGone(bool),
    Own(bool),
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0..3_usize, any::<bool>(), any::<bool>()).prop_map(|(front, drain, lost)| Happening::Answer { front, drain, lost }),
        1 => (0..3_usize).prop_map(|front| Happening::Challenge { front }),
        1 => (0..4_usize, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(front, body)| Happening::Forged { front, body }),
        4 => (1..20_000_u64).prop_map(|ms| Happening::Pass { ms }),
        1 => any::<bool>().prop_map(Happening::LoadGone),
        1 => any::<bool>().prop_map(Happening::Own),
        1 => Just(Happening::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_asserted_wish_is_ever_lost(happenings in proptest::collection::vec(happening(), 1..60)) {
        let mut world = World::usual(3);
        let mut expect: BTreeSet<Id> = BTreeSet::new();
        let mut own = false;
        world.run_ms(50);
        for happening in happenings {
            let before = world.sent.len();
            match happening {
                Happening::Answer { front, drain, lost } => {
                    let is_waited_for = world.sent.iter().any(|(_, to, _)| *to == front)
                        && world.agent.peers[front].clone().answered(world.last(front).seq)
                        && world.last(front).inc == world.agent.incarnation();
                    if !lost && is_waited_for {
                        let name = format!("f{front}");
                        world.answer(front, &name, Kind::Redirector, |r| r.drain = drain);
                        if drain { expect.insert(id(&name)); } else { expect.remove(&id(&name)); }
                    }
                }
                Happening::Challenge { front } if world.sent.iter().any(|(_, to, _)| *to == front) => {
                    world.answer(front, "fx", Kind::Dnslb, |r| (r.challenge, r.drain) = (true, true));
                }
                Happening::Challenge { .. } => {}
                Happening::Forged { front, body } => world.step(Event::Reply { front, mac: [1; 32], body }),
                Happening::Pass { ms } => world.run_ms(ms),
                Happening::LoadGone(gone) => world.load = (!gone).then(Reading::default),
                Happening::Own(wish) => {
                    own = wish;
                    world.step(Event::OperatorDrain(wish));
                }
                Happening::Restart => {
                    let now = Now { mono: Mono(0), wall: world.now.wall };
                    own = false;
                    world = world.restart(now);
                    world.run_ms(1);
                }
            }
            let mut by = expect.clone();
            if own { by.insert(id("b1")); }
            prop_assert_eq!(world.agent.drain_by(), by.iter().cloned().collect::<Vec<_>>());
            prop_assert_eq!(&world.saved.drain_by, &expect);
            for (_, _, heartbeat) in world.sent.iter().skip(before) {
                prop_assert_eq!(&heartbeat.drain_by, &by.iter().cloned().collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn an_interruption_drains_at_once_and_a_recommendation_does_not() {
    let notice = |kind| Some(heartbeat::Notice { kind, at_ms: START });
    let mut world = World::usual(2);
    world.run_ms(500);
    world.step(Event::Machine(notice(NoticeKind::Rebalance)));
    world.run_ms(150);
    assert_eq!((world.last(1).notice, world.last(1).drain_by.len()), (notice(NoticeKind::Rebalance), 0));
    let before = world.sent.len();
    world.step(Event::Machine(notice(NoticeKind::Interruption)));
    world.run_ms(150);
    assert_eq!(world.sent.len(), before + 2, "both front ends, once, long before the period is over");
    for front in 0..2 {
        assert_eq!(
            (world.last(front).notice, world.last(front).drain_by),
            (notice(NoticeKind::Interruption), vec![id("b1")])
        );
    }
    world.answer(0, "door1", Kind::Redirector, |_| ());
    world.run_ms(1_200);
    assert_eq!(world.last(0).drain_by, [id("b1")], "no front end can take it back");
    world.step(Event::Machine(None));
    world.run_ms(150);
    assert_eq!((world.last(0).notice, world.last(0).drain_by.len()), (None, 0));
}

#[test]
fn a_wish_to_end_a_process_is_obeyed_once_if_it_is_allowed() {
    let kill = |key: &str, process: &str| Some(KillWish { key: id(key), process: process.into() });
    let mut world = World::usual(2);
    world.run_ms(500);
    world.answer(1, "ns1", Kind::Dnslb, |r| r.kill = kill("d1-0", "nginx"));
    assert!(world.kills.is_empty(), "a name server has no say in this");
    world.answer(0, "door1", Kind::Redirector, |r| r.kill = kill("d1-1", "sshd"));
    let word = |world: &World| world.last(0).killed.map(|k| (k.key.to_string(), k.outcome));
    assert_eq!((world.kills.len(), word(&world)), (0, Some(("d1-1".into(), KillOutcome::NotAllowed))));
    world.answer(0, "door1", Kind::Redirector, |r| r.kill = kill("d1-2", "nginx"));
    // The word goes out first: the process may take the agent along.
    assert_eq!(world.kills, [("nginx".to_owned(), world.sent.len())]);
    assert_eq!(word(&world), Some(("d1-2".into(), KillOutcome::Accepted)));
    world.step(Event::Killed { key: id("d1-2"), count: 2 });
    world.run_ms(200);
    assert_eq!(word(&world), Some(("d1-2".into(), KillOutcome::Ended(2))));
    assert_eq!(world.last(1).killed, None, "name servers need not know");
    world.answer(0, "door1", Kind::Redirector, |r| r.kill = kill("d1-2", "nginx"));
    let now = world.now.plus_ms(10);
    let mut world = world.restart(now);
    world.run_ms(500);
    world.answer(0, "door1", Kind::Redirector, |r| r.kill = kill("d1-2", "nginx"));
    assert!(world.kills.is_empty(), "not again, and not after a restart");
}

//! Single rules of the executor, each in as few steps as it takes.

use super::*;
use std::collections::BTreeMap;

const NOON_MS: u64 = 100_000_000;

fn plan(plan: Plan) -> ExecEvent {
    ExecEvent::Plan {
        observation: Box::default(),
        plan,
        report: Report::default(),
        violations: Vec::new(),
        dry_run: false,
        taken: BTreeSet::new(),
    }
}

/// An executor that is told things, and whose records are written at once.
struct Desk {
    state: ExecState,
    blueprint: Box<dyn Blueprint>,
    frozen: bool,
    now_ms: u64,
    calls: Vec<ProviderCall>,
    records: Vec<Record>,
}

impl Desk {
    fn new(blueprint: impl Blueprint + 'static) -> Self {
        let (state, blueprint) = (ExecState::default(), Box::new(blueprint));
        Self { state, blueprint, frozen: false, now_ms: NOON_MS, calls: vec![], records: vec![] }
    }

    fn tell(&mut self, event: ExecEvent) {
        let farm = id("mail");
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let context = ExecContext { farm: &farm, blueprint: &*self.blueprint, keep_failed_max: 0, frozen: self.frozen };
            let draws = &mut Draws::from_u64(self.now_ms);
            let (state, effects) = step(std::mem::take(&mut self.state), event, &context, Wall(self.now_ms), draws);
            self.state = state;
            for effect in effects {
                match effect {
                    ExecEffect::Journal(record) => {
                        events.push_back(ExecEvent::Journalled { seq: record.seq, ok: true });
                        self.records.push(*record);
                    }
                    ExecEffect::Call(call) => self.calls.push(call),
                }
            }
        }
    }

    fn answer(&mut self, result: Result<Option<Instance>, ErrorKind>) {
        let call = self.calls.remove(0);
        let result = result.map_err(|kind| ProviderError { kind, message: String::new() });
        self.tell(ExecEvent::Outcome(CallOutcome { call, result }));
    }

    fn launched(&mut self, name: &str) {
        let ProviderCall::Launch(r) = self.calls[0].clone() else { panic!("{:?}", self.calls) };
        let instance = Instance {
            member_id: Some(r.member_id),
            intent: Some(r.intent),
            ..Instance::new(name, r.farm, InstanceState::Running, self.now_ms)
        };
        self.answer(Ok(Some(instance)));
    }

    fn list(&mut self, list: Vec<Instance>) {
        self.tell(ExecEvent::Listing { list, heard: BTreeSet::new() });
    }

    fn zones(&self) -> Vec<String> {
        let zone = |c: &ProviderCall| match c {
            ProviderCall::Launch(r) => r.offering.clone().unwrap().zone,
            other => panic!("{other:?}"),
        };
        self.calls.iter().map(zone).collect()
    }
}

fn running(name: &str, member: &str, intent: &str) -> Instance {
    Instance {
        member_id: Some(id(member)),
        intent: Some(intent.into()),
        ..Instance::new(name, id("mail"), InstanceState::Running, NOON_MS)
    }
}

#[test]
fn nothing_is_called_when_the_journal_fails() {
    let (farm, mut draws) = (id("mail"), Draws::from_u64(1));
    let context = ExecContext { farm: &farm, blueprint: &Plain, keep_failed_max: 0, frozen: false };
    let wanted = |dry_run, taken: &[&str]| ExecEvent::Plan {
        observation: Box::default(),
        plan: Plan { launch: 1, ..Plan::default() },
        report: Report::default(),
        violations: Vec::new(),
        dry_run,
        taken: taken.iter().map(|t| id(t)).collect(),
    };
    let (state, effects) = step(ExecState::default(), wanted(false, &["b1"]), &context, Wall(1), &mut draws);
    assert_eq!(effects.len(), 2);
    let Some(ExecEffect::Journal(record)) = effects.last() else { panic!("{effects:?}") };
    let Entry::Intent { call: ProviderCall::Launch(request) } = &record.entry else { panic!("{record:?}") };
    assert_eq!((request.member_id.as_str(), request.attempt, request.token.len()), ("b2", 1, 32));
    let failed = ExecEvent::Journalled { seq: record.seq, ok: false };
    let (state, effects) = step(state, failed, &context, Wall(2), &mut draws);
    assert!(effects.iter().all(|e| matches!(e, ExecEffect::Journal(_))));
    assert!(state.intents.is_empty());
    let (state, effects) = step(state, wanted(true, &[]), &context, Wall(3), &mut draws);
    assert_eq!((effects.len(), state.intents.len()), (1, 0), "a dry run");
}

#[test]
fn a_clock_that_was_set_back_holds_up_no_retry() {
    let mut desk = Desk::new(Plain);
    let call = ProviderCall::Terminate(InstanceRequest { intent: "i1".into(), instance_id: "i-1".into() });
    let record = Record { seq: 1, wall_ms: NOON_MS, entry: Entry::Intent { call } };
    desk.state = ExecState::default().replay(std::slice::from_ref(&record));
    desk.tell(ExecEvent::Tick);
    assert_eq!(desk.calls.len(), 1);
    desk.answer(Err(ErrorKind::Throttled));
    desk.now_ms += 1;
    desk.tell(ExecEvent::Tick);
    assert_eq!(desk.calls.len(), 0, "it pauses");
    desk.now_ms -= 3_600_000;
    // The pace has forgotten the future within two seconds at its slowest.
    for _ in 0..30 {
        desk.now_ms += 100;
        desk.tell(ExecEvent::Tick);
    }
    assert_eq!(desk.calls.len(), 1, "an hour earlier on the clock, not later in the world");
}

#[test]
fn a_shortage_falls_back_in_the_same_step_and_is_remembered() {
    let mut desk = Desk::new(Shop::new());
    desk.tell(plan(Plan { launch: 1, ..Plan::default() }));
    assert_eq!(desk.zones(), ["za"]);
    let first = desk.calls[0].clone();
    desk.answer(Err(ErrorKind::NoCapacity));
    assert_eq!(desk.zones(), ["zb"], "at once, elsewhere");
    let (ProviderCall::Launch(a), ProviderCall::Launch(b)) = (&first, &desk.calls[0]) else { panic!() };
    assert_eq!((&a.intent, &a.member_id, a.attempt + 1), (&b.intent, &b.member_id, b.attempt));
    assert_ne!((&a.token, &a.body), (&b.token, &b.body));
    desk.launched("i-1");
    // A restart remembers it: zone a is not asked again; then zone c is the emptiest.
    let json = serde_json::to_string(&desk.state).unwrap();
    desk.state = serde_json::from_str::<ExecState>(&json).unwrap().replay(&desk.records);
    desk.tell(plan(Plan { launch: 2, ..Plan::default() }));
    assert_eq!(desk.zones(), ["zc", "zb"]);
    desk.answer(Err(ErrorKind::NoCapacity));
    assert_eq!(desk.zones(), ["zb", "zb"]);
    desk.answer(Err(ErrorKind::NoCapacity));
    desk.answer(Err(ErrorKind::NoCapacity));
    assert_eq!((desk.calls.len(), desk.state.intents.len()), (0, 0), "nothing is left: given up");
    assert!(desk.state.problem.as_ref().unwrap().contains("any of 3 offerings"), "{:?}", desk.state.problem);
    desk.now_ms += 14_000;
    desk.tell(plan(Plan { launch: 1, ..Plan::default() }));
    assert_eq!(desk.zones(), Vec::<String>::new());
    desk.now_ms += 1_000;
    desk.tell(plan(Plan { launch: 1, ..Plan::default() }));
    assert_eq!(desk.zones().len(), 1, "the first is due");
}

#[test]
fn a_denial_is_definite_only_if_nothing_was_asked_before() {
    let mut desk = Desk::new(Shop::new());
    desk.tell(plan(Plan { launch: 1, ..Plan::default() }));
    let first = desk.calls[0].clone();
    desk.answer(Err(ErrorKind::Denied));
    desk.now_ms += 120_000;
    desk.tell(ExecEvent::Tick);
    let second = desk.calls[0].clone();
    assert_ne!(first, second, "a new attempt");
    // Its answer is lost, and then the credentials are refused: it may have launched all the same.
    desk.answer(Err(ErrorKind::Transient));
    let mut asked = 0;
    while !desk.state.intents.is_empty() {
        desk.now_ms += 120_000;
        desk.tell(ExecEvent::Tick);
        assert_eq!(desk.calls, std::slice::from_ref(&second), "the same octets");
        desk.answer(Err(ErrorKind::Denied));
        asked += 1;
        assert!(asked < 20, "given up at last");
    }
    assert!(asked > 3, "{asked}");
}

/// The first request may be on its way still: no other attempt beside it, and given up only when it cannot be any more.
#[test]
fn no_refusal_is_definite_after_a_request_of_unknown_fate() {
    for (kind, least_ms) in [
        (ErrorKind::NoCapacity, 100_000),
        (ErrorKind::Mismatch, 100_000),
        (ErrorKind::Denied, 210_000),
        (ErrorKind::NotFound, 210_000),
    ] {
        let mut desk = Desk::new(Shop::new());
        desk.tell(plan(Plan { launch: 1, ..Plan::default() }));
        let first = desk.calls[0].clone();
        desk.answer(Err(ErrorKind::Transient));
        let (mut began_ms, mut again) = (None, false);
        while !desk.state.intents.is_empty() {
            desk.now_ms += 500;
            desk.tell(ExecEvent::Tick);
            if desk.calls.is_empty() {
                continue;
            }
            assert_eq!(desk.calls, std::slice::from_ref(&first), "{kind:?}: the same octets");
            // In between, one more is lost: all begins anew.
            let lost = began_ms.is_some() && !again;
            again |= lost;
            desk.answer(Err(if lost { ErrorKind::Transient } else { kind }));
            began_ms = if lost { None } else { began_ms.or(Some(desk.now_ms)) };
        }
        let held_ms = desk.now_ms - began_ms.unwrap();
        assert!(again && (least_ms..600_000).contains(&held_ms), "{kind:?}: given up after {held_ms} ms");
        assert!(desk.calls.is_empty());
    }
}

/// Too many requests are no request of unknown fate: the next offering is asked at once.
#[test]
fn a_shortage_after_throttling_falls_back_at_once() {
    let mut desk = Desk::new(Shop::new());
    desk.tell(plan(Plan { launch: 1, ..Plan::default() }));
    desk.answer(Err(ErrorKind::Throttled));
    desk.now_ms += 60_000;
    desk.tell(ExecEvent::Tick);
    assert_eq!(desk.zones(), ["za"]);
    desk.answer(Err(ErrorKind::NoCapacity));
    assert_eq!(desk.zones(), ["zb"]);
}

#[test]
fn a_blueprint_that_fails_launches_nothing() {
    #[derive(Debug)]
    struct Broken;
    impl Blueprint for Broken {
        fn offerings(&self, _: Option<&Id>) -> &[Offering] {
            &[]
        }
        fn body(&self, _: &LaunchRequest) -> Result<Vec<String>, String> {
            Err("user-data is 3 octets too long".into())
        }
        fn price_usd_h(&self, _: &Offering) -> Option<f64> {
            None
        }
        fn attach(&self, _: &Id, _: &str, _: &str) -> Option<AttachRequest> {
            None
        }
    }
    let mut desk = Desk::new(Broken);
    desk.tell(plan(Plan { launch: 3, ..Plan::default() }));
    assert_eq!((desk.calls.len(), desk.state.intents.len()), (0, 0));
    assert_eq!(desk.state.problem.as_deref(), Some("nothing is launched: user-data is 3 octets too long"));
}

#[test]
fn lists_are_believed_late() {
    let mut desk = Desk::new(Plain);
    desk.tell(plan(Plan { launch: 1, ..Plan::default() }));
    desk.launched("i-1");
    for _ in 0..6 {
        desk.list(vec![]);
        assert!(desk.state.instances.contains_key("i-1"), "not listed yet");
        desk.now_ms += 9_000;
    }
    let heard = BTreeSet::from([id("b1")]);
    desk.now_ms += 600_000;
    desk.tell(ExecEvent::Listing { list: vec![], heard });
    assert!(desk.state.instances.contains_key("i-1"), "who is heard exists");
    for _ in 0..4 {
        desk.list(vec![]);
        desk.now_ms += 31_000;
    }
    assert!(desk.state.instances.is_empty(), "missing for a minute");
    let listed = running("i-1", "b1", &format!("i{NOON_MS}-1"));
    desk.list(vec![listed.clone()]);
    assert!(desk.state.instances.is_empty() && desk.state.unknown.is_empty(), "an old list raises no dead");
    desk.now_ms += 180_000;
    desk.list(vec![listed]);
    assert!(desk.state.instances.contains_key("i-1"), "no list is so old: it runs, and was left out");
}

/// Found by the simulator (seed 154): the time of an outage counted as an absence, and three lists were enough.
#[test]
fn an_instance_is_not_gone_for_want_of_lists() {
    let mut desk = Desk::new(Plain);
    desk.tell(plan(Plan { launch: 1, ..Plan::default() }));
    desk.launched("i-1");
    for _ in 0..2 {
        desk.list(vec![]);
        desk.now_ms += 10_000;
    }
    // The provider does not answer, or the clock is set.
    desk.now_ms += 7_200_000;
    for _ in 0..3 {
        desk.list(vec![]);
        assert!(desk.state.instances.contains_key("i-1"));
        desk.now_ms += 10_000;
    }
    desk.list(vec![]);
    assert!(desk.state.instances.is_empty(), "left out for a minute, at last");
}

#[test]
fn not_found_is_not_gone_and_what_runs_on_is_ended_again() {
    let mut desk = Desk::new(Plain);
    desk.tell(plan(Plan { launch: 1, ..Plan::default() }));
    desk.launched("i-1");
    let listed = running("i-1", "b1", &format!("i{NOON_MS}-1"));
    desk.tell(plan(Plan { terminate: vec![id("b1")], ..Plan::default() }));
    desk.tell(plan(Plan { terminate: vec![id("b1")], ..Plan::default() }));
    assert_eq!(desk.calls.len(), 1, "once");
    desk.answer(Err(ErrorKind::NotFound));
    assert_eq!(desk.state.instances.len(), 1);
    for _ in 0..70 {
        desk.now_ms += 1_000;
        desk.tell(ExecEvent::Tick);
    }
    assert_eq!(desk.calls.len(), 1, "asked again");
    desk.answer(Ok(None));
    for _ in 0..59 {
        desk.now_ms += 10_000;
        desk.list(vec![listed.clone()]);
        desk.tell(plan(Plan { terminate: vec![id("b1")], ..Plan::default() }));
    }
    assert_eq!((desk.calls.len(), desk.state.running().count()), (0, 0), "still listed is not terminated twice");
    desk.now_ms += 20_000;
    desk.list(vec![listed]);
    assert_eq!(desk.calls.len(), 1, "but not for ever");
    desk.answer(Ok(None));
    desk.list(vec![]);
    assert!(desk.state.instances.is_empty());
}

#[test]
fn strangers_are_reported_and_own_ones_adopted() {
    let mut desk = Desk::new(Plain);
    let mut copy = running("i-copy", "b7", "i5-1");
    let own = running("i-own", "b7", "i5-1");
    let named = running("i-named", "b8", "made-by-hand");
    copy.launched_wall_ms += 5;
    desk.list(vec![own.clone()]);
    desk.list(vec![own, copy, named]);
    assert_eq!(desk.state.instances.keys().collect::<Vec<_>>(), ["i-own"]);
    assert_eq!(desk.state.unknown.keys().collect::<Vec<_>>(), ["i-copy", "i-named"]);
    assert!(desk.state.refuses(&Order::Adopt("i-copy".into())).unwrap().contains("b7 is i-own already"));
    assert!(desk.state.refuses(&Order::Terminate("i-named".into())).unwrap().contains("adopt it first"));
    let order = Order::Adopt("i-named".into());
    assert_eq!(desk.state.refuses(&order), None);
    desk.tell(ExecEvent::Order { order, taken: BTreeSet::new() });
    assert_eq!((desk.state.instances.len(), desk.state.unknown.len()), (2, 1));
    assert!(desk.calls.is_empty());
}

#[test]
fn what_is_frozen_begins_nothing_and_settles_what_it_began() {
    let mut desk = Desk::new(Plain);
    desk.tell(plan(Plan { launch: 1, ..Plan::default() }));
    desk.answer(Err(ErrorKind::Transient));
    desk.frozen = true;
    desk.tell(plan(Plan { launch: 1, ..Plan::default() }));
    let mut sent = BTreeMap::new();
    for _ in 0..600 {
        desk.now_ms += 1_000;
        desk.tell(ExecEvent::Tick);
        for call in desk.calls.drain(..) {
            *sent.entry(call.intent().to_owned()).or_insert(0) += 1;
        }
    }
    assert_eq!(sent.len(), 1, "{sent:?}");
    // What was decided before the freeze and never sent may be wrong by now: the next plan decides anew.
    desk.frozen = false;
    desk.now_ms += 1_000_000;
    desk.tell(ExecEvent::Tick);
    assert_eq!(desk.state.intents.keys().collect::<Vec<_>>(), sent.keys().collect::<Vec<_>>());
}

#[test]
fn an_instance_that_cannot_be_stopped_is_terminated() {
    let mut desk = Desk::new(Plain);
    desk.tell(plan(Plan { launch: 1, ..Plan::default() }));
    desk.launched("i-1");
    let stop = || plan(Plan { stop: vec![id("b1")], ..Plan::default() });
    desk.tell(stop());
    assert_eq!(desk.calls[0].label(), "stop");
    desk.answer(Err(ErrorKind::Denied));
    desk.tell(stop());
    assert_eq!(desk.calls[0].label(), "terminate");
}

#[test]
fn an_hour_without_the_provider_ends_without_a_storm() {
    const SERVERS: usize = 40;
    let mut desk = Desk::new(Plain);
    desk.tell(plan(Plan { launch: SERVERS as u32, ..Plan::default() }));
    let mut per_s: Vec<usize> = Vec::new();
    let (mut done, mut made) = (0, 0);
    // An outage from the first second on, for an hour; then every call succeeds, a tenth of a second late.
    for second in 0..3_900_usize {
        let mut calls = 0;
        for _ in 0..10 {
            desk.now_ms += 100;
            for _ in 0..desk.calls.len() {
                calls += 1;
                if second < 3_600 {
                    desk.answer(Err(ErrorKind::Transient));
                } else {
                    made += 1;
                    desk.launched(&format!("i-{made}"));
                }
            }
            desk.tell(ExecEvent::Tick);
        }
        per_s.push(calls);
        if done == 0 && desk.state.instances.len() == SERVERS {
            done = second;
        }
    }
    let outage: usize = per_s[60..3_600].iter().sum();
    let after = &per_s[3_600..3_660];
    println!(
        "first second {}, outage {outage} calls in 59 min ({} a second at most), first minute after {} ({} a second at most), done after {} s",
        per_s[0],
        per_s[60..3_600].iter().max().unwrap(),
        after.iter().sum::<usize>(),
        after.iter().max().unwrap(),
        done - 3_600
    );
    assert!(outage <= 3_540 / 10 + 20, "{outage}: one in ten seconds");
    assert!(*after.iter().max().unwrap() <= 12, "{after:?}");
    assert!(after.iter().sum::<usize>() <= SERVERS + 5, "{after:?}");
    assert!(done > 0 && done < 3_660, "done at {done}");
}

#![allow(clippy::unwrap_used)]
use super::*;
use crate::scale::{Limits, Violation, check};
use farm_shared::time::Wall;

fn server(id: &str, state: ServerState) -> ServerLoad {
    ServerLoad {
        id: Id::new(id).unwrap(),
        state,
        managed: true,
        queue: 0.0,
        cores: 2.0,
        busy: 0.0,
        sessions: 0,
        limit: None,
        youngest_ms: None,
        zone: None,
        role: false,
        draining_ms: (state == ServerState::Draining).then_some(1),
        ttl_clear: true,
    }
}

fn farm(states: &[(&str, ServerState, u32)]) -> Observation {
    let servers = states.iter().map(|(id, state, sessions)| ServerLoad { sessions: *sessions, ..server(id, *state) });
    Observation { servers: servers.collect(), ..Observation::default() }
}

fn policy(rule: ScalePolicy) -> Policy {
    let spec = ScalerSpec { policy: rule, min: 1, max: 5, stabilisation_ms: 10_000, ..ScalerSpec::default() };
    Policy::new(&spec, 0)
}

fn at(mono_ms: u64) -> Now {
    Now { mono: Mono(mono_ms), wall: Wall(mono_ms) }
}

/// The action after the same observation was seen at 0 and again at `ms`.
fn action(rule: ScalePolicy, ms: u64, observation: &Observation) -> String {
    let policy = policy(rule);
    let (state, ..) = plan(&policy, &PlanState::default(), observation, at(0));
    let (_, plan, report) = plan(&policy, &state, observation, at(ms));
    assert_eq!(check(&plan, &policy.limits, observation), Ok(plan), "{report:?}");
    report.action
}

use ServerState::{Draining, Held, Leaving, Live, Silent};

#[test]
fn the_papers_rule() {
    let rule = |o: &Observation| action(ScalePolicy::Paper, 1, o);
    let busy = |mut o: Observation, busy: f64| {
        o.servers.iter_mut().for_each(|s| s.busy = busy);
        o
    };
    let two = || farm(&[("b1", Live, 3), ("b2", Live, 3)]);
    assert_eq!(rule(&busy(two(), 0.8)), "launch 1");
    assert_eq!(rule(&Observation { pending: 1, ..busy(two(), 0.8) }), "nothing");
    assert_eq!(rule(&busy(two(), 0.5)), "nothing");
    let mut idle = busy(two(), 0.1);
    idle.servers[0].youngest_ms = Some(5);
    idle.servers[1].youngest_ms = Some(9);
    assert_eq!(rule(&idle), "drain b2");
    idle.servers.iter_mut().for_each(|s| s.queue = 3.0);
    assert_eq!(rule(&idle), "launch 1", "spare processors behind long queues do not count");
    assert_eq!(rule(&Observation::default()), "launch 1");
}

#[test]
fn the_sizing_rule() {
    let rule = |ms, o: &Observation| action(ScalePolicy::Sizing, ms, o);
    assert_eq!(rule(1, &farm(&[])), "launch 1", "the minimum");
    assert_eq!(rule(1, &farm(&[("b1", Live, 140)])), "launch 1");
    assert_eq!(rule(1, &farm(&[("b1", Live, 140), ("b2", Draining, 7)])), "undrain b2");
    assert_eq!(rule(1, &farm(&[("b1", Live, 9_000)])), "launch 4", "the maximum");
    let three = farm(&[("b1", Live, 9), ("b2", Live, 0), ("b3", Live, 9)]);
    assert_eq!(rule(9_999, &three), "nothing", "too early");
    assert_eq!(rule(10_000, &three), "drain b2 b1", "the stalest");
    assert_eq!(rule(10_000, &Observation { frozen_in: Some("x".into()), ..three.clone() }), "nothing");
    let mut zones = three;
    zones.servers.iter_mut().zip(["z1", "z2", "z2"]).for_each(|(s, z)| s.zone = Some(Id::new(z).unwrap()));
    assert_eq!(rule(10_000, &zones), "drain b2", "one failure domain at a time");
    zones.servers[1].zone = zones.servers[0].zone.clone();
    zones.servers[1].sessions = 9;
    assert_eq!(rule(10_000, &zones), "drain b1", "the fullest zone first");
}

#[test]
fn drained_servers_are_stopped_and_others_are_not() {
    let rule = |o: &Observation| action(ScalePolicy::Sizing, 1, o);
    let draining = |change: fn(&mut ServerLoad)| {
        let mut o = farm(&[("b1", Live, 5), ("b2", Draining, 0)]);
        change(&mut o.servers[1]);
        o
    };
    assert_eq!(rule(&draining(|_| {})), "terminate b2");
    assert_eq!(rule(&draining(|s| s.sessions = 1)), "nothing");
    assert_eq!(rule(&draining(|s| (s.sessions, s.draining_ms) = (1, Some(3_600_000)))), "terminate b2, 1 sessions lost");
    assert_eq!(rule(&draining(|s| s.ttl_clear = false)), "nothing");
    assert_eq!(rule(&draining(|s| s.state = Held)), "nothing");
    assert_eq!(rule(&draining(|s| s.managed = false)), "nothing");
    let overdue =
        Observation { overdue: vec![Id::new("b9").unwrap()], pending: 1, ..farm(&[("b1", Live, 5), ("b3", Silent, 5)]) };
    assert_eq!(rule(&overdue), "terminate b9");
    assert_eq!(rule(&Observation { frozen: Some("two scalers".into()), ..overdue }), "nothing");
}

#[test]
fn launches_that_nobody_hears_do_not_go_on_for_ever() {
    let unheard = |ids: &[&str]| Observation {
        overdue: ids.iter().map(|id| Id::new(id).unwrap()).collect(),
        frozen_in: Some("more than half of the members are silent".into()),
        ..farm(&[("b1", Silent, 5), ("b2", Silent, 5)])
    };
    let policy = policy(ScalePolicy::Sizing);
    let launched = |observation: &Observation| {
        let (state, at_once, _) = plan(&policy, &PlanState::default(), observation, at(0));
        assert_eq!(at_once.launch, 0, "the monitor is suspected first");
        plan(&policy, &state, observation, at(60_000)).1.launch
    };
    assert_eq!(policy.limits.max, 5);
    assert!(launched(&unheard(&[])) > 0, "some may replace them");
    assert_eq!(launched(&unheard(&["b1", "b3", "b4", "b5"])), 0, "five are there, heard or not");
    let one_more = Plan { launch: 1, ..Plan::default() };
    let broken = check(&one_more, &policy.limits, &unheard(&["b3", "b4", "b5"]));
    assert_eq!(broken, Err(vec![Violation::AboveMax { servers: 6, max: 5 }]));
}

#[test]
fn the_check_stops_what_a_policy_must_not_do() {
    let observation = farm(&[("b1", Live, 5), ("b2", Draining, 1), ("b3", Live, 0)]);
    let limits = policy(ScalePolicy::Sizing).limits;
    let id = |text: &str| Id::new(text).unwrap();
    let plan = Plan {
        launch: 9,
        drain: vec![id("b1"), id("b3"), id("b7")],
        terminate: vec![id("b1"), id("b2")],
        ..Plan::default()
    };
    assert_eq!(
        check(&plan, &limits, &observation),
        Err(vec![
            Violation::BothDirections,
            Violation::AboveMax { servers: 12, max: 5 },
            Violation::BelowMin { live: 0, min: 1 },
            Violation::NotOurs(id("b7")),
            Violation::Undrained(id("b1"), "it is not draining"),
            Violation::Undrained(id("b2"), "sessions run on it"),
        ])
    );
}

#[test]
fn machines_that_are_to_go() {
    let rule = |o: &Observation| action(ScalePolicy::Sizing, 1, o);
    let one = || farm(&[("b1", Leaving, 40), ("b2", Live, 40)]);
    assert_eq!(rule(&one()), "launch 1", "a replacement");
    assert_eq!(rule(&Observation { pending: 1, ..one() }), "nothing", "which boots");
    let replaced = farm(&[("b1", Leaving, 40), ("b2", Live, 40), ("b3", Live, 0)]);
    assert_eq!(rule(&replaced), "drain b1");
    let changed = |change: fn(&mut ServerLoad)| {
        let mut o = replaced.clone();
        change(&mut o.servers[0]);
        rule(&o)
    };
    assert_eq!(changed(|s| s.draining_ms = Some(1)), "nothing", "sessions run on it");
    assert_eq!(changed(|s| (s.draining_ms, s.sessions) = (Some(1), 0)), "terminate b1");
    assert_eq!(changed(|s| (s.draining_ms, s.sessions, s.ttl_clear) = (Some(1), 0, false)), "nothing");
    assert_eq!(changed(|s| s.managed = false), "nothing", "not ours to take");
    assert_eq!(rule(&Observation { frozen_in: Some("x".into()), ..replaced.clone() }), "nothing");
    assert_eq!(rule(&Observation { frozen: Some("x".into()), ..replaced }), "nothing");
    // Two of four are replaced one by one, and at the maximum they stay.
    let two = farm(&[("b1", Leaving, 70), ("b2", Leaving, 60), ("b3", Live, 70), ("b4", Live, 70), ("b5", Live, 70)]);
    assert_eq!(rule(&two), "nothing", "the maximum");
    let policy = policy(ScalePolicy::Sizing);
    let broken = check(&Plan { drain: vec![Id::new("b3").unwrap(); 3], ..Plan::default() }, &policy.limits, &two);
    assert_eq!(broken, Err(vec![Violation::BelowMin { live: 0, min: 1 }]));
}

/// The plan at 0 s, with the numbers of an operator.
fn planned(change: fn(&mut ScalerSpec), observation: &Observation) -> (String, u32) {
    let mut spec = ScalerSpec { min: 1, max: 9, ..ScalerSpec::default() };
    change(&mut spec);
    let policy = Policy::new(&spec, 0);
    let (_, plan, report) = plan(&policy, &PlanState::default(), observation, at(0));
    assert_eq!(check(&plan, &policy.limits, observation), Ok(plan), "{report:?}");
    (report.action, report.desired)
}

#[test]
fn bounds_around_every_rule() {
    // 360 sessions want five servers.
    let busy = || farm(&[("b1", Live, 90), ("b2", Live, 90), ("b3", Live, 90), ("b4", Live, 90)]);
    let priced = |usd_month| Observation { usd_h: Some(0.4), usd_h_launch: Some(0.1), usd_month, ..busy() };
    type Case = (fn(&mut ScalerSpec), Observation, &'static str, u32);
    let cases: [Case; 12] = [
        (|_| {}, busy(), "launch 1", 5),
        (|s| s.spare = 2, busy(), "launch 3", 7),
        (|s| s.min_per_zone = 3, Observation { zones: ids(&["z1", "z2"]), ..busy() }, "launch 2", 6),
        (|s| s.floors = vec![Floor { days: [true; 7], servers: 8, ..Floor::default() }], busy(), "launch 4", 8),
        (|s| s.floors = vec![Floor { days: [true; 7], servers: 99, ..Floor::default() }], busy(), "launch 5", 9),
        (|s| s.usd_h_max = Some(0.45), priced(None), "nothing", 4),
        (|s| s.usd_h_max = Some(0.5), priced(None), "launch 1", 5),
        (|s| s.usd_h_max = Some(0.5), Observation { usd_h_open: Some(0.1), ..priced(None) }, "nothing", 4),
        (|s| s.usd_h_max = Some(9.0), busy(), "nothing", 4),
        // The minimum of one server until the end of the month is kept back: 74.40.
        (|s| s.usd_month_max = Some(100.0), priced(Some(10.0)), "launch 1", 5),
        (|s| s.usd_month_max = Some(100.0), priced(Some(25.6)), "nothing", 1),
        (|s| s.stabilisation_up_ms = 60_000, busy(), "nothing", 5),
    ];
    for (n, (change, observation, action, desired)) in cases.into_iter().enumerate() {
        assert_eq!(planned(change, &observation), (action.to_owned(), desired), "case {n}");
    }
}

fn ids(names: &[&str]) -> Vec<Id> {
    names.iter().map(|n| Id::new(n).unwrap()).collect()
}

#[test]
fn caps_on_cost_stand_above_every_policy() {
    let observation =
        Observation { usd_h: Some(0.4), usd_h_launch: Some(0.1), usd_month: Some(50.0), ..farm(&[("b1", Live, 9)]) };
    let launch = Plan { launch: 2, ..Plan::default() };
    let dear =
        |limits: Limits| matches!(check(&launch, &limits, &observation), Err(v) if matches!(v[..], [Violation::TooDear(_)]));
    let limits = Limits { max: 9, ..Limits::default() };
    assert!(!dear(limits));
    assert!(dear(Limits { usd_h_max: Some(0.59), ..limits }) && !dear(Limits { usd_h_max: Some(0.6), ..limits }));
    let open = Observation { usd_h_open: Some(0.1), ..observation.clone() };
    assert!(check(&launch, &Limits { usd_h_max: Some(0.6), ..limits }, &open).is_err(), "what is under way counts");
    assert!(dear(Limits { usd_month_max: Some(50.0), ..limits }) && !dear(Limits { usd_month_max: Some(51.0), ..limits }));
}

#[test]
fn roles_and_the_warm_pool() {
    let one = || farm(&[("b1", Live, 9)]);
    assert_eq!(planned(|_| {}, &Observation { roles_missing: ids(&["web-1"]), ..one() }).0, "launch role web-1");
    assert_eq!(planned(|s| s.max = 1, &Observation { roles_missing: ids(&["web-1"]), ..one() }).0, "nothing");
    assert_eq!(planned(|s| s.warm = 2, &one()).0, "launch 2");
    assert_eq!(
        planned(|s| s.warm = 2, &Observation { warm: 1, ..one() }).0,
        "launch 2",
        "one of them starts the stopped one"
    );
    assert_eq!(planned(|s| s.warm = 2, &Observation { warm: 2, ..one() }).0, "nothing");
    assert_eq!(planned(|s| (s.warm, s.max) = (2, 2), &one()).0, "nothing", "no room");
    let drained = || farm(&[("b1", Live, 9), ("b2", Draining, 0), ("b3", Draining, 0)]);
    assert_eq!(planned(|s| s.warm = 1, &drained()).0, "stop b2, terminate b3");
    assert_eq!(planned(|s| s.warm = 1, &Observation { warm: 1, ..drained() }).0, "terminate b2 b3");
}

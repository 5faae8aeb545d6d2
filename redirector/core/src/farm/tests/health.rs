//! Whom silence takes out, and where new sessions go: from heartbeats to the published table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
use super::*;
use crate::route::RoutePolicy;

const NAMES: [&str; 4] = ["b1", "b2", "b3", "b4"];

/// Those that are named beat each second.
fn beats(bench: &mut Bench, seconds: u64, names: &[&str], change: impl Fn(&str, &mut Heartbeat)) {
    for _ in 0..seconds {
        for name in names {
            let _ = bench.beat(|h| {
                h.id = id(name);
                change(name, h);
            });
        }
        bench.pass(1_000);
    }
}

fn shares(bench: &Bench) -> BTreeMap<String, f64> {
    let snapshot = bench.snapshot.as_ref().unwrap();
    snapshot.table.shares().map(|(at, share)| (snapshot.servers[at].id.to_string(), share)).collect()
}

#[test]
fn the_silence_of_most_is_not_believed() {
    let mut bench = Bench::new(scaling());
    bench.step(Event::Listing(Ok(vec![])));
    beats(&mut bench, 3, &NAMES, |_, _| {});
    assert_eq!(bench.taking(), NAMES);
    beats(&mut bench, 4, &NAMES[..2], |_, _| {});
    assert_eq!(bench.taking(), ["b1", "b2"], "two of four are not most");
    beats(&mut bench, 4, &NAMES[..1], |_, h| h.drain_by = vec![id("door2")]);
    let snapshot = bench.snapshot.clone().unwrap();
    assert_eq!(bench.taking(), ["b2", "b3", "b4"], "three are: they are served still");
    assert!(snapshot.servers[1].standing.keeps_sessions(), "and their cookies hold");
    let status = bench.control.status(bench.now);
    assert!(status.alarms.iter().any(|a| a.contains("3 of 3 servers are silent")), "{:?}", status.alarms);
    assert!(status.scaler.frozen.is_some(), "nothing is stopped meanwhile");
    beats(&mut bench, 4, &[], |_, _| {});
    assert_eq!(bench.taking(), ["b2", "b3", "b4"], "all are; who drained gets nothing new");
    assert!(bench.snapshot.as_ref().unwrap().servers[0].standing.keeps_sessions());
    bench.control.roster.bury(bench.now, &id("b3"), u64::MAX);
    (bench.control.dirty, bench.now) = (true, bench.now);
    bench.pass(200);
    assert_eq!(bench.taking(), ["b2", "b4"], "the provider's word is believed");
    beats(&mut bench, 1, &["b1", "b2"], |_, _| {});
    assert_eq!(bench.taking(), ["b1", "b2"], "one of three");
}

#[test]
fn the_panic_share_is_configured() {
    for (share, expect) in [(1.0, 0), (0.75, 4), (0.3, 4)] {
        let mut spec = spec();
        spec.door.panic_share = share;
        let mut bench = Bench::new(spec);
        beats(&mut bench, 2, &NAMES, |_, _| {});
        bench.pass(4_000);
        assert_eq!(bench.taking().len(), expect, "{share}: all of four are silent");
    }
    let mut spec = spec();
    spec.door.panic_share = 0.75;
    let mut bench = Bench::new(spec);
    beats(&mut bench, 2, &NAMES, |_, _| {});
    beats(&mut bench, 4, &NAMES[..1], |_, _| {});
    assert_eq!(bench.taking(), ["b1"], "three of four are no more than that");
}

#[test]
fn the_own_zone_comes_first_until_it_is_busy() {
    let mut spec = spec();
    (spec.door.zone, spec.door.zone_load_max, spec.door.ramp_ms) = (Some(id("z1")), 0.7, 0);
    let mut bench = Bench::new(spec);
    for (busy, expect) in [(0.5, 0.0), (0.7, 1.0 / 3.0), (0.85, 0.5), (0.3, 0.0)] {
        beats(&mut bench, 2, &NAMES, |name, h| {
            h.zone = (name != "b4").then(|| id(if name < "b3" { "z1" } else { "z2" }));
            h.load.busy = busy;
        });
        let shares = shares(&bench);
        let away = shares["b3"] + shares["b4"];
        assert!((away - expect).abs() < 0.01, "{busy} busy: {shares:?}");
    }
    // Without the own zone's servers there is nothing to prefer.
    beats(&mut bench, 4, &NAMES[2..], |_, h| h.zone = Some(id("z2")));
    assert_eq!(bench.taking(), ["b3", "b4"]);
    assert!(shares(&bench).values().all(|share| (share - 0.5).abs() < 0.01), "{:?}", shares(&bench));
}

#[test]
fn who_does_not_tell_its_load_is_an_average_server() {
    let mut bench = Bench::new(spec());
    beats(&mut bench, 8, &NAMES[..3], |name, h| {
        h.load.queue = if name == "b1" { 1.0 } else { 3.0 };
        if name == "b3" {
            h.load = Load::unreported();
        }
    });
    let shares = shares(&bench);
    assert!(shares["b1"] > shares["b3"] && shares["b3"] > shares["b2"], "{shares:?}");
    let text =
        r#"{"v":1,"farm":"mail","id":"b3","inc":1,"seq":1,"time_ms":1,"period_ms":1000,"addrs":["10.0.0.7"],"port":80}"#;
    let silent: Heartbeat = serde_json::from_str(text).unwrap();
    assert_eq!(silent.load, Load::unreported());
    let again: Heartbeat = serde_json::from_str(&serde_json::to_string(&silent).unwrap()).unwrap();
    assert_eq!(again, silent, "it is no idle one after a restart");
    let idle: Heartbeat = serde_json::from_str(&text.replace("\"port\"", "\"load\":{},\"port\"")).unwrap();
    assert!(idle.load.reported);
}

#[test]
fn long_sessions_are_counted_by_themselves() {
    let mut spec = spec();
    spec.door.policy = RoutePolicy::Auto;
    let mut bench = Bench::new(spec);
    let policy = |bench: &Bench| bench.snapshot.as_ref().unwrap().table.policy();
    let second = std::cell::Cell::new(0);
    // 40 sessions of 40 s each keep half a core busy, then 4 of a second each.
    let at = |bench: &mut Bench, seconds, sessions: u32, per_s: u64| {
        beats(bench, seconds, &NAMES, |name, h| {
            second.set(second.get() + u64::from(name == "b1") * per_s);
            (h.load.busy, h.load.sessions, h.load.completions) = (0.5, sessions, second.get());
        });
    };
    at(&mut bench, 20, 40, 1);
    assert_eq!(policy(&bench), RoutePolicy::Sessions);
    at(&mut bench, 400, 4, 4);
    assert_eq!(policy(&bench), RoutePolicy::Weighted);
}

#[test]
fn two_incarnations_of_one_id_are_told_apart() {
    let mut bench = Bench::new(spec());
    beats(&mut bench, 2, &NAMES[..2], |_, _| {});
    let (old, new) = (START_MS, START_MS + 5);
    beats(&mut bench, 1, &NAMES[..1], |_, h| (h.inc, h.load.queue) = (new, 2.0));
    assert_eq!(bench.beat(|h| (h.inc, h.load.queue) = (old, 50.0)), Err(Refusal::OldIncarnation));
    bench.pass(200);
    let status = bench.control.status(bench.now);
    assert!(status.servers[0].twins && status.servers[0].queue < 3.0, "the newer one's load counts");
    assert!(status.alarms.iter().any(|a| a.contains("two incarnations of b1")), "{:?}", status.alarms);
}

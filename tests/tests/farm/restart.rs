//! Restarts of either daemon, polite or not: nobody outside may notice.

use farm_tests::daemon::{Daemon, SOON};
use farm_tests::farm::{Farm, Options, POOL};
use farm_tests::wait;
use farm_tests::watch::Watch;
use serde_json::Value;
use std::net::IpAddr;

/// A member by name, from a list of a status.
fn member(list: &Value, key: &str, name: &str) -> Value {
    let members = list.as_array().cloned().unwrap_or_default();
    members.into_iter().find(|member| member[key] == name).unwrap_or_default()
}

fn intents(farm: &Farm) -> usize {
    farm.journal().iter().filter(|record| record["kind"] == "intent").count()
}

/// Ends it and starts it again.
fn restart(farm: &mut Farm, which: &str, how: &str) {
    let of = |farm: &mut Farm| if which == "dnslb" { farm.dnslb.take() } else { farm.doors[0].take() };
    let mut daemon: Daemon = of(farm).expect("it runs");
    match how {
        "SIGTERM" => assert!(daemon.stop().success(), "{which}"),
        _ => daemon.kill(),
    }
    drop(daemon);
    if which == "dnslb" { farm.start_dnslb() } else { farm.start_door(0) }
}

#[test]
fn restarts_are_not_noticed() {
    let mut farm = Farm::start(Options::default());
    let first = farm.wait_for(3);
    let [drained, pinned, _] = first.as_slice() else { panic!("{first:?}") };
    // A server that an operator holds counts for nothing: the scaler launches another.
    farm.commanded("redirector", &["drain", &drained.id], "door0.toml");
    let instances = farm.wait_for(3);
    assert_eq!(instances.len(), 4);
    let mine: IpAddr = pinned.addr;
    let session = wait::until("a session", SOON, || Some(farm.session(0)).filter(|s| s.addr == mine));
    let before = intents(&farm);

    let watch = Watch::start(&farm);
    watch.goes_on(50);
    for (which, how) in [("door", "SIGKILL"), ("dnslb", "SIGKILL"), ("dnslb", "SIGTERM"), ("door", "SIGTERM")] {
        let silences = watch.seen().silences;
        // An operator's word that was answered is on disk: a crash right behind it must not lose it.
        let why = format!("before {how} of {which}");
        farm.commanded("redirector", &["drain", &drained.id, "--why", &why], "door0.toml");
        farm.commanded("dnslb", &["admin", "up", &format!("mail/{}", pinned.id), "--why", &why], "dnslb.toml");
        restart(&mut farm, which, how);
        watch.goes_on(50);
        assert_eq!(farm.returning(0, &session.cookie), Some(session.addr), "{which} {how}");
        let up = member(&farm.dns_status()["pools"][0]["members"], "name", &pinned.id);
        assert_eq!(up["forced"], "up", "{up}");
        assert!(up["why"].as_str().unwrap().contains(&why), "{up}");
        assert!(!farm.named(POOL).contains(&drained.addr), "{which} {how}");
        assert!(!farm.entered(0).contains(&drained.addr), "{which} {how}");
        let drain = member(&farm.status(0)["servers"], "id", &drained.id);
        assert_eq!((&drain["standing"], &drain["forced"][1]), (&"draining".into(), &why.as_str().into()), "{drain}");
        // Everybody is heard, and the scaler has planned, before the next one.
        farm.wait_for(3);
        let plans = |farm: &Farm| farm.status(0)["scaler"]["decisions"].as_array().map_or(0, Vec::len);
        wait::until("a plan", SOON, || (plans(&farm) > 0).then_some(()));
        assert_eq!(farm.instances(), instances, "{which} {how}");
        println!("{which} {how}: {} questions without an answer", watch.seen().silences - silences);
    }
    let seen = watch.seen();
    assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
    assert_eq!(seen.last(drained.addr), None, "it was drained all the time");
    drop(seen);
    assert_eq!(intents(&farm), before, "nothing was launched or stopped");
}

//! The whole farm, end to end: it boots, loses members, is restarted, drained, crowded, and told lies.
//!
//! What is measured is printed (`--nocapture`); nothing is asserted about milliseconds.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

mod crowd;
mod doors;
mod drain;
mod lies;
mod notices;
mod orders;
mod restart;

use farm_tests::daemon::SOON;
use farm_tests::farm::{DOOR_NAME, Farm, MEMBER_ZONE, Options, POOL};
use farm_tests::wait;
use farm_tests::watch::Watch;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

#[test]
fn a_farm_boots_and_is_named_and_entered() {
    let mut farm = Farm::start(Options::default());
    let instances = farm.wait_for(3);
    assert_eq!(instances.len(), 3);
    let all: BTreeSet<IpAddr> = instances.iter().map(|i| i.addr).collect();
    assert_eq!(farm.named(POOL), all);
    let subsets: BTreeSet<Vec<IpAddr>> = (0..60).map(|_| farm.lookup(POOL)).map(|mut a| (a.sort(), a).1).collect();
    assert_eq!(subsets.len(), 3, "two of three: {subsets:?}");
    assert!(subsets.iter().all(|subset| subset.len() == 2));
    for instance in &instances {
        assert_eq!(farm.lookup(&format!("{}.{MEMBER_ZONE}", instance.id)), [instance.addr]);
    }
    let door: Vec<IpAddr> = wait::until("the door's name", SOON, || Some(farm.lookup(DOOR_NAME)).filter(|a| !a.is_empty()));
    assert_eq!(door, [farm.door_addr(0).ip()]);

    assert_eq!(farm.entered(0), all);
    let session = farm.session(0);
    for _ in 0..10 {
        assert_eq!(farm.returning(0, &session.cookie), Some(session.addr));
    }
    wait::until("counters of the door", SOON, || {
        let door = &farm.status(0)["door"];
        (door["redirects_new"].as_u64()? >= 61 && door["redirects_returning"].as_u64()? >= 10).then_some(())
    });
    for instance in &instances {
        let sample = |name: &str, label: &str| format!("{name}{{{label}}}").replace("ID", &instance.id);
        let named = farm.dnslb().metric(&sample("dnslb_pool_named_total", "pool=\"www\",member=\"ID\""));
        assert!(named.unwrap() > 20.0, "{instance:?}: {named:?}");
        let sessions = farm.door(0).metric(&sample("redirector_backend_in_service", "backend=\"ID\""));
        assert_eq!(sessions, Some(1.0));
    }
}

/// Two of three are gone at once, one for good and one for a while. The replacement gets the first one's address, so it boots late.
#[test]
fn nobody_is_sent_to_the_dead() {
    let mut farm = Farm::start(Options { boot_delay_ms: 5_000, ..Options::default() });
    let instances = farm.wait_for(3);
    let [killed, stopped, live] = instances.as_slice() else { panic!("{instances:?}") };
    let watch = Watch::start(&farm);
    wait::until("all three seen", SOON, || (watch.seen().named.len() == 3 && watch.seen().entered.len() == 3).then_some(()));

    let began = Instant::now();
    killed.signal(Signal::KILL);
    stopped.signal(Signal::STOP);
    let last = |of: &farm_tests::farm::Instance| watch.seen().last(of.addr).unwrap();
    wait::until("nobody is sent to the dead", SOON, || {
        let quiet = Duration::from_secs(2);
        (last(killed).elapsed() > quiet && last(stopped).elapsed() > quiet).then_some(())
    });
    for (of, what) in [(killed, "killed"), (stopped, "stopped")] {
        let seen = watch.seen();
        let ms = |at: Instant| at.saturating_duration_since(began).as_millis();
        let sessions: Vec<u128> = seen.entered[&of.addr].iter().filter(|at| **at > began).map(|at| ms(*at)).collect();
        println!(
            "{what}: named for {} ms, sessions for {} ms, {} of them",
            ms(seen.named[&of.addr]),
            sessions.last().unwrap_or(&0),
            sessions.len()
        );
    }
    let before = (last(killed), last(stopped));
    let replaced = || farm.instances().iter().any(|i| i.addr == killed.addr && i.id != killed.id && !i.pids.is_empty());
    wait::until("the replacement's start", SOON, || {
        let replaced = replaced();
        assert!(replaced || last(killed) == before.0, "the killed one is back before its replacement");
        assert_eq!(last(stopped), before.1, "the stopped one is back");
        replaced.then_some(())
    });
    println!("replacement started after {} ms", began.elapsed().as_millis());
    farm.wait_for(3);
    println!("three again after {} ms", began.elapsed().as_millis());
    assert_eq!(last(stopped), before.1, "the stopped one is back");
    assert!(farm.instances().contains(live));

    let woken = Instant::now();
    stopped.signal(Signal::CONT);
    wait::until("the stopped one is used again", SOON, || {
        let seen = watch.seen();
        (seen.named[&stopped.addr] > woken && *seen.entered[&stopped.addr].last()? > woken).then_some(())
    });
    println!("used again {} ms after it went on", woken.elapsed().as_millis());
    let seen = watch.seen();
    assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
}

//! The whole farm, end to end: it boots, loses members, is restarted, drained, crowded, and told lies.
//!
//! What is measured is printed (`--nocapture`); nothing is asserted about milliseconds.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::daemon::SOON;
use farm_tests::farm::{DOOR_NAME, Farm, MEMBER_ZONE, Options, POOL};
use farm_tests::wait;
use std::collections::BTreeSet;
use std::net::IpAddr;

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

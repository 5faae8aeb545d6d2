//! Front doors: two of them are a pool; and one that scales for practice only.

use farm_tests::daemon::SOON;
use farm_tests::farm::{DOOR_NAME, Farm, Options};
use farm_tests::wait;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

#[test]
fn two_doors_are_a_pool() {
    let mut farm = Farm::start(Options { min: 2, doors: 2, ..Options::default() });
    let instances = farm.wait_for(2);
    let doors: Vec<IpAddr> = (0..2).map(|n| farm.door_addr(n).ip()).collect();
    wait::until("both doors are named", SOON, || (farm.named(DOOR_NAME) == doors.iter().copied().collect()).then_some(()));
    let all: BTreeSet<IpAddr> = instances.iter().map(|i| i.addr).collect();
    for (from, to) in [(0, 1), (1, 0)] {
        assert_eq!(farm.entered(from), all);
        for _ in 0..4 {
            let session = farm.session(from);
            assert_eq!(farm.returning(to, &session.cookie), Some(session.addr), "a cookie of the other door");
        }
        wait::until("K", SOON, || (farm.status(from)["doors"] == 2).then_some(()));
    }

    let session = farm.session(1);
    let began = Instant::now();
    farm.doors[1].take().expect("the second door").kill();
    wait::until("the dead door is not named", SOON, || (farm.named(DOOR_NAME) == [doors[0]].into()).then_some(()));
    println!("a dead door is not named after {} ms", began.elapsed().as_millis());
    assert_eq!(farm.returning(0, &session.cookie), Some(session.addr));
    wait::until("K", SOON, || (farm.status(0)["doors"] == 1).then_some(()));

    // One that says goodbye leaves at once, one that comes back is named again.
    farm.start_door(1);
    wait::until("both doors are named", SOON, || (farm.named(DOOR_NAME).len() == 2).then_some(()));
    // It may have died before it wrote down that the server had joined; then it has to hear it first.
    wait::until("the cookie", SOON, || (farm.returning(1, &session.cookie) == Some(session.addr)).then_some(()));
    let began = Instant::now();
    assert!(farm.doors[1].take().expect("the second door").stop().success());
    wait::until("the closed door is not named", SOON, || (farm.named(DOOR_NAME) == [doors[0]].into()).then_some(()));
    println!("a closed door is not named {} ms after SIGTERM", began.elapsed().as_millis());
    assert_eq!(farm.instances(), instances, "doors come and go, servers stay");
}

#[test]
fn a_dry_run_plans_and_does_nothing() {
    let farm = Farm::start(Options { door_args: &["--dry-run"], ..Options::default() });
    let launches = || farm.journal().into_iter().filter(|record| record["plan"]["launch"] == 3).collect::<Vec<_>>();
    wait::until("a plan in the journal", SOON, || (!launches().is_empty()).then_some(()));
    let status = farm.status(0);
    wait::until("more looks", SOON, || {
        let generation = |status: &serde_json::Value| status["up_ms"].as_u64().unwrap();
        (generation(&farm.status(0)) > generation(&status) + 1_500).then_some(())
    });
    let journal = farm.journal();
    assert!(journal.iter().all(|record| record["kind"] == "plan" && record["dry_run"] == true), "{journal:?}");
    assert!(farm.instances().is_empty());
    let backends = farm.left().into_iter().filter(|(_, words)| words.contains("farm-backend"));
    assert_eq!(backends.count(), 0);
    assert_eq!(farm.knock(0, "").unwrap().status, 503, "an empty farm says so");
    assert!(farm.knock(0, "").unwrap().header("retry-after").is_some());
}

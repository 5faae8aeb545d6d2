//! Drain is a level: it holds through restarts of everybody until the one who asked for it takes it back.

use farm_tests::daemon::SOON;
use farm_tests::farm::{Farm, MEMBER_ZONE, Options, POOL};
use farm_tests::wait;
use serde_json::Value;
use std::net::IpAddr;
use std::time::Instant;

fn server(farm: &Farm, id: &str) -> Value {
    let status = farm.status(0);
    let servers = status["servers"].as_array().cloned().unwrap_or_default();
    servers.into_iter().find(|server| server["id"] == id).unwrap_or_default()
}

/// Until all agree that it is used. The status document may be half a second old, so what it says next is news.
fn wait_until_used(farm: &Farm, addr: IpAddr) {
    wait::until("named and entered again", SOON, || {
        (farm.named(POOL).contains(&addr) && farm.entered(0).contains(&addr)).then_some(())
    });
    wait::until("its status", SOON, || (server(farm, "hand")["standing"] == "in_service").then_some(()));
}

fn heard_again(farm: &Farm) -> usize {
    let status = farm.status(0);
    let notices = status["notices"].as_array().cloned().unwrap_or_default();
    notices.iter().filter(|notice| notice[1] == "hand is heard again").count()
}

#[test]
fn a_drain_holds_until_it_is_taken_back() {
    let mut farm = Farm::start(Options { min: 2, ..Options::default() });
    farm.wait_for(2);
    let ip = farm.addr(200);
    let addr = IpAddr::from(ip);
    let _backend = farm.backend_by_hand("hand", ip);
    let mut agent = farm.agent_by_hand("hand", ip);
    farm.wait_for(3);
    let session = wait::until("a session", SOON, || Some(farm.session(0)).filter(|s| s.addr == addr));
    let keeps = |farm: &Farm| assert_eq!(farm.returning(0, &session.cookie), Some(addr), "sessions go on");

    // The redirector's operator.
    let began = Instant::now();
    farm.commanded("redirector", &["drain", "hand"], "door0.toml");
    wait::until("no new sessions", SOON, || (!farm.entered(0).contains(&addr)).then_some(()));
    let door_ms = began.elapsed().as_millis();
    wait::until("not named", SOON, || (!farm.named(POOL).contains(&addr)).then_some(()));
    println!(
        "drained by the redirector: no new sessions after {door_ms} ms, not named after {} ms",
        began.elapsed().as_millis()
    );
    keeps(&farm);
    assert_eq!(farm.lookup(&format!("hand.{MEMBER_ZONE}")), [addr], "running sessions need its name");
    farm.commanded("redirector", &["undrain", "hand"], "door0.toml");
    wait_until_used(&farm, addr);

    // dnslb's operator: the agent carries the wish to the door.
    let began = Instant::now();
    farm.commanded("dnslb", &["admin", "drain", "mail/hand", "--why", "a test"], "dnslb.toml");
    wait::until("not named", SOON, || (!farm.named(POOL).contains(&addr)).then_some(()));
    let named_ms = began.elapsed().as_millis();
    wait::until("no new sessions", SOON, || (!farm.entered(0).contains(&addr)).then_some(()));
    println!("drained by dnslb: not named after {named_ms} ms, no new sessions after {} ms", began.elapsed().as_millis());
    wait::until("its status", SOON, || (server(&farm, "hand")["standing"] == "draining").then_some(()));
    keeps(&farm);

    // Whoever wished is away, and the agent crashes: the wish stands.
    farm.dnslb.take().expect("dnslb runs").kill();
    let again = heard_again(&farm);
    agent.kill();
    let _agent = farm.agent_by_hand("hand", ip);
    wait::until("the agent's new life", SOON, || (heard_again(&farm) > again).then_some(()));
    wait::until("its status", SOON, || (server(&farm, "hand")["standing"] == "draining").then_some(()));
    assert!(!farm.entered(0).contains(&addr));
    keeps(&farm);

    farm.start_dnslb();
    assert!(!farm.named(POOL).contains(&addr), "it comes back with the operator's word");
    farm.commanded("dnslb", &["admin", "clear", "mail/hand"], "dnslb.toml");
    wait_until_used(&farm, addr);
}

//! An operator's orders about instances, by `redirector farm`; and a role, whose server comes back with its name.

use farm_tests::daemon::SOON;
use farm_tests::farm::{Farm, MEMBER_ZONE, Options, takers};
use farm_tests::wait;
use serde_json::Value;

/// What a refused command says.
fn refused(farm: &Farm, words: &[&str]) -> String {
    let output = farm.command("redirector", &[&["farm"], words].concat(), "door0.toml");
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn listed(farm: &Farm, member: &str) -> Option<Value> {
    let document = farm.commanded("redirector", &["farm", "list", "--json"], "door0.toml");
    let document: Value = serde_json::from_str(&document).unwrap();
    let of_member = |instance: &&Value| instance["member_id"] == member && instance["state"] == "running";
    document["instances"].as_array()?.iter().find(of_member).cloned()
}

#[test]
fn an_operator_orders_and_a_role_keeps_its_name() {
    let farm = Farm::start(Options { min: 2, tail: "[[role]]\nname = \"web-1\"\n", ..Options::default() });
    let role = wait::until("the role beside the elastic part", SOON, || {
        let there = takers(&farm.status(0));
        (there.len() == 3 && there.contains("web-1")).then(|| listed(&farm, "web-1"))?
    });
    assert_eq!((&role["standing"], &role["known"]), (&"in_service".into(), &true.into()), "{role}");
    let name = format!("web-1.{MEMBER_ZONE}");
    let at = |member: &str| farm.instances().iter().find(|i| i.id == member).map(|i| i.addr);
    wait::until("the role's own name", SOON, || (farm.lookup(&name) == [at("web-1")?]).then_some(()));
    let table = farm.commanded("redirector", &["farm", "list"], "door0.toml");
    assert!(table.lines().any(|line| line.contains("web-1") && line.contains("in_service")), "{table}");

    // What could hurt is said first, refused then, and done when it is forced.
    let would = refused(&farm, &["terminate", "web-1"]);
    assert!(would.contains("would terminate") && would.contains("--yes does it"), "{would}");
    let uses = refused(&farm, &["terminate", "web-1", "--yes"]);
    assert!(uses.contains("web-1 takes sessions; drain it first, or force it"), "{uses}");
    assert_eq!(listed(&farm, "web-1").unwrap()["launched_wall_ms"], role["launched_wall_ms"]);
    farm.commanded("redirector", &["farm", "terminate", "web-1", "--yes", "--force"], "door0.toml");
    wait::until("another instance in the same role", SOON, || {
        let now = listed(&farm, "web-1")?;
        (now["launched_wall_ms"] != role["launched_wall_ms"] && takers(&farm.status(0)).contains("web-1")).then_some(())
    });
    wait::until("the name at its new place", SOON, || (farm.lookup(&name) == [at("web-1")?]).then_some(()));

    // Launches by hand are held against the scaler's maximum, and a role exists once.
    assert!(refused(&farm, &["launch", "--count", "50"]).contains("the maximum is 8"));
    let twice = refused(&farm, &["launch", "--role", "web-1"]);
    assert!(twice.contains("web-1"), "{twice}");
    assert!(refused(&farm, &["launch", "--role", "db-1"]).contains("no role db-1 is configured"));
    assert!(refused(&farm, &["start", "b99"]).contains("no instance and no member"));
    farm.commanded("redirector", &["farm", "launch"], "door0.toml");
    wait::until("one more", SOON, || (takers(&farm.status(0)).len() == 4).then_some(()));
    let orders = farm.journal().into_iter().filter(|record| record["kind"] == "intent").count();
    assert!(orders >= 6, "each order is an intent in the journal: {orders}");
}

//! The command line says what the status page says, and does several things at once.

use farm_tests::daemon::{Daemon, SOON, bins};
use farm_tests::farm::{Farm, Options, takers};
use farm_tests::wait;
use serde_json::Value;
use std::process::Command;

#[test]
fn commands_find_drain_and_follow() {
    let mut farm = Farm::start(Options { min: 3, ..Options::default() });
    farm.wait_for(3);
    let run = |words: &[&str]| farm.commanded("redirector", words, "door0.toml");
    let listed = |words: &[&str]| -> Vec<String> {
        let document: Value = serde_json::from_str(&run(&[&["servers", "--json"], words].concat())).unwrap();
        assert_eq!(document["total"], 3);
        document["servers"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed(&[]), ["b1", "b2", "b3"]);
    assert_eq!(listed(&["--reverse"]), ["b3", "b2", "b1"]);
    assert_eq!(listed(&["b2"]), ["b2"]);
    assert_eq!(listed(&["--state", "draining"]), Vec::<String>::new());
    let table = run(&["servers", "--sort", "sessions"]);
    assert!(table.starts_with("server  state") && table.ends_with("3 of 3 servers\n"), "{table}");

    // Follows what is written from now on.
    let mut follow = Command::new(bins().join("redirector"));
    follow.args(["journal", "--follow", "--last", "0", "--config", "door0.toml"]).current_dir(farm.scratch.path());
    let follow = Daemon::spawn(follow, farm.scratch.path().join("follow.log"));

    let done = run(&["drain", "b1", "b3", "--why", "new disks"]);
    assert_eq!(done.lines().count(), 2, "{done}");
    wait::until("b2 alone", SOON, || (takers(&farm.status(0)) == ["b2".to_owned()].into()).then_some(()));
    assert_eq!(listed(&["--state", "draining"]), ["b1", "b3"]);
    assert_eq!(farm.door(0).metric("redirector_servers{standing=\"draining\"}"), Some(2.0));
    // One that there is not stops none of the others, and the command fails.
    let half = farm.command("redirector", &["undrain", "b77", "b1", "b3"], "door0.toml");
    let said = String::from_utf8_lossy(&half.stderr).into_owned();
    assert!(half.status.code() == Some(69) && said.contains("no member b77") && said.contains("not all of it"), "{half:?}");
    wait::until("all again", SOON, || (takers(&farm.status(0)).len() >= 3).then_some(()));

    run(&["farm", "launch"]);
    wait::until("the order in the journal that is followed", SOON, || follow.log().contains(" order   ").then_some(()));

    // By the environment alone, from anywhere.
    let token = farm.scratch.path().join("door0-state/admin.token");
    let mut elsewhere = Command::new(bins().join("redirector"));
    elsewhere.args(["status", "--line"]).current_dir("/");
    elsewhere.env("REDIRECTOR_ADMIN", farm.door(0).port("admin").to_string()).env("REDIRECTOR_TOKEN_FILE", &token);
    let output = elsewhere.output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains(" servers: "), "{output:?}");
}

//! The scaler with real processes: launches, a restart that relaunches nothing, and an end that leaves nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Member, Redirector, Scratch, command, until};
use serde_json::Value;
use std::collections::BTreeMap;

const FARM: &str = r#"
[scaler]
enabled = true
min = 2
max = 4
sessions_per_server = 100
poll = "100ms"
stabilisation = "60s"
boot_prior = "1s"
boot_deadline = "60s"
dns_ttl_max = "0s"
[lease]
grace = "3s"
[provider]
kind = "process"
[provider.process]
first_address = "127.0.1.31"
count_max = 8
port = 9000
boot_delay = "200ms"
[[provider.process.command]]
argv = ["sh", "-c", "echo {id} {ip} >> {dir}/begun; exec sleep 600"]
"#;

/// Instances by member id, and their state.
fn instances(status: &Value) -> BTreeMap<String, String> {
    let list = status["scaler"]["instances"].as_array().cloned().unwrap_or_default();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    list.iter().map(|i| (text(&i["member_id"]), text(&i["state"]))).collect()
}

/// Speaks for every instance that runs, as its agent would; the dead say nothing.
fn beat(redirector: &Redirector, members: &mut BTreeMap<String, Member>, status: &Value, dead: Option<&str>) {
    for (id, state) in instances(status) {
        if state == "running" && Some(id.as_str()) != dead {
            let n = members.len();
            let member = members.entry(id.clone()).or_insert_with(|| Member::new(&id, &format!("127.0.1.{}", 31 + n)));
            member.heartbeat.period_ms = 1_000;
            member.beat(redirector);
        }
    }
}

fn pids(scratch: &Scratch) -> BTreeMap<String, i64> {
    let mut pids = BTreeMap::new();
    for entry in std::fs::read_dir(scratch.0.join("state/instances")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "json") {
            let record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let pid = record["processes"][0]["pid"].as_i64().unwrap_or(0);
            pids.insert(record["member_id"].as_str().unwrap().to_owned(), pid);
        }
    }
    pids
}

#[test]
fn instances_are_launched_found_again_and_stopped() {
    let scratch = Scratch::new();
    let config = scratch.config(FARM);
    let config_text = config.display().to_string();
    let redirector = Redirector::start(&scratch, &config);
    let mut members = BTreeMap::new();
    let running = |status: &Value| instances(status).values().filter(|s| *s == "running").count();
    until("two servers in service", || {
        let status = redirector.status();
        beat(&redirector, &mut members, &status, None);
        (running(&status) == 2 && status["scaler"]["live"] == 2 && status["scaler"]["pending"] == 0).then_some(())
    });
    assert_eq!(redirector.door("GET", "/", "").status, 302);
    let before = pids(&scratch);
    assert_eq!(before.len(), 2);
    redirector.stop();

    // Nobody relaunches what still runs, and no answer is missing meanwhile.
    let redirector = Redirector::start(&scratch, &config);
    assert_eq!(redirector.door("GET", "/", "").status, 302, "known members are served while they are unknown");
    let mut looks = 0;
    until("some listings", || {
        let status = redirector.status();
        beat(&redirector, &mut members, &status, None);
        looks += 1;
        (looks > 60 && running(&status) == 2).then_some(())
    });
    assert_eq!(pids(&scratch), before);
    let begun: usize = before
        .keys()
        .map(|id| std::fs::read_to_string(scratch.0.join(format!("state/instances/{id}/begun"))).unwrap().lines().count())
        .sum();
    assert_eq!(begun, 2);

    // One dies: another is launched for it.
    let (dead, pid) = before.iter().next().unwrap();
    let pid = rustix::process::Pid::from_raw(*pid as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    until("a replacement", || {
        let status = redirector.status();
        // The status may show it for half a second more, and heartbeats of what is known to be gone are refused.
        beat(&redirector, &mut members, &status, Some(dead));
        (running(&status) == 2 && !instances(&status).contains_key(dead)).then_some(())
    });
    let journal = redirector.admin("GET", "/v1/journal?last=1000").text();
    for kind in ["plan", "intent", "outcome"] {
        assert!(journal.lines().any(|l| l.contains(&format!("\"kind\":\"{kind}\""))), "{kind} in\n{journal}");
    }
    assert!(!command(&["stop-farm", "--config", &config_text]).status.success(), "not while it runs");
    redirector.stop();
    let stopped = command(&["stop-farm", "--config", &config_text]);
    assert_eq!(String::from_utf8_lossy(&stopped.stdout), "2 instances stopped\n", "{stopped:?}");
    assert!(pids(&scratch).is_empty());
}

#[test]
fn a_dry_run_launches_nothing() {
    let scratch = Scratch::new();
    let config = scratch.config(&FARM.replace("enabled = true", "enabled = true\ndry_run = true"));
    let redirector = Redirector::start(&scratch, &config);
    until("a plan in the journal", || {
        let journal = redirector.admin("GET", "/v1/journal").text();
        journal.contains("\"dry_run\":true").then_some(())
    });
    assert!(instances(&redirector.status()).is_empty());
    assert!(pids(&scratch).is_empty());
}

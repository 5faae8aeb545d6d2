//! A crowd comes and goes: the farm grows, shrinks again, and can say why.

use farm_tests::daemon::{SOON, bins};
use farm_tests::farm::{DOOR_NAME, Farm, Options, takers};
use farm_tests::wait;
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const MIN: usize = 2;

/// Longer than the farm may take to shrink on a busy machine.
const LATER: Duration = Duration::from_mins(1);

#[test]
fn a_farm_grows_and_shrinks_with_its_crowd() {
    let options = Options {
        min: MIN as u32,
        max: 8,
        boot_delay_ms: 1_000,
        service_ms: 40,
        scaler: "sessions_per_server = 8\nstabilisation = \"3s\"",
        ..Options::default()
    };
    let mut farm = Farm::start(options);
    farm.wait_for(MIN);
    let door = format!("http://{}", farm.door_addr(0));
    let crowd = Command::new(bins().join("farm-crowd"))
        .args(["--door", &door, "--host", DOOR_NAME, "--path", "/login", "--session-s", "3", "--think-ms", "300"])
        .args(["--timeout-ms", "10000", "--slow-ms", "5000", "--profile", "0:4,3:30,10:30,12:2,13:2"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("farm-crowd");
    let began = Instant::now();
    let mut most = MIN;
    wait::until("growth", SOON, || {
        most = most.max(takers(&farm.status(0)).len());
        (most >= 4).then_some(())
    });
    println!("4 servers in service after {} ms", began.elapsed().as_millis());
    let output = crowd.wait_with_output().expect("the crowd's end");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    println!("{} completed, {} delayed, {} aborted", summary["completed"], summary["delayed"], summary["aborted"]);
    assert_eq!(summary["aborted"], 0, "{summary}");
    assert!(summary["completed"].as_u64() > Some(30), "{summary}");
    assert!(summary["backends"].as_object().unwrap().len() >= 4, "{summary}");

    let over = Instant::now();
    wait::until("shrinking", LATER, || {
        (farm.instances().len() == MIN && takers(&farm.status(0)).len() == MIN).then_some(())
    });
    println!("{MIN} servers again {} ms after the crowd's end", over.elapsed().as_millis());
    explains(&farm.journal());
}

/// Launches and drains come from plans that say why, and nothing is stopped that was not drained before.
fn explains(journal: &[Value]) {
    let mut drained = Vec::new();
    let (mut launches, mut planned) = (0, 0);
    for record in journal {
        match record["kind"].as_str().expect("a kind") {
            "plan" => {
                let (plan, report) = (&record["plan"], &record["report"]);
                let ids = |key: &str| plan[key].as_array().cloned().unwrap_or_default();
                assert_eq!(record["violations"], Value::Array(Vec::new()), "{record}");
                if plan["launch"] != 0 || !ids("drain").is_empty() {
                    assert!(report["reason"].as_str().unwrap().contains("sessions now"), "{record}");
                    assert!(report["formula"].as_str().unwrap().contains("nhat"), "{record}");
                }
                planned += plan["launch"].as_u64().unwrap();
                drained.retain(|id| !ids("undrain").contains(id));
                drained.extend(ids("drain"));
                assert!(ids("terminate").iter().all(|id| drained.contains(id)), "{record}");
            }
            "intent" => {
                launches += u64::from(record["call"]["launch"].is_object());
                if let Some(instance) = record["call"]["terminate"]["instance_id"].as_str() {
                    let member = instance.strip_prefix("process-").expect("a process").to_owned();
                    assert!(drained.contains(&Value::from(member)), "{record}");
                }
            }
            _ => {}
        }
    }
    assert_eq!(launches, planned, "a launch without a plan");
    assert!(launches >= 4 && drained.len() >= 2, "{launches} launches, {} drains", drained.len());
}

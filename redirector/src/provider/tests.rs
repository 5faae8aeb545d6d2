#![allow(clippy::unwrap_used)]
use super::*;
use farm_shared::draw::Draws;
use farm_shared::heartbeat::FarmKey;
use farm_shared::id::Id;
use farm_shared::time::Wall;
use redirector_core::scale::InstanceRequest;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn directory(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("redirector-provider-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn settings(commands: &[&[&str]]) -> ProcessSettings {
    ProcessSettings {
        farm: Id::new("mail").unwrap(),
        key: FarmKey::from_hex(&"5a".repeat(32)).unwrap(),
        commands: commands.iter().map(|c| c.iter().map(|w| (*w).to_owned()).collect()).collect(),
        first_address: [127, 0, 1, 11].into(),
        count_max: 2,
        port: 8080,
        boot_delay_ms: 1_000,
        boot_delay_jitter: 0.0,
        stop_ms_max: 200,
    }
}

fn request(id: &str, token: &str) -> LaunchRequest {
    LaunchRequest {
        intent: format!("launch-{id}"),
        attempt: 0,
        token: token.into(),
        farm: Id::new("mail").unwrap(),
        member_id: Id::new(id).unwrap(),
        role: None,
        offering: None,
        body: vec![],
    }
}

/// A provider on a clock that the test sets.
fn open(settings: ProcessSettings, dir: &Path, clock: &Arc<AtomicU64>) -> ProcessProvider {
    let clock = Arc::clone(clock);
    ProcessProvider::open(settings, dir, Draws::from_u64(1), move || Wall(clock.load(Ordering::Relaxed))).unwrap()
}

async fn states(provider: &ProcessProvider) -> Vec<InstanceState> {
    provider.list().await.unwrap().iter().map(|i| i.state).collect()
}

async fn until_states(provider: &ProcessProvider, expect: &[InstanceState]) {
    for _ in 0..1_000 {
        if states(provider).await == expect {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?} instead of {expect:?}", states(provider).await);
}

#[tokio::test]
async fn a_launch_is_idempotent_boots_late_and_ends() {
    let (dir, clock) = (directory("life"), Arc::new(AtomicU64::new(1_000_000)));
    let provider =
        open(settings(&[&["sleep", "600"], &["sh", "-c", "echo {id} {ip} {port} {n}; exec sleep 600"]]), &dir, &clock);
    let first = provider.launch(&request("b1", "t1")).unwrap();
    assert_eq!(provider.launch(&request("b1", "t1")).unwrap(), first);
    let other = provider.launch(&request("b1", "t2")).unwrap_err();
    assert_eq!(other.kind, ErrorKind::Mismatch);
    assert_eq!(states(&provider).await, [InstanceState::Pending]);
    clock.fetch_add(999, Ordering::Relaxed);
    assert_eq!(states(&provider).await, [InstanceState::Pending]);
    clock.fetch_add(1, Ordering::Relaxed);
    assert_eq!(states(&provider).await, [InstanceState::Running]);
    let log = dir.join("instances/b1/1-sh.log");
    for _ in 0..1_000 {
        if std::fs::read_to_string(&log).is_ok_and(|text| text == "b1 127.0.1.11 8080 1\n") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "b1 127.0.1.11 8080 1\n");
    provider.terminate(&first.instance_id).await.unwrap();
    assert!(states(&provider).await.is_empty());
    assert_eq!(provider.terminate(&first.instance_id).await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn a_clock_that_was_set_back_holds_up_no_boot() {
    let (dir, clock) = (directory("back"), Arc::new(AtomicU64::new(10_000_000)));
    let provider = open(settings(&[&["sleep", "600"]]), &dir, &clock);
    let launched = provider.launch(&request("b1", "t1")).unwrap();
    clock.store(1_000, Ordering::Relaxed);
    assert_eq!(states(&provider).await, [InstanceState::Running]);
    provider.terminate(&launched.instance_id).await.unwrap();
}

#[tokio::test]
async fn addresses_are_the_lowest_free_ones_and_end() {
    let (dir, clock) = (directory("addresses"), Arc::new(AtomicU64::new(0)));
    let provider = open(settings(&[&["sleep", "600"]]), &dir, &clock);
    let first = provider.launch(&request("b1", "t1")).unwrap();
    provider.launch(&request("b2", "t2")).unwrap();
    assert_eq!(provider.launch(&request("b3", "t3")).unwrap_err().kind, ErrorKind::NoCapacity);
    provider.terminate(&first.instance_id).await.unwrap();
    provider.launch(&request("b3", "t3")).unwrap();
    let record = std::fs::read_to_string(dir.join("instances/b3.json")).unwrap();
    assert!(record.contains("127.0.1.11"), "{record}");
    assert_eq!(provider.stop_all().await.unwrap(), 2);
}

#[tokio::test]
async fn a_restart_finds_instances_again_and_starts_nothing_twice() {
    let (dir, clock) = (directory("restart"), Arc::new(AtomicU64::new(0)));
    let commands: &[&[&str]] = &[&["sh", "-c", "echo begun; exec sleep 600"]];
    let provider = open(settings(commands), &dir, &clock);
    provider.launch(&request("b1", "t1")).unwrap();
    clock.store(1_000, Ordering::Relaxed);
    assert_eq!(states(&provider).await, [InstanceState::Running]);
    provider.launch(&request("b2", "t2")).unwrap();
    let before = std::fs::read_to_string(dir.join("instances/b1.json")).unwrap();
    drop(provider);
    let provider = open(settings(commands), &dir, &clock);
    assert_eq!(states(&provider).await, [InstanceState::Running, InstanceState::Pending]);
    assert_eq!(provider.launch(&request("b1", "t1")).unwrap().state, InstanceState::Running);
    clock.store(2_000, Ordering::Relaxed);
    assert_eq!(states(&provider).await, [InstanceState::Running; 2]);
    assert_eq!(std::fs::read_to_string(dir.join("instances/b1.json")).unwrap(), before);
    assert_eq!(provider.stop_all().await.unwrap(), 2);
    assert_eq!(std::fs::read_to_string(dir.join("instances/b1/0-sh.log")).unwrap(), "begun\n");
}

#[tokio::test]
async fn what_dies_is_gone_and_takes_the_rest_along() {
    let (dir, clock) = (directory("death"), Arc::new(AtomicU64::new(0)));
    let provider = open(settings(&[&["sleep", "600"], &["sh", "-c", "exit 3"]]), &dir, &clock);
    provider.launch(&request("b1", "t1")).unwrap();
    clock.store(1_000, Ordering::Relaxed);
    until_states(&provider, &[InstanceState::Gone]).await;
    clock.store(200_000, Ordering::Relaxed);
    until_states(&provider, &[]).await;
    let provider = open(settings(&[&["/no/such/program"]]), &dir, &clock);
    provider.launch(&request("b2", "t2")).unwrap();
    clock.store(202_000, Ordering::Relaxed);
    until_states(&provider, &[InstanceState::Gone]).await;
}

#[tokio::test]
async fn what_ignores_a_polite_word_is_killed() {
    let (dir, clock) = (directory("stubborn"), Arc::new(AtomicU64::new(0)));
    let provider = open(settings(&[&["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]]), &dir, &clock);
    let instance = provider.launch(&request("b1", "t1")).unwrap();
    clock.store(1_000, Ordering::Relaxed);
    assert_eq!(states(&provider).await, [InstanceState::Running]);
    provider.terminate(&instance.instance_id).await.unwrap();
    assert!(states(&provider).await.is_empty());
}

#[tokio::test]
async fn a_record_of_another_process_is_no_licence_to_kill() {
    let (dir, clock) = (directory("reuse"), Arc::new(AtomicU64::new(0)));
    let provider = open(settings(&[&["sleep", "600"]]), &dir, &clock);
    provider.launch(&request("b1", "t1")).unwrap();
    clock.store(1_000, Ordering::Relaxed);
    assert_eq!(states(&provider).await, [InstanceState::Running]);
    drop(provider);
    let path = dir.join("instances/b1.json");
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let pid = record["processes"][0]["pid"].as_i64().unwrap();
    let ticks = record["processes"][0]["start_ticks"].as_u64().unwrap();
    record["processes"][0]["start_ticks"] = (ticks + 1).into();
    std::fs::write(&path, record.to_string()).unwrap();
    let provider = open(settings(&[&["sleep", "600"]]), &dir, &clock);
    assert_eq!(states(&provider).await, [InstanceState::Gone]);
    let ours = identity::Identity::of(pid as i32).unwrap();
    assert!(ours.is_alive(), "the process with the same pid was left alone");
    ours.signal(rustix::process::Signal::KILL);
}

#[tokio::test]
async fn one_that_is_stopped_starts_again_with_other_processes() {
    let (dir, clock) = (directory("rest"), Arc::new(AtomicU64::new(0)));
    let commands: &[&[&str]] = &[&["sh", "-c", "echo begun; exec sleep 600"]];
    let provider = open(settings(commands), &dir, &clock);
    let name = provider.launch(&request("b1", "t1")).unwrap().instance_id;
    clock.store(1_000, Ordering::Relaxed);
    assert_eq!(states(&provider).await, [InstanceState::Running]);
    let call = |call: fn(InstanceRequest) -> ProviderCall| {
        call(InstanceRequest { intent: "i1-1".into(), instance_id: name.clone() })
    };
    let state = async |provider: &ProcessProvider, asked: ProviderCall| provider.call(&asked).await.unwrap().unwrap().state;
    assert_eq!(state(&provider, call(ProviderCall::Stop)).await, InstanceState::Stopped);
    assert_eq!(state(&provider, call(ProviderCall::Stop)).await, InstanceState::Stopped, "again");
    drop(provider);
    let provider = open(settings(commands), &dir, &clock);
    assert_eq!(states(&provider).await, [InstanceState::Stopped], "over a restart");
    clock.store(5_000, Ordering::Relaxed);
    assert_eq!(state(&provider, call(ProviderCall::Start)).await, InstanceState::Pending);
    clock.store(6_000, Ordering::Relaxed);
    assert_eq!(states(&provider).await, [InstanceState::Running]);
    assert_eq!(state(&provider, call(ProviderCall::Start)).await, InstanceState::Running, "again");
    assert_eq!(state(&provider, call(ProviderCall::Reboot)).await, InstanceState::Pending);
    clock.store(7_000, Ordering::Relaxed);
    assert_eq!(states(&provider).await, [InstanceState::Running]);
    let kept = provider.call(&call(ProviderCall::Keep)).await.unwrap().unwrap();
    assert!(kept.kept && provider.list().await.unwrap()[0].kept);
    let log = dir.join("instances/b1/0-sh.log");
    for _ in 0..1_000 {
        if std::fs::read_to_string(&log).is_ok_and(|text| text.lines().count() == 3) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "begun\nbegun\nbegun\n");
    assert_eq!(provider.stop_all().await.unwrap(), 1);
}

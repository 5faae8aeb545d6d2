//! What the tests of a farm on EC2 share: its settings, a crowd, and what must hold in the end.

use farm_tests::daemon::{Daemon, bins};
use farm_tests::ec2::farm::{Cloud, CloudFarm};
use farm_tests::ec2::fault::Faults;
use farm_tests::ec2::machines::Boots;
use farm_tests::farm::{DOOR_NAME, Options, takers};
use farm_tests::wait;
use redirector_core::scale::{ExecState, Record};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longer than anything with faults may take on a busy machine.
pub(crate) const LATER: Duration = Duration::from_secs(90);

const PROVIDER: &str = "[provider]\nkind = \"ec2\"\n[provider.ec2]\nregion = \"{region}\"\nendpoint = \"{endpoint}\"\n\
                        profile_file = \"{profile}\"\ncall_timeout = \"3s\"\nreads_per_s = 50\nwrites_per_s = 20\n\
                        status_period = \"1s\"\n";

/// Two types in three zones, and the ready part that makes a server a member.
pub(crate) const PROFILE: &str = "[[profile]]\nname = \"web\"\nami = { eu-central-1 = \"{image}\" }\n\
                           [[profile.type]]\nname = \"c7g.large\"\n[[profile.type]]\nname = \"m7g.large\"\n\
                           [profile.network]\nsecurity_groups = [\"{group}\"]\n\
                           [profile.network.subnets]\neu-central-1a = \"{subnet.0}\"\neu-central-1b = \"{subnet.1}\"\n\
                           eu-central-1c = \"{subnet.2}\"\n\
                           [profile.agent]\nfronts = [{fronts}]\nport = 8000\nperiod = \"300ms\"\nfolder = \"/instance/etc\"\n\
                           [[profile.user_data]]\nkind = \"agent\"\n";

/// A farm of `min` to `max` servers on EC2.
pub(crate) fn cloud(min: u32, max: u32) -> Cloud {
    let scaler = "sessions_per_server = 4\nstabilisation = \"3s\"";
    Cloud {
        farm: Options { min, max, scaler, service_ms: 5, idle_s: 20, ..Options::default() },
        boots: Boots { boot_ms_min: 1_000, boot_ms_max: 2_000, mute_next: 0 },
        faults: Faults { pending_ms: 1_000, ..Faults::default() },
        seed: 1,
        provider: PROVIDER,
        profile: PROFILE,
    }
}

/// Clients that come through the front door, over time. Ended when dropped.
pub(crate) struct Crowd(Child);

impl Crowd {
    /// Starts it: `profile` is SECONDS:CLIENTS,….
    pub(crate) fn start(cloud: &CloudFarm, profile: &str) -> Self {
        let door = format!("http://{}", cloud.farm.door_addr(0));
        let mut command = Command::new(bins().join("farm-crowd"));
        command.args(["--door", &door, "--host", DOOR_NAME, "--path", "/login", "--session-s", "5", "--think-ms", "1000"]);
        command.args(["--timeout-ms", "10000", "--slow-ms", "5000", "--profile", profile]);
        Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("farm-crowd"))
    }

    /// Sends it home, and returns its summary.
    pub(crate) fn end(mut self) -> Value {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut self.0.stdout.take().unwrap(), &mut text).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Servers that get new sessions.
pub(crate) fn serving(cloud: &CloudFarm) -> usize {
    takers(&cloud.farm.status(0)).len()
}

/// Waits until so many servers serve.
pub(crate) fn serve(cloud: &mut CloudFarm, count: usize, deadline: Duration) {
    wait::until(&format!("{count} servers in service"), deadline, || {
        cloud.farm.doors.iter_mut().flatten().for_each(Daemon::assert_alive);
        (serving(cloud) == count).then_some(())
    });
}

/// Instances that the redirector believes in, by what it wrote into its journal.
pub(crate) fn believed(cloud: &CloudFarm) -> BTreeSet<String> {
    let records: Vec<Record> =
        cloud.farm.journal().into_iter().map(|r| serde_json::from_value(r).expect("a record")).collect();
    let state = ExecState::default().replay(&records);
    state.running().map(|i| i.instance_id.clone()).collect()
}

/// Faults are over and the farm is to come to rest with `count` servers: then moto's list is the redirector's, by its status and by
/// its journal, everybody serves, nobody is twice there, and there were never more than `max`.
pub(crate) fn settles(cloud: &CloudFarm, count: usize, max: usize) {
    let listed = |status: &Value| -> BTreeSet<String> {
        let instances = status["scaler"]["instances"].as_array().cloned().unwrap_or_default();
        let alive = instances.iter().filter(|i| i["state"] != "stopping" && i["state"] != "gone");
        alive.map(|i| i["instance_id"].as_str().unwrap().to_owned()).collect()
    };
    let mut last = String::new();
    let began = std::time::Instant::now();
    while began.elapsed() < LATER {
        let alive: BTreeSet<String> = cloud.alive().into_keys().collect();
        let status = cloud.farm.status(0);
        let sets = (listed(&status), believed(cloud));
        if alive.len() == count && sets.0 == alive && sets.1 == alive && takers(&status).len() == count {
            last.clear();
            break;
        }
        let scaler = (&status["scaler"]["provider_error"], &status["alarms"], &status["notices"]);
        last = format!(
            "alive {alive:?}\nlisted {:?}\nbelieved {:?}\nserving {:?}\n{scaler:#?}",
            sets.0,
            sets.1,
            takers(&status)
        );
    }
    assert!(last.is_empty(), "not within {LATER:?}: {count} servers and one list of them\n{last}");
    assert_eq!(cloud.duplicates(), Vec::<String>::new());
    assert!(cloud.machines.most() <= max, "{} instances at a time, {max} allowed", cloud.machines.most());
    let (requests, problems) = cloud.validate();
    assert_eq!(problems, Vec::<String>::new());
    assert!(requests > 0);
    println!("{requests} requests hold against botocore's model and signatures; {}", tally(cloud));
}

/// Calls by action, and how many failed.
pub(crate) fn tally(cloud: &CloudFarm) -> String {
    let mut counts: std::collections::BTreeMap<String, (usize, usize)> = std::collections::BTreeMap::new();
    for call in cloud.proxy.calls() {
        let count = counts.entry(call.action).or_default();
        count.0 += 1;
        count.1 += usize::from(call.status != 200);
    }
    counts.iter().map(|(action, (all, failed))| format!("{action} {all} ({failed} failed)")).collect::<Vec<_>>().join(", ")
}

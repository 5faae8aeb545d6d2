//! A farm whose servers are instances of EC2: moto, the proxy, the machines, and the real daemons in front.
//!
//! It must never count by the redirector's word what it can count at moto.

use super::fault::Faults;
use super::machines::{Boots, Commands, Machines};
use super::moto::{Moto, Network, REGION, ZONES, python_or_skip};
use super::proxy::Proxy;
use super::validate::{self, KEY_ID, SECRET};
use super::xml::Element;
use crate::daemon::{Scratch, bins, root as repository};
use crate::farm::{BACKEND_PORT, Farm, KEY, Options, Provider, Words};
use farm_shared::heartbeat::FarmKey;
use farm_shared::id::Id;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// What such a farm may differ in.
#[derive(Debug, Clone)]
pub struct Cloud {
    /// Of the farm itself.
    pub farm: Options,
    /// How instances boot.
    pub boots: Boots,
    /// What goes wrong from the start.
    pub faults: Faults,
    /// The seed of all that is drawn.
    pub seed: u64,
    /// The configuration of the provider, from its kind on; `{endpoint}` and `{profile}` are filled in.
    pub provider: &'static str,
    /// The file of profiles; `{image}`, `{group}`, `{subnet.0}` to `{subnet.2}` and `{fronts}` are filled in.
    pub profile: &'static str,
}

/// Everything that runs. The machines go first, then the daemons, then the cloud.
pub struct CloudFarm {
    /// The processes that play the instances.
    pub machines: Machines,
    /// The daemons.
    pub farm: Farm,
    /// What stands between them and moto.
    pub proxy: Proxy,
    /// The API.
    pub moto: Arc<Moto>,
    /// Subnets and image.
    pub network: Network,
    python: PathBuf,
}

impl CloudFarm {
    /// Starts all of it; nothing, and a loud word, if there is no moto.
    pub fn start(what: &str, cloud: Cloud) -> Option<Self> {
        let python = python_or_skip(what)?;
        let moto = Arc::new(Moto::start(&python));
        let mut parts = None;
        let farm = Farm::start_with(cloud.farm.clone(), |net, scratch| {
            let network = moto.network(net);
            let zones = network.subnets.iter().cloned().zip(ZONES.map(String::from)).collect();
            let proxy = Proxy::start(moto.addr(), zones, &scratch.path().join("calls.jsonl"), cloud.seed);
            proxy.faults(|faults| *faults = cloud.faults.clone());
            let provider = provider(&cloud, net, &network, &proxy, scratch);
            parts = Some((network, proxy));
            Some(provider)
        });
        let (network, proxy) = parts.expect("the provider was made");
        let commands = commands(farm.words(), farm.scratch.path().to_path_buf(), python.clone());
        let machines = Machines::start(Arc::clone(&moto), cloud.boots.clone(), cloud.seed, commands);
        Some(Self { machines, farm, proxy, moto, network, python })
    }

    /// Instances that exist at moto and are not terminated, by id.
    pub fn alive(&self) -> BTreeMap<String, Element> {
        let all = self.moto.instances().into_iter();
        let alive = all.filter(|i| !["terminated", "shutting-down"].contains(&i.text_at("instanceState/name")));
        alive.map(|i| (i.text_at("instanceId").to_owned(), i)).collect()
    }

    /// Tags that two instances share although they must not: more than one living instance of a member, more than one instance ever of
    /// an intent.
    pub fn duplicates(&self) -> Vec<String> {
        let all = self.moto.instances();
        let alive = self.alive();
        let twice = |key: &str, of: &mut dyn Iterator<Item = &Element>| {
            let mut seen = BTreeSet::new();
            let values: Vec<String> = of.filter_map(|i| i.tag(key).map(str::to_owned)).collect();
            values.into_iter().filter(|v| !seen.insert(v.clone())).map(|v| format!("{key} {v}")).collect::<Vec<_>>()
        };
        [twice("farm:member", &mut alive.values()), twice("farm:intent", &mut all.iter())].concat()
    }

    /// The problems that botocore's model sees in the requests so far, and how many those were.
    pub fn validate(&self) -> (u64, Vec<String>) {
        let report = validate::report(&self.python, &self.proxy.log(), true);
        (report["requests"].as_u64().unwrap_or_default(), validate::problems(&report))
    }
}

fn provider(cloud: &Cloud, [a, b, c]: [u8; 3], network: &Network, proxy: &Proxy, scratch: &Scratch) -> Provider {
    let fronts: Vec<String> = (1..=1 + cloud.farm.doors).map(|host| format!("\"udp:{a}.{b}.{c}.{host}:5310\"")).collect();
    let subnets = network.subnets.iter().enumerate().map(|(n, subnet)| (format!("{{subnet.{n}}}"), subnet.clone()));
    let values = [("{image}", network.image.clone()), ("{group}", network.group.clone()), ("{fronts}", fronts.join(", "))];
    let values = values.map(|(name, value)| (name.to_owned(), value));
    let fill = |text: &str, (name, value): (String, String)| text.replace(&name, &value);
    let profile = values.into_iter().chain(subnets).fold(cloud.profile.to_owned(), |text, pair| fill(&text, pair));
    let profile = scratch.write("profiles.toml", &profile);
    let values = [
        ("{endpoint}", format!("http://{}", proxy.addr())),
        ("{profile}", profile.display().to_string()),
        ("{region}", REGION.to_owned()),
    ];
    let section = values.into_iter().fold(cloud.provider.to_owned(), |text, (name, value)| text.replace(name, &value));
    let env = [
        ("AWS_ACCESS_KEY_ID", KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        // Nobody's own settings, and no look for a role of this machine.
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    Provider { section, env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into() }
}

/// What an instance runs at its own address: the service that its image brings, and the agent as its user data says. Without user data
/// (it was launched by hand), the agent is that of the member in its tags.
fn commands(words: Words, home: PathBuf, python: PathBuf) -> Commands {
    let stubs = stubs(&home);
    Arc::new(move |instance, user_data| {
        let Some(member) = instance.tag("farm:member") else { return Vec::new() };
        let root = home.join(instance.text_at("instanceId"));
        std::fs::create_dir_all(&root).expect("a folder of the instance");
        let file = |what: &str| root.join(what).display().to_string();
        let ip = instance.text_at("privateIpAddress");
        let agent = if user_data.is_empty() {
            let key = FarmKey::from_hex(KEY).expect("a key").member(&id("mail"), &id(member)).to_hex();
            write_private(&root.join("key"), &key);
            let mut agent = words.agent(member, ip, &file("key"), &file("agent.json"));
            agent.extend(["--zone".into(), instance.text_at("placement/availabilityZone").into()]);
            agent
        } else {
            let zone = instance.text_at("placement/availabilityZone");
            let config = boot(user_data, &root, zone, &stubs, &python);
            let load = format!("url:http://{ip}:{BACKEND_PORT}/farm/load");
            // What a machine knows of itself, and where its disk is.
            let own = ["run", "--config", &config, "--bind", ip, "--address", ip, "--load", &load, "--load-stale", "1500ms"];
            let disk = ["--state-file", &file("agent.json"), "--drain-file", &file("drain")].map(str::to_owned);
            own.map(str::to_owned).into_iter().chain(disk).collect()
        };
        let start = |binary: &str, words: Vec<String>| {
            let log = std::fs::OpenOptions::new().append(true).create(true).open(file(&format!("{binary}.log")));
            let log = log.expect("a log file");
            let mut command = Command::new(bins().join(binary));
            command.args(words).stdout(log.try_clone().expect("a second handle")).stderr(log);
            command
        };
        vec![start("farm-backend", words.backend(member, ip)), start("farm-agent", agent)]
    })
}

/// Where a profile of these tests puts what belongs to the machine; an instance has a folder of its own in its place.
pub const ROOT: &str = "/instance";

/// Runs the shell parts of user data, with the instance's folder as its root, and returns where they left the agent's settings.
fn boot(user_data: &str, root: &Path, zone: &str, stubs: &Path, python: &Path) -> String {
    let mut reader = Command::new(python);
    reader.arg(repository().join("tests/ec2/user_data.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut reader = reader.spawn().expect("python3 starts");
    reader.stdin.take().expect("its input").write_all(user_data.as_bytes()).expect("user data is written");
    let output = reader.wait_with_output().expect("the parts");
    let parts: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {user_data}"));
    for part in parts.as_array().into_iter().flatten().filter(|p| p["type"] == "text/x-shellscript") {
        let text = part["text"].as_str().unwrap_or_default().replace(ROOT, &root.display().to_string());
        let script = root.join("part.sh");
        std::fs::write(&script, text).expect("a script");
        let path = format!("{}:{}", stubs.display(), std::env::var("PATH").unwrap_or_default());
        let output = Command::new("sh").arg(&script).env("PATH", path).env("INSTANCE_ZONE", zone).output().expect("sh");
        assert!(output.status.success(), "user data of {}: {output:?}", root.display());
    }
    let config = root.join("etc/farm-agent.toml");
    assert!(config.is_file(), "no part of the user data made {}", config.display());
    config.display().to_string()
}

/// The commands of a machine that must not touch this one.
fn stubs(home: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = home.join("stubs");
    std::fs::create_dir_all(&folder).expect("a folder");
    let query = "test \"$*\" = \"query v1.availability_zone\" && echo \"$INSTANCE_ZONE\"";
    for (name, does) in [("systemctl", "exit 0"), ("hostnamectl", "exit 0"), ("chown", "exit 0"), ("cloud-init", query)] {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{does}\n")).expect("a stub");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    }
    folder
}

fn id(text: &str) -> Id {
    Id::new(text).expect("an id")
}

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("permissions");
}

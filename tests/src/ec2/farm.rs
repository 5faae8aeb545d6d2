//! A farm whose servers are instances of EC2: moto, the proxy, the machines, and the real daemons in front.
//!
//! It must never count by the redirector's word what it can count at moto.

use super::fault::Faults;
use super::machines::{Boots, Commands, Machines};
use super::moto::{Moto, Network, REGION, ZONES, python_or_skip};
use super::proxy::Proxy;
use super::validate::{self, KEY_ID, SECRET};
use super::xml::Element;
use crate::daemon::{Scratch, bins};
use crate::farm::{Farm, KEY, Options, Provider, Words};
use farm_shared::heartbeat::FarmKey;
use farm_shared::id::Id;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
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
    /// The file of profiles; `{image}`, `{group}`, `{subnet.0}` to `{subnet.2}` are filled in.
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
            let provider = provider(&cloud, &network, &proxy, scratch);
            parts = Some((network, proxy));
            Some(provider)
        });
        let (network, proxy) = parts.expect("the provider was made");
        let commands = commands(farm.words(), farm.scratch.path().to_path_buf());
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

fn provider(cloud: &Cloud, network: &Network, proxy: &Proxy, scratch: &Scratch) -> Provider {
    let subnets = network.subnets.iter().enumerate().map(|(n, subnet)| (format!("{{subnet.{n}}}"), subnet.clone()));
    let values = [("{image}".to_owned(), network.image.clone()), ("{group}".to_owned(), network.group.clone())];
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

/// What an instance runs: the member that its tags say, at its own address, in its own zone.
fn commands(words: Words, home: PathBuf) -> Commands {
    Box::new(move |instance, _user_data| {
        let Some(member) = instance.tag("farm:member") else { return Vec::new() };
        let file = |what: &str| home.join(format!("{}-{what}", instance.text_at("instanceId")));
        let key = FarmKey::from_hex(KEY).expect("a key").member(&id("mail"), &id(member)).to_hex();
        std::fs::write(file("key"), key).expect("a key file");
        private(&file("key"));
        let ip = instance.text_at("privateIpAddress");
        let text = |path: PathBuf| path.display().to_string();
        let mut agent = words.agent(member, ip, &text(file("key")), &text(file("agent.json")));
        agent.extend(["--zone".into(), instance.text_at("placement/availabilityZone").into()]);
        let start = |binary: &str, words: Vec<String>| {
            let log = std::fs::File::create(file(&format!("{binary}.log"))).expect("a log file");
            let mut command = Command::new(bins().join(binary));
            command.args(words).stdout(log.try_clone().expect("a second handle")).stderr(log);
            command
        };
        vec![start("farm-backend", words.backend(member, ip)), start("farm-agent", agent)]
    })
}

fn id(text: &str) -> Id {
    Id::new(text).expect("an id")
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("permissions");
}

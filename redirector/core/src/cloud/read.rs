//! From the sections of a file to its [`Profile`]s, noting every problem on the way.
//!
//! It must never open a file: parts of the user data come through [`PartFiles`], which the shell answers.

use super::profile::{AgentSpec, DeviceSpec, MarketSpec, MetadataSpec, PartSpec, Profile, TemplateRef, TypeSpec};
use super::read_parts::{Surroundings, read_parts};
use super::words::{self, check_map, check_text};
use farm_shared::config::{Document, OptionDoc, Place, Problem, Section, has_errors};
use farm_shared::id::Id;
use farm_shared::settings::LABEL;
use std::collections::BTreeSet;
use std::sync::Arc;

const PRICE_MAX: f64 = 1_000.0;
const PROFILES_MAX: usize = 64;
const PROBLEMS_MAX: usize = 200;
const TYPES_MAX: usize = 40;
const GROUPS_MAX: usize = 16;
const DEVICES_MAX: usize = 24;
/// EC2 allows 50 tags; the farm needs seven.
const TAGS_MAX: usize = 40;
const VARS_MAX: usize = 100;

/// Where a profile finds the files of its user data.
pub trait PartFiles {
    /// The content of the file at `path`, as it stands in the profile, or why it cannot be had.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;
}

/// The profiles of a file, and what is odd about them.
#[derive(Clone, Debug, PartialEq)]
pub struct Profiles {
    /// In the file's order; one at least.
    pub profiles: Vec<Arc<Profile>>,
    /// The file.
    pub place: Place,
    /// What is worth a look.
    pub warnings: Vec<Problem>,
}

impl Profiles {
    /// Reads the profiles `text` of the file `file`.
    ///
    /// # Errors
    /// Every problem at once: those of the file by line, then those of the files it names.
    pub fn load(file: &str, text: &str, files: &dyn PartFiles) -> Result<Self, Vec<Problem>> {
        let document = Document::parse(file, text);
        let mut elsewhere = Vec::new();
        let root = document.root();
        let profiles = read_all(&root, files, &mut elsewhere);
        let place = root.place("profile");
        let mut problems = document.finish();
        problems.append(&mut elsewhere);
        problems.truncate(PROBLEMS_MAX);
        match profiles {
            Some(profiles) if !has_errors(&problems) => Ok(Self { profiles, place, warnings: problems }),
            _ => Err(problems),
        }
    }

    /// Every option of a file of profiles.
    pub fn options() -> Vec<OptionDoc> {
        struct Nothing;
        impl PartFiles for Nothing {
            fn read(&self, _: &str) -> Result<Vec<u8>, String> {
                Ok(Vec::new())
            }
        }
        let document = Document::describe();
        // A description has no values to complain about.
        let _ = read_all(&document.root(), &Nothing, &mut Vec::new());
        document.options()
    }

    /// The profile of a name; without one, the only profile.
    ///
    /// # Errors
    /// The names that there are.
    pub fn get(&self, name: Option<&str>) -> Result<&Arc<Profile>, String> {
        let found = match (name, self.profiles.as_slice()) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(name), all) => all.iter().find(|profile| profile.name.as_str() == name),
        };
        let names = || self.profiles.iter().map(|p| format!("\"{}\"", p.name)).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| format!("one of {}", names()))
    }
}

fn read_all(root: &Section, files: &dyn PartFiles, elsewhere: &mut Vec<Problem>) -> Option<Vec<Arc<Profile>>> {
    let sections = root.tables("profile", "A launch profile: what a new server is.");
    if sections.is_empty() {
        root.problem("profile", "nothing", "a [[profile]]");
    }
    if sections.len() > PROFILES_MAX {
        root.problem("profile", format!("{} profiles", sections.len()), format!("at most {PROFILES_MAX}"));
    }
    let mut names = BTreeSet::new();
    let mut profiles = Vec::new();
    for section in &sections {
        let profile = read(section, files, elsewhere);
        if let Some(profile) = &profile
            && !names.insert(profile.name.clone())
        {
            section.problem("name", format!("\"{}\" for the second time", profile.name), "each name once");
        }
        profiles.push(profile.map(Arc::new));
    }
    profiles.into_iter().collect()
}

fn read(root: &Section, files: &dyn PartFiles, elsewhere: &mut Vec<Problem>) -> Option<Profile> {
    let name = root.parsed::<Id>("name", None, LABEL, "Its name; instances carry it as the tag `farm:profile`.");
    let host_zone = root.optional_string(
        "host_zone",
        "The DNS zone of the servers' names, as dnslb serves it (`member_zone`): `{{ host }}` is `ID.ZONE`, and the host name is set.",
    );
    check_text(root, "host_zone", host_zone.as_deref(), words::is_domain, "a domain name, like \"farm.example.com\"");
    let fleet =
        root.boolean("fleet", false, "Launch by `CreateFleet` (instant) over all types and zones, not by `RunInstances`.");
    let fleet_per_zone = root.boolean(
        "fleet_per_zone",
        false,
        "With `fleet`: one zone a request, so that zones stay balanced, over all types.",
    );
    let images_section = root.table("ami", "The image of each region: `us-east-1 = \"ami-…\"`, or `resolve:ssm:PARAMETER`.");
    let images =
        check_map(&images_section, words::is_region, "a region", words::is_image, "\"ami-…\" or \"resolve:ssm:PARAMETER\"");
    let launch_template = read_template(root);
    let types = read_types(root, launch_template.is_some());
    let network = root.table("network", "Where instances live, and who reaches them.");
    let zones = network.list::<String>("zones", &[], "an availability zone", "Zones where EC2's own subnet does, in order.");
    for bad in zones.iter().filter(|zone| !words::is_zone(zone)) {
        network.problem("zones", format!("{bad:?}"), "availability zones, like \"us-east-1a\"");
    }
    let subnets_section = network.table("subnets", "Subnets by zone: `us-east-1a = \"subnet-…\"`.");
    let subnets = check_map(
        &subnets_section,
        words::is_zone,
        "an availability zone",
        |s| words::is_resource(s, "subnet"),
        "\"subnet-…\"",
    );
    let groups =
        network.list::<String>("security_groups", &[], "`sg-…`, or a name where there are no subnets", "Security groups.");
    if groups.len() > GROUPS_MAX {
        network.problem("security_groups", format!("{} groups", groups.len()), format!("at most {GROUPS_MAX}"));
    }
    let by_id = |group: &String| words::is_resource(group, "sg");
    if groups.iter().any(by_id) && !groups.iter().all(by_id) || !subnets.is_empty() && !groups.iter().all(by_id) {
        network.problem(
            "security_groups",
            "names",
            "ids (`sg-…`) only: with subnets EC2 takes no names, and never a mixture",
        );
    }
    let public_address = network.optional_boolean(
        "public_address",
        "Whether instances get a public IPv4 address; if not set, as the subnet has it.",
    );
    let ipv6_addresses = network.integer("ipv6_addresses", 0, 0..=8, "IPv6 addresses of each instance.") as u32;
    let key_name = root.optional_string("key_name", "The key pair for SSH.");
    let instance_profile = root.optional_string("instance_profile", "Name or ARN of the IAM instance profile.");
    let monitoring = root.boolean("monitoring", false, "Detailed monitoring, which costs extra.");
    let ebs_optimized = root.boolean("ebs_optimized", false, "Asked for where the instance type leaves the choice.");
    let tenancy = root.choice("tenancy", "default", &["default", "dedicated", "host"], "Whose hardware it runs on.");
    let market = read_market(&root.table("market", "How servers are bought."));
    let metadata = read_metadata(&root.table("metadata", "The instance metadata service (IMDS)."));
    let devices = read_devices(root);
    let tags_section = root.table("tags", "Tags of instances and volumes, beside the farm's own.");
    let tags = check_map(
        &tags_section,
        words::is_tag_key,
        "a tag's key that does not begin with `farm:` or `aws:`",
        |v| v.chars().count() <= 256,
        "256 characters at most",
    );
    if tags.len() > TAGS_MAX {
        tags_section.problem("", format!("{} tags", tags.len()), format!("at most {TAGS_MAX}"));
    }
    let agent_section =
        root.table("agent", "The heartbeat agent on a new server, for the part `agent` and for placeholders.");
    let agent = read_agent(&agent_section);
    let vars_section = root.table("vars", "Placeholders of your own: `colour = \"blue\"` is `{{ colour }}`.");
    let vars =
        check_map(&vars_section, words::is_word, "a word of lowercase letters, digits and underscores", |_| true, "a text");
    if vars.len() > VARS_MAX {
        vars_section.problem("", format!("{} placeholders", vars.len()), format!("at most {VARS_MAX}"));
    }
    for taken in vars.keys().filter(|key| words::PLACEHOLDERS.contains(&key.as_str())) {
        vars_section.problem(taken, "a placeholder that exists", "another name");
    }
    let zone_known = (!zones.is_empty() || !subnets.is_empty()) && (!fleet || fleet_per_zone);
    let surroundings =
        Surroundings { vars: &vars, agent: &agent, zone_known, type_known: !fleet, has_host: host_zone.is_some() };
    let parts = read_parts(root, &surroundings, files, elsewhere);
    check_agent(&agent_section, &agent, &parts);
    if images.is_empty() && launch_template.is_none() && (types.is_empty() || types.iter().any(|t| t.images.is_empty())) {
        root.problem("ami", "no image", "an image for each region of use, or a launch_template that has one");
    }
    if fleet && launch_template.is_some() {
        root.problem(
            "launch_template",
            "one, with `fleet = true`",
            "no `fleet`: a fleet makes its template from the profile",
        );
    }
    if (public_address.is_some() || ipv6_addresses > 0) && !groups.iter().all(by_id) {
        network.problem("security_groups", "names", "ids (`sg-…`) only, where addresses are asked for");
    }
    if metadata.instance_tags {
        for bad in tags.keys().filter(|key| !words::is_metadata_tag_key(key)) {
            tags_section.problem(
                bad,
                "a key that EC2 does not show in metadata",
                "letters, digits and +-=.,_:@, or metadata.instance_tags = false",
            );
        }
    }
    if fleet_per_zone && !fleet {
        root.problem("fleet_per_zone", "true without `fleet`", "`fleet = true`, too");
    }
    Some(Profile {
        name: name?,
        images,
        images_place: root.place("ami"),
        types,
        launch_template,
        zones,
        subnets,
        zones_place: root.place("network"),
        security_groups: groups,
        key_name,
        instance_profile,
        public_address,
        ipv6_addresses,
        monitoring,
        ebs_optimized,
        tenancy: (tenancy != "default").then(|| tenancy.to_owned()),
        market,
        metadata,
        devices,
        tags,
        fleet,
        fleet_per_zone,
        agent,
        host_zone,
        vars,
        parts,
        place: root.place(""),
    })
}

fn read_template(root: &Section) -> Option<TemplateRef> {
    let present = root.has("launch_template");
    let section = root.table("launch_template", "A launch template of yours; what the profile says wins over it.");
    let name = section.optional_string("name", "Its name, or its id (`lt-…`). Required in this section.");
    let version = section.string("version", "$Default", "Its version: a number, `$Latest` or `$Default`.");
    if present && name.as_deref().is_none_or(str::is_empty) {
        section.problem("name", "nothing", "the template's name or id");
    }
    let good = ["$Latest", "$Default"].contains(&version.as_str()) || version.parse::<u32>().is_ok_and(|n| n > 0);
    if !good {
        section.problem("version", format!("{version:?}"), "a number from 1, \"$Latest\" or \"$Default\"");
    }
    name.map(|name| TemplateRef { name, version })
}

fn read_types(root: &Section, from_template: bool) -> Vec<TypeSpec> {
    let sections = root.tables("type", "An instance type; the first is preferred.");
    if sections.len() > TYPES_MAX {
        root.problem("type", format!("{} types", sections.len()), format!("at most {TYPES_MAX}"));
    }
    if sections.is_empty() {
        let why = if from_template { "a [[type]]: capacity is remembered by type" } else { "a [[type]] with its name" };
        root.problem("type", "nothing", why);
    }
    let mut types: Vec<TypeSpec> = Vec::new();
    for section in &sections {
        let name = section.required_string("name", "As EC2 names it: `c7g.large`.");
        check_text(section, "name", Some(&name), words::is_type, "an instance type, like \"c7g.large\"");
        if types.iter().any(|t| t.name == name) {
            section.problem("name", format!("{name:?} for the second time"), "each type once");
        }
        let price = |key: &'static str, about: &'static str| {
            section.optional_float(key, 0.0..=PRICE_MAX, about).filter(|price| *price > 0.0)
        };
        let price_usd_h = price("price_usd_h", "Its price on demand, in US dollars an hour, for cost limits.");
        let spot_price_usd_h = price("spot_price_usd_h", "Its usual price on the spot market, in US dollars an hour.");
        let own = section.table("ami", "Images of this type's own, by region: another architecture.");
        let images =
            check_map(&own, words::is_region, "a region", words::is_image, "\"ami-…\" or \"resolve:ssm:PARAMETER\"");
        types.push(TypeSpec { name, price_usd_h, spot_price_usd_h, images });
    }
    types
}

fn read_market(market: &Section) -> MarketSpec {
    let on_demand_base = market.integer(
        "on_demand_base",
        0,
        0..=10_000,
        "So many servers are on demand before any is bought on the spot market.",
    );
    let spot_share =
        market.float("spot_share", 0.0, 0.0..=1.0, "The share of servers above the base that is bought on the spot market.");
    let fallback = market.boolean("fallback", true, "Whether the other market serves when one has no capacity.");
    let price_max = market.optional_float(
        "spot_price_usd_h_max",
        0.0001..=PRICE_MAX,
        "The most that is paid on the spot market, in US dollars an hour; if not set, the price on demand.",
    );
    MarketSpec { on_demand_base: on_demand_base as u32, spot_share, fallback, spot_price_usd_h_max: price_max }
}

fn read_metadata(metadata: &Section) -> MetadataSpec {
    let tokens = metadata.choice("tokens", "required", &["required", "optional"], "`required` is IMDSv2 only.");
    MetadataSpec {
        tokens_required: tokens == "required",
        hop_limit: metadata.integer("hop_limit", 1, 1..=64, "Hops that an answer may go; containers need 2.") as u32,
        instance_tags: metadata.boolean(
            "instance_tags",
            true,
            "Whether an instance reads its tags there. EC2 then refuses tag keys with `/` or spaces.",
        ),
    }
}

fn read_devices(root: &Section) -> Vec<DeviceSpec> {
    let sections = root.tables("device", "A volume at launch.");
    if sections.len() > DEVICES_MAX {
        root.problem("device", format!("{} devices", sections.len()), format!("at most {DEVICES_MAX}"));
    }
    sections.iter().map(read_device).collect()
}

fn read_device(device: &Section) -> DeviceSpec {
    let name = device.required_string("name", "The device's name: `/dev/xvda`.");
    check_text(device, "name", Some(&name), words::is_device, "a device's name, like \"/dev/xvda\"");
    let number = |key: &'static str, max: i64, about: &'static str| {
        device.optional_integer(key, 1..=max, about).map(|number| number as u32)
    };
    let size_gib = number("size_gib", 65_536, "Its size in GiB; if not set, the snapshot's.");
    let kind = device.choice("type", "", &["", "gp3", "gp2", "io1", "io2", "st1", "sc1", "standard"], "The volume's type.");
    let iops = number("iops", 256_000, "Operations a second (gp3, io1, io2).");
    let throughput_mib_s = number("throughput_mib_s", 2_000, "MiB a second (gp3).");
    let encrypted = device.optional_boolean("encrypted", "Encrypted at rest; if not set, the account's default.");
    let delete = device.boolean("delete_on_termination", true, "Goes with its instance.");
    let snapshot = device.optional_string("snapshot", "The snapshot that it begins as: `snap-…`.");
    check_text(device, "snapshot", snapshot.as_deref(), |s| words::is_resource(s, "snap"), "\"snap-…\"");
    let virtual_name = device.optional_string("virtual_name", "An instance-store volume: `ephemeral0`.");
    let ebs = size_gib.is_some() || snapshot.is_some() || !kind.is_empty() || encrypted.is_some();
    if virtual_name.is_some() && ebs {
        device.problem("virtual_name", "an instance-store volume with settings of EBS", "one or the other");
    }
    DeviceSpec {
        name,
        size_gib,
        kind: (!kind.is_empty()).then(|| kind.to_owned()),
        iops,
        throughput_mib_s,
        encrypted,
        delete_on_termination: delete,
        snapshot,
        virtual_name,
    }
}

fn read_agent(agent: &Section) -> AgentSpec {
    let fronts = agent.list::<String>(
        "fronts",
        &[],
        "`udp:HOST:PORT` or `http://HOST:PORT/v1/heartbeat`",
        "Every front end to tell: each dnslb and each redirector.",
    );
    for bad in fronts.iter().filter(|front| !words::is_harmless(front)) {
        agent.problem("fronts", format!("{bad:?}"), "`udp:HOST:PORT` or `http://HOST:PORT/v1/heartbeat`");
    }
    let spec = AgentSpec {
        fronts,
        fronts_place: agent.place("fronts"),
        port: agent.integer("port", 80, 1..=65_535, "The port of the service.") as u16,
        load: agent.string("load", "proc", "What to measure, as the agent's option `load`."),
        period_ms: agent.duration_ms("period", 1_000, 100..=60_000, "Heartbeat period."),
        more: agent.optional_string("more", "Lines of the agent's settings beside these, as they stand in its file."),
        folder: agent.string("folder", "/etc/farm-agent", "The agent's directory of settings on the server."),
        unit: agent.string("unit", "farm-agent.service", "The systemd unit that the image brings."),
        user: agent.string("user", "farm-agent", "The unit's user, who owns the settings."),
    };
    for (key, value) in [("load", &spec.load), ("folder", &spec.folder), ("unit", &spec.unit), ("user", &spec.user)] {
        check_text(agent, key, Some(value), words::is_harmless, "letters, digits and none of the shell's own characters");
    }
    if spec.more.as_ref().is_some_and(|more| more.contains("END_OF_SETTINGS") || more.len() > 4_096) {
        agent.problem("more", "a text that does not fit in", "at most 4096 octets, without END_OF_SETTINGS");
    }
    spec
}

fn check_agent(section: &Section, agent: &AgentSpec, parts: &[PartSpec]) {
    let needed = parts.iter().any(|part| part.text.uses("fronts") || part.text.uses("front_flags"));
    if needed && agent.fronts.is_empty() {
        section.problem("fronts", "nothing", "the front ends that a new server's agent tells");
    }
}

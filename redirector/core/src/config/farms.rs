//! `[[farms]]` and the files of the farms beside the first.
//!
//! A farm's file holds what is the farm's alone. The door, its addresses, routes and certificates stand in the main file, and nothing of
//! them may be said twice.

use super::read::{FarmParts, former_keys};
use super::read_door::read_door;
use super::{DoorSpec, ProcessSpec, ProviderSpec, Spec};
use farm_shared::config::Section;
use farm_shared::id::Id;
use farm_shared::settings::{FarmTrust, LABEL};

const FARMS_MAX: usize = 64;
/// Options of `[door]` that are a farm's; the others are of the sockets and of all requests.
const DOOR_KEYS: [&str; 8] =
    ["target", "policy", "published", "cookie_max_age", "retry_after", "ramp", "zone", "panic_share"];

/// A farm beside the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherFarm {
    /// Its name.
    pub name: Id,
    /// The file of its settings, as it stands in the configuration.
    pub file: String,
    /// [`super::DoorSpec::target`] of its file, once that was read.
    pub target: String,
}

/// Reads `[[farms]]`; `first` is the name of the farm in the main file.
pub(super) fn read_others(root: &Section, first: Option<&Id>) -> Vec<OtherFarm> {
    let tables = root.tables("farms", "Farms beside the one of `[farm]`, each with a file of its own.");
    if tables.len() > FARMS_MAX {
        root.problem("farms", format!("{} farms", tables.len()), format!("at most {FARMS_MAX}"));
    }
    let mut others: Vec<OtherFarm> = Vec::new();
    for table in &tables {
        let name = table.parsed::<Id>("name", None, LABEL, "Its name, as its agents and `[[route]]` say it.");
        let file = table.required_string(
            "file",
            "The file with its `[farm]`, `[lease]`, `[scaler]`, `[notices]`, `[provider]`, `[[role]]`, `[drill]`, `[waiting_room]` and what of `[door]` is a farm's.",
        );
        let Some(name) = name.filter(|_| table.is_present()) else { continue };
        if first == Some(&name) || others.iter().any(|o| o.name == name) {
            table.problem("name", format!("{:?}, twice", name.as_str()), "a name of its own for each farm");
            continue;
        }
        others.push(OtherFarm { name, file, target: String::new() });
    }
    others
}

impl Spec {
    /// Reads the file of another farm: its own settings, beside those of the door in `main`. `None` if it cannot stand for one; what is
    /// wrong is noted in the section's document.
    pub fn read_farm(root: &Section, main: &Self, other: &OtherFarm) -> Option<Self> {
        let farm = root.table("farm", "The farm of servers behind it.");
        let trust = FarmTrust::read(&farm);
        let key_files_former = former_keys(&farm);
        let section = root.table("door", "The front door.");
        for key in section.keys().iter().filter(|key| !DOOR_KEYS.contains(&key.as_str())) {
            section.problem(
                key,
                "an option of the whole door",
                "it in the main file; here stands what is this farm's alone",
            );
        }
        let own = read_door(&section, &main.hosts);
        let door = DoorSpec {
            target: own.target,
            policy: own.policy,
            published: own.published,
            cookie_max_age_s: own.cookie_max_age_s,
            retry_after_s: own.retry_after_s,
            ramp_ms: own.ramp_ms,
            ..main.door.clone()
        };
        let FarmParts { lease, scaler, notices, provider, roles, drill, room } = FarmParts::read(root);
        let FarmTrust { name, key_file, allowed_prefixes, .. } = trust?;
        if name != other.name {
            farm.problem(
                "name",
                format!("{:?}", name.as_str()),
                format!("{:?}, as the main file says", other.name.as_str()),
            );
        }
        if let (ProviderSpec::Process(first), ProviderSpec::Process(own)) = (&main.provider, &provider)
            && overlap(first, own)
        {
            let process = root.table("provider", "").table("process", "");
            process.problem("first_address", "addresses of the first farm", "addresses of its own");
        }
        Some(Self {
            cookie_name: format!("{}-{name}", main.cookie_name),
            state_dir: format!("{}/farms/{name}", main.state_dir),
            farm: name,
            key_file,
            key_files_former,
            allowed_prefixes,
            door,
            lease,
            scaler,
            notices,
            provider,
            roles,
            drill,
            room,
            others: Vec::new(),
            ..main.clone()
        })
    }

    /// The names of all farms, in the order of their places.
    pub fn farm_names(&self) -> Vec<&str> {
        std::iter::once(&self.farm).chain(self.others.iter().map(|o| &o.name)).map(Id::as_str).collect()
    }
}

fn overlap(a: &ProcessSpec, b: &ProcessSpec) -> bool {
    let range = |p: &ProcessSpec| {
        let first = u32::from(p.first_address);
        first..first.saturating_add(p.count_max)
    };
    let (a, b) = (range(a), range(b));
    a.start < b.end && b.start < a.end
}

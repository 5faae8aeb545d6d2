//! Launch profiles from their files, and the blueprint that a start, a reload and `redirector profile` make of them.
//!
//! What a profile means is redirector-core's; here its files are opened. It must never put half of a set of profiles in force: all of
//! them, or the problems of all.

use farm_daemon::settings::read_config;
use farm_daemon::state_dir::read_capped;
use farm_shared::config::{Problem, has_errors};
use farm_shared::heartbeat::FarmKey;
use redirector_core::cloud::{Ec2Blueprint, Ec2Settings, PartFiles, Profiles};
use redirector_core::config::{Ec2Spec, ProviderSpec, Spec};
use redirector_core::scale::{Blueprint, Plain, PlainRoles};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PART_BYTES_MAX: u64 = 1024 * 1024;

/// Files beside a file of profiles.
struct Beside(PathBuf);

impl PartFiles for Beside {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        read_capped(&self.0.join(path), PART_BYTES_MAX).map_err(|e| e.to_string())
    }
}

/// The profiles of a file.
///
/// # Errors
/// Every problem at once.
pub fn read(file: &Path) -> Result<Profiles, Vec<Problem>> {
    let text = read_config(file).map_err(|problem| vec![problem])?;
    let beside = Beside(file.parent().unwrap_or(Path::new("")).to_owned());
    let name = file.display().to_string();
    let profiles = Profiles::load(&name, &text, &beside)?;
    let problems = fronts(&profiles);
    if problems.is_empty() { Ok(profiles) } else { Err(problems) }
}

/// The core does not know how the agent writes front ends; the agent's own reader does.
fn fronts(profiles: &Profiles) -> Vec<Problem> {
    let mut problems = Vec::new();
    for profile in &profiles.profiles {
        for front in &profile.agent.fronts {
            if let Err(problem) = front.parse::<farm_agent::Front>() {
                let expected = "`udp:HOST:PORT` or `http://HOST:PORT/v1/heartbeat`";
                problems.push(profile.agent.fronts_place.problem(format!("{front:?}: {problem}"), expected));
            }
        }
    }
    problems
}

/// What the configured provider can launch.
pub struct Launchable {
    /// The requests.
    pub blueprint: Arc<dyn Blueprint>,
    /// What is odd about it.
    pub warnings: Vec<Problem>,
}

/// What the configured provider can launch.
///
/// # Errors
/// Every problem of the profiles at once.
pub fn launchable(spec: &Spec, key: &FarmKey) -> Result<Launchable, Vec<Problem>> {
    let ProviderSpec::Ec2(ec2) = &spec.provider else {
        let names: Vec<_> = spec.roles.iter().map(|role| role.name.clone()).collect();
        let blueprint: Arc<dyn Blueprint> = if names.is_empty() { Arc::new(Plain) } else { Arc::new(PlainRoles(names)) };
        return Ok(Launchable { blueprint, warnings: only_on_ec2(spec) });
    };
    if ec2.profile_file.is_empty() || ec2.region.is_empty() {
        // The section's own reader told it.
        return Err(Vec::new());
    }
    let profiles = read(Path::new(&ec2.profile_file))?;
    let blueprint = Ec2Blueprint::new(settings(spec, ec2, key), &profiles)?;
    Ok(Launchable { blueprint: Arc::new(blueprint), warnings: profiles.warnings })
}

/// Addresses, volumes and profiles mean nothing to other providers.
fn only_on_ec2(spec: &Spec) -> Vec<Problem> {
    let owns = |role: &&redirector_core::config::RoleSpec| {
        role.profile.is_some() || !role.addresses.is_empty() || !role.volumes.is_empty()
    };
    let warn = |role: &redirector_core::config::RoleSpec| {
        role.place.warning("a profile, addresses or volumes", "provider.kind \"ec2\": no other provider has them")
    };
    spec.roles.iter().filter(owns).map(warn).collect()
}

/// The blueprint's settings as the configuration has them.
pub fn settings(spec: &Spec, ec2: &Ec2Spec, key: &FarmKey) -> Ec2Settings {
    Ec2Settings {
        farm: spec.farm.clone(),
        key: key.clone(),
        redirector: spec.id.clone(),
        region: ec2.region.clone(),
        profile: ec2.profile.clone(),
        roles: spec.roles.clone(),
    }
}

/// Problems of profiles in all regions that they have images for, or in one.
pub fn check(profiles: &Profiles, region: Option<&str>, settings: &Ec2Settings) -> Vec<Problem> {
    let mut problems = profiles.warnings.clone();
    for profile in &profiles.profiles {
        let used = |region: &&String| {
            !profile.zones_in(region).is_empty() || profile.zones.is_empty() && profile.subnets.is_empty()
        };
        let regions: Vec<&str> = match region {
            Some(region) => vec![region],
            None => profile.images.keys().filter(used).map(String::as_str).collect(),
        };
        if regions.is_empty() && !profile.images.is_empty() {
            let images = profile.images.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let found = format!("images in {images}, but no zone there");
            problems.push(profile.zones_place.problem(found, "zones or subnets in a region that has an image"));
        }
        for region in regions {
            let settings = Ec2Settings {
                region: region.to_owned(),
                profile: Some(profile.name.to_string()),
                roles: Vec::new(),
                ..settings.clone()
            };
            if let Err(found) = Ec2Blueprint::new(settings, profiles) {
                problems.extend(found);
            }
        }
    }
    problems.dedup();
    problems
}

/// Whether problems forbid the use of what they are about.
pub fn refused(problems: &[Problem]) -> bool {
    has_errors(problems)
}

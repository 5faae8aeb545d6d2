//! `redirector profile`: launch profiles looked at without a launch.
//!
//! The very code that builds a launch builds what is printed. Keys are masked unless they are asked for: what is printed ends up in
//! terminals and tickets.

use crate::{Failure, OfFarm, print, unavailable};
use clap::{Args, Subcommand};
use farm_daemon::cli::report;
use farm_shared::heartbeat::FarmKey;
use farm_shared::id::Id;
use redirector::load::{Farm, Refused};
use redirector::profiles;
use redirector_core::cloud::{Ec2Blueprint, Ec2Settings, Profiles, multipart, user_data};
use redirector_core::config::ProviderSpec;
use redirector_core::scale::Blueprint as _;
use std::io;
use std::path::PathBuf;

/// Stands in where there is no configuration; nothing is signed with it.
const NO_KEY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[derive(Subcommand)]
pub(crate) enum ProfileCommand {
    /// Prints what a launch of a profile would send: its user data as EC2 takes it (base64 of gzip).
    Render(Render),
    /// Checks a file of profiles, and prints every problem.
    Check {
        /// The file.
        file: PathBuf,
        /// In this region only; otherwise in each that has images and zones.
        #[arg(long)]
        region: Option<String>,
    },
}

#[derive(Args)]
pub(crate) struct Render {
    /// The profile.
    name: String,
    /// The member id of the server.
    #[arg(long, default_value = "b1")]
    id: Id,
    /// The role of the server, whose id it then has.
    #[arg(long, conflicts_with = "id")]
    role: Option<Id>,
    /// The zone; the preferred one unless given.
    #[arg(long)]
    zone: Option<String>,
    /// The instance type; the preferred one unless given.
    #[arg(long = "type", value_name = "TYPE")]
    instance_type: Option<String>,
    /// The user data as the server reads it: a MIME multipart.
    #[arg(long)]
    decoded: bool,
    /// The exact bodies of the launch's requests, one a line.
    #[arg(long, conflicts_with = "decoded")]
    request: bool,
    /// With the server's own key in it, not asterisks; with --file there is no farm, and the key is derived from zeros.
    #[arg(long)]
    secrets: bool,
    /// A file of profiles, in place of the one that the configuration names.
    #[arg(long, value_name = "FILE", requires = "region")]
    file: Option<PathBuf>,
    /// The region, with --file.
    #[arg(long, requires = "file")]
    region: Option<String>,
    #[command(flatten)]
    of: OfFarm,
}

pub(crate) fn run(command: ProfileCommand) -> Result<(), Failure> {
    match command {
        ProfileCommand::Render(render) => print(&rendered(&render)?),
        ProfileCommand::Check { file, region } => {
            let profiles = profiles::read(&file).map_err(refused)?;
            let problems = profiles::check(&profiles, region.as_deref(), &bare("")?);
            if profiles::refused(&problems) {
                return Err(refused(problems));
            }
            report(&problems, &mut io::stderr()).map_err(unavailable)?;
            let names: Vec<_> = profiles.profiles.iter().map(|profile| profile.name.to_string()).collect();
            print(&format!("{}: good: {}\n", file.display(), names.join(", ")))
        }
    }
}

fn rendered(render: &Render) -> Result<String, Failure> {
    let (settings, profiles) = sources(render)?;
    let settings = Ec2Settings { profile: Some(render.name.clone()), ..settings };
    let blueprint = Ec2Blueprint::new(settings, &profiles).map_err(refused)?;
    if let Some(role) = render.role.as_ref().filter(|role| !blueprint.roles().contains(role)) {
        return Err(unavailable(format!("there is no role {role} in the configuration")));
    }
    let wanted = |given: &Option<String>, value: &str| given.as_ref().is_none_or(|given| given == value);
    let offered = blueprint.offerings(render.role.as_ref());
    let offering = offered.iter().find(|o| wanted(&render.zone, &o.zone) && wanted(&render.instance_type, &o.instance_type));
    let offering = offering.ok_or_else(|| {
        let all: Vec<_> = offered.iter().map(ToString::to_string).collect();
        unavailable(format!("that is not offered; there are: {}", all.join(", ")))
    })?;
    let member = render.role.as_ref().unwrap_or(&render.id);
    let request = blueprint.sample(member, render.role.as_ref(), offering);
    let masked = !render.secrets;
    if render.request {
        let bodies = blueprint.bodies(&request, masked).map_err(unavailable)?;
        return Ok(bodies.into_iter().map(|body| body + "\n").collect());
    }
    let parts = blueprint.parts(&request, offering, masked).map_err(unavailable)?;
    if parts.is_empty() {
        return Err(unavailable(format!("the profile {} has no user data", render.name)));
    }
    if render.decoded { Ok(multipart(&parts)) } else { user_data(&parts).map(|text| text + "\n").map_err(unavailable) }
}

fn sources(render: &Render) -> Result<(Ec2Settings, Profiles), Failure> {
    if let (Some(file), Some(region)) = (&render.file, &render.region) {
        return Ok((bare(region)?, profiles::read(file).map_err(refused)?));
    }
    let Farm { spec, keys, .. } = render.of.load()?;
    let ProviderSpec::Ec2(ec2) = &spec.provider else {
        return Err(unavailable("provider.kind is not \"ec2\": name the profiles with --file and --region"));
    };
    let profiles = profiles::read(std::path::Path::new(&ec2.profile_file)).map_err(refused)?;
    Ok((profiles::settings(&spec, ec2, &keys.current), profiles))
}

/// Settings for looking at profiles without a farm.
fn bare(region: &str) -> Result<Ec2Settings, Failure> {
    let id = |text: &str| Id::new(text).map_err(unavailable);
    Ok(Ec2Settings {
        farm: id("farm")?,
        key: FarmKey::from_hex(NO_KEY).map_err(unavailable)?,
        redirector: id("door")?,
        region: region.to_owned(),
        profile: None,
        roles: Vec::new(),
    })
}

fn refused(problems: Vec<farm_shared::config::Problem>) -> Failure {
    Failure::Config(Refused(problems))
}

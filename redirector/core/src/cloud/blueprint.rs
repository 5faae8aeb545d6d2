//! Profiles, keys and a region put together: what can be launched, and the exact bytes that ask for it.
//!
//! A launch is a function of its request: the same request gives the same bytes. It must never give two members the same key.

use super::launch::Launch;
use super::mime::{Part, user_data};
use super::profile::{ANY_TYPE, ANY_ZONE, MarketSpec, Profile};
use super::read::Profiles;
use crate::config::RoleSpec;
use crate::scale::{AttachRequest, Blueprint, LaunchRequest, Market, MarketChoice, Offering, VolumeAttachment};
use farm_shared::config::{Problem, format_duration_ms};
use farm_shared::heartbeat::FarmKey;
use farm_shared::id::Id;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An id as long as ids get: what fits with it always fits.
const LONGEST_ID: &str = "b99999999999999999999999999999999999999999999999999999999999999";
/// What stands for a key where none may be shown.
const MASKED_KEY: &str = "****************************************************************";

/// What a blueprint is made of.
#[derive(Clone, Debug)]
pub struct Ec2Settings {
    /// The farm; becomes a tag.
    pub farm: Id,
    /// Its key, from which those of members are derived.
    pub key: FarmKey,
    /// This redirector, for templates.
    pub redirector: Id,
    /// The region.
    pub region: String,
    /// The profile of servers without a role; the only one unless given.
    pub profile: Option<String>,
    /// Roles that must exist.
    pub roles: Vec<RoleSpec>,
}

/// Launches on EC2.
#[derive(Debug)]
pub struct Ec2Blueprint {
    settings: Ec2Settings,
    elastic: Kind,
    roles: BTreeMap<Id, (RoleSpec, Kind)>,
    role_names: Vec<Id>,
}

/// A profile, and what it offers here.
#[derive(Debug)]
struct Kind {
    profile: Arc<Profile>,
    offerings: Vec<Offering>,
}

impl Ec2Blueprint {
    /// Puts it together.
    ///
    /// # Errors
    /// Everything that would make a launch fail for certain: no image or no zone in this region, user data that is too long, a role
    /// without its profile.
    pub fn new(settings: Ec2Settings, profiles: &Profiles) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut kind = |name: Option<&str>, role: Option<&RoleSpec>| match profiles.get(name) {
            Ok(profile) => Some(Kind::new(profile, &settings.region, role, &mut problems)),
            Err(expected) => {
                let found =
                    name.map_or_else(|| "no choice among several profiles".to_owned(), |n| format!("the profile {n:?}"));
                let place = role.map_or_else(|| profiles.place.clone(), |role| role.place.clone());
                problems.push(place.problem(found, expected));
                None
            }
        };
        let elastic = kind(settings.profile.as_deref(), None);
        let roles = settings.roles.iter().filter_map(|role| {
            let name = role.profile.as_deref().or(settings.profile.as_deref());
            Some((role.name.clone(), (role.clone(), kind(name, Some(role))?)))
        });
        let roles: BTreeMap<_, _> = roles.collect();
        let Some(elastic) = elastic.filter(|_| problems.is_empty()) else { return Err(problems) };
        let role_names = settings.roles.iter().map(|role| role.name.clone()).collect();
        let blueprint = Self { settings, elastic, roles, role_names };
        blueprint.check_sizes(&mut problems);
        if problems.is_empty() { Ok(blueprint) } else { Err(problems) }
    }

    /// The longest user data of each profile must fit: nobody wants to learn at night that it does not.
    fn check_sizes(&self, problems: &mut Vec<Problem>) {
        let Ok(id) = Id::new(LONGEST_ID) else { return };
        let roles = self.roles.keys().map(Some);
        for role in std::iter::once(None).chain(roles) {
            let kind = self.kind(role);
            for offering in &kind.offerings {
                let request = self.sample(role.unwrap_or(&id), role, offering);
                if let Err(why) = self.user_data(&request, offering, false) {
                    let place = kind.profile.parts.first().map_or(&kind.profile.place, |part| &part.place);
                    problems.push(place.problem(why, "user data that fits whatever the server"));
                    break;
                }
            }
        }
        problems.dedup();
    }

    fn kind(&self, role: Option<&Id>) -> &Kind {
        role.and_then(|role| self.roles.get(role)).map_or(&self.elastic, |(_, kind)| kind)
    }

    /// A request as the executor would make it, for looking at.
    pub fn sample(&self, member_id: &Id, role: Option<&Id>, offering: &Offering) -> LaunchRequest {
        LaunchRequest {
            intent: "i0-0".into(),
            attempt: 1,
            token: "0".repeat(32),
            farm: self.settings.farm.clone(),
            member_id: member_id.clone(),
            role: role.cloned(),
            offering: Some(offering.clone()),
            body: Vec::new(),
        }
    }

    /// The profile of a role, or of servers without one.
    pub fn profile(&self, role: Option<&Id>) -> &Profile {
        &self.kind(role).profile
    }

    /// The parts of a launch's user data, filled in; with asterisks in place of the member's key if `masked`.
    ///
    /// # Errors
    /// A placeholder that has no value.
    pub fn parts(&self, request: &LaunchRequest, offering: &Offering, masked: bool) -> Result<Vec<Part>, String> {
        let profile = self.profile(request.role.as_ref());
        let key = || self.settings.key.member(&request.farm, &request.member_id).to_hex();
        let key = if masked { MASKED_KEY.to_owned() } else { key() };
        let values = self.values(request, offering, profile, key);
        let fill = |part: &super::PartSpec| {
            let text = part.text.fill(&values).map_err(|why| format!("part {:?}: {why}", part.file_name))?;
            let (file_name, mime_type) = (part.file_name.clone(), part.mime_type.clone());
            Ok(Part { file_name, mime_type, merge_type: part.merge_type.clone(), text })
        };
        profile.parts.iter().map(fill).collect()
    }

    /// The bodies of a launch, with asterisks in place of the member's key if `masked`.
    ///
    /// # Errors
    /// Why there can be no such launch.
    pub fn bodies(&self, request: &LaunchRequest, masked: bool) -> Result<Vec<String>, String> {
        let role = request.role.as_ref();
        if let Some(role) = role.filter(|role| !self.roles.contains_key(*role)) {
            return Err(format!("there is no role {role} in the configuration"));
        }
        let kind = self.kind(role);
        let offering = match &request.offering {
            Some(offering) if !kind.offerings.contains(offering) => {
                return Err(format!("the profile {} does not offer {offering}", kind.profile.name));
            }
            Some(offering) => offering,
            None => kind.offerings.first().ok_or("the profile offers nothing")?,
        };
        let user_data = self.user_data(request, offering, masked)?;
        let launch = Launch { profile: &kind.profile, region: &self.settings.region, request, offering, user_data };
        Ok(launch.bodies())
    }

    fn user_data(&self, request: &LaunchRequest, offering: &Offering, masked: bool) -> Result<Option<String>, String> {
        let parts = self.parts(request, offering, masked)?;
        if parts.is_empty() { Ok(None) } else { user_data(&parts).map(Some) }
    }

    fn values<'a>(
        &self,
        request: &LaunchRequest,
        offering: &Offering,
        profile: &'a Profile,
        key: String,
    ) -> BTreeMap<&'a str, String> {
        let agent = &profile.agent;
        let quoted: Vec<String> = agent.fronts.iter().map(|front| format!("\"{front}\"")).collect();
        let flags: Vec<String> = agent.fronts.iter().map(|front| format!("--front {front}")).collect();
        let mut values: BTreeMap<&str, String> = profile.vars.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        values.extend([
            ("agent_folder", agent.folder.clone()),
            ("agent_unit", agent.unit.clone()),
            ("agent_user", agent.user.clone()),
            ("farm", request.farm.to_string()),
            ("front_flags", flags.join(" ")),
            ("fronts", format!("[{}]", quoted.join(", "))),
            ("id", request.member_id.to_string()),
            ("intent", request.intent.clone()),
            ("key", key),
            ("load", agent.load.clone()),
            ("market", offering.market.label().to_owned()),
            ("open", "{{".to_owned()),
            ("period", format_duration_ms(agent.period_ms)),
            ("port", agent.port.to_string()),
            ("profile", profile.name.to_string()),
            ("redirector", self.settings.redirector.to_string()),
            ("region", self.settings.region.clone()),
            ("role", request.role.as_ref().map(ToString::to_string).unwrap_or_default()),
        ]);
        if offering.zone != ANY_ZONE {
            values.insert("zone", offering.zone.clone());
        }
        if offering.instance_type != ANY_TYPE {
            values.insert("instance_type", offering.instance_type.clone());
        }
        if let Some(zone) = &profile.host_zone {
            values.insert("host", format!("{}.{zone}", request.member_id));
        }
        values
    }
}

impl Kind {
    fn new(profile: &Arc<Profile>, region: &str, role: Option<&RoleSpec>, problems: &mut Vec<Problem>) -> Self {
        if profile.launch_template.is_none() {
            for of in profile.types.iter().filter(|of| profile.image(of, region).is_none()) {
                let found = format!("no image for {:?} in {region}", of.name);
                problems.push(profile.images_place.problem(found, format!("`{region} = \"ami-…\"`")));
            }
        }
        let mut zones = profile.zones_in(region);
        if zones.is_empty() && !(profile.zones.is_empty() && profile.subnets.is_empty()) {
            problems.push(
                profile.zones_place.problem(format!("no zone in {region}"), "zones or subnets in the provider's region"),
            );
        }
        if let Some(zone) = role.and_then(|role| role.zone.as_ref()) {
            if !zones.is_empty() && !zones.contains(&zone.as_str()) {
                let place = role.map(|role| role.place.clone()).unwrap_or_default();
                problems
                    .push(place.problem(format!("the zone {zone}"), format!("one of the profile's: {}", zones.join(", "))));
            }
            zones = vec![zone.as_str()];
        } else if zones.is_empty() || profile.fleet && !profile.fleet_per_zone {
            zones = vec![ANY_ZONE];
        }
        let types: Vec<&str> = profile.types.iter().map(|of| of.name.as_str()).collect();
        let types = if profile.fleet { vec![ANY_TYPE] } else { types };
        let mut offerings = Vec::new();
        for market in markets(&profile.market) {
            for instance_type in &types {
                for zone in &zones {
                    let (instance_type, zone) = ((*instance_type).to_owned(), (*zone).to_owned());
                    offerings.push(Offering { instance_type, zone, market });
                }
            }
        }
        Self { profile: Arc::clone(profile), offerings }
    }
}

/// The markets of a profile, the usual one first.
fn markets(market: &MarketSpec) -> Vec<Market> {
    match market.spot_share {
        0.0 => vec![Market::OnDemand],
        1.0 if market.on_demand_base == 0 && !market.fallback => vec![Market::Spot],
        _ => vec![Market::Spot, Market::OnDemand],
    }
}

impl Blueprint for Ec2Blueprint {
    fn offerings(&self, role: Option<&Id>) -> &[Offering] {
        &self.kind(role).offerings
    }

    fn body(&self, request: &LaunchRequest) -> Result<Vec<String>, String> {
        self.bodies(request, false)
    }

    fn price_usd_h(&self, offering: &Offering) -> Option<f64> {
        let kinds = std::iter::once(&self.elastic).chain(self.roles.values().map(|(_, kind)| kind));
        kinds.filter_map(|kind| price_usd_h(&kind.profile, offering)).reduce(f64::max)
    }

    fn market(&self, on_demand: u32, spot: u32) -> Option<MarketChoice> {
        let spec = &self.elastic.profile.market;
        Some(MarketChoice { market: spec.next(on_demand, spot), fallback: spec.fallback })
    }

    fn roles(&self) -> &[Id] {
        &self.role_names
    }

    fn attach(&self, role: &Id, instance_id: &str, intent: &str) -> Option<AttachRequest> {
        let (role, _) = self.roles.get(role)?;
        if role.addresses.is_empty() && role.volumes.is_empty() {
            return None;
        }
        Some(AttachRequest {
            intent: intent.to_owned(),
            instance_id: instance_id.to_owned(),
            addresses: role.addresses.clone(),
            volumes: role
                .volumes
                .iter()
                .map(|v| VolumeAttachment { volume_id: v.volume_id.clone(), device: v.device.clone() })
                .collect(),
        })
    }
}

/// The price of an offering; the dearest type's where a fleet chooses. Above what is known, never below: it holds against limits.
fn price_usd_h(profile: &Profile, offering: &Offering) -> Option<f64> {
    let wanted = |name: &str| offering.instance_type == ANY_TYPE || offering.instance_type == name;
    let prices = profile.types.iter().filter(|of| wanted(&of.name)).map(|of| match offering.market {
        Market::OnDemand => of.price_usd_h,
        Market::Spot => of.spot_price_usd_h.or(profile.market.spot_price_usd_h_max).or(of.price_usd_h),
    });
    prices.collect::<Option<Vec<f64>>>()?.into_iter().reduce(f64::max)
}

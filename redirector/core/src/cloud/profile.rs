//! A launch profile: what a new server is, as a file says it, checked.
//!
//! Plain data. It must never hold a secret: keys are derived when a request is built.

use super::template::Template;
use crate::scale::Market;
use farm_shared::config::Place;
use farm_shared::id::Id;
use std::collections::BTreeMap;

/// A zone's name where EC2 chooses the zone: no name of a zone, nor of anything that could stand in a heartbeat.
pub const ANY_ZONE: &str = "*";
/// An instance type's name where a fleet request chooses the type.
pub const ANY_TYPE: &str = "*";

/// What a file says about new servers.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its name, which becomes the tag `farm:profile`.
    pub name: Id,
    /// The image of each region.
    pub images: BTreeMap<String, String>,
    /// Where the images stand in the file.
    pub images_place: Place,
    /// Instance types, the preferred one first.
    pub types: Vec<TypeSpec>,
    /// A launch template that fills in what the profile leaves open.
    pub launch_template: Option<TemplateRef>,
    /// Zones without a subnet of ours, in order of preference.
    pub zones: Vec<String>,
    /// Subnets by zone.
    pub subnets: BTreeMap<String, String>,
    /// Where zones and subnets stand in the file.
    pub zones_place: Place,
    /// Security groups: ids (`sg-…`), or names in a network without subnets.
    pub security_groups: Vec<String>,
    /// The key pair for SSH.
    pub key_name: Option<String>,
    /// Name or ARN of the IAM instance profile.
    pub instance_profile: Option<String>,
    /// Whether instances get a public IPv4 address; if not said, as the subnet has it.
    pub public_address: Option<bool>,
    /// IPv6 addresses of each instance.
    pub ipv6_addresses: u32,
    /// Detailed monitoring.
    pub monitoring: bool,
    /// Whether EBS traffic has a path of its own, where the type leaves the choice.
    pub ebs_optimized: bool,
    /// Placement's tenancy, if not shared.
    pub tenancy: Option<String>,
    /// Which market servers are bought in.
    pub market: MarketSpec,
    /// The instance metadata service.
    pub metadata: MetadataSpec,
    /// Volumes at launch.
    pub devices: Vec<DeviceSpec>,
    /// Tags beside those of the farm.
    pub tags: BTreeMap<String, String>,
    /// Launch by `CreateFleet` in place of `RunInstances`.
    pub fleet: bool,
    /// With a fleet: one zone a request, so that the zones stay balanced, in place of all in one request.
    pub fleet_per_zone: bool,
    /// The heartbeat agent on a new server.
    pub agent: AgentSpec,
    /// The zone of DNS in which servers have names: `{{ host }}` is `ID.ZONE`.
    pub host_zone: Option<String>,
    /// Placeholders of the user's own.
    pub vars: BTreeMap<String, String>,
    /// Parts of the user data, in order.
    pub parts: Vec<PartSpec>,
    /// Where the profile begins, for problems that concern all of it.
    pub place: Place,
}

/// An instance type.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeSpec {
    /// Its name, as `c7g.large`.
    pub name: String,
    /// Its price on demand, in US dollars an hour, if said.
    pub price_usd_h: Option<f64>,
    /// Its usual price on the spot market, in US dollars an hour, if said.
    pub spot_price_usd_h: Option<f64>,
    /// Images of this type's own (another architecture), by region.
    pub images: BTreeMap<String, String>,
}

/// A launch template by name or id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateRef {
    /// `lt-…`, or a name.
    pub name: String,
    /// A number, `$Latest` or `$Default`.
    pub version: String,
}

/// How servers are bought.
#[derive(Clone, Debug, PartialEq)]
pub struct MarketSpec {
    /// So many servers are on demand before any is bought on the spot market.
    pub on_demand_base: u32,
    /// The share of servers above the base that is bought on the spot market, 0 to 1.
    pub spot_share: f64,
    /// Whether the other market serves when one has no capacity.
    pub fallback: bool,
    /// The most that is paid on the spot market, in US dollars an hour; unset, the price on demand.
    pub spot_price_usd_h_max: Option<f64>,
}

impl MarketSpec {
    /// Where the next server is bought, given how many there are on either market. The base first; above it, the spot market while its
    /// share is not reached.
    pub fn next(&self, on_demand: u32, spot: u32) -> Market {
        let above = f64::from(on_demand.saturating_sub(self.on_demand_base)) + f64::from(spot);
        let short_of_spot = f64::from(spot) < self.spot_share * (above + 1.0) - 1e-9;
        if on_demand >= self.on_demand_base && short_of_spot { Market::Spot } else { Market::OnDemand }
    }
}

/// The instance metadata service (IMDS).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataSpec {
    /// Version 2 only: a session token is required.
    pub tokens_required: bool,
    /// Hops that an answer may go: 2 lets containers reach it.
    pub hop_limit: u32,
    /// Whether tags are readable there.
    pub instance_tags: bool,
}

/// A volume at launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSpec {
    /// `/dev/xvda`.
    pub name: String,
    /// GiB.
    pub size_gib: Option<u32>,
    /// `gp3`, …
    pub kind: Option<String>,
    /// Operations a second.
    pub iops: Option<u32>,
    /// MiB a second.
    pub throughput_mib_s: Option<u32>,
    /// Encrypted at rest.
    pub encrypted: Option<bool>,
    /// Goes with its instance.
    pub delete_on_termination: bool,
    /// The snapshot that it begins as.
    pub snapshot: Option<String>,
    /// An instance-store volume, as `ephemeral0`.
    pub virtual_name: Option<String>,
}

/// The heartbeat agent's settings on a new server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSpec {
    /// Every front end to tell.
    pub fronts: Vec<String>,
    /// Where they stand in the file.
    pub fronts_place: Place,
    /// The port of the service.
    pub port: u16,
    /// What to measure.
    pub load: String,
    /// Heartbeat period in milliseconds.
    pub period_ms: u64,
    /// Settings of the agent's file beside these, as TOML text.
    pub more: Option<String>,
    /// The agent's directory of settings.
    pub folder: String,
    /// The systemd unit.
    pub unit: String,
    /// The unit's user.
    pub user: String,
}

/// One part of the user data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartSpec {
    /// The file name on the instance.
    pub file_name: String,
    /// The MIME type.
    pub mime_type: String,
    /// How cloud-init merges it.
    pub merge_type: Option<String>,
    /// What stands in it.
    pub text: Template,
    /// Where it is named.
    pub place: Place,
}

impl Profile {
    /// The image of a type in a region.
    pub fn image<'a>(&'a self, of: &'a TypeSpec, region: &str) -> Option<&'a str> {
        of.images.get(region).or_else(|| self.images.get(region)).map(String::as_str)
    }

    /// The zones of a region, in order of preference; none: EC2 chooses.
    pub fn zones_in(&self, region: &str) -> Vec<&str> {
        let here =
            |zone: &&String| zone.strip_prefix(region).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()));
        let named = self.zones.iter().filter(here);
        let with_subnet = self.subnets.keys().filter(|zone| here(zone) && !self.zones.contains(*zone));
        named.chain(with_subnet).map(String::as_str).collect()
    }
}

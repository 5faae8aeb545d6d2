//! What a checked configuration holds. Units are last in the names.

use super::{
    AccessLogSpec, AcmeSpec, CapsSpec, CorsSpec, DrillSpec, Ec2Spec, LimitSpec, ListenSpec, Maintenance, NoticeSpec,
    OtherFarm, RedirectStatus, RoleSpec, RoomSpec, RouteSpec, TlsSpec,
};
use crate::door::COOKIE_NAME;
use crate::route::RoutePolicy;
use crate::scale::Floor;
use farm_shared::config::Place;
use farm_shared::id::Id;
use farm_shared::member::LeasePolicy;
use farm_shared::prefix::Prefix;
use farm_shared::settings::{AdminListen, HeartbeatListen};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// Where state is kept if the configuration does not say.
pub const STATE_DIR: &str = "state";

/// All settings of one redirector.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// This redirector's id.
    pub id: Id,
    /// Addresses of the front door.
    pub listen: Vec<SocketAddr>,
    /// Where clients come in beside these, and through whom.
    pub listeners: ListenSpec,
    /// How HTTPS is served.
    pub tls: TlsSpec,
    /// Front-door threads; 0 is one per core.
    pub workers: usize,
    /// Where state is kept.
    pub state_dir: String,
    /// The farm.
    pub farm: Id,
    /// The file of its key.
    pub key_file: String,
    /// Files of former keys, whose cookies are honoured still.
    pub key_files_former: Vec<String>,
    /// Addresses that members may announce beside their own.
    pub allowed_prefixes: Vec<Prefix>,
    /// Host names the front door answers to; `*` is any.
    pub hosts: Vec<String>,
    /// Where heartbeats come in.
    pub heartbeat: HeartbeatListen,
    /// The admin interface.
    pub admin: AdminListen,
    /// The front door.
    pub door: DoorSpec,
    /// What one source may ask.
    pub limit: LimitSpec,
    /// The waiting room.
    pub room: RoomSpec,
    /// How long heartbeats are believed.
    pub lease: LeasePolicy,
    /// How this door makes itself known to dnslb.
    pub announce: AnnounceSpec,
    /// The scaler.
    pub scaler: ScalerSpec,
    /// What is done when a server's machine is to go.
    pub notices: NoticeSpec,
    /// Where servers come from.
    pub provider: ProviderSpec,
    /// Servers that must exist.
    pub roles: Vec<RoleSpec>,
    /// Failure drills.
    pub drill: DrillSpec,
    /// The access log.
    pub access_log: AccessLogSpec,
    /// Certificates that are ordered and renewed.
    pub acme: AcmeSpec,
    /// What requests get by host and path.
    pub routes: Vec<RouteSpec>,
    /// Pages of other origins.
    pub cors: CorsSpec,
    /// Where clients that follow no redirect ask, beside the well-known place.
    pub assign: Option<String>,
    /// Farms beside the first; none in the settings of such a farm.
    pub others: Vec<OtherFarm>,
    /// For problems with them.
    pub others_place: Place,
    /// The name of the farm's affinity cookies: farms of one host must not share it.
    pub cookie_name: String,
}

/// The front door.
#[derive(Clone, Debug, PartialEq)]
pub struct DoorSpec {
    /// Scheme and authority of a backend's service, with one of `{id}`, `{ip}`, `{ipv4}` and `{ipv6}`, and `{port}`.
    pub target: String,
    /// Of redirects to backends.
    pub status: RedirectStatus,
    /// Who is turned away.
    pub maintenance: Maintenance,
    /// Scheme and authority that clients reach the door by, if the configuration says.
    pub url: Option<String>,
    /// Which backend gets a new session.
    pub policy: RoutePolicy,
    /// Whether a backend whose target is a name must be served by every dnslb first.
    pub published: Published,
    /// How long an affinity cookie is honoured, in seconds.
    pub cookie_max_age_s: u64,
    /// A request target may be this long, in octets.
    pub url_bytes_max: usize,
    /// Connections of all workers together.
    pub connections_max: usize,
    /// What each connection may take.
    pub caps: CapsSpec,
    /// A request's head must come within this, in milliseconds.
    pub header_timeout_ms: u64,
    /// A connection may be idle so long, in milliseconds.
    pub idle_timeout_ms: u64,
    /// A connection may live so long, in milliseconds.
    pub total_timeout_ms: u64,
    /// For 503, in seconds.
    pub retry_after_s: u32,
    /// A new server's weight rises to its full value over this time, in milliseconds.
    pub ramp_ms: u64,
    /// The door's own zone, whose servers are preferred; none prefers nobody.
    pub zone: Option<Id>,
    /// Up to about this load of its own zone (busy cores over cores, 0 to 1) the door sends nothing elsewhere.
    pub zone_load_max: f64,
    /// With more than this share of all servers silent, silence is not believed.
    pub panic_share: f64,
}

/// The gate for targets that are names (DESIGN 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Published {
    /// New sessions only once every dnslb heard serves the name, and at least one is heard.
    #[default]
    Require,
    /// Names are published by other means.
    Ignore,
}

/// Heartbeats of this door to dnslb.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnnounceSpec {
    /// Front ends, as farm-agent writes them: `udp:127.0.0.1:5310` or `http://…`; none is off.
    pub fronts: Vec<String>,
    /// The id to announce; the redirector's own unless given.
    pub id: Option<Id>,
    /// Addresses to announce.
    pub addresses: Vec<IpAddr>,
    /// The port to announce; 0 is that of the first front-door address.
    pub port: u16,
    /// Heartbeat period in milliseconds.
    pub period_ms: u64,
}

/// Which rule sizes the farm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScalePolicy {
    /// As seed 003 says it.
    Paper,
    /// As an auto scaling group's target tracking.
    TargetTracking,
    /// As an auto scaling group's step scaling.
    Step,
    /// As a Kubernetes horizontal pod autoscaler.
    Hpa,
    /// DESIGN 4.4.
    #[default]
    Sizing,
}

impl ScalePolicy {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Paper, Self::TargetTracking, Self::Step, Self::Hpa, Self::Sizing];
    /// Their labels.
    pub const LABELS: [&'static str; 5] = ["paper", "target-tracking", "step", "hpa", "sizing"];

    /// As in the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::TargetTracking => "target-tracking",
            Self::Step => "step",
            Self::Hpa => "hpa",
            Self::Sizing => "sizing",
        }
    }
}

impl FromStr for ScalePolicy {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|p| p.label() == text).ok_or_else(|| format!("one of {}", Self::LABELS.join(", ")))
    }
}

/// The scaler.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalerSpec {
    /// It runs.
    pub enabled: bool,
    /// It plans but does nothing.
    pub dry_run: bool,
    /// Which rule.
    pub policy: ScalePolicy,
    /// A rule that runs beside and does nothing.
    pub shadow: Option<ScalePolicy>,
    /// Fewest servers.
    pub min: u32,
    /// Most servers, draining ones and launches under way included.
    pub max: u32,
    /// So many servers more than the rule wants.
    pub spare: u32,
    /// Fewest servers in each zone.
    pub min_per_zone: u32,
    /// Stopped instances kept ready.
    pub warm: u32,
    /// Sessions that one server holds, unless its heartbeats say.
    pub sessions_per_server: u32,
    /// The paper's rule: a run queue up to this is short.
    pub q_short: f64,
    /// The busy share of processors that the rules of others aim at, 0 to 1.
    pub target: f64,
    /// Plans and listings are made this often, in milliseconds.
    pub poll_ms: u64,
    /// Arrivals are counted over this window, in milliseconds (W).
    pub window_ms: u64,
    /// Session length to start from, in milliseconds (L).
    pub session_prior_ms: u64,
    /// Too many servers must have been too many for this long before one is drained, in milliseconds.
    pub stabilisation_ms: u64,
    /// Too few servers must have been too few for this long before one is launched, in milliseconds.
    pub stabilisation_up_ms: u64,
    /// A drained server is stopped after this even if sessions remain, in milliseconds.
    pub drain_deadline_ms: u64,
    /// Boot time to start from, in milliseconds.
    pub boot_prior_ms: u64,
    /// A launch whose server was not heard after this is given up, in milliseconds.
    pub boot_deadline_ms: u64,
    /// So many launches that were never heard are kept for inspection instead of being terminated.
    pub keep_failed_max: u32,
    /// The longest TTL that dnslb serves a backend with, in milliseconds.
    pub dns_ttl_max_ms: u64,
    /// What the farm may cost, in US dollars an hour; none is no cap.
    pub usd_h_max: Option<f64>,
    /// What it may cost in a calendar month (UTC), in US dollars; none is no cap.
    pub usd_month_max: Option<f64>,
    /// Fewest servers at certain times.
    pub floors: Vec<Floor>,
}

/// Where servers come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ProviderSpec {
    /// From elsewhere: a static farm.
    #[default]
    None,
    /// Processes on this machine.
    Process(ProcessSpec),
    /// Instances of EC2, or of whatever speaks its API.
    Ec2(Ec2Spec),
}

impl ProviderSpec {
    /// Whose instances: those of another provider, or of another region, are not to be looked for in this one's lists.
    pub fn identity(&self) -> String {
        match self {
            Self::None => "none".into(),
            Self::Process(_) => "process".into(),
            Self::Ec2(ec2) => format!("ec2 in {}", ec2.region),
        }
    }
}

/// Local processes, each instance on a loopback address of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessSpec {
    /// Commands of one instance, with `{id}`, `{ip}`, `{port}`, `{n}`, `{key_file}`, `{dir}` and `{bin}`.
    pub commands: Vec<Vec<String>>,
    /// The lowest address.
    pub first_address: Ipv4Addr,
    /// Addresses from there on.
    pub count_max: u32,
    /// The port of the service.
    pub port: u16,
    /// Commands start this long after the launch, in milliseconds.
    pub boot_delay_ms: u64,
    /// Uniform in this share around the delay, 0 to 1.
    pub boot_delay_jitter: f64,
}

impl Spec {
    /// The defaults for one farm: what the reader starts from, and tests.
    pub fn new(id: Id, farm: Id) -> Self {
        Self {
            id,
            listen: Vec::new(),
            listeners: ListenSpec::default(),
            tls: TlsSpec::default(),
            workers: 0,
            state_dir: STATE_DIR.into(),
            farm,
            key_file: String::new(),
            key_files_former: Vec::new(),
            allowed_prefixes: Vec::new(),
            hosts: Vec::new(),
            heartbeat: HeartbeatListen::default(),
            admin: AdminListen::default(),
            door: DoorSpec::default(),
            limit: LimitSpec::default(),
            room: RoomSpec::default(),
            lease: LeasePolicy::default(),
            announce: AnnounceSpec { period_ms: 1_000, ..AnnounceSpec::default() },
            scaler: ScalerSpec::default(),
            notices: NoticeSpec::default(),
            provider: ProviderSpec::None,
            roles: Vec::new(),
            drill: DrillSpec::default(),
            access_log: AccessLogSpec::default(),
            acme: AcmeSpec::default(),
            routes: Vec::new(),
            cors: CorsSpec::default(),
            assign: None,
            others: Vec::new(),
            others_place: Place::default(),
            cookie_name: COOKIE_NAME.into(),
        }
    }
}

impl Default for DoorSpec {
    fn default() -> Self {
        Self {
            target: "http://{ip}:{port}".into(),
            status: RedirectStatus::Auto,
            maintenance: Maintenance::Off,
            url: None,
            policy: RoutePolicy::Weighted,
            published: Published::Require,
            cookie_max_age_s: 3_600,
            url_bytes_max: 8 * 1024,
            connections_max: 10_000,
            caps: CapsSpec::default(),
            header_timeout_ms: 10_000,
            idle_timeout_ms: 30_000,
            total_timeout_ms: 300_000,
            retry_after_s: 5,
            ramp_ms: 5_000,
            zone: None,
            zone_load_max: 0.7,
            panic_share: 0.5,
        }
    }
}

impl Default for ScalerSpec {
    fn default() -> Self {
        Self {
            enabled: false,
            dry_run: false,
            policy: ScalePolicy::Sizing,
            shadow: None,
            min: 1,
            max: 10,
            spare: 0,
            min_per_zone: 0,
            warm: 0,
            sessions_per_server: 100,
            q_short: 1.0,
            target: 0.6,
            poll_ms: 2_000,
            window_ms: 60_000,
            session_prior_ms: 120_000,
            stabilisation_ms: 300_000,
            stabilisation_up_ms: 0,
            drain_deadline_ms: 3_600_000,
            boot_prior_ms: 120_000,
            boot_deadline_ms: 600_000,
            keep_failed_max: 0,
            dns_ttl_max_ms: 60_000,
            usd_h_max: None,
            usd_month_max: None,
            floors: Vec::new(),
        }
    }
}

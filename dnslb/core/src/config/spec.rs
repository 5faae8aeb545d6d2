//! The specification as plain data, with the defaults of an empty configuration.
//!
//! Holds no state and nothing that changes at run time.

use super::places::Places;
use super::service::ServiceSpec;
use crate::dnssec::{Denial, DnssecPolicy};
use crate::health::{CheckSpec, ViewpointKey};
use crate::name::Name;
use crate::transfer::catalog::Member;
use crate::tsig::{HmacAlgorithm, Keys};
use crate::update::Grant;
use farm_shared::config::Place;
use farm_shared::heartbeat::{FarmKey, Role};
use farm_shared::id::Id;
use farm_shared::member::LeasePolicy;
use farm_shared::settings::{AdminListen, FarmTrust, HeartbeatListen};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Everything that a configuration says.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The server itself.
    pub server: ServerSpec,
    /// What it says of itself, cookies and rate limits.
    pub service: ServiceSpec,
    /// Where heartbeats arrive.
    pub heartbeat: HeartbeatListen,
    /// Where operators reach it.
    pub admin: AdminListen,
    /// How long heartbeats are believed.
    pub lease: LeasePolicy,
    /// Farms whose heartbeats are heard.
    pub farms: Vec<FarmSpec>,
    /// Keys of transfers, updates and notifications, as configured.
    pub key_specs: Vec<KeySpec>,
    /// The same with their secrets.
    pub keys: Keys,
    /// Zones that are served.
    pub zones: Vec<ZoneSpec>,
    /// Which of them bring others.
    pub catalogs: Vec<CatalogSpec>,
    /// Pools, in the order of the snapshot.
    pub pools: Vec<PoolSpec>,
    /// Other name servers that check the same members.
    pub viewpoints: ViewpointsSpec,
    /// Where members and clients are, and whose clients' subnets are believed.
    pub places: Arc<Places>,
}

/// `[server]`
#[derive(Clone, Debug)]
pub struct ServerSpec {
    /// This front end's id in replies to heartbeats.
    pub id: Id,
    /// Addresses that answer DNS, over UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// Threads that answer; 0 for one per core.
    pub workers: usize,
    /// Whether each worker stays on a core of its own.
    pub pin_workers: bool,
    /// Longest UDP answer, in octets.
    pub udp_payload_max: u16,
    /// Signatures a second that each answering thread makes while a question waits; see [`crate::online`].
    pub online_signatures_max: u32,
    /// Open TCP connections in all.
    pub tcp_connections_max: usize,
    /// Open TCP connections of one client address.
    pub tcp_connections_per_client_max: usize,
    /// How long a TCP connection may be idle, in milliseconds.
    pub tcp_idle_timeout_ms: u64,
    /// How long a TCP connection may live, in milliseconds.
    pub tcp_total_timeout_ms: u64,
    /// Directory for what survives a restart; none to keep nothing.
    pub state_dir: Option<String>,
    /// One query in so many is logged; 0 for none.
    pub query_log_sample: u32,
    /// DNS over TLS, HTTPS and QUIC.
    pub encrypted: EncryptedSpec,
}

/// The options in `[server]` about encrypted transports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedSpec {
    /// Addresses that answer over TLS.
    pub listen_tls: Vec<SocketAddr>,
    /// Addresses that answer over HTTPS.
    pub listen_https: Vec<SocketAddr>,
    /// Addresses that answer over QUIC.
    pub listen_quic: Vec<SocketAddr>,
    /// The certificate with its chain: a PEM file.
    pub cert_file: Option<String>,
    /// Its key: a PEM file.
    pub key_file: Option<String>,
    /// The path of questions over HTTPS.
    pub https_path: String,
    /// Open connections in all.
    pub connections_max: usize,
    /// Open connections of one client address.
    pub connections_per_client_max: usize,
    /// How long a handshake may take, in milliseconds.
    pub handshake_timeout_ms: u64,
}

impl EncryptedSpec {
    /// Whether any of them listens.
    pub fn is_wanted(&self) -> bool {
        !(self.listen_tls.is_empty() && self.listen_https.is_empty() && self.listen_quic.is_empty())
    }
}

/// `[[farm]]`
#[derive(Clone, Debug)]
pub struct FarmSpec {
    /// Its name, the file of its secret, and where members may announce addresses that are not their own.
    pub trust: FarmTrust,
    /// The secret, once somebody has read the file.
    pub key: Option<FarmKey>,
    /// The name below which each member gets its own.
    pub member_zone: Option<Name>,
    /// TTL of those names, in seconds.
    pub member_ttl_s: u32,
}

/// `[[key]]`: a secret that we share with a peer (RFC 8945).
#[derive(Clone, Debug)]
pub struct KeySpec {
    /// Its name, which both sides must agree on.
    pub name: Name,
    /// Its algorithm; none for what the file says, or HMAC-SHA256.
    pub algorithm: Option<HmacAlgorithm>,
    /// The file of the secret.
    pub secret_file: String,
    /// Where that stands.
    pub place: Place,
}

/// Where a zone's data comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZoneKind {
    /// From its master file, and updates.
    #[default]
    Primary,
    /// From another server.
    Secondary,
}

/// `[[zone.notify]]`: who is told when a zone changes (RFC 1996).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotifySpec {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The key that signs.
    pub key: Option<Name>,
}

/// `[[zone.primary]]`: whom a secondary zone is asked from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimarySpec {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The key that signs.
    pub key: Option<Name>,
    /// The name in its certificate, if it is to be asked over TLS (RFC 9103).
    pub tls_name: Option<String>,
    /// A file of the certificates to trust in place of the system's.
    pub tls_ca_file: Option<String>,
}

/// `[[zone]]`
#[derive(Clone, Debug)]
pub struct ZoneSpec {
    /// Its apex.
    pub name: Name,
    /// Its master file; empty for a secondary.
    pub file: String,
    /// Where its data comes from.
    pub kind: ZoneKind,
    /// Who may have it whole; nobody if empty.
    pub transfer: Vec<crate::transfer::Grant>,
    /// Who is told of changes.
    pub notify: Vec<NotifySpec>,
    /// Whom a secondary asks, in this order.
    pub primaries: Vec<PrimarySpec>,
    /// Most records of a transfer that a secondary takes.
    pub records_max: usize,
    /// Who may update it (RFC 2136); nobody if empty.
    pub update: Vec<Grant>,
    /// How it is signed; none if it is not signed here.
    pub dnssec: Option<ZoneDnssec>,
}

/// `[[catalog]]`: a zone that says which zones are served beside it (RFC 9432).
#[derive(Clone, Debug)]
pub struct CatalogSpec {
    /// The catalog, which is a `[[zone]]` too.
    pub zone: Name,
    /// Whom its zones are asked from.
    pub primaries: Vec<PrimarySpec>,
    /// Who may have them.
    pub transfer: Vec<crate::transfer::Grant>,
    /// Most records of each.
    pub records_max: usize,
    /// Other primaries for zones of a group.
    pub groups: Vec<CatalogGroup>,
}

/// `[[catalog.group]]`
#[derive(Clone, Debug)]
pub struct CatalogGroup {
    /// The value of the `group` property.
    pub name: String,
    /// Whom its zones are asked from.
    pub primaries: Vec<PrimarySpec>,
}

impl CatalogSpec {
    /// What holds for one of its zones: the first group that is configured decides whom it is asked from.
    pub fn zone_spec(&self, name: &Name, member: &Member) -> ZoneSpec {
        let group = self.groups.iter().find(|group| member.groups.contains(&group.name));
        ZoneSpec {
            name: name.clone(),
            file: String::new(),
            kind: ZoneKind::Secondary,
            transfer: self.transfer.clone(),
            notify: Vec::new(),
            primaries: group.map_or(&self.primaries, |group| &group.primaries).clone(),
            records_max: self.records_max,
            update: Vec::new(),
            dnssec: None,
        }
    }
}

/// `[zone.dnssec]`
#[derive(Clone, Debug)]
pub struct ZoneDnssec {
    /// How it is signed, and how its keys come and go.
    pub policy: Arc<DnssecPolicy>,
    /// How absence is proven in this zone.
    pub denial: Denial,
    /// Servers of the parent zone that are asked for its DS set.
    pub parents: Vec<SocketAddr>,
}

/// How members are weighted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightRule {
    /// All the same, but for the weights of static members.
    #[default]
    Equal,
    /// Heartbeat members by the cores they report.
    Cores,
}

/// `[viewpoints]`
#[derive(Clone, Debug)]
pub struct ViewpointsSpec {
    /// Where the others ask.
    pub listen: Vec<SocketAddr>,
    /// The file of the secret, as it stands in the configuration; empty for none.
    pub key_file: String,
    /// For problems with that file.
    pub key_place: Place,
    /// The secret, once somebody has read the file.
    pub key: Option<ViewpointKey>,
    /// Time between two questions, in milliseconds.
    pub interval_ms: u64,
    /// How long a report counts, in milliseconds.
    pub lease_ms: u64,
    /// The others.
    pub peers: Vec<ViewpointSpec>,
}

/// `[[viewpoints.peer]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewpointSpec {
    /// Its id.
    pub name: Id,
    /// Where it listens.
    pub addr: SocketAddr,
}

/// `[[pool]]`
#[derive(Clone, Debug)]
pub struct PoolSpec {
    /// Its name: for operators, not in DNS.
    pub name: Id,
    /// The names that give its answers.
    pub publish: Vec<Name>,
    /// Addresses in an answer.
    pub k: usize,
    /// Share of clients that take the lowest address of an answer, 0 to 1.
    pub sort_share: f64,
    /// Lowest TTL, in seconds.
    pub ttl_s_min: u32,
    /// Highest TTL, in seconds.
    pub ttl_s_max: u32,
    /// Highest TTL of a NODATA answer, in seconds.
    pub negative_ttl_s: u32,
    /// With fewer than this share of the members up, answer from all; 0 for never.
    pub fail_open: f64,
    /// How long a new or returning member takes to its full weight, in milliseconds; 0 for at once.
    pub slow_start_ms: u64,
    /// How heartbeat members are weighted.
    pub weight: WeightRule,
    /// The farm whose members belong to it.
    pub farm: Option<Id>,
    /// Which of them.
    pub role: Role,
    /// Members by configuration.
    pub members: Vec<StaticMember>,
    /// Pools whose members belong to it as well.
    pub nested: Vec<NestedPool>,
    /// The tier of the farm's members: those of tier 0 are named first.
    pub tier: u16,
    /// Members of a tier or site get all clients while this share of them is up, 0 to 1; below it the next ones get the rest.
    pub spill_below: f64,
    /// Clients get members of the site that is nearest to them first.
    pub nearest_site: bool,
    /// Indices of the views whose clients get members' private addresses.
    pub private_views: Vec<u16>,
    /// Its HTTPS records, if it has any.
    pub https: Option<HttpsSpec>,
    /// Its SRV records.
    pub services: Vec<SrvSpec>,
    /// Below which name members get names of their own, for those records.
    pub target_zone: Option<Name>,
    /// `sort_share` follows what members say of their sessions.
    pub sort_auto: bool,
    /// How those are checked; none to believe that they are up.
    pub check: Option<Arc<CheckSpec>>,
}

/// `[[pool.member]]`
#[derive(Clone, Debug, PartialEq)]
pub struct StaticMember {
    /// Its name in the pool.
    pub name: Id,
    /// Its IPv4 address, if any.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address, if any.
    pub v6: Option<Ipv6Addr>,
    /// Its weight relative to the others.
    pub weight: f64,
    /// Its failure domain.
    pub zone: Option<Id>,
    /// Its IPv4 address for clients inside, if that is another one.
    pub private_v4: Option<Ipv4Addr>,
    /// Its IPv6 address for clients inside, if that is another one.
    pub private_v6: Option<Ipv6Addr>,
    /// 0 for those that are named first.
    pub tier: u16,
    /// Index of its site, if it is said.
    pub site: Option<u16>,
}

/// A `[[pool.member]]` that is a pool: its members belong to both.
#[derive(Clone, Debug, PartialEq)]
pub struct NestedPool {
    /// The pool.
    pub pool: Id,
    /// What the weights of its members are multiplied by.
    pub weight: f64,
    /// The tier of all of them.
    pub tier: u16,
    /// The site of all of them; their own if none.
    pub site: Option<u16>,
}

/// `[pool.https]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsSpec {
    /// Protocols, as in TLS (RFC 9460 section 7.1); none for HTTP/1.1 alone.
    pub alpn: Vec<String>,
    /// The port, if it is not 443.
    pub port: Option<u16>,
}

/// `[[pool.service]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvSpec {
    /// The name of the SRV records.
    pub name: Name,
    /// The port; none for the one that each member says.
    pub port: Option<u16>,
    /// Weights follow the load that members report, not the pool's weights.
    pub by_load: bool,
    /// Members of the tiers and sites behind those in use that are added, with a higher priority number.
    pub backups: usize,
}

impl PoolSpec {
    /// All names that it answers.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.publish.iter().chain(self.services.iter().map(|service| &service.name))
    }

    /// The names of its fixed members below its `target_zone`, if it has one; none for one that would be too long.
    pub(super) fn targets(&self) -> impl Iterator<Item = (&StaticMember, Option<Name>)> {
        let zone = self.target_zone.as_ref();
        let name = |zone: &Name, member: &StaticMember| zone.child(member.name.as_str().as_bytes()).ok();
        zone.into_iter().flat_map(move |zone| self.members.iter().map(move |member| (member, name(zone, member))))
    }
}

impl Spec {
    /// The farm of that name.
    pub fn farm(&self, name: &Id) -> Option<&FarmSpec> {
        self.farms.iter().find(|farm| farm.trust.name == *name)
    }
}

//! The reader of every section but `[[pool]]`.
//!
//! Reads all options before it judges any, and notes problems instead of stopping: a user must see them all at once.

use super::spec::{AdminSpec, FarmSpec, HeartbeatSpec, ServerSpec, ZoneSpec};
use crate::name::Name;
use farm_shared::config::Section;
use farm_shared::id::Id;
use farm_shared::member::LeasePolicy;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::SocketAddr;

pub(super) const ID: &str = "1 to 63 lowercase letters, digits and inner hyphens";
pub(super) const NAME: &str = "a domain name";
const SOCKET: &str = "ADDRESS:PORT, like \"192.0.2.1:53\" or \"[::1]:53\"";
const DAY_MS: u64 = 86_400_000;

pub(super) fn server(root: &Section) -> Option<ServerSpec> {
    let s = root.table("server", "The server itself.");
    let id = s.parsed("id", Some("dnslb"), ID, "This front end's id, in replies to heartbeats. No two front ends share one.");
    let listen: Vec<SocketAddr> =
        s.list("listen", &["0.0.0.0:53", "[::]:53"], SOCKET, "Where questions arrive, over UDP and TCP. Answers leave from the address that was asked.");
    if listen.is_empty() && s.has("listen") {
        s.problem("listen", "no address", "one address at least");
    }
    let spec = ServerSpec {
        id: Id::new("dnslb").ok()?,
        listen,
        workers: s.integer("workers", 0, 0..=256, "Threads that answer over UDP; 0 for one per core.") as usize,
        pin_workers: s.boolean("pin_workers", false, "Whether each of them stays on a core of its own."),
        udp_payload_max: s.integer("udp_payload_max", 1_232, 512..=4_096, "Longest answer over UDP, in octets; longer ones are truncated.") as u16,
        tcp_connections_max: s.integer("tcp_connections_max", 1_000, 1..=1_000_000, "Open TCP connections in all.") as usize,
        tcp_connections_per_client_max: s.integer("tcp_connections_per_client_max", 20, 1..=1_000_000, "Open TCP connections of one client address.") as usize,
        tcp_idle_timeout_ms: s.duration_ms("tcp_idle_timeout", 10_000, 100..=DAY_MS, "How long a TCP connection may be idle."),
        tcp_total_timeout_ms: s.duration_ms("tcp_total_timeout", 120_000, 100..=DAY_MS, "How long a TCP connection may live."),
        state_dir: s.optional_string("state_dir", "Directory for what survives a restart: members, drains, operators' words. None to keep nothing."),
        query_log_sample: s.integer("query_log_sample", 0, 0..=i64::from(u32::MAX), "One query in so many is logged; 0 for none.") as u32,
    };
    Some(ServerSpec { id: id.unwrap_or(spec.id), ..spec })
}

pub(super) fn heartbeat(root: &Section) -> HeartbeatSpec {
    let s = root.table("heartbeat", "Where heartbeats arrive. A listener of its own, never the DNS port.");
    HeartbeatSpec {
        listen_udp: s.optional_parsed("listen_udp", SOCKET, "Address for datagrams."),
        listen_http: s.optional_parsed("listen_http", SOCKET, "Address for HTTP POST to `/v1/heartbeat`."),
    }
}

pub(super) fn admin(root: &Section) -> AdminSpec {
    let s = root.table("admin", "Where operators reach it.");
    let listen = s.optional_string("listen", "`unix:/PATH` (a socket of mode 0660) or a loopback address and port.");
    let token_file = s.optional_string("token_file", "File with the token that requests over a loopback address carry.");
    if let Some(listen) = listen.as_deref().filter(|listen| !listen.starts_with("unix:/")) {
        match listen.parse::<SocketAddr>() {
            Ok(at) if at.ip().is_loopback() => {
                if token_file.is_none() {
                    s.problem("token_file", "nothing", "a file with a token, because `admin.listen` is no Unix socket");
                }
            }
            _ => s.problem("listen", format!("{listen:?}"), "\"unix:/PATH\" or a loopback address and port"),
        }
    }
    AdminSpec { listen, token_file }
}

pub(super) fn lease(root: &Section) -> LeasePolicy {
    let s = root.table("lease", "How long heartbeats are believed.");
    let default = LeasePolicy::default();
    LeasePolicy {
        lease_periods: s.float("periods", default.lease_periods, 1.5..=100.0, "A lease is this many of the periods that a member announces."),
        lease_ms_min: s.duration_ms("min", default.lease_ms_min, 100..=600_000, "And never shorter."),
        forget_leases: s.integer("forget", default.forget_leases as i64, 1..=100_000, "A silent member is forgotten after this many leases, unless most of its farm is silent.") as u64,
        grace_ms: s.duration_ms("grace", default.grace_ms, 0..=DAY_MS, "How long members that were known before a restart are served unheard."),
        members_max: s.integer("members_max", default.members_max as i64, 1..=1_000_000, "Members that a farm may have; heartbeats of further ones are refused.") as usize,
        step_ms_max: default.step_ms_max,
    }
}

/// Farms with their sections, for what is checked later.
pub(super) fn farms(root: &Section) -> Vec<(FarmSpec, Section)> {
    let mut farms = Vec::new();
    let mut seen = Unique::default();
    let mut zones = Unique::default();
    for s in root.tables("farm", "A farm whose heartbeats are heard.") {
        let name: Option<Id> = s.parsed("name", None, ID, "Its name, as in the heartbeats.");
        let key_file = s.required_string("key_file", "File with the farm's secret: 64 hexadecimal digits, as `openssl rand -hex 32` prints them.");
        let allowed_prefixes = s.list(
            "allowed_prefixes",
            &[],
            "an address or ADDRESS/BITS",
            "Where members may announce addresses that are not the source of their heartbeats.",
        );
        let member_zone: Option<Name> = s.optional_parsed("member_zone", NAME, "The name below which each member gets its own, as soon as it is heard. It must lie in a zone.");
        let member_ttl_s = seconds(&s, "member_ttl", 5, "TTL of those names.");
        if let Some(zone) = &member_zone {
            zones.note(&s, "member_zone", zone);
        }
        let Some(name) = name else { continue };
        seen.note(&s, "name", &name);
        farms.push((FarmSpec { name, key_file, key: None, allowed_prefixes, member_zone, member_ttl_s }, s));
    }
    farms
}

/// Zones with their sections.
pub(super) fn zones(root: &Section) -> Vec<(ZoneSpec, Section)> {
    let mut zones = Vec::new();
    let mut seen = Unique::default();
    for s in root.tables("zone", "A zone that is served.") {
        let name: Option<Name> = s.parsed("name", None, NAME, "Its apex.");
        let file = s.required_string("file", "Its master file (RFC 1035). A relative path starts at this file's directory.");
        let Some(name) = name else { continue };
        seen.note(&s, "name", &name);
        zones.push((ZoneSpec { name, file }, s));
    }
    if zones.is_empty() {
        root.problem("zone", "no zone", "one [[zone]] at least");
    }
    zones
}

/// A duration of whole seconds, from one second to a day.
pub(super) fn seconds(s: &Section, key: &str, default_s: u64, about: &'static str) -> u32 {
    let ms = s.duration_ms(key, default_s * 1_000, 1_000..=DAY_MS, about);
    if !ms.is_multiple_of(1_000) {
        s.problem(key, format!("{ms} ms"), "whole seconds");
    }
    (ms / 1_000) as u32
}

/// Refuses what comes twice.
pub(super) struct Unique<T>(BTreeSet<T>);

impl<T> Default for Unique<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: Ord + Clone + Display> Unique<T> {
    pub(super) fn note(&mut self, section: &Section, key: &str, value: &T) {
        if !self.0.insert(value.clone()) {
            section.problem(key, format!("\"{value}\" for the second time"), "each once");
        }
    }
}

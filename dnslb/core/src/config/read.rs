//! The reader of every section but `[[pool]]`.
//!
//! Reads all options before it judges any, and notes problems instead of stopping: a user must see them all at once.

use super::read_encrypted::encrypted;
use super::service::ServiceSpec;
use super::spec::{FarmSpec, ServerSpec};
use crate::name::Name;
use farm_shared::config::Section;
use farm_shared::id::Id;
use farm_shared::settings::{FarmTrust, LABEL, SOCKET};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::SocketAddr;

pub(super) const NAME: &str = "a domain name";
const DAY_MS: u64 = 86_400_000;

pub(super) fn server(root: &Section) -> Option<(ServerSpec, ServiceSpec)> {
    let s = root.table("server", "The server itself.");
    let id =
        s.parsed("id", Some("dnslb"), LABEL, "This front end's id, in replies to heartbeats. No two front ends share one.");
    let listen: Vec<SocketAddr> = s.list(
        "listen",
        &["0.0.0.0:53", "[::]:53"],
        SOCKET,
        "Where questions arrive, over UDP and TCP. Answers leave from the address that was asked.",
    );
    if s.is_empty_list("listen") {
        s.problem("listen", "no address", "one address at least");
    }
    let spec = ServerSpec {
        id: Id::new("dnslb").ok()?,
        listen,
        workers: s.integer("workers", 0, 0..=256, "Threads that answer over UDP; 0 for one per core.") as usize,
        pin_workers: s.boolean("pin_workers", false, "Whether each of them stays on a core of its own."),
        udp_payload_max: s.integer(
            "udp_payload_max",
            1_232,
            512..=4_096,
            "Longest answer over UDP, in octets; longer ones are truncated.",
        ) as u16,
        online_signatures_max: s.integer(
            "online_signatures_max",
            1_000,
            0..=100_000,
            "Signatures a second that each answering thread makes while a question waits, for names that exist, and as many for those \
             that do not. Beyond, clients are told to come over TCP, which has accounts of its own.",
        ) as u32,
        tcp_connections_max: s.integer("tcp_connections_max", 1_000, 1..=1_000_000, "Open TCP connections in all.") as usize,
        tcp_connections_per_client_max: s.integer(
            "tcp_connections_per_client_max",
            20,
            1..=1_000_000,
            "Open TCP connections of one client address.",
        ) as usize,
        tcp_idle_timeout_ms: s.duration_ms(
            "tcp_idle_timeout",
            10_000,
            100..=DAY_MS,
            "How long a TCP connection may be idle.",
        ),
        tcp_total_timeout_ms: s.duration_ms(
            "tcp_total_timeout",
            120_000,
            100..=DAY_MS,
            "How long a TCP connection may live.",
        ),
        state_dir: s.optional_string(
            "state_dir",
            "Directory for what survives a restart: members, drains, operators' words. None to keep nothing.",
        ),
        query_log_sample: s.integer(
            "query_log_sample",
            0,
            0..=i64::from(u32::MAX),
            "One query in so many is logged; 0 for none.",
        ) as u32,
        encrypted: encrypted(&s),
    };
    let service = ServiceSpec::read_server(&s);
    Some((ServerSpec { id: id.unwrap_or(spec.id), ..spec }, service))
}

/// Farms with their sections, for what is checked later.
pub(super) fn farms(root: &Section) -> Vec<(FarmSpec, Section)> {
    let mut farms = Vec::new();
    let mut seen = Unique::default();
    let mut zones = Unique::default();
    for s in root.tables("farm", "A farm whose heartbeats are heard.") {
        let trust = FarmTrust::read(&s);
        let member_zone: Option<Name> = s.optional_parsed(
            "member_zone",
            NAME,
            "The name below which each member gets its own, as soon as it is heard. It must lie in a zone.",
        );
        let member_ttl_s = seconds(&s, "member_ttl", 5, "TTL of those names.");
        if let Some(zone) = &member_zone {
            zones.note(&s, "member_zone", zone);
        }
        let Some(trust) = trust else { continue };
        seen.note(&s, "name", &trust.name);
        farms.push((FarmSpec { trust, key: None, member_zone, member_ttl_s }, s));
    }
    farms
}

/// A duration of whole seconds, from one second to a day.
pub(super) fn seconds(s: &Section, key: &str, default_s: u64, about: &'static str) -> u32 {
    s.duration_s(key, default_s, 1..=DAY_MS / 1_000, about) as u32
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

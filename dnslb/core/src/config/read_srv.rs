//! The reader of `[pool.https]` and `[[pool.service]]`.
//!
//! Notes problems instead of stopping, like all readers.

use super::read::{NAME, Unique};
use super::spec::{HttpsSpec, PoolSpec, SrvSpec};
use crate::name::Name;
use farm_shared::config::Section;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Services of one pool.
const SERVICES_MAX: usize = 16;
/// Octets of all protocols together: a record has room for more, a datagram hardly.
const ALPN_MAX: usize = 255;

pub(super) fn https(pool: &Section) -> Option<HttpsSpec> {
    let s = pool.table("https", "HTTPS records (RFC 9460) at the pool's names: how to connect, and k addresses as hints.");
    let alpn: Vec<String> = s.list(
        "alpn",
        &["h2"],
        "a protocol like \"h2\" or \"h3\"",
        "Protocols beside HTTP/1.1, which is always offered; none for that alone.",
    );
    let port = s.optional_integer("port", 1..=65_535, "The port, if it is not that of the scheme.");
    if !s.is_present() {
        return None;
    }
    let plain = |text: &String| (1..=63).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if let Some(bad) = alpn.iter().find(|text| !plain(text)) {
        s.problem("alpn", format!("{bad:?}"), "1 to 63 printable characters");
    }
    if alpn.iter().map(|text| text.len() + 1).sum::<usize>() > ALPN_MAX {
        s.problem("alpn", format!("{} protocols", alpn.len()), format!("{ALPN_MAX} octets in all"));
    }
    Some(HttpsSpec { alpn, port: port.map(|port| port as u16) })
}

/// A name below a `target_zone` must lead to one member, and to it alone.
pub(super) fn judge_targets(pools: &[(PoolSpec, Section)]) {
    let mut hosts: BTreeMap<Name, (Option<Ipv4Addr>, Option<Ipv6Addr>)> = BTreeMap::new();
    for (pool, s) in pools {
        for (member, name) in pool.targets() {
            let problem = |found: String| s.problem("target_zone", found, "a name below which members' names are free");
            let Some(name) = name else {
                problem(format!("a name too long for the member {} below it", member.name));
                continue;
            };
            if let Some((other, _)) = pools.iter().find(|(other, _)| other.names().any(|known| *known == name)) {
                problem(format!("{name}, which the pool {} answers", other.name));
            }
            let host = (member.v4, member.v6);
            if *hosts.entry(name.clone()).or_insert(host) != host {
                problem(format!("{name} for members with different addresses"));
            }
        }
    }
}

pub(super) fn services(pool: &Section) -> Vec<SrvSpec> {
    let mut services = Vec::new();
    let mut names = Unique::default();
    for s in pool.tables("service", "SRV records (RFC 2782): k members by their own names, with a port.") {
        let name: Option<Name> = s.parsed(
            "name",
            None,
            NAME,
            "The name of the records, like \"_imap._tcp.lb.example.com\". It must lie in a zone.",
        );
        let port = s.optional_integer("port", 1..=65_535, "The port; without one that of each member's heartbeats.");
        let weight = s.choice(
            "weight",
            "pool",
            &["pool", "load"],
            "Whether members are named as often as their weights say, or all alike with the weight in the record following their free capacity.",
        );
        let backups = s.integer(
            "backups",
            0,
            0..=16,
            "Members of the tiers and sites behind those in use that are added with a higher priority number.",
        );
        let Some(name) = name else { continue };
        names.note(&s, "name", &name);
        services.push(SrvSpec {
            name,
            port: port.map(|port| port as u16),
            by_load: weight == "load",
            backups: backups as usize,
        });
    }
    if services.len() > SERVICES_MAX {
        pool.problem("service", format!("{} services", services.len()), format!("{SERVICES_MAX} at most"));
    }
    services
}

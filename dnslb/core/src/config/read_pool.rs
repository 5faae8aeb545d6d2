//! The reader of `[[pool]]`, its members and its checks.
//!
//! Reads all options before it judges any, and notes problems instead of stopping.

use super::read::{NAME, Unique, seconds};
use super::read_site::Parts as Places;
use super::spec::{FarmSpec, NestedPool, PoolSpec, StaticMember, WeightRule};
use super::{read_srv, spec::SrvSpec};
use crate::health::{CheckKind, CheckSpec};
use crate::name::Name;
use farm_shared::config::Section;
use farm_shared::heartbeat::Role;
use farm_shared::id::Id;
use farm_shared::settings::LABEL;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Pools with their sections.
pub(super) fn pools(root: &Section, farms: &[(FarmSpec, Section)], places: &Places) -> Vec<(PoolSpec, Section)> {
    let mut pools: Vec<(PoolSpec, Section)> = Vec::new();
    let mut names = Unique::default();
    let mut published = Unique::default();
    for s in root.tables("pool", "Backends that are answered k at a time.") {
        let Some(pool) = pool(&s, places) else { continue };
        names.note(&s, "name", &pool.name);
        for name in &pool.publish {
            published.note(&s, "publish", name);
        }
        for SrvSpec { name, .. } in &pool.services {
            published.note(&s, "service", name);
        }
        judge(&s, &pool, farms);
        pools.push((pool, s));
    }
    judge_nested(&pools);
    read_srv::judge_targets(&pools);
    pools
}

/// Every nested pool must be there, and no pool inside itself.
fn judge_nested(pools: &[(PoolSpec, Section)]) {
    let find = |name: &Id| pools.iter().find(|(pool, _)| pool.name == *name).map(|(pool, _)| pool);
    for (pool, s) in pools {
        for nested in pool.nested.iter().filter(|nested| find(&nested.pool).is_none()) {
            s.problem("member", format!("pool = \"{}\"", nested.pool), "the name of a [[pool]]");
        }
        let mut inside: Vec<&Id> = pool.nested.iter().map(|nested| &nested.pool).collect();
        let mut at = 0;
        while let Some(name) = inside.get(at).copied() {
            let further = find(name).into_iter().flat_map(|pool| &pool.nested).map(|nested| &nested.pool);
            for name in further {
                if !inside.contains(&name) {
                    inside.push(name);
                }
            }
            at += 1;
        }
        if inside.contains(&&pool.name) {
            s.problem("member", format!("the pool \"{}\" inside itself", pool.name), "nested pools without a circle");
        }
    }
}

fn pool(s: &Section, places: &Places) -> Option<PoolSpec> {
    let name: Option<Id> = s.parsed("name", None, LABEL, "Its name, for operators and metrics.");
    let publish: Vec<Name> = s.list(
        "publish",
        &[],
        NAME,
        "The names that give its answers. Each must lie in a zone that has no addresses there itself.",
    );
    let k = s.integer("k", 3, 1..=1_024, "Addresses in an answer.") as usize;
    let sort_share = s.float(
        "sort_share",
        0.08,
        0.0..=1.0,
        "Share of clients that take the lowest address of an answer, whatever its order.",
    );
    let ttl_s_min = seconds(s, "ttl_min", 1, "Lowest TTL of an answer.");
    let ttl_s_max =
        seconds(s, "ttl_max", 10, "Highest TTL of an answer: while nothing about the named members is about to change.");
    let negative_ttl_s =
        seconds(s, "negative_ttl", 2, "Highest TTL of an empty answer: nobody is up, or has such an address.");
    let fail_open = s.float(
        "fail_open",
        0.5,
        0.0..=1.0,
        "With fewer than this share of the members up, in the whole pool and in each of its tiers, answers name all of them; 0 for never.",
    );
    let slow_start_ms = s.duration_ms(
        "slow_start",
        10_000,
        0..=86_400_000,
        "How long a new or returning member takes from a tenth of its weight to all of it.",
    );
    let weight = s.choice("weight", "equal", &["equal", "cores"], "How heartbeat members are weighted.");
    let farm = s.optional_parsed("farm", LABEL, "The farm whose members belong to it.");
    let role = s.choice("role", "backend", &["backend", "door"], "Which of them: those that serve, or the front doors.");
    let tier = tier(s, "Tier of the farm's members.");
    let spill_below = s.float(
        "spill_below",
        0.5,
        0.0..=1.0,
        "Members of the first tier, or the nearest site, get all clients while this share of them is up. With fewer, the next ones get the rest: of 0.8, with 40 % up, half. 0: the next ones get clients when nobody else is up.",
    );
    let nearest_site =
        s.boolean("nearest_site", false, "Whether clients get members of the site that is nearest to them first.");
    let private_views: Vec<Id> =
        s.list("private_views", &[], LABEL, "Views whose clients get the private addresses of members that have one.");
    let private_views = private_views
        .into_iter()
        .filter_map(|name| {
            let index = places.views.iter().position(|view| view.name == name);
            if index.is_none() {
                s.problem("private_views", format!("\"{name}\""), "the name of a [[view]]");
            }
            index.map(|index| index as u16)
        })
        .collect();
    let https = read_srv::https(s);
    let services = read_srv::services(s);
    let target_zone = s.optional_parsed(
        "target_zone",
        NAME,
        "The name below which its members get names of their own, for SRV records. Members of a farm with `member_zone` have one already.",
    );
    let sort_auto = s.boolean(
        "sort_share_auto",
        false,
        "Whether `sort_share` is only where it starts, and follows the sessions that members say were begun.",
    );
    let (members, nested) = members(s, places);
    if nearest_site && !places.has_sites() {
        s.problem("nearest_site", "no sites", "[[site]] sections");
    }
    let check = check(&s.table("check", "How static members are checked. Without this section they are believed to be up."));
    Some(PoolSpec {
        name: name?,
        publish,
        k,
        sort_share,
        ttl_s_min,
        ttl_s_max,
        negative_ttl_s,
        fail_open,
        slow_start_ms,
        weight: if weight == "cores" { WeightRule::Cores } else { WeightRule::Equal },
        farm,
        role: if role == "door" { Role::Door } else { Role::Backend },
        members,
        nested,
        tier,
        spill_below,
        nearest_site,
        private_views,
        https,
        services,
        target_zone,
        sort_auto,
        check,
    })
}

fn judge(s: &Section, pool: &PoolSpec, farms: &[(FarmSpec, Section)]) {
    if pool.publish.is_empty() {
        s.problem("publish", "no name", "one name at least");
    }
    if pool.ttl_s_min > pool.ttl_s_max {
        s.problem("ttl_min", format!("{} s", pool.ttl_s_min), format!("no more than ttl_max, {} s", pool.ttl_s_max));
    }
    match &pool.farm {
        Some(farm) if !farms.iter().any(|(spec, _)| spec.trust.name == *farm) => {
            s.problem("farm", format!("\"{farm}\""), "the name of a [[farm]]");
        }
        None if pool.members.is_empty() && pool.nested.is_empty() && !s.has("member") => {
            s.problem("", "neither members nor a farm", "[[pool.member]] sections or `farm`");
        }
        _ => {}
    }
    let named = farms.iter().any(|(spec, _)| Some(&spec.trust.name) == pool.farm.as_ref() && spec.member_zone.is_some());
    let all_named = pool.members.is_empty() && pool.nested.is_empty() && named;
    if !pool.services.is_empty() && pool.target_zone.is_none() && !all_named {
        s.problem(
            "target_zone",
            "services, and members without names of their own",
            "the name below which members get names",
        );
    }
    let portless = pool.services.iter().find(|service| service.port.is_none());
    if let Some(service) = portless.filter(|_| !pool.members.is_empty()) {
        s.problem("service", format!("{} without a port", service.name), "a port: members without heartbeats say none");
    }
    if pool.sort_auto && pool.farm.is_none() {
        s.problem("sort_share_auto", "a pool without a farm", "`farm`: only heartbeats tell of sessions");
    }
    if pool.check.is_some() && pool.members.is_empty() {
        s.warning(
            "check",
            "checks without [[pool.member]]",
            "members to check; those of a farm are judged by their heartbeats",
        );
    }
}

fn tier(s: &Section, about: &'static str) -> u16 {
    s.integer("tier", 0, 0..=15, about) as u16
}

/// One of each family at most.
fn one_of_each(s: &Section, key: &str, addresses: &[IpAddr]) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let v4: Vec<Ipv4Addr> = addresses.iter().filter_map(|a| if let IpAddr::V4(a) = a { Some(*a) } else { None }).collect();
    let v6: Vec<Ipv6Addr> = addresses.iter().filter_map(|a| if let IpAddr::V6(a) = a { Some(*a) } else { None }).collect();
    if v4.len() > 1 || v6.len() > 1 {
        s.problem(key, format!("{} IPv4 and {} IPv6 addresses", v4.len(), v6.len()), "one of either or of both");
    }
    if let Some(bad) = addresses.iter().find(|a| a.is_unspecified() || a.is_multicast()) {
        s.problem(key, bad.to_string(), "an address that clients can connect to");
    }
    (v4.first().copied(), v6.first().copied())
}

fn members(pool: &Section, places: &Places) -> (Vec<StaticMember>, Vec<NestedPool>) {
    let (mut members, mut nested) = (Vec::new(), Vec::new());
    let mut seen = Unique::default();
    for s in pool.tables("member", "A member that sends no heartbeats.") {
        let name: Option<Id> = s.parsed("name", None, LABEL, "Its name in the pool.");
        let addresses: Vec<IpAddr> = s.list(
            "addresses",
            &[],
            "an IPv4 or IPv6 address",
            "Its addresses: one of each family at most. The first is checked.",
        );
        let weight = s.float("weight", 1.0, 0.01..=1_000.0, "Its weight relative to the others.");
        let zone = s.optional_parsed("zone", LABEL, "Its failure domain: answers spread over these.");
        let private: Vec<IpAddr> = s.list(
            "private_addresses",
            &[],
            "an IPv4 or IPv6 address",
            "Its addresses for clients in the pool's `private_views`: one of each family at most.",
        );
        let tier = tier(&s, "Its tier: members of the next one are named when too few of this one are up.");
        let site: Option<Id> =
            s.optional_parsed("site", LABEL, "Its site. Otherwise that of its failure domain, or of its address.");
        let inner: Option<Id> =
            s.optional_parsed("pool", LABEL, "A pool, instead of addresses: its members belong to this one as well.");
        let site = site.and_then(|name| {
            let index = places.site(&name);
            if index.is_none() {
                s.problem("site", format!("\"{name}\""), "the name of a [[site]]");
            }
            index
        });
        let (v4, v6) = one_of_each(&s, "addresses", &addresses);
        let (private_v4, private_v6) = one_of_each(&s, "private_addresses", &private);
        if addresses.is_empty() && inner.is_none() {
            s.problem("addresses", "0 IPv4 and 0 IPv6 addresses", "one of either or of both");
        }
        let Some(name) = name else { continue };
        seen.note(&s, "name", &name);
        if let Some(pool) = inner {
            if !addresses.is_empty() || !private.is_empty() {
                s.problem("pool", "a pool and addresses", "one of them");
            }
            nested.push(NestedPool { pool, weight, tier, site });
            continue;
        }
        members.push(StaticMember { name, v4, v6, weight, zone, private_v4, private_v6, tier, site });
    }
    (members, nested)
}

fn check(s: &Section) -> Option<Arc<CheckSpec>> {
    let kind = s.choice(
        "kind",
        "tcp",
        &["tcp", "http", "https", "tls", "grpc", "agent", "exec", "node-exporter"],
        "Opens a TCP connection, or asks by GET as well; shakes hands by TLS; asks gRPC's health service, HAProxy's agent, a command, \
         or node_exporter, by whose run queue the member is weighted.",
    );
    let port = s.integer("port", 80, 1..=65_535, "The port it connects to.") as u16;
    let path = s.string("path", "/", "The path that it asks for.");
    let host = s.optional_string("host", "The `Host` header and the name in TLS; the member's address if absent.");
    let status = s.integer("expect_status", 0, 0..=599, "The status that counts as success; 0 for any from 200 to 399.");
    let interval_ms =
        s.duration_ms("interval", 2_000, 100..=3_600_000, "Time between two checks of a member, give or take a tenth.");
    let timeout_ms = s.duration_ms("timeout", 1_000, 10..=3_600_000, "How long a check may take.");
    let rise = s.integer("rise", 2, 1..=100, "Successes in a row that bring a member up.") as u32;
    let fall = s.integer("fall", 3, 1..=100, "Failures in a row that take it down.") as u32;
    let tls_verify = s.boolean("tls_verify", true, "Whether the certificate must be valid.");
    let ca_file = s.optional_string("ca_file", "Certificates to trust instead of the system's: a PEM file.");
    let service = s.string("service", "", "The service that `grpc` asks for; empty for the whole server.");
    let command: Vec<String> = s.list(
        "command",
        &[],
        "a text",
        "The program that `exec` runs, as an absolute path, and its arguments. It finds `DNSLB_ADDRESS` and `DNSLB_PORT` in its \
         environment, and says by its exit status 0 that the member is well.",
    );
    let expiry_days_min = s.optional_integer(
        "expiry_days_min",
        0..=3_650,
        "A certificate that ends in fewer days is a failure, for `tls` and `https`. Without it, the handshake alone decides.",
    );
    let expiry_days_warn = s.integer(
        "expiry_days_warn",
        14,
        0..=3_650,
        "And one that ends in fewer days is logged, once for each certificate.",
    );
    let agree = s.optional_integer(
        "agree",
        1..=33,
        "How many viewpoints, we and the `[[viewpoints.peer]]`, must say that a member is down; all that are heard, if they are fewer. \
         Without it, our own checks decide alone.",
    );
    if !s.is_present() {
        return None;
    }
    if timeout_ms > interval_ms {
        s.problem("timeout", format!("{timeout_ms} ms"), format!("no more than the interval, {interval_ms} ms"));
    }
    let plain = |text: &str| !text.is_empty() && text.len() <= 1_024 && text.bytes().all(|b| b.is_ascii_graphic());
    if !path.starts_with('/') || !plain(&path) {
        s.problem("path", format!("{path:?}"), "a path that begins with a slash, percent-encoded");
    }
    if host.as_deref().is_some_and(|host| !plain(host)) {
        s.problem("host", format!("{host:?}"), "a host name");
    }
    if (1..100).contains(&status) {
        s.problem("expect_status", status.to_string(), "0, or a status from 100 to 599");
    }
    if service.len() > 127 {
        s.problem("service", format!("{} octets", service.len()), "a name of at most 127 octets");
    }
    let program = command.first().is_some_and(|program| program.starts_with('/'));
    if kind == "exec" && (!program || command.iter().any(|word| word.contains('\0'))) {
        s.problem("command", format!("{command:?}"), "an absolute path, and arguments");
    }
    let kind = match kind {
        "http" => CheckKind::Http,
        "https" => CheckKind::Https,
        "tls" => CheckKind::Tls,
        "grpc" => CheckKind::Grpc,
        "agent" => CheckKind::Agent,
        "exec" => CheckKind::Exec,
        "node-exporter" => CheckKind::NodeExporter,
        _ => CheckKind::Tcp,
    };
    let metrics = kind == CheckKind::NodeExporter && path == "/";
    Some(Arc::new(CheckSpec {
        kind,
        port,
        path: if metrics { "/metrics".into() } else { path },
        host,
        expect_status: (status != 0).then_some(status as u16),
        interval_ms,
        timeout_ms,
        rise,
        fall,
        tls_verify,
        ca_file,
        service,
        command,
        expiry_days_min: expiry_days_min.map(|days| days as u32),
        expiry_days_warn: expiry_days_warn as u32,
        agree: agree.map(|agree| agree as u32),
    }))
}

//! Reads `hosts` and `[door]`.
//!
//! A target from here is all of a Location that a client's request does not make, so it must end its authority itself.

use super::read::integer;
use super::read_routes::{is_location, read_status};
use super::{CapsSpec, DoorSpec, Maintenance, Published};
use crate::route::RoutePolicy;
use farm_shared::config::Section;
use farm_shared::id::Id;

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
const HOSTS_MAX: usize = 64;
/// What tells servers apart in a target.
const NAMES: [&str; 4] = ["{id}", "{ip}", "{ipv4}", "{ipv6}"];

pub(super) fn check_hosts(root: &Section, hosts: &[String]) {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b".-_[:]".contains(&b);
    let good = |h: &String| {
        let name = h.strip_prefix("*.").unwrap_or(h);
        h == "*" || (!name.is_empty() && name.len() <= 253 && name.bytes().all(inner))
    };
    if let Some(bad) = hosts.iter().find(|h| !good(h)) {
        root.problem("hosts", format!("{bad:?}"), "a host name without port, \"*.SUFFIX\", or \"*\"");
    }
    if hosts.len() > HOSTS_MAX {
        root.problem("hosts", format!("{} names", hosts.len()), format!("at most {HOSTS_MAX}; \"*\" serves any"));
    }
    if hosts.is_empty() {
        root.problem("hosts", "none", "the names that people reach the front door by, or \"*\" for any");
    }
}

pub(super) fn read_door(door: &Section, hosts: &[String]) -> DoorSpec {
    let d = DoorSpec::default();
    let target = door.string(
        "target",
        &d.target,
        "Scheme and authority of a server, with one of `{id}`, `{ip}`, `{ipv4}` and `{ipv6}`, and `{port}`.",
    );
    check_target(door, &target);
    let policy = door.choice(
        "policy",
        RoutePolicy::default().label(),
        &RoutePolicy::LABELS,
        "Which server gets a new session: `weighted` by reported queue, its age and own dispatches; `least-loaded` the best of all by that, `two-choices` the better of two; `sessions` by predicted utilisation, for long sessions; `auto` that or `weighted`, by the length of sessions; `paper` by 1/queue; or `random`.",
    );
    let published = door.choice(
        "published",
        "require",
        &["require", "ignore"],
        "With `{id}` in the target: whether every dnslb must serve a server's name before it gets sessions.",
    );
    let maintenance = door.choice(
        "maintenance",
        "off",
        &["off", "new", "all"],
        "Turns new sessions away, or everybody, with a page and status 503.",
    );
    let status = read_status(door, "status", "Of redirects to servers; `auto` is 302 for GET and HEAD and 307 for others.");
    let url = door.optional_string(
        "url",
        "Scheme and authority that clients reach the door by; if not given, the first of `hosts`, by HTTPS if the door speaks TLS.",
    );
    if let Some(url) = &url {
        check_url(door, url, hosts);
    }
    DoorSpec {
        status,
        maintenance: match maintenance {
            "new" => Maintenance::New,
            "all" => Maintenance::All,
            _ => Maintenance::Off,
        },
        url,
        policy: RoutePolicy::named(policy).unwrap_or_default(),
        published: if published == "ignore" { Published::Ignore } else { Published::Require },
        cookie_max_age_s: door.duration_s(
            "cookie_max_age",
            3_600,
            1..=30 * DAY / SECOND,
            "How long an affinity cookie brings a session back.",
        ),
        url_bytes_max: integer(door, "url_bytes_max", 8_192, 64, 60_000, "A longer request target gets 414, in octets.")
            as usize,
        caps: CapsSpec::read(door),
        connections_max: integer(door, "connections_max", 10_000, 1, 1_000_000, "Connections of all threads together.")
            as usize,
        header_timeout_ms: door.duration_ms("header_timeout", 10_000, 100..=HOUR, "A request's head must come within this."),
        idle_timeout_ms: door.duration_ms("idle_timeout", 30_000, 100..=HOUR, "An idle connection is closed after this."),
        total_timeout_ms: door.duration_ms("total_timeout", 300_000, 100..=DAY, "Any connection is closed after this."),
        retry_after_s: door.duration_s("retry_after", 5, 1..=3_600, "`Retry-After` when no server takes sessions.") as u32,
        zone: door.optional_parsed::<Id>("zone", "an id, as in heartbeats", "The door's own zone: its servers get the sessions while it is not busy."),
        zone_load_max: door.float(
            "zone_load_max",
            d.zone_load_max,
            0.0..=1.0,
            "Busy share of the cores of `zone` at which half of what other zones could take goes there; nothing 0.1 below, all 0.1 above.",
        ),
        panic_share: door.float(
            "panic_share",
            d.panic_share,
            0.0..=1.0,
            "With more than this share of all servers silent (two at the least), heartbeats are doubted: silent servers get sessions still, unless the provider says that they are gone. 1 is never.",
        ),
        ramp_ms: door.duration_ms("ramp", 5_000, 0..=HOUR, "A new server's share rises to its full value over this time."),
        target,
    }
}

/// The target must be `http[s]://HOST[:PORT]` once its placeholders are filled in.
fn check_target(door: &Section, target: &str) {
    let rest = target.strip_prefix("http://").or_else(|| target.strip_prefix("https://"));
    let filled = rest.map(|r| NAMES.iter().fold(r.replace("{port}", "1"), |r, name| r.replace(name, "x")));
    let inner = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    if !filled.is_some_and(|f| f.bytes().all(inner)) {
        door.problem("target", format!("{target:?}"), "scheme and authority without a path, like \"http://{ip}:{port}\"");
    } else if NAMES.iter().map(|name| target.matches(name).count()).sum::<usize>() != 1 {
        let one = "one of {id}, {ip}, {ipv4} and {ipv6}, once: servers must differ in their authority";
        door.problem("target", format!("{target:?}"), one);
    }
}

/// The door's own address must be one that it answers to, or people sent there would be refused.
fn check_url(door: &Section, url: &str, hosts: &[String]) {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let host = rest.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(rest, |(host, _)| host);
    let listed = hosts.iter().any(|h| h == "*" || h.eq_ignore_ascii_case(host));
    if !is_location(url) || rest.contains('/') || !listed {
        door.problem(
            "url",
            format!("{url:?}"),
            "scheme and authority, with a name of `hosts`: \"https://mail.example.com\"",
        );
    }
}

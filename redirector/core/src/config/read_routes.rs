//! Reads `[[route]]`, `[cors]` and `[assign]`.
//!
//! A location from here is put before what a client sent, so nothing may pass that does not end its authority itself.

use super::{CorsSpec, RedirectStatus, RouteSpec, RouteTo};
use farm_shared::config::Section;
use farm_shared::id::Id;

const ROUTES_MAX: usize = 256;
const TEXTS_MAX: usize = 64;
const LOCATION: &str =
    "scheme and authority, perhaps with a path that does not end in \"/\", like \"https://static.example.com/v1\"";
const STATUSES: [&str; 5] = ["auto", "302", "303", "307", "308"];

/// Reads a status by its name.
pub(super) fn status(name: &str) -> RedirectStatus {
    name.parse().map_or(RedirectStatus::Auto, RedirectStatus::Fixed)
}

/// Reads all routes. `farms` are the names that they may lead to; without a name it is the first.
pub(super) fn read_routes(root: &Section, hosts: &[String], farms: &[&Id]) -> Vec<RouteSpec> {
    let tables = root.tables("route", "What requests get by host and path: the longest path of the most exact host wins.");
    if tables.len() > ROUTES_MAX {
        root.problem("route", format!("{} routes", tables.len()), format!("at most {ROUTES_MAX}"));
    }
    let routes: Vec<_> = tables.iter().filter_map(|table| read_route(table, hosts, farms)).collect();
    for (at, route) in routes.iter().enumerate() {
        let same = |r: &RouteSpec| r.host.eq_ignore_ascii_case(&route.host) && r.path == route.path;
        if routes.iter().take(at).any(same) {
            root.problem("route", format!("two for {}{}", route.host, route.path), "one for each host and path");
        }
    }
    routes
}

fn read_route(table: &Section, hosts: &[String], farms: &[&Id]) -> Option<RouteSpec> {
    let host = table.string("host", "*", "A host name, `*.suffix`, or `*` for any; the door must answer to it.");
    if table.is_present() && !is_covered(&host, hosts) {
        table.problem("host", format!("{host:?}"), "\"*\", or a name that `hosts` lets in");
    }
    let path = table.string("path", "/", "The beginning of the path, by whole segments.");
    if !is_path(&path) {
        table.problem("path", format!("{path:?}"), "a path that begins with \"/\", without query");
    }
    let to = table.choice(
        "to",
        "farm",
        &["farm", "site", "bucket", "maintenance"],
        "`farm` is a server of a farm, `site` a fixed place, `bucket` a storage service that is only read from, `maintenance` a page with status 503.",
    );
    let farm = table.optional_parsed::<Id>("farm", "a farm's name", "With `farm`: which one, if there are several.");
    let location = table.optional_string(
        "location",
        "With `site` and `bucket`: scheme and authority, and perhaps the beginning of a path; the request's path is put after it.",
    );
    let status_name = table.choice(
        "status",
        "auto",
        &["auto", "301", "302", "303", "307", "308"],
        "`auto` is 302 for GET and HEAD and 307 for others, which keep method and body.",
    );
    let query = table.choice("query", "keep", &["keep", "drop"], "Whether the query goes along.");
    let strip = table.string("strip", "", "Taken away from the beginning of the path; `path` must begin with it.");
    if !strip.is_empty() && (!is_path(&strip) || strip.ends_with('/') || !begins_with(&path, &strip)) {
        table.problem("strip", format!("{strip:?}"), "whole segments that `path` begins with, without a slash at the end");
    }
    let retry_after_s = table
        .duration_s("retry_after", 300, 1..=86_400, "With `maintenance`: `Retry-After`.")
        .min(u64::from(u32::MAX)) as u32;
    if !table.is_present() {
        return None;
    }
    if matches!(to, "site" | "bucket") && !location.as_deref().is_some_and(is_location) {
        table.problem("location", location.as_ref().map_or("nothing".to_owned(), |l| format!("{l:?}")), LOCATION);
    }
    if to == "farm" && status_name == "301" {
        table.problem("status", "301", "for a farm, a status that says nothing for ever");
    }
    let known = |name: &&Id| farms.contains(name);
    if let Some(name) = farm.as_ref().filter(|name| !known(name)) {
        let all: Vec<_> = farms.iter().map(|f| f.as_str()).collect();
        table.problem("farm", format!("{:?}", name.as_str()), format!("one of {}", all.join(", ")));
    }
    let to = match to {
        "site" => RouteTo::Site(location.unwrap_or_default()),
        "bucket" => RouteTo::Bucket(location.unwrap_or_default()),
        "maintenance" => RouteTo::Maintenance { retry_after_s },
        _ => RouteTo::Farm(farm.or_else(|| farms.first().copied().cloned())?),
    };
    Some(RouteSpec { host, path, to, status: status(status_name), drop_query: query == "drop", strip })
}

/// Reads a status for redirects to servers.
pub(super) fn read_status(section: &Section, key: &str, about: &'static str) -> RedirectStatus {
    status(section.choice(key, "auto", &STATUSES, about))
}

/// Reads `[cors]`.
pub(super) fn read_cors(cors: &Section) -> CorsSpec {
    let origins: Vec<String> = cors.list(
        "origins",
        &[],
        "an origin",
        "Origins whose pages may use what is behind the door: `https://app.example.com`, `https://*.example.com` or `*`; none is none.",
    );
    for origin in origins.iter().filter(|o| !is_origin(o)) {
        cors.problem("origins", format!("{origin:?}"), "scheme and authority, like \"https://app.example.com\", or \"*\"");
    }
    let methods: Vec<String> =
        cors.list("methods", &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], "a method", "Methods that they may use.");
    let headers: Vec<String> = cors.list(
        "headers",
        &["accept", "authorization", "content-type", "x-requested-with"],
        "a header field's name",
        "Header fields that they may send.",
    );
    for (key, names) in [("methods", &methods), ("headers", &headers)] {
        if let Some(bad) = names.iter().find(|n| n.is_empty() || !n.bytes().all(is_token)) {
            cors.problem(key, format!("{bad:?}"), "a token (RFC 9110 5.6.2)");
        }
    }
    for (key, len) in [("origins", origins.len()), ("methods", methods.len()), ("headers", headers.len())] {
        if len > TEXTS_MAX {
            cors.problem(key, format!("{len} of them"), format!("at most {TEXTS_MAX}"));
        }
    }
    let credentials = cors.boolean("credentials", false, "Whether cookies may go along.");
    if credentials && origins.iter().any(|o| o == "*") {
        cors.problem("credentials", "true with origin \"*\"", "origins by name, since any page could act for its visitor");
    }
    let max_age_s = cors.duration_s("max_age", 600, 0..=86_400, "A browser may remember what it was allowed for so long.");
    CorsSpec { origins, methods, headers, credentials, max_age_s }
}

/// Reads `[assign]`: the path, if there is one.
pub(super) fn read_assign(assign: &Section) -> Option<String> {
    let path = assign.optional_string(
        "path",
        "Where clients that follow no redirect are told a server as JSON, like \"/assign\"; `/.well-known/farm/assign` always does.",
    )?;
    if !is_path(&path) || path.len() < 2 {
        assign.problem("path", format!("{path:?}"), "a path like \"/assign\"");
    }
    Some(path)
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.len() <= 1_024 && path.bytes().all(|b| b.is_ascii_graphic() && !b"?#\\".contains(&b))
}

fn begins_with(path: &str, strip: &str) -> bool {
    path.strip_prefix(strip).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Scheme and authority and what may follow; also of the door's own address.
pub(super) fn is_location(location: &str) -> bool {
    let rest = location.strip_prefix("https://").or_else(|| location.strip_prefix("http://"));
    let Some(rest) = rest else { return false };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    is_authority(authority) && (path.is_empty() || (is_path(path) && !path.ends_with('/')))
}

fn is_authority(authority: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    !authority.is_empty() && authority.len() <= 255 && authority.bytes().all(inner)
}

fn is_origin(origin: &str) -> bool {
    let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    origin == "*" || rest.is_some_and(|rest| is_authority(rest.strip_prefix("*.").unwrap_or(rest)))
}

/// Whether the door answers to all that a route's host stands for.
fn is_covered(host: &str, hosts: &[String]) -> bool {
    let under = |h: &String| h.strip_prefix('*').is_some_and(|suffix| ends_with(host, suffix));
    host == "*" || hosts.iter().any(|h| h == "*" || h.eq_ignore_ascii_case(host) || under(h))
}

fn ends_with(host: &str, suffix: &str) -> bool {
    let at = host.len().checked_sub(suffix.len());
    at.and_then(|at| host.get(at..)).is_some_and(|tail| tail.eq_ignore_ascii_case(suffix))
}

//! The host names that the door answers to, and those that it must never answer with a redirect to a server.
//!
//! A wildcard of the farm's zone may point at the doors, so that a link to a backend that is gone still leads somewhere. Such a
//! request must never be redirected to a name under that wildcard: it could come straight back.

use crate::config::Spec;

/// The allow-list and the farm's own names.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    any: bool,
    names: Vec<Box<str>>,
    /// `.example.com` for `*.example.com`.
    suffixes: Vec<Box<str>>,
    /// What stands before and after `{id}` in the host of each farm's target, if it does.
    farms: Vec<(Box<str>, Box<str>)>,
}

/// What a host is to the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostClass<'a> {
    /// Served; its place among the names, if it is one of them.
    Served(Option<usize>),
    /// A backend's own name, and what stands for its id there.
    Farm(&'a str),
    Foreign,
}

impl Hosts {
    /// From the configuration.
    pub fn new(spec: &Spec) -> Self {
        let plain = |h: &&String| !h.starts_with('*');
        let names = spec.hosts.iter().filter(plain).map(|h| h.trim_end_matches('.').into()).collect();
        let suffix =
            |h: &String| h.strip_prefix('*').filter(|rest| !rest.is_empty()).map(|rest| rest.trim_end_matches('.').into());
        let suffixes = spec.hosts.iter().filter_map(suffix).collect();
        let around = |target: &String| {
            let (before, after) = split_port(authority_of(target)).0.split_once("{id}")?;
            Some((before.into(), after.trim_end_matches('.').into()))
        };
        let targets = std::iter::once(&spec.door.target).chain(spec.others.iter().map(|o| &o.target));
        let farms = targets.filter_map(around).collect();
        Self { any: spec.hosts.iter().any(|h| h == "*"), names, suffixes, farms }
    }

    /// The names that are listed one by one.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// What a host without port is.
    pub(super) fn classify<'a>(&self, host: &'a str) -> HostClass<'a> {
        let listed = self.names.iter().position(|name| name.eq_ignore_ascii_case(host));
        if listed.is_some() {
            return HostClass::Served(listed);
        }
        if let Some(id) = self.farms.iter().find_map(|(before, after)| between(host, before, after)) {
            return HostClass::Farm(id);
        }
        let under = || self.suffixes.iter().any(|suffix| is_under(host, suffix));
        if (self.any || under()) && is_host(host) {
            return HostClass::Served(None);
        }
        HostClass::Foreign
    }
}

/// What follows `://` up to the path.
pub(super) fn authority_of(prefix: &str) -> &str {
    let rest = prefix.split_once("://").map_or(prefix, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// The host of an authority, without a dot at its end.
pub(super) fn bare(authority: &str) -> &str {
    let host = split_port(authority).0;
    host.strip_suffix('.').unwrap_or(host)
}

/// Host and port of an authority; an IPv6 address keeps its brackets.
pub(super) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') && port.bytes().all(|b| b.is_ascii_digit()) => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Whether a location's authority and a request's are the same place.
pub(super) fn is_same(location_prefix: &str, requested: &str) -> bool {
    let ours = split_port(authority_of(location_prefix));
    let theirs = split_port(requested);
    let default = if location_prefix.starts_with("https:") { "443" } else { "80" };
    let port = |p: Option<&str>| p.filter(|p| !p.is_empty()).is_none_or(|p| p == default);
    let same_port = ours.1 == theirs.1 || (port(ours.1) && port(theirs.1));
    same_port && ours.0.eq_ignore_ascii_case(theirs.0.strip_suffix('.').unwrap_or(theirs.0))
}

/// Whether a host ends with `.example.com`, and has something before it.
pub(super) fn is_under(host: &str, suffix: &str) -> bool {
    let at = host.len().checked_sub(suffix.len()).filter(|at| *at > 0);
    at.and_then(|at| host.get(at..)).is_some_and(|tail| tail.eq_ignore_ascii_case(suffix))
}

fn between<'a>(host: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let middle_len = host.len().checked_sub(before.len() + after.len()).filter(|n| *n > 0)?;
    let (head, rest) = host.split_at_checked(before.len())?;
    let (middle, tail) = rest.split_at_checked(middle_len)?;
    let fits = head.eq_ignore_ascii_case(before) && tail.eq_ignore_ascii_case(after) && !middle.contains('.');
    fits.then_some(middle)
}

fn is_host(host: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    !host.is_empty() && host.len() <= 255 && host.bytes().all(inner)
}

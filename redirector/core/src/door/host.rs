//! The host names that the door answers to, and those that it must never answer with a redirect.
//!
//! A wildcard of the farm's zone may point at the doors, so that a link to a backend that is gone still leads somewhere. Such a
//! request must never be redirected to a name under that wildcard: it could come straight back.

use crate::config::Spec;

/// The allow-list and the farm's own names.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    any: bool,
    names: Vec<Box<str>>,
    /// What stands before and after `{id}` in the host of the target, if it does.
    farm: Option<(Box<str>, Box<str>)>,
}

/// What a host is to the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostClass {
    Served,
    /// A backend's own name.
    Farm,
    Foreign,
}

impl Hosts {
    /// From the configuration.
    pub fn new(spec: &Spec) -> Self {
        let names = spec.hosts.iter().filter(|h| *h != "*").map(|h| h.trim_end_matches('.').into()).collect();
        let authority = authority_of(&spec.door.target);
        let host = split_port(authority).0;
        let farm = host.split_once("{id}").map(|(before, after)| (before.into(), after.trim_end_matches('.').into()));
        Self { any: spec.hosts.iter().any(|h| h == "*"), names, farm }
    }

    /// The first name of the list.
    pub fn first(&self) -> Option<&str> {
        self.names.first().map(AsRef::as_ref)
    }

    pub(super) fn classify(&self, authority: &str) -> HostClass {
        let host = split_port(authority).0;
        let host = host.strip_suffix('.').unwrap_or(host);
        if self.names.iter().any(|name| name.eq_ignore_ascii_case(host)) {
            return HostClass::Served;
        }
        if self.farm.as_ref().is_some_and(|(before, after)| is_between(host, before, after)) {
            return HostClass::Farm;
        }
        if self.any && is_host(host) { HostClass::Served } else { HostClass::Foreign }
    }
}

/// What follows `://` up to the path.
pub(super) fn authority_of(prefix: &str) -> &str {
    let rest = prefix.split_once("://").map_or(prefix, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// Host and port of an authority; an IPv6 address keeps its brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
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

fn is_between(host: &str, before: &str, after: &str) -> bool {
    let Some(middle_len) = host.len().checked_sub(before.len() + after.len()).filter(|n| *n > 0) else { return false };
    let Some((head, rest)) = host.split_at_checked(before.len()) else { return false };
    let Some((middle, tail)) = rest.split_at_checked(middle_len) else { return false };
    head.eq_ignore_ascii_case(before) && tail.eq_ignore_ascii_case(after) && !middle.contains('.')
}

fn is_host(host: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    !host.is_empty() && host.len() <= 255 && host.bytes().all(inner)
}

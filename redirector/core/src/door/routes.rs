//! Which route a request takes, by its host and its path.
//!
//! The most exact host that has a route for the path wins: a name before `*.suffix` before any; among its routes the longest path.
//! Nothing here may allocate once it is built, and no route may put into a Location's authority what a client sent.

use super::host::is_under;
use crate::config::{RedirectStatus, RouteSpec, RouteTo, Spec};
use std::cmp::Ordering;

/// All routes of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// In lower case, ordered.
    exact: Vec<(Box<str>, Vec<Route>)>,
    /// `.example.com`, the longest first.
    suffixes: Vec<(Box<str>, Vec<Route>)>,
    any: Vec<Route>,
}

/// One route.
#[derive(Clone, Debug)]
pub(super) struct Route {
    path: Box<str>,
    pub(super) to: To,
    pub(super) status: RedirectStatus,
    drop_query: bool,
    strip: Box<str>,
}

/// Where it leads.
#[derive(Clone, Debug)]
pub(super) enum To {
    Farm(u16),
    /// A place that the configuration names.
    Away {
        location: Box<str>,
        /// The location has a path, out of which the request's must not climb.
        has_path: bool,
        /// It is only read from.
        read_only: bool,
    },
    Maintenance {
        retry_after_s: u32,
    },
}

impl Routes {
    /// From a checked configuration, whose farms are `farms`, in their order.
    pub(super) fn new(spec: &Spec, farms: &[&str]) -> Self {
        let mut routes = Self::default();
        for route in &spec.routes {
            let Some(built) = Route::new(route, farms) else { continue };
            let host = route.host.trim_end_matches('.').to_ascii_lowercase();
            match host.strip_prefix('*') {
                Some("") => routes.any.push(built),
                Some(suffix) => push(&mut routes.suffixes, suffix, built),
                None => push(&mut routes.exact, &host, built),
            }
        }
        routes.exact.sort_by(|(a, _), (b, _)| a.cmp(b));
        routes.suffixes.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        let lists = routes.exact.iter_mut().chain(&mut routes.suffixes).map(|(_, list)| list);
        lists.chain([&mut routes.any]).for_each(|list| list.sort_by_key(|r| std::cmp::Reverse(r.path.len())));
        routes
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.suffixes.is_empty() && self.any.is_empty()
    }

    /// The route for a host without port and a path with its query.
    pub(super) fn find(&self, host: &str, path_and_query: &str) -> Option<&Route> {
        let path = path_and_query.split('?').next().unwrap_or(path_and_query);
        // `http://name?query` has no path, which is the same as the shortest (RFC 9110 4.2.3).
        let path = if path.is_empty() { "/" } else { path };
        let longest = |list: &'_ [Route]| list.iter().position(|r| r.covers(path));
        let exact = self.exact.binary_search_by(|(name, _)| cmp_lower(name, host)).ok().and_then(|at| self.exact.get(at));
        let suffixes = self.suffixes.iter().filter(|(suffix, _)| is_under(host, suffix));
        let lists = exact.into_iter().chain(suffixes).map(|(_, list)| list.as_slice()).chain([self.any.as_slice()]);
        lists.into_iter().find_map(|list| list.get(longest(list)?))
    }

    /// What locations begin with that are not of a farm.
    pub fn locations(&self) -> impl Iterator<Item = &str> {
        let lists = self.exact.iter().chain(&self.suffixes).map(|(_, list)| list).chain([&self.any]);
        lists.flatten().filter_map(|r| if let To::Away { location, .. } = &r.to { Some(&**location) } else { None })
    }
}

fn push(lists: &mut Vec<(Box<str>, Vec<Route>)>, host: &str, route: Route) {
    match lists.iter_mut().find(|(name, _)| **name == *host) {
        Some((_, list)) => list.push(route),
        None => lists.push((host.into(), vec![route])),
    }
}

/// Orders a name in lower case and one as received.
fn cmp_lower(name: &str, host: &str) -> Ordering {
    name.bytes().cmp(host.bytes().map(|b| b.to_ascii_lowercase()))
}

impl Route {
    fn new(spec: &RouteSpec, farms: &[&str]) -> Option<Self> {
        let away = |location: &str, read_only| {
            let has_path = location.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
            To::Away { location: location.into(), has_path, read_only }
        };
        let to = match &spec.to {
            RouteTo::Farm(name) => To::Farm(farms.iter().position(|f| *f == name.as_str())? as u16),
            RouteTo::Site(location) => away(location, false),
            RouteTo::Bucket(location) => away(location, true),
            RouteTo::Maintenance { retry_after_s } => To::Maintenance { retry_after_s: *retry_after_s },
        };
        let (path, strip) = (spec.path.as_str().into(), spec.strip.as_str().into());
        Some(Self { path, to, status: spec.status, drop_query: spec.drop_query, strip })
    }

    /// By whole segments: `/a` covers `/a` and `/a/b`, not `/ab`.
    fn covers(&self, path: &str) -> bool {
        let ends = self.path.ends_with('/');
        path.strip_prefix(&*self.path).is_some_and(|rest| rest.is_empty() || ends || rest.starts_with('/'))
    }

    /// What of a path and its query goes into the Location; empty, or beginning with `/` or `?`.
    pub(super) fn rest<'a>(&self, path_and_query: &'a str) -> &'a str {
        let ends = |rest: &&str| rest.is_empty() || rest.starts_with(['/', '?']);
        let rest = path_and_query.strip_prefix(&*self.strip).filter(ends).unwrap_or(path_and_query);
        if self.drop_query { rest.split('?').next().unwrap_or(rest) } else { rest }
    }
}

/// Whether a path climbs: it has a segment `.` or `..`, as browsers read them (WHATWG URL 4.4: percent-encoded ones too, and a
/// backslash is a slash).
pub(super) fn climbs(path_and_query: &str) -> bool {
    let path = path_and_query.split('?').next().unwrap_or(path_and_query);
    path.split(['/', '\\']).any(is_dots)
}

fn is_dots(segment: &str) -> bool {
    let (mut rest, mut dots) = (segment, 0);
    while !rest.is_empty() {
        let escaped = rest.get(..3).is_some_and(|head| head.eq_ignore_ascii_case("%2e"));
        let len = if escaped { 3 } else { usize::from(rest.starts_with('.')) };
        if len == 0 {
            return false;
        }
        dots += 1;
        rest = rest.get(len..).unwrap_or_default();
    }
    matches!(dots, 1 | 2)
}

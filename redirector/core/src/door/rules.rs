//! What the configuration says about requests, in the form that a decision can use at once.
//!
//! Nothing here may depend on a farm's state; that stands in its snapshot.

use super::cors::Cors;
use super::host::{Hosts, authority_of, split_port};
use super::routes::Routes;
use crate::config::{Maintenance, RedirectStatus, Spec};
use crate::limit::Limit;
use crate::room::Pages;
use std::sync::Arc;

/// The rules of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The names that this door answers to.
    pub hosts: Hosts,
    /// A request target may be this long, in octets.
    pub url_bytes_max: usize,
    /// What one source may ask, if there is a limit.
    pub limit: Option<Limit>,
    /// What requests get by host and path; without a route they go to the first farm.
    pub routes: Routes,
    /// Of redirects to servers, where no route says another.
    pub status: RedirectStatus,
    /// Who is turned away.
    pub maintenance: Maintenance,
    /// Scheme and authority that clients reach the door by; none if any host is served and none is named.
    pub url: Option<Box<str>>,
    /// HTTPS is required: `https://NAME[:PORT]` of each of [`Hosts::names`], in their order.
    pub https: Option<Box<[Box<str>]>>,
    /// The value of `Strict-Transport-Security` (RFC 6797 6.1), to be sent over TLS only.
    pub hsts: Option<Box<str>>,
    /// Pages of other origins.
    pub cors: Option<Cors>,
    /// Where clients ask that follow no redirect, beside the well-known place.
    pub assign: Option<Box<str>>,
    /// What those see who wait.
    pub pages: Arc<Pages>,
}

/// What HTTPS means for requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Https {
    /// Plain requests are sent to it.
    pub(super) redirect_http: bool,
    /// How long browsers may come by HTTPS alone, in seconds.
    pub(super) hsts_s: Option<u64>,
}

impl Rules {
    /// From a checked configuration.
    pub fn new(spec: &Spec) -> Self {
        let speaks_tls = !spec.listeners.tls.is_empty() || !spec.listeners.http3.is_empty();
        let https = Https { redirect_http: spec.tls.redirect_http, hsts_s: spec.tls.hsts_s };
        Self::with(spec, speaks_tls.then_some(https))
    }

    pub(super) fn with(spec: &Spec, https: Option<Https>) -> Self {
        let hosts = Hosts::new(spec);
        let door = &spec.door;
        let scheme = if https.is_some() { "https" } else { "http" };
        let first = || hosts.names().first().map(|name| format!("{scheme}://{name}").into());
        let url: Option<Box<str>> = door.url.as_deref().map(Into::into).or_else(first);
        let port = url.as_deref().filter(|u| u.starts_with("https:")).and_then(|u| split_port(authority_of(u)).1);
        let port = port.map(|p| format!(":{p}")).unwrap_or_default();
        let redirects = https.is_some_and(|https| https.redirect_http);
        Self {
            url_bytes_max: door.url_bytes_max,
            limit: Limit::new(&spec.limit),
            routes: Routes::new(spec, &spec.farm_names()),
            status: door.status,
            maintenance: door.maintenance,
            url,
            https: redirects.then(|| hosts.names().iter().map(|name| format!("https://{name}{port}").into()).collect()),
            hsts: https.and_then(|https| https.hsts_s).map(|s| format!("max-age={s}").into()),
            cors: Cors::new(&spec.cors),
            assign: spec.assign.as_deref().map(Into::into),
            hosts,
            pages: Arc::clone(&spec.room.pages),
        }
    }

    /// The authority to send people to who came by a backend's own name; none if any host is served.
    pub fn front_host(&self) -> Option<&str> {
        self.url.as_deref().map(authority_of)
    }
}

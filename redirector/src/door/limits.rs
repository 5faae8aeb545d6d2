//! What a connection or a source may take, and whom it may speak for. A reload replaces it whole; connections keep what they began with.

use farm_shared::prefix::Prefix;
use redirector_core::config::Spec;
use std::net::IpAddr;

/// What a connection may take.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Connections of all workers together.
    pub connections_max: usize,
    /// Connections of one source.
    pub connections_per_source_max: usize,
    /// Requests of one source a second, and how many at once; 0 for as many as it likes.
    pub requests_per_s: f64,
    /// See `requests_per_s`.
    pub requests_burst: u32,
    /// Octets of a request's target.
    pub url_bytes_max: usize,
    /// Octets of a request's head beside its target.
    pub header_bytes_max: usize,
    /// Fields of a request.
    pub header_fields_max: usize,
    /// Requests at once on one HTTP/2 or HTTP/3 connection.
    pub streams_max: u32,
    /// Until the first request, in milliseconds; before it, until the end of the handshake.
    pub header_timeout_ms: u64,
    /// From one request to the end of the next one's head, in milliseconds.
    pub idle_timeout_ms: u64,
    /// The whole connection, in milliseconds.
    pub total_timeout_ms: u64,
    /// Proxies that send the PROXY protocol.
    pub proxies: Box<[Prefix]>,
}

impl From<&Spec> for Limits {
    fn from(spec: &Spec) -> Self {
        let door = &spec.door;
        let per_source = door.caps.connections_per_source_max;
        Self {
            connections_max: door.connections_max,
            connections_per_source_max: if per_source == 0 { door.connections_max } else { per_source },
            requests_per_s: spec.limit.requests_per_s,
            requests_burst: spec.limit.burst,
            url_bytes_max: door.url_bytes_max,
            header_bytes_max: door.caps.header_bytes_max,
            header_fields_max: door.caps.header_fields_max,
            streams_max: door.caps.streams_max,
            header_timeout_ms: door.header_timeout_ms,
            idle_timeout_ms: door.idle_timeout_ms,
            total_timeout_ms: door.total_timeout_ms,
            proxies: spec.listeners.proxies.clone().into(),
        }
    }
}

impl Limits {
    /// Whether an address is a proxy, which must say whom it speaks for.
    pub(super) fn is_proxy(&self, peer: IpAddr) -> bool {
        !self.proxies.is_empty() && self.proxies.iter().any(|prefix| prefix.contains(peer.to_canonical()))
    }
}

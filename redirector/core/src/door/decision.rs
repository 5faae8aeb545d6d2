//! What a request can get.
//!
//! A decision borrows from the request and from the published picture; it must never own anything.

/// What a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// To a server of a farm. `Location` is `location_prefix` followed by `path_and_query`. The shell counts it in its counter of
    /// `farm` and `slot` unless `returning`.
    Redirect {
        /// 302 for GET and HEAD, 307 for others, which must be repeated with their body (RFC 9110 15.4).
        status: u16,
        /// The farm, by its place in [`super::Front::farms`].
        farm: u16,
        /// The server.
        slot: u32,
        /// Scheme and authority, from the registry only.
        location_prefix: &'a str,
        /// From the request, byte for byte.
        path_and_query: &'a str,
        /// Send [`super::Snapshot::set_cookie`] for `slot`.
        set_cookie: bool,
        /// A session that was here before: not a new one.
        returning: bool,
    },
    /// To somewhere that the configuration names. `Location` is `location_prefix` followed by `path_and_query`.
    Moved {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// Scheme and authority, and perhaps the beginning of a path; from the configuration only.
        location_prefix: &'a str,
        /// From the request, or a part of it.
        path_and_query: &'a str,
    },
    /// No server takes new sessions: 503.
    Wait(Wait),
    /// Closed by the operator: 503.
    Maintenance {
        /// For `Retry-After`, in seconds.
        retry_after_s: u32,
    },
    /// The answer to a certificate authority's question (RFC 8555 8.3): 200 with this text.
    Challenge {
        /// The key authorization.
        body: &'a str,
    },
    /// Too many requests of one source: 429.
    Limited {
        /// For `Retry-After`, in seconds.
        retry_after_s: u32,
    },
    /// Refused.
    Reject {
        /// 400, 405, 414 or 421.
        status: u16,
        /// The label of the metric that counts it, one of [`REJECT_REASONS`].
        reason: &'static str,
    },
}

/// A session that has to wait for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The farm it waits for, by its place in [`super::Front::farms`].
    pub farm: u16,
    /// For `Retry-After`, in seconds.
    pub retry_after_s: u32,
}

/// All reasons of [`Decision::Reject`], for metrics that start at zero and for the documentation.
pub const REJECT_REASONS: [&str; 8] =
    ["method", "target", "target_length", "host_missing", "host", "host_loop", "head_length", "syntax"];

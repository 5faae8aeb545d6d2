//! What a request can get.
//!
//! A decision borrows from the request and from the published picture; it must never own anything.

use crate::room;

/// What a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// To a server of a farm. `Location` is `location_prefix` followed by `path_and_query`. The shell counts it in its counter of
    /// `farm` and `slot` unless `returning`.
    Redirect {
        /// By default 302 for GET and HEAD, 307 for others, which must be repeated with their body (RFC 9110 15.4); else one of 302,
        /// 303, 307 and 308.
        status: u16,
        /// The farm, by its place in [`super::Front::farms`].
        farm: u16,
        /// The server.
        slot: u32,
        /// Scheme and authority, from the registry only.
        location_prefix: &'a str,
        /// From the request, byte for byte; it begins with `/` or `?`.
        path_and_query: &'a str,
        /// Send [`super::Snapshot::set_cookie`] for `slot`.
        set_cookie: bool,
        /// A session that was here before: not a new one.
        returning: bool,
        /// With 1 or more, it came by the re-entry address, so many times of late: send [`super::CookieKeys::set_mark`] too.
        reentries: u8,
        /// The visitor showed a ticket of the waiting room, which is used up now: have him forget it.
        called: bool,
    },
    /// To somewhere that the configuration names. `Location` is `location_prefix` followed by `path_and_query`.
    Moved {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// Scheme and authority, and perhaps the beginning of a path; from the configuration only.
        location_prefix: &'a str,
        /// From the request, or a part of it; it is empty, or begins with `/` or `?`.
        path_and_query: &'a str,
    },
    /// From a server's own name, which led here, to the re-entry address: `Location` is `front`, [`super::REENTER_PREFIX`], `from`,
    /// [`super::REENTER_TO`] and `path_and_query`.
    Home {
        /// 302 or 307.
        status: u16,
        /// Scheme and authority of the front door, from the configuration.
        front: &'a str,
        /// The server whose name it was: letters, digits and hyphens.
        from: &'a str,
        /// From the request, byte for byte.
        path_and_query: &'a str,
    },
    /// A server's name and address as JSON, for clients that follow no redirect. It counts and sets cookies as a redirect does.
    Assign {
        /// The farm, by its place in [`super::Front::farms`].
        farm: u16,
        /// The server.
        slot: u32,
        /// A session that was here before: not a new one.
        returning: bool,
    },
    /// The answer to a CORS preflight (the Fetch standard, 3.2.2): 204, and what [`super::Rules::cors`] allows.
    Preflight,
    /// A client that follows no redirect: WebSocket, or gRPC. It is told where to ask.
    Unfollowable {
        /// gRPC, which has a form of its own for errors.
        grpc: bool,
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
        /// 400, 404, 405, 414, 421 or 503.
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
    /// What he is told.
    pub told: room::Wait,
}

/// All reasons of [`Decision::Reject`], for metrics that start at zero and for the documentation.
pub const REJECT_REASONS: [&str; 10] = [
    "method",
    "target",
    "target_length",
    "host_missing",
    "host",
    "host_loop",
    "read_only",
    "not_found",
    "head_length",
    "syntax",
];

//! The front door: what one request gets.
//!
//! [`decide`] runs once per request on every worker; it must never allocate, lock or log, and it must never build a Location whose
//! authority came from the request.

mod cookie;
mod decide;
mod host;
mod snapshot;
mod target;

pub use cookie::{COOKIE_NAME, CookieKeys};
pub use decide::decide;
pub use host::Hosts;
pub use snapshot::{Server, Snapshot};

#[cfg(test)]
mod tests;

/// One request, as received.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method's token.
    pub method: &'a str,
    /// The request target as received (RFC 9112 3.2): origin form, or absolute form, of which only path and query are used.
    pub target: &'a str,
    /// The `Host` field, or `:authority`.
    pub host: Option<&'a str>,
    /// The values of all `Cookie` fields.
    pub cookies: &'a [&'a str],
}

/// What a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// `Location` is `location_prefix` followed by `path_and_query`. The shell counts it in its counter of `slot` unless `returning`.
    Redirect {
        /// 302 for GET and HEAD, 307 for others, which must be repeated with their body (RFC 9110 15.4).
        status: u16,
        /// The backend.
        slot: u32,
        /// Scheme and authority, from the registry only.
        location_prefix: &'a str,
        /// From the request, byte for byte.
        path_and_query: &'a str,
        /// Send [`Snapshot::set_cookie`] for `slot`.
        set_cookie: bool,
        /// A session that was here before: not a new one.
        returning: bool,
    },
    /// No backend takes new sessions: 503.
    Wait {
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

/// All reasons of [`Decision::Reject`], for metrics that start at zero and for the documentation.
pub const REJECT_REASONS: [&str; 6] = ["method", "target", "target_length", "host_missing", "host", "host_loop"];

/// New sessions dispatched by this door so far, by slot.
///
/// The counters only rise (and may wrap); nobody ever resets one, so there is no race with the workers that add to them. A
/// heartbeat brings the count at its arrival to the control loop ([`crate::farm::Event::Heartbeat`]), the next snapshot carries it
/// as [`Server::dispatch_base`], and the difference is what this door sent since.
pub trait Dispatched {
    /// The counter of a slot; slots are below [`crate::farm::SLOTS_MAX`].
    fn total(&self, slot: u32) -> u32;
}

/// Nothing was dispatched: for tests and for the first snapshot.
impl Dispatched for () {
    fn total(&self, _slot: u32) -> u32 {
        0
    }
}

impl Dispatched for [std::sync::atomic::AtomicU32] {
    fn total(&self, slot: u32) -> u32 {
        self.get(slot as usize).map_or(0, |n| n.load(std::sync::atomic::Ordering::Relaxed))
    }
}

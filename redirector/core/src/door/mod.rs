//! The front door: what one request gets.
//!
//! [`decide`] runs once per request on every worker; it must never allocate, lock or log, and it must never build a Location whose
//! authority came from the request.

mod cookie;
mod cors;
mod decide;
mod decision;
mod front;
pub mod head;
mod host;
pub mod proxy_protocol;
mod reentry;
mod request;
mod routes;
mod rules;
mod snapshot;
mod target;

pub(crate) use cookie::unquoted;
pub use cookie::{COOKIE_NAME, CookieKeys};
pub use cors::Cors;
pub use decide::decide;
pub use decision::{Decision, REJECT_REASONS, Wait};
pub use front::{Challenges, Dispatched, Front, Pickers};
pub use host::Hosts;
pub use reentry::{ASSIGN_PATH, HOPS_MAX, REENTER_PREFIX, REENTER_TO};
pub use request::{Fields, Request};
pub use routes::Routes;
pub use rules::Rules;
pub use snapshot::{Server, Snapshot};

#[cfg(test)]
mod route_tests;
#[cfg(test)]
mod tests;

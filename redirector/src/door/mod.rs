//! The front door's sockets: N threads, each with its own runtime and its own listening sockets, sharing one snapshot.
//!
//! What a request gets is decided by `redirector_core::door::decide`; this module must never decide it, and never lock, log or wait
//! for anything on the way.

mod answer;
mod assign;
mod connection;
mod cookies;
mod date;
mod fast;
#[cfg(feature = "http3")]
mod http3;
mod limits;
mod meter;
mod pages;
mod prefix;
mod proxied;
mod race;
mod sources;
mod table;
mod tally;
mod waiting;
mod worker;

pub use answer::{Answer, Desk, Origin};
pub use connection::ALPN;
#[cfg(feature = "http3")]
pub use http3::ALPN_HTTP3;
pub use limits::Limits;
pub(crate) use pages::escape;
pub use tally::{Dispatches, OTHERS, REDIRECT_STATUSES, Tally, TallySum};
pub use worker::{Door, Listening, Workers};

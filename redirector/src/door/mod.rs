//! The front door's sockets: N threads, each with its own runtime and its own listening sockets, sharing one snapshot.
//!
//! What a request gets is decided by `redirector_core::door::decide`; this module must never decide it, and never lock, log or wait
//! for anything on the way.

mod answer;
mod cookies;
mod pages;
mod race;
mod tally;
mod worker;

pub use answer::{Answer, Desk, Origin};
pub(crate) use pages::escape;
pub use tally::{Dispatches, Tally, TallySum};
pub use worker::{Door, Limits, Workers};

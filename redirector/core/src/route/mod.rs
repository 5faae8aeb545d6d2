//! Which backend gets the next new session, by reports that are already old (DESIGN 4.3).
//!
//! A [`Table`] is built with each snapshot, from [`Candidate`]s, and each worker draws from it with a [`Picker`] of its own; a draw
//! costs O(log n), and must never allocate.

mod peaks;
mod picker;
mod policy;
mod speed;
mod sums;
mod table;

pub use picker::Picker;
pub use policy::RoutePolicy;
pub use speed::{SpeedMeter, Speeds};
pub use table::{Candidate, Table};

#[cfg(test)]
mod sim;

/// New sessions of one farm that this door dispatched so far, by slot.
///
/// The counters only rise (and may wrap); nobody ever resets one, so there is no race with the workers that add to them. A
/// heartbeat brings the count at its arrival to the control loop ([`crate::farm::Event::Heartbeat`]), the next snapshot carries it
/// as [`crate::door::Server::dispatch_base`], and the difference is what this door sent since.
pub trait FarmDispatched {
    /// The counter of a slot; slots are below [`crate::farm::SLOTS_MAX`].
    fn total(&self, slot: u32) -> u32;
}

/// Nothing was dispatched.
impl FarmDispatched for () {
    fn total(&self, _slot: u32) -> u32 {
        0
    }
}

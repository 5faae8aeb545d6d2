//! Zone transfers, both ways (RFC 5936, RFC 1995), and what leads to them: notifications (RFC 1996) and the timers of secondaries.
//!
//! Pure: messages come in and go out as octets, times and draws are arguments. Nothing that a peer sends is put in force before the
//! whole transfer is there and holds.

mod incoming;
mod outgoing;
mod rules;

pub use incoming::{BadTransfer, Incoming, Limits, Outcome, Progress};
pub use outgoing::{Packer, TooLong, Version, Wanted, changes, choose, wanted, whole};
pub use rules::{Grant, is_granted};

#[cfg(test)]
mod tests;

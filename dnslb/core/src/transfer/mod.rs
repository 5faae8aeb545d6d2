//! Zone transfers, both ways (RFC 5936, RFC 1995), and what leads to them: notifications (RFC 1996) and the timers of secondaries.
//!
//! Pure: messages come in and go out as octets, times and draws are arguments. Nothing that a peer sends is put in force before the
//! whole transfer is there and holds.

pub mod catalog;
mod incoming;
mod notify;
mod outgoing;
mod rules;
mod secondary;

pub use incoming::{BadTransfer, Fetched, Incoming, Limits, Outcome, Progress};
pub use notify::{Notifier, NotifyEffect, NotifyEvent};
pub use outgoing::{OPT, Packer, TooLong, Version, Wanted, changes, choose, edns_payload, wanted, whole};
pub use rules::{Grant, is_granted};
pub use secondary::{RUNNING_MAX, RefreshEffect, RefreshEvent, Refresher, Secondary, is_too_old};

#[cfg(test)]
mod tests;

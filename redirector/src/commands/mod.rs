//! Commands that are more than one question to the redirector. Each reads its options whole before it does anything.
//!
//! They must never do anything that the daemon does by other code than the daemon's.

pub(crate) mod chaos;
pub(crate) mod farm;
pub(crate) mod look;
pub(crate) mod profile;
pub(crate) mod start;
pub(crate) mod whatif;

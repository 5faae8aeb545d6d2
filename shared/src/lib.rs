//! The words that both daemons and the agent speak.
//!
//! Everything here is a function of data, `now` and a draw: this crate must never open a socket or a file, read a clock or
//! draw a random number of its own. dnslb and the redirector do not know each other; they meet in [`heartbeat`].
#![forbid(unsafe_code)]

pub mod certificate;
pub mod config;
pub mod draw;
pub mod exposition;
pub mod heartbeat;
pub mod hex;
pub mod id;
pub mod member;
pub mod plot;
pub mod prefix;
pub mod settings;
pub mod time;

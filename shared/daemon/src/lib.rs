//! What every daemon needs around its pure core: listeners, the heartbeat receiver, the admin interface, signals, the state
//! directory, and the one place that reads clocks.
//!
//! Nothing here decides about names, sessions or servers, and nothing here runs per DNS query or per redirect.
#![forbid(unsafe_code)]

pub mod admin;
pub mod admin_client;
pub mod certificates;
pub mod cli;
pub mod clock;
pub mod http;
pub mod limits;
pub mod listen;
pub mod logging;
mod port_owner;
pub mod receiver;
pub mod refusals;
pub mod settings;
pub mod signals;
pub mod state_dir;
pub mod systemd;
#[cfg(test)]
mod testing;

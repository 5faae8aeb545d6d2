//! Question bytes to answer bytes: zones, pools, steering and health of the name server.
//!
//! This crate is pure. It opens no file or socket, reads no clock and draws no random number: whatever it needs from outside
//! is an argument, so that the daemon, the simulator and the tests run the same code. [`respond::respond`] allocates nothing,
//! takes no lock and never panics, whatever the octets.

#![forbid(unsafe_code)]

pub mod config;
pub mod control;
pub mod cookie;
pub mod dnssec;
pub mod health;
pub mod message;
pub mod name;
mod name_buf;
mod name_table;
pub mod online;
pub mod overlay;
pub mod pool;
pub mod respond;
pub mod rrl;
pub mod service;
pub mod signed_answers;
mod siphash;
pub mod site;
pub mod snapshot;
pub mod store;
pub mod transfer;
pub mod tsig;
pub mod update;
pub mod wire;
pub mod zone;

//! The daemon around `dnslb-core`: sockets, checks, control loop, admin interface and command line.
//!
//! What is decided is decided in the core; this crate carries data in and out of it. `unsafe` is denied by the workspace's lints
//! everywhere but in [`udp::mmsg`].

pub mod accept;
pub mod admin;
pub mod answering;
pub mod ask;
pub mod check_tls;
pub mod checks;
pub mod cli;
pub mod encrypted;
pub mod https;
pub mod key_dir;
pub mod key_schedule;
pub mod keygen;
pub mod keys;
pub mod load;
pub mod meters;
pub mod metrics;
pub mod named;
pub mod parent;
pub mod persist;
pub mod query_log;
pub mod quic;
pub mod requests;
pub mod security;
pub mod serve;
pub mod shares;
pub mod shell;
pub mod signing;
pub mod store;
pub mod tally;
pub mod tcp;
pub mod tcp_clients;
pub mod transfers;
pub mod transports;
pub mod udp;
pub mod viewpoints;

#[cfg(test)]
mod test_folder;

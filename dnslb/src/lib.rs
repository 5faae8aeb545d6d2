//! The daemon around `dnslb-core`: sockets, checks, control loop, admin interface and command line.
//!
//! What is decided is decided in the core; this crate carries data in and out of it. `unsafe` is denied by the workspace's lints
//! everywhere but in [`udp::mmsg`].

pub mod udp;

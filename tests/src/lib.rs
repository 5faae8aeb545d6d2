//! The harness of the end-to-end tests: the real binaries on port 0 of loopback, real datagrams, real peers.
//!
//! It must never sleep for luck (every wait is for a condition, with a deadline), never end a process that it did not start, and never
//! say that something was tested when its peer is missing: a test that cannot run says `SKIPPED` on standard error.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

pub mod acme;
pub mod answer;
pub mod browser;
pub mod cases;
pub mod clock;
pub mod daemon;
pub mod dns;
pub mod ec2;
pub mod edns;
pub mod farm;
pub mod grammar;
pub mod http;
pub mod imds;
pub mod many;
pub mod peer;
pub mod question;
pub mod recursor;
pub mod signing;
pub mod wait;
pub mod watch;

//! EC2 over its real protocol: moto behind a proxy that adds what moto lacks and breaks what clouds break.
//!
//! Without Python and moto these tests say `SKIPPED`; `./check` installs both.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

mod common;
mod crashes;
mod grow;
mod harness;
mod played;
mod trouble;

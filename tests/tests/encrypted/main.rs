//! DNS over TLS, HTTPS and QUIC from outside: real clients, those that break rules, half-open handshakes, and a certificate that is
//! replaced while it is in use.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

mod certificates;
mod clients;
mod flood;
mod rules;
mod setup;

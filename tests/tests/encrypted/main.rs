//! DNS over TLS, HTTPS and QUIC from outside: real clients, those that break rules, half-open handshakes, and a certificate that is
//! replaced while it is in use.

mod certificates;
mod clients;
mod flood;
mod rules;
mod setup;

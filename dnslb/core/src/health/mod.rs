//! What is measured about members that send no heartbeats: checks, when they are due, and what their outcomes mean.
//!
//! Nothing here connects anywhere: the daemon runs a [`CheckJob`] and brings its outcome back. A single failure must never
//! take a member out, nor a single success bring it back, unless the configuration says so.

mod plan;
mod state;
mod validity;

pub use plan::{CheckId, CheckJob, CheckPlan};
pub use state::{CheckState, Measured};
pub use validity::{days_left, not_after};

/// What a check does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// Opens a TCP connection and closes it.
    Tcp,
    /// Sends an HTTP GET and looks at the status.
    Http,
    /// The same over TLS.
    Https,
}

/// How the members of a pool are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckSpec {
    /// What it does.
    pub kind: CheckKind,
    /// The port it connects to.
    pub port: u16,
    /// The path of the request.
    pub path: String,
    /// The `Host` header and the name in TLS; the member's address if none.
    pub host: Option<String>,
    /// The status that counts as success; any of 200 to 399 if none.
    pub expect_status: Option<u16>,
    /// Time between two checks of a member, in milliseconds.
    pub interval_ms: u64,
    /// How long an outcome may take, in milliseconds; no longer than the interval.
    pub timeout_ms: u64,
    /// Successes in a row that bring a member up.
    pub rise: u32,
    /// Failures in a row that take it down.
    pub fall: u32,
    /// Whether the certificate must be valid for `host`.
    pub tls_verify: bool,
    /// Certificates to trust instead of the system's: a PEM file, read by the daemon.
    pub ca_file: Option<String>,
}

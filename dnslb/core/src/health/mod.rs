//! What is measured about members that send no heartbeats: checks, when they are due, and what their outcomes mean.
//!
//! Nothing here connects anywhere: the daemon runs a [`CheckJob`] and brings its outcome back. A single failure must never
//! take a member out, nor a single success bring it back, unless the configuration says so.

mod finding;
mod notes;
mod plan;
mod state;
mod validity;
mod viewpoint;
mod votes;

pub use finding::{Advice, Finding, Mode, grpc_health_request, parse_agent, parse_grpc_health, parse_node_exporter};
pub use notes::Notes;
pub use plan::{CheckId, CheckJob, CheckPlan};
pub use state::{CheckState, Measured};
pub use validity::{days_left, not_after};
pub use viewpoint::{Exchange, Report, ViewpointKey, is_nonce};
pub use votes::{Agreed, Votes};

/// What a check does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// Opens a TCP connection and closes it.
    Tcp,
    /// Sends an HTTP GET and looks at the status.
    Http,
    /// The same over TLS.
    Https,
    /// Shakes hands by TLS.
    Tls,
    /// Asks the health service of gRPC (grpc.health.v1) over HTTP/2.
    Grpc,
    /// Asks HAProxy's agent: it answers with a line of words.
    Agent,
    /// Runs a command.
    Exec,
    /// Reads node_exporter's metrics, and weights the member by its run queue.
    NodeExporter,
}

impl CheckKind {
    /// Whether it shakes hands by TLS, and so sees a certificate.
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }
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
    /// The service that a gRPC check asks for; empty for the whole server. At most 127 octets.
    pub service: String,
    /// The program of a command and its arguments.
    pub command: Vec<String>,
    /// A certificate that ends within so many days counts as a failure; none to leave that to the handshake.
    pub expiry_days_min: Option<u32>,
    /// And one that ends within so many days is worth a word.
    pub expiry_days_warn: u32,
    /// How many viewpoints must say that a member is down; none if we alone decide.
    pub agree: Option<u32>,
}

impl Default for CheckSpec {
    fn default() -> Self {
        Self {
            kind: CheckKind::Tcp,
            port: 80,
            path: "/".into(),
            host: None,
            expect_status: None,
            interval_ms: 2_000,
            timeout_ms: 1_000,
            rise: 2,
            fall: 3,
            tls_verify: true,
            ca_file: None,
            service: String::new(),
            command: Vec::new(),
            expiry_days_min: None,
            expiry_days_warn: 14,
            agree: None,
        }
    }
}

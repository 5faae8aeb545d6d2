//! What passes between the executor and a provider of servers.
//!
//! The provider must be idempotent by token: the same [`LaunchRequest`] sent again gives the same instance, never a second.

use farm_shared::id::Id;
use serde::{Deserialize, Serialize};

/// One instance, as the provider lists it. Only instances that carry the farm's tag are listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The provider's name for it.
    pub instance_id: String,
    /// The tag `farm`.
    pub farm: Id,
    /// The tag with the member id that it was launched for.
    pub member_id: Option<Id>,
    /// The tag `intent` ([`LaunchRequest::intent`]).
    pub intent: Option<String>,
    /// Its state.
    pub state: InstanceState,
    /// When it was launched, milliseconds since the epoch.
    pub launched_wall_ms: u64,
}

/// The life of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Launched, not running yet.
    Pending,
    /// Running, as far as the provider knows.
    Running,
    /// Being terminated.
    Stopping,
    /// Terminated or dead.
    Gone,
}

impl InstanceState {
    /// The label in status and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Gone => "gone",
        }
    }

    /// Whether it exists, or will.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Pending | Self::Running)
    }
}

/// "Start one server." Sent again exactly as it was until its fate is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchRequest {
    /// The intent that it belongs to; becomes a tag.
    pub intent: String,
    /// Which try: rises only after a definite refusal.
    pub attempt: u32,
    /// Idempotency token: a hash of farm, intent and attempt, 32 hexadecimal digits.
    pub token: String,
    /// The farm; becomes a tag.
    pub farm: Id,
    /// The id that the server's agent is to use; becomes a tag.
    pub member_id: Id,
}

/// "Stop one server."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminateRequest {
    /// The intent that it belongs to.
    pub intent: String,
    /// The provider's name for the instance.
    pub instance_id: String,
}

/// One call to the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderCall {
    /// Start one.
    Launch(LaunchRequest),
    /// Stop one.
    Terminate(TerminateRequest),
}

impl ProviderCall {
    /// The intent that it belongs to.
    pub fn intent(&self) -> &str {
        match self {
            Self::Launch(r) => &r.intent,
            Self::Terminate(r) => &r.intent,
        }
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallOutcome {
    /// The call, as it was made.
    pub call: ProviderCall,
    /// A launch: the instance. A termination: the instance as it was left, or none.
    pub result: Result<Option<Instance>, ProviderError>,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderError {
    /// By meaning.
    pub kind: ErrorKind,
    /// In the provider's words.
    pub message: String,
}

/// The meaning of a failure decides what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// Asked too often: the same request again, later.
    Throttled,
    /// No capacity for this offering: definite; a new attempt, later.
    NoCapacity,
    /// Not allowed, or not possible: definite; a new attempt after a long pause.
    Denied,
    /// Its fate is unknown (a timeout, an internal error): the same request again.
    Transient,
    /// The instance does not exist: a termination is done.
    NotFound,
    /// The token was used with other parameters, or its instance is gone: definite; a new attempt.
    Mismatch,
}

impl ErrorKind {
    /// Whether it is certain that nothing was started.
    pub fn is_definite(self) -> bool {
        matches!(self, Self::NoCapacity | Self::Denied | Self::Mismatch)
    }

    /// The label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::NoCapacity => "no_capacity",
            Self::Denied => "denied",
            Self::Transient => "transient",
            Self::NotFound => "not_found",
            Self::Mismatch => "mismatch",
        }
    }
}

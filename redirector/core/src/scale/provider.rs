//! What passes between the executor and a provider of servers.
//!
//! The provider must be idempotent by token: the same [`LaunchRequest`] sent again gives the same instance, never a second.

use farm_shared::id::Id;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// How an instance is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    /// At the list price, for as long as it is wanted.
    OnDemand,
    /// From spare capacity, which the provider may take back.
    Spot,
}

impl Market {
    /// The label in status and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::Spot => "spot",
        }
    }
}

/// One thing that a provider sells, and may run out of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Offering {
    /// The provider's name for the type of machine.
    pub instance_type: String,
    /// The availability zone's name.
    pub zone: String,
    /// How it is paid for.
    pub market: Market,
}

impl fmt::Display for Offering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} in {}", self.market.label(), self.instance_type, self.zone)
    }
}

/// One instance, as the provider lists it. Only instances that carry the farm's tag are listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The provider's name for it.
    pub instance_id: String,
    /// The tag `farm:name`.
    pub farm: Id,
    /// The tag `farm:member`: the member id that it was launched for.
    pub member_id: Option<Id>,
    /// The tag `farm:intent` ([`LaunchRequest::intent`]).
    pub intent: Option<String>,
    /// Its state.
    pub state: InstanceState,
    /// When it was launched, or started last, milliseconds since the epoch.
    pub launched_wall_ms: u64,
    /// What was bought, where the provider tells.
    #[serde(default)]
    pub offering: Option<Offering>,
    /// The tag `farm:role`: the fixed role that it fills.
    #[serde(default)]
    pub role: Option<Id>,
    /// Its addresses, private ones first.
    #[serde(default)]
    pub addrs: Vec<IpAddr>,
    /// The status check that it fails, in the provider's words.
    #[serde(default)]
    pub impaired: Option<String>,
    /// The tag `farm:kept`: it failed and is kept for inspection, never touched.
    #[serde(default)]
    pub kept: bool,
}

impl Instance {
    /// An instance of which nothing but this is known.
    pub fn new(instance_id: impl Into<String>, farm: Id, state: InstanceState, launched_wall_ms: u64) -> Self {
        Self {
            instance_id: instance_id.into(),
            farm,
            member_id: None,
            intent: None,
            state,
            launched_wall_ms,
            offering: None,
            role: None,
            addrs: Vec::new(),
            impaired: None,
            kept: false,
        }
    }
}

/// The life of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Launched or started, not running yet.
    Pending,
    /// Running, as far as the provider knows.
    Running,
    /// Being stopped or terminated.
    Stopping,
    /// Stopped: it can be started again.
    Stopped,
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
            Self::Stopped => "stopped",
            Self::Gone => "gone",
        }
    }

    /// Whether it serves, or will without another call.
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
    /// Idempotency token: a hash of farm, intent, offering and attempt, 32 hexadecimal digits.
    pub token: String,
    /// The farm; becomes a tag.
    pub farm: Id,
    /// The id that the server's agent is to use; becomes a tag.
    pub member_id: Id,
    /// The fixed role that it fills; becomes a tag.
    #[serde(default)]
    pub role: Option<Id>,
    /// What to buy; none where the provider has no choice.
    #[serde(default)]
    pub offering: Option<Offering>,
    /// The exact request bodies, sent in this order, each idempotent; empty for providers that need none.
    #[serde(default)]
    pub body: Vec<String>,
}

/// A call about one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRequest {
    /// The intent that it belongs to.
    pub intent: String,
    /// The provider's name for the instance.
    pub instance_id: String,
}

/// "Give this instance what belongs to its role."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    /// The intent that it belongs to.
    pub intent: String,
    /// The provider's name for the instance.
    pub instance_id: String,
    /// Allocation ids of the addresses.
    pub addresses: Vec<String>,
    /// Volumes.
    pub volumes: Vec<VolumeAttachment>,
}

/// One volume and where it appears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeAttachment {
    /// The provider's name for the volume.
    pub volume_id: String,
    /// The device name on the instance.
    pub device: String,
}

/// One call to the provider. All of them are idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderCall {
    /// Launch one.
    Launch(LaunchRequest),
    /// End one for good.
    Terminate(InstanceRequest),
    /// Start one that is stopped.
    Start(InstanceRequest),
    /// Stop one, to be started again.
    Stop(InstanceRequest),
    /// Restart one.
    Reboot(InstanceRequest),
    /// Tag one: kept for inspection.
    Keep(InstanceRequest),
    /// Give one the addresses and volumes of its role.
    Attach(AttachRequest),
}

impl ProviderCall {
    /// The intent that it belongs to.
    pub fn intent(&self) -> &str {
        match self {
            Self::Launch(r) => &r.intent,
            Self::Terminate(r) | Self::Start(r) | Self::Stop(r) | Self::Reboot(r) | Self::Keep(r) => &r.intent,
            Self::Attach(r) => &r.intent,
        }
    }

    /// The instance that it is about; none for a launch.
    pub fn instance_id(&self) -> Option<&str> {
        match self {
            Self::Launch(_) => None,
            Self::Terminate(r) | Self::Start(r) | Self::Stop(r) | Self::Reboot(r) | Self::Keep(r) => Some(&r.instance_id),
            Self::Attach(r) => Some(&r.instance_id),
        }
    }

    /// The label in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Launch(_) => "launch",
            Self::Terminate(_) => "terminate",
            Self::Start(_) => "start",
            Self::Stop(_) => "stop",
            Self::Reboot(_) => "reboot",
            Self::Keep(_) => "keep",
            Self::Attach(_) => "attach",
        }
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallOutcome {
    /// The call, as it was made.
    pub call: ProviderCall,
    /// A launch: the instance. Any other call: the instance as it was left, or none if the provider did not say.
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
    /// The instance is not known to the provider (yet, or any more).
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

//! What goes into the control loop and what comes out.

use crate::config::Spec;
use crate::door::Snapshot;
use crate::drill::{Fault, HitRequest, SavedWard};
use crate::room::{self, SavedRoom};
use crate::scale::{Blueprint, CallOutcome, ExecState, Instance, ProviderCall, ProviderError, Record, Spend};
use farm_shared::heartbeat::{FarmKey, Heartbeat, Refusal, Reply, Tombstone};
use farm_shared::id::Id;
use farm_shared::member::{Forced, SavedRoster};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Slots of servers are below this; the shell keeps that many counters of dispatches.
pub const SLOTS_MAX: usize = 20_000;

/// The farm's secrets, read by the shell from the files that [`Spec`] names.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Signs cookies and tombstones.
    pub current: FarmKey,
    /// Cookies signed with one of these are honoured still.
    pub former: Vec<FarmKey>,
}

/// What happened.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "the large one, a reload, is rare, and an event is moved once")]
pub enum Event {
    /// A message that [`farm_shared::heartbeat::Keyring::open`] let through. Answered by [`Effect::Reply`] or
    /// [`Effect::Refused`] in the same step, always exactly one of them.
    Heartbeat {
        /// The message.
        heartbeat: Box<Heartbeat>,
        /// The counter of dispatches to its slot ([`super::Control::slot`]) now.
        dispatched: u32,
    },
    /// Time passes; at least every 250 ms, better 100.
    Tick {
        /// Requests answered with [`crate::door::Decision::Wait`] since the start: demand that no backend saw.
        waited: u64,
        /// Who waits in the waiting room, if there is one.
        room: Option<Box<room::Tick>>,
    },
    /// An operator's command. Answered by [`Effect::Answer`] with the same ticket.
    Admin {
        /// For the shell to find who asked.
        ticket: u64,
        /// The command.
        command: AdminCommand,
    },
    /// A new configuration that passed its check. Always accepted; the shell does what concerns sockets.
    Reload {
        /// The configuration.
        spec: Arc<Spec>,
        /// Its keys.
        keys: Keys,
        /// What can be launched from now on.
        blueprint: Arc<dyn Blueprint>,
    },
    /// The provider's complete list of this farm's instances, asked for by the shell every [`crate::config::ScalerSpec::poll_ms`].
    Listing(Result<Vec<Instance>, String>),
    /// What came of an [`Effect::Call`].
    Provider(Box<CallOutcome>),
    /// What came of an [`Effect::Fault`].
    Fault {
        /// [`FaultCall::key`].
        key: Id,
        /// Done, or why not.
        result: Result<(), ProviderError>,
    },
    /// What came of an [`Effect::Journal`]: it is on disk, or it is not. No call is made for an intent that is not.
    Journalled {
        /// [`Record::seq`].
        seq: u64,
        /// Written and synced.
        ok: bool,
    },
}

/// What an operator may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminCommand {
    /// Force a member, with a reason.
    Force {
        /// The member.
        id: Id,
        /// What to force.
        forced: Forced,
        /// Why, for status and log; at most 200 characters are kept.
        why: String,
    },
    /// Take it back.
    Clear {
        /// The member.
        id: Id,
    },
    /// Launch servers, or the one of a fixed role. Refused when frozen, in doubt, or beyond the maximum.
    Launch {
        /// The fixed role; none for elastic servers.
        role: Option<Id>,
        /// How many; 1 for a role.
        count: u32,
    },
    /// Do something to one instance. Refused when frozen or in doubt.
    Instance {
        /// What.
        verb: InstanceVerb,
        /// The provider's name for the instance, or its member id.
        target: String,
        /// Even if sessions run on it.
        force: bool,
    },
    /// Part of a failure drill.
    Drill(DrillCommand),
}

/// What an operator may do to one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceVerb {
    /// Start a stopped one.
    Start,
    /// Stop it, to be started again.
    Stop,
    /// Restart it.
    Reboot,
    /// End it for good.
    Terminate,
    /// Take one that carries the farm's tag, but that no plan knows, into the farm.
    Adopt,
}

impl InstanceVerb {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Start, Self::Stop, Self::Reboot, Self::Terminate, Self::Adopt];

    /// The word in commands and answers.
    pub fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Reboot => "reboot",
            Self::Terminate => "terminate",
            Self::Adopt => "adopt",
        }
    }
}

/// What the command of a failure drill may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrillCommand {
    /// Hit one server.
    Hit(HitRequest),
    /// Heal what is cut off: that of one drill, or all.
    Heal(Option<Id>),
}

/// What a failure drill wants done to an instance, outside the executor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultCall {
    /// The key of the hit.
    pub key: Id,
    /// The provider's name for the instance.
    pub instance_id: String,
    /// What to do; none: undo what cut it off.
    pub fault: Option<Fault>,
}

/// What the shell must do, in this order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Seal it with the member's key and send it to where the heartbeat came from.
    Reply(Box<Reply>),
    /// Count it by [`Refusal::reason`]; HTTP 403.
    Refused(Refusal),
    /// Swap it in.
    Publish(Arc<Snapshot>),
    /// Write it to `state_dir`, atomically.
    Persist(Box<Saved>),
    /// Append it to the journal, sync, and report with [`Event::Journalled`].
    Journal(Box<Record>),
    /// Hand it to the provider, and report with [`Event::Provider`].
    Call(ProviderCall),
    /// Do it to the instance, and report with [`Event::Fault`].
    Fault(FaultCall),
    /// The answer to an [`Event::Admin`].
    Answer {
        /// The ticket of the event.
        ticket: u64,
        /// What was done, or why not.
        result: Result<String, String>,
    },
    /// One line for the log and the status page.
    Notice(Topic, String),
}

/// What a notice is about: what an operator sorts them by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// A server joined, left, drains, moved.
    Server,
    /// The scaler launched, drained, terminated.
    Scaling,
    /// An operator's word.
    Operator,
    /// What the provider said.
    Provider,
    /// A failure drill.
    Drill,
    /// Something that somebody should look at.
    Alarm,
    /// The configuration was read again, or the redirector started.
    Config,
    /// A certificate was had, or could not be had.
    Certificate,
    /// The waiting room opened or closed.
    Room,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Server,
        Self::Scaling,
        Self::Operator,
        Self::Provider,
        Self::Drill,
        Self::Alarm,
        Self::Config,
        Self::Certificate,
        Self::Room,
    ];

    /// The word in JSON, in logs and in filters.
    pub fn label(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Scaling => "scaling",
            Self::Operator => "operator",
            Self::Provider => "provider",
            Self::Drill => "drill",
            Self::Alarm => "alarm",
            Self::Config => "config",
            Self::Certificate => "certificate",
            Self::Room => "room",
        }
    }
}

/// What survives a restart, beside the journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The form's version: 1.
    pub v: u32,
    /// The members.
    pub roster: SavedRoster,
    /// The executor as of [`ExecState::seq`]; later records of the journal are applied on top.
    pub exec: ExecState,
    /// Boot times measured last, in milliseconds.
    #[serde(default)]
    pub boots_ms: Vec<u64>,
    /// Hits of failure drills, and who may be cut off by one.
    #[serde(default)]
    pub drill: SavedWard,
    /// The waiting room. States of older versions have none.
    #[serde(default)]
    pub room: SavedRoom,
    /// Money spent in this month.
    #[serde(default)]
    pub spend: Spend,
    /// Notes of the dead that are still told: who missed them must hear them from whoever serves next.
    #[serde(default)]
    pub tombstones: Vec<Tombstone>,
    /// The provider that `exec` speaks of: [`crate::config::ProviderSpec::identity`]. States of older versions do not say.
    #[serde(default)]
    pub provider: Option<String>,
}

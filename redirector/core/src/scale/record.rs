//! The journal: one JSON line per record. What the executor knows is what the journal says.

use super::observation::{Observation, Plan, Report};
use super::provider::{CallOutcome, Instance, ProviderCall};
use crate::drill::HitRequest;
use farm_shared::id::Id;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Rises by one with every record of a farm.
    pub seq: u64,
    /// When, milliseconds since the epoch.
    pub wall_ms: u64,
    /// What.
    #[serde(flatten)]
    pub entry: Entry,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Entry {
    /// A decision, with everything it was made from.
    Plan {
        /// What was seen.
        observation: Box<Observation>,
        /// What is to be done, after the check.
        plan: Plan,
        /// Why.
        report: Report,
        /// Limits that the plan broke, in words; what broke them was taken out.
        violations: Vec<String>,
        /// Nothing is done about it.
        dry_run: bool,
    },
    /// Something is about to be asked of the provider. On disk before the first call.
    Intent {
        /// The exact request.
        call: ProviderCall,
    },
    /// A call was answered.
    Outcome {
        /// The answer.
        outcome: CallOutcome,
    },
    /// An instance with the farm's tag was found that no intent is known of.
    Adopt {
        /// The instance.
        instance: Instance,
    },
    /// An instance is gone.
    Gone {
        /// The provider's name for it.
        instance_id: String,
    },
    /// A failure drill is about to hit a server. Changes nothing for the executor, which must find out.
    Drill {
        /// The hit.
        hit: HitRequest,
        /// The instance, unless only its agent is asked.
        instance_id: Option<String>,
    },
    /// What a failure drill had cut off is healed.
    Healed {
        /// The key of the hit.
        key: Id,
    },
    /// A launch was given up: it was refused for good, or never wanted any more.
    Abandon {
        /// The intent.
        intent: String,
        /// Why.
        why: String,
    },
}

/// One intent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The exact request, as journalled.
    pub call: ProviderCall,
    /// How far it is.
    pub state: IntentState,
    /// When it was journalled, milliseconds since the epoch.
    pub wall_ms: u64,
    /// Calls that failed so far.
    pub failures: u32,
    /// Not to be sent (again) before, milliseconds since the epoch.
    pub retry_wall_ms: u64,
    /// The record that must be on disk first.
    pub record: u64,
}

/// How far an intent is.
///
/// The first call is never made before the intent is on disk; and one that was on disk is called again, with the same request,
/// until its fate is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IntentState {
    /// Handed to the journal: no call before that says it is on disk.
    Journalling,
    /// On disk; the call may or may not have been made. After a restart every unsettled intent is here.
    Open,
    /// A call is under way.
    Calling,
}

/// Everything the executor knows: a fold over the journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExecState {
    /// The last record that is applied.
    pub seq: u64,
    /// Numbers the next intent.
    pub next_intent: u64,
    /// Intents whose fate is not known.
    pub intents: BTreeMap<String, Intent>,
    /// Instances that exist, by the provider's name.
    pub instances: BTreeMap<String, Instance>,
    /// Members whose instance we stopped, waiting for the listing to say so.
    #[serde(default)]
    pub stopping: BTreeMap<String, Id>,
}

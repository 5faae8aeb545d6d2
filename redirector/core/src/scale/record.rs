//! The journal: one JSON line per record. What the executor knows is what the journal says.

use super::exec::{Pace, Shortage};
use super::observation::{Observation, Plan, Report};
use super::provider::{CallOutcome, Instance, ProviderCall};
use crate::drill::HitRequest;
use farm_shared::id::Id;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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
        /// The answer; the request's bytes are in its intent and not repeated here.
        outcome: CallOutcome,
    },
    /// An instance that no intent is known of becomes the farm's: its tags say that this scaler launched it, or an operator does.
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
    /// An operator's order is carried out; the intents that follow come of it.
    Order {
        /// What was ordered, in words.
        order: String,
    },
    /// A call was given up: it was refused for good, or its record could not be written.
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
    /// How often this request was sent, as far as is known: a state of an older version was sent once.
    #[serde(default = "once")]
    pub calls: u32,
    /// When it was sent last, milliseconds since the epoch.
    #[serde(default)]
    pub called_wall_ms: u64,
    /// How often in a row this request was refused after a sending whose fate is unknown.
    #[serde(default)]
    pub denials: u32,
    /// This request was sent, and what became of it is not known: it may still take effect. So it is in a state of an older version.
    #[serde(default = "yes")]
    pub unsure: bool,
}

fn once() -> u32 {
    1
}

fn yes() -> bool {
    true
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

/// An instance that is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buried {
    /// Its tag, which tells it from a later one of the same name.
    pub intent: Option<String>,
    /// Since when, milliseconds since the epoch.
    pub wall_ms: u64,
}

/// Lists that left an instance out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    /// The first of them, milliseconds since the epoch.
    pub since_wall_ms: u64,
    /// How many, one after the other.
    pub lists: u32,
    /// The last of them, milliseconds since the epoch.
    #[serde(default)]
    pub last_wall_ms: u64,
}

/// Everything the executor knows: a fold over the journal, and what the last lists said.
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
    /// Members whose instance we terminated, waiting for the listing to say so.
    #[serde(default)]
    pub stopping: BTreeMap<String, Id>,
    /// Instances that are gone: a list that still has them is old.
    #[serde(default)]
    pub buried: BTreeMap<String, Buried>,
    /// When we started or stopped an instance last: a list that says otherwise for a while is old. Milliseconds since the epoch.
    #[serde(default)]
    pub changed: BTreeMap<String, u64>,
    /// Instances that the last lists left out.
    #[serde(default)]
    pub absent: BTreeMap<String, Absence>,
    /// Instances of fixed roles that have what belongs to the role.
    #[serde(default)]
    pub attached: BTreeSet<String>,
    /// Instances that the provider refuses to stop: they can only be terminated.
    #[serde(default)]
    pub unstoppable: BTreeSet<String>,
    /// What the provider ran out of.
    #[serde(default)]
    pub shortages: Vec<Shortage>,
    /// How fast calls may follow each other.
    #[serde(default)]
    pub pace: Pace,
    /// Instances with the farm's tag that no intent and no operator speaks for, as of the last list: reported, never touched.
    #[serde(skip)]
    pub unknown: BTreeMap<String, Instance>,
    /// Why something that a plan wanted could not be asked for, as of the last plan.
    #[serde(skip)]
    pub problem: Option<String>,
}

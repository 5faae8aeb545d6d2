//! How many servers there should be, and how that comes about.
//!
//! `plan` decides from one observation, `check` holds the plan against limits that no policy may break, and the executor
//! turns it into journal records and provider calls. Nothing here may call a provider or write a file: those are effects.

mod blueprint;
mod check;
mod exec;
mod measure;
mod observation;
mod paper;
mod plan;
mod provider;
mod record;
mod sizing;

pub use blueprint::{Blueprint, MarketChoice, Plain, PlainRoles};
pub use check::{Limits, Violation, check};
pub use exec::{ExecContext, ExecEffect, ExecEvent, Order, Pace, Shortage, step};
pub use measure::Measured;
pub use plan::{PlanState, Policy, plan};
pub use sizing::{Sizing, servers_wanted, sessions_expected};

pub use observation::{Observation, Plan, Report, ServerLoad, ServerState};
pub use provider::{
    AttachRequest, CallOutcome, ErrorKind, Instance, InstanceRequest, InstanceState, LaunchRequest, Market, Offering,
    ProviderCall, ProviderError, VolumeAttachment,
};
pub use record::{Absence, Buried, Entry, ExecState, Intent, IntentState, Record};

#[cfg(test)]
mod crash;
#[cfg(test)]
mod crowd;

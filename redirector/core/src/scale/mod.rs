//! How many servers there should be, and how that comes about.
//!
//! `plan` decides from one observation, `check` holds the plan against limits that no policy may break, and the executor
//! turns it into journal records and provider calls. Nothing here may call a provider or write a file: those are effects.

mod blueprint;
mod bounds;
mod check;
mod exec;
mod growth;
mod measure;
mod observation;
mod plan;
mod provider;
mod record;
mod returns;
mod rule;
mod schedule;
mod shrink;
mod spend;
mod window;

pub use blueprint::{Blueprint, MarketChoice, Plain, PlainRoles};
pub use check::{Limits, Violation, check};
pub(crate) use exec::LISTING_LAG_MS;
pub use exec::{ExecContext, ExecEffect, ExecEvent, Order, Pace, Shortage, step};
pub use measure::Measured;
pub use plan::{PlanState, Policy, plan};
pub use rule::{Sizing, servers_wanted, sessions_expected};
pub use schedule::{Floor, TimeOfDay, Weekday};
pub use spend::Spend;

pub use growth::{GROWTH_MAX, Growth, survivable_growth, survivable_growth_of};
pub use observation::{Observation, Plan, Report, ServerLoad, ServerState, Shadow};
pub use provider::{
    AttachRequest, CallOutcome, ErrorKind, Instance, InstanceRequest, InstanceState, LaunchRequest, Market, Offering,
    ProviderCall, ProviderError, VolumeAttachment,
};
pub use record::{Absence, Buried, Entry, ExecState, Intent, IntentState, Record};

#[cfg(test)]
mod crash;
#[cfg(test)]
mod crowd;

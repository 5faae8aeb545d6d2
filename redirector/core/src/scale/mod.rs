//! How many servers there should be, and how that comes about.
//!
//! `plan` decides from one observation, `check` holds the plan against limits that no policy may break, and the executor
//! turns it into journal records and provider calls. Nothing here may call a provider or write a file: those are effects.

mod observation;
mod provider;
mod record;

pub use observation::{Observation, Plan, Report, ServerLoad, ServerState};
pub use provider::{CallOutcome, ErrorKind, Instance, InstanceState, LaunchRequest, ProviderCall, ProviderError, TerminateRequest};
pub use record::{Entry, ExecState, Intent, IntentState, Record};

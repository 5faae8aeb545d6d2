//! Why: a farm is judged by what its clients see, so a crowd comes through the front door as users do: ask the door, follow
//! the redirect, keep cookies, think, log out, and count what was completed, delayed and aborted (seed 003, section 4.1).
//! Never: it knows nothing of the farm beyond HTTP; it trusts no answer's size, length or place to go.

pub mod config;
pub mod cookies;
pub mod histogram;
mod http;
pub mod place;
pub mod profile;
pub mod run;
mod session;
pub mod stats;

pub use config::{CrowdConfig, Loop};
pub use profile::Profile;
pub use run::run;
pub use stats::{Interval, Reason, Summary};

/// Clients at once, whatever the profile says.
pub const CLIENTS_MAX: u32 = 5_000;

//! What would happen, or would have happened: scenarios and journals played against a policy in a small model of a farm.
//!
//! The model holds sessions and servers only: no network, no heartbeat, no queue. Its plans come from [`crate::scale::plan`], as in
//! production. Nothing here may read a clock or a file, and a run depends on its seed alone.

mod allknowing;
mod builtin;
mod demand;
mod fleet;
mod outcome;
mod replay;
mod scenario;
mod shape;
mod starting;
mod world;

pub use allknowing::{AllKnowing, Means, all_knowing};
pub use builtin::NAMES;
pub use demand::{Demand, Session};
pub use outcome::{Outcome, Sample};
pub use replay::{Actual, Replay, read_journal};
pub use scenario::{BootTime, Fault, Scenario, Shape};
pub use starting::{Site, Start, starting_limits};
pub use world::{Rules, WARM_START_MS};

#[cfg(test)]
mod tests;

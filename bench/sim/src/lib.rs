//! The simulated world: virtual time, one seed, and the production code inside.
//!
//! Control loops, executor, door, `respond` and agent are the very code that runs in production; clients, resolvers, network,
//! machines, disks and the cloud are played. It must never read a clock or draw from anything but its seed.
#![forbid(unsafe_code)]

mod bug;
pub mod calibrate;
mod cloud;
mod converge;
mod crowd;
mod dice;
mod dns;
mod door;
mod fault;
pub mod figure;
mod host;
mod menu;
mod nameserver;
mod net;
mod queue;
pub mod real;
pub mod routing;
mod run;
mod seeds;
mod setup;
pub mod table;
mod watch;
mod world;

pub use bug::Bug;
pub use fault::Fault;
pub use run::{Run, RunTotals, Sample, run};
pub use seeds::{Summary, Wanted, run_seeds};
pub use setup::Setup;
pub use watch::{Rule, Violation};
pub use world::{Outcome, Totals, World};

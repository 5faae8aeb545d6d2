//! Routing on old news (DESIGN 4.3), measured: one farm, K doors, jobs or long sessions, under one rule after the other.
//!
//! The doors are production's: heartbeats go into a control loop each, its snapshots come out when production would publish them,
//! and a picker draws from their tables. It must never tell a door what a heartbeat would not.

mod cases;
mod door;
mod farm;
mod text;

pub use cases::{Case, Sessions, Wanted, classic, large, long, long_policies, policies};
pub use farm::{Measured, measure};
pub use text::markdown;

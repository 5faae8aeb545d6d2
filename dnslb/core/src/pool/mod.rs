//! From members to answers: who is named first (`levels`), how often (`schedule`), and the prepared answer sections (`answers`,
//! `services`).
//!
//! Nothing here knows about health: it gets the members that may be named and must never name another one.

mod answers;
mod levels;
mod schedule;
mod services;
mod shares;
mod sorters;

pub use answers::{Facts, answers};
pub use levels::{Candidate, Level, Order, levels};
pub use schedule::{SUBSETS_MAX, SUBSETS_MIN, Schedule, ScheduleMember, build, subsets_for};
pub use services::{Endpoint, https, srv};
pub use sorters::{Counted, STEP_MAX, follow, sort_share};

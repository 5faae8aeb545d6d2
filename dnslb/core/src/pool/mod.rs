//! From members to answers: who is named how often (`schedule`), and the prepared answer sections (`answers`).
//!
//! Nothing here knows about health: it gets the members that may be named and must never name another one.

mod answers;
mod schedule;
mod shares;

pub use answers::{Facts, answers};
pub use schedule::{SUBSETS_MAX, SUBSETS_MIN, Schedule, ScheduleMember, build, subsets_for};

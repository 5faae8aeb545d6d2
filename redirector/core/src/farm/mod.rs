//! The control loop: the one owner of mutable state. Events in, effects out.
//!
//! It must never wait: whatever takes time is an effect, and its outcome comes back as an event.

mod beats;
mod control;
mod drills;
mod event;
mod execute;
mod orders;
mod publish;
mod report;
mod rooms;
mod scaling;
mod seen;
mod slots;
mod status;
mod trust;

pub use control::Control;
pub use event::{AdminCommand, DrillCommand, Effect, Event, FaultCall, InstanceVerb, Keys, SLOTS_MAX, Saved, Topic};
pub use status::{DecisionStatus, InstanceStatus, ScalerStatus, ServerStatus, ShortageStatus, Status};

#[cfg(test)]
mod chaos;
#[cfg(test)]
mod tests;

//! The control loop: the one owner of mutable state. Events in, effects out.
//!
//! It must never wait: whatever takes time is an effect, and its outcome comes back as an event.

mod control;
mod event;
mod status;

pub use control::Control;
pub use event::{AdminCommand, Effect, Event, Keys, SLOTS_MAX, Saved};
pub use status::{DecisionStatus, InstanceStatus, ScalerStatus, ServerStatus, Status};

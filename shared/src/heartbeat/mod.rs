//! The heartbeat: the only channel between the parts. One JSON schema, two carriers (UDP datagram, HTTP POST).
//!
//! A backend (and each door, which is a backend of dnslb) sends a [`Heartbeat`] to *every* front end; each answers with a
//! [`Reply`] that carries its own wish back; the agent repeats to all what each said. `docs/heartbeat.md` is the same in prose.
//! Nothing in a message is believed before [`Keyring::open`] has checked the MAC over its exact bytes.

mod drill;
mod envelope;
mod keys;
mod message;
mod reply;
mod room;

pub use drill::{KillOutcome, KillWish, KillWord, PROCESS_BYTES_MAX, is_process_name};
pub use envelope::{Envelope, Refusal, UDP_BYTES_MAX};
pub use keys::{FarmKey, Keyring, MemberKey, SKEW_MS_MAX};
pub use message::{Heard, Heartbeat, Kind, Load, Notice, NoticeKind, Role, State, VERSION};
pub use reply::{Reply, Tombstone};
pub use room::{LaneWord, ROOM_LANES_MAX, ROOM_STEPS_MAX, RoomWord};

#[cfg(test)]
mod tests;

//! The roster's form on disk: JSON, versioned, written by the shell into `state_dir`.

use super::Forced;
use crate::heartbeat::Heartbeat;
use crate::id::Id;
use serde::{Deserialize, Serialize};

/// A roster at rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedRoster {
    /// The form's version: 1.
    pub v: u32,
    /// All members.
    pub members: Vec<SavedMember>,
    /// Those that left lately.
    #[serde(default)]
    pub departed: Vec<SavedDeparted>,
}

/// A member that left, at rest: what a replay must beat, and the operator's word that waits for its return.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedDeparted {
    /// Its id.
    pub id: Id,
    /// Its last incarnation.
    pub inc: u64,
    /// The last sequence number of that.
    pub seq: u64,
    /// The provider said that it was terminated.
    #[serde(default)]
    pub terminated: bool,
    /// What an operator had forced, and why.
    #[serde(default)]
    pub forced: Option<(Forced, String)>,
}

/// A member at rest. Its last heartbeat holds its addresses and the sequence number that a replay must beat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedMember {
    /// As last heard.
    pub heartbeat: Heartbeat,
    /// It was silent when it was written down.
    #[serde(default)]
    pub silent: bool,
    /// What an operator forced, and why.
    #[serde(default)]
    pub forced: Option<(Forced, String)>,
    /// The front end's own wish that it be drained.
    #[serde(default)]
    pub drain_wish: bool,
}

//! The process model of failure drills, as it travels: a redirector's wish that an agent end a process, and the agent's word about it.
//!
//! A wish is a request, not a command: the agent alone decides, by its own list, and obeys each key once.

use crate::id::Id;
use serde::{Deserialize, Serialize};

/// Octets of a process's name: the kernel keeps no more (`TASK_COMM_LEN`, proc(5)).
pub const PROCESS_BYTES_MAX: usize = 15;

/// Whether a text can be the name of a process, as `/proc/PID/comm` and `ps -o comm` show it.
pub fn is_process_name(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_graphic() && b != b'/';
    (1..=PROCESS_BYTES_MAX).contains(&text.len()) && text.bytes().all(good)
}

/// "End the processes of this name, if you are allowed to." Stands in every reply until the agent's word about it arrives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillWish {
    /// Makes a repeated wish the same one.
    pub key: Id,
    /// The name, as the kernel keeps it.
    pub process: String,
}

/// What became of the last wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillWord {
    /// Which wish.
    pub key: Id,
    /// What became of it.
    pub outcome: KillOutcome,
}

/// What became of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KillOutcome {
    /// It is allowed and about to be done.
    Accepted,
    /// So many processes were ended.
    Ended(u32),
    /// The agent's list does not have that name.
    NotAllowed,
    /// No process of that name runs.
    NotFound,
}

impl KillOutcome {
    /// Nothing was done, and nothing will be.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::NotAllowed | Self::NotFound)
    }

    /// For log and status.
    pub fn words(self) -> String {
        match self {
            Self::Accepted => "ends the process".into(),
            Self::Ended(count) => format!("ended {count} processes"),
            Self::NotAllowed => "does not allow it: the name is not in its drill_allow".into(),
            Self::NotFound => "runs no process of that name".into(),
        }
    }
}

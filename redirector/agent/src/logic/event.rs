//! What comes into the agent's logic and what goes out of it: data in, data out.

use crate::load::{LoadError, Reading};
use crate::saved::Saved;
use farm_shared::heartbeat::{self, KillOutcome};
use farm_shared::id::Id;
use std::fmt;
use std::net::IpAddr;

/// Something that happened. Front ends are numbered as in [`crate::Settings::fronts`].
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Time has passed: at [`super::Agent::deadline`] at the latest.
    Tick,
    /// The load source's answer to [`Effect::Read`], or its word of its own accord.
    Load(Result<Reading, LoadError>),
    /// The operator wants the member drained, or no longer does.
    OperatorDrain(bool),
    /// What the machine's landlord says of its end; none for nothing. Silence of the metadata service is no event.
    Machine(Option<heartbeat::Notice>),
    /// The source address of the way to a front end; none while there is none.
    Route {
        /// Which front end.
        front: usize,
        /// Our address as it will see it.
        source: Option<IpAddr>,
    },
    /// An answer from a configured front end, not yet believed.
    Reply {
        /// Which front end.
        front: usize,
        /// The MAC as it came.
        mac: [u8; 32],
        /// The JSON text.
        body: Vec<u8>,
    },
    /// What came of an [`Effect::Kill`].
    Killed {
        /// The wish.
        key: Id,
        /// Processes that were ended.
        count: u32,
    },
    /// A front end could not be reached.
    FrontError {
        /// Which front end.
        front: usize,
        /// Why, for people.
        why: String,
    },
    /// The program is to end.
    Stop,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask the load source; the answer comes as [`Event::Load`].
    Read,
    /// Send a heartbeat.
    Send {
        /// To which front end.
        front: usize,
        /// The MAC as hexadecimal digits.
        mac: String,
        /// The JSON text.
        body: Vec<u8>,
    },
    /// End all processes of this name; how many there were comes as [`Event::Killed`].
    Kill {
        /// The wish.
        key: Id,
        /// Their name.
        process: String,
    },
    /// Write this down before going on.
    Persist(Saved),
    /// Tell people.
    Notice(Notice),
    /// Everything is said: end.
    Exit,
}

/// News for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The first answer from a front end, or one after a silence that was logged.
    FrontHeard {
        /// Which front end.
        front: usize,
        /// Its id.
        id: Id,
    },
    /// A front end does not answer.
    FrontSilent {
        /// Which front end.
        front: usize,
        /// For how long, in milliseconds.
        silent_ms: u64,
        /// The last error on the way there.
        why: Option<String>,
    },
    /// Answers that were not believed, since the last notice of this kind.
    RepliesRefused {
        /// Where the last one came from.
        front: usize,
        /// Why the last one was refused.
        reason: &'static str,
        /// How many.
        count: u64,
    },
    /// A front end's clock differs from ours and is followed.
    ClockCorrected {
        /// Which front end.
        front: usize,
        /// Its clock minus ours, in milliseconds.
        offset_ms: i128,
    },
    /// Who wants the member drained has changed; empty: nobody.
    Drain {
        /// Ids of front ends, and the member's own.
        by: Vec<Id>,
    },
    /// The machine is to go, or no longer.
    Machine(Option<heartbeat::Notice>),
    /// A failure drill wants processes ended here.
    Drill {
        /// The wish.
        key: Id,
        /// Their name.
        process: String,
        /// What becomes of it.
        outcome: KillOutcome,
    },
    /// The load source fails.
    LoadFailed(LoadError),
    /// The load source has failed for so long that the backend counts as dead: nothing more is said about it.
    BackendDead,
    /// The first load, or one after a failure.
    LoadRead,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FrontHeard { id, .. } => write!(f, "{id} answers"),
            Self::FrontSilent { silent_ms, why, .. } => {
                write!(f, "no answer for {}.{} s", silent_ms / 1000, silent_ms % 1000 / 100)?;
                why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
            }
            Self::RepliesRefused { reason, count, .. } => write!(f, "{count} answers refused, the last one as {reason}"),
            Self::ClockCorrected { offset_ms, .. } => write!(f, "its clock differs from ours by {offset_ms} ms; followed"),
            Self::Drain { by } if by.is_empty() => f.write_str("drain ends"),
            Self::Drain { by } => {
                f.write_str("drains, as wanted by")?;
                by.iter().try_for_each(|id| write!(f, " {id}"))
            }
            Self::Machine(None) => f.write_str("the machine is to stay, after all"),
            Self::Machine(Some(notice)) => {
                write!(f, "the machine is to go: {} notice for {} ms since the epoch", notice.kind.label(), notice.at_ms)
            }
            Self::Drill { key, process, outcome } if process.is_empty() => write!(f, "drill {key}: {}", outcome.words()),
            Self::Drill { key, process, outcome } => write!(f, "drill {key} wants {process:?} ended: {}", outcome.words()),
            Self::LoadFailed(error) => write!(f, "the load cannot be read: {error}"),
            Self::BackendDead => f.write_str("the load has not been readable for too long: no more heartbeats until it is"),
            Self::LoadRead => f.write_str("the load is read"),
        }
    }
}

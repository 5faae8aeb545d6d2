//! What stood on the disk when the daemon started, back to a zone.
//!
//! All that was acknowledged comes back, and a write that was cut short is cut off. Whatever else does not hold is refused with
//! the file's name and what an operator can do: serving an older zone in silence would undo what clients were promised.

use std::sync::Arc;

use super::journal::{Entry, Header};
use super::{State, checkpoint, journal};
use crate::name::Name;
use crate::zone::{History, Zone};

/// The files of a zone, as they were read.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// The checkpoint, if there is one.
    pub checkpoint: Option<Vec<u8>>,
    /// The journal that goes on from it, if there is one.
    pub journal: Option<Vec<u8>>,
}

/// A zone that came back.
#[derive(Debug, Clone)]
pub struct Restored {
    pub(super) state: State,
    pub(super) generation: u64,
    /// The number of the next frame.
    pub(super) next: u64,
    /// Octets of the journal that hold; 0 if there is none, or none that ever held anything.
    pub(super) journal_len: u64,
    /// Octets of the checkpoint.
    pub(super) checkpoint_len: u64,
    /// Octets of a write that was cut short.
    pub cut: u64,
}

/// Which generation a checkpoint is of, without looking at its records; `None` if it is none.
pub fn generation_of(checkpoint: &[u8]) -> Option<u64> {
    checkpoint.get(8..16).and_then(|octets| octets.first_chunk()).map(|octets| u64::from_be_bytes(*octets))
}

impl Restored {
    /// How long the journal's file must be from now on.
    pub fn journal_len(&self) -> u64 {
        self.journal_len
    }

    /// The generation of the journal that goes on.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// Brings a zone back; `None` if nothing of it was stored.
///
/// # Errors
/// What does not hold, in words, with what to do about it.
pub fn restore(apex: &Name, stored: &Stored) -> Result<Option<Restored>, String> {
    let Some(octets) = &stored.checkpoint else {
        return match &stored.journal {
            None => Ok(None),
            Some(_) => Err(format!(
                "the journal of {apex} has no checkpoint to go on from; bring the checkpoint back, or move the journal away to start from the master file"
            )),
        };
    };
    let (meta, records) = checkpoint::read(octets).filter(|(meta, _)| meta.apex == *apex).ok_or_else(|| {
        format!(
            "the checkpoint of {apex} does not hold; bring it back from a backup, or move it and the journal away to start from the master file"
        )
    })?;
    let loaded = Zone::from_records(apex, records)
        .map_err(|problems| format!("the checkpoint of {apex} makes no zone: {}", first(&problems)))?;
    let state = State {
        zone: Arc::new(loaded.zone),
        history: Arc::new(History::default()),
        frozen: meta.frozen,
        seed: meta.seed,
        confirmed: meta.confirmed,
    };
    let mut restored = Restored {
        state,
        generation: meta.generation,
        next: meta.next,
        journal_len: 0,
        checkpoint_len: octets.len() as u64,
        cut: 0,
    };
    let Some(octets) = &stored.journal else { return Ok(Some(restored)) };
    let expect = Header { apex: apex.clone(), generation: meta.generation, first: meta.next };
    let Some((header, start)) = Header::read(octets) else {
        // The first write of a journal holds header and frame: one that was cut short was never acknowledged.
        if !journal::holds_a_frame(octets) {
            restored.cut = octets.len() as u64;
            return Ok(Some(restored));
        }
        return Err(refused(apex, "its header does not hold"));
    };
    if header != expect {
        return Err(refused(apex, "it belongs to another checkpoint"));
    }
    let read = journal::read(octets, start, header.first).map_err(|corrupt| refused(apex, &corrupt.to_string()))?;
    restored.next += read.entries.len() as u64;
    for entry in read.entries {
        restored.state.replay(entry).map_err(|why| refused(apex, &why))?;
    }
    restored.journal_len = read.len as u64;
    restored.cut = (octets.len() - read.len) as u64;
    Ok(Some(restored))
}

fn refused(apex: &Name, why: &str) -> String {
    format!(
        "the journal of {apex} does not hold: {why}; bring it back from a backup, or move it away to go on from the checkpoint, which loses what was updated since"
    )
}

fn first(problems: &[crate::zone::Problem]) -> String {
    problems.first().map(ToString::to_string).unwrap_or_default()
}

impl State {
    fn replay(&mut self, entry: Entry) -> Result<(), String> {
        match entry {
            Entry::Changes(_, diffs) => {
                for diff in diffs {
                    self.change(diff).map_err(|why| why.to_string())?;
                }
            }
            Entry::Frozen(frozen) => self.frozen = frozen,
            Entry::Seed(seed) => self.seed = seed,
            Entry::Confirmed(at) => self.confirmed = at,
        }
        Ok(())
    }
}

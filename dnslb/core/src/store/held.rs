//! One zone of the store: as it is served, as it will be once what is under way is on the disk, and what must be written.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

use super::checkpoint::{self, Meta};
use super::journal::{Entry, Header, frame};
use super::{RequestId, Restored, State, StoreEffect, ZoneStatus, is_dynamic};
use crate::config::{ZoneKind, ZoneSpec};
use crate::transfer::is_too_old;
use crate::zone::{ApplyError, Diff, Hosted, Zone};
use farm_shared::time::Wall;

/// A journal shorter than this is never worth a checkpoint, in octets.
const JOURNAL_OCTETS_MIN: u64 = 1 << 20;

/// Who waits for what is written.
#[derive(Debug)]
pub(super) enum Waiting {
    Client(RequestId),
    /// And what the operator is told.
    Operator(RequestId, String),
}

/// What was handed over to be written.
#[derive(Debug, Default)]
pub(super) enum Writing {
    #[default]
    Nothing,
    /// So many octets and frames of journal.
    Journal { octets: u64, frames: u64 },
    /// A checkpoint of so many octets.
    Checkpoint { octets: u64 },
}

/// An operator who waits for the master file to be written.
#[derive(Debug)]
pub(super) struct FileWanted {
    pub(super) request: RequestId,
    /// Whether the zone is to stay frozen.
    pub(super) freeze: bool,
    /// Whether the shell was told to write it.
    pub(super) asked: bool,
}

/// A zone.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) spec: ZoneSpec,
    /// As it is on the disk and served.
    pub(super) now: State,
    /// With what is not written yet.
    pub(super) next: State,
    /// What leads from one to the other.
    entries: Vec<Entry>,
    pub(super) writing: Writing,
    pub(super) waiting: Vec<(Waiting, u16)>,
    /// The state is written whole, because the journal is long or cannot hold what is new.
    whole: bool,
    /// The last write failed: the next one comes with something new to write, not before.
    failed: bool,
    generation: u64,
    next_frame: u64,
    journal_len: u64,
    /// The journal's length from which on a checkpoint is worth it.
    checkpoint_at: u64,
    /// The digest of the master file as configured last.
    file: [u8; 32],
    /// Whether a secondary's data is too old to be served.
    pub(super) expired: bool,
    /// An operator who waits for the master file.
    pub(super) file_wanted: Option<FileWanted>,
}

/// The digest of a zone's records, by which an edited master file is told from one that only looks new.
pub fn digest(zone: &Zone) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for record in zone.records() {
        context.update(record.owner.wire());
        context.update(&record.rtype.0.to_be_bytes());
        context.update(&record.ttl_s.to_be_bytes());
        context.update(&(record.rdata.len() as u16).to_be_bytes());
        context.update(record.rdata);
    }
    context.finish().as_ref().first_chunk().copied().unwrap_or_default()
}

impl Held {
    /// A zone with what its file says, or what came back from the disk. One that changes and was not there before is written whole.
    /// What came back of a secondary may be too old to be served, from the first moment on.
    pub(super) fn new(wall: Wall, spec: ZoneSpec, file: Arc<Zone>, restored: Option<Restored>) -> Self {
        let is_dynamic = is_dynamic(&spec);
        let is_secondary = spec.kind == ZoneKind::Secondary;
        // What a secondary has not had yet is not worth a file.
        let is_new = restored.is_none() && !is_secondary;
        let restored = restored.unwrap_or_else(|| {
            let state = if is_dynamic {
                State::of(file)
            } else {
                State { zone: file, history: Arc::default(), frozen: false, seed: [0; 32], confirmed: Wall::default() }
            };
            Restored { state, generation: 0, next: 0, journal_len: 0, checkpoint_len: 0, cut: 0 }
        });
        Self {
            spec,
            expired: is_secondary && is_too_old(wall, Some(restored.state.zone.soa()), restored.state.confirmed),
            now: restored.state.clone(),
            next: restored.state,
            entries: Vec::new(),
            writing: Writing::Nothing,
            waiting: Vec::new(),
            whole: is_dynamic && is_new,
            failed: false,
            generation: restored.generation,
            next_frame: restored.next,
            journal_len: restored.journal_len,
            checkpoint_at: restored.checkpoint_len.max(JOURNAL_OCTETS_MIN),
            file: [0; 32],
            file_wanted: None,
        }
    }

    /// With the master file as it is now.
    pub(super) fn with_file(mut self, file: &Zone) -> Self {
        if self.is_dynamic() {
            self.file = digest(file);
        }
        self
    }

    pub(super) fn is_dynamic(&self) -> bool {
        is_dynamic(&self.spec)
    }

    pub(super) fn file_differs(&self) -> bool {
        self.spec.kind == ZoneKind::Primary && self.is_dynamic() && self.file != self.next.seed
    }

    /// Whether nothing waits for the disk.
    pub(super) fn is_clean(&self) -> bool {
        self.entries.is_empty() && matches!(self.writing, Writing::Nothing)
    }

    pub(super) fn hosted(&self) -> Hosted {
        Hosted { history: Arc::clone(&self.now.history), expired: self.expired, ..Hosted::new(Arc::clone(&self.now.zone)) }
    }

    pub(super) fn status(&self) -> ZoneStatus {
        ZoneStatus {
            name: self.spec.name.to_string(),
            kind: match self.spec.kind {
                ZoneKind::Secondary => "secondary",
                ZoneKind::Primary if self.is_dynamic() => "dynamic",
                ZoneKind::Primary => "static",
            },
            serial: self.now.zone.serial(),
            records: self.now.zone.record_count(),
            frozen: self.now.frozen,
            file_differs: self.file_differs(),
            journal_octets: self.journal_len,
            history: self.now.history.len(),
        }
    }

    /// One version further, once it is written.
    pub(super) fn change(&mut self, wall: Wall, diff: Diff) -> Result<(), ApplyError> {
        self.next.change(diff.clone())?;
        self.entries.push(Entry::Changes(wall, vec![diff]));
        Ok(())
    }

    /// A secondary's data whole, without regard to what was there, once it is written.
    pub(super) fn replace(&mut self, zone: Arc<Zone>) {
        self.next = State { confirmed: self.next.confirmed, ..State::of(zone) };
        self.entries.clear();
        self.whole = true;
    }

    /// Several versions further, once they are written; none of them if one does not fit.
    pub(super) fn change_all(&mut self, wall: Wall, diffs: Vec<Diff>) -> Result<(), ApplyError> {
        let (before, written) = (self.next.clone(), self.entries.len());
        for diff in diffs {
            if let Err(why) = self.change(wall, diff) {
                self.next = before;
                self.entries.truncate(written);
                return Err(why);
            }
        }
        Ok(())
    }

    /// Something else than a change, once it is written.
    pub(super) fn note(&mut self, entry: Entry) {
        match &entry {
            Entry::Frozen(frozen) => self.next.frozen = *frozen,
            Entry::Seed(seed) => {
                self.next.seed = *seed;
                self.file = *seed;
            }
            Entry::Confirmed(at) => self.next.confirmed = *at,
            Entry::Changes(..) => {}
        }
        self.entries.push(entry);
    }

    /// What is to be written, if something is and nothing is under way.
    pub(super) fn write(&mut self, apex: &crate::name::Name) -> Option<StoreEffect> {
        if !matches!(self.writing, Writing::Nothing) || (self.entries.is_empty() && (!self.whole || self.failed)) {
            return None;
        }
        if !self.whole
            && let Some(octets) = self.frames(apex)
        {
            self.writing = Writing::Journal { octets: octets.len() as u64, frames: self.entries.len() as u64 };
            let (generation, at) = (self.generation, self.journal_len);
            return Some(StoreEffect::Record { apex: apex.clone(), generation, at, octets });
        }
        let generation = self.generation + 1;
        let meta = Meta {
            apex: apex.clone(),
            generation,
            next: self.next_frame,
            frozen: self.next.frozen,
            seed: self.next.seed,
            confirmed: self.next.confirmed,
        };
        let octets = checkpoint::write(&meta, &self.next.zone);
        self.writing = Writing::Checkpoint { octets: octets.len() as u64 };
        Some(StoreEffect::Checkpoint { apex: apex.clone(), generation, octets })
    }

    /// The master file to be written, if somebody wants it and everything else is on the disk.
    pub(super) fn write_file(&mut self) -> Option<StoreEffect> {
        if !self.is_clean() {
            return None;
        }
        let wanted = self.file_wanted.as_mut().filter(|wanted| !wanted.asked)?;
        wanted.asked = true;
        Some(StoreEffect::WriteFile { zone: Arc::clone(&self.now.zone), file: self.spec.file.clone() })
    }

    /// All entries as frames, behind a header if the journal is new; `None` if one of them is too long for a frame.
    fn frames(&self, apex: &crate::name::Name) -> Option<Vec<u8>> {
        let header = Header { apex: apex.clone(), generation: self.generation, first: self.next_frame };
        let mut octets = if self.journal_len == 0 { header.to_octets() } else { Vec::new() };
        for (number, entry) in (self.next_frame..).zip(&self.entries) {
            octets.extend_from_slice(&frame(number, entry)?);
        }
        Some(octets)
    }

    /// What was handed over is on the disk, or is not: then everything that was to come is undone. Gives those who waited.
    pub(super) fn recorded(&mut self, asked: Writing, is_written: bool) -> Vec<(Waiting, u16)> {
        self.failed = !is_written;
        if !is_written {
            if matches!(asked, Writing::Checkpoint { .. }) && self.journal_len > 0 {
                // The journal goes on. It is tried again when that has grown by a half.
                self.whole = false;
                self.checkpoint_at = self.journal_len + self.journal_len / 2;
                if self.entries.is_empty() {
                    return Vec::new();
                }
            }
            self.entries.clear();
            self.next = self.now.clone();
            return std::mem::take(&mut self.waiting);
        }
        match asked {
            Writing::Nothing => {}
            Writing::Journal { octets, frames } => {
                self.journal_len += octets;
                self.next_frame += frames;
            }
            Writing::Checkpoint { octets } => {
                (self.generation, self.journal_len, self.whole) = (self.generation + 1, 0, false);
                self.checkpoint_at = octets.max(JOURNAL_OCTETS_MIN);
            }
        }
        // Nothing was taken in while the disk was at work: the shell brings outcomes before it brings more.
        self.now = self.next.clone();
        self.entries.clear();
        self.whole |= self.journal_len > self.checkpoint_at;
        std::mem::take(&mut self.waiting)
    }
}

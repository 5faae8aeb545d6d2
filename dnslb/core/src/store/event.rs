//! What goes into the store and what comes out of it. Plain data; nothing here decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Restored;
use crate::config::{Spec, ZoneSpec};
use crate::name::Name;
use crate::transfer::Fetched;
use crate::update::{Requestor, Update};
use crate::zone::{Zone, Zones};

/// Tells apart who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Something happened.
#[derive(Debug)]
pub enum StoreEvent {
    /// A client wants a zone changed; its signature was verified.
    Update {
        /// Who is to be told.
        request: RequestId,
        /// What is to be done.
        update: Box<Update>,
        /// Who asks for it.
        requestor: Requestor,
    },
    /// What [`StoreEffect::Record`] or [`StoreEffect::Checkpoint`] asked for was done, or why not.
    Recorded {
        /// The zone.
        apex: Name,
        /// Whether it is on the disk now.
        result: Result<(), String>,
    },
    /// A primary gave something newer, or said that there is nothing.
    Transferred {
        /// Who is to be told, as an operator would be.
        request: RequestId,
        /// The secondary zone.
        apex: Name,
        /// What it gave.
        fetched: Fetched,
    },
    /// A secondary zone's data is too old to be served, or is served again.
    Expired {
        /// The zone.
        apex: Name,
        /// Which of the two.
        expired: bool,
    },
    /// What [`StoreEffect::Adopt`] asked for.
    Adopted {
        /// The zone.
        apex: Name,
        /// What was stored of it.
        restored: Option<Restored>,
    },
    /// An operator's word about one zone.
    Order {
        /// Who is to be told.
        request: RequestId,
        /// The zone.
        apex: Name,
        /// What is wanted.
        order: Order,
    },
    /// What [`StoreEffect::WriteFile`] asked for was done, or why not.
    FileWritten {
        /// The zone.
        apex: Name,
        /// Whether the master file is as the zone now.
        result: Result<(), String>,
    },
    /// A configuration, with the zones of its files and, for those that change and were not held before, what was stored.
    Configured {
        /// What it says.
        spec: Arc<Spec>,
        /// The zones of its files.
        zones: Arc<Zones>,
        /// Zones that came back from the disk.
        restored: BTreeMap<Name, Restored>,
    },
}

/// What an operator wants of a zone that is updated.
#[derive(Debug, Clone)]
pub enum Order {
    /// Write it to its master file and take no updates until it is thawed.
    Freeze,
    /// Take updates again; the master file as it is now, if it was edited meanwhile, becomes the zone.
    Thaw(Arc<Zone>),
    /// Write it to its master file.
    Sync,
    /// The master file becomes the zone, whatever was updated.
    Reload(Arc<Zone>),
}

/// Something is to be done.
#[derive(Debug)]
pub enum StoreEffect {
    /// Append this to the zone's journal and make it durable, then bring [`StoreEvent::Recorded`].
    Record {
        /// The zone.
        apex: Name,
        /// The generation of its journal.
        generation: u64,
        /// Length of the journal before this, in octets.
        at: u64,
        /// What to append: the header first, if the journal is new.
        octets: Vec<u8>,
    },
    /// Put this in the place of the zone's checkpoint and remove the journals of other generations, then bring
    /// [`StoreEvent::Recorded`].
    Checkpoint {
        /// The zone.
        apex: Name,
        /// The generation of the journal that goes on from it.
        generation: u64,
        /// The file.
        octets: Vec<u8>,
    },
    /// Write the zone to its master file, then bring [`StoreEvent::FileWritten`].
    WriteFile {
        /// The zone's data.
        zone: Arc<Zone>,
        /// The file, as configured.
        file: String,
    },
    /// Serve these from now on.
    Publish(Arc<Zones>),
    /// Tell whoever sent an update, once what was published before is served.
    Respond(RequestId, u16),
    /// Tell an operator.
    Answer(RequestId, Result<String, String>),
    /// Remove what is stored of this zone: it is gone.
    Forget(Name),
    /// A catalog brought this zone: bring [`StoreEvent::Adopted`] with what is stored of it if that is to be kept, else remove that.
    Adopt {
        /// The zone.
        apex: Name,
        /// Whether what is stored is of this life of the zone.
        keep: bool,
    },
    /// These zones are catalogs', beside those of the configuration.
    Members(Arc<Vec<ZoneSpec>>),
    /// The zone has a new version: tell its secondaries.
    Changed(Name),
    /// Write a log line.
    Notice(String),
}

/// What is known of a zone, for operators.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ZoneStatus {
    /// Its apex.
    pub name: String,
    /// `static`, `dynamic` or `secondary`.
    pub kind: &'static str,
    /// The serial that is served.
    pub serial: u32,
    /// Its records.
    pub records: usize,
    /// Whether an operator has it frozen.
    pub frozen: bool,
    /// Whether the master file has other content than the one that the zone's data followed last.
    pub file_differs: bool,
    /// Octets of its journal.
    pub journal_octets: u64,
    /// Changes that an incremental transfer can give.
    pub history: usize,
}

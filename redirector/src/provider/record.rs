//! What the process provider knows about one instance, on disk: the only thing that survives a restart of the redirector.
//!
//! A record is written before the step that it announces (boot before commands, commands before "running"), so that a crash at any
//! point leaves either nothing, or a record from which the step can be repeated. It must never be the reason for a second launch.

use super::identity::Identity;
use farm_daemon::state_dir::{read_capped, write_atomically};
use farm_shared::id::Id;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

const RECORD_BYTES_MAX: u64 = 64 * 1024;

/// One instance at rest, `state_dir/instances/<id>.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The form's version: 1.
    pub(crate) v: u32,
    /// The farm whose instance it is: the tag by which it is adopted.
    pub(crate) farm: Id,
    /// The member that it runs.
    pub(crate) member_id: Id,
    /// The intent that launched it: the other tag.
    pub(crate) intent: String,
    /// What makes a repeated launch the same launch.
    pub(crate) token: String,
    /// Its own loopback address.
    pub(crate) address: Ipv4Addr,
    /// When it was launched, milliseconds since the epoch.
    pub(crate) launched_wall_ms: u64,
    /// When its commands are due: the end of its boot delay, milliseconds since the epoch.
    pub(crate) due_wall_ms: u64,
    /// When its commands were started, milliseconds since the epoch; 0 before.
    pub(crate) started_wall_ms: u64,
    /// The boot of the machine on which `processes` mean something.
    pub(crate) boot: String,
    /// How far it is.
    pub(crate) phase: Phase,
    /// Its commands' processes, in the order of the commands.
    pub(crate) processes: Vec<Identity>,
    /// It failed, and is kept for inspection: the third tag.
    #[serde(default)]
    pub(crate) kept: bool,
}

/// How far an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// Waits for the end of its boot delay.
    Booting,
    /// Its commands are being started: after a crash, look for them before starting them.
    Starting,
    /// All commands run.
    Running,
    /// Its commands were told to stop: it is ended for good.
    Stopping,
    /// Its commands were told to stop: it is to be started again.
    Halting,
    /// None of its commands runs, until it is started.
    Stopped,
}

/// The directory of records, logs and keys of instances.
#[derive(Clone, Debug)]
pub(crate) struct Shelf(PathBuf);

impl Shelf {
    /// `state_dir/instances`, made if it is missing.
    pub(crate) fn open(state_dir: &Path) -> io::Result<Self> {
        let dir = state_dir.join("instances");
        std::fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }

    /// The instance's own directory: logs, key, and whatever its commands keep.
    pub(crate) fn home(&self, id: &Id) -> PathBuf {
        self.0.join(id.as_str())
    }

    /// All records; a damaged one is reported by its path and skipped.
    pub(crate) fn load(&self) -> io::Result<(Vec<Record>, Vec<String>)> {
        let mut records = Vec::new();
        let mut damaged = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            match read_record(&path) {
                Ok(record) => records.push(record),
                Err(error) => damaged.push(format!("{}: {error}", path.display())),
            }
        }
        records.sort_by(|a: &Record, b| a.member_id.cmp(&b.member_id));
        Ok((records, damaged))
    }

    /// Writes a record so that a crash leaves the old one or the new one.
    pub(crate) fn save(&self, record: &Record) -> io::Result<()> {
        write_atomically(&self.path(&record.member_id), &serde_json::to_vec_pretty(record)?)
    }

    /// Forgets an instance. Its logs stay.
    pub(crate) fn remove(&self, id: &Id) -> io::Result<()> {
        match std::fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(&self, id: &Id) -> PathBuf {
        self.0.join(format!("{id}.json"))
    }
}

fn read_record(path: &Path) -> io::Result<Record> {
    let record: Record = serde_json::from_slice(&read_capped(path, RECORD_BYTES_MAX)?)?;
    if record.v == 1 { Ok(record) } else { Err(io::Error::other(format!("version {} is not known", record.v))) }
}

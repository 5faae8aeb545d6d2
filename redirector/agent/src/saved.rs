//! What outlives a restart of the agent: its incarnation and the drain wishes it was told. One small JSON file, replaced whole.
//!
//! A damaged or unreadable file must never keep a backend from being announced: the caller says so and begins afresh.

use farm_shared::id::Id;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The state at rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The form's version: 1.
    pub v: u32,
    /// The last incarnation that was used, milliseconds since the epoch; 0 for none.
    pub inc: u64,
    /// The front ends that wanted it drained when last heard.
    #[serde(default)]
    pub drain_by: BTreeSet<Id>,
    /// Wishes of failure drills that were looked at, the newest last: none is obeyed twice.
    #[serde(default)]
    pub wished: VecDeque<Id>,
}

/// Reads the state file; no file is the state of a first start.
pub fn load_saved(path: &Path) -> io::Result<Saved> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Saved::default()),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
    let saved: Saved = serde_json::from_slice(&text).map_err(io::Error::other)?;
    if saved.v == 1 { Ok(saved) } else { Err(io::Error::other(format!("found version {}, expected 1", saved.v))) }
}

/// Replaces the state file: a crash leaves the old one or the new one.
pub(crate) fn store(path: &Path, saved: &Saved) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(saved).map_err(io::Error::other)?)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_as_it_went() {
        let folder = std::env::temp_dir().join(format!("farm-agent-saved-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("state.json");
        assert_eq!(load_saved(&path).unwrap(), Saved::default());
        let saved =
            Saved { v: 1, inc: 7, drain_by: [Id::new("door1").unwrap()].into(), wished: [Id::new("d1-1").unwrap()].into() };
        store(&path, &saved).unwrap();
        store(&path, &saved).unwrap();
        assert_eq!(load_saved(&path).unwrap(), saved);
        for damaged in ["", "{", "{\"v\":2,\"inc\":1}", "{\"v\":1,\"inc\":-1}"] {
            fs::write(&path, damaged).unwrap();
            assert!(load_saved(&path).is_err(), "{damaged}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}

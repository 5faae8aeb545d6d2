//! The directory in which a daemon remembers across restarts. Files are replaced whole: after a crash the old or the new text
//! stands there, never half of one. A full disk is an error that is counted, and the daemon serves on.

use rustix::fs::{FlockOperation, flock};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A locked directory. Calls block on the disk: run them off the event loop.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    failures: AtomicU64,
    /// Held while the daemon lives; the kernel lets go of it when the process ends, however it ends.
    _lock: File,
}

impl StateDir {
    /// Makes the directory (0700) if need be, and locks it. [`io::ErrorKind::WouldBlock`] if another process holds it.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|e| {
            let e = io::Error::from(e);
            let what = format!("{}: another daemon uses this directory", path.display());
            if e.kind() == io::ErrorKind::WouldBlock { io::Error::new(e.kind(), what) } else { e }
        })?;
        Ok(Self { path: path.into(), failures: AtomicU64::new(0), _lock: lock })
    }

    /// Replaces a file, durable when this returns. A failure is counted in [`Self::failures`] too.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.counted(self.file(name).and_then(|file| write_atomically(&file, bytes)))
    }

    /// Adds to the end of a file, durable when this returns: for journals. After a crash the last record may be cut short.
    pub fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let append = |file: PathBuf| {
            let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(file)?;
            file.write_all(bytes)?;
            file.sync_data()
        };
        self.counted(self.file(name).and_then(append))
    }

    /// A file's bytes; `None` if there is none, an error if it is longer than `bytes_max`.
    pub fn read(&self, name: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        match read_capped(&self.file(name)?, bytes_max) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }

    /// Writes that failed since the start.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, name: &str) -> io::Result<PathBuf> {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
        if plain { Ok(self.path.join(name)) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    fn counted(&self, result: io::Result<()>) -> io::Result<()> {
        if result.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

/// Replaces a file by way of a temporary one beside it: written, synced, renamed, the directory synced.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(".new");
    let temporary = dir.join(name);
    let write = || {
        // Opened first: without a descriptor left, it must fail before the old content is gone.
        let directory = File::open(dir)?;
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        directory.sync_all()
    };
    let result = write();
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// A file's bytes, but never more than `bytes_max`: [`io::ErrorKind::FileTooLarge`] then.
pub fn read_capped(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn what_is_written_is_read_back() {
        let dir = TempDir::new();
        let state = StateDir::open(&dir.path().join("a/b")).expect("directory");
        assert_eq!(state.read("roster.json", 10).expect("absent"), None);
        state.write("roster.json", b"one").expect("written");
        state.write("roster.json", b"two").expect("written");
        assert_eq!(state.read("roster.json", 3).expect("read").as_deref(), Some(&b"two"[..]));
        assert_eq!(state.read("roster.json", 2).expect_err("capped").kind(), io::ErrorKind::FileTooLarge);
        state.append("journal", b"1\n").expect("appended");
        state.append("journal", b"2\n").expect("appended");
        assert_eq!(state.read("journal", 9).expect("read").as_deref(), Some(&b"1\n2\n"[..]));
        assert_eq!(fs::read_dir(state.path()).expect("listing").count(), 3, "no temporary file is left");
    }

    #[test]
    fn one_daemon_at_a_time() {
        let dir = TempDir::new();
        let first = StateDir::open(dir.path()).expect("first");
        assert_eq!(StateDir::open(dir.path()).expect_err("second").kind(), io::ErrorKind::WouldBlock);
        drop(first);
        assert!(StateDir::open(dir.path()).is_ok());
    }

    #[test]
    fn failures_are_errors_and_counted() {
        let dir = TempDir::new();
        let state = StateDir::open(dir.path()).expect("directory");
        fs::create_dir(dir.path().join("taken")).expect("directory");
        assert!(state.write("taken", b"x").is_err());
        for name in ["", "../x", "a/b", ".hidden"] {
            assert!(state.write(name, b"x").is_err(), "{name}");
        }
        assert_eq!(state.failures(), 5);
        // A full disk, where the kernel offers one.
        if Path::new("/dev/full").exists() {
            std::os::unix::fs::symlink("/dev/full", dir.path().join("full")).expect("link");
            assert!(state.append("full", b"x").is_err());
        }
    }
}

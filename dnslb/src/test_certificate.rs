//! Folders of unit tests that go away, and certificates in them, made by the openssl command.
//!
//! A test on a machine without that command says so and ends.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A folder of one test.
pub(crate) struct TestFolder(PathBuf);

impl TestFolder {
    /// An empty folder; none, and a word about it, without openssl.
    pub(crate) fn new(name: &str) -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            eprintln!("{name}: skipped, there is no openssl");
            return None;
        }
        Some(Self::plain(name))
    }

    /// An empty folder.
    pub(crate) fn plain(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let path = std::env::temp_dir().join(format!("dnslb-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Makes a certificate for `host` that signs itself, valid for two days, and its key. Whether that worked.
pub(crate) fn make(folder: &Path, cert: &str, key: &str, host: &str) -> bool {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", &format!("/CN={host}"), "-addext", &format!("subjectAltName=DNS:{host}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert])
        .current_dir(folder)
        .output();
    made.is_ok_and(|output| output.status.success())
}

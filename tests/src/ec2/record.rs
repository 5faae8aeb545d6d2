//! Every request that reached the proxy, with what came of it: for the validator, and for tests that count.

use super::form::Params;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// When it came.
    pub at: Instant,
    /// Its action.
    pub action: String,
    /// Its parameters.
    pub params: Params,
    /// The HTTP status of the answer; 0 if it was lost.
    pub status: u16,
    /// EC2's error code; empty if there was none.
    pub code: String,
    /// It was not done again, because its token was known.
    pub replayed: bool,
}

/// The calls of a test, in memory and as JSON lines.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: std::fs::File,
    /// In the order in which they were answered.
    pub calls: Vec<Call>,
}

impl Log {
    /// A new one.
    pub fn new(path: &Path) -> Self {
        Self { path: path.into(), file: std::fs::File::create(path).expect("a log file"), calls: Vec::new() }
    }

    /// Where the lines are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a call, and its request as it came over the wire.
    pub fn add(&mut self, call: Call, method: &str, path: &str, headers: &BTreeMap<String, String>, body: &str) {
        let line = json!({
            "method": method, "path": path, "headers": headers, "body": body,
            "status": call.status, "code": call.code, "replayed": call.replayed,
        });
        writeln!(self.file, "{line}").expect("a line in the log");
        self.calls.push(call);
    }
}

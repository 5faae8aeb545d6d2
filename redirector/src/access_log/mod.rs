//! The access log: lines are made on the worker that answers, and written by a thread of their own.
//!
//! It must never make a worker wait: a worker puts its line into a buffer of fixed size, and what finds no place there is counted and
//! dropped. A disk that hangs costs lines, not answers.

mod line;

use farm_shared::draw::Draws;
use farm_shared::time::Wall;
use redirector_core::config::AccessLogSpec;
use redirector_core::door::Request;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;

const BUFFER_BYTES: usize = 256 * 1024;
const LINE_BYTES: usize = 4 * 1024;
const WRITE_MS: u64 = 100;
/// Tries at a buffer that its writer holds for the few nanoseconds of an exchange.
const TRIES: usize = 64;

/// What became of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessCounts {
    /// Written.
    pub written: u64,
    /// Dropped, because they came faster than they could be written.
    pub dropped: u64,
    /// Writes that failed, and times that the file could not be opened.
    pub failed: u64,
}

#[derive(Debug)]
struct Buffer {
    lines: Mutex<Vec<u8>>,
    taken: AtomicU64,
    dropped: AtomicU64,
}

/// The log, shared by workers and writer.
#[derive(Debug)]
pub struct AccessLog {
    spec: AccessLogSpec,
    buffers: Box<[Buffer]>,
    reopen: AtomicBool,
    stop: AtomicBool,
    failed: AtomicU64,
}

/// The thread that writes. Ends when it is dropped, after the last line.
#[derive(Debug)]
pub struct Writer {
    log: Arc<AccessLog>,
    thread: Option<JoinHandle<()>>,
}

impl AccessLog {
    /// Opens the file and starts the thread; nothing if the configuration names no file.
    pub fn start(spec: &AccessLogSpec, workers: usize) -> io::Result<Option<Writer>> {
        let Some(path) = spec.file.clone() else { return Ok(None) };
        let out = open(&path)?;
        let buffer = || Buffer {
            lines: Mutex::new(Vec::with_capacity(BUFFER_BYTES)),
            taken: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        };
        let log = Arc::new(Self {
            spec: spec.clone(),
            buffers: (0..workers).map(|_| buffer()).collect(),
            reopen: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            failed: AtomicU64::new(0),
        });
        let writes = Arc::clone(&log);
        let thread = std::thread::Builder::new().name("access-log".into()).spawn(move || writes.write(&path, out))?;
        Ok(Some(Writer { log, thread: Some(thread) }))
    }

    /// The pen of one worker.
    pub fn pen(self: &Arc<Self>, worker: usize, draws: Draws) -> Pen {
        Pen { log: Arc::clone(self), worker, draws, line: Vec::with_capacity(LINE_BYTES) }
    }

    /// The file was moved away: the next line goes into a new one.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
    }

    /// What became of lines so far.
    pub fn counts(&self) -> AccessCounts {
        let sum = |count: fn(&Buffer) -> &AtomicU64| self.buffers.iter().map(|b| count(b).load(Ordering::Relaxed)).sum();
        AccessCounts {
            written: sum(|b| &b.taken),
            dropped: sum(|b| &b.dropped),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    fn write(&self, path: &str, mut out: Box<dyn Write + Send>) {
        let mut spare = Vec::with_capacity(BUFFER_BYTES);
        loop {
            // Read before the buffers: what was put there before the stop is still written.
            let stops = self.stop.load(Ordering::Acquire);
            if self.reopen.swap(false, Ordering::AcqRel) {
                match open(path) {
                    Ok(new) => out = new,
                    Err(error) => {
                        self.failed.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(%error, path, "the access log cannot be opened anew: it goes on where it was");
                    }
                }
            }
            for buffer in &self.buffers {
                std::mem::swap(&mut spare, &mut *buffer.lines.lock().unwrap_or_else(PoisonError::into_inner));
                if spare.is_empty() {
                    continue;
                }
                let lines = spare.split(|octet| *octet == b'\n').count() as u64 - 1;
                match out.write_all(&spare).and_then(|()| out.flush()) {
                    Ok(()) => drop(buffer.taken.fetch_add(lines, Ordering::Relaxed)),
                    Err(error) => {
                        if self.failed.fetch_add(1, Ordering::Relaxed) == 0 {
                            tracing::error!(%error, path, "the access log cannot be written");
                        }
                        buffer.dropped.fetch_add(lines, Ordering::Relaxed);
                    }
                }
                spare.clear();
            }
            if stops {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(WRITE_MS));
        }
    }
}

impl Writer {
    /// The log that it writes.
    pub fn log(&self) -> &Arc<AccessLog> {
        &self.log
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.log.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn open(path: &str) -> io::Result<Box<dyn Write + Send>> {
    if path == "-" {
        return Ok(Box::new(io::stdout()));
    }
    let file: File = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    Ok(Box::new(file))
}

/// What one worker writes with.
#[derive(Debug)]
pub struct Pen {
    log: Arc<AccessLog>,
    worker: usize,
    draws: Draws,
    line: Vec<u8>,
}

impl Pen {
    /// Notes what a request got: its status, and where it was sent.
    pub fn note(&mut self, request: &Request<'_>, status: u16, location: Option<&str>, wall: Wall) {
        let spec = &self.log.spec;
        if !(spec.errors && status >= 400) && spec.sample < 1.0 && self.draws.unit() >= spec.sample {
            return;
        }
        self.line.clear();
        line::write(&mut self.line, spec, request, status, location, wall);
        let Some(buffer) = self.log.buffers.get(self.worker) else { return };
        for _ in 0..TRIES {
            let mut lines = match buffer.lines.try_lock() {
                Ok(lines) => lines,
                Err(TryLockError::Poisoned(lines)) => lines.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    std::hint::spin_loop();
                    continue;
                }
            };
            // Within its capacity it never allocates.
            if lines.len() + self.line.len() <= BUFFER_BYTES {
                lines.extend_from_slice(&self.line);
                return;
            }
            break;
        }
        buffer.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;

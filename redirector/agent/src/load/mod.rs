//! Where a member's load comes from. Each source turns what the kernel or the application says into one [`Reading`].
//!
//! A source must say that it failed rather than guess: the agent falls silent for a backend whose load cannot be read.

mod cgroup;
mod gauge;
mod pid;
mod proc;
mod procfs;
mod source;
mod url;

pub use source::{LoadSpec, Source};

use farm_shared::heartbeat::Load;
use serde::Serialize;
use std::fmt;
use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;

/// What a source says once per heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Reading {
    /// The load since the last reading.
    #[serde(flatten)]
    pub load: Load,
    /// The application wants to be drained.
    pub draining: bool,
}

/// Why a load could not be read, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError(pub String);

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LoadError {}

/// A source of load. It is asked once per heartbeat, just before that is sent; an answer that takes longer than half a period
/// counts as a failure and is cancelled.
pub trait AsyncLoadSource: Send + 'static {
    /// One reading, of the time since the last one.
    fn read(&mut self) -> impl Future<Output = Result<Reading, LoadError>> + Send;

    /// How often [`AsyncLoadSource::sample`] is to be called between readings; none for never.
    fn sample_every(&self) -> Option<Duration> {
        None
    }

    /// Looks at what changes too fast for one look per heartbeat.
    fn sample(&mut self) {}
}

/// The source of a program that knows its own load: the latest value of a channel. A closed channel is a failure.
#[derive(Clone, Debug)]
pub struct FromChannel(pub watch::Receiver<Reading>);

impl AsyncLoadSource for FromChannel {
    async fn read(&mut self) -> Result<Reading, LoadError> {
        if self.0.has_changed().is_err() {
            return Err(LoadError("the program that measures it has ended".to_owned()));
        }
        Ok(*self.0.borrow())
    }
}

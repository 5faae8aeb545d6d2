//! The farm over time: three ranges of samples, each bounded, kept across restarts in one small file.
//!
//! One sample a second goes into the finest range; coarser ranges take means of what is a level and sums of what is counted, so that a
//! burst of one second is still there after a day. It must never grow with the farm: a sample has the same size whatever its size.

mod events;
mod minute;
mod saved;

pub use events::{Event, Events};
pub use minute::Minute;

use crate::door::TallySum;
use redirector_core::farm::Status;
use std::collections::VecDeque;
use std::sync::Arc;

/// The file in `state_dir`.
pub const HISTORY_FILE: &str = "history.json";
/// Milliseconds between two samples.
pub const SAMPLE_MS: u64 = 1_000;

/// A range that can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Its name in queries.
    pub name: &'static str,
    /// Its name in sentences: "the last …".
    pub label: &'static str,
    /// Milliseconds of one sample.
    pub step_ms: u64,
    /// Samples kept.
    pub samples_max: usize,
}

impl Range {
    /// Milliseconds from its first sample to its last.
    pub fn span_ms(&self) -> u64 {
        self.step_ms * self.samples_max as u64
    }
}

/// All ranges, the finest first.
pub const RANGES: [Range; 3] = [
    Range { name: "10m", label: "ten minutes", step_ms: SAMPLE_MS, samples_max: 600 },
    Range { name: "2h", label: "two hours", step_ms: 10_000, samples_max: 720 },
    Range { name: "24h", label: "24 hours", step_ms: 60_000, samples_max: 1_440 },
];

/// What a sample holds. Levels come first, then what is counted since the sample before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Servers in service.
    Live,
    /// Servers that drain.
    Draining,
    /// Launches under way.
    Pending,
    /// Servers that are silent or forced down.
    Down,
    /// Servers that the scaler wants.
    Desired,
    /// Live sessions of all servers.
    Sessions,
    /// Sessions that the servers in service hold.
    Capacity,
    /// The same when launches under way have booted.
    CapacityPending,
    /// The same with as many servers as the scaler may have.
    CapacityMax,
    /// Mean run queue of the servers that take sessions.
    Queue,
    /// The longest of them.
    QueueMax,
    /// Busy share of all cores, 0 to 1.
    Busy,
    /// Who wait for a place, at all doors.
    Waiting,
    /// Places that are free, as the waiting room counts them.
    Places,
    /// Redirects of new sessions.
    New,
    /// Redirects of sessions that were here before.
    Returning,
    /// Requests that were told to wait.
    Waits,
    /// Requests that were refused.
    Rejects,
}

/// Columns of a sample.
pub const COLUMNS: [(Column, &str); 18] = [
    (Column::Live, "live"),
    (Column::Draining, "draining"),
    (Column::Pending, "pending"),
    (Column::Down, "down"),
    (Column::Desired, "desired"),
    (Column::Sessions, "sessions"),
    (Column::Capacity, "capacity"),
    (Column::CapacityPending, "capacity_pending"),
    (Column::CapacityMax, "capacity_max"),
    (Column::Queue, "queue"),
    (Column::QueueMax, "queue_max"),
    (Column::Busy, "busy"),
    (Column::Waiting, "waiting"),
    (Column::Places, "places"),
    (Column::New, "new"),
    (Column::Returning, "returning"),
    (Column::Waits, "waits"),
    (Column::Rejects, "rejects"),
];
const LEVELS: usize = Column::New as usize;

/// The farm during one span of time, in few numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Its end, milliseconds since the epoch.
    pub wall_ms: u64,
    /// How long it is, in milliseconds.
    pub span_ms: u64,
    pub(crate) values: [f32; COLUMNS.len()],
}

impl Sample {
    /// One of its numbers.
    pub fn get(&self, column: Column) -> f64 {
        self.values.get(column as usize).copied().unwrap_or_default().into()
    }

    /// What was counted, per second.
    pub fn rate(&self, column: Column) -> f64 {
        if self.span_ms == 0 { 0.0 } else { self.get(column) * 1e3 / self.span_ms as f64 }
    }

    /// All of them, in the order of [`COLUMNS`].
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    pub(crate) fn set(&mut self, column: Column, value: f64) {
        if let Some(place) = self.values.get_mut(column as usize) {
            *place = value as f32;
        }
    }

    /// This span and the one after it, as one.
    pub fn merge(&mut self, next: &Self) {
        let (mine, theirs) = (self.span_ms as f32, next.span_ms as f32);
        let all = (mine + theirs).max(1.0);
        for (n, (a, b)) in self.values.iter_mut().zip(next.values).enumerate() {
            *a = if n < LEVELS { (*a * mine + b * theirs) / all } else { *a + b };
        }
        self.wall_ms = next.wall_ms;
        self.span_ms += next.span_ms;
    }
}

/// One range: what is complete, and the sample that is being filled.
#[derive(Clone, Debug, Default)]
struct Ring {
    done: Arc<VecDeque<Sample>>,
    open: Option<Sample>,
}

impl Ring {
    fn add(&mut self, range: Range, sample: &Sample) {
        let step = |s: &Sample| s.wall_ms / range.step_ms;
        match &mut self.open {
            Some(open) if range.step_ms > SAMPLE_MS && step(open) == step(sample) => return open.merge(sample),
            open => {
                if let Some(full) = open.replace(*sample) {
                    self.push(range, full);
                }
            }
        }
        if range.step_ms <= SAMPLE_MS
            && let Some(full) = self.open.take()
        {
            self.push(range, full);
        }
    }

    fn push(&mut self, range: Range, sample: Sample) {
        let done = Arc::make_mut(&mut self.done);
        // The clock was set back: what it will say again must not be there twice.
        while done.back().is_some_and(|last| last.wall_ms >= sample.wall_ms) {
            done.pop_back();
        }
        done.push_back(sample);
        while done.len() > range.samples_max {
            done.pop_front();
        }
    }
}

/// The ranges, to look at: complete samples, oldest first. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Ranges([Arc<VecDeque<Sample>>; RANGES.len()], [Option<Sample>; RANGES.len()]);

impl Ranges {
    /// The samples of `RANGES[n]`.
    pub fn samples(&self, n: usize) -> &VecDeque<Sample> {
        static NONE: VecDeque<Sample> = VecDeque::new();
        self.0.get(n).map_or(&NONE, |samples| samples)
    }

    /// The same and the sample that is being filled.
    pub fn until_now(&self, n: usize) -> impl Iterator<Item = &Sample> + Clone {
        self.samples(n).iter().chain(self.1.get(n).and_then(Option::as_ref))
    }

    /// A range as JSON: names of columns, and rows of end, span and numbers.
    pub fn json(&self, n: usize) -> serde_json::Value {
        let columns: Vec<&str> = ["wall_ms", "span_ms"].into_iter().chain(COLUMNS.map(|(_, name)| name)).collect();
        let rows: Vec<serde_json::Value> = self.samples(n).iter().map(saved::row).collect();
        serde_json::json!({ "range": RANGES.get(n).map(|r| r.name), "columns": columns, "rows": rows })
    }

    #[cfg(test)]
    pub(crate) fn of(n: usize, samples: impl IntoIterator<Item = Sample>) -> Self {
        let mut ranges = Self::default();
        ranges.0[n] = Arc::new(samples.into_iter().collect());
        ranges
    }
}

/// The recorder.
#[derive(Clone, Debug, Default)]
pub struct History {
    rings: [Ring; RANGES.len()],
    last_up_ms: Option<u64>,
    counted: [u64; COLUMNS.len() - LEVELS],
    /// What happened.
    pub events: Events,
}

impl History {
    /// Adds one sample if it is time for one; says whether it was.
    pub fn add(&mut self, status: &Status, door: &TallySum) -> bool {
        let span_ms = self.last_up_ms.map_or(SAMPLE_MS, |last| status.up_ms.saturating_sub(last));
        if span_ms < SAMPLE_MS {
            return false;
        }
        let counts = counts(door);
        let mut sample = levels(status);
        sample.span_ms = span_ms;
        for ((value, now), before) in sample.values.iter_mut().skip(LEVELS).zip(counts).zip(self.counted) {
            *value = now.saturating_sub(before) as f32;
        }
        (self.counted, self.last_up_ms) = (counts, Some(status.up_ms));
        for (ring, range) in self.rings.iter_mut().zip(RANGES) {
            ring.add(range, &sample);
        }
        true
    }

    /// What there is to look at.
    pub fn ranges(&self) -> Ranges {
        Ranges(self.rings.each_ref().map(|ring| Arc::clone(&ring.done)), self.rings.each_ref().map(|ring| ring.open))
    }
}

/// In the order of the columns from [`Column::New`] on.
fn counts(door: &TallySum) -> [u64; COLUMNS.len() - LEVELS] {
    let (new, returning) = door.sessions();
    [new, returning, door.waits, door.rejects.iter().sum()]
}

fn levels(status: &Status) -> Sample {
    let mut sample = Sample { wall_ms: status.wall_ms, ..Sample::default() };
    let standing = |labels: &[&str]| status.servers.iter().filter(|s| labels.contains(&s.standing)).count() as f64;
    sample.set(Column::Live, standing(&["in_service", "unknown"]));
    sample.set(Column::Draining, standing(&["draining"]));
    sample.set(Column::Down, standing(&["silent", "admin_down"]));
    let scaler = &status.scaler;
    let (mut sessions, mut capacity, mut takers, mut queues, mut queue_max) = (0.0, 0.0, 0.0, 0.0, 0.0_f64);
    let (mut cores, mut busy) = (0.0, 0.0);
    for server in &status.servers {
        sessions += f64::from(server.sessions);
        if server.takes_new {
            takers += 1.0;
            capacity += f64::from(server.limit.unwrap_or(scaler.sessions_per_server));
            queues += server.queue;
            queue_max = queue_max.max(server.queue);
            cores += server.cores;
            busy += server.cores * server.busy;
        }
    }
    let each = if takers > 0.0 { capacity / takers } else { f64::from(scaler.sessions_per_server) };
    sample.set(Column::Sessions, sessions);
    sample.set(Column::Capacity, capacity);
    sample.set(Column::Queue, if takers > 0.0 { queues / takers } else { 0.0 });
    sample.set(Column::QueueMax, queue_max);
    sample.set(Column::Busy, if cores > 0.0 { busy / cores } else { 0.0 });
    sample.set(Column::Waiting, f64::from(status.room.waiting()));
    sample.set(Column::Places, f64::from(status.room.room));
    let limit = if scaler.enabled { each * f64::from(scaler.max) } else { capacity };
    if scaler.enabled {
        sample.set(Column::Pending, f64::from(scaler.pending));
        sample.set(Column::Desired, f64::from(scaler.desired));
    }
    sample.set(Column::CapacityPending, capacity + sample.get(Column::Pending) * each);
    sample.set(Column::CapacityMax, limit.max(capacity));
    sample
}

#[cfg(test)]
mod tests;

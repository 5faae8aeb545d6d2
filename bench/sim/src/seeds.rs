//! Many seeds on several threads, and what they come to. A seed's run does not depend on the thread or on the other seeds.

use crate::bug::Bug;
use crate::fault::Fault;
use crate::setup::Setup;
use crate::watch::Violation;
use crate::world::{Outcome, World};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

/// Which seeds, and of what kind.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The first.
    pub from: u64,
    /// How many.
    pub count: u64,
    /// Threads.
    pub jobs: usize,
    /// Minutes with faults.
    pub minutes: u64,
    /// A planted bug.
    pub bug: Option<Bug>,
    /// Faults that do not come.
    pub without: Vec<Fault>,
}

impl Wanted {
    /// One of them.
    ///
    /// # Errors
    /// A world that cannot be configured.
    pub fn world(&self, seed: u64, trace: bool) -> Result<World, String> {
        let setup = Setup { without: self.without.clone(), ..Setup::draw(seed, self.minutes * 60_000) };
        World::new(setup, self.bug, trace)
    }
}

/// All runs together.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds that ran.
    pub seeds: u64,
    /// Simulated time in milliseconds.
    pub lasted_ms: u64,
    /// Events, checks, heartbeats, calls, journal records, decisions of the door, answers of name servers.
    pub counts: BTreeMap<&'static str, u64>,
    /// Faults by kind.
    pub faults: BTreeMap<Fault, u64>,
    /// Seeds that broke a rule, in order.
    pub broken: BTreeMap<u64, Violation>,
    /// Time to convergence of each seed that broke none, in milliseconds.
    pub converged_ms: Vec<u64>,
}

impl Summary {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.lasted_ms += outcome.lasted_ms;
        let t = &outcome.totals;
        for (name, count) in [
            ("events", t.events),
            ("checks", outcome.checks),
            ("heartbeats", t.heartbeats),
            ("heartbeats refused", t.refused),
            ("calls to the cloud", t.calls),
            ("calls that arrived after their timeout", t.late_calls),
            ("listings", t.listings),
            ("journal records", t.records),
            ("instances launched", t.launched),
            ("servers ended", t.ended),
            ("crashes between two effects", t.crashes_between),
            ("decisions of the door", t.decisions),
            ("answers of name servers", t.answers),
            ("clients", t.clients),
            ("requests", t.requests),
            ("sessions completed", t.completed),
            ("sessions aborted", t.aborted),
            ("clients that gave up", t.given_up),
        ] {
            *self.counts.entry(name).or_default() += count;
        }
        for (fault, count) in t.faults.clone() {
            *self.faults.entry(fault).or_default() += count;
        }
        match outcome.broken {
            Some(violation) => {
                self.broken.insert(outcome.seed, violation);
            }
            None => self.converged_ms.push(t.converged_ms),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} seeds, {:.0} simulated hours", self.seeds, self.lasted_ms as f64 / 3_600_000.0)?;
        for (name, count) in &self.counts {
            writeln!(f, "  {name:40} {count:>14}")?;
        }
        writeln!(f, "faults:")?;
        for (fault, count) in &self.faults {
            writeln!(f, "  {:40} {count:>14}", crate::fault::label(&format!("{fault:?}")))?;
        }
        let mut times = self.converged_ms.clone();
        times.sort_unstable();
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).map_or(0.0, |ms| *ms as f64 / 1_000.0);
        writeln!(
            f,
            "from the last fault to the farm as planned: median {} s, 95 % {} s, longest {} s",
            at(0.5),
            at(0.95),
            at(0.999_999)
        )?;
        let mut rules: BTreeMap<String, u64> = BTreeMap::new();
        for violation in self.broken.values() {
            *rules.entry(format!("{:?}", violation.rule)).or_default() += 1;
        }
        writeln!(f, "{} seeds broke a rule: {rules:?}", self.broken.len())?;
        self.broken.iter().take(40).try_for_each(|(seed, violation)| writeln!(f, "  seed {seed}: {violation}"))
    }
}

/// Runs them. `tell` hears of each seed as it ends: how many are done, and its outcome.
///
/// # Errors
/// A world that cannot be configured.
pub fn run_seeds(wanted: &Wanted, mut tell: impl FnMut(u64, &Outcome)) -> Result<Summary, String> {
    let next = AtomicU64::new(0);
    let (sender, receiver) = mpsc::channel();
    let mut summary = Summary::default();
    std::thread::scope(|scope| {
        for _ in 0..wanted.jobs.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= wanted.count {
                        return;
                    }
                    let outcome = wanted.world(wanted.from + n, false).map(World::run);
                    if sender.send(outcome).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for outcome in receiver {
            let outcome = outcome?;
            tell(summary.seeds + 1, &outcome);
            summary.add(outcome);
        }
        Ok(summary)
    })
}

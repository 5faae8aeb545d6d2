//! The load of one process and everything it started: for a backend that is neither alone nor in a group of its own.

use super::LoadError;
use super::cgroup::cores_of;
use super::gauge::{Gauge, Mean, Usage, busy_share};
use super::procfs::{ids, read_text, task_stat, unified_path};
use farm_shared::time::Mono;
use rustix::process::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const FILE_BYTES_MAX: u64 = 64 * 1024;
const PROCESSES_MAX: usize = 1_024;
const THREADS_MAX: usize = 4_096;

/// Processor time by process id and start time, in ticks.
type Ticks = BTreeMap<(u32, u64), u64>;

/// Processor time and run queue over the process tree. The time of a child that began and ended between two looks is missed.
#[derive(Debug)]
pub(super) struct Tree {
    proc: PathBuf,
    root: u32,
    queue: Mean,
    last: Option<(Mono, Ticks)>,
}

impl Tree {
    pub(super) fn new(root: u32, proc: impl Into<PathBuf>) -> Self {
        Self { proc: proc.into(), root, queue: Mean::default(), last: None }
    }

    fn threads(&self, process: u32) -> Vec<PathBuf> {
        let tasks = fs::read_dir(self.proc.join(process.to_string()).join("task"));
        tasks.into_iter().flatten().flatten().take(THREADS_MAX).map(|entry| entry.path()).collect()
    }

    /// The process and its descendants, breadth first.
    fn processes(&self) -> Vec<u32> {
        let (mut found, mut seen, mut at) = (vec![self.root], BTreeSet::from([self.root]), 0);
        while let Some(process) = found.get(at).copied() {
            at += 1;
            for thread in self.threads(process) {
                let Ok(text) = read_text(&thread.join("children"), FILE_BYTES_MAX) else { continue };
                let new = ids(&text, PROCESSES_MAX).into_iter().filter(|child| seen.insert(*child));
                found.extend(new.take(PROCESSES_MAX.saturating_sub(at)));
                found.truncate(PROCESSES_MAX);
            }
        }
        found
    }

    fn cores(&self) -> f64 {
        let set = i32::try_from(self.root)
            .ok()
            .and_then(Pid::from_raw)
            .and_then(|pid| rustix::thread::sched_getaffinity(Some(pid)).ok());
        let allowed = set.map_or(f64::MAX, |set| f64::from(set.count().max(1)));
        let text = read_text(&self.proc.join(self.root.to_string()).join("cgroup"), FILE_BYTES_MAX).unwrap_or_default();
        let group = Path::new("/sys/fs/cgroup").join(unified_path(&text).unwrap_or(""));
        cores_of(&group).min(allowed)
    }
}

impl Gauge for Tree {
    fn sample(&mut self) {
        let threads = self.processes().into_iter().flat_map(|process| self.threads(process)).take(THREADS_MAX);
        let stats = threads.filter_map(|thread| task_stat(&read_text(&thread.join("stat"), FILE_BYTES_MAX).ok()?));
        self.queue.add(stats.filter(|stat| stat.running).count() as f64);
    }

    fn take(&mut self, now: Mono) -> Result<Option<Usage>, LoadError> {
        if !self.proc.join(self.root.to_string()).exists() {
            return Err(LoadError(format!("there is no process {}", self.root)));
        }
        let stat_of =
            |process: u32| task_stat(&read_text(&self.proc.join(process.to_string()).join("stat"), FILE_BYTES_MAX).ok()?);
        let stats = self.processes().into_iter().filter_map(|process| Some((process, stat_of(process)?)));
        let ticks: Ticks = stats.map(|(process, stat)| ((process, stat.started), stat.ticks)).collect();
        let Some((at, before)) = self.last.replace((now, ticks)).filter(|(at, _)| now > *at) else { return Ok(None) };
        let Some((_, ticks)) = &self.last else { return Ok(None) };
        let since = |(process, ticks): (&(u32, u64), &u64)| ticks.saturating_sub(before.get(process).copied().unwrap_or(0));
        let used = ticks.iter().map(since).fold(0, u64::saturating_add);
        let used_us = used.saturating_mul(1_000_000 / rustix::param::clock_ticks_per_second().max(1));
        let span_us = now.since_ms(at).saturating_mul(1_000);
        let cores = self.cores();
        let queue = self.queue.take().unwrap_or(used_us as f64 / span_us as f64);
        Ok(Some(Usage { queue, cores, busy: busy_share(used_us, span_us, cores) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(proc: &Path, process: u32, state: char, ticks: u64, children: &str) {
        let task = proc.join(format!("{process}/task/{process}"));
        fs::create_dir_all(&task).unwrap();
        let stat = format!("{process} (x y) {state} 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 5 0 0");
        fs::write(proc.join(format!("{process}/stat")), &stat).unwrap();
        fs::write(task.join("stat"), &stat).unwrap();
        fs::write(task.join("children"), children).unwrap();
    }

    #[test]
    fn a_tree_between_two_looks() {
        let proc = std::env::temp_dir().join(format!("farm-agent-pid-{}", std::process::id()));
        let per_second = rustix::param::clock_ticks_per_second();
        let mut tree = Tree::new(4_000_000, &proc);
        assert!(tree.take(Mono(0)).is_err());
        // A loop, as a hostile or a racing /proc may show.
        write(&proc, 4_000_000, 'S', 10, "4000001 4000002 4000000 ");
        write(&proc, 4_000_001, 'R', 0, "4000000 ");
        assert_eq!(tree.take(Mono(0)), Ok(None));
        tree.sample();
        write(&proc, 4_000_001, 'R', per_second / 4, "");
        write(&proc, 4_000_002, 'R', 0, "");
        tree.sample();
        let usage = tree.take(Mono(1_000)).unwrap().unwrap();
        assert_eq!(usage.queue, 1.5);
        assert_eq!(usage.busy, (per_second / 4) as f64 / per_second as f64 / usage.cores);
        fs::remove_dir_all(&proc).unwrap();
    }

    #[test]
    fn our_own_process() {
        let mut tree = Tree::new(std::process::id(), "/proc");
        assert_eq!(tree.take(Mono(0)), Ok(None));
        tree.sample();
        let usage = tree.take(Mono(100)).unwrap().unwrap();
        assert!(usage.cores > 0.0 && (0.0..=1.0).contains(&usage.busy) && usage.queue >= 0.0, "{usage:?}");
    }
}

//! The load of one control group (version 2): for a backend that shares its machine, as a container or a systemd service.

use super::LoadError;
use super::gauge::{Gauge, Mean, Usage, busy_share};
use super::procfs::{cpu_list_len, flat_value, ids, pressure_us, quota_cores, read_text, task_stat};
use farm_shared::time::Mono;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_BYTES_MAX: u64 = 64 * 1024;
const GROUPS_MAX: usize = 256;
const THREADS_MAX: usize = 4_096;

/// Processor time of `cpu.stat`, cores of `cpu.max`, run queue of the states of its threads (of the groups below it too); where
/// those cannot be seen, cores in use and the share of time in which some thread waited (`cpu.pressure`).
#[derive(Debug)]
pub(super) struct Cgroup {
    group: PathBuf,
    proc: PathBuf,
    queue: Mean,
    last: Option<Counters>,
}

#[derive(Clone, Copy, Debug)]
struct Counters {
    at: Mono,
    used_us: u64,
    waited_us: u64,
}

impl Cgroup {
    /// `group` is a path below `/sys/fs/cgroup`, with or without that.
    pub(super) fn new(group: &Path, proc: impl Into<PathBuf>) -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let group = if group.is_absolute() && group.exists() {
            group.to_owned()
        } else {
            root.join(group.strip_prefix("/").unwrap_or(group))
        };
        Self { group, proc: proc.into(), queue: Mean::default(), last: None }
    }

    fn running(&self) -> Option<u32> {
        let mut groups = vec![self.group.clone()];
        let (mut at, mut left, mut running, mut seen) = (0, THREADS_MAX, 0, false);
        while let Some(group) = groups.get(at).cloned() {
            at += 1;
            if let Ok(text) = read_text(&group.join("cgroup.threads"), FILE_BYTES_MAX) {
                seen = true;
                let threads = ids(&text, left);
                left -= threads.len();
                running += threads.iter().filter(|thread| is_running(&self.proc, **thread)).count() as u32;
            }
            let Ok(entries) = fs::read_dir(&group) else { continue };
            let below = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            groups.extend(below.take(GROUPS_MAX.saturating_sub(groups.len())).map(|entry| entry.path()));
        }
        seen.then_some(running)
    }
}

fn is_running(proc: &Path, thread: u32) -> bool {
    let stat = read_text(&proc.join(thread.to_string()).join("stat"), FILE_BYTES_MAX);
    stat.ok().and_then(|text| task_stat(&text)).is_some_and(|stat| stat.running)
}

/// Cores that a group may use: the least of its own `cpu.max` and those above it, of its set of processors, and of the machine.
pub(super) fn cores_of(group: &Path) -> f64 {
    let machine = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
    let set = read_text(&group.join("cpuset.cpus.effective"), FILE_BYTES_MAX).ok().and_then(|list| cpu_list_len(&list));
    let bound = set.filter(|len| *len > 0).map_or(machine, f64::from);
    let quotas =
        group.ancestors().take(32).filter_map(|above| quota_cores(&read_text(&above.join("cpu.max"), FILE_BYTES_MAX).ok()?));
    quotas.fold(bound, f64::min)
}

impl Gauge for Cgroup {
    fn sample(&mut self) {
        if let Some(running) = self.running() {
            self.queue.add(f64::from(running));
        }
    }

    fn take(&mut self, now: Mono) -> Result<Option<Usage>, LoadError> {
        let text = read_text(&self.group.join("cpu.stat"), FILE_BYTES_MAX).map_err(|e| LoadError(e.to_string()))?;
        let used_us = flat_value(&text, "usage_usec")
            .ok_or_else(|| LoadError("cpu.stat has no usage_usec: not a version 2 group".to_owned()))?;
        let waited_us = read_text(&self.group.join("cpu.pressure"), FILE_BYTES_MAX)
            .ok()
            .and_then(|text| pressure_us(&text))
            .unwrap_or(0);
        let last = self.last.replace(Counters { at: now, used_us, waited_us });
        let Some(last) = last.filter(|last| now > last.at) else { return Ok(None) };
        let span_us = now.since_ms(last.at).saturating_mul(1_000);
        let used_us = used_us.saturating_sub(last.used_us);
        let cores = cores_of(&self.group);
        let estimate = (used_us as f64 + waited_us.saturating_sub(last.waited_us) as f64) / span_us as f64;
        let queue = self.queue.take().unwrap_or(estimate);
        Ok(Some(Usage { queue, cores, busy: busy_share(used_us, span_us, cores) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_between_two_looks() {
        let root = std::env::temp_dir().join(format!("farm-agent-cgroup-{}", std::process::id()));
        let (group, proc) = (root.join("app"), root.join("proc"));
        fs::create_dir_all(group.join("below")).unwrap();
        let mut gauge = Cgroup::new(&group, &proc);
        assert!(gauge.take(Mono(0)).is_err());
        fs::write(group.join("cpu.max"), "50000 100000\n").unwrap();
        fs::write(group.join("cpu.stat"), "usage_usec 1000\n").unwrap();
        fs::write(group.join("cpu.pressure"), "some avg10=0 total=100\n").unwrap();
        assert_eq!(gauge.take(Mono(0)), Ok(None));
        fs::write(group.join("cpu.stat"), "usage_usec 251000\n").unwrap();
        fs::write(group.join("cpu.pressure"), "some avg10=0 total=100100\n").unwrap();
        gauge.sample();
        assert_eq!(gauge.take(Mono(1_000)), Ok(Some(Usage { queue: 0.35, cores: 0.5, busy: 0.5 })), "no threads to be seen");
        for (thread, state) in [(7, 'R'), (8, 'S'), (9, 'R')] {
            fs::create_dir_all(proc.join(thread.to_string())).unwrap();
            let stat = format!("{thread} (x) {state} 1 1 1 0 -1 0 0 0 0 0 2 3 0 0 20 0 1 0 5 0 0");
            fs::write(proc.join(thread.to_string()).join("stat"), stat).unwrap();
        }
        fs::write(group.join("cgroup.threads"), "7\n8\n10\n").unwrap();
        fs::write(group.join("below/cgroup.threads"), "9\n").unwrap();
        gauge.sample();
        let usage = gauge.take(Mono(2_000)).unwrap().unwrap();
        assert_eq!((usage.queue, usage.busy), (2.0, 0.0));
        fs::remove_dir_all(&root).unwrap();
    }
}

//! The whole machine's load from `/proc`: for a backend that has the machine to itself.

use super::LoadError;
use super::gauge::{Gauge, Mean, Usage};
use super::procfs::{MachineTime, machine_time, read_text, running_tasks};
use farm_shared::time::Mono;
use std::path::PathBuf;

const LOADAVG_BYTES_MAX: u64 = 4_096;
/// The `cpu` lines come first; what follows (a number for every interrupt) is not needed.
const STAT_BYTES_MAX: u64 = 256 * 1024;

/// Run queue of `/proc/loadavg`, sampled; busy share of `/proc/stat`.
#[derive(Debug)]
pub(super) struct Machine {
    root: PathBuf,
    queue: Mean,
    last: Option<MachineTime>,
}

impl Machine {
    pub(super) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), queue: Mean::default(), last: None }
    }
}

impl Gauge for Machine {
    fn sample(&mut self) {
        let Ok(text) = read_text(&self.root.join("loadavg"), LOADAVG_BYTES_MAX) else { return };
        if let Some(running) = running_tasks(&text) {
            // The one who looks is running, always.
            self.queue.add(f64::from(running.saturating_sub(1)));
        }
    }

    fn take(&mut self, _now: Mono) -> Result<Option<Usage>, LoadError> {
        let text = read_text(&self.root.join("stat"), STAT_BYTES_MAX).map_err(|e| LoadError(e.to_string()))?;
        let time = machine_time(&text).ok_or_else(|| LoadError("/proc/stat has no cpu line".to_owned()))?;
        let last = self.last.replace(time);
        let spent = |last: &MachineTime| time.total.checked_sub(last.total).filter(|total| *total > 0);
        let Some((last, total)) = last.and_then(|last| Some((last, spent(&last)?))) else { return Ok(None) };
        let queue = self.queue.take().ok_or_else(|| LoadError("/proc/loadavg cannot be read".to_owned()))?;
        let busy = time.busy.saturating_sub(last.busy) as f64 / total as f64;
        Ok(Some(Usage { queue, cores: f64::from(time.cpus), busy }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_machine_between_two_looks() {
        let root = std::env::temp_dir().join(format!("farm-agent-proc-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let mut machine = Machine::new(&root);
        assert!(machine.take(Mono(0)).is_err());
        fs::write(root.join("stat"), "cpu  100 0 0 900 0 0 0 0 0 0\ncpu0 1\ncpu1 1\n").unwrap();
        assert_eq!(machine.take(Mono(0)), Ok(None));
        for running in [1, 3, 5] {
            fs::write(root.join("loadavg"), format!("0.0 0.0 0.0 {running}/92 1\n")).unwrap();
            machine.sample();
        }
        fs::write(root.join("stat"), "cpu  150 0 0 1050 0 0 0 0 0 0\ncpu0 1\ncpu1 1\n").unwrap();
        assert_eq!(machine.take(Mono(0)), Ok(Some(Usage { queue: 2.0, cores: 2.0, busy: 0.25 })));
        assert_eq!(machine.take(Mono(0)), Ok(None), "no time has passed");
        fs::remove_dir_all(&root).unwrap();
    }
}

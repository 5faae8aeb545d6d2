//! Why: what a server cost is read from the kernel's own books, for all its threads and processes together.
//! Never: no estimate; what cannot be read is an error or absent, not zero. Parsing is pure and never panics.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Sub;

/// CPU time of a process and its descendants, all threads.
///
/// `total_ns` is the scheduler's exact sum. Without `IRQ_TIME_ACCOUNTING` in the kernel it includes the soft interrupts that ran in
/// the process's context: on loopback the delivery of what it sent. The split into user and system comes from timer ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// All of it, in nanoseconds.
    pub total_ns: u64,
    /// In user mode, in clock ticks.
    pub user_ticks: u64,
    /// In the kernel, in clock ticks.
    pub system_ticks: u64,
}

impl CpuTime {
    /// Share of the time that was spent in user mode, 0 to 1.
    pub fn user_share(&self) -> f64 {
        let ticks = self.user_ticks + self.system_ticks;
        if ticks == 0 { 0.0 } else { self.user_ticks as f64 / ticks as f64 }
    }
}

impl Sub for CpuTime {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self {
            total_ns: self.total_ns.saturating_sub(earlier.total_ns),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }
}

/// What one line of `/proc/PID/stat` says: parent, ticks in user mode, ticks in the kernel.
fn parse_stat(text: &str) -> Option<(u32, u64, u64)> {
    // The command's name may hold spaces and parentheses; the last one closes it.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some((fields.get(1)?.parse().ok()?, fields.get(11)?.parse().ok()?, fields.get(12)?.parse().ok()?))
}

/// Whether a process still runs; one that only waits to be collected does not.
pub fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// A process and all that descend from it.
pub fn family(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some((parent, ..)) = parse_stat(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut family = vec![root];
    let mut next = 0;
    while let Some(pid) = family.get(next).copied() {
        // Taken out, so that pids reused in the meantime cannot form a circle.
        family.extend(children.remove(&pid).unwrap_or_default());
        next += 1;
    }
    family
}

/// CPU time of some processes. One that has ended is an error: the difference would be wrong.
pub fn cpu_time(pids: &[u32]) -> io::Result<CpuTime> {
    let mut sum = CpuTime::default();
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, user, system) = parse_stat(&stat).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat: {stat}")))?;
        sum.user_ticks += user;
        sum.system_ticks += system;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let ns = text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok());
            sum.total_ns += ns.ok_or_else(|| io::Error::other(format!("schedstat of {pid}: {text}")))?;
        }
    }
    Ok(sum)
}

/// What one core did, in clock ticks since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreTime {
    /// Waiting for work, or for a disk.
    pub idle_ticks: u64,
    /// Taken by the machine below.
    pub steal_ticks: u64,
    /// All, those included.
    pub all_ticks: u64,
}

fn parse_core(text: &str, core: usize) -> Option<CoreTime> {
    let name = format!("cpu{core} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name))?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().map_while(|n| n.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are part of user.
    let at = |index: usize| ticks.get(index).copied();
    Some(CoreTime { idle_ticks: at(3)? + at(4)?, steal_ticks: at(7)?, all_ticks: ticks.iter().take(8).sum() })
}

/// What a core has done since boot.
pub fn core_time(core: usize) -> io::Result<CoreTime> {
    let text = fs::read_to_string("/proc/stat")?;
    parse_core(&text, core).ok_or_else(|| io::Error::other(format!("no core {core} in /proc/stat")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let good = "7 (a) b (c)) S 3 7 7 0 -1 4194560 1 0 0 0 250 750 9 9 20 0 1 0 5 1 1";
        for (text, expect) in [(good, Some((3, 250, 750))), ("", None), ("7 (x) S 3", None), ("7 x S 3 1 1", None)] {
            assert_eq!(parse_stat(text), expect, "{text}");
        }
    }

    #[test]
    fn core_lines() {
        let text = "cpu  9 9 9 9\ncpu0 10 1 20 100 5 2 3 4 50 0\ncpu1 1 2\n";
        let zero = CoreTime { idle_ticks: 105, steal_ticks: 4, all_ticks: 145 };
        assert_eq!(parse_core(text, 0), Some(zero));
        assert_eq!(parse_core(text, 1), None);
        assert_eq!(parse_core(text, 2), None);
    }

    #[test]
    fn own_time_can_be_read() {
        let own = std::process::id();
        assert!(family(own).contains(&own) && is_running(own) && !is_running(u32::MAX));
        assert!(cpu_time(&[own]).is_ok());
        assert!(cpu_time(&[u32::MAX]).is_err());
        assert!(core_time(0).unwrap().all_ticks > 0);
    }

    #[test]
    fn user_share_is_of_both() {
        let time = CpuTime { total_ns: 1, user_ticks: 1, system_ticks: 3 };
        assert_eq!(time.user_share(), 0.25);
        assert_eq!(CpuTime::default().user_share(), 0.0);
    }
}

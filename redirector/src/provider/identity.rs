//! Which process a pid means: a pid alone is reused, a pid with its start time on one boot is not.
//!
//! Nothing here may signal a process whose identity it has not just read again. The window between reading and signalling stays
//! (only a pidfd of a child would close it), but it is microseconds, where a recorded pid may be weeks old.

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

/// One process for as long as the machine is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Process id; also the id of its process group, since each command starts one.
    pub(crate) pid: i32,
    /// Field 22 of `/proc/PID/stat` (proc(5)): clock ticks after boot.
    pub(crate) start_ticks: u64,
}

/// The kernel's id of this boot: start times of another boot mean nothing.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|t| t.trim().to_owned()).unwrap_or_default()
}

impl Identity {
    /// The process that has this pid now; none if there is none, or only its zombie.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, start_ticks) = parse_stat(&text)?;
        (!matches!(state, 'Z' | 'X')).then_some(Self { pid, start_ticks })
    }

    /// Whether that very process still runs.
    pub(crate) fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Signals its process group, if it still runs.
    pub(crate) fn signal(&self, signal: Signal) {
        if !self.is_alive() {
            return;
        }
        if let Some(pid) = Pid::from_raw(self.pid) {
            // An error means that it ended meanwhile, which the next look will tell.
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }
}

/// State and start time from the text of `/proc/PID/stat`. The command's name may hold blanks and parentheses, so counting
/// starts behind the last one.
fn parse_stat(text: &str) -> Option<(char, u64)> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some((state, start))
}

/// Processes that carry `NAME=value` in the environment they were started with.
pub(crate) fn with_environment(name: &str, value: &str) -> Vec<Identity> {
    let wanted = format!("{name}={value}");
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let carries = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|bytes| bytes.split(|b| *b == 0).any(|entry| entry == wanted.as_bytes()))
    };
    pids.filter(carries).filter_map(Identity::of).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn stat_lines() {
        let tail = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(parse_stat(&format!("7 (sh) S {tail}")), Some(('S', 4242)));
        assert_eq!(parse_stat(&format!("7 (a) b) (c) R {tail}")), Some(('R', 4242)));
        for bad in ["", "7 (sh)", "7 (sh) S 1 2", ") Z"] {
            assert_eq!(parse_stat(bad), None, "{bad}");
        }
    }

    #[test]
    fn another_start_time_is_another_process() {
        let me = Identity::of(std::process::id() as i32).unwrap();
        assert!(me.is_alive());
        assert!(!Identity { start_ticks: me.start_ticks + 1, ..me }.is_alive());
    }
}

//! Ends processes by name, for failure drills. What may be ended is decided elsewhere ([`crate::Profile::drill_allow`]).
//!
//! It must never signal a process other than one that bears the name at that moment: each is held by a pidfd (pidfd_open(2)) while its
//! name is read again, so a pid that is used anew in between gets nothing.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs;

/// Set for the commands of provider `process`: many instances share a machine, and an agent ends processes of its own only.
const MARK: &str = "FARM_INSTANCE";
const PROCESSES_MAX: usize = 10_000;

/// SIGKILL to every process of that name, but ourselves and init. Returns how many got it.
pub(crate) fn end(process: &str) -> u32 {
    let mark = std::env::var(MARK).ok().map(|value| format!("{MARK}={value}"));
    end_all(process, mark.as_deref())
}

fn end_all(process: &str, mark: Option<&str>) -> u32 {
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let ours = std::process::id();
    let others = pids.filter(|pid| *pid > 1 && u32::try_from(*pid).is_ok_and(|p| p != ours)).take(PROCESSES_MAX);
    let mut count = 0;
    for pid in others {
        let Some(held) = Pid::from_raw(pid).and_then(|p| pidfd_open(p, PidfdFlags::empty()).ok()) else { continue };
        let is_named =
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end_matches('\n') == process);
        if is_named && mark.is_none_or(|mark| carries(pid, mark)) && pidfd_send_signal(&held, Signal::KILL).is_ok() {
            count += 1;
        }
    }
    count
}

/// Whether a process was started with that word in its environment.
fn carries(pid: i32, word: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|bytes| bytes.split(|b| *b == 0).any(|entry| entry == word.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::{Child, Command};

    /// A process whose name is unique to this test run, as a copy of `sleep` under that name.
    fn sleeper(name: &str, mark: &str) -> Child {
        let path = std::env::temp_dir().join(name);
        if !path.exists() {
            fs::copy("/bin/sleep", &path).unwrap();
        }
        Command::new(&path).arg("60").env(MARK, mark).process_group(0).spawn().unwrap()
    }

    #[test]
    fn only_the_named_of_the_same_instance_end() {
        let name = format!("fa{}kill", std::process::id());
        let (mut mine, mut other) = (sleeper(&name, "mail/b1/x"), sleeper(&name, "mail/b2/x"));
        assert_eq!(end_all("no-such-process", None), 0);
        assert_eq!(end_all(&format!("{name}-longer"), Some("FARM_INSTANCE=mail/b1/x")), 0);
        assert_eq!(end_all(&name, Some("FARM_INSTANCE=mail/b3/x")), 0);
        assert_eq!(end_all(&name, Some("FARM_INSTANCE=mail/b1/x")), 1);
        assert_eq!(mine.wait().unwrap().signal(), Some(9));
        assert!(other.try_wait().unwrap().is_none());
        assert_eq!(end_all(&name, None), 1);
        assert_eq!(other.wait().unwrap().signal(), Some(9));
        fs::remove_file(std::env::temp_dir().join(&name)).unwrap();
    }
}

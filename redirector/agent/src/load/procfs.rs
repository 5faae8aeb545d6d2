//! Parsers of the kernel's text files, pure functions over text that may hold anything, and one bounded way to read such a file.

use std::fs::File;
use std::io::{self, BufRead, Read as _};
use std::path::Path;

/// Reads a small file of `/proc` or `/sys`, at most `bytes_max` of it. Octets that are no UTF-8 (names of threads) are replaced.
pub(super) fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut text = Vec::new();
    File::open(path).map_err(named)?.take(bytes_max).read_to_end(&mut text).map_err(named)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The tasks that run or are ready to, of `/proc/loadavg` (`0.33 0.49 0.33 3/92 27512`).
pub(super) fn running_tasks(loadavg: &str) -> Option<u32> {
    loadavg.split_ascii_whitespace().nth(3)?.split_once('/')?.0.parse().ok()
}

/// Processor time of the whole machine since boot, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MachineTime {
    /// Everything but idle and waiting for a disk; what a hypervisor stole counts as busy, for it cannot be had.
    pub(super) busy: u64,
    /// All of it.
    pub(super) total: u64,
    /// Processors that are online.
    pub(super) cpus: u32,
}

/// The `cpu` lines of `/proc/stat`.
pub(super) fn machine_time(stat: &str) -> Option<MachineTime> {
    let mut lines = stat.lines();
    let fields = lines.next()?.strip_prefix("cpu ")?;
    // user nice system idle iowait irq softirq steal; guest time is within user.
    let ticks: Vec<u64> = fields.split_ascii_whitespace().take(8).map_while(|t| t.parse().ok()).collect();
    let total = ticks.iter().fold(0_u64, |sum, t| sum.saturating_add(*t));
    let idle = ticks.get(3)?.saturating_add(ticks.get(4).copied().unwrap_or(0));
    let is_cpu = |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let cpus = lines.take_while(is_cpu).count() as u32;
    Some(MachineTime { busy: total.saturating_sub(idle), total, cpus: cpus.max(1) })
}

/// What a process's or thread's `stat` says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TaskStat {
    /// It runs or is ready to.
    pub(super) running: bool,
    /// Processor time that it used, in ticks.
    pub(super) ticks: u64,
    /// When it started, in ticks since boot: tells a process from a later one of the same id.
    pub(super) started: u64,
}

/// `/proc/PID/stat`. The name in parentheses may hold anything, parentheses and line breaks too: fields count from the last one.
pub(super) fn task_stat(stat: &str) -> Option<TaskStat> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let running = fields.next()? == "R";
    let mut number = |skip: usize| fields.nth(skip)?.parse::<u64>().ok();
    let ticks = number(10)?.saturating_add(number(0)?);
    let started = number(6)?;
    Some(TaskStat { running, ticks, started })
}

/// Ids of processes or threads, separated by white space, at most `max` of them.
pub(super) fn ids(text: &str, max: usize) -> Vec<u32> {
    text.split_ascii_whitespace().take(max).filter_map(|id| id.parse().ok()).collect()
}

/// A line `KEY NUMBER` of a flat file such as `cpu.stat`.
pub(super) fn flat_value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Cores of `cpu.max` (`150000 100000` is 1.5); none for `max`.
pub(super) fn quota_cores(cpu_max: &str) -> Option<f64> {
    let (quota, period) = cpu_max.trim().split_once(' ')?;
    let cores = quota.parse::<u64>().ok()? as f64 / period.parse::<u64>().ok().filter(|p| *p > 0)? as f64;
    (cores > 0.0).then_some(cores)
}

/// Microseconds in which at least one task waited for a processor: the `some` line of `cpu.pressure`.
pub(super) fn pressure_us(pressure: &str) -> Option<u64> {
    let line = pressure.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split_ascii_whitespace().find_map(|word| word.strip_prefix("total=")?.parse().ok())
}

/// The path of the unified hierarchy in `/proc/PID/cgroup`.
pub(super) fn unified_path(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::/"))
}

/// How many processors a list such as `0-3,8` names.
pub(super) fn cpu_list_len(list: &str) -> Option<u32> {
    let mut len = 0_u32;
    for range in list.trim().split(',') {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
        len = len.saturating_add(to.checked_sub(from)?.saturating_add(1));
    }
    Some(len)
}

/// Established connections of a local port in `/proc/net/tcp` or `tcp6`, read line by line.
pub(super) fn established(table: impl BufRead, port: u16) -> io::Result<u32> {
    let mut table = table.take(TABLE_BYTES_MAX);
    let (mut line, mut count) = (Vec::new(), 0_u32);
    loop {
        line.clear();
        // A line is far shorter; the bound holds for a file that is no table.
        if (&mut table).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(count);
        }
        count = count.saturating_add(u32::from(is_established(&line, port)));
    }
}

const TABLE_BYTES_MAX: u64 = 256 * 1024 * 1024;
const LINE_BYTES_MAX: u64 = 4_096;

fn is_established(line: &[u8], port: u16) -> bool {
    const ESTABLISHED: &str = "01";
    let Ok(line) = std::str::from_utf8(line) else { return false };
    let mut words = line.split_ascii_whitespace();
    let (Some(_), Some(local), Some(_), Some(state)) = (words.next(), words.next(), words.next(), words.next()) else {
        return false;
    };
    let local_port = local.rsplit_once(':').and_then(|(_, hex)| u16::from_str_radix(hex, 16).ok());
    state == ESTABLISHED && local_port == Some(port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn loadavg() {
        for (text, expect) in [
            ("0.33 0.49 0.33 1/92 27512\n", Some(1)),
            ("0.0 0.0 0.0 12/3", Some(12)),
            ("0.3 0.4", None),
            ("", None),
            ("a b c d/e", None),
        ] {
            assert_eq!(running_tasks(text), expect, "{text:?}");
        }
    }

    #[test]
    fn stat_of_the_machine() {
        let text = "cpu  34358 0 11894 253037 870 0 167 16 0 0\ncpu0 16154 0 5590 128039 226 0 52 6 0 0\ncpu1 18203 0 6304 124998 644 0 114 9 0 0\nintr 487464 0\n";
        let expect =
            MachineTime { busy: 34_358 + 11_894 + 167 + 16, total: 34_358 + 11_894 + 253_037 + 870 + 167 + 16, cpus: 2 };
        assert_eq!(machine_time(text), Some(expect));
        for text in ["", "cpu ", "cpu 1 2 3", "cpux 1 2 3 4 5", "intr 1"] {
            assert_eq!(machine_time(text), None, "{text:?}");
        }
    }

    #[test]
    fn stat_of_a_task() {
        let text = "11520 (ba) R (sh) S 11515 11520 11520 0 -1 4194560 5346 1208420 0 262 2 3 2314 508 20 0 1 0 116162 5464064 1047";
        assert_eq!(task_stat(text), Some(TaskStat { running: false, ticks: 5, started: 116_162 }));
        assert!(task_stat(&text.replace(") S", ") R")).is_some_and(|s| s.running));
        for text in ["", "1 (x", "1 (x) R", "1 (x) R 1 2 3 4 5 6 7 8 9 10 a 12"] {
            assert_eq!(task_stat(text), None, "{text:?}");
        }
    }

    #[test]
    fn files_of_a_cgroup() {
        assert_eq!(flat_value("usage_usec 123\nuser_usec 100\n", "usage_usec"), Some(123));
        assert_eq!(flat_value("usage_usec_x 123\n", "usage_usec"), None);
        for (text, expect) in
            [("150000 100000\n", Some(1.5)), ("max 100000\n", None), ("1 0", None), ("0 1", None), ("", None)]
        {
            assert_eq!(quota_cores(text), expect, "{text:?}");
        }
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=4711\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n";
        assert_eq!(pressure_us(text), Some(4_711));
        assert_eq!(unified_path("9:name=systemd:/\n0::/system.slice/app.service\n"), Some("system.slice/app.service"));
        for (text, expect) in
            [("0-3,8\n", Some(5)), ("0", Some(1)), ("", None), ("3-1", None), ("0-4294967295", Some(u32::MAX))]
        {
            assert_eq!(cpu_list_len(text), expect, "{text:?}");
        }
        assert_eq!(ids("1\n2 x 3", 3), [1, 2]);
    }

    #[test]
    fn connections() {
        let text = "  sl  local_address rem_address   st tx_queue\n\
            0: 00000000:1F90 00000000:0000 0A 00000000:00000000\n\
            1: 0100007F:1F90 0100007F:8635 01 00000000:00000000\n\
            2: 0100007F:8635 0100007F:1F90 01 00000000:00000000\n\
            3: 00000000000000000000000001000000:1F90 00000000000000000000000001000000:8636 01 0\n\
            4: 0100007F:1F90 0100007F:8637 06 0\n";
        assert_eq!(established(text.as_bytes(), 8080).unwrap(), 2);
        assert_eq!(established(&b""[..], 8080).unwrap(), 0);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[ -~\n()0-9:.,/=-]{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            running_tasks(&text);
            machine_time(&text);
            machine_time(&format!("cpu {text}"));
            task_stat(&text);
            ids(&text, 8);
            flat_value(&text, "usage_usec");
            quota_cores(&text);
            pressure_us(&text);
            unified_path(&text);
            cpu_list_len(&text);
            established(&bytes[..], 80).unwrap();
        }
    }
}

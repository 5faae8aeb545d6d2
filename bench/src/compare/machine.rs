//! Why: a number means nothing without the machine it was measured on.
//! Never: no host name, no path, no user: the facts can be published as they are.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

/// What a reader must know about the machine.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor as it names itself.
    pub processor: String,
    /// Cores that may be used.
    pub cores: usize,
    /// The kernel's version, numbers alone.
    pub kernel: String,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Whether it runs on a hypervisor.
    pub virtual_machine: bool,
    /// Load average over the last minute, before the run.
    pub load_average: f64,
    /// The programs' versions, as they say themselves.
    pub versions: BTreeMap<String, String>,
}

fn value_of<'a>(text: &'a str, key: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'));
    line.unwrap_or_default().trim()
}

fn version_numbers(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect()
}

impl Machine {
    /// This machine.
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (processors, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        let number = |text: &str| text.split(' ').next().and_then(|n| n.parse().ok());
        Self {
            processor: value_of(&processors, "model name").to_string(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            kernel: version_numbers(&read("/proc/sys/kernel/osrelease")),
            memory_mib: number(value_of(&memory, "MemTotal")).unwrap_or(0.0) as u64 / 1_024,
            virtual_machine: value_of(&processors, "flags").split(' ').any(|flag| flag == "hypervisor"),
            load_average: number(&read("/proc/loadavg")).unwrap_or(0.0),
            versions: BTreeMap::new(),
        }
    }

    /// As a sentence.
    pub fn describe(&self) -> String {
        let Self { processor, cores, kernel, memory_mib, load_average, .. } = self;
        let kind = if self.virtual_machine { ", virtual machine" } else { "" };
        let gib = *memory_mib as f64 / 1_024.0;
        let mut text = format!(
            "{cores} cores ({processor}{kind}), {gib:.0} GiB, Linux {kernel}; load average before the run {load_average:.2}."
        );
        for (name, version) in &self.versions {
            let _ = write!(text, " {name}: {version}.");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_found_and_trimmed() {
        assert_eq!(value_of("a\t: 1\nmodel name\t: X 1\n", "model name"), "X 1");
        assert_eq!(value_of("", "x"), "");
        assert_eq!(version_numbers("6.18.44-some-host\n"), "6.18.44");
        let machine = Machine::here();
        assert!(machine.cores >= 1 && machine.describe().contains("cores"));
    }
}

//! Why: rounds become one number each by the median, and numbers become a table that shows ratios and what to doubt.
//! Never: no mean over rounds, which one disturbed round would move, and no ratio without both of its numbers.

use super::server::Spent;
use serde::Serialize;

/// One server in one case in one round.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// Right answers, or redirects.
    pub answers: u64,
    /// Wrong ones.
    pub wrong: u64,
    /// Questions without an answer.
    pub lost: u64,
    /// How long, in nanoseconds.
    pub elapsed_ns: u64,
    /// CPU time of the server, in nanoseconds.
    pub cpu_ns: u64,
    /// Share of it in user mode, 0 to 1, by timer ticks.
    pub user_share: f64,
    /// Share of the time that the server's core was idle, 0 to 1.
    pub idle_share: f64,
    /// Share of the time that the core was at others' work or taken away by the hypervisor, 0 to 1.
    pub others_share: f64,
    /// 99th percentile of the time to an answer in microseconds, where it was measured.
    pub p99_us: Option<f64>,
}

impl Sample {
    /// Of counts and what the server spent for them.
    pub fn new(answers: u64, wrong: u64, lost: u64, elapsed_ns: u64, spent: &Spent) -> Self {
        let busy = spent.cpu.total_ns as f64 / elapsed_ns.max(1) as f64;
        Self {
            answers,
            wrong,
            lost,
            elapsed_ns,
            cpu_ns: spent.cpu.total_ns,
            user_share: spent.cpu.user_share(),
            idle_share: spent.idle_share,
            others_share: (1.0 - spent.idle_share - busy).max(spent.steal_share).max(0.0),
            p99_us: None,
        }
    }

    fn cpu_us(&self) -> f64 {
        self.cpu_ns as f64 / 1e3 / self.answers.max(1) as f64
    }
}

/// One line of a table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What is compared within: rows of one group stand together.
    pub group: String,
    /// Who.
    pub name: String,
    /// Its rounds.
    pub samples: Vec<Sample>,
    /// Median CPU time per answer, in microseconds.
    pub cpu_us: f64,
}

/// The median; 0 of none. The upper one of two in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

impl Row {
    /// Of all rounds.
    pub fn new(group: &str, name: &str, samples: Vec<Sample>) -> Self {
        let cpu_us = median(samples.iter().map(Sample::cpu_us));
        Self { group: group.into(), name: name.into(), samples, cpu_us }
    }

    fn median(&self, value: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(value))
    }

    /// How far the rounds lie apart, as a share of the median.
    fn spread(&self) -> f64 {
        let values = || self.samples.iter().map(Sample::cpu_us);
        let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
        if self.cpu_us > 0.0 { (high - low) / self.cpu_us } else { 0.0 }
    }

    fn sum(&self, value: impl Fn(&Sample) -> u64) -> u64 {
        self.samples.iter().map(value).sum()
    }

    /// What makes this line doubtful, if anything does.
    fn doubts(&self) -> String {
        let (wrong, lost, answers) = (self.sum(|s| s.wrong), self.sum(|s| s.lost), self.sum(|s| s.answers));
        let mut doubts = Vec::new();
        if wrong > 0 {
            doubts.push(format!("{wrong} wrong"));
        }
        if lost > 0 {
            doubts.push(format!("{lost} lost"));
        }
        if answers == 0 {
            doubts.push("no answers".into());
        }
        let others = self.median(|s| s.others_share);
        if others > 0.05 {
            doubts.push(format!("core {:.0} % at others' work", others * 100.0));
        }
        if self.spread() > 0.1 {
            doubts.push(format!("rounds {:.0} % apart", self.spread() * 100.0));
        }
        doubts.join(", ")
    }
}

/// A table in Markdown. Ratios are to the row of the same group that is called `bases[i]`.
pub fn markdown(rows: &[Row], unit: &str, bases: &[&str]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("| | | CPU us | of it user | ");
    for base in bases {
        let _ = write!(text, "/ {base} | ");
    }
    let latency = rows.iter().flat_map(|row| &row.samples).any(|sample| sample.p99_us.is_some());
    let _ = write!(text, "{unit}/s | core idle |{} doubts |\n|---|---|", if latency { " p99 us |" } else { "" });
    text.push_str(&"---:|".repeat(4 + bases.len() + usize::from(latency)));
    text.push_str("---|\n");
    for row in rows {
        let user = row.median(|s| s.user_share * s.cpu_us());
        let _ = write!(text, "| {} | {} | {:.2} | {user:.2} | ", row.group, row.name, row.cpu_us);
        for base in bases {
            let base = rows.iter().find(|other| other.group == row.group && other.name == *base && other.cpu_us > 0.0);
            let _ = match base {
                Some(base) if row.cpu_us > 0.0 => write!(text, "{:.2} | ", row.cpu_us / base.cpu_us),
                _ => write!(text, "– | "),
            };
        }
        let rate = row.median(|s| s.answers as f64 * 1e9 / s.elapsed_ns.max(1) as f64);
        let _ = write!(text, "{rate:.0} | {:.0} % |", row.median(|s| s.idle_share) * 100.0);
        if latency {
            let _ = write!(text, " {:.0} |", row.median(|s| s.p99_us.unwrap_or(0.0)));
        }
        let _ = writeln!(text, " {} |", row.doubts());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(answers: u64, cpu_ns: u64) -> Sample {
        Sample {
            answers,
            wrong: 0,
            lost: 0,
            elapsed_ns: 1_000_000_000,
            cpu_ns,
            user_share: 0.25,
            idle_share: 0.0,
            others_share: 0.0,
            p99_us: None,
        }
    }

    #[test]
    fn medians() {
        for (values, expect) in [(&[][..], 0.0), (&[2.0], 2.0), (&[3.0, 1.0, 2.0], 2.0), (&[1.0, 9.0], 9.0)] {
            assert_eq!(median(values.iter().copied()), expect);
        }
    }

    #[test]
    fn one_disturbed_round_changes_nothing_but_the_doubts() {
        let row = Row::new("g", "x", vec![sample(100, 400_000), sample(100, 410_000), sample(100, 4_000_000)]);
        assert_eq!(row.cpu_us, 4.1);
        assert!(row.doubts().contains("apart"));
    }

    #[test]
    fn ratios_are_within_the_group() {
        let rows = [
            Row::new("g", "base", vec![sample(100, 200_000)]),
            Row::new("g", "x", vec![sample(100, 300_000)]),
            Row::new("h", "x", vec![sample(0, 0)]),
        ];
        let text = markdown(&rows, "answers", &["base"]);
        let lines: Vec<_> = text.lines().collect();
        let columns = lines[0].matches('|').count();
        assert!(lines.iter().all(|line| line.matches('|').count() == columns), "{text}");
        assert!(lines[3].contains("| 3.00 | 0.75 | 1.50 |"), "{text}");
        assert!(lines[4].contains('–') && lines[4].contains("no answers"), "{text}");
    }
}

//! What a drill found, for people and for programs. Times are milliseconds after the drill's start, unless they say otherwise.
//!
//! "Noticed" is told twice: by the control loop, which publishes a farm without the server, and by the users, who are no longer sent
//! there. A report must never leave out a hit that failed or was refused.

use super::{DrillStatus, Fault, Model, WoundState};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// The whole drill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The form's version: 1.
    pub v: u32,
    /// The drill's name, the beginning of its hits' keys.
    pub drill: String,
    /// The model.
    pub model: Model,
    /// The farm.
    pub farm: String,
    /// When it began, milliseconds since the epoch.
    pub started_wall_ms: u64,
    /// How long it took.
    pub took_ms: u64,
    /// How it ended.
    pub ended: String,
    /// What was asked for, in words.
    pub order: String,
    /// Every hit.
    pub hits: Vec<HitReport>,
    /// What was not done, and why.
    pub refused: Vec<String>,
    /// What users saw.
    pub users: Users,
    /// Twice a second.
    pub samples: Vec<Sample>,
}

/// One hit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HitReport {
    /// As the control loop tells it.
    #[serde(flatten)]
    pub status: DrillStatus,
    /// When it was asked for.
    pub at_ms: u64,
    /// From the hit until the last user was sent to it, in milliseconds; 0 if none was.
    pub last_user_ms: Option<u64>,
    /// Why this one was chosen.
    pub why: String,
}

/// What users saw: probes that enter by the door as a browser does, and follow where it sends them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    /// Requests that were begun.
    pub requests: u64,
    /// Requests whose first attempt failed: what a user would have to reload.
    pub errors: u64,
    /// Of those, the ones before the first hit: what has nothing to do with the drill.
    pub errors_before: u64,
    /// Attempts after a failed one.
    pub retries: u64,
    /// Requests that failed after all attempts.
    pub lost: u64,
    /// Requests that the door told to come again.
    pub waits: u64,
    /// The longest time without any successful request, in milliseconds.
    pub gap_ms_max: u64,
    /// Of requests that succeeded at once, in milliseconds.
    pub latency_ms_p50: Option<u64>,
    /// The 95th percentile.
    pub latency_ms_p95: Option<u64>,
    /// Kinds of failures, with how often each.
    pub failures: Vec<(String, u64)>,
}

/// The farm and its users at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at_ms: u64,
    /// Servers that get new sessions.
    pub healthy: u32,
    /// Servers that are silent or forced down.
    pub down: u32,
    /// Launches under way.
    pub pending: u32,
    /// Requests so far.
    pub requests: u64,
    /// Requests whose first attempt failed, so far.
    pub errors: u64,
}

impl Report {
    /// For a terminal.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "drill {} ({}) on farm {}: {}", self.drill, self.model, self.farm, self.order);
        let _ = writeln!(out, "ended after {}: {}", seconds(self.took_ms), self.ended);
        let mut rows = vec![
            ["hit", "server", "at", "what", "noticed", "last user", "capacity back", "healed", "word"].map(str::to_owned),
        ];
        for hit in &self.hits {
            let status = &hit.status;
            let time = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), seconds);
            let what = match (&status.fault, status.state) {
                (_, WoundState::Failed) => "failed".to_owned(),
                (Fault::Kill, _) => "ended".to_owned(),
                (Fault::Isolate, _) => "cut off".to_owned(),
                (Fault::KillProcess(process), _) => format!("{process} ended"),
            };
            rows.push([
                status.key.clone(),
                status.member.clone(),
                seconds(hit.at_ms),
                what,
                time(status.noticed_ms),
                time(hit.last_user_ms),
                time(status.restored_ms),
                time(status.healed_ms),
                status.word.clone().unwrap_or_else(|| hit.why.clone()),
            ]);
        }
        if self.hits.is_empty() {
            out.push_str("nothing was hit\n");
        } else {
            table(&mut out, &rows);
        }
        for why in &self.refused {
            let _ = writeln!(out, "not: {why}");
        }
        let users = &self.users;
        let percent = if users.requests == 0 { 0.0 } else { users.errors as f64 / users.requests as f64 * 100.0 };
        let _ = writeln!(
            out,
            "users: {} requests, {} failed at the first attempt ({percent:.2}%; {} of them before the first hit), {} retries, {} failed for good, {} told to wait; \
             longest gap {}",
            users.requests,
            users.errors,
            users.errors_before,
            users.retries,
            users.lost,
            users.waits,
            seconds(users.gap_ms_max),
        );
        if let (Some(p50), Some(p95)) = (users.latency_ms_p50, users.latency_ms_p95) {
            let _ = writeln!(out, "latency: median {p50} ms, 95th percentile {p95} ms");
        }
        for (what, count) in &users.failures {
            let _ = writeln!(out, "  {count} × {what}");
        }
        out
    }
}

fn seconds(ms: u64) -> String {
    format!("{:.2} s", ms as f64 / 1_000.0)
}

fn table<const N: usize>(out: &mut String, rows: &[[String; N]]) {
    let width = |at: usize| rows.iter().filter_map(|r| r.get(at)).map(|c| c.chars().count()).max().unwrap_or(0);
    for row in rows {
        let cells: Vec<String> = row.iter().enumerate().map(|(n, cell)| format!("{cell:<w$}", w = width(n))).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_report_reads_and_comes_back() {
        let status = DrillStatus {
            key: "d1-1".into(),
            model: Model::Network,
            fault: Fault::Isolate,
            member: "b2".into(),
            instance_id: Some("process-b2".into()),
            wall_ms: 5_000,
            state: WoundState::Healed,
            acted_ms: Some(0),
            noticed_ms: Some(1_530),
            restored_ms: None,
            healed_ms: Some(10_020),
            word: None,
        };
        let report = Report {
            v: 1,
            drill: "d1".into(),
            model: Model::Network,
            farm: "mail".into(),
            started_wall_ms: 4_000,
            took_ms: 31_400,
            ended: "done".into(),
            order: "1 server".into(),
            hits: vec![HitReport { status, at_ms: 1_000, last_user_ms: Some(1_480), why: "drawn".into() }],
            refused: vec!["b3: no".into()],
            users: Users { requests: 400, errors: 8, retries: 9, gap_ms_max: 140, ..Users::default() },
            samples: vec![Sample::default()],
        };
        let text = report.text();
        assert!(text.contains("d1-1  b2      1.00 s  cut off  1.53 s   1.48 s     -              10.02 s  drawn"), "{text}");
        assert!(text.contains("not: b3: no") && text.contains("8 failed at the first attempt (2.00%; 0 of them"), "{text}");
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }
}

//! The table of policies: every scenario under every policy at full size, beside what somebody who knew it all would have done.
//!
//! All policies get the same sessions, seed by seed, and the settings that a user gets who sets nothing. Nothing here may know one
//! scenario from another.

use crate::run::run;
use redirector_core::config::{ScalePolicy, ScalerSpec};
use redirector_core::whatif::{NAMES, Scenario};
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Built in, and not in the table: a zone's loss says the same, harder.
const LEFT_OUT: &str = "server-loss";
/// Of the sessions that came, so few may wait or be lost without being counted against a policy.
const HARM_FREE: f64 = 0.001;
/// As good as the best: within so much of it.
const WITHIN: f64 = 1.05;

/// The scenarios of the table, in its order: names of [`Scenario::builtin`].
pub fn scenarios() -> Vec<String> {
    NAMES.iter().filter(|name| **name != LEFT_OUT).map(|name| (*name).to_owned()).collect()
}

/// A policy with its settings.
#[derive(Clone, Debug)]
pub struct Contender {
    /// As in the table.
    pub name: &'static str,
    /// The rule.
    pub rule: ScalePolicy,
    /// With a pool of stopped instances, as many as there are servers at the start.
    pub warm: bool,
}

/// The policies that are compared.
pub fn contenders() -> Vec<Contender> {
    let of = |name, rule, warm| Contender { name, rule, warm };
    vec![
        of("paper", ScalePolicy::Paper, false),
        of("target tracking", ScalePolicy::TargetTracking, false),
        of("target tracking + warm", ScalePolicy::TargetTracking, true),
        of("step", ScalePolicy::Step, false),
        of("hpa", ScalePolicy::Hpa, false),
        of("ours", ScalePolicy::Sizing, false),
        of("ours + warm", ScalePolicy::Sizing, true),
    ]
}

impl Contender {
    /// The settings for a scenario.
    pub fn spec(&self, scenario: &Scenario) -> ScalerSpec {
        let warm = if self.warm { scenario.servers } else { 0 };
        ScalerSpec { policy: self.rule, warm, ..ScalerSpec::default() }
    }
}

/// One scenario under one policy: means over the seeds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// The scenario.
    pub scenario: String,
    /// The policy.
    pub policy: &'static str,
    /// Sessions that came.
    pub came: f64,
    /// Share of them that waited to begin.
    pub waited: f64,
    /// How long those waited on average, in seconds.
    pub wait_s: f64,
    /// Share of them that gave up or lost their server.
    pub aborted: f64,
    /// Changes between growing and shrinking.
    pub flaps: f64,
    /// Server-hours.
    pub server_h: f64,
    /// Server-hours over those of the all-knowing schedule.
    pub ratio: f64,
    /// The same over the bound that no schedule without waiting is below.
    pub ratio_bound: f64,
    /// Most servers at once.
    pub servers_max: f64,
}

impl Cell {
    fn harm(&self) -> f64 {
        self.waited.max(self.aborted)
    }
}

/// What is to be played.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Names of built-in scenarios.
    pub scenarios: Vec<String>,
    /// Policies, as in the table; all if empty.
    pub policies: Vec<String>,
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// Threads.
    pub jobs: usize,
}

/// Plays all of it. `done` hears of every cell.
///
/// # Errors
/// A scenario that there is not, or a world that cannot be set up.
pub fn table(wish: &Wish, done: impl Fn(&Cell) + Sync) -> Result<Vec<Cell>, String> {
    let mut contenders = contenders();
    contenders.retain(|c| wish.policies.is_empty() || wish.policies.iter().any(|name| name == c.name));
    let mut scenarios = Vec::new();
    for name in &wish.scenarios {
        let scenario = Scenario::builtin(name).ok_or_else(|| format!("no scenario {name:?}"))?;
        let mut known = (0.0, 0.0);
        for seed in wish.from..wish.from + wish.seeds {
            let all = scenario.all_knowing(&scenario.demand(seed));
            known.0 += all.schedule_server_h / wish.seeds as f64;
            known.1 += all.bound_server_h / wish.seeds as f64;
        }
        scenarios.push((scenario, known));
    }
    let wanted: Vec<(usize, usize)> =
        (0..scenarios.len()).flat_map(|s| (0..contenders.len()).map(move |c| (s, c))).collect();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..wish.jobs.clamp(1, 64) {
            scope.spawn(|| {
                while let Some(&(s, c)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (Some((scenario, known)), Some(contender)) = (scenarios.get(s), contenders.get(c)) else { return };
                    let cell = cell(scenario, *known, contender, wish);
                    if let Ok(cell) = &cell {
                        done(cell);
                    }
                    if let Ok(mut found) = found.lock() {
                        found.push(((s, c), cell));
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().map_err(|_| "a thread panicked".to_owned())?;
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, cell)| cell).collect()
}

fn cell(scenario: &Scenario, known: (f64, f64), contender: &Contender, wish: &Wish) -> Result<Cell, String> {
    let n = wish.seeds.max(1) as f64;
    let mut cell = Cell { scenario: scenario.name.clone(), policy: contender.name, ..Cell::default() };
    for seed in wish.from..wish.from + wish.seeds {
        let totals = run(scenario, &contender.spec(scenario), seed)?.totals;
        let came = (totals.came as f64).max(1.0);
        cell.came += totals.came as f64 / n;
        cell.waited += totals.waited as f64 / came / n;
        cell.wait_s += totals.waited_s / (totals.waited as f64).max(1.0) / n;
        cell.aborted += (totals.aborted + totals.gave_up) as f64 / came / n;
        cell.flaps += totals.flaps as f64 / n;
        cell.server_h += totals.server_h / n;
        cell.servers_max += f64::from(totals.servers_max) / n;
    }
    cell.ratio = cell.server_h / known.0.max(1e-9);
    cell.ratio_bound = cell.server_h / known.1.max(1e-9);
    Ok(cell)
}

/// How a policy stands in a row: it serves if it harms nobody, or no more than 5 % above the least that anyone does; among those that
/// serve, fewest server-hours are best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Serves, with the fewest server-hours.
    Best,
    /// Serves, and within 5 % of the best.
    Close,
    /// Serves, for more.
    Dearer,
    /// Somebody else harms fewer.
    Harms,
}

/// The standing of each cell of one row.
pub fn standings(row: &[&Cell]) -> Vec<Standing> {
    let least = row.iter().map(|c| c.harm()).fold(f64::INFINITY, f64::min);
    let serves = |c: &Cell| c.harm() <= HARM_FREE.max(least * WITHIN);
    let best = row.iter().filter(|c| serves(c)).map(|c| c.server_h).fold(f64::INFINITY, f64::min);
    let standing = |c: &&Cell| match c.server_h / best {
        _ if !serves(c) => Standing::Harms,
        share if share <= 1.0 + 1e-9 => Standing::Best,
        share if share <= WITHIN => Standing::Close,
        _ => Standing::Dearer,
    };
    row.iter().map(standing).collect()
}

fn rows(cells: &[Cell]) -> Vec<Vec<&Cell>> {
    let mut rows: Vec<Vec<&Cell>> = Vec::new();
    for cell in cells {
        match rows.last_mut() {
            Some(row) if row.first().is_some_and(|first| first.scenario == cell.scenario) => row.push(cell),
            _ => rows.push(vec![cell]),
        }
    }
    rows
}

/// The table as Markdown.
pub fn markdown(cells: &[Cell], wish: &Wish) -> String {
    let mut text = format!(
        "# Scenarios × policies\n\n`farm-sim table`, seeds {} to {}, means. Each policy has the settings of a user who sets nothing; *warm* is a pool of\n\
         as many stopped instances as there are servers at the start (there in 30 s; what they cost while stopped is not counted).\n\
         *waited*: share of sessions that had to wait before they began, and for how long on average. *aborted*: share that gave up waiting or lost\n\
         its server. *flaps*: changes between growing and shrinking. *× all-knowing*: server-hours over those of a schedule that knew every\n\
         session beforehand (in brackets: over the bound that no schedule without waiting is below).\n\n\
         A policy *serves* if it makes no more than one session in a thousand wait or abort, or no more than 5 % above the least of the row.\n\
         **Best**: serves with the fewest server-hours; *close*: within 5 % of that; *dearer*: more; *harms*: does not serve.\n",
        wish.from,
        wish.from + wish.seeds.max(1) - 1,
    );
    for row in rows(cells) {
        let Some(first) = row.first() else { continue };
        let about = Scenario::builtin(&first.scenario).map(|s| s.about).unwrap_or_default();
        let _ = write!(
            text,
            "\n## {}\n\n{about} {:.0} sessions.\n\n| policy | waited | for, s | aborted | flaps | most servers | server-hours | × all-knowing | |\n|---|---|---|---|---|---|---|---|---|\n",
            first.scenario, first.came
        );
        for (cell, standing) in row.iter().zip(standings(&row)) {
            let word = match standing {
                Standing::Best => "**best**",
                Standing::Close => "close",
                Standing::Dearer => "dearer",
                Standing::Harms => "harms",
            };
            let _ = writeln!(
                text,
                "| {} | {:.2} % | {:.0} | {:.2} % | {:.1} | {:.0} | {:.1} | {:.2} ({:.2}) | {word} |",
                cell.policy,
                cell.waited * 100.0,
                cell.wait_s,
                cell.aborted * 100.0,
                cell.flaps,
                cell.servers_max,
                cell.server_h,
                cell.ratio,
                cell.ratio_bound
            );
        }
    }
    text
}

/// The table as comma-separated values.
pub fn csv(cells: &[Cell]) -> String {
    let mut text = String::from(
        "scenario,policy,came,waited_share,wait_s,aborted_share,flaps,servers_max,server_h,over_schedule,over_bound\n",
    );
    for c in cells {
        let _ = writeln!(
            text,
            "{},{},{:.1},{:.6},{:.2},{:.6},{:.2},{:.1},{:.3},{:.4},{:.4}",
            c.scenario,
            c.policy,
            c.came,
            c.waited,
            c.wait_s,
            c.aborted,
            c.flaps,
            c.servers_max,
            c.server_h,
            c.ratio,
            c.ratio_bound
        );
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cell(policy: &'static str, waited: f64, server_h: f64) -> Cell {
        Cell { scenario: "x".into(), policy, waited, server_h, ..Cell::default() }
    }

    #[test]
    fn who_stands_how() {
        use Standing::{Best, Close, Dearer, Harms};
        for (cells, expect) in [
            (vec![(0.0, 10.0), (0.0005, 9.0), (0.002, 5.0)], vec![Dearer, Best, Harms]),
            (vec![(0.20, 10.0), (0.205, 9.6), (0.30, 5.0)], vec![Close, Best, Harms]),
            (vec![(0.0, 10.0)], vec![Best]),
        ] {
            let cells: Vec<Cell> = cells.into_iter().map(|(waited, h)| cell("p", waited, h)).collect();
            let row: Vec<&Cell> = cells.iter().collect();
            assert_eq!(standings(&row), expect);
        }
    }

    #[test]
    fn a_row_is_played_and_written() {
        let wish = Wish { scenarios: vec!["steady".into()], policies: Vec::new(), from: 1, seeds: 1, jobs: 2 };
        let cells = table(&wish, |_| ()).unwrap();
        assert_eq!(cells.len(), contenders().len());
        assert!(cells.iter().all(|c| c.ratio_bound >= 1.0 - 1e-9), "{cells:?}");
        assert_eq!(markdown(&cells, &wish).matches("| **best** |").count(), 1);
        assert_eq!(csv(&cells).lines().count(), 1 + cells.len());
        assert!(table(&Wish { scenarios: vec!["none".into()], ..wish }, |_| ()).is_err());
    }
}

//! The tables of a run, as bench/results/routing.md has them.

use super::{Case, Measured, Wanted, measure};
use redirector_core::route::RoutePolicy;
use std::fmt::Write as _;

/// Runs every case under every rule and writes a table: the 95th and the 99th percentile, and the largest burst.
///
/// # Errors
/// As [`measure`].
pub fn markdown(
    cases: &[Case],
    policies: &[(RoutePolicy, &str)],
    wanted: Wanted,
    told: impl Fn(&str),
) -> Result<String, String> {
    let mut text = String::from("| rule |");
    for case in cases {
        let _ = write!(text, " {} |", case.name);
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(cases.len()));
    text.push('\n');
    for (policy, name) in policies {
        let _ = write!(text, "| {name} |");
        for case in cases {
            let cell = cell(case, *policy, wanted)?;
            told(&format!("{name}: {}: {cell}", case.name));
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    Ok(text)
}

fn cell(case: &Case, policy: RoutePolicy, wanted: Wanted) -> Result<String, String> {
    let runs: Vec<Measured> = (1..=wanted.seeds).map(|seed| measure(case, policy, seed)).collect::<Result<_, _>>()?;
    let mean = |of: &dyn Fn(&Measured) -> f64| runs.iter().map(of).sum::<f64>() / runs.len().max(1) as f64;
    let burst = runs.iter().map(|run| run.burst).max().unwrap_or(0);
    // A farm that follows its load has a few requests a server left when it is looked at.
    if mean(&|run| run.left) > 100.0 {
        return Ok(format!("unstable; {burst}"));
    }
    Ok(format!("{:.1}/{:.1}; {burst}", mean(&|run| run.p95), mean(&|run| run.p99)))
}

//! The simulator held against real processes: the nine quantities of `bench/sim/CALIBRATION.md` and their bounds, which were committed before
//! the first comparison and are only repeated here.

use crate::figure::{Moment, Row, row};
use crate::real::Ends;
use crate::run::{Run, run};
use redirector_core::config::{ScalePolicy, ScalerSpec};
use redirector_core::whatif::Scenario;
use std::fmt::Write as _;

/// Mean service time of a request of the real servers, in milliseconds.
const SERVICE_MS: f64 = 80.0;

/// One quantity: what it was on real processes, in the simulator, how far apart they are and may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Which.
    pub what: &'static str,
    /// On real processes.
    pub real: f64,
    /// In the simulator.
    pub simulated: f64,
    /// How far apart, in the unit of the bound.
    pub apart: f64,
    /// How far apart they may be.
    pub bound: f64,
}

/// The scaler's settings of `zones/redirector.toml`.
pub fn settings(policy: ScalePolicy) -> ScalerSpec {
    ScalerSpec {
        policy,
        poll_ms: 1_000,
        window_ms: 15_000,
        stabilisation_ms: 20_000,
        drain_deadline_ms: 60_000,
        boot_deadline_ms: 60_000,
        dns_ttl_max_ms: 5_000,
        ..ScalerSpec::default()
    }
}

/// Simulated runs with these seeds.
///
/// # Errors
/// A world that cannot be set up.
pub fn simulated(scenario: &Scenario, policy: ScalePolicy, seeds: u64) -> Result<Vec<(Row, Ends)>, String> {
    (1..=seeds.max(1)).map(|seed| run(scenario, &settings(policy), seed).map(|run| (in_ms(&run), ends(&run)))).collect()
}

fn in_ms(run: &Run) -> Row {
    let mut row = row("simulated", run);
    for moment in &mut row.moments {
        moment.latency = moment.latency.map(|l| l.map(|times| times * SERVICE_MS));
    }
    row
}

fn ends(run: &Run) -> Ends {
    let totals = &run.totals;
    let begun = (totals.came as f64).max(1.0);
    let aborted = (totals.aborted + totals.gave_up) as f64 / begun;
    // The mean over samples of their percentiles, each counting for as much as it had sessions.
    let weight: f64 = run.series.iter().map(|s| f64::from(s.sessions)).sum();
    let percentile = |at: usize| {
        let sum: f64 = run.series.iter().map(|s| f64::from(s.sessions) * s.latency.get(at).copied().unwrap_or(1.0)).sum();
        SERVICE_MS * sum / weight.max(1.0)
    };
    let latency_ms = [percentile(1), percentile(2)];
    Ends { begun, completed: 1.0 - aborted, delayed: totals.waited as f64 / begun, aborted, latency_ms }
}

/// All nine quantities.
pub fn compare(real: &[(Row, Ends)], simulated: &[(Row, Ends)], duration_s: u64) -> Vec<Compared> {
    let servers = |m: &Moment| m.servers + m.booting;
    let over = |runs: &[(Row, Ends)], of: fn(&Moment) -> f64| -> Vec<f64> {
        let at = |s: u64| {
            let one = |(row, _): &(Row, Ends)| {
                let n = row.moments.partition_point(|m| m.t_s <= s as f64).saturating_sub(1);
                row.moments.get(n).map_or(0.0, of)
            };
            runs.iter().map(one).sum::<f64>() / runs.len().max(1) as f64
        };
        (1..duration_s).map(at).collect()
    };
    let rms =
        |a: &[f64], b: &[f64]| (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len().max(1) as f64).sqrt();
    let mean = |xs: &[f64]| xs.iter().sum::<f64>() / xs.len().max(1) as f64;
    let most = |runs: &[(Row, Ends)]| {
        mean(&runs.iter().map(|(r, _)| r.moments.iter().map(servers).fold(0.0, f64::max)).collect::<Vec<_>>())
    };
    let end = |runs: &[(Row, Ends)], of: fn(&Ends) -> f64| mean(&runs.iter().map(|(_, e)| of(e)).collect::<Vec<_>>());
    let (real_servers, sim_servers) = (over(real, |m| m.servers + m.booting), over(simulated, |m| m.servers + m.booting));
    let (real_clients, sim_clients) = (over(real, |m| m.clients), over(simulated, |m| m.clients));
    let peak = real_clients.iter().copied().fold(1.0, f64::max);
    let (real_most, sim_most) = (most(real), most(simulated));
    let hours = |xs: &[f64]| xs.iter().sum::<f64>() / 3_600.0;
    let (real_h, sim_h) = (hours(&real_servers), hours(&sim_servers));
    let mut found = vec![
        Compared {
            what: "servers over time (mean; RMS apart)",
            real: mean(&real_servers),
            simulated: mean(&sim_servers),
            apart: rms(&real_servers, &sim_servers),
            bound: 1.5,
        },
        Compared {
            what: "most servers",
            real: real_most,
            simulated: sim_most,
            apart: (real_most - sim_most).abs(),
            bound: 1.0,
        },
        Compared {
            what: "server-hours (share apart)",
            real: real_h,
            simulated: sim_h,
            apart: (sim_h / real_h.max(1e-9) - 1.0).abs(),
            bound: 0.10,
        },
        Compared {
            what: "sessions at a time (mean; RMS over the peak)",
            real: mean(&real_clients),
            simulated: mean(&sim_clients),
            apart: rms(&real_clients, &sim_clients) / peak,
            bound: 0.10,
        },
    ];
    type Of = fn(&Ends) -> f64;
    let latencies: [(&'static str, Of, f64, f64); 2] = [
        ("median latency, ms", |e| e.latency_ms[0], 0.25, 20.0),
        ("95th percentile of latency, ms", |e| e.latency_ms[1], 0.35, 50.0),
    ];
    for (what, of, share, least) in latencies {
        let (real, simulated) = (end(real, of), end(simulated, of));
        found.push(Compared { what, real, simulated, apart: (real - simulated).abs(), bound: (share * real).max(least) });
    }
    let shares: [(&'static str, Of, f64); 3] = [
        ("completed, share", |e| e.completed, 0.03),
        ("delayed, share", |e| e.delayed, 0.05),
        ("aborted, share", |e| e.aborted, 0.02),
    ];
    for (what, of, bound) in shares {
        let (real, simulated) = (end(real, of), end(simulated, of));
        found.push(Compared { what, real, simulated, apart: (real - simulated).abs(), bound });
    }
    found
}

/// As Markdown.
pub fn markdown(policy: &str, compared: &[Compared]) -> String {
    let mut text = format!("| {policy} | real | simulated | apart | bound | |\n|---|---|---|---|---|---|\n");
    for c in compared {
        let word = if c.apart <= c.bound { "within" } else { "**outside**" };
        let _ =
            writeln!(text, "| {} | {:.3} | {:.3} | {:.3} | {:.3} | {word} |", c.what, c.real, c.simulated, c.apart, c.bound);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_agrees_with_itself_and_not_with_another() {
        let moments = |servers: f64| {
            let moment = |t: u32| Moment { t_s: f64::from(t), clients: 10.0, servers, ..Moment::default() };
            (0..10).map(moment).collect::<Vec<_>>()
        };
        let of = |servers, aborted| {
            let ends = Ends { begun: 9.0, completed: 1.0 - aborted, aborted, latency_ms: [100.0, 300.0], ..Ends::default() };
            vec![(Row { name: "x".into(), moments: moments(servers) }, ends)]
        };
        let same = compare(&of(4.0, 0.0), &of(4.0, 0.0), 10);
        assert_eq!(same.len(), 9);
        assert!(same.iter().all(|c| c.apart == 0.0), "{same:?}");
        let other = compare(&of(4.0, 0.0), &of(6.0, 0.1), 10);
        let outside: Vec<&str> = other.iter().filter(|c| c.apart > c.bound).map(|c| c.what).collect();
        assert_eq!(outside.len(), 5, "{outside:?}");
        assert!(markdown("x", &other).contains("**outside**"));
    }
}

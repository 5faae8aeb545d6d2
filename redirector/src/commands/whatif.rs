//! `redirector simulate` and `redirector replay`: what would happen, or would have happened, under other policies.
//!
//! Nothing is launched and no daemon is asked: the model of `redirector_core::whatif` plays on, with the very `plan` of production.

use crate::{Failure, print, unavailable};
use clap::Args;
use farm_shared::plot::{Figure, Mark, Panel, Series, XUnit, spark};
use redirector::load::Refused;
use redirector_core::config::{ScalePolicy, ScalerSpec};
use redirector_core::scale::Policy;
use redirector_core::whatif::{AllKnowing, Demand, NAMES, Outcome, Rules, Scenario, read_journal};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A journal's file is rotated long before.
const JOURNAL_BYTES_MAX: u64 = 256 * 1024 * 1024;
const SCENARIO_BYTES_MAX: u64 = 1024 * 1024;
const SERVERS_MAX: i64 = 10_000;
const SPARK_WIDTH: usize = 64;

#[derive(Args)]
pub(crate) struct Simulate {
    /// A built-in scenario, or a file with one. Without it, the built-in ones are listed.
    scenario: Option<String>,
    #[command(flatten)]
    policies: Policies,
}

#[derive(Args)]
pub(crate) struct Replay {
    /// The journal: `journal.jsonl` of a state directory.
    journal: PathBuf,
    /// The most servers; as many as the journal had at most, doubled, unless given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=SERVERS_MAX))]
    max: Option<u32>,
    /// The fewest servers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=SERVERS_MAX))]
    min: u32,
    /// Sessions that a server holds; as its heartbeats said unless given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    sessions_per_server: Option<u32>,
    #[command(flatten)]
    policies: Policies,
}

#[derive(Args)]
struct Policies {
    /// A policy to play against; all of them unless given. Repeatable.
    #[arg(long, value_name = "POLICY")]
    policy: Vec<ScalePolicy>,
    /// Stopped instances kept ready.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=SERVERS_MAX))]
    warm: u32,
    /// Servers beyond what the policy wants.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=SERVERS_MAX))]
    spare: u32,
    /// The busy share that policies by processors aim at.
    #[arg(long, default_value_t = 0.6)]
    target: f64,
    /// What a server costs, in US dollars an hour.
    #[arg(long, value_name = "USD", default_value_t = 0.0)]
    price: f64,
    /// Draws of arrivals, lengths and boot times; the same seed gives the same run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes a chart to this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub(crate) fn simulate(simulate: &Simulate) -> Result<(), Failure> {
    let Some(name) = &simulate.scenario else { return print(&list()) };
    let scenario = if let Some(scenario) = Scenario::builtin(name) {
        scenario
    } else {
        let text = read(Path::new(name), SCENARIO_BYTES_MAX).map_err(|why| {
            unavailable(format!("{name} is no built-in scenario ({}), and as a file: {why}", NAMES.join(", ")))
        })?;
        Scenario::parse(name, &text).map_err(|problems| Failure::Config(Refused(problems)))?
    };
    let demand = scenario.demand(simulate.policies.seed);
    simulate.policies.play(&scenario, &demand, None, "")
}

pub(crate) fn replay(replay: &Replay) -> Result<(), Failure> {
    let path = &replay.journal;
    let text = read(path, JOURNAL_BYTES_MAX).map_err(|why| unavailable(format!("{}: {why}", path.display())))?;
    let read =
        read_journal(text.lines(), replay.policies.seed).map_err(|why| unavailable(format!("{}: {why}", path.display())))?;
    let mut notes = String::new();
    for (line, why) in &read.problems {
        let place = if *line > 0 { format!("line {line}") } else { "between lines".into() };
        let _ = writeln!(notes, "{}: {place}: {why}", path.display());
    }
    if read.problem_count > read.problems.len() {
        let _ = writeln!(notes, "{}: {} more problems", path.display(), read.problem_count - read.problems.len());
    }
    let most = read.servers.iter().map(|(_, n)| *n).fold(1.0, f64::max);
    let mut scenario = read.scenario.clone();
    scenario.max = replay.max.unwrap_or(2 * most as u32).clamp(1, SERVERS_MAX as u32);
    scenario.min = replay.min.min(scenario.max);
    scenario.sessions_per_server = match (replay.sessions_per_server, scenario.sessions_per_server) {
        (Some(n), _) => n,
        (_, 0) => {
            return Err(unavailable("no heartbeat in the journal says what a server holds: give --sessions-per-server"));
        }
        (_, n) => n,
    };
    let a = &read.actual;
    let _ = writeln!(
        notes,
        "As it was: {:.2} server-hours, {} launched, {} drained, at most {} sessions waiting, {} lost at a drain's deadline.",
        a.server_h, a.launches, a.drains, a.waiting_max, a.lost
    );
    replay.policies.play(&scenario, &read.demand, Some((&read.servers, read.start_wall_ms)), &notes)
}

impl Policies {
    fn play(
        &self,
        scenario: &Scenario,
        demand: &Demand,
        journal: Option<(&[(f64, f64)], u64)>,
        notes: &str,
    ) -> Result<(), Failure> {
        if !(self.price.is_finite() && self.price >= 0.0 && self.target > 0.0 && self.target <= 1.0) {
            return Err(unavailable("--price must be 0 or more, and --target within 0 and 1"));
        }
        let chosen: &[ScalePolicy] = if self.policy.is_empty() { &ScalePolicy::ALL } else { &self.policy };
        let mut rules = Rules { usd_h: self.price, ..Rules::default() };
        if let Some((_, start_wall_ms)) = journal {
            rules.start_wall_ms = start_wall_ms;
        }
        let known = scenario.all_knowing(demand);
        let mut runs = Vec::new();
        for rule in chosen {
            let spec = ScalerSpec {
                policy: *rule,
                warm: self.warm,
                spare: self.spare,
                target: self.target,
                ..ScalerSpec::default()
            };
            let policy: Policy = scenario.policy(&spec);
            runs.push((rule.label(), scenario.simulate(&policy, rules, demand, self.seed)));
        }
        let text = format!("{}{notes}{}", heading(scenario, demand), table(&runs, &known));
        if let Some(path) = &self.svg {
            let figure = figure(scenario, &runs, &known, journal.map(|(servers, _)| servers));
            std::fs::write(path, figure.svg()).map_err(|why| unavailable(format!("{}: {why}", path.display())))?;
        }
        print(&text)
    }
}

fn read(path: &Path, bytes_max: u64) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(std::io::Error::other(format!("more than {bytes_max} octets")));
    }
    // A torn line is one bad line, not a bad file.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn list() -> String {
    let mut text = String::from("Built-in scenarios:\n");
    for scenario in NAMES.iter().filter_map(|name| Scenario::builtin(name)) {
        let _ = writeln!(text, "  {:<12} {}", scenario.name, scenario.about);
    }
    text
}

fn heading(scenario: &Scenario, demand: &Demand) -> String {
    let mut text = String::new();
    // Names come from files; control characters must not reach a terminal.
    let clean = |words: &str| words.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    let _ = writeln!(text, "{}: {}", clean(&scenario.name), clean(&scenario.about));
    let _ = writeln!(
        text,
        "{} sessions in {:.1} h, {:.0} s each, {} on a server; boot {:.0} s (95th percentile), {} servers at the start",
        demand.sessions.len(),
        demand.duration_ms as f64 / 3.6e6,
        scenario.session_s,
        scenario.sessions_per_server,
        scenario.boot.p95_s(),
        scenario.servers
    );
    text
}

fn table(runs: &[(&str, Outcome)], known: &AllKnowing) -> String {
    let mut text = format!(
        "\n{:<16} {:>9} {:>9} {:>9} {:>8} {:>6} {:>10} {:>7} {:>9}  servers over time\n",
        "policy", "waited", "longest", "aborted", "launched", "flaps", "server-h", "ratio", "USD"
    );
    let ratio = |server_h: f64| if known.schedule_server_h > 0.0 { server_h / known.schedule_server_h } else { 0.0 };
    let top = runs.iter().flat_map(|(_, o)| &o.series).map(|s| s.up).fold(1.0, f64::max);
    for (name, o) in runs {
        let up: Vec<f64> = o.series.iter().map(|s| s.up).collect();
        let _ = writeln!(
            text,
            "{name:<16} {:>9} {:>7.0} s {:>9} {:>8} {:>6} {:>10.2} {:>7.2} {:>9.2}  {}",
            o.waited,
            o.wait_s_max,
            o.aborted,
            o.launches,
            o.flaps,
            o.server_h,
            ratio(o.server_h),
            o.usd,
            spark(&up, SPARK_WIDTH, top)
        );
    }
    let _ = writeln!(
        text,
        "{:<16} {:>9} {:>9} {:>9} {:>8} {:>6} {:>10.2} {:>7.2}",
        "all-knowing", known.unavoidable, "", "", "", "", known.schedule_server_h, 1.0
    );
    let _ = writeln!(
        text,
        "{:<16} {:>9} {:>9} {:>9} {:>8} {:>6} {:>10.2} {:>7.2}",
        "lower bound",
        "",
        "",
        "",
        "",
        "",
        known.bound_server_h,
        ratio(known.bound_server_h)
    );
    text
}

fn figure(scenario: &Scenario, runs: &[(&str, Outcome)], known: &AllKnowing, journal: Option<&[(f64, f64)]>) -> Figure {
    let mut servers = Vec::new();
    let known = known.servers.iter().map(|(at, n)| (*at as f64 / 1e3, 0.0, f64::from(*n)));
    servers.push(Series::new("all-knowing", 7, Mark::Area, known));
    if let Some(journal) = journal {
        servers.push(Series::new("as it was", 5, Mark::Step, journal.iter().copied()));
    }
    let colour = |n: usize| if n < 5 { n } else { n + 3 };
    let each = |value: fn(&redirector_core::whatif::Sample) -> f64, mark: Mark| {
        runs.iter()
            .enumerate()
            .map(move |(n, (name, o))| Series::new(name, colour(n), mark, o.series.iter().map(|s| (s.at_s, value(s)))))
            .collect::<Vec<_>>()
    };
    servers.extend(each(|s| s.up + s.booting, Mark::Step));
    let mut sessions = each(|s| s.sessions + s.waiting, Mark::Line);
    sessions.truncate(1);
    for series in &mut sessions {
        series.name = String::new();
    }
    Figure {
        title: format!("{}: {}", scenario.name, scenario.about),
        subtitle: format!("{} sessions on a server, boot {:.0} s", scenario.sessions_per_server, scenario.boot.p95_s()),
        x_label: "time".into(),
        x_unit: XUnit::Seconds,
        panels: vec![
            Panel { height: 90.0, ..Panel::new("sessions", sessions) },
            Panel { height: 220.0, ..Panel::new("servers", servers) },
            Panel { height: 90.0, ..Panel::new("waiting", each(|s| s.waiting, Mark::Line)) },
            Panel { height: 90.0, ..Panel::new("aborted so far", each(|s| s.aborted, Mark::Step)) },
        ],
    }
}

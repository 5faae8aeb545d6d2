//! `farm-sim`: many seeds, or one with its trace.
#![forbid(unsafe_code)]

use clap::{Args, Parser, Subcommand};
use farm_shared::config::Problem;
use farm_sim::table::{self, Wish};
use farm_sim::{Bug, Fault, Wanted, World, calibrate, figure, real, routing, run, run_seeds};
use redirector_core::config::ScalePolicy;
use redirector_core::whatif::Scenario;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "A farm in virtual time, with the production code inside")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Kind {
    /// Minutes with faults, one a minute.
    #[arg(long, default_value_t = 120)]
    minutes: u64,
    /// A planted bug, to see whether the checkers catch it.
    #[arg(long)]
    bug: Option<Bug>,
    /// A kind of fault that does not come; may be given several times.
    #[arg(long)]
    without: Vec<Fault>,
}

#[derive(Subcommand)]
enum Command {
    /// One seed.
    Seed {
        /// Which.
        number: u64,
        /// Print what happens.
        #[arg(long)]
        trace: bool,
        #[command(flatten)]
        kind: Kind,
    },
    /// Many seeds. Ends with 1 if one of them broke a rule.
    Seeds {
        /// The first.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// How many.
        #[arg(long, default_value_t = 100)]
        count: u64,
        /// Threads.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        #[command(flatten)]
        kind: Kind,
    },
    /// Scenarios under policies, beside the all-knowing schedule.
    Table(TableArgs),
    /// Figure 1 of the paper, its rule beside ours, as SVG.
    Figure1 {
        /// The scenario.
        #[arg(long, default_value = "figure-1")]
        scenario: String,
        /// The seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Runs on real processes instead: NAME=FOLDER, as `bench/crowd-real` wrote it (repeatable).
        #[arg(long)]
        real: Vec<String>,
        /// The file to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Rules of routing beside each other, as DESIGN 4.3 has them (bench/results/routing.md).
    Routing {
        /// Which tables: classic (one door), doors (four), large (10,000 servers), long (sessions that stay); all unless given.
        #[arg(long)]
        table: Vec<String>,
        /// Sessions of each cell of a small farm; the others follow.
        #[arg(long, default_value_t = 400_000)]
        sessions: usize,
        /// Seeds of each cell, whose mean it is.
        #[arg(long, default_value_t = 1)]
        seeds: u64,
    },
    /// The simulator held against real processes (bench/sim/CALIBRATION.md).
    Calibrate {
        /// The rule.
        #[arg(long)]
        policy: String,
        /// The scenario's file.
        #[arg(long, default_value = "bench/sim/scenarios/crowd.toml")]
        scenario: PathBuf,
        /// Simulated seeds.
        #[arg(long, default_value_t = 20)]
        seeds: u64,
        /// Folders of real runs.
        folders: Vec<PathBuf>,
    },
}

/// A run of scenarios under policies.
#[derive(Args)]
struct TableArgs {
    /// Built-in scenarios; all of the table unless given.
    #[arg(long)]
    scenario: Vec<String>,
    /// Policies, as they are called in the table; all unless given.
    #[arg(long)]
    policy: Vec<String>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Seeds of each cell.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Folder for policies.md and policies.csv; standard output without.
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Options { command } = Options::parse();
    match command {
        Command::Seed { number, trace, kind } => seed(number, trace, kind),
        Command::Seeds { from, count, jobs, kind } => {
            let Kind { minutes, bug, without } = kind;
            seeds(&Wanted { from, count, jobs, minutes, bug, without })
        }
        Command::Table(args) => write_table(args).map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS),
        Command::Figure1 { scenario, seed, real, out } => {
            let written = if real.is_empty() { write_figure(&scenario, seed, &out) } else { write_real_figure(&real, &out) };
            written.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
        }
        Command::Routing { table, sessions, seeds } => {
            let wanted = routing::Wanted { sessions: sessions.clamp(1_000, 10_000_000), seeds: seeds.clamp(1, 100) };
            print_routing(&table, wanted).map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
        }
        Command::Calibrate { policy, scenario, seeds, folders } => print_calibration(&policy, &scenario, seeds, &folders)
            .map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS),
    }
}

fn seed(number: u64, trace: bool, kind: Kind) -> ExitCode {
    let Kind { minutes, bug, without } = kind;
    let wanted = Wanted { from: number, count: 1, jobs: 1, minutes, bug, without };
    match wanted.world(number, trace).map(World::run) {
        Ok(outcome) => {
            println!("{:#?}", outcome.totals);
            println!("{} checks in {:.0} simulated s", outcome.checks, outcome.lasted_ms as f64 / 1_000.0);
            outcome.broken.map_or(ExitCode::SUCCESS, |violation| {
                println!("seed {number}: {violation}");
                ExitCode::FAILURE
            })
        }
        Err(error) => failed(&error),
    }
}

fn seeds(wanted: &Wanted) -> ExitCode {
    let step = (wanted.count / 20).max(1);
    let summary = run_seeds(wanted, |done, outcome| {
        if let Some(violation) = &outcome.broken {
            eprintln!("seed {}: {violation}", outcome.seed);
        }
        if done.is_multiple_of(step) {
            eprintln!("{done} of {} seeds", wanted.count);
        }
    });
    match summary {
        Ok(summary) => {
            print!("{summary}");
            if summary.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => failed(&error),
    }
}

fn write_table(args: TableArgs) -> Result<(), String> {
    let scenarios = if args.scenario.is_empty() { table::scenarios() } else { args.scenario };
    let wish =
        Wish { scenarios, policies: args.policy, from: args.from, seeds: args.seeds.clamp(1, 1_000), jobs: args.jobs };
    let cells = table::table(&wish, |cell| {
        eprintln!(
            "{:12} {:22} waited {:6.2} % aborted {:6.2} % flaps {:5.1} hours {:8.1} x {:.3}",
            cell.scenario,
            cell.policy,
            cell.waited * 100.0,
            cell.aborted * 100.0,
            cell.flaps,
            cell.server_h,
            cell.ratio
        );
    })?;
    let text = table::markdown(&cells, &wish);
    let Some(out) = args.out else {
        print!("{text}");
        return Ok(());
    };
    let write = |name: &str, text: &str| std::fs::write(out.join(name), text).map_err(|e| format!("{name}: {e}"));
    write("policies.md", &text)?;
    write("policies.csv", &table::csv(&cells))
}

/// The paper's rule and ours under the same sessions.
fn write_figure(name: &str, seed: u64, out: &Path) -> Result<(), String> {
    let scenario = Scenario::builtin(name).ok_or_else(|| format!("no scenario {name:?}"))?;
    let known = scenario.all_knowing(&scenario.demand(seed)).schedule_server_h;
    let mut rows = Vec::new();
    let mut words = Vec::new();
    for contender in table::contenders().iter().filter(|c| ["paper", "ours"].contains(&c.name)) {
        let run = run(&scenario, &contender.spec(&scenario), seed)?;
        let totals = &run.totals;
        words.push(format!(
            "{}: {} of {} waited, {} aborted, {:.2} x all-knowing",
            contender.name,
            totals.waited,
            totals.came,
            totals.aborted + totals.gave_up,
            totals.server_h / known
        ));
        rows.push(figure::row(contender.name, &run));
    }
    println!("{}", words.join("\n"));
    let title = format!("HTTP redirect experiment, simulated: {}", scenario.name);
    let figure = figure::figure(&title, &words.join("; "), "latency ÷ service", &rows);
    std::fs::write(out, figure.svg()).map_err(|e| format!("{}: {e}", out.display()))
}

fn write_real_figure(runs: &[String], out: &Path) -> Result<(), String> {
    let mut rows = Vec::new();
    let mut words = Vec::new();
    for told in runs {
        let (name, folder) = told.split_once('=').ok_or_else(|| format!("--real {told}: expected NAME=FOLDER"))?;
        let (row, ends) = real::read(name, Path::new(folder))?;
        words.push(format!(
            "{name}: {:.0} sessions, {:.1} % delayed, {:.1} % aborted",
            ends.begun,
            ends.delayed * 100.0,
            ends.aborted * 100.0
        ));
        rows.push(row);
    }
    println!("{}", words.join("\n"));
    let figure = figure::figure("HTTP redirect experiment, on real processes", &words.join("; "), "latency, ms", &rows);
    std::fs::write(out, figure.svg()).map_err(|e| format!("{}: {e}", out.display()))
}

fn print_calibration(policy: &str, file: &Path, seeds: u64, folders: &[PathBuf]) -> Result<(), String> {
    let rule = ScalePolicy::ALL.into_iter().find(|rule| rule.label() == policy);
    let rule = rule.ok_or_else(|| format!("--policy: found {policy:?}, expected one of {:?}", ScalePolicy::LABELS))?;
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|e| format!("{name}: {e}"))?;
    let lines = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let scenario = Scenario::parse(&name, &text).map_err(lines)?;
    let real: Vec<_> = folders.iter().map(|folder| real::read(policy, folder)).collect::<Result<_, _>>()?;
    let simulated = calibrate::simulated(&scenario, rule, seeds)?;
    print!("{}", calibrate::markdown(policy, &calibrate::compare(&real, &simulated, scenario.duration_s)));
    Ok(())
}

fn print_routing(tables: &[String], wanted: routing::Wanted) -> Result<(), String> {
    let (all, long) = (routing::policies(), routing::long_policies());
    for (name, title, cases, policies) in [
        ("classic", "20 servers, one door", routing::classic(1, wanted), &all[..]),
        ("doors", "20 servers, four doors", routing::classic(4, wanted), &all[..]),
        ("large", "10,000 servers", routing::large(wanted), &all[..]),
        ("long", "Long sessions", routing::long(wanted), &long[..]),
    ] {
        if tables.is_empty() || tables.iter().any(|table| table == name) {
            let text = routing::markdown(&cases, policies, wanted, |line| eprintln!("{line}"))?;
            println!("## {title}\n\n{text}");
        }
    }
    Ok(())
}

fn failed(error: &str) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

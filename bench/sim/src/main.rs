//! `farm-sim`: many seeds, or one with its trace.
#![forbid(unsafe_code)]

use clap::{Args, Parser, Subcommand};
use farm_sim::{Bug, Fault, Wanted, World, run_seeds};
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
}

fn main() -> ExitCode {
    let Options { command } = Options::parse();
    match command {
        Command::Seed { number, trace, kind } => seed(number, trace, kind),
        Command::Seeds { from, count, jobs, kind } => {
            let Kind { minutes, bug, without } = kind;
            seeds(&Wanted { from, count, jobs, minutes, bug, without })
        }
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

fn failed(error: &str) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

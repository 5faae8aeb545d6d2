//! `farm-sim`: many seeds, or one with its trace.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use farm_sim::{Bug, Setup, World};
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "A farm in virtual time, with the production code inside")]
struct Options {
    #[command(subcommand)]
    command: Command,
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
        /// Minutes with faults.
        #[arg(long, default_value_t = 120)]
        minutes: u64,
        /// A planted bug.
        #[arg(long)]
        bug: Option<Bug>,
    },
}

fn main() -> ExitCode {
    let Options { command } = Options::parse();
    match command {
        Command::Seed { number, trace, minutes, bug } => {
            let world = match World::new(Setup::draw(number, minutes * 60_000), bug, trace) {
                Ok(world) => world,
                Err(error) => {
                    eprintln!("{error}");
                    return ExitCode::FAILURE;
                }
            };
            let outcome = world.run();
            println!("{outcome:#?}");
            if outcome.broken.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    }
}

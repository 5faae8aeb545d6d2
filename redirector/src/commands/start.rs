//! `redirector plan`: from what is known of a site to the limits to start with, every step shown.
//!
//! The arithmetic is `redirector_core::whatif::starting_limits`; nothing is decided here.

use crate::{Failure, print, unavailable};
use clap::Args;
use redirector_core::whatif::{Site, starting_limits};
use std::fmt::Write as _;
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct PlanArgs {
    /// Traffic of a month in gigabytes.
    #[arg(long, value_name = "GB")]
    gb_month: Option<f64>,
    /// Peak over mean traffic; 3 is a day of eight hours.
    #[arg(long, value_name = "TIMES")]
    peak_factor: Option<f64>,
    /// Visits that begin in a second at peak.
    #[arg(long, value_name = "PER_S")]
    visits: Option<f64>,
    /// Weight of a visit in megabytes.
    #[arg(long, value_name = "MB")]
    visit_mb: Option<f64>,
    /// Mean length of a visit in seconds.
    #[arg(long, value_name = "S")]
    session: Option<f64>,
    /// Concurrent users at peak, in place of visits and their length.
    #[arg(long)]
    users: Option<f64>,
    /// Seconds between two requests of a visit.
    #[arg(long, value_name = "S")]
    think: Option<f64>,
    /// Memory that a request takes in megabytes.
    #[arg(long, value_name = "MB")]
    request_mb: Option<f64>,
    /// Memory of a server for requests in megabytes.
    #[arg(long, value_name = "MB")]
    server_mb: Option<f64>,
    /// Throughput of a server in Mbit/s.
    #[arg(long, value_name = "MBIT_S")]
    server_mbit: Option<f64>,
    /// Processor time of a visit in seconds.
    #[arg(long, value_name = "S")]
    visit_cpu: Option<f64>,
    /// Cores of a server.
    #[arg(long)]
    cores: Option<f64>,
    /// Boot time of a server in seconds.
    #[arg(long, value_name = "S")]
    boot: Option<f64>,
    /// How many times the peak a crowd may bring.
    #[arg(long, value_name = "TIMES")]
    crowd: Option<f64>,
    /// Writes the section to this file, too.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

pub(crate) fn run(args: &PlanArgs) -> Result<(), Failure> {
    let start = starting_limits(&Site {
        gb_month: args.gb_month,
        peak_factor: args.peak_factor,
        visits_per_s: args.visits,
        visit_mb: args.visit_mb,
        session_s: args.session,
        users: args.users,
        think_s: args.think,
        request_mb: args.request_mb,
        server_mb: args.server_mb,
        server_mbit_s: args.server_mbit,
        visit_cpu_s: args.visit_cpu,
        cores: args.cores,
        boot_s: args.boot,
        crowd: args.crowd,
    });
    let mut text = String::new();
    for line in &start.lines {
        let _ = writeln!(text, "{line}");
    }
    let Some(toml) = start.toml else {
        print(&text)?;
        return Err(unavailable(format!("not enough is known; missing is {}", start.missing.join("; "))));
    };
    if let Some(path) = &args.write {
        std::fs::write(path, &toml).map_err(|why| unavailable(format!("{}: {why}", path.display())))?;
    }
    print(&format!("{text}\n{toml}"))
}

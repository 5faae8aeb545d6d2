//! `redirector plan`: from what is known of a site to the limits to start with, every step shown.
//!
//! The arithmetic is `redirector_core::whatif::starting_limits`; nothing is decided here.

use crate::{Failure, print, unavailable};
use clap::Args;
use redirector_core::whatif::{Site, starting_limits};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

const NUMBER_MAX: f64 = 1e12;

#[derive(Args)]
pub(crate) struct PlanArgs {
    /// Traffic of a month in gigabytes.
    #[arg(long, value_name = "GB", value_parser = positive)]
    gb_month: Option<f64>,
    /// Peak over mean traffic; 3 is a day of eight hours.
    #[arg(long, value_name = "TIMES", value_parser = times)]
    peak_factor: Option<f64>,
    /// Visits that begin in a second at peak.
    #[arg(long, value_name = "PER_S", value_parser = positive)]
    visits: Option<f64>,
    /// Weight of a visit in megabytes.
    #[arg(long, value_name = "MB", value_parser = positive)]
    visit_mb: Option<f64>,
    /// Mean length of a visit in seconds.
    #[arg(long, value_name = "S", value_parser = positive)]
    session: Option<f64>,
    /// Concurrent users at peak, in place of visits and their length.
    #[arg(long, value_parser = positive)]
    users: Option<f64>,
    /// Seconds between two requests of a visit.
    #[arg(long, value_name = "S", value_parser = positive)]
    think: Option<f64>,
    /// Memory that a request takes in megabytes.
    #[arg(long, value_name = "MB", value_parser = positive)]
    request_mb: Option<f64>,
    /// Memory of a server for requests in megabytes.
    #[arg(long, value_name = "MB", value_parser = positive)]
    server_mb: Option<f64>,
    /// Throughput of a server in Mbit/s.
    #[arg(long, value_name = "MBIT_S", value_parser = positive)]
    server_mbit: Option<f64>,
    /// Processor time of a visit in seconds.
    #[arg(long, value_name = "S", value_parser = positive)]
    visit_cpu: Option<f64>,
    /// Cores of a server.
    #[arg(long, value_parser = positive)]
    cores: Option<f64>,
    /// Boot time of a server in seconds.
    #[arg(long, value_name = "S", value_parser = positive)]
    boot: Option<f64>,
    /// How many times the peak a crowd may bring.
    #[arg(long, value_name = "TIMES", value_parser = times)]
    crowd: Option<f64>,
    /// Writes the section to this new file, too.
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
        write_new(path, &toml).map_err(|why| unavailable(format!("{}: {why}", path.display())))?;
    }
    print(&format!("{text}\n{toml}"))
}

/// A section is no configuration: whoever names theirs must not lose it.
fn write_new(path: &Path, toml: &str) -> std::io::Result<()> {
    File::create_new(path)?.write_all(toml.as_bytes())
}

/// A slip must not count as "not known".
fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|n| *n > 0.0 && *n <= NUMBER_MAX);
    number.ok_or_else(|| format!("expected a number above 0, at most {NUMBER_MAX:e}"))
}

fn times(text: &str) -> Result<f64, String> {
    positive(text).ok().filter(|n| *n >= 1.0).ok_or_else(|| format!("expected a number from 1 to {NUMBER_MAX:e}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_that_mean_nothing_are_refused() {
        for bad in ["", "x", "0", "-1", "nan", "inf", "1e13", "1,5"] {
            assert!(positive(bad).is_err() && times(bad).is_err(), "{bad}");
        }
        assert_eq!((positive("0.5"), times("3")), (Ok(0.5), Ok(3.0)));
        assert!(times("0.5").is_err());
    }

    #[test]
    fn a_file_that_exists_stays() {
        let path = std::env::temp_dir().join(format!("redirector-plan-{}.toml", std::process::id()));
        let _ = std::fs::remove_file(&path);
        write_new(&path, "[scaler]\n").unwrap();
        assert!(write_new(&path, "[other]\n").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "[scaler]\n");
        std::fs::remove_file(&path).unwrap();
    }
}

//! Why: one command that puts our daemons beside their peers and writes down what each answer costs.
//! Never: no measuring here; this file reads options, hands over and writes results.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use farm_bench::compare::{dns, dns_servers::Programs, echo, http, question::Case, respond};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Compares dnslb and the redirector with their peers: CPU time per answer, on one core, in one run.
#[derive(Parser)]
#[command(name = "farm-bench", version)]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// dnslb beside knot, nsd, gdnsd and a bare echo.
    Dns(DnsArguments),
    /// redirector beside nginx and HAProxy, asked by wrk and h2load.
    Http(HttpArguments),
    /// dnslb's answering alone, without sockets: instructions (by valgrind) and nanoseconds per answer.
    Instructions,
    /// What valgrind counts.
    #[command(hide = true)]
    RespondLoop {
        /// Which questions.
        #[arg(long, value_parser = case)]
        case: Case,
        /// How many.
        #[arg(long)]
        calls: u64,
    },
    /// The floor: a server that echoes until it is ended.
    #[command(hide = true)]
    Echo {
        /// Where to listen.
        address: SocketAddr,
    },
}

#[derive(clap::Args)]
struct Common {
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Measurements of each; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Folder for the results, as Markdown and JSON.
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
    /// Another file for the JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
struct DnsArguments {
    #[command(flatten)]
    common: Common,
    /// The dnslb to measure; the one beside this program unless given.
    #[arg(long)]
    dnslb: Option<PathBuf>,
    /// Sockets of the load generator.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    sockets: u16,
    /// Questions under way per socket.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=32))]
    window: u16,
    /// Leave out the runs with growing pools and zones.
    #[arg(long)]
    no_scaling: bool,
}

#[derive(clap::Args)]
struct HttpArguments {
    #[command(flatten)]
    common: Common,
    /// The redirector to measure; the one beside this program unless given.
    #[arg(long)]
    redirector: Option<PathBuf>,
    /// Only the cases whose names hold this, such as `HTTP/2` or `64 connections`.
    #[arg(long, default_value = "")]
    only: String,
}

fn case(key: &str) -> Result<Case, String> {
    Case::from_key(key).ok_or_else(|| "expected static, pool, mixed, no-name or spread".into())
}

/// A program that was built beside this one.
fn beside(own: &Path, name: &str) -> PathBuf {
    own.with_file_name(name)
}

/// An absolute path, since servers run in folders of their own.
fn absolute(path: PathBuf) -> io::Result<PathBuf> {
    std::path::absolute(path)
}

fn write(common: &Common, name: &str, markdown: &str, report: &impl serde::Serialize) -> io::Result<()> {
    std::fs::create_dir_all(&common.results)?;
    let json = serde_json::to_string_pretty(report)? + "\n";
    std::fs::write(common.results.join(format!("{name}.md")), markdown)?;
    std::fs::write(common.results.join(format!("{name}.json")), &json)?;
    if let Some(path) = &common.json {
        std::fs::write(path, json)?;
    }
    io::Write::write_all(&mut io::stdout(), markdown.as_bytes())
}

fn run(options: Options) -> io::Result<()> {
    let own = std::env::current_exe()?;
    match options.what {
        What::Echo { address } => echo::serve(address),
        What::Instructions => io::Write::write_all(&mut io::stdout(), respond::report(&own)?.as_bytes()),
        What::RespondLoop { case, calls } => {
            let size = respond::LOOP_SIZE;
            respond::answer(&*respond::snapshot(size)?, case, size.names, calls).map(drop)
        }
        What::Dns(arguments) => {
            let dnslb = absolute(arguments.dnslb.unwrap_or_else(|| beside(&own, "dnslb")))?;
            let report = dns::compare(&dns::DnsOptions {
                time: Duration::from_secs(arguments.common.seconds),
                rounds: arguments.common.rounds.into(),
                sockets: arguments.sockets.into(),
                window: arguments.window.into(),
                scaling: !arguments.no_scaling,
                programs: Programs { own, dnslb },
            })?;
            write(&arguments.common, "dns", &report.markdown(), &report)
        }
        What::Http(arguments) => {
            let redirector = absolute(arguments.redirector.unwrap_or_else(|| beside(&own, "redirector")))?;
            let report = http::compare(&http::HttpOptions {
                seconds: arguments.common.seconds,
                rounds: arguments.common.rounds.into(),
                redirector,
                only: arguments.only,
            })?;
            write(&arguments.common, "front-door", &report.markdown(), &report)
        }
    }
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("farm-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

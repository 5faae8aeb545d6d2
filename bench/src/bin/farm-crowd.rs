//! Why: the crowd as a command, for the demo and for measurements.
//! Never: no behaviour lives here; this file reads options, prints lines and writes the result.
#![forbid(unsafe_code)]

use clap::{Parser, ValueEnum};
use farm_bench::compare::wait::wall_ms;
use farm_bench::crowd::place::Names;
use farm_bench::crowd::{CrowdConfig, Interval, Loop, Profile, Summary, run};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// A crowd of clients that come through the front door. Progress goes to standard error, the result as JSON to standard output.
#[derive(Parser)]
#[command(name = "farm-crowd", version)]
struct Options {
    /// The front door: http://HOST[:PORT], the host an address or a name given by --resolve.
    #[arg(long)]
    door: String,
    /// Path of the log-in, asked of the door.
    #[arg(long, default_value = "/login")]
    path: String,
    /// Host header sent to the door; its URL's own by default.
    #[arg(long)]
    host: Option<String>,
    /// Clients over time, SECONDS:CLIENTS,…; linear in between, over at the last point.
    #[arg(long)]
    profile: String,
    /// Whether the profile counts clients (closed) or gives the rate of a Poisson stream (open).
    #[arg(long = "loop", value_enum, default_value_t = LoopOption::Closed)]
    kind: LoopOption,
    /// Mean session time, seconds (exponential).
    #[arg(long, default_value_t = 20.0)]
    session_s: f64,
    /// Mean think time before a request, milliseconds (exponential).
    #[arg(long, default_value_t = 500.0)]
    think_ms: f64,
    /// Time for one request, milliseconds; beyond, the session is aborted.
    #[arg(long, default_value_t = 4_000)]
    timeout_ms: u64,
    /// A session with a request slower than this counts as delayed, milliseconds.
    #[arg(long, default_value_t = 1_000)]
    slow_ms: u64,
    /// Longest wait for one Retry-After, milliseconds.
    #[arg(long, default_value_t = 30_000)]
    wait_ms_max: u64,
    /// Waits at the door before a client gives up.
    #[arg(long, default_value_t = 20)]
    retries: u32,
    /// Pause before a client whose session was aborted is replaced, milliseconds.
    #[arg(long, default_value_t = 1_000)]
    away_ms: u64,
    /// Features to choose from.
    #[arg(long, default_value_t = 10)]
    features: u32,
    /// Seed of every random number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Address of a name in redirects, or of all names below it: NAME=ADDRESS[:PORT]. Repeatable; the longest name wins.
    #[arg(long)]
    resolve: Vec<String>,
    /// Time between two lines, seconds.
    #[arg(long, default_value_t = 5.0)]
    every_s: f64,
    /// File for one JSON object per line: every interval, then the summary.
    #[arg(long)]
    out: Option<PathBuf>,
    /// A line every second.
    #[arg(long)]
    progress: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum LoopOption {
    Closed,
    Open,
}

/// A line of the result, told apart by `kind`.
#[derive(serde::Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line<'a> {
    Interval {
        /// When it was reported, milliseconds since the epoch: to lay it beside what others wrote down.
        wall_ms: u64,
        #[serde(flatten)]
        interval: &'a Interval,
    },
    Summary(&'a Summary),
}

impl Options {
    fn config(&self) -> Result<CrowdConfig, String> {
        let mut names = Names::default();
        for entry in &self.resolve {
            names.add(entry).map_err(|error| format!("--resolve {error}"))?;
        }
        if !self.path.starts_with('/') {
            return Err("--path: starts with '/'".to_owned());
        }
        let url = format!("{}{}", self.door.trim_end_matches('/'), self.path);
        let door = names.place(&url).map_err(|error| format!("--door {error}"))?;
        let profile = Profile::parse(&self.profile).map_err(|error| format!("--{error}"))?;
        let mut config = CrowdConfig::new(door, profile);
        config.names = names;
        config.host.clone_from(&self.host);
        config.kind = match self.kind {
            LoopOption::Closed => Loop::Closed,
            LoopOption::Open => Loop::Open,
        };
        config.session_ms = self.session_s * 1_000.0;
        config.think_ms = self.think_ms;
        config.timeout_ms = self.timeout_ms;
        config.slow_ms = self.slow_ms;
        config.wait_ms_max = self.wait_ms_max;
        config.retries = self.retries;
        config.away_ms = self.away_ms;
        config.features = self.features;
        config.seed = self.seed;
        // Casts of floats saturate, and what is out of bounds then is refused by the check.
        config.every_ms = if self.progress { 1_000 } else { (self.every_s * 1_000.0) as u64 };
        config.check()?;
        Ok(config)
    }
}

fn write_line(out: &mut impl Write, line: &Line<'_>) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

fn print(interval: &Interval) {
    let (counts, latency) = (&interval.counts, &interval.latency_ms);
    let line = format!(
        "t={:>6.1}s live={:>4} started={:>6} completed={:>6} delayed={:>5} aborted={:>5} p50={:>7.1} p95={:>7.1} p99={:>7.1} ms",
        interval.t_s,
        interval.live,
        counts.started,
        counts.completed,
        counts.delayed,
        counts.aborted,
        latency.p50,
        latency.p95,
        latency.p99
    );
    // Nobody listening is no reason to stop the experiment.
    let _ = writeln!(std::io::stderr(), "{line}");
}

async fn crowd(options: Options) -> Result<(), String> {
    let config = options.config()?;
    let name = options.out.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let mut out = match &options.out {
        Some(path) => Some(BufWriter::new(File::create(path).map_err(|error| format!("--out {name}: {error}"))?)),
        None => None,
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
    };
    let mut written = Ok(());
    let summary = run(config, stop, |interval| {
        print(interval);
        if let Some(out) = &mut out
            && written.is_ok()
        {
            // Flushed line by line: the file can be followed, and is whole when the run is killed.
            written = write_line(out, &Line::Interval { wall_ms: wall_ms(), interval }).and_then(|()| out.flush());
        }
    })
    .await?;
    if let Some(out) = &mut out
        && written.is_ok()
    {
        written = write_line(out, &Line::Summary(&summary)).and_then(|()| out.flush());
    }
    write_line(&mut std::io::stdout(), &Line::Summary(&summary)).map_err(|error| format!("standard output: {error}"))?;
    written.map_err(|error| format!("--out {name}: {error}"))
}

fn main() -> ExitCode {
    let options = Options::parse();
    farm_bench::limits::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(crowd(options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "farm-crowd: {error}");
            ExitCode::FAILURE
        }
    }
}

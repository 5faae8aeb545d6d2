//! The program `farm-agent`: reads what it is told, then runs the library until it is told to stop.
//!
//! Exit codes: 0 after a goodbye, 1 when it cannot run, 2 for a wrong command line, 78 (EX_CONFIG) for a wrong configuration.
#![forbid(unsafe_code)]

mod options;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use farm_agent::certificate::{Asker, keep};
use farm_agent::imds::{self, Identity};
use farm_agent::load::{AsyncLoadSource as _, LoadSpec, Source};
use farm_agent::{HttpUrl, run};
use farm_shared::config::{Document, table_markdown};
use farm_shared::id::Id;
use options::{Options, Plan, read_file, read_section};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

const EX_CONFIG: u8 = 78;
const LOAD_SPAN: Duration = Duration::from_secs(1);

/// Sends a backend's heartbeats to every front end of its farm.
#[derive(Parser, Debug)]
#[command(name = "farm-agent", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Send heartbeats until SIGTERM or SIGINT, then say goodbye
    Run(RunArgs),
    /// Print one reading of a load source as JSON
    Load(LoadArgs),
    /// Check a configuration file and say all that is wrong with it
    Check {
        /// The file
        file: PathBuf,
    },
    /// Print every option as a Markdown table
    #[command(hide = true)]
    ConfigDoc,
    /// Print completions for a shell
    #[command(hide = true)]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write manual pages into a folder
    #[command(hide = true)]
    Man {
        /// The folder
        dir: PathBuf,
    },
}

#[derive(clap::Args, Debug)]
struct RunArgs {
    /// Configuration file; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Box<Options>,
    /// How log lines on standard error look
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(clap::Args, Debug)]
struct LoadArgs {
    /// `proc`, `cgroup:PATH`, `pid:N` or `url:http://HOST:PORT/PATH`
    #[arg(long)]
    load: LoadSpec,
    /// Port of the service, whose connections are counted
    #[arg(long, default_value_t = 80)]
    port: u16,
    /// The application's report of its sessions
    #[arg(long, value_name = "URL")]
    sessions_url: Option<HttpUrl>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run_agent(args),
        Command::Load(args) => print_load(args),
        Command::Check { file } => check(&file),
        Command::ConfigDoc => {
            let document = Document::describe();
            read_section(&document.root());
            print(&table_markdown(&document.options()))
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "farm-agent", &mut text);
            print(&String::from_utf8_lossy(&text))
        }
        Command::Man { dir } => match clap_mangen::generate_to(Cli::command(), dir) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
    }
}

fn run_agent(args: RunArgs) -> ExitCode {
    start_log(args.log_format);
    let file = args.config.as_deref().map_or(Ok(Options::default()), read_file);
    let plan = match file.and_then(|file| identified(args.options.over(file))).and_then(Options::plan) {
        Ok(plan) => plan,
        Err(wrong) => return refuse(&wrong),
    };
    for warning in &plan.warnings {
        tracing::warn!("{warning}");
    }
    in_runtime(async {
        let (mut term, mut int) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(term), Ok(int)) => (term, int),
            (Err(error), _) | (_, Err(error)) => return fail(&error),
        };
        let stop = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        };
        let Plan { settings, load, sessions_url, cores, certificate, is_certificate_required, .. } = plan;
        let mut stop = Box::pin(stop);
        if let Some(certificate) = certificate {
            let profile = &settings.profile;
            let asker = Asker { farm: profile.farm.clone(), id: profile.id.clone(), key: settings.key.clone() };
            let (has, mut gets) = watch::channel(false);
            tokio::spawn(keep(certificate, asker, has));
            if is_certificate_required {
                tokio::select! {
                    got = gets.wait_for(|has| *has) => if got.is_err() { return fail(&"the keeper of the certificate ended") },
                    () = &mut stop => return ExitCode::SUCCESS,
                }
            }
        }
        let source = Source::new(&load, settings.profile.port, sessions_url, cores);
        match run(settings, source, stop).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        }
    })
}

/// The options with what the instance metadata service says of this machine, where that is wanted.
fn identified(options: Options) -> Result<Options, Vec<String>> {
    let Some(endpoint) = options.asks().map_err(|error| vec![error])? else { return Ok(options) };
    let named = |error: &dyn std::fmt::Display| vec![format!("imds: {error}")];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| named(&e))?;
    let identity = runtime.block_on(imds::identity(&endpoint)).map_err(|e| named(&e))?;
    runtime.shutdown_background();
    Ok(options.identified(identity))
}

fn print_load(args: LoadArgs) -> ExitCode {
    in_runtime(async {
        let mut source = Source::new(&args.load, args.port, args.sessions_url, None);
        let mut reading = source.read().await;
        if let (Ok(_), Some(every)) = (&reading, source.sample_every()) {
            let end = tokio::time::Instant::now() + LOAD_SPAN;
            while tokio::time::Instant::now() < end {
                tokio::time::sleep(every).await;
                source.sample();
            }
            reading = source.read().await;
        }
        match reading.map(|reading| serde_json::to_string(&reading)) {
            Ok(Ok(text)) => print(&format!("{text}\n")),
            Ok(Err(error)) => fail(&error),
            Err(error) => fail(&error),
        }
    })
}

fn check(file: &std::path::Path) -> ExitCode {
    // A check asks nobody: any id that the metadata service may give is as good as another.
    let assumed = || Identity { instance_id: Id::new("i-0").ok(), zone: None };
    match read_file(file).and_then(|options| options.identified(assumed()).plan()) {
        Ok(plan) => {
            for warning in &plan.warnings {
                eprintln!("{}: warning: {warning}", file.display());
            }
            let fronts = plan.settings.fronts.len();
            print(&format!(
                "{}: {} of farm {}, {fronts} front ends\n",
                file.display(),
                plan.settings.profile.id,
                plan.settings.profile.farm
            ))
        }
        Err(wrong) => refuse(&wrong),
    }
}

fn in_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(work);
            // A name that is being resolved must not hold up the end.
            runtime.shutdown_background();
            code
        }
        Err(error) => fail(&error),
    }
}

fn start_log(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

fn print(text: &str) -> ExitCode {
    // A reader that closed its end early has had enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn refuse(wrong: &[String]) -> ExitCode {
    for line in wrong {
        eprintln!("{line}");
    }
    ExitCode::from(EX_CONFIG)
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("farm-agent: {error}");
    ExitCode::FAILURE
}

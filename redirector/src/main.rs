//! The command line of the redirector.
//!
//! It must never do anything that `serve` does by other code than `serve`: commands ask the running redirector, `check` loads what
//! a start would load.
#![forbid(unsafe_code)]

mod commands;

use clap::{Parser, Subcommand};
use commands::chaos::Chaos;
use commands::farm::FarmCommand;
use commands::look::{Journal, Servers};
use commands::profile::ProfileCommand;
use commands::start::PlanArgs;
use commands::whatif::{Replay, Simulate};
use farm_daemon::admin::{AdminAddr, Token};
use farm_daemon::cli::{EXIT_CONFIG, EXIT_UNAVAILABLE, Generate, report};
use farm_daemon::clock::{Clock, draws_from_os};
use farm_daemon::logging::{self, LogFormat};
use farm_daemon::refusals::Refusals;
use farm_daemon::settings::{read_admin, read_token, token_path};
use farm_shared::heartbeat::MemberKey;
use farm_shared::id::Id;
use redirector::door::TallySum;
use redirector::load::{self, Farm, Loaded};
use redirector::provider::AnyProvider;
use redirector::serve::{self, Failure, Options};
use redirector::view::View;
use redirector::{farms, metrics, text};
use redirector_core::cloud::Profiles;
use redirector_core::config::STATE_DIR;
use redirector_core::room::lane_key;
use redirector_ec2::Meters;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const LOG_DEFAULT: &str = "info";

/// The front door of a farm: sends each new session to one server, and grows and shrinks the farm.
#[derive(Parser)]
#[command(name = "redirector", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the redirector.
    Serve {
        #[command(flatten)]
        config: Config,
        /// Writes the bound addresses to this file as JSON.
        #[arg(long, value_name = "PATH")]
        ports_file: Option<PathBuf>,
        /// Plans are made and journalled, but nothing is launched or stopped.
        #[arg(long)]
        dry_run: bool,
        /// How log lines look.
        #[arg(long, value_enum, default_value = "text")]
        log_format: LogFormat,
    },
    /// Checks a configuration and prints every problem.
    Check {
        /// The configuration file.
        file: PathBuf,
    },
    /// Prints the heartbeat key of a member, for its agent's key file, or the key of a lane of the waiting room.
    Key {
        /// The member.
        #[arg(long, required_unless_present = "lane")]
        id: Option<String>,
        /// The lane: the application signs passes with its key (docs/front-door.md).
        #[arg(long, conflicts_with = "id")]
        lane: Option<String>,
        #[command(flatten)]
        of: OfFarm,
    },
    /// Shows servers and the scaler's last decisions.
    Status {
        /// As the JSON document of `/v1/status`.
        #[arg(long)]
        json: bool,
        /// As one line: servers, sessions, run queues, boot times.
        #[arg(long, conflicts_with = "json")]
        line: bool,
        #[command(flatten)]
        client: Client,
    },
    /// Sends a backend nothing new; its sessions go on.
    Drain {
        /// The backends.
        #[arg(required = true)]
        ids: Vec<String>,
        /// Why, for status and log.
        #[arg(long, default_value = "")]
        why: String,
        #[command(flatten)]
        client: Client,
    },
    /// Takes back what was forced on a backend.
    Undrain {
        /// The backends.
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        client: Client,
    },
    /// Reads the configuration again, all or nothing.
    Reload {
        #[command(flatten)]
        client: Client,
    },
    /// Prints the address of the status page, with the token that opens it.
    Page {
        #[command(flatten)]
        client: Client,
    },
    /// Lists the servers, as the status page does.
    Servers(Servers),
    /// Prints the last records of the decision journal. The redirector need not run.
    Journal(Journal),
    /// Failure drills: lets servers fail on purpose, and reports what the farm and its users made of it.
    Chaos {
        #[command(subcommand)]
        model: Chaos,
    },
    /// Terminates all instances of provider "process". The redirector must be stopped.
    StopFarm {
        #[command(flatten)]
        of: OfFarm,
    },
    /// Lists the provider's instances, launches, starts, stops, reboots, terminates and adopts them.
    #[command(subcommand)]
    Farm(FarmCommand),
    /// Looks at launch profiles.
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Sizes a farm that does not exist yet: traffic, visits and memory to the limits to start with.
    Plan(PlanArgs),
    /// Plays a scenario against policies: waiting, aborted, flaps, server-hours, cost.
    Simulate(Simulate),
    /// Plays a decision journal against other policies: what would have happened.
    Replay(Replay),
    /// Prints the table of all options.
    #[command(hide = true)]
    ConfigDoc,
    /// Prints the table of all metrics.
    #[command(hide = true)]
    MetricsDoc,
    /// Prints the table of all options of a file of launch profiles.
    #[command(hide = true)]
    ProfileDoc,
    #[command(flatten)]
    Generate(Generate),
}

#[derive(clap::Args)]
struct Config {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "redirector.toml")]
    config: PathBuf,
}

/// A configuration, and one of its farms.
#[derive(clap::Args)]
struct OfFarm {
    #[command(flatten)]
    config: Config,
    /// The farm, if the configuration has several; the first one unless given.
    #[arg(long, value_name = "NAME")]
    farm: Option<Id>,
}

impl OfFarm {
    fn load(&self) -> Result<Farm, Failure> {
        let Loaded { farm, others, .. } = load::load(&self.config.config, false).map_err(Failure::Config)?;
        let Some(name) = &self.farm else { return Ok(farm) };
        let names = farm.spec.farm_names().join(", ");
        let mut all = std::iter::once(farm).chain(others);
        all.find(|f| f.spec.farm == *name).ok_or_else(|| unavailable(format!("farm {name}: expected one of {names}")))
    }
}

#[derive(clap::Args)]
struct Client {
    #[command(flatten)]
    of: OfFarm,
    /// The admin interface, if not the one of $REDIRECTOR_ADMIN or of the configuration.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<AdminAddr>,
    /// The file with its token, if not the one of $REDIRECTOR_TOKEN_FILE or of the configuration.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Config(refused)) => {
            // Nothing more can be done about an error stream that is closed.
            let _ = report(&refused.0, &mut io::stderr());
            ExitCode::from(EXIT_CONFIG)
        }
        Err(Failure::Unavailable(why)) => {
            let _ = writeln!(io::stderr(), "redirector: {why}");
            ExitCode::from(EXIT_UNAVAILABLE)
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve { config, ports_file, dry_run, log_format } => {
            logging::init(log_format, LOG_DEFAULT).map_err(unavailable)?;
            serve::run(&Options { config: config.config, ports_file, dry_run })
        }
        Command::Check { file } => {
            let loaded = load::load(&file, false).map_err(Failure::Config)?;
            report(&loaded.warnings, &mut io::stderr()).map_err(unavailable)?;
            print(&format!("{}: good\n", file.display()))
        }
        Command::Key { id, lane, of } => {
            let id = id.map(|id| member(&id)).transpose()?;
            let Farm { spec, keys, .. } = of.load()?;
            let key = match (&id, &lane) {
                (Some(id), _) => keys.current.member(&spec.farm, id),
                (None, lane) => {
                    MemberKey::from_bytes(lane_key(&keys.current, &spec.farm, lane.as_deref().unwrap_or_default()))
                }
            };
            print(&format!("{}\n", key.to_hex()))
        }
        Command::Status { json, line, client } => {
            let document = client.ask("GET", "/v1/status")?;
            match (json, line) {
                (true, _) => print(&document),
                (_, true) => print(&text::status_line(&document)),
                _ => print(&text::status(&document)),
            }
        }
        Command::Drain { ids, why, client } => {
            let why = text::percent_encode(&why);
            client.tell_each("drain", &ids, &format!("?why={why}"))
        }
        Command::Undrain { ids, client } => client.tell_each("clear", &ids, ""),
        Command::Reload { client } => client.tell("/v1/reload"),
        Command::Page { client } => print(&client.page()?),
        Command::Servers(servers) => commands::look::servers(&servers),
        Command::Journal(journal) => commands::look::journal(&journal),
        Command::Chaos { model } => commands::chaos::chaos(model),
        Command::StopFarm { of } => stop_farm(&of),
        Command::Farm(command) => commands::farm::run(command),
        Command::Profile(command) => commands::profile::run(command),
        Command::Plan(args) => commands::start::run(&args),
        Command::Simulate(simulate) => commands::whatif::simulate(&simulate),
        Command::Replay(replay) => commands::whatif::replay(&replay),
        Command::ConfigDoc => print(&load::options_markdown()),
        Command::ProfileDoc => print(&farm_shared::config::table_markdown(&Profiles::options())),
        Command::MetricsDoc => {
            let exposition =
                metrics::exposition(&View::empty(), &TallySum::default(), &Refusals::default(), &Meters::default());
            print(&exposition.table_markdown())
        }
        Command::Generate(generate) => generate.run::<Cli>(&mut io::stdout()).map_err(unavailable),
    }
}

fn unavailable(why: impl std::fmt::Display) -> Failure {
    Failure::Unavailable(why.to_string())
}

fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever read us has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(unavailable),
    }
}

fn member(id: &str) -> Result<Id, Failure> {
    Id::new(id).map_err(|e| Failure::Unavailable(format!("{id:?}: {e}")))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(unavailable)
}

fn stop_farm(of: &OfFarm) -> Result<(), Failure> {
    let Farm { spec, keys, .. } = of.load()?;
    let state_dir = farms::open_state_dir(Path::new(&spec.state_dir))?;
    let draws = draws_from_os().map_err(unavailable)?;
    let provider =
        farms::open_provider(&spec, &keys.current, state_dir.path(), &draws, Clock::start()).map_err(unavailable)?;
    let provider = match provider {
        AnyProvider::Process(provider) => provider,
        AnyProvider::None(_) => return print("provider \"none\": nothing to stop\n"),
        AnyProvider::Ec2(_) => {
            return Err(unavailable("provider \"ec2\": instances are ended one by one, by `redirector farm terminate`"));
        }
    };
    let stopped = runtime()?.block_on(provider.stop_all()).map_err(|e| unavailable(e.message))?;
    print(&format!("{stopped} instances stopped\n"))
}

impl Client {
    fn way(&self) -> Result<(AdminAddr, Option<Token>), Failure> {
        let config = &self.of.config.config;
        let set = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let named = match (&self.admin, set("REDIRECTOR_ADMIN")) {
            (Some(addr), _) => Some(addr.clone()),
            (None, Some(text)) => {
                let addr = text.parse::<AdminAddr>();
                Some(addr.map_err(|e| unavailable(format!("REDIRECTOR_ADMIN: {text:?}: {e}")))?)
            }
            (None, None) => None,
        };
        let token_file = self.token_file.clone().or_else(|| set("REDIRECTOR_TOKEN_FILE").map(PathBuf::from));
        let admin = match read_admin(config, Some(STATE_DIR)) {
            Err(problem) if named.is_none() => return Err(Failure::Config(load::Refused(vec![problem]))),
            admin => admin.unwrap_or_default(),
        };
        let addr = named.or(admin.listen.clone());
        let addr = addr.ok_or_else(|| unavailable("the configuration has no admin.listen"))?;
        let token = match token_file.or_else(|| token_path(&admin, config)).filter(|_| matches!(addr, AdminAddr::Tcp(_))) {
            Some(path) => Some(read_token(&path).map_err(|e| unavailable(format!("{}: {e}", path.display())))?),
            None => None,
        };
        Ok((addr, token))
    }

    fn page(&self) -> Result<String, Failure> {
        match self.way()? {
            (AdminAddr::Tcp(addr), Some(token)) => Ok(format!("http://{addr}/login?token={}\n", token.as_str())),
            _ => Err(unavailable("the admin interface is a Unix socket, which browsers cannot open")),
        }
    }

    fn ask(&self, method: &str, path: &str) -> Result<String, Failure> {
        let (addr, token) = self.way()?;
        let token = token.as_ref().map(Token::as_str);
        let farm = self.of.farm.as_ref().map(|farm| format!("/farms/{farm}")).unwrap_or_default();
        let path = format!("{farm}{path}");
        let answer = runtime()?.block_on(farm_daemon::admin_client::request(&addr, token, method, &path, ""));
        let (status, body) = answer.map_err(unavailable)?;
        if status == 200 { Ok(body) } else { Err(unavailable(format!("{status}: {}", text::outcome(&body)))) }
    }

    /// One after the other, all of them, whatever becomes of one.
    fn tell_each(&self, verb: &str, ids: &[String], query: &str) -> Result<(), Failure> {
        let ids = ids.iter().map(|id| member(id)).collect::<Result<Vec<Id>, Failure>>()?;
        let mut outcome = Ok(());
        for id in ids {
            if let Err(failed) = self.tell(&format!("/v1/admin/{verb}/{id}{query}")) {
                let _ = writeln!(io::stderr(), "redirector: {failed}");
                outcome = Err(failed);
            }
        }
        outcome.map_err(|_| unavailable("not all of it was done"))
    }

    fn tell(&self, path: &str) -> Result<(), Failure> {
        let body = self.ask("POST", path)?;
        print(&format!("{}\n", text::outcome(&body)))
    }
}

//! `redirector chaos …`: failure drills against the running redirector's farm.
//!
//! Everything that can be wrong with the words is said before anything is asked of the redirector.

use crate::{Client, Failure, print, unavailable};
use clap::{Args, Subcommand};
use farm_daemon::admin::{AdminAddr, Token};
use farm_daemon::clock::{Clock, draws_from_os};
use farm_shared::config::{format_duration_ms, parse_duration_ms};
use farm_shared::draw::Draws;
use farm_shared::id::Id;
use redirector::drill::{Ask, Drill, Probe, name, run};
use redirector_core::drill::{Fault, Filter, Graph, Model, Order, Radius, Schedule, StopRule};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const GRAPH_BYTES_MAX: u64 = 16 * 1024 * 1024;
const COUNT_MAX: u32 = 1_000;

#[derive(Subcommand)]
pub(crate) enum Chaos {
    /// Ends random servers.
    Random {
        #[command(flatten)]
        options: Options,
    },
    /// Cuts random servers off, and heals them.
    Network {
        #[command(flatten)]
        options: Options,
    },
    /// Has the agents of random servers end a process; only what an agent's `drill_allow` names.
    Process {
        /// The process's name, as `ps -o comm` shows it.
        #[arg(long, value_name = "NAME")]
        process: String,
        #[command(flatten)]
        options: Options,
    },
    /// Ends the server with the most connections, counted anew after each.
    Graph {
        /// The connections as JSON, an object with `edges`: a list of pairs of member ids, roles or instance ids.
        #[arg(long, value_name = "FILE")]
        graph: PathBuf,
        #[command(flatten)]
        options: Options,
    },
    /// Heals at once what drills have cut off.
    Heal {
        /// Only what this drill has cut off.
        #[arg(long, value_name = "DRILL")]
        drill: Option<Id>,
        #[command(flatten)]
        client: Client,
    },
}

#[derive(Args)]
pub(crate) struct Options {
    /// Which servers may be hit: zone=a,role=web,id=b*,instance=i-* (repeatable).
    #[arg(long = "filter", visible_alias = "tag", value_name = "KEY=PATTERN,…")]
    filters: Vec<Filter>,
    /// Servers hit in each round.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=COUNT_MAX as i64))]
    count: u32,
    /// Rounds; 0 for no end.
    #[arg(long, default_value_t = 1)]
    repeat: u32,
    /// From the start of one round to the next at least.
    #[arg(long = "every", value_name = "DURATION", default_value = "1m", value_parser = duration_ms)]
    every_ms: u64,
    /// When rounds may begin, in UTC: "mon-fri 09:00-17:00, sun 03:30".
    #[arg(long, value_name = "TIMES")]
    schedule: Option<Schedule>,
    /// Says who would be hit, and hits nobody.
    #[arg(long)]
    dry_run: bool,
    /// The largest share of the servers that may be down at once. One healthy server always stays.
    #[arg(long, value_name = "PERCENT", default_value = "25%")]
    blast_radius: Radius,
    /// What is cut off is healed after this.
    #[arg(long = "heal-after", value_name = "DURATION", default_value = "30s", value_parser = duration_ms)]
    heal_ms: u64,
    /// Stops, and heals, when more requests than that fail within 30 s; "never" does not.
    #[arg(long, value_name = "RULE", default_value = "errors>10%", value_parser = stop_rule)]
    stop_when: Stop,
    /// How long the farm may take to recover.
    #[arg(long = "settle", value_name = "DURATION", default_value = "5m", value_parser = duration_ms)]
    settle_ms: u64,
    /// Watches the users so long before the first hit, and after the recovery.
    #[arg(long = "lead", value_name = "DURATION", default_value = "5s", value_parser = duration_ms)]
    lead_ms: u64,
    /// Writes the report here as JSON, and beside it as .txt and .svg.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// The front door that the drill's users enter by; the first of the configuration by default.
    #[arg(long, value_name = "ADDRESS")]
    door: Option<SocketAddr>,
    /// The host name that they ask for; the first of the configuration by default.
    #[arg(long)]
    host: Option<String>,
    /// The path that they enter by.
    #[arg(long, default_value = "/")]
    path: String,
    /// Users at a time; 0 for none, and then errors are not seen.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1000))]
    users: u32,
    /// From one request of a user to the next.
    #[arg(long = "think", value_name = "DURATION", default_value = "500ms", value_parser = duration_ms)]
    think_ms: u64,
    /// A request that takes longer has failed.
    #[arg(long = "timeout", value_name = "DURATION", default_value = "2s", value_parser = duration_ms)]
    timeout_ms: u64,
    /// Seed of the choice, to make the same one again.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    client: Client,
}

#[derive(Clone, Copy, Debug)]
struct Stop(Option<StopRule>);

fn stop_rule(text: &str) -> Result<Stop, String> {
    if text == "never" {
        return Ok(Stop(None));
    }
    text.parse().map(|rule| Stop(Some(rule))).map_err(|e: redirector_core::drill::BadRule| e.to_string())
}

fn duration_ms(text: &str) -> Result<u64, String> {
    parse_duration_ms(text).ok_or_else(|| "expected a duration like 250ms, 3s or 1m30s".to_owned())
}

pub(crate) fn chaos(command: Chaos) -> Result<(), Failure> {
    match command {
        Chaos::Random { options } => drill(options, Model::Random, Fault::Kill, None),
        Chaos::Network { options } => drill(options, Model::Network, Fault::Isolate, None),
        Chaos::Process { process, options } => drill(options, Model::Process, Fault::KillProcess(process), None),
        Chaos::Graph { graph, options } => {
            let graph = read_graph(&graph)?;
            drill(options, Model::Graph, Fault::Kill, Some(graph))
        }
        Chaos::Heal { drill, client } => {
            client.tell(&drill.map_or_else(|| "/v1/drill/heal".to_owned(), |d| format!("/v1/drill/heal?drill={d}")))
        }
    }
}

fn read_graph(path: &Path) -> Result<Graph, Failure> {
    let named = |error: &dyn std::fmt::Display| unavailable(format!("{}: {error}", path.display()));
    let bytes = farm_daemon::state_dir::read_capped(path, GRAPH_BYTES_MAX).map_err(|e| named(&e))?;
    Graph::from_json(&String::from_utf8_lossy(&bytes)).map_err(|e| named(&e))
}

fn drill(options: Options, model: Model, fault: Fault, graph: Option<Graph>) -> Result<(), Failure> {
    let clock = Clock::start();
    let spec = options.client.of.load()?.spec;
    let (addr, token) = options.client.way()?;
    let draws = match options.seed {
        Some(seed) => Draws::from_u64(seed),
        None => draws_from_os().map_err(unavailable)?,
    };
    let door =
        options.door.or_else(|| spec.listen.first().copied()).ok_or_else(|| unavailable("--door: nothing to enter by"))?;
    let host = options.host.clone().or_else(|| spec.hosts.iter().find(|h| *h != "*").cloned());
    let words = words(&options, &fault);
    let order = Order {
        drill: name(clock.now().wall.0).map_err(unavailable)?,
        model,
        fault,
        filter: options.filters.into_iter().fold(Filter::default(), Filter::and),
        graph,
        count: options.count,
        repeat: options.repeat,
        every_ms: options.every_ms,
        schedule: options.schedule,
        radius: options.blast_radius,
        heal_ms: options.heal_ms,
        stop: options.stop_when.0,
        settle_ms_max: options.settle_ms,
        lead_ms: options.lead_ms,
        trail_ms: options.lead_ms,
        dry_run: options.dry_run,
    };
    let probe = Probe {
        door,
        host: host.unwrap_or_else(|| door.to_string()),
        path: options.path,
        users: options.users,
        think_ms: options.think_ms.max(10),
        timeout_ms: options.timeout_ms.max(10),
    };
    let drill = Drill { order, words, probe, report: options.report };
    let asks = AdminAsk { addr, token };
    // What happens goes to standard error, so that standard output is the report alone.
    let say = |text: &str| {
        let seconds = clock.now().mono.0 as f64 / 1e3;
        let _ = writeln!(std::io::stderr(), "{seconds:8.2} s  {text}");
    };
    let report = crate::runtime()?.block_on(run(&drill, &asks, clock, draws, say)).map_err(unavailable)?;
    print(&report.text())?;
    if report.ended == "done" { Ok(()) } else { Err(unavailable(format!("the drill was stopped: {}", report.ended))) }
}

fn words(options: &Options, fault: &Fault) -> String {
    let what = match fault {
        Fault::Kill => "end".to_owned(),
        Fault::Isolate => format!("cut off for {}", format_duration_ms(options.heal_ms)),
        Fault::KillProcess(process) => format!("end process {process} of"),
    };
    let rounds = match options.repeat {
        0 => format!(" every {}", format_duration_ms(options.every_ms)),
        1 => String::new(),
        n => format!(" {n} times every {}", format_duration_ms(options.every_ms)),
    };
    let stop = options.stop_when.0.map_or_else(String::new, |rule| format!(", stop when {rule}"));
    format!("{what} {} server(s){rounds}, blast radius {}{stop}", options.count, options.blast_radius)
}

struct AdminAsk {
    addr: AdminAddr,
    token: Option<Token>,
}

impl Ask for AdminAsk {
    async fn ask(&self, method: &str, path: &str, body: &str) -> Result<String, String> {
        let token = self.token.as_ref().map(Token::as_str);
        let answer = farm_daemon::admin_client::request(&self.addr, token, method, path, body).await;
        let (status, text) = answer.map_err(|e| e.to_string())?;
        if status == 200 { Ok(text) } else { Err(redirector::text::outcome(&text)) }
    }
}

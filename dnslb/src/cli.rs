//! The command line: what each subcommand does, what it prints, and how it ends.
//!
//! Exit codes: 0; 1 when a daemon or a question refuses; 2 for a wrong command line; 69 when something cannot be had; 78 when the
//! configuration is refused.

use clap::{Parser, Subcommand, ValueEnum};
use dnslb_core::dnssec::civil::compact;
use dnslb_core::name::Name;
use farm_daemon::admin::{AdminAddr, Token};
use farm_daemon::admin_client;
use farm_daemon::cli::{EXIT_CONFIG, EXIT_UNAVAILABLE, Generate, report};
use farm_daemon::logging::{self, LogFormat};
use farm_daemon::settings::{read_admin, read_token, token_path};
use farm_shared::config::{Problem, parse_duration_ms, table_markdown};
use farm_shared::prefix::Prefix;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::ask::{Question, ask};
use crate::keygen::{DsOf, Keygen, ds, keygen};
use crate::keys;
use crate::load::load;
use crate::metrics;
use crate::serve::{ServeError, serve};

const CONFIG: &str = "/etc/dnslb/dnslb.toml";

/// Threads of the runtime: control, TCP, checks and admin. UDP has threads of its own.
const RUNTIME_THREADS: usize = 2;

/// An authoritative name server that answers with k of n healthy backends.
#[derive(Debug, Parser)]
#[command(name = "dnslb", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves until SIGTERM; SIGHUP reads the configuration anew.
    Serve {
        #[command(flatten)]
        config: ConfigArg,
        /// Writes the bound addresses to this file as JSON, for whoever configured port 0.
        #[arg(long, value_name = "PATH")]
        ports_file: Option<PathBuf>,
        /// How log lines look.
        #[arg(long, value_enum, default_value_t)]
        log_format: LogFormat,
    },
    /// Reads a configuration and its zones, and prints every problem.
    Check {
        /// The configuration.
        file: PathBuf,
    },
    /// Answers from a configuration without a socket, and says why.
    Ask {
        /// The name to ask for.
        name: String,
        /// The record type.
        #[arg(value_name = "TYPE", default_value = "A")]
        rtype: String,
        /// The address that asks.
        #[arg(long, alias = "client", value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
        from: IpAddr,
        /// The client subnet that this address sends along, as a resolver would (RFC 7871).
        #[arg(long, value_name = "PREFIX")]
        ecs: Option<Prefix>,
        /// How often to ask.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        count: u32,
        #[command(flatten)]
        config: ConfigArg,
    },
    /// Says what a member is good for, whatever is measured; `auto` takes it back. Survives a restart.
    Admin {
        /// What to say.
        #[arg(value_enum)]
        word: Word,
        /// POOL/MEMBER, or FARM/ID.
        target: String,
        /// Why, for those who look later.
        #[arg(long, default_value = "")]
        why: String,
        /// For how long, such as 1h30m; until it is taken back if absent.
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        r#for: Option<String>,
        #[command(flatten)]
        daemon: DaemonArg,
    },
    /// Prints the state of pools and farms.
    Status {
        /// As the JSON of the admin API.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        daemon: DaemonArg,
    },
    /// Makes the daemon read its configuration anew; all or nothing.
    Reload {
        #[command(flatten)]
        daemon: DaemonArg,
    },
    /// Makes a key for a zone, as dnssec-keygen does, and prints the name that its files start with.
    Keygen(Keygen),
    /// Prints the DS records that a zone's parent needs.
    Ds(DsOf),
    /// Lists zones, or says what shall become of one that takes dynamic updates.
    Zone {
        #[command(subcommand)]
        order: ZoneOrder,
    },
    /// Looks at, or steers, the key schedule of a zone that is signed here.
    Keys {
        #[command(subcommand)]
        wish: keys::Wish,
        #[command(flatten)]
        config: ConfigArg,
    },
    /// Prints every option as Markdown.
    #[command(hide = true)]
    ConfigDoc,
    /// Prints every metric as Markdown.
    #[command(hide = true)]
    MetricsDoc,
    #[command(flatten)]
    Generate(Generate),
}

#[derive(Debug, Subcommand)]
enum ZoneOrder {
    /// Prints every zone: kind, serial, records, journal.
    List {
        /// As the JSON of the admin API.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        daemon: DaemonArg,
    },
    /// Prints one zone.
    Show(ZoneArg),
    /// Takes no updates for now, and writes the zone to its master file, to be edited.
    Freeze(ZoneArg),
    /// Takes updates again. A master file that was edited becomes the zone.
    Thaw(ZoneArg),
    /// Writes the zone to its master file.
    Sync(ZoneArg),
    /// Puts the master file in the place of the zone; what was updated since is gone.
    Reload(ZoneArg),
}

#[derive(Debug, clap::Args)]
struct ZoneArg {
    /// The zone's name.
    zone: String,
    #[command(flatten)]
    daemon: DaemonArg,
}

#[derive(Debug, clap::Args)]
struct ConfigArg {
    /// The configuration.
    #[arg(long, global = true, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
}

#[derive(Debug, clap::Args)]
struct DaemonArg {
    #[command(flatten)]
    config: ConfigArg,
    /// Where the daemon's admin interface is, if not where the configuration says.
    #[arg(long, value_name = "ADDR")]
    admin: Option<AdminAddr>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    /// No new sessions; running ones go on.
    Drain,
    /// As if it did not answer.
    Down,
    /// As if it answered.
    Up,
    /// As measured again.
    #[value(alias = "clear")]
    Auto,
}

/// How a command that did not succeed ends.
enum Failure {
    Problems(Vec<Problem>),
    Text(u8, String),
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Problems(problems)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Text(EXIT_UNAVAILABLE, error.to_string())
    }
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Problems(problems)) => {
            let _ = report(&problems, &mut io::stderr());
            ExitCode::from(EXIT_CONFIG)
        }
        Err(Failure::Text(code, text)) => {
            let _ = writeln!(io::stderr(), "dnslb: {}", text.trim_end());
            ExitCode::from(code)
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve { config, ports_file, log_format } => {
            logging::init(log_format, "info")?;
            let served = runtime()?.block_on(async { tokio::spawn(serve(config.config, ports_file)).await });
            match served {
                Ok(Ok(())) => Ok(()),
                Ok(Err(ServeError::Config(problems))) => Err(Failure::Problems(problems)),
                Ok(Err(ServeError::Unavailable(text))) => Err(Failure::Text(EXIT_UNAVAILABLE, text)),
                Err(defect) => Err(Failure::Text(EXIT_UNAVAILABLE, defect.to_string())),
            }
        }
        Command::Check { file } => {
            let loaded = load(&file)?;
            report(&loaded.warnings, &mut io::stderr())?;
            let (zones, pools) = (loaded.zones.len(), loaded.spec.pools.len());
            let mut text = format!("{}: good; zones: {zones}, pools: {pools}\n", file.display());
            for zone in loaded.zones.iter() {
                let (apex, serial, records, names) = (zone.apex(), zone.serial(), zone.record_count(), zone.name_count());
                let _ = writeln!(text, "{apex} serial {serial}: {records} records at {names} names");
            }
            print(&text)
        }
        Command::Ask { name, rtype, from, ecs, count, config } => {
            let question = Question::new(&name, &rtype, from, count).map_err(|text| Failure::Text(2, text))?;
            let question = question.with_subnet(ecs);
            let loaded = load(&config.config)?;
            print(&ask(&loaded, &question).map_err(|text| Failure::Text(1, text))?)
        }
        Command::Admin { word, target, why, r#for, daemon } => {
            let word = match word {
                Word::Drain => "drain",
                Word::Down => "down",
                Word::Up => "up",
                Word::Auto => "auto",
            };
            let (group, member) = target
                .split_once('/')
                .ok_or_else(|| Failure::Text(2, format!("{target:?} is neither POOL/MEMBER nor FARM/ID")))?;
            let r#for = r#for.map(|text| format!("&for={text}")).unwrap_or_default();
            let (why, by) = (encoded(&why), encoded(&operator()));
            let path = format!("/v1/admin/{word}/{}/{}?why={why}&by={by}{for}", encoded(group), encoded(member));
            print(&request(&daemon, "POST", &path)?)
        }
        Command::Status { json, daemon } => {
            let text = request(&daemon, "GET", "/v1/status")?;
            print(&if json { text + "\n" } else { table(&text) })
        }
        Command::Reload { daemon } => print(&request(&daemon, "POST", "/v1/reload")?),
        Command::Keygen(command) => print(&keygen(&command).map_err(|text| Failure::Text(EXIT_UNAVAILABLE, text))?),
        Command::Ds(command) => print(&ds(&command).map_err(|text| Failure::Text(EXIT_UNAVAILABLE, text))?),
        Command::Zone { order } => zone(order),
        Command::Keys { wish, config } => {
            let loaded = load(&config.config)?;
            print(&keys::run(&wish, &loaded.spec, &loaded.zones, &config.config).map_err(|text| Failure::Text(1, text))?)
        }
        Command::ConfigDoc => print(&table_markdown(&dnslb_core::config::options())),
        Command::MetricsDoc => print(&metrics::document()),
        Command::Generate(generate) => Ok(generate.run::<Cli>(&mut io::stdout())?),
    }
}

fn zone(order: ZoneOrder) -> Result<(), Failure> {
    let (verb, ZoneArg { zone, daemon }) = match order {
        ZoneOrder::List { json, daemon } => {
            let text = request(&daemon, "GET", "/v1/zones")?;
            return print(&if json { text + "\n" } else { zone_table(&text, None) });
        }
        ZoneOrder::Show(ZoneArg { zone, daemon }) => {
            let wanted = zone.parse::<Name>().map_err(|e| Failure::Text(2, format!("{zone:?} is no domain name: {e}")))?;
            let table = zone_table(&request(&daemon, "GET", "/v1/zones")?, Some(&wanted.to_string()));
            return if table.is_empty() {
                Err(Failure::Text(1, format!("{wanted} is no zone of this server")))
            } else {
                print(&table)
            };
        }
        ZoneOrder::Freeze(arg) => ("freeze", arg),
        ZoneOrder::Thaw(arg) => ("thaw", arg),
        ZoneOrder::Sync(arg) => ("sync", arg),
        ZoneOrder::Reload(arg) => ("reload", arg),
    };
    print(&request(&daemon, "POST", &format!("/v1/zones/{verb}/{}", encoded(&zone)))?)
}

/// Zones as a table: all, or the one of that name.
fn zone_table(json: &str, only: Option<&str>) -> String {
    let zones: Vec<serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
    let mut out = String::new();
    for zone in zones {
        let text = |key: &str| zone.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
        let number = |key: &str| zone.get(key).and_then(serde_json::Value::as_u64).unwrap_or_default();
        let is = |key: &str| zone.get(key) == Some(&true.into());
        if only.is_some_and(|only| only != text("name")) {
            continue;
        }
        let mut marks = String::new();
        for (key, mark) in [("frozen", ", frozen"), ("file_differs", ", master file edited and not served")] {
            marks.push_str(if is(key) { mark } else { "" });
        }
        let (name, kind) = (text("name"), text("kind"));
        let (serial, records, journal) = (number("serial"), number("records"), number("journal_octets"));
        let _ = writeln!(out, "{name} {kind}, serial {serial}, {records} records, {journal} octets of journal{marks}");
    }
    out
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(RUNTIME_THREADS).enable_all().build()
}

/// A reader that has gone away (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// One request to the daemon. Of the configuration only the way to it is looked at: an operator need not be able to read keys.
fn request(daemon: &DaemonArg, method: &str, path: &str) -> Result<String, Failure> {
    let config = &daemon.config.config;
    let admin = match read_admin(config, None) {
        Err(problem) if daemon.admin.is_none() => return Err(vec![problem].into()),
        admin => admin.unwrap_or_default(),
    };
    let addr = daemon.admin.clone().or(admin.listen.clone());
    let addr = addr.ok_or_else(|| Failure::Text(EXIT_CONFIG, format!("{}: no admin.listen", config.display())))?;
    let token = match token_path(&admin, config).filter(|_| matches!(addr, AdminAddr::Tcp(_))) {
        Some(path) => {
            Some(read_token(&path).map_err(|e| Failure::Text(EXIT_UNAVAILABLE, format!("{}: {e}", path.display())))?)
        }
        None => None,
    };
    let answer = runtime()?.block_on(admin_client::request(&addr, token.as_ref().map(Token::as_str), method, path, ""));
    match answer {
        Ok((200, text)) => Ok(text),
        Ok((_, text)) => Err(Failure::Text(1, text)),
        Err(error) => Err(Failure::Text(EXIT_UNAVAILABLE, error.to_string())),
    }
}

/// A duration, as it was written.
fn duration(text: &str) -> Result<String, String> {
    let good = parse_duration_ms(text).is_some_and(|ms| ms > 0);
    if good { Ok(text.to_owned()) } else { Err("expected a duration such as 1h30m".to_owned()) }
}

/// Who runs this command, as the environment has it: a note for others, no proof.
fn operator() -> String {
    ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default()
}

/// A text as one part of a URL.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, octet| {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(char::from(octet));
        } else {
            let _ = write!(out, "%{octet:02X}");
        }
        out
    })
}

/// The state for people: one line for each member.
fn table(json: &str) -> String {
    let status: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let text = |value: &serde_json::Value, key: &str| value.get(key).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    let number =
        |value: &serde_json::Value, key: &str| value.get(key).and_then(serde_json::Value::as_f64).unwrap_or_default();
    let list = |value: &serde_json::Value, key: &str| value.get(key).and_then(|v| v.as_array()).cloned().unwrap_or_default();
    let mut out = format!("{}, generation {}\n", text(&status, "id"), number(&status, "generation"));
    for pool in list(&status, "pools") {
        let open = if pool.get("fail_open") == Some(&true.into()) { ", FAIL-OPEN" } else { "" };
        let (up, counted) = (number(&pool, "up"), number(&pool, "counted"));
        let _ = writeln!(out, "pool {}: {up} of {counted} up, k = {}{open}", text(&pool, "name"), number(&pool, "k"));
        for member in list(&pool, "members") {
            let address =
                [text(&member, "v4"), text(&member, "v6")].iter().filter(|a| !a.is_empty()).cloned().collect::<Vec<_>>();
            let share = 100.0 * number(&member, "target_share");
            let (name, standing, why) = (text(&member, "name"), text(&member, "standing"), text(&member, "why"));
            let said = said(&member);
            let line = format!("  {name:<20} {standing:<11} {share:>5.1} %  {:<16} {why}{said}", address.join(" "));
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }
    for farm in list(&status, "farms") {
        let (members, silent) = (number(&farm, "members"), number(&farm, "silent"));
        let _ = writeln!(out, "farm {}: {members} members, {silent} silent", text(&farm, "name"));
    }
    for viewpoint in list(&status, "viewpoints") {
        let heard = viewpoint.get("heard") == Some(&true.into());
        let word = if heard { "heard" } else { "NOT HEARD: counts neither way" };
        let _ = writeln!(out, "viewpoint {}: {word}", text(&viewpoint, "name"));
    }
    out
}

/// What an operator forced on a member, with what is measured beside it; empty if nobody did.
fn said(member: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let at = |path: &str| member.pointer(path).map(text).unwrap_or_default();
    if at("/forced").is_empty() {
        return String::new();
    }
    let mut out = format!(" [{} by hand", at("/forced"));
    if !at("/word/by").is_empty() {
        let _ = write!(out, ", {}", at("/word/by"));
    }
    if let Some(until_ms) = member.pointer("/word/until_ms").and_then(serde_json::Value::as_u64) {
        let digits = compact(until_ms / 1_000);
        let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
        let (date, time) = ([part(0..4), part(4..6), part(6..8)].join("-"), [part(8..10), part(10..12)].join(":"));
        let _ = write!(out, ", until {date} {time} UTC");
    }
    let _ = write!(out, "; measured {}]", at("/measured"));
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn zones_are_a_table() {
        let json = r#"[{"name":"a.","kind":"dynamic","serial":7,"records":3,"frozen":true,"file_differs":false,"journal_octets":9},
            {"name":"b.","kind":"static","serial":1,"records":2,"frozen":false,"file_differs":true,"journal_octets":0}]"#;
        let a = "a. dynamic, serial 7, 3 records, 9 octets of journal, frozen\n";
        let b = "b. static, serial 1, 2 records, 0 octets of journal, master file edited and not served\n";
        assert_eq!(zone_table(json, None), format!("{a}{b}"));
        assert_eq!(zone_table(json, Some("b.")), b);
        assert_eq!(zone_table("nonsense", None), "");
    }

    #[test]
    fn parts_of_urls_are_encoded() {
        assert_eq!(encoded("disk full: 99 %/ä"), "disk%20full%3A%2099%20%25%2F%C3%A4");
    }

    #[test]
    fn what_is_forced_is_shown_beside_what_is_measured() {
        let member = |more: &str| said(&serde_json::from_str(&format!("{{\"measured\":\"in_service\"{more}}}")).unwrap());
        assert_eq!(member(r#","forced":null"#), "");
        assert_eq!(member(r#","forced":"down""#), " [down by hand; measured in_service]");
        let all = r#","forced":"drain","word":{"by":"ann","at_ms":1,"until_ms":1800000000000}"#;
        assert_eq!(member(all), " [drain by hand, ann, until 2027-01-15 08:00 UTC; measured in_service]");
    }

    #[test]
    fn a_state_is_a_table() {
        let json = r#"{"id":"ns1","generation":7,"pools":[{"name":"www","k":2,"up":1,"counted":2,"fail_open":true,"members":[
            {"name":"a","standing":"down","v4":"192.0.2.1","target_share":0.5,"why":"status 503"}]}],"farms":[{"name":"mail","members":3,"silent":1}]}"#;
        let expect = "ns1, generation 7\npool www: 1 of 2 up, k = 2, FAIL-OPEN\n  a                    down         50.0 %  192.0.2.1        status 503\nfarm mail: 3 members, 1 silent\n";
        assert_eq!(table(json), expect);
        assert_eq!(table("nonsense"), ", generation 0\n");
    }
}

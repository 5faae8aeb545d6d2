//! `redirector servers` and `redirector journal --follow`: the page's list of servers and the decisions as they are made, in a terminal.
//!
//! What is found, and in which order, is decided by the redirector as it is for its status page: both show one view.

use crate::{Client, Failure, OfFarm, print, unavailable};
use clap::Args;
use redirector::journal::{self, Follower};
use redirector::page::{SORTS, STATES};
use redirector::text;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const FOLLOW_MS: u64 = 500;

/// Which servers, and how.
#[derive(Args)]
pub(crate) struct Servers {
    /// Those whose id, address or zone holds this.
    #[arg(default_value = "")]
    find: String,
    /// Those in this state.
    #[arg(long, value_parser = STATES.map(|(name, _)| name))]
    state: Option<String>,
    /// What they are sorted by.
    #[arg(long, default_value = SORTS[0], value_parser = SORTS)]
    sort: String,
    /// The largest first.
    #[arg(long)]
    reverse: bool,
    /// As the JSON document of `/v1/servers`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: Client,
}

impl Servers {
    fn path(&self) -> String {
        let sign = if self.reverse { "-" } else { "" };
        let state = self.state.as_ref().map(|s| format!("&state={s}")).unwrap_or_default();
        format!("/v1/servers?q={}{state}&sort={sign}{}", text::percent_encode(&self.find), self.sort)
    }
}

pub(crate) fn servers(servers: &Servers) -> Result<(), Failure> {
    let document = servers.client.ask("GET", &servers.path())?;
    print(&if servers.json { document } else { text::servers(&document) })
}

/// The last records of the journal, and with `follow` every further one.
#[derive(Args)]
pub(crate) struct Journal {
    /// As the JSON lines that they are.
    #[arg(long)]
    json: bool,
    /// How many.
    #[arg(long, default_value_t = 20)]
    last: usize,
    /// Goes on with every record that is written, until it is interrupted.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    of: OfFarm,
}

pub(crate) fn journal(args: &Journal) -> Result<(), Failure> {
    let spec = args.of.load()?.spec;
    let state_dir = Path::new(&spec.state_dir);
    // It ends up in tickets, and the file has what is masked.
    let show = |line: String| {
        let line = journal::masked(line);
        if args.json { line + "\n" } else { text::record(&line) }
    };
    // Before the first look: what is written in between is shown twice rather than not at all, and then left out by its number.
    let mut follower = Follower::new(state_dir);
    let lines = journal::read(state_dir, args.last).map_err(unavailable)?;
    let mut newest = lines.iter().filter_map(|line| number(line)).max().unwrap_or_default();
    print(&lines.into_iter().map(show).collect::<String>())?;
    if !args.follow {
        return Ok(());
    }
    loop {
        for line in follower.lines().map_err(unavailable)? {
            let at = number(&line);
            if at.is_none_or(|at| at > newest) {
                newest = at.unwrap_or(newest);
                print(&show(line))?;
            }
        }
        std::thread::park_timeout(Duration::from_millis(FOLLOW_MS));
    }
}

fn number(line: &str) -> Option<u64> {
    serde_json::from_str::<Value>(line).ok()?["seq"].as_u64()
}

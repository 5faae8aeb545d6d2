//! `redirector farm`: the provider's instances, and what an operator does to them.
//!
//! Everything goes through the running redirector's admin interface, so that each act is journalled like the scaler's own and held
//! against the same limits. What could end sessions must never be done without `--yes`: it says what it would do.

use crate::{Client, Failure, print, unavailable};
use clap::{Args, Subcommand};
use farm_shared::id::Id;
use redirector::text;
use serde_json::Value;
use std::fmt::Write as _;

const TARGET_BYTES_MAX: usize = 64;

#[derive(Subcommand)]
pub(crate) enum FarmCommand {
    /// Lists the provider's instances, and which server each of them is.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        client: Client,
    },
    /// Launches servers now, within the scaler's limits.
    Launch {
        /// How many.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
        count: u32,
        /// The server of this role, if it is missing.
        #[arg(long, value_name = "ROLE", conflicts_with = "count")]
        role: Option<Id>,
        #[command(flatten)]
        client: Client,
    },
    /// Starts a stopped instance.
    Start(Target),
    /// Stops an instance, to be started again.
    Stop(Destroy),
    /// Restarts an instance.
    Reboot(Destroy),
    /// Ends an instance for good.
    Terminate(Destroy),
    /// Takes an instance with the farm's tag, that the scaler does not know, into the farm.
    Adopt(Target),
}

#[derive(Args)]
pub(crate) struct Target {
    /// The instance, or the id of its server.
    #[arg(value_parser = target)]
    target: String,
    #[command(flatten)]
    client: Client,
}

#[derive(Args)]
pub(crate) struct Destroy {
    #[command(flatten)]
    target: Target,
    /// Does it; without this, only what would be done is said.
    #[arg(long)]
    yes: bool,
    /// Even while sessions run on it.
    #[arg(long)]
    force: bool,
}

fn target(text: &str) -> Result<String, String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let is_good = (1..=TARGET_BYTES_MAX).contains(&text.len()) && text.bytes().all(good);
    if is_good { Ok(text.to_owned()) } else { Err("expected an instance like i-0123456789abcdef0, or a server's id".into()) }
}

pub(crate) fn run(command: FarmCommand) -> Result<(), Failure> {
    match command {
        FarmCommand::List { json: true, client } => print(&client.ask("GET", "/v1/farm")?),
        FarmCommand::List { json: false, client } => print(&list(&client.ask("GET", "/v1/farm")?)),
        FarmCommand::Launch { count, role, client } => client.tell(&match role {
            Some(role) => format!("/v1/farm/launch?role={role}"),
            None => format!("/v1/farm/launch?count={count}"),
        }),
        FarmCommand::Start(target) => act("start", &target, false),
        FarmCommand::Adopt(target) => act("adopt", &target, false),
        FarmCommand::Stop(destroy) => destroy_it("stop", &destroy),
        FarmCommand::Reboot(destroy) => destroy_it("reboot", &destroy),
        FarmCommand::Terminate(destroy) => destroy_it("terminate", &destroy),
    }
}

fn act(verb: &str, target: &Target, force: bool) -> Result<(), Failure> {
    target.client.tell(&format!("/v1/farm/{verb}/{}?force={force}", target.target))
}

fn destroy_it(verb: &str, destroy: &Destroy) -> Result<(), Failure> {
    if destroy.yes {
        return act(verb, &destroy.target, destroy.force);
    }
    let document = destroy.target.client.ask("GET", "/v1/farm")?;
    Err(unavailable(would(verb, &destroy.target.target, &document)))
}

/// What would be done, from the list of instances.
fn would(verb: &str, target: &str, document: &str) -> String {
    let instances = instances(document);
    let named = |instance: &&Value| instance["instance_id"] == target || instance["member_id"] == target;
    let Some(instance) = instances.iter().find(named) else {
        return format!("there is no instance and no server {target}: `redirector farm list` shows them");
    };
    let mut text = format!("would {verb} {}", word(&instance["instance_id"]));
    for key in ["member_id", "role", "state", "standing"] {
        if !instance[key].is_null() {
            let _ = write!(text, ", {} {}", key.replace("_id", ""), word(&instance[key]));
        }
    }
    if let Some(sessions) = instance["sessions"].as_u64() {
        let _ = write!(text, ", {sessions} sessions on it");
    }
    text + ". Nothing was done: --yes does it"
}

fn instances(document: &str) -> Vec<Value> {
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    document["instances"].as_array().cloned().unwrap_or_default()
}

/// The list for a terminal.
fn list(document: &str) -> String {
    let head = ["instance", "server", "role", "state", "standing", "sessions", "launched", "offering", "address", "notes"];
    let mut rows = vec![head.map(str::to_owned)];
    for instance in instances(document) {
        let mut notes: Vec<String> = Vec::new();
        notes.extend(instance["impaired"].as_str().map(|why| format!("impaired: {why}")));
        notes.extend((instance["kept"] == true).then(|| "kept for inspection".to_owned()));
        notes.extend(
            (instance["known"] == false).then(|| "not of this scaler's making: `farm adopt` takes it in".to_owned()),
        );
        rows.push([
            word(&instance["instance_id"]),
            word(&instance["member_id"]),
            word(&instance["role"]),
            word(&instance["state"]),
            word(&instance["standing"]),
            word(&instance["sessions"]),
            instance["launched_wall_ms"].as_u64().map_or_else(|| "-".to_owned(), text::time_of_day),
            word(&instance["offering"]),
            instance["addrs"].as_array().and_then(|addrs| addrs.last()).map_or_else(|| "-".to_owned(), word),
            notes.join("; "),
        ]);
    }
    let mut out = String::new();
    text::table(&mut out, &rows);
    out
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.chars().filter(|c| !c.is_control()).collect(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FARM: &str = r#"{"instances":[{"instance_id":"i-1","member_id":"b7","role":null,"state":"running","standing":"in_service",
        "sessions":12,"launched_wall_ms":3723000,"offering":"spot c7g.large in us-east-1a","addrs":["10.0.0.7","192.0.2.7"],
        "impaired":null,"kept":false,"known":true},{"instance_id":"i-2","state":"running","known":false}]}"#;

    #[test]
    fn a_list_reads_as_a_table() {
        let text = list(FARM);
        assert!(text.contains("i-1       b7      -     running  in_service  12        01:02:03Z"), "{text}");
        assert!(
            text.contains("spot c7g.large in us-east-1a  192.0.2.7") && text.contains("`farm adopt` takes it in"),
            "{text}"
        );
        for document in ["", "{}", "[]", "{\"instances\":[1,{}]}"] {
            let _ = list(document);
        }
    }

    #[test]
    fn what_would_be_done_is_told() {
        let told = would("terminate", "b7", FARM);
        let expect = "would terminate i-1, member b7, state running, standing in_service, 12 sessions on it. Nothing was done: --yes does it";
        assert_eq!(told, expect);
        assert!(would("stop", "b9", FARM).starts_with("there is no instance and no server b9"));
    }

    #[test]
    fn targets_are_ids() {
        assert!(target("i-0123456789abcdef0").is_ok() && target("b7").is_ok());
        assert!(target("").is_err() && target("a/b").is_err() && target("a?b").is_err() && target(&"x".repeat(65)).is_err());
    }
}

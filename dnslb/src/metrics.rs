//! `/metrics`: everything that is counted, written when somebody asks.
//!
//! Counters live where they are counted; nothing here is on the path of a query. [`document`] lists the same families for the
//! documentation, so the two cannot differ.

use dnslb_core::config::PoolSpec;
use dnslb_core::control::{MemberStatus, PoolStatus, Status};
use farm_daemon::refusals::Refusals;
use farm_daemon::state_dir::StateDir;
use farm_shared::exposition::{Exposition, Kind};
use farm_shared::id::Id;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

use crate::checks::Checker;
use crate::meters::Meters;
use crate::named::Registry;
use crate::query_log::QueryLog;
use crate::shell::Ask;
use crate::tally::Tallies;
use crate::tcp_clients::Clients;

/// How long a scrape waits for the control loop; without its word, counters alone are shown.
const STATUS_WAIT: Duration = Duration::from_secs(2);

/// Standings that a member can have.
const STANDINGS: [&str; 6] = ["in_service", "unknown", "draining", "silent", "down", "admin_down"];

/// Where the numbers are.
pub struct Metrics {
    /// Answers.
    pub tallies: Tallies,
    /// Who was named.
    pub registry: Arc<Mutex<Registry>>,
    /// TCP connections.
    pub clients: Arc<Clients>,
    /// Checks.
    pub checker: Checker,
    /// Reloads and publications.
    pub meters: Arc<Meters>,
    /// Heartbeats.
    pub refusals: Arc<Refusals>,
    /// Writes that failed.
    pub state_dir: Option<Arc<StateDir>>,
    /// Samples that were lost.
    pub log: QueryLog,
    /// The way to the control loop.
    pub ask: mpsc::Sender<Ask>,
    /// What earlier scrapes saw.
    pub accounts: Mutex<Accounts>,
}

/// What earlier scrapes saw of each pool.
pub type Accounts = BTreeMap<Id, Account>;

/// A slot is given again when its member is gone, and shares are compared since the targets changed last: so a scrape remembers
/// from which counts on it counts.
#[derive(Debug, Default)]
pub struct Account {
    /// Per slot: whose it is, and the count when that was first seen.
    owners: BTreeMap<u32, (Id, u64)>,
    /// The target shares by slot, as bits, and the counts (named, lowest) when they were first seen.
    targets: BTreeMap<u32, u64>,
    since: BTreeMap<u32, (u64, u64)>,
}

impl Metrics {
    /// The text. Called on a multi-threaded tokio runtime, off the tasks that answer.
    pub fn text(&self) -> String {
        let ask = self.ask.clone();
        let status = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let (to, status) = oneshot::channel();
                ask.send(Ask::Status(to)).await.ok()?;
                tokio::time::timeout(STATUS_WAIT, status).await.ok()?.ok()
            })
        });
        let mut out = Exposition::new();
        self.counters(&mut out);
        if let Some((status, spec)) = status {
            self.state(&mut out, &status, &spec.pools);
        }
        out.finish()
    }

    fn counters(&self, out: &mut Exposition) {
        out.family("dnslb_build_info", Kind::Gauge, "Always 1; the label is the version.");
        out.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1_u64);
        out.family("dnslb_answers_total", Kind::Counter, "Answers, by transport and response code.");
        for (transport, rcode, count) in self.tallies.answers() {
            out.sample(&[("transport", transport), ("rcode", &rcode_name(rcode))], count);
        }
        out.family("dnslb_truncated_total", Kind::Counter, "Answers with the TC bit, by transport.");
        for (transport, count) in self.tallies.truncated() {
            out.sample(&[("transport", transport)], count);
        }
        out.family("dnslb_dropped_total", Kind::Counter, "Questions without an answer, by reason.");
        for (why, count) in self.tallies.dropped() {
            out.sample(&[("reason", why.label())], count);
        }
        let help = "Answers over UDP that the kernel refused to send.";
        out.single("dnslb_send_errors_total", Kind::Counter, help, self.tallies.send_errors());
        let help = "Sampled questions that the query log lost because its writer was behind.";
        out.single("dnslb_query_log_lost_total", Kind::Counter, help, self.log.lost());

        let (open, [accepted, refused, evicted]) = self.clients.counts();
        out.single("dnslb_tcp_connections", Kind::Gauge, "TCP connections that are open.", open);
        out.single("dnslb_tcp_connections_total", Kind::Counter, "TCP connections that were taken.", accepted);
        let help = "TCP connections that were refused because their client has too many.";
        out.single("dnslb_tcp_refused_total", Kind::Counter, help, refused);
        let help = "TCP connections that were closed to make room for another, the longest idle first.";
        out.single("dnslb_tcp_evicted_total", Kind::Counter, help, evicted);

        out.family("dnslb_checks_total", Kind::Counter, "Health checks that ended, by outcome.");
        let [ok, failed] = self.checker.counts();
        out.sample(&[("outcome", "ok")], ok).sample(&[("outcome", "failed")], failed);

        let (ok, failed, published, loaded_at) = self.meters.read();
        out.family("dnslb_reloads_total", Kind::Counter, "Reloads, by outcome.");
        out.sample(&[("outcome", "ok")], ok).sample(&[("outcome", "failed")], failed);
        let help = "When the configuration in force was read, in seconds since the epoch.";
        out.single("dnslb_config_loaded_timestamp_seconds", Kind::Gauge, help, loaded_at);
        out.single("dnslb_publications_total", Kind::Counter, "Snapshots that were published.", published);
        let failures = self.state_dir.as_ref().map_or(0, |dir| dir.failures());
        let help = "Times that the state could not be written to `state_dir`.";
        out.single("dnslb_state_write_failures_total", Kind::Counter, help, failures);
        self.refusals.expose(out);
    }

    fn state(&self, out: &mut Exposition, status: &Status, specs: &[PoolSpec]) {
        let (pools, farms) = (&status.pools, &status.farms);
        out.single("dnslb_generation", Kind::Gauge, "Generation of the snapshot that is served.", status.generation);
        out.family("dnslb_pool_members", Kind::Gauge, "Members of a pool, by standing.");
        for pool in pools {
            for standing in STANDINGS {
                let count = pool.members.iter().filter(|member| member.standing == standing).count();
                out.sample(&[("pool", pool.name.as_str()), ("standing", standing)], count);
            }
        }
        out.family(
            "dnslb_pool_fail_open",
            Kind::Gauge,
            "1 while too few members of a pool are up and answers name all of them.",
        );
        for pool in pools {
            out.sample(&[("pool", pool.name.as_str())], pool.fail_open);
        }
        out.family("dnslb_backend_up", Kind::Gauge, "1 if the member is good for new sessions, 0 if not.");
        for pool in pools {
            for member in &pool.members {
                let up = matches!(member.standing, "in_service" | "unknown");
                out.sample(&[("pool", pool.name.as_str()), ("member", member.name.as_str())], up);
            }
        }
        self.shares(out, pools, specs);
        out.family("dnslb_farm_members", Kind::Gauge, "Members of a farm that are known.");
        for farm in farms {
            out.sample(&[("farm", farm.name.as_str())], farm.members);
        }
        out.family("dnslb_farm_silent", Kind::Gauge, "Members of a farm whose lease ran out.");
        for farm in farms {
            out.sample(&[("farm", farm.name.as_str())], farm.silent);
        }
        out.family("dnslb_farm_twins", Kind::Gauge, "Members of a farm of which two incarnations are alive.");
        for farm in farms {
            out.sample(&[("farm", farm.name.as_str())], farm.twins.len());
        }
        out.family("dnslb_farm_doors", Kind::Gauge, "Doors of a farm that are in service.");
        for farm in farms {
            out.sample(&[("farm", farm.name.as_str())], farm.doors);
        }
    }

    fn shares(&self, out: &mut Exposition, pools: &[PoolStatus], specs: &[PoolSpec]) {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.retain(|name, _| pools.iter().any(|pool| pool.name == *name));
        out.family("dnslb_pool_answers_total", Kind::Counter, "Answers of a pool, empty ones among them.");
        for pool in pools {
            let answers = registry.pool(&pool.name).map_or(0, |counters| counters.answers());
            out.sample(&[("pool", pool.name.as_str())], answers);
        }
        let mut rows = Vec::new();
        for pool in pools {
            let counts = |slot| registry.pool(&pool.name).map_or((0, 0), |counters| counters.named(slot));
            let sort_share = specs.iter().find(|spec| spec.name == pool.name).map_or(0.0, |spec| spec.sort_share);
            rows.push(accounts.entry(pool.name.clone()).or_default().rows(&pool.members, sort_share, counts));
        }
        let lines = || {
            let members =
                pools.iter().zip(&rows).flat_map(|(pool, rows)| pool.members.iter().zip(rows).map(move |row| (pool, row)));
            members
                .map(|(pool, (member, row))| ([("pool", pool.name.as_str()), ("member", member.name.as_str())], member, row))
        };
        out.family("dnslb_pool_named_total", Kind::Counter, "How often answers of a pool named the member.");
        for (labels, _, row) in lines() {
            out.sample(&labels, row.named);
        }
        let help = "The member's share of the pool's clients, as its weight, k and sort_share have it.";
        out.family("dnslb_pool_share_target", Kind::Gauge, help);
        for (labels, member, _) in lines() {
            out.sample(&labels, member.target_share);
        }
        let help = "The share that answers gave it since a scrape first saw the present targets: sort_share of an answer goes to its lowest address, the rest to all named alike.";
        out.family("dnslb_pool_share_served", Kind::Gauge, help);
        for (labels, _, row) in lines() {
            if let Some(served) = row.served {
                out.sample(&labels, served);
            }
        }
    }
}

/// What is shown of one member.
#[derive(Debug, PartialEq)]
struct Row {
    named: u64,
    served: Option<f64>,
}

impl Account {
    /// One row for each member of the pool, from the counts (named, lowest) of its slot.
    fn rows(&mut self, members: &[MemberStatus], sort_share: f64, counts: impl Fn(u32) -> (u64, u64)) -> Vec<Row> {
        let slots: Vec<(u32, (u64, u64))> = members.iter().map(|member| (member.slot, counts(member.slot))).collect();
        let targets: BTreeMap<u32, u64> =
            members.iter().map(|member| (member.slot, member.target_share.to_bits())).collect();
        let mut moved = targets != self.targets;
        for (member, (slot, (named, _))) in members.iter().zip(&slots) {
            let base = match self.owners.get(slot) {
                Some((owner, base)) if *owner == member.name => *base,
                // The first owner that is seen has counted from the start; a later one takes over a slot that was used.
                Some(_) => *named,
                None => 0,
            };
            moved |= self.owners.get(slot).is_some_and(|(owner, _)| *owner != member.name);
            self.owners.insert(*slot, (member.name.clone(), base));
        }
        if moved {
            // At the first sight of a pool nothing was counted for other targets, so its counts stand.
            let first = self.targets.is_empty();
            self.since = slots.iter().map(|(slot, counts)| (*slot, if first { (0, 0) } else { *counts })).collect();
            self.targets = targets;
        }
        let since = |slot: &u32, (named, lowest): &(u64, u64)| {
            let (named_then, lowest_then) = self.since.get(slot).copied().unwrap_or_default();
            (named.saturating_sub(named_then) as f64, lowest.saturating_sub(lowest_then) as f64)
        };
        let fresh: Vec<(f64, f64)> = slots.iter().map(|(slot, counts)| since(slot, counts)).collect();
        let named_sum: f64 = fresh.iter().map(|(named, _)| named).sum();
        let lowest_sum: f64 = fresh.iter().map(|(_, lowest)| lowest).sum();
        let rows = slots.iter().zip(&fresh).map(|((slot, (named, _)), (named_fresh, lowest_fresh))| {
            let base = self.owners.get(slot).map_or(0, |(_, base)| *base);
            let served = (named_sum > 0.0 && lowest_sum > 0.0)
                .then(|| (1.0 - sort_share) * named_fresh / named_sum + sort_share * lowest_fresh / lowest_sum);
            Row { named: named.saturating_sub(base), served }
        });
        rows.collect()
    }
}

/// The families as a Markdown table.
pub fn document() -> String {
    let (outcomes, _) = mpsc::channel(1);
    let (ask, _) = mpsc::channel(1);
    let metrics = Metrics {
        tallies: Tallies::new(1),
        registry: Arc::default(),
        clients: Arc::default(),
        checker: Checker::new(outcomes),
        meters: Arc::default(),
        refusals: Arc::default(),
        state_dir: None,
        log: QueryLog::off(),
        ask,
        accounts: Mutex::default(),
    };
    let mut out = Exposition::new();
    metrics.counters(&mut out);
    let Ok(id) = Id::new("dnslb") else { return String::new() };
    metrics.state(&mut out, &Status { id, generation: 0, pools: Vec::new(), farms: Vec::new() }, &[]);
    let mut table = String::from("| metric | kind | meaning |\n|---|---|---|\n");
    for family in out.families() {
        let _ = writeln!(table, "| `{}` | {} | {} |", family.name, family.kind.word(), family.help);
    }
    table
}

fn rcode_name(rcode: u16) -> String {
    let name = match rcode {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        16 => "BADVERS",
        other => return other.to_string(),
    };
    name.to_owned()
}

//! `/metrics`: everything that is counted, written when somebody asks.
//!
//! Counters live where they are counted; nothing here is on the path of a query. [`document`] lists the same families for the
//! documentation, so the two cannot differ.

use dnslb_core::control::{PoolStatus, Status};
use dnslb_core::dnssec::SignedStatus;
use farm_daemon::refusals::Refusals;
use farm_daemon::state_dir::StateDir;
use farm_shared::exposition::{Exposition, Kind};
use farm_shared::id::Id;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

use crate::checks::Checker;
use crate::encrypted;
use crate::https::STATUSES;
use crate::meters::Meters;
use crate::query_log::QueryLog;
use crate::requests;
use crate::security::Handshakes;
use crate::shares::Shares;
use crate::shell::Ask;
use crate::signing::Statuses;
use crate::store;
use crate::tally::Tallies;
use crate::tcp_clients::Clients;
use crate::transfers;
use crate::viewpoints;
use farm_daemon::certificates::Certificates;

/// How long a scrape waits for the control loop; without its word, counters alone are shown.
const STATUS_WAIT: Duration = Duration::from_secs(2);

/// Standings that a member can have.
const STANDINGS: [&str; 6] = ["in_service", "unknown", "draining", "silent", "down", "admin_down"];

/// Where the numbers are.
pub struct Metrics {
    /// Answers.
    pub tallies: Tallies,
    /// Who was named.
    pub shares: Arc<Shares>,
    /// TCP connections.
    pub clients: Arc<Clients>,
    /// Connections and handshakes of encrypted transports.
    pub encrypted: encrypted::Counters,
    /// Their certificate.
    pub certificates: Option<Arc<Certificates>>,
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
    /// Requests that are more than plain queries.
    pub requests: Arc<requests::Counters>,
    /// Updates, and what was written of them.
    pub store: Arc<store::Counters>,
    /// Looks at primaries, and notifications.
    pub transfers: Arc<transfers::Counters>,
    /// What other viewpoints were asked and told.
    pub viewpoints: Arc<viewpoints::Counters>,
    /// Zones that are signed here.
    pub signed: Statuses,
    /// The way to the control loop.
    pub ask: mpsc::Sender<Ask>,
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
        if let Some((status, _)) = status {
            self.state(&mut out, &status);
        }
        out.finish()
    }

    fn counters(&self, out: &mut Exposition) {
        out.family("dnslb_build_info", Kind::Gauge, &["version"], "Always 1; the label is the version.");
        out.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1_u64);
        out.family(
            "dnslb_answers_total",
            Kind::Counter,
            &["transport", "rcode"],
            "Answers, by transport and response code.",
        );
        for (transport, rcode, count) in self.tallies.answers() {
            out.sample(&[("transport", transport), ("rcode", &rcode_name(rcode))], count);
        }
        out.family("dnslb_truncated_total", Kind::Counter, &["transport"], "Answers with the TC bit, by transport.");
        for (transport, count) in self.tallies.truncated() {
            out.sample(&[("transport", transport)], count);
        }
        out.family("dnslb_dropped_total", Kind::Counter, &["reason"], "Questions without an answer, by reason.");
        for (why, count) in self.tallies.dropped() {
            out.sample(&[("reason", why.label())], count);
        }
        let help = "Answers over UDP that a rate limit held back, by what was done instead (`logged`: nothing).";
        out.family("dnslb_rate_limited_total", Kind::Counter, &["action"], help);
        for (how, count) in self.tallies.limited() {
            out.sample(&[("action", how.label())], count);
        }
        let help = "Answers to queries with a cookie, by what it proves.";
        out.family("dnslb_cookies_total", Kind::Counter, &["cookie"], help);
        for (cookie, count) in self.tallies.cookies() {
            out.sample(&[("cookie", cookie)], count);
        }
        let help = "Answers over UDP that the kernel refused to send.";
        out.single("dnslb_send_errors_total", Kind::Counter, help, self.tallies.send_errors());
        let (signed, refused) = self.tallies.signed();
        let help = "Signatures made while a question waited.";
        out.single("dnslb_online_signatures_total", Kind::Counter, help, signed);
        let help = "Signatures that a question needed and the budget refused.";
        out.single("dnslb_online_signatures_refused_total", Kind::Counter, help, refused);
        let help = "Sampled questions that the query log lost because its writer was behind.";
        out.single("dnslb_query_log_lost_total", Kind::Counter, help, self.log.lost());

        let (open, [accepted, refused, evicted]) = self.clients.counts();
        out.single("dnslb_tcp_connections", Kind::Gauge, "TCP connections that are open.", open);
        out.single("dnslb_tcp_connections_total", Kind::Counter, "TCP connections that were taken.", accepted);
        let help = "TCP connections that were refused because their client has too many.";
        out.single("dnslb_tcp_refused_total", Kind::Counter, help, refused);
        let help = "TCP connections that were closed to make room for another, the longest idle first.";
        out.single("dnslb_tcp_evicted_total", Kind::Counter, help, evicted);

        self.encrypted(out);
        self.signed_zones(out);

        let help = "Requests that are more than plain queries and were not done, by reason.";
        out.family("dnslb_requests_refused_total", Kind::Counter, &["reason"], help);
        for (reason, count) in self.requests.all_refused() {
            out.sample(&[("reason", reason)], count);
        }
        out.family("dnslb_updates_total", Kind::Counter, &["rcode"], "Dynamic updates, by response code.");
        for (rcode, count) in (0..).zip(&self.store.updates) {
            let count = count.load(Relaxed);
            if count > 0 || rcode <= 10 {
                out.sample(&[("rcode", &rcode_name(rcode))], count);
            }
        }
        let help = "Writes of changed zones that are on the disk: journals and checkpoints.";
        out.family("dnslb_zone_writes_total", Kind::Counter, &[], help);
        out.sample(&[], self.store.writes.load(Relaxed));
        let help = "Such writes that failed; the change did not take place.";
        out.family("dnslb_zone_writes_failed_total", Kind::Counter, &[], help);
        out.sample(&[], self.store.failures.load(Relaxed));
        let help =
            "Transfers of zones to others, by what was sent: the whole zone, changes, nothing newer, or not to its end.";
        out.family("dnslb_transfers_out_total", Kind::Counter, &["sent"], help);
        for (sent, count) in self.requests.all_transferred() {
            out.sample(&[("sent", sent)], count);
        }
        let help = "Looks of secondary zones at their primaries, by how they ended: nothing newer, a whole zone, changes, or why not.";
        out.family("dnslb_transfers_in_total", Kind::Counter, &["outcome"], help);
        for (outcome, count) in self.transfers.all_fetched() {
            out.sample(&[("outcome", outcome)], count);
        }
        let help = "Secondaries that answered no notification of a new version, and were given up for it.";
        out.single("dnslb_notifications_given_up_total", Kind::Counter, help, self.transfers.all_given_up());

        out.family("dnslb_checks_total", Kind::Counter, &["outcome"], "Health checks that ended, by outcome.");
        let [ok, failed, not_run] = self.checker.counts();
        out.sample(&[("outcome", "ok")], ok)
            .sample(&[("outcome", "failed")], failed)
            .sample(&[("outcome", "not_run")], not_run);

        let viewpoints = &self.viewpoints;
        let help = "Questions between viewpoints, by what came of them: `heard` and `failed` were ours, `told` and `refused` were others'.";
        out.family("dnslb_viewpoint_questions_total", Kind::Counter, &["outcome"], help);
        for (outcome, count) in [
            ("heard", &viewpoints.heard),
            ("failed", &viewpoints.failed),
            ("told", &viewpoints.told),
            ("refused", &viewpoints.refused),
        ] {
            out.sample(&[("outcome", outcome)], count.load(Relaxed));
        }

        let (ok, failed, published, loaded_at) = self.meters.read();
        out.family("dnslb_reloads_total", Kind::Counter, &["outcome"], "Reloads, by outcome.");
        out.sample(&[("outcome", "ok")], ok).sample(&[("outcome", "failed")], failed);
        let help = "When the configuration in force was read, in seconds since the epoch.";
        out.single("dnslb_config_loaded_timestamp_seconds", Kind::Gauge, help, loaded_at);
        out.single("dnslb_publications_total", Kind::Counter, "Snapshots that were published.", published);
        let failures = self.state_dir.as_ref().map_or(0, |dir| dir.failures());
        let help = "Times that the state could not be written to `state_dir`.";
        out.single("dnslb_state_write_failures_total", Kind::Counter, help, failures);
        self.refusals.expose(out);
    }

    fn signed_zones(&self, out: &mut Exposition) {
        let statuses = self.signed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut family = |name: &'static str, kind: Kind, help: &'static str, value: &dyn Fn(&SignedStatus) -> f64| {
            out.family(name, kind, &["zone"], help);
            for status in &statuses {
                out.sample(&[("zone", status.name.to_string().as_str())], value(status));
            }
        };
        let help = "When the first signature of a zone that is signed here expires, in seconds since the epoch.";
        family("dnslb_zone_signature_expiry_timestamp_seconds", Kind::Gauge, help, &|status| {
            status.expires_at.0 as f64 / 1e3
        });
        let help = "Keys of a zone's schedule that are due and not in this server's key directory.";
        family("dnslb_zone_keys_lacking", Kind::Gauge, help, &|status| status.lacking.len() as f64);
        let help = "1 while a zone cannot be signed: what was signed before is served until it expires.";
        family("dnslb_zone_signing_failed", Kind::Gauge, help, &|status| f64::from(u8::from(status.failure.is_some())));
        let help = "Times that a zone could not be signed.";
        family("dnslb_zone_signing_failures_total", Kind::Counter, help, &|status| status.counts.failed as f64);
        let help = "Signatures that were made ahead for a zone.";
        family("dnslb_zone_signatures_total", Kind::Counter, help, &|status| status.counts.made as f64);
    }

    fn encrypted(&self, out: &mut Exposition) {
        let (open, [accepted, refused, evicted]) = self.encrypted.clients.counts();
        let help = "Connections over TLS, HTTPS and QUIC that are open, those that shake hands among them.";
        out.single("dnslb_encrypted_connections", Kind::Gauge, help, open);
        let help = "Connections over TLS, HTTPS and QUIC that were taken.";
        out.single("dnslb_encrypted_connections_total", Kind::Counter, help, accepted);
        let help = "Connections over TLS, HTTPS and QUIC that were refused because their client has too many.";
        out.single("dnslb_encrypted_refused_total", Kind::Counter, help, refused);
        let help = "Connections over TLS, HTTPS and QUIC that were closed to make room for another.";
        out.single("dnslb_encrypted_evicted_total", Kind::Counter, help, evicted);
        let help = "TLS handshakes of clients, by transport and outcome.";
        out.family("dnslb_tls_handshakes_total", Kind::Counter, &["transport", "outcome"], help);
        for (transport, handshakes) in encrypted::TRANSPORTS.into_iter().zip(&self.encrypted.handshakes) {
            for (outcome, count) in Handshakes::OUTCOMES.into_iter().zip(handshakes.counts()) {
                out.sample(&[("transport", transport), ("outcome", outcome)], count);
            }
        }
        let help = "Requests over HTTPS, by the status of their response.";
        out.family("dnslb_https_requests_total", Kind::Counter, &["status"], help);
        for (status, count) in STATUSES.into_iter().zip(self.encrypted.requests.counts()) {
            out.sample(&[("status", status.as_str())], count);
        }
        let help = "Changes of the certificate's files, by whether the new pair was put in force.";
        out.family("dnslb_tls_certificate_loads_total", Kind::Counter, &["outcome"], help);
        let help = "When the certificate in force ends, in seconds since the epoch.";
        let loads = self.certificates.as_ref().map(|certificates| certificates.loads());
        for (outcome, count) in ["ok", "failed"].into_iter().zip(loads.into_iter().flatten()) {
            out.sample(&[("outcome", outcome)], count);
        }
        out.family("dnslb_tls_certificate_not_after_timestamp_seconds", Kind::Gauge, &[], help);
        if let Some(certificates) = &self.certificates {
            out.sample(&[], certificates.not_after().0 as f64 / 1e3);
        }
    }

    fn state(&self, out: &mut Exposition, status: &Status) {
        let (pools, farms) = (&status.pools, &status.farms);
        out.single("dnslb_generation", Kind::Gauge, "Generation of the snapshot that is served.", status.generation);
        out.family("dnslb_pool_members", Kind::Gauge, &["pool", "standing"], "Members of a pool, by standing.");
        for pool in pools {
            for standing in STANDINGS {
                let count = pool.members.iter().filter(|member| member.standing == standing).count();
                out.sample(&[("pool", pool.name.as_str()), ("standing", standing)], count);
            }
        }
        out.family(
            "dnslb_pool_fail_open",
            Kind::Gauge,
            &["pool"],
            "1 while too few members of a pool are up and answers name all of them.",
        );
        for pool in pools {
            out.sample(&[("pool", pool.name.as_str())], pool.fail_open);
        }
        out.family(
            "dnslb_backend_up",
            Kind::Gauge,
            &["pool", "member"],
            "1 if the member is good for new sessions, 0 if not.",
        );
        for pool in pools {
            for member in &pool.members {
                let up = matches!(member.standing, "in_service" | "unknown");
                out.sample(&[("pool", pool.name.as_str()), ("member", member.name.as_str())], up);
            }
        }
        let help = "Days until the certificate ends that a member's checks saw last.";
        out.family("dnslb_member_certificate_days", Kind::Gauge, &["pool", "member"], help);
        for (pool, member) in pools.iter().flat_map(|pool| pool.members.iter().map(move |member| (pool, member))) {
            if let Some(days) = member.certificate_days {
                out.sample(&[("pool", pool.name.as_str()), ("member", member.name.as_str())], days as f64);
            }
        }
        let help = "Processes per core that run or wait at a member, on average, as its checks measure.";
        out.family("dnslb_member_run_queue", Kind::Gauge, &["pool", "member"], help);
        for (pool, member) in pools.iter().flat_map(|pool| pool.members.iter().map(move |member| (pool, member))) {
            if let Some(queue) = member.run_queue {
                out.sample(&[("pool", pool.name.as_str()), ("member", member.name.as_str())], queue);
            }
        }
        let help = "Viewpoints that say of a member what `says` says, where they must agree.";
        out.family("dnslb_member_viewpoints", Kind::Gauge, &["pool", "member", "says"], help);
        for (pool, member) in pools.iter().flat_map(|pool| pool.members.iter().map(move |member| (pool, member))) {
            let Some(votes) = member.votes else { continue };
            for (says, count) in [("down", votes.down), ("up", votes.up)] {
                let labels = [("pool", pool.name.as_str()), ("member", member.name.as_str()), ("says", says)];
                out.sample(&labels, u64::from(count));
            }
        }
        let help = "1 if the last report of a viewpoint still counts, 0 if not.";
        out.family("dnslb_viewpoint_heard", Kind::Gauge, &["viewpoint"], help);
        for viewpoint in &status.viewpoints {
            out.sample(&[("viewpoint", viewpoint.name.as_str())], viewpoint.heard);
        }
        self.shares(out, pools);
        out.family("dnslb_farm_members", Kind::Gauge, &["farm"], "Members of a farm that are known.");
        for farm in farms {
            out.sample(&[("farm", farm.name.as_str())], farm.members);
        }
        out.family("dnslb_farm_silent", Kind::Gauge, &["farm"], "Members of a farm whose lease ran out.");
        for farm in farms {
            out.sample(&[("farm", farm.name.as_str())], farm.silent);
        }
        out.family("dnslb_farm_twins", Kind::Gauge, &["farm"], "Members of a farm of which two incarnations are alive.");
        for farm in farms {
            out.sample(&[("farm", farm.name.as_str())], farm.twins.len());
        }
        out.family("dnslb_farm_doors", Kind::Gauge, &["farm"], "Doors of a farm that are in service.");
        for farm in farms {
            out.sample(&[("farm", farm.name.as_str())], farm.doors);
        }
    }

    fn shares(&self, out: &mut Exposition, pools: &[PoolStatus]) {
        let (answers, rows) = self.shares.account(pools);
        out.family("dnslb_pool_answers_total", Kind::Counter, &["pool"], "Answers of a pool, empty ones among them.");
        for (pool, answers) in pools.iter().zip(answers) {
            out.sample(&[("pool", pool.name.as_str())], answers);
        }
        let help = "Answers of pools that look at sites, by the client's site (\"none\" for clients of whom none is known).";
        out.family("dnslb_pool_answers_by_site_total", Kind::Counter, &["pool", "site"], help);
        for pool in pools.iter().filter(|pool| pool.variants.len() > 1) {
            for (site, answers) in self.shares.by_site(&pool.name) {
                out.sample(&[("pool", pool.name.as_str()), ("site", site.as_str())], answers);
            }
        }
        let help = "Share of clients that is assumed to take the lowest address of an answer.";
        out.family("dnslb_pool_sort_share", Kind::Gauge, &["pool"], help);
        for pool in pools {
            out.sample(&[("pool", pool.name.as_str())], pool.sort_share);
        }
        let lines = || {
            let members =
                pools.iter().zip(&rows).flat_map(|(pool, rows)| pool.members.iter().zip(rows).map(move |row| (pool, row)));
            members
                .map(|(pool, (member, row))| ([("pool", pool.name.as_str()), ("member", member.name.as_str())], member, row))
        };
        out.family(
            "dnslb_pool_named_total",
            Kind::Counter,
            &["pool", "member"],
            "How often answers of a pool named the member.",
        );
        for (labels, _, row) in lines() {
            out.sample(&labels, row.named);
        }
        let help = "The member's share of the pool's clients, as its weight, k and sort_share have it.";
        out.family("dnslb_pool_share_target", Kind::Gauge, &["pool", "member"], help);
        for (labels, member, _) in lines() {
            out.sample(&labels, member.target_share);
        }
        let help = "The share that answers gave it since the targets are what they are: sort_share of an answer goes to its lowest address, the rest to all named alike.";
        out.family("dnslb_pool_share_served", Kind::Gauge, &["pool", "member"], help);
        for (labels, _, row) in lines() {
            if let Some(served) = row.served {
                out.sample(&labels, served);
            }
        }
    }
}

/// The families as a Markdown table.
pub fn document() -> String {
    let (outcomes, _) = mpsc::channel(1);
    let (ask, _) = mpsc::channel(1);
    let metrics = Metrics {
        tallies: Tallies::new(1),
        shares: Arc::new(Shares::new(1)),
        clients: Arc::default(),
        encrypted: encrypted::Counters::default(),
        certificates: None,
        checker: Checker::new(outcomes),
        meters: Arc::default(),
        refusals: Arc::default(),
        state_dir: None,
        log: QueryLog::off(),
        requests: Arc::default(),
        store: Arc::default(),
        transfers: Arc::default(),
        viewpoints: Arc::default(),
        signed: Statuses::default(),
        ask,
    };
    let mut out = Exposition::new();
    metrics.counters(&mut out);
    let Ok(id) = Id::new("dnslb") else { return String::new() };
    metrics.state(&mut out, &Status { id, generation: 0, pools: Vec::new(), farms: Vec::new(), viewpoints: Vec::new() });
    out.table_markdown()
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
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH",
        10 => "NOTZONE",
        16 => "BADVERS",
        23 => "BADCOOKIE",
        other => return other.to_string(),
    };
    name.to_owned()
}

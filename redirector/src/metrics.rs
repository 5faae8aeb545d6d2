//! The redirector's metrics, rendered from one picture of the shell when somebody asks.
//!
//! The table of docs/metrics.md is made from the same code, so a metric without documentation cannot exist. Labels are ids and fixed
//! words, never anything from a request.

use crate::acme::OUTCOMES;
use crate::door::{OTHERS, REDIRECT_STATUSES, TallySum};
use crate::farms::Shown;
use crate::view::View;
use farm_daemon::refusals::Refusals;
use farm_shared::exposition::{Exposition, Kind};
use farm_shared::heartbeat::NoticeKind;
use redirector_core::acme::Status;
use redirector_core::door::REJECT_REASONS;
use redirector_core::drill::{DrillTotals, Model};
use redirector_core::farm::{ScalerStatus, ServerStatus};
use redirector_core::room::{LaneStatus, RoomStatus};
use redirector_ec2::Meters;
use std::collections::BTreeMap;
use std::sync::Arc;

const STANDINGS: [&str; 5] = ["in_service", "unknown", "draining", "silent", "admin_down"];

/// Everything at once, for one farm; `door` are the front door's counters as of now, `heartbeats` the receiver's, `cloud` the
/// provider's.
pub fn exposition(view: &View, door: &TallySum, heartbeats: &Refusals, cloud: &Meters) -> Exposition {
    let mut out = Exposition::new();
    whole(&mut out, view, door, heartbeats);
    farm(&mut out, view, cloud);
    out
}

/// Everything at once, for all farms. If there are several, what is a farm's has the label `farm` before its own.
pub fn of_farms(farms: &[Shown], door: &TallySum, heartbeats: &Refusals) -> Exposition {
    let mut out = Exposition::new();
    for (n, shown) in farms.iter().enumerate() {
        let view = Arc::clone(&shown.views.borrow());
        if n == 0 {
            whole(&mut out, &view, door, heartbeats);
        }
        if farms.len() > 1 {
            out.scope("farm", shown.name.as_str());
        }
        farm(&mut out, &view, &shown.provider.meters());
    }
    out
}

/// What belongs to no farm.
fn whole(out: &mut Exposition, view: &View, door: &TallySum, heartbeats: &Refusals) {
    front_door(out, view, door);
    heartbeats.expose(out);
    certificates(out, view);
    shell(out, view);
}

fn farm(out: &mut Exposition, view: &View, cloud: &Meters) {
    routing(out, view);
    waiting_room(out, &view.status.room);
    servers(out, &view.status.servers);
    scaler(out, view);
    ec2(out, cloud);
    drills(out, &view.status.drill_totals);
    state(out, view);
}

fn front_door(out: &mut Exposition, view: &View, door: &TallySum) {
    out.family(
        "redirector_redirects_total",
        Kind::Counter,
        &["status", "session"],
        "Redirects, by status and by whether the session was new.",
    );
    let labels = REDIRECT_STATUSES.iter().flat_map(|s| [(s.to_string(), "new"), (s.to_string(), "returning")]);
    for ((status, kind), n) in labels.zip(door.redirects) {
        out.sample(&[("status", &status), ("session", kind)], n);
    }
    out.family(
        "redirector_other_answers_total",
        Kind::Counter,
        &["kind"],
        "Answers that are neither redirects to servers, nor waits, nor refusals: moved to a fixed place or to HTTPS, sent to the re-entry address, a server assigned as JSON, CORS preflights, WebSocket and gRPC told where to ask, maintenance, ACME challenges, too many requests.",
    );
    for (kind, n) in OTHERS.iter().zip(door.others) {
        out.sample(&[("kind", kind)], n);
    }
    out.family("redirector_rejects_total", Kind::Counter, &["reason"], "Requests refused, by reason.");
    for (reason, n) in REJECT_REASONS.iter().zip(door.rejects) {
        out.sample(&[("reason", reason)], n);
    }
    out.single("redirector_waits_total", Kind::Counter, "Requests told to come back, for want of a server.", door.waits);
    out.single("redirector_connections", Kind::Gauge, "Connections open at the front door.", view.connections);
    out.family(
        "redirector_connections_total",
        Kind::Counter,
        &["outcome"],
        "Connections to the front door, by what became of them.",
    );
    for (outcome, n) in [
        ("accepted", door.accepted),
        ("over_cap", door.refused),
        ("over_source_cap", door.over_source),
        ("shed", door.shed),
        ("no_request", door.late),
        ("no_proxy_header", door.unproxied),
        ("flood", door.flood),
        ("broken", door.broken),
    ] {
        out.sample(&[("outcome", outcome)], n);
    }
    out.family(
        "redirector_tls_handshakes_total",
        Kind::Counter,
        &["outcome"],
        "TLS handshakes at the front door: with a certificate, by a ticket of an earlier one, and failed.",
    );
    for (outcome, n) in
        [("full", door.handshakes_full), ("resumed", door.handshakes_resumed), ("failed", door.handshakes_failed)]
    {
        out.sample(&[("outcome", outcome)], n);
    }
}

fn routing(out: &mut Exposition, view: &View) {
    out.single(
        "redirector_generation",
        Kind::Gauge,
        "Generation of the snapshot that the front door uses.",
        view.status.generation,
    );
    out.single("redirector_doors", Kind::Gauge, "Live front doors, as heard from dnslb.", view.status.doors);
}

fn waiting_room(out: &mut Exposition, room: &RoomStatus) {
    type Column = (&'static str, Kind, &'static str, fn(&LaneStatus) -> f64);
    let columns: [Column; 5] = [
        ("redirector_room_waiting", Kind::Gauge, "Who wait for a place and asked this door last.", |l| {
            f64::from(l.waiting_here)
        }),
        ("redirector_room_waiting_all", Kind::Gauge, "Who wait for a place at all doors, about.", |l| f64::from(l.waiting)),
        ("redirector_room_oldest_seconds", Kind::Gauge, "How long the first of them has waited.", |l| {
            l.oldest_ms as f64 / 1e3
        }),
        (
            "redirector_room_watermark_timestamp_seconds",
            Kind::Gauge,
            "Who came no later may enter, in seconds since the epoch; 0 before anybody waited.",
            |l| l.watermark_ms as f64 / 1e3,
        ),
        ("redirector_room_entered_total", Kind::Counter, "Who have waited and entered by this door.", |l| l.entered as f64),
    ];
    for (name, kind, help, value) in columns {
        out.family(name, kind, &["lane"], help);
        for lane in room.lanes.iter().filter(|_| room.enabled) {
            out.sample(&[("lane", &lane.name)], value(lane));
        }
    }
    out.single(
        "redirector_room_places",
        Kind::Gauge,
        "Places that are free on all servers; 0 without a waiting room.",
        room.room,
    );
    out.family(
        "redirector_room_tickets_total",
        Kind::Counter,
        &["what"],
        "Tickets of the waiting room: given out; shown and not yet due; shown again after they were used; shown too long after their turn; \
         shown although no door had signed them; not given out because too many wait; not shown again in time; used, and forgotten early.",
    );
    let t = &room.totals;
    for (what, n) in [
        ("given", t.tickets),
        ("not_due", t.asked),
        ("used_again", t.used_again),
        ("stale", t.stale),
        ("forged", t.forged),
        ("refused", t.full),
        ("left", t.left),
        ("forgotten", t.forgotten),
    ] {
        out.sample(&[("what", what)], n);
    }
}

fn servers(out: &mut Exposition, servers: &[ServerStatus]) {
    out.family("redirector_servers", Kind::Gauge, &["standing"], "Servers, by standing.");
    for standing in STANDINGS {
        out.sample(&[("standing", standing)], servers.iter().filter(|s| s.standing == standing).count());
    }
    out.family(
        "redirector_servers_noticed",
        Kind::Gauge,
        &["notice"],
        "Servers whose machine is to go, by the cloud's notice.",
    );
    for notice in [NoticeKind::Interruption, NoticeKind::Maintenance, NoticeKind::Rebalance].map(NoticeKind::label) {
        let has = |s: &&ServerStatus| s.notice.is_some_and(|(kind, _)| kind == notice);
        out.sample(&[("notice", notice)], servers.iter().filter(has).count());
    }
    type Column = (&'static str, &'static str, fn(&ServerStatus) -> f64);
    let columns: [Column; 6] = [
        ("redirector_backend_in_service", "1 while the backend gets new sessions.", |s| f64::from(u8::from(s.takes_new))),
        ("redirector_backend_run_queue", "Run queue as reported.", |s| s.queue),
        ("redirector_backend_sessions", "Live sessions as reported.", |s| f64::from(s.sessions)),
        ("redirector_backend_busy_ratio", "Busy share of its cores as reported.", |s| s.busy),
        ("redirector_backend_new_session_share", "Its share of new sessions.", |s| s.share),
        ("redirector_backend_heard_seconds", "Age of its last heartbeat in seconds.", |s| s.heard_ms_ago as f64 / 1e3),
    ];
    for (name, help, value) in columns {
        out.family(name, Kind::Gauge, &["backend"], help);
        for server in servers {
            out.sample(&[("backend", &server.id)], value(server));
        }
    }
}

fn scaler(out: &mut Exposition, view: &View) {
    let scaler = &view.status.scaler;
    out.family("redirector_scaler_servers", Kind::Gauge, &["state"], "Servers as the scaler counts them.");
    for (state, n) in [
        ("desired", scaler.desired),
        ("live", scaler.live),
        ("pending", scaler.pending),
        ("draining", scaler.draining),
        ("leaving", scaler.leaving),
        ("min", scaler.min),
        ("max", scaler.max),
    ] {
        out.sample(&[("state", state)], n);
    }
    out.single(
        "redirector_survivable_growth_ratio",
        Kind::Gauge,
        "The steepest ramp that could be met now without a session waiting, as a multiple of the present rate of arrivals per minute.",
        scaler.survivable_growth,
    );
    out.family(
        "redirector_cost_usd",
        Kind::Gauge,
        &["per"],
        "What the farm costs by list prices: an hour at the present size, and this month so far.",
    );
    for (per, usd) in [("hour", scaler.usd_h), ("month", scaler.usd_month)] {
        if let Some(usd) = usd {
            out.sample(&[("per", per)], usd);
        }
    }
    out.single("redirector_scaler_frozen", Kind::Gauge, "1 while the scaler may change nothing.", scaler.frozen.is_some());
    out.family(
        "redirector_boot_seconds",
        Kind::Gauge,
        &["source"],
        "Time from a launch to its first heartbeat in seconds: as the provider is configured, as assumed until three boots were seen, and the 95th percentile observed.",
    );
    if let Some(delay_ms) = scaler.boot_ms_delay {
        out.sample(&[("source", "configured")], delay_ms as f64 / 1e3);
    }
    out.sample(&[("source", "assumed")], scaler.boot_ms_prior as f64 / 1e3);
    if scaler.boots > 0 {
        out.sample(&[("source", "observed")], scaler.boot_ms_p95 as f64 / 1e3);
    }
    out.single("redirector_boots", Kind::Gauge, "Boots that were observed.", scaler.boots);
    executor(out, scaler);
    out.family(
        "redirector_provider_calls_total",
        Kind::Counter,
        &["call", "outcome"],
        "Calls to the provider, by call and outcome.",
    );
    for ((call, outcome), n) in &view.counts.calls {
        out.sample(&[("call", call), ("outcome", outcome)], *n);
    }
}

fn executor(out: &mut Exposition, scaler: &ScalerStatus) {
    out.family(
        "redirector_scaler_instances",
        Kind::Gauge,
        &["state"],
        "Instances beside those that serve: stopped ones of the warm pool, failed ones kept for inspection, and those that carry the farm's tag and are not known.",
    );
    for (state, n) in [("warm", scaler.warm), ("kept", scaler.kept), ("unknown", scaler.unknown)] {
        out.sample(&[("state", state)], n);
    }
    out.family(
        "redirector_scaler_intents",
        Kind::Gauge,
        &["call"],
        "Intents whose fate is not known, by the call they make.",
    );
    for (call, n) in &scaler.intents {
        out.sample(&[("call", call)], *n);
    }
    out.single(
        "redirector_scaler_shortages",
        Kind::Gauge,
        "Offerings (type, zone and market) that the provider has run out of and is not asked for now.",
        scaler.shortages.len(),
    );
    out.single(
        "redirector_scaler_calls_per_second_max",
        Kind::Gauge,
        "Calls to the provider a second that the executor allows itself at present; halved by every throttling or failure.",
        scaler.calls_per_s,
    );
    let help = "Retries of calls to the provider that may leave at once; successes earn them.";
    out.single("redirector_scaler_retries_ready", Kind::Gauge, help, scaler.retries);
    let help = "1 while a launch that is wanted cannot be asked for.";
    out.single("redirector_scaler_launch_problem", Kind::Gauge, help, scaler.problem.is_some());
}

fn ec2(out: &mut Exposition, meters: &Meters) {
    let labels = &["action", "outcome"];
    out.family("redirector_ec2_calls_total", Kind::Counter, labels, "Calls to EC2, by action and outcome.");
    for ((action, outcome), meter) in &meters.calls {
        out.sample(&[("action", action), ("outcome", outcome)], meter.calls);
    }
    out.family(
        "redirector_ec2_call_seconds_total",
        Kind::Counter,
        labels,
        "Time that calls to EC2 took, waiting for their turn included, in seconds.",
    );
    for ((action, outcome), meter) in &meters.calls {
        out.sample(&[("action", action), ("outcome", outcome)], meter.total_ms as f64 / 1e3);
    }
    out.family(
        "redirector_ec2_rate",
        Kind::Gauge,
        &["kind"],
        "Calls a second that may be made now; halved when EC2 says that it is too many, and recovering within a minute.",
    );
    for (kind, rate) in [("read", meters.reads_per_s), ("write", meters.writes_per_s)] {
        if rate > 0.0 {
            out.sample(&[("kind", kind)], rate);
        }
    }
}

fn drills(out: &mut Exposition, totals: &DrillTotals) {
    out.family("redirector_drill_hits_total", Kind::Counter, &["model"], "Servers that failure drills hit, by model.");
    for (model, n) in Model::ALL.iter().zip(totals.hits) {
        out.sample(&[("model", model.label())], n);
    }
    let name = "redirector_drill_refused_total";
    out.single(name, Kind::Counter, "Hits of failure drills that were refused, for the sake of the farm.", totals.refused);
    out.single(
        "redirector_drill_failed_total",
        Kind::Counter,
        "Hits of failure drills that could not be made.",
        totals.failed,
    );
    let name = "redirector_drill_open";
    out.single(name, Kind::Gauge, "Hits that stand: capacity is not back, or a server is cut off.", totals.open);
    let last: [(&'static str, &'static str, Option<u64>); 2] = [
        (
            "redirector_drill_noticed_seconds",
            "From the last hit until its server got no new sessions, in seconds; absent before one.",
            totals.noticed_ms,
        ),
        (
            "redirector_drill_restored_seconds",
            "From the last hit until as many servers as before got new sessions, in seconds; absent before one.",
            totals.restored_ms,
        ),
    ];
    for (name, help, ms) in last {
        out.family(name, Kind::Gauge, &[], help);
        if let Some(ms) = ms {
            out.sample(&[], ms as f64 / 1e3);
        }
    }
}

/// When each certificate ends, by its label: the id of one that is ordered here, the first name of any other; the earliest, if two share it.
fn certificate_ends(view: &View) -> BTreeMap<&str, u64> {
    let ordered = view.certificates.statuses.iter();
    let is_ordered = |names: &[String]| ordered.clone().any(|s| names.iter().all(|name| s.names.contains(name)));
    let others = view.certificates_in_force.iter().filter(|c| !is_ordered(&c.names));
    let others = others.map(|c| (c.names.first().map_or("", String::as_str), c.not_after_wall_ms));
    let mut ends = BTreeMap::new();
    for (label, end_ms) in
        ordered.clone().filter(|s| s.not_after_ms > 0).map(|s| (s.id.as_str(), s.not_after_ms)).chain(others)
    {
        ends.entry(label).and_modify(|ms: &mut u64| *ms = end_ms.min(*ms)).or_insert(end_ms);
    }
    ends
}

fn certificates(out: &mut Exposition, view: &View) {
    let certificates = &view.certificates;
    out.family(
        "redirector_certificate_not_after_timestamp_seconds",
        Kind::Gauge,
        &["certificate"],
        "When a certificate ends, in seconds since the epoch: by its id if it is ordered here, by the first name it is for if it comes from a file. Absent while there is none.",
    );
    for (certificate, end_ms) in certificate_ends(view) {
        out.sample(&[("certificate", certificate)], end_ms as f64 / 1e3);
    }
    out.family(
        "redirector_acme_attempts_total",
        Kind::Counter,
        &["outcome"],
        "Attempts to get a certificate, by what became of them. `local` never reached the authority's judgement.",
    );
    for (outcome, n) in OUTCOMES.iter().zip(certificates.outcomes) {
        out.sample(&[("outcome", outcome)], n);
    }
    type Column = (&'static str, &'static str, fn(&Status) -> f64);
    let columns: [Column; 4] = [
        ("redirector_acme_renewal_timestamp_seconds", "When it is renewed, in seconds since the epoch.", |s| {
            s.renew_at_ms as f64 / 1e3
        }),
        ("redirector_acme_next_try_timestamp_seconds", "Nothing is tried before this, in seconds since the epoch.", |s| {
            s.next_try_ms as f64 / 1e3
        }),
        ("redirector_acme_failures", "Failures since the last success.", |s| f64::from(s.failures)),
        ("redirector_acme_alarm", "1 while somebody should look at a certificate.", |s| {
            f64::from(u8::from(s.alarm.is_some()))
        }),
    ];
    for (name, help, value) in columns {
        out.family(name, Kind::Gauge, &["certificate"], help);
        for status in certificates.statuses.iter() {
            out.sample(&[("certificate", &status.id)], value(status));
        }
    }
}

fn state(out: &mut Exposition, view: &View) {
    let counts = &view.counts;
    out.single(
        "redirector_journal_failures_total",
        Kind::Counter,
        "Journal records that could not be written.",
        counts.journal_failures,
    );
    out.single(
        "redirector_persist_failures_total",
        Kind::Counter,
        "States that could not be written.",
        counts.persist_failures,
    );
}

fn shell(out: &mut Exposition, view: &View) {
    out.family(
        "redirector_access_log_lines_total",
        Kind::Counter,
        &["outcome"],
        "Lines of the access log, by what became of them: written, or dropped because they came faster than they could be written.",
    );
    out.sample(&[("outcome", "written")], view.access_log.written);
    out.sample(&[("outcome", "dropped")], view.access_log.dropped);
    out.single(
        "redirector_access_log_failures_total",
        Kind::Counter,
        "Writes of the access log that failed, and times that its file could not be opened anew.",
        view.access_log.failed,
    );
    let counts = &view.counts;
    out.family("redirector_reloads_total", Kind::Counter, &["outcome"], "Reloads of the configuration, by outcome.");
    out.sample(&[("outcome", "ok")], counts.reloads_ok).sample(&[("outcome", "failed")], counts.reloads_failed);
    out.single(
        "redirector_reload_timestamp_seconds",
        Kind::Gauge,
        "When a reload was last taken over, in seconds since the epoch; 0 for never.",
        counts.reload_wall_ms as f64 / 1e3,
    );
    out.single("redirector_uptime_seconds", Kind::Gauge, "Seconds since the start.", view.status.up_ms as f64 / 1e3);
    out.family("redirector_build_info", Kind::Gauge, &["version"], "Always 1; the version is in the label.");
    out.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1_u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::CertificateView;

    #[test]
    fn a_certificate_has_one_line() {
        let ordered = |id: &str, names: &[&str], not_after_ms| Status {
            id: id.into(),
            names: names.iter().map(|&n| n.to_owned()).collect(),
            not_after_ms,
            renew_at_ms: 0,
            next_try_ms: 0,
            failures: 0,
            last_error: None,
            is_ordering: false,
            alarm: None,
        };
        let serves = |names: &[&str], not_after_wall_ms| CertificateView {
            names: names.iter().map(|&n| n.to_owned()).collect(),
            not_after_wall_ms,
        };
        let mut view = View::empty();
        assert!(certificate_ends(&view).is_empty());
        let wanted = [ordered("door", &["a.example", "b.example"], 5_000), ordered("farm", &["*.farm.example"], 0)];
        view.certificates.statuses = wanted.to_vec().into();
        view.certificates_in_force = vec![
            serves(&["b.example", "a.example"], 5_000),
            serves(&["c.example", "a.example"], 9_000),
            serves(&["c.example"], 7_000),
            serves(&["door"], 4_000),
        ];
        // The ordered one is in force as well; two files have one first name; a name is like an id.
        assert_eq!(certificate_ends(&view), BTreeMap::from([("c.example", 7_000), ("door", 4_000)]));
    }
}

//! The status page: rendered here, whole for the first look and in parts for the event stream, so that one place knows how it looks.
//!
//! It loads nothing from elsewhere, holds no inline style or handler (its CSP allows none), and escapes every text that came from
//! outside this program.

mod chart;

use crate::door::escape;
use crate::text::time_of_day;
use crate::view::View;
use base64::Engine as _;
use redirector_core::farm::{DecisionStatus, ServerStatus, Status};
use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("live.js");
const SERVERS_SHOWN_MAX: usize = 200;
const DECISIONS_SHOWN_MAX: usize = 12;
const NOTICES_SHOWN_MAX: usize = 12;

/// The parts that change, by the id of their place in the page.
pub fn parts(view: &View) -> [(&'static str, String); 6] {
    let status = &view.status;
    [
        ("alarms", alarms(status)),
        ("summary", summary(view)),
        ("chart", chart(view)),
        ("servers", servers(status)),
        ("scaler", scaler(view)),
        ("notices", notices(status)),
    ]
}

/// The parts as one JSON object, for the event stream.
pub fn parts_json(view: &View) -> String {
    let object: serde_json::Map<String, serde_json::Value> =
        parts(view).into_iter().map(|(id, html)| (id.to_owned(), html.into())).collect();
    serde_json::Value::Object(object).to_string()
}

/// The whole page.
pub fn page(view: &View) -> String {
    let status = &view.status;
    let body = joined(parts(view), |(id, html)| format!("<div id=\"{id}\">{html}</div>"));
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Farm {farm}</title>\
<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><style>{STYLE}</style></head><body><main>\
<header><h1>Farm {farm}</h1><span class=\"dim\">front door {id}</span><span id=\"link\" role=\"status\">as of loading</span></header>\
{body}</main><script>{SCRIPT}</script></body></html>\n",
        farm = escape(&status.farm),
        id = escape(&status.id),
    )
}

/// The value of `Content-Security-Policy` for [`page`]: its own style and script by their hashes, and nothing else.
pub fn content_security_policy() -> String {
    let hash = |text: &str| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        base64::engine::general_purpose::STANDARD.encode(digest)
    };
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; \
form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

fn alarms(status: &Status) -> String {
    if status.alarms.is_empty() {
        return String::new();
    }
    let items = joined(&status.alarms, |a| format!("<li>{}</li>", escape(a)));
    format!("<section class=\"alarm\" role=\"alert\"><ul>{items}</ul></section>")
}

fn summary(view: &View) -> String {
    let status = &view.status;
    let count = |wanted: fn(&ServerStatus) -> bool| status.servers.iter().filter(|s| wanted(s)).count();
    let sessions: u64 = status.servers.iter().map(|s| u64::from(s.sessions)).sum();
    let (cores, used) = status.servers.iter().fold((0.0, 0.0), |(c, u), s| (c + s.cores, u + s.cores * s.busy));
    let recent = view.history.iter().rev().take(10);
    let (seconds, redirects) = recent.fold((0_u64, 0_u64), |(n, sum), s| (n + 1, sum + s.redirects));
    let rate = redirects as f64 / seconds.max(1) as f64;
    let busy = if cores > 0.0 { format!("{:.0} %", 100.0 * used / cores) } else { "–".to_owned() };
    let tiles = [
        (count(|s| s.takes_new).to_string(), "take new sessions"),
        (status.scaler.pending.to_string(), "booting"),
        (count(|s| s.standing == "draining").to_string(), "draining"),
        (count(|s| matches!(s.standing, "silent" | "admin_down")).to_string(), "silent or down"),
        (sessions.to_string(), "sessions"),
        (format!("{rate:.1}"), "redirects a second"),
        (busy, "of all cores busy"),
        (view.door.waits.to_string(), "told to wait"),
    ];
    let tiles = joined(&tiles, |(n, what)| format!("<div class=\"tile\"><b>{n}</b><span>{what}</span></div>"));
    format!("<section class=\"tiles\">{tiles}</section>")
}

fn chart(view: &View) -> String {
    let key = |class: &str, text: &str| format!("<span class=\"key k-{class}\">{text}</span>");
    let legend = [
        key("live", "in service"),
        key("draining", "draining"),
        key("pending", "booting"),
        key("down", "silent or down"),
        key("sessions", "sessions (right scale)"),
    ];
    let svg = chart::svg(&view.history);
    format!("<section><h2>The last ten minutes</h2>{svg}<div class=\"legend\">{}</div></section>", legend.concat())
}

fn servers(status: &Status) -> String {
    let mut rows = String::new();
    let mut sorted: Vec<&ServerStatus> = status.servers.iter().collect();
    sorted.sort_by_cached_key(|s| natural(&s.id));
    for server in sorted.into_iter().take(SERVERS_SHOWN_MAX) {
        rows.push_str(&server_row(server));
    }
    let known = |id: &str| status.servers.iter().any(|s| s.id == id);
    for instance in &status.scaler.instances {
        let Some(id) = instance.member_id.as_deref().filter(|id| !known(id)) else { continue };
        let age_ms = status.wall_ms.saturating_sub(instance.launched_wall_ms);
        let _ = write!(
            rows,
            "<tr><td><b>{}</b><small>{}</small></td><td><span class=\"key k-pending\">{}</span>\
<small>launched {} ago, not heard yet</small></td><td></td><td></td><td></td><td></td><td></td></tr>",
            escape(id),
            escape(&instance.instance_id),
            escape(instance.state),
            age(age_ms),
        );
    }
    let more = status.servers.len().saturating_sub(SERVERS_SHOWN_MAX);
    if more > 0 {
        let _ = write!(rows, "<tr><td class=\"dim\">and {more} more: see /v1/status</td></tr>");
    }
    if rows.is_empty() {
        rows.push_str("<tr><td class=\"dim\">No server has been heard yet.</td></tr>");
    }
    format!(
        "<section><h2>Servers</h2><table><thead><tr><th>Server</th><th>State</th><th class=\"num\">Run queue</th>\
<th class=\"num\">Sessions</th><th>Share of new sessions</th><th>Busy</th><th>Heard</th></tr></thead><tbody>{rows}</tbody></table>\
<p class=\"dim\">Routing by <b>{}</b>; one session adds {:.2} to a run queue; {} live front door{}.</p></section>",
        escape(status.policy),
        status.queue_per_session,
        status.doors,
        if status.doors == 1 { "" } else { "s" },
    )
}

/// A key that sorts b2 before b10.
fn natural(id: &str) -> (String, usize, String) {
    let name = id.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = id.get(name.len()..).unwrap_or_default().trim_start_matches('0');
    (name.to_owned(), number.len(), number.to_owned())
}

fn server_row(server: &ServerStatus) -> String {
    let (class, label) = match server.standing {
        "in_service" => ("live", "in service"),
        "unknown" => ("live", "not heard since restart"),
        "draining" => ("draining", "draining"),
        "silent" => ("down", "silent"),
        "admin_down" => ("down", "forced down"),
        other => ("down", other),
    };
    let mut notes: Vec<String> = Vec::new();
    if let Some((forced, why)) = &server.forced {
        notes.push(format!("forced {forced}: {why} (else {})", server.measured));
    }
    notes.extend(server.why_not.clone().filter(|_| server.standing == "in_service"));
    if let Some(left_ms) = server.ttl_left_ms.filter(|_| server.standing == "draining") {
        notes.push(if left_ms == 0 {
            "no cache names it".to_owned()
        } else {
            format!("caches may name it for {}", age(left_ms))
        });
    }
    if let Some((kind, at_ms)) = server.notice {
        notes.push(format!("machine is to go: {kind}, {}", time_of_day(at_ms)));
    }
    if server.twins {
        notes.push("two incarnations are alive".to_owned());
    }
    let notes = joined(&notes, |n| format!("<small>{}</small>", escape(n)));
    let limit = server.limit.map(|n| format!(" <span class=\"dim\">/ {n}</span>")).unwrap_or_default();
    let hot = if server.busy > 0.9 { " hot" } else { "" };
    format!(
        "<tr><td><b>{id}</b><small>{location}</small></td><td><span class=\"key k-{class}\">{label}</span>{notes}</td>\
<td class=\"num\" data-l=\"Run queue\">{queue:.1}</td><td class=\"num\" data-l=\"Sessions\">{sessions}{limit}</td>\
<td data-l=\"New\">{share:.0} %{share_bar}</td><td data-l=\"Busy\">{busy:.0} % <span class=\"dim\">of {cores} core{s}</span>{busy_bar}</td>\
<td data-l=\"Heard\">{heard} ago</td></tr>",
        id = escape(&server.id),
        location = escape(&server.location),
        label = escape(label),
        queue = server.queue,
        sessions = server.sessions,
        share = server.share * 100.0,
        share_bar = bar("", server.share),
        busy = server.busy * 100.0,
        cores = server.cores,
        s = if server.cores == 1.0 { "" } else { "s" },
        busy_bar = bar(&format!(" busy{hot}"), server.busy),
        heard = age(server.heard_ms_ago),
    )
}

fn bar(class: &str, share: f64) -> String {
    let width = (share * 100.0).clamp(0.0, 100.0);
    format!(
        "<svg class=\"bar{class}\" viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
<rect width=\"{width:.1}\" height=\"6\"/></svg>"
    )
}

fn scaler(view: &View) -> String {
    let scaler = &view.status.scaler;
    if !scaler.enabled {
        return "<section><h2>Scaler</h2><p class=\"dim\">Off: the farm stays as it is.</p></section>".to_owned();
    }
    let delay = scaler.boot_ms_delay.map(|ms| format!("configured {}, ", age(ms))).unwrap_or_default();
    let boots = if scaler.boots < 3 {
        format!("{delay}assumed {}, {} observed", age(scaler.boot_ms_prior), scaler.boots)
    } else {
        format!("{delay}observed {} (p95 of {})", age(scaler.boot_ms_p95), scaler.boots)
    };
    let mut notes = String::new();
    for (what, text) in [("Frozen", &scaler.frozen), ("The provider says", &scaler.provider_error)] {
        if let Some(text) = text {
            let _ = write!(notes, "<p>{what}: {}</p>", escape(text));
        }
    }
    // The newest whatever it says, and before it those that changed something.
    let newest = scaler.decisions.last();
    let acts = view.acts.iter().rev().filter(|act| newest.is_none_or(|n| n.wall_ms != act.wall_ms));
    let decisions = joined(newest.into_iter().chain(acts).take(DECISIONS_SHOWN_MAX), decision);
    let decisions = if decisions.is_empty() { "<li class=\"idle\">No decision yet.</li>".to_owned() } else { decisions };
    format!(
        "<section><h2>Scaler</h2><div class=\"facts\"><span>policy <b>{}{}</b></span><span>wants <b>{}</b></span>\
<span>live <b>{}</b></span><span>booting <b>{}</b></span><span>draining <b>{}</b></span><span>bounds <b>{}–{}</b></span>\
<span>boot: <b>{boots}</b></span></div>{notes}<ol>{decisions}</ol></section>",
        escape(scaler.policy),
        if scaler.dry_run { ", dry run" } else { "" },
        scaler.desired,
        scaler.live,
        scaler.pending,
        scaler.draining,
        scaler.min,
        scaler.max,
    )
}

fn decision(decision: &DecisionStatus) -> String {
    let report = &decision.report;
    let refused = joined(&report.refused, |r| format!("<small class=\"dim\">not: {}</small><br>", escape(r)));
    format!(
        "<li class=\"{}\"><span class=\"dim\">{}</span> <b>{}</b> – {}<br>{refused}<code>{}</code></li>",
        if report.action == "nothing" { "idle" } else { "act" },
        time_of_day(decision.wall_ms),
        escape(&report.action),
        escape(&report.reason),
        escape(&report.formula),
    )
}

fn notices(status: &Status) -> String {
    if status.notices.is_empty() {
        return String::new();
    }
    let line = |(wall_ms, text): &(u64, String)| {
        format!("<li><span class=\"dim\">{}</span> {}</li>", time_of_day(*wall_ms), escape(text))
    };
    let lines: String = status.notices.iter().rev().take(NOTICES_SHOWN_MAX).map(line).collect();
    format!("<section><h2>What happened</h2><ol>{lines}</ol></section>")
}

fn joined<T>(items: impl IntoIterator<Item = T>, html: impl Fn(T) -> String) -> String {
    items.into_iter().map(html).collect::<Vec<_>>().concat()
}

/// A span of time in the unit that reads best.
fn age(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        10_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

#[cfg(test)]
mod tests;

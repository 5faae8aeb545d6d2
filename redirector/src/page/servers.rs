//! The list of servers: found, sorted and paged here, so that ten thousand of them make no larger page than fifty.

use super::query::{Look, SERVERS_PER_PAGE, SORTS, STATES};
use super::{age, joined};
use crate::door::escape;
use crate::text::time_of_day;
use redirector_core::farm::{ServerStatus, Status};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const ZONES_SHOWN_MAX: usize = 12;

/// Where one types what to find.
pub(super) fn search(look: &Look) -> String {
    let states = joined(STATES, |(value, label)| {
        let selected = if look.state == Some(value) { " selected" } else { "" };
        format!("<option value=\"{value}\"{selected}>{label}</option>")
    });
    let plain = Look { text: String::new(), state: None, page: 0, ..look.clone() };
    let kept = plain.query();
    let kept = joined(kept.trim_start_matches('?').split('&').filter_map(|p| p.split_once('=')), |(name, value)| {
        format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value))
    });
    format!(
        "<form method=\"get\" action=\"/\" role=\"search\">{kept}<input type=\"search\" name=\"q\" value=\"{}\" maxlength=\"64\" \
placeholder=\"id, address or zone\" aria-label=\"Find servers by id, address or zone\"><select name=\"state\" \
aria-label=\"State\"><option value=\"\">any state</option>{states}</select><button>find</button></form>",
        escape(&look.text)
    )
}

/// The list, and what there is in all.
pub(super) fn list(status: &Status, look: &Look) -> String {
    let found = look.servers(&status.servers);
    let pages = found.len().div_ceil(SERVERS_PER_PAGE).max(1);
    let page = look.page.min(pages - 1);
    let mut rows = joined(found.iter().skip(page * SERVERS_PER_PAGE).take(SERVERS_PER_PAGE), |s| row(s));
    if look.text.is_empty() && look.state.is_none() && page + 1 == pages {
        rows.push_str(&launches(status));
    }
    if rows.is_empty() {
        let text = if status.servers.is_empty() { "No server has been heard yet." } else { "No server is like that." };
        rows = format!("<tr><td colspan=\"7\" class=\"dim\">{text}</td></tr>");
    }
    let head = |sort: &str, label: &str, class: &str| {
        let at = SORTS.iter().position(|s| *s == sort).unwrap_or_default();
        let descends = if look.sort == at { !look.descending } else { sort != "id" && sort != "state" };
        let order = match (look.sort == at, look.descending) {
            (false, _) => "",
            (true, false) => " aria-sort=\"ascending\"",
            (true, true) => " aria-sort=\"descending\"",
        };
        let href = look.with(|l| (l.sort, l.descending, l.page) = (at, descends, 0));
        format!("<th scope=\"col\" class=\"{class}\"{order}><a href=\"{}\">{label}</a></th>", escape(&href))
    };
    let heads = [
        head("id", "Server", ""),
        head("state", "State", ""),
        head("queue", "Run queue", "num"),
        head("sessions", "Sessions", "num"),
        head("share", "New sessions: share now; got of due in a minute", ""),
        head("busy", "Busy", ""),
        head("heard", "Heard", ""),
    ];
    format!(
        "{}<table class=\"servers\"><thead><tr>{}</tr></thead><tbody>{rows}</tbody></table>{}<p class=\"dim\">Routing by <b>{}</b>; one \
session adds {:.2} to a run queue; {} live front door{}.</p>",
        aggregate(status, look, found.len()),
        heads.concat(),
        pager(look, page, pages),
        escape(status.policy),
        status.queue_per_session,
        status.doors,
        if status.doors == 1 { "" } else { "s" },
    )
}

/// All servers in one line, by state and by zone.
fn aggregate(status: &Status, look: &Look, found: usize) -> String {
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    for server in &status.servers {
        *zones.entry(server.zone.as_deref().unwrap_or_default()).or_default() += 1;
    }
    let mut facts = format!("<span><b>{found}</b> of {} shown</span>", status.servers.len());
    for (state, label) in STATES {
        let n = status.servers.iter().filter(|s| s.standing == state).count();
        if n > 0 {
            let href = look.with(|l| (l.state, l.page) = (Some(state), 0));
            let _ = write!(facts, "<span><a href=\"{}\">{label}</a> <b>{n}</b></span>", escape(&href));
        }
    }
    if zones.len() > 1 {
        for (zone, n) in zones.iter().take(ZONES_SHOWN_MAX) {
            let _ =
                write!(facts, "<span>zone {} <b>{n}</b></span>", if zone.is_empty() { "–".into() } else { escape(zone) });
        }
    }
    format!("<div class=\"facts\">{facts}</div>")
}

fn pager(look: &Look, page: usize, pages: usize) -> String {
    if pages == 1 {
        return String::new();
    }
    let link = |to: usize, label: &str| format!("<a href=\"{}\">{label}</a>", escape(&look.with(|l| l.page = to)));
    let before = if page > 0 { link(page - 1, "← before") } else { String::new() };
    let after = if page + 1 < pages { link(page + 1, "after →") } else { String::new() };
    format!(
        "<nav class=\"pager\" aria-label=\"Pages of servers\">{before}<span>page {} of {pages}</span>{after}</nav>",
        page + 1
    )
}

/// Instances that were launched and have not been heard yet.
fn launches(status: &Status) -> String {
    let mut rows = String::new();
    let known: std::collections::BTreeSet<&str> = status.servers.iter().map(|s| s.id.as_str()).collect();
    let unheard = |id: &&str| !known.contains(id);
    for instance in status.scaler.instances.iter().filter(|i| i.member_id.as_deref().is_some_and(|id| unheard(&id))).take(20)
    {
        let age_ms = status.wall_ms.saturating_sub(instance.launched_wall_ms);
        let _ = write!(
            rows,
            "<tr><td><b>{}</b><small>{}</small></td><td colspan=\"6\"><span class=\"key k-pending\">{}</span>\
<small>launched {} ago, not heard yet</small></td></tr>",
            escape(instance.member_id.as_deref().unwrap_or_default()),
            escape(&instance.instance_id),
            escape(instance.state),
            age(age_ms),
        );
    }
    rows
}

/// How a standing looks and reads.
pub(super) fn standing(server: &ServerStatus) -> (&'static str, &str) {
    match server.standing {
        "in_service" => ("live", "in service"),
        "unknown" => ("live", "not heard since restart"),
        "draining" => ("draining", "draining"),
        "silent" => ("down", "silent"),
        "admin_down" => ("down", "forced down"),
        other => ("down", other),
    }
}

/// What there is to say about a server beside its numbers.
pub(super) fn notes(server: &ServerStatus) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    if let Some((forced, why)) = &server.forced {
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        notes.push(format!("forced {forced}{why} (else {})", server.measured.replace('_', " ")));
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
    notes
}

fn row(server: &ServerStatus) -> String {
    let (class, label) = standing(server);
    let notes = joined(&notes(server), |n| format!("<small>{}</small>", escape(n)));
    let limit = server.limit.map(|n| format!(" <span class=\"dim\">/ {n}</span>")).unwrap_or_default();
    let zone = server.zone.as_ref().map(|z| format!(", {}", escape(z))).unwrap_or_default();
    let hot = if server.busy > 0.9 { " hot" } else { "" };
    format!(
        "<tr><td><a href=\"/server/{id}\"><b>{id}</b></a><small>{location}{zone}</small></td>\
<td><span class=\"key k-{class}\">{label}</span>{notes}</td>\
<td class=\"num\" data-l=\"Run queue\">{queue:.1}</td><td class=\"num\" data-l=\"Sessions\">{sessions}{limit}</td>\
<td data-l=\"New\">{share} <span class=\"dim\">{new} of {expected:.1}</span>{share_bar}</td>\
<td data-l=\"Busy\">{busy:.0} % <span class=\"dim\">of {cores} core{s}</span>{busy_bar}</td>\
<td data-l=\"Heard\">{heard} ago</td></tr>",
        id = escape(&server.id),
        location = escape(&server.location),
        label = escape(label),
        queue = server.queue,
        sessions = server.sessions,
        share = percent(server.share),
        new = server.new_1m,
        expected = server.expected_1m,
        share_bar = against(server),
        busy = server.busy * 100.0,
        cores = server.cores,
        s = if server.cores == 1.0 { "" } else { "s" },
        busy_bar = bar(&format!(" busy{hot}"), server.busy),
        heard = age(server.heard_ms_ago),
    )
}

/// A share with as many digits as it needs: one of ten thousand servers has 0.01 %.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 9.95 {
        format!("{percent:.*} %", if percent < 0.1 { 3 } else { 1 })
    } else {
        format!("{percent:.0} %")
    }
}

/// What it got beside what was due: the mark in the middle is exactly its due. Chance alone is within three standard deviations.
fn against(server: &ServerStatus) -> String {
    let (got, due) = (server.new_1m as f64, server.expected_1m);
    let off = if (got - due).abs() > 3.0 * due.sqrt() + 1.0 { " off" } else { "" };
    let width = if due > 0.0 { (50.0 * got / due).min(100.0) } else { 0.0 };
    format!(
        "<svg class=\"bar due{off}\" viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
<rect width=\"{width:.1}\" height=\"6\"/><path d=\"M50 0V6\"/></svg>"
    )
}

fn bar(class: &str, share: f64) -> String {
    let width = (share * 100.0).clamp(0.0, 100.0);
    format!(
        "<svg class=\"bar{class}\" viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
<rect width=\"{width:.1}\" height=\"6\"/></svg>"
    )
}

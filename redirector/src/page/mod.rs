//! The status page: rendered here, whole for the first look and in parts for the event stream, so that one place knows how it looks.
//!
//! It loads nothing from elsewhere, holds no inline style or handler (its CSP allows none), escapes every text that came from
//! outside this program, works without its script, and has a size that does not grow with the farm.

mod chart;
mod door;
mod events;
mod one;
mod query;
mod room;
mod scaler;
mod servers;
#[cfg(test)]
pub(crate) mod testing;

pub use one::{server_page, table_page};
pub use query::{Look, SERVERS_PER_PAGE, SORTS, STATES, natural};

use crate::door::escape;
use crate::history::{Column, RANGES};
use crate::view::View;
use base64::Engine as _;
use redirector_core::farm::{ServerStatus, Status};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("live.js");
/// Samples that a rate on a tile is the mean of.
const TILE_SAMPLES: usize = 10;

/// The parts that change, by the id of their place in the page.
pub fn parts(view: &View, look: &Look) -> [(&'static str, String); 8] {
    [
        ("alarms", alarms(&view.status)),
        ("summary", summary(view)),
        ("charts", format!("<div class=\"charts\">{}</div>", chart::charts(&view.ranges, look.range))),
        ("servers", servers::list(&view.status, look)),
        ("room", room::room(view, look)),
        ("scaler", scaler::scaler(view)),
        ("events", events::list(view, look)),
        ("door", door::facts(view)),
    ]
}

/// The parts as one JSON object, for the event stream.
pub fn parts_json(view: &View, look: &Look) -> String {
    let object: serde_json::Map<String, serde_json::Value> =
        parts(view, look).into_iter().map(|(id, html)| (id.to_owned(), html.into())).collect();
    serde_json::Value::Object(object).to_string()
}

/// The whole page.
pub fn page(view: &View, look: &Look) -> String {
    let [alarms, summary, charts, servers, room, scaler, events, door] =
        parts(view, look).map(|(id, html)| format!("<div id=\"{id}\">{html}</div>"));
    let ranges = joined(RANGES.iter().enumerate(), |(n, range)| {
        let current = if n == look.range { " aria-current=\"true\"" } else { "" };
        format!("<a href=\"{}\"{current}>{}</a>", escape(&look.with(|l| l.range = n)), range.label)
    });
    let range = RANGES.get(look.range).map_or("", |r| r.name);
    let body = format!(
        "{alarms}{summary}\
<section aria-labelledby=\"h-charts\"><div class=\"bar-of\"><h2 id=\"h-charts\">The farm over time</h2>\
<nav aria-label=\"Range of time\">{ranges} <a href=\"/table?range={range}\">as a table</a></nav></div>{charts}</section>\
<section aria-labelledby=\"h-servers\"><div class=\"bar-of\"><h2 id=\"h-servers\">Servers</h2>{}</div>{servers}</section>\
<section aria-labelledby=\"h-room\"><h2 id=\"h-room\">Waiting room</h2>{room}</section>\
<section aria-labelledby=\"h-scaler\"><h2 id=\"h-scaler\">Scaler: decisions and their reasons</h2>{scaler}</section>\
<section aria-labelledby=\"h-events\"><div class=\"bar-of\"><h2 id=\"h-events\">What happened</h2>{}</div>{events}</section>\
<section aria-labelledby=\"h-door\"><h2 id=\"h-door\">This front door</h2>{door}</section>",
        servers::search(look),
        events::filter(look),
    );
    document(&format!("Farm {}", view.status.farm), view, &body, true)
}

/// A page around a body that is HTML already.
fn document(title: &str, view: &View, body: &str, live: bool) -> String {
    let link =
        if live { "<span id=\"link\" role=\"status\">as of loading</span>" } else { "<a href=\"/\">back to the farm</a>" };
    let farms = if view.farms.len() > 1 { farms(view) } else { String::new() };
    let script = if live { format!("<script>{SCRIPT}</script>") } else { String::new() };
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><link rel=\"icon\" href=\"data:,\">\
<style>{STYLE}</style></head><body><main>\
<header><h1>{title}</h1><span class=\"dim\">front door {id}, up {up}</span>{link}</header>{farms}{body}</main>{script}</body></html>\n",
        title = escape(title),
        id = escape(&view.status.id),
        up = age(view.status.up_ms),
    )
}

/// The ways to all farms of this door.
fn farms(view: &View) -> String {
    let links = joined(view.farms.iter(), |name| {
        let current = if *name == view.status.farm { " aria-current=\"true\"" } else { "" };
        format!("<a href=\"/farms/{0}/\"{current}>{0}</a> ", escape(name))
    });
    format!("<nav aria-label=\"Farms\">{links}</nav>")
}

/// The value of `Content-Security-Policy` for every page here: its own style and script by their hashes, and nothing else.
pub fn content_security_policy() -> String {
    let hash = |text: &str| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        base64::engine::general_purpose::STANDARD.encode(digest)
    };
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
form-action 'self'; frame-ancestors 'none'",
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
    let recent = view.ranges.samples(0).iter().rev().take(TILE_SAMPLES);
    let (span_ms, redirects) =
        recent.fold((0_u64, 0.0), |(ms, sum), s| (ms + s.span_ms, sum + s.get(Column::New) + s.get(Column::Returning)));
    let rate = redirects * 1e3 / span_ms.max(1) as f64;
    let busy = if cores > 0.0 { format!("{:.0} %", 100.0 * used / cores) } else { "–".to_owned() };
    let room = view.ranges.samples(0).back().map(|s| s.get(Column::Capacity));
    let room = room.filter(|r| *r > 0.0).map(|r| format!(" <small>of {r:.0}</small>")).unwrap_or_default();
    let waiting = if status.room.enabled {
        (status.room.waiting().to_string(), "wait for a place")
    } else {
        (view.door.waits.to_string(), "told to wait so far")
    };
    let tiles = [
        (count(|s| s.takes_new).to_string(), "take new sessions"),
        (status.scaler.pending.to_string(), "booting"),
        (count(|s| s.standing == "draining").to_string(), "draining"),
        (count(|s| matches!(s.standing, "silent" | "admin_down")).to_string(), "silent or down"),
        (format!("{sessions}{room}"), "sessions"),
        (format!("{rate:.1}"), "redirects a second"),
        (busy, "of all cores busy"),
        waiting,
    ];
    let tiles = joined(&tiles, |(n, what)| format!("<div class=\"tile\"><b>{n}</b><span>{what}</span></div>"));
    format!("<div class=\"tiles card\">{tiles}</div>")
}

fn joined<T>(items: impl IntoIterator<Item = T>, html: impl Fn(T) -> String) -> String {
    items.into_iter().map(html).collect::<Vec<_>>().concat()
}

/// A span of time in the unit that reads best.
pub(crate) fn age(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        10_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

#[cfg(test)]
mod tests;

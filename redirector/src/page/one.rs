//! Pages beside the main one: one server with what an operator may do to it, and the charts as a table.
//!
//! The forms are plain POSTs: the admin interface takes them only with its token, from its own origin, and with a cookie that no other
//! site's page can make a browser send.

use super::{Look, age, chart, document, joined, servers};
use crate::door::escape;
use crate::history::RANGES;
use crate::text::time_of_day;
use crate::view::View;
use redirector_core::farm::ServerStatus;

/// One server; none if there is none of that id. `said` is what came of a command.
pub fn server_page(view: &View, id: &str, said: Option<&str>) -> Option<String> {
    let server = view.status.servers.iter().find(|s| s.id == id)?;
    let (class, label) = servers::standing(server);
    let notes = joined(&servers::notes(server), |n| format!("<p class=\"warn\">{}</p>", escape(n)));
    let why_not = server.why_not.as_ref().map_or_else(|| "yes".to_owned(), |why| format!("no: {why}"));
    let rows = [
        ("Takes new sessions", why_not),
        ("Without an operator's word", server.measured.replace('_', " ")),
        ("Sessions go to", server.location.clone()),
        ("Zone", server.zone.clone().unwrap_or_else(|| "–".into())),
        ("Run queue", format!("{:.2}", server.queue)),
        ("Sessions", format!("{}{}", server.sessions, server.limit.map(|n| format!(" of {n}")).unwrap_or_default())),
        ("Busy", format!("{:.0} % of {} cores", server.busy * 100.0, server.cores)),
        ("Share of new sessions", servers::percent(server.share)),
        ("New in the last minute", format!("{} of {:.1} due", server.new_1m, server.expected_1m)),
        ("Began, ended", format!("{}, {}", server.arrivals, server.completions)),
        ("In this state for", age(server.in_service_ms)),
        ("Heard", format!("{} ago", age(server.heard_ms_ago))),
        ("The scaler wants it drained", if server.drain_wish { "yes" } else { "no" }.to_owned()),
    ];
    let rows = joined(rows, |(name, value)| format!("<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", escape(&value)));
    let said = said.map(|text| format!("<p class=\"said\" role=\"status\">{}</p>", escape(text))).unwrap_or_default();
    let body = format!(
        "<section>{said}<p><span class=\"key k-{class}\">{}</span></p>{notes}<table class=\"plain\"><tbody>{rows}</tbody></table></section>\
<section><h2>Operator</h2>{}</section>{}",
        escape(label),
        forms(server),
        happened(view, id),
    );
    Some(document(&format!("Server {id}"), view, &body, false))
}

fn forms(server: &ServerStatus) -> String {
    let id = escape(&server.id);
    let form = |verb: &str, label: &str, why: bool| {
        let why = if why { "<label>why <input name=\"why\" maxlength=\"200\" autocomplete=\"off\"></label>" } else { "" };
        format!("<form method=\"post\" action=\"/server/{id}/{verb}\">{why}<button>{label}</button></form>")
    };
    let command = |verb: &str| format!("<code><span>redirector {verb} {id}</span></code>");
    match &server.forced {
        None => format!(
            "<p>Sends it nothing new; its sessions go on, and the word holds across restarts.</p>{}<p class=\"dim\">or: {}</p>",
            form("drain", "drain", true),
            command("drain")
        ),
        Some(_) => format!(
            "<p>Takes back what was forced on it.</p>{}<p class=\"dim\">or: {}</p>",
            form("clear", "undrain", false),
            command("undrain")
        ),
    }
}

fn happened(view: &View, id: &str) -> String {
    let names = |text: &str| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|word| word == id);
    let events = view.events.newest(None).filter(|e| names(&e.text)).take(20);
    let items =
        joined(events, |e| format!("<li><time class=\"dim\">{}</time> {}</li>", time_of_day(e.wall_ms), escape(&e.text)));
    if items.is_empty() {
        String::new()
    } else {
        format!("<section><h2>What happened to it</h2><ol class=\"events\">{items}</ol></section>")
    }
}

/// The charts of a range as a table.
pub fn table_page(view: &View, look: &Look) -> String {
    let label = RANGES.get(look.range).map_or("", |r| r.label);
    let body = format!(
        "<section><h2>The last {label}</h2><div class=\"wide\" tabindex=\"0\">{}</div></section>",
        chart::table(&view.ranges, look.range)
    );
    document(&format!("Farm {} in numbers", view.status.farm), view, &body, false)
}

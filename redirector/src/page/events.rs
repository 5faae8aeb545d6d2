//! What happened, by topic.

use super::joined;
use super::query::Look;
use super::scaler::time;
use crate::door::escape;
use crate::view::View;
use redirector_core::farm::Topic;

const EVENTS_SHOWN_MAX: usize = 40;

/// Links to each topic.
pub(super) fn filter(look: &Look) -> String {
    let link = |topic: Option<Topic>, label: &str| {
        let current = if look.topic == topic { " aria-current=\"true\"" } else { "" };
        format!("<a href=\"{}#h-events\"{current}>{label}</a>", escape(&look.with(|l| l.topic = topic)))
    };
    let topics = joined(Topic::ALL, |topic| link(Some(topic), topic.label()));
    format!("<nav aria-label=\"Topic of events\">{}{topics}</nav>", link(None, "all"))
}

pub(super) fn list(view: &View, look: &Look) -> String {
    let events = joined(view.events.newest(look.topic).take(EVENTS_SHOWN_MAX), |event| {
        let topic = event.topic.label();
        format!("<li>{} <span class=\"topic t-{topic}\">{topic}</span> {}</li>", time(event.wall_ms), escape(&event.text))
    });
    if events.is_empty() {
        "<p class=\"dim\">Nothing of that topic.</p>".to_owned()
    } else {
        format!("<ol class=\"events\">{events}</ol>")
    }
}

//! The waiting room: who waits, how long, and up to whom the doors let in.

use super::scaler::time;
use super::{Look, age, chart, joined};
use crate::door::escape;
use crate::view::View;
use redirector_core::room::LaneStatus;

pub(super) fn room(view: &View, look: &Look) -> String {
    let room = &view.status.room;
    if !room.enabled {
        return "<p class=\"dim\">Off: while no server has a place, whoever asks at the right moment is first.</p>"
            .to_owned();
    }
    let verdict = match (room.closed, room.waiting()) {
        (false, _) => "<p><span class=\"key k-live\">Open: who comes enters</span></p>".to_owned(),
        (true, 0) => {
            "<p><span class=\"key k-draining\">Held after a restart: those who waited come back first</span></p>".to_owned()
        }
        (true, n) => format!("<p><span class=\"key k-draining\">Closed: {n} wait, newcomers get a ticket</span></p>"),
    };
    let t = &room.totals;
    let facts = [
        ("places free", room.room.to_string()),
        ("sessions end", format!("{:.1} a second", room.ends_per_s)),
        ("tickets given", t.tickets.to_string()),
        ("admitted", t.entered.to_string()),
        ("left", t.left.to_string()),
    ];
    // What is not as it should be is only named once it was seen.
    let odd = [
        ("came too late", t.stale),
        ("shown again after use", t.used_again),
        ("forged", t.forged),
        ("none given: too many wait", t.full),
        ("forgotten early", t.forgotten),
    ];
    let odd = odd.into_iter().filter(|(_, n)| *n > 0).map(|(name, n)| (name, n.to_string()));
    let facts = joined(facts.into_iter().chain(odd), |(name, value)| format!("<span>{name} <b>{value}</b></span> "));
    let lanes = joined(&room.lanes, |l| lane(l, view.status.wall_ms));
    format!(
        "{verdict}<div class=\"facts\">{facts}</div><div class=\"beside\">{}<div class=\"wide\"><table class=\"plain\"><thead><tr>\
<th scope=\"col\">Lane</th><th scope=\"col\" class=\"num\">Wait</th><th scope=\"col\" class=\"num\">at this door</th>\
<th scope=\"col\" class=\"num\">The first has waited</th><th scope=\"col\">May enter who came until</th>\
<th scope=\"col\">Who comes now waits</th><th scope=\"col\" class=\"num\">Admitted</th></tr></thead><tbody>{lanes}</tbody></table></div></div>",
        chart::waiting(&view.ranges, look.range),
    )
}

fn lane(lane: &LaneStatus, now_ms: u64) -> String {
    let some = |n: u32, text: String| if n == 0 { "–".to_owned() } else { text };
    let watermark = match lane.watermark_ms {
        0 => "–".to_owned(),
        ms if lane.waiting == 0 => format!("<span class=\"dim\">{}</span>", time(ms)),
        ms => format!("{} <small class=\"dim\">{} ago</small>", time(ms), age(now_ms.saturating_sub(ms))),
    };
    let estimate = match lane.estimate_s {
        _ if lane.waiting == 0 => "–".to_owned(),
        None => "nobody knows".to_owned(),
        Some((low, high)) => format!("{} to {}", age(u64::from(low) * 1_000), age(u64::from(high) * 1_000)),
    };
    format!(
        "<tr><th scope=\"row\">{}</th><td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td><td>{watermark}</td>\
<td>{estimate}</td><td class=\"num\">{}</td></tr>",
        escape(&lane.name),
        lane.waiting,
        lane.waiting_here,
        some(lane.waiting_here, age(lane.oldest_ms)),
        lane.entered,
    )
}

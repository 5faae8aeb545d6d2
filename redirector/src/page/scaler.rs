//! The scaler: what it wants, within which limits, and its decisions with their reasons.

use super::{age, joined};
use crate::door::escape;
use crate::text::time_of_day;
use crate::view::View;
use redirector_core::farm::DecisionStatus;
use std::fmt::Write as _;

const DECISIONS_SHOWN_MAX: usize = 12;

pub(super) fn scaler(view: &View) -> String {
    let scaler = &view.status.scaler;
    if !scaler.enabled {
        return "<p class=\"dim\">Off: the farm stays as it is.</p>".to_owned();
    }
    let delay = scaler.boot_ms_delay.map(|ms| format!("configured {}, ", age(ms))).unwrap_or_default();
    let boots = if scaler.boots < 3 {
        format!("{delay}assumed {}, {} observed", age(scaler.boot_ms_prior), scaler.boots)
    } else {
        format!("{delay}observed {} (p95 of {})", age(scaler.boot_ms_p95), scaler.boots)
    };
    let mut facts = vec![
        ("policy", format!("{}{}", escape(scaler.policy), if scaler.dry_run { ", dry run" } else { "" })),
        ("wants", scaler.desired.to_string()),
        ("live", scaler.live.to_string()),
        ("booting", scaler.pending.to_string()),
        ("draining", scaler.draining.to_string()),
        ("bounds", format!("{}–{}", scaler.min, scaler.max)),
        ("boot", boots),
    ];
    for (name, n) in [("leaving", scaler.leaving), ("kept for inspection", scaler.kept), ("warm", scaler.warm)] {
        if n > 0 {
            facts.push((name, n.to_string()));
        }
    }
    if scaler.survivable_growth > 0.0 {
        facts.push(("could meet", format!("{:.1} × the arrivals, per minute", scaler.survivable_growth)));
    }
    facts.extend(scaler.usd_h.map(|usd| ("costs", format!("${usd:.2} an hour"))));
    facts.extend(scaler.usd_month.map(|usd| ("this month", format!("${usd:.2}"))));
    let open: u32 = scaler.intents.values().sum();
    if open > 0 {
        facts.push(("calls open", open.to_string()));
    }
    let facts = joined(facts, |(name, value)| format!("<span>{name} <b>{value}</b></span> "));
    let mut notes = String::new();
    for (what, text) in
        [("Frozen", &scaler.frozen), ("The executor says", &scaler.problem), ("The provider says", &scaler.provider_error)]
    {
        if let Some(text) = text {
            let _ = write!(notes, "<p class=\"warn\">{what}: {}</p>", escape(text));
        }
    }
    for shortage in &scaler.shortages {
        let what = shortage.offering.as_ref().map_or_else(|| "anything".to_owned(), ToString::to_string);
        let _ = write!(
            notes,
            "<p class=\"warn\">Out of {}: refused {} times, not asked for before {}</p>",
            escape(&what),
            shortage.refusals,
            time_of_day(shortage.until_wall_ms)
        );
    }
    // The newest whatever it says, and before it those that changed something.
    let newest = scaler.decisions.last();
    let acts = view.acts.iter().rev().filter(|act| newest.is_none_or(|n| n.wall_ms != act.wall_ms));
    let decisions = joined(newest.into_iter().chain(acts).take(DECISIONS_SHOWN_MAX), decision);
    let decisions = if decisions.is_empty() { "<li class=\"idle\">No decision yet.</li>".to_owned() } else { decisions };
    format!("<div class=\"facts\">{facts}</div>{notes}<ol>{decisions}</ol>")
}

fn decision(decision: &DecisionStatus) -> String {
    let report = &decision.report;
    let refused = joined(&report.refused, |r| format!("<small class=\"warn\">not: {}</small>", escape(r)));
    let shadow = report
        .shadow
        .as_ref()
        .map(|s| format!("<small>{} would have: {} ({})</small>", escape(&s.policy), escape(&s.action), escape(&s.reason)));
    format!(
        "<li class=\"{}\">{} <b>{}</b> – {}{refused}{}<code>{}</code></li>",
        if report.action == "nothing" { "idle" } else { "act" },
        time(decision.wall_ms),
        escape(&report.action),
        escape(&report.reason),
        shadow.unwrap_or_default(),
        formula(&report.formula),
    )
}

/// A time of day that machines can read, too.
pub(super) fn time(wall_ms: u64) -> String {
    format!("<time class=\"dim\">{}</time>", time_of_day(wall_ms))
}

/// One equation a line, so that each can be read by itself.
fn formula(text: &str) -> String {
    joined(text.split("; "), |part| format!("<span>{}</span>", escape(part)))
}

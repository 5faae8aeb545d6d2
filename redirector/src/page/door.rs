//! What this front door did since it started.

use super::joined;
use crate::door::OTHERS;
use crate::view::View;
use redirector_core::door::REJECT_REASONS;

pub(super) fn facts(view: &View) -> String {
    let door = &view.door;
    let (new, returning) = door.sessions();
    let mut facts = vec![
        ("connections", view.connections as u64),
        ("accepted", door.accepted),
        ("over the cap", door.refused),
        ("too slow", door.late),
        ("broken", door.broken),
        ("new sessions", new),
        ("returning", returning),
        ("told to wait", door.waits),
    ];
    facts.extend(OTHERS.into_iter().zip(door.others).filter(|(_, n)| *n > 0));
    facts.extend(REJECT_REASONS.into_iter().zip(door.rejects).filter(|(_, n)| *n > 0));
    let facts = joined(facts, |(name, n)| format!("<span>{} <b>{n}</b></span>", name.replace('_', " ")));
    let counts = &view.counts;
    format!(
        "<div class=\"facts\">{facts}</div><p class=\"dim\">Snapshot {} in force; the configuration was read again {} times, refused {} times.</p>",
        view.status.generation, counts.reloads_ok, counts.reloads_failed
    )
}

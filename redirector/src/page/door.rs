//! What this front door did since it started.

use super::{age, joined};
use crate::door::{OTHERS, escape};
use crate::view::View;
use redirector_core::door::REJECT_REASONS;

/// A certificate with less than this left should have been replaced, in milliseconds.
const EXPIRY_MS: u64 = 14 * 86_400_000;

pub(super) fn facts(view: &View) -> String {
    let door = &view.door;
    let (new, returning) = door.sessions();
    let mut facts = vec![
        ("connections", view.connections as u64),
        ("accepted", door.accepted),
        ("over the cap", door.refused),
        ("over a source's cap", door.over_source),
        ("made room", door.shed),
        ("too slow", door.late),
        ("floods", door.flood),
        ("broken", door.broken),
        ("TLS handshakes", door.handshakes_full + door.handshakes_resumed),
        ("failed ones", door.handshakes_failed),
        ("new sessions", new),
        ("returning", returning),
        ("told to wait", door.waits),
    ];
    facts.extend(OTHERS.into_iter().zip(door.others).filter(|(_, n)| *n > 0));
    facts.extend(REJECT_REASONS.into_iter().zip(door.rejects).filter(|(_, n)| *n > 0));
    let facts = joined(facts, |(name, n)| format!("<span>{} <b>{n}</b></span> ", name.replace('_', " ")));
    let certificates = joined(&view.certificates_in_force, |certificate| {
        let left_ms = certificate.not_after_wall_ms.saturating_sub(view.status.wall_ms);
        let class = if left_ms < EXPIRY_MS { "warn" } else { "dim" };
        format!("<p class=\"{class}\">Certificate for {}: {} left</p>", escape(&certificate.names.join(", ")), age(left_ms))
    });
    let ordered = joined(view.certificates.statuses.iter(), |status| {
        let trouble = status.alarm.map(str::to_owned).or_else(|| status.last_error.clone());
        let what = match (trouble, status.is_ordering) {
            (Some(trouble), _) => format!("{} failures: {trouble}", status.failures),
            (None, true) => "an order is under way".to_owned(),
            (None, false) => format!("renewed in {}", age(status.renew_at_ms.saturating_sub(view.status.wall_ms))),
        };
        let class = if status.failures > 0 || status.alarm.is_some() { "warn" } else { "dim" };
        format!("<p class=\"{class}\">ACME {}: {}</p>", escape(&status.id), escape(&what))
    });
    let limits = &view.limits;
    let requests = if limits.requests_per_s > 0.0 {
        format!("{}, {} at once", limits.requests_per_s, limits.requests_burst)
    } else {
        "any".to_owned()
    };
    let limits = [
        ("requests of one source a second", requests),
        ("connections at once", limits.connections_max.to_string()),
        ("of one source", limits.connections_per_source_max.to_string()),
        ("requests at once on one", limits.streams_max.to_string()),
        ("fields", limits.header_fields_max.to_string()),
        ("octets of fields", limits.header_bytes_max.to_string()),
        ("octets of an address", limits.url_bytes_max.to_string()),
        ("time for a request", age(limits.header_timeout_ms)),
        ("idle", age(limits.idle_timeout_ms)),
        ("in all", age(limits.total_timeout_ms)),
    ];
    let limits = joined(limits, |(name, value)| format!("<span>{name} <b>{value}</b></span> "));
    let counts = &view.counts;
    format!(
        "<div class=\"facts\">{facts}</div><p class=\"dim\">At most:</p><div class=\"facts\">{limits}</div>{certificates}{ordered}<p class=\"dim\">Snapshot {} in force; the configuration was read again {} times, refused {} times.</p>",
        view.status.generation, counts.reloads_ok, counts.reloads_failed
    )
}

#![allow(clippy::unwrap_used)]
use super::*;
use crate::view::Sample;
use redirector_core::scale::Report;

const EVIL: &str = "<script>alert(1)</script>&\"'";

fn server(id: &str, standing: &'static str) -> ServerStatus {
    ServerStatus {
        id: id.into(),
        slot: 0,
        location: format!("http://{EVIL}"),
        standing,
        measured: standing,
        forced: Some(("drain".into(), EVIL.into())),
        takes_new: standing == "in_service",
        why_not: Some(EVIL.into()),
        queue: 1.25,
        cores: 2.0,
        busy: 0.95,
        sessions: 12,
        limit: Some(40),
        arrivals: 1,
        completions: 1,
        youngest_ms: None,
        heard_ms_ago: 300,
        in_service_ms: 9_000,
        share: 0.4,
        drain_wish: false,
        ttl_left_ms: Some(4_000),
        twins: true,
        notice: Some(("rebalance", 61_000)),
        zone: None,
        new_1m: 7,
        expected_1m: 6.5,
    }
}

fn view() -> View {
    let mut view = View::empty();
    view.status.farm = EVIL.into();
    view.status.alarms = vec![EVIL.into()];
    view.status.notices = vec![(61_000, EVIL.into())];
    view.status.servers = ["in_service", "unknown", "draining", "silent", "admin_down"].map(|s| server(EVIL, s)).into();
    view.status.scaler.enabled = true;
    view.status.scaler.frozen = Some(EVIL.into());
    let report = Report {
        reason: EVIL.into(),
        formula: EVIL.into(),
        refused: vec![EVIL.into()],
        action: EVIL.into(),
        ..Report::default()
    };
    view.status.scaler.decisions = vec![DecisionStatus { wall_ms: 3_723_000, report: report.clone() }];
    view.acts.push_back(DecisionStatus { wall_ms: 3_000, report });
    view.history.push_back(Sample { live: 3, sessions: 9, ..Sample::default() });
    view
}

#[test]
fn every_text_is_escaped() {
    let page = page(&view());
    assert!(!page.contains(EVIL) && page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;"));
    assert_eq!(page.matches("<script>").count(), 1, "only our own script");
    assert!(!page.contains(" style=") && !page.contains("onclick"), "the CSP allows neither");
}

#[test]
fn the_event_has_every_part_of_the_page() {
    let view = view();
    let event: serde_json::Value = serde_json::from_str(&parts_json(&view)).unwrap();
    let page = page(&view);
    for (id, html) in parts(&view) {
        assert_eq!(event[id].as_str(), Some(html.as_str()));
        assert!(page.contains(&format!("<div id=\"{id}\">{html}</div>")), "{id}");
    }
    assert!(!parts_json(&view).contains('\n'), "one line of an event");
}

#[test]
fn the_policy_names_what_the_page_holds() {
    let policy = content_security_policy();
    assert!(policy.contains("style-src 'sha256-") && policy.contains("script-src 'sha256-") && !policy.contains("unsafe"));
    let page = page(&View::empty());
    assert!(page.contains(&format!("<style>{STYLE}</style>")) && page.contains(&format!("<script>{SCRIPT}</script>")));
}

#[test]
fn numbers_in_ids_sort_as_numbers() {
    let mut ids = ["b10", "b2", "a9", "b", "b02x", "b1"];
    ids.sort_by_cached_key(|id| natural(id));
    assert_eq!(ids, ["a9", "b", "b1", "b2", "b10", "b02x"]);
}

#[test]
fn times_read_well() {
    for (ms, expect) in [(0, "0.0 s"), (1_250, "1.2 s"), (59_000, "59 s"), (180_000, "3 min"), (7_200_000, "2 h")] {
        assert_eq!(age(ms), expect);
    }
    assert_eq!(time_of_day(3_723_000), "01:02:03Z");
}

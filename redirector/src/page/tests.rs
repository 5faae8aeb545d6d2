#![allow(clippy::unwrap_used, reason = "a test stops where it cannot go on")]
use super::testing::server;
use super::*;
use crate::history::{Ranges, Sample};
use crate::view::CertificateView;
use redirector_core::farm::{DecisionStatus, Topic};
use redirector_core::room::{LaneStatus, RoomStatus, Totals};
use redirector_core::scale::Report;

const EVIL: &str = "<script>alert(1)</script>&\"'";

fn view() -> View {
    let mut view = View::empty();
    view.status.farm = EVIL.into();
    view.status.alarms = vec![EVIL.into()];
    view.events.add(61_000, Topic::Alarm, EVIL);
    view.certificates_in_force = vec![CertificateView { names: vec![EVIL.into()], not_after_wall_ms: 9 }];
    view.status.servers = ["in_service", "unknown", "draining", "silent", "admin_down"].map(|s| server(EVIL, s)).into();
    for server in &mut view.status.servers {
        server.forced = Some(("drain".into(), EVIL.into()));
        server.why_not = Some(EVIL.into());
        server.notice = Some(("rebalance", 61_000));
        server.zone = Some(EVIL.into());
        server.twins = true;
    }
    view.status.scaler.enabled = true;
    view.status.scaler.frozen = Some(EVIL.into());
    view.status.scaler.problem = Some(EVIL.into());
    let report = Report {
        reason: EVIL.into(),
        formula: EVIL.into(),
        refused: vec![EVIL.into()],
        action: EVIL.into(),
        ..Report::default()
    };
    view.status.scaler.decisions = vec![DecisionStatus { wall_ms: 3_723_000, report }];
    view.acts.add(&view.status);
    let lane = LaneStatus { name: EVIL.into(), waiting: 3, waiting_here: 2, ..LaneStatus::default() };
    view.status.room = RoomStatus { enabled: true, closed: true, lanes: vec![lane], ..RoomStatus::default() };
    view.ranges = Ranges::of(0, [Sample { wall_ms: 1_000, span_ms: 1_000, ..Sample::default() }]);
    view
}

#[test]
fn every_text_is_escaped() {
    let view = view();
    let look = Look { text: EVIL.into(), ..Look::default() };
    let pages = [
        page(&view, &Look::default()),
        page(&view, &look),
        table_page(&view, &look),
        server_page(&view, EVIL, Some(EVIL)).unwrap(),
    ];
    for (n, page) in pages.iter().enumerate() {
        assert!(!page.contains(EVIL) && page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;"));
        assert_eq!(page.matches("<script>").count(), usize::from(n < 2), "only our own script");
        assert!(!page.contains(" style=") && !page.contains(" onclick"), "the CSP allows neither");
    }
}

#[test]
fn the_event_has_every_part_of_the_page() {
    let (view, look) = (view(), Look::default());
    let event: serde_json::Value = serde_json::from_str(&parts_json(&view, &look)).unwrap();
    let page = page(&view, &look);
    for (id, html) in parts(&view, &look) {
        assert_eq!(event[id].as_str(), Some(html.as_str()));
        assert!(page.contains(&format!("<div id=\"{id}\">{html}</div>")), "{id}");
    }
    assert!(!parts_json(&view, &look).contains('\n'), "one line of an event");
}

#[test]
fn the_policy_names_what_the_page_holds() {
    let policy = content_security_policy();
    assert!(policy.contains("style-src 'sha256-") && policy.contains("script-src 'sha256-") && !policy.contains("unsafe"));
    let page = page(&View::empty(), &Look::default());
    assert!(page.contains(&format!("<style>{STYLE}</style>")) && page.contains(&format!("<script>{SCRIPT}</script>")));
}

#[test]
fn ten_thousand_servers_make_a_small_page() {
    let mut view = View::empty();
    view.status.servers = (0..10_000).map(|n| server(&format!("b{n}"), "in_service")).collect();
    let first = page(&view, &Look::default());
    assert!(first.len() < 100_000, "{}", first.len());
    assert!(first.contains("page 1 of 200") && first.contains("/server/b49\"") && !first.contains("/server/b50\""));
    let last = page(&view, &Look { page: 9_999, ..Look::default() });
    assert!(last.contains("page 200 of 200") && last.contains("/server/b9999\""));
    let found = page(&view, &Look { text: "b777".into(), ..Look::default() });
    assert!(found.contains("<b>11</b> of 10000 shown") && found.contains("/server/b7770\""));
}

#[test]
fn the_waiting_room_is_shown() {
    let room = |view: &View| parts(view, &Look::default()).into_iter().find(|(id, _)| *id == "room").unwrap().1;
    let mut view = View::empty();
    assert!(room(&view).contains("Off: ") && !room(&view).contains("<table"));
    view.status.wall_ms = 3_800_000;
    let lane = LaneStatus {
        name: "default".into(),
        waiting_here: 2,
        waiting: 5,
        oldest_ms: 75_000,
        watermark_ms: 3_723_000,
        entered: 11,
        estimate_s: Some((30, 90)),
    };
    let totals = Totals { tickets: 16, forged: 4, ..Totals::default() };
    view.status.room =
        RoomStatus { enabled: true, closed: true, room: 1, ends_per_s: 0.25, lanes: vec![lane.clone(), lane], totals };
    let shown = room(&view);
    for expect in [
        "Closed: 10 wait, newcomers get a ticket",
        "places free <b>1</b>",
        "tickets given <b>16</b>",
        "forged <b>4</b>",
        "<td class=\"num\">5</td><td class=\"num\">2</td><td class=\"num\">75 s</td>",
        "01:02:03Z</time> <small class=\"dim\">77 s ago</small>",
        "<td>30 s to 90 s</td><td class=\"num\">11</td>",
        "Who wait for a place, the last ten minutes",
    ] {
        assert!(shown.contains(expect), "{expect}: {shown}");
    }
    assert!(!shown.contains("came too late"), "nobody did");
    for lane in &mut view.status.room.lanes {
        (lane.waiting, lane.waiting_here) = (0, 0);
    }
    assert!(room(&view).contains("Held after a restart") && !room(&view).contains("75 s"));
    view.status.room.closed = false;
    assert!(room(&view).contains("Open: who comes enters"));
    assert!(page(&view, &Look::default()).contains("<b>0</b><span>wait for a place"));
}

#[test]
fn limits_stand_beside_what_they_limit() {
    let mut view = View::empty();
    let limits = crate::door::Limits { connections_max: 4_321, idle_timeout_ms: 65_000, ..crate::door::Limits::default() };
    assert!(page(&view, &Look::default()).contains("requests of one source a second <b>any</b>"));
    view.limits = crate::door::Limits { requests_per_s: 2.5, requests_burst: 40, ..limits }.into();
    let page = page(&view, &Look::default());
    assert!(
        page.contains("connections at once <b>4321</b>")
            && page.contains("a second <b>2.5, 40 at once</b>")
            && page.contains("idle <b>65 s</b>")
    );
    assert_eq!(view.json()["door"]["connections_max"], 4_321);
}

#[test]
fn a_server_has_the_button_that_fits() {
    let mut view = View::empty();
    view.status.servers = vec![server("b1", "in_service")];
    let page = |view: &View| server_page(view, "b1", None).unwrap();
    assert!(page(&view).contains("action=\"/server/b1/drain\"") && !page(&view).contains("/clear"));
    view.status.servers[0].forced = Some(("drain".into(), String::new()));
    assert!(page(&view).contains("action=\"/server/b1/clear\"") && !page(&view).contains("b1/drain\""));
    assert!(server_page(&view, "b2", None).is_none());
}

#[test]
fn times_read_well() {
    for (ms, expect) in
        [(0, "0.0 s"), (1_250, "1.2 s"), (59_000, "59 s"), (180_000, "3 min"), (7_200_000, "2 h"), (400_000_000, "4 d")]
    {
        assert_eq!(age(ms), expect);
    }
    assert_eq!(crate::text::time_of_day(3_723_000), "01:02:03Z");
}

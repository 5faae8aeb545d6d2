//! The access log of a running door: lines, escapes, rotation, and what it counts.

use farm_tests::daemon::SOON;
use farm_tests::farm::{DOOR_NAME, Farm, Options};
use farm_tests::{http, wait};
use rustix::process::Signal;
use serde_json::Value;
use std::path::Path;

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn requests_are_logged_and_the_file_rotates() {
    let tail = "[access_log]\nfile = \"access.log\"\nformat = \"json\"\nipv4_bits = 16\n";
    let mut farm = Farm::start(Options { min: 1, tail, ..Options::default() });
    farm.wait_for(1);
    let path = farm.scratch.path().join("access.log");
    let ask = |target: &str, agent: &str| {
        let headers = [("host", DOOR_NAME), ("user-agent", agent)];
        http::request(farm.door_addr(0), "GET", target, &headers, b"").unwrap().status
    };
    assert_eq!(ask("/inbox?secret=1", "a \"b\" \\ \u{e9}"), 302);
    assert_eq!(http::request(farm.door_addr(0), "GET", "/", &[("host", "evil.example")], b"").unwrap().status, 421);
    let found = wait::until("two lines", SOON, || Some(lines(&path)).filter(|lines| lines.len() == 2));
    let [a, b, ..] = farm.addr(0).octets();
    assert_eq!((&found[0]["target"], &found[0]["status"]), (&"/inbox".into(), &302.into()), "{found:?}");
    assert!(found[0]["server"].as_str().is_some_and(|s| s.starts_with("http://127.")), "{found:?}");
    assert!(found.iter().all(|line| line["source"] == format!("{a}.{b}.0.0") || line["source"] == "127.0.0.0"), "{found:?}");
    assert_eq!((&found[1]["host"], &found[1]["status"]), (&"evil.example".into(), &421.into()));
    wait::until("the metric", SOON, || {
        let written = farm.door(0).metric("redirector_access_log_lines_total{outcome=\"written\"}")?;
        (written == 2.0).then_some(())
    });
    std::fs::rename(&path, farm.scratch.path().join("access.log.1")).unwrap();
    farm.door(0).signal(Signal::HUP);
    wait::until("a new file", SOON, || path.exists().then_some(()));
    assert_eq!(ask("/again", "x"), 302);
    wait::until("a line in it", SOON, || lines(&path).iter().any(|line| line["target"] == "/again").then_some(()));
    assert_eq!(farm.door(0).metric("redirector_access_log_lines_total{outcome=\"dropped\"}"), Some(0.0));
}

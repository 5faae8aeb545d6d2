//! A flash crowd before a farm that cannot grow, on real binaries: who has a session keeps it, who has none waits in order.
//!
//! Times are printed (`--nocapture`), and none is asserted about.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::daemon::{SOON, bins};
use farm_tests::farm::{DOOR_NAME, Farm, Options, session, target};
use farm_tests::http::{self, Response};
use farm_tests::wait;
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LATER: Duration = Duration::from_mins(1);
const ROOM: &str = "[waiting_room]\nenabled = true\npoll_min = \"1s\"\npoll_max = \"5s\"\nturn = \"60s\"\n";

fn options(places: &'static str) -> Options {
    Options { min: 2, max: 2, idle_s: 120, scaler: places, tail: ROOM, ..Options::default() }
}

fn cookie(response: &Response, name: &str) -> Option<String> {
    let values =
        response.headers.iter().filter(|(field, _)| field.eq_ignore_ascii_case("set-cookie")).map(|(_, value)| value);
    let pairs = values.filter_map(|value| value.split(';').next());
    pairs.into_iter().find(|pair| pair.starts_with(name)).map(ToOwned::to_owned)
}

fn metric(farm: &Farm, sample: &str) -> f64 {
    farm.door(0).metric(sample).unwrap_or(0.0)
}

/// A log-in at the backend that a redirect leads to; its cookie there.
fn log_in(farm: &Farm, cookie_of_door: &str) -> (std::net::SocketAddr, String) {
    let response = farm.knock(0, cookie_of_door).expect("an answer");
    let address =
        (target(&response).unwrap_or_else(|| panic!("no redirect: {response:?}")), farm_tests::farm::BACKEND_PORT).into();
    let answer = http::get(address, "/login").expect("a log-in");
    assert_eq!(answer.status, 200, "{answer:?}");
    (address, cookie(&answer, "").expect("a session"))
}

#[test]
fn who_waits_is_let_in_by_turn_and_once() {
    let mut farm = Farm::start(options("sessions_per_server = 2\nstabilisation = \"10m\""));
    farm.wait_for(2);
    let mut sessions: Vec<_> = (0..4).map(|_| log_in(&farm, "")).collect();
    // The fifth finds no place, and the sixth neither.
    let first = farm.knock(0, "").expect("an answer");
    assert_eq!(first.status, 503, "{first:?}");
    let told = first.json();
    let ticket = told["ticket"].as_str().expect("a ticket").to_owned();
    assert_eq!((told["place"].as_str(), first.header("farm-ticket")), (Some("new"), Some(ticket.as_str())));
    let retry_after: u64 = first.header("retry-after").expect("Retry-After").parse().expect("a number");
    assert_eq!(Some(retry_after), told["retry_after_s"].as_u64());
    let first = cookie(&first, "farm-room=").expect("a cookie");
    assert_eq!(first, format!("farm-room={ticket}"));
    let page = |language: &str, cookie: &str| {
        let fields =
            [("host", DOOR_NAME), ("accept", "text/html,*/*;q=0.8"), ("accept-language", language), ("cookie", cookie)];
        http::request(farm.door_addr(0), "GET", "/inbox?folder=1", &fields, b"").expect("a page")
    };
    let second = page("de-CH, en;q=0.8", "");
    let text = second.text();
    assert!(second.status == 503 && text.contains("lang=\"de\"") && text.contains("http-equiv=\"refresh\""), "{text}");
    assert!(
        text.len() < 10_000 && second.header("content-type") == Some("text/html; charset=utf-8"),
        "{} octets",
        text.len()
    );
    let second = cookie(&second, "farm-room=").expect("a cookie");
    wait::until("two wait", SOON, || (farm.status(0)["room"]["lanes"][0]["waiting_here"] == 2).then_some(()));
    // One session ends. Its place is for the first, although newcomers and the second ask all the time.
    let (address, mine) = sessions.pop().expect("a session");
    let out = http::request(address, "GET", "/logout", &[("host", "x"), ("cookie", &mine)], b"").expect("a log-out");
    assert_eq!(out.status, 200);
    let entered = wait::until("the first enters", SOON, || {
        assert_eq!(page("en", &second).status, 503, "the second went before the first");
        assert_eq!(farm.knock(0, "").expect("an answer").status, 503, "a newcomer went before the first");
        let response = farm.knock(0, &first).expect("an answer");
        (response.status == 302).then_some(response)
    });
    let began = session(&entered).expect("an affinity cookie");
    assert_eq!(cookie(&entered, "farm-room").as_deref(), Some("farm-room="), "it is taken back");
    assert_eq!(farm.returning(0, &began.cookie), Some(began.addr), "a session passes while others wait");
    let place = (began.addr, farm_tests::farm::BACKEND_PORT).into();
    assert_eq!(http::get(place, "/login").expect("a log-in").status, 200);
    // A copy of the ticket is worth nothing, and neither is a ticket of one's own making.
    assert_eq!(farm.knock(0, &first).expect("an answer").json()["place"], "new");
    assert_eq!(farm.knock(0, "farm-room=v1.0.1.1.AAAAAAAAAAAAAAAAAAAAAA").expect("an answer").json()["place"], "new");
    wait::until("they are counted", SOON, || {
        let count = |what: &str| metric(&farm, &format!("redirector_room_tickets_total{{what=\"{what}\"}}"));
        (count("used_again") == 1.0
            && count("forged") == 1.0
            && metric(&farm, "redirector_room_entered_total{lane=\"default\"}") == 1.0)
            .then_some(())
    });
    // After a restart the second is first still.
    wait::until("the queue is on disk", SOON, || {
        let state = std::fs::read_to_string(farm.scratch.path().join("door0-state/redirector.json")).ok()?;
        let state: Value = serde_json::from_str(&state).ok()?;
        (state["room"]["is_closed"] == true).then_some(())
    });
    farm.doors[0] = None;
    let (address, mine) = sessions.pop().expect("a session");
    http::request(address, "GET", "/logout", &[("host", "x"), ("cookie", &mine)], b"").expect("a log-out");
    farm.start_door(0);
    wait::until("the second enters", SOON, || {
        assert_eq!(farm.knock(0, "").expect("an answer").status, 503, "a newcomer went before the second");
        let response = farm.knock(0, &second).expect("an answer");
        (response.status == 302).then_some(())
    });
}

/// The crowd's program, whose summary is its standard output.
fn crowd(farm: &Farm, words: &str) -> Child {
    let mut command = Command::new(bins().join("farm-crowd"));
    command.args(["--door", &format!("http://{}", farm.door_addr(0)), "--host", DOOR_NAME]);
    command.args(words.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().expect("farm-crowd")
}

fn summary(child: Child) -> Value {
    let output = child.wait_with_output().expect("farm-crowd ends");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("a summary")
}

#[test]
fn a_flash_crowd_aborts_nobody() {
    let mut farm = Farm::start(options("sessions_per_server = 20\nstabilisation = \"10m\""));
    farm.wait_for(2);
    let long = "--session-s 86400 --think-ms 200 --timeout-ms 20000 --slow-ms 4000 --retries 1000";
    // Sessions that run all the time: before the crowd comes, and while it is there.
    let before = summary(crowd(&farm, &format!("--profile 0:20,8:20 --seed 1 {long}")));
    wait::until("they have left", LATER, || {
        let servers = farm.status(0)["servers"].as_array().cloned().unwrap_or_default();
        servers.iter().all(|s| s["sessions"] == 0).then_some(())
    });
    let running = crowd(&farm, &format!("--profile 0:20,22:20 --seed 2 {long}"));
    wait::until("they have begun", LATER, || {
        let servers = farm.status(0)["servers"].as_array().cloned().unwrap_or_default();
        let sessions: u64 = servers.iter().filter_map(|s| s["sessions"].as_u64()).sum();
        (sessions == 20).then_some(())
    });
    // Six times as many as there are places left.
    let flash = crowd(
        &farm,
        "--profile 0:120,15:120 --seed 3 --session-s 4 --think-ms 200 --timeout-ms 20000 --slow-ms 4000 --retries 1000",
    );
    let waiting = wait::until("they wait", LATER, || {
        let n = metric(&farm, "redirector_room_waiting{lane=\"default\"}");
        (n > 50.0).then_some(n)
    });
    let (flash, running) = (summary(flash), summary(running));
    for (name, summary) in [("before", &before), ("while", &running), ("crowd", &flash)] {
        println!("{name}: {summary}");
        assert_eq!(summary["aborted_why"].as_object().map(serde_json::Map::len), Some(0), "{name}: {summary}");
    }
    assert_eq!(running["waits"], 0, "who has a session never waits");
    assert!(flash["waits"].as_u64() > Some(50), "{flash}");
    let entered = metric(&farm, "redirector_room_entered_total{lane=\"default\"}");
    let p95 = |summary: &Value| summary["latency_ms"]["p95"].as_f64();
    println!(
        "{waiting} waited at once, {entered} waited and entered; p95 of running sessions: {:?} ms before, {:?} ms while",
        p95(&before),
        p95(&running)
    );
    assert!(entered > 20.0, "{entered}");
}

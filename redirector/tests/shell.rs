//! Around the real binary: configuration, reload, admin interface, status page, command line.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{KEY, Member, Redirector, Scratch, command, get, send, until};
use farm_shared::heartbeat::FarmKey;
use farm_shared::id::Id;
use std::io::{Read as _, Write as _};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn check_says_everything_at_once() {
    let scratch = Scratch::new();
    let good = scratch.config("").display().to_string();
    // A key that others may read is a warning, not an error.
    let checked = command(&["check", &good]);
    assert!(checked.status.success() && text(&checked.stderr).contains("warning"), "{checked:?}");
    let bad =
        scratch.config("[door]\npolicy = \"best\"\nwrkers = 3\n[announce]\nfronts = [\"tcp:x\"]\n").display().to_string();
    std::fs::write(scratch.0.join("farm.key"), "no key").unwrap();
    let checked = command(&["check", &bad]);
    assert_eq!(checked.status.code(), Some(78));
    let problems = text(&checked.stderr);
    for part in ["farm.key_file: ", "door.policy: found \"best\"", "door.wrkers: ", "announce.fronts: "] {
        assert!(problems.contains(part), "{part} in\n{problems}");
    }
    assert_eq!(command(&["check", "/no/such/file"]).status.code(), Some(78));
}

#[test]
fn the_example_configuration_is_good() {
    let scratch = Scratch::new();
    let zones = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../zones/redirector.toml");
    std::fs::copy(zones, scratch.0.join("redirector.toml")).unwrap();
    std::fs::rename(scratch.0.join("farm.key"), scratch.0.join("demo.key")).unwrap();
    let checked = command(&["check", &scratch.0.join("redirector.toml").display().to_string()]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
}

#[test]
fn keys_and_tables_are_printed() {
    let scratch = Scratch::new();
    let config = scratch.config("").display().to_string();
    let key = command(&["key", "--id", "b1", "--config", &config]);
    let expect = FarmKey::from_hex(KEY).unwrap().member(&Id::new("mail").unwrap(), &Id::new("b1").unwrap()).to_hex();
    assert_eq!(text(&key.stdout).trim(), expect);
    assert!(text(&command(&["config-doc"]).stdout).contains("| `door.target` |"));
    assert!(text(&command(&["metrics-doc"]).stdout).contains("| `redirector_redirects_total` | counter |"));
    assert!(text(&command(&["completions", "bash"]).stdout).contains("stop-farm"));
}

#[test]
fn a_reload_is_all_or_nothing() {
    let scratch = Scratch::new();
    let config = scratch.config("[door]\nretry_after = \"7s\"\n");
    let mut redirector = Redirector::start(&scratch, &config);
    let retry = |r: &Redirector| r.door("GET", "/", "").header("retry-after").unwrap().to_owned();
    assert_eq!(retry(&redirector), "7");
    scratch.config("[door]\nretry_after = \"9s\"\npolicy = \"best\"\n");
    let refused = redirector.admin("POST", "/v1/reload");
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("door.policy"), "{}", refused.text());
    assert_eq!(retry(&redirector), "7");
    scratch.config("[door]\nretry_after = \"9s\"\n");
    redirector.signal(rustix::process::Signal::HUP);
    until("the new value", || (retry(&redirector) == "9").then_some(()));
    until("its metric", || (redirector.metric("redirector_reloads_total{outcome=\"ok\"}") == 1.0).then_some(()));
    assert_eq!(redirector.metric("redirector_reloads_total{outcome=\"failed\"}"), 1.0);
    redirector.assert_alive();
}

#[test]
fn what_only_a_start_can_change_stays_in_force() {
    let scratch = Scratch::new();
    let config = scratch.config("");
    let redirector = Redirector::start(&scratch, &config);
    let mut member = Member::new("b1", "127.0.1.11");
    member.beat(&redirector);
    until("b1 serves", || (redirector.door("GET", "/", "").status == 302).then_some(()));
    let renamed = std::fs::read_to_string(&config).unwrap().replace("\"mail\"", "\"post\"").replace("door1", "door2");
    std::fs::write(&config, renamed).unwrap();
    let reloaded = redirector.admin("POST", "/v1/reload");
    assert!(reloaded.text().contains("at the next start: server.id, farm.name"), "{}", reloaded.text());
    member.beat(&redirector);
    assert_eq!(redirector.door("GET", "/", "").status, 302);
    assert_eq!((redirector.status()["farm"].as_str(), redirector.status()["id"].as_str()), (Some("mail"), Some("door1")));
}

#[test]
fn operators_words_are_shown_and_taken_back() {
    let scratch = Scratch::new();
    let config = scratch.config("");
    let redirector = Redirector::start(&scratch, &config);
    Member::new("b1", "127.0.1.11").beat(&redirector);
    let standing = |r: &Redirector| r.status()["servers"][0]["standing"].as_str().unwrap_or_default().to_owned();
    until("b1 is known", || (standing(&redirector) == "in_service").then_some(()));
    let admin = redirector.port("admin").to_string();
    let config = config.display().to_string();
    let drained = command(&["drain", "b1", "--why", "new disk & more", "--config", &config, "--admin", &admin]);
    assert!(drained.status.success(), "{drained:?}");
    assert_eq!(standing(&redirector), "draining");
    assert_eq!(redirector.status()["servers"][0]["forced"][1], "new disk & more");
    let status = command(&["status", "--config", &config, "--admin", &admin]);
    assert!(text(&status.stdout).contains("b1      draining"), "{}", text(&status.stdout));
    assert!(command(&["undrain", "b1", "--config", &config, "--admin", &admin]).status.success());
    assert_eq!(standing(&redirector), "in_service");
    let unknown = command(&["drain", "b9", "--config", &config, "--admin", &admin]);
    assert_eq!(unknown.status.code(), Some(69));
    assert_eq!(redirector.admin("POST", "/v1/admin/explode/b1").status, 404);
    assert_eq!(redirector.admin("POST", "/v1/admin/drain/B1").status, 400);
}

#[test]
fn the_status_page_is_whole_and_guarded() {
    let scratch = Scratch::new();
    let redirector = Redirector::start(&scratch, &scratch.config(""));
    let admin = redirector.port("admin");
    assert_eq!(get(admin, "/").status, 401);
    assert_eq!(get(admin, "/healthz").status, 200);
    let page = redirector.admin("GET", "/");
    assert_eq!(page.status, 200);
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    assert!(page.text().contains("Farm mail"));
    let token = std::fs::read_to_string(scratch.0.join("state/admin.token")).unwrap();
    let login = get(admin, &format!("/login?token={token}"));
    assert!(login.status == 303 && login.header("set-cookie").unwrap().contains("HttpOnly"));
    let foreign = format!(
        "GET / HTTP/1.1\r\nhost: {admin}\r\norigin: http://evil.example\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(send(admin, foreign.as_bytes()).status, 403);

    let mut stream = std::net::TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    write!(stream, "GET /events HTTP/1.1\r\nhost: {admin}\r\nauthorization: Bearer {token}\r\n\r\n").unwrap();
    let (mut seen, mut chunk) = (String::new(), [0; 4096]);
    until("two events of each kind", || {
        let n = stream.read(&mut chunk).unwrap();
        seen.push_str(&text(&chunk[..n]));
        let count = |kind: &str| seen.matches(&format!("event: {kind}\ndata: {{")).count();
        (count("status") >= 2 && count("page") >= 2).then_some(())
    });
}

#[test]
fn state_survives_and_is_not_shared() {
    let scratch = Scratch::new();
    let config = scratch.config("[lease]\ngrace = \"10s\"\n");
    let redirector = Redirector::start(&scratch, &config);
    let mut member = Member::new("b1", "127.0.1.11");
    member.beat(&redirector);
    until("b1", || (redirector.door("GET", "/", "").status == 302).then_some(()));
    assert_eq!(redirector.admin("POST", "/v1/admin/down/b1?why=test").status, 200);
    let second = command(&["serve", "--config", &config.display().to_string()]);
    assert_eq!(second.status.code(), Some(69));
    assert!(text(&second.stderr).contains("another redirector uses this state directory"), "{second:?}");
    redirector.stop();
    let redirector = Redirector::start(&scratch, &config);
    let status = redirector.status();
    assert_eq!(status["servers"][0]["standing"], "admin_down", "{status}");
    assert_eq!(redirector.admin("POST", "/v1/admin/clear/b1").status, 200);
    until("b1 is served unheard", || (redirector.door("GET", "/", "").status == 302).then_some(()));
}

//! Clients that people use follow the door's redirects: path, query, method and body arrive at the server as they were sent, by HTTP and
//! HTTPS, HTTP/1.1 and HTTP/2. The bodies are compared by their hash at the server.
//!
//! A client that is not installed is said loudly. Nothing is asserted about milliseconds.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

mod cases;
mod echo;
mod setting;

use cases::{Case, Manner, ROUTES};
use farm_tests::daemon::root;
use farm_tests::peer;
use setting::{DOOR, NAMES, Setting};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A whole run of one client: every case, the servers' view of it, the door's count of it, and that it came back to one server.
fn run(setting: &Setting, tag: &str, manner: Manner, keeps_cookies: bool, client: impl FnOnce(&Path, &[Case]) -> String) {
    let cases = cases::cases(tag, manner);
    let base = setting.base();
    let list = cases::write(setting, tag, &base, &cases);
    let (before, returned) = setting.redirects();
    let output = client(&list, &cases);
    let wrong = cases::wrong(setting, &base, &cases, &output);
    assert!(wrong.is_empty(), "{tag}: {} of {}:\n{}\n{output}", wrong.len(), cases.len(), wrong.join("\n"));
    let (after, returned_after) = setting.redirects();
    assert_eq!(after - before, cases.len() as u64, "{tag}: one redirect a request");
    if keeps_cookies {
        assert_eq!(returned_after - returned, cases.len() as u64 - 1, "{tag}: all but the first are one session");
        let seen = setting.seen(&format!("/{tag}-"));
        assert!(seen.iter().all(|s| s.server == seen[0].server), "{tag}: one session, one server");
        // The door's cookie is the door's: another host does not get it.
        assert!(seen.iter().all(|s| s.cookie.as_deref().is_none_or(|c| !c.contains("farm"))), "{tag}: {seen:?}");
    }
    println!("{tag}: {} requests", cases.len());
}

fn printed(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("a program");
    let text = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{command:?}: {status}\n{text}\n{}", String::from_utf8_lossy(&stderr));
    text
}

fn program(name: &str) -> PathBuf {
    root().join("tests/tests/clients/programs").join(name)
}

/// Both ways: all by HTTP, and all by HTTPS.
fn settings(name: &str) -> Vec<(bool, Setting)> {
    [false, true].into_iter().filter_map(|tls| Some((tls, Setting::start(name, tls, ROUTES)?))).collect()
}

#[test]
fn curl_follows() {
    if peer::installed("curl").is_none() {
        return;
    }
    for (tls, setting) in settings("curl") {
        let versions = if tls { ["--http1.1", "--http2"] } else { ["--http1.1", "--http2-prior-knowledge"] };
        for version in versions {
            let tag = format!("curl{version}{}", if tls { "-tls" } else { "" }).replace('.', "");
            // curl changes PUT only where it must (`-X` would not even there).
            let manner = Manner { put_302: "PUT", head_303: "HEAD", normalises: false };
            let jar = setting.scratch.path().join(format!("{tag}.jar"));
            let one = |case: &Case| {
                let mut command = Command::new("curl");
                command.args([
                    "-sS",
                    "-g",
                    "-L",
                    "--max-redirs",
                    "3",
                    "--path-as-is",
                    "--max-time",
                    "20",
                    version,
                    "--cacert",
                ]);
                command.arg(setting.ca()).arg("-b").arg(&jar).arg("-c").arg(&jar);
                command.args(["--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}\\t%{url_effective}\\n"]);
                for name in NAMES {
                    command.args(["--connect-to", &format!("{name}::127.0.0.1:")]);
                }
                let file = case.body.map(|size| setting.scratch.path().join(format!("body-{size}")).display().to_string());
                match (case.method, file) {
                    ("HEAD", _) => command.arg("-I"),
                    ("PUT", Some(file)) => command.args(["-T", &file]),
                    ("POST", Some(file)) => command.args(["--data-binary", &format!("@{file}")]),
                    (method, None) => command.args(["-X", method]),
                    (method, Some(file)) => command.args(["-X", method, "--data-binary", &format!("@{file}")]),
                };
                command.arg(format!("{}{}", setting.base(), case.target));
                format!("{}\t{}", case.number, printed(command))
            };
            run(&setting, &tag, manner, true, |_, cases| cases.iter().map(one).collect());
        }
    }
}

#[test]
fn python_requests_follows() {
    let python = [root().join("target/python/bin/python3"), PathBuf::from("python3")].into_iter().find(|python| {
        Command::new(python).args(["-c", "import requests"]).output().is_ok_and(|output| output.status.success())
    });
    let Some(python) = python else { return peer::skipped("no Python with requests") };
    for (tls, setting) in settings("python") {
        let tag = if tls { "python-tls" } else { "python" };
        // requests does as browsers did long ago: every method but HEAD becomes GET at a 302.
        let manner = Manner { put_302: "GET", head_303: "HEAD", normalises: true };
        run(&setting, tag, manner, true, |list, _| {
            let mut command = Command::new(&python);
            command.arg(program("client.py")).arg(list).arg(setting.ca());
            printed(command)
        });
    }
}

#[test]
fn node_fetch_follows() {
    let Some(node) = peer::installed("node") else { return };
    for (tls, setting) in settings("node") {
        let tag = if tls { "node-tls" } else { "node" };
        let manner = Manner { put_302: "PUT", head_303: "HEAD", normalises: false };
        // It keeps no cookies.
        run(&setting, tag, manner, false, |list, _| {
            let mut command = Command::new(&node);
            command.arg(program("client.mjs")).arg(list).env("NODE_EXTRA_CA_CERTS", setting.ca());
            printed(command)
        });
    }
}

/// Java's client on a list.
fn java(setting: &Setting, list: &Path, version: &str, policy: &str) -> String {
    let hosts = NAMES.map(|name| format!("127.0.0.1 {name}\n")).concat();
    let hosts = setting.scratch.write("hosts", &hosts);
    let mut command = Command::new("java");
    command.args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", &format!("-Djdk.net.hosts.file={}", hosts.display())]);
    command.arg(program("Client.java")).arg(list).arg(setting.ca()).args([version, policy]);
    printed(command)
}

#[test]
fn java_http_client_follows() {
    if peer::installed("javac").is_none() {
        return;
    }
    for (tls, setting) in settings("java") {
        for version in ["HTTP_1_1", "HTTP_2"] {
            let tag = format!("java-{}{}", version.replace('_', ""), if tls { "-tls" } else { "" });
            // It makes GET of everything at a 303.
            let manner = Manner { put_302: "PUT", head_303: "GET", normalises: false };
            run(&setting, &tag, manner, true, |list, _| java(&setting, list, version, "NORMAL"));
        }
        if !tls {
            // From HTTPS to HTTP it goes only if it is told to go everywhere.
            let case = Case { number: 0, method: "GET", target: "/java-down-0".into(), body: None, then: "GET" };
            let list = cases::write(&setting, "java-down", &setting.base_tls(), std::slice::from_ref(&case));
            let stays = java(&setting, &list, "HTTP_2", "NORMAL");
            assert!(stays.starts_with(&format!("0\t302\t{}/", setting.base_tls())), "{stays}");
            assert_eq!(setting.seen("/java-down-0"), []);
            let goes = java(&setting, &list, "HTTP_2", "ALWAYS");
            assert!(goes.starts_with("0\t200\thttp://127.0.0.1:"), "{goes}");
            assert_eq!(setting.seen("/java-down-0").len(), 1);
        }
    }
}

#[test]
fn a_location_is_the_target_octet_for_octet() {
    let Some(setting) = Setting::start("octets", false, "") else { return };
    for target in cases::TARGETS {
        let target = format!("/octets{target}");
        let answer = farm_tests::http::request(setting.door.port("door"), "GET", &target, &[("host", DOOR)], b"").unwrap();
        let location = answer.header("location").unwrap_or_default();
        let rest = setting.echoes.iter().find_map(|echo| location.strip_prefix(&format!("http://{}", echo.addr)));
        assert_eq!(rest, Some(target.as_str()), "{answer:?}");
    }
    assert_eq!(setting.redirects(), (cases::TARGETS.len() as u64, 0));
}

#[test]
fn clients_that_follow_nothing_are_assigned() {
    let Some(setting) = Setting::start("assign", false, "") else { return };
    let answer = cases::assigned(&setting);
    let told = answer.json();
    assert_eq!(answer.status, 200, "{answer:?}");
    let ports: Vec<u64> = setting.echoes.iter().map(|echo| echo.addr.port().into()).collect();
    assert!(told["port"].as_u64().is_some_and(|port| ports.contains(&port)), "{told}");
    let handshake = [("host", DOOR), ("connection", "Upgrade"), ("upgrade", "websocket")];
    let more = [("sec-websocket-version", "13"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
    let socket =
        farm_tests::http::request(setting.door.port("door"), "GET", "/chat", &[&handshake[..], &more].concat(), b"");
    let socket = socket.unwrap();
    assert_eq!(socket.status, 400, "{socket:?}");
    assert!(socket.json()["assign"].as_str().is_some_and(|path| path.ends_with("/.well-known/farm/assign")), "{socket:?}");
    let grpc = [("host", DOOR), ("content-type", "application/grpc"), ("te", "trailers")];
    let call = farm_tests::http::request(setting.door.port("door"), "POST", "/echo.Echo/Say", &grpc, b"\0\0\0\0\0").unwrap();
    assert_eq!(call.header("grpc-status"), Some("9"), "{call:?}");
    assert_eq!(setting.door.metric("redirector_redirects_total{status=\"302\",session=\"new\"}"), Some(0.0));
}

//! The documents say what the programs do: options, metrics, the `curl` lines, the examples, and the texts that a user meets first.
//!
//! Nothing here repeats a table by hand. Where a tool is missing (curl, openssl, man), the test says `SKIPPED`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::daemon::{Daemon, SOON, Scratch, bins, root};
use farm_tests::farm::{KEY, secret};
use farm_tests::peer::{installed, skipped};
use farm_tests::{dns, http, wait};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

const PROGRAMS: [&str; 3] = ["dnslb", "redirector", "farm-agent"];

fn run(program: &str, words: &[&str], folder: &Path) -> Output {
    Command::new(bins().join(program)).args(words).current_dir(folder).output().expect(program)
}

/// Its standard output, if it ended well.
fn printed(program: &str, words: &[&str], folder: &Path) -> String {
    let output = run(program, words, folder);
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).expect(name)
}

/// The generated parts of a document: program, subcommand, text.
fn generated(document: &str) -> Vec<(&str, &str, &str)> {
    let mut parts = Vec::new();
    for part in document.split("\n<!-- generated: ").skip(1) {
        let (command, rest) = part.split_once(" -->\n").expect("a whole marker");
        let (program, subcommand) = command.split_once(' ').expect("PROGRAM SUBCOMMAND");
        let (text, _) = rest.split_once("<!-- end -->").expect("<!-- end -->");
        parts.push((program, subcommand, text.trim()));
    }
    parts
}

#[test]
fn tables_are_what_the_programs_print() {
    let expect = [
        ("configuration.md", &[("dnslb", "config-doc"), ("redirector", "config-doc"), ("farm-agent", "config-doc")][..]),
        ("metrics.md", &[("dnslb", "metrics-doc"), ("redirector", "metrics-doc")][..]),
        ("profiles.md", &[("redirector", "profile-doc")][..]),
    ];
    for (name, commands) in expect {
        let document = document(name);
        let parts = generated(&document);
        let found: Vec<_> = parts.iter().map(|(program, subcommand, _)| (*program, *subcommand)).collect();
        assert_eq!(found, commands, "docs/{name}");
        for (program, subcommand, text) in parts {
            let fresh = printed(program, &[subcommand], root());
            assert!(text == fresh.trim(), "docs/{name} is not what `{program} {subcommand}` prints: run ./docs/generate");
        }
    }
}

/// Configurations of both daemons, with everything that has metrics of its own.
fn configure(scratch: &Scratch) {
    secret(scratch, "farm.key", KEY);
    scratch.write("lb.zone", "$TTL 60\n@ SOA ns1 hostmaster 1 1h 15m 2w 5s\n@ NS ns1\nns1 A 127.0.0.1\n");
    let listen =
        "[heartbeat]\nlisten_udp = [\"127.0.0.1:0\"]\nlisten_http = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n";
    let trust = "name = \"mail\"\nkey_file = \"farm.key\"\n";
    scratch.write(
        "dnslb.toml",
        &format!(
            "[server]\nid = \"ns1\"\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\nstate_dir = \"dnslb-state\"\n{listen}\
             [[farm]]\n{trust}member_zone = \"farm.lb.example.com\"\n[[zone]]\nname = \"lb.example.com\"\nfile = \"lb.zone\"\n\
             [[pool]]\nname = \"www\"\npublish = [\"www.lb.example.com\"]\nk = 2\nfarm = \"mail\"\n"
        ),
    );
    scratch.write(
        "redirector.toml",
        &format!(
            "hosts = [\"*\"]\n[server]\nid = \"door1\"\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\nstate_dir = \"redirector-state\"\n\
             [farm]\n{trust}{listen}"
        ),
    );
}

#[test]
fn every_metric_is_documented_and_shown() {
    let scratch = Scratch::new("metrics");
    configure(&scratch);
    let document = document("metrics.md");
    for (program, _, table) in generated(&document) {
        let daemon = Daemon::serve(program, &scratch, &scratch.path().join(format!("{program}.toml")), &[]);
        let shown = http::get(daemon.port("admin"), "/metrics").unwrap().text();
        let cell = |line: &str, n| line.split('|').nth(n).unwrap_or_default().trim().trim_matches('`').to_owned();
        let documented: BTreeSet<(String, String)> =
            table.lines().skip(2).map(|line| (cell(line, 1), cell(line, 2))).collect();
        let family = |line: &str| line.strip_prefix("# TYPE ")?.split_once(' ').map(|(n, k)| (n.to_owned(), k.to_owned()));
        let shown: BTreeSet<(String, String)> = shown.lines().filter_map(family).collect();
        assert!(documented.len() > 20, "{documented:?}");
        assert_eq!(documented, shown, "{program}: docs/metrics.md on the left, /metrics on the right");
    }
}

/// Words of a text that look like names of metrics.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| ["dnslb_", "redirector_", "farm_"].iter().any(|prefix| word.starts_with(prefix))).collect()
}

#[test]
fn the_runbook_names_metrics_that_exist() {
    let (operations, metrics) = (document("operations.md"), document("metrics.md"));
    let named = metric_names(&operations);
    let unknown: Vec<_> = named.iter().filter(|name| !metrics.contains(&format!("| `{name}` |"))).collect();
    assert!(named.len() > 20 && unknown.is_empty(), "{unknown:?}");
}

#[test]
fn units_are_sound() {
    let Some(analyze) = installed("systemd-analyze") else { return };
    let scratch = Scratch::new("units");
    for program in PROGRAMS {
        let unit = document(&format!("systemd/{program}.service"));
        let folder = bins().display().to_string();
        // The binary must exist where the unit starts it.
        let file = scratch.write(&format!("{program}.service"), &unit.replace("/usr/local/bin", &folder));
        let output = Command::new(&analyze).args(["verify", "--man=no"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains(program), "{said}");
    }
}

#[test]
fn the_curl_lines_of_the_heartbeat_are_an_agent() {
    let missing = ["curl", "openssl", "bash"].iter().filter(|tool| installed(tool).is_none()).count();
    if missing > 0 {
        return;
    }
    let scratch = Scratch::new("curl");
    configure(&scratch);
    let dnslb = Daemon::serve("dnslb", &scratch, &scratch.path().join("dnslb.toml"), &[]);
    let key = printed("redirector", &["key", "--id", "b1", "--config", "redirector.toml"], scratch.path());
    let document = document("heartbeat.md");
    let (_, rest) = document.split_once("```sh\n").expect("a block of shell lines");
    let (lines, _) = rest.split_once("```").expect("its end");
    // The lines run as they stand: what the test wants to know besides comes from curl's own file of options.
    scratch.write(".curlrc", "write-out = \"\\n%{http_code} %{content_type}\"\n");
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", lines]).current_dir(scratch.path()).env("CURL_HOME", scratch.path());
    shell.env("KEY", key.trim()).env("HEARTBEAT", dnslb.port("heartbeat_http").to_string()).env("NO_PROXY", "*");
    let output = shell.output().expect("bash");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let (body, status) = text.trim_end().rsplit_once('\n').expect("a body and a status");
    assert_eq!(status, "200 application/json", "{body}");
    let reply: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let said = |key: &str| reply[key].as_str().unwrap_or_default().to_owned();
    assert_eq!([said("from"), said("to"), said("kind")], ["ns1", "b1", "dnslb"], "{reply}");
    wait::until("the member's own name", SOON, || {
        let (addresses, _) = dns::lookup(dnslb.port("dns"), "b1.farm.lb.example.com.")?;
        (addresses == ["127.0.0.1".parse::<std::net::IpAddr>().unwrap()]).then_some(())
    });
}

#[test]
fn shipped_configurations_pass_their_check() {
    let scratch = Scratch::new("zones");
    secret(&scratch, "demo.key", KEY);
    let entries = std::fs::read_dir(root().join("zones")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = entries.filter(|path| path.is_file()).collect();
    for file in &files {
        std::fs::copy(file, scratch.path().join(file.file_name().unwrap())).unwrap();
    }
    let configurations = files.iter().filter(|file| file.extension().is_some_and(|e| e == "toml"));
    let mut checked = BTreeSet::new();
    for file in configurations {
        let name = file.file_name().unwrap().to_string_lossy();
        let program = PROGRAMS.iter().find(|p| name.starts_with(**p)).unwrap_or_else(|| panic!("{name}: whose is it?"));
        let output = run(program, &["check", &name], scratch.path());
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        checked.insert(*program);
    }
    assert!(checked.len() >= 2, "{checked:?}");
}

#[test]
fn help_pages_and_completions() {
    let man = installed("man");
    for program in PROGRAMS {
        let scratch = Scratch::new("pages");
        let help = printed(program, &["--help"], scratch.path());
        assert!(help.contains("Usage: ") && !help.contains("config-doc"), "{help}");
        for shell in ["bash", "zsh", "fish"] {
            let script = printed(program, &["completions", shell], scratch.path());
            assert!(script.contains(program), "{program} {shell}");
            if let Some(shell) = (shell == "bash").then(|| installed(shell)).flatten() {
                let file = scratch.write("completions", &script);
                let output = Command::new(shell).arg("-n").arg(&file).output().unwrap();
                assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
        printed(program, &["man", "."], scratch.path());
        let pages: Vec<_> = std::fs::read_dir(scratch.path()).unwrap().map(|e| e.unwrap().path()).collect();
        let pages: Vec<_> = pages.iter().filter(|p| p.extension().is_some_and(|e| e == "1")).collect();
        assert!(pages.iter().any(|p| p.ends_with(format!("{program}.1"))), "{pages:?}");
        let Some(man) = &man else {
            skipped(&format!("manual pages of {program} were written, but not read by man"));
            continue;
        };
        for page in pages {
            let mut command = Command::new(man);
            command.args(["--warnings", "-E", "UTF-8", "-Tutf8", "-Z", "-l"]).arg(page).env("MANWIDTH", "100");
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{}: {said}", page.display());
        }
    }
}

fn refused(program: &str, config: &str, expect: &str) {
    let scratch = Scratch::new("broken");
    let file = format!("{program}.toml");
    scratch.write(&file, config);
    for words in [&["check", file.as_str()][..], &["serve", "--config", file.as_str()]] {
        let output = run(program, words, scratch.path());
        assert_eq!(output.status.code(), Some(78), "{program} {words:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said.trim(), expect.trim(), "{program} {words:?}");
    }
}

#[test]
fn a_broken_configuration_of_dnslb() {
    refused(
        "dnslb",
        r#"[server]
id = "NS 1"
listen = ["nowhere"]
workres = 2
[heartbeat]
listen_udp = "127.0.0.1:5310"
[admin]
listen = "0.0.0.0:80"
[lease]
grace = "soon"
[[farm]]
name = "mail"
[[zone]]
name = "lb.example.com"
file = "lb.zone"
[[pool]]
name = "www"
publish = ["www.lb.example.com"]
k = 0
farm = "post"
"#,
        r#"dnslb.toml:2: server.id: found "NS 1", expected 1 to 63 lowercase letters, digits and inner hyphens
dnslb.toml:3: server.listen[0]: found "nowhere", expected ADDRESS:PORT, like "192.0.2.1:53" or "[::1]:53"
dnslb.toml:4: server.workres: found an unknown key, expected `workers` (did you mean that?)
dnslb.toml:6: heartbeat.listen_udp: found "127.0.0.1:5310", expected an array of strings, each ADDRESS:PORT, like "192.0.2.1:53" or "[::1]:53"
dnslb.toml:8: admin.listen: found "0.0.0.0:80", expected "unix:/PATH" or a loopback "ADDRESS:PORT"
dnslb.toml:10: lease.grace: found "soon", expected a duration from 0s to 1d in quotes, like "250ms", "3s" or "1m30s"
dnslb.toml:11: farm[0].key_file: found nothing, expected a string
dnslb.toml:15: zone[0].file: found lb.zone: No such file or directory (os error 2), expected a zone file that can be read
dnslb.toml:19: pool[0].k: found the integer 0, expected an integer from 1 to 1024
dnslb.toml:20: pool[0].farm: found "post", expected the name of a [[farm]]
10 errors, 0 warnings
"#,
    );
}

#[test]
fn a_broken_configuration_of_the_redirector() {
    refused(
        "redirector",
        r#"hosts = ["mail.example.com", "no host"]
[server]
id = "door1"
[farm]
name = "mail"
key_file = "farm.key"
allowed_prefixes = ["10.0.0.0/99"]
[admin]
listen = "unix:run"
[door]
target = "http://front"
policy = "best"
retry_after = 5
[scaler]
enabled = true
min = 9
max = 3
"#,
        r#"redirector.toml:1: heartbeat: found neither heartbeat.listen_udp nor heartbeat.listen_http, expected one of them: without heartbeats there are no servers
redirector.toml:1: hosts: found "no host", expected a host name without port, "*.SUFFIX", or "*"
redirector.toml:1: provider.kind: found "none", expected a provider that launches servers, since [scaler] is enabled without dry_run
redirector.toml:6: farm.key_file: found "farm.key": No such file or directory (os error 2), expected a file that can be read
redirector.toml:7: farm.allowed_prefixes[0]: found "10.0.0.0/99", expected an address or ADDRESS/BITS
redirector.toml:9: admin.listen: found "unix:run", expected "unix:/PATH" or a loopback "ADDRESS:PORT"
redirector.toml:11: door.target: found "http://front", expected one of {id}, {ip}, {ipv4} and {ipv6}, once: servers must differ in their authority
redirector.toml:12: door.policy: found "best", expected one of "weighted", "auto", "two-choices", "least-loaded", "sessions", "paper", "random"
redirector.toml:13: door.retry_after: found the integer 5, expected a duration from 1s to 1h in quotes, like "250ms", "3s" or "1m30s"
redirector.toml:16: scaler.min: found 9, expected at most max, 3
10 errors, 0 warnings
"#,
    );
}

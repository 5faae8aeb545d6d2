//! Commands that need no daemon, and the examples that are shipped.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use std::path::Path;

#[test]
fn the_demo_configuration_is_good() {
    let zones = Path::new(env!("CARGO_MANIFEST_DIR")).join("../zones");
    let scratch = Scratch::new();
    for file in ["dnslb.toml", "lb.example.com.zone"] {
        std::fs::copy(zones.join(file), scratch.path(file)).unwrap();
    }
    scratch.write("demo.key", KEY);
    let output = run(&["check", "dnslb.toml"], &scratch.path(""));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("lb.example.com. serial "), "{}", text(&output.stdout));
    let asked = text(&run(&["ask", "www.lb.example.com", "--config", "dnslb.toml"], &scratch.path("")).stdout);
    assert!(asked.contains("it is answered by the pool www"), "{asked}");
}

#[test]
fn every_problem_at_once() {
    let scratch = Scratch::new();
    scratch.write("bad.zone", "@ SOA ns1 host 1 2 3 4 5\n@ NS ns1\nwww A 1.2.3\nftp A 300.1.1.1\n");
    scratch.write(
        "dnslb.toml",
        "[server]\nid = \"NS 1\"\nlisten = [\"nowhere\"]\nworkres = 1\n[[farm]]\nname = \"mail\"\nkey_file = \"no.key\"\n\
         [[zone]]\nname = \"lb.example.com\"\nfile = \"bad.zone\"\n",
    );
    let output = run(&["check", "dnslb.toml"], &scratch.path(""));
    assert_eq!(output.status.code(), Some(78));
    let problems = text(&output.stderr);
    for expect in [
        "dnslb.toml:2: server.id",
        "dnslb.toml:3: server.listen",
        "dnslb.toml:4: server.workres",
        "`workers` (did you mean that?)",
        "dnslb.toml:7: farm[0].key_file",
        "bad.zone:3:",
        "bad.zone:4:",
    ] {
        assert!(problems.contains(expect), "{expect:?} is not in\n{problems}");
    }
}

#[test]
fn what_is_generated() {
    let scratch = Scratch::new();
    for (args, expect) in [
        (&["config-doc"][..], "| `pool[].sort_share` |"),
        (&["metrics-doc"], "| `dnslb_answers_total` | counter |"),
        (&["completions", "bash"], "_dnslb"),
        (&["--version"], "dnslb 0."),
        (&["man", "."], ""),
    ] {
        let output = run(args, &scratch.path(""));
        assert!(output.status.success() && text(&output.stdout).contains(expect), "{args:?}: {}", text(&output.stderr));
    }
    assert!(scratch.path("dnslb.1").exists());
}

#[test]
fn an_alias_is_explained_to_its_end() {
    let scratch = Scratch::new();
    let pool = "[[pool]]\nname = \"pair\"\npublish = [\"www.lb.example.com\"]\n[[pool.member]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\n";
    scratch.write("dnslb.toml", &format!("{SERVER}{pool}"));
    let output = run(&["ask", "web.lb.example.com", "A", "--count", "2", "--config", "dnslb.toml"], &scratch.path(""));
    let said = text(&output.stdout);
    assert_eq!(said.matches("it is answered by the pool pair").count(), 1, "{said}");
    for expect in ["web.lb.example.com. lies in the zone", "a may be named", "; ttl: "] {
        assert!(said.contains(expect), "{expect:?} is not in\n{said}");
    }
}

#[test]
fn wrong_questions_are_refused() {
    let scratch = Scratch::new();
    scratch.write("dnslb.toml", SERVER);
    for (args, code) in [
        (&["ask", "a..b", "A"][..], 2),
        (&["ask", "a", "NONSENSE"], 2),
        (&["admin", "drain", "b1"], 2),
        (&["status"], 69),
        (&["ask", "fixed.lb.example.com", "TYPE1", "--from", "2001:db8::1", "--count", "3"], 0),
    ] {
        let output = run(&[args, &["--config", "dnslb.toml"]].concat(), &scratch.path(""));
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stderr));
    }
}

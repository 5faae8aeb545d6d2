//! A zone that dnslb signs itself, from nothing but a configuration: delv validates every kind of answer with the DS that `dnslb ds`
//! prints, through reloads and restarts, on the server that makes the keys and on one that has copies.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::daemon::{Daemon, SOON, Scratch, bins};
use farm_tests::peer::installed;
use farm_tests::wait;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

const ZONE: &str = "\
$TTL 300
@ SOA ns1 admin 7 3600 600 86400 60
@ NS ns1
ns1 A 127.0.0.1
www A 192.0.2.1
www AAAA 2001:db8::1
alias CNAME www
*.wild TXT \"any\"
a.b.c TXT deep
";

/// A configuration with one signed zone; `policy` are more lines of its policy, `more` comes behind.
fn config(scratch: &Scratch, name: &str, key_dir: &str, policy: &str, more: &str) -> std::path::PathBuf {
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nstate_dir = \"state-{name}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [[dnssec_policy]]\nname = \"default\"\nkey_dir = \"{key_dir}\"\n{policy}\n\
         [[zone]]\nname = \"signed.test\"\nfile = \"signed.zone\"\n[zone.dnssec]\npolicy = \"default\"\n{more}"
    );
    scratch.write(&format!("{name}.toml"), &text)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The trust anchor in the form that delv reads, from what `dnslb ds` prints.
fn anchor(scratch: &Scratch, key_dir: &Path) -> std::path::PathBuf {
    let output =
        Command::new(bins().join("dnslb")).args(["ds", "-K", key_dir.to_str().unwrap(), "signed.test"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut entries = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [zone, _, _, tag, algorithm, digest_type, digest] = words[..] else { panic!("{line}") };
        let _ = writeln!(entries, "  {zone} static-ds {tag} {algorithm} {digest_type} \"{digest}\";");
    }
    scratch.write("anchors", &format!("trust-anchors {{\n{entries}}};\n"))
}

/// What delv says of a question.
fn delv(program: &Path, anchors: &Path, server: SocketAddr, name: &str, rtype: &str) -> String {
    let at = format!("@{}", server.ip());
    let port = server.port().to_string();
    let mut ask = Command::new(program);
    ask.args([&at, "-p", &port, "-a"]).arg(anchors).args(["+root=signed.test", name, rtype]);
    said(&ask.output().unwrap())
}

/// Every kind of answer validates.
fn all_validate(program: &Path, anchors: &Path, server: SocketAddr) {
    for (name, rtype, expect) in [
        ("signed.test", "SOA", "; fully validated"),
        ("signed.test", "DNSKEY", "; fully validated"),
        ("www.signed.test", "A", "; fully validated"),
        ("www.signed.test", "AAAA", "; fully validated"),
        ("alias.signed.test", "A", "; fully validated"),
        ("x.y.wild.signed.test", "TXT", "; fully validated"),
        ("www.signed.test", "TXT", "; negative response, fully validated"),
        ("c.signed.test", "TXT", "; negative response, fully validated"),
        ("none.signed.test", "A", "; negative response, fully validated"),
        ("a.none.signed.test", "A", "; negative response, fully validated"),
        ("x.wild.signed.test", "A", "; negative response, fully validated"),
    ] {
        let output = delv(program, anchors, server, name, rtype);
        assert!(output.contains(expect), "{name} {rtype} at {server}:\n{output}");
    }
}

#[test]
fn a_zone_is_signed_from_a_configuration() {
    let Some(program) = installed("delv") else { return };
    for (denial, more) in [("nsec", ""), ("nsec3", "algorithm = \"ed25519\""), ("online", "keys = \"ksk-zsk\"")] {
        let scratch = Scratch::new("dnssec-serve");
        scratch.write("signed.zone", ZONE);
        let policy = format!("manage_keys = true\ndenial = \"{denial}\"\n{more}");
        let maker_config = config(&scratch, "maker", "keys", &policy, "");
        let mut maker = Daemon::serve("dnslb", &scratch, &maker_config, &[]);
        let anchors = anchor(&scratch, &scratch.path().join("keys"));
        all_validate(&program, &anchors, maker.port("dns"));
        // Another server with copies of the keys.
        let copy_config = config(&scratch, "copy", "copied", &format!("denial = \"{denial}\""), "");
        let check = Command::new(bins().join("dnslb")).arg("check").arg(&copy_config).output().unwrap();
        assert!(!check.status.success() && said(&check).contains("not there; expected a copy"), "{}", said(&check));
        std::fs::create_dir(scratch.path().join("copied")).unwrap();
        for entry in std::fs::read_dir(scratch.path().join("keys")).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, scratch.path().join("copied").join(path.file_name().unwrap())).unwrap();
        }
        let copy = Daemon::serve("dnslb", &scratch, &copy_config, &[]);
        all_validate(&program, &anchors, copy.port("dns"));
        // A changed file is signed with the next serial.
        scratch.write("signed.zone", &ZONE.replace("192.0.2.1", "192.0.2.9"));
        maker.signal(rustix::process::Signal::HUP);
        wait::until("the new record, signed", SOON, || {
            let output = delv(&program, &anchors, maker.port("dns"), "www.signed.test", "A");
            assert!(output.contains("; fully validated"), "{output}");
            output.contains("192.0.2.9").then_some(())
        });
        let soa = delv(&program, &anchors, maker.port("dns"), "signed.test", "SOA");
        assert!(soa.contains("admin.signed.test. 8 "), "{soa}");
        // A restart goes on with the same keys, and no serial goes back.
        assert!(maker.stop().success());
        let again = Daemon::serve("dnslb", &scratch, &maker_config, &[]);
        all_validate(&program, &anchors, again.port("dns"));
        let soa = delv(&program, &anchors, again.port("dns"), "signed.test", "SOA");
        assert!(soa.contains("admin.signed.test. 9 "), "{soa}");
    }
}

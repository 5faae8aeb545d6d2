//! A zone that is signed here while it changes: updates, transfers to BIND, rollovers by an operator, broken files, and what dnsviz
//! finds. Judged by BIND's tools and ldns-verify-zone, which know nothing of us.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test stops where it cannot go on"
)]

use farm_tests::clock::Clock;
use farm_tests::daemon::{Daemon, SOON, Scratch, bins};
use farm_tests::peer::{free_port, installed};
use farm_tests::{dns, wait};
use hickory_proto::rr::{RData, RecordType};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const KEY: &str = "key \"update\" { algorithm hmac-sha256; secret \"c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzIG9yIHNv\"; };\n";
const ZONE: &str = "\
$TTL 300
@ SOA ns1 admin 7 3600 600 86400 60
@ NS ns1
ns1 A 127.0.0.1
www A 192.0.2.1
alias CNAME www
*.wild TXT \"any\"
a.b.c TXT deep
sub NS ns.sub
ns.sub A 192.0.2.53
";

/// A dynamic zone that is signed here; `notify` are more lines of it.
fn config(scratch: &Scratch, listen: SocketAddr, policy: &str, notify: &str) -> PathBuf {
    let path = scratch.path().display();
    scratch.write("update.key", KEY);
    if !scratch.path().join("live.zone").exists() {
        scratch.write("live.zone", ZONE);
    }
    let text = format!(
        "[server]\nlisten = [\"{listen}\"]\nworkers = 1\nstate_dir = \"{path}/state\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         token_file = \"{path}/admin.token\"\n[[key]]\nname = \"update\"\nsecret_file = \"update.key\"\n\
         [[dnssec_policy]]\nname = \"live\"\nkey_dir = \"keys\"\nmanage_keys = true\n{policy}\n\
         [[zone]]\nname = \"live.test\"\nfile = \"live.zone\"\n[[zone.transfer]]\nprefix = \"127.0.0.0/8\"\n\
         [[zone.update]]\nkey = \"update\"\ntypes = [\"ANY\"]\n{notify}[zone.dnssec]\npolicy = \"live\"\n"
    );
    scratch.write("dnslb.toml", &text)
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Sends one script; whether it succeeded, and what `nsupdate` said of it.
fn nsupdate(scratch: &Scratch, server: SocketAddr, script: &str) -> (bool, String) {
    let mut command = Command::new("nsupdate");
    command.args(["-t", "10", "-k"]).arg(scratch.path().join("update.key"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("nsupdate starts");
    let text = format!("server {} {}\nzone live.test\n{script}\nsend\n", server.ip(), server.port());
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), said(&output))
}

/// What `dig` prints of a transfer, a record a line, with one space between fields.
fn transfer(server: SocketAddr, what: &str) -> Vec<String> {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let words = [&at, "-p", &port, "+tcp", "+time=5", "+tries=1", "+nosplit", "+onesoa", "live.test", what];
    let words = words.into_iter().filter(|word| *word != "+onesoa" || what == "AXFR");
    let output = Command::new("dig").args(words).output().expect("dig runs");
    let text = said(&output);
    let lines = text.lines().filter(|line| !line.starts_with(';') && !line.is_empty());
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn serial_of(line: &str) -> Option<u32> {
    let (_, soa) = line.split_once(" IN SOA ")?;
    soa.split(' ').nth(2)?.parse().ok()
}

/// Carries an incremental transfer out on what a secondary has (RFC 1995 section 4).
fn apply(before: &[String], changes: &[String]) -> BTreeSet<String> {
    let mut zone: BTreeSet<String> = before.iter().cloned().collect();
    let newest = changes.first().and_then(|line| serial_of(line)).expect("a SOA record first");
    if changes.get(1).and_then(|line| serial_of(line)).is_none() {
        // Changes that are larger than the zone: the whole zone instead.
        return changes.iter().cloned().collect();
    }
    let (mut adding, mut seen) = (true, 0);
    for line in &changes[1..changes.len() - 1] {
        if serial_of(line).is_some() {
            (adding, seen) = (!adding, seen + 1);
        }
        if adding {
            assert!(zone.insert(line.clone()), "there already: {line}");
        } else {
            assert!(zone.remove(line), "not there: {line}");
        }
    }
    assert!(seen >= 2 && adding && changes.last().and_then(|line| serial_of(line)) == Some(newest));
    zone
}

/// What ldns-verify-zone finds wrong with a zone that was transferred; nothing if it is not there.
fn verify(scratch: &Scratch, zone: &[String]) {
    let Some(program) = installed("ldns-verify-zone") else { return };
    let file = scratch.write("transferred.zone", &(zone.join("\n") + "\n"));
    let output = Command::new(program).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}\n{}", said(&output), zone.join("\n"));
}

fn serial_at(server: SocketAddr) -> Option<u32> {
    let reply = dns::udp(server, &dns::query("live.test", RecordType::SOA)).ok()?;
    reply.answers.iter().find_map(|record| if let RData::SOA(soa) = &record.data { Some(soa.serial) } else { None })
}

/// BIND as a secondary.
fn bind(scratch: &Scratch, addr: SocketAddr, primary: SocketAddr) -> Option<Daemon> {
    let binary = installed("named")?;
    let folder = scratch.path().join("named");
    std::fs::create_dir_all(&folder).unwrap();
    let (path, ip, port) = (folder.display(), addr.ip(), addr.port());
    let text = format!(
        "options {{ directory \"{path}\"; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }}; recursion no; \
         dnssec-validation no; pid-file \"{path}/pid\"; session-keyfile \"{path}/session\"; lock-file none; empty-zones-enable no; \
         notify-delay 0; serial-query-rate 1000; allow-transfer {{ any; }}; }};\ncontrols {{ }};\n\
         zone \"live.test\" {{ type secondary; file \"copy\"; masterfile-format text; primaries {{ {} port {}; }}; notify no; \
         allow-notify {{ any; }}; }};\n",
        primary.ip(),
        primary.port()
    );
    let config = folder.join("named.conf");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(binary);
    command.args(["-g", "-n", "1", "-U", "1", "-c"]).arg(&config);
    Some(Daemon::spawn(command, folder.join("log")))
}

#[test]
fn changes_of_a_signed_zone_are_transferred_signed() {
    if installed("nsupdate").is_none() || installed("dig").is_none() {
        return;
    }
    for denial in ["nsec", "nsec3"] {
        let scratch = Scratch::new("dnssec-live-transfer");
        let (ours, theirs) = (free_port(), free_port());
        let notify = format!("[[zone.notify]]\naddr = \"{theirs}\"\n");
        let config = config(&scratch, ours, &format!("denial = \"{denial}\""), &notify);
        let daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
        let bind = bind(&scratch, theirs, ours);
        let whole = || transfer(ours, "AXFR");
        let first = whole();
        verify(&scratch, &first);
        let begin = serial_at(ours).unwrap();
        if bind.is_some() {
            wait::until("the first version at BIND", SOON, || (serial_at(theirs) == Some(begin)).then_some(()));
        }
        for script in [
            "update add new.live.test 300 A 192.0.2.77",
            "update delete www.live.test A\nupdate add www.live.test 300 A 192.0.2.2\nupdate add deep.er.live.test 60 TXT x",
            "update delete new.live.test\nupdate add sub.live.test 300 DS 1 13 2 \
             0000000000000000000000000000000000000000000000000000000000000000",
        ] {
            let before = serial_at(ours).unwrap();
            let (done, text) = nsupdate(&scratch, ours, script);
            assert!(done, "{script}: {text}");
            // What was acknowledged is served, signed.
            let after = serial_at(ours).unwrap();
            assert_ne!(before, after);
            let now = whole();
            verify(&scratch, &now);
            let expect: BTreeSet<String> = now.into_iter().collect();
            assert_eq!(apply(&first, &transfer(ours, &format!("IXFR={begin}"))), expect, "from the first version");
            if bind.is_some() {
                wait::until("the next version at BIND", SOON, || (serial_at(theirs) == Some(after)).then_some(()));
                assert_eq!(transfer(theirs, "AXFR").into_iter().collect::<BTreeSet<_>>(), expect);
            }
        }
        // Signing alone: another key in the DNSKEY set, at once. The serial rises and secondaries are told.
        let before = serial_at(ours).unwrap();
        let head = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, head.replace("manage_keys = true\n", "manage_keys = true\ndnskey_ttl = \"1234s\"\n"))
            .unwrap();
        daemon.signal(rustix::process::Signal::HUP);
        wait::until("the version that is signed anew", SOON, || (serial_at(ours)? != before).then_some(()));
        let now = whole();
        verify(&scratch, &now);
        assert!(now.iter().any(|line| line.contains(" 1234 IN DNSKEY ")), "{now:?}");
        let expect: BTreeSet<String> = now.into_iter().collect();
        assert_eq!(apply(&first, &transfer(ours, &format!("IXFR={begin}"))), expect);
        if let Some(mut bind) = bind {
            wait::until("the version signed anew at BIND", SOON, || (serial_at(theirs) == serial_at(ours)).then_some(()));
            assert_eq!(transfer(theirs, "AXFR").into_iter().collect::<BTreeSet<_>>(), expect);
            let log = bind.log();
            assert!(log.contains("received notify for zone 'live.test'") && !log.contains("failed"), "{log}");
            bind.end();
        }
        // Keys and denials are the signer's.
        for script in [
            "update add live.test 300 DNSKEY 257 3 13 AAAA",
            "update delete live.test DNSKEY",
            "update add live.test 300 CDS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000",
            "update delete live.test CDNSKEY",
            "update add www.live.test 300 NSEC x.live.test A",
        ] {
            let (done, text) = nsupdate(&scratch, ours, script);
            assert!(!done && text.contains("REFUSED"), "{script}: {text}");
        }
        // What a monitor sees.
        let metric = |name: &str| daemon.metric(&format!("dnslb_zone_{name}{{zone=\"live.test.\"}}"));
        let left_s = metric("signature_expiry_timestamp_seconds").unwrap()
            - std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((13.0 * 86_400.0..15.0 * 86_400.0).contains(&left_s), "{left_s}");
        assert_eq!((metric("keys_lacking"), metric("signing_failed")), (Some(0.0), Some(0.0)));
        assert!(metric("signatures_total").unwrap() > 20.0);
    }
}

/// `dnslb keys` with these words; whether it succeeded, and what it said.
fn keys(config: &Path, words: &[&str]) -> (bool, String) {
    let output = keys_command(config, words).output().unwrap();
    (output.status.success(), said(&output))
}

fn keys_command(config: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(bins().join("dnslb"));
    command.arg("keys").args(words).arg("--config").arg(config);
    command
}

#[test]
fn an_operator_says_what_the_parent_shows() {
    let scratch = Scratch::new("dnssec-live-parent");
    let Some(clock) = Clock::build(&scratch) else { return };
    let config = config(&scratch, any_port(), "", "");
    // It makes the first key and the schedule; what follows is days later, when it does not run.
    Daemon::serve("dnslb", &scratch, &config, &[]).kill();
    let began_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let at = |day: u64, words: &[&str]| {
        let mut command = keys_command(&config, words);
        clock.set(&mut command, began_s + day * 86_400);
        let output = command.output().unwrap();
        assert!(output.status.success(), "day {day}, {words:?}: {}", said(&output));
        said(&output)
    };
    // The lines of a key in a table, and its tag.
    let key = |text: &str, number: usize| -> (String, Vec<String>) {
        let part = text.split("\ncsk ").nth(number + 1).unwrap_or_else(|| panic!("{text}"));
        let mut lines = part.lines().map(str::trim);
        let tag = lines.next().and_then(|line| line.split_whitespace().next()).unwrap().to_owned();
        (tag, lines.map(str::to_owned).collect())
    };
    let has = |lines: &[String], what: &str| lines.iter().any(|line| line.ends_with(what));
    let (old, _) = key(&at(0, &["status", "live.test"]), 0);
    let text = at(0, &["ds-seen", "live.test", &old]);
    assert!(
        text.starts_with("nothing changes") && !has(&key(&text, 0).1, " DS seen"),
        "the parent is not asked yet: {text}"
    );
    let text = at(10, &["ds-seen", "live.test", &old]);
    assert!(!text.contains("nothing changes") && has(&key(&text, 0).1, " DS seen"), "{text}");
    assert!(at(11, &["ds-seen", "live.test", &old]).starts_with("nothing changes"), "it was said before");

    let (new, lines) = key(&at(11, &["roll", "live.test"]), 1);
    assert!(new != old && has(&lines, " parent asked for its DS"), "{lines:?}");
    assert!(at(11, &["ds-seen", "live.test", &new]).starts_with("nothing changes"), "not before the parent is asked");
    assert!(at(11, &["ds-gone", "live.test", &old]).starts_with("nothing changes"), "not before it is to let go");
    let text = at(30, &["ds-seen", "live.test", &new]);
    assert!(has(&key(&text, 1).1, " DS seen") && !has(&key(&text, 0).1, " removed"), "the parent shows both: {text}");
    let text = at(31, &["ds-gone", "live.test", &old]);
    let (_, lines) = key(&text, 0);
    let removed = lines.iter().find(|line| line.ends_with(" removed"));
    assert!(
        has(&lines, " DS gone") && removed.is_some_and(|line| line.starts_with('>')),
        "caches have its DS still: {text}"
    );
    let text = at(60, &["status", "live.test"]);
    let removed = key(&text, 0).1.into_iter().find(|line| line.ends_with(" removed"));
    assert!(removed.is_some_and(|line| !line.starts_with('>')), "{text}");
    assert!(!has(&key(&text, 1).1, " removed"), "{text}");
}

#[test]
fn an_operator_rolls_keys() {
    let scratch = Scratch::new("dnssec-live-keys");
    let config = config(&scratch, any_port(), "", "");
    let (done, text) = keys(&config, &["status", "live.test"]);
    assert!(!done && text.contains("Klive.test.schedule.json is not there"), "{text}");
    let daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
    let (done, text) = keys(&config, &["status", "live.test"]);
    assert!(done && text.contains("ECDSAP256SHA256") && text.contains("signs the zone\n"), "{text}");
    let tag = |text: &str, number: usize| -> String {
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("csk ")).collect();
        lines.get(number).and_then(|line| line.split_whitespace().nth(1)).unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let old = tag(&text, 0);
    for (words, expect) in [
        (&["roll", "live.test", "zsk"][..], "the keys of live.test. are csk"),
        (&["ds-seen", "live.test", "1"], "has no KSK or CSK 1"),
        (&["ds-gone", "other.test", "1"], "other.test. is no zone that is signed here"),
        (&["status", "other.test"], "other.test. is no zone that is signed here"),
        (&["ds-gone", "live.test", &old], "nothing changes"),
    ] {
        let (done, text) = keys(&config, words);
        assert!(text.contains(expect) && done == (expect == "nothing changes"), "{words:?}: {text}");
    }
    let (done, text) = keys(&config, &["roll", "live.test"]);
    assert!(done && text.lines().filter(|line| line.starts_with("csk ")).count() == 2, "{text}");
    let new = tag(&text, 1);
    assert!(new != old && scratch.path().join(format!("keys/Klive.test.+013+{new:0>5}.private")).exists());
    let (done, again) = keys(&config, &["roll", "live.test"]);
    assert!(done && tag(&again, 1) == new && again.matches("\ncsk ").count() == 2, "one rollover at a time: {again}");
    let text = again;
    // The daemon goes on with the schedule as it is now, and does not undo it.
    daemon.signal(rustix::process::Signal::HUP);
    wait::until("the reload", SOON, || (daemon.metric("dnslb_reloads_total{outcome=\"ok\"}") >= Some(1.0)).then_some(()));
    let (_, later) = keys(&config, &["status", "live.test"]);
    assert_eq!(later.lines().skip(1).collect::<Vec<_>>(), text.lines().skip(1).collect::<Vec<_>>());
    assert_eq!(daemon.metric("dnslb_zone_keys_lacking{zone=\"live.test.\"}"), Some(0.0));
    // A private file that went astray is shown.
    std::fs::remove_file(scratch.path().join(format!("keys/Klive.test.+013+{new:0>5}.private"))).unwrap();
    let (_, text) = keys(&config, &["status", "live.test"]);
    assert!(text.contains(&format!("{new} ")) && text.contains("NOT HERE"), "{text}");
}

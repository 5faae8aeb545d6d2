//! What dnsviz finds in a parent and its children that dnslb signs: nothing, for each way of denial, and with pools laid over a zone.
//!
//! The parent is ours too, with the DS records of its children, so that the whole chain is looked at without a root of the Internet's.
//! Only words of dnsviz are believed; that it speaks up at all is seen on a child whose DS record belongs to no key.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::daemon::{Daemon, SOON, Scratch, bins};
use farm_tests::peer::installed;
use farm_tests::{dns, wait};
use hickory_proto::rr::RecordType;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const PARENT: &str = "\
$TTL 3600
@ SOA ns admin 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
lb NS ns1.lb
ns1.lb A 127.0.0.1
pool NS ns1.pool
ns1.pool A 127.0.0.1
wrong NS ns1.wrong
ns1.wrong A 127.0.0.1
";

const CHILD: &str = "\
$TTL 300
@ SOA ns1 admin 7 3600 600 86400 60
@ NS ns1
ns1 A 127.0.0.1
static A 192.0.2.1
static AAAA 2001:db8::1
alias CNAME static
*.cname CNAME static
*.wild TXT \"any\"
a.b.c TXT deep
sub NS ns.sub
ns.sub A 192.0.2.53
old DNAME wild
";

/// One of every kind of answer of the static zone, and of the one with pools.
const NAMES: [&str; 15] = [
    "test",
    "lb.test",
    "static.lb.test",
    "alias.lb.test",
    "q.cname.lb.test",
    "q.wild.lb.test",
    "c.lb.test",
    "none.lb.test",
    "a.none.lb.test",
    "q.old.lb.test",
    "pool.test",
    "www.pool.test",
    "x.any.pool.test",
    "static.pool.test",
    "none.pool.test",
];

const WRONG_DS: &str = "wrong 3600 DS 4711 13 2 0000000000000000000000000000000000000000000000000000000000000000\n";

fn start(scratch: &Scratch, denial: &str) -> Daemon {
    for zone in ["lb", "pool", "wrong"] {
        scratch.write(&format!("{zone}.zone"), CHILD);
    }
    scratch.write("test.zone", PARENT);
    let zone = |(name, policy): (&str, &str)| {
        let file = name.split('.').next().unwrap();
        format!("[[zone]]\nname = \"{name}\"\nfile = \"{file}.zone\"\n[zone.dnssec]\npolicy = \"{policy}\"\n")
    };
    let zones = [("test", "static"), ("lb.test", "static"), ("pool.test", "pools"), ("wrong.test", "static")].map(zone);
    let member =
        |last: u8| format!("[[pool.member]]\nname = \"m{last}\"\naddresses = [\"127.0.0.{last}\", \"2001:db8::{last}\"]\n");
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"admin.token\"\n\
         [[dnssec_policy]]\nname = \"static\"\nkey_dir = \"keys\"\nmanage_keys = true\ndenial = \"{denial}\"\n\
         [[dnssec_policy]]\nname = \"pools\"\nkey_dir = \"keys\"\nmanage_keys = true\nkeys = \"ksk-zsk\"\n{}\
         [[pool]]\nname = \"www\"\npublish = [\"www.pool.test\", \"*.any.pool.test\"]\nk = 2\nttl_min = \"1s\"\nttl_max = \"5s\"\n{}",
        zones.concat(),
        (21..25).map(member).collect::<String>()
    );
    let config = scratch.write("dnslb.toml", &config);
    let daemon = Daemon::serve("dnslb", scratch, &config, &[]);
    let keys = scratch.path().join("keys");
    let ds = |zone: &str| {
        let output = Command::new(bins().join("dnslb")).arg("ds").arg("-K").arg(&keys).arg(zone).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let parent = format!("{}{}{}{WRONG_DS}", PARENT.replace(" 1 3600 ", " 2 3600 "), ds("lb.test"), ds("pool.test"));
    scratch.write("test.zone", &parent);
    daemon.signal(rustix::process::Signal::HUP);
    wait::until("the DS records in the parent", SOON, || {
        let reply = dns::udp(daemon.port("dns"), &dns::query("lb.test", RecordType::DS)).ok()?;
        (!reply.answers.is_empty()).then_some(())
    });
    daemon
}

/// What dnsviz says of these names; a control of them all is what it was told to ask.
fn assessment(dnsviz: &Path, scratch: &Scratch, daemon: &Daemon, names: &[&str]) -> Value {
    let server = daemon.port("dns");
    let probe = scratch.path().join("probe.json");
    let mut ask = Command::new(dnsviz);
    ask.args(["probe", "-A", "-4", "-a", "test", "-R", "A,AAAA,TXT,SOA,NS", "-x", &format!("test+:ns.test={server}")]);
    for zone in ["lb", "pool", "wrong"] {
        ask.arg("-x").arg(format!("{zone}.test:ns1.{zone}.test={server}"));
    }
    let output = ask.arg("-o").arg(&probe).args(names).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("Error"), "{said}");
    let mut judge = Command::new(dnsviz);
    let output = judge.args(["grok", "-P", "-l", "info", "-r"]).arg(&probe).args(names).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Collects what stands under the key `status`, and all errors and warnings with where they are.
fn walk(value: &Value, path: &str, statuses: &mut Vec<String>, complaints: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match key.as_str() {
                    "status" => statuses.extend(value.as_str().map(str::to_owned)),
                    "errors" | "warnings" => complaints.push(format!("{path}: {value}")),
                    _ => walk(value, &format!("{path}/{key}"), statuses, complaints),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| walk(value, path, statuses, complaints)),
        _ => {}
    }
}

#[test]
fn dnsviz_finds_nothing() {
    let Some(dnsviz) = installed("dnsviz") else { return };
    for denial in ["nsec", "nsec3", "online"] {
        let scratch = Scratch::new("dnsviz");
        let daemon = start(&scratch, denial);
        let (mut statuses, mut complaints) = (Vec::new(), Vec::new());
        let said = assessment(&dnsviz, &scratch, &daemon, &NAMES);
        walk(&said, "", &mut statuses, &mut complaints);
        assert!(complaints.is_empty(), "{denial}: {complaints:#?}");
        let is_good = |status: &&String| matches!(status.as_str(), "NOERROR" | "NXDOMAIN" | "VALID" | "SECURE");
        let odd: Vec<&String> = statuses.iter().filter(|status| !is_good(status)).collect();
        assert!(odd.is_empty(), "{denial}: {odd:?}\n{said:#}");
        let count = |wanted: &str| statuses.iter().filter(|status| *status == wanted).count();
        assert!(
            count("VALID") >= 100 && count("SECURE") >= 2,
            "{denial}: {} valid, {} secure",
            count("VALID"),
            count("SECURE")
        );
        println!("{denial}: {} signatures and proofs valid, {} delegations secure", count("VALID"), count("SECURE"));
        // It would say so.
        let said = assessment(&dnsviz, &scratch, &daemon, &["wrong.test"]);
        let (mut statuses, mut complaints) = (Vec::new(), Vec::new());
        walk(&said, "", &mut statuses, &mut complaints);
        assert!(statuses.iter().any(|status| status == "BOGUS") && !complaints.is_empty(), "{denial}: {said:#}");
    }
}

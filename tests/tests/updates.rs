//! Dynamic updates by `nsupdate`: the same scripts against us and against BIND, a storm with SIGKILL in the middle of it, and the
//! master file in an operator's hands.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use farm_tests::daemon::{Daemon, SOON, Scratch, bins};
use farm_tests::peer::{free_port, installed};
use farm_tests::{dns, wait};
use hickory_proto::rr::RecordType;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const KEY: &str = "key \"update\" { algorithm hmac-sha256; secret \"c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzIG9yIHNv\"; };\n";
const ZONE: &str = "$TTL 60
@ SOA ns host 7 3600 600 86400 60
@ NS ns
@ NS ns2
@ MX 10 mail
ns A 192.0.2.1
ns2 A 192.0.2.2
mail A 192.0.2.3
www A 192.0.2.4
www A 192.0.2.5
www TXT \"a\"
alias CNAME www
a.ent TXT \"deep\"
*.wild A 192.0.2.6
";

/// Each is a message of its own.
const SCRIPTS: [&str; 34] = [
    "update add new.example.com 5 A 192.0.2.9",
    "update add new.example.com 5 A 192.0.2.9",
    "update add NEW.example.com 9 A 192.0.2.10",
    "prereq yxdomain new.example.com\nupdate add two.example.com 5 TXT \"x y\" \"z\"",
    "prereq nxdomain new.example.com\nupdate add never.example.com 5 A 192.0.2.9",
    "prereq nxdomain ent.example.com\nupdate add ent.example.com 5 TXT found",
    "prereq yxdomain gone.example.com\nupdate add never.example.com 5 A 192.0.2.9",
    "prereq yxrrset www.example.com A\nupdate delete www.example.com TXT",
    "prereq yxrrset www.example.com AAAA\nupdate add never.example.com 5 A 192.0.2.9",
    "prereq nxrrset www.example.com AAAA\nupdate add www.example.com 60 AAAA 2001:db8::1",
    "prereq nxrrset www.example.com A\nupdate add never.example.com 5 A 192.0.2.9",
    "prereq yxrrset www.example.com A 192.0.2.4\nprereq yxrrset www.example.com A 192.0.2.5\nupdate add exact.example.com 5 A 192.0.2.9",
    "prereq yxrrset www.example.com A 192.0.2.4\nupdate add never.example.com 5 A 192.0.2.9",
    "prereq yxrrset alias.example.com CNAME WWW.example.com.\nupdate add case.example.com 5 A 192.0.2.9",
    "update delete www.example.com A 192.0.2.4",
    "update delete www.example.com A 192.0.2.99",
    "update delete gone.example.com",
    "update add alias.example.com 5 A 192.0.2.9",
    "update add www.example.com 5 CNAME mail.example.com.",
    "update add alias.example.com 5 CNAME mail.example.com.",
    "update delete alias.example.com\nupdate add alias.example.com 5 A 192.0.2.9",
    "update delete example.com NS",
    "update delete example.com SOA",
    "update delete example.com",
    "update delete example.com NS ns.example.com.\nupdate delete example.com NS ns2.example.com.",
    "update add example.com 60 MX 20 mail.example.com.\nupdate add example.com 60 CAA 0 issue \"ca.test\"",
    "update add example.com 60 SOA ns host 5 1 1 1 1",
    "update add example.com 60 SOA ns2.example.com. host.example.com. 100 3600 600 86400 60",
    "update add www.example.com 60 SOA ns host 500 1 1 1 1",
    "update add x.wild.example.com 5 TXT \"beside the wildcard\"\nupdate add *.wild.example.com 60 A 192.0.2.7",
    "update add _sip._tcp.example.com 5 SRV 1 2 5060 www.example.com.\nupdate add svc.example.com 5 HTTPS 1 . alpn=h2",
    "update add sub.example.com 5 NS ns.sub.example.com.\nupdate add ns.sub.example.com 5 A 192.0.2.53",
    "update delete sub.example.com",
    "update add odd\\.dot.example.com 5 TYPE65280 \\# 3 010203\nupdate delete mail.example.com A",
];

/// Our configuration with the zone, the key and what `[[zone.update]]` says.
fn configuration(scratch: &Scratch, listen: SocketAddr, grants: &str) -> PathBuf {
    let path = scratch.path().display();
    scratch.write("update.key", KEY);
    if !scratch.path().join("example.com.zone").exists() {
        scratch.write("example.com.zone", ZONE);
    }
    let text = format!(
        "[server]\nlisten = [\"{listen}\"]\nworkers = 1\nstate_dir = \"{path}/state\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         token_file = \"{path}/admin.token\"\n[[key]]\nname = \"update\"\nsecret_file = \"update.key\"\n\
         [[zone]]\nname = \"example.com\"\nfile = \"example.com.zone\"\n[[zone.transfer]]\nprefix = \"127.0.0.0/8\"\n{grants}"
    );
    scratch.write("dnslb.toml", &text)
}

const BY_KEY: &str = "[[zone.update]]\nkey = \"update\"\ntypes = [\"ANY\"]\n";

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Sends one script; whether it succeeded, and what `nsupdate` said of it.
fn nsupdate(server: SocketAddr, key: Option<&Path>, script: &str) -> (bool, String) {
    let mut command = Command::new("nsupdate");
    command.args(["-t", "10"]);
    if let Some(key) = key {
        command.arg("-k").arg(key);
    }
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("nsupdate starts");
    let text = format!("server {} {}\nzone example.com\n{script}\nsend\n", server.ip(), server.port());
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// The zone by AXFR, sorted.
fn whole(server: SocketAddr) -> BTreeSet<String> {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let output = Command::new("dig").args([&at, "-p", &port, "+time=5", "example.com", "AXFR"]).output().expect("dig runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter(|line| !line.starts_with(';') && !line.is_empty());
    let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    // BIND keeps the case in which an owner was sent, we make it small: the names are the same (RFC 4343 section 3).
    let small = |line: String| line.split_once(' ').map(|(owner, rest)| format!("{} {rest}", owner.to_ascii_lowercase()));
    lines.filter_map(small).collect()
}

fn serves(server: SocketAddr) -> bool {
    dns::udp(server, &dns::query("example.com", RecordType::SOA)).is_ok_and(|reply| !reply.answers.is_empty())
}

fn bind(scratch: &Scratch) -> Option<(Daemon, SocketAddr)> {
    let named = installed("named")?;
    let (addr, path) = (free_port(), scratch.path().display());
    let zone = scratch.write("bind.zone", ZONE);
    let config = scratch.write(
        "named.conf",
        &format!(
            "{KEY}options {{ directory \"{path}\"; listen-on port {} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; \
             dnssec-validation no; pid-file none; session-keyfile \"{path}/session.key\"; lock-file none; empty-zones-enable no; notify no; \
             allow-transfer {{ any; }}; }};\ncontrols {{ }};\nzone \"example.com\" {{ type primary; file \"{}\"; allow-update {{ key update; }}; \
             check-names ignore; check-mx ignore; }};\n",
            addr.port(),
            zone.display()
        ),
    );
    let mut command = Command::new(named);
    command.args(["-g", "-n", "1", "-U", "1", "-c"]).arg(config);
    let mut daemon = Daemon::spawn(command, scratch.path().join("named.log"));
    wait::until("BIND", SOON, || {
        daemon.assert_alive();
        serves(addr).then_some(())
    });
    Some((daemon, addr))
}

#[test]
fn the_same_scripts_do_to_us_what_they_do_to_bind() {
    if installed("nsupdate").is_none() || installed("dig").is_none() {
        return;
    }
    let scratch = Scratch::new("updates-bind");
    let Some((_bind, theirs)) = bind(&scratch) else { return };
    let daemon = Daemon::serve("dnslb", &scratch, &configuration(&scratch, any_port(), BY_KEY), &[]);
    let (ours, key) = (daemon.port("dns"), scratch.path().join("update.key"));
    assert_eq!(whole(ours), whole(theirs), "the zone before");
    for script in SCRIPTS {
        let (we, they) = (nsupdate(ours, Some(&key), script), nsupdate(theirs, Some(&key), script));
        assert_eq!(we, they, "{script}");
        let difference =
            |one: &BTreeSet<String>, other: &BTreeSet<String>| one.difference(other).cloned().collect::<Vec<_>>().join("\n");
        let (we, they) = (whole(ours), whole(theirs));
        assert_eq!(difference(&we, &they), difference(&they, &we), "{script}: ours alone, theirs alone");
    }
    assert!(whole(ours).len() > 15);
    // Who may not: nobody without the key, or with another secret.
    let script = "update add never.example.com 5 A 192.0.2.9";
    assert_eq!(nsupdate(ours, None, script), nsupdate(theirs, None, script));
    let wrong = scratch.write("wrong.key", &KEY.replace("c2Vj", "AAAA"));
    assert!(!nsupdate(ours, Some(&wrong), script).0);
    assert!(!whole(ours).iter().any(|line| line.starts_with("never")));
    assert!(daemon.metric("dnslb_updates_total{rcode=\"NOERROR\"}").unwrap() >= 20.0);
    assert!(daemon.metric("dnslb_updates_total{rcode=\"NXRRSET\"}").unwrap() >= 2.0);
    assert_eq!(daemon.metric("dnslb_zone_writes_failed_total"), Some(0.0));
}

/// Clients update as fast as they can while the daemon is killed; whatever they were told is there after the restart.
#[test]
fn what_was_acknowledged_survives_sigkill() {
    if installed("nsupdate").is_none() || installed("dig").is_none() {
        return;
    }
    const CLIENTS: usize = 4;
    const KILLS: usize = 5;
    let scratch = Scratch::new("updates-kill");
    let listen = free_port();
    let config = configuration(&scratch, listen, BY_KEY);
    let key = scratch.path().join("update.key");
    let mut acknowledged: BTreeSet<String> = BTreeSet::new();
    for round in 0..KILLS {
        let mut daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
        let here = whole(listen);
        for name in &acknowledged {
            let line = format!("{name}.example.com. 5 IN A 192.0.2.9");
            assert!(here.contains(&line), "{name} was acknowledged and is gone after kill {round}:\n{}", daemon.log());
        }
        let stop = std::sync::atomic::AtomicBool::new(false);
        let told: Vec<Vec<String>> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (stop, key) = (&stop, &key);
                    scope.spawn(move || {
                        let mut told = Vec::new();
                        for number in 0.. {
                            if stop.load(std::sync::atomic::Ordering::Relaxed) {
                                break;
                            }
                            let name = format!("r{round}-c{client}-n{number}");
                            let script = format!("update add {name}.example.com 5 A 192.0.2.9");
                            // Over TCP a dead server is seen at once.
                            if nsupdate(listen, Some(key), &format!("{script}\nupdate add {name}-2.example.com 5 TXT x")).0 {
                                told.push(name);
                            } else {
                                break;
                            }
                        }
                        told
                    })
                })
                .collect();
            let wanted = 5.0 * (CLIENTS as f64) + round as f64;
            wait::until("a storm", SOON * 3, || {
                (daemon.metric("dnslb_updates_total{rcode=\"NOERROR\"}")? >= wanted).then_some(())
            });
            daemon.kill();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        acknowledged.extend(told.into_iter().flatten());
    }
    assert!(acknowledged.len() >= CLIENTS * 5 * KILLS / 2, "{}", acknowledged.len());
    let daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
    let here = whole(listen);
    assert!(acknowledged.iter().all(|name| here.contains(&format!("{name}.example.com. 5 IN A 192.0.2.9"))));
    // Each update is there whole or not at all.
    let owners = |rtype: &str| -> BTreeSet<String> {
        let lines = here.iter().filter(|line| line.starts_with('r') && line.contains(&format!(" IN {rtype} ")));
        lines.filter_map(|line| line.split('.').next()).map(|name| name.trim_end_matches("-2").to_owned()).collect()
    };
    assert_eq!(owners("A"), owners("TXT"));
    drop(daemon);
}

#[test]
fn a_damaged_journal_is_refused_and_a_torn_one_cut() {
    if installed("nsupdate").is_none() || installed("dig").is_none() {
        return;
    }
    let scratch = Scratch::new("updates-damage");
    let listen = free_port();
    let config = configuration(&scratch, listen, BY_KEY);
    let key = scratch.path().join("update.key");
    let mut daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
    for host in ["one", "two"] {
        assert!(nsupdate(listen, Some(&key), &format!("update add {host}.example.com 5 A 192.0.2.9")).0);
    }
    daemon.kill();
    let journal = scratch.path().join("state/zones/example.com+1.journal");
    let good = std::fs::read(&journal).unwrap();
    let mut torn = good.clone();
    torn.extend_from_slice(&good[good.len() / 2..good.len() - 9]);
    std::fs::write(&journal, &torn).unwrap();
    let mut daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
    assert!(daemon.log().contains("cut short"), "{}", daemon.log());
    assert!(nsupdate(listen, Some(&key), "update add three.example.com 5 A 192.0.2.9").0);
    let here = whole(listen);
    assert_eq!(
        ["one", "two", "three"].map(|host| here.contains(&format!("{host}.example.com. 5 IN A 192.0.2.9"))),
        [true; 3]
    );
    daemon.kill();

    let mut damaged = std::fs::read(&journal).unwrap();
    damaged[60] ^= 1;
    std::fs::write(&journal, &damaged).unwrap();
    let output = Command::new(bins().join("dnslb")).arg("serve").arg("--config").arg(&config).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(69) && said.contains("journal of example.com.") && said.contains("backup"),
        "{said}"
    );
}

#[test]
fn an_operator_edits_the_master_file_of_a_zone_that_is_updated() {
    if installed("nsupdate").is_none() || installed("dig").is_none() {
        return;
    }
    let scratch = Scratch::new("updates-file");
    let listen = free_port();
    let grants = format!(
        "{BY_KEY}[[pool]]\nname = \"pool\"\npublish = [\"pool.example.com\"]\n[[pool.member]]\nname = \"m\"\naddresses = [\"192.0.2.80\"]\n"
    );
    let config = configuration(&scratch, listen, &grants);
    let key = scratch.path().join("update.key");
    let daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
    let zone = |verb: &str| {
        let admin = daemon.port("admin").to_string();
        let mut command = Command::new(bins().join("dnslb"));
        command.args(["zone", verb, "example.com", "--admin", &admin, "--config"]).arg(&config);
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let add = |host: &str| nsupdate(listen, Some(&key), &format!("update add {host}.example.com 5 A 192.0.2.9"));
    assert!(add("one").0);
    assert_eq!(add("pool"), (false, "update failed: REFUSED".to_owned()), "a pool's name is not updated over");
    let (frozen, said) = zone("freeze");
    assert!(frozen && said.contains("frozen") && said.contains("serial 8"), "{said}");
    assert_eq!(add("two"), (false, "update failed: REFUSED".to_owned()));
    let file = scratch.path().join("example.com.zone");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("one.example.com. 5 IN A 192.0.2.9"), "{text}");
    std::fs::write(&file, format!("{text}edited.example.com. 5 IN A 192.0.2.9\n")).unwrap();
    assert!(zone("thaw").0);
    let here = whole(listen);
    let has = |here: &BTreeSet<String>, host: &str| here.contains(&format!("{host}.example.com. 5 IN A 192.0.2.9"));
    assert!(has(&here, "edited") && has(&here, "one"));
    assert!(add("two").0);
    // An edit without freezing: said, and not served until it is asked for.
    std::fs::write(&file, format!("{text}late.example.com. 5 IN A 192.0.2.9\n")).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    wait::until("the word about the file", SOON, || {
        let (_, said) = zone("show");
        said.contains("not served").then_some(())
    });
    assert!(has(&whole(listen), "two") && !has(&whole(listen), "late"));
    assert!(zone("reload").0);
    let here = whole(listen);
    assert!(has(&here, "late") && !has(&here, "two"), "the file took the place of what was updated");
    assert!(!zone("thaw").0, "it is not frozen");
}

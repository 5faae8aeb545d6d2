//! Transfers between us and others: BIND as our secondary, we as BIND's, keys right and wrong, restarts, and a primary that lies.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use farm_tests::daemon::{Daemon, SOON, Scratch};
use farm_tests::peer::{free_port, installed};
use farm_tests::{dns, wait};
use hickory_proto::rr::{RData, RecordType};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

const SECRET: &str = "c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzIG9yIHNv";
const KEY: &str = "key \"xfer\" { algorithm hmac-sha256; secret \"c2VjcmV0IG9mIHRoaXJ0eS10d28gb2N0ZXRzIG9yIHNv\"; };\n";

/// A zone of `hosts` hosts.
fn zone_text(serial: u32, hosts: u32) -> String {
    let mut text = format!(
        "$TTL 60\n@ SOA ns.example.com. host.example.com. {serial} 2 1 20 5\n@ NS ns\nns A 192.0.2.1\n@ MX 10 mail\n\
         mail AAAA 2001:db8::1\n*.wild TXT \"any\"\nsub NS ns.sub\nns.sub A 192.0.2.53\n"
    );
    for host in 0..hosts {
        let _ = writeln!(
            text,
            "h{host} A 10.{}.{}.{}\nh{host} TXT \"host number {host}\"",
            host >> 16,
            host >> 8 & 255,
            host & 255
        );
    }
    text
}

/// Our configuration, with `zones` behind it.
fn configuration(scratch: &Scratch, listen: SocketAddr, zones: &str) -> PathBuf {
    let path = scratch.path().display();
    scratch.write("xfer.key", KEY);
    let text = format!(
        "[server]\nlisten = [\"{listen}\"]\nworkers = 1\nstate_dir = \"{path}/state\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         token_file = \"{path}/admin.token\"\n[[key]]\nname = \"xfer\"\nsecret_file = \"xfer.key\"\n{zones}"
    );
    scratch.write("dnslb.toml", &text)
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// `dig` with these words after the server; its standard output.
fn dig(server: SocketAddr, words: &[&str]) -> String {
    let port = server.port().to_string();
    let head = [&format!("@{}", server.ip()), "-p", &port, "+time=5", "+tries=1"];
    let output = Command::new("dig").args(head).args(words).output().expect("dig runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The records that `dig` printed, sorted, in a common form.
fn records(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.starts_with(';') && !line.is_empty());
    let mut lines: Vec<String> = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    lines.sort();
    lines
}

fn serial_at(server: SocketAddr) -> Option<u32> {
    let reply = dns::udp(server, &dns::query("example.com", RecordType::SOA)).ok()?;
    reply.answers.iter().find_map(|record| if let RData::SOA(soa) = &record.data { Some(soa.serial) } else { None })
}

#[test]
fn dig_gets_what_it_may_have() {
    if installed("dig").is_none() {
        return;
    }
    let scratch = Scratch::new("transfers-dig");
    scratch.write("example.com.zone", &zone_text(7, 3_000));
    let zones = "[[zone]]\nname = \"example.com\"\nfile = \"example.com.zone\"\n[[zone.transfer]]\nkey = \"xfer\"\n\
                 [[zone.transfer]]\nprefix = \"127.0.0.9\"\n";
    let daemon = Daemon::serve("dnslb", &scratch, &configuration(&scratch, any_port(), zones), &[]);
    let ours = daemon.port("dns");
    let key = format!("hmac-sha256:xfer:{SECRET}");

    let whole = dig(ours, &["-y", &key, "example.com", "AXFR"]);
    assert!(whole.contains("XFR size: 6010 records (messages "), "{}", &whole[whole.len().saturating_sub(600)..]);
    assert!(!whole.contains("Couldn't verify") && !whole.contains("TSIG could not be"), "every message is signed");
    // What it says record by record is what the answers say.
    assert!(records(&whole).iter().any(|line| line == "h2999.example.com. 60 IN TXT \"host number 2999\""));
    assert!(records(&whole).iter().any(|line| line == "ns.sub.example.com. 60 IN A 192.0.2.53"), "glue goes along");

    for (what, words) in [
        ("no key", vec!["example.com", "AXFR"]),
        ("a wrong secret", vec!["-y", "hmac-sha256:xfer:AAAA", "example.com", "AXFR"]),
        ("an unknown key", vec!["-y", "hmac-sha256:other:AAAA", "example.com", "AXFR"]),
        ("another algorithm", vec!["-y", "hmac-sha512:xfer:AAAA", "example.com", "AXFR"]),
    ] {
        let text = dig(ours, &words);
        assert!(text.contains("Transfer failed") && records(&text).is_empty(), "{what}: {text}");
    }
    let metric = |reason: &str| daemon.metric(&format!("dnslb_requests_refused_total{{reason=\"{reason}\"}}"));
    assert_eq!((metric("denied"), metric("bad_sig"), metric("bad_key")), (Some(1.0), Some(1.0), Some(2.0)));
    let by_address = dig(ours, &["-b", "127.0.0.9", "example.com", "AXFR"]);
    assert_eq!(
        records(&by_address),
        records(&whole).into_iter().filter(|line| !line.contains(" TSIG ")).collect::<Vec<_>>()
    );

    // A version that is current, one that is not known, over TCP and UDP.
    let same = records(&dig(ours, &["-b", "127.0.0.9", "example.com", "IXFR=7"]));
    assert_eq!(same.len(), 1, "{same:?}");
    assert_eq!(records(&dig(ours, &["-b", "127.0.0.9", "+tcp", "example.com", "IXFR=6"])).len(), 6_010);
    assert_eq!(records(&dig(ours, &["-b", "127.0.0.9", "+notcp", "example.com", "IXFR=6"])).len(), 1, "it does not fit UDP");
    // A plain query that is signed is answered and signed, over both transports.
    for transport in ["+notcp", "+tcp"] {
        let text = dig(ours, &["-y", &key, transport, "h7.example.com", "A"]);
        assert!(text.contains("10.0.0.7") && text.contains("NOERROR") && !text.contains("WARNING"), "{text}");
    }
    assert!(dig(ours, &["example.net", "AXFR"]).contains("Transfer failed"));
}

/// BIND with a zone clause of its own and the key.
fn named(scratch: &Scratch, addr: SocketAddr, zones: &str) -> Option<(Daemon, PathBuf)> {
    let binary = installed("named")?;
    let folder = scratch.path().join(format!("named-{}", addr.port()));
    std::fs::create_dir_all(&folder).unwrap();
    let (path, ip, port) = (folder.display(), addr.ip(), addr.port());
    let text = format!(
        "{KEY}options {{ directory \"{path}\"; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }}; recursion no; \
         dnssec-validation no; pid-file \"{path}/pid\"; session-keyfile \"{path}/session\"; lock-file none; empty-zones-enable no; \
         min-refresh-time 1; min-retry-time 1; notify-delay 0; serial-query-rate 1000; startup-notify-rate 1000; notify-rate 1000; }};\n\
         controls {{ }};\n{zones}"
    );
    let config = folder.join("named.conf");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(binary);
    command.args(["-g", "-n", "1", "-U", "1", "-c"]).arg(&config);
    Some((Daemon::spawn(command, folder.join("log")), folder))
}

#[test]
fn bind_is_our_secondary() {
    let scratch = Scratch::new("transfers-bind-secondary");
    let (ours, theirs) = (free_port(), free_port());
    let file = scratch.write("example.com.zone", &zone_text(7, 2_000));
    let zones = format!(
        "[[zone]]\nname = \"example.com\"\nfile = \"example.com.zone\"\n[[zone.transfer]]\nkey = \"xfer\"\n\
         [[zone.notify]]\naddr = \"{theirs}\"\nkey = \"xfer\"\n"
    );
    let config = configuration(&scratch, ours, &zones);
    let clause = format!(
        "zone \"example.com\" {{ type secondary; file \"copy\"; masterfile-format text; \
         primaries {{ {} port {} key xfer; }}; allow-notify {{ key xfer; }}; notify no; }};\n",
        ours.ip(),
        ours.port()
    );
    let Some((mut bind, _)) = named(&scratch, theirs, &clause) else { return };
    let daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
    let expect = |serial: u32| {
        wait::until(&format!("serial {serial} at BIND\n{}", bind.log()), SOON, || {
            (serial_at(theirs) == Some(serial)).then_some(())
        });
    };
    expect(7);
    std::fs::write(&file, zone_text(8, 2_100)).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    // Its refresh is two seconds: the log must show that a notification was the reason.
    expect(8);
    wait::until("the notification in BIND's log", SOON, || {
        bind.log().contains("received notify for zone 'example.com': TSIG 'xfer'").then_some(())
    });
    let reply = dns::udp(theirs, &dns::query("h2099.example.com", RecordType::A)).unwrap();
    assert_eq!(dns::addresses(&reply).0, ["10.0.8.51".parse::<std::net::IpAddr>().unwrap()]);
    bind.end();
}

//! Transfers between us and others: BIND, Knot and NSD as our secondaries, we as theirs, keys right and wrong, restarts, and a primary
//! that lies.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod peers;

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
    let lines = text.lines().filter(|line| !line.starts_with(';') && !line.is_empty() && !line.contains("\tTSIG\t"));
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
    assert!(whole.contains("XFR size: 6009 records (messages "), "{}", &whole[whole.len().saturating_sub(600)..]);
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
        assert!(records(&text).is_empty() && text.contains("ailed") | text.contains("Couldn't verify"), "{what}: {text}");
    }
    let metric = |reason: &str| daemon.metric(&format!("dnslb_requests_refused_total{{reason=\"{reason}\"}}"));
    assert_eq!((metric("denied"), metric("bad_sig"), metric("bad_key")), (Some(1.0), Some(1.0), Some(2.0)));
    let by_address = dig(ours, &["-b", "127.0.0.9", "example.com", "AXFR"]);
    assert_eq!(records(&by_address), records(&whole));

    // A version that is current, one that is not known, over TCP and UDP.
    let same = records(&dig(ours, &["-b", "127.0.0.9", "example.com", "IXFR=7"]));
    assert_eq!(same.len(), 1, "{same:?}");
    assert_eq!(records(&dig(ours, &["-b", "127.0.0.9", "+tcp", "example.com", "IXFR=6"])).len(), 6_009);
    assert_eq!(records(&dig(ours, &["-b", "127.0.0.9", "+notcp", "example.com", "IXFR=6"])).len(), 1, "it does not fit UDP");
    // A plain query that is signed is answered and signed, over both transports.
    for transport in ["+notcp", "+tcp"] {
        let text = dig(ours, &["-y", &key, transport, "h7.example.com", "A"]);
        assert!(text.contains("10.0.0.7") && text.contains("NOERROR") && !text.contains("verify"), "{text}");
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
    // First, since BIND rests long after a refused connection.
    let daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
    let Some((mut bind, _)) = named(&scratch, theirs, &clause) else { return };
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

/// What BIND needs to be the primary of `file`, and to tell `ours` of changes.
fn bind_primary(file: &std::path::Path, ours: SocketAddr) -> String {
    format!(
        "zone \"example.com\" {{ type primary; file \"{}\"; allow-transfer {{ key xfer; }}; also-notify {{ {} port {} key xfer; }}; \
         notify explicit; ixfr-from-differences yes; }};\n",
        file.display(),
        ours.ip(),
        ours.port()
    )
}

fn secondary(primary: SocketAddr, more: &str) -> String {
    format!(
        "[[zone]]\nname = \"example.com\"\nkind = \"secondary\"\n{more}[[zone.primary]]\naddr = \"{primary}\"\nkey = \"xfer\"\n"
    )
}

fn address(server: SocketAddr, name: &str) -> Option<String> {
    let (addresses, _) = dns::lookup(server, name)?;
    addresses.first().map(ToString::to_string)
}

#[test]
fn we_are_the_secondary_of_bind() {
    let scratch = Scratch::new("transfers-secondary");
    let (ours, theirs) = (free_port(), free_port());
    let file = scratch.write("primary.zone", &zone_text(7, 1_500));
    let config = configuration(&scratch, ours, &secondary(theirs, ""));
    let Some((mut bind, folder)) = named(&scratch, theirs, &bind_primary(&file, ours)) else { return };
    wait::until("BIND", SOON, || (serial_at(theirs) == Some(7)).then_some(()));
    let mut daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
    let metric = |daemon: &Daemon, outcome: &str| {
        daemon.metric(&format!("dnslb_transfers_in_total{{outcome=\"{outcome}\"}}")).unwrap_or_default()
    };
    wait::until("the first transfer", SOON, || (serial_at(ours) == Some(7)).then_some(()));
    assert_eq!(address(ours, "h1499.example.com").as_deref(), Some("10.0.5.219"));
    assert_eq!(metric(&daemon, "whole"), 1.0);
    let all =
        |server: SocketAddr| records(&dig(server, &["-y", &format!("hmac-sha256:xfer:{SECRET}"), "example.com", "AXFR"]));
    assert!(all(ours).is_empty(), "nobody may have our copy");

    // A change comes as a change, and BIND's notification brings it.
    std::fs::write(&file, zone_text(8, 1_501)).unwrap();
    bind.signal(rustix::process::Signal::HUP);
    wait::until("serial 8", SOON, || (serial_at(ours) == Some(8)).then_some(()));
    assert_eq!(address(ours, "h1500.example.com").as_deref(), Some("10.0.5.220"));
    assert!(metric(&daemon, "changes") >= 1.0, "as a change, not whole");

    // The data survives a restart while the primary is away, and then grows too old: its SOA record says twenty seconds.
    bind.end();
    daemon.kill();
    let daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
    assert_eq!(serial_at(ours), Some(8), "served from the disk");
    wait::until("failures", SOON, || (metric(&daemon, "unreachable") >= 1.0).then_some(()));
    wait::until("the end of its time", SOON * 2, || {
        let reply = dns::udp(ours, &dns::query("h1.example.com", RecordType::A)).ok()?;
        (reply.metadata.response_code == hickory_proto::op::ResponseCode::ServFail).then_some(())
    });
    let mut command = Command::new(installed("named").expect("named"));
    command.args(["-g", "-n", "1", "-U", "1", "-c"]).arg(folder.join("named.conf"));
    let mut bind = Daemon::spawn(command, folder.join("log-2"));
    wait::until("service again", SOON * 2, || (serial_at(ours) == Some(8)).then_some(()));
    bind.end();
}

/// What a primary that lies does after the first question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// Records without end.
    Endless,
    /// Another SOA record at the end.
    OtherEnd,
    /// A record of another zone.
    Foreign,
    /// A signature that does not hold, late in the stream.
    BadSignature,
    /// A stream that ends in the middle.
    Cut,
    /// Nothing.
    Honest,
}

/// A primary that answers every transfer with a lie, until it is told another.
struct Liar {
    addr: SocketAddr,
    lie: std::sync::Arc<std::sync::Mutex<(Lie, u32)>>,
}

impl Liar {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let lie = std::sync::Arc::new(std::sync::Mutex::new((Lie::Honest, 1)));
        let told = std::sync::Arc::clone(&lie);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (lie, serial) = *told.lock().unwrap();
                // It ends with an error when the other side has had enough: that is what the test is about.
                let _ = lie_to(stream.unwrap(), lie, serial);
            }
        });
        Self { addr, lie }
    }

    fn tell(&self, lie: Lie, serial: u32) {
        *self.lie.lock().unwrap() = (lie, serial);
    }
}

fn lie_to(mut stream: std::net::TcpStream, lie: Lie, serial: u32) -> std::io::Result<()> {
    use dnslb_core::message::Reader;
    use dnslb_core::transfer::Packer;
    use dnslb_core::tsig::{Keys, keys_from_file, verify};
    use dnslb_core::zone::{Record, RecordRef, Rtype, Soa};
    use std::io::{Read as _, Write as _};
    stream.set_read_timeout(Some(SOON))?;
    stream.set_write_timeout(Some(SOON))?;
    let mut keys = Keys::default();
    keys.insert(keys_from_file(KEY).unwrap().remove(0));
    let now = || {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap();
        farm_shared::time::Wall(since.as_millis() as u64)
    };
    let name = |text: &str| dnslb_core::name::Name::from_text(text).unwrap();
    let record = |owner: &str, rtype, rdata: &[u8]| Record { owner: name(owner), rtype, ttl_s: 60, rdata: rdata.into() };
    let soa = |serial| {
        let (mname, rname) = (name("ns.example.com"), name("h.example.com"));
        let soa = Soa { mname, rname, serial, refresh_s: 1, retry_s: 1, expire_s: 600, minimum_s: 1 };
        record("example.com", Rtype::SOA, &soa.to_rdata())
    };
    loop {
        let mut len = [0; 2];
        stream.read_exact(&mut len)?;
        let mut request = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut request)?;
        let verified = verify(&request, &keys, now()).expect("our signature").expect("signed");
        let (request, mut signer) = (verified.message, verified.signer);
        let is_transfer = Reader::new(&request).question().unwrap().rtype != Rtype::SOA;
        let mut send = |message: Vec<u8>, spoil: bool| {
            let mut message = message;
            signer.sign(&mut message, now());
            if spoil {
                message[30] ^= 1;
            }
            stream.write_all(&[&(message.len() as u16).to_be_bytes()[..], &message].concat())
        };
        let ns = record("example.com", Rtype::NS, name("ns.example.com").wire());
        let mut records = vec![soa(serial)];
        if is_transfer {
            records.extend([ns, record("ns.example.com", Rtype::A, &[192, 0, 2, 1])]);
            records.extend((0..2_000_u32).map(|n| record(&format!("h{n}.example.com"), Rtype::A, &n.to_be_bytes())));
            records.extend((lie == Lie::Foreign).then(|| record("www.example.net", Rtype::A, &[192, 0, 2, 1])));
            records.push(soa(if lie == Lie::OtherEnd { serial + 1 } else { serial }));
        }
        if lie == Lie::Cut && is_transfer {
            records.truncate(1_500);
        }
        let mut packer = Packer::new(&request, 600).unwrap();
        let mut messages = 0;
        let middle = records.len() / 2;
        let mut order: Vec<usize> = (0..records.len()).collect();
        if lie == Lie::Endless && is_transfer {
            order = (0..middle).chain((1..middle).cycle().take(5_000_000)).collect();
        }
        for index in order {
            let r = &records[index];
            let record = RecordRef { owner: &r.owner, rtype: r.rtype, ttl_s: r.ttl_s, rdata: &r.rdata };
            if let Some(message) = packer.push(record).unwrap() {
                messages += 1;
                send(message, lie == Lie::BadSignature && messages == 50)?;
            }
        }
        send(packer.finish().unwrap(), false)?;
        if lie == Lie::Cut && is_transfer {
            return Ok(());
        }
    }
}

#[test]
fn a_primary_that_lies_changes_nothing() {
    let scratch = Scratch::new("transfers-liar");
    let liar = Liar::start();
    let config = configuration(&scratch, any_port(), &secondary(liar.addr, "records_max = 10000\n"));
    let daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
    let ours = daemon.port("dns");
    let metric =
        |outcome: &str| daemon.metric(&format!("dnslb_transfers_in_total{{outcome=\"{outcome}\"}}")).unwrap_or_default();
    wait::until("an honest transfer", SOON, || (serial_at(ours) == Some(1)).then_some(()));
    for (number, (lie, outcome)) in [
        (Lie::Endless, "too_much"),
        (Lie::OtherEnd, "malformed"),
        (Lie::Foreign, "malformed"),
        (Lie::BadSignature, "not_trusted"),
        (Lie::Cut, "unreachable"),
    ]
    .into_iter()
    .enumerate()
    {
        let before = metric(outcome);
        liar.tell(lie, 2 + number as u32);
        wait::until(&format!("the outcome of {lie:?}"), SOON, || (metric(outcome) > before).then_some(()));
        assert_eq!(serial_at(ours), Some(1), "{lie:?}");
        assert_eq!(address(ours, "h1999.example.com").as_deref(), Some("0.0.7.207"), "{lie:?}");
    }
    liar.tell(Lie::Honest, 99);
    wait::until("an honest transfer again", SOON, || (serial_at(ours) == Some(99)).then_some(()));
}

#[test]
fn a_catalog_brings_zones_and_takes_them_away() {
    let scratch = Scratch::new("transfers-catalog");
    let (ours, theirs) = (free_port(), free_port());
    let catalog_text = |serial: u32, members: &str| {
        format!("$TTL 0\n@ SOA invalid. invalid. {serial} 1 1 600 0\n@ NS invalid.\nversion TXT \"2\"\n{members}")
    };
    let catalog = scratch.write("catalog.zone", &catalog_text(1, "u1.zones PTR example.com.\n"));
    let file = scratch.write("primary.zone", &zone_text(7, 10));
    let zones = format!(
        "[[zone]]\nname = \"catalog.test\"\nkind = \"secondary\"\n[[zone.primary]]\naddr = \"{theirs}\"\nkey = \"xfer\"\n\
         [[catalog]]\nzone = \"catalog.test\"\n[[catalog.primary]]\naddr = \"{theirs}\"\nkey = \"xfer\"\n\
         [[catalog.transfer]]\nkey = \"xfer\"\n"
    );
    let config = configuration(&scratch, ours, &zones);
    let also = format!(
        "zone \"catalog.test\" {{ type primary; file \"{}\"; allow-transfer {{ key xfer; }}; notify explicit; \
         also-notify {{ {} port {} key xfer; }}; check-names ignore; }};\n",
        catalog.display(),
        ours.ip(),
        ours.port()
    );
    let clauses = bind_primary(&file, ours) + &also;
    let Some((mut bind, _)) = named(&scratch, theirs, &clauses) else { return };
    wait::until("BIND", SOON, || (serial_at(theirs) == Some(7)).then_some(()));
    let mut daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
    wait::until("the zone of the catalog", SOON, || (serial_at(ours) == Some(7)).then_some(()));
    let key = format!("hmac-sha256:xfer:{SECRET}");
    assert_eq!(records(&dig(ours, &["-y", &key, "example.com", "AXFR"])).len(), 29, "its rules hold for its zones");

    // It comes back from the disk, and goes when the catalog says so.
    daemon.kill();
    let daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
    wait::until("the zone after a restart", SOON, || (serial_at(ours) == Some(7)).then_some(()));
    let whole = || daemon.metric("dnslb_transfers_in_total{outcome=\"whole\"}").unwrap_or_default();
    assert_eq!(whole(), 0.0, "nothing was transferred for that");
    let say = |serial: u32, members: &str| {
        std::fs::write(&catalog, catalog_text(serial, members)).unwrap();
        bind.signal(rustix::process::Signal::HUP);
    };
    say(2, "u2.zones PTR example.com.\n");
    wait::until("the zone begins anew", SOON, || (whole() >= 1.0 && serial_at(ours) == Some(7)).then_some(()));
    say(3, "");
    wait::until("the zone is gone", SOON, || {
        let reply = dns::udp(ours, &dns::query("example.com", RecordType::SOA)).ok()?;
        (reply.metadata.response_code == hickory_proto::op::ResponseCode::Refused).then_some(())
    });
    let stored = || std::fs::read_dir(scratch.path().join("state/zones")).unwrap().flatten();
    wait::until("its files are gone", SOON, || {
        (!stored().any(|entry| entry.file_name().to_string_lossy().starts_with("example.com"))).then_some(())
    });
    bind.end();
}

#[test]
fn over_tls_and_from_updates() {
    let (Some(_), Some(nsupdate)) = (installed("openssl"), installed("nsupdate")) else { return };
    let scratch = Scratch::new("transfers-tls");
    let (first, second) = (Scratch::new("transfers-tls-primary"), Scratch::new("transfers-tls-secondary"));
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| scratch.path().join(name));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=ns",
        ])
        .args(["-addext", "subjectAltName=DNS:ns.test", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let (plain, encrypted, ours) = (free_port(), free_port(), free_port());
    first.write("example.com.zone", &zone_text(7, 300));
    let zones = format!(
        "[[zone]]\nname = \"example.com\"\nfile = \"example.com.zone\"\n[[zone.transfer]]\nkey = \"xfer\"\n\
         [[zone.update]]\nkey = \"xfer\"\n[[zone.notify]]\naddr = \"{ours}\"\nkey = \"xfer\"\n"
    );
    let config = configuration(&first, plain, &zones);
    let text = std::fs::read_to_string(&config).unwrap();
    let tls = format!(
        "[server]\nlisten_tls = [\"{encrypted}\"]\ntls_cert_file = \"{}\"\ntls_key_file = \"{}\"\n",
        cert.display(),
        key.display()
    );
    std::fs::write(&config, text.replacen("[server]\n", &tls, 1)).unwrap();
    let primary = Daemon::serve("dnslb", &first, &config, &[]);
    let tls = |name: &str| format!("tls_name = \"{name}\"\ntls_ca_file = \"{}\"\n", cert.display());
    let config = configuration(&second, ours, &(secondary(encrypted, "") + &tls("other.test")));
    let daemon = Daemon::serve("dnslb", &second, &config, &[]);
    let metric =
        |outcome: &str| daemon.metric(&format!("dnslb_transfers_in_total{{outcome=\"{outcome}\"}}")).unwrap_or_default();
    wait::until("a certificate of another name", SOON, || (metric("not_trusted") >= 1.0).then_some(()));
    let reply = dns::udp(ours, &dns::query("example.com", RecordType::SOA)).unwrap();
    assert_eq!(reply.metadata.response_code, hickory_proto::op::ResponseCode::ServFail, "there is no data yet");
    configuration(&second, ours, &(secondary(encrypted, "") + &tls("ns.test")));
    daemon.signal(rustix::process::Signal::HUP);
    wait::until("the zone over TLS", SOON, || (serial_at(ours) == Some(7)).then_some(()));

    // An update at the primary is there at once, as a change.
    let script = second.write(
        "update",
        &format!(
            "server {} {}\nzone example.com\nupdate add new.example.com 60 A 192.0.2.77\nsend\n",
            plain.ip(),
            plain.port()
        ),
    );
    let keys = second.path().join("xfer.key");
    let status = Command::new(nsupdate).arg("-k").arg(keys).arg(script).status().unwrap();
    assert!(status.success());
    wait::until("the update at the secondary", SOON, || {
        (address(ours, "new.example.com").as_deref() == Some("192.0.2.77")).then_some(())
    });
    assert!(metric("changes") >= 1.0, "as a change");
    let key = format!("hmac-sha256:xfer:{SECRET}");
    let changes = records(&dig(plain, &["-y", &key, "+tcp", "example.com", "IXFR=7"]));
    assert_eq!(changes.len(), 5, "{changes:?}");
    assert_eq!(primary.metric("dnslb_transfers_out_total{sent=\"whole\"}"), Some(1.0));
}

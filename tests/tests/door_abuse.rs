//! The front door under attack: what it may cost it, which counter says so, and what an honest client sees meanwhile.
//!
//! Figures are printed (`--nocapture`) and written to the file that `ABUSE_RECORD` names; what is asserted are counts, and that memory
//! stays within an order of magnitude. `ABUSE_IDLE` is the number of idle connections. Memory is the resident set (`VmRSS`), without
//! what the kernel holds for sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::daemon::{Daemon, SOON, Scratch};
use farm_tests::{http, peer, wait};
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

const KIB_MORE_MAX: u64 = 256 * 1024;
const HONEST_MIN: usize = 20;
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: mail.test\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// `:method: GET`, `:scheme: http`, `:path: /`, `:authority: mail.test` (RFC 7541 A).
const FIELDS: &[u8] = b"\x82\x86\x84\x01\x09mail.test";

/// Where attacks go.
struct Target {
    door: SocketAddr,
    tls: SocketAddr,
    admin: SocketAddr,
}

/// One attack, and the counters that must rise, together by so much at least.
struct Attack(&'static str, fn(&Target), &'static [&'static str], u32);

const SYNTAX: &str = "redirector_rejects_total{reason=\"syntax\"}";
const HEAD: &str = "redirector_rejects_total{reason=\"head_length\"}";
const HOST: &str = "redirector_rejects_total{reason=\"host\"}";
const LENGTH: &str = "redirector_rejects_total{reason=\"target_length\"}";
const WAITS: &str = "redirector_waits_total";
const LATE: &str = "redirector_connections_total{outcome=\"no_request\"}";
const BROKEN: &str = "redirector_connections_total{outcome=\"broken\"}";
const FLOOD: &str = "redirector_connections_total{outcome=\"flood\"}";
const UNPROXIED: &str = "redirector_connections_total{outcome=\"no_proxy_header\"}";
const HANDSHAKES: &str = "redirector_tls_handshakes_total{outcome=\"failed\"}";
const LIMITED: &str = "redirector_other_answers_total{kind=\"limited\"}";

const ATTACKS: [Attack; 16] = [
    Attack("smuggling shapes", smuggling, &[SYNTAX], 17),
    Attack("targets and authorities", targets, &[HOST], 3),
    Attack("Host fields", hosts, &[HOST], 11),
    Attack("oversize heads", oversize, &[HEAD], 30),
    Attack("oversize targets", oversize_targets, &[LENGTH], 50),
    Attack("forged cookies", cookies, &[WAITS], 150),
    Attack("slowloris, heads", slow_heads, &[LATE], 500),
    Attack("slowloris, bodies", slow_bodies, &[WAITS], 500),
    Attack("answers not read", unread, &[LATE, BROKEN], 4),
    Attack("pipelining", pipelining, &[WAITS], 40_000),
    Attack("HTTP/2: rapid reset, CONTINUATION, HPACK", streams, &[BROKEN, HEAD], 80),
    Attack("HTTP/2: PING, SETTINGS, PRIORITY, windows, empty DATA", frames, &[FLOOD], 4),
    Attack("TLS garbage and half handshakes", tls, &[HANDSHAKES], 505),
    Attack("PROXY garbage", proxy, &[UNPROXIED], 5),
    Attack("one source floods", one_source, &[LIMITED], 1_500),
    Attack("idle connections", idle, &[LATE], 1_000),
];

/// A connection from an address of its own.
fn connect(to: SocketAddr, from: Ipv4Addr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&socket, &SocketAddr::from((from, 0))).expect("an address of loopback");
    rustix::net::connect(&socket, &to).expect("the door");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

fn attacker(n: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x7f42_0001 + (n % 8) as u32)
}

/// All that comes until the door closes; resets count as closing.
fn rest(mut stream: TcpStream) -> String {
    let mut raw = Vec::new();
    let _ = stream.read_to_end(&mut raw);
    String::from_utf8_lossy(&raw).into_owned()
}

/// Sends it all, says that no more comes, and reads everything. The door may close before it has read all.
fn say(to: SocketAddr, octets: &[u8]) -> String {
    let mut stream = connect(to, attacker(0));
    let _ = stream.write_all(octets);
    let _ = stream.shutdown(Shutdown::Write);
    rest(stream)
}

/// The answers' status codes.
fn statuses(text: &str) -> Vec<u16> {
    text.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.get(..3)?.parse().ok()).collect()
}

fn smuggling(target: &Target) {
    let inner = "GET /honest HTTP/1.1\r\nhost: mail.test\r\n\r\n";
    for (fields, body, status) in [
        ("content-length: 5\r\ntransfer-encoding: chunked", "0\r\n\r\n", 503),
        ("content-length: 0\r\ncontent-length: 43", "", 400),
        ("content-length: 3\r\ncontent-length: 3", "abc", 503),
        ("content-length: 0, 43", "", 400),
        ("content-length: +0", "", 400),
        ("content-length: -1", "", 400),
        ("content-length: 99999999999999999999999", "", 400),
        ("content-length : 43", "", 400),
        ("transfer-encoding: xchunked", "", 400),
        ("transfer-encoding: chunked\r\ntransfer-encoding: identity", "0\r\n\r\n", 400),
        ("transfer-encoding: chunked, chunked", "0\r\n\r\n", 503),
        ("transfer-encoding:\r\n chunked", "0\r\n\r\n", 400),
        ("transfer-encoding: chunked", "0;a=\nb\r\n\r\n", 503),
        ("transfer-encoding: chunked", "zz\r\n\r\n", 503),
        ("transfer-encoding: chunked", "ffffffffffffffff1\r\n\r\n", 503),
        ("x: a\r\n b", "", 400),
        ("x\0: a", "", 400),
        ("x: a\0b", "", 400),
    ] {
        let text =
            say(target.door, format!("POST / HTTP/1.1\r\nhost: mail.test\r\n{fields}\r\n\r\n{body}{inner}").as_bytes());
        assert_eq!(statuses(&text), [status], "{fields:?} {body:?}: {text}");
    }
    for line in ["GET / HTTP/2.0", "GET  / HTTP/1.1", "GET\t/\tHTTP/1.1", "GET /", "GET / HTTP/1.1\rx: y"] {
        let text = say(target.door, format!("{line}\r\nhost: mail.test\r\n\r\n{inner}").as_bytes());
        assert_eq!(statuses(&text), [400], "{line:?}: {text}");
    }
}

fn targets(target: &Target) {
    for (path, status) in [
        (&b"/a%0d%0aset-cookie:%20x"[..], 503),
        (b"/a\rb", 400),
        (b"/a\nb", 400),
        (b"/\xff\xfe", 400),
        (b"/a\x7fb", 400),
        (b"//evil.test/", 503),
        (b"/\\evil.test", 503),
        (b"http://evil.test/", 421),
        (b"http://mail.test@evil.test/", 421),
        (b"http://mail.test:80@evil.test/", 421),
        (b"https://mail.test/", 503),
        (b"ftp://mail.test/", 400),
        (b"http:///x", 400),
        (b"mail.test:443", 400),
        (b"a:b@c:1", 400),
        (b"*", 400),
        (b"@evil.test", 400),
    ] {
        let text = say(target.door, &[b"GET ", path, b" HTTP/1.1\r\nhost: mail.test\r\nconnection: close\r\n\r\n"].concat());
        assert_eq!(statuses(&text), [status], "{}: {text}", path.escape_ascii());
        assert!(!text.contains("evil") && !text.to_ascii_lowercase().contains("set-cookie"), "{text}");
    }
}

fn hosts(target: &Target) {
    let long = format!("host: {}\r\n", "a".repeat(300));
    for (fields, status) in [
        ("", 400),
        ("host: mail.test\r\nhost: mail.test\r\n", 400),
        ("host: mail.test\r\nhost: evil.test\r\n", 400),
        ("host: mail.test:junk\r\n", 421),
        ("host: 127.0.0.1\r\n", 421),
        ("host: [::1]\r\n", 421),
        ("host: u:p@mail.test\r\n", 421),
        ("host: mail_test\r\n", 421),
        (&long, 421),
        ("host: mail.test..\r\n", 421),
        ("host: mail.test/evil\r\n", 421),
        ("host: mail.test,evil.test\r\n", 421),
        ("host: \r\n", 421),
        ("host: evil.test\r\nx-forwarded-host: mail.test\r\n", 421),
        ("host: mail.test.\r\n", 302),
        ("host: MAIL.TEST:8080\r\n", 302),
    ] {
        let text = say(target.door, format!("GET /honest HTTP/1.1\r\n{fields}connection: close\r\n\r\n").as_bytes());
        assert_eq!(statuses(&text), [status], "{fields:?}: {text}");
        assert!(!text.contains("evil"), "{text}");
    }
}

fn oversize(target: &Target) {
    for fields in
        ["x: y\r\n".repeat(101), format!("x: {}\r\n", "y".repeat(1 << 20)), format!("{}: y\r\n", "x".repeat(70_000))]
    {
        for _ in 0..10 {
            let text = say(target.door, format!("GET / HTTP/1.1\r\nhost: mail.test\r\n{fields}\r\n").as_bytes());
            assert_eq!(statuses(&text), [431], "{} octets: {text}", fields.len());
        }
    }
}

fn oversize_targets(target: &Target) {
    for _ in 0..50 {
        let text = say(target.door, format!("GET /{} HTTP/1.1\r\nhost: mail.test\r\n\r\n", "a".repeat(9_000)).as_bytes());
        assert_eq!(statuses(&text), [414], "{text}");
    }
}

fn cookies(target: &Target) {
    let forged = "farm=v1.b1.1900000000.AAAAAAAAAAAAAAAAAAAAAA; ";
    for cookie in [forged.repeat(170), format!("farm={}", "a".repeat(8_000)), "farm=v1....; farm=; =;;".to_owned()] {
        for _ in 0..50 {
            let text = say(
                target.door,
                format!("GET / HTTP/1.1\r\nhost: mail.test\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n").as_bytes(),
            );
            assert_eq!(statuses(&text), [503], "nobody is let in by it: {text}");
        }
    }
}

/// Connections that have said something, until the door closes them all.
fn hold(to: SocketAddr, count: usize, octets: &[u8]) {
    let all: Vec<TcpStream> = (0..count)
        .map(|n| {
            let mut stream = connect(to, attacker(n));
            let _ = stream.write_all(octets);
            stream
        })
        .collect();
    for mut stream in all {
        let mut chunk = [0; 4096];
        while matches!(stream.read(&mut chunk), Ok(1..)) {}
    }
}

fn slow_heads(target: &Target) {
    hold(target.door, 500, b"GET / HTTP/1.1\r\nhost: mail.test\r\nx: ");
}

fn slow_bodies(target: &Target) {
    hold(target.door, 500, b"POST / HTTP/1.1\r\nhost: mail.test\r\ncontent-length: 1000000\r\n\r\nbegin");
}

/// Connections that the door ended by itself.
fn given_up(target: &Target) -> f64 {
    let text = http::get(target.admin, "/metrics").expect("metrics").text();
    let value = |sample: &str| text.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse::<f64>().ok());
    value(LATE).expect("late ones") + value(BROKEN).expect("broken ones")
}

/// As many requests as the door takes, and no look at the answers until it has given up.
fn unread(target: &Target) {
    let before = given_up(target);
    let all: Vec<TcpStream> = (0..4)
        .map(|n| {
            let mut stream = connect(target.door, attacker(n));
            stream.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
            let many = GET.repeat(1_000);
            // It stops taking them when nobody reads.
            for _ in 0..200 {
                if stream.write_all(&many).is_err() {
                    break;
                }
            }
            stream
        })
        .collect();
    // They are held open here, so it is the door that lets go of them.
    wait::until("the door gives up", SOON, || (given_up(target) >= before + 4.0).then_some(()));
    drop(all);
}

fn pipelining(target: &Target) {
    std::thread::scope(|scope| {
        for n in 0..8 {
            scope.spawn(move || {
                let stream = connect(target.door, attacker(n));
                let mut writer = stream.try_clone().unwrap();
                let many = GET.repeat(1_000);
                scope.spawn(move || {
                    for _ in 0..5 {
                        writer.write_all(&many).unwrap();
                    }
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                assert_eq!(statuses(&rest(stream)).len(), 5_000, "each of them is answered");
            });
        }
    });
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Sends the first octets once, and the others over and over until the door closes.
fn flood(target: &Target, first: &[u8], octets: &[u8]) {
    let stream = connect(target.door, attacker(0));
    let mut writer = stream.try_clone().unwrap();
    let begin = [PREFACE, first].concat();
    let many = octets.repeat(64);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = writer.write_all(&begin);
            assert!(!(0..20_000).all(|_| writer.write_all(&many).is_ok()), "it is never too much");
        });
        rest(stream);
    });
}

fn streams(target: &Target) {
    for _ in 0..20 {
        let reset = |n: u32| [frame(1, 5, 2 * n + 1, FIELDS), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])].concat();
        say(target.door, &[PREFACE.to_vec(), (0..1_000).flat_map(reset).collect()].concat());
        flood(target, &frame(1, 1, 1, FIELDS), &frame(9, 0, 1, &[]));
        flood(target, &frame(1, 1, 1, FIELDS), &frame(9, 0, 1, &[&b"\0\x01x\x7f\x81\x0f"[..], &[b'y'; 2_048]].concat()));
        // One field of 4,000 octets, kept in the table, and named 4,000 times: 16 MB when it is unpacked.
        let bomb = [FIELDS, b"\x40\x01x\x7f\xa1\x1e", &[b'y'; 4_000], &[0xbe; 4_000]].concat();
        say(target.door, &[PREFACE.to_vec(), frame(1, 5, 1, &bomb)].concat());
    }
}

fn frames(target: &Target) {
    for octets in
        [frame(6, 0, 0, &[7; 8]), frame(4, 0, 0, &[]), frame(8, 0, 0, &[0, 0, 0, 1]), frame(2, 0, 1, &[0, 0, 0, 0, 1])]
    {
        flood(target, &[], &octets);
    }
    flood(target, &frame(1, 4, 1, &[b"\x83", FIELDS.get(1..).unwrap()].concat()), &frame(0, 0, 1, &[]));
}

fn tls(target: &Target) {
    for garbage in
        [GET, &[0xff; 10_000], b"\x16\x03\x01\xff\xff", b"\x16\x03\x01\0\x05\x01\0\0\x01\0", b"\x15\x03\x03\0\x02\x02\x28"]
    {
        say(target.tls, garbage);
    }
    // The first octets of a ClientHello, and no more of it.
    hold(target.tls, 500, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03");
}

fn proxy(target: &Target) {
    let v2 = b"\r\n\r\n\0\r\nQUIT\n";
    for garbage in [
        GET.to_vec(),
        b"PROXY TCP4 999.0.2.1 127.0.0.1 1 80\r\n".to_vec(),
        [b"PROXY ".to_vec(), vec![b'A'; 10_000]].concat(),
        [&v2[..], &[0x21, 0x11, 0xff, 0xff]].concat(),
        [&v2[..], &[0x99, 0x11, 0, 12], &[0; 12]].concat(),
    ] {
        let mut stream = connect(target.door, Ipv4Addr::new(127, 77, 0, 1));
        let _ = stream.write_all(&garbage);
        assert_eq!(rest(stream), "", "{}", garbage.escape_ascii());
    }
}

fn one_source(target: &Target) {
    let mut stream = connect(target.door, Ipv4Addr::new(127, 88, 0, 1));
    stream.write_all(&GET.repeat(2_000)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let statuses = statuses(&rest(stream));
    let limited = statuses.iter().filter(|status| **status == 429).count();
    assert!(statuses.len() == 2_000 && limited > 1_500, "{limited} of {}", statuses.len());
}

fn idle_count() -> usize {
    std::env::var("ABUSE_IDLE").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

fn idle(target: &Target) {
    hold(target.door, idle_count(), b"");
}

/// The resident set, in KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the door's status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// What an honest client saw.
struct Seen {
    latencies: Vec<Duration>,
    resident_kib_max: u64,
}

/// Asks on new connections until it is told to stop, and often enough in any case.
fn honest(door: SocketAddr, pid: u32, stop: &AtomicBool) -> Seen {
    let mut seen = Seen { latencies: Vec::new(), resident_kib_max: 0 };
    while !stop.load(Relaxed) || seen.latencies.len() < HONEST_MIN {
        let begun = Instant::now();
        let answer =
            http::request(door, "GET", "/honest", &[("host", "mail.test")], b"").expect("every honest client is answered");
        seen.latencies.push(begun.elapsed());
        assert_eq!(answer.header("location"), Some("https://site.test/honest"), "{answer:?}");
        seen.resident_kib_max = seen.resident_kib_max.max(resident_kib(pid));
    }
    seen.latencies.sort();
    seen
}

fn raise_open_files(wanted: u64) {
    let has = getrlimit(Resource::Nofile);
    let most = has.maximum.map_or(wanted, |most| most.max(wanted));
    // Only who may do that can; the number of idle connections is lower otherwise.
    if setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) }).is_err() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: has.maximum, maximum: has.maximum });
    }
}

fn start(scratch: &Scratch) -> Daemon {
    let key = scratch.write("farm.key", farm_tests::farm::KEY);
    std::fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a secret");
    let path = scratch.path().display();
    let config = format!(
        "hosts = [\"mail.test\"]\nfarm = {{ name = \"mail\", key_file = \"{path}/farm.key\" }}\n\
         heartbeat = {{ listen_udp = [\"127.0.0.1:0\"] }}\nadmin = {{ listen = \"127.0.0.1:0\" }}\n\
         [server]\nid = \"door1\"\nlisten = [\"127.0.0.1:0\"]\nlisten_tls = [\"127.0.0.1:0\"]\nworkers = 2\nstate_dir = \"{path}/state\"\n\
         proxy_protocol_from = [\"127.77.0.0/16\"]\n[tls]\ncert_file = \"{path}/front.pem\"\nkey_file = \"{path}/front.key\"\nredirect_http = false\n\
         [door]\nconnections_max = 200000\nheader_timeout = \"2s\"\nidle_timeout = \"4s\"\n\
         [limit]\nrequests_per_s = 1.0\nburst = 100\nexempt = [\"127.0.0.0/24\", \"127.66.0.0/16\"]\n\
         [[route]]\npath = \"/honest\"\nto = \"site\"\nlocation = \"https://site.test\"\n"
    );
    Daemon::serve("redirector", scratch, &scratch.write("door.toml", &config), &[])
}

#[test]
fn the_door_stands_what_is_done_to_it() {
    let scratch = Scratch::new("abuse");
    let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout front.key -out front.pem -days 2 -subj /CN=mail.test -addext subjectAltName=DNS:mail.test";
    let made = Command::new("openssl").args(words.split(' ')).current_dir(scratch.path()).output();
    if !made.is_ok_and(|made| made.status.success()) {
        return peer::skipped("openssl");
    }
    raise_open_files(idle_count() as u64 * 2 + 10_000);
    let mut door = start(&scratch);
    let target = Target { door: door.port("door"), tls: door.port("door_tls"), admin: door.port("admin") };
    let pid = door.pid();
    let head = "| attack | counted | memory before | most | after | honest requests | p50 | p99 | worst |\n|---|---|---|---|---|---|---|---|---|\n";
    let mut table = head.to_owned();
    for Attack(name, run, counters, least) in ATTACKS {
        let sum = |door: &Daemon| counters.iter().filter_map(|sample| door.metric(sample)).sum::<f64>();
        let (before, counted) = (resident_kib(pid), sum(&door));
        let stop = AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            let client = scope.spawn(|| honest(target.door, pid, &stop));
            let attack = scope.spawn(|| run(&target));
            let outcome = attack.join();
            stop.store(true, Relaxed);
            let seen = client.join().expect("the honest client");
            assert!(outcome.is_ok(), "{name}");
            seen
        });
        let moved = wait::until(name, SOON, || Some(sum(&door) - counted).filter(|moved| *moved >= f64::from(least)));
        wait::until("the connections are gone", SOON, || door.metric("redirector_connections").filter(|open| *open < 5.0));
        door.assert_alive();
        let after = resident_kib(pid);
        assert!(
            seen.resident_kib_max < before + KIB_MORE_MAX + 20 * idle_count() as u64,
            "{name}: {before} to {} KiB",
            seen.resident_kib_max
        );
        let at = |share: usize| seen.latencies[(seen.latencies.len() - 1) * share / 100].as_secs_f64() * 1e3;
        let line = format!(
            "| {name} | {moved} | {:.1} MiB | {:.1} MiB | {:.1} MiB | {} | {:.1} ms | {:.1} ms | {:.1} ms |\n",
            before as f64 / 1024.0,
            seen.resident_kib_max as f64 / 1024.0,
            after as f64 / 1024.0,
            seen.latencies.len(),
            at(50),
            at(99),
            at(100),
        );
        print!("{line}");
        let _ = table.write_str(&line);
    }
    if let Some(path) = std::env::var_os("ABUSE_RECORD") {
        std::fs::write(path, table).expect("the record");
    }
}

//! Heartbeats, checks, reloads, operators and restarts, seen from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use farm_shared::heartbeat::{Envelope, FarmKey, Heartbeat, Load, MemberKey, Reply, Role, State, UDP_BYTES_MAX, VERSION};
use farm_shared::id::Id;
use rustix::process::Signal;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

const FARM: &str = r#"
[[farm]]
name = "mail"
key_file = "farm.key"
allowed_prefixes = ["192.0.2.0/24"]
member_zone = "farm.lb.example.com"
[[pool]]
name = "www"
publish = ["www.lb.example.com"]
k = 1
ttl_max = "2s"
slow_start = "0s"
farm = "mail"
"#;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A member of the farm "mail".
struct Member {
    key: MemberKey,
    heartbeat: Heartbeat,
    socket: UdpSocket,
}

impl Member {
    fn new(daemon: &Daemon, id: &str, address: &str) -> Self {
        let (farm, id) = (Id::new("mail").unwrap(), Id::new(id).unwrap());
        let key = FarmKey::from_hex(KEY).unwrap().member(&farm, &id);
        let heartbeat = Heartbeat {
            v: VERSION,
            farm,
            id,
            role: Role::Backend,
            inc: now_ms(),
            seq: 0,
            time_ms: 0,
            period_ms: 60_000,
            addrs: vec![ip(address)],
            port: 80,
            zone: None,
            state: State::Up,
            drain_by: Vec::new(),
            load: Load::default(),
            heard: Vec::new(),
            notice: None,
            tombstones: Vec::new(),
            killed: None,
        };
        Self { key, heartbeat, socket: udp_client(daemon.addr("heartbeat_udp")) }
    }

    /// One heartbeat and its reply.
    fn beat(&mut self) -> Reply {
        self.heartbeat.seq += 1;
        self.heartbeat.time_ms = now_ms();
        let body = serde_json::to_vec(&self.heartbeat).unwrap();
        let mac = self.key.sign(&body);
        self.socket.send(&Envelope::datagram(&self.heartbeat.farm, &self.heartbeat.id, &mac, &body)).unwrap();
        let mut buffer = [0; UDP_BYTES_MAX];
        let len = self.socket.recv(&mut buffer).unwrap();
        let envelope = Envelope::from_datagram(&buffer[..len]).unwrap();
        self.key.open_reply(&envelope.mac, envelope.body).unwrap()
    }
}

#[allow(clippy::disallowed_methods, reason = "a sender's clock")]
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

#[test]
fn members_join_drain_and_survive_a_restart() {
    let config = format!("{}{FARM}", SERVER.replace("id = \"ns1\"", "id = \"ns1\"\nstate_dir = \"state\""));
    let daemon = Daemon::start(&config);
    assert_eq!(daemon.lookup("www.lb.example.com."), [] as [IpAddr; 0]);
    let mut one = Member::new(&daemon, "b1", "192.0.2.11");
    let reply = one.beat();
    assert_eq!((reply.from.as_str(), reply.lease_ms, reply.drain), ("ns1", 180_000, false));
    until("b1's own name and its place in the pool", || {
        (daemon.lookup("b1.farm.lb.example.com.") == [ip("192.0.2.11")]
            && daemon.lookup("www.lb.example.com.") == [ip("192.0.2.11")])
        .then_some(())
    });
    assert_eq!(one.beat().serves, Some(true));
    let mut two = Member::new(&daemon, "b2", "192.0.2.12");
    two.beat();
    until("b2 in an answer", || (daemon.lookup("www.lb.example.com.") == [ip("192.0.2.12")]).then_some(()));

    let output = daemon.command(&["admin", "drain", "mail/b1", "--why", "new disk"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    until("only b2 in answers", || {
        let all: Vec<_> = (0..40).flat_map(|_| daemon.lookup("www.lb.example.com.")).collect();
        all.iter().all(|address| *address == ip("192.0.2.12")).then_some(())
    });
    assert!(one.beat().drain);
    assert_eq!(daemon.lookup("b1.farm.lb.example.com."), [ip("192.0.2.11")], "its own name stays");
    let status = text(&daemon.command(&["status"]).stdout);
    assert!(status.contains("new disk") && status.contains("draining"), "{status}");

    let (ended, scratch) = daemon.stop();
    assert!(ended.success());
    let daemon = Daemon::start_in(scratch, &config);
    assert_eq!(daemon.lookup("www.lb.example.com."), [ip("192.0.2.12")], "b2 is unknown and served, b1 still drained");
    assert_eq!(daemon.metric("dnslb_pool_members{pool=\"www\",standing=\"unknown\"}"), 1.0);
    let asked = text(&run(&["ask", "www.lb.example.com", "A", "--config", "dnslb.toml"], &daemon.scratch.path("")).stdout);
    assert!(asked.contains("192.0.2.12") && asked.contains("b1 is not named: draining"), "{asked}");
    // Its sequence goes on where it was: what was captured before cannot be played again.
    one.socket = udp_client(daemon.addr("heartbeat_udp"));
    assert!(one.beat().drain);
    assert!(daemon.command(&["admin", "clear", "mail/b1"]).status.success());
    until("b1 in an answer", || (daemon.lookup("www.lb.example.com.") == [ip("192.0.2.11")]).then_some(()));
}

/// What an operator was told to be so is so after a crash in the next moment.
#[test]
fn an_operators_word_survives_a_kill() {
    let config = format!("{}{FARM}", SERVER.replace("id = \"ns1\"", "id = \"ns1\"\nstate_dir = \"state\""));
    let mut daemon = Daemon::start(&config);
    for (id, address) in [("b1", "192.0.2.11"), ("b2", "192.0.2.12")] {
        Member::new(&daemon, id, address).beat();
    }
    for (word, standing) in [("drain", "draining"), ("down", "admin_down"), ("clear", "unknown"), ("down", "admin_down")] {
        let output = daemon.command(&["admin", word, "mail/b1"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        daemon = Daemon::start_in(daemon.kill(), &config);
        let status = text(&daemon.command(&["status"]).stdout);
        assert!(status.lines().any(|line| line.contains(" b1 ") && line.contains(standing)), "{word}: {status}");
    }
}

#[test]
fn forged_heartbeats_change_nothing() {
    let daemon = Daemon::start(&format!("{SERVER}{FARM}"));
    let mut member = Member::new(&daemon, "b1", "192.0.2.11");
    member.beat();
    let body = serde_json::to_vec(&member.heartbeat).unwrap();
    let mac = member.key.sign(&body);
    let good = Envelope::datagram(&member.heartbeat.farm, &member.heartbeat.id, &mac, &body);
    let mut forged = good.clone();
    *forged.last_mut().unwrap() = b' ';
    for datagram in [&good, &forged, &b"FARM1".to_vec(), &vec![0; UDP_BYTES_MAX + 1]] {
        member.socket.send(datagram).unwrap();
    }
    let refused = |reason: &str| daemon.metric(&format!("farm_heartbeats_refused_total{{reason=\"{reason}\"}}"));
    for (reason, count) in [("replayed", 1.0), ("bad_mac", 1.0), ("malformed", 1.0), ("oversized", 1.0)] {
        until(reason, || (refused(reason) == count).then_some(()));
    }
    member.beat();
}

/// A backend whose health page is good while `well` is set.
fn backend(well: &Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let well = Arc::clone(well);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 1024]);
            let status = if well.load(Ordering::Relaxed) { "200 OK" } else { "503 Busy" };
            let _ = stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes());
        }
    });
    port
}

#[test]
fn checks_move_answers() {
    let well = Arc::new(AtomicBool::new(false));
    let port = backend(&well);
    let config = format!(
        r#"{SERVER}
[[pool]]
name = "www"
publish = ["www.lb.example.com"]
k = 1
fail_open = 0
slow_start = "0s"
[pool.check]
kind = "http"
port = {port}
path = "/health"
interval = "100ms"
timeout = "100ms"
rise = 1
fall = 1
[[pool.member]]
name = "one"
addresses = ["127.0.0.1"]
[[pool.member]]
name = "two"
addresses = ["127.0.0.2"]
"#
    );
    let daemon = Daemon::start(&config);
    // Nothing listens on 127.0.0.2, and the page of 127.0.0.1 says 503: nobody is left.
    until("an empty answer", || daemon.lookup("www.lb.example.com.").is_empty().then_some(()));
    let (_, status) = daemon.admin("GET", "/v1/status");
    assert!(status.contains("status 503") && status.contains("connect: "), "{status}");
    well.store(true, Ordering::Relaxed);
    until("one in answers", || (daemon.lookup("www.lb.example.com.") == [ip("127.0.0.1")]).then_some(()));
    assert_eq!(daemon.metric("dnslb_backend_up{pool=\"www\",member=\"one\"}"), 1.0);
    assert_eq!(daemon.metric("dnslb_backend_up{pool=\"www\",member=\"two\"}"), 0.0);
    assert!(daemon.metric("dnslb_checks_total{outcome=\"failed\"}") >= 2.0);
    well.store(false, Ordering::Relaxed);
    until("an empty answer again", || daemon.lookup("www.lb.example.com.").is_empty().then_some(()));
}

#[test]
fn a_reload_is_all_or_nothing() {
    let daemon = Daemon::start(SERVER);
    let zone = |last: &str| daemon.scratch.write("lb.zone", &format!("{ZONE}{last}\n"));
    zone("new A 192.0.2.2");
    daemon.signal(Signal::HUP);
    until("the new record", || (daemon.lookup("new.lb.example.com.") == [ip("192.0.2.2")]).then_some(()));
    assert_eq!(daemon.metric("dnslb_reloads_total{outcome=\"ok\"}"), 1.0);

    zone("newer A 192.0.2.3\nbad A 192.0.2.300\nworse MX x");
    daemon.scratch.write("dnslb.toml", &SERVER.replace("workers = 2", "workers = 2\nwrokers = 3"));
    let output = daemon.command(&["reload"]);
    assert_eq!(output.status.code(), Some(1));
    let problems = text(&output.stderr);
    assert!(["wrokers", "192.0.2.300", "lb.zone:10"].iter().all(|part| problems.contains(part)), "{problems}");
    assert_eq!(daemon.lookup("newer.lb.example.com."), [] as [IpAddr; 0], "nothing of it is in force");
    assert_eq!(daemon.lookup("new.lb.example.com."), [ip("192.0.2.2")]);
    assert_eq!(daemon.metric("dnslb_reloads_total{outcome=\"failed\"}"), 1.0);

    zone("newer A 192.0.2.3");
    daemon.scratch.write("dnslb.toml", &SERVER.replace("workers = 2", "workers = 1"));
    let output = daemon.command(&["reload"]);
    assert!(text(&output.stderr).contains("server.workers"), "{}", text(&output.stderr));
    daemon.scratch.write("dnslb.toml", SERVER);
    let output = daemon.command(&["reload"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(daemon.lookup("newer.lb.example.com."), [ip("192.0.2.3")]);
}

#[test]
fn a_port_in_use_names_its_owner() {
    let daemon = Daemon::start(SERVER);
    let dns = daemon.addr("dns");
    let second = Scratch::new();
    second.write("dnslb.toml", &SERVER.replace("listen = [\"127.0.0.1:0\"]", &format!("listen = [\"{dns}\"]")));
    let output = run(&["serve", "--config", "dnslb.toml"], &second.path(""));
    assert_eq!(output.status.code(), Some(69));
    let expect = format!("{dns} (tcp) is in use by dnslb (pid {})", daemon.pid());
    assert!(text(&output.stderr).contains(&expect), "{}", text(&output.stderr));
}

#[test]
fn the_admin_interface_asks_for_its_token() {
    let daemon = Daemon::start(SERVER);
    let addr = daemon.addr("admin");
    let send = |head: &str| {
        let mut stream = tcp_client(addr);
        stream.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        text(&answer).split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let get = |path: &str, more: &str| send(&format!("GET {path} HTTP/1.1\r\nhost: {addr}{more}"));
    assert_eq!(get("/readyz", ""), "200");
    assert_eq!(get("/metrics", ""), "200");
    assert_eq!(get("/v1/status", ""), "401");
    assert_eq!(get("/v1/status", &format!("\r\nauthorization: Bearer {TOKEN}")), "200");
    assert_eq!(get("/v1/status", &format!("\r\norigin: http://evil.example\r\nauthorization: Bearer {TOKEN}")), "403");
    assert_eq!(daemon.admin("POST", "/v1/admin/drain/www/b1").0, 404);
    assert_eq!(daemon.admin("POST", "/v1/admin/explode/www/b1").0, 404);
}

//! The real program against front ends made of plain sockets, every one on port 0 of loopback. Deadlines are only there to end
//! a test that hangs.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at the first thing that is wrong")]

use farm_shared::heartbeat::{Envelope, FarmKey, Heartbeat, Keyring, Kind, Reply, State};
use farm_shared::id::Id;
use farm_shared::time::Wall;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);
const FARM_KEY: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn farm_key() -> FarmKey {
    FarmKey::from_hex(FARM_KEY).unwrap()
}

/// A folder of its own for every test, with the member's key.
fn folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("farm-agent-test-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("b1.key"), farm_key().member(&id("mail"), &id("b1")).to_hex()).unwrap();
    folder
}

/// Checks a message as any front end does. Its time is taken as it says, for tests have no clock.
fn open(envelope: &Envelope<'_>, source: SocketAddr) -> Heartbeat {
    let mut keys = Keyring::default();
    keys.insert(id("mail"), farm_key(), Vec::new());
    let said: serde_json::Value = serde_json::from_slice(envelope.body).unwrap();
    keys.open(envelope, source.ip(), Wall(said["time_ms"].as_u64().unwrap())).unwrap()
}

/// A front end that hears datagrams.
struct Front {
    socket: UdpSocket,
    name: &'static str,
}

impl Front {
    fn new(name: &'static str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, name }
    }

    fn spec(&self) -> String {
        format!("udp:{}", self.socket.local_addr().unwrap())
    }

    fn hear(&self) -> (Heartbeat, SocketAddr) {
        let mut buffer = [0; 9_000];
        let (len, source) = self.socket.recv_from(&mut buffer).expect("a heartbeat");
        (open(&Envelope::from_datagram(&buffer[..len]).unwrap(), source), source)
    }

    fn answer(&self, heartbeat: &Heartbeat, to: SocketAddr, drain: bool) {
        let mut reply = Reply::new(&id(self.name), Kind::Redirector, heartbeat, Wall(heartbeat.time_ms));
        reply.drain = drain;
        self.socket.send_to(&reply.datagram(&farm_key().member(&id("mail"), &id("b1"))), to).unwrap();
    }

    /// Answers everything with `drain` until `done`.
    fn until(&self, drain: bool, done: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        for _ in 0..200 {
            let (heartbeat, source) = self.hear();
            if done(&heartbeat) {
                return heartbeat;
            }
            self.answer(&heartbeat, source, drain);
        }
        panic!("{} has waited for 200 heartbeats", self.name);
    }
}

/// The program, stopped at the end of its test.
struct Agent(Option<Child>);

impl Agent {
    fn start(folder: &std::path::Path, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farm-agent"));
        command.args(["run", "--farm", "mail", "--id", "b1", "--port", "8080", "--period", "100ms"]);
        if !args.contains(&"--load-stale") {
            // A machine that is busy with other tests makes the application slow, not dead.
            command.args(["--load-stale", "15s"]);
        }
        command.arg("--key-file").arg(folder.join("b1.key"));
        command.args(args).stderr(Stdio::piped()).stdout(Stdio::null());
        Self(Some(command.spawn().unwrap()))
    }

    fn stop(mut self) -> Output {
        let child = self.0.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        child.wait_with_output().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Reads one HTTP request: its head, and its body by `content-length`.
fn read_request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let (mut text, mut chunk) = (Vec::new(), [0; 4_096]);
    loop {
        if let Some(at) = text.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&text[..at]).to_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if text.len() >= at + 4 + length {
                return (head, text[at + 4..at + 4 + length].to_vec());
            }
        }
        match stream.read(&mut chunk).unwrap_or(0) {
            0 => return (String::new(), Vec::new()),
            len => text.extend_from_slice(&chunk[..len]),
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}

/// An application that reports its load as long as `alive`.
fn application(alive: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = format!("url:http://{}/farm/load", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            read_request(&mut stream);
            let body = r#"{"queue":2.5,"cores":1,"busy":0.5,"sessions":7,"arrivals":20,"completions":13,"youngest_ms":12,"limit":null}"#;
            let status = if alive.load(Ordering::Relaxed) { "200 OK" } else { "503 Away" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        }
    });
    spec
}

#[test]
fn drain_level_restart_and_goodbye() {
    let folder = folder();
    let load = application(Arc::new(AtomicBool::new(true)));
    let (door, ns) = (Front::new("door1"), Front::new("ns1"));
    let state = folder.join("state.json");
    let (door_spec, ns_spec) = (door.spec(), ns.spec());
    let args = ["--front", &door_spec, "--front", &ns_spec, "--load", &load, "--state-file", state.to_str().unwrap()];
    let agent = Agent::start(&folder, &args);
    let (first, _) = door.hear();
    assert!(first.seq <= 2, "the very first one must not get lost in the program: {}", first.seq);
    assert_eq!((first.load.queue, first.load.sessions, first.load.completions, first.port), (2.5, 7, 13, 8080));
    assert_eq!(first.addrs, ["127.0.0.1".parse::<std::net::IpAddr>().unwrap()], "the source address towards the front end");
    door.until(true, |h| h.drain_by == [id("door1")]);
    let told = ns.until(false, |h| h.drain_by == [id("door1")] && h.heard.iter().any(|w| w.id == id("door1")));
    assert_eq!(told.inc, first.inc);
    let output = agent.stop();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    door.until(true, |h| h.state == State::Goodbye);
    ns.until(false, |h| h.state == State::Goodbye);

    let _agent = Agent::start(&folder, &args);
    let again = ns.until(false, |h| h.state == State::Up);
    assert!(again.inc > first.inc);
    assert_eq!(again.drain_by, [id("door1")], "before anybody has said so anew");
    ns.until(false, |h| h.seq > again.seq + 6 && h.drain_by == [id("door1")]);
    door.until(false, |h| h.drain_by.is_empty() && h.inc == again.inc);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn front_ends_that_are_away_hold_up_no_other() {
    let folder = folder();
    let load = application(Arc::new(AtomicBool::new(true)));
    let door = Front::new("door1");
    // Accepts and never answers; a port where nobody listens; a name that no one has (RFC 6761).
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_spec = format!("http://{}/v1/heartbeat", silent.local_addr().unwrap());
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (udp_gone, http_gone) = (format!("udp:{gone}"), format!("http://{gone}/v1/heartbeat"));
    let spec = door.spec();
    let fronts = [
        "--front",
        &silent_spec,
        "--front",
        &udp_gone,
        "--front",
        &http_gone,
        "--front",
        "udp:nobody.invalid:53",
        "--front",
        &spec,
    ];
    let agent = Agent::start(&folder, &[&fronts[..], &["--load", &load]].concat());
    let first = door.until(false, |_| true);
    door.until(false, |h| h.seq > first.seq + 40);
    let output = agent.stop();
    assert!(output.status.success());
    door.until(false, |h| h.state == State::Goodbye);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn heartbeats_by_http() {
    let folder = folder();
    let load = application(Arc::new(AtomicBool::new(true)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = format!("http://{}", listener.local_addr().unwrap());
    let agent = Agent::start(&folder, &["--front", &spec, "--load", &load, "--address", "127.0.0.9", "--bind", "127.0.0.9"]);
    let mut clock_off = true;
    loop {
        let (mut stream, source) = listener.accept().unwrap();
        let (head, body) = read_request(&mut stream);
        assert!(head.starts_with("post /v1/heartbeat http/1.1"), "{head}");
        let envelope = Envelope::from_parts(header(&head, "farm-key"), header(&head, "farm-mac"), &body).unwrap();
        let heartbeat = open(&envelope, source);
        assert_eq!(source.ip(), heartbeat.addrs[0], "the source address is the one that was asked for");
        if !heartbeat.drain_by.is_empty() {
            assert_eq!(heartbeat.drain_by, [id("door1")]);
            break;
        }
        // First as a front end of the year 2100 would, then as one that wants a drain.
        let year_2100 = 4_102_444_800_000;
        let mut reply = Reply::new(&id("door1"), Kind::Redirector, &heartbeat, Wall(year_2100));
        (reply.challenge, reply.drain) = (clock_off, !clock_off);
        if !clock_off {
            assert!(heartbeat.time_ms >= year_2100 && heartbeat.inc > year_2100 - 60_000);
        }
        let status = if clock_off { "409 Conflict" } else { "200 OK" };
        clock_off = false;
        let (body, mac) = reply.seal(&farm_key().member(&id("mail"), &id("b1")));
        write!(
            stream,
            "HTTP/1.1 {status}\r\nfarm-key: mail/b1\r\nfarm-mac: {mac}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .unwrap();
        stream.write_all(&body).unwrap();
    }
    let hears_goodbye = std::thread::spawn(move || {
        loop {
            let (mut stream, _) = listener.accept().unwrap();
            let (_, body) = read_request(&mut stream);
            let heartbeat: Heartbeat = serde_json::from_slice(&body).unwrap();
            if heartbeat.state == State::Goodbye {
                return;
            }
        }
    });
    assert!(agent.stop().status.success());
    hears_goodbye.join().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_dead_application_is_said_goodbye_to() {
    let folder = folder();
    let alive = Arc::new(AtomicBool::new(true));
    let load = application(Arc::clone(&alive));
    let door = Front::new("door1");
    let spec = door.spec();
    let _agent =
        Agent::start(&folder, &["--front", &spec, "--load", &load, "--load-stale", "300ms", "--on-load-failure", "goodbye"]);
    door.until(false, |h| h.state == State::Up);
    alive.store(false, Ordering::Relaxed);
    let last = door.until(false, |h| h.state == State::Goodbye);
    alive.store(true, Ordering::Relaxed);
    let (next, _) = door.hear();
    assert_eq!((next.state, next.inc, next.seq), (State::Up, last.inc, last.seq + 1), "nothing was said in between");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_other_commands() {
    let folder = folder();
    let agent = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_farm-agent")).args(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let file = folder.join("agent.toml");
    let key = folder.join("b1.key");
    let good = format!(
        "farm = \"mail\"\nid = \"b1\"\nkey_file = {key:?}\nport = 80\nload = \"proc\"\nfront = [\"udp:127.0.0.1:5310\"]\n"
    );
    std::fs::write(&file, &good).unwrap();
    let (code, out, _) = agent(&["check", file.to_str().unwrap()]);
    assert_eq!(code, 0);
    assert!(out.ends_with("b1 of farm mail, 1 front ends\n"), "{out}");
    std::fs::write(&file, good.replace("port = 80", "prot = 80\nzone = \"A\"")).unwrap();
    let (code, _, err) = agent(&["check", file.to_str().unwrap()]);
    assert_eq!(code, 78);
    assert!(err.contains("agent.toml:4: prot") && err.contains("agent.toml:5: zone"), "{err}");
    let (code, _, err) = agent(&["run", "--id", "b1"]);
    assert_eq!((code, err.lines().count()), (78, 3), "{err}");

    let load = application(Arc::new(AtomicBool::new(true)));
    let (code, out, _) = agent(&["load", "--load", &load]);
    assert_eq!(code, 0);
    let reading: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&reading["queue"], &reading["sessions"], &reading["draining"]), (&2.5.into(), &7.into(), &false.into()));
    let (code, out, err) = agent(&["load", "--load", "proc"]);
    assert_eq!(code, 0, "{err}");
    let reading: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(reading["cores"].as_f64().unwrap() >= 1.0);
    assert_eq!(agent(&["load", "--load", "pid:4000000"]).0, 1);

    let (code, out, _) = agent(&["config-doc"]);
    assert_eq!(code, 0);
    assert!(out.contains("| `front` |") && out.contains("| `on_load_failure` |"), "{out}");
    assert!(agent(&["completions", "bash"]).1.contains("farm-agent"));
    assert_eq!(agent(&["man", folder.to_str().unwrap()]).0, 0);
    assert!(folder.join("farm-agent-run.1").exists());
    std::fs::remove_dir_all(&folder).unwrap();
}

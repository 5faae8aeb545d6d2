//! The real binary on ports of the kernel's choice, and a client whose reading of DNS is not ours.
//!
//! Every wait is for a condition, with a deadline; every process is ended by its own id.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests; each file uses a part"
)]

use farm_daemon::admin_client;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::str::FromStr as _;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything that should come soon may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
pub const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// The options of most tests: ports are the kernel's choice.
pub const SERVER: &str = r#"
[server]
id = "ns1"
listen = ["127.0.0.1:0"]
workers = 2
[heartbeat]
listen_udp = ["127.0.0.1:0"]
listen_http = ["127.0.0.1:0"]
[admin]
listen = "127.0.0.1:0"
token_file = "admin.token"
[[zone]]
name = "lb.example.com"
file = "lb.zone"
"#;

pub const ZONE: &str = r"$ORIGIN lb.example.com.
$TTL 1h
@ SOA ns1 hostmaster 1 1h 15m 2w 5s
@ NS ns1
ns1 A 192.0.2.53
fixed A 192.0.2.1
web CNAME www
";

/// A folder that goes away with the test, unless the test fails.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A folder with a token, a key and the usual zone.
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("dnslb-test-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        let scratch = Self(path);
        scratch.write("admin.token", TOKEN);
        scratch.write("farm.key", KEY);
        scratch.write("lb.zone", ZONE);
        scratch
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept: {}", self.0.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Runs a command of the binary to its end.
pub fn run(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dnslb")).args(args).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running daemon.
pub struct Daemon {
    child: Child,
    log: PathBuf,
    ports: BTreeMap<String, SocketAddr>,
    pub scratch: Scratch,
}

impl Daemon {
    /// Starts with this configuration and waits until it is ready.
    pub fn start(config: &str) -> Self {
        Self::start_in(Scratch::new(), config)
    }

    pub fn start_in(scratch: Scratch, config: &str) -> Self {
        scratch.write("dnslb.toml", config);
        let ports_file = scratch.path("ports");
        let _ = std::fs::remove_file(&ports_file);
        let log = scratch.path("log");
        let file = std::fs::File::create(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_dnslb"))
            .args(["serve", "--config", "dnslb.toml", "--ports-file", "ports"])
            .current_dir(scratch.path(""))
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut daemon = Self { child, log, ports: BTreeMap::new(), scratch };
        daemon.ports = until("the ports file", || {
            assert!(daemon.child.try_wait().unwrap().is_none(), "it ended:\n{}", daemon.log());
            let ports: BTreeMap<String, String> = serde_json::from_slice(&std::fs::read(&ports_file).ok()?).ok()?;
            ports.into_iter().map(|(name, addr)| Some((name, addr.parse().ok()?))).collect()
        });
        until("readiness", || (daemon.admin("GET", "/readyz").0 == 200).then_some(()));
        daemon
    }

    pub fn addr(&self, listener: &str) -> SocketAddr {
        *self.ports.get(listener).unwrap_or_else(|| panic!("no listener {listener} in {:?}", self.ports))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn admin(&self, method: &str, path: &str) -> (u16, String) {
        let addr = farm_daemon::admin::AdminAddr::Tcp(self.addr("admin"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(admin_client::request(&addr, Some(TOKEN), method, path, "")).unwrap()
    }

    /// Runs a command that talks to this daemon.
    pub fn command(&self, args: &[&str]) -> Output {
        let admin = self.addr("admin").to_string();
        run(&[args, &["--config", "dnslb.toml", "--admin", &admin]].concat(), &self.scratch.path(""))
    }

    /// A sample of `/metrics`, 0 if it is not there.
    pub fn metric(&self, sample: &str) -> f64 {
        let (status, text) = self.admin("GET", "/metrics");
        assert_eq!(status, 200, "{text}");
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM, and its folder for a next one.
    pub fn stop(mut self) -> (ExitStatus, Scratch) {
        self.signal(rustix::process::Signal::TERM);
        let status = until("its end after SIGTERM", || self.child.try_wait().unwrap());
        let scratch = std::mem::replace(&mut self.scratch, Scratch::new());
        (status, scratch)
    }

    /// SIGKILL: nothing more is written down. Its folder for a next one.
    pub fn kill(mut self) -> Scratch {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.scratch, Scratch::new())
    }

    /// The addresses that a name has, over UDP.
    pub fn lookup(&self, name: &str) -> Vec<IpAddr> {
        addresses(&udp(self.addr("dns"), &query(name, RecordType::A)).unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks every 10 ms until `probe` gives something.
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(began.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

pub fn query(name: &str, record_type: RecordType) -> Message {
    static ID: AtomicU16 = AtomicU16::new(1);
    let mut message = Message::new(ID.fetch_add(1, Ordering::Relaxed), MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_str(name).unwrap(), record_type));
    message
}

/// Asks from a connected socket: an answer that leaves from another address than was asked does not arrive.
pub fn udp(server: SocketAddr, message: &Message) -> io::Result<Message> {
    let socket = udp_client(server);
    socket.send(&message.to_vec().unwrap())?;
    let mut buffer = [0; 4_096];
    let len = socket.recv(&mut buffer)?;
    Ok(Message::from_vec(&buffer[..len]).unwrap())
}

pub fn udp_client(server: SocketAddr) -> UdpSocket {
    let local = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(local).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

pub fn tcp_client(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

pub fn framed(message: &Message) -> Vec<u8> {
    let octets = message.to_vec().unwrap();
    [&(octets.len() as u16).to_be_bytes(), &octets[..]].concat()
}

pub fn read_framed(stream: &mut TcpStream) -> io::Result<Message> {
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut octets = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut octets)?;
    Ok(Message::from_vec(&octets).unwrap())
}

pub fn tcp(server: SocketAddr, message: &Message) -> io::Result<Message> {
    let mut stream = tcp_client(server);
    stream.write_all(&framed(message))?;
    read_framed(&mut stream)
}

pub fn rcode(message: &Message) -> ResponseCode {
    message.metadata.response_code
}

pub fn addresses(message: &Message) -> Vec<IpAddr> {
    let address = |data: &RData| match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(a) => Some(IpAddr::V6(a.0)),
        _ => None,
    };
    message.answers.iter().filter_map(|record| address(&record.data)).collect()
}

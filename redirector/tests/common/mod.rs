//! The real redirector as a child process, a farm of members that this test plays, and plain sockets to talk to both.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod tls;

use farm_shared::heartbeat::{Envelope, FarmKey, Heartbeat, Load, Reply, Role, State, VERSION};
use farm_shared::hex;
use farm_shared::id::Id;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub const BINARY: &str = env!("CARGO_BIN_EXE_redirector");
pub const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const SOON: Duration = Duration::from_secs(20);

/// Waits for a condition, never for luck.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        #[allow(clippy::disallowed_methods)]
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A folder of its own with a key and a configuration.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("redirector-test-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("farm.key"), KEY).unwrap();
        Self(dir)
    }

    pub fn config(&self, more: &str) -> PathBuf {
        let text = format!(
            "hosts = [\"mail.test\"]\n\
             server = {{ id = \"door1\", listen = [\"127.0.0.1:0\"], workers = 2, state_dir = \"state\" }}\n\
             farm = {{ name = \"mail\", key_file = \"farm.key\", allowed_prefixes = [\"127.0.0.0/8\"] }}\n\
             heartbeat = {{ listen_udp = [\"127.0.0.1:0\"], listen_http = [\"127.0.0.1:0\"] }}\n\
             admin = {{ listen = \"127.0.0.1:0\" }}\n{more}"
        );
        let path = self.0.join("redirector.toml");
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.0.join("state/instances").exists() {
            // A test that failed leaves its instances; one that did not has none.
            let _ = Command::new(BINARY).arg("stop-farm").arg("--config").arg(self.0.join("redirector.toml")).output();
        }
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Runs the program to its end.
pub fn command(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().unwrap()
}

/// The running redirector.
pub struct Redirector {
    child: Child,
    ports: BTreeMap<String, SocketAddr>,
    log: PathBuf,
    token: String,
}

impl Redirector {
    pub fn start(scratch: &Scratch, config: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let ports_file = scratch.0.join(format!("ports-{number}.json"));
        let log = scratch.0.join(format!("log-{number}"));
        let file = std::fs::File::create(&log).unwrap();
        let child = Command::new(BINARY)
            .args(["serve", "--config"])
            .arg(config)
            .arg("--ports-file")
            .arg(&ports_file)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut redirector = Self { child, ports: BTreeMap::new(), log, token: String::new() };
        redirector.ports = until("the ports file", || {
            redirector.assert_alive();
            serde_json::from_slice(&std::fs::read(&ports_file).ok()?).ok()
        });
        redirector.token = std::fs::read_to_string(scratch.0.join("state/admin.token")).unwrap();
        until("readiness", || (get(redirector.port("admin"), "/readyz").status == 200).then_some(()));
        redirector
    }

    pub fn port(&self, name: &str) -> SocketAddr {
        self.ports[name]
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn assert_alive(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("it ended with {status}:\n{}", self.log());
        }
    }

    /// SIGTERM; it must end well.
    pub fn stop(mut self) {
        self.signal(rustix::process::Signal::TERM);
        let status = until("its end", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}\n{}", self.log());
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// One request at the front door, on a connection of its own.
    pub fn door(&self, method: &str, target: &str, headers: &str) -> Response {
        let text = format!("{method} {target} HTTP/1.1\r\nhost: mail.test\r\nconnection: close\r\n{headers}\r\n");
        send(self.port("door"), text.as_bytes())
    }

    pub fn admin(&self, method: &str, path: &str) -> Response {
        let addr = self.port("admin");
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: {addr}\r\nauthorization: Bearer {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            self.token
        );
        send(addr, text.as_bytes())
    }

    pub fn status(&self) -> Value {
        serde_json::from_slice(&self.admin("GET", "/v1/status").body).unwrap()
    }

    /// A line of `/metrics`.
    pub fn metric(&self, sample: &str) -> f64 {
        let text = get(self.port("admin"), "/metrics").text();
        let line = text.lines().find_map(|l| l.strip_prefix(sample)?.strip_prefix(' ').map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {sample} in\n{text}")).parse().unwrap()
    }
}

impl Drop for Redirector {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the redirector\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (n, value) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub fn get(addr: SocketAddr, path: &str) -> Response {
    send(addr, format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n").as_bytes())
}

/// Bytes as they are; the answer until the other side closes. Status 0: no answer.
pub fn send(addr: SocketAddr, bytes: &[u8]) -> Response {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // A server may refuse before it has read everything; what it said still counts.
    let _ = stream.write_all(bytes);
    let mut raw = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut chunk) {
        raw.extend_from_slice(&chunk[..n]);
    }
    let end = raw.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(raw.len());
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Response { status, head, body: raw.get(end + 4..).unwrap_or_default().to_vec() }
}

/// A member of the farm, played by the test.
pub struct Member {
    pub heartbeat: Heartbeat,
    key: FarmKey,
}

impl Member {
    pub fn new(id: &str, addr: &str) -> Self {
        let heartbeat = Heartbeat {
            v: VERSION,
            farm: Id::new("mail").unwrap(),
            id: Id::new(id).unwrap(),
            role: Role::Backend,
            inc: 1,
            seq: 0,
            time_ms: 0,
            period_ms: 200,
            addrs: vec![addr.parse().unwrap()],
            port: 9000,
            zone: None,
            state: State::Up,
            drain_by: Vec::new(),
            load: Load { cores: 1.0, ..Load::default() },
            heard: Vec::new(),
            notice: None,
            tombstones: Vec::new(),
            killed: None,
        };
        Self { heartbeat, key: FarmKey::from_hex(KEY).unwrap() }
    }

    pub fn with_key(self, key: &str) -> Self {
        Self { key: FarmKey::from_hex(key).unwrap(), ..self }
    }

    #[allow(clippy::disallowed_methods)]
    fn body(&mut self) -> Vec<u8> {
        self.heartbeat.seq += 1;
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        self.heartbeat.time_ms = wall.as_millis() as u64;
        serde_json::to_vec(&self.heartbeat).unwrap()
    }

    /// One heartbeat by HTTP, and the verified reply.
    pub fn beat(&mut self, redirector: &Redirector) -> Reply {
        let body = self.body();
        let key = self.key.member(&self.heartbeat.farm, &self.heartbeat.id);
        let head = format!(
            "POST /v1/heartbeat HTTP/1.1\r\nhost: x\r\nfarm-key: {}/{}\r\nfarm-mac: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.heartbeat.farm,
            self.heartbeat.id,
            key.sign(&body),
            body.len()
        );
        let response = send(redirector.port("heartbeat_http"), &[head.as_bytes(), &body].concat());
        assert_eq!(response.status, 200, "{}\n{}", response.head, response.text());
        let mac = hex::decode(response.header("farm-mac").unwrap()).unwrap();
        key.open_reply(&mac, &response.body).unwrap()
    }

    /// One heartbeat by UDP, signed with `mac` instead if given.
    pub fn beat_udp(&mut self, redirector: &Redirector, mac: Option<&str>) {
        let body = self.body();
        let key = self.key.member(&self.heartbeat.farm, &self.heartbeat.id);
        let mac = mac.map_or_else(|| key.sign(&body), str::to_owned);
        let datagram = Envelope::datagram(&self.heartbeat.farm, &self.heartbeat.id, &mac, &body);
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&datagram, redirector.port("heartbeat_udp")).unwrap();
    }
}

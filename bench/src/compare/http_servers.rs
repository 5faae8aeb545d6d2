//! Why: nginx, HAProxy and the redirector, each with one worker, and the heartbeats that give the redirector its backends.
//! Never: no frozen farm: without fresh heartbeats a door counts its own dispatches against every backend and slows down, so they
//! come once a second while it is measured, as from a real farm, and their small cost is the redirector's.

use super::server::{Server, find_program, free_address};
use super::wait::wall_ms;
use farm_shared::heartbeat::{Envelope, FarmKey, Heartbeat, Load, Role, State, VERSION};
use farm_shared::id::Id;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A made-up secret: it protects nothing but a benchmark on loopback.
const FARM_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const FARM: &str = "bench";
const PERIOD_MS: u64 = 1_000;
const TIMEOUT: Duration = Duration::from_secs(5);
const START_TIME_MAX: Duration = Duration::from_secs(20);

const NGINX_CONFIG: &str = include_str!("../../peers/nginx.conf");
const HAPROXY_CONFIG: &str = include_str!("../../peers/haproxy.cfg");

/// A running front door.
pub struct Door {
    /// Where it speaks HTTP.
    pub plain: SocketAddr,
    /// Where it speaks HTTPS, if it does.
    pub tls: Option<SocketAddr>,
    /// The process.
    pub server: Server,
    /// Ends with the door.
    _heart: Option<Heart>,
}

/// A self-signed certificate with an ECDSA key on P-256, which all doors use.
pub struct Pair {
    cert: PathBuf,
    key: PathBuf,
    both: PathBuf,
}

impl Pair {
    /// Made by openssl, in a folder.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let openssl = find_program("openssl").ok_or_else(|| other("openssl is not there"))?;
        let [cert, key, both] = ["cert.pem", "key.pem", "both.pem"].map(|name| folder.join(name));
        let mut command = Command::new(openssl);
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]);
        command.args(["-subj", "/CN=door.bench", "-addext", "subjectAltName=DNS:door.bench,IP:127.0.0.1"]);
        let made = command.arg("-keyout").arg(&key).arg("-out").arg(&cert).stderr(Stdio::null()).status()?;
        if !made.success() {
            return Err(other("openssl could not make a certificate"));
        }
        fs::write(&both, [fs::read(&cert)?, fs::read(&key)?].concat())?;
        fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(Self { cert, key, both })
    }
}

/// A thread that sends heartbeats until it is dropped.
struct Heart {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heart {
    fn start(mut beats: Beats) -> Self {
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_millis(PERIOD_MS)) == Err(RecvTimeoutError::Timeout) {
                // One that is lost is followed by another, well within the lease.
                let _ = beats.send(false);
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The backends, as far as the door can tell.
struct Beats {
    socket: UdpSocket,
    backends: u32,
    seq: u64,
    inc: u64,
}

fn other(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

/// One request over a connection of its own; the head of the response and its status.
fn exchange(address: SocketAddr, request: &[u8]) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(request)?;
    let mut bytes = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(|| other("not an HTTP response"))?, text))
}

fn get(address: SocketAddr) -> io::Result<(u16, String)> {
    exchange(address, format!("GET /inbox HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
}

/// The lists of so many servers, for nginx: shares of new sessions, and cookies that name one.
fn nginx_lists(servers: u32) -> (String, String) {
    let (mut split, mut kept) = (String::new(), String::new());
    for n in 1..=servers {
        let address = backend(n);
        // The last one takes what is left, as the directive wants it.
        let _ = match n {
            n if n == servers => writeln!(split, "    * {address};"),
            _ => writeln!(split, "    {:.2}% {address};", 100.0 / f64::from(servers)),
        };
        let _ = writeln!(kept, "    {address} {address};");
    }
    (split, kept)
}

fn filled(template: &str, values: &[(&str, &dyn std::fmt::Display)]) -> String {
    values.iter().fold(template.to_string(), |text, (name, value)| text.replace(&format!("@{name}@"), &value.to_string()))
}

fn redirector_config(folder: &Path, door: SocketAddr, tls: Option<(SocketAddr, &Pair)>, heartbeats: SocketAddr) -> String {
    let folder = folder.display();
    let mut text = format!(
        "hosts = [\"*\"]\n\n[server]\nid = \"bench\"\nlisten = [\"{door}\"]\nworkers = 1\nstate_dir = \"{folder}/state\"\n"
    );
    if let Some((address, pair)) = tls {
        let (cert, key) = (pair.cert.display(), pair.key.display());
        let _ = writeln!(
            text,
            "listen_tls = [\"{address}\"]\n\n[tls]\ncert_file = \"{cert}\"\nkey_file = \"{key}\"\nredirect_http = false\nhsts = \"off\""
        );
    }
    let _ = writeln!(
        text,
        "\n[farm]\nname = \"{FARM}\"\nkey_file = \"{folder}/key\"\nallowed_prefixes = [\"127.0.0.0/8\"]\n\n\
         [heartbeat]\nlisten_udp = [\"{heartbeats}\"]\n\n[lease]\nperiods = 10.0\n\n[door]\ntarget = \"http://{{ip}}:{{port}}\"\nramp = \"0s\"\n\
         total_timeout = \"1h\""
    );
    text
}

fn backend(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 1, 0)) + n)
}

impl Door {
    /// nginx with so many servers: `split_clients`, a map of cookies, `return 302`.
    pub fn nginx(folder: &Path, pair: &Pair, servers: u32) -> io::Result<Self> {
        let program = find_program("nginx").ok_or_else(|| other("nginx is not there (Debian: nginx-light)"))?;
        let (plain, tls) = (free_address()?, free_address()?);
        let (split, kept) = nginx_lists(servers);
        let values: [(&str, &dyn std::fmt::Display); 7] = [
            ("FOLDER", &folder.display()),
            ("SPLIT", &split.trim_end()),
            ("KEPT", &kept.trim_end()),
            ("PLAIN", &plain),
            ("TLS", &tls),
            ("CERT", &pair.cert.display()),
            ("KEY", &pair.key.display()),
        ];
        let config = folder.join("config");
        fs::write(&config, filled(NGINX_CONFIG, &values))?;
        let arguments = ["-c".into(), config, "-p".into(), folder.to_path_buf(), "-e".into(), folder.join("start.log")];
        Self::peer(Server::start(&program, arguments, folder)?, plain, tls)
    }

    /// HAProxy with so many servers: `rand`, maps, `http-request redirect`.
    pub fn haproxy(folder: &Path, pair: &Pair, servers: u32) -> io::Result<Self> {
        let program = find_program("haproxy").ok_or_else(|| other("haproxy is not there (Debian: haproxy)"))?;
        let (plain, tls) = (free_address()?, free_address()?);
        let (mut kept, mut drawn) = (String::new(), String::new());
        for n in 1..=servers {
            let _ = writeln!(kept, "{0} {0}", backend(n));
            let _ = writeln!(drawn, "{} {}", n - 1, backend(n));
        }
        fs::write(folder.join("kept.map"), kept)?;
        fs::write(folder.join("drawn.map"), drawn)?;
        let values: [(&str, &dyn std::fmt::Display); 5] = [
            ("FOLDER", &folder.display()),
            ("COUNT", &servers),
            ("PLAIN", &plain),
            ("TLS", &tls),
            ("PEM", &pair.both.display()),
        ];
        let config = folder.join("config");
        fs::write(&config, filled(HAPROXY_CONFIG, &values))?;
        Self::peer(Server::start(&program, [Path::new("-db"), Path::new("-f"), &config], folder)?, plain, tls)
    }

    fn peer(mut server: Server, plain: SocketAddr, tls: SocketAddr) -> io::Result<Self> {
        server.wait_ready(START_TIME_MAX, || get(plain).is_ok_and(|(status, _)| status == 302))?;
        Ok(Self { plain, tls: Some(tls), server, _heart: None })
    }

    /// The redirector, with so many backends.
    pub fn redirector(program: &Path, folder: &Path, pair: Option<&Pair>, backends: u32) -> io::Result<Self> {
        if !program.is_file() {
            return Err(other("redirector is not there"));
        }
        let (plain, tls, to) = (free_address()?, free_address()?, free_address()?);
        fs::create_dir_all(folder.join("state"))?;
        let key = folder.join("key");
        fs::write(&key, FARM_KEY)?;
        fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let config = folder.join("config");
        fs::write(&config, redirector_config(folder, plain, pair.map(|pair| (tls, pair)), to))?;
        let arguments = [Path::new("serve"), Path::new("--config"), &config];
        let mut server = Server::start(program, arguments, folder)?;
        server.wait_ready(START_TIME_MAX, || TcpStream::connect(plain).is_ok())?;
        let socket = UdpSocket::bind((to.ip(), 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        let mut beats = Beats { socket, backends, seq: 0, inc: wall_ms() };
        beats.send(true)?;
        server.wait_ready(START_TIME_MAX, || get(plain).is_ok_and(|(status, _)| status == 302))?;
        Ok(Self { plain, tls: pair.map(|_| tls), server, _heart: Some(Heart::start(beats)) })
    }

    /// The cookie of a session that has begun, as a request header.
    pub fn cookie(&self) -> io::Result<String> {
        let (_, head) = get(self.plain)?;
        let set = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("set-cookie").then(|| value.split(';').next().unwrap_or_default().trim().to_string())
        });
        set.map(|value| format!("Cookie: {value}")).ok_or_else(|| other("no cookie was set"))
    }
}

impl Beats {
    /// One heartbeat of each backend. With `wait`, the next one follows the reply to the last, and none is refused.
    fn send(&mut self, wait: bool) -> io::Result<()> {
        let key = FarmKey::from_hex(FARM_KEY).map_err(other)?;
        let farm = Id::new(FARM).map_err(other)?;
        self.seq += 1;
        for n in 1..=self.backends {
            let id = Id::new(&format!("b{n}")).map_err(other)?;
            let body = serde_json::to_vec(&self.heartbeat(&farm, &id, n))?;
            let member = key.member(&farm, &id);
            self.socket.send(&Envelope::datagram(&farm, &id, &member.sign(&body), &body))?;
            if wait {
                let mut bytes = [0; 8_192];
                let length = self.socket.recv(&mut bytes)?;
                let reply = Envelope::from_datagram(bytes.get(..length).unwrap_or_default());
                let reply = reply.and_then(|reply| member.open_reply(&reply.mac, reply.body));
                reply.map_err(|refusal| other(format!("the reply to {id}: {}", refusal.reason())))?;
            }
        }
        Ok(())
    }

    fn heartbeat(&self, farm: &Id, id: &Id, n: u32) -> Heartbeat {
        Heartbeat {
            v: VERSION,
            farm: farm.clone(),
            id: id.clone(),
            role: Role::Backend,
            inc: self.inc,
            seq: self.seq,
            time_ms: wall_ms(),
            period_ms: PERIOD_MS,
            addrs: vec![IpAddr::V4(backend(n))],
            port: 8080,
            zone: None,
            state: State::Up,
            drain_by: Vec::new(),
            // Loads that differ, so that the weights do.
            load: Load { queue: f64::from(n % 7) * 0.3, cores: 4.0, busy: 0.2, sessions: n % 50, ..Load::default() },
            heard: Vec::new(),
            notice: None,
            tombstones: Vec::new(),
            killed: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_redirector_understands_its_configuration() {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let text = redirector_config(Path::new("/x"), at(1), None, at(2));
        let document = farm_shared::config::Document::parse("bench.toml", &text);
        let spec = redirector_core::config::Spec::read(&document.root());
        let problems = document.finish();
        assert!(problems.is_empty(), "{problems:?}");
        let spec = spec.unwrap();
        assert_eq!((spec.workers, spec.door.ramp_ms, spec.heartbeat.udp), (1, 0, vec![at(2)]));
    }

    #[test]
    fn nginx_gets_every_server_once() {
        let (split, kept) = nginx_lists(3);
        assert_eq!(split, "    33.33% 127.0.1.1;\n    33.33% 127.0.1.2;\n    * 127.0.1.3;\n");
        assert_eq!(kept.lines().count(), 3);
        for template in [NGINX_CONFIG, HAPROXY_CONFIG] {
            assert!(template.contains("@PLAIN@") && !filled(template, &[("PLAIN", &"x")]).contains("@PLAIN@"));
        }
    }

    #[test]
    fn heartbeats_keep_the_schema() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let beats = Beats { socket, backends: 100, seq: 1, inc: 1 };
        let (farm, id) = (Id::new(FARM).unwrap(), Id::new("b100").unwrap());
        let heartbeat = beats.heartbeat(&farm, &id, 100);
        assert_eq!(heartbeat.check(), Ok(()));
        assert_eq!(heartbeat.addrs, ["127.0.1.100".parse::<IpAddr>().unwrap()]);
        assert!(FarmKey::from_hex(FARM_KEY).is_ok());
    }
}

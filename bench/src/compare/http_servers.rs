//! Why: nginx and the redirector, each with one worker, and the heartbeats that give the redirector its backends.
//! Never: no heartbeat while it is measured: one with the longest period comes before, so that redirects are all that costs.

use super::server::{Server, find_program, free_address};
use super::wait::wall_ms;
use farm_shared::heartbeat::{FarmKey, Heartbeat, Load, Role, State, VERSION};
use farm_shared::id::Id;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// A made-up secret: it protects nothing but a benchmark on loopback.
const FARM_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const FARM: &str = "bench";
const PERIOD_MS: u64 = 60_000;
const TIMEOUT: Duration = Duration::from_secs(5);

/// A running front door.
pub struct Door {
    /// Where.
    pub address: SocketAddr,
    /// The process.
    pub server: Server,
    beats: Option<Beats>,
}

/// Who sends heartbeats to it.
struct Beats {
    to: SocketAddr,
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

fn nginx_config(folder: &Path, address: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "worker_processes 1;\ndaemon off;\nuser root;\npid {folder}/pid;\nerror_log {folder}/error.log warn;\n\
         events {{ worker_connections 1024; }}\nhttp {{\n  access_log off;\n  client_body_temp_path {folder}/a;\n  proxy_temp_path {folder}/b;\n  \
         fastcgi_temp_path {folder}/c;\n  uwsgi_temp_path {folder}/d;\n  scgi_temp_path {folder}/e;\n  keepalive_requests 1000000000;\n  \
         server {{ listen {address}; location / {{ return 302 http://127.0.1.1:8080$request_uri; }} }}\n}}\n"
    )
}

fn redirector_config(folder: &Path, door: SocketAddr, heartbeats: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "hosts = [\"*\"]\n\n[server]\nid = \"bench\"\nlisten = [\"{door}\"]\nworkers = 1\nstate_dir = \"{folder}/state\"\n\n\
         [farm]\nname = \"{FARM}\"\nkey_file = \"{folder}/key\"\nallowed_prefixes = [\"127.0.0.0/8\"]\n\n\
         [heartbeat]\nlisten_http = [\"{heartbeats}\"]\n\n[door]\ntarget = \"http://{{ip}}:{{port}}\"\nramp = \"0s\"\n\
         total_timeout = \"1h\"\n"
    )
}

impl Door {
    /// nginx with `return 302`.
    pub fn nginx(folder: &Path) -> io::Result<Self> {
        let program = find_program("nginx").ok_or_else(|| other("nginx is not there"))?;
        let address = free_address()?;
        let config = folder.join("config");
        fs::write(&config, nginx_config(folder, address))?;
        let arguments = ["-c".into(), config, "-p".into(), folder.to_path_buf(), "-e".into(), folder.join("start.log")];
        let mut server = Server::start(&program, arguments, folder)?;
        server.wait_ready(Duration::from_secs(20), || get(address).is_ok_and(|(status, _)| status == 302))?;
        Ok(Self { address, server, beats: None })
    }

    /// The redirector, with so many backends.
    pub fn redirector(program: &Path, folder: &Path, backends: u32) -> io::Result<Self> {
        if !program.is_file() {
            return Err(other("redirector is not there"));
        }
        let (address, to) = (free_address()?, free_address()?);
        let config = folder.join("config");
        fs::create_dir_all(folder.join("state"))?;
        let key = folder.join("key");
        fs::write(&key, FARM_KEY)?;
        fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        fs::write(&config, redirector_config(folder, address, to))?;
        let arguments = [Path::new("serve"), Path::new("--config"), &config];
        let mut server = Server::start(program, arguments, folder)?;
        server.wait_ready(Duration::from_secs(20), || TcpStream::connect(to).is_ok())?;
        let mut beats = Beats { to, backends, seq: 0, inc: wall_ms() };
        beats.send()?;
        server.wait_ready(Duration::from_secs(20), || get(address).is_ok_and(|(status, _)| status == 302))?;
        Ok(Self { address, server, beats: Some(beats) })
    }

    /// Refreshes the leases of its backends.
    pub fn refresh(&mut self) -> io::Result<()> {
        self.beats.as_mut().map_or(Ok(()), Beats::send)
    }

    /// The cookie of a session that has begun, as a request header.
    pub fn cookie(&self) -> io::Result<String> {
        let (_, head) = get(self.address)?;
        let set = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("set-cookie").then(|| value.split(';').next().unwrap_or_default().trim().to_string())
        });
        set.map(|value| format!("Cookie: {value}")).ok_or_else(|| other("no cookie was set"))
    }
}

impl Beats {
    fn send(&mut self) -> io::Result<()> {
        let key = FarmKey::from_hex(FARM_KEY).map_err(other)?;
        let farm = Id::new(FARM).map_err(other)?;
        self.seq += 1;
        for n in 1..=self.backends {
            let id = Id::new(&format!("b{n}")).map_err(other)?;
            let body = serde_json::to_vec(&self.heartbeat(&farm, &id, n))?;
            let mac = key.member(&farm, &id).sign(&body);
            let (to, length) = (self.to, body.len());
            let head = format!(
                "POST /v1/heartbeat HTTP/1.1\r\nHost: {to}\r\nfarm-key: {farm}/{id}\r\nfarm-mac: {mac}\r\n\
                 content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            let (status, text) = exchange(to, &[head.as_bytes(), &body].concat())?;
            if status != 200 {
                return Err(other(format!("heartbeat of {id} refused: {text}")));
            }
        }
        Ok(())
    }

    fn heartbeat(&self, farm: &Id, id: &Id, n: u32) -> Heartbeat {
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 1, 0)) + n);
        Heartbeat {
            v: VERSION,
            farm: farm.clone(),
            id: id.clone(),
            role: Role::Backend,
            inc: self.inc,
            seq: self.seq,
            time_ms: wall_ms(),
            period_ms: PERIOD_MS,
            addrs: vec![IpAddr::V4(address)],
            port: 8080,
            zone: None,
            state: State::Up,
            drain_by: Vec::new(),
            // Loads that differ, so that the weights do.
            load: Load { queue: f64::from(n % 7) * 0.3, cores: 4.0, busy: 0.2, sessions: n % 50, ..Load::default() },
            heard: Vec::new(),
            tombstones: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_redirector_understands_its_configuration() {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let text = redirector_config(Path::new("/x"), at(1), at(2));
        let document = farm_shared::config::Document::parse("bench.toml", &text);
        let spec = redirector_core::config::Spec::read(&document.root());
        let problems = document.finish();
        assert!(problems.is_empty(), "{problems:?}");
        let spec = spec.unwrap();
        assert_eq!((spec.workers, spec.door.ramp_ms, spec.heartbeat_http), (1, 0, vec![at(2)]));
    }

    #[test]
    fn heartbeats_keep_the_schema() {
        let beats = Beats { to: "127.0.0.1:1".parse().unwrap(), backends: 100, seq: 1, inc: 1 };
        let (farm, id) = (Id::new(FARM).unwrap(), Id::new("b100").unwrap());
        let heartbeat = beats.heartbeat(&farm, &id, 100);
        assert_eq!(heartbeat.check(), Ok(()));
        assert_eq!(heartbeat.addrs, ["127.0.1.100".parse::<IpAddr>().unwrap()]);
        assert!(FarmKey::from_hex(FARM_KEY).is_ok());
    }
}

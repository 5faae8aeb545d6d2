//! Why: the same zone for every name server, each configured as its manual advises for one core, so that only the servers differ.
//! Never: no peer is handicapped: rate limits are off, additional data is off, one answering thread each, logs at warnings.

use super::load::{LoadPlan, run};
use super::question::{Case, ZONE};
use super::server::{Server, find_program, free_address};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Our echo: the floor.
    Echo,
    /// Knot DNS.
    Knot,
    /// NSD.
    Nsd,
    /// gdnsd, with its plugin multifo at the pool's name.
    Gdnsd,
    /// Ours.
    Dnslb,
}

impl Kind {
    /// All, in the order of the table.
    pub const ALL: [Self; 5] = [Self::Echo, Self::Knot, Self::Nsd, Self::Gdnsd, Self::Dnslb];

    /// Its name in the table.
    pub fn label(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Knot => "knot",
            Self::Nsd => "nsd",
            Self::Gdnsd => "gdnsd",
            Self::Dnslb => "dnslb",
        }
    }
}

/// How much the server holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Names `h0`, `h1`, … with one address each.
    pub names: usize,
    /// Members of dnslb's pool.
    pub members: usize,
}

/// The programs to start.
#[derive(Clone, Debug)]
pub struct Programs {
    /// This program, for the echo.
    pub own: PathBuf,
    /// `dnslb`, by path.
    pub dnslb: PathBuf,
}

/// A name server that answers.
pub struct NameServer {
    /// Which.
    pub kind: Kind,
    /// Where.
    pub address: SocketAddr,
    /// Its version as it says itself, if it does.
    pub version: String,
    /// The process.
    pub server: Server,
}

pub(super) fn zone_text(size: Size, pool: &str) -> String {
    let mut text = format!(
        "$ORIGIN {ZONE}.\n$TTL 300\n@ SOA ns1 hostmaster 1 3600 900 604800 60\n@ NS ns1\nns1 A 127.0.0.1\nwww A 192.0.2.80\n{pool}"
    );
    for n in 0..size.names {
        let [_, a, b, c] = (n as u32).to_be_bytes();
        let _ = writeln!(text, "h{n} A 10.{a}.{b}.{c}");
    }
    text
}

const STATIC_POOL: &str = "pool A 192.0.2.1\npool A 192.0.2.2\npool A 192.0.2.3\n";

fn knot_config(folder: &Path, address: SocketAddr) -> String {
    let (ip, port, folder) = (address.ip(), address.port(), folder.display());
    format!(
        "server:\n  listen: {ip}@{port}\n  rundir: {folder}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         database:\n  storage: {folder}\nlog:\n  - target: stderr\n    any: warning\n\
         zone:\n  - domain: {ZONE}\n    file: {folder}/zone\n    zonefile-load: whole\n    journal-content: none\n"
    )
}

fn nsd_config(folder: &Path, address: SocketAddr) -> String {
    let (ip, port, folder) = (address.ip(), address.port(), folder.display());
    format!(
        "server:\n  ip-address: {ip}@{port}\n  server-count: 1\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{folder}\"\n  \
         database: \"\"\n  pidfile: \"{folder}/pid\"\n  xfrdfile: \"{folder}/xfrd\"\n  zonelistfile: \"{folder}/zonelist\"\n  \
         minimal-responses: yes\n  rrl-ratelimit: 0\n  rrl-whitelist-ratelimit: 0\n  hide-version: yes\n\
         remote-control:\n  control-enable: no\nzone:\n  name: \"{ZONE}\"\n  zonefile: \"{folder}/zone\"\n"
    )
}

fn gdnsd_config(folder: &Path, address: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "options => {{\n  listen => \"{address}\"\n  udp_threads => 1\n  tcp_threads => 1\n  run_dir => \"{folder}/run\"\n  \
         state_dir => \"{folder}/state\"\n}}\nplugins => {{\n  multifo => {{\n    pool => {{\n      service_types => up\n      \
         a => 192.0.2.1\n      b => 192.0.2.2\n      c => 192.0.2.3\n    }}\n  }}\n}}\n"
    )
}

pub(super) fn dnslb_config(folder: &Path, address: SocketAddr, size: Size) -> String {
    let folder = folder.display();
    let mut text = format!(
        "[server]\nid = \"bench\"\nlisten = [\"{address}\"]\nworkers = 1\n\n[[zone]]\nname = \"{ZONE}\"\nfile = \"{folder}/zone\"\n\n\
         [[pool]]\nname = \"pool\"\npublish = [\"pool.{ZONE}\"]\nk = 3\nslow_start = \"0s\"\n"
    );
    for n in 0..size.members {
        let [_, a, b, c] = (n as u32 + 1).to_be_bytes();
        let _ = writeln!(text, "\n[[pool.member]]\nname = \"m{n}\"\naddresses = [\"10.{a}.{b}.{c}\"]");
    }
    text
}

/// The line in which a program says its version, shortened.
pub(super) fn version_of(program: &Path, argument: &str) -> String {
    let output = std::process::Command::new(program).arg(argument).output();
    let Ok(output) = output else { return String::new() };
    let both = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&both);
    let line = text.lines().find(|line| line.bytes().any(|byte| byte.is_ascii_digit())).unwrap_or_default();
    line.chars().filter(|c| !c.is_control() && *c != '|').take(60).collect::<String>().trim().to_string()
}

impl NameServer {
    /// Starts one on a free port and waits until it answers. `folder` is its own and empty.
    pub fn start(kind: Kind, programs: &Programs, folder: &Path, size: Size) -> io::Result<Self> {
        let address = free_address()?;
        let write = |name: &str, text: String| fs::write(folder.join(name), text);
        let config = folder.join("config");
        let absent = |name: &str| io::Error::new(io::ErrorKind::NotFound, format!("{name} is not there"));
        let program = match kind {
            Kind::Echo => programs.own.clone(),
            Kind::Dnslb => Some(programs.dnslb.clone()).filter(|p| p.is_file()).ok_or_else(|| absent("dnslb"))?,
            Kind::Knot => find_program("knotd").ok_or_else(|| absent("knotd"))?,
            Kind::Nsd => find_program("nsd").ok_or_else(|| absent("nsd"))?,
            Kind::Gdnsd => find_program("gdnsd").ok_or_else(|| absent("gdnsd"))?,
        };
        let arguments: Vec<String> = match kind {
            Kind::Echo => vec!["echo".into(), address.to_string()],
            Kind::Knot => {
                write("zone", zone_text(size, STATIC_POOL))?;
                write("config", knot_config(folder, address))?;
                vec!["-c".into(), config.display().to_string()]
            }
            Kind::Nsd => {
                write("zone", zone_text(size, STATIC_POOL))?;
                write("config", nsd_config(folder, address))?;
                vec!["-d".into(), "-c".into(), config.display().to_string()]
            }
            Kind::Gdnsd => {
                for name in ["zones", "run", "state"] {
                    fs::create_dir_all(folder.join(name))?;
                }
                fs::write(folder.join("zones").join(ZONE), zone_text(size, "pool 300 DYNA multifo!pool\n"))?;
                write("config", gdnsd_config(folder, address))?;
                vec!["-c".into(), folder.display().to_string(), "start".into()]
            }
            Kind::Dnslb => {
                write("zone", zone_text(size, ""))?;
                write("config", dnslb_config(folder, address, size))?;
                vec!["serve".into(), "--config".into(), config.display().to_string()]
            }
        };
        let version = match kind {
            Kind::Echo => String::new(),
            Kind::Nsd => version_of(&program, "-v"),
            Kind::Gdnsd => version_of(&program, "-h"),
            Kind::Knot | Kind::Dnslb => version_of(&program, "--version"),
        };
        let mut server = Server::start(&program, &arguments, folder)?;
        let case = if kind == Kind::Echo { Case::Static } else { Case::Pool };
        server.wait_ready(Duration::from_secs(30), || answers(kind, address, case))?;
        Ok(Self { kind, address, version, server })
    }
}

/// Whether it gives one right answer.
fn answers(kind: Kind, address: SocketAddr, case: Case) -> bool {
    let plan = LoadPlan { target: address, sockets: 1, window: 1, time: Duration::from_millis(50), answers_max: 1 };
    let questions = questions_for(kind, case, 1);
    run(&plan, &questions).is_ok_and(|counts| counts.answers > 0)
}

/// The questions of a case; from the echo any response is right.
pub fn questions_for(kind: Kind, case: Case, names: usize) -> Vec<super::question::Question> {
    let mut questions = case.questions(names);
    if kind == Kind::Echo {
        for question in &mut questions {
            question.expect = super::question::Expect::Any;
        }
    }
    questions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_has_its_names() {
        let text = zone_text(Size { names: 300, members: 0 }, STATIC_POOL);
        assert_eq!(text.lines().filter(|line| line.starts_with('h')).count(), 300);
        assert!(text.contains("h299 A 10.0.1.43\n") && text.contains("pool A 192.0.2.3\n"));
    }

    #[test]
    fn our_configuration_is_toml_with_all_members() {
        let text = dnslb_config(Path::new("/x"), "127.0.0.1:53".parse().unwrap(), Size { names: 1, members: 300 });
        assert_eq!(text.matches("[[pool.member]]").count(), 300);
        assert!(text.contains("addresses = [\"10.0.1.44\"]"));
    }

    #[test]
    fn a_missing_server_is_named() {
        let programs = Programs { own: PathBuf::from("/no/own"), dnslb: PathBuf::from("/no/dnslb") };
        let error = NameServer::start(Kind::Dnslb, &programs, Path::new("/no/folder"), Size { names: 1, members: 1 });
        assert_eq!(error.map(|_| ()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

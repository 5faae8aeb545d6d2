//! Other name servers beside ours, as child processes: Knot, NSD and BIND on a free port of loopback, with everything they write in
//! a scratch folder.
//!
//! They run in the foreground without privileges or a control socket outside that folder, and must be gone when the value is.

use crate::daemon::{Daemon, SOON, Scratch};
use crate::{dns, wait};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Knot DNS (`knotd`).
    Knot,
    /// NSD (`nsd`).
    Nsd,
    /// BIND (`named`).
    Bind,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Knot, Self::Nsd, Self::Bind];

    fn binary(self) -> &'static str {
        match self {
            Self::Knot => "knotd",
            Self::Nsd => "nsd",
            Self::Bind => "named",
        }
    }
}

/// A zone by name, and its file.
pub type Zone<'a> = (&'a str, &'a Path);

/// A running peer.
pub struct Peer {
    /// Which one.
    pub kind: Kind,
    /// Where it answers over UDP and TCP.
    pub addr: SocketAddr,
    daemon: Daemon,
}

impl Peer {
    /// Starts it and waits until it answers for every zone; `None`, said loudly, if it is not installed.
    pub fn start(kind: Kind, scratch: &Scratch, zones: &[Zone]) -> Option<Self> {
        Self::start_with(kind, scratch, zones, "")
    }

    /// The same with more settings: of `options` for BIND, of `server` for NSD, whole sections for Knot.
    pub fn start_with(kind: Kind, scratch: &Scratch, zones: &[Zone], more: &str) -> Option<Self> {
        let binary = installed(kind.binary())?;
        let name = kind.binary();
        // Somebody may take the port between our look and its bind: then it ends at once and gets another.
        for attempt in 0..5 {
            let addr = free_port();
            let folder = scratch.path().join(format!("{name}-{attempt}"));
            std::fs::create_dir_all(&folder).expect("a folder");
            let config = folder.join(format!("{name}.conf"));
            std::fs::write(&config, settings(kind, addr, &folder, zones, more)).expect("a configuration");
            let mut command = Command::new(&binary);
            match kind {
                Kind::Knot => command.arg("-c").arg(&config),
                Kind::Nsd => command.arg("-d").arg("-c").arg(&config),
                Kind::Bind => command.args(["-g", "-n", "1", "-U", "1", "-c"]).arg(&config),
            };
            let mut peer = Self { kind, addr, daemon: Daemon::spawn(command, folder.join("log")) };
            let up = wait::until(&format!("answers of {name}"), SOON, || {
                let ended = peer.daemon.ended();
                (ended || zones.iter().all(|(zone, _)| peer.serves(zone))).then_some(!ended)
            });
            if up {
                return Some(peer);
            }
            let log = peer.daemon.log();
            assert!(log.contains("in use"), "{name} does not start:\n{log}");
        }
        panic!("no port for {name}")
    }

    fn serves(&self, zone: &str) -> bool {
        dns::udp(self.addr, &dns::query(zone, RecordType::SOA)).is_ok_and(|reply| {
            reply.metadata.response_code == ResponseCode::NoError
                && reply.metadata.authoritative
                && !reply.answers.is_empty()
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // NSD has children that only it can end.
        self.daemon.end();
    }
}

/// A line on standard error that the test runner does not swallow.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// The path of a program, looked for where daemons live too; `None`, said loudly, if it is not there.
pub fn installed(binary: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let found = folders.map(|folder| folder.join(binary)).find(|path| path.is_file());
    if found.is_none() {
        skipped(&format!("{binary} is not installed"));
    }
    found
}

/// A port of 127.0.0.1 that is free now for both UDP and TCP.
pub fn free_port() -> SocketAddr {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = tcp.local_addr().expect("its address");
        if UdpSocket::bind(addr).is_ok() {
            return addr;
        }
    }
    panic!("no port that is free for both UDP and TCP")
}

fn settings(kind: Kind, addr: SocketAddr, folder: &Path, zones: &[Zone], more: &str) -> String {
    let (ip, port, folder) = (addr.ip(), addr.port(), folder.display());
    let head = match kind {
        Kind::Knot => format!(
            "server:\n  listen: {ip}@{port}\n  rundir: {folder}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
             database:\n  storage: {folder}\nlog:\n  - target: stderr\n    any: info\n{more}zone:\n"
        ),
        Kind::Nsd => format!(
            "server:\n  server-count: 1\n  rrl-ratelimit: 0\n  minimal-responses: no\n  ip-address: {ip}@{port}\n  username: \"\"\n  chroot: \"\"\n  \
             zonesdir: \"{folder}\"\n  database: \"\"\n  pidfile: \"{folder}/pid\"\n  xfrdfile: \"{folder}/xfrd.state\"\n  \
             xfrdir: \"{folder}\"\n  zonelistfile: \"{folder}/zone.list\"\n{more}remote-control:\n  control-enable: no\n"
        ),
        Kind::Bind => format!(
            "options {{ directory \"{folder}\"; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }}; recursion no; dnssec-validation no; \
             pid-file \"{folder}/pid\"; session-keyfile \"{folder}/key\"; lock-file none; minimal-responses no-auth; \
             allow-transfer {{ none; }}; notify no; empty-zones-enable no; {more} }};\ncontrols {{ }};\n"
        ),
    };
    let zone = |(name, file): &Zone| {
        let file = file.display();
        match kind {
            Kind::Knot => format!(
                "  - domain: {name}\n    file: {file}\n    zonefile-sync: -1\n    journal-content: none\n    semantic-checks: off\n"
            ),
            Kind::Nsd => format!("zone:\n  name: {name}\n  zonefile: {file}\n"),
            Kind::Bind => format!("zone \"{name}\" {{ type primary; file \"{file}\"; check-names ignore; }};\n"),
        }
    };
    head + &zones.iter().map(zone).collect::<String>()
}

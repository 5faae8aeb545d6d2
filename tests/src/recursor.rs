//! Validating recursors as child processes: Unbound and BIND, which believe one trust anchor and find its zone at one server.
//!
//! They keep nothing for longer than a second, so that what they say is what the server says now.

use crate::daemon::{Daemon, SOON, Scratch};
use crate::peer::{free_port, installed};
use crate::{dns, wait};
use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use std::net::SocketAddr;
use std::process::Command;

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Unbound.
    Unbound,
    /// BIND (`named`).
    Bind,
}

/// A running recursor.
pub struct Recursor {
    /// Which one.
    pub kind: Kind,
    addr: SocketAddr,
    daemon: Daemon,
}

/// A zone, where it is served, and the DS data that is believed: key tag, algorithm, digest type, digest.
#[derive(Debug, Clone)]
pub struct Trusted {
    /// The zone's name, without the last dot.
    pub zone: String,
    /// Its server.
    pub server: SocketAddr,
    /// The DS data.
    pub ds: [String; 4],
}

impl Recursor {
    /// Starts it and waits until it validates; `None`, said loudly, if it is not installed.
    pub fn start(kind: Kind, scratch: &Scratch, trusted: &Trusted) -> Option<Self> {
        let binary = installed(match kind {
            Kind::Unbound => "unbound",
            Kind::Bind => "named",
        })?;
        // Somebody may take the port between our look and its bind: then it ends at once and gets another.
        for attempt in 0..5 {
            let addr = free_port();
            let folder = scratch.path().join(format!("recursor-{kind:?}-{attempt}"));
            std::fs::create_dir_all(&folder).expect("a folder");
            let config = folder.join("conf");
            let path = folder.display().to_string();
            std::fs::write(&config, settings(kind, addr, &path, trusted)).expect("a configuration");
            let mut command = Command::new(&binary);
            match kind {
                Kind::Unbound => command.args(["-d", "-c"]).arg(&config),
                Kind::Bind => command.args(["-g", "-n", "1", "-U", "1", "-c"]).arg(&config),
            };
            let mut recursor = Self { kind, addr, daemon: Daemon::spawn(command, folder.join("log")) };
            let up = wait::until(&format!("{kind:?} to validate"), SOON, || {
                let ended = recursor.daemon.ended();
                let validates = || recursor.ask(&trusted.zone, RecordType::SOA).is_ok_and(|m| m.metadata.authentic_data);
                (ended || validates()).then_some(!ended)
            });
            if up {
                return Some(recursor);
            }
            let log = recursor.daemon.log();
            assert!(log.contains("in use"), "{kind:?} does not start:\n{log}");
        }
        panic!("no port for {kind:?}")
    }

    /// Its answer; AD says whether it validated.
    ///
    /// # Errors
    /// Silence for some seconds.
    pub fn ask(&self, name: &str, rtype: RecordType) -> std::io::Result<Message> {
        let mut query = dns::query(name, rtype);
        query.metadata.authentic_data = true;
        dns::udp(self.addr, &query)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.daemon.log()
    }
}

impl Drop for Recursor {
    fn drop(&mut self) {
        self.daemon.end();
    }
}

fn settings(kind: Kind, addr: SocketAddr, folder: &str, trusted: &Trusted) -> String {
    let Trusted { zone, server, ds: [tag, algorithm, digest_type, digest] } = trusted;
    let (ip, port) = (addr.ip(), addr.port());
    let (server_ip, server_port) = (server.ip(), server.port());
    match kind {
        Kind::Unbound => format!(
            "server:\n  interface: {ip}@{port}\n  port: {port}\n  num-threads: 1\n  chroot: \"\"\n  username: \"\"\n  directory: \"{folder}\"\n  \
             pidfile: \"{folder}/pid\"\n  use-syslog: no\n  do-daemonize: no\n  module-config: \"validator iterator\"\n  \
             do-not-query-localhost: no\n  local-zone: \"test.\" nodefault\n  val-log-level: 2\n  cache-max-ttl: 1\n  \
             cache-max-negative-ttl: 1\n  infra-cache-min-rtt: 1000\n  trust-anchor: \"{zone}. DS {tag} {algorithm} {digest_type} {digest}\"\n\
             remote-control:\n  control-enable: no\n\
             stub-zone:\n  name: \"{zone}\"\n  stub-addr: {server_ip}@{server_port}\n  stub-no-cache: yes\n"
        ),
        Kind::Bind => format!(
            "options {{ directory \"{folder}\"; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }}; recursion yes; \
             dnssec-validation yes; pid-file \"{folder}/pid\"; session-keyfile \"{folder}/key\"; lock-file none; notify no; \
             managed-keys-directory \"{folder}\"; \
             max-cache-ttl 1; max-ncache-ttl 1; empty-zones-enable no; }};\ncontrols {{ }};\n\
             trust-anchors {{ {zone}. static-ds {tag} {algorithm} {digest_type} \"{digest}\"; }};\n\
             zone \"{zone}\" {{ type forward; forward only; forwarders {{ {server_ip} port {server_port}; }}; }};\n"
        ),
    }
}

//! The sections of a configuration that both daemons have: `[heartbeat]`, `[admin]`, `[lease]`, and whom a farm's members are.
//!
//! One reader each, so that an option has one name, one range and one text wherever it stands. Nothing here opens a file or a
//! socket that a section names; the daemons do.

use crate::config::{Place, Section};
use crate::id::Id;
use crate::member::LeasePolicy;
use crate::prefix::Prefix;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// For "expected …" of an [`Id`].
pub const LABEL: &str = "1 to 63 lowercase letters, digits and inner hyphens";
/// For "expected …" of a socket's address.
pub const SOCKET: &str = "ADDRESS:PORT, like \"192.0.2.1:53\" or \"[::1]:53\"";

const TOKEN_FILE: &str = "admin.token";
const HOUR_MS: u64 = 3_600_000;
const MEMBERS_MAX: i64 = 20_000;

/// `[heartbeat]`: where heartbeats come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeartbeatListen {
    /// Addresses for datagrams.
    pub udp: Vec<SocketAddr>,
    /// Addresses for HTTP POST.
    pub http: Vec<SocketAddr>,
}

impl HeartbeatListen {
    /// Reads `[heartbeat]` of the file.
    pub fn read(root: &Section) -> Self {
        let s = root.table("heartbeat", "Where heartbeats come in: listeners of their own.");
        Self {
            udp: s.list("listen_udp", &[], SOCKET, "Addresses for heartbeats as UDP datagrams."),
            http: s.list("listen_http", &[], SOCKET, "Addresses for heartbeats as HTTP POST to `/v1/heartbeat`."),
        }
    }

    /// Whether the file names no address at all. One that is wrong is named, and a problem of its own.
    pub fn is_absent(root: &Section) -> bool {
        let s = root.table("heartbeat", "");
        ["listen_udp", "listen_http"].iter().all(|key| !s.has(key) || s.is_empty_list(key))
    }
}

/// Where the admin interface listens: `unix:/path` or a loopback `ADDRESS:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddr {
    /// A socket file; whoever may open it may do everything.
    Unix(PathBuf),
    /// A loopback address; a token is needed.
    Tcp(SocketAddr),
}

/// Why a text is no [`AdminAddr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAdminAddr;

impl AdminAddr {
    /// For "expected …".
    pub const EXPECTED: &str = "\"unix:/PATH\" or a loopback \"ADDRESS:PORT\"";
}

impl fmt::Display for BadAdminAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", AdminAddr::EXPECTED)
    }
}

impl std::error::Error for BadAdminAddr {}

impl FromStr for AdminAddr {
    type Err = BadAdminAddr;
    fn from_str(text: &str) -> Result<Self, BadAdminAddr> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(BadAdminAddr) };
        }
        let addr: SocketAddr = text.parse().map_err(|_| BadAdminAddr)?;
        if addr.ip().is_loopback() { Ok(Self::Tcp(addr)) } else { Err(BadAdminAddr) }
    }
}

impl fmt::Display for AdminAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(addr) => addr.fmt(f),
        }
    }
}

/// `[admin]`: the admin interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminListen {
    /// None: no admin interface.
    pub listen: Option<AdminAddr>,
    /// The file of the token that a loopback address asks for; none for a socket file. As it stands in the configuration, or
    /// `admin.token` in the state directory.
    pub token_file: Option<String>,
    /// For problems with that file.
    pub token_place: Place,
}

impl AdminListen {
    /// Reads `[admin]` of the file; `state_dir` as it stands in the same file.
    pub fn read(root: &Section, state_dir: Option<&str>) -> Self {
        let s = root.table("admin", "The admin interface: status, metrics, and what operators tell the daemon.");
        let about = "Where it listens: a Unix socket, which gets the mode 0660, or a loopback address. None: there is no such interface.";
        let listen = s.optional_parsed("listen", AdminAddr::EXPECTED, about);
        let about = "File with the token that requests to a loopback address must show. Made at the first start if it is not there. \
                     If not set, `admin.token` in the state directory.";
        let configured = s.optional_string("token_file", about);
        let beside_state = || state_dir.map(|dir| Path::new(dir).join(TOKEN_FILE).display().to_string());
        let token_file = configured.or_else(beside_state).filter(|_| matches!(listen, Some(AdminAddr::Tcp(_))));
        if matches!(listen, Some(AdminAddr::Tcp(_))) && token_file.is_none() {
            s.problem(
                "token_file",
                "nothing",
                "a file for the token, since `listen` is no Unix socket and there is no state directory",
            );
        }
        Self { listen, token_file, token_place: s.place("token_file") }
    }
}

/// A farm whose members are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FarmTrust {
    /// Its name.
    pub name: Id,
    /// The file of its secret, as it stands in the configuration.
    pub key_file: String,
    /// For problems with that file.
    pub key_place: Place,
    /// Addresses that its members may announce beside their own.
    pub allowed_prefixes: Vec<Prefix>,
}

impl FarmTrust {
    /// Reads `[farm]` or one `[[farm]]`; `None` only with a problem noted, or in a description.
    pub fn read(s: &Section) -> Option<Self> {
        let name = s.parsed("name", None, LABEL, "The farm's name, as its members say it.");
        let key_file = s.required_string(
            "key_file",
            "File with the farm's secret: 64 hexadecimal digits, as `openssl rand -hex 32` prints them.",
        );
        let allowed_prefixes = s.list(
            "allowed_prefixes",
            &[],
            "an address or ADDRESS/BITS",
            "Addresses that members may announce beside the one that their heartbeats come from.",
        );
        let key_place = s.place("key_file");
        Some(Self { name: name?, key_file, key_place, allowed_prefixes })
    }
}

/// Reads `[lease]` of the file.
pub fn read_lease(root: &Section) -> LeasePolicy {
    let s = root.table("lease", "How long heartbeats are believed.");
    let d = LeasePolicy::default();
    let whole = |key, default: u64, max: i64, about| s.integer(key, default as i64, 1..=max, about).unsigned_abs();
    LeasePolicy {
        lease_periods: s.float(
            "periods",
            d.lease_periods,
            1.5..=100.0,
            "A lease is this many of the periods that a member announces.",
        ),
        lease_ms_min: s.duration_ms("min", d.lease_ms_min, 50..=HOUR_MS, "And never shorter."),
        forget_leases: whole(
            "forget",
            d.forget_leases,
            100_000,
            "A silent member is forgotten after this many leases, unless most of its farm is silent.",
        ),
        grace_ms: s.duration_ms(
            "grace",
            d.grace_ms,
            0..=24 * HOUR_MS,
            "How long members that were known before a restart are served unheard.",
        ),
        members_max: whole(
            "members_max",
            d.members_max as u64,
            MEMBERS_MAX,
            "Members that a farm may have; heartbeats of further ones are refused.",
        ) as usize,
        step_ms_max: d.step_ms_max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Document;

    fn check(text: &str, state_dir: Option<&str>, expect: &[&str]) {
        let document = Document::parse("f", text);
        let root = document.root();
        let _ = (HeartbeatListen::read(&root), AdminListen::read(&root, state_dir), read_lease(&root));
        let _ = root.tables("farm", "Farms.").iter().filter_map(FarmTrust::read).count();
        let problems: Vec<_> = document.finish().iter().map(ToString::to_string).collect();
        assert_eq!(problems, expect, "{text}");
    }

    #[test]
    fn what_is_refused() {
        check("", None, &[]);
        check("admin.listen = 'unix:/run/x'", None, &[]);
        check("admin.listen = '127.0.0.1:1'", Some("state"), &[]);
        check("admin.listen = '127.0.0.1:1'\nadmin.token_file = 't'", None, &[]);
        check(
            "admin.listen = '[::1]:1'",
            None,
            &[
                "f:1: admin.token_file: found nothing, expected a file for the token, since `listen` is no Unix socket and there is no state directory",
            ],
        );
        check(
            "admin.listen = '10.0.0.1:1'",
            None,
            &["f:1: admin.listen: found \"10.0.0.1:1\", expected \"unix:/PATH\" or a loopback \"ADDRESS:PORT\""],
        );
        check(
            "heartbeat.listen_udp = ['x', '127.0.0.1:1']",
            None,
            &["f:1: heartbeat.listen_udp[0]: found \"x\", expected ADDRESS:PORT, like \"192.0.2.1:53\" or \"[::1]:53\""],
        );
        check("[[farm]]\nname='a'", None, &["f:1: farm[0].key_file: found nothing, expected a string"]);
        check(
            "lease.members_max = 0",
            None,
            &["f:1: lease.members_max: found the integer 0, expected an integer from 1 to 20000"],
        );
    }

    #[test]
    fn the_token_lies_beside_the_state() {
        for (text, expect) in [
            ("admin.listen = '127.0.0.1:1'", Some("/s/admin.token")),
            ("admin.listen = '127.0.0.1:1'\nadmin.token_file = 't'", Some("t")),
            ("admin.listen = 'unix:/x'\nadmin.token_file = 't'", None),
            ("", None),
        ] {
            let document = Document::parse("f", text);
            let admin = AdminListen::read(&document.root(), Some("/s"));
            assert_eq!(admin.token_file.as_deref(), expect, "{text}");
        }
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        let document = Document::parse("f", "");
        assert_eq!(read_lease(&document.root()), LeasePolicy::default());
        assert!(HeartbeatListen::is_absent(&document.root()));
        let document = Document::parse("f", "heartbeat.listen_udp = ['x']\nheartbeat.listen_http = []");
        assert!(!HeartbeatListen::is_absent(&document.root()));
    }
}

//! What an agent is told before it starts: who it is, whom it tells, and how. Values only; nothing here reads a file.

use farm_shared::heartbeat::{MemberKey, Role};
use farm_shared::id::Id;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

/// The path of the HTTP carrier when a front end is named without one.
pub(crate) const HEARTBEAT_PATH: &str = "/v1/heartbeat";

/// Who speaks, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The farm.
    pub farm: Id,
    /// The member's id, also its DNS label.
    pub id: Id,
    /// What it is to the front ends.
    pub role: Role,
    /// Its failure domain, if it has one.
    pub zone: Option<Id>,
    /// The addresses it announces, at most 8. Empty: to each front end the source address of the way there.
    pub addrs: Vec<IpAddr>,
    /// The port of its service.
    pub port: u16,
    /// Milliseconds between two heartbeats, before the jitter of 10 %.
    pub period_ms: u64,
    /// A load source that has failed for so many milliseconds means that the backend is dead.
    pub load_stale_ms: u64,
    /// What is said about a dead backend.
    pub on_load_failure: OnLoadFailure,
    /// Names of processes that a redirector's failure drill may have ended here. Empty: none.
    pub drill_allow: Vec<String>,
}

/// What to do when the load source has been failing for `load_stale_ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLoadFailure {
    /// Say nothing more: leases run out, the member stays known.
    #[default]
    Silent,
    /// Say goodbye: the member is forgotten at once.
    Goodbye,
}

/// Everything that [`crate::run`] needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who speaks, and how often.
    pub profile: Profile,
    /// The member's key.
    pub key: MemberKey,
    /// Whom it tells: every dnslb and every redirector.
    pub fronts: Vec<Front>,
    /// The source address of everything sent; none lets the system choose.
    pub bind: Option<IpAddr>,
    /// Where incarnation and drain wishes outlive a restart; none keeps them in memory alone.
    pub state_file: Option<PathBuf>,
    /// The member wants to be drained while this file exists.
    pub drain_file: Option<PathBuf>,
    /// The instance metadata service that is watched for notices; none watches nothing.
    pub imds: Option<crate::imds::Endpoint>,
}

/// One front end: `udp:HOST:PORT` or `http://HOST:PORT/v1/heartbeat`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Front {
    /// Which way.
    pub carrier: Carrier,
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// How a heartbeat travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carrier {
    /// One datagram each way.
    Udp,
    /// An HTTP POST to this path.
    Http(String),
}

/// An `http://` address: of a front end, or of an application that tells its own load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    /// Name or address, without brackets.
    pub host: String,
    /// Port; 80 if none is named.
    pub port: u16,
    /// Path and query, beginning with `/`.
    pub path: String,
}

impl FromStr for HttpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("found {text:?}, expected http://HOST[:PORT]/PATH");
        let rest = text.strip_prefix("http://").ok_or_else(bad)?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if path.len() > 1024 || !path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            return Err(bad());
        }
        let (host, port) = host_port(authority, Some(80)).ok_or_else(bad)?;
        Ok(Self { host, port, path: path.to_owned() })
    }
}

impl HttpUrl {
    /// What stands in the `Host` header.
    pub fn authority(&self) -> String {
        authority(&self.host, self.port)
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

/// A front door as backends fetch certificates from it: `https://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsUrl {
    /// Name or address, without brackets.
    pub host: String,
    /// Port; 443 if none is named.
    pub port: u16,
}

impl FromStr for HttpsUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("found {text:?}, expected https://HOST[:PORT]");
        let rest = text.strip_prefix("https://").ok_or_else(bad)?;
        let (host, port) = host_port(rest.strip_suffix('/').unwrap_or(rest), Some(443)).ok_or_else(bad)?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", authority(&self.host, self.port))
    }
}

impl FromStr for Front {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("found {text:?}, expected udp:HOST:PORT or http://HOST:PORT{HEARTBEAT_PATH}");
        if let Some(rest) = text.strip_prefix("udp:") {
            let (host, port) = host_port(rest, None).ok_or_else(bad)?;
            return Ok(Self { carrier: Carrier::Udp, host, port });
        }
        let url: HttpUrl = text.parse().map_err(|_| bad())?;
        let path = if url.path == "/" { HEARTBEAT_PATH.to_owned() } else { url.path };
        Ok(Self { carrier: Carrier::Http(path), host: url.host, port: url.port })
    }
}

impl fmt::Display for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = authority(&self.host, self.port);
        match &self.carrier {
            Carrier::Udp => write!(f, "udp:{authority}"),
            Carrier::Http(path) => write!(f, "http://{authority}{path}"),
        }
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Splits `HOST:PORT` and `[V6]:PORT`; a name is held to the octets that a name or an IPv4 address may have.
fn host_port(text: &str, default_port: Option<u16>) -> Option<(String, u16)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some(""))?)
    } else {
        let (host, port) = text.split_once(':').unwrap_or((text, ""));
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if !(1..=253).contains(&host.len()) || !host.bytes().all(is_name) {
            return None;
        }
        (host, port)
    };
    let port = if port.is_empty() { default_port } else { port.parse().ok() };
    port.filter(|p| *p != 0).map(|p| (host.to_owned(), p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fronts_are_read_and_printed() {
        for (text, expect) in [
            ("udp:127.0.0.1:5310", Some("udp:127.0.0.1:5310")),
            ("udp:[::1]:5310", Some("udp:[::1]:5310")),
            ("udp:ns1.example.com:5310", Some("udp:ns1.example.com:5310")),
            ("http://lb.example.com", Some("http://lb.example.com:80/v1/heartbeat")),
            ("http://127.0.0.1:8082/v1/heartbeat", Some("http://127.0.0.1:8082/v1/heartbeat")),
            ("http://[::1]:8082/x?y=1", Some("http://[::1]:8082/x?y=1")),
            ("udp:127.0.0.1", None),
            ("udp:127.0.0.1:0", None),
            ("udp:127.0.0.1:65536", None),
            ("udp:::1:5310", None),
            ("udp:[fe80]:1", None),
            ("https://lb.example.com/", None),
            ("http://a b/", None),
            ("http://a/b c", None),
            ("http://user@host/", None),
            ("tcp:1.2.3.4:5", None),
            ("", None),
        ] {
            let front = text.parse::<Front>().ok();
            assert_eq!(front.map(|f| f.to_string()).as_deref(), expect, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,80}") {
            if let Ok(front) = text.parse::<Front>() {
                let again: Result<Front, _> = front.to_string().parse();
                proptest::prop_assert_eq!(again, Ok(front));
            }
        }
    }
}

//! The instance metadata service (IMDSv2): notices that the machine is to go, and who and where it is.
//!
//! It is asked every five seconds, with a session token, in bounded time and octets. A service that is not there must cost nothing, and
//! a service that fails must never be taken for one that has no notice: what was said last stands until something else is said.

mod parse;

use crate::http::exchange;
use crate::logic::Event;
use crate::settings::HttpUrl;
use bytes::Bytes;
use farm_shared::heartbeat::Notice;
use farm_shared::id::Id;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;
use tokio::sync::mpsc;

const EVERY: Duration = Duration::from_secs(5);
/// While the service does not answer, after [`FAILURES_MANY`] attempts.
const EVERY_FAILING: Duration = Duration::from_mins(1);
const FAILURES_MANY: u32 = 12;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
const BODY_BYTES_MAX: usize = 16 * 1024;
/// The longest that the service grants.
const TOKEN_TTL_S: &str = "21600";
const TOKEN_BYTES_MAX: usize = 1_024;
/// Attempts to learn the machine's identity at the start, one a second.
const IDENTITY_ATTEMPTS: u32 = 30;
const LINK_LOCAL: &str = "http://169.254.169.254/";
/// Where Linux tells the maker of the machine.
const VENDOR_FILE: &str = "/sys/class/dmi/id/sys_vendor";
const VENDOR: &str = "Amazon EC2";

type Parse = fn(&str) -> Result<Option<Notice>, String>;
/// What is watched, the most pressing first.
const DOCUMENTS: [(&str, Parse); 3] = [
    ("/latest/meta-data/spot/instance-action", |text| parse::interruption(text).map(Some)),
    ("/latest/meta-data/events/maintenance/scheduled", parse::maintenance),
    ("/latest/meta-data/events/recommendations/rebalance", |text| parse::rebalance(text).map(Some)),
];

/// Whether the service is asked, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Imds {
    /// On an EC2 instance: at its link-local address. Elsewhere: not at all.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// At this address.
    At(Endpoint),
}

/// Where the service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(HttpUrl);

/// What the service says of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `i-0123456789abcdef0`.
    pub instance_id: Option<Id>,
    /// The availability zone.
    pub zone: Option<Id>,
}

impl FromStr for Imds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("found {text:?}, expected \"auto\", \"off\" or http://HOST[:PORT]");
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            url => {
                url.parse::<HttpUrl>().ok().filter(|url| url.path == "/").map(|url| Self::At(Endpoint(url))).ok_or_else(bad)
            }
        }
    }
}

impl fmt::Display for Imds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::At(Endpoint(url)) => write!(f, "http://{}", url.authority()),
        }
    }
}

impl Imds {
    /// Where to ask on this machine; none: there is nobody to ask.
    pub fn endpoint(self) -> Option<Endpoint> {
        match self {
            Self::Off => None,
            Self::At(endpoint) => Some(endpoint),
            Self::Auto => is_ec2(Path::new(VENDOR_FILE)).then(|| LINK_LOCAL.parse().ok().map(Endpoint))?,
        }
    }
}

fn is_ec2(vendor_file: &Path) -> bool {
    std::fs::read_to_string(vendor_file).is_ok_and(|vendor| vendor.trim() == VENDOR)
}

/// One conversation with the service: its address, and the token while it is good.
struct Service {
    endpoint: Endpoint,
    token: Option<String>,
}

/// Why a document was not had.
enum Missing {
    /// The service says that there is none.
    NotThere,
    /// The service did not say.
    Failed(String),
}

impl Service {
    async fn get(&mut self, path: &str) -> Result<String, Missing> {
        for _ in 0..2 {
            let token = match &self.token {
                Some(token) => token.clone(),
                None => self.new_token().await.map_err(Missing::Failed)?,
            };
            let header = ("x-aws-ec2-metadata-token", token.as_str());
            let (status, body) = self.ask(Method::GET, path, header).await.map_err(Missing::Failed)?;
            match status {
                StatusCode::OK => return Ok(body),
                StatusCode::NOT_FOUND => return Err(Missing::NotThere),
                // The token is too old: once more with a new one.
                StatusCode::UNAUTHORIZED => self.token = None,
                other => {
                    return Err(Missing::Failed(format!("{path}: found status {}, expected 200 or 404", other.as_u16())));
                }
            }
        }
        Err(Missing::Failed(format!("{path}: a new token is refused")))
    }

    async fn new_token(&mut self) -> Result<String, String> {
        let path = "/latest/api/token";
        let header = ("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_TTL_S);
        let (status, token) = self.ask(Method::PUT, path, header).await?;
        let is_token = (1..=TOKEN_BYTES_MAX).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic());
        if status != StatusCode::OK || !is_token {
            return Err(format!("{path}: found status {}, expected 200 and a token", status.as_u16()));
        }
        self.token = Some(token.clone());
        Ok(token)
    }

    async fn ask(&self, method: Method, path: &str, header: (&str, &str)) -> Result<(StatusCode, String), String> {
        let named = |error: &dyn fmt::Display| format!("{path}: {error}");
        let url = &self.endpoint.0;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", url.authority())
            .header("connection", "close")
            .header(header.0, header.1)
            .body(Full::new(Bytes::new()))
            .map_err(|e| named(&e))?;
        let answer = async {
            let address: SocketAddr = tokio::net::lookup_host((url.host.as_str(), url.port))
                .await?
                .next()
                .ok_or_else(|| std::io::Error::other("has no address"))?;
            exchange(address, None, request, BODY_BYTES_MAX).await
        };
        let response = tokio::time::timeout(REQUEST_TIMEOUT, answer)
            .await
            .map_err(|_| named(&format!("no answer within {} s", REQUEST_TIMEOUT.as_secs())))?
            .map_err(|e| named(&e))?;
        Ok((response.status(), String::from_utf8_lossy(response.body()).into_owned()))
    }

    /// The most pressing notice that stands, and why it is not known whether there is another.
    async fn notice(&mut self) -> (Option<Notice>, Result<(), String>) {
        let mut found = Vec::new();
        let mut known = Ok(());
        for (path, parse) in DOCUMENTS {
            let told = match self.optional(path).await {
                Ok(text) => text.map_or(Ok(None), |text| parse(&text)),
                Err(why) => Err(why),
            };
            match told {
                Ok(notice) => found.extend(notice),
                Err(why) => known = known.and(Err(why)),
            }
        }
        (found.into_iter().min(), known)
    }

    async fn optional(&mut self, path: &str) -> Result<Option<String>, String> {
        match self.get(path).await {
            Ok(text) => Ok(Some(text)),
            Err(Missing::NotThere) => Ok(None),
            Err(Missing::Failed(why)) => Err(why),
        }
    }
}

/// Tells the agent of each change. Ends when nobody listens any more.
pub(crate) async fn watch(endpoint: Endpoint, tell: mpsc::Sender<Event>) {
    let mut service = Service { endpoint, token: None };
    let mut last = None;
    let mut failures: u32 = 0;
    loop {
        let (found, known) = service.notice().await;
        let notice = match known {
            Ok(()) => {
                if std::mem::take(&mut failures) > 0 {
                    tracing::info!("the instance metadata service answers");
                }
                found
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures == 1 {
                    tracing::warn!(%error, "the instance metadata service does not say whether the machine is to go");
                }
                found.into_iter().chain(last).min()
            }
        };
        if notice != last && tell.send(Event::Machine(notice)).await.is_err() {
            return;
        }
        last = notice;
        tokio::time::sleep(if failures < FAILURES_MANY { EVERY } else { EVERY_FAILING }).await;
    }
}

/// Who and where the machine is. Tried for half a minute, because an agent may start before the network does.
pub async fn identity(endpoint: &Endpoint) -> Result<Identity, String> {
    let mut service = Service { endpoint: endpoint.clone(), token: None };
    let mut error = String::new();
    for _ in 0..IDENTITY_ATTEMPTS {
        match ask_identity(&mut service).await {
            Ok(identity) => return Ok(identity),
            Err(why) => error = why,
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Err(error)
}

async fn ask_identity(service: &mut Service) -> Result<Identity, String> {
    let label = |what: &str, text: Option<String>| -> Result<Option<Id>, String> {
        let read =
            |text: String| Id::new(text.trim()).map_err(|expected| format!("{what}: found {text:?}, expected {expected}"));
        text.map(read).transpose()
    };
    Ok(Identity {
        instance_id: label("instance-id", service.optional("/latest/meta-data/instance-id").await?)?,
        zone: label("zone", service.optional("/latest/meta-data/placement/availability-zone").await?)?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn where_the_service_is() {
        for (text, expect) in [
            ("auto", Some("auto")),
            ("off", Some("off")),
            ("http://127.0.0.1:1338", Some("http://127.0.0.1:1338")),
            ("http://[fd00:ec2::254]/", Some("http://[fd00:ec2::254]:80")),
            ("http://127.0.0.1/latest", None),
            ("https://127.0.0.1", None),
            ("on", None),
        ] {
            assert_eq!(text.parse::<Imds>().ok().map(|imds| imds.to_string()).as_deref(), expect, "{text}");
        }
        assert!(!is_ec2(Path::new("/does/not/exist")));
    }
}

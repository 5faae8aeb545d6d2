//! Why: sessions whose state lies on one server, behind a balancer that may send any request anywhere (seed 003, 5.2): the session's
//! id names its custodian, and whoever gets a request for another one's session hands it on, once.
//! Never: no request goes to an address that is not in the list of custodians, and none is handed on a second time.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, COOKIE, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Says that a request was handed on, and by whom.
pub const FORWARDED_HEADER: &str = "farm-forwarded-by";
/// A body that is handed on may be so long either way, bytes.
const BODY_LEN_MAX: usize = 1 << 20;
/// Time for a request that is handed on.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(10);
/// The list is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A list longer than this is cut, bytes.
const LIST_LEN_MAX: u64 = 1 << 20;
/// Digits of the part of a session id that nobody can guess.
const TOKEN_LEN: usize = 32;

/// A session's id: 128 random bits and the custodian that keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionId {
    /// What nobody can guess.
    pub token: u128,
    /// Who keeps it.
    pub custodian: String,
}

impl SessionId {
    /// Reads `TOKEN.CUSTODIAN`; none if it is not of that form.
    pub fn parse(text: &str) -> Option<Self> {
        let (token, custodian) = text.split_once('.')?;
        let well_formed = token.len() == TOKEN_LEN && token.bytes().all(|b| b.is_ascii_hexdigit());
        let named = (1..=64).contains(&custodian.len()) && custodian.bytes().all(|b| b.is_ascii_graphic());
        let token = u128::from_str_radix(token, 16).ok().filter(|_| well_formed && named)?;
        Some(Self { token, custodian: custodian.to_owned() })
    }

    /// The first well-formed one in the cookies of a request.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let fields = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = fields.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().strip_prefix("session="));
        pairs.find_map(Self::parse)
    }
}

/// Where a request's session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Here, or nowhere.
    Here,
    /// At another custodian.
    There(SocketAddr),
}

/// What was done, for `GET /farm/custodian`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tally {
    /// Requests of sessions, from clients.
    pub requests: u64,
    /// Of those, handed on to their custodian.
    pub forwarded: u64,
    /// Handed on, and the custodian did not answer.
    pub failed: u64,
    /// Requests that named nobody of the list.
    pub unknown: u64,
    /// Requests that others handed on to this one.
    pub served_for_others: u64,
}

/// The list of valid custodians and what was done with it.
#[derive(Debug)]
pub struct Custodians {
    own: String,
    file: PathBuf,
    list: Mutex<List>,
    requests: AtomicU64,
    forwarded: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
    served_for_others: AtomicU64,
}

#[derive(Debug)]
struct List {
    addresses: BTreeMap<String, SocketAddr>,
    looked: Instant,
    changed: Option<SystemTime>,
}

/// Reads a list: lines of a name, white space, an address with port; others are left out.
fn parse(text: &str) -> BTreeMap<String, SocketAddr> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, address, None) = (words.next()?, words.next()?, words.next()) else { return None };
        Some((name.to_owned(), address.parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

impl Custodians {
    /// The custodian called `own`, with the others in `file`, which is read again when it changes.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn new(own: &str, file: PathBuf) -> Result<Self, String> {
        let addresses = read(&file).map_err(|error| format!("--custodians {}: {error}", file.display()))?;
        let changed = file.metadata().and_then(|m| m.modified()).ok();
        Ok(Self {
            own: own.to_owned(),
            file,
            list: Mutex::new(List { addresses, looked: Instant::now(), changed }),
            requests: AtomicU64::new(0),
            forwarded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            served_for_others: AtomicU64::new(0),
        })
    }

    /// A token for a new session, from the system's randomness: a guess would open somebody's session.
    ///
    /// # Errors
    /// If the system has none.
    pub fn token() -> std::io::Result<u128> {
        let mut bytes = [0; 16];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(u128::from_be_bytes(bytes))
    }

    /// The session id of a token that is kept here.
    pub fn id(&self, token: u128) -> String {
        format!("{token:032x}.{}", self.own)
    }

    /// Where a request belongs. Who is not in the list is nobody: the request stays here and finds no session.
    pub fn place(&self, headers: &HeaderMap) -> Place {
        let Some(id) = SessionId::of(headers) else { return Place::Here };
        if headers.contains_key(FORWARDED_HEADER) {
            // Handed on once: whoever the id names, it goes no further.
            self.served_for_others.fetch_add(1, Ordering::Relaxed);
            return Place::Here;
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        if id.custodian == self.own {
            return Place::Here;
        }
        let Some(address) = self.address(&id.custodian) else {
            self.unknown.fetch_add(1, Ordering::Relaxed);
            return Place::Here;
        };
        Place::There(address)
    }

    fn address(&self, name: &str) -> Option<SocketAddr> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.looked.elapsed() >= LOOK_AGAIN {
            list.looked = Instant::now();
            let changed = self.file.metadata().and_then(|m| m.modified()).ok();
            if changed != list.changed
                && let Ok(addresses) = read(&self.file)
            {
                (list.addresses, list.changed) = (addresses, changed);
            }
        }
        list.addresses.get(name).copied()
    }

    /// Hands a request on and brings the answer back as it is; none if the custodian did not answer.
    pub async fn forward(&self, request: Request<Incoming>, to: SocketAddr) -> Option<Response<Full<Bytes>>> {
        self.forwarded.fetch_add(1, Ordering::Relaxed);
        let answer = timeout(FORWARD_TIMEOUT, self.ask(request, to)).await.ok().flatten();
        self.failed.fetch_add(u64::from(answer.is_none()), Ordering::Relaxed);
        answer
    }

    async fn ask(&self, request: Request<Incoming>, to: SocketAddr) -> Option<Response<Full<Bytes>>> {
        let (mut head, body) = request.into_parts();
        let body = Limited::new(body, BODY_LEN_MAX).collect().await.ok()?.to_bytes();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        head.uri = path.parse().ok()?;
        // These are of one connection, not of the request (RFC 9110 7.6.1); the length is known now.
        for name in [CONNECTION, TRANSFER_ENCODING] {
            head.headers.remove(name);
        }
        head.headers.entry(HOST).or_insert(HeaderValue::from_str(&to.to_string()).ok()?);
        head.headers.insert(FORWARDED_HEADER, HeaderValue::from_str(&self.own).ok()?);
        let stream = TcpStream::connect(to).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        let exchange = async {
            let answer = sender.send_request(Request::from_parts(head, Full::new(body))).await.ok()?;
            let (mut head, body) = answer.into_parts();
            let body = Limited::new(body, BODY_LEN_MAX).collect().await.ok()?.to_bytes();
            for name in [CONNECTION, TRANSFER_ENCODING] {
                head.headers.remove(name);
            }
            head.headers.insert(FORWARDED_HEADER, HeaderValue::from_str(&self.own).ok()?);
            Some(Response::from_parts(head, Full::new(body)))
        };
        tokio::pin!(exchange, connection);
        tokio::select! {
            answer = &mut exchange => answer,
            _ = &mut connection => exchange.await,
        }
    }

    /// What was done so far.
    pub fn tally(&self) -> Tally {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Tally {
            requests: of(&self.requests),
            forwarded: of(&self.forwarded),
            failed: of(&self.failed),
            unknown: of(&self.unknown),
            served_for_others: of(&self.served_for_others),
        }
    }
}

fn read(file: &std::path::Path) -> std::io::Result<BTreeMap<String, SocketAddr>> {
    let mut text = String::new();
    std::fs::File::open(file)?.take(LIST_LEN_MAX).read_to_string(&mut text)?;
    Ok(parse(&text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids() {
        let check = |text: &str, expect: Option<(u128, &str)>| {
            let found = SessionId::parse(text).map(|id| (id.token, id.custodian));
            assert_eq!(found, expect.map(|(token, name)| (token, name.to_owned())), "{text}");
        };
        check("0000000000000000000000000000000a.b1", Some((10, "b1")));
        check("0000000000000000000000000000000a.", None);
        check("0000000000000000000000000000000a", None);
        check("+000000000000000000000000000000a.b1", None);
        check("a.b1", None);
        check(&format!("0000000000000000000000000000000a.{}", "b".repeat(65)), None);
    }

    #[test]
    fn a_list_leaves_out_what_it_cannot_read() {
        let list = parse("b1 127.0.0.1:80\n\nb2 nowhere:80\nb3 [::1]:81 more\nb4\t[::1]:82\n");
        assert_eq!(list.into_keys().collect::<Vec<_>>(), ["b1", "b4"]);
        assert_ne!(Custodians::token().unwrap(), Custodians::token().unwrap());
    }
}

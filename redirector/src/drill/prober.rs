//! Users of a drill's own: they enter by the front door, follow where it sends them, stay for a while, and reload what fails.
//!
//! What they saw is what a drill reports and stops by. They must never ask faster when things fail: a failed attempt is followed by a
//! pause, as with people.

use bytes::Bytes;
use farm_daemon::clock::Clock;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{COOKIE, HOST, LOCATION, SET_COOKIE};
use hyper_util::rt::TokioIo;
use redirector_core::drill::Users;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Requests of one session, the one that enters included.
const SESSION_REQUESTS: u32 = 8;
/// Attempts of one request.
const ATTEMPTS_MAX: u32 = 5;
const RETRY_MS: u64 = 500;
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
const LATENCIES_MAX: usize = 100_000;
const KINDS_MAX: usize = 32;
/// Times that are kept of one location.
const SENT_MAX: usize = 2_000;

/// Who enters, and where.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The front door.
    pub door: SocketAddr,
    /// The name that it is asked for.
    pub host: String,
    /// The path that is entered by.
    pub path: String,
    /// Users at a time; 0: nobody looks.
    pub users: u32,
    /// From one request of a user to the next, in milliseconds.
    pub think_ms: u64,
    /// A request that takes longer has failed, in milliseconds.
    pub timeout_ms: u64,
}

#[derive(Debug, Default)]
struct Tally {
    users: Users,
    latencies_ms: Vec<u64>,
    failures: BTreeMap<String, u64>,
    last_success_ms: u64,
    /// By location: when the door sent somebody there, the latest last.
    sent_ms: BTreeMap<String, VecDeque<u64>>,
}

/// The users.
#[derive(Debug)]
pub struct Prober {
    tally: Arc<Mutex<Tally>>,
    clock: Clock,
    _tasks: JoinSet<()>,
}

struct Answer {
    status: u16,
    location: Option<String>,
    cookie: Option<String>,
}

/// Where a user is.
#[derive(Default)]
struct Session {
    location: Option<String>,
    cookie: Option<String>,
}

impl Prober {
    /// Lets the users begin, spread over one think time.
    pub fn start(probe: &Probe, clock: Clock) -> Self {
        let tally = Arc::new(Mutex::new(Tally { last_success_ms: clock.now().mono.0, ..Tally::default() }));
        let mut tasks = JoinSet::new();
        for number in 0..u64::from(probe.users) {
            let (probe, tally) = (probe.clone(), Arc::clone(&tally));
            tasks.spawn(async move {
                sleep(Duration::from_millis(probe.think_ms * number / u64::from(probe.users.max(1)))).await;
                live(&probe, &tally, clock).await;
            });
        }
        Self { tally, clock, _tasks: tasks }
    }

    /// What they saw so far.
    pub fn users(&self) -> Users {
        let now_ms = self.clock.now().mono.0;
        let tally = lock(&self.tally);
        let mut users = tally.users.clone();
        if users.requests > 0 {
            users.gap_ms_max = users.gap_ms_max.max(now_ms.saturating_sub(tally.last_success_ms));
        }
        let mut sorted = tally.latencies_ms.clone();
        sorted.sort_unstable();
        let rank = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        (users.latency_ms_p50, users.latency_ms_p95) = (rank(50), rank(95));
        users.failures = tally.failures.iter().map(|(what, count)| (what.clone(), *count)).collect();
        users
    }

    /// When the door last sent somebody to a location, up to a time on the monotonic clock: later on another server may have it.
    pub fn last_sent_ms(&self, location: &str, until_ms: u64) -> Option<u64> {
        lock(&self.tally).sent_ms.get(location)?.iter().rev().copied().find(|at| *at <= until_ms)
    }
}

impl Tally {
    fn sent(&mut self, location: &str, now_ms: u64) {
        let times = self.sent_ms.entry(location.to_owned()).or_default();
        times.push_back(now_ms);
        if times.len() > SENT_MAX {
            times.pop_front();
        }
    }

    fn attempted(&mut self, attempt: u32, outcome: Result<(), String>, began_ms: u64, now_ms: u64) {
        match outcome {
            Ok(()) => {
                self.users.gap_ms_max = self.users.gap_ms_max.max(now_ms.saturating_sub(self.last_success_ms));
                self.last_success_ms = now_ms;
                if attempt == 0 && self.latencies_ms.len() < LATENCIES_MAX {
                    self.latencies_ms.push(now_ms.saturating_sub(began_ms));
                }
            }
            Err(why) => {
                self.users.errors += u64::from(attempt == 0);
                self.users.retries += u64::from(attempt + 1 < ATTEMPTS_MAX);
                if self.failures.len() < KINDS_MAX || self.failures.contains_key(&why) {
                    *self.failures.entry(why).or_default() += 1;
                }
            }
        }
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn live(probe: &Probe, tally: &Mutex<Tally>, clock: Clock) {
    loop {
        let mut session = Session::default();
        for _ in 0..SESSION_REQUESTS {
            let next = tokio::time::Instant::now() + Duration::from_millis(probe.think_ms);
            if !request(probe, &mut session, tally, clock).await {
                break;
            }
            tokio::time::sleep_until(next).await;
        }
    }
}

/// One request, with its attempts. False: it failed for good, and the user begins anew.
async fn request(probe: &Probe, session: &mut Session, tally: &Mutex<Tally>, clock: Clock) -> bool {
    lock(tally).users.requests += 1;
    for attempt in 0..ATTEMPTS_MAX {
        let began = clock.now().mono;
        let limit = Duration::from_millis(probe.timeout_ms);
        let outcome =
            timeout(limit, once(probe, session, tally, clock)).await.unwrap_or_else(|_| Err("no answer in time".into()));
        let is_good = outcome.is_ok();
        lock(tally).attempted(attempt, outcome, began.0, clock.now().mono.0);
        if is_good {
            return true;
        }
        // Back to the front door, with the cookie: what a reload of the entry page does.
        session.location = None;
        sleep(Duration::from_millis(RETRY_MS)).await;
    }
    lock(tally).users.lost += 1;
    false
}

async fn once(probe: &Probe, session: &mut Session, tally: &Mutex<Tally>, clock: Clock) -> Result<(), String> {
    let location = if let Some(location) = session.location.clone() {
        location
    } else {
        let answer = get(probe.door, &probe.host, &probe.path, session.cookie.as_deref()).await;
        let answer = answer.map_err(|why| format!("door: {why}"))?;
        if answer.status == 503 {
            lock(tally).users.waits += 1;
        }
        let location = answer.location.filter(|_| (300..400).contains(&answer.status));
        let location = location.ok_or_else(|| format!("door: status {}", answer.status))?;
        let (authority, _) = split(&location).ok_or_else(|| "door: a location that is no URL".to_owned())?;
        lock(tally).sent(authority, clock.now().mono.0);
        session.cookie = answer.cookie.or(session.cookie.take());
        session.location = Some(location.clone());
        location
    };
    let Some(authority) = location.strip_prefix("http://") else {
        // Without TLS of our own, the redirect is all that can be looked at.
        return Ok(());
    };
    let (authority, path) = authority.find('/').map_or((authority, "/"), |at| authority.split_at(at));
    let name = if authority.rsplit_once(':').is_some() { authority.to_owned() } else { format!("{authority}:80") };
    let mut addrs = tokio::net::lookup_host(name).await.map_err(|_| "server: its name is not known".to_owned())?;
    let addr = addrs.next().ok_or_else(|| "server: its name has no address".to_owned())?;
    let answer = get(addr, authority, path, None).await.map_err(|why| format!("server: {why}"))?;
    if (200..400).contains(&answer.status) { Ok(()) } else { Err(format!("server: status {}", answer.status)) }
}

/// Scheme and authority, and the rest.
fn split(location: &str) -> Option<(&str, &str)> {
    let from = location.find("://")? + 3;
    let end = location.get(from..)?.find('/').map_or(location.len(), |at| from + at);
    Some(location.split_at(end))
}

async fn get(addr: SocketAddr, host: &str, path: &str, cookie: Option<&str>) -> Result<Answer, String> {
    let stream = TcpStream::connect(addr).await.map_err(|e| e.kind().to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| "no HTTP".to_owned())?;
    let mut request = Request::builder().uri(path).header(HOST, host);
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, cookie);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|_| "a URL that cannot be asked for".to_owned())?;
    // It ends with the stream, or with the time limit that drops this future.
    let exchange = async {
        let (head, body) = sender.send_request(request).await.map_err(|_| "the connection broke".to_owned())?.into_parts();
        Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|_| "the answer broke off".to_owned())?;
        Ok::<_, String>(head)
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    let mut is_open = true;
    let head: hyper::http::response::Parts = loop {
        tokio::select! {
            head = &mut exchange => break head?,
            _ = &mut connection, if is_open => is_open = false,
        }
    };
    let header = |name| head.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let cookie = header(SET_COOKIE).and_then(|c| c.split(';').next().map(|c| c.trim().to_owned()));
    Ok(Answer { status: head.status.as_u16(), location: header(LOCATION), cookie })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        for (location, expect) in [
            ("http://127.0.1.11:8080/x?y", Some("http://127.0.1.11:8080")),
            ("https://b1.farm.example.com", Some("https://b1.farm.example.com")),
            ("/x", None),
        ] {
            assert_eq!(split(location).map(|s| s.0), expect);
        }
    }
}

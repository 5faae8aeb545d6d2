//! Runs the checks that the control loop asks for: TCP connect, HTTP GET and HTTPS GET.
//!
//! A check judges nothing: its outcome goes back as an event, and the core counts rise and fall. It must never outlive its timeout,
//! read without bound, run beside more than [`RUNNING_MAX`] others or beside itself, or blame a member for what we lack ourselves.

use bytes::Bytes;
use dnslb_core::health::{CheckId, CheckJob, CheckKind, CheckSpec};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::check_tls::TlsConfigs;

/// Checks that run at the same time; further ones wait their turn, and their timeout begins when it comes.
pub const RUNNING_MAX: usize = 512;

/// Octets of a response's body that are looked at. A health page is short; a long one counts by its status.
const BODY_OCTETS_MAX: usize = 64 * 1024;

/// Octets of a response's header.
const HEADER_OCTETS_MAX: usize = 16 * 1024;

/// The outcome of one check.
#[derive(Debug)]
pub struct Outcome {
    /// Which check.
    pub id: CheckId,
    /// Success, or what went wrong in words.
    pub result: Result<(), String>,
}

/// Runs checks.
#[derive(Clone)]
pub struct Checker {
    turns: Arc<Semaphore>,
    outcomes: mpsc::Sender<Outcome>,
    counts: Arc<[AtomicU64; 3]>,
    running: Arc<Mutex<BTreeSet<CheckId>>>,
}

/// A check that runs or waits for its turn; it may be started again once this is dropped.
struct Running {
    id: CheckId,
    all: Arc<Mutex<BTreeSet<CheckId>>>,
}

impl Running {
    /// `None` if it runs already: when thousands of members are silent, each has one check waiting and no more.
    fn begin(id: CheckId, all: &Arc<Mutex<BTreeSet<CheckId>>>) -> Option<Self> {
        let begun = all.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        begun.then(|| Self { id, all: Arc::clone(all) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Checker {
    /// A checker whose outcomes go to `outcomes`.
    pub fn new(outcomes: mpsc::Sender<Outcome>) -> Self {
        Self { turns: Arc::new(Semaphore::new(RUNNING_MAX)), outcomes, counts: Arc::default(), running: Arc::default() }
    }

    /// Starts one check, unless it runs already.
    pub fn start(&self, job: CheckJob, tls: &Arc<TlsConfigs>) {
        let Some(running) = Running::begin(job.id, &self.running) else { return };
        let (this, tls) = (self.clone(), Arc::clone(tls));
        tokio::spawn(async move {
            let Ok(_turn) = this.turns.acquire().await else { return };
            let limit = Duration::from_millis(job.spec.timeout_ms);
            let to = SocketAddr::new(job.addr, job.spec.port);
            let result = timeout(limit, check(to, &job.spec, &tls))
                .await
                .unwrap_or_else(|_| Some(Err(format!("no outcome within {} ms", job.spec.timeout_ms))));
            drop(running);
            let [ok, failed, not_run] = &*this.counts;
            let Some(result) = result else {
                not_run.fetch_add(1, Relaxed);
                return;
            };
            if result.is_ok() { ok } else { failed }.fetch_add(1, Relaxed);
            // The control loop has ended when nobody listens: so does the check.
            let _ = this.outcomes.send(Outcome { id: job.id, result }).await;
        });
    }

    /// Checks so far that succeeded, that failed, and that could not be made.
    pub fn counts(&self) -> [u64; 3] {
        [0, 1, 2].map(|i: usize| self.counts.get(i).map_or(0, |counter| counter.load(Relaxed)))
    }
}

/// `None` if it could not be made: that says nothing about the member.
async fn check(to: SocketAddr, spec: &CheckSpec, tls: &TlsConfigs) -> Option<Result<(), String>> {
    match TcpStream::connect(to).await {
        Ok(stream) => Some(look(stream, to, spec, tls).await),
        Err(error) if is_ours(&error) => None,
        Err(error) => Some(Err(format!("connect: {error}"))),
    }
}

/// Whether a connection failed for want of descriptors or memory on our side.
fn is_ours(error: &io::Error) -> bool {
    let ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| ours.contains(&errno))
}

async fn look(stream: TcpStream, to: SocketAddr, spec: &CheckSpec, tls: &TlsConfigs) -> Result<(), String> {
    match spec.kind {
        CheckKind::Tcp => Ok(()),
        CheckKind::Http => get(stream, to, spec).await,
        CheckKind::Https => get(tls.connect(stream, to, spec).await?, to, spec).await,
    }
}

async fn get<S>(stream: S, to: SocketAddr, spec: &CheckSpec) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let host = spec.host.clone().unwrap_or_else(|| to.to_string());
    let request = Request::get(&spec.path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("dnslb/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| format!("request: {e}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEADER_OCTETS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| format!("http: {e}"))?;
    // Ended with this function, whichever way it ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(|e| format!("http: {e}"))?;
    let status = response.status().as_u16();
    let good = spec.expect_status.map_or((200..400).contains(&status), |expected| expected == status);
    if !good {
        return Err(format!("status {status}"));
    }
    drain(response).await
}

/// Reads the body, since a server that stalls in the middle of it is not well.
async fn drain(response: Response<Incoming>) -> Result<(), String> {
    let mut body = response.into_body();
    let mut octets = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| format!("body: {e}"))?;
        octets += frame.data_ref().map_or(0, Bytes::len);
        if octets > BODY_OCTETS_MAX {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::IpAddr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn spec(kind: CheckKind, port: u16, expect_status: Option<u16>) -> Arc<CheckSpec> {
        Arc::new(CheckSpec {
            kind,
            port,
            path: "/health".into(),
            host: Some("b1.example.com".into()),
            expect_status,
            interval_ms: 10_000,
            timeout_ms: 5_000,
            rise: 1,
            fall: 1,
            tls_verify: true,
            ca_file: None,
        })
    }

    async fn outcome(job: CheckJob) -> Result<(), String> {
        let (sender, mut receiver) = mpsc::channel(1);
        let checker = Checker::new(sender);
        checker.start(job, &Arc::default());
        let outcome = receiver.recv().await.unwrap();
        assert_eq!(checker.counts().iter().sum::<u64>(), 1);
        outcome.result
    }

    /// Serves one connection with a fixed response and returns what was asked.
    async fn server(response: &'static [u8]) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let len = stream.read(&mut asked).await.unwrap();
            stream.write_all(response).await.unwrap();
            String::from_utf8_lossy(&asked[..len]).into_owned()
        });
        (port, served)
    }

    async fn check_http(response: &'static [u8], expect_status: Option<u16>, expect: Result<(), &str>) {
        let (port, served) = server(response).await;
        let addr = IpAddr::from([127, 0, 0, 1]);
        let job = CheckJob { id: CheckId(1), addr, spec: spec(CheckKind::Http, port, expect_status) };
        assert_eq!(outcome(job).await.as_ref().map_err(String::as_str).copied(), expect);
        let asked = served.await.unwrap();
        assert!(asked.starts_with("GET /health HTTP/1.1\r\nhost: b1.example.com\r\n"), "{asked}");
    }

    #[test]
    fn what_we_lack_is_no_fault_of_theirs() {
        for (errno, ours) in [(Errno::MFILE, true), (Errno::NOBUFS, true), (Errno::CONNREFUSED, false)] {
            assert_eq!(is_ours(&errno.into()), ours, "{errno}");
        }
    }

    #[tokio::test]
    async fn a_check_never_runs_beside_itself() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let job = CheckJob { id: CheckId(1), addr: [127, 0, 0, 1].into(), spec: spec(CheckKind::Http, port, None) };
        let (sender, mut receiver) = mpsc::channel(4);
        let checker = Checker::new(sender);
        for _ in 0..3 {
            checker.start(job.clone(), &Arc::default());
        }
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        assert_eq!(receiver.recv().await.unwrap().result, Ok(()));
        assert_eq!(checker.counts(), [1, 0, 0]);
        checker.start(job, &Arc::default());
        drop(listener.accept().await.unwrap());
        assert!(receiver.recv().await.unwrap().result.is_err());
        assert_eq!(checker.counts(), [1, 1, 0]);
    }

    #[tokio::test]
    async fn a_get_is_judged_by_its_status() {
        check_http(b"HTTP/1.1 204 No Content\r\n\r\n", None, Ok(())).await;
        check_http(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", None, Ok(())).await;
        check_http(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", None, Err("status 503")).await;
        check_http(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", Some(503), Ok(())).await;
        check_http(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Some(204), Err("status 200")).await;
    }

    #[tokio::test]
    async fn what_is_no_http_fails() {
        let (port, _served) = server(b"220 mail ready\r\n\r\n").await;
        let job = CheckJob { id: CheckId(1), addr: [127, 0, 0, 1].into(), spec: spec(CheckKind::Http, port, None) };
        assert!(outcome(job).await.unwrap_err().starts_with("http: "));
    }

    #[tokio::test]
    async fn a_tcp_check_needs_a_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let job = CheckJob { id: CheckId(1), addr: [127, 0, 0, 1].into(), spec: spec(CheckKind::Tcp, port, None) };
        assert_eq!(outcome(job.clone()).await, Ok(()));
        drop(listener);
        assert!(outcome(job).await.unwrap_err().starts_with("connect: "));
    }

    #[tokio::test]
    async fn https_without_its_configuration_is_refused() {
        let (port, _served) = server(b"").await;
        let job = CheckJob { id: CheckId(1), addr: [127, 0, 0, 1].into(), spec: spec(CheckKind::Https, port, None) };
        assert!(outcome(job).await.unwrap_err().starts_with("tls: "));
    }
}

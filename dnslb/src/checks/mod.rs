//! Runs the checks that the control loop asks for: connections, handshakes, requests, agents and commands.
//!
//! A check judges nothing: its outcome goes back as an event, and the core counts rise and fall. It must never outlive its timeout,
//! read without bound, run beside more than [`RUNNING_MAX`] others or beside itself, or blame a member for what we lack ourselves.

mod exec;
mod http;

use dnslb_core::health::{CheckId, CheckJob, CheckKind, CheckSpec, Finding, not_after, parse_agent};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::check_tls::TlsConfigs;

/// Checks that run at the same time; further ones wait their turn, and their timeout begins when it comes.
pub const RUNNING_MAX: usize = 512;

/// Octets of an agent's line.
const AGENT_OCTETS_MAX: usize = 512;

/// What was found, or how it failed in words.
type Found = Result<Finding, String>;

/// The outcome of one check.
#[derive(Debug)]
pub struct Outcome {
    /// Which check.
    pub id: CheckId,
    /// What was found, or what went wrong in words.
    pub result: Result<Finding, String>,
}

/// Runs checks.
#[derive(Clone)]
pub struct Checker {
    turns: Arc<Semaphore>,
    commands: Arc<Semaphore>,
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
        let commands = Arc::new(Semaphore::new(exec::RUNNING_MAX));
        Self {
            turns: Arc::new(Semaphore::new(RUNNING_MAX)),
            commands,
            outcomes,
            counts: Arc::default(),
            running: Arc::default(),
        }
    }

    /// Starts one check, unless it runs already.
    pub fn start(&self, job: CheckJob, tls: &Arc<TlsConfigs>) {
        let Some(running) = Running::begin(job.id, &self.running) else { return };
        let (this, tls) = (self.clone(), Arc::clone(tls));
        tokio::spawn(async move {
            let Ok(_turn) = this.turns.acquire().await else { return };
            let limit = Duration::from_millis(job.spec.timeout_ms);
            let to = SocketAddr::new(job.addr, job.spec.port);
            let result = timeout(limit, check(to, &job.spec, &tls, &this.commands))
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
async fn check(to: SocketAddr, spec: &CheckSpec, tls: &TlsConfigs, commands: &Semaphore) -> Option<Found> {
    if spec.kind == CheckKind::Exec {
        return exec::exec(to, spec, commands).await.map(|result| result.map(|()| Finding::default()));
    }
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

async fn look(stream: TcpStream, to: SocketAddr, spec: &CheckSpec, tls: &TlsConfigs) -> Found {
    let plain = |()| Finding::default();
    match spec.kind {
        CheckKind::Tcp | CheckKind::Exec => Ok(Finding::default()),
        CheckKind::Http => http::get(stream, to, spec).await.map(plain),
        CheckKind::Grpc => http::grpc(stream, to, spec).await.map(plain),
        CheckKind::NodeExporter => http::node_exporter(stream, to, spec).await,
        CheckKind::Agent => agent(stream).await,
        CheckKind::Https | CheckKind::Tls => {
            let stream = tls.connect(stream, to, spec).await?;
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let finding = Finding { not_after: certificate.and_then(|der| not_after(der)), ..Finding::default() };
            if spec.kind == CheckKind::Https {
                http::get(stream, to, spec).await?;
            }
            Ok(finding)
        }
    }
}

/// Reads the line that HAProxy's agent sends to whoever connects.
async fn agent(mut stream: TcpStream) -> Found {
    let mut line = [0; AGENT_OCTETS_MAX];
    let mut len = 0;
    while let Some(room) = line.get_mut(len..).filter(|room| !room.is_empty()) {
        let octets = stream.read(room).await.map_err(|e| format!("agent: {e}"))?;
        len += octets;
        let read = line.get(..len).unwrap_or_default();
        if octets == 0 || read.contains(&b'\n') {
            break;
        }
    }
    let advice = parse_agent(line.get(..len).unwrap_or_default())?;
    Ok(Finding { advice: Some(advice), ..Finding::default() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dnslb_core::health::{Advice, Mode};
    use http_body_util::{BodyExt as _, Full};
    use std::net::IpAddr;
    use tokio::io::AsyncWriteExt as _;
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
            ..CheckSpec::default()
        })
    }

    async fn outcome(job: CheckJob) -> Result<Finding, String> {
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
        assert_eq!(outcome(job).await.map(|_| ()).as_ref().map_err(String::as_str).copied(), expect);
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
        assert_eq!(receiver.recv().await.unwrap().result, Ok(Finding::default()));
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
        assert_eq!(outcome(job.clone()).await, Ok(Finding::default()));
        drop(listener);
        assert!(outcome(job).await.unwrap_err().starts_with("connect: "));
    }

    #[tokio::test]
    async fn https_without_its_configuration_is_refused() {
        let (port, _served) = server(b"").await;
        let job = CheckJob { id: CheckId(1), addr: [127, 0, 0, 1].into(), spec: spec(CheckKind::Https, port, None) };
        assert!(outcome(job).await.unwrap_err().starts_with("tls: "));
    }

    async fn said(kind: CheckKind, text: &'static [u8]) -> Result<Finding, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            if kind != CheckKind::Agent {
                let _ = stream.read(&mut [0; 1024]).await;
            }
            stream.write_all(text).await.unwrap();
        });
        outcome(CheckJob { id: CheckId(1), addr: [127, 0, 0, 1].into(), spec: spec(kind, port, None) }).await
    }

    #[tokio::test]
    async fn an_agent_is_heard() {
        let advice = |weight, mode| Ok(Finding { advice: Some(Advice { weight, mode }), ..Finding::default() });
        assert_eq!(said(CheckKind::Agent, b"up 50%\n").await, advice(Some(0.5), None));
        assert_eq!(said(CheckKind::Agent, b"drain").await, advice(None, Some(Mode::Drain)));
        assert_eq!(said(CheckKind::Agent, b"down#full\n").await, Err("the agent says down: full".into()));
        assert!(said(CheckKind::Agent, &[b'x'; 4_096]).await.is_err());
    }

    #[tokio::test]
    async fn a_run_queue_is_read() {
        let text = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nnode_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} 9\nnode_procs_running 4\n";
        let found = said(CheckKind::NodeExporter, text).await;
        assert_eq!(found, Ok(Finding { run_queue: Some(3.0), ..Finding::default() }));
        let none = said(CheckKind::NodeExporter, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        assert!(none.unwrap_err().contains("node_procs_running"));
    }

    /// A gRPC server that answers its first question so.
    async fn grpc(status: &'static str, body: &'static [u8]) -> Result<Finding, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = move |request: hyper::Request<hyper::body::Incoming>| async move {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            assert_eq!(request.headers().get("te").unwrap(), "trailers");
            let asked = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(asked[..], [&b"\0\0\0\0\x06\x0a\x04"[..], b"shop"].concat());
            let trailers = hyper::HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]);
            let body = Full::new(bytes::Bytes::from_static(body)).with_trailers(std::future::ready(Some(Ok(trailers))));
            Ok::<_, std::convert::Infallible>(hyper::Response::new(body))
        };
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let executor = hyper_util::rt::TokioExecutor::new();
            let connection = hyper::server::conn::http2::Builder::new(executor)
                .serve_connection(hyper_util::rt::TokioIo::new(stream), hyper::service::service_fn(answer));
            let _ = connection.await;
        });
        let spec =
            CheckSpec { kind: CheckKind::Grpc, port, service: "shop".into(), timeout_ms: 5_000, ..CheckSpec::default() };
        outcome(CheckJob { id: CheckId(1), addr: [127, 0, 0, 1].into(), spec: Arc::new(spec) }).await
    }

    #[tokio::test]
    async fn health_is_asked_by_grpc() {
        assert_eq!(grpc("0", b"\0\0\0\0\x02\x08\x01").await, Ok(Finding::default()));
        assert_eq!(grpc("0", b"\0\0\0\0\x02\x08\x02").await, Err("NOT_SERVING".into()));
        assert_eq!(grpc("5", b"").await, Err("SERVICE_UNKNOWN".into()));
        assert_eq!(grpc("14", b"").await, Err("gRPC status 14".into()));
    }

    async fn command(words: &[&str], timeout_ms: u64) -> Result<Finding, String> {
        let command = words.iter().map(ToString::to_string).collect();
        let spec = CheckSpec { kind: CheckKind::Exec, port: 443, command, timeout_ms, ..CheckSpec::default() };
        outcome(CheckJob { id: CheckId(1), addr: [192, 0, 2, 1].into(), spec: Arc::new(spec) }).await
    }

    #[tokio::test]
    async fn commands_are_judged_by_their_status() {
        let script = "test \"$DNSLB_ADDRESS $DNSLB_PORT $HOME\" = '192.0.2.1 443 '";
        assert_eq!(command(&["/bin/sh", "-c", script], 5_000).await, Ok(Finding::default()));
        let failed = command(&["/bin/sh", "-c", "echo no disk; echo more; exit 3"], 5_000).await;
        assert_eq!(failed, Err("exit status: 3: no disk".into()));
        assert!(command(&["/nowhere/program"], 5_000).await.unwrap_err().starts_with("/nowhere/program: "));
        // No end of output ends in the pipe that nobody reads.
        assert!(command(&["/bin/sh", "-c", "yes; exit 1"], 5_000).await.is_err());
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_killed_with_its_children() {
        let folder = std::env::temp_dir().join(format!("dnslb-exec-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        assert_eq!(command(&["/bin/sh", "-c", &script], 2_000).await, Err("no outcome within 2000 ms".into()));
        let child = std::fs::read_to_string(&file).unwrap();
        // Until whoever inherited it has seen its end, it is a zombie at most.
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).ok();
        let gone = || state().is_none_or(|state| state.contains(") Z "));
        let end = tokio::time::Instant::now() + Duration::from_secs(20);
        while !gone() && tokio::time::Instant::now() < end {
            tokio::task::yield_now().await;
        }
        assert!(gone(), "{:?}", state());
        std::fs::remove_dir_all(folder).unwrap();
    }
}

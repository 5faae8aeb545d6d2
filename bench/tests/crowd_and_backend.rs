//! Why: the crowd and the backend measure each other's counterparts in the product, so they are first held against each
//! other, through a door as simple as a door can be: what the crowd says it did is what the backend says was done to it.
//! Never: no assertion on time; only counts, and those must balance whatever the machine is doing.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use farm_bench::backend::{Backend, BackendConfig};
use farm_bench::crowd::place::Names;
use farm_bench::crowd::{CrowdConfig, Loop, Profile, Reason, Summary, run};
use http_body_util::Empty;
use hyper::header::{COOKIE, LOCATION, RETRY_AFTER, SET_COOKIE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Answers the first `refusals` requests with 503 and the rest with a redirect to `target`.
struct Door {
    target: String,
    refusals: AtomicU32,
    hosts: Mutex<Vec<String>>,
    foreign_cookies: AtomicU32,
    own_cookies: AtomicU32,
}

impl Door {
    async fn open(target: &str, refusals: u32) -> (SocketAddr, Arc<Self>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = Arc::new(Self {
            target: target.to_owned(),
            refusals: refusals.into(),
            hosts: Mutex::default(),
            foreign_cookies: 0.into(),
            own_cookies: 0.into(),
        });
        let serving = door.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let door = serving.clone();
                let service = service_fn(move |request| {
                    let answer = door.answer(&request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        (address, door)
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Empty<Bytes>> {
        let cookies = request.headers().get(COOKIE).map_or("", |value| value.to_str().unwrap());
        self.foreign_cookies.fetch_add(u32::from(cookies.contains("session")), Ordering::Relaxed);
        self.own_cookies.fetch_add(u32::from(cookies == "place=7"), Ordering::Relaxed);
        self.hosts.lock().unwrap().push(request.headers()["host"].to_str().unwrap().to_owned());
        let refused = self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        let response = Response::builder().header(SET_COOKIE, "place=7; Path=/");
        let response = if refused {
            response.status(StatusCode::SERVICE_UNAVAILABLE).header(RETRY_AFTER, "0")
        } else {
            response.status(StatusCode::FOUND).header(LOCATION, format!("{}{}", self.target, request.uri()))
        };
        response.body(Empty::new()).unwrap()
    }
}

/// Starts a backend and returns it, its address, and what stops it.
async fn backend(change: fn(&mut BackendConfig)) -> (Arc<Backend>, SocketAddr, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut config = BackendConfig::new("b1");
    config.service_ms = 1.0;
    change(&mut config);
    let backend = Backend::new(config).unwrap();
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(backend.clone().serve(listener, async move {
        let _ = stopped.await;
    }));
    (backend, address, stop)
}

async fn crowd(door: SocketAddr, change: impl FnOnce(&mut CrowdConfig)) -> Summary {
    let door = Names::default().place(&format!("http://{door}/login")).unwrap();
    let mut config = CrowdConfig::new(door, Profile::parse("0:4,1:8").unwrap());
    (config.session_ms, config.think_ms, config.every_ms) = (150.0, 10.0, 200);
    // Generous, for a busy machine: nothing here is about time.
    (config.timeout_ms, config.slow_ms) = (60_000, 60_000);
    change(&mut config);
    let mut last = 0.0;
    let summary = run(config, pending(), |interval| {
        assert!(interval.t_s >= last);
        last = interval.t_s;
    })
    .await
    .unwrap();
    let counts = summary.counts;
    assert_eq!(counts.started, counts.completed + counts.delayed + counts.aborted + counts.unfinished, "{summary:?}");
    assert_eq!(counts.aborted, summary.aborted_why.values().sum::<u64>());
    summary
}

#[tokio::test]
async fn both_sides_count_the_same_sessions() {
    let (backend, address, _stop) = backend(|_| ()).await;
    let (door_address, door) = Door::open(&format!("http://{address}"), 0).await;
    let summary = crowd(door_address, |config| config.host = Some("mail.example.com".into())).await;
    let (counts, load) = (summary.counts, backend.load());
    assert!(counts.started >= 8, "{summary:?}");
    assert_eq!((counts.completed, counts.aborted), (counts.started, 0), "{summary:?}");
    assert_eq!((load.arrivals, load.completions, load.sessions), (counts.started, counts.started, 0));
    assert_eq!(summary.backends[&address.to_string()].sessions, counts.started);
    assert_eq!(summary.door_ms.count, counts.started);
    // Each session at least logs in and out.
    assert!(summary.latency_ms.count >= 2 * counts.started);
    assert_eq!(door.foreign_cookies.load(Ordering::Relaxed), 0);
    assert!(door.hosts.lock().unwrap().iter().all(|host| host == "mail.example.com"));
}

#[tokio::test]
async fn the_open_loop_balances_too() {
    let (backend, address, _stop) = backend(|_| ()).await;
    let (door, _) = Door::open(&format!("http://{address}"), 0).await;
    let summary = crowd(door, |config| config.kind = Loop::Open).await;
    assert_eq!((summary.counts.completed, summary.counts.skipped), (summary.counts.started, 0), "{summary:?}");
    assert_eq!(backend.load().arrivals, summary.counts.started);
}

#[tokio::test]
async fn a_door_that_makes_wait_delays() {
    let (_backend, address, _stop) = backend(|_| ()).await;
    let (door_address, door) = Door::open(&format!("http://{address}"), 3).await;
    let summary = crowd(door_address, |_| ()).await;
    assert_eq!(summary.counts.waits, 3);
    assert!((1..=3).contains(&summary.counts.delayed), "{summary:?}");
    // The place in the queue is kept: the door gets its own cookie back.
    assert_eq!(door.own_cookies.load(Ordering::Relaxed), 3);
    assert_eq!(door.foreign_cookies.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_door_that_never_opens_is_given_up() {
    let (door, _) = Door::open("http://127.0.0.1:1", u32::MAX).await;
    let summary = crowd(door, |config| config.retries = 2).await;
    let gave_up = summary.aborted_why.get(&Reason::GaveUp).copied().unwrap_or_default();
    assert!(gave_up >= 4, "{summary:?}");
    assert_eq!((summary.counts.completed, summary.counts.delayed), (0, 0));
    assert!(summary.backends.is_empty());
}

#[tokio::test]
async fn a_dead_backend_aborts_and_is_named() {
    // A port that was free a moment ago, and that nobody listens on.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (door, _) = Door::open(&format!("http://{address}"), 0).await;
    let summary = crowd(door, |_| ()).await;
    assert!(summary.counts.aborted >= 4 && summary.counts.completed == 0, "{summary:?}");
    assert_eq!(summary.backends[&address.to_string()].aborted, summary.counts.aborted);
    assert!(summary.aborted_why.contains_key(&Reason::Refused), "{summary:?}");
}

#[tokio::test]
async fn a_backend_at_its_limit_refuses_log_ins() {
    let (backend, address, _stop) = backend(|config| config.session_limit = Some(2)).await;
    let (door, _) = Door::open(&format!("http://{address}"), 0).await;
    let summary = crowd(door, |_| ()).await;
    assert!(summary.aborted_why.contains_key(&Reason::ServerError), "{summary:?}");
    let load = backend.load();
    assert_eq!((load.limit, load.arrivals), (Some(2), summary.counts.completed));
}

#[tokio::test]
async fn a_redirect_to_nowhere_is_a_protocol_error() {
    for target in ["http://unknown.example.com", "", "ftp://127.0.0.1", "http://a@127.0.0.1"] {
        let (door, _) = Door::open(target, 0).await;
        let summary = crowd(door, |config| config.profile = Profile::parse("0:2,0.2:2").unwrap()).await;
        assert_eq!(summary.aborted_why.get(&Reason::Protocol), Some(&summary.counts.started), "{target}: {summary:?}");
    }
}

#[tokio::test]
async fn a_stopped_backend_ends_its_sessions() {
    let (backend, address, stop) = backend(|_| ()).await;
    let (door, _) = Door::open(&format!("http://{address}"), 0).await;
    let crowd = tokio::spawn(crowd(door, |config| config.session_ms = 60_000.0));
    while backend.load().sessions < 4 && !crowd.is_finished() {
        tokio::task::yield_now().await;
    }
    stop.send(()).unwrap();
    let summary = crowd.await.unwrap();
    assert!(summary.counts.aborted >= 4, "{summary:?}");
}

//! Why: agents, the demo and people with `curl` rely on what each path of the backend answers.
//! Never: no HTTP library on this side; the bytes are the agreement.
#![allow(clippy::unwrap_used, missing_docs)]

use farm_bench::backend::{Backend, BackendConfig, LoadReport};
use farm_bench::draws::{Draws, seed_of};
use std::future::pending;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A backend of this name begins with a long demand.
const SLOW_ID: &str = "b1";

async fn backend(change: fn(&mut BackendConfig)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut config = BackendConfig::new("b7");
    config.service_ms = 1.0;
    change(&mut config);
    tokio::spawn(Backend::new(config).unwrap().serve(listener, pending()));
    address
}

/// Sends one request and returns the whole answer.
async fn ask(address: SocketAddr, line: &str, cookie: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nHost: b7\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

async fn load(address: SocketAddr) -> LoadReport {
    let answer = ask(address, "GET /farm/load", "").await;
    assert!(answer.contains("content-type: application/json"), "{answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn a_session_by_hand() {
    let address = backend(|_| ()).await;
    let login = ask(address, "POST /login", "").await;
    assert_eq!(status(&login), "200");
    let cookie = login.split_once("set-cookie: ").unwrap().1.split_once(';').unwrap().0.to_owned();
    assert_eq!(status(&ask(address, "GET /feature/3", &cookie).await), "200");
    // Logging in again with a live session keeps it.
    assert!(ask(address, "GET /login", &cookie).await.contains(&cookie));
    let during = load(address).await;
    assert_eq!((during.sessions, during.arrivals, during.completions), (1, 1, 0));
    assert!(during.youngest_ms.is_some());
    assert_eq!(status(&ask(address, "GET /logout", &cookie).await), "200");
    assert_eq!(status(&ask(address, "GET /feature/3", &cookie).await), "401");
    let after = load(address).await;
    assert_eq!((after.sessions, after.arrivals, after.completions, after.youngest_ms), (0, 1, 1, None));
}

#[tokio::test]
async fn paths_and_methods() {
    let address = backend(|_| ()).await;
    let cases = [
        ("GET /", "200", "<h1>b7</h1>"),
        ("GET /anything?x=1", "200", "<h1>b7</h1>"),
        ("GET /feature/x", "200", "<h1>b7</h1>"),
        ("GET /feature/1", "401", "/login first"),
        ("POST /feature/1", "405", "allow: GET, HEAD\r\n"),
        ("DELETE /login", "405", "allow: GET, HEAD, POST\r\n"),
        ("POST /", "405", ""),
        ("HEAD /", "200", "farm-backend: b7"),
        ("nonsense", "400", ""),
    ];
    for (line, expect, part) in cases {
        let answer = ask(address, line, "").await;
        assert!(status(&answer) == expect && answer.contains(part), "{line}: {answer}");
    }
}

#[tokio::test]
async fn a_full_queue_refuses_and_the_load_report_does_not_wait() {
    let address =
        backend(|config| (config.id, config.queue_max, config.service_ms) = (SLOW_ID.to_owned(), 1, 60_000.0)).await;
    // The first request stays in the queue for the whole test: its demand is the seed's first draw, known beforehand.
    assert!(Draws::new(seed_of(SLOW_ID), 0).exponential(60.0) > 10.0);
    let _first = tokio::spawn(async move { ask(address, "GET /", "").await });
    while load(address).await.queue == 0.0 {}
    let second = ask(address, "GET /", "").await;
    assert!(status(&second) == "503" && second.contains("retry-after: 1"), "{second}");
    assert!(load(address).await.busy > 0.0);
}

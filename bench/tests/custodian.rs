//! Why: the custodian scheme promises that a session is found wherever its requests arrive, for one hop at the most, and that no id
//! a client makes up leads anywhere. Also the measurement of docs/session-custodian.md.
//! Never: no assertion on time; only counts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use bytes::Bytes;
use farm_bench::backend::custodian::{FORWARDED_HEADER, Tally};
use farm_bench::backend::server::BACKEND_HEADER;
use farm_bench::backend::{Backend, BackendConfig};
use farm_bench::draws::Draws;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::header::{COOKIE, HOST, HeaderMap, SET_COOKIE};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::fmt::Write as _;
use std::future::pending;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::net::{TcpListener, TcpStream};

/// Servers that know each other by a list of their own making.
struct Farm {
    addresses: Vec<SocketAddr>,
    list: PathBuf,
}

impl Drop for Farm {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.list);
    }
}

impl Farm {
    /// `more` is written to the list beside the servers themselves, with their addresses put in for `{0}`, `{1}`, ….
    async fn open(name: &str, servers: usize, more: &str) -> Self {
        let list = std::env::temp_dir().join(format!("custodians-{}-{name}", std::process::id()));
        let mut listeners = Vec::new();
        for _ in 0..servers {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let addresses: Vec<SocketAddr> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        let mut text = String::new();
        for (at, address) in addresses.iter().enumerate() {
            writeln!(text, "b{at} {address}").unwrap();
        }
        let filled =
            |more: String, (at, address): (usize, &SocketAddr)| more.replace(&format!("{{{at}}}"), &address.to_string());
        text.push_str(&addresses.iter().enumerate().fold(more.to_owned(), filled));
        std::fs::write(&list, text).unwrap();
        for (at, listener) in listeners.into_iter().enumerate() {
            let mut config = BackendConfig::new(&format!("b{at}"));
            config.service_ms = 0.0;
            config.custodians = Some(list.clone());
            tokio::spawn(Backend::new(config).unwrap().serve(listener, pending()));
        }
        Self { addresses, list }
    }

    async fn get(&self, at: usize, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Bytes) {
        let address = self.addresses[at];
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::get(path).header(HOST, address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        connection.abort();
        (head.status, head.headers, body)
    }

    /// A session that begins at a server: its cookie.
    async fn login(&self, at: usize) -> String {
        let (status, headers, _) = self.get(at, "/login", &[]).await;
        assert_eq!(status, StatusCode::OK);
        headers[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    async fn tally(&self) -> Vec<Tally> {
        let mut all = Vec::new();
        for at in 0..self.addresses.len() {
            let (_, _, body) = self.get(at, "/farm/custodian", &[]).await;
            all.push(serde_json::from_slice(&body).unwrap());
        }
        all
    }
}

fn sum(all: &[Tally], of: impl Fn(&Tally) -> u64) -> u64 {
    all.iter().map(of).sum()
}

/// Runs sessions of 20 requests, and the share of them that was handed on. After every `sticks` requests a client's resolver asks
/// again and the client goes to any of the servers; with the redirector it stays.
async fn run(name: &str, sticks: Option<usize>) -> f64 {
    const SERVERS: usize = 5;
    const SESSIONS: usize = 60;
    const REQUESTS: usize = 20;
    let farm = Farm::open(name, SERVERS, "").await;
    let mut draws = Draws::new(7, 0);
    let mut elsewhere = 0;
    for session in 0..SESSIONS {
        let custodian = session % SERVERS;
        let cookie = farm.login(custodian).await;
        assert!(cookie.ends_with(&format!(".b{custodian}")), "{cookie}");
        let mut at = custodian;
        for request in 1..=REQUESTS {
            if sticks.is_some_and(|sticks| request % sticks == 0) {
                at = draws.below(SERVERS as u32) as usize;
            }
            let (status, headers, _) = farm.get(at, "/feature/1", &[(COOKIE.as_str(), &cookie)]).await;
            assert_eq!(status, StatusCode::OK, "the session is found");
            assert_eq!(headers[BACKEND_HEADER], format!("b{custodian}").as_str(), "its custodian answers");
            let by = headers.get(FORWARDED_HEADER).map(|by| by.to_str().unwrap().to_owned());
            assert_eq!(by, (at != custodian).then(|| format!("b{at}")), "one hop, and none where it is not needed");
            elsewhere += u64::from(at != custodian);
        }
    }
    let tally = farm.tally().await;
    assert_eq!(sum(&tally, |t| t.requests), (SESSIONS * REQUESTS) as u64);
    assert_eq!((sum(&tally, |t| t.forwarded), sum(&tally, |t| t.served_for_others)), (elsewhere, elsewhere));
    assert_eq!((sum(&tally, |t| t.failed), sum(&tally, |t| t.unknown)), (0, 0));
    elsewhere as f64 / (SESSIONS * REQUESTS) as f64
}

#[tokio::test]
async fn a_session_is_found_from_everywhere_in_one_hop() {
    let stays = run("stays", None).await;
    let long = run("long", Some(16)).await;
    let short = run("short", Some(5)).await;
    let every = run("every", Some(1)).await;
    println!("handed on: redirector {stays:.3}; answers kept for 16 requests {long:.3}, for 5 {short:.3}, for 1 {every:.3}");
    assert!(stays == 0.0 && long > 0.0 && long < short && short < every, "{stays} {long} {short} {every}");
    // At the worst n-1 of n requests are handed on, here four of five.
    assert!((every - 0.8).abs() < 0.05, "{every}");
}

/// Why, the request's fields, and what moves: handed on, nobody of the list, served for others.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], [u64; 3]);

#[tokio::test]
async fn made_up_ids_lead_nowhere() {
    // b9 is in the list, but its address is b1's: a list that is out of date.
    let farm = Farm::open("forged", 2, "b9 {1}\n").await;
    let genuine = farm.login(0).await;
    let forged = genuine.replace(".b0", ".b1");
    let cases: [Case<'_>; 6] = [
        ("somebody's token at another server", &[("cookie", &forged)], [1, 0, 1]),
        ("nobody", &[("cookie", "session=0000000000000000000000000000000a.evil.example")], [0, 1, 0]),
        ("an address", &[("cookie", "session=0000000000000000000000000000000a.127.0.0.1:1")], [0, 1, 0]),
        ("no id", &[("cookie", "session=b1")], [0, 0, 0]),
        (
            "a stale list: handed on once, and not again",
            &[("cookie", "session=0000000000000000000000000000000a.b9")],
            [1, 0, 1],
        ),
        ("the hop used up", &[("cookie", &forged), (FORWARDED_HEADER, "x")], [0, 0, 1]),
    ];
    for (why, headers, expect) in cases {
        let before = farm.tally().await;
        let (status, _, _) = farm.get(0, "/feature/1", headers).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{why}");
        let after = farm.tally().await;
        let moved = |of: fn(&Tally) -> u64| sum(&after, of) - sum(&before, of);
        assert_eq!([moved(|t| t.forwarded), moved(|t| t.unknown), moved(|t| t.served_for_others)], expect, "{why}");
    }
    let (status, _, _) = farm.get(1, "/feature/1", &[("cookie", &genuine)]).await;
    assert_eq!(status, StatusCode::OK, "the genuine one still opens it");
}

#[tokio::test]
async fn a_custodian_that_is_gone_is_a_bad_gateway() {
    let farm = Farm::open("gone", 1, "b7 127.0.0.1:1\n").await;
    let (status, _, _) = farm.get(0, "/feature/1", &[("cookie", "session=0000000000000000000000000000000a.b7")]).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert_eq!(farm.tally().await[0].failed, 1);
}

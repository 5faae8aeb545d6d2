//! The admin interface over real sockets: who is let in, who is not, and what a browser is kept from.

use super::*;
use crate::admin_client::request;
use crate::testing::TempDir;
use axum::routing::post;
use proptest::prelude::*;

const TOKEN: &str = "0123456789abcdef";

fn gate() -> Gate {
    Gate { token: Some(Token::new(TOKEN).expect("token")), cookie: "farm-admin-1".into() }
}

fn tcp() -> Peer {
    Peer::Tcp("127.0.0.1:9".parse().expect("address"))
}

/// The verdict on `METHOD PATH` with headers, as a status (0: pass, 1: login).
fn check(peer: Peer, line: &str, headers: &[(&str, &str)], expect: u16) {
    let (method, path) = line.split_once(' ').expect("line");
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).expect("request").into_parts();
    let verdict = match gate().judge(&head, peer) {
        Verdict::Pass => 0,
        Verdict::Login(cookie) => {
            assert_eq!(cookie, format!("farm-admin-1={TOKEN}; HttpOnly; SameSite=Strict; Path=/"));
            1
        }
        Verdict::Refuse(status, _) => status.as_u16(),
    };
    assert_eq!(verdict, expect, "{line} {headers:?}");
}

#[test]
fn who_may_pass() {
    let host = ("host", "127.0.0.1:9");
    let bearer = ("authorization", "Bearer 0123456789abcdef");
    check(tcp(), "GET /healthz", &[host], 0);
    check(tcp(), "HEAD /metrics", &[host], 0);
    check(tcp(), "POST /metrics", &[host], 401);
    check(tcp(), "GET /metrics/x", &[host], 401);
    check(tcp(), "GET /", &[host], 401);
    check(tcp(), "GET /", &[host, bearer], 0);
    check(tcp(), "POST /reload", &[host, bearer], 0);
    check(tcp(), "GET /", &[host, ("authorization", "Bearer 0123456789abcdeg")], 401);
    check(tcp(), "GET /", &[host, ("authorization", "Bearer 0123456789abcde")], 401);
    check(tcp(), "GET /", &[host, ("authorization", "Bearer ")], 401);
    check(tcp(), "GET /", &[host, ("cookie", "a=b; farm-admin-1=0123456789abcdef")], 0);
    check(tcp(), "GET /", &[host, ("cookie", "farm-admin-2=0123456789abcdef")], 401);
    check(tcp(), "GET /login?token=0123456789abcdef", &[host], 1);
    check(tcp(), "GET /login?token=no", &[host], 401);
    check(tcp(), "GET /login", &[host], 401);
    check(Peer::Unix, "POST /reload", &[], 0);
    check(Peer::Unix, "POST /reload", &[("host", "anything")], 0);
}

#[test]
fn what_a_browser_may_not_do() {
    let bearer = ("authorization", "Bearer 0123456789abcdef");
    let host = ("host", "localhost:9");
    check(tcp(), "GET /healthz", &[], 403);
    check(tcp(), "GET /healthz", &[("host", "evil.example:9")], 403);
    check(tcp(), "GET /", &[("host", "127.0.0.1.evil.example"), bearer], 403);
    check(tcp(), "GET /", &[host, bearer, ("origin", "http://evil.example")], 403);
    check(tcp(), "GET /", &[host, bearer, ("origin", "null")], 403);
    check(tcp(), "GET /", &[host, bearer, ("origin", "http://localhost:10")], 403);
    check(tcp(), "GET /", &[host, bearer, ("origin", "http://localhost:9")], 0);
    check(tcp(), "GET /", &[host, bearer, ("sec-fetch-site", "cross-site")], 403);
    check(tcp(), "GET /", &[host, bearer, ("sec-fetch-site", "same-site")], 403);
    check(tcp(), "GET /", &[host, bearer, ("sec-fetch-site", "none")], 0);
    check(Peer::Unix, "POST /", &[("origin", "http://evil.example")], 403);
}

#[test]
fn loopback_hosts() {
    for (host, expect) in [
        ("localhost", true),
        ("LOCALHOST:80", true),
        ("127.0.0.1", true),
        ("127.9.9.9:1", true),
        ("[::1]", true),
        ("[::1]:80", true),
        ("", false),
        (":", false),
        ("localhost:", false),
        ("localhost.", false),
        ("10.0.0.1", false),
        ("0.0.0.0", false),
        ("example.com", false),
        ("127.0.0.1:80:80", false),
    ] {
        assert_eq!(is_loopback(host), expect, "{host}");
    }
}

#[test]
fn addresses_and_tokens() {
    for good in ["unix:/run/dnslb.sock", "127.0.0.1:0", "[::1]:8080"] {
        assert_eq!(good.parse::<AdminAddr>().expect(good).to_string(), good);
    }
    for bad in ["", "unix:", "unix:relative", "0.0.0.0:80", "10.0.0.1:80", "127.0.0.1", "localhost:80"] {
        assert!(bad.parse::<AdminAddr>().is_err(), "{bad}");
    }
    for bad in ["", "short", "0123456789 abcdef", "0123456789;abcdef", &"x".repeat(257)] {
        assert!(Token::new(bad).is_err(), "{bad}");
    }
    assert_eq!(format!("{:?}", Token::new(TOKEN)), "Ok(Token(…))");
}

proptest! {
    #[test]
    fn only_the_token_is_the_token(other in "[0-9a-f]{0,20}") {
        prop_assert_eq!(Token::new(TOKEN).expect("token").is(&other), other == TOKEN);
    }
}

fn admin(ready: &Ready) -> Admin {
    Admin {
        router: Router::new().route("/echo", post(async |body: String| body)),
        token: Token::new(TOKEN).ok(),
        ready: ready.clone(),
        metrics: Arc::new(|| "x 1\n".into()),
    }
}

#[tokio::test]
async fn both_kinds_of_socket_serve() {
    let dir = TempDir::new();
    let ready = Ready::default();
    for addr in [AdminAddr::Unix(dir.path().join("admin.sock")), "127.0.0.1:0".parse().expect("address")] {
        ready.set(false);
        let listener = AdminListener::bind(&addr).expect("bound");
        let addr = listener.addr().clone();
        let server = tokio::spawn(listener.serve(admin(&ready)));
        let ask = async |method: &str, path: &str, body: &str| {
            request(&addr, Some(TOKEN), method, path, body).await.expect("answer")
        };
        assert_eq!(ask("GET", "/healthz", "").await, (200, "ok\n".into()));
        assert_eq!(ask("GET", "/readyz", "").await.0, 503);
        ready.set(true);
        assert_eq!(ask("GET", "/readyz", "").await, (200, "ready\n".into()));
        assert_eq!(ask("GET", "/metrics", "").await, (200, "x 1\n".into()));
        assert_eq!(ask("POST", "/echo", "hello").await, (200, "hello".into()));
        assert_eq!(ask("GET", "/nowhere", "").await.0, 404);
        let without = request(&addr, None, "POST", "/echo", "hello").await.expect("answer");
        assert_eq!(without.0, if matches!(addr, AdminAddr::Unix(_)) { 200 } else { 401 });
        server.abort();
    }
}

//! The admin interface: a Unix socket whose mode says who may, or a loopback address with a bearer token.
//!
//! A browser on the same machine is the enemy here: any page it shows can send requests to loopback. So a foreign `Origin`, a
//! cross-site `Sec-Fetch-Site` and (against DNS rebinding) a `Host` that is not loopback are refused before anything else.
//! `/healthz`, `/readyz` and `/metrics` need no token; everything else does.

use crate::http::{self, Limits, Listener, Peer};
use crate::listen::{self, ListenError};
use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use axum::routing::get;
use farm_shared::exposition::CONTENT_TYPE as METRICS_TYPE;
pub use farm_shared::settings::AdminAddr;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const LIMITS: Limits = Limits { connections_max: 64, head_ms_max: 10_000 };
const UNIX_MODE: u32 = 0o660;
const OPEN_PATHS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Whether the daemon can do its job: what `/readyz` says. Clones share it; unset at first.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<AtomicBool>);

impl Ready {
    /// Says so.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether it can.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The admin token. Shown by no `Debug`; compared in constant time.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// From a token file's text: 16 to 256 letters, digits, `-` and `_` (`openssl rand -hex 32`).
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if (16..=256).contains(&text.len()) && plain {
            Ok(Self(text.into()))
        } else {
            Err("expected a token of 16 to 256 letters and digits, as `openssl rand -hex 32` prints it")
        }
    }

    /// The token itself, for a client.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is(&self, other: &str) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), other.as_bytes()).is_ok()
    }
}

/// What to serve.
#[derive(Clone)]
pub struct Admin {
    /// The daemon's own routes.
    pub router: Router,
    /// Needed on TCP: without one, only the open paths are served there. Not asked for on a Unix socket.
    pub token: Option<Token>,
    /// For `/readyz`.
    pub ready: Ready,
    /// Writes the text of `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("token", &self.token).field("ready", &self.ready).finish_non_exhaustive()
    }
}

/// A bound admin listener.
#[derive(Debug)]
pub struct AdminListener {
    listener: Listener,
    addr: AdminAddr,
}

impl AdminListener {
    /// Binds it on the current tokio runtime; a Unix socket gets the mode 0660.
    pub fn bind(addr: &AdminAddr) -> Result<Self, ListenError> {
        let failed = |e| ListenError::new(addr, e);
        match addr {
            AdminAddr::Unix(path) => {
                let listener = Listener::from_unix(listen::unix(path, UNIX_MODE)?).map_err(failed)?;
                Ok(Self { listener, addr: addr.clone() })
            }
            AdminAddr::Tcp(tcp) => {
                let listener = listen::tcp(*tcp)?;
                let bound = AdminAddr::Tcp(listener.local_addr().map_err(failed)?);
                Ok(Self { listener: Listener::from_tcp(listener).map_err(failed)?, addr: bound })
            }
        }
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn addr(&self) -> &AdminAddr {
        &self.addr
    }

    /// Serves until the future is dropped.
    pub async fn serve(self, admin: Admin) {
        let gate = Gate { token: admin.token, cookie: cookie_name(&self.addr) };
        let metrics = Arc::clone(&admin.metrics);
        let ready = admin.ready.clone();
        let router = admin
            .router
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(async move || readiness(ready.get())))
            .route("/metrics", get(async move || ([(CONTENT_TYPE, METRICS_TYPE)], metrics())));
        let router = TowerToHyperService::new(router);
        let service = move |request: Request<hyper::body::Incoming>, peer| {
            let (router, gate) = (router.clone(), gate.clone());
            async move {
                let (head, body) = request.into_parts();
                match gate.judge(&head, peer) {
                    Verdict::Pass => {
                        let Ok(response) = router.call(Request::from_parts(head, Body::new(body))).await;
                        response
                    }
                    Verdict::Refuse(status, why) => refusal(status, why),
                    Verdict::Login(cookie) => login(&cookie),
                }
            }
        };
        http::serve(self.listener, LIMITS, Arc::new(AtomicU64::new(0)), service).await;
    }
}

fn readiness(ready: bool) -> (StatusCode, &'static str) {
    if ready { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

/// Cookies know no ports: two daemons on one loopback address must not share a name.
fn cookie_name(addr: &AdminAddr) -> String {
    match addr {
        AdminAddr::Unix(_) => "farm-admin".into(),
        AdminAddr::Tcp(addr) => format!("farm-admin-{}", addr.port()),
    }
}

fn refusal(status: StatusCode, why: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{why}\n")));
    *response.status_mut() = status;
    response
}

fn login(cookie: &str) -> Response<Body> {
    let mut response = refusal(StatusCode::SEE_OTHER, "logged in");
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static("/"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        headers.insert(SET_COOKIE, cookie);
    }
    response
}

/// Who may pass.
#[derive(Clone)]
struct Gate {
    token: Option<Token>,
    cookie: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Refuse(StatusCode, &'static str),
    /// The `Set-Cookie` of a browser that showed the token.
    Login(String),
}

impl Gate {
    fn judge(&self, head: &Parts, peer: Peer) -> Verdict {
        if let Err(why) = same_origin(&head.headers, peer) {
            return Verdict::Refuse(StatusCode::FORBIDDEN, why);
        }
        let path = head.uri.path();
        let reads = head.method == Method::GET || head.method == Method::HEAD;
        if peer == Peer::Unix || (reads && OPEN_PATHS.contains(&path)) {
            return Verdict::Pass;
        }
        let Some(token) = &self.token else {
            return Verdict::Refuse(StatusCode::FORBIDDEN, "no admin token is configured");
        };
        if path == "/login" && head.method == Method::GET {
            let shown = head.uri.query().and_then(|q| q.strip_prefix("token=")).unwrap_or_default();
            return if token.is(shown) {
                Verdict::Login(format!("{}={shown}; HttpOnly; SameSite=Strict; Path=/", self.cookie))
            } else {
                Verdict::Refuse(StatusCode::UNAUTHORIZED, "expected /login?token=TOKEN")
            };
        }
        if self.shown(&head.headers).any(|shown| token.is(shown)) {
            Verdict::Pass
        } else {
            Verdict::Refuse(
                StatusCode::UNAUTHORIZED,
                "expected a header \"authorization: Bearer TOKEN\", or a login at /login?token=TOKEN",
            )
        }
    }

    /// The tokens that a request shows.
    fn shown<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
        let bearer = text(headers, AUTHORIZATION.as_str()).and_then(|v| v.strip_prefix("Bearer "));
        let cookies = text(headers, COOKIE.as_str()).unwrap_or_default().split(';');
        let ours = cookies.filter_map(|c| c.trim().strip_prefix(self.cookie.as_str())?.strip_prefix('='));
        bearer.into_iter().chain(ours)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

/// Whether the request can come from no other site's page.
fn same_origin(headers: &HeaderMap, peer: Peer) -> Result<(), &'static str> {
    let host = text(headers, HOST.as_str()).unwrap_or_default();
    if peer != Peer::Unix && !is_loopback(host) {
        return Err("the Host header must name a loopback address");
    }
    if headers.get(ORIGIN).is_some_and(|o| o.as_bytes().strip_prefix(b"http://") != Some(host.as_bytes())) {
        return Err("requests from another origin are refused");
    }
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err("requests from another site are refused"),
    }
}

/// Whether a `Host` is `localhost` or a loopback address, with a port or without.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests;

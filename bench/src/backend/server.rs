//! Why: the web service itself: log-in, features, log-out and the load report over HTTP/1.1, on one thread.
//! Never: the load report never waits in the queue it reports about, and nothing a client sends is kept or repeated:
//! answers hold only what the backend was told at its start.

use super::config::BackendConfig;
use super::custodian::{Custodians, Place, SessionId};
use super::load::LoadReport;
use super::sessions::Sessions;
use super::work::Work;
use crate::draws::{Draws, seed_of};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, SET_COOKIE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Header that names the backend in every answer.
pub const BACKEND_HEADER: &str = "farm-backend";
/// Time for a request's head, and for which a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(45);
/// Time for requests in progress after the stop.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// The token carried by a session's cookie is 32 hexadecimal digits.
const TOKEN_LEN: usize = 32;

/// One backend.
#[derive(Debug)]
pub struct Backend {
    config: BackendConfig,
    name: HeaderValue,
    work: Work,
    state: Mutex<State>,
    custodians: Option<Custodians>,
}

#[derive(Debug)]
struct State {
    sessions: Sessions,
    demands: Draws,
    tokens: Draws,
}

/// What a request asks for.
enum Route {
    Landing,
    Login,
    Feature,
    Logout,
    Load,
    Custodian,
}

impl Backend {
    /// # Errors
    /// An option out of bounds ([`BackendConfig::check`]).
    pub fn new(config: BackendConfig) -> Result<Arc<Self>, String> {
        config.check()?;
        let seed = seed_of(&config.id);
        // Service times repeat from run to run, tokens must not: an old cookie would open somebody else's session.
        let since_epoch = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64);
        let state = State {
            sessions: Sessions::new(config.session_idle_ms.saturating_mul(1_000), config.session_limit),
            demands: Draws::new(seed, 0),
            tokens: Draws::new(seed ^ since_epoch, 1),
        };
        let custodians = config.custodians.clone().map(|file| Custodians::new(&config.id, file)).transpose()?;
        let name = HeaderValue::from_str(&config.id).map_err(|error| error.to_string())?;
        Ok(Arc::new(Self { work: Work::new(&config, Instant::now()), name, state: Mutex::new(state), custodians, config }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The load over the last second and the session counts.
    pub fn load(&self) -> LoadReport {
        let (queue, busy) = self.work.averages();
        let now_us = self.work.now_us();
        let sessions = &mut self.state().sessions;
        sessions.expire(now_us);
        LoadReport {
            queue,
            cores: self.config.cores,
            busy,
            sessions: sessions.live(),
            arrivals: sessions.begun(),
            completions: sessions.ended(),
            youngest_ms: sessions.youngest_us(now_us).map(|age_us| age_us / 1_000),
            limit: self.config.session_limit,
        }
    }

    /// Serves until `stop` resolves, then lets requests in progress finish for at most two seconds.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let (stopping, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut driver = pin!(self.work.drive());
        loop {
            while connections.try_join_next().is_some() {}
            let has_room = connections.len() < self.config.connections_max;
            tokio::select! {
                () = &mut stop => break,
                () = &mut driver => (),
                _ = connections.join_next(), if !has_room => (),
                accepted = listener.accept(), if has_room => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(self.clone().connection(stream, stopped.clone()));
                    }
                    // Out of descriptors, most likely: a pause instead of a busy loop.
                    Err(_) => sleep(Duration::from_millis(50)).await,
                },
            }
        }
        drop(listener);
        stopping.send_replace(true);
        let finish = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            _ = timeout(STOP_GRACE, finish) => (),
            () = &mut driver => (),
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, mut stopped: watch::Receiver<bool>) {
        // Answers are small and written at once; a delay could only add to the latency that is measured.
        let _ = stream.set_nodelay(true);
        let backend = self.clone();
        let service = service_fn(move |request| {
            let backend = backend.clone();
            async move { Ok::<_, Infallible>(backend.answer(request).await) }
        });
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service)
        );
        let asked = stopped.wait_for(|stop| *stop);
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = asked => connection.as_mut().graceful_shutdown(),
        }
        // A client that breaks off is no concern of the backend's.
        let _ = connection.await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let route = self.route(path);
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let is_post = *request.method() == Method::POST;
        let (allowed, methods) = match route {
            Route::Login | Route::Logout => (is_read || is_post, "GET, HEAD, POST"),
            Route::Landing | Route::Feature | Route::Load | Route::Custodian => (is_read, "GET, HEAD"),
        };
        if !allowed {
            let mut response = self.page(StatusCode::METHOD_NOT_ALLOWED, "not allowed here");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
            return response;
        }
        if matches!(route, Route::Login | Route::Feature | Route::Logout)
            && let Some(custodians) = &self.custodians
            && let Place::There(address) = custodians.place(request.headers())
        {
            let answer = custodians.forward(request, address).await;
            return answer.unwrap_or_else(|| self.page(StatusCode::BAD_GATEWAY, "the session's custodian does not answer"));
        }
        let token = match &self.custodians {
            Some(_) => SessionId::of(request.headers()).filter(|id| id.custodian == self.config.id).map(|id| id.token),
            None => session_token(request.headers()),
        };
        match route {
            Route::Load => self.load_report(),
            Route::Custodian => self.custodian_report(),
            Route::Landing => match self.spend().await {
                Ok(()) => self.page(StatusCode::OK, "welcome; /login, /feature/N, /logout"),
                Err(busy) => *busy,
            },
            Route::Login => self.login(token).await,
            Route::Feature => self.feature(token).await,
            Route::Logout => self.logout(token).await,
        }
    }

    fn route(&self, path: &str) -> Route {
        match path {
            "/login" => Route::Login,
            "/logout" => Route::Logout,
            "/farm/custodian" if self.custodians.is_some() => Route::Custodian,
            path if path == self.config.status_path => Route::Load,
            path => match path.strip_prefix("/feature/").map(str::parse::<u32>) {
                Some(Ok(_)) => Route::Feature,
                _ => Route::Landing,
            },
        }
    }

    async fn login(&self, token: Option<u128>) -> Response<Full<Bytes>> {
        // A server at its limit says so before it works for nothing.
        let now_us = self.work.now_us();
        let known = token.filter(|token| self.state().sessions.touch(now_us, *token));
        if known.is_none() && !self.state().sessions.has_room() {
            return self.busy("no room for another session");
        }
        if let Err(busy) = self.spend().await {
            return *busy;
        }
        let fresh = match self.custodians.as_ref().map(|_| Custodians::token()) {
            Some(Ok(token)) => Some(token),
            Some(Err(_)) => return self.busy("no randomness for a session"),
            None => None,
        };
        let now_us = self.work.now_us();
        let (token, begun) = {
            let mut state = self.state();
            let token =
                known.or(fresh).unwrap_or_else(|| (u128::from(state.tokens.bits()) << 64) | u128::from(state.tokens.bits()));
            (token, state.sessions.begin(now_us, token))
        };
        if !begun {
            return self.busy("no room for another session");
        }
        let mut response = self.page(StatusCode::OK, "logged in");
        let id = self.custodians.as_ref().map_or_else(|| format!("{token:032x}"), |custodians| custodians.id(token));
        set_cookie(&mut response, &format!("session={id}; Path=/; HttpOnly; SameSite=Lax"));
        response
    }

    async fn feature(&self, token: Option<u128>) -> Response<Full<Bytes>> {
        let now_us = self.work.now_us();
        let Some(token) = token.filter(|token| self.state().sessions.touch(now_us, *token)) else {
            return self.page(StatusCode::UNAUTHORIZED, "no such session; /login first");
        };
        if let Err(busy) = self.spend().await {
            return *busy;
        }
        // The end of a request is activity too: a slow answer must not make its own session idle.
        let now_us = self.work.now_us();
        self.state().sessions.touch(now_us, token);
        self.page(StatusCode::OK, "a feature")
    }

    async fn logout(&self, token: Option<u128>) -> Response<Full<Bytes>> {
        if let Err(busy) = self.spend().await {
            return *busy;
        }
        let now_us = self.work.now_us();
        if let Some(token) = token {
            self.state().sessions.end(now_us, token);
        }
        let mut response = self.page(StatusCode::OK, "logged out");
        set_cookie(&mut response, "session=; Path=/; Max-Age=0");
        response
    }

    /// One request's service.
    async fn spend(&self) -> Result<(), Box<Response<Full<Bytes>>>> {
        let demand_us = self.state().demands.exponential(self.config.service_ms * 1_000.0);
        self.work.serve(demand_us).await.map_err(|_| Box::new(self.busy("the queue is full")))
    }

    fn busy(&self, why: &str) -> Response<Full<Bytes>> {
        let mut response = self.page(StatusCode::SERVICE_UNAVAILABLE, why);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        response
    }

    fn load_report(&self) -> Response<Full<Bytes>> {
        let body = serde_json::to_vec(&self.load()).unwrap_or_default();
        self.response(StatusCode::OK, "application/json", body)
    }

    fn custodian_report(&self) -> Response<Full<Bytes>> {
        let tally = self.custodians.as_ref().map(Custodians::tally).unwrap_or_default();
        self.response(StatusCode::OK, "application/json", serde_json::to_vec(&tally).unwrap_or_default())
    }

    fn page(&self, status: StatusCode, text: &str) -> Response<Full<Bytes>> {
        let id = &self.config.id;
        let body = format!("<!doctype html><title>{id}</title><h1>{id}</h1><p>{text}</p>\n");
        self.response(status, "text/html; charset=utf-8", body.into_bytes())
    }

    fn response(&self, status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(HeaderName::from_static(BACKEND_HEADER), self.name.clone());
        response
    }
}

fn set_cookie(response: &mut Response<Full<Bytes>>, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(SET_COOKIE, value);
    }
}

/// The session's token in the request's cookies; the first well-formed one.
fn session_token(headers: &HeaderMap) -> Option<u128> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().strip_prefix("session="))
        .find(|token| token.len() == TOKEN_LEN && token.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|token| u128::from_str_radix(token, 16).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_well_formed_tokens_count() {
        let check = |cookies: &[&str], expect: Option<u128>| {
            let mut headers = HeaderMap::new();
            for cookie in cookies {
                headers.append(COOKIE, HeaderValue::from_str(cookie).unwrap());
            }
            assert_eq!(session_token(&headers), expect, "{cookies:?}");
        };
        let ten = "session=0000000000000000000000000000000a";
        check(&[], None);
        check(&[ten], Some(10));
        check(&[&format!("door=x; {ten}; other=1")], Some(10));
        check(&["door=x", ten], Some(10));
        check(&["session=a", ten], Some(10));
        check(&["session=+000000000000000000000000000000a"], None);
        check(&["xsession=0000000000000000000000000000000a"], None);
        check(&["session="], None);
    }

    #[tokio::test]
    async fn real_cores_serve_and_are_measured() {
        let mut config = BackendConfig::new("real");
        config.cpu = crate::backend::Cpu::Real;
        config.service_ms = 1.0;
        let backend = Backend::new(config).unwrap();
        let response = backend.login(None).await;
        assert_eq!(response.status(), StatusCode::OK);
        let load = backend.load();
        assert_eq!((load.sessions, load.arrivals, load.completions), (1, 1, 0));
        assert!(load.busy > 0.0 && load.queue > 0.0, "{load:?}");
    }
}

//! One request to one answer, by way of the core's decision; and an answer as hyper wants it.
//!
//! An [`Answer`] is what every transport sends, each in its own form. Nothing here may decide what a request gets, and a plain
//! redirect must cost no allocation here but the one for its cookie, once a second and server.

use super::assign;
use super::cookies::Cookies;
use super::tally::{Dispatches, Tally, count};
use super::{pages, waiting};
use crate::access_log::Pen;
use bytes::{BufMut as _, Bytes, BytesMut};
use farm_shared::draw::Draws;
use farm_shared::time::Now;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION,
    RETRY_AFTER, SET_COOKIE, STRICT_TRANSPORT_SECURITY, UPGRADE,
};
use hyper::http::uri::Authority;
use hyper::{Request, Response, StatusCode, Version};
use redirector_core::door::{self, Decision, Fields, Front, Pickers, REENTER_PREFIX, REENTER_TO, Wait};
use std::borrow::Cow;
use std::net::IpAddr;

const COOKIES_MAX: usize = 16;
const LOCATION_CHUNK_BYTES: usize = 16 * 1024;

/// What is sent for one request. `Cache-Control: no-store` and `Content-Length` go with every answer, and are not among its fields.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// The status code.
    pub status: u16,
    /// `Location`: both parts, one after the other. Printable ASCII.
    pub location: Option<(&'a str, &'a str)>,
    /// `Set-Cookie`.
    pub set_cookie: Option<HeaderValue>,
    /// `Strict-Transport-Security`, by HTTPS.
    pub hsts: Option<&'a str>,
    /// What else there is; a plain redirect has nothing.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// The content. An answer to HEAD has its length, and not the content.
    pub body: Bytes,
}

impl<'a> Answer<'a> {
    pub(super) fn empty(status: u16) -> Self {
        Self { status, location: None, set_cookie: None, hsts: None, fields: Vec::new(), body: Bytes::new() }
    }

    fn page(status: u16, html: String) -> Self {
        let html_type = HeaderValue::from_static("text/html; charset=utf-8");
        Self { fields: vec![(CONTENT_TYPE, html_type)], body: Bytes::from(html), ..Self::empty(status) }
    }

    fn redirect(status: u16, prefix: &'a str, path_and_query: &'a str) -> Self {
        Self { location: Some((prefix, path_and_query)), ..Self::empty(status) }
    }

    fn reject(status: u16, reason: &str, front: &Front) -> Self {
        let mut answer = Self::page(status, pages::reject(status, front.rules.front_host()));
        if status == 405 {
            // RFC 9110 15.5.6 wants it. Everything but CONNECT and TRACE is passed on, unless it is only read from.
            let all = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
            let allowed = if reason == "read_only" { "GET, HEAD" } else { all };
            answer.fields.push((ALLOW, HeaderValue::from_static(allowed)));
        }
        answer
    }

    pub(super) fn content(status: u16, fields: Vec<(HeaderName, HeaderValue)>, body: Bytes) -> Self {
        Self { fields, body, ..Self::empty(status) }
    }

    pub(super) fn retry_after(mut self, seconds: u32) -> Self {
        self.fields.push((RETRY_AFTER, HeaderValue::from(seconds)));
        self
    }
}

/// Where the requests of a connection come from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Who asks.
    pub source: IpAddr,
    /// By TLS.
    pub secure: bool,
}

/// What one worker needs to answer, beside the published picture.
pub struct Desk {
    pickers: Pickers,
    cookies: Cookies,
    locations: BytesMut,
    pen: Option<Pen>,
    /// The last value of `Strict-Transport-Security`.
    hsts: HeaderValue,
}

impl Desk {
    /// A desk with draws of its own, and with a pen if there is an access log.
    pub fn new(draws: Draws, pen: Option<Pen>) -> Self {
        Self {
            pickers: Pickers::new(draws),
            cookies: Cookies::default(),
            locations: BytesMut::with_capacity(LOCATION_CHUNK_BYTES),
            pen,
            hsts: HeaderValue::from_static(""),
        }
    }

    /// Answers one request, counts it, and notes it in the access log if there is one.
    pub fn answer<'a>(
        &mut self,
        request: &door::Request<'a>,
        front: &'a Front,
        dispatches: &Dispatches,
        tally: &Tally,
        now: Now,
    ) -> Answer<'a> {
        let mut answer = self.decide(request, front, dispatches, tally, now);
        if request.secure {
            answer.hsts = front.rules.hsts.as_deref();
        }
        if let Some(cors) = &front.rules.cors {
            assign::allow_origin(&mut answer.fields, cors, request.fields.get("origin"));
        }
        if let Some(pen) = &mut self.pen {
            pen.note(request, answer.status, answer.location.map(|(prefix, _)| prefix), now.wall);
        }
        answer
    }

    fn decide<'a>(
        &mut self,
        request: &door::Request<'a>,
        front: &'a Front,
        dispatches: &Dispatches,
        tally: &Tally,
        now: Now,
    ) -> Answer<'a> {
        let secure = request.secure;
        match door::decide(front, dispatches, request, now, &mut self.pickers) {
            Decision::Redirect {
                status,
                farm,
                slot,
                location_prefix,
                path_and_query,
                set_cookie,
                returning,
                reentries,
                called,
            } => {
                if !returning {
                    dispatches.add(farm, slot);
                }
                tally.redirect(status, returning);
                let mut answer = Answer::redirect(status, location_prefix, path_and_query);
                if set_cookie && let Some(snapshot) = front.farm(farm) {
                    answer.set_cookie = self.cookies.get(farm, snapshot, slot, secure, now);
                }
                if reentries > 0
                    && let Some(snapshot) = front.farm(farm)
                    && let Ok(mark) = HeaderValue::try_from(snapshot.cookies.set_mark(reentries, secure, now.wall))
                {
                    answer.fields.push((SET_COOKIE, mark));
                }
                if called {
                    answer.fields.push(waiting::forget(request.secure));
                }
                answer
            }
            Decision::Moved { status, location_prefix, path_and_query } => {
                tally.other("moved");
                Answer::redirect(status, location_prefix, path_and_query)
            }
            Decision::Home { status, front, from, path_and_query } => {
                tally.other("reentry");
                let location = format!("{front}{REENTER_PREFIX}{from}{REENTER_TO}{path_and_query}");
                let mut answer = Answer::empty(status);
                if let Ok(location) = HeaderValue::try_from(location) {
                    answer.fields.push((LOCATION, location));
                }
                answer
            }
            Decision::Assign { farm, slot, returning } => {
                tally.other("assigned");
                if !returning {
                    dispatches.add(farm, slot);
                }
                let Some(snapshot) = front.farm(farm) else { return Answer::empty(404) };
                let mut answer = assign::answer(snapshot, slot, now);
                if !returning {
                    answer.set_cookie = self.cookies.get(farm, snapshot, slot, secure, now);
                }
                answer
            }
            Decision::Preflight => {
                tally.other("preflight");
                assign::preflight(front.rules.cors.as_ref())
            }
            Decision::Unfollowable { grpc } => {
                tally.other("unfollowable");
                assign::unfollowable(grpc)
            }
            Decision::Wait(Wait { farm, told }) => {
                count(&tally.waits);
                dispatches.add_wait(farm);
                waiting::answer(&told, farm, request, front, now)
            }
            Decision::Maintenance { retry_after_s } => {
                tally.other("maintenance");
                Answer::page(503, pages::maintenance()).retry_after(retry_after_s)
            }
            Decision::Challenge { body } => {
                tally.other("challenge");
                let octets = HeaderValue::from_static("application/octet-stream");
                let body = Bytes::copy_from_slice(body.as_bytes());
                Answer { fields: vec![(CONTENT_TYPE, octets)], body, ..Answer::empty(200) }
            }
            Decision::Limited { retry_after_s } => {
                tally.other("limited");
                Answer::page(429, pages::limited(retry_after_s)).retry_after(retry_after_s)
            }
            Decision::Reject { status, reason } => {
                tally.reject(reason);
                Answer::reject(status, reason, front)
            }
        }
    }

    /// Refuses a request for its form, before anything is decided. The caller counts it.
    pub(super) fn refuse(&mut self, status: u16, front: &Front) -> Response<Full<Bytes>> {
        self.response(Answer::reject(status, "", front))
    }

    /// Answers a request that hyper read. The body is not read: hyper drains what has come or closes the connection.
    pub(super) fn respond<B>(
        &mut self,
        request: &Request<B>,
        origin: Origin,
        front: &Front,
        dispatches: &Dispatches,
        tally: &Tally,
        now: Now,
    ) -> Response<Full<Bytes>> {
        let headers = request.headers();
        let mut cookies = [""; COOKIES_MAX];
        let mut cookies_len = 0;
        let texts = headers.get_all(COOKIE).iter().filter_map(|v| v.to_str().ok());
        for (place, text) in cookies.iter_mut().zip(texts) {
            *place = text;
            cookies_len += 1;
        }
        let target = target(request);
        let request = door::Request {
            method: request.method().as_str(),
            target: &target,
            host: host(request),
            cookies: cookies.get(..cookies_len).unwrap_or_default(),
            secure: origin.secure,
            source: origin.source,
            fields: &HyperFields(headers),
        };
        let answer = self.answer(&request, front, dispatches, tally, now);
        self.response(answer)
    }

    /// An answer as hyper wants it.
    fn response(&mut self, answer: Answer<'_>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(answer.body.clone()));
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if answer.body.is_empty() && answer.status != 204 {
            // hyper would leave it out for HEAD.
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if let Some(location) = answer.location.and_then(|(prefix, rest)| self.location(prefix, rest)) {
            headers.insert(LOCATION, location);
        }
        if let Some(cookie) = answer.set_cookie {
            headers.insert(SET_COOKIE, cookie);
        }
        if let Some(hsts) = answer.hsts {
            if self.hsts.as_bytes() != hsts.as_bytes() {
                self.hsts = HeaderValue::from_str(hsts).unwrap_or(HeaderValue::from_static("max-age=0"));
            }
            headers.insert(STRICT_TRANSPORT_SECURITY, self.hsts.clone());
        }
        for (name, value) in answer.fields {
            headers.append(name, value);
        }
        response
    }

    /// Both parts in one buffer, cut from a chunk that is used again when its responses are gone.
    fn location(&mut self, prefix: &str, path_and_query: &str) -> Option<HeaderValue> {
        let bytes = prefix.len() + path_and_query.len();
        if self.locations.capacity() < bytes {
            self.locations.reserve(bytes.max(LOCATION_CHUNK_BYTES));
        }
        self.locations.put_slice(prefix.as_bytes());
        self.locations.put_slice(path_and_query.as_bytes());
        HeaderValue::from_maybe_shared(self.locations.split().freeze()).ok()
    }
}

/// hyper's header fields as the core asks for them.
struct HyperFields<'a>(&'a HeaderMap);

impl Fields for HyperFields<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }

    fn upgrades(&self) -> bool {
        self.0.contains_key(UPGRADE)
    }
}

/// The request target as received; hyper has taken absolute and authority form apart.
fn target<B>(request: &Request<B>) -> Cow<'_, str> {
    let uri = request.uri();
    match uri.path_and_query() {
        Some(path) if uri.authority().is_none() || request.version() >= Version::HTTP_2 => Cow::Borrowed(path.as_str()),
        _ => Cow::Owned(uri.to_string()),
    }
}

/// The one `Host` field; two of them are none (RFC 9112 3.2). From HTTP/2 on it is `:authority`, which a `Host` field must not gainsay
/// (RFC 9113 8.3.1).
fn host<B>(request: &Request<B>) -> Option<&str> {
    let authority = request.uri().authority().filter(|_| request.version() >= Version::HTTP_2).map(Authority::as_str);
    let mut values = request.headers().get_all(HOST).iter();
    let Some(first) = values.next() else { return authority };
    if values.next().is_some() || authority.is_some_and(|authority| authority.as_bytes() != first.as_bytes()) {
        return None;
    }
    first.to_str().ok()
}

//! One HTTP request to one HTTP response, by way of the core's decision.

use super::cookies::Cookies;
use super::pages;
use super::tally::{Dispatches, Tally, count};
use bytes::{BufMut as _, Bytes, BytesMut};
use farm_shared::draw::Draws;
use farm_shared::time::Now;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER,
    SET_COOKIE,
};
use hyper::{Request, Response, StatusCode};
use redirector_core::door::{self, Decision, Snapshot};
use redirector_core::route::Picker;
use std::borrow::Cow;

const COOKIES_MAX: usize = 16;
const LOCATION_CHUNK_BYTES: usize = 16 * 1024;

/// What one worker needs to answer, beside the snapshot.
pub(super) struct Desk {
    picker: Picker,
    cookies: Cookies,
    locations: BytesMut,
}

impl Desk {
    pub(super) fn new(draws: Draws) -> Self {
        Self {
            picker: Picker::new(draws),
            cookies: Cookies::default(),
            locations: BytesMut::with_capacity(LOCATION_CHUNK_BYTES),
        }
    }

    /// Answers one request. The body is not read: hyper drains what has come or closes the connection.
    pub(super) fn answer<B>(
        &mut self,
        request: &Request<B>,
        snapshot: &Snapshot,
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
            host: host(headers),
            cookies: cookies.get(..cookies_len).unwrap_or_default(),
        };
        match door::decide(snapshot, dispatches, &request, now, &mut self.picker) {
            Decision::Redirect { status, slot, location_prefix, path_and_query, set_cookie, returning } => {
                let Some(location) = self.location(location_prefix, path_and_query) else {
                    tally.reject("target");
                    return reject(400, snapshot);
                };
                if !returning {
                    dispatches.add(slot);
                }
                tally.redirect(status, returning);
                let mut response = empty(status);
                // hyper would leave it out for HEAD.
                response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
                response.headers_mut().insert(LOCATION, location);
                if set_cookie && let Some(cookie) = self.cookies.get(snapshot, slot, now) {
                    response.headers_mut().insert(SET_COOKIE, cookie);
                }
                response
            }
            Decision::Wait { retry_after_s } => {
                count(&tally.waits);
                let mut response = page(503, pages::wait(retry_after_s));
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after_s));
                response
            }
            Decision::Reject { status, reason } => {
                tally.reject(reason);
                reject(status, snapshot)
            }
        }
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

/// The request target as received; hyper has taken absolute and authority form apart.
fn target<B>(request: &Request<B>) -> Cow<'_, str> {
    let uri = request.uri();
    match uri.path_and_query() {
        Some(path) if uri.authority().is_none() => Cow::Borrowed(path.as_str()),
        _ => Cow::Owned(uri.to_string()),
    }
}

/// The one `Host` field; two of them are none (RFC 9112 3.2).
fn host(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(HOST).iter();
    let first = values.next()?;
    if values.next().is_some() {
        return None;
    }
    first.to_str().ok()
}

fn empty(status: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn page(status: u16, html: String) -> Response<Full<Bytes>> {
    let mut response = empty(status);
    *response.body_mut() = Full::new(Bytes::from(html));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

fn reject(status: u16, snapshot: &Snapshot) -> Response<Full<Bytes>> {
    let mut response = page(status, pages::reject(status, snapshot.front_host()));
    if status == 405 {
        // RFC 9110 15.5.6 wants it. Everything but CONNECT and TRACE is passed on.
        let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

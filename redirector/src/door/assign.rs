//! Answers for clients that a redirect would not serve: a server as JSON, a word to WebSocket and gRPC, and what browsers are told about
//! pages of other origins.
//!
//! Nothing from a request stands in them but an origin that the configuration lists.

use super::answer::Answer;
use bytes::Bytes;
use farm_shared::time::Now;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, CONTENT_TYPE, HeaderName, HeaderValue, VARY,
};
use redirector_core::door::{ASSIGN_PATH, Cors, Server, Snapshot};
use serde_json::json;

/// What gRPC calls "the system is not in a state that the call needs".
const GRPC_FAILED_PRECONDITION: &str = "9";

/// A server, for a client that keeps to it by itself until `expires` (Unix time in seconds).
pub(super) fn answer(snapshot: &Snapshot, slot: u32, now: Now) -> Answer<'static> {
    let Some(server) = snapshot.server_at(slot) else { return Answer::empty(404) };
    let expires = now.wall.0 / 1_000 + snapshot.cookies.max_age_s();
    as_json(200, &described(server, expires))
}

fn described(server: &Server, expires: u64) -> serde_json::Value {
    let url = &*server.location_prefix;
    let (scheme, authority) = url.split_once("://").unwrap_or(("", url));
    let default = if scheme == "https" { 443 } else { 80 };
    let split = authority.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let (host, port) = split.unwrap_or((authority, default));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    json!({
        "id": server.id.as_str(), "url": url, "host": host, "addresses": server.addrs, "port": port, "expires": expires,
    })
}

fn as_json(status: u16, value: &serde_json::Value) -> Answer<'static> {
    let json = HeaderValue::from_static("application/json");
    Answer { fields: vec![(CONTENT_TYPE, json)], body: Bytes::from(value.to_string()), ..Answer::empty(status) }
}

/// For a client that does not follow redirects. gRPC reads its errors from fields of an answer with status 200 (a response of trailers
/// only).
pub(super) fn unfollowable(grpc: bool) -> Answer<'static> {
    if grpc {
        let told = format!("This door redirects, which gRPC does not follow: ask GET {ASSIGN_PATH} for a server.");
        let mut fields = vec![
            (CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
            (HeaderName::from_static("grpc-status"), HeaderValue::from_static(GRPC_FAILED_PRECONDITION)),
        ];
        if let Ok(told) = HeaderValue::try_from(told) {
            fields.push((HeaderName::from_static("grpc-message"), told));
        }
        return Answer { fields, ..Answer::empty(200) };
    }
    let error = "This door redirects, which WebSocket clients do not follow: ask `assign` for a server.";
    as_json(400, &json!({ "error": error, "assign": ASSIGN_PATH }))
}

/// The answer to a preflight. Without an origin that is allowed it says nothing, which browsers take for no.
pub(super) fn preflight(cors: Option<&Cors>) -> Answer<'static> {
    let mut answer = Answer::empty(204);
    let Some(cors) = cors else { return answer };
    let texts = [
        (ACCESS_CONTROL_ALLOW_METHODS, cors.methods.to_string()),
        (ACCESS_CONTROL_ALLOW_HEADERS, cors.headers.to_string()),
        (ACCESS_CONTROL_MAX_AGE, cors.max_age_s.to_string()),
    ];
    answer.fields.extend(texts.into_iter().filter_map(|(name, text)| Some((name, HeaderValue::try_from(text).ok()?))));
    answer
}

/// Lets pages of an origin read an answer, a redirect or an error too.
pub(super) fn allow_origin(fields: &mut Vec<(HeaderName, HeaderValue)>, cors: &Cors, origin: Option<&str>) {
    // Also to those without an origin: what a cache keeps must not be given to others.
    fields.push((VARY, HeaderValue::from_static("Origin")));
    let Some(allowed) = origin.and_then(|origin| cors.allowed(origin)) else { return };
    let Ok(allowed) = HeaderValue::from_str(allowed) else { return };
    fields.push((ACCESS_CONTROL_ALLOW_ORIGIN, allowed));
    if cors.credentials {
        fields.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where it cannot go on")]
    use super::*;
    use farm_shared::id::Id;
    use farm_shared::member::Standing;
    use farm_shared::time::Mono;

    #[test]
    fn a_server_as_json() {
        let cases = [
            ("https://b1.farm.example.com", "b1.farm.example.com", 443),
            ("http://192.0.2.1:8000", "192.0.2.1", 8_000),
            ("http://[2001:db8::1]", "2001:db8::1", 80),
            ("https://[2001:db8::1]:8443", "2001:db8::1", 8_443),
        ];
        for (url, host, port) in cases {
            let server = Server {
                slot: 0,
                id: Id::new("b1").unwrap(),
                location_prefix: url.into(),
                addrs: vec!["192.0.2.1".parse().unwrap()],
                standing: Standing::InService,
                takes_new: true,
                heard: Mono(0),
                dispatch_base: 0,
            };
            let expect = json!({
                "id": "b1", "url": url, "host": host, "addresses": ["192.0.2.1"], "port": port, "expires": 7,
            });
            assert_eq!(described(&server, 7), expect);
        }
    }
}

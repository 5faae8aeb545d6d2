//! Octets of requests to octets of answers: the short way, without a connection.
//!
//! It answers what is certainly plain by the same desk as the long way, in the same words, and stops before the first request that
//! is not. It must never answer a request in another way than the long one would.

use super::ANSWERS_BYTES_MAX;
use crate::door::answer::{Answer, Desk, Origin};
use crate::door::date::Date;
use crate::door::tally::{Dispatches, Tally};
use farm_shared::time::Now;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use redirector_core::door::{Front, Request, head};

/// What a batch of requests is answered by.
pub(in crate::door) struct Scene<'a> {
    /// The published picture.
    pub(in crate::door) front: &'a Front,
    /// Counters of new sessions.
    pub(in crate::door) dispatches: &'a Dispatches,
    /// The worker's counters.
    pub(in crate::door) tally: &'a Tally,
    /// Whose connection it is.
    pub(in crate::door) origin: Origin,
    /// What is said of HTTP/3 with every answer.
    pub(in crate::door) alt_svc: Option<&'a HeaderValue>,
    /// A request with more fields is not answered here.
    pub(in crate::door) header_fields_max: usize,
    /// When the requests came.
    pub(in crate::door) now: Now,
}

/// What follows after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::door) enum Next {
    /// More requests.
    Read,
    /// The connection ends when the answers are sent.
    Close,
    /// The octets from there on are for the long way.
    Decline(usize),
}

/// Answers plain requests, one after the other, at the end of `out`.
pub(in crate::door) fn answer(
    octets: &[u8],
    out: &mut Vec<u8>,
    date: &mut Date,
    desk: &mut Desk,
    scene: &Scene<'_>,
) -> Next {
    let mut done = 0;
    while let Some(rest) = octets.get(done..).filter(|rest| !rest.is_empty()) {
        let Some(head) = head::scan(rest).filter(|head| head.fields <= scene.header_fields_max) else {
            return Next::Decline(done);
        };
        let request = Request {
            method: head.method,
            target: head.target,
            host: Some(head.host),
            cookies: head.cookies(),
            secure: scene.origin.secure,
            source: scene.origin.source,
            fields: &head,
        };
        let answer = desk.answer(&request, scene.front, scene.dispatches, scene.tally, scene.now);
        write(out, &answer, head.method == "HEAD", head.close, scene.alt_svc, date.at(scene.now.wall));
        if head.close {
            return Next::Close;
        }
        done += head.bytes;
        if out.len() > ANSWERS_BYTES_MAX && done < octets.len() {
            return Next::Decline(done);
        }
    }
    Next::Read
}

fn write(out: &mut Vec<u8>, answer: &Answer<'_>, bodiless: bool, close: bool, alt_svc: Option<&HeaderValue>, date: &[u8]) {
    if answer.status == 302 {
        out.extend_from_slice(b"HTTP/1.1 302 Found\r\ncache-control: no-store\r\n");
    } else {
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        put(out, &[b"HTTP/1.1 ", status.as_str().as_bytes(), b" "]);
        put(out, &[status.canonical_reason().unwrap_or("").as_bytes(), b"\r\ncache-control: no-store\r\n"]);
    }
    if !answer.body.is_empty() {
        put(out, &[b"content-length: ", answer.body.len().to_string().as_bytes(), b"\r\n"]);
    } else if answer.status != 204 {
        out.extend_from_slice(b"content-length: 0\r\n");
    }
    if let Some((prefix, path_and_query)) = answer.location {
        put(out, &[b"location: ", prefix.as_bytes(), path_and_query.as_bytes(), b"\r\n"]);
    }
    if let Some(cookie) = &answer.set_cookie {
        put(out, &[b"set-cookie: ", cookie.as_bytes(), b"\r\n"]);
    }
    if let Some(hsts) = answer.hsts {
        put(out, &[b"strict-transport-security: ", hsts.as_bytes(), b"\r\n"]);
    }
    for (name, value) in &answer.fields {
        put(out, &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    if let Some(alt_svc) = alt_svc {
        put(out, &[b"alt-svc: ", alt_svc.as_bytes(), b"\r\n"]);
    }
    if close {
        out.extend_from_slice(b"connection: close\r\n");
    }
    put(out, &[b"date: ", date, b"\r\n\r\n"]);
    if !bodiless {
        out.extend_from_slice(&answer.body);
    }
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

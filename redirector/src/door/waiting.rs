//! Who waits at this door: the ledgers that all workers share, and what those who wait are sent.
//!
//! Only who has to wait, or has waited, comes here; a plain redirect never takes the lock.

use super::answer::Answer;
use bytes::Bytes;
use farm_shared::time::{Mono, Now};
use hyper::header::{CONTENT_LANGUAGE, CONTENT_TYPE, HeaderName, HeaderValue, SET_COOKIE, VARY};
use redirector_core::door::{Front, Request};
use redirector_core::room::{
    self, COOKIE_NAME, COOKIE_NAME_SECURE, Digest, Estimate, HEADER_NAME, Ledger, Reader, Ticket, Wait, Waiters, Whence,
};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

const SIZE: usize = 100_000;
/// A digest of a long queue is made more rarely: each time of so many waiters costs a tick.
const WAITERS_PER_TICK: usize = 5_000;

/// The waiting room of one farm at this door.
#[derive(Debug)]
pub struct Waiting {
    ledger: Mutex<Ledger>,
    /// How many wait, for those who only want to know whether anybody does.
    waiting: AtomicUsize,
    tickets: AtomicU64,
    salt: u64,
}

impl Default for Waiting {
    fn default() -> Self {
        // Two doors, or two lives of one, must not give two visitors the same ticket.
        let salt = RandomState::new().build_hasher().finish();
        Self { ledger: Mutex::new(Ledger::new(SIZE)), waiting: AtomicUsize::new(0), tickets: AtomicU64::new(0), salt }
    }
}

impl Waiting {
    /// Who waits now; `None` if it is not worth the time yet. `tick` counts the calls.
    pub fn digest(&self, front: &Front, farm: u16, size_max: usize, tick: u64, now: Mono) -> Option<Digest> {
        let every = 1 + self.waiting.load(Ordering::Relaxed) / WAITERS_PER_TICK;
        if !tick.is_multiple_of(every as u64) {
            return None;
        }
        let mut ledger = self.lock();
        ledger.resize(size_max);
        if let Some(gate) = front.farm(farm).and_then(|snapshot| snapshot.room.as_ref()) {
            for (lane, number) in gate.lanes.iter().zip(0..) {
                ledger.refuse_up_to(number, lane.stale_ms);
            }
        }
        let digest = ledger.digest(now);
        self.waiting.store(ledger.len(), Ordering::Relaxed);
        Some(digest)
    }

    /// Every change leaves the ledger whole, so a panic elsewhere does not make it unusable.
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiters for Waiting {
    fn is_busy(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn enter(&self, ticket: Ticket) -> room::Answer {
        // How many wait is counted at the next digest: who came first must not find the room empty before his neighbours have entered.
        self.lock().enter(ticket)
    }

    fn ask(&self, ticket: Ticket, is_new: bool, now: Mono, due: Mono) -> room::Answer {
        let mut ledger = self.lock();
        let answer = ledger.ask(ticket, is_new, now, due);
        self.waiting.store(ledger.len(), Ordering::Relaxed);
        answer
    }

    fn nonce(&self) -> u64 {
        self.salt.wrapping_add(self.tickets.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn forged(&self) {
        self.lock().forged();
    }
}

/// What somebody is sent who waits: a page for people, JSON for programs.
pub(super) fn answer<'a>(wait: &Wait, farm: u16, request: &Request<'_>, front: &Front, now: Now) -> Answer<'a> {
    let gate = front.farm(farm).and_then(|snapshot| snapshot.room.as_ref());
    let text = wait.ticket.as_ref().and_then(|ticket| gate.map(|gate| (gate.keys.text(ticket), gate.age_ms_max / 1_000)));
    let ticket = text.as_ref().map(|(text, _)| text.as_str());
    let is_person = request.fields.get("accept").is_some_and(wants_html);
    let mut fields = Vec::with_capacity(6);
    let body = if is_person {
        let reader =
            Reader { languages: request.fields.get("accept-language"), repeats: matches!(request.method, "GET" | "HEAD") };
        let (html, language) = front.rules.pages.html(wait, reader, now.wall);
        fields.push((CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")));
        fields.extend(HeaderValue::from_str(language).ok().map(|language| (CONTENT_LANGUAGE, language)));
        Bytes::from(html)
    } else {
        fields.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        Bytes::from(json(wait, ticket))
    };
    fields.push((VARY, HeaderValue::from_static("accept, accept-language")));
    if let Some((text, age_s)) = &text {
        let cookie = if request.secure {
            format!("{COOKIE_NAME_SECURE}={}; Max-Age={age_s}; Path=/; Secure; HttpOnly; SameSite=Lax", text.as_str())
        } else {
            format!("{COOKIE_NAME}={}; Max-Age={age_s}; Path=/; HttpOnly; SameSite=Lax", text.as_str())
        };
        fields.extend(HeaderValue::try_from(cookie).ok().map(|cookie| (SET_COOKIE, cookie)));
        let header = HeaderValue::from_str(text.as_str()).ok();
        fields.extend(header.map(|value| (HeaderName::from_static(HEADER_NAME), value)));
    }
    Answer::content(503, fields, body).retry_after(wait.retry_after_s)
}

/// Has a visitor forget his ticket: it is used up.
pub(super) fn forget(secure: bool) -> (HeaderName, HeaderValue) {
    let cookie = if secure {
        "__Host-farm-room=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax"
    } else {
        "farm-room=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"
    };
    (SET_COOKIE, HeaderValue::from_static(cookie))
}

/// Whether the value of `Accept` names HTML (RFC 9110 12.5.1); `*/*` alone is what programs send.
fn wants_html(accept: &str) -> bool {
    let types = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
    types.into_iter().any(|t| t.eq_ignore_ascii_case("text/html") || t.eq_ignore_ascii_case("application/xhtml+xml"))
}

fn json(wait: &Wait, ticket: Option<&str>) -> String {
    let estimate = match wait.estimate {
        Estimate::Between { low_s, high_s } => serde_json::json!({ "low_s": low_s, "high_s": high_s }),
        Estimate::Unknown => serde_json::Value::Null,
    };
    let place = match wait.whence {
        Whence::New => "new",
        Whence::Kept => "kept",
        Whence::Lapsed => "lapsed",
        Whence::Full => "full",
    };
    let before = ticket.map(|_| wait.before);
    let told = serde_json::json!({
        "error": "wait", "retry_after_s": wait.retry_after_s, "ticket": ticket, "place": place, "before": before, "estimate": estimate,
    });
    format!("{told}\n")
}

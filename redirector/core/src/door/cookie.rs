//! The affinity cookie: `farm=v1.<id>.<expiry>.<mac>`, which brings a session back to its backend; and the mark of re-entries.
//!
//! The MAC (HMAC-SHA256 cut to 16 octets, base64url) covers all before it, name included, so a client cannot choose a backend, nor
//! keep one beyond the expiry. By HTTPS the name is `__Host-farm`, which no other host and no plain connection can set (RFC 6265bis
//! 4.1.3.2). Checking one must never allocate; how many are checked per request is bounded.

use crate::farm::Keys;
use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use farm_shared::id::Id;
use farm_shared::time::Wall;
use std::fmt::Write as _;
use std::sync::Arc;

/// The cookie's name, of the first farm.
pub const COOKIE_NAME: &str = "farm";
/// What stands before it by HTTPS.
const HOST_PREFIX: &str = "__Host-";
/// The name of the mark that counts re-entries.
const MARK_NAME: &str = "farm-reentry";
/// A mark lives so long, in seconds.
const MARK_S: u64 = 30;

const MAC_BYTES: usize = 16;
/// `farm=` cookies looked at per request: each costs a MAC.
const TRIES_MAX: usize = 4;
const COOKIE_BYTES_MAX: usize = 128;
/// Doors whose clocks differ honour each other's cookies.
const SKEW_S: u64 = 60;

/// The keys, newest first, and for how long a cookie is good.
#[derive(Clone)]
pub struct CookieKeys {
    name: Arc<str>,
    keys: Vec<hmac::Key>,
    max_age_s: u64,
    mark: [u8; 16],
}

impl std::fmt::Debug for CookieKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CookieKeys({} keys, {} s)", self.keys.len(), self.max_age_s)
    }
}

impl CookieKeys {
    /// From the farm's secrets: the current one signs, the former ones are honoured.
    pub fn new(farm: &Id, keys: &Keys, max_age_s: u64) -> Self {
        let all = std::iter::once(&keys.current).chain(&keys.former);
        let keys: Vec<_> = all.map(|key| hmac::Key::new(hmac::HMAC_SHA256, &key.derive("cookie", farm, ""))).collect();
        let mut mark = [0; 16];
        if let Some(key) = keys.first() {
            // No cookie begins like this, so that this is the MAC of none.
            let tag = hmac::sign(key, format!("mark {max_age_s}").as_bytes());
            tag.as_ref().iter().zip(&mut mark).for_each(|(octet, place)| *place = *octet);
        }
        Self { name: COOKIE_NAME.into(), keys, max_age_s, mark }
    }

    /// With another name for the cookie that brings a session back: farms of one host must not share it.
    #[must_use]
    pub fn with_name(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    /// What tells keys and lifetime apart from others: of two with the same mark, [`CookieKeys::set_cookie`] gives the same.
    pub fn mark(&self) -> [u8; 16] {
        self.mark
    }

    /// Whether a value of [`CookieKeys::set_cookie`] names this backend.
    pub fn is_for(&self, set_cookie: &[u8], id: &str) -> bool {
        let plain = set_cookie.strip_prefix(HOST_PREFIX.as_bytes()).unwrap_or(set_cookie);
        let rest = plain.strip_prefix(self.name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=v1."));
        rest.and_then(|rest| rest.strip_prefix(id.as_bytes())).is_some_and(|rest| rest.starts_with(b"."))
    }

    /// How long a cookie is good, in seconds.
    pub fn max_age_s(&self) -> u64 {
        self.max_age_s
    }

    /// The value of `Set-Cookie` for a backend; `secure` if the request came by HTTPS.
    pub fn set_cookie(&self, id: &Id, secure: bool, now: Wall) -> String {
        let expiry_s = now.0 / 1_000 + self.max_age_s;
        self.signed(&self.name, id.as_str(), expiry_s, self.max_age_s, secure)
    }

    /// The value of `Set-Cookie` that says how often a client came back by the re-entry address just now.
    pub fn set_mark(&self, hops: u8, secure: bool, now: Wall) -> String {
        self.signed(MARK_NAME, hop(hops), now.0 / 1_000 + MARK_S, MARK_S, secure)
    }

    fn signed(&self, name: &str, value: &str, expiry_s: u64, max_age_s: u64, secure: bool) -> String {
        let mut text = String::with_capacity(COOKIE_BYTES_MAX + 96);
        let prefix = if secure { HOST_PREFIX } else { "" };
        let _ = write!(text, "{prefix}{name}=v1.{value}.{expiry_s}");
        if let Some(key) = self.keys.first() {
            let mac = hmac::sign(key, text.as_bytes());
            text.push('.');
            URL_SAFE_NO_PAD.encode_string(mac.as_ref().get(..MAC_BYTES).unwrap_or_default(), &mut text);
        }
        let secure = if secure { "; Secure" } else { "" };
        let _ = write!(text, "; Max-Age={max_age_s}; Path=/{secure}; HttpOnly; SameSite=Lax");
        text
    }

    /// The backend that a request's cookies name, if one of them is ours and still good. By HTTPS one that only this host can have set
    /// comes first.
    pub(super) fn backend<'a>(&self, cookies: &[&'a str], secure: bool, now: Wall) -> Option<&'a str> {
        self.named(&self.name, self.max_age_s, cookies, secure, now)
    }

    /// How often this client came back by the re-entry address just now.
    pub(super) fn hops(&self, cookies: &[&str], secure: bool, now: Wall) -> u8 {
        let mark = self.named(MARK_NAME, MARK_S, cookies, secure, now);
        mark.and_then(|hops| hops.parse().ok()).unwrap_or(0)
    }

    fn named<'a>(&self, name: &str, age_s: u64, cookies: &[&'a str], secure: bool, now: Wall) -> Option<&'a str> {
        let is = |pair: &str| pair.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        let ours = || cookies.iter().flat_map(|field| field.split(';')).map(str::trim_ascii);
        let host = || ours().filter(|pair| pair.strip_prefix(HOST_PREFIX).is_some_and(is)).take(TRIES_MAX);
        let first = if secure { host().find_map(|pair| self.check(pair, age_s, now)) } else { None };
        first.or_else(|| ours().filter(|pair| is(pair)).take(TRIES_MAX).find_map(|pair| self.check(pair, age_s, now)))
    }

    fn check<'a>(&self, pair: &'a str, age_s: u64, now: Wall) -> Option<&'a str> {
        if pair.len() > COOKIE_BYTES_MAX {
            return None;
        }
        let (name, value) = pair.split_once('=')?;
        let (signed, mac) = unquoted(value).rsplit_once('.')?;
        let mut words = signed.split('.');
        let (_, id, expiry, None) = (words.next()?, words.next()?, words.next()?, words.next()) else { return None };
        let expiry_s: u64 = expiry.parse().ok()?;
        let now_s = now.0 / 1_000;
        if expiry_s < now_s || expiry_s > now_s.saturating_add(age_s + SKEW_S) {
            return None;
        }
        let mut bytes = [0_u8; MAC_BYTES + 8];
        let len = URL_SAFE_NO_PAD.decode_slice(mac, &mut bytes).ok()?;
        let mac = bytes.get(..len).filter(|m| m.len() == MAC_BYTES)?;
        let holds = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            for part in [name, "=", signed] {
                context.update(part.as_bytes());
            }
            let tag = context.sign();
            tag.as_ref().get(..MAC_BYTES).is_some_and(|ours| constant_time::verify_slices_are_equal(ours, mac).is_ok())
        };
        self.keys.iter().any(holds).then_some(id)
    }
}

/// A cookie's value as it was set: some clients bring it back in quotes (RFC 6265 4.1.1 lets them; Java's `CookieManager` does so with
/// every cookie that has a `Max-Age`).
pub(crate) fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value)
}

/// The text of a count of re-entries.
fn hop(hops: u8) -> &'static str {
    match hops {
        0 => "0",
        1 => "1",
        2 => "2",
        _ => "3",
    }
}

//! The affinity cookie: `farm=v1.<id>.<expiry>.<mac>`, which brings a session back to its backend.
//!
//! The MAC (HMAC-SHA256 cut to 16 octets, base64url) covers all before it, so a client cannot choose a backend, nor keep one
//! beyond the expiry. Checking one must never allocate; how many are checked per request is bounded.

use crate::farm::Keys;
use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use farm_shared::id::Id;
use farm_shared::time::Wall;
use std::fmt::Write as _;

/// The cookie's name.
pub const COOKIE_NAME: &str = "farm";

const MAC_BYTES: usize = 16;
/// `farm=` cookies looked at per request: each costs a MAC.
const TRIES_MAX: usize = 4;
const COOKIE_BYTES_MAX: usize = 128;
/// Doors whose clocks differ honour each other's cookies.
const SKEW_S: u64 = 60;

/// The keys, newest first, and for how long a cookie is good.
#[derive(Clone)]
pub struct CookieKeys {
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
        Self { keys, max_age_s, mark }
    }

    /// What tells keys and lifetime apart from others: of two with the same mark, [`CookieKeys::set_cookie`] gives the same.
    pub fn mark(&self) -> [u8; 16] {
        self.mark
    }

    /// Whether a value of [`CookieKeys::set_cookie`] names this backend.
    pub fn is_for(&self, set_cookie: &[u8], id: &str) -> bool {
        let rest = set_cookie.strip_prefix(COOKIE_NAME.as_bytes()).and_then(|rest| rest.strip_prefix(b"=v1."));
        rest.and_then(|rest| rest.strip_prefix(id.as_bytes())).is_some_and(|rest| rest.starts_with(b"."))
    }

    /// The value of `Set-Cookie` for a backend.
    pub fn set_cookie(&self, id: &Id, now: Wall) -> String {
        let mut text = String::with_capacity(COOKIE_BYTES_MAX + 64);
        let expiry_s = now.0 / 1_000 + self.max_age_s;
        let _ = write!(text, "{COOKIE_NAME}=v1.{id}.{expiry_s}");
        if let Some(key) = self.keys.first() {
            let mac = hmac::sign(key, text.as_bytes());
            text.push('.');
            URL_SAFE_NO_PAD.encode_string(mac.as_ref().get(..MAC_BYTES).unwrap_or_default(), &mut text);
        }
        let _ = write!(text, "; Max-Age={}; Path=/; HttpOnly; SameSite=Lax", self.max_age_s);
        text
    }

    /// The backend that a request's cookies name, if one of them is ours and still good.
    pub(super) fn backend<'a>(&self, cookies: &[&'a str], now: Wall) -> Option<&'a str> {
        let pairs = cookies.iter().flat_map(|field| field.split(';')).map(str::trim_ascii);
        let ours = pairs.filter(|pair| pair.strip_prefix(COOKIE_NAME).is_some_and(|rest| rest.starts_with('=')));
        ours.take(TRIES_MAX).find_map(|pair| self.check(pair, now))
    }

    fn check<'a>(&self, pair: &'a str, now: Wall) -> Option<&'a str> {
        if pair.len() > COOKIE_BYTES_MAX {
            return None;
        }
        let (signed, mac) = pair.rsplit_once('.')?;
        let mut words = signed.split('.');
        let (_, id, expiry, None) = (words.next()?, words.next()?, words.next()?, words.next()) else { return None };
        let expiry_s: u64 = expiry.parse().ok()?;
        let now_s = now.0 / 1_000;
        if expiry_s < now_s || expiry_s > now_s.saturating_add(self.max_age_s + SKEW_S) {
            return None;
        }
        let mut bytes = [0_u8; MAC_BYTES + 8];
        let len = URL_SAFE_NO_PAD.decode_slice(mac, &mut bytes).ok()?;
        let mac = bytes.get(..len).filter(|m| m.len() == MAC_BYTES)?;
        let holds = |key: &hmac::Key| {
            let tag = hmac::sign(key, signed.as_bytes());
            tag.as_ref().get(..MAC_BYTES).is_some_and(|ours| constant_time::verify_slices_are_equal(ours, mac).is_ok())
        };
        self.keys.iter().any(holds).then_some(id)
    }
}

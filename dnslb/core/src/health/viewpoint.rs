//! What name servers tell each other about static members: requests and reports, signed with a secret that they share.
//!
//! A report says what its sender measured itself, never what it was told, or two who err would keep each other in their error. It
//! carries the nonce of the request before it, so that an old one passes for nothing: no clocks are compared.

use aws_lc_rs::hmac;
use farm_shared::hex;
use farm_shared::id::Id;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

const VERSION: u32 = 1;
const REQUEST_LABEL: &str = "dnslb viewpoint request 1";
const REPORT_LABEL: &str = "dnslb viewpoint report 1";

/// The secret of all viewpoints. Shown by no `Debug`.
#[derive(Clone)]
pub struct ViewpointKey(hmac::Key);

impl fmt::Debug for ViewpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ViewpointKey(…)")
    }
}

/// Who asks whom, with a number that was never used before.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// Who asks.
    pub from: &'a Id,
    /// Who is asked.
    pub to: &'a Id,
    /// Random, by who asks.
    pub nonce: &'a str,
}

impl ViewpointKey {
    /// From the text of a key file: 32 octets or more as hexadecimal digits (`openssl rand -hex 32`).
    ///
    /// # Errors
    /// What was expected, for a problem.
    pub fn from_hex(text: &str) -> Result<Self, &'static str> {
        let bytes = hex::decode(text.trim()).ok_or("hexadecimal digits, as `openssl rand -hex 32` prints them")?;
        if bytes.len() < 32 {
            return Err("32 octets (64 hexadecimal digits) or more");
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The MAC of a request, in hexadecimal digits.
    pub fn sign_request(&self, exchange: &Exchange<'_>) -> String {
        hex::encode(hmac::sign(&self.0, &text(REQUEST_LABEL, exchange, b"")).as_ref())
    }

    /// Whether that is the MAC of the request.
    pub fn is_request(&self, exchange: &Exchange<'_>, mac: &str) -> bool {
        self.holds(&text(REQUEST_LABEL, exchange, b""), mac)
    }

    /// The MAC of the report that answers a request, in hexadecimal digits.
    pub fn sign_report(&self, exchange: &Exchange<'_>, body: &[u8]) -> String {
        hex::encode(hmac::sign(&self.0, &text(REPORT_LABEL, exchange, body)).as_ref())
    }

    /// Whether that is the MAC of the report that answers the request.
    pub fn is_report(&self, exchange: &Exchange<'_>, body: &[u8], mac: &str) -> bool {
        self.holds(&text(REPORT_LABEL, exchange, body), mac)
    }

    fn holds(&self, text: &[u8], mac: &str) -> bool {
        hex::decode(mac).is_some_and(|mac| hmac::verify(&self.0, text, &mac).is_ok())
    }
}

/// Ids have no line breaks, and a nonce is checked to have none.
fn text(label: &str, Exchange { from, to, nonce }: &Exchange<'_>, body: &[u8]) -> Vec<u8> {
    [format!("{label}\n{from}\n{to}\n{nonce}\n").as_bytes(), body].concat()
}

/// Whether a text may be a nonce: 16 to 32 octets in hexadecimal digits.
pub fn is_nonce(text: &str) -> bool {
    (32..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// What one viewpoint measured of one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Word {
    pool: Id,
    member: Id,
    addr: IpAddr,
    up: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Body {
    v: u32,
    words: Vec<Word>,
}

/// What one viewpoint measured: by pool and member the address that was checked, and whether it is up. Members without a verdict are
/// not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report(pub BTreeMap<(Id, Id), (IpAddr, bool)>);

impl Report {
    /// The JSON form.
    pub fn to_json(&self) -> Vec<u8> {
        let word = |((pool, member), (addr, up)): (&(Id, Id), &(IpAddr, bool))| Word {
            pool: pool.clone(),
            member: member.clone(),
            addr: *addr,
            up: *up,
        };
        let body = Body { v: VERSION, words: self.0.iter().map(word).collect() };
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// Reads the JSON form, of which whoever calls has bounded the length.
    ///
    /// # Errors
    /// A text that is no such JSON, or of another version.
    pub fn from_json(text: &[u8]) -> Result<Self, String> {
        let body: Body = serde_json::from_slice(text).map_err(|error| format!("not a report: {error}"))?;
        if body.v != VERSION {
            return Err(format!("a report of version {}, expected {VERSION}", body.v));
        }
        Ok(Self(body.words.into_iter().map(|word| ((word.pool, word.member), (word.addr, word.up))).collect()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn id(text: &str) -> Id {
        Id::new(text).unwrap()
    }

    #[test]
    fn what_was_signed_passes_for_nothing_else() {
        let key = ViewpointKey::from_hex(&"ab".repeat(32)).unwrap();
        let other = ViewpointKey::from_hex(&"ac".repeat(32)).unwrap();
        let (a, b, nonce) = (id("a"), id("b"), "0".repeat(32));
        let exchange = Exchange { from: &a, to: &b, nonce: &nonce };
        let back = Exchange { from: &b, to: &a, nonce: &nonce };
        let later = "1".repeat(32);
        let again = Exchange { nonce: &later, ..exchange };
        let request = key.sign_request(&exchange);
        assert!(key.is_request(&exchange, &request));
        assert!(!other.is_request(&exchange, &request));
        assert!(!key.is_request(&back, &request) && !key.is_request(&again, &request));
        assert!(!key.is_report(&exchange, b"", &request));
        let report = key.sign_report(&exchange, b"{}");
        assert!(key.is_report(&exchange, b"{}", &report));
        assert!(!key.is_report(&exchange, b"{ }", &report) && !key.is_report(&again, b"{}", &report));
        assert!(!key.is_report(&exchange, b"{}", "") && !key.is_report(&exchange, b"{}", "zz"));
        assert_eq!(format!("{key:?}"), "ViewpointKey(…)");
        for bad in ["", "ab", "x", &"ab".repeat(31)] {
            assert!(ViewpointKey::from_hex(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_nonce_is_one_line() {
        assert!(is_nonce(&"0f".repeat(16)));
        for bad in ["", "0f", &"0\n".repeat(16), &"0".repeat(65)] {
            assert!(!is_nonce(bad), "{bad:?}");
        }
    }

    #[test]
    fn reports_come_back_as_they_were() {
        let report = Report([((id("web"), id("m1")), ("192.0.2.1".parse().unwrap(), false))].into());
        assert_eq!(Report::from_json(&report.to_json()), Ok(report));
        for bad in ["", "{}", "[]", r#"{"v":2,"words":[]}"#, r#"{"v":1,"words":[{"pool":"A"}]}"#] {
            assert!(Report::from_json(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

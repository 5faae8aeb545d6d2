//! Which lane a visitor waits in: by a path, by a cookie, or by a pass that the application has signed.
//!
//! The mere presence of a cookie proves nothing, since a visitor can send any; where that matters a lane asks for a pass. Matching must never
//! allocate.

use crate::config::LaneSpec;
use crate::door::unquoted;
use crate::farm::Keys;
use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use farm_shared::heartbeat::FarmKey;
use farm_shared::id::Id;
use farm_shared::time::Wall;

const MAC_BYTES: usize = 16;
const PASS_BYTES_MAX: usize = 64;

/// The key that passes of a lane are signed with.
pub fn lane_key(key: &FarmKey, farm: &Id, lane: &str) -> [u8; 32] {
    key.derive("room lane", farm, lane)
}

/// The rules, in their order.
#[derive(Clone, Debug, Default)]
pub struct Lanes {
    rules: Vec<Rule>,
}

#[derive(Clone)]
struct Rule {
    cookie: Option<Box<str>>,
    path: Option<Box<str>>,
    /// Empty: the cookie needs no pass.
    passes: Vec<hmac::Key>,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rule({:?}, {:?}, {} keys)", self.cookie, self.path, self.passes.len())
    }
}

impl Lanes {
    /// From the configuration and the farm's secrets.
    pub fn new(specs: &[LaneSpec], farm: &Id, keys: &Keys) -> Self {
        let rule = |spec: &LaneSpec| Rule {
            cookie: spec.cookie.as_deref().map(Into::into),
            path: spec.path.as_deref().map(Into::into),
            passes: if spec.is_signed {
                let all = std::iter::once(&keys.current).chain(&keys.former);
                all.map(|key| hmac::Key::new(hmac::HMAC_SHA256, &lane_key(key, farm, &spec.name))).collect()
            } else {
                Vec::new()
            },
        };
        Self { rules: specs.iter().map(rule).collect() }
    }

    /// The lane of a visitor: 0 is the ordinary one, others by their order.
    pub(super) fn of(&self, cookies: &[&str], path: &str, now: Wall) -> u8 {
        let at = self.rules.iter().position(|rule| rule.holds(cookies, path, now));
        at.map_or(0, |at| at as u8 + 1)
    }
}

impl Rule {
    fn holds(&self, cookies: &[&str], path: &str, now: Wall) -> bool {
        let by_path = self.path.as_deref().is_none_or(|prefix| is_below(path, prefix));
        by_path && self.cookie.as_deref().is_none_or(|name| self.has_cookie(cookies, name, now))
    }

    fn has_cookie(&self, cookies: &[&str], name: &str, now: Wall) -> bool {
        let pairs = cookies.iter().flat_map(|field| field.split(';')).filter_map(|pair| pair.trim_ascii().split_once('='));
        // The first one only: a request with many of them must not cost many MACs.
        let value = pairs.into_iter().find_map(|(found, value)| (found == name).then_some(unquoted(value)));
        value.is_some_and(|value| self.passes.is_empty() || self.is_pass(value, now))
    }

    /// `v1.<expiry>.<mac>`: the expiry in seconds since the epoch, the MAC HMAC-SHA256 of what stands before it, cut to 16 octets,
    /// base64url.
    fn is_pass(&self, value: &str, now: Wall) -> bool {
        let parts = value.rsplit_once('.').filter(|_| value.len() <= PASS_BYTES_MAX);
        let Some((signed, mac)) = parts else { return false };
        let expiry_s = signed.strip_prefix("v1.").and_then(|expiry| expiry.parse::<u64>().ok());
        let mut bytes = [0_u8; MAC_BYTES + 8];
        let len = URL_SAFE_NO_PAD.decode_slice(mac, &mut bytes).unwrap_or(0);
        let Some(mac) = bytes.get(..len).filter(|mac| mac.len() == MAC_BYTES) else { return false };
        expiry_s.is_some_and(|expiry_s| expiry_s >= now.0 / 1_000)
            && self.passes.iter().any(|key| {
                let tag = hmac::sign(key, signed.as_bytes());
                tag.as_ref().get(..MAC_BYTES).is_some_and(|ours| constant_time::verify_slices_are_equal(ours, mac).is_ok())
            })
    }
}

/// Whether a path is a prefix or lies below it.
fn is_below(path: &str, prefix: &str) -> bool {
    let path = path.split('?').next().unwrap_or(path);
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_in_their_order() {
        let key = FarmKey::from_hex(&"a".repeat(64)).unwrap();
        let farm = Id::new("mail").unwrap();
        let keys = Keys { current: key.clone(), former: vec![] };
        let spec = |name: &str, cookie: Option<&str>, path: Option<&str>, is_signed| LaneSpec {
            name: name.into(),
            cookie: cookie.map(Into::into),
            path: path.map(Into::into),
            is_signed,
            weight: 1,
        };
        let specs = [
            spec("pay", None, Some("/pay"), false),
            spec("known", Some("pass"), None, true),
            spec("any", Some("sid"), None, false),
        ];
        let lanes = Lanes::new(&specs, &farm, &keys);
        let pass = |lane: &str, expiry_s: u64| {
            let signed = format!("v1.{expiry_s}");
            let key = hmac::Key::new(hmac::HMAC_SHA256, &lane_key(&key, &farm, lane));
            format!("pass={signed}.{}", URL_SAFE_NO_PAD.encode(&hmac::sign(&key, signed.as_bytes()).as_ref()[..16]))
        };
        let check = |cookies: &[&str], path: &str, expect: u8| {
            assert_eq!(lanes.of(cookies, path, Wall(1_000_000)), expect, "{cookies:?} {path}");
        };
        check(&[], "/", 0);
        check(&[], "/pay", 1);
        check(&[], "/pay?x", 1);
        check(&[], "/pay/now", 1);
        check(&[], "/payment", 0);
        check(&["a=1; sid=x"], "/", 3);
        check(&["a=1", "b=2;sid=x"], "/pay", 1);
        check(&[&pass("known", 1_000)], "/", 2);
        check(&[&pass("known", 999)], "/", 0);
        check(&[&pass("pay", 2_000)], "/", 0);
        for forged in
            ["pass=", "pass=v1.99999", "pass=v1.99999.", "pass=v1.99999.AAAAAAAAAAAAAAAAAAAAAA", &"pass=x.".repeat(50)]
        {
            check(&[forged], "/", 0);
        }
    }
}

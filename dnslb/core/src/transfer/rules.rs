//! Who may have a zone: by key, by address, or by both. Nobody, unless something is granted.

use crate::name::Name;
use farm_shared::prefix::Prefix;
use std::net::IpAddr;

/// One grant. What it names must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The key that must have signed the request.
    pub key: Option<Name>,
    /// The prefix that the client must lie in.
    pub prefix: Option<Prefix>,
}

impl Grant {
    fn holds(&self, key: Option<&Name>, client: IpAddr) -> bool {
        (self.key.is_some() || self.prefix.is_some())
            && self.key.as_ref().is_none_or(|wanted| key == Some(wanted))
            && self.prefix.is_none_or(|prefix| prefix.contains(client))
    }
}

/// Whether any grant holds for a request that was signed with `key`, if with any, and came from `client`.
pub fn is_granted(grants: &[Grant], key: Option<&Name>, client: IpAddr) -> bool {
    grants.iter().any(|grant| grant.holds(key, client))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn grants() {
        let key = |text: &str| Name::from_text(text).unwrap();
        let grant = |key_name: Option<&str>, prefix: Option<&str>| Grant {
            key: key_name.map(key),
            prefix: prefix.map(|prefix| prefix.parse().unwrap()),
        };
        let check = |grant: Grant, signed: Option<&str>, client: &str, expect: bool| {
            let granted = is_granted(std::slice::from_ref(&grant), signed.map(key).as_ref(), client.parse().unwrap());
            assert_eq!(granted, expect, "{grant:?} {signed:?} {client}");
        };
        check(grant(Some("a"), None), Some("a"), "192.0.2.1", true);
        check(grant(Some("a"), None), Some("b"), "192.0.2.1", false);
        check(grant(Some("a"), None), None, "192.0.2.1", false);
        check(grant(None, Some("192.0.2.0/24")), None, "192.0.2.1", true);
        check(grant(None, Some("192.0.2.0/24")), Some("b"), "192.0.2.1", true);
        check(grant(None, Some("192.0.2.0/24")), None, "192.0.3.1", false);
        check(grant(Some("a"), Some("192.0.2.0/24")), Some("a"), "192.0.2.1", true);
        check(grant(Some("a"), Some("192.0.2.0/24")), None, "192.0.2.1", false);
        check(grant(Some("a"), Some("192.0.2.0/24")), Some("a"), "::1", false);
        check(grant(None, None), Some("a"), "192.0.2.1", false);
        assert!(!is_granted(&[], None, "::1".parse().unwrap()));
    }
}

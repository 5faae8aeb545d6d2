//! One request as the transports hand it over: text as received, and what is known of the connection.
//!
//! It must never own or copy anything: it is made for every request.

use std::net::IpAddr;

/// The header fields of a request. They are asked for only when a plain redirect is not the answer, or a rule needs one.
pub trait Fields {
    /// The value of the first field of that name, which is in lower case; `None` if there is none, or if it is not printable ASCII.
    fn get(&self, name: &str) -> Option<&str>;

    /// Whether there is an `Upgrade` field. It is asked for with every GET; whoever knows it more cheaply should say so.
    fn upgrades(&self) -> bool {
        self.get("upgrade").is_some()
    }
}

/// No fields.
impl Fields for () {
    fn get(&self, _name: &str) -> Option<&str> {
        None
    }
}

/// Names in any case, and values.
impl<const N: usize> Fields for [(&str, &str); N] {
    fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// One request, as received.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The method's token.
    pub method: &'a str,
    /// The request target as received (RFC 9112 3.2): origin form, or absolute form, of which only path and query are used.
    pub target: &'a str,
    /// The `Host` field, or `:authority`.
    pub host: Option<&'a str>,
    /// The values of all `Cookie` fields.
    pub cookies: &'a [&'a str],
    /// It came by TLS, or a trusted proxy said that it did.
    pub secure: bool,
    /// Who asks, by the word of a trusted proxy if there is one.
    pub source: IpAddr,
    /// All header fields.
    pub fields: &'a dyn Fields,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { method, target, host, cookies, secure, source, fields: _ } = self;
        write!(f, "{method} {target:?} at {host:?} from {source}, secure: {secure}, cookies: {cookies:?}")
    }
}

//! What browsers are told about pages of other origins (the Fetch standard, 3.2).
//!
//! An origin is only ever repeated to a browser if the configuration lists it; nothing else from a request stands in an answer.

use super::host::is_under;
use crate::config::CorsSpec;

/// The rules of `[cors]`.
#[derive(Clone, Debug)]
pub struct Cors {
    any: bool,
    origins: Vec<Box<str>>,
    /// Scheme with `://`, and `.example.com`, for `https://*.example.com`.
    suffixes: Vec<(Box<str>, Box<str>)>,
    /// Value of `Access-Control-Allow-Methods`.
    pub methods: Box<str>,
    /// Value of `Access-Control-Allow-Headers`.
    pub headers: Box<str>,
    /// `Access-Control-Allow-Credentials: true` goes along.
    pub credentials: bool,
    /// `Access-Control-Max-Age`, in seconds.
    pub max_age_s: u64,
}

impl Cors {
    /// From the configuration; none if no origin is allowed.
    pub(super) fn new(spec: &CorsSpec) -> Option<Self> {
        let wild = |o: &String| o.split_once("://*").map(|(scheme, suffix)| (format!("{scheme}://").into(), suffix.into()));
        let plain = |o: &&String| !o.contains('*');
        (!spec.origins.is_empty()).then(|| Self {
            any: spec.origins.iter().any(|o| o == "*"),
            origins: spec.origins.iter().filter(plain).map(|o| o.as_str().into()).collect(),
            suffixes: spec.origins.iter().filter_map(wild).collect(),
            methods: spec.methods.join(", ").into(),
            headers: spec.headers.join(", ").into(),
            credentials: spec.credentials,
            max_age_s: spec.max_age_s,
        })
    }

    /// The value of `Access-Control-Allow-Origin` for a request's origin, if it is allowed.
    pub fn allowed<'a>(&self, origin: &'a str) -> Option<&'a str> {
        if self.any {
            return Some("*");
        }
        let under = |(scheme, suffix): &(Box<str>, Box<str>)| {
            origin.strip_prefix(&**scheme).is_some_and(|rest| is_under(rest, suffix) && !rest.contains('/'))
        };
        let listed = self.origins.iter().any(|o| **o == *origin) || self.suffixes.iter().any(under);
        listed.then_some(origin)
    }
}

//! Request targets: what of them may stand in a Location.
//!
//! The Location is a prefix of ours that ends after the authority, followed by what this module lets through. That begins with
//! `/` or `?`, either of which ends an authority (RFC 3986 3.2), and holds no control character; so nothing a client sends can
//! name another host. It must never change an octet of path and query.

/// A request target, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// The authority of an absolute form; it takes the place of the `Host` field (RFC 9112 3.2.2).
    pub(super) authority: Option<&'a str>,
    /// Path and query, or `/` if an absolute form has neither.
    pub(super) path_and_query: &'a str,
}

/// Takes a target apart; `None` if it is neither origin form nor absolute form of `http` or `https`.
pub(super) fn parse(target: &str) -> Option<Target<'_>> {
    // Printable ASCII only: no CR, LF, space, or raw UTF-8, which clients read in more than one way. `#` begins a fragment,
    // which is never sent.
    if !target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return None;
    }
    if target.starts_with('/') {
        return Some(Target { authority: None, path_and_query: target });
    }
    let rest = strip_scheme(target, "http://").or_else(|| strip_scheme(target, "https://"))?;
    let end = rest.find(['/', '?', '\\']).unwrap_or(rest.len());
    let (authority, path_and_query) = rest.split_at_checked(end)?;
    match path_and_query.as_bytes().first() {
        None => Some(Target { authority: Some(authority), path_and_query: "/" }),
        Some(b'/' | b'?') => Some(Target { authority: Some(authority), path_and_query }),
        Some(_) => None,
    }
}

fn strip_scheme<'a>(target: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = target.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

//! The way back: from a server that is gone or drains to the front door, and on to another one.
//!
//! A farm's wildcard may lead to a door, which sends the request to the re-entry address at the front door's own name; that picks
//! another server and keeps the path. It must end: a signed mark counts the re-entries of the last seconds, and after
//! [`HOPS_MAX`] of them the client gets a page instead of a redirect.

/// The door's own addresses.
pub(super) const OWN_PATH: &str = "/.well-known/farm/";
/// What follows the id in a re-entry address, before path and query, which are not encoded.
pub const REENTER_TO: &str = "&to=";
/// What follows [`OWN_PATH`] in the address that assigns.
pub(super) const ASSIGN: &str = "assign";
/// The address at which clients that follow no redirect ask.
pub const ASSIGN_PATH: &str = "/.well-known/farm/assign";
/// Re-entries within the life of the mark.
pub const HOPS_MAX: u8 = 3;

/// A re-entry address before the id of the server that is left.
pub const REENTER_PREFIX: &str = "/.well-known/farm/reenter?from=";

/// What a re-entry asks for: the server that is left, and path and query. `None` if it is not one.
pub(super) fn parse(own: &str) -> Option<(&str, &str)> {
    let (from, to) = own.strip_prefix("reenter?from=")?.split_once(REENTER_TO)?;
    (is_label(from) && to.starts_with('/')).then_some((from, to))
}

/// Whether it may be an id: what came as a part of a host name is put into a Location.
pub(super) fn is_label(text: &str) -> bool {
    text.len() <= 63 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

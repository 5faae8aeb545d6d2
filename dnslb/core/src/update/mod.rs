//! Dynamic updates (RFC 2136): an UPDATE message and a zone to a difference, or to the code that says why not.
//!
//! Everything here is a function of message, zone, grants and requestor. Whether the requestor is who it claims to be was
//! decided before; when the difference takes effect, and that it is on the disk before anybody hears of it, is the store's part.
//! An update is done whole or not at all, and no message may cost more than its own size and that of the sets it touches.

mod draft;
mod grant;
mod message;
mod rules;

pub use draft::set_serial;
pub use grant::{Grant, NamePattern, Requestor, TypePattern, may_try};
pub use message::{Item, Update, UpdateClass, read};
pub use rules::{Context, Protected, evaluate};

#[cfg(test)]
mod tests;

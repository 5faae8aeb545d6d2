//! Transaction signatures (RFC 8945): who sent a message, and that nobody changed it.
//!
//! Pure: the time is an argument. A MAC is compared in constant time, a secret is shown by no `Debug`, and nothing of a message
//! whose MAC does not hold is believed beyond what its refusal must repeat.

mod check;
mod key;
mod record;
mod sign;

pub use check::{Checker, Fault, STREAM_UNSIGNED_MAX, TsigError, Verified, verify};
pub use key::{BadKey, HmacAlgorithm, Keys, TsigKey, keys_from_file};
pub use record::{Tsig, split};
pub use sign::Signer;

/// How far apart the clocks of two parties may be, in seconds (RFC 8945 section 10).
pub const FUDGE_S: u16 = 300;

/// Values of the error field (RFC 8945 section 3).
pub mod error {
    /// The MAC does not hold.
    pub const BADSIG: u16 = 16;
    /// The key is unknown.
    pub const BADKEY: u16 = 17;
    /// The time is out of the window.
    pub const BADTIME: u16 = 18;
    /// The MAC is shorter than the local policy wants it.
    pub const BADTRUNC: u16 = 22;
}

/// The response code of a message that is not authenticated (RFC 8945 section 5.2).
pub const NOTAUTH: u16 = 9;

#[cfg(test)]
mod tests;

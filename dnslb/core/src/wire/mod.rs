//! DNS messages as octets: reading queries and writing answers, bounded and without allocation.
//!
//! Every index here comes from the network. Reading never trusts a length, writing never passes its limit, neither panics.

mod query;
mod survey;
mod writer;

pub(crate) use query::{Edns, QueryFault, read};
pub use survey::{KEEPALIVE, freshness_s, has_option};
pub(crate) use writer::{Owner, Section, Writer};

/// Length of a message header in octets.
pub(crate) const HEADER_LEN: usize = 12;

/// Length of an OPT record without options, in octets.
pub(crate) const OPT_LEN: usize = 11;

/// Response codes used in answers (RFC 6895 section 2.3).
pub mod rcode {
    /// No error.
    pub const NOERROR: u16 = 0;
    /// The query is malformed.
    pub const FORMERR: u16 = 1;
    /// The server failed.
    pub const SERVFAIL: u16 = 2;
    /// The name does not exist.
    pub const NXDOMAIN: u16 = 3;
    /// The kind of query is not implemented.
    pub const NOTIMP: u16 = 4;
    /// The query is refused.
    pub const REFUSED: u16 = 5;
    /// A DNAME leads to a name that is too long.
    pub const YXDOMAIN: u16 = 6;
    /// A set exists that should not (RFC 2136).
    pub const YXRRSET: u16 = 7;
    /// A set does not exist that should (RFC 2136).
    pub const NXRRSET: u16 = 8;
    /// The server is not authoritative for the zone (RFC 2136), or the sender is not who it says (RFC 8945).
    pub const NOTAUTH: u16 = 9;
    /// A name is not in the zone (RFC 2136).
    pub const NOTZONE: u16 = 10;
    /// The EDNS version is not supported.
    pub const BADVERS: u16 = 16;
}

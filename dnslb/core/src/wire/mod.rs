//! DNS messages as octets: reading queries and writing answers, bounded and without allocation.
//!
//! Every index here comes from the network. Reading never trusts a length, writing never passes its limit, neither panics.

mod opt;
mod options;
mod query;
mod survey;
mod writer;

pub(crate) use opt::{Opt, Verdict};
pub use options::ClientSubnet;
pub(crate) use query::{Edns, Query, QueryFault, Question, read};
pub use survey::{KEEPALIVE, freshness_s, has_option};
pub(crate) use writer::{Mark, Owner, Section, Writer};

/// Length of a message header in octets.
pub(crate) const HEADER_LEN: usize = 12;

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
    /// The server cookie is missing or bad, and answers are limited (RFC 7873 section 8).
    pub const BADCOOKIE: u16 = 23;
}

/// Extended errors in answers (RFC 8914 section 5.2).
pub mod ede {
    /// Nothing can be named because no backend is in service, or what names them is not signed yet.
    pub const NOT_READY: u16 = 14;
    /// The query is not allowed.
    pub const PROHIBITED: u16 = 18;
    /// No zone of ours holds the name.
    pub const NOT_AUTHORITATIVE: u16 = 20;
    /// The kind of query is not supported.
    pub const NOT_SUPPORTED: u16 = 21;
    /// The zone's data is too old to be used.
    pub const INVALID_DATA: u16 = 24;
}

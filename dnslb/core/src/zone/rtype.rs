//! Record types by number, and by the names zone files and command lines give them.

use std::fmt;
use std::str::FromStr;

use domain::base::iana::Rtype as Registered;

/// A record type.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rtype(pub u16);

impl Rtype {
    /// IPv4 address.
    pub const A: Self = Self(1);
    /// Name server.
    pub const NS: Self = Self(2);
    /// Canonical name.
    pub const CNAME: Self = Self(5);
    /// Start of authority.
    pub const SOA: Self = Self(6);
    /// Pointer to a name.
    pub const PTR: Self = Self(12);
    /// Mail exchange.
    pub const MX: Self = Self(15);
    /// Text.
    pub const TXT: Self = Self(16);
    /// IPv6 address.
    pub const AAAA: Self = Self(28);
    /// Service location.
    pub const SRV: Self = Self(33);
    /// Redirection of a subtree.
    pub const DNAME: Self = Self(39);
    /// EDNS pseudo record.
    pub const OPT: Self = Self(41);
    /// Delegation signer.
    pub const DS: Self = Self(43);
    /// Signature.
    pub const RRSIG: Self = Self(46);
    /// Denial of existence.
    pub const NSEC: Self = Self(47);
    /// Public key of a zone.
    pub const DNSKEY: Self = Self(48);
    /// Denial of existence by hashed names.
    pub const NSEC3: Self = Self(50);
    /// How names are hashed for NSEC3.
    pub const NSEC3PARAM: Self = Self(51);
    /// The DS records that a zone wishes for (RFC 7344).
    pub const CDS: Self = Self(59);
    /// The keys that it wishes DS records of (RFC 7344).
    pub const CDNSKEY: Self = Self(60);
    /// Service binding.
    pub const SVCB: Self = Self(64);
    /// Service binding of web servers.
    pub const HTTPS: Self = Self(65);
    /// Transaction signature (RFC 8945).
    pub const TSIG: Self = Self(250);
    /// The name does not exist: only ever in a compact denial (RFC 9824 section 3.1).
    pub const NXNAME: Self = Self(128);
    /// Incremental zone transfer.
    pub const IXFR: Self = Self(251);
    /// Zone transfer.
    pub const AXFR: Self = Self(252);
    /// All types (RFC 8482).
    pub const ANY: Self = Self(255);

    /// Whether records of this type cannot be in a zone: OPT, and the query and meta types (RFC 6895 section 3.1).
    pub fn is_meta(self) -> bool {
        self.0 == 0 || self == Self::OPT || (128..=255).contains(&self.0)
    }
}

impl fmt::Display for Rtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Registered::from_int(self.0).fmt(f)
    }
}

impl fmt::Debug for Rtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The type of a mnemonic in any case, or of `TYPEnnn` (RFC 3597 section 5).
pub fn rtype_from_text(text: &str) -> Option<Rtype> {
    // Most records of most zones.
    match text {
        "A" => return Some(Rtype::A),
        "AAAA" => return Some(Rtype::AAAA),
        "NS" => return Some(Rtype::NS),
        "MX" => return Some(Rtype::MX),
        "TXT" => return Some(Rtype::TXT),
        "CNAME" => return Some(Rtype::CNAME),
        _ => {}
    }
    Registered::from_str(text).ok().map(|rtype| Rtype(rtype.to_int()))
}

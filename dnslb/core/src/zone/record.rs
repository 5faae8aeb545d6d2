//! Records as they are handed about: one by one, in changes, and the fields of a SOA record.

use super::rtype::Rtype;
use crate::name::Name;

/// One record of class IN.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// The owner.
    pub owner: Name,
    /// The type.
    pub rtype: Rtype,
    /// TTL in seconds.
    pub ttl_s: u32,
    /// The data in wire format; names in it are uncompressed.
    pub rdata: Box<[u8]>,
}

/// One record of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'z> {
    /// The owner.
    pub owner: &'z Name,
    /// The type.
    pub rtype: Rtype,
    /// TTL in seconds.
    pub ttl_s: u32,
    /// The data in wire format; names in it are uncompressed.
    pub rdata: &'z [u8],
}

impl RecordRef<'_> {
    /// A copy that lives on its own.
    pub fn to_record(self) -> Record {
        Record { owner: self.owner.clone(), rtype: self.rtype, ttl_s: self.ttl_s, rdata: self.rdata.into() }
    }
}

/// From one version of a zone to the next, as IXFR tells it (RFC 1995): the old SOA record is among the removed ones, the new
/// one among the added ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Records that go.
    pub removed: Vec<Record>,
    /// Records that come.
    pub added: Vec<Record>,
}

/// The data of a SOA record (RFC 1035 section 3.3.13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Soa {
    /// The primary server.
    pub mname: Name,
    /// The mailbox of whoever is responsible.
    pub rname: Name,
    /// The version; see [`super::serial`].
    pub serial: u32,
    /// Time between two looks of a secondary, in seconds.
    pub refresh_s: u32,
    /// Time until it looks again after a failure, in seconds.
    pub retry_s: u32,
    /// Time after which it stops answering without a successful look, in seconds.
    pub expire_s: u32,
    /// How long absence may be remembered, in seconds (RFC 2308).
    pub minimum_s: u32,
}

impl Soa {
    /// Reads record data; `None` if it is malformed.
    pub fn from_rdata(rdata: &[u8]) -> Option<Self> {
        let mname = Name::from_wire(rdata).ok()?;
        let rest = rdata.get(mname.wire().len()..)?;
        let rname = Name::from_wire(rest).ok()?;
        let numbers = rest.get(rname.wire().len()..)?;
        let (&[serial, refresh_s, retry_s, expire_s, minimum_s], []) = numbers.as_chunks::<4>() else { return None };
        let [serial, refresh_s, retry_s, expire_s, minimum_s] =
            [serial, refresh_s, retry_s, expire_s, minimum_s].map(u32::from_be_bytes);
        Some(Self { mname, rname, serial, refresh_s, retry_s, expire_s, minimum_s })
    }

    /// The record data in wire format.
    pub fn to_rdata(&self) -> Box<[u8]> {
        let mut rdata = [self.mname.wire(), self.rname.wire()].concat();
        for number in [self.serial, self.refresh_s, self.retry_s, self.expire_s, self.minimum_s] {
            rdata.extend_from_slice(&number.to_be_bytes());
        }
        rdata.into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn soa_data() {
        let rdata = b"\x02ns\0\x01A\x01b\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05";
        let soa = Soa::from_rdata(rdata).unwrap();
        assert_eq!((soa.mname.to_string(), soa.rname.to_string()), ("ns.".into(), "a.b.".into()));
        assert_eq!((soa.serial, soa.refresh_s, soa.retry_s, soa.expire_s, soa.minimum_s), (1, 2, 3, 4, 5));
        assert_eq!(*soa.to_rdata(), rdata.to_ascii_lowercase());
        for len in 0..rdata.len() {
            assert_eq!(Soa::from_rdata(&rdata[..len]), None);
        }
    }
}

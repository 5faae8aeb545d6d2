//! Records and changes as octets, for the journal and the checkpoint.
//!
//! The form is ours and versioned by the files' headers. Reading bounds every length by the octets that are there.

use crate::name::Name;
use crate::zone::{Diff, Record, RecordRef, Rtype};

/// Appends a record: owner, type, TTL, length, data.
pub(super) fn put_record(out: &mut Vec<u8>, record: RecordRef<'_>) {
    out.extend_from_slice(record.owner.wire());
    out.extend_from_slice(&record.rtype.0.to_be_bytes());
    out.extend_from_slice(&record.ttl_s.to_be_bytes());
    // Record data comes from messages and zones, where it has a length of two octets.
    out.extend_from_slice(&(record.rdata.len() as u16).to_be_bytes());
    out.extend_from_slice(record.rdata);
}

/// Appends a change.
pub(super) fn put_diff(out: &mut Vec<u8>, diff: &Diff) {
    for list in [&diff.removed, &diff.added] {
        out.extend_from_slice(&(list.len() as u32).to_be_bytes());
        for Record { owner, rtype, ttl_s, rdata } in list {
            put_record(out, RecordRef { owner, rtype: *rtype, ttl_s: *ttl_s, rdata });
        }
    }
}

/// Octets that are taken from the front.
pub(super) struct Octets<'a>(pub(super) &'a [u8]);

impl<'a> Octets<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn name(&mut self) -> Option<Name> {
        let name = Name::from_wire(self.0).ok()?;
        self.take(name.wire().len())?;
        Some(name)
    }

    pub(super) fn record(&mut self) -> Option<Record> {
        let owner = self.name()?;
        let (rtype, ttl_s) = (Rtype(self.u16()?), self.u32()?);
        let len = self.u16()?;
        Some(Record { owner, rtype, ttl_s, rdata: self.take(usize::from(len))?.into() })
    }

    pub(super) fn diff(&mut self) -> Option<Diff> {
        let mut lists = [Vec::new(), Vec::new()];
        for list in &mut lists {
            for _ in 0..self.u32()? {
                list.push(self.record()?);
            }
        }
        let [removed, added] = lists;
        Some(Diff { removed, added })
    }
}

/// CRC-32C (Castagnoli), bit by bit into a table at compile time.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

/// CRC-32C of several pieces, one after the other.
pub(super) fn crc32c(pieces: &[&[u8]]) -> u32 {
    let octets = pieces.iter().flat_map(|piece| piece.iter());
    let next = |crc: u32, octet: &u8| {
        let index = (crc ^ u32::from(*octet)) & 0xff;
        CRC_TABLE.get(index as usize).copied().unwrap_or_default() ^ crc >> 8
    };
    !octets.fold(!0, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_known_one() {
        // RFC 3720 section B.4.
        assert_eq!(crc32c(&[b"123456789"]), 0xe306_9283);
        assert_eq!(crc32c(&[&[0; 32]]), 0x8a91_36aa);
        assert_eq!(crc32c(&[b"1234", b"56789"]), 0xe306_9283);
    }
}

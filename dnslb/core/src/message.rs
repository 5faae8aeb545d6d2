//! Reading whole DNS messages record by record, off the path of plain queries: what peers and operators send us.
//!
//! Names are decompressed, in owners and in the data of the types whose names may be compressed. Whatever the octets, reading
//! ends after a bounded number of steps and never panics; what is not of the wire's form is [`Malformed`].

use crate::name::{LABEL_LEN_MAX, NAME_LEN_MAX, Name};
use crate::zone::Rtype;
use std::fmt;

/// Length of a header, in octets.
pub const HEADER_LEN: usize = 12;

/// Pointers that one name may follow. A name has 127 labels at most, so more of them is an attack.
const POINTERS_MAX: usize = 128;

/// The message is not of the form that RFC 1035 section 4 gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a malformed message")
    }
}

impl std::error::Error for Malformed {}

/// What a message is about (RFC 6895 section 2.2).
pub mod opcode {
    /// A standard query.
    pub const QUERY: u8 = 0;
    /// A zone has changed (RFC 1996).
    pub const NOTIFY: u8 = 4;
    /// Change a zone (RFC 2136).
    pub const UPDATE: u8 = 5;
}

/// The first twelve octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The message's ID.
    pub id: u16,
    /// QR, opcode, AA, TC, RD, RA, Z, AD, CD and the low bits of the response code.
    pub flags: u16,
    /// Records of each section, from the question on.
    pub counts: [u16; 4],
}

impl Header {
    /// The bit that marks a response.
    pub const QR: u16 = 0x8000;
    /// The bit of an authoritative answer.
    pub const AA: u16 = 0x0400;
    /// The bit of a truncated answer.
    pub const TC: u16 = 0x0200;

    /// Reads it from the start of `message`.
    ///
    /// # Errors
    /// If there are fewer than twelve octets.
    pub fn read(message: &[u8]) -> Result<Self, Malformed> {
        let head: &[u8; HEADER_LEN] = message.first_chunk().ok_or(Malformed)?;
        let (words, _) = head.as_chunks::<2>();
        let word = |index: usize| words.get(index).map_or(0, |octets| u16::from_be_bytes(*octets));
        Ok(Self { id: word(0), flags: word(1), counts: [word(2), word(3), word(4), word(5)] })
    }

    /// As octets.
    pub fn octets(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        let words = [self.id, self.flags].into_iter().chain(self.counts);
        for (chunk, word) in out.as_chunks_mut::<2>().0.iter_mut().zip(words) {
            *chunk = word.to_be_bytes();
        }
        out
    }

    /// What the message is about; see [`opcode`].
    pub fn opcode(&self) -> u8 {
        (self.flags >> 11 & 0xf) as u8
    }

    /// The low bits of its response code.
    pub fn rcode(&self) -> u16 {
        self.flags & 0xf
    }

    /// Whether it is a response.
    pub fn is_response(&self) -> bool {
        self.flags & Self::QR != 0
    }
}

/// One entry of the question section (the zone section of an update).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name asked for.
    pub name: Name,
    /// Its type.
    pub rtype: Rtype,
    /// Its class.
    pub class: u16,
}

/// One record as it stands in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireRecord {
    /// Offset of its first octet.
    pub start: usize,
    /// Its owner.
    pub owner: Name,
    /// Its type.
    pub rtype: Rtype,
    /// Its class.
    pub class: u16,
    /// Its time to live, in seconds.
    pub ttl_s: u32,
    /// Offset of its data.
    pub rdata_start: usize,
    /// Offset behind its data.
    pub end: usize,
}

/// Goes through a message from the question on.
#[derive(Debug, Clone)]
pub struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    /// Begins behind the header.
    pub fn new(message: &'m [u8]) -> Self {
        Self { message, at: HEADER_LEN }
    }

    /// Offset of the next octet.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Whether everything was read.
    pub fn is_at_end(&self) -> bool {
        self.at == self.message.len()
    }

    /// Reads one entry of the question section.
    ///
    /// # Errors
    /// If the octets there are none.
    pub fn question(&mut self) -> Result<Question, Malformed> {
        let (name, at) = name_at(self.message, self.at)?;
        let question = Question { name, rtype: Rtype(u16_at(self.message, at)?), class: u16_at(self.message, at + 2)? };
        self.at = at + 4;
        Ok(question)
    }

    /// Reads one record.
    ///
    /// # Errors
    /// If the octets there are none.
    pub fn record(&mut self) -> Result<WireRecord, Malformed> {
        let start = self.at;
        let (owner, at) = name_at(self.message, start)?;
        let ttl = self.message.get(at + 4..).and_then(|rest| rest.first_chunk()).ok_or(Malformed)?;
        let rdata_start = at + 10;
        let end = rdata_start + usize::from(u16_at(self.message, at + 8)?);
        if end > self.message.len() {
            return Err(Malformed);
        }
        self.at = end;
        Ok(WireRecord {
            start,
            owner,
            rtype: Rtype(u16_at(self.message, at)?),
            class: u16_at(self.message, at + 2)?,
            ttl_s: u32::from_be_bytes(*ttl),
            rdata_start,
            end,
        })
    }

    /// The octets from one offset to another.
    pub(crate) fn raw_from(&self, start: usize, end: usize) -> &'m [u8] {
        self.message.get(start..end).unwrap_or_default()
    }

    /// The data of a record of this message as it stands there.
    pub fn raw(&self, record: &WireRecord) -> &'m [u8] {
        self.raw_from(record.rdata_start, record.end)
    }

    /// The data of a record of this message with its names decompressed, in the case in which they were sent.
    ///
    /// # Errors
    /// If a name in it is broken, or reaches beyond it.
    pub fn data(&self, record: &WireRecord) -> Result<Box<[u8]>, Malformed> {
        let raw = self.raw(record);
        let Some((prefix, names)) = names_in(record.rtype, raw) else { return Ok(raw.into()) };
        let mut out = raw.get(..prefix).ok_or(Malformed)?.to_vec();
        let mut at = record.rdata_start + prefix;
        for _ in 0..names {
            at = expand(self.message, at, &mut out)?;
            if at > record.end {
                return Err(Malformed);
            }
        }
        out.extend_from_slice(self.message.get(at..record.end).ok_or(Malformed)?);
        if out.len() > usize::from(u16::MAX) { Err(Malformed) } else { Ok(out.into()) }
    }
}

/// Octets before the names in the data of a type, and how many names follow; `None` for types without compressible names
/// (RFC 3597 section 4).
fn names_in(rtype: Rtype, data: &[u8]) -> Option<(usize, usize)> {
    Some(match rtype.0 {
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, NXT, DNAME, NSEC
        2..=5 | 7..=9 | 12 | 30 | 39 | 47 => (0, 1),
        // SOA, MINFO, RP
        6 | 14 | 17 => (0, 2),
        // MX, AFSDB, RT, KX
        15 | 18 | 21 | 36 => (2, 1),
        // SIG, RRSIG
        24 | 46 => (18, 1),
        // PX
        26 => (2, 2),
        // SRV
        33 => (6, 1),
        // NAPTR: order, preference and three character strings
        35 => {
            let mut at = 4;
            for _ in 0..3 {
                at += 1 + usize::from(*data.get(at)?);
            }
            (at, 1)
        }
        _ => return None,
    })
}

/// Two octets as a number.
fn u16_at(message: &[u8], at: usize) -> Result<u16, Malformed> {
    message.get(at..).and_then(|rest| rest.first_chunk()).map(|octets| u16::from_be_bytes(*octets)).ok_or(Malformed)
}

/// Reads the name at `start`, and where the octets behind it start.
fn name_at(message: &[u8], start: usize) -> Result<(Name, usize), Malformed> {
    let mut wire = Vec::new();
    let end = expand(message, start, &mut wire)?;
    Ok((Name::from_wire(&wire).map_err(|_| Malformed)?, end))
}

/// Appends the uncompressed name at `start`; returns where the octets behind it start. Pointers must lead
/// to a name that ends before them (RFC 1035 section 4.1.4: a prior occurrence), and not into the header.
fn expand(message: &[u8], start: usize, out: &mut Vec<u8>) -> Result<usize, Malformed> {
    let (mut at, mut end, mut pointers) = (start, None, 0);
    let (mut before, len_max) = (message.len(), out.len() + NAME_LEN_MAX);
    loop {
        let len = usize::from(*message.get(at).ok_or(Malformed)?);
        if len > LABEL_LEN_MAX {
            let target = usize::from(u16_at(message, at)?);
            pointers += 1;
            if target < 0xc000 || pointers > POINTERS_MAX {
                return Err(Malformed);
            }
            let target = target - 0xc000;
            // Names before the question there are none: what looks like one in the header is another one in the answer.
            if at + 2 > before || !(HEADER_LEN..at).contains(&target) {
                return Err(Malformed);
            }
            end = end.or(Some(at + 2));
            (before, at) = (at, target);
            continue;
        }
        if at + 1 + len > before {
            return Err(Malformed);
        }
        out.extend_from_slice(message.get(at..=at + len).ok_or(Malformed)?);
        if out.len() > len_max {
            return Err(Malformed);
        }
        at += 1 + len;
        if len == 0 {
            return Ok(end.unwrap_or(at));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn message(body: &[u8]) -> Vec<u8> {
        [&[0; HEADER_LEN][..], body].concat()
    }

    #[test]
    fn names_are_decompressed() {
        // 12: a.b. ; 17: c + pointer to b. at 14
        let message = message(b"\x01a\x01b\0\x01c\xc0\x0e\xc0\x11");
        for (at, expect, expect_end) in [(12, "a.b.", 17), (17, "c.b.", 21), (21, "c.b.", 23)] {
            let (name, end) = name_at(&message, at).unwrap();
            assert_eq!((name.to_string().as_str(), end), (expect, expect_end), "{at}");
        }
    }

    #[test]
    fn broken_names_are_refused() {
        let check = |body: &[u8]| assert_eq!(name_at(&message(body), 12), Err(Malformed), "{body:?}");
        check(b"");
        check(b"\x05ab");
        check(b"\xc0\x0c");
        check(b"\xc0\x0d\0");
        // Into the header: octets that happen to look like a name.
        check(b"\xc0\x00");
        check(b"\x01a\xc0\x0b");
        // Into a name that goes on over the pointer, and so says something else when other octets follow.
        check(b"\x02\x05a\xc0\x0dzz\0");
        check(b"\xc0");
        check(b"\x40aaaa\0");
        check(&[b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(5));
    }

    #[test]
    fn a_chain_of_pointers_ends() {
        let mut body = b"\0".to_vec();
        for target in 0..200_u16 {
            let to = if target == 0 { 12 } else { 13 + 2 * (target - 1) };
            body.extend_from_slice(&(0xc000 | to).to_be_bytes());
        }
        let message = message(&body);
        assert!(name_at(&message, 13 + 2 * 100).is_ok());
        assert_eq!(name_at(&message, 13 + 2 * 199), Err(Malformed));
    }

    #[test]
    fn names_in_data_are_decompressed_where_they_may_be_compressed() {
        let check = |rtype: u16, data: &[u8], expect: Option<&[u8]>| {
            let mut body = b"\x01A\0".to_vec();
            body.extend_from_slice(b"\xc0\x0c");
            body.extend_from_slice(&rtype.to_be_bytes());
            body.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
            body.extend_from_slice(&(data.len() as u16).to_be_bytes());
            body.extend_from_slice(data);
            let message = message(&body);
            let mut reader = Reader { message: &message, at: 15 };
            let record = reader.record().unwrap();
            assert!(reader.is_at_end());
            assert_eq!(reader.data(&record).ok().as_deref(), expect, "type {rtype}");
        };
        check(2, b"\xc0\x0c", Some(b"\x01A\0"));
        check(6, b"\xc0\x0c\xc0\x0c01234567890123456789", Some(b"\x01A\0\x01A\x0001234567890123456789"));
        check(15, b"\0\x05\xc0\x0c", Some(b"\0\x05\x01A\0"));
        check(33, b"123456\xc0\x0c", Some(b"123456\x01A\0"));
        check(35, b"1234\x01a\0\x01b\xc0\x0c", Some(b"1234\x01a\0\x01b\x01A\0"));
        check(16, b"\x02\xc0\x0c", Some(b"\x02\xc0\x0c"));
        check(2, b"\x01", None);
        check(2, b"", None);
        check(15, b"\0", None);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(&octets);
            if Header::read(&octets).is_ok() && reader.question().is_ok() {
                while let Ok(record) = reader.record() {
                    let _ = reader.data(&record);
                }
            }
        }

        #[test]
        fn a_header_is_written_as_it_was_read(octets in any::<[u8; HEADER_LEN]>()) {
            prop_assert_eq!(Header::read(&octets).unwrap().octets(), octets);
        }
    }
}

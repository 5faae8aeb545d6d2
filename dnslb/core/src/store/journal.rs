//! The journal of a zone: what was changed since its checkpoint, in frames that are checked one by one.
//!
//! A frame is what one write made durable: magic, length, CRC-32C, number, payload. The last one may be torn, since nobody was
//! told of it before it was whole; what is torn is cut off. A frame that does not hold and has another behind it that does was
//! damaged later, and nothing behind a gap may be believed: that is refused, never passed over.

use std::fmt;

use super::codec::{Octets, crc32c, put_diff};
use crate::name::Name;
use crate::zone::Diff;
use farm_shared::time::Wall;

const HEADER_MAGIC: &[u8; 8] = b"DNSLBJ1\n";
const FRAME_MAGIC: [u8; 4] = *b"\xd5jf\n";
/// Octets of a frame before its payload.
const FRAME_HEAD_LEN: usize = 20;
/// Longest payload, in octets: what is longer is a checkpoint instead.
pub const FRAME_PAYLOAD_MAX: usize = 64 << 20;
/// How many times the octets behind a frame that does not hold are read in the search for another.
const RESYNC_READS_MAX: usize = 8;

/// What a frame tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Changes, one after the other, and when.
    Changes(Wall, Vec<Diff>),
    /// Whether an operator has the zone frozen.
    Frozen(bool),
    /// The digest of the master file that the data now follows.
    Seed([u8; 32]),
    /// A secondary's data was confirmed by a primary.
    Confirmed(Wall),
}

/// The start of a journal file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The zone.
    pub apex: Name,
    /// The file's place among those of the zone.
    pub generation: u64,
    /// The number of its first frame.
    pub first: u64,
}

/// A journal that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrupt {
    /// The octet at which it ends to hold.
    pub at: usize,
    /// What was found there.
    pub found: &'static str,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at octet {}", self.found, self.at)
    }
}

/// What a journal file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The entries, in order.
    pub entries: Vec<Entry>,
    /// Octets that hold; what is behind them is a write that was cut short.
    pub len: usize,
}

impl Header {
    /// The header's octets.
    pub fn to_octets(&self) -> Vec<u8> {
        let mut out = HEADER_MAGIC.to_vec();
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&self.first.to_be_bytes());
        out.extend_from_slice(self.apex.wire());
        out.extend_from_slice(&crc32c(&[&out]).to_be_bytes());
        out
    }

    /// Reads a header and its length; `None` if it does not hold.
    pub fn read(octets: &[u8]) -> Option<(Self, usize)> {
        let mut rest = Octets(octets);
        if rest.take(HEADER_MAGIC.len())? != HEADER_MAGIC {
            return None;
        }
        let (generation, first) = (rest.u64()?, rest.u64()?);
        let apex = rest.name()?;
        let len = octets.len() - rest.0.len();
        let holds = rest.u32()? == crc32c(&[octets.get(..len)?]);
        holds.then_some((Self { apex, generation, first }, len + 4))
    }
}

impl Entry {
    /// The payload's octets.
    fn to_payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Changes(wall, diffs) => {
                out.push(1);
                out.extend_from_slice(&wall.0.to_be_bytes());
                out.extend_from_slice(&(diffs.len() as u32).to_be_bytes());
                for diff in diffs {
                    put_diff(&mut out, diff);
                }
            }
            Self::Frozen(frozen) => out.extend_from_slice(&[2, u8::from(*frozen)]),
            Self::Seed(digest) => {
                out.push(3);
                out.extend_from_slice(digest);
            }
            Self::Confirmed(wall) => {
                out.push(4);
                out.extend_from_slice(&wall.0.to_be_bytes());
            }
        }
        out
    }

    fn from_payload(payload: &[u8]) -> Option<Self> {
        let mut rest = Octets(payload);
        let entry = match rest.u8()? {
            1 => {
                let (wall, count) = (Wall(rest.u64()?), rest.u32()?);
                let mut diffs = Vec::new();
                for _ in 0..count {
                    diffs.push(rest.diff()?);
                }
                Self::Changes(wall, diffs)
            }
            2 => Self::Frozen(rest.u8()? != 0),
            3 => Self::Seed(rest.take(32)?.try_into().ok()?),
            4 => Self::Confirmed(Wall(rest.u64()?)),
            _ => return None,
        };
        rest.0.is_empty().then_some(entry)
    }
}

/// The frame of an entry; `None` if it is too long for one.
pub fn frame(number: u64, entry: &Entry) -> Option<Vec<u8>> {
    let payload = entry.to_payload();
    (payload.len() <= FRAME_PAYLOAD_MAX).then(|| frame_of(number, &payload))
}

/// The frame of any payload, at most [`FRAME_PAYLOAD_MAX`] octets: it holds, whatever it says.
pub fn frame_of(number: u64, payload: &[u8]) -> Vec<u8> {
    let (len, number) = ((payload.len() as u32).to_be_bytes(), number.to_be_bytes());
    let crc = crc32c(&[&len, &number, payload]).to_be_bytes();
    [&FRAME_MAGIC[..], &len, &crc, &number, payload].concat()
}

/// A frame at the start of `octets`: its number, its payload and its length.
fn frame_at(octets: &[u8]) -> Option<(u64, &[u8], usize)> {
    let mut rest = Octets(octets);
    if rest.take(4)? != FRAME_MAGIC {
        return None;
    }
    let (len, crc, number) = (rest.u32()?, rest.u32()?, rest.u64()?);
    if len as usize > FRAME_PAYLOAD_MAX {
        return None;
    }
    let payload = rest.take(len as usize)?;
    let holds = crc32c(&[&len.to_be_bytes(), &number.to_be_bytes(), payload]) == crc;
    holds.then_some((number, payload, FRAME_HEAD_LEN + payload.len()))
}

/// Reads the frames behind a header: `octets` is the whole file, `start` the header's length, `first` the number of the first.
///
/// # Errors
/// [`Corrupt`] when something other than a torn write stands there.
pub fn read(octets: &[u8], start: usize, first: u64) -> Result<Read, Corrupt> {
    let (mut at, mut number) = (start, first);
    let mut entries = Vec::new();
    while let Some(rest) = octets.get(at..).filter(|rest| !rest.is_empty()) {
        let Some((found, payload, len)) = frame_at(rest) else {
            return match later_frame(rest) {
                None => Ok(Read { entries, len: at }),
                Some(_) => Err(Corrupt { at, found: "a frame that does not hold, with one behind it that does," }),
            };
        };
        if found != number {
            return Err(Corrupt { at, found: "a frame out of its order" });
        }
        let entry = Entry::from_payload(payload).ok_or(Corrupt { at, found: "a frame of another version" })?;
        entries.push(entry);
        (at, number) = (at + len, number + 1);
    }
    Ok(Read { entries, len: at.min(octets.len()) })
}

/// Whether a frame that holds is anywhere behind the first octet.
pub(super) fn holds_a_frame(octets: &[u8]) -> bool {
    later_frame(octets).is_some()
}

/// Where behind the first octet a frame starts that holds. Octets made to keep the search busy are taken to hold one.
fn later_frame(octets: &[u8]) -> Option<usize> {
    let starts = octets.windows(FRAME_MAGIC.len()).enumerate().skip(1).filter(|(_, window)| *window == FRAME_MAGIC);
    let mut budget = octets.len().saturating_mul(RESYNC_READS_MAX);
    for (at, _) in starts {
        let rest = octets.get(at..)?;
        let announced = rest.get(4..8).and_then(|len| len.first_chunk()).map_or(0, |len| u32::from_be_bytes(*len) as usize);
        if announced <= rest.len() {
            budget = budget.saturating_sub(announced + FRAME_HEAD_LEN);
        }
        if budget == 0 || frame_at(rest).is_some() {
            return Some(at);
        }
    }
    None
}

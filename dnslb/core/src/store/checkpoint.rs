//! A zone whole, as one file: what the journal's changes start from.
//!
//! It is written whole and put in place by a rename, so that it either holds or was damaged: there is no torn checkpoint.

use super::codec::{Octets, crc32c, put_record};
use crate::name::Name;
use crate::zone::{Record, Zone};
use farm_shared::time::Wall;

const MAGIC: &[u8; 8] = b"DNSLBZ1\n";

/// What a checkpoint says beside the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meta {
    /// The zone.
    pub(super) apex: Name,
    /// Which of the zone's checkpoints it is: the journal that goes on from it has the same number.
    pub(super) generation: u64,
    /// The number of the first frame behind it.
    pub(super) next: u64,
    /// Whether an operator has the zone frozen.
    pub(super) frozen: bool,
    /// The digest of the master file that the data followed last.
    pub(super) seed: [u8; 32],
    /// When a primary last confirmed a secondary's data; 0 for never.
    pub(super) confirmed: Wall,
}

/// The file of a zone.
pub(super) fn write(meta: &Meta, zone: &Zone) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&meta.generation.to_be_bytes());
    out.extend_from_slice(&meta.next.to_be_bytes());
    out.push(u8::from(meta.frozen));
    out.extend_from_slice(&meta.seed);
    out.extend_from_slice(&meta.confirmed.0.to_be_bytes());
    out.extend_from_slice(meta.apex.wire());
    zone.records().for_each(|record| put_record(&mut out, record));
    out.extend_from_slice(&crc32c(&[&out]).to_be_bytes());
    out
}

/// Reads a file; `None` if it does not hold.
pub(super) fn read(octets: &[u8]) -> Option<(Meta, Vec<Record>)> {
    let (body, crc) = octets.split_last_chunk::<4>()?;
    if crc32c(&[body]) != u32::from_be_bytes(*crc) {
        return None;
    }
    let mut rest = Octets(body);
    if rest.take(MAGIC.len())? != MAGIC {
        return None;
    }
    let (generation, next, frozen) = (rest.u64()?, rest.u64()?, rest.u8()? != 0);
    let seed = rest.take(32)?.try_into().ok()?;
    let confirmed = Wall(rest.u64()?);
    let apex = rest.name()?;
    let mut records = Vec::new();
    while !rest.0.is_empty() {
        records.push(rest.record()?);
    }
    Some((Meta { apex, generation, next, frozen, seed, confirmed }, records))
}

//! The digest of a zone in its own ZONEMD records (RFC 8976): a file that was cut or changed on its way is not loaded.
//!
//! Only a zone that has such a record is looked through. It never changes a zone, and a scheme that it does not know decides nothing.

use aws_lc_rs::digest::{Algorithm, Context, SHA384, SHA512};

use super::canonical::canonical_rdata;
use super::data::Zone;
use super::draft::set_type;
use super::problem::{Place, Problems};
use super::record::RecordRef;
use super::rtype::Rtype;

const ZONEMD: Rtype = Rtype(63);
/// The scheme SIMPLE.
const SIMPLE: u8 = 1;

/// Says what is wrong with the digests of a zone: an error when one speaks of this very version and none fits.
pub(super) fn check(zone: &Zone, whole: Place, problems: &mut Problems) {
    let Some(set) = zone.rrset(zone.apex(), ZONEMD) else { return };
    let (mut failed, mut unknown) = (false, false);
    for rdata in set.rdata() {
        let Some((&serial, rest)) = rdata.split_first_chunk() else { continue };
        let &[scheme, algorithm, ref digest @ ..] = rest else { continue };
        let algorithm = match algorithm {
            1 => Some(&SHA384),
            2 => Some(&SHA512),
            _ => None,
        };
        let Some(algorithm) = algorithm.filter(|_| scheme == SIMPLE && u32::from_be_bytes(serial) == zone.serial()) else {
            unknown = true;
            continue;
        };
        if of_zone(zone, algorithm) == digest {
            return;
        }
        failed = true;
    }
    if failed {
        let found = "records that do not have the digest of the ZONEMD record";
        problems.error(whole, found, "the zone whole and unchanged, with one TTL an RRset (RFC 8976)");
    } else if unknown {
        let found = "no ZONEMD record of this serial with a known scheme and digest";
        problems.warning(
            whole,
            found,
            "one made for this version, with scheme 1 and SHA-384 or SHA-512; nothing is verified",
        );
    }
}

/// The digest by the scheme SIMPLE (RFC 8976 section 3.3.1).
fn of_zone(zone: &Zone, algorithm: &'static Algorithm) -> Vec<u8> {
    let is_digest = |record: &RecordRef<'_>| record.owner == zone.apex() && set_type(record.rtype, record.rdata) == ZONEMD;
    let mut records: Vec<_> = zone
        .records()
        .filter(|record| !is_digest(record))
        .map(|record| (record.owner, record.rtype, canonical_rdata(record.rtype, record.rdata), record.ttl_s))
        .collect();
    records.sort();
    let mut context = Context::new(algorithm);
    for (owner, rtype, rdata, ttl_s) in records {
        context.update(owner.wire());
        context.update(&rtype.0.to_be_bytes());
        context.update(&[0, 1]);
        context.update(&ttl_s.to_be_bytes());
        context.update(&(rdata.len() as u16).to_be_bytes());
        context.update(&rdata);
    }
    context.finish().as_ref().to_vec()
}

//! Zone files and the zones made of them.
//!
//! Reading is in four steps, one file each: octets to entries (`text`), entries to records (`reader`, with the record data in
//! `rdata`), records to a checked zone (`build`). The result, [`Zone`], is immutable and prepared for answering: no step of an
//! answer ever scans it. Files are read through [`Files`], so that nothing here touches a disk.

mod apply;
mod build;
mod canonical;
mod check;
mod chunks;
mod compress;
mod data;
mod draft;
mod fields;
mod fields_text;
mod generate;
mod history;
mod loc;
mod nodes;
mod problem;
mod rdata;
mod reader;
mod record;
mod rtype;
pub mod serial;
mod set;
mod text;
mod view;
mod write;
mod zonemd;

pub use apply::ApplyError;
pub use canonical::{canonical_rdata, name_ranges, same_rdata};
pub(crate) use compress::To;
pub(crate) use data::{Node, OWNER_POINTER};
pub use data::{Nsec3, RrSet, Sigs, Zone};
pub use history::{HISTORY_OCTETS_MAX, History};
pub use problem::{Problem, Severity};
pub use rdata::is_well_formed;
pub use record::{Diff, Record, RecordRef, Soa};
pub use rtype::{Rtype, rtype_from_text};
pub(crate) use set::ZoneAt;
pub use set::{Hosted, Zones, ZonesError};
pub use view::ZoneName;
pub use write::write_rdata;

use crate::name::Name;

/// Where zone files come from.
pub trait Files {
    /// The content of the file at `path`, or why it cannot be had.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;
}

/// A zone, and what is odd but not wrong about its files.
#[derive(Debug)]
pub struct Loaded {
    /// The zone.
    pub zone: Zone,
    /// Problems of [`Severity::Warning`].
    pub warnings: Vec<Problem>,
}

/// Reads the zone `origin` from the master file `main` (RFC 1035 section 5) and what it includes, and checks it.
///
/// # Errors
/// Every problem at once, at most [`PROBLEMS_MAX`] errors and as many warnings, in the order in which they were met.
pub fn load(origin: &Name, files: &dyn Files, main: &str) -> Result<Loaded, Vec<Problem>> {
    let mut problems = problem::Problems::default();
    let records = reader::read(origin, files, main, &mut problems);
    let whole = problem::Place::whole(problems.file(main));
    let zone = build::build(origin, whole, records, build::Source::File, &mut problems);
    match (zone, problems.has_errors()) {
        (Some(zone), false) => Ok(Loaded { zone, warnings: problems.into_list() }),
        _ => Err(problems.into_list()),
    }
}

impl Zone {
    /// Makes a zone of records that come from elsewhere than a file, by the rules that must hold for every zone: all in the zone,
    /// one SOA record, CNAME alone, one TTL an RRset. What [`load`] says of odd but possible data is not said here, and glue
    /// may be missing, since an update may bring it later. Problems have no line.
    ///
    /// # Errors
    /// As [`load`].
    pub fn from_records(apex: &Name, records: impl IntoIterator<Item = Record>) -> Result<Loaded, Vec<Problem>> {
        let mut problems = problem::Problems::default();
        let place = problem::Place::whole(problems.file(""));
        let lines = records.into_iter().map(|Record { owner, rtype, ttl_s, rdata }| draft::Line {
            place,
            owner,
            rtype,
            ttl_s,
            rdata,
        });
        let zone = build::build(apex, place, lines.collect(), build::Source::Records, &mut problems);
        match (zone, problems.has_errors()) {
            (Some(zone), false) => Ok(Loaded { zone, warnings: problems.into_list() }),
            _ => Err(problems.into_list()),
        }
    }
}

/// Most errors, and most warnings, that one load reports.
pub const PROBLEMS_MAX: usize = 100;

#[cfg(test)]
mod api_tests;
#[cfg(test)]
mod tests;

//! A zone and a change to the next version of the zone. The old one stays as it is: whoever answers from it goes on.

use std::fmt;

use super::Problem;
use super::canonical::same_rdata;
use super::data::Zone;
use super::record::{Diff, Record};

/// Why a change does not fit a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyError {
    /// A record to remove is not there.
    Missing(Box<Record>),
    /// A record to add is there already.
    Present(Box<Record>),
    /// What would come out breaks the rules of zones.
    Invalid(Vec<Problem>),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(record) => write!(f, "the {} record of {} to remove is not there", record.rtype, record.owner),
            Self::Present(record) => write!(f, "the {} record of {} to add is there already", record.rtype, record.owner),
            Self::Invalid(problems) => match problems.first() {
                Some(first) => write!(f, "found {}; expected {}", first.found, first.expected),
                None => f.write_str("no zone comes out"),
            },
        }
    }
}

impl std::error::Error for ApplyError {}

impl Zone {
    /// The zone after a change. TTLs of removed records do not count; of an RRset's TTLs the lowest holds.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing is changed then.
    pub fn apply(&self, diff: &Diff) -> Result<Self, ApplyError> {
        let is =
            |a: &Record, b: &Record| a.owner == b.owner && a.rtype == b.rtype && same_rdata(a.rtype, &a.rdata, &b.rdata);
        let mut records: Vec<Record> = self.records().map(super::RecordRef::to_record).collect();
        for gone in &diff.removed {
            let at = records.iter().position(|record| is(record, gone));
            records.swap_remove(at.ok_or_else(|| ApplyError::Missing(gone.clone().into()))?);
        }
        for new in &diff.added {
            if records.iter().any(|record| is(record, new)) {
                return Err(ApplyError::Present(new.clone().into()));
            }
            records.push(new.clone());
        }
        match Self::from_records(self.apex(), records) {
            Ok(loaded) => Ok(loaded.zone),
            Err(problems) => Err(ApplyError::Invalid(problems)),
        }
    }
}

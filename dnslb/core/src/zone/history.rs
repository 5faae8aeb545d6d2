//! The last changes of a zone, for incremental transfers (RFC 1995).
//!
//! They form a chain: each starts at the serial that the one before it led to. Bounded in number and octets; the oldest go first.

use std::sync::Arc;

use super::record::{Diff, Soa};
use super::rtype::Rtype;

/// Most changes kept of a zone.
const DIFFS_MAX: usize = 1_000;
/// Most octets of record data and names in them.
pub const HISTORY_OCTETS_MAX: usize = 4 << 20;

/// The last changes, oldest first.
#[derive(Debug, Clone, Default)]
pub struct History {
    diffs: Vec<Step>,
    octets: usize,
}

#[derive(Debug, Clone)]
struct Step {
    from: u32,
    to: u32,
    octets: usize,
    diff: Arc<Diff>,
}

impl Diff {
    /// The serial that it starts at and the one that it leads to; `None` if it is not a change from one version to another.
    pub fn serials(&self) -> Option<(u32, u32)> {
        let serial = |records: &[super::Record]| {
            let soa = records.iter().find(|record| record.rtype == Rtype::SOA)?;
            Soa::from_rdata(&soa.rdata).map(|soa| soa.serial)
        };
        Some((serial(&self.removed)?, serial(&self.added)?))
    }

    /// Octets of its names and data, with what a record costs beside them.
    pub fn octets(&self) -> usize {
        self.removed.iter().chain(&self.added).map(|record| record.owner.wire().len() + record.rdata.len() + 64).sum()
    }
}

impl History {
    /// This history and one more change. A change that does not start where the last one ended begins a new one.
    #[must_use]
    pub fn with(&self, diff: Arc<Diff>) -> Self {
        let Some((from, to)) = diff.serials() else { return Self::default() };
        let mut history = if self.diffs.last().is_none_or(|last| last.to == from) { self.clone() } else { Self::default() };
        let octets = diff.octets();
        history.diffs.push(Step { from, to, octets, diff });
        history.octets += octets;
        let mut gone = 0;
        for step in &history.diffs {
            if history.octets <= HISTORY_OCTETS_MAX && history.diffs.len() - gone <= DIFFS_MAX {
                break;
            }
            history.octets -= step.octets;
            gone += 1;
        }
        history.diffs.drain(..gone);
        history
    }

    /// The changes from the version `serial` to the latest; `None` if they are not known (any more), or if there are none.
    pub fn since(&self, serial: u32) -> Option<impl Iterator<Item = &Diff>> {
        let start = self.diffs.iter().rposition(|step| step.from == serial)?;
        Some(self.diffs.get(start..)?.iter().map(|step| &*step.diff))
    }

    /// Octets that it takes, about.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.diffs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.diffs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::name::Name;
    use crate::zone::Record;

    fn diff(from: u32, to: u32, more: usize) -> Arc<Diff> {
        let soa = |serial| Soa {
            mname: Name::root(),
            rname: Name::root(),
            serial,
            refresh_s: 1,
            retry_s: 1,
            expire_s: 1,
            minimum_s: 1,
        };
        let record = |serial| Record { owner: Name::root(), rtype: Rtype::SOA, ttl_s: 1, rdata: soa(serial).to_rdata() };
        let filler = Record { owner: Name::root(), rtype: Rtype::TXT, ttl_s: 1, rdata: vec![0; more].into() };
        Arc::new(Diff { removed: vec![record(from)], added: vec![record(to), filler] })
    }

    fn since(history: &History, serial: u32) -> Option<Vec<u32>> {
        history.since(serial).map(|diffs| diffs.map(|diff| diff.serials().unwrap().1).collect())
    }

    #[test]
    fn a_chain_is_given_from_a_version_on() {
        let history = History::default().with(diff(7, 8, 1)).with(diff(8, 10, 1)).with(diff(10, u32::MAX, 1)).with(diff(
            u32::MAX,
            1,
            1,
        ));
        assert_eq!(since(&history, 8), Some(vec![10, u32::MAX, 1]));
        assert_eq!(since(&history, u32::MAX), Some(vec![1]));
        assert_eq!((since(&history, 9), since(&history, 1)), (None, None));
        let broken = history.with(diff(5, 6, 1));
        assert_eq!((broken.len(), since(&broken, 7), since(&broken, 5)), (1, None, Some(vec![6])));
        assert!(history.with(Arc::default()).is_empty());
    }

    #[test]
    fn it_is_bounded() {
        let mut history = History::default();
        for serial in 1..=2_000 {
            history = history.with(diff(serial, serial + 1, 1));
        }
        assert_eq!((history.len(), since(&history, 1_001).map(|diffs| diffs.len())), (1_000, Some(1_000)));
        for serial in 2_001..2_100 {
            history = history.with(diff(serial, serial + 1, 1 << 17));
            assert!(history.octets() <= HISTORY_OCTETS_MAX);
        }
        assert!(history.len() < 33);
        assert!(history.with(diff(2_100, 2_101, HISTORY_OCTETS_MAX)).is_empty());
    }
}

//! How long a heartbeat is believed.

use crate::time::Mono;

/// The numbers of DESIGN 4.2, all relative to the period that a member announces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeasePolicy {
    /// A lease is this many periods.
    pub lease_periods: f64,
    /// And never shorter, in milliseconds.
    pub lease_ms_min: u64,
    /// A silent member is forgotten after this many leases.
    pub forget_leases: u64,
    /// How long members known from before a restart are served unheard, in milliseconds.
    pub grace_ms: u64,
    /// Members a roster may hold; messages of further ones are refused.
    pub members_max: usize,
    /// A gap between two steps that is longer means that we slept (stopped, suspended, starved), not that the members did:
    /// the rest of it does not count against their leases. Milliseconds; the shell must step at least that often.
    pub step_ms_max: u64,
}

impl Default for LeasePolicy {
    fn default() -> Self {
        Self {
            lease_periods: 3.0,
            lease_ms_min: 500,
            forget_leases: 10,
            grace_ms: 10_000,
            members_max: 20_000,
            step_ms_max: 1_000,
        }
    }
}

impl LeasePolicy {
    /// The lease of a member that beats every `period_ms`.
    pub fn lease_ms(&self, period_ms: u64) -> u64 {
        ((period_ms as f64 * self.lease_periods) as u64).max(self.lease_ms_min)
    }
}

/// How much of its lease a member has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// Heard within half of its lease.
    Fresh,
    /// Late: it may fall silent at `until`.
    Late {
        /// When the lease ends.
        until: Mono,
    },
    /// Not heard since before a restart; its grace ends at `until`.
    Unheard {
        /// When the grace ends.
        until: Mono,
    },
    /// The lease has run out.
    Silent,
}

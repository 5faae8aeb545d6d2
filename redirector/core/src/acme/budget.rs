//! What has been asked of the certificate authority lately, so that no failure of ours, however often repeated, meets its rate limits.
//!
//! The caps stand below the published limits of Let's Encrypt, since an operator who tries something by hand needs room as well.
//! An entry is made before the question is asked: a crash in between must never make a question free.

use farm_shared::time::{Mono, Now};
use serde::{Deserialize, Serialize};

const HOUR: u64 = 3_600_000;
const WEEK: u64 = 7 * 24 * HOUR;

/// Validations that failed, or whose outcome is unknown, within [`VALIDATIONS_SPAN_MS`]. The limit is 5 per name and hour.
pub const VALIDATIONS_MAX: usize = 4;
/// See [`VALIDATIONS_MAX`].
pub const VALIDATIONS_SPAN_MS: u64 = HOUR;
/// New orders within [`ORDERS_SPAN_MS`]. The limit is 300 per account.
pub const ORDERS_MAX: usize = 30;
/// See [`ORDERS_MAX`].
pub const ORDERS_SPAN_MS: u64 = 3 * HOUR;
/// Certificates with exactly the same names within [`ISSUED_SPAN_MS`]. The limit is 5.
pub const DUPLICATES_MAX: usize = 4;
/// Certificates within [`ISSUED_SPAN_MS`], whatever their names. The limit is 50 per registered domain.
pub const ISSUED_MAX: usize = 20;
/// See [`DUPLICATES_MAX`].
pub const ISSUED_SPAN_MS: u64 = WEEK;

/// The account of one certificate. Times are of the wall clock, since they must outlive a restart; those of this run are kept by the
/// monotonic clock too, so that a clock that jumps ahead frees nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    #[serde(default)]
    validations_ms: Vec<u64>,
    #[serde(default)]
    orders_ms: Vec<u64>,
    #[serde(default)]
    issued: Vec<Issue>,
    #[serde(skip)]
    validations: Vec<Mono>,
    #[serde(skip)]
    orders: Vec<Mono>,
    #[serde(skip)]
    issues: Vec<Mono>,
}

/// One certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Issue {
    at_ms: u64,
    names: Vec<String>,
}

impl Budget {
    /// Forgets what is older than its span. What lies in the future was noted by a clock that was wrong: it counts from now.
    pub(super) fn trim(&mut self, now: Now) {
        let wall = now.wall.0;
        for (times, span_ms) in [(&mut self.validations_ms, VALIDATIONS_SPAN_MS), (&mut self.orders_ms, ORDERS_SPAN_MS)] {
            for at in times.iter_mut() {
                *at = (*at).min(wall);
            }
            times.retain(|at| wall - *at < span_ms);
        }
        for issue in &mut self.issued {
            issue.at_ms = issue.at_ms.min(wall);
        }
        self.issued.retain(|issue| wall - issue.at_ms < ISSUED_SPAN_MS);
        self.validations.retain(|at| now.mono.since_ms(*at) < VALIDATIONS_SPAN_MS);
        self.orders.retain(|at| now.mono.since_ms(*at) < ORDERS_SPAN_MS);
        self.issues.retain(|at| now.mono.since_ms(*at) < ISSUED_SPAN_MS);
    }

    /// Whether another certificate for `names` may be asked for. [`Self::trim`] must have been called.
    pub(super) fn allows(&self, names: &[String], is_new_order: bool) -> bool {
        let duplicates = self.issued.iter().filter(|issue| issue.names == names).count();
        self.validations_ms.len().max(self.validations.len()) < VALIDATIONS_MAX
            && (!is_new_order || self.orders_ms.len().max(self.orders.len()) < ORDERS_MAX)
            && duplicates < DUPLICATES_MAX
            && self.issued.len().max(self.issues.len()) < ISSUED_MAX
    }

    pub(super) fn order(&mut self, now: Now) {
        self.orders_ms.push(now.wall.0);
        self.orders.push(now.mono);
    }

    pub(super) fn validation(&mut self, now: Now) {
        self.validations_ms.push(now.wall.0);
        self.validations.push(now.mono);
    }

    /// The last validation succeeded: only failures are limited.
    pub(super) fn validated(&mut self) {
        self.validations_ms.pop();
        self.validations.pop();
    }

    pub(super) fn issued(&mut self, now: Now, names: &[String]) {
        self.issued.push(Issue { at_ms: now.wall.0, names: names.to_vec() });
        self.issues.push(now.mono);
    }
}

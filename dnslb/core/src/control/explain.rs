//! Why a name is answered as it is: the data behind `dnslb ask`.
//!
//! Read-only, and of the same state that answers are made of.

use super::Control;
use super::pool_state::PoolState;
use super::status::label;
use super::view::View;
use crate::name::Name;
use crate::overlay::OverlayTarget;
use farm_shared::id::Id;
use farm_shared::time::{Mono, Now};
use serde::Serialize;

/// What stands behind the answers for a name.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The name.
    pub name: String,
    /// The zone that answers it, if one does.
    pub zone: Option<String>,
    /// The pool that it leads to.
    pub pool: Option<PoolExplanation>,
    /// It is the own name of one host.
    pub own_name: bool,
}

/// The pool behind a name.
#[derive(Clone, Debug, Serialize)]
pub struct PoolExplanation {
    /// Its name.
    pub name: Id,
    /// The verdict in words: how many are up, and who may be named.
    pub verdict: String,
    /// Why an answer's TTL is what it is.
    pub ttl: String,
    /// Its members.
    pub members: Vec<MemberVerdict>,
}

/// One member, and why it may or may not be named.
#[derive(Clone, Debug, Serialize)]
pub struct MemberVerdict {
    /// Its name.
    pub name: Id,
    /// Whether answers may name it.
    pub eligible: bool,
    /// What it is good for.
    pub standing: &'static str,
    /// Why.
    pub why: String,
}

impl Control {
    /// What stands behind the answers for `name`, as of the last flush.
    pub fn explain(&self, name: &Name, now: Now) -> Explanation {
        let target = self.overlay.get(name);
        let pool = match target {
            Some(OverlayTarget::Pool(index)) => self.pools.get(index as usize),
            _ => None,
        };
        Explanation {
            name: name.to_string(),
            zone: self.zones.find(name).map(|zone| zone.apex().to_string()),
            pool: pool.map(|pool| self.explain_pool(pool, now)),
            own_name: matches!(target, Some(OverlayTarget::Host { .. })),
        }
    }

    fn explain_pool(&self, pool: &PoolState, now: Now) -> PoolExplanation {
        let (up, counted) = pool.counts();
        let threshold = pool.threshold(counted);
        let k = pool.spec.k;
        let verdict = if pool.fail_open {
            format!("{up} of {counted} are up, fewer than {threshold}: fail-open, {k} of all {counted} are named")
        } else if up == 0 {
            format!("nobody of {counted} is up: NODATA for {} s", pool.spec.negative_ttl_s)
        } else {
            format!("{up} of {counted} are up, {threshold} are enough: {k} of {up} are named")
        };
        let soonest = pool.views.iter().filter(|v| pool.eligible(v)).map(|v| (v.change_at, v.who.id())).min();
        let (low, high) = (pool.spec.ttl_s_min, pool.spec.ttl_s_max);
        let ttl = match soonest {
            _ if pool.fail_open => format!("{low} s for answers that name a member which is not up"),
            Some((at, id)) if at != Mono::NEVER => {
                format!(
                    "{high} s; for answers that name {id} the {} ms until its state may change, at least {low} s",
                    at.since_ms(now.mono)
                )
            }
            _ => format!("{high} s: no state is about to change"),
        };
        let member = |view: &View| MemberVerdict {
            name: view.who.id().clone(),
            eligible: pool.eligible(view),
            standing: label(&view.who, view.standing),
            why: self.why(pool, view, now),
        };
        PoolExplanation { name: pool.spec.name.clone(), verdict, ttl, members: pool.views.iter().map(member).collect() }
    }
}

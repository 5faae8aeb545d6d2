//! Why a name is answered as it is: the data behind `dnslb ask`.
//!
//! Read-only, and of the same state that answers are made of.

use super::Control;
use super::pool_state::PoolState;
use super::status::label;
use super::view::View;
use crate::name::Name;
use crate::overlay::OverlayTarget;
use crate::pool::Level;
use crate::site::ClientClass;
use farm_shared::id::Id;
use farm_shared::time::{Mono, Now};
use serde::Serialize;
use std::net::IpAddr;

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
    /// What is known of the client, in words; none if the pool does not tell clients apart.
    pub client: Option<String>,
    /// Tiers and sites in the order in which this client gets them; empty if there is only one.
    pub levels: Vec<String>,
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
    /// What stands behind the answers that `client` (or the client that a resolver speaks for) gets for `name`, as of the last flush.
    pub fn explain(&self, name: &Name, client: IpAddr, now: Now) -> Explanation {
        let target = self.overlay.get(name);
        let pool = match target {
            Some(OverlayTarget::Pool(index) | OverlayTarget::Service { pool: index, .. }) => self.pools.get(index as usize),
            _ => None,
        };
        Explanation {
            name: name.to_string(),
            zone: self.zones.find(name).map(|zone| zone.apex().to_string()),
            pool: pool.map(|pool| self.explain_pool(pool, client, now)),
            own_name: matches!(target, Some(OverlayTarget::Host { .. })),
        }
    }

    fn explain_pool(&self, pool: &PoolState, client: IpAddr, now: Now) -> PoolExplanation {
        let (up, counted) = pool.counts();
        let threshold = pool.threshold(counted);
        let k = pool.spec.k;
        let verdict = if pool.fail_open {
            format!("{up} of {counted} are up, fewer than {threshold}: fail-open, {k} of all {counted} are named")
        } else if up == 0 {
            format!("nobody of {counted} is up: NODATA for {} s", pool.spec.negative_ttl_s)
        } else if up < threshold {
            format!(
                "{up} of {counted} are up, fewer than {threshold}, but a tier has enough of its own: {k} of {up} are named"
            )
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
        let class = self.spec.places.clients.class(self.spec.places.clients.class_of(client));
        PoolExplanation {
            name: pool.spec.name.clone(),
            verdict,
            client: self.explain_client(pool, client, class),
            levels: self.explain_levels(pool, class),
            ttl,
            members: pool.views.iter().map(member).collect(),
        }
    }

    fn explain_client(&self, pool: &PoolState, client: IpAddr, class: ClientClass) -> Option<String> {
        let places = &self.spec.places;
        let site = pool.spec.nearest_site.then(|| match class.site.and_then(|site| places.site_name(site)) {
            Some(site) => format!("is at the site {site}"),
            None => "is at no site".to_owned(),
        });
        let view = (!pool.spec.private_views.is_empty()).then(|| {
            let name = class.view.and_then(|view| places.views.get(usize::from(view))).map(|view| &view.name);
            let private = class.view.is_some_and(|view| pool.spec.private_views.contains(&view));
            match (name, private) {
                (Some(view), true) => format!("is in the view {view} and gets private addresses"),
                (Some(view), false) => format!("is in the view {view}, which is not one of the pool's"),
                (None, _) => "is in no view".to_owned(),
            }
        });
        let known: Vec<String> = site.into_iter().chain(view).collect();
        (!known.is_empty()).then(|| format!("{client} {}", known.join(", ")))
    }

    fn explain_levels(&self, pool: &PoolState, class: ClientClass) -> Vec<String> {
        let Some(variant) = pool.variant_of(class, &self.spec.places) else { return Vec::new() };
        if variant.levels.len() < 2 {
            return Vec::new();
        }
        let places = &self.spec.places;
        let site = class.site.filter(|_| pool.spec.nearest_site);
        let level = |level: &Level| {
            let (tier, rank) = level.order;
            let here = |view: &&View| view.tier == tier && places.rank(site, view.site) == rank;
            let mut sites: Vec<&str> = pool
                .views
                .iter()
                .filter(here)
                .map(|view| view.site.and_then(|site| places.site_name(site)).map_or("no site", Id::as_str))
                .collect();
            sites.sort_unstable();
            sites.dedup();
            let place = if site.is_some() { format!(" at {}", sites.join(", ")) } else { String::new() };
            let share = 100.0 * level.share;
            format!("tier {tier}{place}: {} of {} may be named, {share:.0} % of the clients", level.eligible, level.counted)
        };
        variant.levels.iter().map(level).collect()
    }
}

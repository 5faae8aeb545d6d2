//! The state in words and numbers, for the admin API, metrics and the status page.
//!
//! Read-only: computing it must change nothing.

use super::Control;
use super::admin::Word;
use super::pool_state::{PoolState, StaticState};
use super::variant::Variant;
use super::view::{View, Who};
use super::viewpoints::ViewpointStatus;
use crate::health::{Notes, Votes, days_left};
use farm_shared::id::Id;
use farm_shared::member::{Forced, Freshness, Standing};
use farm_shared::time::Now;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// This front end.
    pub id: Id,
    /// The generation that was published last.
    pub generation: u64,
    /// Pools, in the order of the snapshot.
    pub pools: Vec<PoolStatus>,
    /// Farms by name.
    pub farms: Vec<FarmStatus>,
    /// Other name servers that check the same members.
    pub viewpoints: Vec<ViewpointStatus>,
}

/// One pool.
#[derive(Clone, Debug, Serialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: Id,
    /// The names that give its answers.
    pub publish: Vec<String>,
    /// Addresses in an answer.
    pub k: usize,
    /// Members that are up.
    pub up: usize,
    /// Members that the fail-open rule counts.
    pub counted: usize,
    /// How many must be up.
    pub threshold: usize,
    /// Too few are: answers name all that count.
    pub fail_open: bool,
    /// Share of clients that is assumed to take the lowest address of an answer.
    pub sort_share: f64,
    /// What clients of each kind get, if the pool tells them apart.
    pub variants: Vec<VariantStatus>,
    /// Prepared answers for A.
    pub subsets_v4: usize,
    /// Prepared answers for AAAA.
    pub subsets_v6: usize,
    /// Its members.
    pub members: Vec<MemberStatus>,
}

/// What one kind of clients gets.
#[derive(Clone, Debug, Serialize)]
pub struct VariantStatus {
    /// Their site; none for those of whom nothing is known. Those of other sites may get the same.
    pub site: Option<Id>,
    /// They get private addresses.
    pub private: bool,
    /// Members that they may be given, by level: tier, how many count, how many may be named, and the level's share of these
    /// clients.
    pub levels: Vec<(u16, usize, usize, f64)>,
}

/// One member of a pool.
#[derive(Clone, Debug, Serialize)]
pub struct MemberStatus {
    /// Its name or id.
    pub name: Id,
    /// Its number in counters; given again once the member is gone.
    pub slot: u32,
    /// Whether it is known by heartbeat.
    pub dynamic: bool,
    /// What it is good for.
    pub standing: &'static str,
    /// What it would be good for without an operator's word.
    pub measured: &'static str,
    /// What an operator forced.
    pub forced: Option<Forced>,
    /// Who forced it, when, and until when, if an operator did.
    pub word: Option<Word>,
    /// Why: the operator's reason, or the last failure.
    pub why: String,
    /// Its IPv4 address, if any.
    pub v4: Option<std::net::Ipv4Addr>,
    /// Its IPv6 address, if any.
    pub v6: Option<std::net::Ipv6Addr>,
    /// Its failure domain.
    pub zone: Option<Id>,
    /// Its weight, with its ramp.
    pub weight: f64,
    /// Its share of the pool's clients over IPv4, or IPv6 if that is all it has; 0 if it is not named.
    pub target_share: f64,
    /// Days until the certificate ends that its checks saw last, if they saw one.
    pub certificate_days: Option<i64>,
    /// Processes per core that run or wait there, on average, if its checks measure that.
    pub run_queue: Option<f64>,
    /// What viewpoints say of it, where they must agree.
    pub votes: Option<Votes>,
    /// Whether answers may name it.
    pub eligible: bool,
}

/// One farm.
#[derive(Clone, Debug, Serialize)]
pub struct FarmStatus {
    /// Its name.
    pub name: Id,
    /// Members that are known.
    pub members: usize,
    /// Of them, how many are silent.
    pub silent: usize,
    /// More than half are silent: nobody is forgotten.
    pub mostly_silent: bool,
    /// Doors in service.
    pub doors: u32,
    /// Members of which two incarnations are alive.
    pub twins: Vec<Id>,
    /// Age of each member's last heartbeat, in milliseconds.
    pub age_ms: BTreeMap<Id, u64>,
}

impl Control {
    /// The state as of the last flush.
    pub fn status(&self, now: Now) -> Status {
        Status {
            id: self.spec.server.id.clone(),
            generation: self.generation,
            pools: self.pools.iter().map(|pool| self.pool_status(pool, now)).collect(),
            viewpoints: self.viewpoints_status(now.mono),
            farms: self
                .farms
                .iter()
                .map(|(name, farm)| {
                    let clock = farm.roster.clock(now);
                    let members = farm.roster.members();
                    FarmStatus {
                        name: name.clone(),
                        members: members.len(),
                        silent: farm.roster.silent(),
                        mostly_silent: farm.roster.mostly_silent(),
                        doors: farm.doors,
                        twins: members.iter().filter(|(_, m)| m.twins_until > clock).map(|(id, _)| id.clone()).collect(),
                        age_ms: members.iter().map(|(id, m)| (id.clone(), clock.since_ms(m.heard))).collect(),
                    }
                })
                .collect(),
        }
    }

    fn pool_status(&self, pool: &PoolState, now: Now) -> PoolStatus {
        let (up, counted) = pool.counts();
        let notes = |view: &View| self.member_of(pool, &view.who).map(|(_, member)| &member.check.notes);
        let member = |(view, name): (&View, Id)| MemberStatus {
            name,
            slot: view.slot,
            dynamic: matches!(view.who, Who::Farm(..)),
            standing: label(&view.who, view.standing),
            measured: label(&view.who, view.measured),
            forced: view.forced.as_ref().map(|(forced, _)| *forced),
            word: view.forced.as_ref().and_then(|_| self.word_about(pool, &view.who)).cloned(),
            why: self.why(pool, view, now),
            v4: view.v4,
            v6: view.v6,
            zone: view.zone.clone(),
            weight: view.weight,
            target_share: pool.share(view),
            certificate_days: notes(view).and_then(Notes::not_after).map(|end| days_left(end, now.wall)),
            run_queue: notes(view).and_then(Notes::run_queue),
            votes: self.member_of(pool, &view.who).and_then(|(pool, member)| member.votes(&pool.spec)),
            eligible: pool.eligible(view),
        };
        let variant = |variant: &Variant| VariantStatus {
            site: variant.key.site.and_then(|site| self.spec.places.site_name(site)).cloned(),
            private: variant.key.private,
            levels: variant.levels.iter().map(|l| (l.order.0, l.counted, l.eligible, l.share)).collect(),
        };
        let mut names = BTreeSet::new();
        PoolStatus {
            name: pool.spec.name.clone(),
            publish: pool.spec.publish.iter().map(ToString::to_string).collect(),
            k: pool.spec.k,
            up,
            counted,
            threshold: pool.threshold(counted),
            fail_open: pool.fail_open,
            sort_share: pool.sort_share,
            variants: pool.variants.iter().map(variant).collect(),
            subsets_v4: pool.answers.sets.v4.len(),
            subsets_v6: pool.answers.sets.v6.len(),
            members: pool.views.iter().map(|view| (view, unique(&mut names, &view.who))).map(member).collect(),
        }
    }

    /// A static member, with the pool that it is of.
    fn member_of<'a>(&'a self, pool: &PoolState, who: &Who) -> Option<(&'a PoolState, &'a StaticState)> {
        let (group, id) = match who {
            Who::Static(id) => (&pool.spec.name, id),
            Who::Of(group, id) => (group, id),
            Who::Farm(..) => return None,
        };
        let pool = self.pools.iter().find(|pool| pool.spec.name == *group)?;
        Some((pool, pool.statics.iter().find(|state| state.spec.name == *id)?))
    }

    fn word_about(&self, pool: &PoolState, who: &Who) -> Option<&Word> {
        match who {
            Who::Static(id) => self.word(&pool.spec.name, id),
            Who::Farm(group, id) | Who::Of(group, id) => self.word(group, id),
        }
    }

    /// Why a member stands as it does.
    pub(super) fn why(&self, pool: &PoolState, view: &View, now: Now) -> String {
        if let Some((_, why)) = &view.forced {
            return if why.is_empty() { "an operator said so".into() } else { format!("an operator said so: {why}") };
        }
        let id = view.who.id();
        match &view.who {
            Who::Static(_) => {
                let state = pool.statics.iter().find(|s| s.spec.name == *id);
                state.map(|s| s.why(&pool.spec)).unwrap_or_default()
            }
            Who::Of(inner, id) => {
                let inner = self.pools.iter().find(|pool| pool.spec.name == *inner);
                let state = inner.and_then(|pool| Some((pool, pool.statics.iter().find(|s| s.spec.name == *id)?)));
                state.map(|(pool, s)| s.why(&pool.spec)).unwrap_or_default()
            }
            Who::Farm(farm, _) => {
                let Some((farm, member)) = self.farms.get(farm).and_then(|farm| Some((farm, farm.roster.get(id)?))) else {
                    return String::new();
                };
                let age_ms = farm.roster.clock(now).since_ms(member.heard);
                match member.freshness {
                    Freshness::Silent if member.heard <= farm.restored => "not heard since before the restart".into(),
                    Freshness::Silent => format!("no heartbeat for {age_ms} ms, lease {} ms", member.lease_ms()),
                    Freshness::Late { .. } => format!("late: no heartbeat for {age_ms} ms, lease {} ms", member.lease_ms()),
                    Freshness::Unheard { .. } => "not heard since the restart".into(),
                    Freshness::Fresh if member.heartbeat.draining() => {
                        let by: Vec<&str> = member.heartbeat.drain_by.iter().map(Id::as_str).collect();
                        format!("drained by {}", by.join(", "))
                    }
                    Freshness::Fresh => String::new(),
                }
            }
        }
    }
}

/// A member's name within its pool: that of one from a pool inside has that pool's in front, and of two that still are the same
/// the second has a number behind.
fn unique(names: &mut BTreeSet<Id>, who: &Who) -> Id {
    let long = |text: String| Id::new(text.get(..63).unwrap_or(&text).trim_end_matches('-')).ok();
    let plain = match who {
        Who::Of(pool, id) => long(format!("{pool}-{id}")).unwrap_or_else(|| id.clone()),
        who => who.id().clone(),
    };
    let numbered = (2..1_000).filter_map(|n| long(format!("{}-{n}", plain.as_str().get(..59).unwrap_or(plain.as_str()))));
    let name = std::iter::once(plain.clone()).chain(numbered).find(|name| !names.contains(name)).unwrap_or(plain);
    names.insert(name.clone());
    name
}

/// The label of a standing: one without heartbeats is not silent but down.
pub(super) fn label(who: &Who, standing: Standing) -> &'static str {
    match (who, standing) {
        (Who::Static(_) | Who::Of(..), Standing::Silent) => "down",
        _ => standing.label(),
    }
}

//! What one class of clients gets of a pool: its levels, its schedules and its prepared sections.
//!
//! Nobody may be named here whom the pool does not call eligible.

use super::family::{Builds, Family, FamilyState, ScheduleJob, Wanted};
use super::view::View;
use crate::config::PoolSpec;
use crate::pool::{Candidate, Endpoint, Facts, Level, Order, ScheduleMember, answers, https, levels, srv};
use crate::snapshot::AnswerSets;
use crate::zone::Rtype;
use farm_shared::id::Id;
use farm_shared::time::Mono;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Most subsets of SRV records: each is some ten times as long as one of addresses.
const SRV_SUBSETS_MAX: usize = 2_048;

/// Which clients: those of a site, and those who get private addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct VariantKey {
    /// Index of their site; none for everybody else.
    pub site: Option<u16>,
    /// They are in one of the pool's private views.
    pub private: bool,
}

/// The answers for such clients.
#[derive(Clone, Debug, Default)]
pub(super) struct Variant {
    pub(super) key: VariantKey,
    v4: FamilyState,
    v6: FamilyState,
    services: Vec<FamilyState>,
    facts: [BTreeMap<u32, Facts>; 2],
    endpoints: Vec<BTreeMap<u32, Endpoint>>,
    backups: Vec<(u16, u32)>,
    pub(super) levels: Vec<Level>,
}

/// What a refresh needs beside the members.
pub(super) struct Frame<'a> {
    pub(super) spec: &'a PoolSpec,
    pub(super) sort_share: f64,
    pub(super) fail_open: bool,
    pub(super) now: Mono,
    /// The members' own names, in the order of the views.
    pub(super) targets: &'a [Option<crate::name::Name>],
}

impl Variant {
    pub(super) fn new(key: VariantKey) -> Self {
        Self { key, ..Self::default() }
    }

    pub(super) fn family_mut(&mut self, family: Family) -> Option<&mut FamilyState> {
        match family {
            Family::V4 => Some(&mut self.v4),
            Family::V6 => Some(&mut self.v6),
            Family::Service(index) => self.services.get_mut(usize::from(index)),
        }
    }

    fn families(&self) -> impl Iterator<Item = &FamilyState> {
        [&self.v4, &self.v6].into_iter().chain(&self.services)
    }

    pub(super) fn overdue(&self, now: Mono) -> bool {
        self.families().any(|family| family.overdue(now))
    }

    /// Everybody that any answer names.
    pub(super) fn named(&self) -> BTreeSet<u32> {
        let scheduled = self.families().flat_map(|family| family.schedule.subsets()).flatten().copied();
        scheduled.chain(self.backups.iter().map(|(_, slot)| *slot)).collect()
    }

    /// The share of these clients that a member is to get, over IPv4 or else over IPv6.
    pub(super) fn share(&self, view: &View) -> f64 {
        if view.v4.is_some() { self.v4.schedule.share(view.slot) } else { self.v6.schedule.share(view.slot) }
    }

    /// Makes the schedules of now. `orders` has each view's place. Whether anything changed.
    pub(super) fn refresh(
        &mut self,
        views: &[View],
        orders: &[Order],
        frame: &Frame<'_>,
        builds: &mut Builds<'_>,
        jobs: &mut Vec<ScheduleJob>,
    ) -> bool {
        let eligible = |view: &View| if frame.fail_open { view.counts() } else { view.up() };
        let candidate = |(view, order): (&View, &Order)| Candidate {
            order: *order,
            counts: view.counts(),
            eligible: eligible(view),
            weight: view.weight,
        };
        let candidates: Vec<Candidate> = views.iter().zip(orders).map(candidate).collect();
        let mut changed = false;
        for family in [Family::V4, Family::V6] {
            // A level without addresses of a family is none for it: a client that has nothing else must not get nothing.
            let has = |view: &View| self.addr(view, family).is_some();
            let mask = |(candidate, view): (&Candidate, &View)| Candidate {
                counts: candidate.counts && has(view),
                eligible: candidate.eligible && has(view),
                ..*candidate
            };
            let candidates: Vec<Candidate> = candidates.iter().zip(views).map(mask).collect();
            let (_, weights) = levels(&candidates, frame.spec.spill_below);
            changed |= self.refresh_family(family, views, &weights, frame, builds, jobs);
        }
        let (levels, weights) = levels(&candidates, frame.spec.spill_below);
        self.levels = levels;
        changed |= self.refresh_services(views, orders, &weights, frame, builds, jobs);
        changed
    }

    fn addr(&self, view: &View, family: Family) -> Option<IpAddr> {
        let (v4, v6) = if self.key.private { view.inside() } else { (view.v4, view.v6) };
        if family == Family::V6 { v6.map(IpAddr::V6) } else { v4.map(IpAddr::V4) }
    }

    fn refresh_family(
        &mut self,
        family: Family,
        views: &[View],
        weights: &[f64],
        frame: &Frame<'_>,
        builds: &mut Builds<'_>,
        jobs: &mut Vec<ScheduleJob>,
    ) -> bool {
        let mut facts = BTreeMap::new();
        let mut members = Vec::new();
        let mut addrs = BTreeSet::new();
        for (view, &weight) in views.iter().zip(weights).filter(|(_, weight)| **weight > 0.0) {
            let Some(addr) = self.addr(view, family) else { continue };
            // A host that came back under another id: an RRset has each record once (RFC 2181 5), and a host is one host.
            if !addrs.insert(addr) {
                continue;
            }
            facts.insert(view.slot, Facts { addr, change_at: change_at(view) });
            members.push(ScheduleMember { slot: view.slot, addr, weight, zone: view.zone.clone() });
        }
        let wanted = Wanted { members, k: frame.spec.k, sort_share: frame.sort_share, subsets_max: usize::MAX };
        let mut changed = self.update(family, wanted, frame, builds, jobs);
        let known = &mut self.facts[usize::from(family == Family::V6)];
        changed |= *known != facts;
        *known = facts;
        changed
    }

    fn update(
        &mut self,
        family: Family,
        wanted: Wanted,
        frame: &Frame<'_>,
        builds: &mut Builds<'_>,
        jobs: &mut Vec<ScheduleJob>,
    ) -> bool {
        let (pool, key): (&Id, _) = (&frame.spec.name, self.key);
        let Some(state) = self.family_mut(family) else { return false };
        let (changed, job) = state.update((pool, key, family), wanted, frame.now, builds);
        jobs.extend(job.map(|job| *job));
        changed
    }

    fn refresh_services(
        &mut self,
        views: &[View],
        orders: &[Order],
        weights: &[f64],
        frame: &Frame<'_>,
        builds: &mut Builds<'_>,
        jobs: &mut Vec<ScheduleJob>,
    ) -> bool {
        let services = &frame.spec.services;
        let mut changed = self.services.len() != services.len();
        self.services.resize_with(services.len(), FamilyState::default);
        self.endpoints.resize_with(services.len(), BTreeMap::new);
        if services.is_empty() {
            return changed;
        }
        // Those behind the levels in use, by level; a level in use is all in the schedule.
        let unused: Vec<Order> = self.levels.iter().filter(|level| level.share == 0.0).map(|level| level.order).collect();
        let behind = |(view, order): (&View, &Order)| {
            let level = unused.binary_search(order).ok()?;
            let eligible = if frame.fail_open { view.counts() } else { view.up() };
            eligible.then_some((level as u16 + 1, view.slot))
        };
        let mut backups: Vec<(u16, u32)> = views.iter().zip(orders).filter_map(behind).collect();
        backups.sort_unstable();
        changed |= self.backups != backups;
        self.backups = backups;
        for (index, service) in services.iter().enumerate() {
            let mut endpoints = BTreeMap::new();
            let mut members = Vec::new();
            for ((view, &weight), target) in views.iter().zip(weights).zip(frame.targets) {
                let backup = self.backups.iter().any(|(_, slot)| *slot == view.slot);
                if weight <= 0.0 && (service.backups == 0 || !backup) {
                    continue;
                }
                // A target's addresses are those that its name has, which are the same for all clients.
                let (v4, v6) = (view.v4, view.v6);
                let port = service.port.or(view.port);
                let (Some(target), Some(port), Some(addr)) = (target, port, view.addr()) else { continue };
                let endpoint = Endpoint {
                    target: target.clone(),
                    v4,
                    v6,
                    port,
                    weight: if service.by_load { view.load_weight } else { 100 },
                    change_at: change_at(view),
                };
                endpoints.insert(view.slot, endpoint);
                if weight > 0.0 {
                    // With weights in the record, weights in the schedule would count twice; levels still have their shares.
                    let weight = if service.by_load { weight / view.weight } else { weight };
                    members.push(ScheduleMember { slot: view.slot, addr, weight, zone: view.zone.clone() });
                }
            }
            let wanted = Wanted { members, k: frame.spec.k, sort_share: 0.0, subsets_max: SRV_SUBSETS_MAX };
            changed |= self.update(Family::Service(index as u16), wanted, frame, builds, jobs);
            if let Some(known) = self.endpoints.get_mut(index) {
                changed |= *known != endpoints;
                *known = endpoints;
            }
        }
        changed
    }

    /// The prepared sections.
    pub(super) fn encode(&self, spec: &PoolSpec) -> AnswerSets {
        let [v4, v6] = &self.facts;
        let v4 = answers(&self.v4.schedule, Rtype::A, |slot| v4.get(&slot).copied());
        let v6 = answers(&self.v6.schedule, Rtype::AAAA, |slot| v6.get(&slot).copied());
        let https = spec.https.as_ref().map(|spec| https(&spec.alpn, spec.port, &v4, &v6)).unwrap_or_default();
        let each = self.services.iter().zip(&self.endpoints).zip(&spec.services);
        let services = each.map(|((state, endpoints), service)| {
            let known: Vec<_> = self.backups.iter().filter(|(_, slot)| endpoints.contains_key(slot)).copied().collect();
            srv(&state.schedule, |slot| endpoints.get(&slot), &known, service.backups)
        });
        AnswerSets { srv: services.collect(), v4, v6, https }
    }
}

/// One that is named though it is down may be back, or gone, at any moment.
fn change_at(view: &View) -> Mono {
    if view.up() { view.change_at } else { Mono(0) }
}

//! One pool: who belongs to it, who is named, and the answers made of that.
//!
//! | up members u of n counted          | threshold t = ceil(fail_open * n) | the answer names                       |
//! |------------------------------------|-----------------------------------|----------------------------------------|
//! | u >= t, u > 0, or so in any tier   | any                               | k of those that are up                 |
//! | u < t, and so in every tier        | t > 0                             | k of all that count, up or not: the    |
//! |                                    |                                   | monitor is suspected                   |
//! | u = 0, fail_open = 0               | 0                                 | nobody: NODATA with the negative TTL   |
//! | n = 0 (all draining, down or gone) | 0                                 | nobody: NODATA with the negative TTL   |
//!
//! Counted are static members and those not yet forgotten, without draining and admin-down ones; terminated ones are forgotten.
//! An operator's `up` counts as up. Nobody outside the last column may ever be named.
//!
//! All of this is the pool's, over all its sites and nested pools: one site that is down makes no fail-open, it spills over. Nor does
//! a tier, however large, in front of another that has enough members up: that is what the other one is for.
//! Of those in the last column a client gets the first levels (tier, then nearness of the site) that can take its kind: a level
//! with the share `x` of its counted members up takes `x / spill_below` of the clients that come to it. Under fail-open all that
//! count are taken for up here too, so that everybody stays at the first level.

use super::FarmState;
use super::event::{Effect, Notice, NoticeKind};
use super::family::{Builds, FamilyState};
use super::load::Loads;
use super::sorting::Sorting;
use super::variant::{Frame, Variant, VariantKey};
use super::view::{View, Who, ramp};
use crate::config::{NestedPool, Places, PoolSpec, StaticMember, WeightRule};
use crate::health::{Agreed, CheckId, CheckPlan, CheckState, Measured, Mode};
use crate::name::Name;
use crate::pool::Order;
use crate::site::ClientClass;
use crate::snapshot::PoolAnswers;
use farm_shared::id::Id;
use farm_shared::member::{Forced, Member, Roster, Standing};
use farm_shared::time::{Mono, Now};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// A member by configuration.
#[derive(Clone, Debug)]
pub(super) struct StaticState {
    pub(super) spec: StaticMember,
    pub(super) check: CheckState,
    /// What viewpoints agreed about it, where they are asked.
    pub(super) agreed: Agreed,
    pub(super) check_id: Option<CheckId>,
    pub(super) forced: Option<(Forced, String)>,
}

#[derive(Clone, Debug)]
pub(super) struct PoolState {
    pub(super) spec: PoolSpec,
    pub(super) statics: Vec<StaticState>,
    pub(super) views: Vec<View>,
    pub(super) slots: Slots,
    /// The first is everybody's.
    pub(super) variants: Vec<Variant>,
    /// For each class of clients the index in `variants`; empty if there is one only.
    pub(super) classes: Vec<u16>,
    /// Free capacity of members, as SRV weights.
    pub(super) loads: Loads,
    /// What is assumed of clients now; `spec` has where that starts.
    pub(super) sort_share: f64,
    /// How that is found out, if it is.
    pub(super) sorting: Sorting,
    pub(super) fail_open: bool,
    pub(super) answers: Arc<PoolAnswers>,
    /// Who is named in what was published last.
    pub(super) named: BTreeSet<Who>,
    /// Who is named in what is published next, if that differs.
    pub(super) newly_named: Option<BTreeSet<Who>>,
    pub(super) dirty: bool,
    /// The configuration may call for other records of the same members.
    encode_anew: bool,
    /// When the next ramp step begins.
    ramp_at: Mono,
}

/// Stable numbers of members. A number is given again once its member is gone, so they stay as few as members.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    by_who: BTreeMap<Who, u32>,
    free: BTreeSet<u32>,
}

impl Slots {
    fn of(&mut self, who: &Who) -> u32 {
        if let Some(slot) = self.by_who.get(who) {
            return *slot;
        }
        let slot = self.free.pop_first().unwrap_or(self.by_who.len() as u32);
        self.by_who.insert(who.clone(), slot);
        slot
    }

    fn keep(&mut self, present: &BTreeSet<&Who>) {
        let free = &mut self.free;
        self.by_who.retain(|who, slot| present.contains(who) || !free.insert(*slot));
    }
}

impl PoolState {
    pub(super) fn new(spec: PoolSpec) -> Self {
        let unchecked = |m: &StaticMember| StaticState {
            spec: m.clone(),
            check: CheckState::default(),
            agreed: Agreed::default(),
            check_id: None,
            forced: None,
        };
        Self {
            statics: spec.members.iter().map(unchecked).collect(),
            views: Vec::new(),
            slots: Slots::default(),
            variants: vec![Variant::default()],
            classes: Vec::new(),
            loads: Loads::default(),
            sort_share: spec.sort_share,
            sorting: Sorting::default(),
            fail_open: false,
            answers: Arc::new(PoolAnswers::default()),
            named: BTreeSet::new(),
            newly_named: None,
            dirty: true,
            encode_anew: true,
            ramp_at: Mono::NEVER,
            spec,
        }
    }

    /// What comes over from the pool of the same name in the configuration before.
    pub(super) fn inherit(&mut self, old: Self) {
        (self.slots, self.variants, self.loads) = (old.slots, old.variants, old.loads);
        if self.spec.sort_auto && old.spec.sort_auto && self.spec.sort_share == old.spec.sort_share {
            self.sort_share = old.sort_share;
        }
        (self.fail_open, self.named) = (old.fail_open, old.named);
        for member in &mut self.statics {
            let Some(was) = old.statics.iter().find(|s| s.spec.name == member.spec.name) else { continue };
            member.forced.clone_from(&was.forced);
            let same = (was.spec.v4, was.spec.v6) == (member.spec.v4, member.spec.v6);
            if same && old.spec.check.is_some() && self.spec.check.is_some() {
                (member.check, member.agreed) = (was.check.clone(), was.agreed);
            }
        }
    }

    /// The schedule that a builder works on, if there still is one.
    pub(super) fn family_mut(&mut self, key: VariantKey, family: super::Family) -> Option<&mut FamilyState> {
        self.variants.iter_mut().find(|variant| variant.key == key)?.family_mut(family)
    }

    /// Looks at every member and makes the answers of now. Whether they differ from before.
    pub(super) fn refresh(&mut self, around: &Around<'_>, mut builds: Builds<'_>, effects: &mut Vec<Effect>) -> bool {
        self.dirty = false;
        self.look(around);
        self.judge(effects);
        let old_classes = std::mem::take(&mut self.classes);
        let orders = self.sort_out(around.places);
        let targets: Vec<Option<Name>> = if self.spec.services.is_empty() {
            vec![None; self.views.len()]
        } else {
            self.views.iter().map(|view| (around.target_of)(&self.spec, &view.who)).collect()
        };
        let frame = Frame {
            spec: &self.spec,
            sort_share: self.sort_share,
            fail_open: self.fail_open,
            now: around.now.mono,
            targets: &targets,
        };
        let mut jobs = Vec::new();
        let mut changed = old_classes != self.classes;
        for (variant, orders) in self.variants.iter_mut().zip(&orders) {
            changed |= variant.refresh(&self.views, orders, &frame, &mut builds, &mut jobs);
        }
        effects.extend(jobs.into_iter().map(|job| Effect::Build(Box::new(job))));
        let bounds = (self.spec.ttl_s_min, self.spec.ttl_s_max, self.spec.negative_ttl_s, self.spec.https.is_some());
        let answers = &self.answers;
        let old = (answers.ttl_s_min, answers.ttl_s_max, answers.negative_ttl_s, answers.has_https);
        if changed || bounds != old || self.encode_anew {
            self.encode_anew = false;
            self.newly_named = Some(self.named_now());
            self.encode();
            return true;
        }
        false
    }

    /// Which clients get answers of their own, and the place of each member for them. Classes for which all members stand in
    /// the same order, at the same addresses, have one variant.
    fn sort_out(&mut self, places: &Places) -> Vec<Vec<Order>> {
        let keys: Vec<VariantKey> = places.clients.classes().iter().map(|class| self.key_of(*class)).collect();
        let mut by_order: BTreeMap<(bool, Vec<Order>), u16> = BTreeMap::new();
        let mut by_key: BTreeMap<VariantKey, u16> = BTreeMap::new();
        let mut variants: Vec<(VariantKey, Vec<Order>)> = Vec::new();
        let has_private = self.views.iter().any(|view| view.private != (None, None));
        let mut index_of = |key: VariantKey| {
            *by_key.entry(key).or_insert_with(|| {
                let orders: Vec<Order> =
                    self.views.iter().map(|view| (view.tier, places.rank(key.site, view.site))).collect();
                // Only what comes before what counts, so that sites equally far from all members share their answers.
                let mut distinct = orders.clone();
                distinct.sort_unstable();
                distinct.dedup();
                let rank = |order: &Order| (0, distinct.partition_point(|other| other < order) as u16);
                let shape: Vec<Order> = orders.iter().map(rank).collect();
                *by_order.entry((key.private && has_private, shape)).or_insert_with(|| {
                    variants.push((key, orders));
                    variants.len() as u16 - 1
                })
            })
        };
        let first = index_of(VariantKey::default());
        debug_assert_eq!(first, 0);
        self.classes = keys.into_iter().map(index_of).collect();
        if variants.len() == 1 {
            self.classes.clear();
        }
        let mut old = std::mem::take(&mut self.variants);
        let mut orders = Vec::with_capacity(variants.len());
        for (key, order) in variants {
            let known = old.iter().position(|variant| variant.key == key).map(|at| old.swap_remove(at));
            self.variants.push(known.unwrap_or_else(|| Variant::new(key)));
            orders.push(order);
        }
        orders
    }

    fn key_of(&self, class: ClientClass) -> VariantKey {
        VariantKey {
            site: class.site.filter(|_| self.spec.nearest_site),
            private: class.view.is_some_and(|view| self.spec.private_views.contains(&view)),
        }
    }

    /// What clients of a class get.
    pub(super) fn variant_of(&self, class: ClientClass, places: &Places) -> Option<&Variant> {
        let at = places.clients.classes().iter().position(|known| *known == class)?;
        let index = self.classes.get(at).copied().unwrap_or(0);
        self.variants.get(usize::from(index))
    }

    /// Whether time alone calls for a new look.
    pub(super) fn due(&self, now: Mono) -> bool {
        let by_load = self.spec.services.iter().any(|service| service.by_load);
        self.ramp_at <= now
            || (by_load && self.loads.is_due(now))
            || self.variants.iter().any(|variant| variant.overdue(now))
    }

    /// Who is named by the schedules of now.
    fn named_now(&self) -> BTreeSet<Who> {
        let named: BTreeSet<u32> = self.variants.iter().flat_map(Variant::named).collect();
        self.views.iter().filter(|view| named.contains(&view.slot)).map(|view| view.who.clone()).collect()
    }

    /// Whether answers may name a member now.
    pub(super) fn eligible(&self, view: &View) -> bool {
        if self.fail_open { view.counts() } else { view.up() }
    }

    /// The share of clients of whom nothing is known that a member is to get.
    pub(super) fn share(&self, view: &View) -> f64 {
        self.variants.first().map_or(0.0, |variant| variant.share(view))
    }

    /// Members that are up, and those that count.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.views.iter().filter(|v| v.up()).count(), self.views.iter().filter(|v| v.counts()).count())
    }

    /// How many of `counted` must be up.
    pub(super) fn threshold(&self, counted: usize) -> usize {
        (self.spec.fail_open * counted as f64).ceil() as usize
    }

    /// Whether any tier has enough members up: whoever sees those up sees the others down as well, and they are spilled over.
    pub(super) fn has_sound_tier(&self) -> bool {
        let mut tiers: BTreeMap<u16, (usize, usize)> = BTreeMap::new();
        for view in &self.views {
            let (up, counted) = tiers.entry(view.tier).or_default();
            *up += usize::from(view.up());
            *counted += usize::from(view.counts());
        }
        tiers.values().any(|&(up, counted)| up > 0 && up >= self.threshold(counted))
    }

    fn look(&mut self, around: &Around<'_>) {
        let now = around.now;
        let mut views = Vec::with_capacity(self.statics.len() + around.farm.map_or(0, |f| f.roster.members().len()));
        let mut ramp_ms = u64::MAX;
        let slow_start_ms = self.spec.slow_start_ms;
        let mut factor_of = |age_ms: Option<u64>| {
            let (factor, next_ms) = age_ms.map_or((1.0, None), |age_ms| ramp(age_ms, slow_start_ms));
            ramp_ms = ramp_ms.min(next_ms.unwrap_or(u64::MAX));
            factor
        };
        for member in &self.statics {
            let mut view = static_view(member, &self.spec, around.checks);
            view.weight *= factor_of(member.since(&self.spec).map(|since| now.mono.since_ms(since)));
            views.push(view);
        }
        if let (Some(FarmState { roster, restored, .. }), Some(farm)) = (around.farm, &self.spec.farm) {
            let clock = roster.clock(now);
            for (id, member) in roster.members().iter().filter(|(_, m)| m.heartbeat.role == self.spec.role) {
                let mut view = farm_view((farm, id), member, &self.spec, around.places, roster);
                view.weight *= factor_of((member.since > *restored).then(|| clock.since_ms(member.since)));
                views.push(view);
            }
        }
        for (nested, inner) in &around.nested {
            for view in inner {
                let who = view.who.clone().inside(&nested.pool);
                // One that comes over two ways is one member.
                if views.iter().any(|known: &View| known.who == who) {
                    continue;
                }
                let (weight, site) = (view.weight * nested.weight, nested.site.or(view.site));
                views.push(View { who, weight, tier: nested.tier, site, ..view.clone() });
            }
        }
        let present: BTreeSet<&Who> = views.iter().map(|view| &view.who).collect();
        self.slots.keep(&present);
        for view in &mut views {
            view.slot = self.slots.of(&view.who);
            view.site = view.site.or_else(|| around.places.site_of(view.zone.as_ref(), view.addr()));
        }
        if self.spec.services.iter().any(|service| service.by_load) {
            self.loads.weigh(&mut views, now.mono);
        }
        self.views = views;
        self.ramp_at = now.mono.plus_ms(ramp_ms);
    }

    fn judge(&mut self, effects: &mut Vec<Effect>) {
        let (up, counted) = self.counts();
        let fail_open = up < self.threshold(counted) && !self.has_sound_tier();
        if std::mem::replace(&mut self.fail_open, fail_open) != fail_open {
            let kind = if fail_open { NoticeKind::FailOpen } else { NoticeKind::FailClosed };
            effects.push(Notice::pool(kind, &self.spec.name, format!("{up} of {counted} members are up")));
        }
    }

    fn encode(&mut self) {
        let mut sets = self.variants.iter().map(|variant| variant.encode(&self.spec));
        self.answers = Arc::new(PoolAnswers {
            sets: sets.next().unwrap_or_default(),
            others: sets.collect(),
            classes: self.classes.as_slice().into(),
            has_https: self.spec.https.is_some(),
            ttl_s_min: self.spec.ttl_s_min,
            ttl_s_max: self.spec.ttl_s_max,
            negative_ttl_s: self.spec.negative_ttl_s,
        });
    }
}

/// What a pool looks at beside itself.
pub(super) struct Around<'a> {
    pub(super) farm: Option<&'a FarmState>,
    pub(super) checks: &'a CheckPlan,
    pub(super) places: &'a Places,
    /// The pools inside it, with their members as of now.
    pub(super) nested: Vec<(NestedPool, Vec<View>)>,
    /// The own name of a member of a pool.
    pub(super) target_of: &'a dyn Fn(&PoolSpec, &Who) -> Option<Name>,
    pub(super) now: Now,
}

/// A member that is up has some weight, whatever it asks for: one without has said that it drains.
const WEIGHT_MIN: f64 = 1e-3;

fn static_view(member: &StaticState, spec: &PoolSpec, checks: &CheckPlan) -> View {
    let measured = match (&spec.check, member.measured(spec)) {
        (None, _) => Standing::InService,
        (_, Measured::Down) => Standing::Silent,
        _ if member.check.notes.mode() == Mode::Drain => Standing::Draining,
        (_, Measured::Up) => Standing::InService,
        (_, Measured::Unknown) => Standing::Unknown,
    };
    let standing = match member.forced {
        Some((Forced::Down, _)) => Standing::AdminDown,
        Some((Forced::Drain, _)) => Standing::Draining,
        Some((Forced::Up, _)) => Standing::InService,
        None => measured,
    };
    let change_at = match member.check_id {
        Some(id) if member.may_fall(spec) && member.forced.is_none() => checks.next_at(id),
        _ => Mono::NEVER,
    };
    View {
        who: Who::Static(member.spec.name.clone()),
        slot: 0,
        v4: member.spec.v4,
        v6: member.spec.v6,
        private: (member.spec.private_v4, member.spec.private_v6),
        port: None,
        tier: member.spec.tier,
        site: member.spec.site,
        free: None,
        load_weight: 0,
        weight: (member.spec.weight * member.check.notes.weight()).max(WEIGHT_MIN),
        zone: member.spec.zone.clone(),
        standing,
        measured,
        forced: member.forced.clone(),
        draining: false,
        change_at,
    }
}

fn farm_view((farm, id): (&Id, &Id), member: &Member, spec: &PoolSpec, places: &Places, roster: &Roster) -> View {
    let addrs = Addresses::of(&member.heartbeat.addrs, places);
    let change_at = member.change_at();
    let load = &member.heartbeat.load;
    let free = match load.limit {
        Some(limit) => f64::from(limit.saturating_sub(load.sessions)),
        None => {
            load.cores.clamp(0.01, 4096.0) * (1.0 - load.busy.clamp(0.0, 1.0)) / (1.0 + load.queue / load.cores.max(0.01))
        }
    };
    View {
        who: Who::Farm(farm.clone(), id.clone()),
        slot: 0,
        v4: addrs.v4,
        v6: addrs.v6,
        private: addrs.private,
        port: Some(member.heartbeat.port),
        tier: spec.tier,
        site: None,
        free: Some(free),
        load_weight: 0,
        weight: match spec.weight {
            WeightRule::Equal => 1.0,
            WeightRule::Cores => member.heartbeat.load.cores.clamp(0.01, 4096.0),
        },
        zone: member.heartbeat.zone.clone(),
        standing: member.standing(),
        measured: member.measured(),
        forced: member.forced.clone(),
        draining: member.drain_wish || member.heartbeat.draining(),
        change_at: if change_at == Mono::NEVER { change_at } else { roster.to_mono(change_at) },
    }
}

/// The addresses that a member is named by.
pub(super) struct Addresses {
    pub(super) v4: Option<std::net::Ipv4Addr>,
    pub(super) v6: Option<std::net::Ipv6Addr>,
    /// For clients inside.
    pub(super) private: (Option<std::net::Ipv4Addr>, Option<std::net::Ipv6Addr>),
}

impl Addresses {
    /// Of those that it announced, in each family: the first. Where views tell clients apart, the first that is reachable from
    /// everywhere, and for clients inside the first that is not (RFC 1918, RFC 6598, RFC 4193), in whatever order they come.
    pub(super) fn of(addrs: &[IpAddr], places: &Places) -> Self {
        let v4 = || addrs.iter().filter_map(|addr| if let IpAddr::V4(v4) = addr { Some(*v4) } else { None });
        let v6 = || addrs.iter().filter_map(|addr| if let IpAddr::V6(v6) = addr { Some(*v6) } else { None });
        if places.views.is_empty() {
            return Self { v4: v4().next(), v6: v6().next(), private: (None, None) };
        }
        let inner4 = |addr: &std::net::Ipv4Addr| addr.is_private() || matches!(addr.octets(), [100, 64..128, ..]);
        let inner6 = |addr: &std::net::Ipv6Addr| addr.is_unique_local();
        let (out4, out6) = (v4().find(|a| !inner4(a)), v6().find(|a| !inner6(a)));
        Self {
            v4: out4.or(v4().next()),
            v6: out6.or(v6().next()),
            private: (out4.and(v4().find(inner4)), out6.and(v6().find(inner6))),
        }
    }
}

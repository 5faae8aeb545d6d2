//! One pool: who belongs to it, who is named, and the answers made of that.
//!
//! | up members u of n counted          | threshold t = ceil(fail_open * n) | the answer names                       |
//! |------------------------------------|-----------------------------------|----------------------------------------|
//! | u >= t, u > 0                      | any                               | k of those that are up                 |
//! | u < t (suspect the monitor)        | t > 0                             | k of all that count, up or not         |
//! | u = 0, fail_open = 0               | 0                                 | nobody: NODATA with the negative TTL   |
//! | n = 0 (all draining, down or gone) | 0                                 | nobody: NODATA with the negative TTL   |
//!
//! Counted are static members and those not yet forgotten, without draining and admin-down ones; terminated ones are forgotten.
//! An operator's `up` counts as up. Nobody outside the last column may ever be named.

use super::FarmState;
use super::event::{Effect, Notice, NoticeKind};
use super::family::{Builds, Family, FamilyState, Wanted};
use super::view::{View, Who, ramp};
use crate::config::{PoolSpec, StaticMember, WeightRule};
use crate::health::{CheckId, CheckPlan, CheckState, Measured};
use crate::pool::{Facts, ScheduleMember, answers};
use crate::snapshot::{AnswerSets, PoolAnswers};
use crate::zone::Rtype;
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
    pub(super) check_id: Option<CheckId>,
    pub(super) forced: Option<(Forced, String)>,
}

#[derive(Clone, Debug)]
pub(super) struct PoolState {
    pub(super) spec: PoolSpec,
    pub(super) statics: Vec<StaticState>,
    pub(super) views: Vec<View>,
    pub(super) slots: Slots,
    v4: FamilyState,
    v6: FamilyState,
    facts: [BTreeMap<u32, Facts>; 2],
    pub(super) fail_open: bool,
    pub(super) answers: Arc<PoolAnswers>,
    /// Who is named in what was published last.
    pub(super) named: BTreeSet<Who>,
    /// Who is named in what is published next, if that differs.
    pub(super) newly_named: Option<BTreeSet<Who>>,
    pub(super) dirty: bool,
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
        let unchecked =
            |m: &StaticMember| StaticState { spec: m.clone(), check: CheckState::default(), check_id: None, forced: None };
        Self {
            statics: spec.members.iter().map(unchecked).collect(),
            views: Vec::new(),
            slots: Slots::default(),
            v4: FamilyState::default(),
            v6: FamilyState::default(),
            facts: [BTreeMap::new(), BTreeMap::new()],
            fail_open: false,
            answers: Arc::new(PoolAnswers::default()),
            named: BTreeSet::new(),
            newly_named: None,
            dirty: true,
            ramp_at: Mono::NEVER,
            spec,
        }
    }

    /// What comes over from the pool of the same name in the configuration before.
    pub(super) fn inherit(&mut self, old: Self) {
        (self.slots, self.v4, self.v6) = (old.slots, old.v4, old.v6);
        (self.fail_open, self.named) = (old.fail_open, old.named);
        for member in &mut self.statics {
            let Some(was) = old.statics.iter().find(|s| s.spec.name == member.spec.name) else { continue };
            member.forced.clone_from(&was.forced);
            let same = (was.spec.v4, was.spec.v6) == (member.spec.v4, member.spec.v6);
            if same && old.spec.check.is_some() && self.spec.check.is_some() {
                member.check = was.check.clone();
            }
        }
    }

    pub(super) fn family_mut(&mut self, family: Family) -> &mut FamilyState {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// Looks at every member and makes the answers of now. Whether they differ from before.
    pub(super) fn refresh(
        &mut self,
        farm: Option<&FarmState>,
        checks: &CheckPlan,
        now: Now,
        mut builds: Builds<'_>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        self.dirty = false;
        self.look(farm, checks, now);
        self.judge(effects);
        let mut changed = false;
        for (family, addr) in [(Family::V4, View::v4 as fn(&View) -> Option<IpAddr>), (Family::V6, View::v6)] {
            changed |= self.refresh_family(family, addr, now.mono, &mut builds, effects);
        }
        let bounds = (self.spec.ttl_s_min, self.spec.ttl_s_max, self.spec.negative_ttl_s);
        let old = (self.answers.ttl_s_min, self.answers.ttl_s_max, self.answers.negative_ttl_s);
        if changed || bounds != old {
            self.newly_named = Some(self.named_now());
            self.encode();
            return true;
        }
        false
    }

    /// Whether time alone calls for a new look.
    pub(super) fn due(&self, now: Mono) -> bool {
        self.ramp_at <= now || self.v4.overdue(now) || self.v6.overdue(now)
    }

    /// Who is named by the schedules of now.
    fn named_now(&self) -> BTreeSet<Who> {
        let mut named = vec![false; self.views.iter().map(|view| view.slot as usize + 1).max().unwrap_or(0)];
        for &slot in [&self.v4, &self.v6].iter().flat_map(|family| family.schedule.subsets()).flatten() {
            if let Some(named) = named.get_mut(slot as usize) {
                *named = true;
            }
        }
        let is_named = |view: &&View| named.get(view.slot as usize).is_some_and(|named| *named);
        self.views.iter().filter(is_named).map(|view| view.who.clone()).collect()
    }

    /// Whether answers may name a member now.
    pub(super) fn eligible(&self, view: &View) -> bool {
        if self.fail_open { view.counts() } else { view.up() }
    }

    /// The share of clients that a member is to get, over IPv4 or else over IPv6.
    pub(super) fn share(&self, view: &View) -> f64 {
        if view.v4.is_some() { self.v4.schedule.share(view.slot) } else { self.v6.schedule.share(view.slot) }
    }

    /// Members that are up, and those that count.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.views.iter().filter(|v| v.up()).count(), self.views.iter().filter(|v| v.counts()).count())
    }

    /// How many of `counted` must be up.
    pub(super) fn threshold(&self, counted: usize) -> usize {
        (self.spec.fail_open * counted as f64).ceil() as usize
    }

    fn look(&mut self, farm: Option<&FarmState>, checks: &CheckPlan, now: Now) {
        let mut views = Vec::with_capacity(self.statics.len() + farm.map_or(0, |f| f.roster.members().len()));
        let mut ramp_ms = u64::MAX;
        let slow_start_ms = self.spec.slow_start_ms;
        let mut factor_of = |age_ms: Option<u64>| {
            let (factor, next_ms) = age_ms.map_or((1.0, None), |age_ms| ramp(age_ms, slow_start_ms));
            ramp_ms = ramp_ms.min(next_ms.unwrap_or(u64::MAX));
            factor
        };
        for member in &self.statics {
            let mut view = static_view(member, &self.spec, checks);
            view.weight *= factor_of(member.check.since().map(|since| now.mono.since_ms(since)));
            views.push(view);
        }
        if let Some(FarmState { roster, restored, .. }) = farm {
            let clock = roster.clock(now);
            for (id, member) in roster.members().iter().filter(|(_, m)| m.heartbeat.role == self.spec.role) {
                let mut view = farm_view(id, member, self.spec.weight, roster);
                view.weight *= factor_of((member.since > *restored).then(|| clock.since_ms(member.since)));
                views.push(view);
            }
        }
        let present: BTreeSet<&Who> = views.iter().map(|view| &view.who).collect();
        self.slots.keep(&present);
        for view in &mut views {
            view.slot = self.slots.of(&view.who);
        }
        self.views = views;
        self.ramp_at = now.mono.plus_ms(ramp_ms);
    }

    fn judge(&mut self, effects: &mut Vec<Effect>) {
        let (up, counted) = self.counts();
        let fail_open = up < self.threshold(counted);
        if std::mem::replace(&mut self.fail_open, fail_open) != fail_open {
            let kind = if fail_open { NoticeKind::FailOpen } else { NoticeKind::FailClosed };
            effects.push(Notice::pool(kind, &self.spec.name, format!("{up} of {counted} members are up")));
        }
    }

    fn refresh_family(
        &mut self,
        family: Family,
        addr: fn(&View) -> Option<IpAddr>,
        now: Mono,
        builds: &mut Builds<'_>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let mut facts = BTreeMap::new();
        let mut members = Vec::new();
        let mut addrs = BTreeSet::new();
        for view in self.views.iter().filter(|view| self.eligible(view)) {
            let Some(addr) = addr(view) else { continue };
            // A host that came back under another id: an RRset has each record once (RFC 2181 5), and a host is one host.
            if !addrs.insert(addr) {
                continue;
            }
            // One that is named though it is down may be back, or gone, at any moment.
            let change_at = if view.up() { view.change_at } else { Mono(0) };
            facts.insert(view.slot, Facts { addr, change_at });
            members.push(ScheduleMember { slot: view.slot, addr, weight: view.weight, zone: view.zone.clone() });
        }
        let wanted = Wanted { members, k: self.spec.k, sort_share: self.spec.sort_share };
        let pool = self.spec.name.clone();
        let (mut changed, job) = self.family_mut(family).update((&pool, family), wanted, now, builds);
        effects.extend(job.map(Effect::Build));
        let known = &mut self.facts[usize::from(family == Family::V6)];
        changed |= *known != facts;
        *known = facts;
        changed
    }

    fn encode(&mut self) {
        let [v4, v6] = &self.facts;
        let sets = AnswerSets {
            v4: answers(&self.v4.schedule, Rtype::A, |slot| v4.get(&slot).copied()),
            v6: answers(&self.v6.schedule, Rtype::AAAA, |slot| v6.get(&slot).copied()),
            ..AnswerSets::default()
        };
        self.answers = Arc::new(PoolAnswers {
            sets,
            others: Vec::new(),
            classes: Box::default(),
            has_https: false,
            ttl_s_min: self.spec.ttl_s_min,
            ttl_s_max: self.spec.ttl_s_max,
            negative_ttl_s: self.spec.negative_ttl_s,
        });
    }
}

fn static_view(member: &StaticState, spec: &PoolSpec, checks: &CheckPlan) -> View {
    let measured = match (&spec.check, member.check.measured()) {
        (None, _) | (_, Measured::Up) => Standing::InService,
        (_, Measured::Unknown) => Standing::Unknown,
        (_, Measured::Down) => Standing::Silent,
    };
    let standing = match member.forced {
        Some((Forced::Down, _)) => Standing::AdminDown,
        Some((Forced::Drain, _)) => Standing::Draining,
        Some((Forced::Up, _)) => Standing::InService,
        None => measured,
    };
    let may_fall = spec.check.as_ref().is_some_and(|check| member.check.may_fall_next(check.fall));
    let change_at = match member.check_id {
        Some(id) if may_fall && member.forced.is_none() => checks.next_at(id),
        _ => Mono::NEVER,
    };
    View {
        who: Who::Static(member.spec.name.clone()),
        slot: 0,
        v4: member.spec.v4,
        v6: member.spec.v6,
        weight: member.spec.weight,
        zone: member.spec.zone.clone(),
        standing,
        measured,
        forced: member.forced.clone(),
        draining: false,
        change_at,
    }
}

fn farm_view(id: &Id, member: &Member, rule: WeightRule, roster: &Roster) -> View {
    let (v4, v6) = first_addresses(&member.heartbeat.addrs);
    let change_at = member.change_at();
    View {
        who: Who::Farm(id.clone()),
        slot: 0,
        v4,
        v6,
        weight: match rule {
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

/// The address that a member is named by, in each family: the first that it announced.
pub(super) fn first_addresses(addrs: &[IpAddr]) -> (Option<std::net::Ipv4Addr>, Option<std::net::Ipv6Addr>) {
    let v4 = addrs.iter().find_map(|addr| if let IpAddr::V4(v4) = addr { Some(*v4) } else { None });
    let v6 = addrs.iter().find_map(|addr| if let IpAddr::V6(v6) = addr { Some(*v6) } else { None });
    (v4, v6)
}

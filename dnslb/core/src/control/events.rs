//! One event, one step: cheap, and it marks what the next flush has to look at.
//!
//! A heartbeat that only renews a lease costs a lookup and a reply; it must never lead to a snapshot.

use super::event::{Effect, Event, Notice, NoticeKind};
use super::pool_state::PoolState;
use super::view::Who;
use super::{Control, FarmState, viewpoints};
use crate::health::{CheckId, Finding, days_left};
use farm_shared::heartbeat::{FarmKey, Heartbeat, Kind, Refusal, Reply, Role};
use farm_shared::id::Id;
use farm_shared::member::{Change, Freshness};
use farm_shared::time::{Mono, Now};

/// How long a verified tombstone is remembered, in milliseconds.
const BURIED_MS: u64 = 3_600_000;

impl Control {
    /// One event.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        match event {
            Event::Heartbeat(heartbeat) => self.heartbeat(now, *heartbeat),
            Event::Checked { job, result } => self.checked(now, job, result),
            Event::Viewpoint { from, asked, report } => self.viewpoint(now.mono, from, asked, report),
            Event::Tick => self.tick(now),
            Event::Reload { spec, zones } => {
                self.configure(spec, zones, super::Saved::default(), now);
                self.marks.persist_now = true;
                Vec::new()
            }
            Event::Zones(zones) => {
                self.zones = zones;
                self.marks.overlay = true;
                Vec::new()
            }
            Event::Admin(command) => self.admin(now, &command),
            Event::Served(served) => {
                self.served(now.mono, &served);
                Vec::new()
            }
            Event::Signatures(made) => {
                self.signatures.take(*made);
                Vec::new()
            }
            Event::Scheduled(built) => {
                self.take_schedule(*built);
                Vec::new()
            }
        }
    }

    fn heartbeat(&mut self, now: Now, heartbeat: Heartbeat) -> Vec<Effect> {
        let key = self.spec.farm(&heartbeat.farm).and_then(|farm| farm.key.clone());
        let Some(farm) = self.farms.get_mut(&heartbeat.farm) else {
            return vec![Effect::Refused(Refusal::UnknownFarm)];
        };
        let mut effects = Vec::new();
        let farm_id = heartbeat.farm.clone();
        let id = heartbeat.id.clone();
        let buried = key.map(|key| farm.bury(&key, &heartbeat, now)).unwrap_or_default();
        let before = farm.roster.get(&id).map(|m| (m.freshness, m.heartbeat.inc, m.twins_until));
        let mut reply = Reply::new(&self.spec.server.id, Kind::Dnslb, &heartbeat, now.wall);
        reply.lease_ms = self.spec.lease.lease_ms(heartbeat.period_ms);
        let (inc, drains) = (heartbeat.inc, heartbeat.draining());
        match farm.roster.observe(now, heartbeat) {
            Ok(changes) => {
                self.marks.heard = true;
                let known = matches!(before, Some((Freshness::Fresh | Freshness::Late { .. }, was, _)) if was == inc);
                for change in changes {
                    self.changed(&farm_id, &id, change, drains, &mut effects);
                    self.marks.persist |= change != Change::Returned || !known;
                }
                self.fill_reply(&mut reply, &farm_id, &id, now);
                effects.insert(0, Effect::Reply(reply));
            }
            Err(refusal) => {
                let shown = before.is_some_and(|(_, _, until)| until > farm.roster.clock(now));
                if refusal == Refusal::OldIncarnation && !shown {
                    effects.push(Notice::of(
                        NoticeKind::Twins,
                        &farm_id,
                        &id,
                        format!("incarnation {inc} is alive as well"),
                    ));
                }
                effects.insert(0, Effect::Refused(refusal));
            }
        }
        for id in buried {
            self.changed(&farm_id, &id, Change::Forgotten, false, &mut effects);
            self.marks.persist_now = true;
        }
        effects
    }

    fn fill_reply(&self, reply: &mut Reply, farm_id: &Id, id: &Id, now: Now) {
        let Some(farm) = self.farms.get(farm_id) else { return };
        reply.drain = farm.roster.get(id).is_some_and(farm_shared::member::Member::wants_drain);
        let named = self.own_names.contains(&(farm_id.clone(), id.clone()));
        reply.serves = Some(named && self.generation > 0);
        reply.ttl_left_ms = self.ttl_left_ms(farm_id, id, now);
        reply.doors = Some(farm.doors);
    }

    /// How long caches may still hold an answer that names the member; `None` while it is being named. Those before our own
    /// start are covered: whoever was named last by the process before us left the caches `ttl_s_max` after that.
    fn ttl_left_ms(&self, farm_id: &Id, id: &Id, now: Now) -> Option<u64> {
        let who = Who::Farm(farm_id.clone(), id.clone());
        let role = self.farms.get(farm_id).and_then(|farm| farm.roster.get(id)).map(|member| member.heartbeat.role);
        let mut until = Mono(0);
        let theirs = |role: Role| move |pool: &&PoolState| self.reaches(pool, farm_id, role);
        for pool in role.into_iter().flat_map(|role| self.pools.iter().filter(theirs(role))) {
            if pool.named.contains(&who) {
                return None;
            }
            until = until.max(self.started.plus_ms(u64::from(pool.spec.ttl_s_max) * 1_000));
        }
        let cached = self.farms.get(farm_id).and_then(|farm| farm.cached_until.get(id));
        Some(until.max(cached.copied().unwrap_or_default()).since_ms(now.mono))
    }

    /// Whether members of a farm belong to a pool, or to one inside it.
    fn reaches(&self, pool: &PoolState, farm: &Id, role: Role) -> bool {
        let inner = |name: &Id| self.pools.iter().find(|pool| pool.spec.name == *name);
        (pool.spec.farm.as_ref() == Some(farm) && pool.spec.role == role)
            || pool.spec.nested.iter().any(|nested| inner(&nested.pool).is_some_and(|pool| self.reaches(pool, farm, role)))
    }

    fn checked(&mut self, now: Now, job: CheckId, result: Result<Finding, String>) -> Vec<Effect> {
        if !self.checks.finished(job) {
            return Vec::new();
        }
        let Some(&(index, position)) = self.check_owners.get(&job) else { return Vec::new() };
        let Some(pool) = self.pools.get_mut(index) else { return Vec::new() };
        let (Some(spec), Some(member)) = (&pool.spec.check, pool.statics.get_mut(position)) else { return Vec::new() };
        let mut effects = Vec::new();
        let result = result.and_then(|finding| {
            let known = member.check.notes.not_after();
            pool.dirty |= member.check.notes.take(&finding);
            let Some(end) = finding.not_after else { return Ok(()) };
            let days = days_left(end, now.wall);
            // Once for each certificate.
            if known != Some(end) && days < i64::from(spec.expiry_days_warn) {
                let detail = format!("the certificate ends in {days} days");
                effects.push(Notice::of(NoticeKind::Expiry, &pool.spec.name, &member.spec.name, detail));
            }
            let good = spec.expiry_days_min.is_none_or(|days_min| days >= i64::from(days_min));
            if good { Ok(()) } else { Err(format!("the certificate ends in {days} days")) }
        });
        let pending = member.check.may_fall_next(spec.fall);
        let seen = member.check.is_seen();
        let outcome = result.as_ref().copied().map_err(String::as_str);
        let verdict = member.check.observe(now.mono, outcome, spec.rise, spec.fall);
        pool.dirty |= verdict.is_some() || pending != member.check.may_fall_next(spec.fall) || pending;
        self.marks.report |= verdict.is_some() || !seen;
        let verdict = if spec.agree.is_some() { member.vote(&pool.spec, &self.viewpoints, now.mono) } else { verdict };
        let Some(verdict) = verdict else { return effects };
        self.marks.persist = true;
        effects.push(viewpoints::notice(&pool.spec, member, verdict));
        effects
    }

    fn tick(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.end_words(now, &mut effects);
        effects.extend(self.lapse(now.mono));
        let farms: Vec<Id> = self.farms.keys().cloned().collect();
        for farm_id in farms {
            let Some(farm) = self.farms.get_mut(&farm_id) else { continue };
            farm.buried.retain(|_, (_, until)| *until > now.mono);
            farm.cached_until.retain(|_, until| *until > now.mono);
            for (id, change) in farm.roster.tick(now) {
                self.changed(&farm_id, &id, change, false, &mut effects);
                self.marks.persist |= change != Change::Late;
            }
        }
        for pool in self.pools.iter_mut().filter(|pool| pool.due(now.mono)) {
            pool.dirty = true;
        }
        effects.extend(self.checks.due(now.mono).into_iter().map(Effect::Check));
        effects
    }

    /// A member of a farm changed: marks what depends on it.
    pub(super) fn changed(&mut self, farm: &Id, id: &Id, change: Change, drains: bool, effects: &mut Vec<Effect>) {
        let detail = match change {
            Change::Drain if drains => "begins",
            Change::Drain => "ends",
            _ => "",
        };
        effects.push(Notice::of(NoticeKind::Member(change), farm, id, detail));
        self.marks.overlay |= matches!(change, Change::Joined | Change::Moved | Change::Forgotten);
        self.mark_farm(farm);
    }
}

impl FarmState {
    /// Follows the tombstones that a heartbeat carries. Returns the members that are gone by them.
    fn bury(&mut self, key: &FarmKey, heartbeat: &Heartbeat, now: Now) -> Vec<Id> {
        let mut gone = Vec::new();
        for stone in &heartbeat.tombstones {
            let known = self.buried.get(&stone.id).is_some_and(|(inc, _)| *inc >= stone.inc);
            if known || !key.is_buried(&heartbeat.farm, stone) {
                continue;
            }
            if self.buried.len() < self.roster.policy().members_max {
                self.buried.insert(stone.id.clone(), (stone.inc, now.mono.plus_ms(BURIED_MS)));
            }
            if self.roster.bury(now, &stone.id, stone.inc).is_some() {
                gone.push(stone.id.clone());
            }
        }
        gone
    }
}

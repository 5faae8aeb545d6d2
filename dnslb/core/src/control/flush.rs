//! After a burst of events: at most one snapshot and at most one state to write down.
//!
//! A member that may not be named any more leaves the answers in the very next flush; nothing here may wait for a builder.

use super::event::{Effect, Notice, NoticeKind};
use super::family::Builds;
use super::pool_state::{Addresses, Around};
use super::saved::{Saved, SavedStatic};
use super::view::Who;
use super::{Control, FarmState};
use crate::config::{NestedPool, PoolSpec};
use crate::health::Measured;
use crate::name::Name;
use crate::overlay::{Overlay, OverlayTarget};
use crate::snapshot::{Limits, Snapshot};
use crate::zone::Rtype;
use farm_shared::heartbeat::Role;
use farm_shared::id::Id;
use farm_shared::member::Member;
use farm_shared::time::{Mono, Now};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// At most so often is a change of membership written down, in milliseconds.
const PERSIST_MS_MIN: u64 = 1_000;
/// And the sequence numbers of heartbeats so often.
const PERSIST_HEARD_MS: u64 = 30_000;

impl Control {
    /// Builds what the events since the last flush call for: at most one [`Effect::Publish`] and one [`Effect::Persist`]. Called
    /// after each burst of events and after each tick.
    pub fn flush(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut publish = std::mem::take(&mut self.marks.publish);
        if std::mem::take(&mut self.marks.overlay) {
            self.build_overlay(&mut effects);
            self.signatures.rename(&self.overlay, &self.zones);
            publish = true;
        }
        for farm in self.farms.values_mut() {
            if !std::mem::take(&mut farm.touched) {
                continue;
            }
            let in_service = |m: &&Member| m.heartbeat.role == Role::Door && m.standing().takes_new();
            farm.doors = farm.roster.members().values().filter(in_service).count() as u32;
        }
        publish |= self.refresh_pools(now, &mut effects) | self.signatures.due(now);
        if publish {
            let answers: Vec<_> = self.pools.iter().map(|pool| Arc::clone(&pool.answers)).collect();
            effects.extend(self.signatures.update(&answers, now).map(Effect::Sign));
            self.generation += 1;
            self.note_named(now);
            effects.push(Effect::Publish(Arc::new(self.snapshot())));
        }
        if self.persist_due(now) {
            self.persisted = now.mono;
            (self.marks.persist_now, self.marks.persist, self.marks.heard) = (false, false, false);
            effects.push(Effect::Persist(self.save()));
        }
        effects
    }

    /// What must survive a restart, as of now.
    pub fn save(&self) -> Saved {
        let mut saved = Saved::empty();
        saved.farms = self.farms.iter().map(|(name, farm)| (name.clone(), farm.roster.save())).collect();
        for ((group, member), word) in &self.words {
            saved.words.entry(group.clone()).or_default().insert(member.clone(), word.clone());
        }
        for pool in &self.pools {
            let members = saved.pools.entry(pool.spec.name.clone()).or_default();
            for member in &pool.statics {
                let up = match member.measured(&pool.spec) {
                    Measured::Unknown => None,
                    Measured::Up => Some(true),
                    Measured::Down => Some(false),
                };
                let state = SavedStatic { forced: member.forced.clone(), up, why: member.check.why().to_owned() };
                members.insert(member.spec.name.clone(), state);
            }
        }
        saved
    }

    /// Pools that are inside others come first: their members are the others' as well.
    fn refresh_pools(&mut self, now: Now, effects: &mut Vec<Effect>) -> bool {
        let mut changed = false;
        let mut looked: BTreeSet<Id> = BTreeSet::new();
        for index in self.order.clone() {
            let Some(pool) = self.pools.get(index) else { continue };
            if !pool.dirty && !pool.spec.nested.iter().any(|nested| looked.contains(&nested.pool)) {
                continue;
            }
            looked.insert(pool.spec.name.clone());
            let inner = |nested: &NestedPool| {
                let inner = self.pools.iter().find(|pool| pool.spec.name == nested.pool);
                (nested.clone(), inner.map(|pool| pool.views.clone()).unwrap_or_default())
            };
            let nested = pool.spec.nested.iter().map(inner).collect();
            let target_of = |pool: &PoolSpec, who: &Who| self.targets.get(&(pool.name.clone(), who.clone())).cloned();
            let around = Around {
                farm: pool.spec.farm.as_ref().and_then(|farm| self.farms.get(farm)),
                checks: &self.checks,
                places: &self.spec.places,
                nested,
                target_of: &target_of,
                now,
            };
            let builds = Builds { count: &mut self.builds, draws: &self.draws };
            if let Some(pool) = self.pools.get_mut(index) {
                changed |= pool.refresh(&around, builds, effects);
            }
        }
        changed
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            generation: self.generation,
            zones: Arc::clone(&self.zones),
            overlay: Arc::clone(&self.overlay),
            signed: self.signatures.answers(),
            pools: self.pools.iter().map(|pool| Arc::clone(&pool.answers)).collect(),
            clients: Arc::clone(&self.spec.places.clients),
            limits: Limits {
                udp_len_max: self.spec.server.udp_payload_max,
                signatures_s_max: self.spec.server.online_signatures_max,
                ..Limits::default()
            },
            service: Arc::clone(&self.service),
        }
    }

    fn persist_due(&self, now: Now) -> bool {
        let age_ms = now.mono.since_ms(self.persisted);
        self.marks.persist_now
            || (self.marks.persist && age_ms >= PERSIST_MS_MIN)
            || (self.marks.heard && age_ms >= PERSIST_HEARD_MS)
    }

    /// Remembers who was named until now and is not any more: caches hold those answers for up to `ttl_s_max`.
    fn note_named(&mut self, now: Now) {
        for pool in &mut self.pools {
            let Some(named) = pool.newly_named.take() else { continue };
            named_no_more(&mut self.farms, pool.named.difference(&named), &pool.spec, now.mono);
            pool.named = named;
        }
    }

    /// Members' own names, then pools: a pool's name is never taken by a member, and no name that the zone itself has data at.
    fn build_overlay(&mut self, effects: &mut Vec<Effect>) {
        let mut names: Vec<(Name, OverlayTarget)> = Vec::new();
        let mut own: BTreeSet<(Id, Id)> = BTreeSet::new();
        let mut taken_now: BTreeSet<(Id, Id)> = BTreeSet::new();
        let pools: BTreeSet<&Name> = self.spec.pools.iter().flat_map(PoolSpec::names).collect();
        for spec in &self.spec.farms {
            let (Some(zone), Some(farm)) = (&spec.member_zone, self.farms.get(&spec.trust.name)) else { continue };
            for (id, member) in farm.roster.members() {
                let Ok(name) = zone.child(id.as_str().as_bytes()) else { continue };
                let key = (spec.trust.name.clone(), id.clone());
                if pools.contains(&name) || taken(&self.zones, &name) {
                    if !self.names_taken.contains(&key) {
                        effects.push(Notice::of(NoticeKind::NameTaken, &spec.trust.name, id, name.to_string()));
                    }
                    taken_now.insert(key);
                    continue;
                }
                let Addresses { v4, v6, .. } = Addresses::of(&member.heartbeat.addrs, &self.spec.places);
                names.push((name, OverlayTarget::Host { v4, v6, ttl_s: spec.member_ttl_s }));
                own.insert(key);
            }
        }
        let targets = self.name_targets(&mut names, &own, &pools);
        for (index, pool) in self.spec.pools.iter().enumerate() {
            names.extend(pool.publish.iter().map(|name| (name.clone(), OverlayTarget::Pool(index as u32))));
            names.extend(
                pool.services
                    .iter()
                    .zip(0..)
                    .map(|(service, at)| (service.name.clone(), OverlayTarget::Service { pool: index as u32, service: at })),
            );
        }
        self.overlay = Arc::new(Overlay::build(&self.zones, names));
        (self.own_names, self.names_taken) = (own, taken_now);
        if self.targets != targets {
            self.targets = targets;
            self.pools.iter_mut().filter(|pool| !pool.spec.services.is_empty()).for_each(|pool| pool.dirty = true);
        }
    }
}

/// Members that a pool named until now.
pub(super) fn named_no_more<'a>(
    farms: &mut BTreeMap<Id, FarmState>,
    members: impl Iterator<Item = &'a Who>,
    pool: &PoolSpec,
    now: Mono,
) {
    let until = now.plus_ms(u64::from(pool.ttl_s_max) * 1_000);
    for who in members {
        if let Who::Farm(farm, id) = who
            && let Some(farm) = farms.get_mut(farm)
        {
            let cached = farm.cached_until.entry(id.clone()).or_insert(until);
            *cached = until.max(*cached);
        }
    }
}

/// Whether a zone has addresses of its own at a name, or no say in it.
pub(super) fn taken(zones: &crate::zone::Zones, name: &Name) -> bool {
    let Some(zone) = zones.find(name) else { return true };
    let holds = |rtype: &Rtype| matches!(*rtype, Rtype::A | Rtype::AAAA | Rtype::CNAME);
    zone.cut_above(name).is_some() || zone.types_at(name).iter().any(holds)
}

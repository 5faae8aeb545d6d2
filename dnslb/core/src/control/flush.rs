//! After a burst of events: at most one snapshot and at most one state to write down.
//!
//! A member that may not be named any more leaves the answers in the very next flush; nothing here may wait for a builder.

use super::event::{Effect, Notice, NoticeKind};
use super::family::Builds;
use super::pool_state::first_addresses;
use super::saved::{Saved, SavedStatic};
use super::view::Who;
use super::{Control, FarmState};
use crate::config::PoolSpec;
use crate::health::Measured;
use crate::name::Name;
use crate::overlay::{Overlay, OverlayTarget};
use crate::snapshot::{Limits, Snapshot};
use crate::zone::Rtype;
use farm_shared::heartbeat::Role;
use farm_shared::id::Id;
use farm_shared::member::Member;
use farm_shared::time::{Mono, Now};
use std::collections::BTreeSet;
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
            publish = true;
        }
        for farm in self.farms.values_mut() {
            if !std::mem::take(&mut farm.touched) {
                continue;
            }
            let in_service = |m: &&Member| m.heartbeat.role == Role::Door && m.standing().takes_new();
            farm.doors = farm.roster.members().values().filter(in_service).count() as u32;
        }
        for pool in self.pools.iter_mut().filter(|pool| pool.dirty) {
            let farm = pool.spec.farm.as_ref().and_then(|farm| self.farms.get(farm));
            let builds = Builds { count: &mut self.builds, draws: &self.draws };
            publish |= pool.refresh(farm, &self.checks, now, builds, &mut effects);
        }
        if publish {
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
        for pool in &self.pools {
            let members = saved.pools.entry(pool.spec.name.clone()).or_default();
            for member in &pool.statics {
                let up = match member.check.measured() {
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

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            generation: self.generation,
            zones: Arc::clone(&self.zones),
            overlay: Arc::clone(&self.overlay),
            pools: self.pools.iter().map(|pool| Arc::clone(&pool.answers)).collect(),
            clients: Arc::clone(&self.clients),
            limits: Limits { udp_len_max: self.spec.server.udp_payload_max, ..Limits::default() },
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
            let farm = pool.spec.farm.as_ref().and_then(|farm| self.farms.get_mut(farm));
            if let Some(farm) = farm {
                farm.named_no_more(pool.named.difference(&named), &pool.spec, now.mono);
            }
            pool.named = named;
        }
    }

    /// Members' own names, then pools: a pool's name is never taken by a member, and no name that the zone itself has data at.
    fn build_overlay(&mut self, effects: &mut Vec<Effect>) {
        let mut names: Vec<(Name, OverlayTarget)> = Vec::new();
        let mut own: BTreeSet<(Id, Id)> = BTreeSet::new();
        let mut taken_now: BTreeSet<(Id, Id)> = BTreeSet::new();
        let pools: BTreeSet<&Name> = self.spec.pools.iter().flat_map(|pool| &pool.publish).collect();
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
                let (v4, v6) = first_addresses(&member.heartbeat.addrs);
                names.push((name, OverlayTarget::Host { v4, v6, ttl_s: spec.member_ttl_s }));
                own.insert(key);
            }
        }
        for (index, pool) in self.spec.pools.iter().enumerate() {
            names.extend(pool.publish.iter().map(|name| (name.clone(), OverlayTarget::Pool(index as u32))));
        }
        self.overlay = Arc::new(Overlay::build(&self.zones, names));
        (self.own_names, self.names_taken) = (own, taken_now);
    }
}

impl FarmState {
    /// Members that a pool named until now.
    pub(super) fn named_no_more<'a>(&mut self, members: impl Iterator<Item = &'a Who>, pool: &PoolSpec, now: Mono) {
        let until = now.plus_ms(u64::from(pool.ttl_s_max) * 1_000);
        for who in members {
            if let Who::Farm(id) = who {
                let cached = self.cached_until.entry(id.clone()).or_insert(until);
                *cached = until.max(*cached);
            }
        }
    }
}

fn taken(zones: &crate::zone::Zones, name: &Name) -> bool {
    let Some(zone) = zones.find(name) else { return true };
    let holds = |rtype: &Rtype| matches!(*rtype, Rtype::A | Rtype::AAAA | Rtype::CNAME);
    zone.cut_above(name).is_some() || zone.types_at(name).iter().any(holds)
}

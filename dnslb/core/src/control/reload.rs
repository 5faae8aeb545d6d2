//! A configuration takes effect: at start with what was saved, later with what is running.
//!
//! What is configured as before keeps its state; nothing that is still configured may be forgotten by a reload.

use super::family::BuiltSchedule;
use super::flush::named_no_more;
use super::pool_state::PoolState;
use super::saved::Saved;
use super::{Control, FarmState};
use crate::config::Spec;
use crate::health::CheckState;
use crate::service::Service;
use crate::zone::Zones;
use farm_shared::member::Roster;
use farm_shared::time::Now;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

impl Control {
    /// Puts a configuration in force.
    pub(super) fn configure(&mut self, spec: Arc<Spec>, zones: Arc<Zones>, saved: Saved, now: Now) {
        self.configure_farms(&spec, saved.farms, now);
        let old: Vec<PoolState> = std::mem::take(&mut self.pools);
        for id in std::mem::take(&mut self.check_owners).into_keys() {
            self.checks.remove(id);
        }
        let mut old: BTreeMap<_, _> = old.into_iter().map(|pool| (pool.spec.name.clone(), pool)).collect();
        for (index, pool_spec) in spec.pools.iter().enumerate() {
            let mut pool = PoolState::new(pool_spec.clone());
            if let Some(old) = old.remove(&pool_spec.name) {
                pool.inherit(old);
            } else if let Some(saved) = saved.pools.get(&pool_spec.name) {
                for member in &mut pool.statics {
                    let Some(was) = saved.get(&member.spec.name) else { continue };
                    member.forced.clone_from(&was.forced);
                    if let (Some(up), Some(_)) = (was.up, &pool_spec.check) {
                        member.check = CheckState::restored(up, &was.why);
                    }
                }
            }
            if let Some(check) = &pool_spec.check {
                for (position, member) in pool.statics.iter_mut().enumerate() {
                    let addr = member.spec.v4.map(IpAddr::V4).or(member.spec.v6.map(IpAddr::V6));
                    member.check_id = addr.map(|addr| self.checks.add(now.mono, addr, Arc::clone(check)));
                    self.check_owners.extend(member.check_id.map(|id| (id, (index, position))));
                }
            }
            self.pools.push(pool);
        }
        for gone in old.into_values() {
            named_no_more(&mut self.farms, gone.named.iter(), &gone.spec, now.mono);
        }
        self.service = Arc::new(Service {
            client_subnet: spec.places.clients.uses_subnets(),
            ..spec.service.service(&self.draws, spec.server.tcp_idle_timeout_ms)
        });
        self.order = inner_first(&spec);
        self.viewpoints.retain(|name, _| spec.viewpoints.peers.iter().any(|peer| peer.name == *name));
        (self.spec, self.zones) = (spec, zones);
        // What the votes make of it is no news.
        drop(self.vote(now.mono));
        self.marks.report = true;
        (self.marks.overlay, self.marks.publish) = (true, true);
    }

    /// A schedule that was built off the loop.
    pub(super) fn take_schedule(&mut self, built: BuiltSchedule) {
        if let Some(pool) = self.pools.iter_mut().find(|pool| pool.spec.name == built.pool) {
            let Some(family) = pool.family_mut(built.key, built.family) else { return };
            family.take(built);
            pool.dirty = true;
            self.marks.publish = true;
        }
    }

    fn configure_farms(
        &mut self,
        spec: &Spec,
        mut saved: BTreeMap<farm_shared::id::Id, farm_shared::member::SavedRoster>,
        now: Now,
    ) {
        let mut old = std::mem::take(&mut self.farms);
        for farm in &spec.farms {
            let state = match old.remove(&farm.trust.name) {
                Some(state) if *state.roster.policy() == spec.lease => state,
                // Other leases: everybody is unknown for one grace, as after a restart.
                Some(state) => {
                    let roster = Roster::restore(spec.lease, state.roster.save(), now);
                    FarmState { roster, restored: now.mono, touched: true, ..state }
                }
                None => {
                    let saved = saved.remove(&farm.trust.name).unwrap_or_default();
                    FarmState {
                        roster: Roster::restore(spec.lease, saved, now),
                        restored: now.mono,
                        doors: 0,
                        touched: true,
                        buried: BTreeMap::new(),
                        cached_until: BTreeMap::new(),
                    }
                }
            };
            self.farms.insert(farm.trust.name.clone(), state);
        }
    }
}

/// The pools in an order in which whatever is inside another comes before it. The configuration has no circles.
fn inner_first(spec: &Spec) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::with_capacity(spec.pools.len());
    let is_in = |order: &[usize], name: &farm_shared::id::Id| {
        order.iter().any(|at| spec.pools.get(*at).is_some_and(|pool| pool.name == *name))
    };
    while order.len() < spec.pools.len() {
        let before = order.len();
        for (index, pool) in spec.pools.iter().enumerate() {
            let ready = pool.nested.iter().all(|nested| is_in(&order, &nested.pool));
            if ready && !order.contains(&index) {
                order.push(index);
            }
        }
        if order.len() == before {
            break;
        }
    }
    order
}

//! Members' names as targets of SRV records: the farm's for its members, or else names below a pool's `target_zone`.
//!
//! A target must lead to its member and nobody else: a member whose name something else has is not a target at all.

use super::Control;
use super::flush::taken;
use super::pool_state::{Addresses, PoolState};
use super::view::Who;
use crate::name::Name;
use crate::overlay::OverlayTarget;
use farm_shared::id::Id;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Where a name leads.
type Host = (Option<Ipv4Addr>, Option<Ipv6Addr>);

impl Control {
    /// The targets of the members of pools. Names that they have for this alone are added to `names`, which are the farms' so far;
    /// `own` are the members that have one of those, `pools` the names that pools answer.
    pub(super) fn name_targets(
        &self,
        names: &mut Vec<(Name, OverlayTarget)>,
        own: &BTreeSet<(Id, Id)>,
        pools: &BTreeSet<&Name>,
    ) -> BTreeMap<(Id, Who), Name> {
        let mut targets = BTreeMap::new();
        let mut hosts: BTreeMap<Name, Host> = BTreeMap::new();
        for (name, target) in names.iter() {
            if let OverlayTarget::Host { v4, v6, .. } = *target {
                hosts.insert(name.clone(), (v4, v6));
            }
        }
        let mut members: Vec<(&PoolState, Who, Host)> = Vec::new();
        for pool in &self.pools {
            if pool.spec.target_zone.is_some() || !pool.spec.services.is_empty() {
                members.extend(self.members_of(pool).into_iter().map(|(who, host)| (pool, who, host)));
            }
        }
        // Configured names come first: no member that turns up takes one.
        members.sort_by_key(|(_, who, _)| matches!(who, Who::Farm(..)));
        for (pool, who, host) in members {
            let farm_zone = match &who {
                Who::Farm(farm, id) => self.spec.farm(farm).and_then(|spec| Some((farm, id, spec.member_zone.as_ref()?))),
                _ => None,
            };
            let name = match (farm_zone, &pool.spec.target_zone) {
                // One whose name the zone has for itself leads elsewhere.
                (Some((farm, id, zone)), _) if own.contains(&(farm.clone(), id.clone())) => {
                    zone.child(id.as_str().as_bytes()).ok()
                }
                (None, Some(zone)) => zone.child(who.label().as_bytes()).ok().filter(|name| {
                    let free = !pools.contains(name) && !taken(&self.zones, name);
                    free && hosts.get(name).is_none_or(|known| *known == host)
                }),
                _ => None,
            };
            let Some(name) = name else { continue };
            if farm_zone.is_none() {
                let target = OverlayTarget::Host { v4: host.0, v6: host.1, ttl_s: pool.spec.ttl_s_max };
                if hosts.insert(name.clone(), host).is_none() {
                    names.push((name.clone(), target));
                }
            }
            targets.insert((pool.spec.name.clone(), who), name);
        }
        targets
    }

    /// Everybody who may become a member of a pool, by the configuration or by heartbeats, with the public addresses.
    fn members_of(&self, pool: &PoolState) -> Vec<(Who, Host)> {
        let mut members: Vec<(Who, Host)> = Vec::new();
        members.extend(pool.statics.iter().map(|m| (Who::Static(m.spec.name.clone()), (m.spec.v4, m.spec.v6))));
        if let Some(farm) = &pool.spec.farm
            && let Some(state) = self.farms.get(farm)
        {
            members.extend(state.roster.members().iter().map(|(id, member)| {
                let Addresses { v4, v6, .. } = Addresses::of(&member.heartbeat.addrs, &self.spec.places);
                (Who::Farm(farm.clone(), id.clone()), (v4, v6))
            }));
        }
        for nested in &pool.spec.nested {
            let inner = self.pools.iter().find(|pool| pool.spec.name == nested.pool);
            let inner = inner.map(|inner| self.members_of(inner)).unwrap_or_default();
            members.extend(inner.into_iter().map(|(who, host)| (who.inside(&nested.pool), host)));
        }
        members
    }
}

//! From the roster to the next snapshot.
//!
//! A snapshot is complete and never changed; building one must stay linear in the number of members.

use super::Control;
use crate::door::{CookieKeys, Server, Snapshot};
use crate::route::{Candidate, Speeds, Table};
use farm_shared::member::Member;
use farm_shared::time::{Mono, Now};
use std::sync::Arc;

/// Bursts of heartbeats make one snapshot. Larger farms pay for theirs with a longer interval: one millisecond per hundred
/// members, which keeps the cost of building below a few percent of a core.
const PUBLISH_MS_MIN: u64 = 50;
const MEMBERS_PER_MS: u64 = 100;
/// Without news, when queues shrink by their age or ramps rise, in milliseconds.
const RESTLESS_MS: u64 = 250;
/// What a likely victim of scaling in gets of its fair share.
const VICTIM_SHARE: f64 = 0.25;

impl Control {
    pub(super) fn publish_due(&self, now: Now) -> bool {
        let Some(last) = &self.published else { return true };
        let age_ms = now.mono.since_ms(last.built);
        let interval_ms = PUBLISH_MS_MIN + self.seen.len() as u64 / MEMBERS_PER_MS;
        (self.dirty && age_ms >= interval_ms) || (self.restless && age_ms >= RESTLESS_MS.max(2 * interval_ms))
    }

    pub(super) fn publish(&mut self, now: Now) -> Arc<Snapshot> {
        self.dirty = false;
        self.generation += 1;
        let members = || self.roster.members().iter().filter_map(|(id, m)| Some((m, self.seen.get(id)?)));
        self.speeds = Speeds::of(members().map(|(m, s)| (&s.meter, &m.heartbeat.load)), self.speeds.queue_per_session);
        let mut servers = Vec::with_capacity(self.seen.len());
        let mut candidates = Vec::with_capacity(self.seen.len());
        let mut zones = Vec::new();
        let panic = self.panic().is_some();
        for (member, seen) in members() {
            let standing = Self::trusted(member, panic);
            let takes_new = standing.takes_new() && seen.hindrance(&member.heartbeat, &self.spec).is_none();
            if takes_new {
                let at = servers.len() as u32;
                candidates.push(self.candidate(at, member, seen, now));
                if self.spec.door.zone.is_some() {
                    let load = &member.heartbeat.load;
                    zones.push((member.heartbeat.zone.as_ref(), load.busy * load.cores, load.cores));
                }
            }
            servers.push(Server {
                slot: seen.slot,
                id: member.heartbeat.id.clone(),
                location_prefix: Arc::clone(&seen.location),
                addrs: member.heartbeat.addrs.clone(),
                standing,
                takes_new,
                heard: seen.heard,
                dispatch_base: seen.dispatch_base,
            });
        }
        let door = &self.spec.door;
        self.prefer_zone(&mut candidates, &zones);
        self.doors_known = self.doors(now.mono);
        let table = Table::build(self.rule(&candidates), self.speeds.queue_per_session, self.doors_known, &candidates);
        self.restless = candidates.iter().any(|c| {
            c.ramp < 1.0 || c.age_ms > c.period_ms || (table.policy().ages() && c.queue > 0.0 && c.drain_per_s > 0.0)
        });
        let snapshot = Arc::new(Snapshot {
            generation: self.generation,
            built: now.mono,
            retry_after_s: door.retry_after_s,
            cookies: CookieKeys::new(&self.spec.farm, &self.keys, door.cookie_max_age_s).with_name(&self.spec.cookie_name),
            by_slot: Snapshot::index_slots(&servers),
            servers,
            table,
            room: self.room.gate(Arc::clone(&self.room_keys), Arc::clone(&self.room_lanes), now.mono),
        });
        self.published = Some(Arc::clone(&snapshot));
        snapshot
    }

    /// Live doors (K), as dnslb tells through the members: at least this one.
    pub(super) fn doors(&self, now: Mono) -> u32 {
        let fresh = self
            .roster
            .members()
            .iter()
            .filter_map(|(id, m)| self.seen.get(id).filter(|s| s.is_fresh(m.heartbeat.period_ms, now)).map(|s| s.doors));
        fresh.max().unwrap_or(1).max(1)
    }

    fn candidate(&self, server: u32, member: &Member, seen: &super::seen::Seen, now: Now) -> Candidate {
        let load = &member.heartbeat.load;
        let age_ms = now.mono.since_ms(seen.heard);
        let (speed, drain_per_s) = self.speeds.speed(&seen.meter, load);
        let ramp_ms = self.spec.door.ramp_ms;
        // Members of a restart were in full service before it.
        let in_service_ms = self.roster.clock(now).since_ms(member.since);
        let restored = member.since <= self.started.mono;
        let ramp = if restored || in_service_ms >= ramp_ms { 1.0 } else { in_service_ms as f64 / ramp_ms as f64 };
        Candidate {
            server,
            slot: seen.slot,
            dispatch_base: seen.dispatch_base,
            reported: load.reported,
            queue: load.queue,
            speed,
            drain_per_s,
            sessions: self.speeds.remaining(load.sessions, age_ms),
            capacity: self.speeds.capacity(&seen.meter, load),
            age_ms,
            period_ms: member.heartbeat.period_ms,
            ramp: ramp.max(0.1) * if self.victims.contains(&member.heartbeat.id) { VICTIM_SHARE } else { 1.0 },
            preference: 1.0,
            room: self.places(load).map(|limit| limit.saturating_sub(load.sessions).saturating_sub(seen.on_the_way())),
        }
    }
}

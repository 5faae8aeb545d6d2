//! The servers of the model: who has room, who boots, drains or is gone.

use super::scenario::Scenario;
use super::world::zone_id;
use crate::scale::{ServerLoad, ServerState};
use farm_shared::draw::Draws;
use farm_shared::id::Id;
use std::collections::{BTreeMap, BTreeSet};

/// Victims of scaling in are taken for so much fuller than they are.
const VICTIM_HANDICAP: f64 = 0.5;
/// No server has this position.
const NOWHERE: usize = usize::MAX;

/// Where a server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Since when, in milliseconds.
    Booting(u64),
    Live,
    /// Since when, in milliseconds.
    Draining(u64),
    Stopped,
    Gone,
}

#[derive(Debug)]
struct Server {
    id: Option<Id>,
    zone: u32,
    place: Place,
    sessions: u32,
    /// When a session began last, in milliseconds.
    youngest_ms: u64,
    victim: bool,
    /// Its position among those with room.
    at: usize,
    /// How often it died or was stopped: sessions of an earlier life end nowhere.
    life: u32,
}

/// All servers there ever were; a number is never used again, but for an instance that was stopped.
#[derive(Debug)]
pub(super) struct Fleet {
    servers: Vec<Server>,
    by_id: BTreeMap<Id, usize>,
    /// Those that exist and are up, by number.
    up: BTreeSet<usize>,
    room: Vec<usize>,
    per_server: u32,
    zones: Vec<bool>,
    counts: [u32; 2],
    victims: Vec<usize>,
    pub(super) sessions: u64,
}

impl Fleet {
    pub(super) fn new(zones: u32, per_server: u32) -> Self {
        Self {
            servers: Vec::new(),
            by_id: BTreeMap::new(),
            up: BTreeSet::new(),
            room: Vec::new(),
            per_server,
            zones: vec![true; zones.max(1) as usize],
            counts: [0; 2],
            victims: Vec::new(),
            sessions: 0,
        }
    }

    /// A new server in the usable zone with the fewest.
    pub(super) fn launch(&mut self, now_ms: u64) -> u32 {
        let mut there = vec![0_u32; self.zones.len()];
        for server in self.servers.iter().filter(|s| matches!(s.place, Place::Live | Place::Booting(_))) {
            there.iter_mut().skip(server.zone as usize).take(1).for_each(|n| *n += 1);
        }
        let usable = there.iter().enumerate().filter(|(zone, _)| self.usable(*zone as u32));
        let zone = usable.min_by_key(|(_, n)| **n).map_or(0, |(zone, _)| zone as u32);
        let n = self.servers.len();
        let id = Id::new(&format!("b{n:06}")).ok();
        if let Some(id) = &id {
            self.by_id.insert(id.clone(), n);
        }
        let place = Place::Booting(now_ms);
        self.servers.push(Server { id, zone, place, sessions: 0, youngest_ms: 0, victim: false, at: NOWHERE, life: 0 });
        self.counts[0] += 1;
        n as u32
    }

    /// A stopped instance starts again, the lowest number first.
    pub(super) fn start_warm(&mut self, now_ms: u64) -> Option<u32> {
        let warm = |s: &Server| s.place == Place::Stopped && self.usable(s.zone);
        let n = if self.counts[1] == 0 { None } else { self.servers.iter().position(warm) }?;
        let server = self.servers.get_mut(n)?;
        server.place = Place::Booting(now_ms);
        (self.counts[0], self.counts[1]) = (self.counts[0] + 1, self.counts[1] - 1);
        Some(n as u32)
    }

    /// It is up: when it was launched. None if it died meanwhile.
    pub(super) fn up(&mut self, n: u32) -> Option<u64> {
        let server = self.servers.get_mut(n as usize)?;
        let Place::Booting(since_ms) = server.place else { return None };
        server.place = Place::Live;
        self.counts[0] -= 1;
        self.up.insert(n as usize);
        self.sort_in(n as usize);
        Some(since_ms)
    }

    /// Of two servers with room, drawn at random, the emptier one.
    pub(super) fn choose(&self, draws: &mut Draws) -> Option<u32> {
        let mut draw = || self.room.get(draws.below(self.room.len())).copied();
        let (a, b) = (draw()?, draw()?);
        let load = |n: usize| {
            self.servers.get(n).map_or(f64::MAX, |s| {
                f64::from(s.sessions) / f64::from(self.per_server) + if s.victim { VICTIM_HANDICAP } else { 0.0 }
            })
        };
        Some(if load(b) < load(a) { b as u32 } else { a as u32 })
    }

    /// A session begins: in which life of the server.
    pub(super) fn begin(&mut self, n: u32, now_ms: u64) -> u32 {
        let Some(server) = self.servers.get_mut(n as usize) else { return 0 };
        server.sessions += 1;
        server.youngest_ms = now_ms;
        self.sessions += 1;
        let life = server.life;
        self.sort_in(n as usize);
        life
    }

    /// A session ends, unless its server died before.
    pub(super) fn end(&mut self, n: u32, life: u32) -> bool {
        let Some(server) = self.servers.get_mut(n as usize).filter(|s| s.life == life && s.sessions > 0) else {
            return false;
        };
        server.sessions -= 1;
        self.sessions -= 1;
        self.sort_in(n as usize);
        true
    }

    /// Keeps the list of servers with room.
    fn sort_in(&mut self, n: usize) {
        let Some(server) = self.servers.get_mut(n) else { return };
        let has_room = server.place == Place::Live && server.sessions < self.per_server;
        if has_room && server.at == NOWHERE {
            server.at = self.room.len();
            self.room.push(n);
        } else if !has_room && server.at != NOWHERE {
            let at = std::mem::replace(&mut server.at, NOWHERE);
            self.room.swap_remove(at);
            if let Some(moved) = self.room.get(at).and_then(|m| self.servers.get_mut(*m)) {
                moved.at = at;
            }
        }
    }

    pub(super) fn put(&mut self, id: &Id, place: Place) {
        let Some(n) = self.by_id.get(id).copied() else { return };
        if let Some(server) = self.servers.get_mut(n) {
            server.place = place;
        }
        self.sort_in(n);
    }

    /// Stops or terminates a server: how many sessions are lost.
    pub(super) fn retire(&mut self, id: &Id, place: Place) -> u64 {
        self.by_id.get(id).copied().map_or(0, |n| self.take(n, place))
    }

    fn take(&mut self, n: usize, place: Place) -> u64 {
        let Some(server) = self.servers.get_mut(n) else { return 0 };
        self.counts[0] -= u32::from(matches!(server.place, Place::Booting(_)));
        self.counts[1] += u32::from(place == Place::Stopped);
        self.counts[1] -= u32::from(server.place == Place::Stopped && place != Place::Stopped);
        let lost = std::mem::take(&mut server.sessions);
        (server.place, server.life) = (place, server.life + 1);
        self.sessions -= u64::from(lost);
        self.up.remove(&n);
        self.sort_in(n);
        u64::from(lost)
    }

    /// All servers of a zone die, and no more can be launched there.
    pub(super) fn lose_zone(&mut self, zone: u32) -> u64 {
        if let Some(usable) = self.zones.get_mut(zone as usize) {
            *usable = false;
        }
        let there = |(n, s): (usize, &Server)| (s.zone == zone && s.place != Place::Gone).then_some(n);
        let dead: Vec<usize> = self.servers.iter().enumerate().filter_map(there).collect();
        dead.into_iter().map(|n| self.take(n, Place::Gone)).sum()
    }

    pub(super) fn lose(&mut self, servers: u32) -> u64 {
        let dead: Vec<usize> = self.up.iter().copied().take(servers as usize).collect();
        dead.into_iter().map(|n| self.take(n, Place::Gone)).sum()
    }

    pub(super) fn usable(&self, zone: u32) -> bool {
        self.zones.get(zone as usize).copied().unwrap_or(false)
    }

    /// These get fewer new sessions from now on.
    pub(super) fn avoid(&mut self, victims: &[Id]) {
        for n in std::mem::take(&mut self.victims) {
            self.servers.iter_mut().skip(n).take(1).for_each(|s| s.victim = false);
        }
        self.victims = victims.iter().filter_map(|id| self.by_id.get(id).copied()).collect();
        for n in self.victims.clone() {
            self.servers.iter_mut().skip(n).take(1).for_each(|s| s.victim = true);
        }
    }

    /// Servers that boot or are stopped; the time in a place does not matter.
    pub(super) fn count(&self, place: Place) -> u32 {
        match place {
            Place::Booting(_) => self.counts[0],
            Place::Stopped => self.counts[1],
            Place::Live | Place::Draining(_) => self.up.len() as u32,
            Place::Gone => 0,
        }
    }

    /// What heartbeats would say.
    pub(super) fn loads(&self, scenario: &Scenario, now_ms: u64, ttl_ms: u64) -> Vec<ServerLoad> {
        let zones: Vec<Option<Id>> =
            (0..self.zones.len() as u32).map(|z| zone_id(z).filter(|_| self.zones.len() > 1)).collect();
        let load = |n: &usize| {
            let server = self.servers.get(*n)?;
            let draining_ms = match server.place {
                Place::Draining(since_ms) => Some(now_ms.saturating_sub(since_ms)),
                _ => None,
            };
            let busy = (scenario.busy_full * f64::from(server.sessions) / f64::from(self.per_server)).min(1.0);
            Some(ServerLoad {
                id: server.id.clone()?,
                state: if draining_ms.is_some() { ServerState::Draining } else { ServerState::Live },
                managed: true,
                // As of c processors with one queue: short until nearly all are busy.
                queue: busy.powf(scenario.cores.max(1.0)) / (1.0 - busy).max(0.02),
                cores: scenario.cores,
                busy,
                sessions: server.sessions,
                limit: Some(self.per_server),
                youngest_ms: Some(now_ms.saturating_sub(server.youngest_ms)),
                zone: zones.get(server.zone as usize).cloned().flatten(),
                role: false,
                draining_ms,
                ttl_clear: draining_ms.is_some_and(|ms| ms >= ttl_ms),
            })
        };
        self.up.iter().filter_map(load).collect()
    }
}

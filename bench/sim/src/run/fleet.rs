//! The servers of a run at full size, and the provider that launches them: no agent and no datagram, only what heartbeats would say.

use super::latency::strain;
use crate::setup::{FARM, id};
use farm_shared::heartbeat::Heartbeat;
use farm_shared::id::Id;
use redirector_core::scale::{CallOutcome, ErrorKind, Instance, InstanceState, LaunchRequest, ProviderCall, ProviderError};
use redirector_core::whatif::Scenario;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// A stopped instance is there again after so long, in milliseconds, or after a boot if that is shorter.
pub(super) const WARM_MS: u64 = 30_000;

/// One instance, from its launch to its end.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) instance: Instance,
    pub(super) zone: u32,
    token: String,
    /// It has booted and answers.
    pub(super) up: bool,
    /// Counts its boots, so that an end makes an earlier one void.
    pub(super) boots: u32,
    pub(super) sessions: u32,
    pub(super) arrivals: u64,
    pub(super) completions: u64,
    pub(super) active_ms: u64,
    pub(super) drains: bool,
    seq: u64,
    inc: u64,
    pub(super) born_ms: u64,
    pub(super) ended_ms: Option<u64>,
    /// Time spent stopped, which costs nothing, and since when.
    pub(super) stopped_ms: u64,
    pub(super) stopped_since: Option<u64>,
}

/// What follows from a call.
pub(super) struct Called {
    pub(super) outcome: CallOutcome,
    /// This server boots, within so many milliseconds if it was warm.
    pub(super) boots: Option<(usize, bool)>,
    /// This one ends or stops.
    pub(super) ends: Option<usize>,
}

/// All instances there ever were.
#[derive(Clone, Debug, Default)]
pub(super) struct Fleet {
    pub(super) servers: Vec<Server>,
    by_token: BTreeMap<String, usize>,
    by_name: BTreeMap<String, usize>,
    template: Option<Heartbeat>,
    /// Zones in which nothing can be launched any more.
    pub(super) lost_zones: Vec<u32>,
}

impl Fleet {
    /// A server that is there from the beginning.
    pub(super) fn found(&mut self, number: u32, scenario: &Scenario, wall_ms: u64, now_ms: u64) -> usize {
        let request = LaunchRequest {
            intent: format!("i{wall_ms}-{number}"),
            attempt: 1,
            token: format!("first-{number}"),
            farm: id(FARM),
            member_id: id(&format!("b{number}")),
            role: None,
            offering: None,
            body: Vec::new(),
        };
        self.make(&request, number % scenario.zones.max(1), wall_ms, now_ms)
    }

    fn make(&mut self, request: &LaunchRequest, zone: u32, wall_ms: u64, now_ms: u64) -> usize {
        let at = self.servers.len();
        let name = format!("i-{at:06}");
        let instance = Instance {
            member_id: Some(request.member_id.clone()),
            intent: Some(request.intent.clone()),
            offering: request.offering.clone(),
            role: request.role.clone(),
            ..Instance::new(name.clone(), request.farm.clone(), InstanceState::Running, wall_ms)
        };
        self.by_token.insert(request.token.clone(), at);
        self.by_name.insert(name, at);
        self.servers.push(Server {
            instance,
            zone,
            token: request.token.clone(),
            up: false,
            boots: 0,
            sessions: 0,
            arrivals: 0,
            completions: 0,
            active_ms: now_ms,
            drains: false,
            seq: 0,
            inc: wall_ms,
            born_ms: now_ms,
            ended_ms: None,
            stopped_ms: 0,
            stopped_since: None,
        });
        at
    }

    /// One call to the provider, at once and without fault but for lost zones.
    pub(super) fn call(&mut self, call: ProviderCall, scenario: &Scenario, wall_ms: u64, now_ms: u64) -> Called {
        let (mut boots, mut ends) = (None, None);
        let refusal = |kind: ErrorKind| Err(ProviderError { kind, message: kind.label().to_owned() });
        let named = call.instance_id().and_then(|name| self.by_name.get(name)).copied();
        let result = match (&call, named) {
            (ProviderCall::Launch(request), _) => match self.by_token.get(&request.token).copied() {
                Some(at) => Ok(self.servers.get(at).map(|s| s.instance.clone())),
                None => match self.zone_of(request, scenario) {
                    Some(zone) => {
                        let at = self.make(request, zone, wall_ms, now_ms);
                        boots = Some((at, false));
                        Ok(self.servers.get(at).map(|s| s.instance.clone()))
                    }
                    None => refusal(ErrorKind::NoCapacity),
                },
            },
            (_, None) => refusal(ErrorKind::NotFound),
            (call, Some(at)) => match (call, self.servers.get_mut(at)) {
                (_, None) => refusal(ErrorKind::NotFound),
                (ProviderCall::Terminate(_), Some(server)) => {
                    server.instance.state = InstanceState::Gone;
                    ends = Some(at);
                    Ok(Some(server.instance.clone()))
                }
                (ProviderCall::Stop(_), Some(server)) => {
                    server.instance.state = InstanceState::Stopped;
                    ends = Some(at);
                    Ok(Some(server.instance.clone()))
                }
                (ProviderCall::Start(_), Some(server)) => {
                    if server.instance.state == InstanceState::Stopped {
                        server.instance.state = InstanceState::Running;
                        server.stopped_ms += now_ms - server.stopped_since.take().unwrap_or(now_ms);
                        boots = Some((at, true));
                    }
                    Ok(Some(server.instance.clone()))
                }
                (_, Some(server)) => Ok(Some(server.instance.clone())),
            },
        };
        Called { outcome: CallOutcome { call, result }, boots, ends }
    }

    fn zone_of(&self, request: &LaunchRequest, scenario: &Scenario) -> Option<u32> {
        if let Some(offering) = &request.offering {
            let zone = offering.zone.trim_start_matches('z').parse().ok()?;
            return (!self.lost_zones.contains(&zone)).then_some(zone);
        }
        let zones = scenario.zones.max(1);
        let first = self.servers.len() as u32 % zones;
        (0..zones).map(|n| (first + n) % zones).find(|zone| !self.lost_zones.contains(zone))
    }

    /// Every instance that the provider still shows.
    pub(super) fn list(&self) -> Vec<Instance> {
        self.servers.iter().filter(|s| s.instance.state != InstanceState::Gone).map(|s| s.instance.clone()).collect()
    }

    /// A server has booted: a new incarnation.
    pub(super) fn boot(&mut self, at: usize, wall_ms: u64) {
        if let Some(server) = self.servers.get_mut(at) {
            (server.up, server.drains, server.inc, server.seq) = (true, false, wall_ms, 0);
            (server.sessions, server.arrivals, server.completions) = (0, 0, 0);
        }
    }

    /// Its next heartbeat.
    pub(super) fn beat(
        &mut self,
        at: usize,
        scenario: &Scenario,
        period_ms: u64,
        (wall_ms, now_ms): (u64, u64),
    ) -> Option<Heartbeat> {
        if self.template.is_none() {
            let text = serde_json::json!({
                "v": 1, "farm": FARM, "id": "x", "inc": 1, "seq": 0, "time_ms": 0, "period_ms": 1_000,
                "addrs": ["10.0.0.1"], "port": 80,
            });
            self.template = serde_json::from_value(text).ok();
        }
        let mut heartbeat = self.template.clone()?;
        let server = self.servers.get_mut(at).filter(|s| s.up)?;
        server.seq += 1;
        let share = scenario.busy_full * scenario.cores / f64::from(scenario.sessions_per_server.max(1));
        let strain = strain(server.sessions, share, scenario.cores);
        heartbeat.id = server.instance.member_id.clone()?;
        (heartbeat.inc, heartbeat.seq, heartbeat.time_ms, heartbeat.period_ms) =
            (server.inc, server.seq, wall_ms, period_ms);
        heartbeat.addrs = vec![IpAddr::V4(address(at))];
        heartbeat.zone = Id::new(&format!("z{}", server.zone)).ok();
        if server.drains {
            heartbeat.drain_by = vec![id(crate::setup::DOOR)];
        }
        let load = &mut heartbeat.load;
        (load.queue, load.cores, load.busy) = (strain.queue, scenario.cores, strain.busy);
        (load.sessions, load.limit) = (server.sessions, Some(scenario.sessions_per_server));
        (load.arrivals, load.completions) = (server.arrivals, server.completions);
        load.youngest_ms = (server.sessions > 0).then(|| now_ms.saturating_sub(server.active_ms));
        Some(heartbeat)
    }

    /// It ends, or stops to be warm. Sessions on it.
    pub(super) fn end(&mut self, at: usize, now_ms: u64) -> u32 {
        let Some(server) = self.servers.get_mut(at) else { return 0 };
        server.up = false;
        server.boots += 1;
        if server.instance.state == InstanceState::Stopped {
            server.stopped_since = Some(now_ms);
        } else {
            server.instance.state = InstanceState::Gone;
            server.ended_ms.get_or_insert(now_ms);
            self.by_token.remove(&server.token);
        }
        std::mem::take(&mut server.sessions)
    }
}

/// The address of a server.
pub(super) fn address(at: usize) -> Ipv4Addr {
    crate::host::addr_of(at + 1)
}

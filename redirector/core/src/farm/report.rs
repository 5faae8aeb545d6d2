//! What an operator sees of the control loop.

use super::{Control, DecisionStatus, InstanceStatus, ScalerStatus, ServerStatus, ShortageStatus, Status};
use crate::config::ProviderSpec;
use crate::scale::{Instance, Policy, ServerState, survivable_growth_of};
use farm_shared::member::Member;
use farm_shared::time::Now;
use std::collections::BTreeMap;

impl Control {
    /// What an operator sees.
    pub fn status(&self, now: Now) -> Status {
        let mut shares = BTreeMap::new();
        if let Some(snapshot) = &self.published {
            let named = |(at, share): (usize, f64)| Some((snapshot.servers.get(at)?.id.as_str(), share));
            shares.extend(snapshot.table.shares().filter_map(named));
        }
        let panic = self.panic().is_some();
        let servers: Vec<ServerStatus> = self
            .roster
            .members()
            .values()
            .map(|m| self.server_status(m, shares.get(m.heartbeat.id.as_str()).copied().unwrap_or(0.0), panic, now))
            .collect();
        Status {
            id: self.spec.id.to_string(),
            farm: self.spec.farm.to_string(),
            wall_ms: now.wall.0,
            up_ms: now.mono.since_ms(self.started.mono),
            generation: self.generation,
            policy: self.spec.door.policy.label(),
            doors: self.doors(now.mono),
            queue_per_session: self.speeds.queue_per_session,
            drills: self.ward.status(),
            drill_totals: self.ward.totals(now.mono),
            alarms: self.alarms(&servers, now),
            servers,
            room: self.room.status(now),
            scaler: self.scaler_status(now),
            notices: self.notices.iter().cloned().collect(),
        }
    }

    fn server_status(&self, member: &Member, share: f64, panic: bool, now: Now) -> ServerStatus {
        let heartbeat = &member.heartbeat;
        let load = &heartbeat.load;
        let seen = self.seen.get(&heartbeat.id);
        let standing = Self::trusted(member, panic);
        let hindrance = seen.and_then(|s| s.hindrance(heartbeat, &self.spec));
        let takes_new = standing.takes_new() && hindrance.is_none();
        let why_not = match (takes_new, hindrance) {
            (true, _) => None,
            (false, Some(why)) if standing.takes_new() => Some(why.to_owned()),
            (false, _) => Some(format!("it is {}", standing.label())),
        };
        ServerStatus {
            id: heartbeat.id.to_string(),
            slot: seen.map_or(0, |s| s.slot),
            location: seen.map_or_else(String::new, |s| s.location.to_string()),
            standing: standing.label(),
            measured: member.measured().label(),
            forced: member.forced.as_ref().map(|(f, why)| (format!("{f:?}").to_lowercase(), why.clone())),
            takes_new,
            why_not,
            queue: load.queue,
            cores: load.cores,
            busy: load.busy,
            sessions: load.sessions,
            limit: load.limit,
            arrivals: load.arrivals,
            completions: load.completions,
            youngest_ms: load.youngest_ms,
            heard_ms_ago: self.roster.clock(now).since_ms(member.heard),
            in_service_ms: self.roster.clock(now).since_ms(member.since),
            share,
            drain_wish: member.drain_wish,
            ttl_left_ms: seen
                .filter(|_| heartbeat.draining() || member.wants_drain())
                .map(|s| s.ttl_left_ms(member.lease_ms(), &self.spec, now.mono)),
            twins: member.twins_until > self.roster.clock(now),
            notice: heartbeat.notice.map(|n| (n.kind.label(), n.at_ms)),
            zone: heartbeat.zone.as_ref().map(ToString::to_string),
            new_1m: 0,
            expected_1m: 0.0,
        }
    }

    fn scaler_status(&self, now: Now) -> ScalerStatus {
        let scaler = &self.spec.scaler;
        let observation = self.observation(now);
        let count = |state: ServerState| observation.servers.iter().filter(|s| s.state == state).count() as u32;
        let waits = self.listed.is_none().then(|| "the provider has not listed its instances yet".to_owned());
        ScalerStatus {
            enabled: scaler.enabled,
            dry_run: scaler.dry_run,
            policy: scaler.policy.label(),
            min: scaler.min,
            max: scaler.max,
            frozen: observation.frozen.clone().or(waits).filter(|_| scaler.enabled),
            desired: self.desired,
            sessions_per_server: scaler.sessions_per_server,
            survivable_growth: survivable_growth_of(
                &Policy::new(scaler, self.spec.door.ramp_ms),
                &self.plan_state,
                &observation,
            ),
            usd_month: observation.usd_month,
            usd_h: observation.usd_h,
            live: count(ServerState::Live),
            pending: observation.pending,
            draining: count(ServerState::Draining) + count(ServerState::Held),
            leaving: count(ServerState::Leaving),
            boot_ms_p95: observation.boot_ms_p95,
            boots: self.boots_ms.len() as u32,
            boot_ms_prior: scaler.boot_prior_ms,
            boot_ms_delay: match &self.spec.provider {
                ProviderSpec::Process(process) => Some(process.boot_delay_ms),
                ProviderSpec::None | ProviderSpec::Ec2(_) => None,
            },
            instances: self.listing.iter().map(|i| self.instance_status(i)).collect(),
            shortages: self.shortages(now),
            intents: self.exec.intents.values().fold(BTreeMap::new(), |mut calls, intent| {
                *calls.entry(intent.call.label()).or_insert(0) += 1;
                calls
            }),
            calls_per_s: self.exec.pace.rate_per_s(),
            retries: self.exec.pace.retries(),
            unknown: self.exec.unknown.len() as u32,
            kept: observation.kept,
            boot_ms_deadline: self.boot_deadline_ms(),
            warm: observation.warm,
            problem: self.exec.problem.clone(),
            provider_error: self.provider_error.clone(),
            decisions: self.decisions.iter().map(|(at, r)| DecisionStatus { wall_ms: *at, report: r.clone() }).collect(),
            journal_failures: self.journal_failures,
        }
    }

    fn instance_status(&self, listed: &Instance) -> InstanceStatus {
        let id = &listed.instance_id;
        let known = self.exec.instances.get(id);
        let call = self.exec.intents.values().find(|i| i.call.instance_id() == Some(id));
        InstanceStatus {
            instance_id: id.clone(),
            member_id: listed.member_id.as_ref().map(ToString::to_string),
            state: known.unwrap_or(listed).state.label(),
            launched_wall_ms: known.unwrap_or(listed).launched_wall_ms,
            role: listed.role.as_ref().map(ToString::to_string),
            offering: known.unwrap_or(listed).offering.as_ref().map(ToString::to_string),
            addrs: listed.addrs.clone(),
            impaired: listed.impaired.clone(),
            kept: known.unwrap_or(listed).kept,
            known: known.is_some(),
            call: call.map(|i| i.call.label()),
        }
    }

    fn shortages(&self, now: Now) -> Vec<ShortageStatus> {
        let held = self.exec.shortages.iter().filter(|s| s.holds(now.wall));
        held.map(|s| ShortageStatus { offering: s.offering.clone(), refusals: s.refusals, until_wall_ms: s.until_wall_ms })
            .collect()
    }

    fn alarms(&self, servers: &[ServerStatus], now: Now) -> Vec<String> {
        let mut alarms: Vec<String> =
            servers.iter().filter(|s| s.twins).map(|s| format!("two incarnations of {} are alive", s.id)).collect();
        if self.spec.scaler.enabled {
            alarms.extend(self.freeze(now.mono).map(|why| format!("scaling is frozen: {why}")));
        }
        if self.roster.mostly_silent() {
            let (silent, all) = (self.roster.silent(), self.roster.members().len());
            alarms.push(format!("{silent} of {all} members are silent: nobody is forgotten or stopped"));
        }
        if let Some((silent, all)) = self.panic() {
            alarms.push(format!(
                "{silent} of {all} servers are silent: heartbeats are doubted, and sessions go to them still"
            ));
        }
        if !servers.is_empty() && !servers.iter().any(|s| s.takes_new) {
            alarms.push("no server takes new sessions".into());
        }
        let unknown = self.exec.unknown.len();
        if unknown > 0 {
            alarms.push(format!(
                "{unknown} instances carry the farm's tag, but nothing here launched them: adopt or end them"
            ));
        }
        if self.impaired_in_doubt() {
            alarms.push("more than half of the instances fail their provider's checks: the checks are doubted".into());
        }
        alarms.extend(self.exec.problem.clone().filter(|_| self.spec.scaler.enabled));
        if self.journal_failures > 0 {
            alarms.push(format!("{} journal records could not be written", self.journal_failures));
        }
        alarms
    }
}

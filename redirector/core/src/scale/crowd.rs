//! The crowd of DESIGN 4.4 in virtual time: four servers, six times the load within 600 s, 120 s to boot one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::config::{ScalePolicy, ScalerSpec};
use farm_shared::draw::Draws;
use farm_shared::id::Id;
use farm_shared::time::{Mono, Now, Wall};

const PER_SERVER: usize = 100;
const CORES: f64 = 4.0;
/// A full server is this busy.
const BUSY_FULL: f64 = 0.9;
const SESSION_S: f64 = 120.0;
const BOOT_MS: u64 = 120_000;

struct Server {
    up_ms: u64,
    ends_ms: Vec<u64>,
    draining_ms: Option<u64>,
}

/// Sessions refused, sessions that came, and the most servers there were.
fn crowd(rule: ScalePolicy, seed: u64) -> (u64, u64, usize) {
    let spec = ScalerSpec {
        policy: rule,
        min: 4,
        max: 100,
        sessions_per_server: PER_SERVER as u32,
        q_short: 1.0,
        poll_ms: 2_000,
        ..ScalerSpec::default()
    };
    let policy = Policy::new(&spec, 5_000);
    let mut draws = Draws::from_u64(seed);
    let mut servers: Vec<Server> = (0..4).map(|_| Server { up_ms: 0, ends_ms: vec![], draining_ms: None }).collect();
    let (mut refused, mut came, mut ended, mut most) = (0, 0_u64, 0_u64, 0);
    let mut state = PlanState::default();
    let steady_per_s = 0.65 * 4.0 * PER_SERVER as f64 / SESSION_S;
    let mut next_arrival_s = 0.0;
    for now_ms in (0..2_400_000).step_by(250) {
        let now_s = now_ms as f64 / 1_000.0;
        for server in &mut servers {
            let before = server.ends_ms.len();
            server.ends_ms.retain(|end| *end > now_ms);
            ended += (before - server.ends_ms.len()) as u64;
        }
        while next_arrival_s <= now_s {
            let growth = ((next_arrival_s - 600.0) / 600.0).clamp(0.0, 1.0) * 5.0 + 1.0;
            next_arrival_s += -(1.0 - draws.unit()).ln() / (steady_per_s * growth);
            came += 1;
            let up = servers.iter_mut().filter(|s| s.up_ms <= now_ms && s.draining_ms.is_none());
            match up.min_by_key(|s| s.ends_ms.len()).filter(|s| s.ends_ms.len() < PER_SERVER) {
                Some(server) => server.ends_ms.push(now_ms + (-(1.0 - draws.unit()).ln() * SESSION_S * 1_000.0) as u64),
                None => refused += 1,
            }
        }
        if now_ms % spec.poll_ms != 0 {
            continue;
        }
        let observe = |(i, s): (usize, &Server)| {
            let busy = (BUSY_FULL * s.ends_ms.len() as f64 / PER_SERVER as f64).min(1.0);
            ServerLoad {
                id: Id::new(&format!("b{i}")).unwrap(),
                state: if s.draining_ms.is_some() { ServerState::Draining } else { ServerState::Live },
                managed: true,
                // An M/M/4-like queue: short until the processors are nearly all busy.
                queue: CORES * busy.powi(4) / (1.0 - busy).max(0.02) / CORES,
                cores: CORES,
                busy,
                sessions: s.ends_ms.len() as u32,
                limit: Some(PER_SERVER as u32),
                youngest_ms: Some(1_000),
                zone: None,
                role: false,
                draining_ms: s.draining_ms.map(|at| now_ms - at),
                ttl_clear: true,
            }
        };
        let up: Vec<ServerLoad> = servers.iter().enumerate().filter(|(_, s)| s.up_ms <= now_ms).map(observe).collect();
        let observation = Observation {
            pending: servers.iter().filter(|s| s.up_ms > now_ms).count() as u32,
            servers: up,
            arrivals: came,
            completions: ended,
            boot_ms_p95: BOOT_MS,
            heartbeat_ms: 1_000,
            ..Observation::default()
        };
        let now = Now { mono: Mono(now_ms), wall: Wall(now_ms) };
        let (next, wanted, _) = plan(&policy, &state, &observation, now);
        state = next;
        let wanted = check(&wanted, &policy.limits, &observation).unwrap();
        let at = |id: &Id| id.as_str()[1..].parse::<usize>().unwrap();
        wanted.drain.iter().for_each(|id| servers[at(id)].draining_ms = Some(now_ms));
        wanted.undrain.iter().for_each(|id| servers[at(id)].draining_ms = None);
        // A stopped server keeps its number, out of service for ever.
        wanted.terminate.iter().for_each(|id| servers[at(id)].up_ms = u64::MAX - 1);
        servers.extend((0..wanted.launch).map(|_| Server { up_ms: now_ms + BOOT_MS, ends_ms: vec![], draining_ms: None }));
        most = most.max(observation.servers.len());
    }
    (refused, came, most)
}

#[test]
fn the_sizing_loses_nobody_where_the_papers_rule_does() {
    let mut worst = 0.0_f64;
    for seed in 1..=3 {
        let [paper, ours] = [ScalePolicy::Paper, ScalePolicy::Sizing].map(|rule| {
            let (refused, came, most) = crowd(rule, seed);
            let share = 100.0 * refused as f64 / came as f64;
            println!("seed {seed} {}: {refused} of {came} refused ({share:.2} %), at most {most} servers", rule.label());
            share
        });
        assert!(paper > 3.0);
        worst = worst.max(ours);
    }
    assert!(worst < 0.5);
}

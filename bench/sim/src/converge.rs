//! After the last fault the farm must become what is planned: nobody lost, nobody forgotten, nobody waiting.

use crate::setup::POOL_NAME;
use crate::watch::Rule;
use crate::world::{Ev, World};
use farm_shared::id::Id;
use redirector_core::config::ScalePolicy;
use std::collections::BTreeSet;

/// The farm has so long for it, in milliseconds: boots that fail, drains to their deadline, and retries that were far apart.
const PATIENCE_MS: u64 = 5_400_000;
const LOOK_MS: u64 = 10_000;
/// Questions to each name server: of twelve members each is named in a sixth of the answers.
const QUESTIONS: usize = 80;

impl World {
    pub(crate) fn look_for_convergence(&mut self) {
        match self.missing() {
            None => {
                self.totals.converged_ms = self.now_ms - self.setup.faults_ms.min(self.now_ms);
                self.ended = true;
            }
            Some(what) if self.now_ms > self.setup.faults_ms + PATIENCE_MS => {
                self.watch.break_rule(self.now_ms, Rule::NotConverged, || what);
            }
            Some(what) => {
                self.note(|| format!("not yet: {what}"));
                self.queue.put(self.now_ms + LOOK_MS, Ev::Converged);
            }
        }
    }

    /// What is missing to a farm as planned.
    fn missing(&mut self) -> Option<String> {
        let now_ms = self.now_ms;
        let now = self.door.now(now_ms);
        let Some(control) = &self.door.control else { return Some("the redirector does not run".into()) };
        let exec = control.save().exec;
        if !exec.intents.is_empty() {
            return Some(format!("open intents: {:?}", exec.intents.keys().collect::<Vec<_>>()));
        }
        let ours: BTreeSet<&str> = exec.running().map(|i| i.instance_id.as_str()).collect();
        let theirs: BTreeSet<&str> = self.cloud.alive(now_ms).map(|(_, m)| m.instance_id.as_str()).collect();
        if ours != theirs {
            return Some(format!("we know {ours:?}, the cloud has {theirs:?}"));
        }
        let status = control.status(now);
        let scaler = &status.scaler;
        let (live, desired) = (scaler.live, scaler.desired);
        // What is too much may stay, and come and go, for as long as the policy likes.
        if scaler.frozen.is_some() || live < desired {
            let (pending, draining, frozen) = (scaler.pending, scaler.draining, &scaler.frozen);
            return Some(format!("{live} live of {desired}, {pending} pending, {draining} draining, frozen: {frozen:?}"));
        }
        let taking: BTreeSet<&str> = status.servers.iter().filter(|s| s.takes_new).map(|s| s.id.as_str()).collect();
        let healthy: BTreeSet<Id> = self
            .cloud
            .alive(now_ms)
            .filter_map(|(at, _)| self.hosts.get(at))
            .filter(|h| h.answers(now_ms) && h.agent.as_ref().is_some_and(|agent| agent.drain_by().is_empty()))
            .map(|h| h.id.clone())
            .collect();
        if healthy.iter().map(Id::as_str).collect::<BTreeSet<_>>() != taking {
            return Some(format!("healthy are {healthy:?}, sessions go to {taking:?}"));
        }
        let waiting = self.crowd.waiting();
        // The paper's rule looks at queues, not at how many sessions a server is willing to hold.
        let room = f64::from(self.setup.max * self.setup.per_server) * 0.7;
        let due =
            self.setup.policy == ScalePolicy::Sizing && self.setup.sessions_peak * self.crowd.steady.unwrap_or(0.0) < room;
        if waiting > 0 && due {
            let servers: Vec<String> = status
                .servers
                .iter()
                .map(|s| {
                    format!(
                        "{} {}/{:?} {} {} {:?} q{} s{:.3}",
                        s.id, s.sessions, s.limit, s.takes_new, s.standing, s.why_not, s.queue, s.share
                    )
                })
                .collect();
            return Some(format!("{waiting} clients wait, the servers hold {}", servers.join(", ")));
        }
        for ns in 0..self.names.len() {
            let mut named = BTreeSet::new();
            for _ in 0..QUESTIONS {
                let answer = self.ask(ns, POOL_NAME, false).unwrap_or_default();
                named.extend(
                    answer.addrs.iter().filter_map(|a| self.hosts.get(crate::host::number_of(*a))).map(|h| h.id.clone()),
                );
            }
            if named != healthy {
                return Some(format!("healthy are {healthy:?}, ns{ns} names {named:?}"));
            }
        }
        None
    }
}

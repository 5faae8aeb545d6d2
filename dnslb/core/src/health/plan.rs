//! When each check is due. The first ones are spread over a whole interval and each later one is jittered by a tenth, so that
//! 10,000 checks do not fire together.
//!
//! A check that is still running is never started a second time.

use super::CheckSpec;
use farm_shared::draw::Draws;
use farm_shared::time::Mono;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;
use std::sync::Arc;

const JITTER_SHARE: f64 = 0.1;

/// Names one check of one member until the next reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(pub u64);

/// One check to run now.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckJob {
    /// Comes back with the outcome.
    pub id: CheckId,
    /// Where to connect; the port is in `spec`.
    pub addr: IpAddr,
    /// What to do.
    pub spec: Arc<CheckSpec>,
}

#[derive(Clone, Debug)]
struct Entry {
    addr: IpAddr,
    spec: Arc<CheckSpec>,
    due: Mono,
    running_until: Option<Mono>,
}

/// All checks of a server.
#[derive(Clone, Debug)]
pub struct CheckPlan {
    entries: BTreeMap<CheckId, Entry>,
    due: BinaryHeap<Reverse<(Mono, CheckId)>>,
    next: u64,
    draws: Draws,
}

impl CheckPlan {
    /// A plan without checks; `draws` jitters them.
    pub fn new(draws: Draws) -> Self {
        Self { entries: BTreeMap::new(), due: BinaryHeap::new(), next: 0, draws }
    }

    /// Adds a check; the first is due within one interval.
    pub fn add(&mut self, now: Mono, addr: IpAddr, spec: Arc<CheckSpec>) -> CheckId {
        let id = CheckId(self.next);
        self.next += 1;
        let due = now.plus_ms((self.draws.unit() * spec.interval_ms as f64) as u64);
        self.due.push(Reverse((due, id)));
        self.entries.insert(id, Entry { addr, spec, due, running_until: None });
        id
    }

    /// Ends a check. An outcome that is under way is not expected any more.
    pub fn remove(&mut self, id: CheckId) {
        self.entries.remove(&id);
    }

    /// The checks to start now.
    pub fn due(&mut self, now: Mono) -> Vec<CheckJob> {
        let mut jobs = Vec::new();
        while self.due.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            let Some(Reverse((_, id))) = self.due.pop() else { break };
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.due = now.plus_ms(self.draws.jitter_ms(entry.spec.interval_ms, JITTER_SHARE).max(1));
            self.due.push(Reverse((entry.due, id)));
            if entry.running_until.is_some_and(|until| until > now) {
                continue;
            }
            // An outcome that never comes (its task died) must not end the checks for ever.
            entry.running_until = Some(now.plus_ms(entry.spec.timeout_ms.saturating_mul(2)));
            jobs.push(CheckJob { id, addr: entry.addr, spec: Arc::clone(&entry.spec) });
        }
        jobs
    }

    /// An outcome came back. Whether it is of a check that still exists.
    pub fn finished(&mut self, id: CheckId) -> bool {
        self.entries.get_mut(&id).map(|entry| entry.running_until = None).is_some()
    }

    /// When the next check of `id` starts; [`Mono::NEVER`] if there is none.
    pub fn next_at(&self, id: CheckId) -> Mono {
        self.entries.get(&id).map_or(Mono::NEVER, |entry| entry.due)
    }

    /// Number of checks.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is checked.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::CheckKind;
    use std::net::Ipv4Addr;

    fn spec(interval_ms: u64) -> Arc<CheckSpec> {
        Arc::new(CheckSpec {
            kind: CheckKind::Tcp,
            port: 80,
            path: "/".into(),
            host: None,
            expect_status: None,
            interval_ms,
            timeout_ms: interval_ms / 2,
            rise: 2,
            fall: 3,
            ..CheckSpec::default()
        })
    }

    #[test]
    fn ten_thousand_checks_do_not_fire_together() {
        let mut plan = CheckPlan::new(Draws::from_u64(1));
        for i in 0..10_000 {
            plan.add(Mono(0), Ipv4Addr::from_bits(0x0a00_0000 + i).into(), spec(10_000));
        }
        for step in 1..=600 {
            let jobs = plan.due(Mono(step * 100));
            assert!(jobs.len() <= 170, "{} at once, 100 expected", jobs.len());
            for job in jobs {
                assert!(plan.finished(job.id));
            }
        }
    }

    #[test]
    fn a_running_check_is_not_started_again() {
        let mut plan = CheckPlan::new(Draws::from_u64(1));
        let id = plan.add(Mono(0), Ipv4Addr::LOCALHOST.into(), spec(1_000));
        assert_eq!(plan.due(Mono(1_000)).len(), 1);
        assert_eq!(plan.due(Mono(1_500)).len(), 0);
        plan.finished(id);
        assert_eq!(plan.due(Mono(2_200)).len(), 1);
        assert_eq!(plan.due(Mono(3_400)).len(), 1, "its outcome was lost");
        plan.remove(id);
        assert_eq!(plan.due(Mono(9_000)).len(), 0);
        assert!(!plan.finished(id));
    }
}

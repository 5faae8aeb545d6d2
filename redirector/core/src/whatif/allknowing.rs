//! What somebody would do who knew every session beforehand: the measure of all policies.
//!
//! Two answers. The *bound* is a number of server-hours that no schedule without waiting can be below: as many servers as the sessions
//! of each moment fill, each launched one boot before it is needed, and kept through a pause that is shorter than a boot. The *schedule*
//! is one that can really be had: sessions stay on the server where they began, and are packed by when they end. The least
//! possible lies between the two (to find it is NP-hard). Neither may depend on a policy.

use super::demand::Demand;
use super::scenario::Scenario;
use std::collections::{BTreeSet, BinaryHeap};

/// The two answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AllKnowing {
    /// Server-hours, from launch to termination, that nobody without waiting is below.
    pub bound_server_h: f64,
    /// Server-hours of the schedule.
    pub schedule_server_h: f64,
    /// Servers of the schedule at a time, booting ones included: `(time in milliseconds, servers)` at each change.
    pub servers: Vec<(u64, u32)>,
    /// Sessions that not even it could place without waiting: they came before a boot was over.
    pub unavoidable: u64,
}

/// What is known of the farm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// Sessions that a server holds.
    pub per_server: u32,
    /// From a launch to the first session, in milliseconds.
    pub boot_ms: u64,
    /// Servers at the start.
    pub servers: u32,
    /// Fewest servers.
    pub min: u32,
}

impl Scenario {
    /// Both answers for a run of this scenario. Of boot times that vary, somebody knows the mean; faults are left out, so that the
    /// bound stays one.
    pub fn all_knowing(&self, demand: &Demand) -> AllKnowing {
        let (per_server, boot_ms) = (self.sessions_per_server, (self.boot.mean_s() * 1_000.0) as u64);
        all_knowing(demand, Means { per_server, boot_ms, servers: self.servers, min: self.min })
    }
}

/// Both answers for a demand.
pub fn all_knowing(demand: &Demand, means: Means) -> AllKnowing {
    let per_server = means.per_server.max(1);
    let mut spans = schedule(demand, Means { per_server, ..means });
    let unavoidable = spans.unavoidable;
    let bound_ms = bound(demand, Means { per_server, ..means });
    let schedule_ms: u64 =
        spans.list.iter().map(|(from, to)| to - from).sum::<u64>() + floor_ms(&spans.list, means.min, demand);
    let mut changes: Vec<(u64, i64)> = Vec::new();
    for (from, to) in spans.list.drain(..) {
        changes.extend([(from, 1), (to, -1)]);
    }
    changes.sort_unstable();
    let mut servers: Vec<(u64, u32)> = Vec::new();
    let mut now = 0_i64;
    for (at, by) in changes {
        now += by;
        let count = (now.max(0) as u32).max(means.min);
        match servers.last_mut() {
            Some((last, n)) if *last == at => *n = count,
            _ => servers.push((at, count)),
        }
    }
    let hours = |ms: u64| ms as f64 / 3_600_000.0;
    AllKnowing { bound_server_h: hours(bound_ms), schedule_server_h: hours(schedule_ms), servers, unavoidable }
}

/// Level k is the k-th server: it is needed while more than (k-1)*c sessions run.
fn bound(demand: &Demand, means: Means) -> u64 {
    let Means { per_server, boot_ms, servers, min } = means;
    let end = demand.duration_ms;
    let level = |sessions: u32| sessions.div_ceil(per_server).max(min) as usize;
    // Since when a level is needed, and until when it last was.
    let mut open: Vec<u64> = Vec::new();
    let mut idle_since: Vec<Option<u64>> = Vec::new();
    let (mut total, mut up) = (0, 0);
    let changes = demand.concurrency();
    for (at, sessions) in [(0, 0)].into_iter().chain(changes).chain([(end, 0)]) {
        let wanted = if at >= end { 0 } else { level(sessions) };
        while up < wanted {
            if idle_since.len() == up {
                // The farm's first servers are there at the start, used or not.
                idle_since.push((up < servers as usize).then_some(0));
                open.push(0);
            }
            let pause = idle_since.get(up).copied().flatten().map(|since| at.saturating_sub(since));
            // Kept through a short pause, or launched one boot before (never before the start).
            total += pause.map_or(boot_ms, |p| p.min(boot_ms)).min(at);
            if let Some(slot) = open.get_mut(up) {
                *slot = at;
            }
            up += 1;
        }
        while up > wanted {
            up -= 1;
            total += at.min(end) - open.get(up).copied().unwrap_or(at).min(end);
            if let Some(idle) = idle_since.get_mut(up) {
                *idle = Some(at);
            }
        }
    }
    total
}

struct Spans {
    /// From launch to end, of each server.
    list: Vec<(u64, u64)>,
    unavoidable: u64,
}

struct Packed {
    from: u64,
    /// When the last of its sessions ends, as far as they are known.
    last: u64,
    used: u32,
}

/// Best fit by end: a session goes where it does not make a server stay longer, or else where it does so least.
fn schedule(demand: &Demand, means: Means) -> Spans {
    let Means { per_server, boot_ms, servers, .. } = means;
    let mut all: Vec<Packed> = (0..servers).map(|_| Packed { from: 0, last: 0, used: 0 }).collect();
    // Servers with room, by when they end.
    let mut room: BTreeSet<(u64, usize)> = (0..all.len()).map(|n| (0, n)).collect();
    // Servers that ended, to be kept on if one is needed within a boot.
    let mut ended: BTreeSet<(u64, usize)> = BTreeSet::new();
    let mut ends: BinaryHeap<std::cmp::Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut unavoidable = 0;
    for session in &demand.sessions {
        let (now, end) = (session.at_ms, session.at_ms.saturating_add(session.length_ms));
        while let Some(std::cmp::Reverse((at, n))) = ends.peek().copied().filter(|e| e.0.0 <= now) {
            ends.pop();
            let Some(server) = all.get_mut(n) else { continue };
            server.used -= 1;
            if server.used == 0 {
                room.remove(&(server.last, n));
                ended.insert((at, n));
            } else {
                room.insert((server.last, n));
            }
        }
        let fit = room.range((end, 0)..).next().or_else(|| room.iter().next_back()).copied();
        // Keeping a server that just ended costs its pause, a launch costs a boot.
        let kept = ended.iter().next_back().copied().filter(|(at, _)| now - at <= boot_ms);
        let (last, n) = match (fit, kept) {
            (Some(fit), _) => fit,
            (None, Some((at, n))) => {
                ended.remove(&(at, n));
                (at, n)
            }
            (None, None) => {
                unavoidable += u64::from(now < boot_ms);
                all.push(Packed { from: now.saturating_sub(boot_ms), last: now, used: 0 });
                (now, all.len() - 1)
            }
        };
        room.remove(&(last, n));
        let Some(server) = all.get_mut(n) else { continue };
        server.last = server.last.max(end);
        server.used += 1;
        if server.used < per_server {
            room.insert((server.last, n));
        }
        ends.push(std::cmp::Reverse((end, n)));
    }
    let span = |s: &Packed| (s.from.min(demand.duration_ms), s.last.min(demand.duration_ms));
    Spans { list: all.iter().map(span).collect(), unavoidable }
}

/// What the fewest servers cost beyond those that are used.
fn floor_ms(spans: &[(u64, u64)], min: u32, demand: &Demand) -> u64 {
    let mut changes: Vec<(u64, i64)> = spans.iter().flat_map(|(from, to)| [(*from, 1), (*to, -1)]).collect();
    changes.push((demand.duration_ms, 0));
    changes.sort_unstable();
    let (mut missing, mut before, mut now) = (0, 0, 0_i64);
    for (at, by) in changes {
        missing += (at - before) * (i64::from(min) - now).max(0) as u64;
        (before, now) = (at, now + by);
    }
    missing
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::demand::Session;
    use super::*;
    use proptest::prelude::*;

    fn demand(duration_ms: u64, sessions: &[(u64, u64)]) -> Demand {
        let sessions = sessions.iter().map(|(at_ms, length_ms)| Session { at_ms: *at_ms, length_ms: *length_ms }).collect();
        Demand { duration_ms, running: 0, sessions }
    }

    fn ms(hours: f64) -> u64 {
        (hours * 3_600_000.0).round() as u64
    }

    #[test]
    fn small_cases_by_hand() {
        let means = Means { per_server: 2, boot_ms: 10, servers: 0, min: 0 };
        // Sessions, and the milliseconds of the bound and of the schedule.
        type Case = (&'static [(u64, u64)], u64, u64);
        let cases: [Case; 6] = [
            (&[], 0, 0),
            (&[(100, 50)], 60, 60),
            (&[(100, 50), (100, 50)], 60, 60),
            (&[(100, 50), (100, 50), (120, 20)], 60 + 30, 60 + 30),
            // A pause of 5 is shorter than a boot, one of 50 is not.
            (&[(100, 50), (155, 50)], 115, 115),
            (&[(100, 50), (200, 50)], 120, 120),
        ];
        for (sessions, bound, schedule) in cases {
            let known = all_knowing(&demand(1_000, sessions), means);
            assert_eq!((ms(known.bound_server_h), ms(known.schedule_server_h)), (bound, schedule), "{sessions:?}");
        }
        let early = all_knowing(&demand(1_000, &[(5, 20)]), means);
        assert_eq!((early.unavoidable, ms(early.bound_server_h)), (1, 25));
        let least = all_knowing(&demand(1_000, &[(100, 50)]), Means { servers: 1, min: 1, ..means });
        assert_eq!((ms(least.bound_server_h), ms(least.schedule_server_h)), (1_000, 1_000));
    }

    #[test]
    fn a_crowd_is_packed_well() {
        let scenario = Scenario::builtin("ramp").unwrap();
        let known = scenario.all_knowing(&scenario.demand(1));
        assert_eq!(known.unavoidable, 0);
        let waste = known.schedule_server_h / known.bound_server_h;
        assert!((1.0..1.25).contains(&waste), "{known:?}");
        let most = known.servers.iter().map(|(_, n)| *n).max().unwrap();
        assert!((24..32).contains(&most), "{most}");
    }

    proptest! {
        #[test]
        fn the_schedule_is_never_below_the_bound(
            mut sessions in proptest::collection::vec((0_u64..500, 1_u64..200), 0..60),
            per_server in 1_u32..5, boot_ms in 0_u64..80, servers in 0_u32..4, min in 0_u32..3,
        ) {
            sessions.sort_unstable();
            let known = all_knowing(&demand(600, &sessions), Means { per_server, boot_ms, servers: servers.max(min), min });
            prop_assert!(known.bound_server_h <= known.schedule_server_h + 1e-9, "{:?}", known);
        }
    }
}

//! From a decision journal to a demand: who came, stayed and left, as far as the observations tell.
//!
//! Between two observations arrivals and ends are spread evenly, and an end is given to any session that runs: numbers of sessions are
//! then those of the journal at each observation, though not which session was which. It never takes a line on trust.

use super::demand::{Demand, Session};
use super::scenario::{BootTime, Scenario};
use crate::scale::{Entry, Observation, Record, Report, ServerState};
use farm_shared::draw::Draws;

/// Problems that are told one by one.
const PROBLEMS_MAX: usize = 20;
/// Sessions that a single interval may add: beyond that a counter is broken.
const ARRIVALS_MAX: u64 = 5_000_000;
const SESSIONS_MAX: usize = 20_000_000;
/// Beyond this an interval is a gap: nobody watched. Milliseconds.
const GAP_MS: u64 = 600_000;
/// Beyond this a clock was set: nothing is known of the time between. Milliseconds.
const JUMP_MS: u64 = 7 * 86_400_000;
/// No boot takes longer. Milliseconds.
const BOOT_MS_MAX: u64 = 86_400_000;

/// A journal, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// The farm as the journal shows it, to be simulated.
    pub scenario: Scenario,
    /// Its sessions.
    pub demand: Demand,
    /// What was done: server-hours, launches, drains, sessions lost.
    pub actual: Actual,
    /// Servers at each observation, in seconds from the first: those that the provider ran, and launches under way.
    pub servers: Vec<(f64, f64)>,
    /// Milliseconds since the epoch at the first observation.
    pub start_wall_ms: u64,
    /// Lines that could not be used, with their numbers: at most twenty of them.
    pub problems: Vec<(usize, String)>,
    /// How many there were.
    pub problem_count: usize,
}

/// What was done, as the journal says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Actual {
    /// Server-hours.
    pub server_h: f64,
    /// Servers launched.
    pub launches: u32,
    /// Servers drained.
    pub drains: u32,
    /// Sessions that waited, at the most at one time.
    pub waiting_max: u32,
    /// Sessions lost on servers that were stopped at their drain deadline.
    pub lost: u64,
    /// Observations.
    pub observations: usize,
}

/// Reads the lines of a journal, oldest first.
///
/// # Errors
/// If fewer than two observations are in it: there is nothing to replay.
pub fn read_journal<'a>(lines: impl Iterator<Item = &'a str>, seed: u64) -> Result<Replay, String> {
    let (mut problems, mut problem_count) = (Vec::new(), 0);
    let mut note = |line: usize, why: String| {
        problem_count += 1;
        if problems.len() < PROBLEMS_MAX {
            problems.push((line, why));
        }
    };
    let mut seen: Vec<Observation> = Vec::new();
    let mut actual = Actual::default();
    for (n, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let record: Record = match serde_json::from_str(line) {
            Ok(record) => record,
            Err(error) => {
                note(n + 1, error.to_string());
                continue;
            }
        };
        let Entry::Plan { observation, plan, report, .. } = record.entry else { continue };
        if seen.last().is_some_and(|last| observation.wall_ms <= last.wall_ms) {
            note(n + 1, "an observation that is not later than the one before it".into());
            continue;
        }
        if seen.last().is_some_and(|last| observation.wall_ms - last.wall_ms > JUMP_MS) {
            note(n + 1, "a week or more after the one before it: what was before is left out".into());
            seen.clear();
            actual = Actual::default();
        }
        actual.launches = actual.launches.saturating_add(plan.launch);
        actual.drains = actual.drains.saturating_add(plan.drain.len() as u32);
        actual.lost = actual.lost.saturating_add(lost(&report));
        seen.push(*observation);
    }
    let [first, .., last] = seen.as_slice() else {
        let bad = problems.first().map_or_else(String::new, |(line, why)| format!("; line {line}: {why}"));
        return Err(format!("{} plans in it: at least two are needed to replay{bad}", seen.len()));
    };
    let start_wall_ms = first.wall_ms;
    let duration_ms = (last.wall_ms - start_wall_ms).max(1);
    actual.observations = seen.len();
    actual.waiting_max = seen.iter().map(|o| o.waiting).max().unwrap_or(0);
    let there = |o: &Observation| {
        o.servers.iter().filter(|s| s.managed || s.state == ServerState::Live).count() as f64 + f64::from(o.pending)
    };
    let servers: Vec<(f64, f64)> = seen.iter().map(|o| ((o.wall_ms - start_wall_ms) as f64 / 1e3, there(o))).collect();
    actual.server_h = servers.windows(2).map(|w| if let [a, b] = w { a.1 * (b.0 - a.0) / 3_600.0 } else { 0.0 }).sum();
    let (demand, session_s) = demand(&seen, duration_ms, seed, &mut |why| note(0, why));
    let live = || first.servers.iter().filter(|s| s.state == ServerState::Live);
    let limits: Vec<u32> = seen.iter().flat_map(|o| &o.servers).filter_map(|s| s.limit).filter(|l| *l > 0).collect();
    let mean = limits.iter().map(|l| u64::from(*l)).sum::<u64>().checked_div(limits.len() as u64);
    let scenario = Scenario {
        name: "journal".into(),
        about: format!("{} observations over {:.1} h", seen.len(), duration_ms as f64 / 3.6e6),
        duration_s: duration_ms / 1_000,
        rate_per_s: demand.sessions.len() as f64 * 1e3 / duration_ms as f64,
        session_s,
        sessions_per_server: mean.map_or(0, |m| m as u32),
        cores: live().map(|s| s.cores).find(|c| c.is_finite() && *c > 0.0).unwrap_or(1.0),
        boot: BootTime::Fixed(last.boot_ms_p95.min(BOOT_MS_MAX) as f64 / 1e3),
        servers: (live().count() as u32).max(1),
        zones: 1,
        ..Scenario::default()
    };
    Ok(Replay { scenario, demand, actual, servers, start_wall_ms, problems, problem_count })
}

fn lost(report: &Report) -> u64 {
    u64::from(report.lost)
}

fn running(observation: &Observation) -> u64 {
    let there = observation.servers.iter().filter(|s| s.state != ServerState::Silent);
    there.map(|s| u64::from(s.sessions)).sum::<u64>() + u64::from(observation.waiting)
}

/// Sessions and their mean length in seconds.
fn demand(seen: &[Observation], duration_ms: u64, seed: u64, note: &mut dyn FnMut(String)) -> (Demand, f64) {
    let mut draws = Draws::from_u64(seed).child("replay", 0);
    let Some(first) = seen.first() else { return (Demand::default(), 0.0) };
    let at = |o: &Observation| o.wall_ms - first.wall_ms;
    let mut sessions: Vec<Session> = vec![Session::default(); running(first).min(ARRIVALS_MAX) as usize];
    let began = sessions.len();
    let mut open: Vec<usize> = (0..began).collect();
    let mut area_ms = 0.0;
    for pair in seen.windows(2) {
        let [before, after] = pair else { continue };
        let (from, to) = (at(before), at(after));
        if to - from > GAP_MS {
            note(format!("nobody watched for {} s", (to - from) / 1_000));
        }
        area_ms += open.len() as f64 * (to - from) as f64;
        // Counters begin anew when a redirector does. Those who wait have come already.
        let all_came = |o: &Observation| o.arrivals.saturating_add(u64::from(o.waiting));
        let came = all_came(after).saturating_sub(all_came(before));
        let came = came.min(ARRIVALS_MAX).min((SESSIONS_MAX - sessions.len()) as u64);
        let target = running(after).min(ARRIVALS_MAX);
        let left = (open.len() as u64 + came).saturating_sub(target);
        let missing = target.saturating_sub(open.len() as u64 + came).min((SESSIONS_MAX - sessions.len()) as u64 - came);
        let spread = |n: u64, of: u64| from + ((to - from) as f64 * (n as f64 + 0.5) / of.max(1) as f64) as u64;
        let all = came + missing;
        for n in 0..all {
            open.push(sessions.len());
            sessions.push(Session { at_ms: spread(n, all), length_ms: 0 });
        }
        for n in 0..left.min(open.len() as u64) {
            let ended = open.swap_remove(draws.below(open.len()));
            if let Some(session) = sessions.get_mut(ended) {
                session.length_ms = spread(n, left).saturating_sub(session.at_ms).max(1);
            }
        }
    }
    for ended in open {
        if let Some(session) = sessions.get_mut(ended) {
            session.length_ms = duration_ms.saturating_sub(session.at_ms).max(1);
        }
    }
    sessions.sort_by_key(|s| s.at_ms);
    let session_s = area_ms / 1e3 / (sessions.len().max(1) as f64);
    (Demand { duration_ms, running: began, sessions }, session_s.max(1.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::scale::{Plan, ServerLoad};
    use farm_shared::id::Id;
    use proptest::prelude::*;

    fn line(seq: u64, wall_ms: u64, sessions: u32, arrivals: u64, launch: u32) -> String {
        let server = ServerLoad {
            id: Id::new("b1").unwrap(),
            state: ServerState::Live,
            managed: true,
            queue: 0.0,
            cores: 2.0,
            busy: 0.5,
            sessions,
            limit: Some(50),
            youngest_ms: None,
            zone: None,
            role: false,
            draining_ms: None,
            ttl_clear: false,
        };
        let observation =
            Observation { wall_ms, servers: vec![server], arrivals, boot_ms_p95: 9_000, ..Observation::default() };
        let entry = Entry::Plan {
            observation: Box::new(observation),
            plan: Plan { launch, ..Plan::default() },
            report: Report::default(),
            violations: vec![],
            dry_run: false,
        };
        serde_json::to_string(&Record { seq, wall_ms, entry }).unwrap()
    }

    /// A machine that woke up in 1970, counters that overflow, a boot without end.
    #[test]
    fn absurd_numbers_neither_hang_nor_panic() {
        let day = 86_400_000;
        let odd = |at| {
            let line = line(1, at, 3, u64::MAX, 0);
            line.replace("\"boot_ms_p95\":9000", &format!("\"boot_ms_p95\":{}", u64::MAX))
                .replace("\"waiting\":0", "\"waiting\":4294967295")
                .replace("\"pending\":0", "\"pending\":4294967295")
        };
        let lines = [line(1, 0, 1, 0, 7), line(2, 20_000 * day, 1, 0, 1), odd(20_000 * day + 9), odd(20_000 * day + 19)];
        assert!(lines[2].contains(&u64::MAX.to_string()) && lines[2].matches("4294967295").count() == 2, "{}", lines[2]);
        let replay = read_journal(lines.iter().map(String::as_str), 1).unwrap();
        assert_eq!((replay.demand.duration_ms, replay.problems[0].0, replay.actual.launches), (19, 2, 1));
        assert_eq!(replay.scenario.boot, BootTime::Fixed(86_400.0));
    }

    #[test]
    fn a_journal_becomes_its_demand() {
        let lines = [line(1, 1_000, 10, 0, 1), line(2, 11_000, 30, 40, 0), "{\"torn".into(), line(3, 21_000, 0, 40, 0)];
        let replay = read_journal(lines.iter().map(String::as_str), 1).unwrap();
        assert_eq!((replay.problem_count, replay.problems[0].0), (1, 3));
        assert_eq!((replay.demand.running, replay.demand.sessions.len(), replay.demand.duration_ms), (10, 50, 20_000));
        let at = |ms: u64| replay.demand.concurrency().into_iter().rfind(|(at, _)| *at <= ms).unwrap().1;
        assert_eq!([at(0), at(10_000), at(19_999)], [10, 30, 0]);
        assert_eq!((replay.scenario.sessions_per_server, replay.scenario.boot), (50, BootTime::Fixed(9.0)));
        assert_eq!((replay.actual.launches, replay.actual.observations), (1, 3));
        assert!((replay.actual.server_h - 20.0 / 3_600.0).abs() < 1e-9);
    }

    #[test]
    fn what_cannot_be_replayed_says_why() {
        for text in ["", "x\ny", "{}"] {
            assert!(read_journal(text.lines(), 1).unwrap_err().contains("at least two"), "{text}");
        }
        let back = [line(1, 5_000, 1, 0, 0), line(2, 5_000, 1, 0, 0), line(3, 9_000, 1, 0, 0)];
        assert_eq!(read_journal(back.iter().map(String::as_str), 1).unwrap().problems[0].0, 2);
    }

    proptest! {
        #[test]
        fn no_journal_panics(steps in proptest::collection::vec((0_u64..2_000_000, 0_u32..300, 0_u64..600), 0..20), junk in "\\PC{0,40}") {
            let mut wall_ms = 0;
            let mut lines = vec![junk];
            for (n, (pause, sessions, arrivals)) in steps.into_iter().enumerate() {
                wall_ms += pause;
                lines.push(line(n as u64, wall_ms, sessions, arrivals, 0));
            }
            if let Ok(replay) = read_journal(lines.iter().map(String::as_str), 1) {
                prop_assert!(replay.demand.sessions.windows(2).all(|w| w[0].at_ms <= w[1].at_ms));
                prop_assert!(replay.demand.sessions.iter().all(|s| s.at_ms + s.length_ms <= replay.demand.duration_ms + 1));
            }
        }
    }
}

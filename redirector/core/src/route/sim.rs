//! A small discrete-event simulation: does the weighted rule beat the paper's, and that a random one, as DESIGN 4.3 measured?
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::{Candidate, FarmDispatched, Picker, RoutePolicy, Table};
use farm_shared::draw::Draws;
use std::collections::VecDeque;

const SERVERS: usize = 20;
const LOAD: f64 = 0.9;

struct Counts(Vec<u32>);

impl FarmDispatched for Counts {
    fn total(&self, slot: u32) -> u32 {
        self.0[slot as usize]
    }
}

/// First come, first served, services exponential with mean 1; heartbeats every `period_s`, phases spread evenly. The 95th and
/// the 99th percentile of the time in the system.
fn simulate(policy: RoutePolicy, period_s: f64, sessions: usize) -> (f64, f64) {
    let root = Draws::from_u64(11);
    let (mut gaps, mut services) = (root.child("gap", 0), root.child("service", 0));
    let (mut picker, mut generation) = (Picker::new(root.child("pick", 0)), 0);
    let exponential = |draws: &mut Draws| -(1.0 - draws.unit()).ln();
    let mut departures: Vec<VecDeque<f64>> = vec![VecDeque::new(); SERVERS];
    let mut reports: Vec<(f64, f64, u32)> = vec![(0.0, 0.0, 0); SERVERS];
    let mut next: Vec<f64> = (0..SERVERS).map(|i| period_s * i as f64 / SERVERS as f64).collect();
    let mut counts = Counts(vec![0; SERVERS]);
    let (mut now, mut times) = (0.0, Vec::with_capacity(sessions));
    let mut table = Table::default();
    for _ in 0..sessions {
        now += exponential(&mut gaps) / (LOAD * SERVERS as f64);
        let mut heard = false;
        for i in 0..SERVERS {
            while next[i] <= now {
                while departures[i].front().is_some_and(|end| *end <= next[i]) {
                    departures[i].pop_front();
                }
                reports[i] = (next[i], departures[i].len() as f64, counts.0[i]);
                next[i] += period_s;
                heard = true;
            }
        }
        if heard {
            let candidates: Vec<_> = reports
                .iter()
                .enumerate()
                .map(|(i, (at, queue, base))| Candidate {
                    server: i as u32,
                    slot: i as u32,
                    dispatch_base: *base,
                    queue: *queue,
                    speed: 1.0,
                    drain_per_s: 1.0,
                    age_ms: ((now - at) * 1_000.0) as u64,
                    period_ms: (period_s * 1_000.0) as u64,
                    ..Candidate::default()
                })
                .collect();
            table = Table::build(policy, 1.0, 1, &candidates);
            generation += 1;
        }
        let at = picker.pick(&table, generation, &counts).unwrap();
        counts.0[at] += 1;
        let begin = departures[at].back().copied().unwrap_or(0.0).max(now);
        let end = begin + exponential(&mut services);
        departures[at].push_back(end);
        times.push(end - now);
    }
    let mut settled = times.split_off(sessions / 10);
    settled.sort_by(f64::total_cmp);
    let at = |share: f64| settled[(settled.len() as f64 * share) as usize];
    (at(0.95), at(0.99))
}

#[test]
fn the_weighted_rule_has_the_shortest_tail() {
    for period_s in [1.0, 5.0] {
        let [weighted, paper, random] = [RoutePolicy::Weighted, RoutePolicy::Paper, RoutePolicy::Random]
            .map(|policy| simulate(policy, period_s, 60_000));
        println!("T={period_s}: weighted {weighted:.1?}, paper {paper:.1?}, random {random:.1?}");
        assert!(weighted.1 < paper.1 * 0.9 && paper.1 < random.1 * 0.9);
        assert!(weighted.1 < if period_s > 1.0 { 12.0 } else { 9.5 });
    }
}

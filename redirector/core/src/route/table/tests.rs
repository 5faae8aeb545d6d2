#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
use super::*;
use crate::route::{FarmDispatched, Picker};
use farm_shared::draw::Draws;

struct Counts(Vec<u32>);

impl FarmDispatched for Counts {
    fn total(&self, slot: u32) -> u32 {
        self.0.get(slot as usize).copied().unwrap_or(0)
    }
}

fn candidate(at: u32, queue: f64, speed: f64) -> Candidate {
    Candidate { server: at, slot: at, queue, speed, ..Candidate::default() }
}

/// Draws very often and holds the shares against `expect`, to 1 % of the whole and 2 % of each share.
fn check(table: &Table, counts: &Counts, expect: &[f64]) {
    check_n(200_000, table, counts, expect);
}

fn check_n(n: usize, table: &Table, counts: &Counts, expect: &[f64]) {
    let mut picker = Picker::new(Draws::from_u64(5).child("table", 0));
    let mut hits = vec![0_u32; expect.len()];
    for _ in 0..n {
        hits[picker.pick(table, 1, counts).unwrap()] += 1;
    }
    let total: f64 = expect.iter().sum();
    for (hit, weight) in hits.iter().zip(expect) {
        let (share, wanted) = (f64::from(*hit) / n as f64, weight / total);
        let noise = 4.0 * (wanted / n as f64).sqrt();
        assert!((share - wanted).abs() <= (wanted * 0.01).max(noise), "{share} instead of {wanted}: {hits:?}");
    }
}

#[test]
fn draws_follow_the_weights() {
    let queues = [0.0, 1.0, 3.0, 0.2, 0.5];
    let all: Vec<_> = queues.iter().enumerate().map(|(i, q)| candidate(i as u32, *q, 1.0 + i as f64 / 4.0)).collect();
    let weights: Vec<f64> = all.iter().map(|c| (c.speed / (1.0 + c.queue)).powi(4)).collect();
    check_n(1_000_000, &Table::build(RoutePolicy::Weighted, 1.0, 1, &all), &Counts(vec![]), &weights);
    let paper: Vec<f64> = queues.iter().map(|q| 1.0 / f64::max(*q, 0.5)).collect();
    check(&Table::build(RoutePolicy::Paper, 1.0, 1, &all), &Counts(vec![]), &paper);
    check(&Table::build(RoutePolicy::Random, 1.0, 1, &all), &Counts(vec![]), &[1.0; 5]);
}

#[test]
fn own_dispatches_lower_a_weight_at_once() {
    let counts = Counts(vec![0, 1, 7]);
    let mut all = vec![candidate(0, 1.0, 1.0), candidate(1, 1.0, 1.0), candidate(2, 1.0, 1.0)];
    all[2].dispatch_base = 4;
    let weights: Vec<f64> = [0.0, 1.0, 3.0].iter().map(|d| f64::powi(1.0 / (2.0 + 2.0 * d), 4)).collect();
    check(&Table::build(RoutePolicy::Weighted, 1.0, 2, &all), &counts, &weights);
}

#[test]
fn after_very_many_dispatches_draws_are_exact_still() {
    let counts = Counts(vec![90, 100, 110]);
    let all: Vec<_> = (0..3).map(|i| candidate(i, 0.0, 1.0)).collect();
    let weights: Vec<f64> = counts.0.iter().map(|d| (1.0 / (1.0 + f64::from(*d))).powi(4)).collect();
    check_n(50_000, &Table::build(RoutePolicy::Weighted, 1.0, 1, &all), &counts, &weights);
}

#[test]
fn reports_lose_their_say_and_new_servers_gain_it() {
    let mut all = vec![candidate(0, 9.0, 1.0), candidate(1, 0.0, 1.0), candidate(2, 0.0, 1.0)];
    all[0].age_ms = 4_000;
    all[2].ramp = 0.25;
    let average = (1e-4 + 2.0) / 3.0;
    check(&Table::build(RoutePolicy::Weighted, 1.0, 1, &all), &Counts(vec![]), &[average, 1.0, 0.25]);
}

#[test]
fn an_old_queue_has_shrunk() {
    let mut all = vec![candidate(0, 3.0, 1.0), candidate(1, 3.0, 1.0)];
    all[0].age_ms = 1_000;
    all[0].drain_per_s = 2.0;
    check(&Table::build(RoutePolicy::Weighted, 1.0, 1, &all), &Counts(vec![]), &[1.0 / 16.0, 1.0 / 256.0]);
}

#[test]
fn ten_thousand_servers_and_none() {
    let mut picker = Picker::new(Draws::from_u64(1));
    assert_eq!(picker.pick(&Table::build(RoutePolicy::Weighted, 1.0, 1, &[]), 1, &()), None);
    let all: Vec<_> = (0..10_000).map(|i| candidate(i, f64::from(i % 7), 1.0)).collect();
    let table = Table::build(RoutePolicy::Weighted, 1.0, 1, &all);
    let counts = Counts(vec![50; 10_000]);
    for _ in 0..1_000 {
        assert!(picker.pick(&table, 2, &counts).is_some());
    }
    assert!((table.shares().map(|(_, s)| s).sum::<f64>() - 1.0).abs() < 1e-9);
}

#[test]
fn full_servers_get_nothing() {
    let counts = Counts(vec![3, 1, 5]);
    let mut all: Vec<_> = (0..3).map(|i| candidate(i, 0.0, 1.0)).collect();
    all[0].room = Some(3);
    all[1].room = Some(1);
    check_n(10_000, &Table::build(RoutePolicy::Weighted, 1.0, 1, &all), &counts, &[0.0, 0.0, 1.0]);
    all[2].room = Some(0);
    let table = Table::build(RoutePolicy::Weighted, 1.0, 1, &all);
    assert_eq!(Picker::new(Draws::from_u64(1)).pick(&table, 1, &counts), None);
}

/// What another worker sent is not in this one's bounds: its draws are exact still, however far the bounds are off.
#[test]
fn what_others_sent_counts_at_once() {
    for (n, spread) in [(3, 1), (100, 7), (10_000, 5)] {
        let all: Vec<_> = (0..n).map(|i| candidate(i, f64::from(i % 5), 1.0)).collect();
        let table = Table::build(RoutePolicy::Weighted, 1.0, 1, &all);
        let sent = Counts((0..n).map(|i| 40 + i % spread).collect());
        let mut hits = [0.0; 5];
        let mut wanted = [0.0; 5];
        for i in 0..n {
            wanted[(i % 5) as usize] += table.weight(i as usize, &sent);
        }
        // Each begins with the bounds of a farm to which nothing was sent yet.
        let draws = Draws::from_u64(3);
        let rounds = 40_000 / u64::from(n) + 400;
        for round in 0..rounds {
            let mut picker = Picker::new(draws.child("round", round));
            picker.pick(&table, 1, &());
            hits[picker.pick(&table, 1, &sent).unwrap() % 5] += 1.0;
        }
        let total: f64 = wanted.iter().sum();
        for (hit, weight) in hits.iter().zip(wanted) {
            let (share, wanted) = (hit / rounds as f64, weight / total);
            assert!((share - wanted).abs() <= 4.5 * (wanted / rounds as f64).sqrt(), "{n}: {share} instead of {wanted}");
        }
    }
}

/// The dispatches of a worker follow the weights as they fall: nobody is ever far from the point where all weights are equal.
#[test]
fn ten_thousand_servers_fill_evenly() {
    let all: Vec<_> = (0..10_000).map(|i| candidate(i, f64::from(i % 5), 1.0)).collect();
    let table = Table::build(RoutePolicy::Weighted, 1.0, 1, &all);
    let mut counts = Counts(vec![0; 10_000]);
    let mut picker = Picker::new(Draws::from_u64(4));
    for _ in 0..400_000 {
        let at = picker.pick(&table, 1, &counts).unwrap();
        counts.0[at] += 1;
    }
    // 40 each on average and queues of 2 on average: 42 together.
    let sums = counts.0.iter().zip(&all).map(|(sent, c)| f64::from(*sent) + c.queue);
    let variance = sums.map(|sum| (sum - 42.0).powi(2)).sum::<f64>() / 10_000.0;
    assert!(variance < 8.0, "{variance}: random sending would give 40");
}

/// What it would get if the rule took the best of all, or the better of two, drawn one after the other.
fn fill_one_by_one(table: &Table, n: usize, servers: u32) -> Vec<u32> {
    let mut counts = Counts(vec![0; servers as usize]);
    let mut picker = Picker::new(Draws::from_u64(6));
    for _ in 0..n {
        let at = picker.pick(table, 1, &counts).unwrap();
        counts.0[at] += 1;
    }
    counts.0
}

#[test]
fn the_best_of_all_is_taken() {
    // Own dispatches level what (1+q)/mu is: 1, 2, 4 and 1.5 at first, all below 2.5 and then all below 5 filled up.
    let mut all = vec![candidate(0, 0.0, 1.0), candidate(1, 1.0, 1.0), candidate(2, 3.0, 1.0), candidate(3, 2.0, 2.0)];
    let table = Table::build(RoutePolicy::LeastLoaded, 1.0, 1, &all);
    assert_eq!(fill_one_by_one(&table, 5, 4), [2, 1, 0, 2]);
    assert_eq!(fill_one_by_one(&table, 15, 4), [4, 3, 1, 7]);
    let reported = Table::build(RoutePolicy::LeastReported, 1.0, 1, &all);
    assert_eq!(fill_one_by_one(&reported, 10, 4), [10, 0, 0, 0], "it herds");
    all[0].room = Some(1);
    let table = Table::build(RoutePolicy::LeastLoaded, 1.0, 1, &all);
    assert_eq!(fill_one_by_one(&table, 15, 4)[0], 1, "no more than it has room for");
}

#[test]
fn idle_servers_share_alike_under_every_rule() {
    let all: Vec<_> = (0..50).map(|i| candidate(i, 0.0, 1.0)).collect();
    for policy in RoutePolicy::CONFIGURABLE {
        let table = Table::build(policy, 1.0, 4, &all);
        let mut firsts = [0_u32; 50];
        for round in 0..10_000 {
            firsts[Picker::new(Draws::from_u64(round)).pick(&table, 1, &()).unwrap()] += 1;
        }
        assert!(firsts.iter().all(|n| (130..275).contains(n)), "{policy:?}: {firsts:?}");
    }
}

#[test]
fn the_better_of_two_never_takes_the_worst() {
    let all: Vec<_> = (0..3).map(|i| candidate(i, f64::from(i), 1.0)).collect();
    for policy in [RoutePolicy::TwoChoices, RoutePolicy::TwoQueues] {
        // Three pairs alike: 0 wins two of them, 1 one.
        check(&Table::build(policy, 1.0, 1, &all), &Counts(vec![]), &[2.0, 1.0, 0.0]);
    }
    let mut two = vec![candidate(0, 0.0, 1.0), candidate(1, 5.0, 1.0)];
    two[0].room = Some(0);
    check_n(100, &Table::build(RoutePolicy::TwoChoices, 1.0, 1, &two), &Counts(vec![]), &[0.0, 1.0]);
    two[1].room = Some(0);
    assert_eq!(Picker::new(Draws::from_u64(1)).pick(&Table::build(RoutePolicy::TwoChoices, 1.0, 1, &two), 1, &()), None);
}

#[test]
fn sessions_level_the_utilisation() {
    let with = |at, sessions, capacity| Candidate { sessions, capacity, ..candidate(at, 0.0, 1.0) };
    let all = [with(0, 10.0, 100.0), with(1, 10.0, 50.0), with(2, 40.0, 100.0)];
    let table = Table::build(RoutePolicy::Sessions, 0.01, 1, &all);
    assert_eq!(fill_one_by_one(&table, 65, 3), [40, 15, 10], "50 of 100, 25 of 50, 50 of 100");
    let doors = Table::build(RoutePolicy::Sessions, 0.01, 4, &all);
    let filled = fill_one_by_one(&doors, 16, 3);
    assert_eq!((filled[0] + filled[1], filled[2]), (14, 2), "each of four doors sends a quarter of that: {filled:?}");
}

#[test]
fn who_reports_nothing_is_an_average_one() {
    let mut all = vec![candidate(0, 1.0, 1.0), candidate(1, 3.0, 1.0), candidate(2, 0.0, 9.0)];
    all[2].reported = false;
    let weights = [1.0 / 16.0, 1.0 / 256.0, 1.0 / 81.0];
    check(&Table::build(RoutePolicy::Weighted, 1.0, 1, &all), &Counts(vec![]), &weights);
    // Its own dispatches count as anybody's: it does not draw the herd.
    let table = Table::build(RoutePolicy::LeastLoaded, 1.0, 1, &all);
    assert_eq!(fill_one_by_one(&table, 3, 3), [2, 0, 1]);
    all[0].reported = false;
    all[1].reported = false;
    check(&Table::build(RoutePolicy::Weighted, 1.0, 1, &all), &Counts(vec![]), &[1.0; 3]);
}

#[test]
fn a_stale_report_draws_no_herd() {
    let mut all: Vec<_> = (0..10).map(|i| candidate(i, 4.0, 1.0)).collect();
    all[0] = Candidate { queue: 0.0, age_ms: 9_000, ..all[0] };
    for policy in [RoutePolicy::LeastLoaded, RoutePolicy::TwoChoices, RoutePolicy::Sessions] {
        let filled = fill_one_by_one(&Table::build(policy, 1.0, 1, &all), 100, 10);
        assert!((5..20).contains(&filled[0]), "{policy:?}: {filled:?}");
    }
}

#[test]
fn who_is_far_away_is_for_when_nobody_else_has_room() {
    for policy in RoutePolicy::CONFIGURABLE {
        let mut all: Vec<_> = (0..4).map(|i| candidate(i, 1.0, 1.0)).collect();
        all[3].preference = 0.0;
        all[0].room = Some(5);
        all[1].room = Some(5);
        all[2].room = Some(5);
        let filled = fill_one_by_one(&Table::build(policy, 1.0, 1, &all), 25, 4);
        assert_eq!(filled, [5, 5, 5, 10], "{policy:?}");
    }
}

/// A million sessions over ten thousand servers: by each server's count (Pearson's chi-square, within five standard deviations), and
/// by the tenth of the servers that it belongs to, to 1 %.
#[test]
fn ten_thousand_servers_get_their_shares() {
    const N: usize = 1_000_000;
    let all: Vec<_> = (0..10_000).map(|i| candidate(i, f64::from(i % 10) / 8.0, 1.0 + f64::from(i % 7) / 20.0)).collect();
    let table = Table::build(RoutePolicy::Weighted, 1.0, 1, &all);
    let mut picker = Picker::new(Draws::from_u64(8));
    let mut hits = vec![0.0_f64; 10_000];
    for _ in 0..N {
        hits[picker.pick(&table, 1, &()).unwrap()] += 1.0;
    }
    let (mut chi_square, mut tenths, mut wanted) = (0.0, [0.0; 10], [0.0; 10]);
    for (at, share) in table.shares() {
        let expect = share * N as f64;
        chi_square += (hits[at] - expect).powi(2) / expect;
        tenths[at % 10] += hits[at];
        wanted[at % 10] += expect;
    }
    assert!((chi_square - 9_999.0).abs() < 5.0 * (2.0 * 9_999.0_f64).sqrt(), "{chi_square}");
    for (hits, wanted) in tenths.iter().zip(wanted) {
        let noise = 3.0 / f64::sqrt(wanted);
        assert!((hits / wanted - 1.0).abs() < f64::max(0.01, noise), "{hits} instead of {wanted}");
    }
}

/// Sixty thousand sessions between two heartbeats of ten thousand servers: the rule that believes reports alone sends them to the
/// few that reported least, those that count their own do not.
#[test]
fn no_herd() {
    let all: Vec<_> = (0..10_000).map(|i| candidate(i, f64::from((i * 7) % 1_000) / 100.0, 1.0)).collect();
    let burst = |policy| {
        let table = Table::build(policy, 1.0, 1, &all);
        fill_one_by_one(&table, 60_000, 10_000).into_iter().max().unwrap()
    };
    let [herd, weighted, best] = [RoutePolicy::LeastReported, RoutePolicy::Weighted, RoutePolicy::LeastLoaded].map(burst);
    println!("largest burst: least reported {herd}, weighted {weighted}, least loaded {best}");
    assert!(herd > 5_000, "{herd}");
    assert!(weighted < 40 && best < 15, "{weighted} {best}");
}

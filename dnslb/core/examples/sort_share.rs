//! Prints how level the load of a pool is when a share of the clients takes the lowest address of each answer (seed 003, 4.4).
//!
//! `cargo run -p dnslb-core --example sort_share`: 100,000 answers for 12 backends, 3 in an answer; the largest load over the
//! mean, where clients that do not sort take any address of the answer. The same draws on every run.

// An example prints, and measures how long a schedule takes.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::indexing_slicing)]

use dnslb_core::pool::{ScheduleMember, build, subsets_for};
use farm_shared::draw::Draws;
use std::net::Ipv4Addr;

const ANSWERS: usize = 100_000;

fn members(n: usize) -> Vec<ScheduleMember> {
    let member =
        |slot: u32| ScheduleMember { slot, addr: Ipv4Addr::from_bits(0x0a00_0001 + slot).into(), weight: 1.0, zone: None };
    (0..n as u32).map(member).collect()
}

/// Largest load over the mean. Slots are in the order of addresses.
fn max_over_mean(n: usize, sort_share: f64, mut answer: impl FnMut() -> Vec<u32>) -> f64 {
    let mut load = vec![0.0; n];
    for _ in 0..ANSWERS {
        let named = answer();
        for &slot in &named {
            load[slot as usize] += (1.0 - sort_share) / named.len() as f64;
        }
        load[named.iter().min().map_or(0, |slot| *slot as usize)] += sort_share;
    }
    load.iter().fold(0.0, |max: f64, l| max.max(*l)) * n as f64 / ANSWERS as f64
}

fn uniform(n: usize, k: usize, draws: &mut Draws) -> Vec<u32> {
    let mut slots: Vec<u32> = (0..n as u32).collect();
    for i in 0..k {
        let other = i + draws.below(n - i);
        slots.swap(i, other);
    }
    slots.truncate(k);
    slots
}

fn main() {
    let (n, k) = (12, 3);
    let shares = [0.0, 0.08, 0.25, 0.5];
    println!("{ANSWERS} answers, {n} backends, {k} in an answer: largest load / mean\n");
    println!("| clients that take the lowest | {} |", shares.map(|s| format!("{:.0} %", s * 100.0)).join(" | "));
    println!("|---|{}", "---|".repeat(shares.len()));
    let row = |name: &str, cell: &dyn Fn(f64) -> f64| {
        println!("| {name} | {} |", shares.map(|s| format!("{:.3}", cell(s))).join(" | "));
    };
    let members = members(n);
    let scheduled = |built_for: f64, sort_share: f64| {
        let mut draws = Draws::from_u64(4);
        let schedule = build(&members, k, built_for, subsets_for(&members, k, built_for), &mut draws);
        let subsets: Vec<&[u32]> = schedule.subsets().collect();
        max_over_mean(n, sort_share, || subsets[draws.below(subsets.len())].to_vec())
    };
    row("deficit schedule, share known", &|s| scheduled(s, s));
    row("deficit schedule, built for 8 %", &|s| scheduled(0.08, s));
    let mut draws = Draws::from_u64(5);
    let random: Vec<Vec<u32>> = (0..ANSWERS).map(|_| uniform(n, k, &mut draws)).collect();
    row("uniform random subset", &|s| {
        let mut next = random.iter().cycle();
        max_over_mean(n, s, || next.next().cloned().unwrap_or_default())
    });
    row("full list", &|s| max_over_mean(n, s, || (0..n as u32).collect()));

    println!("\n| schedule of | subsets | built in ms |\n|---|---|---|");
    for (n, k) in [(12, 3), (100, 4), (1_000, 8)] {
        let members = self::members(n);
        let start = std::time::Instant::now();
        let schedule = build(&members, k, 0.08, subsets_for(&members, k, 0.08), &mut Draws::from_u64(1));
        println!("| {k} of {n} | {} | {:.1} |", schedule.len(), start.elapsed().as_secs_f64() * 1_000.0);
    }
}

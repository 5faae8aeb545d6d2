//! Rates in virtual time: what passes, what is remembered, who is never hurt.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;

use farm_shared::draw::Draws;
use proptest::prelude::*;

use super::*;

fn policy(rate: u32) -> Policy {
    Policy { per_second: [rate; KINDS], ..Policy::new([7; 16]) }
}

fn answer(subject: u64) -> Response {
    Response { kind: Kind::Answer, subject }
}

/// How many of `count` responses, one every `every_ms` from `start_ms` on, pass.
fn passed(table: &Table, policy: &Policy, client: &str, start_ms: u64, every_ms: u64, count: u64) -> usize {
    let client = client.parse().unwrap();
    let verdict = |i| decide(table, policy, Mono(start_ms + i * every_ms), client, answer(1), i);
    (0..count).filter(|i| verdict(*i) == Verdict::Pass).count()
}

#[test]
fn a_rate_holds_and_a_flood_is_remembered() {
    let (table, policy) = (Table::new(64), policy(10));
    assert_eq!(passed(&table, &policy, "192.0.2.1", 1_000, 100, 1_000), 1_000, "the rate itself");
    let table = Table::new(64);
    assert_eq!(passed(&table, &policy, "192.0.2.1", 1_000, 1, 5_000), 10, "a flood has one second's worth");
    // It owes 15 seconds: in 15 it may be sent its second's worth again.
    assert_eq!(passed(&table, &policy, "192.0.2.1", 12_000, 1, 1), 0);
    assert_eq!(passed(&table, &policy, "192.0.2.1", 40_000, 1, 100), 10);
}

#[test]
fn networks_and_kinds_are_apart() {
    let (table, policy) = (Table::new(1 << 10), policy(1));
    let check = |client: &str, response: Response, expect: Verdict| {
        assert_eq!(decide(&table, &policy, Mono(9), client.parse().unwrap(), response, 1), expect, "{client}");
    };
    check("192.0.2.1", answer(1), Verdict::Pass);
    check("192.0.2.200", answer(1), Verdict::Drop);
    check("::ffff:192.0.2.200", answer(1), Verdict::Drop);
    check("192.0.2.200", answer(2), Verdict::Pass);
    check("192.0.2.200", Response { kind: Kind::NxDomain, subject: 1 }, Verdict::Pass);
    check("192.0.3.1", answer(1), Verdict::Pass);
    check("2001:db8::1", answer(1), Verdict::Pass);
    check("2001:db8:0:ff::1", answer(1), Verdict::Drop);
    check("2001:db8:0:100::1", answer(1), Verdict::Pass);
}

#[test]
fn all_together_slip_and_exemption() {
    let table = Table::new(1 << 10);
    let all = Policy { all_per_second: 5, slip: 1, ..policy(0) };
    let to = |policy: &Policy, client: &str, subject| {
        decide(&table, policy, Mono(9), client.parse().unwrap(), answer(subject), 0)
    };
    let verdicts: Vec<Verdict> = (0..7).map(|subject| to(&all, "192.0.2.1", subject)).collect();
    assert_eq!(verdicts[4..], [Verdict::Pass, Verdict::Slip, Verdict::Slip]);
    assert_eq!(to(&Policy { slip: 0, ..all.clone() }, "192.0.2.1", 9), Verdict::Drop);
    let exempt = Policy { exempt: vec!["192.0.2.0/24".parse().unwrap()], ..all };
    assert_eq!(to(&exempt, "192.0.2.1", 9), Verdict::Pass);
}

#[test]
fn slips_are_one_in_so_many() {
    let (table, policy) = (Table::new(64), policy(1));
    let mut draws = Draws::from_u64(3);
    let client = IpAddr::from([192, 0, 2, 1]);
    let slips =
        (0..10_000).filter(|_| decide(&table, &policy, Mono(5), client, answer(1), draws.u64()) == Verdict::Slip).count();
    assert!((4_700..5_300).contains(&slips), "{slips}");
}

/// Ten million questions for random names from random sources in ten seconds (one million where nothing is optimized), with a
/// client that asks ten times a second, and a victim whose address half of the flood bears.
#[test]
fn a_flood_of_random_names_and_sources_harms_nobody() {
    let table = Table::new(1 << 16);
    let policy = Policy { all_per_second: 1_000, ..policy(20) };
    let mut draws = Draws::from_u64(11);
    let innocent = IpAddr::from([198, 51, 100, 7]);
    let victim = IpAddr::from([192, 0, 2, 1]);
    let (mut asked, mut answered, mut to_victim) = (0, 0, 0);
    let count: u64 = if cfg!(debug_assertions) { 1_000_000 } else { 10_000_000 };
    for i in 0..count {
        let now = Mono(50_000 + i * 10_000 / count);
        let draw = draws.u64();
        let source = if i % 2 == 0 { victim } else { IpAddr::V4(Ipv4Addr::from_bits((draw >> 32) as u32)) };
        let random_name = Response { kind: Kind::NxDomain, subject: 1 };
        let verdict = decide(&table, &policy, now, source, random_name, draw);
        to_victim += u64::from(source == victim && verdict != Verdict::Drop);
        if i % (count / 100) == 0 {
            asked += 1;
            answered += usize::from(decide(&table, &policy, now, innocent, answer(5), draw) == Verdict::Pass);
        }
    }
    assert_eq!(table.len(), 1 << 16, "512 KiB, before and after");
    assert_eq!((asked, answered), (100, 100));
    // One second's worth, and the short ones: half of what remains.
    assert!(to_victim < count / 4 + 20_000, "{to_victim}");
}

#[test]
fn a_table_smaller_than_the_flood_still_limits_who_owes_most() {
    let (table, policy) = (Table::new(WAYS), policy(10));
    let victim = IpAddr::from([192, 0, 2, 1]);
    let mut passed = 0;
    for i in 0..100_000_u32 {
        let now = Mono(u64::from(i) / 100);
        passed += usize::from(decide(&table, &policy, now, victim, answer(1), 1) == Verdict::Pass);
        let other = IpAddr::V4(Ipv4Addr::from_bits(i << 8));
        assert_eq!(decide(&table, &policy, now, other, answer(1), 1), Verdict::Pass);
    }
    assert!(passed <= 20, "{passed}");
}

proptest! {
    /// Whatever the rate and the rhythm: never more than the rate and one second's worth, and never less than the rate allows
    /// to somebody who keeps below it.
    #[test]
    fn no_more_than_the_rate_and_a_burst(rate in 1_u32..2_000, every_ms in 0_u64..50, count in 1_u64..3_000) {
        let passed = passed(&Table::new(64), &policy(rate), "192.0.2.1", 7_000, every_ms, count) as u64;
        let bound = u64::from(rate) * (count * every_ms + 1_000) / 1_000 + 2;
        prop_assert!(passed <= bound, "{passed} of {count}, {bound}");
        if every_ms * u64::from(rate) >= 1_000 {
            prop_assert_eq!(passed, count);
        }
    }
}

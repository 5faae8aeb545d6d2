#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]
use super::*;
use crate::config::LimitSpec;
use farm_shared::time::Mono;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};

fn limit(requests_per_s: f64, burst: u32) -> Limit {
    Limit::new(&LimitSpec { requests_per_s, burst, ..LimitSpec::default() }).unwrap()
}

fn debts() -> Debts {
    Debts::new([0x1234_5678_9abc_def0, 0xfeed_beef_0bad_cafe])
}

fn v4(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(n).into()
}

/// How many of `n` requests pass at a time.
fn passed(limit: &Limit, debts: &Debts, source: IpAddr, now: u64, n: u32) -> u32 {
    (0..n).map(|_| u32::from(limit.pay(debts, source, Mono(now), || false).is_ok())).sum()
}

#[test]
fn a_burst_and_then_the_rate() {
    let (limit, debts) = (limit(2.0, 5), debts());
    let asks = |now, n| passed(&limit, &debts, v4(1), now, n);
    assert_eq!(asks(1_000, 100), 5);
    assert_eq!(asks(1_499, 1), 0);
    assert_eq!(asks(1_500, 2), 1);
    assert_eq!(asks(2_500, 100), 2);
    assert_eq!(asks(60_000, 100), 5, "no more than a burst is saved up");
    assert_eq!(passed(&limit, &debts, v4(2), 60_000, 100), 5, "another source");
    assert_eq!(limit.pay(&debts, v4(1), Mono(60_000), || false), Err(1));
    assert_eq!(super::Limit::new(&LimitSpec::default()), None, "off");
}

#[test]
fn the_time_to_wait() {
    let (limit, debts) = (limit(0.1, 1), debts());
    for (now, expected) in [(0, Ok(())), (0, Err(10)), (900, Err(10)), (1_000, Err(9)), (9_999, Err(1)), (10_000, Ok(()))] {
        assert_eq!(limit.pay(&debts, v4(1), Mono(now), || false), expected, "{now}");
    }
}

#[test]
fn what_is_one_source() {
    let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
    let check = |spec: &LimitSpec, a: &str, b: &str, is_one: bool| {
        let (limit, debts) = (Limit::new(spec).unwrap(), debts());
        assert_eq!(passed(&limit, &debts, ip(a), 5, 1), 1);
        assert_eq!(passed(&limit, &debts, ip(b), 5, 1), u32::from(!is_one), "{a} {b}");
    };
    let usual = LimitSpec { requests_per_s: 1.0, burst: 1, ..LimitSpec::default() };
    check(&usual, "192.0.2.1", "192.0.2.1", true);
    check(&usual, "192.0.2.1", "::ffff:192.0.2.1", true);
    check(&usual, "192.0.2.1", "192.0.2.2", false);
    check(&usual, "2001:db8::1", "2001:db8::2", true);
    check(&usual, "2001:db8::1", "2001:db8:0:1::1", false);
    let wide = LimitSpec { ipv4_bits: 24, ipv6_bits: 48, ..usual.clone() };
    check(&wide, "192.0.2.1", "192.0.2.2", true);
    check(&wide, "192.0.2.1", "192.0.3.1", false);
    check(&wide, "2001:db8::1", "2001:db8:0:1::1", true);
    let exempt = LimitSpec { exempt: vec!["192.0.2.0/24".parse().unwrap()], ..usual };
    check(&exempt, "192.0.2.1", "192.0.2.1", false);
    check(&exempt, "192.0.3.1", "192.0.3.1", true);
}

#[test]
fn sessions_under_way_have_an_account_of_their_own() {
    let (limit, debts) = (limit(1.0, 10), debts());
    assert_eq!(passed(&limit, &debts, v4(1), 0, 1_000), 10);
    let returning = (0..1_000).filter(|_| limit.pay(&debts, v4(1), Mono(0), || true).is_ok()).count();
    assert_eq!(returning, 10);
}

#[test]
fn nobody_pays_for_a_flood_of_sources_and_who_floods_is_not_forgotten() {
    let (limit, debts) = (limit(1.0, 20), debts());
    let flooder = v4(0xc000_0201);
    assert_eq!(passed(&limit, &debts, flooder, 0, 1_000), 20);
    // Four times as many sources as there are places, with one request each.
    let many = 4 * Debts::PLACES as u32;
    let refused: u32 = (0..many).map(|n| 1 - passed(&limit, &debts, v4(0x0a00_0000 + n), 1, 1)).sum();
    assert!(refused < many / 10_000, "{refused} of {many} were refused");
    assert_eq!(passed(&limit, &debts, flooder, 2, 1_000), 0, "he owes most and keeps his place");
}

#[test]
fn with_more_sources_than_places_the_limit_stops_to_bind() {
    let (limit, debts) = (limit(1.0, 2), debts());
    let sources = 4 * Debts::PLACES as u32;
    let round = |now| -> u32 { (0..sources).map(|n| passed(&limit, &debts, v4(n), now, 1)).sum() };
    let (first, second, third) = (round(0), round(1), round(2));
    assert!(first > sources / 100 * 99 && second > sources / 2, "{first}, {second} of {sources}");
    assert!(third > sources / 2, "{third} of {sources}: most have lost their places");
}

#[test]
fn all_workers_share_it() {
    let (limit, debts, passed) = (limit(0.01, 1_000), debts(), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mine = super::tests::passed(&limit, &debts, v4(7), 1, 5_000);
                passed.fetch_add(mine, Ordering::Relaxed);
            });
        }
    });
    // The first ones of each worker may take a place each; tries that were in vain are not counted.
    let passed = passed.load(Ordering::Relaxed);
    assert!((1_000..1_100).contains(&passed), "{passed}");
}

proptest! {
    #[test]
    fn never_more_than_burst_and_rate(
        rate in 0.05_f64..5_000.0,
        burst in 1_u32..200,
        steps in prop::collection::vec((0_u64..3_000, 0_u32..300), 1..40),
        begin in prop_oneof![Just(0_u64), any::<u64>().prop_map(|n| n >> 1)],
    ) {
        let (limit, debts) = (limit(rate, burst), debts());
        let (mut now, mut total, mut asked) = (begin, 0_u32, 0_u32);
        for (gap, n) in steps {
            now += gap;
            total += passed(&limit, &debts, v4(9), now, n);
            asked += n;
        }
        let elapsed_s = (now - begin) as f64 / 1_000.0;
        // The time between two requests is rounded to a 256th of a millisecond.
        let most = f64::from(burst) + 1.0 + elapsed_s * rate * (1.0 + rate / 256_000.0);
        prop_assert!(f64::from(total) <= most, "{total} of {most}");
        prop_assert!(total >= asked.min(burst));
    }
}

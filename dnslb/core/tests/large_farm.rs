//! A thousand members: schedules are built off the loop, and what leaves is dropped before the builder comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod harness;

use dnslb_core::control::{Effect, Event};
use dnslb_core::snapshot::FamilyAnswers;
use farm_shared::heartbeat::{Heartbeat, State};
use harness::{Memory, World, first};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

fn world() -> World {
    let files = Memory(BTreeMap::from([
        ("farm.key".into(), "0123456789abcdef".repeat(4)),
        ("lb.zone".into(), include_str!("harness/lb.zone").into()),
    ]));
    World::new(include_str!("harness/dnslb.toml"), files)
}

fn member(i: u32) -> Heartbeat {
    let addr = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + i));
    Heartbeat { addrs: vec![addr], seq: 1, ..first(&format!("m{i}")) }
}

/// All heartbeats of a burst, one flush.
fn burst(world: &mut World, members: impl Iterator<Item = Heartbeat>) {
    for heartbeat in members {
        let effects = world.control.step(world.now, Event::Heartbeat(Box::new(heartbeat)));
        assert!(matches!(effects.first(), Some(Effect::Reply(_))), "{effects:?}");
    }
    world.flush();
}

fn answers(world: &World) -> FamilyAnswers {
    world.snapshot.as_ref().unwrap().pools[0].sets.v4.clone()
}

fn named(family: &FamilyAnswers) -> BTreeSet<u8> {
    // The last octet tells the members of these tests apart where it matters.
    family.sections().flat_map(|s| s.each().map(|r| r[15]).collect::<Vec<_>>()).collect()
}

#[test]
fn a_burst_is_one_snapshot_and_nobody_waits_for_the_builder() {
    let mut world = world();
    world.hold_builds = true;
    let before = world.publications;
    burst(&mut world, (0..1_000).map(member));
    assert_eq!(world.publications, before + 1);
    assert_eq!(world.held.len(), 1);
    assert!(answers(&world).len() >= 32, "a rough schedule serves meanwhile");
    world.release();
    let full = answers(&world);
    assert!(full.len() >= 16_000, "{}", full.len());
    assert_eq!(full.sections().flat_map(|s| s.slots.to_vec()).collect::<BTreeSet<_>>().len(), 1_000);
}

#[test]
fn whoever_leaves_is_dropped_at_once_and_stays_dropped_when_the_builder_comes_back() {
    let mut world = world();
    burst(&mut world, (0..240).map(member));
    let full = answers(&world).len();
    world.hold_builds = true;
    let leaves = |i: u32| Heartbeat { seq: 2, state: State::Goodbye, ..member(i) };
    burst(&mut world, [leaves(7)].into_iter());
    assert!(!named(&answers(&world)).contains(&7));
    assert!(answers(&world).len() > full / 2, "the others' subsets stay");
    assert_eq!(world.held.len(), 1, "a refill was asked for");
    // A second one leaves while the builder still counts with it.
    burst(&mut world, [leaves(8)].into_iter());
    assert_eq!(world.held.len(), 1, "one builder at a time");
    assert!(!named(&answers(&world)).contains(&8));
    world.release();
    assert!(!named(&answers(&world)).contains(&8), "what the builder brought is filtered");
    assert_eq!(world.held.len(), 1, "and refilled again");
    world.release();
    let family = answers(&world);
    assert_eq!(named(&family).len(), 238);
    assert!(world.held.is_empty());
}

#[test]
fn a_lost_builder_is_started_again() {
    let mut world = world();
    world.hold_builds = true;
    burst(&mut world, (0..240).map(member));
    world.held.clear();
    world.pass(12_000, &[], 1_000);
    assert!(!world.held.is_empty());
}

#[test]
fn heartbeats_that_only_renew_leases_publish_and_persist_nothing() {
    let mut world = world();
    burst(&mut world, (0..20).map(member));
    world.pass(1_200, &[], 1_000);
    let (published, persisted) = (world.publications, world.persists);
    for seq in 2..22 {
        burst(&mut world, (0..20).map(|i| Heartbeat { seq, ..member(i) }));
        world.pass(1_000, &[], 1_000);
    }
    assert_eq!((world.publications, world.persists), (published, persisted));
    for seq in 22..40 {
        burst(&mut world, (0..20).map(|i| Heartbeat { seq, ..member(i) }));
        world.pass(1_000, &[], 1_000);
    }
    assert_eq!((world.publications, world.persists), (published, persisted + 1), "sequence numbers, after 30 s");
}

#[test]
fn a_new_member_is_ramped_up() {
    let mut world = world();
    world.config = world.config.replacen("slow_start = \"0ms\"", "slow_start = \"8s\"", 1);
    world.reload();
    burst(&mut world, (0..12).map(member));
    let ids: Vec<String> = (0..12).map(|i| format!("m{i}")).collect();
    world.last = (0..12).map(|i| (format!("m{i}"), member(i))).collect();
    world.pass(9_000, &ids, 1_000);
    burst(&mut world, [member(12)].into_iter());
    world.last.insert("m12".into(), member(12));
    let all: Vec<String> = (0..13).map(|i| format!("m{i}")).collect();
    let mut shares = Vec::new();
    for _ in 0..5 {
        let status = world.control.status(world.now);
        let members = &status.pools[0].members;
        assert!((members.iter().map(|m| m.target_share).sum::<f64>() - 1.0).abs() < 1e-6);
        shares.push(members.iter().find(|m| m.name.as_str() == "m12").unwrap().target_share);
        world.pass(2_100, &all, 1_000);
    }
    assert!(shares.windows(2).all(|w| w[0] < w[1]), "{shares:?}");
    assert!((shares[0] - 0.1 / 12.1).abs() < 1e-6 && (shares[4] - 1.0 / 13.0).abs() < 1e-6, "{shares:?}");
}

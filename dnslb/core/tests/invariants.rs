//! Whatever happens in whatever order, nobody is named who must not be, and no answer is empty that need not be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod harness;

use dnslb_core::control::{AdminCommand, Event};
use dnslb_core::snapshot::{FamilyAnswers, split};
use farm_shared::heartbeat::{Heartbeat, State};
use farm_shared::id::Id;
use farm_shared::member::Forced;
use harness::{Memory, World, first};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The same members once more, told apart by where they are, with every kind of record.
const NEAR: &str = r#"
[[site]]
name = "s0"
prefixes = ["10.0.0.0/24"]
near = ["s1"]
[[site]]
name = "s1"
prefixes = ["10.0.1.0/24", "198.51.100.0/24"]
[[view]]
name = "inside"
prefixes = ["192.168.0.0/16"]
[[pool]]
name = "near"
publish = ["near.lb.example.com"]
k = 2
nearest_site = true
private_views = ["inside"]
slow_start = "0ms"
farm = "mail"
[pool.https]
[[pool.service]]
name = "_near._tcp.lb.example.com"
backups = 1
"#;

#[derive(Clone, Debug)]
enum Op {
    Beat(u8),
    Drain(u8, bool),
    Move(u8, u8),
    Goodbye(u8),
    Bury(u8, u8),
    Force(u8, Option<Forced>),
    Pass(u16),
    Restart,
    Reload,
}

fn op() -> impl Strategy<Value = Op> {
    let forced = prop_oneof![Just(None), Just(Some(Forced::Drain)), Just(Some(Forced::Down)), Just(Some(Forced::Up))];
    prop_oneof![
        8 => (0..8_u8).prop_map(Op::Beat),
        2 => (0..8_u8, any::<bool>()).prop_map(|(i, drain)| Op::Drain(i, drain)),
        1 => (0..8_u8, 0..3_u8).prop_map(|(i, to)| Op::Move(i, to)),
        1 => (0..8_u8).prop_map(Op::Goodbye),
        1 => (0..8_u8, 0..8_u8).prop_map(|(by, who)| Op::Bury(by, who)),
        2 => (0..8_u8, forced).prop_map(|(i, forced)| Op::Force(i, forced)),
        4 => (1..50_u16).prop_map(Op::Pass),
        1 => Just(Op::Restart),
        1 => Just(Op::Reload),
    ]
}

fn addresses(i: u8, to: u8) -> Vec<IpAddr> {
    let v4 = IpAddr::V4(Ipv4Addr::new(10, 0, to, i));
    let v6 = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, u16::from(to), u16::from(i)));
    if i.is_multiple_of(2) { vec![v4, v6] } else { vec![v4] }
}

struct Run {
    world: World,
    members: Vec<Heartbeat>,
}

impl Run {
    fn new(near: &str) -> Self {
        let files = Memory(BTreeMap::from([
            ("farm.key".into(), "0123456789abcdef".repeat(4)),
            ("lb.zone".into(), include_str!("harness/lb.zone").into()),
        ]));
        let config = format!("{}{near}", include_str!("harness/dnslb.toml"));
        let members = (0..8).map(|i| Heartbeat { addrs: addresses(i, 0), ..first(&format!("m{i}")) }).collect();
        Self { world: World::new(&config, files), members }
    }

    fn send(&mut self, i: u8, change: impl FnOnce(&mut Heartbeat)) {
        let member = &mut self.members[usize::from(i)];
        (member.seq, member.time_ms) = (member.seq + 1, self.world.now.wall.0);
        let mut message = member.clone();
        change(&mut message);
        // Refused ones are part of the game: buried and departed members go on beating.
        let _ = self.world.beat(message);
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Beat(i) => self.send(i, |_| ()),
            Op::Drain(i, drain) => {
                self.members[usize::from(i)].drain_by = if drain { vec![Id::new("red1").unwrap()] } else { Vec::new() };
                self.send(i, |_| ());
            }
            Op::Move(i, to) => {
                self.members[usize::from(i)].addrs = addresses(i, to);
                self.send(i, |_| ());
            }
            Op::Goodbye(i) => {
                self.send(i, |message| message.state = State::Goodbye);
                self.members[usize::from(i)].inc += 1;
            }
            Op::Bury(by, who) => {
                let farm = self.world.control.spec().farms[0].clone();
                let gone = self.members[usize::from(who)].clone();
                let stone = farm.key.unwrap().bury(&farm.trust.name, &gone.id, gone.inc, self.world.now.wall);
                self.send(by, |message| message.tombstones.push(stone));
                self.members[usize::from(who)].inc += 1;
            }
            Op::Force(i, force) => {
                let command =
                    AdminCommand { target: format!("www/m{i}"), force, why: "test".into(), ..AdminCommand::default() };
                self.world.event(Event::Admin(command));
            }
            Op::Pass(ticks) => self.world.pass(u64::from(ticks) * 100, &[], 1_000),
            Op::Restart => self.world.restart(true),
            Op::Reload => self.world.reload(),
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let status = self.world.control.status(self.world.now);
        let pool = &status.pools[0];
        let answers = &self.world.snapshot.as_ref().unwrap().pools[0];
        let eligible: Vec<_> = pool.members.iter().filter(|m| m.eligible).collect();
        for member in &eligible {
            prop_assert!(!["draining", "admin_down"].contains(&member.standing), "{member:?}");
        }
        let v4 = eligible.iter().filter_map(|m| Some((m.slot, m.v4?.octets().to_vec()))).collect();
        let v6 = eligible.iter().filter_map(|m| Some((m.slot, m.v6?.octets().to_vec()))).collect();
        check_family(&answers.sets.v4, &v4, pool.k)?;
        check_family(&answers.sets.v6, &v6, pool.k)?;
        let up = pool.members.iter().filter(|m| ["in_service", "unknown"].contains(&m.standing)).count();
        prop_assert!(up == 0 || !eligible.is_empty());
        prop_assert_eq!(pool.fail_open, up < pool.counted.div_ceil(2));
        if status.pools.iter().any(|pool| pool.name.as_str() == "near") {
            self.check_near()?;
        }
        let slots: BTreeSet<u32> = pool.members.iter().map(|m| m.slot).collect();
        prop_assert_eq!(slots.len(), pool.members.len());
        Ok(())
    }
}

impl Run {
    /// To whomever: only the eligible are named, and somebody is if anybody can be; hints are the additional addresses, and each
    /// is the address of an eligible member.
    fn check_near(&self) -> Result<(), TestCaseError> {
        let status = self.world.control.status(self.world.now);
        let pool = status.pools.iter().find(|pool| pool.name.as_str() == "near").unwrap();
        let at = status.pools.iter().position(|other| other.name == pool.name).unwrap();
        let answers = &self.world.snapshot.as_ref().unwrap().pools[at];
        let eligible: BTreeMap<u32, _> = pool.members.iter().filter(|m| m.eligible).map(|m| (m.slot, m)).collect();
        for sets in answers.all_sets() {
            for family in sets.all() {
                for section in family.sections() {
                    prop_assert!(section.slots.iter().all(|slot| eligible.contains_key(slot)), "{:?}", section.slots);
                }
            }
            prop_assert_eq!(sets.v4.is_empty(), !eligible.values().any(|m| m.v4.is_some()));
            prop_assert_eq!(sets.v6.is_empty(), !eligible.values().any(|m| m.v6.is_some()));
            prop_assert_eq!(sets.https.is_empty(), sets.v4.is_empty() && sets.v6.is_empty());
            prop_assert!(!sets.srv[0].is_empty() || sets.v4.is_empty() || status.farms[0].members > pool.members.len());
            let known: BTreeSet<Vec<u8>> = eligible
                .values()
                .flat_map(|m| m.v4.map(|a| a.octets().to_vec()).into_iter().chain(m.v6.map(|a| a.octets().to_vec())))
                .collect();
            for section in sets.https.sections() {
                let extra: Vec<&[u8]> = split(section.extra).map(|record| &record[12..]).collect();
                prop_assert!(extra.iter().all(|address| known.contains(*address)));
                let rdata = section.rdata().next().unwrap();
                let hints: usize = extra.iter().map(|address| address.len()).sum();
                let expect: Vec<u8> =
                    extra.iter().filter(|address| address.len() == 16).copied().flatten().copied().collect();
                prop_assert!(rdata.ends_with(&expect) && rdata.len() > hints);
            }
        }
        prop_assert!(answers.all_sets().count() <= 6, "sites plus one, inside and outside");
        Ok(())
    }
}

fn check_family(family: &FamilyAnswers, eligible: &BTreeMap<u32, Vec<u8>>, k: usize) -> Result<(), TestCaseError> {
    let mut named = BTreeSet::new();
    prop_assert_eq!(family.is_empty(), eligible.is_empty());
    for section in family.sections() {
        prop_assert_eq!(section.slots.len(), k.min(eligible.len()));
        prop_assert_eq!(section.slots.iter().collect::<BTreeSet<_>>().len(), section.slots.len());
        for (slot, record) in section.slots.iter().zip(section.each()) {
            prop_assert_eq!(eligible.get(slot).map(Vec::as_slice), record.get(12..));
            named.insert(*slot);
        }
    }
    prop_assert_eq!(named.len(), eligible.len(), "everybody eligible is named by some answer");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_named_who_must_not_be(ops in proptest::collection::vec(op(), 1..60)) {
        let mut run = Run::new("");
        for op in &ops {
            run.apply(op);
            run.check()?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nor_to_clients_of_any_place(ops in proptest::collection::vec(op(), 1..40)) {
        let mut run = Run::new(NEAR);
        for op in &ops {
            run.apply(op);
            run.check()?;
        }
    }
}

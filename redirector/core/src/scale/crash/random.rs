//! Any order of events: records that are late, answers that are lost, lists that lag, crashes, clocks that jump.

use super::*;
use proptest::prelude::*;

/// An executor in the world of the crash tests, whose records and calls come back in any order.
struct Chaos {
    world: World,
    shop: Shop,
    state: ExecState,
    saved: ExecState,
    draws: Draws,
    unwritten: Vec<Record>,
    calls: Vec<ProviderCall>,
    wall_ms: u64,
}

impl Chaos {
    fn tell(&mut self, event: ExecEvent) {
        let farm = id("mail");
        let context = ExecContext { farm: &farm, blueprint: &self.shop, keep_failed_max: 1, frozen: false };
        let (state, effects) = step(std::mem::take(&mut self.state), event, &context, Wall(self.wall_ms), &mut self.draws);
        self.state = state;
        for effect in effects {
            match effect {
                ExecEffect::Journal(record) => self.unwritten.push(*record),
                ExecEffect::Call(call) => self.calls.push(call),
            }
        }
    }

    /// Records reach the disk in their order. An intent whose record fails is dropped; a lost answer would be asked for again after
    /// a crash, but what was decided on it would not be undone: that is not claimed, and not tried.
    fn write(&mut self, ok: bool) {
        if !self.unwritten.is_empty() {
            let record = self.unwritten.remove(0);
            let ok = ok || !matches!(record.entry, Entry::Intent { .. } | Entry::Plan { .. });
            if ok {
                self.world.append(&record);
            }
            self.tell(ExecEvent::Journalled { seq: record.seq, ok });
        }
    }

    fn plan(&mut self, bits: u64) {
        let wanted = (bits % 5) as usize;
        // What is wanted may fall while launches are under way: the most that is ever wanted bounds them.
        self.world.wanted = 4;
        let state = &self.state;
        let have = state.running().filter(|i| i.role.is_none()).count() + state.launches_open();
        let mut plan = Plan { launch: wanted.saturating_sub(have) as u32, ..Plan::default() };
        plan.launch_roles = state.roles_missing(&[id("web-1")]);
        let surplus: Vec<Instance> =
            state.running().filter(|i| i.role.is_none() && !state.is_busy(&i.instance_id)).skip(wanted).cloned().collect();
        for (at, instance) in surplus.into_iter().enumerate() {
            self.world.may_end.insert(instance.instance_id);
            let ids = if (bits >> (8 + at)) & 1 == 0 { &mut plan.terminate } else { &mut plan.stop };
            ids.extend(instance.member_id);
        }
        self.tell(ExecEvent::Plan {
            observation: Box::default(),
            plan,
            report: Report::default(),
            violations: Vec::new(),
            dry_run: false,
            taken: BTreeSet::new(),
        });
    }

    fn crash(&mut self, from_saved: bool) {
        let saved = if from_saved { self.saved.clone() } else { ExecState::default() };
        self.unwritten.clear();
        // Calls that were made may still take effect, and nobody hears of it.
        for call in std::mem::take(&mut self.calls) {
            self.world.call(&call, None);
        }
        self.state = saved.replay(&self.world.journal);
        let list = self.world.list();
        self.tell(ExecEvent::Listing { list, heard: BTreeSet::new() });
        let list = self.world.list();
        self.tell(ExecEvent::Listing { list, heard: BTreeSet::new() });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn whatever_the_order(events in prop::collection::vec((0_u8..16, any::<u64>()), 1..160), seed in any::<u64>()) {
        let mut chaos = Chaos {
            world: World::default(),
            shop: Shop::new(),
            state: ExecState::default(),
            saved: ExecState::default(),
            draws: Draws::from_u64(seed),
            unwritten: vec![],
            calls: vec![],
            wall_ms: 10_000_000,
        };
        for (kind, bits) in events {
            chaos.wall_ms += bits % 4_000;
            match kind {
                0..=3 => chaos.write(true),
                4 => chaos.write(bits % 4 != 0),
                5..=7 if !chaos.calls.is_empty() => {
                    let at = bits as usize % chaos.calls.len();
                    let call = chaos.calls.remove(at);
                    let loss = [None, None, None, Some(Loss::Before), Some(Loss::After)][(bits >> 8) as usize % 5];
                    let outcome = chaos.world.call(&call, loss);
                    chaos.tell(ExecEvent::Outcome(outcome));
                }
                8 | 9 => {
                    let list = chaos.world.list();
                    chaos.tell(ExecEvent::Listing { list, heard: BTreeSet::new() });
                }
                10 | 11 => chaos.plan(bits),
                12 if bits % 5 == 0 => chaos.crash(bits % 2 == 0),
                13 if bits % 5 == 0 => chaos.wall_ms = chaos.wall_ms.saturating_add_signed((bits % 7_200_000) as i64 - 3_600_000),
                // The shell writes records before it persists the state that they led to.
                14 if chaos.unwritten.is_empty() => chaos.saved = chaos.state.clone(),
                _ => chaos.tell(ExecEvent::Tick),
            }
        }
        // Faults end, and two servers are wanted.
        for _ in 0..600 {
            chaos.wall_ms += 2_000;
            while !chaos.unwritten.is_empty() {
                chaos.write(true);
            }
            while let Some(call) = chaos.calls.pop() {
                let outcome = chaos.world.call(&call, None);
                chaos.tell(ExecEvent::Outcome(outcome));
            }
            let list = chaos.world.instances.values().cloned().collect();
            chaos.tell(ExecEvent::Listing { list, heard: BTreeSet::new() });
            chaos.plan(2);
        }
        let wrong: Vec<&String> = chaos.world.wrong.iter().collect();
        prop_assert!(wrong.is_empty(), "{:#?}", wrong);
        let real: BTreeSet<&String> =
            chaos.world.instances.values().filter(|i| i.state != InstanceState::Gone).map(|i| &i.instance_id).collect();
        prop_assert_eq!(real, chaos.state.instances.keys().collect::<BTreeSet<_>>());
        prop_assert_eq!(chaos.world.elastic().count(), 2);
    }
}

//! Crashes the executor between any two effects, and again during the recovery, loses answers and records at every place, and
//! counts what is left behind. Planted mistakes show that the counting can be believed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod random;
mod single;
mod torn;
mod world;

use super::*;
use farm_shared::draw::Draws;
use farm_shared::id::Id;
use farm_shared::time::Wall;
use std::collections::{BTreeSet, VecDeque};
use world::{Bug, Loss, Shop, World};

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

/// What is wanted at one stage of the script.
struct Stage {
    elastic: usize,
    warm: usize,
    kept: usize,
    /// The guest is to be adopted.
    adopts: bool,
    /// Somebody is to be restarted.
    reboots: bool,
}

const STAGES: [Stage; 7] = [
    Stage { elastic: 3, warm: 0, kept: 0, adopts: false, reboots: false },
    Stage { elastic: 4, warm: 0, kept: 0, adopts: false, reboots: false },
    Stage { elastic: 4, warm: 0, kept: 1, adopts: false, reboots: false },
    Stage { elastic: 2, warm: 1, kept: 1, adopts: false, reboots: false },
    Stage { elastic: 3, warm: 0, kept: 1, adopts: false, reboots: true },
    Stage { elastic: 4, warm: 0, kept: 1, adopts: true, reboots: true },
    Stage { elastic: 2, warm: 1, kept: 1, adopts: true, reboots: true },
];

/// What goes wrong in a life, each at the number of an effect, a call or a record.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    /// Dies before that effect, or behind it: it took place and nobody heard.
    dies: Option<(usize, bool)>,
    loses: Option<(usize, Loss)>,
    fails_to_write: Option<usize>,
}

struct Life<'a> {
    world: &'a mut World,
    shop: Shop,
    state: ExecState,
    draws: Draws,
    fate: Fate,
    performed: usize,
    records: usize,
}

impl<'a> Life<'a> {
    fn new(world: &'a mut World, saved: Option<&ExecState>, fate: Fate) -> Self {
        let state = saved.cloned().unwrap_or_default().replay(&world.journal);
        Self { world, shop: Shop::new(), state, draws: Draws::from_u64(3), fate, performed: 0, records: 0 }
    }

    /// The script from where it stands. True if it reached the end alive.
    fn live(&mut self) -> bool {
        let farm = id("mail");
        // A scaler waits for a list that is younger than what it did before its crash.
        let mut lists = 0;
        while self.world.stage < STAGES.len() {
            let stage = &STAGES[self.world.stage];
            // The guest is wanted, too, but nobody launches it.
            self.world.wanted = stage.elastic - usize::from(stage.adopts && self.adopted());
            for turn in 0.. {
                if turn > 400 {
                    self.world.wrong.push(format!("stage {} does not end", self.world.stage));
                    return true;
                }
                self.world.now_ms += 10_000;
                if self.world.bug == Bug::BelievesLists {
                    let forgets = |i: &Instance| {
                        (i.instance_id.clone(), Absence { since_wall_ms: 0, lists: 99, last_wall_ms: u64::MAX })
                    };
                    self.state.absent = self.state.instances.values().map(forgets).collect();
                }
                if self.world.stage >= 3 {
                    self.world.put_guest();
                }
                let mut queue = VecDeque::from([
                    ExecEvent::Listing { list: self.world.list(), heard: BTreeSet::new() },
                    ExecEvent::Tick,
                ]);
                lists += 1;
                if lists > 1 {
                    queue.extend(self.want(stage));
                }
                while let Some(event) = queue.pop_front() {
                    let context = ExecContext { farm: &farm, blueprint: &self.shop, keep_failed_max: 1, frozen: false };
                    let before = std::mem::take(&mut self.state);
                    let (state, effects) = step(before, event, &context, Wall(self.world.now_ms), &mut self.draws);
                    self.state = state;
                    if !self.perform(effects, &mut queue) {
                        return false;
                    }
                }
                if self.is_at(stage) {
                    break;
                }
            }
            self.world.stage += 1;
        }
        true
    }

    fn perform(&mut self, mut effects: Vec<ExecEffect>, queue: &mut VecDeque<ExecEvent>) -> bool {
        if self.world.bug == Bug::CallsBeforeRecords {
            for effect in &effects {
                if let ExecEffect::Journal(record) = effect
                    && let Entry::Intent { call } = &record.entry
                {
                    self.world.call(call, None);
                }
            }
        }
        for effect in effects.drain(..) {
            if self.fate.dies == Some((self.performed, false)) {
                return false;
            }
            let heard = match effect {
                ExecEffect::Journal(record) => {
                    self.records += 1;
                    let ok = self.fate.fails_to_write != Some(self.records);
                    if ok {
                        self.world.append(&record);
                    }
                    ExecEvent::Journalled { seq: record.seq, ok }
                }
                ExecEffect::Call(call) => ExecEvent::Outcome(self.call(call)),
            };
            if self.fate.dies == Some((self.performed, true)) {
                return false;
            }
            self.performed += 1;
            queue.push_back(heard);
        }
        true
    }

    fn call(&mut self, call: ProviderCall) -> CallOutcome {
        let number = self.world.calls + 1;
        let loss = match self.fate.loses {
            Some((at, loss)) => (at == number).then_some(loss),
            None if number.is_multiple_of(3) => Some(Loss::After),
            None if number.is_multiple_of(7) => Some(Loss::Before),
            None => None,
        };
        let again = self.state.intents.get(call.intent()).is_some_and(|i| i.calls > 1);
        let sent = match &call {
            ProviderCall::Launch(r) if again && self.world.bug == Bug::DoublesAttempts => {
                ProviderCall::Launch(LaunchRequest { token: format!("{}x", r.token), ..r.clone() })
            }
            ProviderCall::Terminate(r) if self.world.bug == Bug::EndsTheWrongOne => {
                let others = self.world.instances.keys().find(|i| **i != r.instance_id);
                let instance_id = others.unwrap_or(&r.instance_id).clone();
                ProviderCall::Terminate(InstanceRequest { instance_id, ..r.clone() })
            }
            _ => call.clone(),
        };
        CallOutcome { call, ..self.world.call(&sent, loss) }
    }

    fn adopted(&self) -> bool {
        self.state.instances.contains_key("i-guest")
    }

    fn elastic(&self) -> impl Iterator<Item = &Instance> {
        self.state.running().filter(|i| i.role.is_none())
    }

    /// What a policy and an operator would ask for now.
    fn want(&mut self, stage: &Stage) -> Option<ExecEvent> {
        let state = &self.state;
        if stage.adopts && state.unknown.contains_key("i-guest") && state.intents.is_empty() {
            return Some(ExecEvent::Order { order: Order::Adopt("i-guest".into()), taken: BTreeSet::new() });
        }
        if stage.reboots && self.world.reboots == 0 && state.intents.is_empty() {
            let first = self.elastic().next()?.instance_id.clone();
            self.world.may_end.insert(first.clone());
            return Some(ExecEvent::Order { order: Order::Reboot(first), taken: BTreeSet::new() });
        }
        let coming = |i: &Intent| match &i.call {
            ProviderCall::Launch(r) => r.role.is_none(),
            call => matches!(call, ProviderCall::Start(_)),
        };
        let open = state.intents.values().filter(|i| coming(i)).count();
        let have = self.elastic().count() + open;
        let guest = usize::from(stage.adopts && !self.adopted());
        let mut plan = Plan { launch: (stage.elastic - guest).saturating_sub(have) as u32, ..Plan::default() };
        plan.launch_roles = state.roles_missing(&[id("web-1")]);
        let (mut observation, mut ending) = (Observation::default(), Vec::new());
        let idle: Vec<&Instance> = self.elastic().filter(|i| !state.is_busy(&i.instance_id)).collect();
        if state.kept().count() < stage.kept && state.intents.is_empty() {
            observation.overdue = idle.first().and_then(|i| i.member_id.clone()).into_iter().collect();
            plan.terminate.clone_from(&observation.overdue);
        } else if open == 0 {
            let surplus = idle.iter().rev().take(idle.len().saturating_sub(stage.elastic));
            for instance in surplus {
                ending.push(instance.instance_id.clone());
                let id = instance.member_id.clone().unwrap();
                let resting = state.warm().count() + plan.stop.len();
                let stops = state.intents.values().filter(|i| matches!(i.call, ProviderCall::Stop(_))).count();
                let stopping = state.instances.values().filter(|i| i.state == InstanceState::Stopping).count();
                let list = if resting + stops + stopping < stage.warm { &mut plan.stop } else { &mut plan.terminate };
                list.push(id);
            }
        }
        self.world.may_end.extend(ending);
        let event = ExecEvent::Plan {
            observation: Box::new(observation),
            plan: plan.clone(),
            report: Report::default(),
            violations: Vec::new(),
            dry_run: false,
            taken: BTreeSet::new(),
        };
        (!plan.is_empty()).then_some(event)
    }

    fn is_at(&self, stage: &Stage) -> bool {
        let state = &self.state;
        state.intents.is_empty()
            && state.stopping.is_empty()
            && self.elastic().count() == stage.elastic
            && state.warm().count() == stage.warm
            && state.kept().count() == stage.kept
            && state.running().any(|i| i.role == Some(id("web-1")) && state.attached.contains(&i.instance_id))
            && (!stage.adopts || self.adopted())
            && (!stage.reboots || self.world.reboots > 0)
    }

    /// Everything that is wrong at the end.
    fn check_end(&mut self) -> Vec<String> {
        let mut wrong = std::mem::take(&mut self.world.wrong);
        let names = |instances: &mut dyn Iterator<Item = &Instance>| -> BTreeSet<String> {
            instances.map(|i| i.instance_id.clone()).collect()
        };
        let real = names(&mut self.world.instances.values().filter(|i| i.state != InstanceState::Gone));
        let known = names(&mut self.state.instances.values());
        if real != known {
            wrong.push(format!("orphans or ghosts: there are {real:?}, known are {known:?}"));
        }
        let alive = self.world.elastic().count();
        if alive != STAGES[STAGES.len() - 1].elastic {
            wrong.push(format!("{alive} servers at the end"));
        }
        let role = |i: &&Instance| i.role.is_some() && i.state.is_alive() && self.world.attached.contains(&i.instance_id);
        if self.world.instances.values().filter(role).count() != 1 {
            wrong.push("not one instance of the role".into());
        }
        wrong
    }
}

/// A life, and those after it until one ends well. Crash points passed, and what is wrong at the end.
fn until_the_end(world: &mut World, fate: Fate, second: Option<(usize, bool)>, from_saved: bool) -> (usize, Vec<String>) {
    let mut saved: Option<ExecState> = None;
    let fates = [fate, Fate { dies: second, ..Fate::default() }, Fate::default()];
    for (crashes, fate) in fates.into_iter().enumerate() {
        let mut life = Life::new(world, saved.as_ref(), fate);
        if life.live() {
            let wrong = life.check_end();
            return (crashes, wrong);
        }
        saved = from_saved.then(|| life.state.clone());
        world.crash();
    }
    unreachable!("the last life has no fate")
}

#[test]
fn no_orphan_and_no_duplicate_wherever_it_crashes() {
    let mut whole = World::default();
    let mut life = Life::new(&mut whole, None, Fate::default());
    assert!(life.live());
    let effects = life.performed;
    assert_eq!(life.check_end(), Vec::<String>::new(), "without a crash");
    let (mut points, mut lives) = (0, 0);
    let seconds = [0, 1, 2, 3, 5, 8];
    for first in 0..effects {
        for after in [false, true] {
            points += 1;
            // Restart from the journal alone, or from the state that was persisted at the crash and the journal.
            for from_saved in [false, true] {
                // Every point alone, and with another crash in the recovery, whose place goes round from point to point.
                let turn = first + 3 * usize::from(from_saved);
                for second in [None, seconds.get(turn % seconds.len()).copied()] {
                    let fate = Fate { dies: Some((first, after)), ..Fate::default() };
                    let second = second.map(|at| (at, !after));
                    let (crashes, wrong) = until_the_end(&mut World::default(), fate, second, from_saved);
                    lives += crashes + 1;
                    assert_eq!(wrong, Vec::<String>::new(), "after {fate:?}, then {second:?}, saved {from_saved}");
                }
            }
        }
    }
    println!("{effects} effects, {points} crash points, {lives} lives: no orphan, no duplicate, not one server too many");
    println!("calls covered: {:?}", whole.kinds);
    assert!(points > 100);
    let kinds: Vec<&str> = whole.kinds.keys().copied().collect();
    assert_eq!(kinds, ["attach", "keep", "launch", "reboot", "start", "stop", "terminate"]);
}

#[test]
fn any_answer_may_be_lost_and_any_record_may_fail() {
    let mut whole = World::default();
    let mut life = Life::new(&mut whole, None, Fate::default());
    assert!(life.live());
    let (records, calls) = (life.records, life.world.calls);
    let losses = (1..=calls).flat_map(|at| [Loss::Before, Loss::After].map(|loss| (at, loss)));
    let losses = losses.map(|loses| Fate { loses: Some(loses), ..Fate::default() });
    let failures = (1..=records).map(|at| Fate { fails_to_write: Some(at), ..Fate::default() });
    for fate in losses.chain(failures) {
        let (_, wrong) = until_the_end(&mut World::default(), fate, None, false);
        assert_eq!(wrong, Vec::<String>::new(), "{fate:?}");
    }
    println!("{calls} calls lost before and after their effect, {records} records not written");
}

#[test]
fn planted_mistakes_are_found() {
    for bug in Bug::ALL {
        let found = (0..60).find_map(|at| {
            let mut world = World { bug, ..World::default() };
            let fate = Fate { dies: Some((at, true)), ..Fate::default() };
            until_the_end(&mut world, fate, None, false).1.into_iter().next()
        });
        println!("{bug:?}: {}", found.as_deref().unwrap_or("not found"));
        assert!(found.is_some(), "{bug:?} is not found");
    }
}

//! Crashes the executor between any two effects, and again during the recovery, and counts what is left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use super::*;
use farm_shared::draw::Draws;
use farm_shared::id::Id;
use farm_shared::time::Wall;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

/// A provider that is idempotent by token, and everything that survives a crash of the scaler.
#[derive(Clone, Default)]
struct World {
    journal: Vec<String>,
    by_token: BTreeMap<String, String>,
    instances: BTreeMap<String, Instance>,
    calls: usize,
    now_ms: u64,
}

impl World {
    fn call(&mut self, call: ProviderCall) -> CallOutcome {
        self.calls += 1;
        let refusal = |kind| Err(ProviderError { kind, message: String::new() });
        let result = match &call {
            // Every third call takes effect and its answer is lost; every fifth is refused unless it took effect before.
            ProviderCall::Launch(request) => {
                if self.calls.is_multiple_of(5) && !self.by_token.contains_key(&request.token) {
                    return CallOutcome { call, result: refusal(ErrorKind::NoCapacity) };
                }
                let name =
                    self.by_token.entry(request.token.clone()).or_insert_with(|| format!("i-{}", self.instances.len()));
                let instance = self.instances.entry(name.clone()).or_insert_with(|| Instance {
                    member_id: Some(request.member_id.clone()),
                    intent: Some(request.intent.clone()),
                    ..Instance::new(name.clone(), request.farm.clone(), InstanceState::Running, self.now_ms)
                });
                if self.calls.is_multiple_of(3) { refusal(ErrorKind::Transient) } else { Ok(Some(instance.clone())) }
            }
            ProviderCall::Terminate(request) => match self.instances.get_mut(&request.instance_id) {
                Some(instance) => {
                    instance.state = InstanceState::Gone;
                    if self.calls.is_multiple_of(3) { refusal(ErrorKind::Transient) } else { Ok(Some(instance.clone())) }
                }
                None => refusal(ErrorKind::NotFound),
            },
            _ => Ok(None),
        };
        CallOutcome { call, result }
    }

    fn alive(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values().filter(|i| i.state.is_alive())
    }
}

/// One life of a scaler that wants as many servers as `wanted` says at each stage. It dies before effect number `die_at` (or,
/// with `after`, behind it: the effect took place and nobody heard). True if it reached the end.
fn live(world: &mut World, saved: Option<&ExecState>, die_at: usize, after: bool) -> (bool, ExecState) {
    let records: Vec<Record> = world.journal.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut state = saved.cloned().unwrap_or_default().replay(&records);
    let mut draws = Draws::from_u64(3);
    let mut queue: VecDeque<ExecEvent> = VecDeque::new();
    let mut performed = 0;
    for wanted in [3_usize, 5, 2] {
        // A stage that an earlier life finished must not be undone by going back: it only ever adds or removes what is missing.
        for _ in 0..60 {
            world.now_ms += 61_000;
            queue.push_back(ExecEvent::Listing(world.instances.values().cloned().collect()));
            queue.push_back(ExecEvent::Tick);
            let have = state.running().count() + state.launches_open();
            let mut plan = Plan { launch: wanted.saturating_sub(have) as u32, ..Plan::default() };
            plan.terminate = state.running().skip(wanted).filter_map(|i| i.member_id.clone()).collect();
            if !plan.is_empty() && state.intents.is_empty() {
                queue.push_back(ExecEvent::Plan {
                    farm: id("mail"),
                    observation: Box::default(),
                    plan,
                    report: Report::default(),
                    violations: Vec::new(),
                    dry_run: false,
                    taken: BTreeSet::new(),
                });
            }
            while let Some(event) = queue.pop_front() {
                let (next, effects) = step(state, event, Wall(world.now_ms), &mut draws);
                state = next;
                for effect in effects {
                    if performed == die_at && !after {
                        return (false, state);
                    }
                    let heard = match effect {
                        ExecEffect::Journal(record) => {
                            world.journal.push(serde_json::to_string(&record).unwrap());
                            ExecEvent::Journalled { seq: record.seq, ok: true }
                        }
                        ExecEffect::Call(call) => {
                            let written = |r: &Record| matches!(&r.entry, Entry::Intent { call: c } if *c == call);
                            let on_disk = world.journal.iter().any(|line| written(&serde_json::from_str(line).unwrap()));
                            assert!(on_disk, "called before its intent was on disk: {call:?}");
                            ExecEvent::Outcome(world.call(call))
                        }
                    };
                    if performed == die_at {
                        return (false, state);
                    }
                    performed += 1;
                    queue.push_back(heard);
                }
            }
            if state.running().count() == wanted && state.intents.is_empty() {
                break;
            }
        }
    }
    (true, state)
}

fn check_end(world: &World, state: &ExecState, context: &str) {
    let real: BTreeSet<&str> = world.alive().map(|i| i.instance_id.as_str()).collect();
    let known: BTreeSet<&str> = state.running().map(|i| i.instance_id.as_str()).collect();
    assert_eq!(real, known, "orphans or ghosts {context}");
    assert_eq!(real.len(), 2, "{context}");
    let mut members = BTreeSet::new();
    for instance in world.instances.values() {
        assert!(members.insert(instance.intent.clone()), "two instances of one intent {context}: {instance:?}");
    }
    assert!(state.intents.is_empty());
}

#[test]
fn no_orphan_and_no_duplicate_wherever_it_crashes() {
    let mut points = 0;
    let (mut crashed_in_all, mut ends) = (true, 0);
    for after in [false, true] {
        for first in 0.. {
            let mut world = World::default();
            let (ended, state) = live(&mut world, None, first, after);
            if ended {
                check_end(&world, &state, "without a crash");
                ends += 1;
                break;
            }
            points += 1;
            // Restart from the journal alone, or from the state that was persisted at the crash and the journal.
            for saved in [None, Some(&state)] {
                for second in [usize::MAX, 0, 1, 2, 3, 5, 8] {
                    let mut world = world.clone();
                    let (ended, mut state) = live(&mut world, saved, second, !after);
                    if !ended {
                        points += 1;
                        let (ended, last) = live(&mut world, None, usize::MAX, false);
                        crashed_in_all &= ended;
                        state = last;
                    }
                    check_end(&world, &state, &format!("after crashes at {first} and {second}, saved {}", saved.is_some()));
                }
            }
        }
    }
    println!("{points} crash points, {ends} uninterrupted runs: no orphan, no duplicate");
    assert!(crashed_in_all && points > 100);
}

#[test]
fn nothing_is_called_when_the_journal_fails() {
    let mut draws = Draws::from_u64(1);
    let plan = ExecEvent::Plan {
        farm: id("mail"),
        observation: Box::default(),
        plan: Plan { launch: 1, ..Plan::default() },
        report: Report::default(),
        violations: Vec::new(),
        dry_run: false,
        taken: BTreeSet::from([id("b1")]),
    };
    let (state, effects) = step(ExecState::default(), plan.clone(), Wall(1), &mut draws);
    assert_eq!(effects.len(), 2);
    let Some(ExecEffect::Journal(record)) = effects.last() else { panic!("{effects:?}") };
    let Entry::Intent { call: ProviderCall::Launch(request) } = &record.entry else { panic!("{record:?}") };
    assert_eq!((request.member_id.as_str(), request.attempt, request.token.len()), ("b2", 1, 32));
    let (state, effects) = step(state, ExecEvent::Journalled { seq: record.seq, ok: false }, Wall(2), &mut draws);
    assert!(effects.iter().all(|e| matches!(e, ExecEffect::Journal(_))));
    assert!(state.intents.is_empty());
    let ExecEvent::Plan { farm, observation, plan, report, violations, taken, .. } = plan else { unreachable!() };
    let dry = ExecEvent::Plan { farm, observation, plan, report, violations, taken, dry_run: true };
    let (state, effects) = step(state, dry, Wall(3), &mut draws);
    assert_eq!((effects.len(), state.intents.len()), (1, 0));
}

#[test]
fn a_clock_that_was_set_back_holds_up_no_retry() {
    const NOON_MS: u64 = 100_000_000;
    let mut draws = Draws::from_u64(1);
    let call = ProviderCall::Terminate(InstanceRequest { intent: "i1".into(), instance_id: "i-1".into() });
    let record = Record { seq: 1, wall_ms: NOON_MS, entry: Entry::Intent { call: call.clone() } };
    let state = ExecState::default().replay(std::slice::from_ref(&record));
    let calls = |effects: &[ExecEffect]| effects.iter().filter(|e| matches!(e, ExecEffect::Call(_))).count();
    let (state, effects) = step(state, ExecEvent::Tick, Wall(NOON_MS), &mut draws);
    assert_eq!(calls(&effects), 1);
    let throttled = ProviderError { kind: ErrorKind::Throttled, message: String::new() };
    let outcome = ExecEvent::Outcome(CallOutcome { call, result: Err(throttled) });
    let (state, effects) = step(state, outcome, Wall(NOON_MS), &mut draws);
    assert_eq!(calls(&effects), 0, "it pauses");
    let (state, effects) = step(state, ExecEvent::Tick, Wall(NOON_MS + 1), &mut draws);
    assert_eq!(calls(&effects), 0, "it pauses still");
    let (_, effects) = step(state, ExecEvent::Tick, Wall(NOON_MS - 3_600_000), &mut draws);
    assert_eq!(calls(&effects), 1, "an hour earlier on the clock, not later in the world");
}

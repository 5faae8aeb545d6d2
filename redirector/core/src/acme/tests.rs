#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use super::budget::{DUPLICATES_MAX, ISSUED_SPAN_MS, ORDERS_MAX, ORDERS_SPAN_MS, VALIDATIONS_MAX, VALIDATIONS_SPAN_MS};
use super::*;
use farm_shared::time::{Mono, Wall};
use proptest::prelude::*;

const BEGIN: u64 = 1_700_000_000_000;

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

fn policy(rehearses: bool) -> Policy {
    Policy { names: names(&["*.farm.example.com", "mail.example.com"]), rehearses, retry_ms: 120_000 }
}

fn machine(rehearses: bool) -> Machine {
    Machine::new(policy(rehearses), State::default(), Draws::from_u64(7))
}

fn at(ms: u64) -> Now {
    Now { mono: Mono(ms), wall: Wall(BEGIN + ms) }
}

/// A certificate that begins now and lives for `days`.
fn facts(now: Now, days: u64) -> Facts {
    let not_before_ms = now.wall.0;
    Facts {
        names: policy(false).names,
        not_before_ms,
        not_after_ms: not_before_ms + days * DAY,
        id: Some("aki.serial".into()),
    }
}

fn attempt_of(effects: &[Effect]) -> Option<(Stage, Option<String>, Option<String>)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Attempt { stage, resume, replaces } => Some((*stage, resume.clone(), replaces.clone())),
        _ => None,
    })
}

fn failure(kind: FailureKind, retry_after_ms: Option<u64>) -> Event {
    Event::Failed(Failure { kind, retry_after_ms, message: "no".into() })
}

#[test]
fn a_rehearsal_comes_first_and_once() {
    let mut machine = machine(true);
    let effects = machine.step(at(0), Event::Tick);
    assert_eq!(effects.first(), Some(&Effect::Persist), "what is done is on the disk before it is");
    assert_eq!(attempt_of(&effects), Some((Stage::Rehearsal, None, None)));
    assert!(machine.step(at(1), Event::Tick).is_empty(), "one at a time");
    machine.step(at(2), Event::Issued(facts(at(2), 90)));
    assert!(machine.state().certificate.is_none(), "what a rehearsal gives is not served");
    assert_eq!(attempt_of(&machine.step(at(3), Event::Tick)), Some((Stage::Real, None, None)));
    machine.step(at(4), Event::Issued(facts(at(4), 90)));
    // The renewal of the same names needs no rehearsal, and says what it replaces.
    let due = machine.state().renew_at_ms - BEGIN;
    assert!((55 * DAY..=60 * DAY).contains(&due), "{due}");
    assert_eq!(attempt_of(&machine.step(at(due - 1), Event::Tick)), None);
    assert_eq!(attempt_of(&machine.step(at(due), Event::Tick)), Some((Stage::Real, None, Some("aki.serial".into()))));
}

#[test]
fn an_order_under_way_outlives_a_crash_and_its_records_are_removed() {
    let mut machine = machine(false);
    machine.step(at(0), Event::Tick);
    machine.step(at(1), Event::Ordered { url: "https://ca/order/1".into() });
    let planted = Planted { name: "_acme-challenge.example.com".into(), value: "v".into() };
    machine.step(at(2), Event::Planting(planted.clone()));
    let text = serde_json::to_string(machine.state()).unwrap();
    let state: State = serde_json::from_str(&text).unwrap();
    let mut machine = Machine::new(policy(false), state, Draws::from_u64(8));
    let resumed = attempt_of(&machine.step(at(3), Event::Tick));
    assert_eq!(resumed, Some((Stage::Real, Some("https://ca/order/1".into()), None)));
    machine.step(at(4), Event::Issued(facts(at(4), 90)));
    assert_eq!(machine.step(at(5), Event::Tick).first(), Some(&Effect::Pull(planted.clone())));
    machine.step(at(6), Event::Pulled(planted));
    assert!(machine.state().planted.is_empty());
}

#[test]
fn pauses_grow_and_the_authority_is_heard() {
    let cases: [(FailureKind, Option<u64>, u64, u64); 5] = [
        (FailureKind::Local, None, 30_000, 36_000),
        (FailureKind::Refused, None, 120_000, 144_000),
        (FailureKind::RateLimited, None, HOUR, HOUR + HOUR / 5),
        (FailureKind::RateLimited, Some(2 * DAY), 2 * DAY, 2 * DAY),
        (FailureKind::RateLimited, Some(u64::MAX), RATE_LIMITED_MS_MAX, RATE_LIMITED_MS_MAX),
    ];
    for (kind, told, least, most) in cases {
        let mut machine = machine(false);
        machine.step(at(0), Event::Tick);
        machine.step(at(0), failure(kind, told));
        let pause = machine.state().next_try_ms - BEGIN;
        assert!((least..=most).contains(&pause), "{kind:?} {told:?}: {pause}");
        assert_eq!(machine.state().under_way.is_some(), kind == FailureKind::Local, "only what nobody refused goes on");
        assert_eq!(attempt_of(&machine.step(at(least - 1), Event::Tick)), None);
        assert!(attempt_of(&machine.step(at(most), Event::Tick)).is_some());
    }
}

#[test]
fn renewal_information_is_followed_within_reason() {
    let mut machine = machine(false);
    machine.step(at(0), Event::Found(Some(facts(at(0), 80))));
    assert!(machine.step(at(1), Event::Tick).contains(&Effect::AskRenewalInfo { id: "aki.serial".into() }));
    let window = |from: u64, to: u64| {
        Event::RenewalInfo(Ok(RenewalWindow { start_ms: BEGIN + from, end_ms: BEGIN + to, ask_again_ms: 6 * HOUR }))
    };
    machine.step(at(2), window(20 * DAY, 22 * DAY));
    let chosen = machine.state().renew_at_ms;
    assert!((BEGIN + 20 * DAY..=BEGIN + 22 * DAY).contains(&chosen));
    machine.step(at(3), window(20 * DAY, 22 * DAY));
    assert_eq!(machine.state().renew_at_ms, chosen, "the same window gives no second draw");
    assert!(!machine.step(at(HOUR), Event::Tick).contains(&Effect::AskRenewalInfo { id: "aki.serial".into() }));
    machine.step(at(4), window(79 * DAY, 400 * DAY));
    assert!(machine.state().renew_at_ms <= BEGIN + 70 * DAY, "there must be time to fail in");
    machine.step(at(5), window(5, 1));
    assert!(machine.state().renew_at_ms > BEGIN + 60 * DAY, "a window that ends before it begins is none");
    machine.step(at(6), window(0, 1));
    assert!(attempt_of(&machine.step(at(7), Event::Tick)).is_some(), "one that is over means now");
}

#[test]
fn an_operator_is_told_in_time() {
    let mut machine = machine(false);
    assert_eq!(machine.status("door", at(0)).alarm, None, "there was no time to get one yet");
    machine.step(at(0), Event::Tick);
    machine.step(at(1), failure(FailureKind::Local, None));
    assert!(machine.status("door", at(1)).alarm.is_some());
    machine.step(at(2), Event::Found(Some(facts(at(2), 90))));
    assert_eq!(machine.status("door", at(3)).alarm, None);
    assert_eq!(machine.status("door", at(80 * DAY)).alarm, Some("the certificate ends soon"));
    assert_eq!(machine.status("door", at(91 * DAY)).alarm, Some("the certificate is out of date"));
}

#[test]
fn a_clock_that_was_wrong_holds_up_nothing_for_long() {
    let state = State { next_try_ms: u64::MAX, ..State::default() };
    let mut machine = Machine::new(policy(false), state, Draws::from_u64(1));
    machine.step(at(0), Event::Tick);
    assert!(attempt_of(&machine.step(at(RATE_LIMITED_MS_MAX), Event::Tick)).is_some());
}

/// What may happen between two looks.
#[derive(Clone, Debug)]
enum Step {
    /// Time goes by.
    Wait(u64),
    /// The wall clock jumps ahead.
    Jump(u64),
    /// The daemon is killed and starts again.
    Crash,
    /// How an attempt ends that may be running: how far it came, and what then.
    End(u8, u8),
    /// An authority that wants a renewal now.
    Hasten,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..30 * MINUTE).prop_map(Step::Wait),
        1 => (HOUR..DAY).prop_map(Step::Wait),
        1 => (MINUTE..10 * DAY).prop_map(Step::Jump),
        1 => Just(Step::Crash),
        6 => (0..3_u8, 0..5_u8).prop_map(|(far, end)| Step::End(far, end)),
        1 => Just(Step::Hasten),
    ];
    prop::collection::vec(step, 1..400)
}

fn most_within(times: &[u64], span_ms: u64) -> usize {
    times
        .iter()
        .map(|from| times.iter().filter(|at| (*from..from.saturating_add(span_ms)).contains(*at)).count())
        .max()
        .unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever fails, crashes and is wished for: no rate limit is met. Jumps of the clock and crashes do not come together here,
    /// since a crash loses the one clock and a jump the other.
    #[test]
    fn no_rate_limit_is_ever_met(steps in steps(), jumps in any::<bool>()) {
        let mut machine = machine(false);
        let (mut mono, mut wall) = (0, BEGIN);
        let (mut orders, mut failed, mut issued) = (Vec::new(), Vec::new(), Vec::new());
        let mut running = false;
        for step in steps {
            match step {
                Step::Wait(ms) => (mono, wall) = (mono + ms, wall + ms),
                Step::Jump(ms) if jumps => wall += ms,
                Step::Crash if !jumps => {
                    let state = serde_json::from_str(&serde_json::to_string(machine.state()).unwrap()).unwrap();
                    machine = Machine::new(policy(false), state, Draws::from_u64(mono));
                    running = false;
                }
                Step::End(far, end) if running => {
                    let now = Now { mono: Mono(mono), wall: Wall(wall) };
                    machine.step(now, Event::Ordered { url: "u".into() });
                    if far > 0 {
                        machine.step(now, Event::Validating);
                        failed.push(mono);
                    }
                    if far > 1 {
                        machine.step(now, Event::Validated);
                        failed.pop();
                    }
                    running = false;
                    match end {
                        0 => drop(machine.step(now, failure(FailureKind::Local, None))),
                        1 => drop(machine.step(now, failure(FailureKind::Refused, Some(1)))),
                        2 => drop(machine.step(now, failure(FailureKind::RateLimited, None))),
                        _ if far > 1 => {
                            issued.push(mono);
                            machine.step(now, Event::Issued(facts(now, 6)));
                        }
                        _ => drop(machine.step(now, failure(FailureKind::Refused, None))),
                    }
                }
                Step::Hasten => {
                    let again = RenewalWindow { start_ms: wall - 2, end_ms: wall - 1, ask_again_ms: 0 };
                    machine.step(Now { mono: Mono(mono), wall: Wall(wall) }, Event::RenewalInfo(Ok(again)));
                }
                Step::Jump(_) | Step::Crash | Step::End(..) => {}
            }
            let effects = machine.step(Now { mono: Mono(mono), wall: Wall(wall) }, Event::Tick);
            if let Some((_, resume, _)) = attempt_of(&effects) {
                prop_assert!(!running);
                running = true;
                if resume.is_none() {
                    orders.push(mono);
                }
            }
        }
        prop_assert!(most_within(&failed, VALIDATIONS_SPAN_MS) <= VALIDATIONS_MAX + 1);
        prop_assert!(most_within(&orders, ORDERS_SPAN_MS) <= ORDERS_MAX);
        if !jumps {
            prop_assert!(most_within(&issued, ISSUED_SPAN_MS) <= DUPLICATES_MAX);
        }
    }

    #[test]
    fn damaged_state_is_refused_or_understood(text in "[{}\\[\\]\":,a-z_0-9]{0,80}") {
        let _ = serde_json::from_str::<State>(&text);
    }
}

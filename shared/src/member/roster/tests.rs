//! Virtual time over the roster: `step` lines in, visible changes out.

use super::*;
use crate::heartbeat::{Load, Notice, NoticeKind, Role, VERSION};
use crate::time::Wall;

const PERIOD_MS: u64 = 1_000;

fn beat(id: &str, inc: u64, seq: u64) -> Heartbeat {
    Heartbeat {
        v: VERSION,
        farm: Id::new("mail").expect("id"),
        id: Id::new(id).expect("id"),
        role: Role::Backend,
        inc,
        seq,
        time_ms: 0,
        period_ms: PERIOD_MS,
        addrs: vec!["127.0.1.11".parse().expect("address")],
        port: 80,
        zone: None,
        state: State::Up,
        drain_by: Vec::new(),
        load: Load::default(),
        heard: Vec::new(),
        notice: None,
        tombstones: Vec::new(),
        killed: None,
    }
}

fn at(ms: u64) -> Now {
    Now { mono: Mono(ms), wall: Wall(1_700_000_000_000 + ms) }
}

/// Ticks every 100 ms up to `to`, as the shell does, and collects the changes.
fn pass(roster: &mut Roster, from: u64, to: u64) -> Vec<(u64, String, Change)> {
    (from / 100..=to / 100)
        .flat_map(|step| {
            roster.tick(at(step * 100)).into_iter().map(move |(id, c)| (step * 100, id.to_string(), c)).collect::<Vec<_>>()
        })
        .collect()
}

fn standing(roster: &Roster, id: &str) -> Option<Standing> {
    roster.get(&Id::new(id).expect("id")).map(Member::standing)
}

#[test]
fn a_member_joins_falls_late_silent_and_is_forgotten() {
    let mut roster = Roster::new(LeasePolicy::default());
    assert_eq!(roster.observe(at(0), beat("a", 1, 1)), Ok(vec![Change::Joined]));
    for seq in 0..60 {
        // A neighbour that stays, so that silence is not the rule.
        for id in ["b", "c"] {
            let _ = roster.observe(at(seq * 1_000), beat(id, 1, seq + 1));
        }
        let changes = pass(&mut roster, seq * 1_000, seq * 1_000 + 999);
        let of_a: Vec<_> = changes.iter().filter(|(_, id, _)| id == "a").map(|(t, _, c)| (*t, *c)).collect();
        match seq {
            1 => assert_eq!(of_a, [(1_500, Change::Late)]),
            3 => assert_eq!(of_a, [(3_000, Change::Silent)]),
            33 => assert_eq!(of_a, [(33_000, Change::Forgotten)]),
            _ => assert_eq!(of_a, []),
        }
    }
    assert_eq!(standing(&roster, "a"), None);
    assert_eq!(roster.observe(at(60_000), beat("a", 1, 1)), Err(Refusal::Replayed));
}

#[test]
fn order_and_incarnations() {
    let mut roster = Roster::new(LeasePolicy::default());
    let _ = roster.observe(at(0), beat("a", 5, 10));
    assert_eq!(roster.observe(at(10), beat("a", 5, 10)), Err(Refusal::Replayed));
    assert_eq!(roster.observe(at(20), beat("a", 5, 9)), Err(Refusal::Reordered));
    assert_eq!(roster.observe(at(30), beat("a", 6, 1)), Ok(vec![Change::Returned]));
    assert_eq!(roster.observe(at(40), beat("a", 5, 11)), Err(Refusal::OldIncarnation));
    let member = roster.get(&Id::new("a").expect("id")).expect("member");
    assert!(member.twins_until > Mono(40));
}

#[test]
fn goodbye_and_tombstone_forget_at_once_and_no_replay_resurrects() {
    let mut roster = Roster::new(LeasePolicy::default());
    let _ = roster.observe(at(0), beat("a", 5, 10));
    let _ = roster.observe(at(0), beat("b", 5, 10));
    let mut goodbye = beat("a", 5, 11);
    goodbye.state = State::Goodbye;
    assert_eq!(roster.observe(at(1), goodbye), Ok(vec![Change::Forgotten]));
    assert_eq!(roster.observe(at(2), beat("a", 5, 10)), Err(Refusal::Replayed));
    assert_eq!(roster.bury(at(3), &Id::new("b").expect("id"), 5), Some(Change::Forgotten));
    assert_eq!(roster.observe(at(4), beat("b", 5, 99)), Err(Refusal::Terminated));
    assert_eq!(roster.observe(at(5), beat("b", 6, 1)), Ok(vec![Change::Joined]));
}

#[test]
fn a_restart_keeps_members_unknown_for_one_grace_and_operators_words() {
    let mut roster = Roster::new(LeasePolicy::default());
    for id in ["a", "b", "c"] {
        let _ = roster.observe(at(0), beat(id, 1, 1));
    }
    roster.force(&Id::new("b").expect("id"), Some((Forced::Down, "disk".into())));
    let text = serde_json::to_string(&roster.save()).expect("saved");
    let mut roster = Roster::restore(LeasePolicy::default(), serde_json::from_str(&text).expect("restored"), at(0));
    assert_eq!(standing(&roster, "a"), Some(Standing::Unknown));
    assert_eq!(standing(&roster, "b"), Some(Standing::AdminDown));
    assert_eq!(roster.observe(at(10), beat("a", 1, 1)), Err(Refusal::Replayed), "a replay across the restart");
    assert_eq!(roster.observe(at(10), beat("a", 1, 2)), Ok(vec![Change::Returned]));
    let changes = pass(&mut roster, 0, 10_000);
    assert!(changes.contains(&(10_000, "c".into(), Change::Silent)), "{changes:?}");
}

/// Who died again soon after a return, or soon after our restart, is silent after one lease like anybody else.
#[test]
fn a_second_death_is_noticed_as_fast_as_the_first() {
    let mut roster = Roster::new(LeasePolicy::default());
    let _ = roster.observe(at(0), beat("a", 1, 1));
    assert!(pass(&mut roster, 0, 3_000).contains(&(3_000, "a".into(), Change::Silent)));
    let saved = roster.save();
    for mut roster in [roster, Roster::restore(LeasePolicy::default(), saved, at(3_000))] {
        assert_eq!(roster.observe(at(3_500), beat("a", 1, 2)), Ok(vec![Change::Returned]));
        let changes = pass(&mut roster, 3_500, 7_000);
        assert_eq!(changes, [(5_000, "a".into(), Change::Late), (6_500, "a".into(), Change::Silent)]);
    }
}

#[test]
fn deadlines_do_not_pile_up() {
    let mut roster = Roster::new(LeasePolicy::default());
    for step in 0..2_000_u64 {
        let mut heartbeat = beat("a", 1, step);
        heartbeat.period_ms = if step % 2 == 0 { 60_000 } else { 100 };
        heartbeat.state = if step % 7 == 0 { State::Goodbye } else { State::Up };
        let _ = roster.observe(at(step * 1_000), heartbeat);
        roster.tick(at(step * 1_000 + 500));
    }
    // What is stale stays until it is due, at most half of the longest lease.
    assert!(roster.deadlines.len() <= 91, "{}", roster.deadlines.len());
}

#[test]
fn an_operators_word_and_the_replay_guard_outlive_a_goodbye_and_our_restart() {
    let mut roster = Roster::new(LeasePolicy::default());
    let id = Id::new("a").expect("id");
    let _ = roster.observe(at(0), beat("a", 5, 10));
    roster.force(&id, Some((Forced::Drain, "disk".into())));
    let _ = roster.observe(at(1), Heartbeat { state: State::Goodbye, ..beat("a", 5, 11) });
    let mut roster = Roster::restore(LeasePolicy::default(), roster.save(), at(2));
    assert_eq!(roster.observe(at(3), beat("a", 5, 10)), Err(Refusal::Replayed));
    assert_eq!(roster.observe(at(4), beat("a", 6, 1)), Ok(vec![Change::Joined]));
    assert_eq!(standing(&roster, "a"), Some(Standing::Draining));
    assert_eq!(roster.force(&id, None), Some(Change::Forced));
    let _ = roster.observe(at(5), Heartbeat { state: State::Goodbye, ..beat("a", 6, 2) });
    let _ = roster.observe(at(6), beat("a", 7, 1));
    assert_eq!(standing(&roster, "a"), Some(Standing::InService));
}

#[test]
fn our_own_sleep_expires_nobody() {
    let mut roster = Roster::new(LeasePolicy::default());
    let _ = roster.observe(at(0), beat("a", 1, 1));
    assert_eq!(roster.tick(at(3_600_000)), []);
    assert_eq!(standing(&roster, "a"), Some(Standing::InService));
}

#[test]
fn mass_silence_forgets_nobody() {
    let mut roster = Roster::new(LeasePolicy::default());
    for id in ["a", "b", "c"] {
        let _ = roster.observe(at(0), beat(id, 1, 1));
    }
    let changes = pass(&mut roster, 0, 120_000);
    assert_eq!(changes.iter().filter(|(_, _, c)| *c == Change::Silent).count(), 3);
    assert_eq!(roster.members().len(), 3);
    assert!(roster.mostly_silent());
    let _ = roster.observe(at(120_100), beat("a", 1, 2));
    let _ = roster.observe(at(120_100), beat("b", 1, 2));
    // What the silence of `c` says begins to count only now.
    let forgotten =
        |changes: &[(u64, String, Change)]| changes.iter().any(|(_, id, c)| id == "c" && *c == Change::Forgotten);
    let member = roster.get(&Id::new("c").expect("id")).expect("member");
    assert!(roster.silent_ms(member, at(120_200)) <= 100);
    for second in 1..29 {
        let from = 120_100 + second * 1_000;
        let changes = pass(&mut roster, from, from + 1_000);
        assert!(!forgotten(&changes), "{changes:?}");
        for id in ["a", "b"] {
            let _ = roster.observe(at(from + 1_000), beat(id, 1, 2 + second));
        }
    }
    assert!(forgotten(&pass(&mut roster, 149_100, 152_000)));
}

#[test]
fn most_who_never_come_back_are_forgotten_one_by_one() {
    let check = |heard: &[&str], expect: &[u64]| {
        let mut roster = Roster::new(LeasePolicy::default());
        for id in ["a", "b", "c", "d", "e"] {
            let _ = roster.observe(at(0), beat(id, 1, 1));
        }
        let mut forgotten = vec![];
        for second in 1..=1_000 {
            let changes = pass(&mut roster, (second - 1) * 1_000, second * 1_000);
            forgotten.extend(changes.iter().filter(|(_, _, c)| *c == Change::Forgotten).map(|(at, _, _)| at / 1_000));
            for id in heard {
                let _ = roster.observe(at(second * 1_000), beat(id, 1, 1 + second));
            }
        }
        assert_eq!(forgotten, expect, "{heard:?}");
    };
    // Twenty times thirty seconds in doubt, then one each thirty seconds; of the last half at once what is over.
    check(&["a"], &[603, 633, 663, 693]);
    check(&["a", "b"], &[603, 633, 633]);
    check(&["a", "b", "c"], &[33, 33]);
    check(&[], &[]);
}

proptest::proptest! {
    /// Whatever comes in whatever order: the count of silent members is right, and a member's (inc, seq) never falls.
    #[test]
    fn counts_hold_and_sequences_never_fall(steps in proptest::collection::vec((0_u8..4, 0_u64..4, 0_u64..20, 0_u64..3_000, 0_u8..6), 1..200)) {
        let mut roster = Roster::new(LeasePolicy::default());
        let mut time = 0;
        let mut highest: BTreeMap<Id, (u64, u64)> = BTreeMap::new();
        for (who, inc, seq, wait, what) in steps {
            time += wait;
            let mut heartbeat = beat(&format!("m{who}"), inc + 1, seq);
            if what == 0 { heartbeat.state = State::Goodbye; }
            let id = heartbeat.id.clone();
            if what == 1 { roster.tick(at(time)); }
            else if roster.observe(at(time), heartbeat).is_ok() {
                let key = (inc + 1, seq);
                let before = highest.insert(id, key);
                // Replay protection of a departed member ends with the skew window.
                proptest::prop_assert!(before.is_none_or(|b| b < key) || time > 60_000);
            }
            let silent = roster.members().values().filter(|m| m.freshness == Freshness::Silent).count();
            proptest::prop_assert_eq!(silent, roster.silent());
        }
    }
}

#[test]
fn a_notice_is_seen_when_it_changes() {
    let mut roster = Roster::new(LeasePolicy::default());
    let notice = Some(Notice { kind: NoticeKind::Rebalance, at_ms: 1 });
    for (seq, notice, expect) in [
        (1, None, vec![Change::Joined]),
        (2, notice, vec![Change::Notice]),
        (3, notice, vec![]),
        (4, None, vec![Change::Notice]),
    ] {
        let heartbeat = Heartbeat { notice, ..beat("a", 1, seq) };
        assert_eq!(roster.observe(at(seq), heartbeat), Ok(expect), "{seq}");
    }
}

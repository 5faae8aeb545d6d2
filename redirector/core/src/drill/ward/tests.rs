//! The ward's promises: once per key, never the last, never above the radius, and everything cut off is healed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use farm_shared::heartbeat::KillOutcome;
use farm_shared::time::Wall;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn at(ms: u64) -> Now {
    Now { mono: Mono(ms), wall: Wall(1_000_000 + ms) }
}

fn scene(healthy: &[&str], down: &[&str]) -> Scene {
    let set = |ids: &[&str]| ids.iter().map(|i| id(i)).collect();
    Scene { healthy: set(healthy), down: set(down) }
}

fn hit(key: &str, member: &str, fault: Fault) -> HitRequest {
    let model = match fault {
        Fault::Kill => Model::Random,
        Fault::Isolate => Model::Network,
        Fault::KillProcess(_) => Model::Process,
    };
    HitRequest { key: id(key), model, fault, member: id(member), heal_ms: Some(10_000) }
}

fn half() -> Radius {
    Radius::new(0.5).unwrap()
}

#[test]
fn a_kill_is_journalled_made_once_noticed_and_replaced() {
    let mut ward = Ward::default();
    let all = scene(&["b1", "b2", "b3"], &[]);
    let request = hit("d1-1", "b2", Fault::Kill);
    let effect = ward.hit(request.clone(), Some("p-b2".into()), &all, half(), at(0)).unwrap();
    assert_eq!(effect, Some(WardEffect::Journal(request.clone(), Some("p-b2".into()))));
    assert_eq!(ward.hit(request, Some("p-b2".into()), &all, half(), at(1)), Ok(None), "the same key again");
    let act = ward.journalled(&id("d1-1"), true, at(10)).unwrap();
    assert_eq!(act, WardEffect::Act(id("d1-1"), "p-b2".into(), Fault::Kill));
    assert_eq!(ward.journalled(&id("d1-1"), true, at(11)), None);
    ward.outcome(&id("d1-1"), Ok(()), false, at(12));
    assert_eq!(ward.census(&all, Mono(12)), Census { healthy: 2, down: 1 }, "not noticed yet, and down all the same");
    assert!(ward.tick(&all, at(500)).is_empty());
    ward.tick(&scene(&["b1", "b3"], &[]), at(1_510));
    ward.tick(&scene(&["b1", "b3", "b4"], &[]), at(9_010));
    let status = ward.status().pop().unwrap();
    assert_eq!((status.noticed_ms, status.restored_ms), (Some(1_500), Some(9_000)));
    assert_eq!(
        ward.totals(Mono(9_010)),
        DrillTotals { hits: [1, 0, 0, 0], noticed_ms: Some(1_500), restored_ms: Some(9_000), ..DrillTotals::default() }
    );
}

#[test]
fn what_would_hurt_too_much_is_refused() {
    let check = |members: &[(&str, &str)], scene: &Scene, share: f64, expect: &str| {
        let mut ward = Ward::default();
        let mut last = Ok(None);
        for (n, (member, instance)) in members.iter().enumerate() {
            let instance = (!instance.is_empty()).then(|| (*instance).to_owned());
            last =
                ward.hit(hit(&format!("d1-{n}"), member, Fault::Kill), instance, scene, Radius::new(share).unwrap(), at(0));
        }
        let told = last.expect_err(expect);
        assert!(told.contains(expect), "{told}");
        assert_eq!(ward.totals(Mono(0)).refused, 1);
    };
    check(&[("b1", "p")], &scene(&["b1"], &["b2", "b3"]), 1.0, "last healthy");
    check(&[("b1", "p"), ("b2", "p")], &scene(&["b1", "b2", "b3", "b4"], &[]), 0.25, "blast radius 25%");
    check(&[("b1", "p"), ("b1", "p")], &scene(&["b1", "b2", "b3", "b4"], &[]), 1.0, "hit already");
    check(&[("b9", "p")], &scene(&["b1", "b2"], &["b9"]), 1.0, "gets no new sessions");
    check(&[("b1", "")], &scene(&["b1", "b2"], &[]), 1.0, "no instance");
    check(&[("b1", "p")], &scene(&["b1", "b2", "b3"], &["b4"]), 0.25, "1 of 4 are down");
}

#[test]
fn what_is_cut_off_is_healed_at_its_deadline_and_until_it_succeeds() {
    let mut ward = Ward::default();
    let all = scene(&["b1", "b2"], &[]);
    ward.hit(hit("d1-1", "b1", Fault::Isolate), Some("p-b1".into()), &all, half(), at(0)).unwrap();
    ward.journalled(&id("d1-1"), true, at(0));
    ward.outcome(&id("d1-1"), Ok(()), false, at(0));
    let after = scene(&["b2"], &["b1"]);
    assert!(ward.tick(&after, at(9_999)).is_empty());
    let heal = vec![WardEffect::Heal(id("d1-1"), "p-b1".into())];
    assert_eq!(ward.tick(&after, at(10_000)), heal);
    assert!(ward.tick(&after, at(10_100)).is_empty(), "one attempt at a time");
    assert!(matches!(ward.outcome(&id("d1-1"), Err("throttled".into()), false, at(10_200)), Some(WardEffect::Notice(_))));
    assert!(ward.tick(&after, at(12_100)).is_empty());
    assert_eq!(ward.tick(&after, at(12_200)), heal);
    assert_eq!(ward.outcome(&id("d1-1"), Ok(()), false, at(12_300)), Some(WardEffect::JournalHealed(id("d1-1"))));
    assert_eq!(ward.save().cut_off, []);
    ward.tick(&all, at(13_000));
    let status = ward.status().pop().unwrap();
    assert_eq!((status.state, status.healed_ms, status.restored_ms), (WoundState::Healed, Some(12_300), Some(13_000)));
}

#[test]
fn what_is_healed_before_it_is_missed_keeps_no_drill_open() {
    let mut ward = Ward::default();
    let all = scene(&["b1", "b2", "b3", "b4"], &[]);
    ward.hit(hit("d-1", "b1", Fault::Isolate), Some("i-1".into()), &all, half(), at(0)).unwrap();
    ward.journalled(&id("d-1"), true, at(0));
    ward.outcome(&id("d-1"), Ok(()), false, at(10));
    assert_eq!(ward.heal(None, at(20)), 1);
    assert_eq!(ward.tick(&all, at(20)), [WardEffect::Heal(id("d-1"), "i-1".into())]);
    ward.outcome(&id("d-1"), Ok(()), false, at(30));
    ward.tick(&all, at(40));
    let status = ward.status();
    assert_eq!((status[0].restored_ms, status[0].word.as_deref()), (Some(0), Some("was never missed")));
}

#[test]
fn a_restart_heals_at_once_and_hits_nothing_again() {
    let mut ward = Ward::default();
    let all = scene(&["b1", "b2", "b3", "b4"], &[]);
    let request = hit("d1-1", "b1", Fault::Isolate);
    ward.hit(request.clone(), Some("p-b1".into()), &all, half(), at(0)).unwrap();
    ward.hit(hit("d1-2", "b2", Fault::Kill), Some("p-b2".into()), &all, half(), at(0)).unwrap();
    // As after a crash with nothing on disk but the journal.
    let mut replayed = SavedWard::default();
    replayed.hit(&request, Some("p-b1"));
    replayed.hit(&hit("d1-2", "b2", Fault::Kill), Some("p-b2"));
    assert_eq!(replayed, ward.save());
    let mut again = Ward::restore(replayed, at(0));
    assert_eq!(again.tick(&all, at(0)), vec![WardEffect::Heal(id("d1-1"), "p-b1".into())]);
    assert_eq!(again.hit(request, Some("p-b1".into()), &all, half(), at(1)), Ok(None));
    assert_eq!(
        again.outcome(&id("d1-1"), Err("no such instance".into()), true, at(2)),
        Some(WardEffect::JournalHealed(id("d1-1")))
    );
    assert_eq!((again.totals(Mono(3)).open, again.census(&all, Mono(3))), (0, Census { healthy: 4, down: 0 }));
}

#[test]
fn agents_are_asked_until_they_answer() {
    let mut ward = Ward::default();
    let all = scene(&["b1", "b2"], &[]);
    let request = |n: u32, member| hit(&format!("d1-{n}"), member, Fault::KillProcess("nginx".into()));
    ward.hit(request(1, "b1"), None, &all, half(), at(0)).unwrap();
    assert_eq!(ward.wish(&id("b1")), None, "not before its record is on disk");
    assert_eq!(ward.journalled(&id("d1-1"), true, at(0)), None);
    let wish = KillWish { key: id("d1-1"), process: "nginx".into() };
    assert_eq!(ward.wish(&id("b1")), Some(wish));
    assert_eq!(ward.wish(&id("b2")), None);
    let word = |n: u32, outcome| KillWord { key: id(&format!("d1-{n}")), outcome };
    assert_eq!(ward.told(&id("b2"), &word(1, KillOutcome::Ended(1)), at(5)), None, "another's word");
    assert!(ward.told(&id("b1"), &word(1, KillOutcome::Accepted), at(100)).is_some());
    assert_eq!(ward.told(&id("b1"), &word(1, KillOutcome::Accepted), at(200)), None, "nothing new");
    assert_eq!(ward.wish(&id("b1")), None);
    ward.tick(&scene(&["b2"], &[]), at(1_100));
    ward.tick(&all, at(2_100));
    assert_eq!(ward.status()[0].noticed_ms, Some(1_000));
    assert_eq!(ward.status()[0].restored_ms, Some(2_000));
    ward.hit(request(2, "b1"), None, &all, half(), at(3_000)).unwrap();
    ward.journalled(&id("d1-2"), true, at(3_000));
    ward.told(&id("b1"), &word(2, KillOutcome::NotAllowed), at(3_100));
    assert_eq!(ward.status()[1].state, WoundState::Failed);
    ward.hit(request(3, "b1"), None, &all, half(), at(4_000)).unwrap();
    ward.journalled(&id("d1-3"), true, at(4_000));
    assert_eq!(ward.tick(&all, at(34_001)).len(), 1);
    assert_eq!((ward.status()[2].state, ward.wish(&id("b1"))), (WoundState::Failed, None));
    assert_eq!(ward.totals(Mono(34_001)).failed, 2);
}

proptest! {
    /// Whatever is asked in whatever order: the farm keeps a healthy server, and no more is down than the radius allows. Servers fall
    /// when they are hit, and come back when they are healed or replaced.
    #[test]
    fn the_farm_survives(
        count in 1_usize..12,
        share in 0.0_f64..=1.0,
        events in prop::collection::vec((0_u8..6, any::<u16>()), 1..120),
    ) {
        let radius = Radius::new(share).unwrap();
        let mut ward = Ward::default();
        let mut fallen: BTreeSet<usize> = BTreeSet::new();
        let mut hidden: BTreeMap<usize, Mono> = BTreeMap::new();
        let mut cut_off: BTreeMap<Id, usize> = BTreeMap::new();
        let mut now = at(0);
        let name = |n: usize| id(&format!("b{n}"));
        for (step, (kind, bits)) in events.into_iter().enumerate() {
            now = now.plus_ms(u64::from(bits));
            // Leases end, each by itself.
            hidden.retain(|_, hit| now.mono.since_ms(*hit) < 300_000);
            let seen = |fallen: &BTreeSet<usize>, hidden: &BTreeMap<usize, Mono>| Scene {
                healthy: (0..count).filter(|n| !fallen.contains(n) || hidden.contains_key(n)).map(name).collect(),
                down: (0..count).filter(|n| fallen.contains(n) && !hidden.contains_key(n)).map(name).collect(),
            };
            let scene = seen(&fallen, &hidden);
            match kind {
                0..=2 => {
                    let n = usize::from(bits) % count;
                    let fault = if bits % 3 == 0 { Fault::Isolate } else { Fault::Kill };
                    let request = HitRequest { heal_ms: Some(5_000), ..hit(&format!("d-{step}"), &format!("b{n}"), fault.clone()) };
                    let before = (fallen.len(), count - fallen.len());
                    if let Ok(Some(_)) = ward.hit(request, Some(format!("p-{n}")), &scene, radius, now) {
                        prop_assert!(before.1 > 1, "the last healthy one");
                        prop_assert!((before.0 + 1) as f64 <= share * count as f64 + 1e-6, "above the radius");
                        ward.journalled(&id(&format!("d-{step}")), true, now);
                        ward.outcome(&id(&format!("d-{step}")), Ok(()), false, now);
                        fallen.insert(n);
                        // Not noticed yet.
                        hidden.insert(n, now.mono);
                        if fault == Fault::Isolate { cut_off.insert(id(&format!("d-{step}")), n); }
                    }
                }
                3 | 4 => hidden.clear(),
                _ => {}
            }
            for effect in ward.tick(&seen(&fallen, &hidden), now) {
                if let WardEffect::Heal(key, _) = effect {
                    let healed = cut_off.remove(&key);
                    prop_assert!(healed.is_some());
                    ward.outcome(&key, Ok(()), false, now);
                    fallen.retain(|n| Some(*n) != healed);
                }
            }
            if kind == 4 {
                fallen.clear();
            }
        }
        now = now.plus_ms(HEAL_MS_MAX);
        for effect in ward.tick(&Scene::default(), now) {
            if let WardEffect::Heal(key, _) = effect {
                cut_off.remove(&key);
            }
        }
        prop_assert!(cut_off.is_empty(), "left cut off: {cut_off:?}");
    }
}

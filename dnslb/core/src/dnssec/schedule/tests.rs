//! Schedules by table, and months of rollovers with every cache that TTLs allow, on two nodes, with a parent, late copies and
//! restarts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::dnssec::SigningKey;
use farm_shared::draw::Draws;
use proptest::prelude::*;
use std::collections::BTreeSet;

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
const START: u64 = 1_800_000_000;

fn zone() -> Name {
    Name::from_text("example").unwrap()
}

fn timing() -> Timing {
    Timing {
        dnskey_ttl_s: HOUR,
        zone_ttl_s_max: DAY,
        ds_ttl_s: DAY,
        propagation_s: HOUR,
        parent_propagation_s: HOUR,
        lead_s: DAY,
    }
}

fn rules(split: bool, entry_days: u64, zone_days: u64) -> KeyRules {
    KeyRules { algorithm: Algorithm::Ed25519, split, entry_lifetime_s: entry_days * DAY, zone_lifetime_s: zone_days * DAY }
}

/// A maker with its disk: makes the keys that it is told to.
struct Maker {
    schedule: Schedule,
    rules: KeyRules,
    timing: Timing,
    made: u8,
}

impl Maker {
    fn new(rules: KeyRules, timing: Timing) -> Self {
        Self { schedule: Schedule::new(&zone(), 7), rules, timing, made: 0 }
    }

    fn step(&mut self, now_s: u64, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let revision = self.schedule.revision;
            let effects = step(&mut self.schedule, &self.rules, &self.timing, now_s, event);
            assert_eq!(effects.contains(&Effect::Save), self.schedule.revision != revision);
            // Whatever is written is read again.
            if self.schedule.revision != revision {
                let again = Schedule::from_json(self.schedule.to_json().as_bytes(), &zone()).unwrap();
                assert_eq!(again, self.schedule);
            }
            if let Some(Effect::Make(role, algorithm)) = effects.first() {
                self.made += 1;
                let key = SigningKey::from_private(*algorithm, role.flags(), &[self.made; 32]).unwrap();
                let new = NewKey { role: *role, algorithm: *algorithm, dnskey: key.dnskey().clone() };
                events.push(Event::Made(new));
            }
        }
    }

    fn tags(&self) -> Vec<u16> {
        self.schedule.keys.iter().map(|key| key.tag).collect()
    }
}

#[test]
fn a_zone_signing_key_is_published_before_it_signs() {
    let mut maker = Maker::new(rules(true, 0, 30), timing());
    maker.step(START, Event::Tick);
    let [ksk, zsk] = maker.tags()[..] else { panic!("{:?}", maker.schedule) };
    let at = |maker: &Maker, s: u64| maker.schedule.view(START + s);
    let first = View { published: vec![ksk, zsk], entry: vec![ksk], zone: vec![zsk], wished: vec![] };
    assert_eq!(at(&maker, 0), first);
    // The parent is asked when no unsigned answer is left in any cache: lead, highest TTL, propagation.
    assert!(at(&maker, 2 * DAY + HOUR - 1).wished.is_empty());
    assert_eq!(at(&maker, 2 * DAY + HOUR).wished, [ksk]);
    maker.step(START + 28 * DAY, Event::Tick);
    assert_eq!(maker.tags().len(), 2);
    maker.step(START + 29 * DAY, Event::Tick);
    let new = maker.tags()[2];
    assert_eq!(at(&maker, 30 * DAY - 1).published, [ksk, zsk]);
    assert_eq!(at(&maker, 30 * DAY).published, [ksk, zsk, new]);
    assert_eq!(at(&maker, 30 * DAY + 2 * HOUR - 1).zone, [zsk]);
    assert_eq!(at(&maker, 30 * DAY + 2 * HOUR).zone, [new]);
    assert_eq!(at(&maker, 31 * DAY + 3 * HOUR - 1).published, [ksk, zsk, new]);
    assert_eq!(at(&maker, 31 * DAY + 3 * HOUR).published, [ksk, new]);
    assert_eq!(at(&maker, 40 * DAY).entry, [ksk]);
    // Nothing more happens of itself.
    let before = maker.schedule.clone();
    maker.step(START + 45 * DAY, Event::Tick);
    assert_eq!(maker.schedule, before);
}

#[test]
fn an_entry_key_waits_for_the_parent() {
    let mut maker = Maker::new(rules(false, 0, 0), timing());
    maker.step(START, Event::Tick);
    let old = maker.tags()[0];
    maker.step(START + 5 * DAY, Event::Parent(vec![old]));
    maker.step(START + 10 * DAY, Event::Roll(Role::Csk));
    let new = maker.tags()[1];
    let at = |maker: &Maker, s: u64| maker.schedule.view(START + s);
    assert_eq!(at(&maker, 11 * DAY + 2 * HOUR - 1).wished, [old]);
    let both = View { published: vec![old, new], entry: vec![old, new], zone: vec![new], wished: vec![new] };
    assert_eq!(at(&maker, 11 * DAY + 2 * HOUR), both);
    // The parent is slow, and shows both for a while: nothing goes.
    maker.step(START + 50 * DAY, Event::Parent(vec![old]));
    maker.step(START + 60 * DAY, Event::Parent(vec![old, new]));
    maker.step(START + 70 * DAY, Event::Tick);
    assert_eq!(at(&maker, 1_000 * DAY), both);
    // The old record is gone from all its servers: it goes when no cache has it.
    maker.step(START + 80 * DAY, Event::Parent(vec![new]));
    assert_eq!(at(&maker, 81 * DAY + HOUR - 1).published, [old, new]);
    assert_eq!(at(&maker, 81 * DAY + HOUR).published, [new]);
    assert_eq!(at(&maker, 81 * DAY + HOUR).entry, [new]);
    // A second rollover only then.
    maker.step(START + 80 * DAY, Event::Roll(Role::Csk));
    assert_eq!(maker.tags().len(), 2);
    maker.step(START + 82 * DAY, Event::Tick);
    assert_eq!(maker.tags().len(), 3);
}

#[test]
fn a_node_without_a_key_does_not_advance() {
    let mut maker = Maker::new(rules(true, 0, 30), timing());
    maker.step(START, Event::Tick);
    maker.step(START + 29 * DAY, Event::Tick);
    let [ksk, old, new] = maker.tags()[..] else { panic!("{:?}", maker.schedule) };
    let usable = |s: u64, has: &[u16]| maker.schedule.usable(START + s, &|tag| has.contains(&tag));
    let all = usable(40 * DAY, &[ksk, old, new]).unwrap();
    assert_eq!((all.view.zone, all.lacking), (vec![new], vec![]));
    // It publishes the key, of which it knows the public part, but signs with the old one.
    let behind = usable(30 * DAY + 3 * HOUR, &[ksk, old]).unwrap();
    assert_eq!((behind.view.zone, behind.view.published, behind.lacking), (vec![old], vec![ksk, old, new], vec![new]));
    let far_behind = usable(40 * DAY, &[ksk, old]).unwrap();
    assert_eq!((far_behind.view.zone, far_behind.view.published), (vec![old], vec![ksk, new, old]));
    assert_eq!(usable(40 * DAY, &[ksk]), None);
    assert_eq!(usable(40 * DAY, &[]), None);
}

#[test]
fn a_clock_before_the_beginning_un_signs_nothing() {
    let mut maker = Maker::new(rules(false, 0, 0), timing());
    maker.step(START, Event::Tick);
    assert_eq!(maker.schedule.view(0), maker.schedule.view(START));
    assert!(!maker.schedule.view(0).zone.is_empty());
}

#[test]
fn files_that_are_no_schedule() {
    let mut maker = Maker::new(rules(false, 0, 0), timing());
    maker.step(START, Event::Tick);
    let good = maker.schedule.to_json();
    let check = |text: &str, expect: &str| {
        let error = Schedule::from_json(text.as_bytes(), &zone()).unwrap_err();
        assert!(error.contains(expect), "{error}");
    };
    check("", "expected a key schedule");
    check(&good[..good.len() / 2], "expected a key schedule");
    check(&good.replace("\"format\": 1", "\"format\": 2"), "expected form 1");
    check(&good.replace("example.", "example.org."), "expected that of example.");
    check(&good.replace("\"csk\"", "\"zsk\""), "expected its DNSKEY");
    let other = Schedule::new(&zone(), 8);
    assert!(other.follows(&maker.schedule).unwrap_err().contains("another maker"));
    assert!(Schedule { revision: 0, ..maker.schedule.clone() }.follows(&maker.schedule).is_err());
    assert_eq!(maker.schedule.follows(&Schedule::new(&zone(), 7)), Ok(()));
}

/// What a node or the parent showed from a time on.
type History<T> = Vec<(u64, T)>;

/// Everything that was shown at some time from `from` to `to`.
fn shown<T: Clone>(history: &History<T>, from: u64, to: u64) -> Vec<T> {
    let first = history.partition_point(|(at, _)| *at <= from).saturating_sub(1);
    history.iter().skip(first).take_while(|(at, _)| *at <= to).map(|(_, what)| what.clone()).collect()
}

fn note<T: PartialEq>(history: &mut History<T>, at: u64, what: T) {
    if history.last().is_none_or(|(_, last)| *last != what) {
        history.push((at, what));
    }
}

/// What may differ from run to run.
#[derive(Clone, Debug)]
struct World {
    seed: u64,
    rules: KeyRules,
    /// What the maker believes.
    planned: Timing,
    /// What is so.
    real: Timing,
    /// Whether the parent takes over what CDS records ask for.
    follows_cds: bool,
    days: u64,
}

/// Runs a world; the first moment at which some resolver would find something bogus, if any, and how many rollovers ended.
fn simulate(world: &World) -> (Option<String>, usize) {
    let mut draws = Draws::from_u64(world.seed);
    let mut maker = Maker::new(world.rules.clone(), world.planned);
    let real = world.real;
    let mut nodes: [History<View>; 2] = [vec![(0, View::default())], vec![(0, View::default())]];
    // Copies of the schedule arrive at the second node within the lead.
    let mut copies: History<Schedule> = Vec::new();
    let mut parent: History<BTreeSet<u16>> = vec![(0, BTreeSet::new())];
    let mut parent_acts_s = u64::MAX;
    let mut maker_acts_s = START;
    let mut now_s = START;
    let end_s = START + world.days * DAY;
    while now_s < end_s {
        now_s += 1 + draws.u64() % (2 * HOUR);
        if now_s >= maker_acts_s {
            let shown_by_all = shown(&parent, now_s.saturating_sub(real.parent_propagation_s), now_s);
            // All servers agree only when nothing has changed within the parent's own propagation.
            let event = match draws.u64() % 8 {
                0..=3 if shown_by_all.len() == 1 => Event::Parent(shown_by_all[0].iter().copied().collect()),
                4 if draws.u64().is_multiple_of(20) => Event::Roll(if world.rules.split { Role::Ksk } else { Role::Csk }),
                5 if world.rules.split && draws.u64().is_multiple_of(20) => Event::Roll(Role::Zsk),
                _ => Event::Tick,
            };
            maker.step(now_s, event);
            // Sometimes it is away for a fortnight.
            let away_s = if draws.u64().is_multiple_of(40) { 14 * DAY } else { 6 * HOUR };
            maker_acts_s = now_s + draws.u64() % away_s;
        }
        let arrives_s = now_s + draws.u64() % world.planned.lead_s;
        if copies.last().is_none_or(|(_, last)| last.revision != maker.schedule.revision) {
            let arrives_s = arrives_s.max(copies.last().map_or(0, |(at, _)| *at));
            copies.push((arrives_s, maker.schedule.clone()));
        }
        let arrived = copies.iter().rev().find(|(at, _)| *at <= now_s).map(|(_, copy)| copy.clone());
        for (node, schedule) in nodes.iter_mut().zip([Some(maker.schedule.clone()), arrived]) {
            // The second one may be late by almost the time that propagation takes.
            let Some(schedule) = schedule.filter(|schedule| schedule.first_s().is_some_and(|first| first <= now_s)) else {
                continue;
            };
            let late_s = draws.u64() % real.propagation_s.saturating_sub(2 * HOUR).max(1);
            let at_s = now_s.saturating_sub(late_s);
            // A node never goes back.
            if node.last().is_none_or(|(_, last)| last != &schedule.view(now_s)) {
                note(node, now_s, schedule.view(at_s));
            }
        }
        // The parent looks at one node, and takes it over at once or much later.
        let wished = &nodes[(draws.u64() % 2) as usize].last().unwrap().1.wished;
        let wished: BTreeSet<u16> = wished.iter().copied().collect();
        if world.follows_cds && !wished.is_empty() && parent.last().unwrap().1 != wished && parent_acts_s == u64::MAX {
            parent_acts_s = now_s + draws.u64() % (10 * DAY);
        }
        if now_s >= parent_acts_s {
            note(&mut parent, now_s, wished);
            parent_acts_s = u64::MAX;
        }
        if let Some(bogus) = bogus(&nodes, &parent, &real, now_s) {
            return (Some(format!("{} s: {bogus}\n{}", now_s - START, maker.schedule.to_json())), 0);
        }
    }
    let ended = maker.schedule.keys.iter().filter(|key| key.remove_s.is_some_and(|remove| remove < end_s)).count();
    (None, ended)
}

/// Whether some combination of what caches may hold does not validate.
fn bogus(nodes: &[History<View>; 2], parent: &History<BTreeSet<u16>>, real: &Timing, now_s: u64) -> Option<String> {
    let since = |s: u64| now_s.saturating_sub(s);
    let delegations = shown(parent, since(real.ds_ttl_s + real.parent_propagation_s), now_s);
    let seen = |ttl_s: u64| -> Vec<View> {
        let mut all: Vec<View> = nodes.iter().flat_map(|node| shown(node, since(ttl_s), now_s)).collect();
        all.dedup();
        all
    };
    let (key_sets, answers) = (seen(real.dnskey_ttl_s), seen(real.zone_ttl_s_max));
    for ds in delegations.iter().filter(|ds| !ds.is_empty()) {
        for keys in &key_sets {
            let entered = keys.entry.iter().any(|tag| ds.contains(tag) && keys.published.contains(tag));
            if !entered {
                return Some(format!("DS {ds:?} leads to none of {keys:?}"));
            }
            for answer in &answers {
                if !answer.zone.iter().any(|tag| keys.published.contains(tag)) {
                    return Some(format!("an answer signed by {:?} with the keys {keys:?}", answer.zone));
                }
            }
        }
    }
    None
}

fn world() -> impl Strategy<Value = World> {
    let times = (60..DAY, 60..2 * DAY, 60..2 * DAY, 3 * HOUR..DAY, HOUR..DAY, 3 * HOUR..2 * DAY);
    (any::<u64>(), any::<bool>(), 0_u64..60, 0_u64..40, times).prop_map(|(seed, split, entry, zone, times)| {
        let real = Timing {
            dnskey_ttl_s: times.0,
            zone_ttl_s_max: times.1,
            ds_ttl_s: times.2,
            propagation_s: times.3,
            parent_propagation_s: times.4,
            lead_s: times.5,
        };
        World { seed, rules: rules(split, entry, zone), planned: real, real, follows_cds: true, days: 400 }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn no_cache_ever_finds_anything_bogus(world in world()) {
        let (bogus, _) = simulate(&world);
        prop_assert!(bogus.is_none(), "{}", bogus.unwrap_or_default());
    }
}

#[test]
fn years_of_rollovers() {
    for split in [false, true] {
        let world = World {
            seed: 1,
            rules: rules(split, 60, 20),
            planned: timing_slow(),
            real: timing_slow(),
            follows_cds: true,
            days: 1_000,
        };
        let (bogus, ended) = simulate(&world);
        assert_eq!(bogus, None);
        assert!(ended >= 10, "{ended}");
    }
}

fn timing_slow() -> Timing {
    Timing { propagation_s: 6 * HOUR, ..timing() }
}

/// The judge must see a maker that does not wait: each of its times made too short is found out.
#[test]
fn a_hasty_maker_is_found_out() {
    type Hasten = fn(&mut Timing);
    let hasty: [(&str, Hasten); 4] = [
        ("keys known", |t| t.dnskey_ttl_s = 0),
        ("signatures gone", |t| t.zone_ttl_s_max = 0),
        ("DS known", |t| t.ds_ttl_s = 0),
        ("propagation", |t| t.propagation_s = 0),
    ];
    let real = Timing {
        dnskey_ttl_s: 2 * DAY,
        zone_ttl_s_max: 4 * DAY,
        ds_ttl_s: 3 * DAY,
        propagation_s: 2 * DAY,
        ..timing_slow()
    };
    for (what, hurry) in hasty {
        let mut planned = real;
        hurry(&mut planned);
        let found = (0..12).any(|seed| {
            let rules = rules(seed % 2 == 0, 30, 20);
            simulate(&World { seed, rules, planned, real, follows_cds: true, days: 400 }).0.is_some()
        });
        assert!(found, "{what}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read(text in ".{0,200}", tag in any::<u16>()) {
        let _ = Schedule::from_json(text.as_bytes(), &zone());
        let json = format!(r#"{{"format":1,"id":"{tag}","revision":0,"zone":"example","keys":[{{"tag":{tag},"algorithm":"ed25519","role":"csk","dnskey":"{tag:x}","created_s":0}}]}}"#);
        prop_assert!(Schedule::from_json(json.as_bytes(), &zone()).is_err());
    }
}

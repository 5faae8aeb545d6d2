//! Signatures over pools of all sizes while members come and go, keys change and clocks jump; each checked as a validator does.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::dnssec::{Algorithm, Rrsig, SigningKey, Validity};
use crate::name::Name;
use crate::pool::{Facts, ScheduleMember, answers, build};
use crate::snapshot::AnswerSets;
use crate::zone::{Files, Hosted, load};
use farm_shared::draw::Draws;
use std::net::{IpAddr, Ipv4Addr};

struct Text;

impl Files for Text {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(b"@ 60 SOA ns1 host 1 2 3 4 5\n@ 60 NS ns1\nns1 60 A 192.0.2.1\n".to_vec())
    }
}

fn name(text: &str) -> Name {
    Name::from_text(text).unwrap()
}

fn keys(seed: u8) -> Arc<ActiveKeys> {
    let key = Arc::new(SigningKey::from_private(Algorithm::Ed25519, 257, &[seed; 32]).unwrap());
    let validity = Validity::default();
    Arc::new(ActiveKeys { apex: name("example"), entry: vec![Arc::clone(&key)], zone: vec![key], validity })
}

/// The signatures of one pool at `www.example`.
struct World {
    signatures: Signatures,
    keys: Arc<ActiveKeys>,
    now: Now,
    draws: Draws,
}

const DAY_MS: u64 = 86_400_000;

impl World {
    fn new() -> Self {
        let now = Now { mono: Mono(5_000), wall: Wall(1_800_000_000_000) };
        let mut world = Self { signatures: Signatures::default(), keys: keys(1), now, draws: Draws::from_u64(3) };
        world.use_keys(keys(1));
        world
    }

    fn use_keys(&mut self, keys: Arc<ActiveKeys>) {
        let zone = Arc::new(load(&name("example"), &Text, "zone").unwrap().zone);
        let zones = Zones::of([Hosted { keys: Some(Arc::clone(&keys)), ..Hosted::new(zone) }]).unwrap();
        let host = OverlayTarget::Host { v4: Some(Ipv4Addr::LOCALHOST), v6: None, ttl_s: 9 };
        let overlay =
            [("www.example", OverlayTarget::Pool(0)), ("*.w.example", OverlayTarget::Pool(0)), ("h.example", host)];
        let overlay = Overlay::build(&zones, overlay.map(|(text, target)| (name(text), target)));
        self.signatures.rename(&overlay, &zones);
        self.keys = keys;
    }

    fn pass(&mut self, ms: u64) {
        self.now = Now { mono: self.now.mono.plus_ms(ms), wall: Wall(self.now.wall.0 + ms) };
    }

    fn pool(&mut self, members: impl Iterator<Item = u32>, k: usize, subsets: usize) -> [Arc<PoolAnswers>; 1] {
        let addr = |slot: u32| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + slot));
        let members: Vec<_> =
            members.map(|slot| ScheduleMember { slot, addr: addr(slot), weight: 1.0, zone: None }).collect();
        let schedule = build(&members, k, 0.0, subsets, &mut self.draws);
        let v4 = answers(&schedule, Rtype::A, |slot| Some(Facts { addr: addr(slot), change_at: Mono::NEVER }));
        let sets = AnswerSets { v4, ..AnswerSets::default() };
        [Arc::new(PoolAnswers { sets, ttl_s_max: 30, ..PoolAnswers::default() })]
    }

    /// Checks every signature that is served, and that nobody but these is named; how many subsets there are at `www.example`.
    fn check(&self, may_be_named: impl Fn(u32) -> bool) -> usize {
        for ((key, state), wildcard) in self.signatures.sets.iter().map(|set| (set, set.0.owner.is_wildcard())) {
            for (section, rrsigs, count) in state.signed.sections() {
                assert_eq!(count, 1);
                let rrsig = Rrsig::read(rrsigs.get(12..).unwrap()).unwrap();
                let owner = if wildcard { name("x.y.w.example") } else { key.owner.clone() };
                let dnskey = self.keys.zone.first().unwrap().dnskey();
                let verdict = rrsig.verify(dnskey, &owner, key.rtype, section.rdata(), self.now.wall);
                assert_eq!(verdict, Ok(()), "{key:?}");
                assert_eq!(rrsig.original_ttl_s, state.ttl_s);
                assert!(key.owner == name("h.example") || section.slots.iter().all(|slot| may_be_named(*slot)));
            }
        }
        let key = SetKey { owner: name("www.example"), rtype: Rtype::A, variant: 0 };
        self.signatures.sets.get(&key).map_or(0, |state| state.signed.len())
    }

    /// Lets a job run and come back, if there is one.
    fn run(&mut self, job: Option<Box<SignJob>>, pool: &[Arc<PoolAnswers>]) -> usize {
        let Some(job) = job else { return 0 };
        let len = job.len();
        self.signatures.take(job.run());
        assert!(self.signatures.due(self.now));
        assert!(self.signatures.update(pool, self.now).is_none(), "all is signed");
        len
    }
}

#[test]
fn a_small_pool_is_signed_at_once_and_no_set_twice() {
    let mut world = World::new();
    let pool = world.pool(0..4, 2, 512);
    assert!(world.signatures.update(&pool, world.now).is_none(), "six sets for two owners need no job");
    assert_eq!(world.check(|_| true), 512);
    let known: usize = world.signatures.sets.values().map(|state| state.known.len()).sum();
    assert_eq!(known, 6 + 6 + 1);
    assert!(!world.signatures.due(world.now));
}

#[test]
fn a_large_pool_answers_at_once_with_some_and_then_with_all() {
    let mut world = World::new();
    let pool = world.pool(0..100, 8, 800);
    let job = world.signatures.update(&pool, world.now);
    assert_eq!(world.check(|_| true), SUBSETS_ROUGH);
    assert!(world.signatures.update(&pool, world.now).is_none(), "one job at a time");
    let made = world.run(job, &pool);
    assert!(made > 1_400, "{made}");
    assert_eq!(world.check(|_| true), 800);
}

#[test]
fn who_goes_down_is_dropped_at_once_and_the_rest_stays() {
    let mut world = World::new();
    let pool = world.pool(0..100, 8, 800);
    let job = world.signatures.update(&pool, world.now);
    world.run(job, &pool);
    // The schedule is another one altogether, and none of it is signed.
    let pool = world.pool(1..100, 8, 800);
    let job = world.signatures.update(&pool, world.now);
    let left = world.check(|slot| slot != 0);
    assert!((700..800).contains(&left), "{left}");
    world.run(job, &pool);
    assert_eq!(world.check(|slot| slot != 0), 800);
    // All but those who were never together.
    let pool = world.pool([1, 50, 99].into_iter(), 3, 64);
    assert!(world.signatures.update(&pool, world.now).is_none());
    assert_eq!(world.check(|slot| [1, 50, 99].contains(&slot)), 64);
}

#[test]
fn signatures_are_made_anew_in_time_and_never_served_after_it() {
    let mut world = World::new();
    let pool = world.pool(0..20, 3, 100);
    let job = world.signatures.update(&pool, world.now);
    world.run(job, &pool);
    let first = world.now;
    for day in 1..40 {
        world.pass(DAY_MS);
        while world.signatures.due(world.now) {
            let job = world.signatures.update(&pool, world.now);
            world.check(|_| true);
            world.run(job, &pool);
        }
        assert_eq!(world.check(|_| true), 100, "day {day}");
    }
    // A clock that is set back makes signatures of the future; they are made anew.
    world.now.wall = first.wall;
    assert!(world.signatures.due(world.now));
    let job = world.signatures.update(&pool, world.now);
    world.run(job, &pool);
    assert_eq!(world.check(|_| true), 100);
    // A clock that leaps: what expired is not picked even before anybody looks.
    world.pass(30 * DAY_MS);
    let set = world.signatures.sets.values().next().unwrap();
    assert!(set.signed.pick(7, world.now.wall).is_none() && set.signed.pick(7, first.wall).is_some());
}

#[test]
fn other_keys_take_over_when_all_is_signed() {
    let mut world = World::new();
    let pool = world.pool(0..100, 8, 800);
    let job = world.signatures.update(&pool, world.now);
    world.run(job, &pool);
    let old = Arc::clone(&world.keys);
    world.use_keys(keys(2));
    let job = world.signatures.update(&pool, world.now);
    let new = std::mem::replace(&mut world.keys, old);
    let hosts = SetKey { owner: name("h.example"), rtype: Rtype::A, variant: 0 };
    world.signatures.sets.remove(&hosts);
    assert_eq!(world.check(|_| true), 800, "the old signatures hold as long as the old keys are published");
    world.keys = new;
    world.run(job, &pool);
    assert_eq!(world.check(|_| true), 800);
}

#[test]
fn a_job_that_is_lost_is_done_again() {
    let mut world = World::new();
    let pool = world.pool(0..100, 8, 800);
    assert!(world.signatures.update(&pool, world.now).is_some());
    world.pass(JOB_MS_MAX + 1);
    let job = world.signatures.update(&pool, world.now);
    assert!(world.run(job, &pool) > 1_000);
    assert_eq!(world.check(|_| true), 800);
}

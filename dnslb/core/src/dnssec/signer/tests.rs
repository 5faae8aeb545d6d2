//! What is signed when, by table: files that change, schedules, clocks, and keys that are not there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::dnssec::schedule::{Effect, Event, KeyRules, NewKey, Role, Timing, step};
use crate::dnssec::{Algorithm, Rrsig, Validity, seconds};
use crate::zone::{Files, Rtype, load};

const DAY_MS: u64 = 86_400_000;
const NOW: Wall = Wall(1_800_000_000_000);

struct OneFile(String);

impl Files for OneFile {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.clone().into())
    }
}

fn apex() -> Name {
    Name::from_text("example").unwrap()
}

fn zones(serial: u32, more: &str) -> Zones {
    let text = format!("$TTL 300\n@ SOA ns1 admin {serial} 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.53\n{more}");
    let other = OneFile("$TTL 300\n@ SOA ns admin 1 2 3 4 5\n@ NS ns.example.\n".to_owned());
    let plain = load(&Name::from_text("plain").unwrap(), &other, "z").unwrap().zone;
    Zones::new([load(&apex(), &OneFile(text), "z").unwrap().zone, plain].map(Arc::new)).unwrap()
}

fn policy() -> DnssecPolicy {
    DnssecPolicy {
        name: farm_shared::id::Id::new("p").unwrap(),
        key_dir: String::new(),
        manage_keys: true,
        rules: KeyRules { algorithm: Algorithm::Ed25519, split: true, entry_lifetime_s: 0, zone_lifetime_s: 30 * 86_400 },
        timing: Timing {
            dnskey_ttl_s: 3_600,
            zone_ttl_s_max: 86_400,
            ds_ttl_s: 86_400,
            propagation_s: 7_200,
            parent_propagation_s: 7_200,
            lead_s: 86_400,
        },
        validity: Validity::default(),
        denial: None,
    }
}

/// A schedule with the keys that it has come to ask for by `wall`.
fn tasks(days: &[u64]) -> BTreeMap<Name, Task> {
    let policy = policy();
    let mut schedule = Schedule::new(&apex(), 1);
    let mut keys = BTreeMap::new();
    for day in days {
        let now_s = (NOW.0 + day * DAY_MS) / 1_000;
        let mut events = vec![Event::Tick];
        while let Some(event) = events.pop() {
            let effects = step(&mut schedule, &policy.rules, &policy.timing, now_s, event);
            if let Some(Effect::Make(role, algorithm)) = effects.first() {
                let secret = [keys.len() as u8 + 1; 32];
                let key = Arc::new(SigningKey::from_private(*algorithm, role.flags(), &secret).unwrap());
                events.push(Event::Made(NewKey { role: *role, algorithm: *algorithm, dnskey: key.dnskey().clone() }));
                keys.insert(key.tag(), key);
            }
        }
    }
    let task = Task { policy: Arc::new(policy), denial: Denial::Nsec, schedule: Arc::new(schedule), keys, serial: None };
    BTreeMap::from([(apex(), task)])
}

fn tick(wall: Wall) -> Tick {
    Tick { schedule: wall, doubted: false, jump_ms: 0 }
}

fn at(days: u64) -> Wall {
    Wall(NOW.0 + days * DAY_MS)
}

fn served(look: &Look) -> &Hosted {
    look.zones.hosted_at(&apex()).unwrap()
}

/// Key tags that sign the SOA record, whose signatures must hold.
fn signers(look: &Look, wall: Wall) -> Vec<u16> {
    let zone = &served(look).zone;
    let set = zone.rrset(&apex(), Rtype::SOA).unwrap();
    let keys: Vec<Dnskey> =
        zone.rrset(&apex(), Rtype::DNSKEY).unwrap().rdata().map(|rdata| Dnskey::from_rdata(rdata).unwrap()).collect();
    let verified = |rdata: &[u8]| {
        let rrsig = Rrsig::read(rdata).unwrap();
        assert!(keys.iter().any(|key| rrsig.verify(key, &apex(), Rtype::SOA, set.rdata(), wall).is_ok()));
        rrsig.key_tag
    };
    set.sigs().unwrap().rdata().map(verified).collect()
}

#[test]
fn a_zone_is_signed_once_and_when_it_changes() {
    let tasks = tasks(&[0]);
    let mut signer = Signer::new();
    let first = zones(7, "");
    let one = signer.look(&first, &tasks, tick(NOW), NOW);
    assert_eq!((one.signed, one.notices.len(), served(&one).zone.serial()), (1, 0, 7));
    signers(&one, NOW);
    assert!(served(&one).keys.is_some() && one.zones.hosted_at(&Name::from_text("plain").unwrap()).unwrap().keys.is_none());
    let two = signer.look(&first, &tasks, tick(NOW), NOW);
    assert_eq!(two.signed, 0);
    assert!(Arc::ptr_eq(&served(&one).zone, &served(&two).zone));
    // The same file again is no new version, another serial or another record is.
    let three = signer.look(&zones(7, ""), &tasks, tick(NOW), NOW);
    assert!(Arc::ptr_eq(&served(&one).zone, &served(&three).zone));
    let four = signer.look(&zones(7, "www A 192.0.2.1"), &tasks, tick(NOW), NOW);
    assert_eq!(served(&four).zone.serial(), 8);
    let five = signer.look(&zones(20, "www A 192.0.2.1"), &tasks, tick(NOW), NOW);
    assert_eq!(served(&five).zone.serial(), 20);
    // Each step is in the history for incremental transfers, and leads from one version to the next.
    let history = &served(&five).history;
    assert_eq!(history.len(), 2);
    let mut zone = (*served(&one).zone).clone();
    for diff in history.since(7).unwrap() {
        zone = zone.apply(diff).unwrap();
    }
    assert!(changes_between(&zone, &served(&five).zone).is_none());
    assert!(Arc::ptr_eq(served(&four).keys.as_ref().unwrap(), served(&five).keys.as_ref().unwrap()));
}

#[test]
fn a_serial_that_was_served_before_a_restart_is_passed() {
    let mut tasks = tasks(&[0]);
    for (before, expect) in [(Some(9), 10), (Some(6), 7), (Some(7), 8), (None, 7)] {
        tasks.get_mut(&apex()).unwrap().serial = before;
        let look = Signer::new().look(&zones(7, ""), &tasks, tick(NOW), NOW);
        assert_eq!(served(&look).zone.serial(), expect, "{before:?}");
    }
}

#[test]
fn signatures_are_made_anew_before_they_expire_and_jumps_expire_none() {
    let tasks = tasks(&[0]);
    let zones = zones(7, "");
    let mut signer = Signer::new();
    let one = signer.look(&zones, &tasks, tick(NOW), NOW);
    assert!(one.wake_at.0 <= NOW.0 + 3_600_000);
    let mut wall = NOW;
    let mut made = 0;
    for _ in 0..24 * 40 {
        wall = Wall(wall.0 + 3_600_000);
        let look = signer.look(&zones, &tasks, tick(wall), wall);
        made += look.signed;
        signers(&look, wall);
        assert!(look.status[0].expires_at.0 >= wall.0 + 4 * DAY_MS, "{:?}", look.status);
    }
    // Nine days each, all within half a day of jitter.
    assert!((4..=60).contains(&made), "{made}");
    // A jump of the clock that is doubted: what holds stays, what does not is made anew.
    let doubted = |ahead_days: u64| (Tick { schedule: wall, doubted: true, jump_ms: 1 }, Wall(wall.0 + ahead_days * DAY_MS));
    let (tick_10, wall_10) = doubted(6);
    assert_eq!(signer.look(&zones, &tasks, tick_10, wall_10).signed, 0);
    let (tick_100, wall_100) = doubted(100);
    let look = signer.look(&zones, &tasks, tick_100, wall_100);
    assert_eq!(look.signed, 1);
    signers(&look, wall_100);
    // Back again and believed: what was made in doubt holds by either clock, and stays.
    let look = signer.look(&zones, &tasks, tick(wall), wall);
    assert_eq!(look.signed, 0);
    signers(&look, wall);
}

#[test]
fn keys_come_and_go_by_the_schedule() {
    let tasks = tasks(&[0, 29]);
    let zones = zones(7, "");
    let mut signer = Signer::new();
    let tags: Vec<(u16, Role)> = tasks[&apex()].schedule.keys.iter().map(|key| (key.tag, key.role)).collect();
    let [(_, Role::Ksk), (old, Role::Zsk), (new, Role::Zsk)] = tags[..] else { panic!("{tags:?}") };
    for (day, expect) in [(29, old), (30, old), (31, new), (40, new)] {
        let wall = at(day);
        let look = signer.look(&zones, &tasks, tick(wall), wall);
        assert_eq!(signers(&look, wall), [expect], "day {day}");
        assert!(look.status[0].lacking.is_empty());
    }
    // A node without the new key stays with the old one, and says so.
    let mut without = tasks.clone();
    without.get_mut(&apex()).unwrap().keys.remove(&new);
    let look = Signer::new().look(&zones, &without, tick(at(31)), at(31));
    assert_eq!((signers(&look, at(31)), look.status[0].lacking.clone()), (vec![old], vec![new]));
}

#[test]
fn never_unsigned_never_expired() {
    let zones = zones(7, "");
    let mut none = tasks(&[0]);
    none.get_mut(&apex()).unwrap().keys.clear();
    let look = Signer::new().look(&zones, &none, tick(NOW), NOW);
    assert!(served(&look).expired && look.notices.len() == 1 && look.status[0].failure.is_some());
    assert!(look.wake_at.0 <= NOW.0 + 60_000);
    // Keys that go away: the last version is served as long as its signatures hold.
    let mut signer = Signer::new();
    signer.look(&zones, &tasks(&[0]), tick(NOW), NOW);
    let look = signer.look(&zones, &none, tick(at(13)), at(13));
    assert!(!served(&look).expired);
    signers(&look, at(13));
    let look = signer.look(&zones, &none, tick(at(15)), at(15));
    assert!(served(&look).expired, "{}", seconds(at(15)));
}

#[test]
fn a_clock_that_is_set_back_leaves_no_signature_of_the_future() {
    let tasks = tasks(&[0]);
    let mut signer = Signer::new();
    signer.look(&zones(7, ""), &tasks, tick(NOW), NOW);
    // It ran three days ahead for long enough to be believed; what changed then is signed by it, the rest is older.
    let changed = zones(8, "www A 192.0.2.1");
    signer.look(&changed, &tasks, tick(at(3)), at(3));
    for doubted in [true, false] {
        let tick = Tick { schedule: if doubted { at(3) } else { NOW }, doubted, jump_ms: 0 };
        let look = signer.look(&changed, &tasks, tick, NOW);
        signers(&look, NOW);
        assert!(look.signed == 1 || !doubted);
        // And if the new time was the wrong one, they hold all the same.
        signers(&look, at(3));
    }
    // The same with a wrong time ahead: what expired by it is made anew for both.
    let mut signer = Signer::new();
    signer.look(&changed, &tasks, tick(NOW), NOW);
    let look = signer.look(&changed, &tasks, Tick { schedule: NOW, doubted: true, jump_ms: 1 }, at(100));
    assert_eq!(look.signed, 1);
    signers(&look, at(100));
    signers(&look, NOW);
    assert_eq!(look.status[0].counts.failed, 0);
    assert!(look.status[0].counts.made >= 10, "{:?}", look.status);
}

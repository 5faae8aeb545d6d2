//! The store beside a disk that can be full, cut short at any octet, or damaged: what was acknowledged is there, what was not is
//! there whole or not at all, and damage is never taken for an end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use farm_shared::time::{Mono, Now};

use super::*;
use crate::config;
use crate::transfer::Fetched;
use crate::update::{Item, UpdateClass};
use crate::zone::{Files, Rtype, load};

const NOW: Now = Now { mono: Mono(1), wall: Wall(1_000) };
const CONFIG: &str = "[server]\nstate_dir = 's'\n[[zone]]\nname = 'example'\nfile = 'dynamic'\n\
    [[zone.update]]\nprefixes = ['127.0.0.0/8']\n[[zone]]\nname = 'static.test'\nfile = 'static'\n\
    [[pool]]\nname = 'p'\npublish = ['pool.example']\ntarget_zone = 'hosts.example'\n[[pool.service]]\nname = 'service.example'\n\
    port = 1\n[[pool.member]]\nname = 'm'\naddresses = ['192.0.2.9']\n";
const ZONE: &str = "@ 60 SOA ns.else.test. host 7 1 1 1 1\n@ 60 NS ns.else.test.\n";

/// The configuration and the two master files.
struct Beside<'a>(&'a str);

impl Files for Beside<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        Ok(if path == "dynamic" { self.0 } else { ZONE }.as_bytes().to_vec())
    }
}

fn apex() -> Name {
    "example".parse().unwrap()
}

fn zone(text: &str) -> Arc<Zone> {
    Arc::new(load(&apex(), &Beside(text), "dynamic").unwrap().zone)
}

#[derive(Debug, Clone, Default)]
struct Disk {
    checkpoint: Option<Vec<u8>>,
    journals: BTreeMap<u64, Vec<u8>>,
    full: bool,
    /// The disk before each write, and what was written then.
    writes: Vec<(Stored, u64, Vec<u8>)>,
    /// Of the master file.
    file: Option<Arc<Zone>>,
}

impl Disk {
    fn stored(&self) -> Stored {
        let generation = self.checkpoint.as_deref().and_then(generation_of);
        Stored { checkpoint: self.checkpoint.clone(), journal: generation.and_then(|g| self.journals.get(&g).cloned()) }
    }
}

struct World {
    store: Store,
    disk: Disk,
    requests: u64,
    codes: BTreeMap<u64, u16>,
    answers: BTreeMap<u64, Result<String, String>>,
    publications: usize,
    notices: Vec<String>,
}

impl World {
    /// A daemon that starts beside this disk, with this master file.
    fn start(disk: Disk, text: &str) -> Self {
        let mut world = Self {
            store: Store::new(),
            disk: Disk { writes: Vec::new(), ..disk },
            requests: 0,
            codes: BTreeMap::new(),
            answers: BTreeMap::new(),
            publications: 0,
            notices: Vec::new(),
        };
        let restored = restore(&apex(), &world.disk.stored()).unwrap();
        world.configure(text, restored);
        world
    }

    fn configure(&mut self, text: &str, restored: Option<Restored>) {
        let loaded = config::load("c", CONFIG, &Beside(text)).unwrap();
        let restored = restored.map(|restored| (apex(), restored)).into_iter().collect();
        self.step(StoreEvent::Configured { spec: loaded.spec, zones: loaded.zones, restored });
        self.settle();
    }

    fn step(&mut self, event: StoreEvent) {
        for effect in self.store.step(NOW, event) {
            self.apply(effect);
        }
    }

    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 10, "it comes to rest");
            let effects = self.store.flush();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                self.apply(effect);
            }
        }
    }

    fn apply(&mut self, effect: StoreEffect) {
        let full = |disk: &Disk| if disk.full { Err("no space left on device".to_owned()) } else { Ok(()) };
        match effect {
            StoreEffect::Record { apex, generation, at, octets } => {
                let result = full(&self.disk);
                if result.is_ok() {
                    self.disk.writes.push((self.disk.stored(), at, octets.clone()));
                    let journal = self.disk.journals.entry(generation).or_default();
                    journal.truncate(at as usize);
                    assert_eq!(journal.len() as u64, at, "no hole");
                    journal.extend(octets);
                }
                self.step(StoreEvent::Recorded { apex, result });
            }
            StoreEffect::Checkpoint { apex, generation, octets } => {
                let result = full(&self.disk);
                if result.is_ok() {
                    self.disk.checkpoint = Some(octets);
                    self.disk.journals.retain(|old, _| *old > generation);
                }
                self.step(StoreEvent::Recorded { apex, result });
            }
            StoreEffect::WriteFile { zone, .. } => {
                let result = full(&self.disk);
                if result.is_ok() {
                    self.disk.file = Some(Arc::clone(&zone));
                }
                self.step(StoreEvent::FileWritten { apex: zone.apex().clone(), result });
            }
            StoreEffect::Publish(_) => self.publications += 1,
            StoreEffect::Respond(request, code) => assert_eq!(self.codes.insert(request.0, code), None, "told once"),
            StoreEffect::Answer(request, answer) => assert_eq!(self.answers.insert(request.0, answer), None, "told once"),
            StoreEffect::Notice(text) => self.notices.push(text),
            StoreEffect::Changed(_) => {}
            StoreEffect::Forget(_) | StoreEffect::Adopt { .. } | StoreEffect::Members(_) => {
                panic!("no catalog is configured")
            }
        }
    }

    fn send(&mut self, host: &str, rtype: Rtype, rdata: &[u8], class: UpdateClass) -> u64 {
        self.requests += 1;
        let owner = apex().child(host.as_bytes()).unwrap();
        let item = Item { owner, rtype, class, ttl_s: if class == UpdateClass::Zone { 5 } else { 0 }, rdata: rdata.into() };
        let update = Box::new(Update { zone: apex(), prerequisites: Vec::new(), updates: vec![item] });
        let requestor = Requestor { key: None, from: IpAddr::V4(Ipv4Addr::LOCALHOST) };
        self.step(StoreEvent::Update { request: RequestId(self.requests), update, requestor });
        self.requests
    }

    /// Adds a host and gives the response code.
    fn add(&mut self, host: &str) -> u16 {
        let request = self.send(host, Rtype::A, &[192, 0, 2, 1], UpdateClass::Zone);
        self.settle();
        self.codes[&request]
    }

    fn order(&mut self, order: Order) -> Result<String, String> {
        self.requests += 1;
        self.step(StoreEvent::Order { request: RequestId(self.requests), apex: apex(), order });
        self.settle();
        self.answers[&self.requests].clone()
    }

    fn served(&self) -> Arc<Zone> {
        Arc::clone(self.store.served().get(&apex()).unwrap())
    }

    fn status(&self) -> ZoneStatus {
        self.store.status().remove(0)
    }
}

fn text(zone: &Zone) -> String {
    let mut text = String::new();
    zone.write_text(&mut text).unwrap();
    text
}

#[test]
fn what_was_acknowledged_survives() {
    let mut world = World::start(Disk::default(), ZONE);
    for host in ["a", "b", "c"] {
        assert_eq!(world.add(host), rcode::NOERROR);
    }
    assert_eq!((world.served().serial(), world.status().history), (10, 3));
    // An update that changes nothing writes nothing.
    let writes = world.disk.writes.len();
    assert_eq!((world.add("a"), world.disk.writes.len()), (rcode::NOERROR, writes));
    let again = World::start(world.disk.clone(), ZONE);
    assert_eq!(text(&again.served()), text(&world.served()));
    assert_eq!(again.status(), world.status());
    let diffs: Vec<_> = again.store.served().hosted_at(&apex()).unwrap().history.since(8).unwrap().cloned().collect();
    assert_eq!(diffs.iter().map(|diff| diff.serials().unwrap()).collect::<Vec<_>>(), [(8, 9), (9, 10)]);
}

#[test]
fn updates_that_come_together_are_written_and_published_together() {
    let mut world = World::start(Disk::default(), ZONE);
    let (writes, publications) = (world.disk.writes.len(), world.publications);
    let sent: Vec<u64> =
        ["a", "b", "c", "a"].map(|host| world.send(host, Rtype::A, &[192, 0, 2, 1], UpdateClass::Zone)).into();
    assert!(world.codes.is_empty(), "nobody is told before it is written, nor of what another one wrote");
    world.settle();
    assert!(sent.iter().all(|request| world.codes[request] == rcode::NOERROR));
    assert_eq!((world.disk.writes.len(), world.publications), (writes + 1, publications + 1));
    assert_eq!(world.served().serial(), 10);
    let elsewhere = Update { zone: "else.test".parse().unwrap(), prerequisites: Vec::new(), updates: Vec::new() };
    let requestor = Requestor { key: None, from: IpAddr::V4(Ipv4Addr::LOCALHOST) };
    world.step(StoreEvent::Update { request: RequestId(99), update: elsewhere.into(), requestor: requestor.clone() });
    let fixed = Update { zone: "static.test".parse().unwrap(), prerequisites: Vec::new(), updates: Vec::new() };
    world.step(StoreEvent::Update { request: RequestId(100), update: fixed.into(), requestor });
    assert_eq!((world.codes[&99], world.codes[&100]), (rcode::NOTAUTH, rcode::REFUSED));
}

#[test]
fn what_pools_answer_is_not_updated_over() {
    let mut world = World::start(Disk::default(), ZONE);
    let elsewhere = b"\x04else\x04test\0";
    for (host, rtype, rdata, expect) in [
        ("pool", Rtype::A, &[192, 0, 2, 1][..], rcode::REFUSED),
        ("service", Rtype::SRV, b"\0\0\0\0\0\x07\0", rcode::REFUSED),
        ("service", Rtype::CNAME, elsewhere, rcode::REFUSED),
        ("hosts", Rtype::DNAME, elsewhere, rcode::REFUSED),
        ("service", Rtype::TXT, b"\x01x", rcode::NOERROR),
    ] {
        let request = world.send(host, rtype, rdata, UpdateClass::Zone);
        world.settle();
        assert_eq!(world.codes[&request], expect, "{host} {rtype}");
    }
}

/// Every write, cut short at every octet, and with octets of nothing behind the cut, as some file systems leave them.
#[test]
fn a_crash_at_any_octet_of_any_write_loses_nothing_that_was_acknowledged() {
    let mut world = World::start(Disk::default(), ZONE);
    let mut versions = vec![text(&world.served())];
    for host in ["a", "b", "c"] {
        world.add(host);
        versions.push(text(&world.served()));
    }
    let writes = world.disk.writes.clone();
    assert_eq!(writes.len(), 3);
    for (index, (before, at, octets)) in writes.iter().enumerate() {
        for cut in 0..=octets.len() {
            for rest in [0, 7, 4_096] {
                if cut == octets.len() && rest > 0 {
                    continue;
                }
                let mut journal = before.journal.clone().unwrap_or_default();
                assert_eq!(journal.len() as u64, *at);
                journal.extend_from_slice(&octets[..cut]);
                journal.resize(journal.len() + rest, 0);
                let stored = Stored { journal: Some(journal.clone()), ..before.clone() };
                let restored =
                    restore(&apex(), &stored).unwrap_or_else(|why| panic!("{index} {cut} {rest}: {why}")).unwrap();
                let expect = if cut == octets.len() { index + 1 } else { index };
                assert_eq!(text(&restored.state.zone), versions[expect], "write {index} cut at {cut}");
                assert_eq!(restored.journal_len() + restored.cut, journal.len() as u64);
                // And it goes on from there.
                let disk = Disk {
                    checkpoint: stored.checkpoint,
                    journals: BTreeMap::from([(restored.generation(), journal)]),
                    ..Disk::default()
                };
                let mut again = World::start(disk, ZONE);
                assert_eq!(again.add("z"), rcode::NOERROR);
                let last = World::start(again.disk.clone(), ZONE);
                assert_eq!(text(&last.served()), text(&again.served()));
            }
        }
    }
}

#[test]
fn damage_is_refused_and_not_taken_for_an_end() {
    let mut world = World::start(Disk::default(), ZONE);
    for host in ["a", "b"] {
        world.add(host);
    }
    let stored = world.disk.stored();
    let journal = stored.journal.clone().unwrap();
    let last = world.disk.writes[1].1 as usize;
    for at in 0..journal.len() {
        let mut damaged = journal.clone();
        damaged[at] ^= 0x55;
        let restored = restore(&apex(), &Stored { journal: Some(damaged), ..stored.clone() });
        if at < last {
            let why = restored.expect_err("a whole frame lies behind it");
            assert!(why.contains("journal of example.") && why.contains("backup"), "{why}");
        } else {
            assert_eq!(restored.unwrap().unwrap().state.zone.serial(), 8, "a torn end");
        }
    }
    let checkpoint = stored.checkpoint.clone().unwrap();
    for at in 0..checkpoint.len() {
        let mut damaged = checkpoint.clone();
        damaged[at] ^= 0x55;
        assert!(restore(&apex(), &Stored { checkpoint: Some(damaged), ..stored.clone() }).is_err(), "{at}");
    }
    assert!(restore(&apex(), &Stored { checkpoint: None, ..stored.clone() }).is_err());
    assert!(restore(&"other".parse().unwrap(), &stored).is_err());
    // A frame that was left out or doubled.
    let (one, two) = (&world.disk.writes[0].2, &world.disk.writes[1].2);
    let header = Header::read(&journal).unwrap().1;
    for octets in [[&one[..header], two].concat(), [one, &one[header..]].concat()] {
        assert!(restore(&apex(), &Stored { journal: Some(octets), ..stored.clone() }).is_err());
    }
}

use super::journal::Header;

#[test]
fn what_cannot_be_written_never_was() {
    let mut world = World::start(Disk::default(), ZONE);
    world.add("a");
    let before = text(&world.served());
    world.disk.full = true;
    assert_eq!(world.add("b"), rcode::SERVFAIL);
    assert_eq!(text(&world.served()), before);
    assert!(world.notices.iter().any(|notice| notice.contains("no space")), "{:?}", world.notices);
    assert!(world.order(Order::Freeze).is_err() && !world.status().frozen);
    assert!(world.order(Order::Sync).is_err());
    world.disk.full = false;
    assert_eq!((world.add("c"), world.served().serial()), (rcode::NOERROR, 9));
    assert_eq!(text(&World::start(world.disk.clone(), ZONE).served()), text(&world.served()));
}

#[test]
fn a_full_disk_at_the_first_start_serves_and_takes_no_update() {
    let mut world = World::start(Disk { full: true, ..Disk::default() }, ZONE);
    assert_eq!((world.add("a"), world.served().serial()), (rcode::SERVFAIL, 7));
    world.disk.full = false;
    assert_eq!((world.add("a"), world.served().serial()), (rcode::NOERROR, 8));
    assert_eq!(World::start(world.disk.clone(), ZONE).served().serial(), 8);
}

#[test]
fn a_long_journal_becomes_a_checkpoint() {
    let mut world = World::start(Disk::default(), ZONE);
    let filler = [&[255][..], &[b'x'; 255]].concat().repeat(200);
    let mut generations = std::collections::BTreeSet::new();
    for n in 0..80_u8 {
        let class = if n.is_multiple_of(2) { UpdateClass::Zone } else { UpdateClass::Any };
        let rdata = if class == UpdateClass::Zone { &filler[..] } else { &[] };
        world.send("t", Rtype::TXT, rdata, class);
        world.settle();
        generations.insert(generation_of(world.disk.checkpoint.as_ref().unwrap()));
        assert!(world.disk.journals.len() <= 1 && world.status().journal_octets < 2 << 20);
    }
    assert!(generations.len() > 2, "{generations:?}");
    let again = World::start(world.disk.clone(), ZONE);
    assert_eq!((text(&again.served()), again.served().serial()), (text(&world.served()), 87));
    // A checkpoint that cannot be written costs no update.
    assert!(world.codes.values().all(|code| *code == rcode::NOERROR));
}

#[test]
fn the_master_file_wins_when_an_operator_says_so() {
    let mut world = World::start(Disk::default(), ZONE);
    world.add("a");
    // An edit that nobody announced is told and not served, by a reload and by a restart.
    let edited = format!("{ZONE}edited 60 A 192.0.2.5\n");
    world.configure(&edited, None);
    assert!(world.status().file_differs && world.notices.len() == 1, "{:?}", world.notices);
    assert!(!text(&world.served()).contains("edited"));
    let mut world = World::start(world.disk, &edited);
    assert!(world.status().file_differs && text(&world.served()).contains("a.example"));

    assert!(world.order(Order::Thaw(zone(ZONE))).is_err(), "not frozen");
    world.order(Order::Freeze).unwrap();
    assert!(world.order(Order::Freeze).is_err());
    assert_eq!(world.add("b"), rcode::REFUSED);
    let file = world.disk.file.clone().unwrap();
    assert_eq!(text(&file), text(&world.served()));
    assert!(!world.status().file_differs);
    let mut world = World::start(world.disk, &text(&file));
    assert!(world.status().frozen && !world.status().file_differs, "frozen survives");
    // Thawed with an edit whose serial was forgotten: it rises nevertheless.
    world.order(Order::Thaw(zone(&format!("{}c 60 A 192.0.2.5\n", text(&file))))).unwrap();
    assert_eq!((world.served().serial(), world.add("b")), (9, rcode::NOERROR));
    assert!(text(&world.served()).contains("c.example. 60"));
    // The file in the place of everything, with a serial of its own.
    world.order(Order::Reload(zone(&ZONE.replace(" 7 ", " 50 ")))).unwrap();
    assert_eq!((world.served().serial(), world.served().record_count()), (50, 2));
    let again = World::start(world.disk.clone(), &ZONE.replace(" 7 ", " 50 "));
    assert!(again.served().serial() == 50 && !again.status().file_differs);
    assert_eq!(text(&again.served()), text(&world.served()));
}

#[test]
fn a_secondary_keeps_what_was_transferred() {
    const CONFIG: &str = "[server]\nstate_dir = 's'\n[[zone]]\nname = 'example'\nkind = 'secondary'\n\
        [[zone.primary]]\naddr = '127.0.0.1:1'\n";
    let start = |disk: Disk| {
        let mut world = World::start(Disk::default(), ZONE);
        let restored = restore(&apex(), &disk.stored()).unwrap().map(|restored| (apex(), restored)).into_iter().collect();
        world.disk = Disk { writes: Vec::new(), ..disk };
        world.store = Store::new();
        let loaded = config::load("c", CONFIG, &Beside(ZONE)).unwrap();
        world.step(StoreEvent::Configured { spec: loaded.spec, zones: loaded.zones, restored });
        world.settle();
        world
    };
    let mut world = start(Disk::default());
    assert!(world.store.served().hosted_at(&apex()).unwrap().expired, "nothing is answered before the first transfer");
    let transfer = |world: &mut World, fetched| {
        world.requests += 1;
        world.step(StoreEvent::Transferred { request: RequestId(world.requests), apex: apex(), fetched });
        world.settle();
        world.answers[&world.requests].is_ok()
    };
    assert!(!transfer(&mut world, Fetched::Same));
    assert!(transfer(&mut world, Fetched::Whole(zone(ZONE))));
    let next = zone(&format!("{}a 60 A 192.0.2.1\n", ZONE.replace(" 7 ", " 9 ")));
    let diff = difference(&world.served(), &next, Serial::Theirs).unwrap();
    assert!(transfer(&mut world, Fetched::Changes(vec![diff.clone()])));
    assert_eq!(text(&world.served()), text(&next));
    assert!(!transfer(&mut world, Fetched::Changes(vec![diff])), "it does not fit any more");
    assert_eq!(world.served().serial(), 9);
    let again = start(world.disk.clone());
    assert_eq!(text(&again.served()), text(&next));
    assert_eq!(again.store.secondaries()[0].confirmed, NOW.wall);
    assert_eq!(again.status().kind, "secondary");
    // Its SOA record says that it expires a second later: a start after that must not serve it for one moment.
    for (later_ms, expect) in [(0, false), (999, false), (1_000, true)] {
        let mut store = Store::new();
        let restored =
            restore(&apex(), &world.disk.stored()).unwrap().map(|restored| (apex(), restored)).into_iter().collect();
        let loaded = config::load("c", CONFIG, &Beside(ZONE)).unwrap();
        store.step(NOW.plus_ms(later_ms), StoreEvent::Configured { spec: loaded.spec, zones: loaded.zones, restored });
        store.flush();
        assert_eq!(store.served().hosted_at(&apex()).unwrap().expired, expect, "{later_ms}");
    }
    // A primary that went back to an older version is followed.
    assert!(transfer(&mut world, Fetched::Whole(zone(ZONE))));
    assert_eq!(text(&start(world.disk.clone()).served()), text(&zone(ZONE)));
}

#[test]
fn the_keys_of_a_zone_that_is_signed_here_are_not_updated() {
    for (policy, expect) in [("", rcode::NOERROR), ("[zone.dnssec]\npolicy = 'p'\n", rcode::REFUSED)] {
        let config = format!(
            "[server]\nstate_dir = 's'\n[[dnssec_policy]]\nname = 'p'\nkey_dir = 'k'\n[[zone]]\nname = 'example'\nfile = 'dynamic'\n\
             {policy}[[zone.update]]\nprefixes = ['127.0.0.0/8']\n"
        );
        let mut world = World::start(Disk::default(), ZONE);
        let loaded = config::load("c", &config, &Beside(ZONE)).unwrap();
        world.step(StoreEvent::Configured { spec: loaded.spec, zones: loaded.zones, restored: BTreeMap::new() });
        world.settle();
        let request = world.send("a", Rtype(59), &[0, 1, 13, 2, 1, 2, 3, 4], UpdateClass::Zone);
        world.settle();
        assert_eq!(world.codes[&request], expect, "{policy}");
    }
}

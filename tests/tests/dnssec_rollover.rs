//! Months of rollovers on two nodes that share a schedule: at each change the zone of each node is written to a file and judged, with
//! the DS set that the parent shows then: whole by ldns-verify-zone, told the time, and answer by answer by delv, which is asked at that
//! time. Debian's faketime cannot move delv's clock; farm_tests::clock says why and does.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use dnslb_core::dnssec::civil::compact;
use dnslb_core::dnssec::schedule::{Effect, Event, KeyPlan, KeyRules, NewKey, Schedule, Tick, Timing, step};
use dnslb_core::dnssec::{Algorithm, Denial, DigestType, DnssecPolicy, Ds, Signer, SigningKey, Task, Validity};
use dnslb_core::name::Name;
use dnslb_core::zone::{Files, Zone, Zones, load};
use farm_shared::id::Id;
use farm_shared::time::Wall;
use farm_tests::clock::Clock;
use farm_tests::daemon::{Daemon, SOON, Scratch};
use farm_tests::peer::installed;
use farm_tests::wait;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
/// How long the two worlds are.
const DAYS: u64 = 200;
const START: u64 = 1_800_000_000;

const ZONE: &str = "\
$TTL 3600
@ SOA ns1 admin 7 3600 600 86400 60
@ NS ns1
ns1 A 192.0.2.53
www A 192.0.2.1
*.wild TXT any
a.b.c TXT deep
cut NS ns.cut
ns.cut A 192.0.2.97
";

struct OneFile;

impl Files for OneFile {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(ZONE.into())
    }
}

fn apex() -> Name {
    Name::from_text("roll.test").unwrap()
}

fn policy(split: bool) -> DnssecPolicy {
    DnssecPolicy {
        name: Id::new("p").unwrap(),
        key_dir: String::new(),
        manage_keys: true,
        rules: KeyRules {
            algorithm: Algorithm::EcdsaP256Sha256,
            split,
            entry_lifetime_s: 90 * DAY,
            zone_lifetime_s: 45 * DAY,
        },
        timing: Timing {
            dnskey_ttl_s: HOUR,
            zone_ttl_s_max: DAY,
            ds_ttl_s: DAY,
            propagation_s: 2 * HOUR,
            parent_propagation_s: 2 * HOUR,
            lead_s: 2 * DAY,
        },
        validity: Validity::default(),
        denial: None,
    }
}

/// The one that makes keys, and what the parent shows.
struct World {
    policy: Arc<DnssecPolicy>,
    schedule: Schedule,
    keys: BTreeMap<u16, Arc<SigningKey>>,
    parent: BTreeSet<u16>,
}

impl World {
    fn step(&mut self, now_s: u64, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let effects = step(&mut self.schedule, &self.policy.rules, &self.policy.timing, now_s, event);
            if let Some(Effect::Make(role, algorithm)) = effects.first() {
                let secret = [self.keys.len() as u8 + 1; 32];
                let key = Arc::new(SigningKey::from_private(*algorithm, role.flags(), &secret).unwrap());
                events.push(Event::Made(NewKey { role: *role, algorithm: *algorithm, dnskey: key.dnskey().clone() }));
                self.keys.insert(key.tag(), key);
            }
        }
    }

    fn task(&self, denial: Denial, keys: &BTreeMap<u16, Arc<SigningKey>>) -> BTreeMap<Name, Task> {
        let (policy, schedule) = (Arc::clone(&self.policy), Arc::new(self.schedule.clone()));
        BTreeMap::from([(apex(), Task { policy, denial, schedule, keys: keys.clone(), serial: None })])
    }

    /// The DS records at the parent, one a file: each must lead into the zone by itself or be of a key that is on its way.
    fn anchors(&self) -> String {
        let keys = self.schedule.keys.iter().filter(|key| self.parent.contains(&key.tag)).filter_map(KeyPlan::public);
        keys.fold(String::new(), |mut text, key| {
            let _ = writeln!(text, "{} 3600 IN DS {}", apex(), Ds::new(&apex(), &key, DigestType::Sha256));
            text
        })
    }
}

fn written(zone: &Zone, path: &Path) {
    let mut text = String::new();
    zone.write_text(&mut text).unwrap();
    std::fs::write(path, text).unwrap();
}

/// What the judge has against a zone at a time, under the DS set of that time.
fn judge(zone: &Zone, now_s: u64, anchors: &Path, path: &Path, judge: &Path) -> Option<String> {
    written(zone, path);
    let output = Command::new(judge).args(["-t", &compact(now_s), "-k"]).arg(anchors).arg(path).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (!output.status.success()).then(|| String::from_utf8_lossy(&said).into_owned())
}

/// A validator that asks: delv at another time, and a server of ours with the zone as it is.
struct Asker {
    delv: PathBuf,
    clock: Clock,
    file: PathBuf,
    daemon: Daemon,
    reloads: f64,
}

/// One of every kind of answer, and what delv says of it.
const QUESTIONS: [(&str, &str, &str); 6] = [
    ("roll.test", "DNSKEY", "; fully validated"),
    ("www.roll.test", "A", "; fully validated"),
    ("q.wild.roll.test", "TXT", "; fully validated"),
    ("www.roll.test", "TXT", "; negative response, fully validated"),
    ("none.roll.test", "A", "; negative response, fully validated"),
    ("cut.roll.test", "DS", "; negative response, fully validated"),
];

impl Asker {
    fn start(scratch: &Scratch, zone: &Zone) -> Option<Self> {
        let (delv, clock) = (installed("delv")?, Clock::build(scratch)?);
        let file = scratch.path().join("served");
        written(zone, &file);
        let daemon = Daemon::serve_dns(scratch, &[("roll.test", &file)]);
        Some(Self { delv, clock, file, daemon, reloads: 0.0 })
    }

    /// What delv has against the zone at a time, under the DS set of that time; nothing if it finds nothing.
    fn complaint(&self, now_s: u64, anchors: &Path) -> Option<String> {
        let server = self.daemon.port("dns");
        let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
        QUESTIONS.iter().find_map(|(name, rtype, expect)| {
            let mut ask = Command::new(&self.delv);
            ask.args([&at, "-p", &port, "-a"]).arg(anchors).args(["+root=roll.test", name, rtype]);
            self.clock.set(&mut ask, now_s);
            let output = ask.output().unwrap();
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            (!said.contains(expect)).then(|| format!("{name} {rtype}: {said}"))
        })
    }

    fn serve(&mut self, zone: &Zone) {
        written(zone, &self.file);
        self.daemon.signal(rustix::process::Signal::HUP);
        self.reloads += 1.0;
        wait::until("the reload", SOON, || {
            (self.daemon.metric("dnslb_reloads_total{outcome=\"ok\"}") >= Some(self.reloads)).then_some(())
        });
    }
}

/// DS records as delv reads trust anchors.
fn for_delv(records: &str) -> String {
    let anchor = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [zone, _, _, _, tag, algorithm, digest_type, digest] = words[..] else { panic!("{line}") };
        format!("  {zone} static-ds {tag} {algorithm} {digest_type} \"{digest}\";\n")
    };
    format!("trust-anchors {{\n{}}};\n", records.lines().map(anchor).collect::<String>())
}

#[test]
fn no_moment_of_months_is_bogus_on_either_node() {
    let Some(ldns) = installed("ldns-verify-zone") else { return };
    let scratch = Scratch::new("rollover");
    let zones = Zones::new([Arc::new(load(&apex(), &OneFile, "z").unwrap().zone)]).unwrap();
    for (split, denial) in [(false, Denial::Nsec), (true, Denial::Nsec3)] {
        let mut world = World {
            policy: Arc::new(policy(split)),
            schedule: Schedule::new(&apex(), 1),
            keys: BTreeMap::new(),
            parent: BTreeSet::new(),
        };
        let mut signers = [Signer::new(), Signer::new()];
        // Keys reach the second node a day after they are made: within the lead.
        let mut copied: BTreeMap<u16, Arc<SigningKey>> = BTreeMap::new();
        let mut arrivals: Vec<(u64, BTreeMap<u16, Arc<SigningKey>>)> = Vec::new();
        let (mut judged, mut asker) = (0, None::<Asker>);
        let mut last = String::new();
        let mut parent_acts_s = None;
        for hours in (0..24 * DAYS).step_by(3) {
            let now_s = START + hours * HOUR;
            world.step(now_s, Event::Parent(world.parent.iter().copied().collect()));
            if arrivals.last().is_none_or(|(_, keys)| keys.len() != world.keys.len()) {
                let delay_s = if arrivals.is_empty() { 0 } else { DAY };
                arrivals.push((now_s + delay_s, world.keys.clone()));
            }
            if let Some((_, keys)) = arrivals.iter().rev().find(|(at, _)| *at <= now_s) {
                copied.clone_from(keys);
            }
            let view = world.schedule.view(now_s);
            let wished: BTreeSet<u16> = view.wished.iter().copied().collect();
            if !wished.is_empty() && wished != world.parent && parent_acts_s.is_none() {
                parent_acts_s = Some(now_s + 3 * DAY);
            }
            if parent_acts_s.is_some_and(|at| at <= now_s) {
                world.parent = wished;
                parent_acts_s = None;
            }
            let wall = Wall(now_s * 1_000);
            let tick = Tick { schedule: wall, doubted: false, jump_ms: 0 };
            let tasks = [world.task(denial, &world.keys), world.task(denial, &copied)];
            let looks: Vec<_> =
                signers.iter_mut().zip(&tasks).map(|(signer, tasks)| signer.look(&zones, tasks, tick, wall)).collect();
            // The judge is asked whenever something differs, and once a month.
            let state = format!("{view:?} {:?}", world.parent);
            if state == last && hours % (24 * 30) != 0 {
                continue;
            }
            last = state;
            for (node, look) in looks.iter().enumerate() {
                assert!(look.notices.is_empty() && look.status.iter().all(|status| status.lacking.is_empty()), "{look:?}");
                let zone = look.zones.get(&apex()).unwrap();
                let anchors = if world.parent.is_empty() {
                    // Before the parent knows any key, the zone's own keys are what it will know.
                    let mut early =
                        Ds::new(&apex(), &world.schedule.keys.first().unwrap().public().unwrap(), DigestType::Sha256);
                    if split {
                        let ksk = world.schedule.keys.iter().find(|key| key.role.is_entry()).unwrap();
                        early = Ds::new(&apex(), &ksk.public().unwrap(), DigestType::Sha256);
                    }
                    format!("{} 3600 IN DS {early}\n", apex())
                } else {
                    world.anchors()
                };
                let for_delv = scratch.write("anchors.delv", &for_delv(&anchors));
                let anchors = scratch.write("anchors", &anchors);
                let path = scratch.path().join(format!("node{node}"));
                let complaint = judge(zone, now_s, &anchors, &path, &ldns);
                assert_eq!(complaint, None, "at {} on node {node}:\n{}", compact(now_s), world.schedule.to_json());
                match &mut asker {
                    Some(asker) => asker.serve(zone),
                    None => asker = Asker::start(&scratch, zone),
                }
                let complaint = asker.as_ref().and_then(|asker| asker.complaint(now_s, &for_delv));
                assert_eq!(complaint, None, "at {} on node {node}:\n{}", compact(now_s), world.schedule.to_json());
                judged += 1;
            }
        }
        assert!(judged >= 2 * 12, "{judged}");
        // The clock is what decides: when the last signatures have expired, delv says so.
        if let Some(asker) = &asker {
            let late_s = START + (DAYS + 60) * DAY;
            let complaint = asker.complaint(late_s, &scratch.path().join("anchors.delv"));
            assert!(complaint.is_some_and(|said| said.contains("resolution failed")), "delv accepts what has expired");
        }
        let ended = world.schedule.keys.iter().filter(|key| key.remove_s.is_some_and(|at| at < START + DAYS * DAY)).count();
        assert!(ended >= if split { 4 } else { 1 }, "{ended} rollovers ended");
    }
}

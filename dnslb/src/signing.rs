//! Signed zones in the daemon: keys and schedules from the disk, the machine that signs, and what it says.
//!
//! It runs in the store's thread, between the zones as they are kept and those that are published, so that nothing unsigned can
//! pass. What fails here is logged once and tried again; what is served stays.

use dnslb_core::config::{Spec, ZoneDnssec};
use dnslb_core::dnssec::civil::compact;
use dnslb_core::dnssec::schedule::{Event, Follower, Schedule, Tick};
use dnslb_core::dnssec::{SignedStatus, Signer, SigningKey, Task};
use dnslb_core::name::Name;
use dnslb_core::zone::{Zone, Zones};
use farm_daemon::settings::resolve;
use farm_daemon::state_dir::{read_capped, write_atomically};
use farm_shared::time::{Mono, Now, Wall};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::{key_dir, key_schedule};

/// How often schedules and keys are looked at, in milliseconds.
const LOOK_MS: u64 = 60_000;
/// How often a parent is asked, in milliseconds.
const PARENT_MS: u64 = 300_000;
/// How often the clocks are compared, in milliseconds: a wall clock that jumped expires signatures at once.
const CLOCKS_MS: u64 = 1_000;
/// A difference between the clocks' ways at which signatures are looked at, in milliseconds.
const DRIFT_MS: u64 = 5_000;
/// Octets of the file of serials.
const SERIALS_LEN_MAX: u64 = 16 << 20;

/// What is known of signed zones, for metrics and operators.
pub type Statuses = Arc<Mutex<Vec<SignedStatus>>>;

/// What something is said of.
#[derive(Clone, Copy)]
enum Of {
    /// Files and the schedule.
    Files,
    /// The signing.
    Signing,
}

/// A zone that is signed here.
struct Managed {
    spec: ZoneDnssec,
    dir: PathBuf,
    schedule: Arc<Schedule>,
    keys: BTreeMap<u16, Arc<SigningKey>>,
    /// The zone whose highest TTL is known, and that TTL.
    ttl_of: Option<Arc<Zone>>,
    ttl_s_max: u32,
    /// What was said last, so that it is said once: of files and the schedule, and of signing.
    said: [String; 2],
    /// When its parent is asked next.
    ask_at: Wall,
}

/// The zones of a configuration with their keys, ready to be put in force.
#[derive(Default)]
pub struct Prepared(BTreeMap<Name, Managed>);

/// A parent to be asked for the DS set of a zone.
#[derive(Debug, Clone)]
pub struct Question {
    /// The zone.
    pub zone: Name,
    /// The parent's servers.
    pub servers: Vec<SocketAddr>,
    /// The schedule with the keys that may be found there.
    pub schedule: Arc<Schedule>,
}

/// All zones that are signed here.
pub struct Signing {
    signer: Signer,
    zones: BTreeMap<Name, Managed>,
    follower: Follower,
    tick: Tick,
    /// When to look at schedules and signatures again.
    look_at: Mono,
    /// The clocks at the last look.
    looked: Now,
    serials: BTreeMap<String, u32>,
    /// What lies on the disk of it, if that is known.
    kept: Option<BTreeMap<String, u32>>,
    serials_path: Option<PathBuf>,
    statuses: Statuses,
}

impl Signing {
    /// One without zones. What was served last is remembered in `state_dir`.
    pub fn new(now: Now, state_dir: Option<&Path>) -> Self {
        let serials_path = state_dir.map(|dir| dir.join("signed.json"));
        let serials: BTreeMap<String, u32> = serials_path.as_deref().map(read_serials).unwrap_or_default();
        let tick = Tick { schedule: now.wall, doubted: false, jump_ms: 0 };
        let follower = Follower::new(now);
        let statuses = Statuses::default();
        Self {
            signer: Signer::new(),
            zones: BTreeMap::new(),
            follower,
            tick,
            look_at: now.mono,
            looked: now,
            kept: None,
            serials,
            serials_path,
            statuses,
        }
    }

    /// What is known of signed zones.
    pub fn statuses(&self) -> Statuses {
        Arc::clone(&self.statuses)
    }

    /// Puts zones in force; those that were there keep what they know.
    pub fn configure(&mut self, prepared: Prepared) {
        let mut old = std::mem::replace(&mut self.zones, prepared.0);
        for (apex, zone) in &mut self.zones {
            if let Some(old) = old.remove(apex) {
                (zone.ttl_of, zone.ttl_s_max, zone.said) = (old.ttl_of, old.ttl_s_max, old.said);
            }
        }
        self.look_at = Mono(0);
    }

    /// How long nothing need be looked at; none if no zone is signed here. By the monotonic clock, so that no jump delays it; never
    /// long, so that a jump, or the end of a machine's sleep, is seen soon.
    pub fn rest(&self, now: Now) -> Option<Duration> {
        let passed_ms = now.mono.since_ms(self.looked.mono);
        let drift_ms = Wall(self.looked.wall.0.saturating_add(passed_ms)).distance_ms(now.wall);
        let rest_ms = if drift_ms > DRIFT_MS { 0 } else { self.look_at.since_ms(now.mono).min(CLOCKS_MS) };
        (!self.zones.is_empty()).then(|| Duration::from_millis(rest_ms))
    }

    /// Looks at the clock, schedules and keys; gives the parents that are to be asked.
    pub fn tick(&mut self, now: Now) -> Vec<Question> {
        self.look_at = now.mono.plus_ms(LOOK_MS);
        self.looked = now;
        self.tick = self.follower.tick(now);
        if self.tick.jump_ms != 0 {
            tracing::warn!(
                milliseconds = self.tick.jump_ms,
                "the clock jumped: keys stay as they are for an hour, or until it is right again"
            );
        }
        let mut questions = Vec::new();
        for (apex, zone) in &mut self.zones {
            zone.look(apex, self.tick);
            if zone.spec.policy.manage_keys && zone.waits_for_parent(self.tick) && zone.ask_at <= now.wall {
                zone.ask_at = Wall(now.wall.0.saturating_add(PARENT_MS));
                let servers = zone.spec.parents.clone();
                if !servers.is_empty() {
                    questions.push(Question { zone: apex.clone(), servers, schedule: Arc::clone(&zone.schedule) });
                }
            }
        }
        questions
    }

    /// Takes in what all servers of a parent show.
    pub fn parent(&mut self, apex: &Name, tags: Vec<u16>) {
        let tick = self.tick;
        if let Some(zone) = self.zones.get_mut(apex).filter(|_| !tick.doubted) {
            let changed = zone.change(apex, tick, Event::Parent(tags));
            zone.take(apex, changed);
        }
    }

    /// The zones to serve, and whether any was signed anew.
    pub fn sign(&mut self, zones: &Zones, now: Now) -> (Arc<Zones>, bool) {
        for (apex, managed) in &mut self.zones {
            if let Some(zone) = zones.get(apex) {
                managed.measure(zone);
            }
        }
        let task = |(apex, zone): (&Name, &Managed)| {
            let serial = self.serials.get(&apex.to_string()).copied();
            let (policy, schedule) = (Arc::clone(&zone.spec.policy), Arc::clone(&zone.schedule));
            (apex.clone(), Task { policy, denial: zone.spec.denial, schedule, keys: zone.keys.clone(), serial })
        };
        let tasks: BTreeMap<Name, Task> = self.zones.iter().map(task).collect();
        let look = self.signer.look(zones, &tasks, self.tick, now.wall);
        self.look_at = self.look_at.min(now.mono.plus_ms(look.wake_at.0.saturating_sub(now.wall.0)));
        for status in &look.status {
            let Some(zone) = self.zones.get_mut(&status.name) else { continue };
            if let Some(serial) = status.serial.filter(|serial| self.serials.get(&status.name.to_string()) != Some(serial)) {
                let expires = compact(status.expires_at.0 / 1_000);
                tracing::info!(zone = %status.name, serial, expires, "signed");
            }
            let lacking = || format!("keys {:?} of the schedule are due and not in {}", status.lacking, zone.dir.display());
            let text = match &status.failure {
                Some(why) => format!("it cannot be signed: {why}"),
                None if !status.lacking.is_empty() => lacking(),
                None => String::new(),
            };
            zone.say(&status.name, Of::Signing, text);
        }
        self.remember(&look.status);
        let lapsed = {
            let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
            let lapsed = |status: &SignedStatus| status.expires_at <= now.wall;
            let changed = look.status.iter().filter(|s| lapsed(s)).count() != statuses.iter().filter(|s| lapsed(s)).count();
            *statuses = look.status;
            changed
        };
        (look.zones, look.signed > 0 || lapsed)
    }

    /// Keeps the serials, so that none goes back with a restart.
    fn remember(&mut self, statuses: &[SignedStatus]) {
        // A zone that was never signed since the start, or is gone for a while, keeps the serial that others know.
        let served = statuses.iter().filter_map(|status| Some((status.name.to_string(), status.serial?)));
        self.serials.extend(served);
        if self.kept.as_ref() == Some(&self.serials) {
            return;
        }
        let Some(path) = &self.serials_path else { return };
        let text = serde_json::to_vec(&self.serials).unwrap_or_default();
        match write_atomically(path, &text) {
            Ok(()) => self.kept = Some(self.serials.clone()),
            // It is tried again with each look: after a restart a serial must not go back.
            Err(error) => tracing::error!(file = %path.display(), %error, "serials of signed zones cannot be kept"),
        }
    }
}

/// Reads keys and schedules of all zones that are signed here, and makes those that this server is to make.
///
/// # Errors
/// What keeps zones from being signed, each in words.
pub fn prepare(spec: &Spec, config: &Path, now: Now) -> Result<Prepared, Vec<String>> {
    let tick = Tick { schedule: now.wall, doubted: false, jump_ms: 0 };
    let mut prepared = BTreeMap::new();
    let mut problems = Vec::new();
    for zone in &spec.zones {
        let Some(dnssec) = &zone.dnssec else { continue };
        match Managed::open(&zone.name, dnssec, config, tick) {
            Ok(managed) => drop(prepared.insert(zone.name.clone(), managed)),
            Err(why) => problems.push(why),
        }
    }
    if problems.is_empty() { Ok(Prepared(prepared)) } else { Err(problems) }
}

/// What would keep zones from being signed, and secrets that others can read, without changing anything: for `dnslb check`.
pub fn inspect(spec: &Spec, config: &Path) -> (Vec<String>, Vec<String>) {
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    for zone in &spec.zones {
        let Some(dnssec) = &zone.dnssec else { continue };
        let dir = resolve(config, &dnssec.policy.key_dir);
        match key_schedule::read(&dir, &zone.name) {
            Err(why) => errors.push(why),
            Ok(None) if !dnssec.policy.manage_keys => errors.push(no_schedule(&dir, &zone.name)),
            Ok(_) => {}
        }
        for (path, mode) in key_dir::read(&dir, &zone.name).map(|found| found.open).unwrap_or_default() {
            warnings.push(format!("{} with {mode}", path.display()));
        }
    }
    (errors, warnings)
}

/// The serials that were served before. What cannot be read is said: they may go back then.
fn read_serials(path: &Path) -> BTreeMap<String, u32> {
    let read = match read_capped(path, SERIALS_LEN_MAX) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return BTreeMap::new(),
        read => read.map_err(|error| error.to_string()),
    };
    let read = read.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
    read.unwrap_or_else(|why| {
        tracing::error!(file = %path.display(), why, "serials of signed zones are not known: secondaries may have higher ones");
        BTreeMap::new()
    })
}

fn no_schedule(dir: &Path, zone: &Name) -> String {
    let file = key_schedule::path(dir, zone);
    format!("{}: not there; expected a copy from the server of {zone} with `manage_keys = true`", file.display())
}

impl Managed {
    fn open(apex: &Name, spec: &ZoneDnssec, config: &Path, tick: Tick) -> Result<Self, String> {
        let dir = resolve(config, &spec.policy.key_dir);
        let schedule = if spec.policy.manage_keys {
            key_schedule::change(&dir, apex, &spec.policy, 0, tick.schedule.0 / 1_000, Event::Tick)?
        } else {
            key_schedule::read(&dir, apex)?.ok_or_else(|| no_schedule(&dir, apex))?
        };
        let mut managed = Self {
            spec: spec.clone(),
            dir,
            schedule: Arc::new(schedule),
            keys: BTreeMap::new(),
            ttl_of: None,
            ttl_s_max: 0,
            said: <[String; 2]>::default(),
            ask_at: Wall(0),
        };
        managed.read_keys(apex)?;
        let has = |tag: u16| managed.keys.contains_key(&tag);
        if managed.schedule.usable(tick.schedule.0 / 1_000, &has).is_none() {
            return Err(format!("{}: none of the keys that sign {apex} is there", managed.dir.display()));
        }
        Ok(managed)
    }

    fn read_keys(&mut self, apex: &Name) -> Result<(), String> {
        let found = key_dir::read(&self.dir, apex).map_err(|error| format!("{}: {error}", self.dir.display()))?;
        for (path, why) in &found.problems {
            tracing::warn!(file = %path.display(), "{why}");
        }
        let fits = |key: &SigningKey| {
            self.schedule.key(key.tag()).and_then(dnslb_core::dnssec::schedule::KeyPlan::public).as_ref()
                == Some(key.dnskey())
        };
        self.keys = found
            .keys
            .into_iter()
            .filter(|(_, key)| fits(&key.key))
            .map(|(_, key)| (key.key.tag(), Arc::new(key.key)))
            .collect();
        Ok(())
    }

    /// Reads the schedule anew, one step further if this server makes it.
    fn look(&mut self, apex: &Name, tick: Tick) {
        let next = if self.spec.policy.manage_keys && !tick.doubted {
            self.change(apex, tick, Event::Tick)
        } else {
            key_schedule::read(&self.dir, apex).and_then(|schedule| schedule.ok_or_else(|| no_schedule(&self.dir, apex)))
        };
        self.take(apex, next);
    }

    fn change(&self, apex: &Name, tick: Tick, event: Event) -> Result<Schedule, String> {
        key_schedule::change(&self.dir, apex, &self.spec.policy, self.ttl_s_max, tick.schedule.0 / 1_000, event)
    }

    fn take(&mut self, apex: &Name, next: Result<Schedule, String>) {
        let lacks = self.schedule.keys.iter().any(|key| key.remove_s.is_none() && !self.keys.contains_key(&key.tag));
        let taken = next.and_then(|next| next.follows(&self.schedule).map(|()| next)).and_then(|next| {
            if next == *self.schedule && !lacks {
                return Ok(());
            }
            self.schedule = Arc::new(next);
            self.read_keys(apex)
        });
        match taken {
            Ok(()) => self.say(apex, Of::Files, String::new()),
            Err(why) => self.say(apex, Of::Files, why),
        }
    }

    /// Whether the parent has something to show that the schedule waits for.
    fn waits_for_parent(&self, tick: Tick) -> bool {
        let now_s = tick.schedule.0 / 1_000;
        let due = |time: Option<u64>| time.is_some_and(|time| time <= now_s);
        self.schedule.keys.iter().any(|key| {
            key.role.is_entry()
                && key.remove_s.is_none()
                && ((key.is_wished(now_s) && key.ds_seen_s.is_none()) || (due(key.unwish_s) && key.ds_gone_s.is_none()))
        })
    }

    /// Finds the highest TTL of a zone that is new.
    fn measure(&mut self, zone: &Arc<Zone>) {
        if self.ttl_of.as_ref().is_some_and(|known| Arc::ptr_eq(known, zone)) {
            return;
        }
        let ttls = zone.names().flat_map(|name| name.sets().iter().map(dnslb_core::zone::RrSet::ttl_s));
        self.ttl_s_max = ttls.max().unwrap_or_default();
        self.ttl_of = Some(Arc::clone(zone));
    }

    /// Says once what is wrong, and once that nothing is any more.
    fn say(&mut self, apex: &Name, of: Of, text: String) {
        let said = match of {
            Of::Files => &mut self.said[0],
            Of::Signing => &mut self.said[1],
        };
        if *said == text {
            return;
        }
        if text.is_empty() {
            tracing::info!(zone = %apex, "is well again, of which was said: {said}");
        } else {
            tracing::error!(zone = %apex, "{text}");
        }
        *said = text;
    }
}

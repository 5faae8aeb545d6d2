//! The maker of a schedule: what a tick, a new key, an operator's word or a look at the parent changes, as a pure machine.
//!
//! Times that are written are never in the past, and those of a new key lie a lead ahead, in which schedule and key reach the other
//! nodes. A later event may add times and move such as lie ahead of that lead; nothing that nodes have acted on changes.

use super::super::key::{Algorithm, Dnskey};
use super::{KEYS_MAX, KeyPlan, Role, Schedule};

/// The durations that a rollover must wait for, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// TTL of the DNSKEY set.
    pub dnskey_ttl_s: u64,
    /// Highest TTL of the zone's data.
    pub zone_ttl_s_max: u64,
    /// TTL of the DS set at the parent.
    pub ds_ttl_s: u64,
    /// Until a change is on every server of the zone: signing, transfers, clocks that differ.
    pub propagation_s: u64,
    /// Until a DS set that was seen is on every server of the parent.
    pub parent_propagation_s: u64,
    /// From a key's making to its publication: schedule and key files reach the other nodes in this time.
    pub lead_s: u64,
}

impl Timing {
    /// Until every cache that has the zone's keys has those that are published now.
    fn keys_known_s(&self) -> u64 {
        self.dnskey_ttl_s + self.propagation_s
    }

    /// Until no cache has a signature that is made no more.
    fn signatures_gone_s(&self) -> u64 {
        self.zone_ttl_s_max + self.propagation_s
    }

    /// Until every cache has the DS set that was seen.
    fn ds_known_s(&self) -> u64 {
        self.ds_ttl_s + self.parent_propagation_s
    }
}

/// What the maker is to do by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRules {
    /// Algorithm of new keys.
    pub algorithm: Algorithm,
    /// Whether a KSK and a ZSK share the work of a CSK.
    pub split: bool,
    /// How long a CSK or KSK serves before it is rolled, in seconds; 0 for ever.
    pub entry_lifetime_s: u64,
    /// How long a ZSK signs before it is rolled, in seconds; 0 for ever.
    pub zone_lifetime_s: u64,
}

impl KeyRules {
    fn roles(&self) -> &'static [Role] {
        if self.split { &[Role::Ksk, Role::Zsk] } else { &[Role::Csk] }
    }

    fn lifetime_s(&self, role: Role) -> u64 {
        if role == Role::Zsk { self.zone_lifetime_s } else { self.entry_lifetime_s }
    }
}

/// A key that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What it is for.
    pub role: Role,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// Its public part.
    pub dnskey: Dnskey,
}

/// What happens to a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time passes.
    Tick,
    /// A key was made, and its files are on the disk.
    Made(NewKey),
    /// All servers of the parent show exactly these DS records' key tags for the zone.
    Parent(Vec<u16>),
    /// An operator says that the parent's servers all show the DS record of a key.
    Seen(u16),
    /// An operator says that none of them shows it.
    Gone(u16),
    /// An operator wants a new key.
    Roll(Role),
}

/// What the shell is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make a key and say so by [`Event::Made`].
    Make(Role, Algorithm),
    /// Write the schedule, atomically, before anybody acts on it.
    Save,
}

/// The maker's step. Only one node of a zone may call it.
pub fn step(schedule: &mut Schedule, rules: &KeyRules, timing: &Timing, now_s: u64, event: Event) -> Vec<Effect> {
    let before = schedule.clone();
    let mut maker = Maker { schedule, rules, timing, now_s };
    match event {
        Event::Tick => {}
        Event::Made(key) => maker.made(&key),
        Event::Parent(tags) => {
            let all: Vec<u16> = maker.schedule.keys.iter().map(|key| key.tag).collect();
            for tag in all {
                if tags.contains(&tag) {
                    maker.seen(tag);
                } else {
                    maker.gone(tag);
                }
            }
        }
        Event::Seen(tag) => maker.seen(tag),
        Event::Gone(tag) => maker.gone(tag),
        Event::Roll(role) => {
            if !maker.schedule.asked.contains(&role) {
                maker.schedule.asked.push(role);
            }
        }
    }
    maker.retire();
    let mut effects: Vec<Effect> = maker.wanted().into_iter().map(|role| Effect::Make(role, rules.algorithm)).collect();
    maker.forget();
    if *schedule != before {
        schedule.revision += 1;
        effects.push(Effect::Save);
    }
    effects
}

struct Maker<'a> {
    schedule: &'a mut Schedule,
    rules: &'a KeyRules,
    timing: &'a Timing,
    now_s: u64,
}

impl Maker<'_> {
    /// Keys of a role that are in the zone or will be.
    fn living(&self, role: Role) -> impl Iterator<Item = &KeyPlan> {
        let now_s = self.now_s;
        self.schedule.keys.iter().filter(move |key| key.role == role && key.remove_s.is_none_or(|remove| remove > now_s))
    }

    /// The one key of a role, if it is alone; none during a rollover.
    fn settled(&self, role: Role) -> Option<&KeyPlan> {
        let mut living = self.living(role);
        living.next().filter(|_| living.next().is_none())
    }

    /// Since when, or from when on, a key serves.
    fn start_s(key: &KeyPlan) -> Option<u64> {
        if key.role.signs_zone() { key.sign_s } else { key.publish_s }
    }

    /// Roles that need a key now: the first one, or the next one of a rollover.
    fn wanted(&mut self) -> Vec<Role> {
        let mut wanted = Vec::new();
        for &role in self.rules.roles() {
            if self.living(role).next().is_none() {
                wanted.push(role);
                continue;
            }
            let ahead_s = self.timing.lead_s + self.timing.keys_known_s();
            let lifetime_s = self.rules.lifetime_s(role);
            let asked = self.schedule.asked.contains(&role);
            let Some(start_s) = self.settled(role).and_then(Self::start_s) else { continue };
            let is_old = lifetime_s > 0 && self.now_s.saturating_add(ahead_s) >= start_s.saturating_add(lifetime_s);
            // The first key is not rolled before it serves.
            if (is_old || asked) && start_s <= self.now_s {
                wanted.push(role);
            }
        }
        wanted
    }

    fn made(&mut self, new: &NewKey) {
        if self.schedule.keys.len() >= KEYS_MAX || self.schedule.key(new.dnskey.tag()).is_some() {
            return;
        }
        let mut key = KeyPlan {
            tag: new.dnskey.tag(),
            algorithm: new.algorithm,
            role: new.role,
            dnskey: farm_shared::hex::encode(new.dnskey.rdata()),
            created_s: self.now_s,
            publish_s: None,
            sign_s: None,
            unsign_s: None,
            wish_s: None,
            unwish_s: None,
            remove_s: None,
            ds_seen_s: None,
            ds_gone_s: None,
        };
        if self.living(new.role).next().is_none() {
            self.schedule.keys.push(key);
            self.begin();
            return;
        }
        // A second key that nobody asked for (two makers, a repeated event) comes to nothing.
        let Some(old) = self.settled(new.role) else { return };
        let (old_tag, old_start_s) = (old.tag, Self::start_s(old).unwrap_or(self.now_s));
        let publish_s = self.now_s + self.timing.lead_s;
        let known_s = publish_s + self.timing.keys_known_s();
        let lifetime_s = self.rules.lifetime_s(new.role);
        let asked = self.schedule.asked.contains(&new.role);
        let end_s = if asked || lifetime_s == 0 { 0 } else { old_start_s.saturating_add(lifetime_s) };
        let switch_s = known_s.max(end_s);
        key.publish_s = Some(publish_s);
        if key.role.signs_zone() {
            key.sign_s = Some(switch_s);
        }
        if key.role.is_entry() {
            key.wish_s = Some(switch_s);
        }
        let signatures_gone_s = self.timing.signatures_gone_s();
        if let Some(old) = self.schedule.keys.iter_mut().find(|key| key.tag == old_tag) {
            if old.role.signs_zone() {
                old.unsign_s = Some(switch_s);
            }
            if old.role.is_entry() {
                old.unwish_s = Some(switch_s);
            } else {
                old.remove_s = Some(switch_s + signatures_gone_s);
            }
        }
        self.schedule.asked.retain(|role| *role != new.role);
        self.schedule.keys.push(key);
    }

    /// Starts to sign once there is a key of every role: all at once, and the parent is asked when no cache has an unsigned answer
    /// left.
    fn begin(&mut self) {
        let roles = self.rules.roles();
        if !roles.iter().all(|role| self.living(*role).next().is_some()) {
            return;
        }
        let start_s = self.now_s;
        let wish_s = start_s + self.timing.lead_s + self.timing.keys_known_s().max(self.timing.signatures_gone_s());
        for key in self.schedule.keys.iter_mut().filter(|key| key.publish_s.is_none()) {
            key.publish_s = Some(start_s);
            key.sign_s = key.role.signs_zone().then_some(start_s);
            key.wish_s = key.role.is_entry().then_some(wish_s);
        }
    }

    fn seen(&mut self, tag: u16) {
        let now_s = self.now_s;
        let Some(key) = self.schedule.keys.iter_mut().find(|key| key.tag == tag) else { return };
        // Before it is asked for, nobody is to rely on it.
        if key.role.is_entry() && key.wish_s.is_some_and(|wish| wish <= now_s) {
            key.ds_gone_s = None;
            key.ds_seen_s.get_or_insert(now_s);
        }
    }

    fn gone(&mut self, tag: u16) {
        let now_s = self.now_s;
        let Some(key) = self.schedule.keys.iter_mut().find(|key| key.tag == tag) else { return };
        if key.role.is_entry() && key.unwish_s.is_some_and(|unwish| unwish <= now_s) {
            key.ds_gone_s.get_or_insert(now_s);
        }
    }

    /// Decides when keys go that the parent had to let go first.
    fn retire(&mut self) {
        let (now_s, timing) = (self.now_s, *self.timing);
        let successor_seen_s = |keys: &[KeyPlan], old: &KeyPlan| {
            let later = keys.iter().filter(|key| key.role == old.role && key.publish_s > old.publish_s);
            later.filter(|key| key.ds_gone_s.is_none()).filter_map(|key| key.ds_seen_s).min()
        };
        let keys = self.schedule.keys.clone();
        for key in self.schedule.keys.iter_mut().filter(|key| key.remove_s.is_none() && key.role.is_entry()) {
            let (Some(gone_s), Some(seen_s)) = (key.ds_gone_s, successor_seen_s(&keys, key)) else { continue };
            let parent_s = gone_s.max(seen_s) + timing.ds_known_s();
            let signatures_s = key.unsign_s.map_or(0, |unsign| unsign + timing.signatures_gone_s());
            key.remove_s = Some(parent_s.max(signatures_s).max(now_s + timing.lead_s));
        }
    }

    /// Keys that have been gone for as long as they could matter to anybody leave the file, the oldest first, when there are many.
    fn forget(&mut self) {
        let old_s =
            self.now_s.saturating_sub(self.timing.lead_s + self.timing.signatures_gone_s() + self.timing.ds_known_s());
        let mut spare = self.schedule.keys.len().saturating_sub(KEYS_MAX / 2);
        self.schedule.keys.retain(|key| {
            let goes = spare > 0 && key.remove_s.is_some_and(|remove| remove < old_s);
            spare -= usize::from(goes);
            !goes
        });
    }
}

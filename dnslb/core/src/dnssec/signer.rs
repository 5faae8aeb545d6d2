//! Which zones are signed anew, and when: between the zones as they are kept and the zones as they are served.
//!
//! A pure machine. It gets the unsigned zones, schedules and keys, and the time; it gives the zones to serve and when it wants to
//! be asked again. A zone that is to be signed never leaves here without signatures that hold: when it cannot be signed, the last
//! signed version stays as long as it holds, and a zone without one is answered by SERVFAIL.

use std::collections::BTreeMap;
use std::sync::Arc;

use farm_shared::time::Wall;

use super::active::ActiveKeys;
use super::changes::changes_between;
use super::key::{Dnskey, SigningKey};
use super::policy::DnssecPolicy;
use super::schedule::{KeyPlan, Schedule, Tick, View};
use super::sign_zone::{Denial, SignedZone, SigningPlan, sign_zone};
use crate::name::Name;
use crate::zone::{Hosted, Zone, Zones, serial};

/// Longest time until a look at all zones, in milliseconds.
const LOOK_MS: u64 = 3_600_000;
/// How long after a failure it is tried again, in milliseconds.
const RETRY_MS: u64 = 60_000;

/// How a zone is to be signed.
#[derive(Clone, Debug)]
pub struct Task {
    /// The policy.
    pub policy: Arc<DnssecPolicy>,
    /// How absence is proven.
    pub denial: Denial,
    /// The key schedule.
    pub schedule: Arc<Schedule>,
    /// The private keys that are here, by tag.
    pub keys: BTreeMap<u16, Arc<SigningKey>>,
    /// The serial that was served last, if that is known from before the start.
    pub serial: Option<u32>,
}

/// A zone as it is served.
#[derive(Debug)]
struct Signed {
    source: Arc<Zone>,
    view: View,
    denial: Denial,
    policy: Arc<DnssecPolicy>,
    hosted: Hosted,
    refresh_at: Wall,
    /// Before this, not every signature holds yet.
    begins_at: Wall,
    /// When the first signature does not hold any more.
    expires_at: Wall,
    /// Signatures that were made for it.
    made: u64,
}

/// What is known of a signed zone, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedStatus {
    /// Its apex.
    pub name: Name,
    /// The serial that is served, once it was signed.
    pub serial: Option<u32>,
    /// When the first signature does not hold any more.
    pub expires_at: Wall,
    /// Keys of the schedule that are due and not here.
    pub lacking: Vec<u16>,
    /// Why it could not be signed last, if so.
    pub failure: Option<String>,
    /// Signatures that were made, and times that it could not be signed, since the start.
    pub counts: Counts,
}

/// What was done for a signed zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Signatures that were made.
    pub made: u64,
    /// Times that it could not be signed.
    pub failed: u64,
}

/// What comes of a look at all zones.
#[derive(Debug)]
pub struct Look {
    /// The zones to serve.
    pub zones: Arc<Zones>,
    /// Whether they differ from those of the look before in anything but what came in.
    pub signed: usize,
    /// Lines for the log.
    pub notices: Vec<String>,
    /// When to look again at the latest.
    pub wake_at: Wall,
    /// Every signed zone.
    pub status: Vec<SignedStatus>,
}

/// The machine.
#[derive(Debug, Default)]
pub struct Signer {
    zones: BTreeMap<Name, Signed>,
    counts: BTreeMap<Name, Counts>,
}

impl Signer {
    /// One that has signed nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Signs what is new, changed or due among `zones`; those without a task pass through. `wall` is the time of signatures, `tick`
    /// the time of schedules.
    pub fn look(&mut self, zones: &Zones, tasks: &BTreeMap<Name, Task>, tick: Tick, wall: Wall) -> Look {
        let mut look = Look {
            zones: Arc::default(),
            signed: 0,
            notices: Vec::new(),
            wake_at: Wall(wall.0.saturating_add(LOOK_MS)),
            status: Vec::new(),
        };
        self.zones.retain(|apex, _| tasks.contains_key(apex));
        self.counts.retain(|apex, _| tasks.contains_key(apex));
        let hosted: Vec<Hosted> = zones
            .hosted()
            .map(|hosted| match tasks.get(hosted.zone.apex()) {
                None => hosted.clone(),
                Some(task) => self.zone(hosted, task, tick, wall, &mut look),
            })
            .collect();
        // Each apex came out of a set.
        look.zones = Arc::new(Zones::of(hosted).unwrap_or_default());
        look
    }

    fn zone(&mut self, hosted: &Hosted, task: &Task, tick: Tick, wall: Wall, look: &mut Look) -> Hosted {
        let apex = hosted.zone.apex();
        let now_s = tick.schedule.0 / 1_000;
        let has = |tag: u16| task.keys.contains_key(&tag);
        let usable = task.schedule.usable(now_s, &has);
        let lacking = usable.as_ref().map(|usable| usable.lacking.clone()).unwrap_or_default();
        let before = self.zones.remove(apex);
        let result = match usable {
            None => Err("none of the keys that sign it is here".to_owned()),
            Some(usable) => match &before {
                Some(signed) if signed.is_good(hosted, task, &usable.view, tick, wall) => Ok(None),
                _ => sign(&hosted.zone, before.as_ref(), task, &usable.view, tick, wall).map(Some),
            },
        };
        let counts = self.counts.entry(apex.clone()).or_default();
        let (signed, failure) = match (result, before) {
            (Ok(None), before) => (before, None),
            (Ok(Some(signed)), _) => {
                look.signed += 1;
                counts.made += signed.made;
                (Some(signed), None)
            }
            (Err(why), before) => {
                counts.failed += 1;
                look.notices.push(format!("{apex} cannot be signed: {why}"));
                look.wake_at = look.wake_at.min(Wall(wall.0.saturating_add(RETRY_MS)));
                (before, Some(why))
            }
        };
        let status = SignedStatus {
            name: apex.clone(),
            serial: signed.as_ref().map(|signed| signed.hosted.zone.serial()),
            expires_at: signed.as_ref().map_or(wall, |signed| signed.expires_at),
            lacking,
            failure,
            counts: *counts,
        };
        look.status.push(status);
        let Some(signed) = signed else { return Hosted { expired: true, ..hosted.clone() } };
        let change_ms = task.schedule.next_change_s(now_s).map(|change| change.saturating_sub(now_s).saturating_mul(1_000));
        let changes_at = change_ms.map_or(look.wake_at, |ms| Wall(wall.0.saturating_add(ms)));
        let refresh_at = Wall(signed.refresh_at.0.max(wall.0.saturating_add(1_000)));
        look.wake_at = look.wake_at.min(changes_at).min(refresh_at);
        // It could not be signed in time: no answer is better than one that is bogus everywhere.
        let expired = hosted.expired || signed.expires_at <= wall;
        let out = Hosted { expired, ..signed.hosted.clone() };
        self.zones.insert(apex.clone(), signed);
        out
    }
}

impl Signed {
    /// Whether nothing is to be done.
    fn is_good(&self, hosted: &Hosted, task: &Task, view: &View, tick: Tick, wall: Wall) -> bool {
        // A clock that is doubted makes nothing anew that still holds by it. What it was to be believed before may be of the future
        // by now: that is refused by whoever has the right time.
        let due = if tick.doubted { self.expires_at } else { self.refresh_at };
        Arc::ptr_eq(&self.source, &hosted.zone)
            && self.view == *view
            && self.denial == task.denial
            && *self.policy == *task.policy
            && wall < due
            && self.begins_at <= wall
    }
}

/// Signs a zone; the serial goes up whenever anything differs from what was served before.
fn sign(
    zone: &Arc<Zone>,
    before: Option<&Signed>,
    task: &Task,
    view: &View,
    tick: Tick,
    wall: Wall,
) -> Result<Signed, String> {
    let apex = zone.apex();
    let public = |tags: &[u16]| -> Vec<Dnskey> {
        tags.iter().filter_map(|tag| task.schedule.key(*tag).and_then(KeyPlan::public)).collect()
    };
    let private = |tags: &[u16]| -> Vec<Arc<SigningKey>> {
        tags.iter().filter_map(|tag| task.keys.get(tag)).map(Arc::clone).collect()
    };
    let keys = ActiveKeys {
        apex: apex.clone(),
        entry: private(&view.entry),
        zone: private(&view.zone),
        validity: task.policy.validity,
    };
    // While it is not known which of two times is right, what is made holds by both.
    let validity = if tick.doubted { keys.validity.by_both(wall, tick.schedule) } else { keys.validity };
    let plan = SigningPlan {
        keys: ActiveKeys { validity, ..keys.clone() },
        published: public(&view.published),
        wished: public(&view.wished),
        dnskey_ttl_s: task.policy.timing.dnskey_ttl_s as u32,
        denial: task.denial,
        serial: None,
    };
    let mut made_count = 0;
    let mut with = |serial: u32, before: Option<&Zone>| {
        let signed = sign_zone(zone, &SigningPlan { serial: Some(serial), ..plan.clone() }, before, wall);
        let signed = signed.map_err(|error| error.to_string())?;
        made_count += signed.made as u64;
        Ok::<_, String>(signed)
    };
    let old = before.map(|signed| &signed.hosted.zone);
    let last = old.map(|old| old.serial()).or(task.serial);
    let raised = match last {
        Some(last) if !serial::is_newer(zone.serial(), last) => serial::next(last),
        _ => zone.serial(),
    };
    let signed: SignedZone = match old {
        // It may be the same again: a file that was read anew, a schedule with a new revision.
        Some(old) if raised != zone.serial() => {
            let same = with(old.serial(), Some(old))?;
            if same.made == 0 && changes_between(old, &same.zone).is_none() { same } else { with(raised, Some(&same.zone))? }
        }
        old => with(raised, old.map(|old| &**old))?,
    };
    let SignedZone { zone: made, refresh_at, begins_at, .. } = signed;
    let expires_at = Wall(refresh_at.0.saturating_add(u64::from(task.policy.validity.refresh_s) * 1_000));
    let (zone_served, history) = match before {
        Some(before) => match changes_between(&before.hosted.zone, &made) {
            None => (Arc::clone(&before.hosted.zone), Arc::clone(&before.hosted.history)),
            Some(diff) => (Arc::new(made), Arc::new(before.hosted.history.with(Arc::new(diff)))),
        },
        None => (Arc::new(made), Arc::default()),
    };
    let keys = match before.and_then(|before| before.hosted.keys.clone()) {
        Some(old) if before.is_some_and(|before| before.view == *view && *before.policy == *task.policy) => old,
        _ => Arc::new(keys),
    };
    let hosted = Hosted { history, keys: Some(keys), ..Hosted::new(zone_served) };
    Ok(Signed {
        source: Arc::clone(zone),
        view: view.clone(),
        denial: task.denial,
        policy: Arc::clone(&task.policy),
        hosted,
        refresh_at,
        begins_at,
        expires_at,
        made: made_count,
    })
}

#[cfg(test)]
mod tests;

//! When a secondary asks its primaries, and when its data is too old to be served: the timers of RFC 1035 section 3.3.13 and RFC 1996.
//!
//! One machine for all secondary zones. It knows serials and times, never records. Timers run on the monotonic clock; the wall
//! clock counts only across a restart, and one that went backwards makes no data older or younger than its last confirmation.

use crate::config::PrimarySpec;
use crate::name::Name;
use crate::zone::{Soa, serial};
use farm_shared::draw::Draws;
use farm_shared::time::{Mono, Now, Wall};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Transfers under way at one time.
pub const RUNNING_MAX: usize = 16;

/// Bounds of refresh and retry, in seconds: a primary must not make us hammer it, nor forget it.
const PERIOD_S_MIN: u32 = 1;
const PERIOD_S_MAX: u32 = 28 * 86_400;

/// Notifications of one zone do not make it be looked at more often than once in so many milliseconds: whoever forges a primary's
/// address must not make us hammer it.
const NOTIFIED_REST_MS: u64 = 1_000;

/// First and longest rest of a zone without data between two rounds of its primaries, in milliseconds.
const EMPTY_RETRY_MS: u64 = 2_000;
const EMPTY_RETRY_MS_MAX: u64 = 600_000;

/// A secondary zone as configured, with what was kept of it.
#[derive(Debug, Clone)]
pub struct Secondary {
    /// The zone.
    pub apex: Name,
    /// Whom it is asked from, in this order.
    pub primaries: Vec<PrimarySpec>,
    /// The SOA record of the data that is there, if any is.
    pub have: Option<Soa>,
    /// When a primary confirmed that last.
    pub confirmed: Wall,
}

/// Something happened.
#[derive(Debug, Clone)]
pub enum RefreshEvent {
    /// These are the secondary zones from now on.
    Configured(Vec<Secondary>),
    /// Time passed.
    Tick,
    /// A primary says that the zone has changed.
    Notified {
        /// The zone.
        apex: Name,
        /// Its serial there, if it was told.
        serial: Option<u32>,
        /// Who says so.
        from: IpAddr,
    },
    /// What [`RefreshEffect::Start`] asked for has ended.
    Finished {
        /// The zone.
        apex: Name,
        /// Which attempt.
        attempt: u64,
        /// The SOA record of the data that is there now, confirmed or new; `Err` if the primary gave none that can be used.
        result: Result<Soa, ()>,
    },
}

/// Something is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshEffect {
    /// Ask this primary for its serial and, if that is newer, for the zone; then bring [`RefreshEvent::Finished`].
    Start {
        /// The zone.
        apex: Name,
        /// Which attempt.
        attempt: u64,
        /// Whom to ask.
        primary: PrimarySpec,
        /// The serial of the data that is there.
        have: Option<u32>,
    },
    /// The zone's data is too old to be served, or is served again.
    Expired(Name, bool),
}

#[derive(Debug)]
struct Zone {
    primaries: Vec<PrimarySpec>,
    have: Option<Soa>,
    /// When the data is too old, unless it is confirmed.
    expires: Mono,
    next: Mono,
    /// When the last attempt began.
    begun: Option<Mono>,
    /// The attempt under way.
    running: Option<u64>,
    /// Which primary is asked next, and how many of this round were.
    primary: usize,
    asked: usize,
    /// Rounds that failed since the last success.
    failures: u32,
    /// A notification came during the attempt.
    again: bool,
    expired: bool,
}

/// How long data may still be served that a primary confirmed then, in milliseconds. A wall clock that went backwards makes no data
/// older.
fn left_ms(wall: Wall, have: Option<&Soa>, confirmed: Wall) -> u64 {
    let Some(soa) = have.filter(|_| confirmed != Wall::default()) else { return 0 };
    (u64::from(soa.expire_s) * 1_000).saturating_sub(wall.0.saturating_sub(confirmed.0))
}

/// Whether data that came back from the disk is too old to be served: never confirmed, or too long ago.
pub fn is_too_old(wall: Wall, have: Option<&Soa>, confirmed: Wall) -> bool {
    left_ms(wall, have, confirmed) == 0
}

/// All secondary zones.
#[derive(Debug)]
pub struct Refresher {
    zones: BTreeMap<Name, Zone>,
    draws: Draws,
    attempts: u64,
}

impl Refresher {
    /// Without zones: the first event is a configuration.
    pub fn new(draws: Draws) -> Self {
        Self { zones: BTreeMap::new(), draws, attempts: 0 }
    }

    /// One event.
    pub fn step(&mut self, now: Now, event: RefreshEvent) -> Vec<RefreshEffect> {
        let mut effects = Vec::new();
        match event {
            RefreshEvent::Configured(zones) => self.configured(now, zones, &mut effects),
            RefreshEvent::Tick => {}
            RefreshEvent::Notified { apex, serial, from } => self.notified(now, &apex, serial, from),
            RefreshEvent::Finished { apex, attempt, result } => self.finished(now, &apex, attempt, result, &mut effects),
        }
        self.due(now.mono, &mut effects);
        effects
    }

    /// When something is due next.
    pub fn next(&self) -> Mono {
        let next = |zone: &Zone| {
            let ask = if zone.running.is_none() { zone.next } else { Mono::NEVER };
            ask.min(if zone.expired { Mono::NEVER } else { zone.expires })
        };
        self.zones.values().map(next).min().unwrap_or(Mono::NEVER)
    }

    fn configured(&mut self, now: Now, zones: Vec<Secondary>, effects: &mut Vec<RefreshEffect>) {
        let mut old = std::mem::take(&mut self.zones);
        for Secondary { apex, primaries, have, confirmed } in zones {
            // Data that is there no more was another life of the zone.
            let is_same = |zone: &Zone| zone.have.is_none() || have.is_some();
            let zone = if let Some(mut zone) = old.remove(&apex).filter(is_same) {
                if zone.primaries != primaries {
                    (zone.primary, zone.asked, zone.next) = (0, 0, now.mono);
                }
                zone.primaries = primaries;
                zone
            } else {
                // A start: whatever is there may be old, so its primaries are asked at once.
                let left_ms = left_ms(now.wall, have.as_ref(), confirmed);
                let is_old = left_ms == 0;
                effects.push(RefreshEffect::Expired(apex.clone(), is_old));
                Zone {
                    primaries,
                    have,
                    expires: now.mono.plus_ms(left_ms),
                    next: now.mono,
                    begun: None,
                    running: None,
                    primary: 0,
                    asked: 0,
                    failures: 0,
                    again: false,
                    expired: is_old,
                }
            };
            self.zones.insert(apex, zone);
        }
    }

    fn notified(&mut self, now: Now, apex: &Name, told: Option<u32>, from: IpAddr) {
        let Some(zone) = self.zones.get_mut(apex) else { return };
        let have = zone.have.as_ref().map(|soa| soa.serial);
        if let (Some(told), Some(have)) = (told, have)
            && !serial::is_newer(told, have)
            && !zone.expired
        {
            return;
        }
        if let Some(index) = zone.primaries.iter().position(|primary| primary.addr.ip() == from) {
            zone.primary = index;
        }
        zone.asked = 0;
        if zone.running.is_some() {
            zone.again = true;
        } else {
            zone.next = zone.next.min(zone.notified_at(now.mono));
        }
    }

    fn finished(&mut self, now: Now, apex: &Name, attempt: u64, result: Result<Soa, ()>, effects: &mut Vec<RefreshEffect>) {
        let Some(zone) = self.zones.get_mut(apex).filter(|zone| zone.running == Some(attempt)) else { return };
        zone.running = None;
        let again = std::mem::take(&mut zone.again);
        if let Ok(soa) = result {
            let refresh_ms = u64::from(soa.refresh_s.clamp(PERIOD_S_MIN, PERIOD_S_MAX)) * 1_000;
            zone.expires = now.mono.plus_ms(u64::from(soa.expire_s) * 1_000);
            zone.have = Some(soa);
            (zone.failures, zone.asked) = (0, 0);
            // Some before the time, so that a thousand zones of one primary do not come at once.
            zone.next = now.mono.plus_ms(refresh_ms - refresh_ms / 10 + self.draws.below((refresh_ms / 10) as usize) as u64);
            if zone.expired {
                zone.expired = false;
                effects.push(RefreshEffect::Expired(apex.clone(), false));
            }
        } else {
            zone.primary = (zone.primary + 1) % zone.primaries.len().max(1);
            zone.asked += 1;
            if zone.asked < zone.primaries.len() {
                zone.next = now.mono;
            } else {
                zone.asked = 0;
                let rest_ms = zone.rest_ms();
                zone.failures = zone.failures.saturating_add(1);
                zone.next = now.mono.plus_ms(self.draws.jitter_ms(rest_ms, 0.1));
            }
        }
        if again {
            zone.next = zone.next.min(zone.notified_at(now.mono));
        }
    }

    /// Starts what is due, the longest waiting first, and tells whose data is too old.
    fn due(&mut self, now: Mono, effects: &mut Vec<RefreshEffect>) {
        for (apex, zone) in &mut self.zones {
            if !zone.expired && zone.expires <= now {
                zone.expired = true;
                effects.push(RefreshEffect::Expired(apex.clone(), true));
            }
        }
        let running = self.zones.values().filter(|zone| zone.running.is_some()).count();
        let mut waiting: Vec<(&Name, &mut Zone)> =
            self.zones.iter_mut().filter(|(_, zone)| zone.running.is_none() && zone.next <= now).collect();
        waiting.sort_by_key(|(_, zone)| zone.next);
        for (apex, zone) in waiting.into_iter().take(RUNNING_MAX.saturating_sub(running)) {
            let Some(primary) = zone.primaries.get(zone.primary).or(zone.primaries.first()).cloned() else { continue };
            self.attempts += 1;
            zone.running = Some(self.attempts);
            zone.begun = Some(now);
            let have = zone.have.as_ref().map(|soa| soa.serial);
            effects.push(RefreshEffect::Start { apex: apex.clone(), attempt: self.attempts, primary, have });
        }
    }
}

impl Zone {
    /// When a notification leads to the next look.
    fn notified_at(&self, now: Mono) -> Mono {
        self.begun.map_or(now, |begun| begun.plus_ms(NOTIFIED_REST_MS).max(now))
    }

    /// How long to rest after a round in which every primary failed, in milliseconds.
    fn rest_ms(&self) -> u64 {
        match &self.have {
            Some(soa) => u64::from(soa.retry_s.clamp(PERIOD_S_MIN, PERIOD_S_MAX)) * 1_000,
            None => (EMPTY_RETRY_MS << self.failures.min(16)).min(EMPTY_RETRY_MS_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const START: Now = Now { mono: Mono(1_000), wall: Wall(1_700_000_000_000) };

    fn soa(serial: u32) -> Soa {
        let name = Name::root();
        Soa { mname: name.clone(), rname: name, serial, refresh_s: 100, retry_s: 10, expire_s: 1_000, minimum_s: 1 }
    }

    fn apex() -> Name {
        Name::from_text("example").unwrap()
    }

    fn primary(last: u8) -> PrimarySpec {
        let addr = std::net::SocketAddr::from(([192, 0, 2, last], 53));
        PrimarySpec { addr, key: None, tls_name: None, tls_ca_file: None }
    }

    fn secondary(have: Option<Soa>, age_s: u64) -> Secondary {
        let confirmed = Wall(START.wall.0 - age_s * 1_000);
        Secondary { apex: apex(), primaries: vec![primary(1), primary(2)], have, confirmed }
    }

    /// The attempts that effects start, as (attempt, last octet of the primary, serial).
    fn started(effects: &[RefreshEffect]) -> Vec<(u64, u8, Option<u32>)> {
        let start = |effect: &RefreshEffect| match effect {
            RefreshEffect::Start { attempt, primary, have, .. } => {
                let IpAddr::V4(v4) = primary.addr.ip() else { return None };
                Some((*attempt, v4.octets()[3], *have))
            }
            RefreshEffect::Expired(..) => None,
        };
        effects.iter().filter_map(start).collect()
    }

    fn expired(effects: &[RefreshEffect]) -> Vec<bool> {
        effects
            .iter()
            .filter_map(|effect| if let RefreshEffect::Expired(_, is) = effect { Some(*is) } else { None })
            .collect()
    }

    fn refresher(have: Option<Soa>, age_s: u64) -> (Refresher, Vec<RefreshEffect>) {
        let mut refresher = Refresher::new(Draws::from_u64(1));
        let effects = refresher.step(START, RefreshEvent::Configured(vec![secondary(have, age_s)]));
        (refresher, effects)
    }

    fn finished(attempt: u64, result: Result<Soa, ()>) -> RefreshEvent {
        RefreshEvent::Finished { apex: apex(), attempt, result }
    }

    #[test]
    fn a_zone_is_asked_for_at_once_and_then_before_each_refresh() {
        let (mut refresher, effects) = refresher(None, 0);
        assert_eq!((started(&effects), expired(&effects)), (vec![(1, 1, None)], vec![true]));
        let effects = refresher.step(START, finished(1, Ok(soa(7))));
        assert_eq!((started(&effects), expired(&effects)), (vec![], vec![false]));
        let next = refresher.next().since_ms(START.mono);
        assert!((90_000..=100_000).contains(&next), "{next}");
        assert_eq!(started(&refresher.step(START.plus_ms(89_999), RefreshEvent::Tick)), []);
        assert_eq!(started(&refresher.step(START.plus_ms(100_000), RefreshEvent::Tick)), [(2, 1, Some(7))]);
    }

    #[test]
    fn every_primary_is_tried_before_a_rest() {
        let (mut refresher, _) = refresher(Some(soa(7)), 10);
        assert_eq!(started(&refresher.step(START, finished(1, Err(())))), [(2, 2, Some(7))]);
        assert_eq!(started(&refresher.step(START, finished(2, Err(())))), []);
        let rest = refresher.next().since_ms(START.mono);
        assert!((9_000..=11_000).contains(&rest), "{rest}");
        // What ended already ends nothing again.
        assert_eq!(started(&refresher.step(START, finished(2, Ok(soa(9))))), []);
        assert_eq!(started(&refresher.step(START.plus_ms(11_000), RefreshEvent::Tick)), [(3, 1, Some(7))]);
    }

    #[test]
    fn a_zone_without_data_is_asked_for_less_and_less_often() {
        let (mut refresher, _) = refresher(None, 0);
        let (mut now, mut rests) = (START, Vec::new());
        for attempt in (1..40).step_by(2) {
            refresher.step(now, finished(attempt, Err(())));
            refresher.step(now, finished(attempt + 1, Err(())));
            rests.push(refresher.next().since_ms(now.mono));
            now = now.plus_ms(rests.last().copied().unwrap());
            refresher.step(now, RefreshEvent::Tick);
        }
        assert!(rests[0] <= 2_200 && rests[1] > rests[0] && rests[19] >= 540_000 && rests[19] <= 660_000, "{rests:?}");
    }

    #[test]
    fn data_that_nobody_confirms_expires() {
        let (mut refresher, effects) = refresher(Some(soa(7)), 300);
        assert_eq!(expired(&effects), [false]);
        assert_eq!(expired(&refresher.step(START.plus_ms(699_999), RefreshEvent::Tick)), [false; 0]);
        assert_eq!(expired(&refresher.step(START.plus_ms(700_000), RefreshEvent::Tick)), [true]);
        assert_eq!(expired(&refresher.step(START.plus_ms(700_001), RefreshEvent::Tick)), [false; 0]);
        assert_eq!(expired(&refresher.step(START.plus_ms(700_002), finished(1, Ok(soa(7))))), [false]);
        assert_eq!(expired(&refresher.step(START.plus_ms(700_002 + 999_999), RefreshEvent::Tick)), [false; 0]);
        assert_eq!(expired(&refresher.step(START.plus_ms(700_002 + 1_000_000), RefreshEvent::Tick)), [true]);
    }

    #[test]
    fn what_was_kept_through_a_restart_may_be_too_old() {
        for (age_s, expect) in [(0, false), (999, false), (1_000, true), (1_000_000, true)] {
            assert_eq!(expired(&refresher(Some(soa(7)), age_s).1), [expect], "{age_s}");
        }
        // A wall clock that went backwards makes data no older than confirmed.
        let mut later = secondary(Some(soa(7)), 0);
        later.confirmed = Wall(START.wall.0 + 10_000_000);
        let mut refresher = Refresher::new(Draws::from_u64(1));
        assert_eq!(expired(&refresher.step(START, RefreshEvent::Configured(vec![later]))), [false]);
        assert_eq!(expired(&refresher.step(START.plus_ms(1_000_000), RefreshEvent::Tick)), [true]);
    }

    #[test]
    fn a_notification_brings_the_next_look_forward() {
        let notified = |serial, last| RefreshEvent::Notified { apex: apex(), serial, from: IpAddr::from([192, 0, 2, last]) };
        let (mut refresher, _) = refresher(Some(soa(7)), 0);
        refresher.step(START, finished(1, Ok(soa(7))));
        let later = START.plus_ms(NOTIFIED_REST_MS);
        assert_eq!(started(&refresher.step(later, notified(Some(7), 2))), [], "nothing new");
        assert_eq!(started(&refresher.step(later, notified(Some(8), 2))), [(2, 2, Some(7))], "from who said so");
        assert_eq!(started(&refresher.step(later, notified(None, 1))), [], "one at a time");
        assert_eq!(started(&refresher.step(later, finished(2, Ok(soa(8))))), [], "not at once");
        let again = later.plus_ms(NOTIFIED_REST_MS);
        assert_eq!(refresher.next(), again.mono);
        assert_eq!(started(&refresher.step(again, RefreshEvent::Tick)), [(3, 1, Some(8))], "and once more");
        refresher.step(again, finished(3, Ok(soa(8))));
        // A flood of them costs one look in that time.
        let mut flood = (0..1_000).map(|ms| started(&refresher.step(again.plus_ms(ms), notified(None, 1))));
        assert!(flood.all(|started| started.is_empty()));
        assert_eq!(started(&refresher.step(again.plus_ms(1_000), RefreshEvent::Tick)), [(4, 1, Some(8))]);
        let other = RefreshEvent::Notified { apex: Name::root(), serial: None, from: IpAddr::from([192, 0, 2, 1]) };
        assert_eq!(started(&refresher.step(START, other)), []);
    }

    #[test]
    fn a_reload_keeps_what_is_under_way() {
        let (mut refresher, _) = refresher(Some(soa(7)), 0);
        refresher.step(START, finished(1, Ok(soa(7))));
        let same = secondary(Some(soa(7)), 0);
        assert_eq!(refresher.step(START, RefreshEvent::Configured(vec![same.clone()])), []);
        let other = Secondary { primaries: vec![primary(3)], ..same };
        assert_eq!(started(&refresher.step(START, RefreshEvent::Configured(vec![other]))), [(2, 3, Some(7))]);
        // A zone that lost its data begins anew, whatever is under way.
        let lost = refresher.step(START, RefreshEvent::Configured(vec![secondary(None, 0)]));
        assert_eq!((started(&lost), expired(&lost)), (vec![(3, 1, None)], vec![true]));
        assert_eq!(refresher.step(START, RefreshEvent::Configured(vec![])), []);
        assert_eq!(refresher.next(), Mono::NEVER);
    }

    #[test]
    fn few_transfers_run_at_a_time() {
        let zone = |n: usize| Secondary { apex: Name::from_text(&format!("z{n}")).unwrap(), ..secondary(None, 0) };
        let mut refresher = Refresher::new(Draws::from_u64(1));
        let effects = refresher.step(START, RefreshEvent::Configured((0..100).map(zone).collect()));
        let first = started(&effects);
        assert_eq!(first.len(), RUNNING_MAX);
        let RefreshEffect::Start { apex, attempt, .. } =
            effects.iter().find(|e| matches!(e, RefreshEffect::Start { .. })).unwrap()
        else {
            panic!()
        };
        let event = RefreshEvent::Finished { apex: apex.clone(), attempt: *attempt, result: Ok(soa(1)) };
        assert_eq!(started(&refresher.step(START, event)).len(), 1, "the next one waits no longer");
    }

    proptest! {
        /// Whatever happens, one attempt a zone is under way at most, and expiry and revival take turns.
        #[test]
        fn attempts_and_expiries_take_turns(events in proptest::collection::vec((0_u8..5, 0_u64..400_000), 0..60)) {
            let (mut refresher, effects) = refresher(Some(soa(7)), 0);
            let (mut now, mut running, mut is_expired, mut serial) = (START, None, false, 7);
            let mut look = |effects: Vec<RefreshEffect>, running: &mut Option<u64>| {
                for effect in effects {
                    match effect {
                        RefreshEffect::Start { attempt, .. } => assert_eq!(running.replace(attempt), None),
                        RefreshEffect::Expired(_, is) => assert_ne!(std::mem::replace(&mut is_expired, is), is),
                    }
                }
            };
            look(effects.into_iter().filter(|effect| matches!(effect, RefreshEffect::Start { .. })).collect(), &mut running);
            for (kind, ms) in events {
                now = now.plus_ms(ms);
                let event = match (kind, running) {
                    (0, Some(attempt)) => { running = None; finished(attempt, Err(())) }
                    (1, Some(attempt)) => { running = None; serial += 1; finished(attempt, Ok(soa(serial))) }
                    (2, _) => RefreshEvent::Notified { apex: apex(), serial: None, from: IpAddr::from([192, 0, 2, 2]) },
                    (3, _) => RefreshEvent::Configured(vec![secondary(Some(soa(7)), 0)]),
                    _ => RefreshEvent::Tick,
                };
                let effects = refresher.step(now, event);
                look(effects, &mut running);
                prop_assert!(refresher.next() > now.mono || running.is_some());
            }
        }
    }
}

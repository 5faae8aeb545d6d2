//! The waiting room within the control loop: what it is told, and who waits at other doors.
//!
//! What doors say of each other comes by way of members, which are not trusted with it: it can shift watermarks within what places there
//! are, and nothing else.

use super::Control;
use crate::room::{Input, Launch, Tick};
use farm_shared::heartbeat::{Heartbeat, Kind, Load, Role, RoomWord};
use farm_shared::id::Id;
use farm_shared::time::{Mono, Now};
use std::collections::BTreeMap;

/// What another door said is believed for so long, in milliseconds.
const WORD_MS_MAX: u64 = 5_000;
/// Doors whose words are kept.
const DOORS_MAX: usize = 64;
/// The watermarks on disk are at most this old while somebody waits, in milliseconds.
const SAVE_MS: u64 = 5_000;
/// Launches that a forecast looks at.
const LAUNCHES_MAX: usize = 64;
const LAUNCH_MS_MIN: u64 = 1_000;

/// Who waits at other doors: when it was said, and the word, if anybody does.
#[derive(Clone, Debug, Default)]
pub(super) struct Rooms(BTreeMap<Id, (Mono, Option<RoomWord>)>);

impl Rooms {
    /// What a member relays; the newest word of each door stays.
    pub(super) fn hear(&mut self, own: &Id, heartbeat: &Heartbeat, now: Mono) {
        for heard in heartbeat.heard.iter().filter(|h| h.kind == Kind::Redirector && h.id != *own && h.age_ms < WORD_MS_MAX)
        {
            let said = Mono(now.0.saturating_sub(heard.age_ms));
            let is_known = self.0.get(&heard.id).map(|(at, _)| *at);
            if is_known.is_none_or(|at| at < said) && (is_known.is_some() || self.0.len() < DOORS_MAX) {
                self.0.insert(heard.id.clone(), (said, heard.room.clone()));
            }
        }
    }

    fn forget(&mut self, now: Mono) {
        self.0.retain(|_, (at, _)| now.since_ms(*at) < WORD_MS_MAX);
    }

    fn words(&self) -> Vec<&RoomWord> {
        self.0.values().filter_map(|(_, word)| word.as_ref()).collect()
    }
}

impl Control {
    /// Sessions that a server may hold, if that is limited.
    pub(super) fn places(&self, load: &Load) -> Option<u32> {
        load.limit.or_else(|| self.spec.room.enabled.then_some(self.spec.scaler.sessions_per_server))
    }

    pub(super) fn room_tick(&mut self, tick: Option<Box<Tick>>, now: Now) {
        let Some(tick) = tick.filter(|_| self.spec.room.enabled) else { return };
        self.rooms.forget(now.mono);
        let was_closed = self.room.is_closed();
        let input = Input {
            digest: tick.digest,
            others: self.rooms.words(),
            // Until servers are heard, what they have free is not known.
            room: self.published.as_ref().filter(|s| !s.table.is_empty()).map(|_| tick.free),
            ended: self.completions,
            launches: self.launches(now),
            places_per_launch: self.places_per_server(),
        };
        self.dirty |= self.room.step(input, now);
        let is_old = self.room.is_closed() && now.mono.since_ms(self.room_saved) >= SAVE_MS;
        if was_closed != self.room.is_closed() || is_old {
            self.room_saved = now.mono;
            self.unsaved = true;
        }
    }

    /// What a server like those that are here holds.
    fn places_per_server(&self) -> u32 {
        let limits = self.roster.members().values().filter(|m| m.heartbeat.role == Role::Backend);
        let limits: Vec<u64> = limits.filter_map(|m| m.heartbeat.load.limit).map(u64::from).collect();
        match limits.len() as u64 {
            0 => self.spec.scaler.sessions_per_server,
            n => (limits.iter().sum::<u64>() / n) as u32,
        }
    }

    /// Launches under way: how long until their servers are heard, by the boots that were measured.
    fn launches(&self, now: Now) -> Vec<Launch> {
        let (p50, p95) = (self.boot_ms_p50(), self.boot_ms_p95());
        let launch = |age_ms: u64| Launch {
            early_ms: p50.saturating_sub(age_ms).max(LAUNCH_MS_MIN),
            late_ms: p95.saturating_sub(age_ms).max(LAUNCH_MS_MIN),
        };
        let unheard = self.exec.running().filter(|i| i.member_id.as_ref().is_some_and(|id| self.roster.get(id).is_none()));
        let known = unheard.filter_map(|i| self.known.get(&i.instance_id)).map(|known| now.mono.since_ms(*known));
        // Servers that are long overdue are not to be counted on.
        let known = known.filter(|age_ms| *age_ms < 2 * p95);
        let open = (0..self.exec.launches_open()).map(|_| 0);
        let mut launches: Vec<Launch> = known.chain(open).take(LAUNCHES_MAX).map(launch).collect();
        launches.sort_by_key(|l| l.late_ms);
        launches
    }
}

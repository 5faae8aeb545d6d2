//! The control loop's part: where each lane's watermark stands, and since when.
//!
//! It must never move a watermark back (but with the clock), nor beyond what places there are for; and after a restart it waits for those who
//! were here before.

use super::forecast::{Forecast, Launch};
use super::gate::{Gate, LaneGate};
use super::lanes::Lanes;
use super::ledger::{Digest, Totals};
use super::pace::Pace;
use super::ticket::TicketKeys;
use super::words::{frontier, up_to, word};
use crate::config::RoomSpec;
use farm_shared::heartbeat::{LaneWord, ROOM_LANES_MAX, RoomWord};
use farm_shared::time::{Mono, Now, Wall};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

/// The rate at which sessions end is measured over this, in milliseconds, with a sample a second.
const ENDS_MS: u64 = 60_000;
const ENDS_SAMPLE_MS: u64 = 1_000;
/// Watermarks remembered for the time that a turn lasts.
const HISTORY: u64 = 32;
/// After a restart nobody enters for so long, in milliseconds: heartbeats and the first of those who waited come in.
const SETTLE_MS: u64 = 2_500;
/// A queue that was saved longer ago than this is over, in milliseconds.
const SAVED_MS_MAX: u64 = 600_000;
/// Ranks that a snapshot holds for each lane.
const RANKS_MAX: usize = 256;

/// What the control loop knows, once a tick.
#[derive(Clone, Debug, Default)]
pub struct Input<'a> {
    /// Who waits at this door.
    pub digest: Digest,
    /// Who waits at others.
    pub others: Vec<&'a RoomWord>,
    /// Free places on all servers; none before anything is known.
    pub room: Option<u32>,
    /// Sessions that have ended on all servers since the start.
    pub ended: u64,
    /// Launches under way.
    pub launches: Vec<Launch>,
    /// Places that each of them brings.
    pub places_per_launch: u32,
}

/// The waiting room of one farm at one door.
#[derive(Clone, Debug)]
pub struct Room {
    spec: RoomSpec,
    started: Now,
    stepped: Wall,
    /// Until then nobody enters who came after the start.
    hold_until: Mono,
    lanes: [Lane; ROOM_LANES_MAX],
    history: VecDeque<(Mono, [u64; ROOM_LANES_MAX])>,
    ends: VecDeque<(Mono, u64)>,
    /// When somebody waited last, anywhere.
    busy: Option<Mono>,
    is_closed: bool,
    digest: Digest,
    word: Option<RoomWord>,
    pace: Pace,
    forecast: Forecast,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    watermark_ms: u64,
    stale_ms: u64,
    ranks: Arc<[(u64, u32)]>,
    waiting: u32,
    turns: f64,
    /// Places taken so far, divided by the weight: whose is least is next.
    served: f64,
    entered: u64,
}

/// What survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRoom {
    /// When it was saved, milliseconds since the epoch.
    pub at_ms: u64,
    /// Somebody waited.
    pub is_closed: bool,
    /// By lane: who came no later was called.
    pub watermarks_ms: Vec<u64>,
    /// By lane: who came no later had missed his turn, or had entered.
    pub stale_ms: Vec<u64>,
    /// The longest interval that anybody was told, in milliseconds.
    pub interval_ms: u64,
}

/// What an operator sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RoomStatus {
    /// There is one.
    pub enabled: bool,
    /// Somebody waits: newcomers get a ticket.
    pub closed: bool,
    /// Free places on all servers, as far as this door knows.
    pub room: u32,
    /// Sessions that end in a second, on all servers.
    pub ends_per_s: f64,
    /// By lane, the ordinary one first.
    pub lanes: Vec<LaneStatus>,
    /// What was seen since the start.
    #[serde(skip)]
    pub totals: Totals,
}

impl RoomStatus {
    /// Who wait at all doors, about.
    pub fn waiting(&self) -> u32 {
        self.lanes.iter().fold(0, |sum, lane| sum.saturating_add(lane.waiting))
    }
}

/// One lane of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LaneStatus {
    /// Its name.
    pub name: String,
    /// Who wait at this door.
    pub waiting_here: u32,
    /// Who wait at all doors, about.
    pub waiting: u32,
    /// Milliseconds that the first of them has waited, by this door's clock.
    pub oldest_ms: u64,
    /// Who came no later may enter, milliseconds since the epoch; 0 before anybody waited.
    pub watermark_ms: u64,
    /// Waiters that have entered through this door.
    pub entered: u64,
    /// How long one waits who comes now, in seconds; none if it is not known.
    pub estimate_s: Option<(u32, u32)>,
}

impl Room {
    /// A start, or a restart with what was saved.
    pub fn new(spec: RoomSpec, saved: &SavedRoom, now: Now) -> Self {
        let is_fresh = saved.is_closed && now.wall.0.saturating_sub(saved.at_ms) <= SAVED_MS_MAX;
        let hold_ms = saved.interval_ms.clamp(SETTLE_MS, SAVED_MS_MAX);
        let mut room = Self {
            started: now,
            stepped: now.wall,
            hold_until: if is_fresh && spec.enabled { now.mono.plus_ms(hold_ms) } else { now.mono },
            lanes: std::array::from_fn(|_| Lane { turns: 1.0, ..Lane::default() }),
            history: VecDeque::new(),
            ends: VecDeque::new(),
            busy: (saved.at_ms > 0).then_some(now.mono),
            is_closed: is_fresh && spec.enabled,
            digest: Digest::default(),
            word: None,
            pace: Pace::new(0, 0, 0, 0.0, spec.poll_ms_min, spec.poll_ms_max, spec.polls_per_s_max),
            forecast: Forecast::default(),
            spec,
        };
        let saved = saved.watermarks_ms.iter().zip(&saved.stale_ms);
        for (lane, (watermark_ms, stale_ms)) in room.lanes.iter_mut().zip(saved) {
            // A clock that was set back must not lock anybody out.
            (lane.watermark_ms, lane.stale_ms) = ((*watermark_ms).min(now.wall.0), (*stale_ms).min(now.wall.0));
        }
        room
    }

    /// Another configuration.
    pub fn reload(&mut self, spec: RoomSpec) {
        self.spec = spec;
    }

    /// One tick; returns whether the gate has changed enough to be published.
    pub fn step(&mut self, input: Input<'_>, now: Now) -> bool {
        if !self.spec.enabled {
            return false;
        }
        self.stepped = now.wall;
        let before: [u64; ROOM_LANES_MAX] = std::array::from_fn(|at| self.lanes.get(at).map_or(0, |l| l.watermark_ms));
        let was_closed = (self.is_closed, self.is_calm(now.mono));
        self.measure_ends(input.ended, now.mono);
        let room = input.room.unwrap_or(0);
        self.forecast = Forecast {
            room,
            ends_per_s: self.ends_per_s(),
            launches: input.launches,
            places_per_launch: input.places_per_launch,
        };
        self.digest = input.digest;
        self.place_watermarks(&input.others, room, now);
        let lanes = self.spec.lanes.len() + 1;
        self.word = word(&self.digest, lanes);
        let here: u32 = self.digest.lanes.iter().map(super::ledger::LaneDigest::waiting).sum();
        let all: u32 = self.lanes.iter().fold(0, |sum, lane| sum.saturating_add(lane.waiting));
        let holds = now.mono < self.hold_until;
        self.is_closed = all > 0 || holds;
        if self.is_closed {
            self.busy = Some(now.mono);
        }
        let launched = f64::from(self.forecast.places_per_launch) * self.forecast.launches.len() as f64;
        let late_s = self.forecast.launches.last().map_or(1.0, |l| l.late_ms as f64 / 1_000.0).max(1.0);
        let places_per_s = self.forecast.ends_per_s + launched / late_s;
        let (min_ms, max_ms) = (self.spec.poll_ms_min, self.spec.poll_ms_max);
        self.pace = Pace::new(here, all, room, places_per_s, min_ms, max_ms, self.spec.polls_per_s_max);
        self.remember(now.mono);
        let moved = self.lanes.iter().zip(before).any(|(lane, before)| lane.watermark_ms != before);
        (moved && self.is_closed) || was_closed != (self.is_closed, self.is_calm(now.mono))
    }

    fn place_watermarks(&mut self, others: &[&RoomWord], room: u32, now: Now) {
        let theirs: [Vec<&LaneWord>; ROOM_LANES_MAX] = std::array::from_fn(|at| {
            others.iter().filter_map(|word| word.lanes.get(at)).filter(|l| !l.steps.is_empty()).collect()
        });
        for ((lane, own), theirs) in self.lanes.iter_mut().zip(&self.digest.lanes).zip(&theirs) {
            lane.served += own.entered.saturating_sub(lane.entered) as f64;
            lane.entered = own.entered;
            lane.waiting = theirs.iter().fold(own.waiting(), |sum, l| sum.saturating_add(l.waiting()));
            let mut points: Vec<u64> =
                own.steps.iter().step_by(own.steps.len() / RANKS_MAX + 1).map(|(at, _)| *at).collect();
            points.extend(own.steps.last().map(|(at, _)| *at));
            points.extend(theirs.iter().flat_map(|l| l.steps.iter().map(|(after, _)| l.first_ms.saturating_add(*after))));
            points.sort_unstable();
            points.dedup();
            let total = |at: u64| theirs.iter().fold(up_to(own, at), |sum, l| sum.saturating_add(l.up_to(at)));
            lane.ranks = points.into_iter().map(|at| (at, total(at))).collect();
        }
        let places = self.share_out(room);
        // While it is held, whoever was here before the restart goes first; at the very first nobody does.
        let cap_ms = match now.mono.since_ms(self.started.mono) {
            _ if now.mono >= self.hold_until => now.wall.0,
            ms if ms < SETTLE_MS => 0,
            _ => self.started.wall.0.saturating_sub(1),
        };
        for (((lane, own), theirs), places) in self.lanes.iter_mut().zip(&self.digest.lanes).zip(&theirs).zip(places) {
            // Nobody there: whoever was called and comes back late was called until just now.
            let to_ms = frontier(own, theirs, places).unwrap_or(now.wall.0.saturating_sub(1)).min(cap_ms);
            lane.watermark_ms = lane.watermark_ms.min(now.wall.0).max(to_ms);
        }
    }

    /// Free places for each lane: one by one to the lane that has had least of its share.
    fn share_out(&mut self, room: u32) -> [u32; ROOM_LANES_MAX] {
        let weights: [f64; ROOM_LANES_MAX] = std::array::from_fn(|at| {
            f64::from(if at == 0 { self.spec.weight } else { self.spec.lanes.get(at - 1).map_or(1, |l| l.weight) })
        });
        let busy: f64 = self.lanes.iter().zip(weights).filter(|(l, _)| l.waiting > 0).map(|(_, w)| w).sum();
        let shares = self.lanes.iter().zip(weights).filter(|(l, _)| l.waiting > 0).map(|(l, w)| l.served / w);
        let floor = shares.fold(f64::INFINITY, f64::min);
        let mut served = [0.0; ROOM_LANES_MAX];
        for ((lane, weight), served) in self.lanes.iter_mut().zip(weights).zip(&mut served) {
            lane.turns = if lane.waiting > 0 && busy > 0.0 { busy / weight } else { 1.0 };
            // Who was away saves nothing up; and numbers stay small.
            lane.served = if lane.waiting > 0 { lane.served - floor * weight } else { 0.0 };
            *served = lane.served / weight;
        }
        let mut places = [0_u32; ROOM_LANES_MAX];
        let wanted = self.lanes.iter().fold(0_u32, |sum, lane| sum.saturating_add(lane.waiting));
        let mut left = room.min(wanted);
        if busy <= 0.0 {
            return places;
        }
        if wanted <= room {
            return std::array::from_fn(|at| self.lanes.get(at).map_or(0, |l| l.waiting));
        }
        // By chunks while there are many, so that it stays cheap.
        while left > 0 {
            let chunk = (left / 64).max(1);
            let next = (0..ROOM_LANES_MAX)
                .filter(|at| self.lanes.get(*at).zip(places.get(*at)).is_some_and(|(lane, given)| *given < lane.waiting))
                .min_by(|a, b| served.get(*a).partial_cmp(&served.get(*b)).unwrap_or(std::cmp::Ordering::Equal));
            let Some(at) = next else { break };
            let (Some(given), Some(served), Some(weight)) = (places.get_mut(at), served.get_mut(at), weights.get(at)) else {
                break;
            };
            *given = given.saturating_add(chunk);
            *served += f64::from(chunk) / weight;
            left -= chunk;
        }
        places
    }

    /// What was the watermark so long ago that nobody who was called then may still enter.
    fn remember(&mut self, now: Mono) {
        let every_ms = (self.spec.turn_ms / HISTORY).max(1);
        if self.history.back().is_none_or(|(at, _)| now.since_ms(*at) >= every_ms) {
            let marks = std::array::from_fn(|at| self.lanes.get(at).map_or(0, |l| l.watermark_ms));
            self.history.push_back((now, marks));
        }
        while let Some((at, marks)) = self.history.front().copied()
            && now.since_ms(at) >= self.spec.turn_ms
        {
            self.history.pop_front();
            for (lane, mark) in self.lanes.iter_mut().zip(marks) {
                lane.stale_ms = lane.stale_ms.max(mark).min(lane.watermark_ms);
            }
        }
    }

    fn measure_ends(&mut self, ended: u64, now: Mono) {
        if self.ends.back().is_none_or(|(at, _)| now.since_ms(*at) >= ENDS_SAMPLE_MS) {
            self.ends.push_back((now, ended));
        }
        while self.ends.get(1).is_some_and(|(at, _)| now.since_ms(*at) >= ENDS_MS) {
            self.ends.pop_front();
        }
    }

    fn ends_per_s(&self) -> f64 {
        let (Some((from, a)), Some((to, b))) = (self.ends.front(), self.ends.back()) else { return 0.0 };
        b.saturating_sub(*a) as f64 * 1_000.0 / to.since_ms(*from).max(ENDS_SAMPLE_MS) as f64
    }

    fn is_calm(&self, now: Mono) -> bool {
        self.busy.is_none_or(|at| now.since_ms(at) > self.spec.turn_ms.saturating_add(self.spec.turn_ms / HISTORY))
    }

    /// For the snapshot; `None` without a waiting room.
    pub fn gate(&self, keys: Arc<TicketKeys>, rules: Arc<Lanes>, now: Mono) -> Option<Gate> {
        let lane = |l: &Lane| LaneGate {
            watermark_ms: l.watermark_ms,
            stale_ms: l.stale_ms,
            ranks: Arc::clone(&l.ranks),
            turns: l.turns,
        };
        self.spec.enabled.then(|| Gate {
            keys,
            rules,
            age_ms_max: self.spec.age_ms_max,
            is_calm: self.is_calm(now),
            is_closed: self.is_closed,
            lanes: std::array::from_fn(|at| self.lanes.get(at).map(lane).unwrap_or_default()),
            pace: self.pace,
            forecast: self.forecast.clone(),
        })
    }

    /// For the replies to heartbeats; `None` if nobody waits here.
    pub fn word(&self) -> Option<&RoomWord> {
        self.word.as_ref()
    }

    /// Somebody waits, here or elsewhere.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Who waits, at all doors, about.
    pub fn waiting(&self) -> u32 {
        self.lanes.iter().fold(0, |sum, lane| sum.saturating_add(lane.waiting))
    }

    /// What a restart needs.
    pub fn save(&self) -> SavedRoom {
        let lanes = self.lanes.iter().take(self.spec.lanes.len() + 1);
        let interval_ms = self.pace.retry_after_s(u32::MAX, &super::Ticket { lane: 0, arrival_ms: 0, nonce: 0 });
        SavedRoom {
            at_ms: self.stepped.0,
            is_closed: self.is_closed,
            watermarks_ms: lanes.clone().map(|l| l.watermark_ms).collect(),
            stale_ms: lanes.map(|l| l.stale_ms).collect(),
            interval_ms: u64::from(interval_ms) * 1_000,
        }
    }

    /// For status and metrics.
    pub fn status(&self, now: Now) -> RoomStatus {
        let names = std::iter::once("default").chain(self.spec.lanes.iter().map(|l| l.name.as_str()));
        let lanes = self.lanes.iter().zip(&self.digest.lanes).zip(names);
        RoomStatus {
            enabled: self.spec.enabled,
            closed: self.is_closed,
            room: self.forecast.room,
            ends_per_s: self.forecast.ends_per_s,
            lanes: lanes
                .map(|((lane, own), name)| LaneStatus {
                    name: name.to_owned(),
                    waiting_here: own.waiting(),
                    waiting: lane.waiting,
                    oldest_ms: own.steps.first().map_or(0, |(arrival, _)| now.wall.0.saturating_sub(*arrival)),
                    watermark_ms: lane.watermark_ms,
                    entered: own.entered,
                    estimate_s: match self.forecast.wait(lane.waiting) {
                        super::Estimate::Between { low_s, high_s } => Some((low_s, high_s)),
                        super::Estimate::Unknown => None,
                    },
                })
                .collect(),
            totals: self.digest.totals,
        }
    }
}

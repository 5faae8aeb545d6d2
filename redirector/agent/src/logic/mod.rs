//! The agent's decisions as one pure step: `(state, event) -> (state, effects)`.
//!
//! Drain is a level (DESIGN 3): a front end's wish stands until that same front end takes it back, through its silence and
//! through our restart. Nothing here reads a clock, a file or a socket, so that tests and the simulator run the very same code.

mod drill;
mod event;
mod peer;
mod stones;

pub use event::{Effect, Event, Notice};

use crate::load::{LoadError, Reading};
use crate::saved::Saved;
use crate::settings::{OnLoadFailure, Profile};
use farm_shared::draw::Draws;
use farm_shared::heartbeat::{
    self, Heartbeat, KillWord, Kind, MemberKey, NoticeKind, Reply, SKEW_MS_MAX, State, Tombstone, UDP_BYTES_MAX, VERSION,
};
use farm_shared::id::Id;
use farm_shared::time::{Mono, Now, Wall};
use peer::{Peer, Word};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use stones::Stones;

const JITTER_SHARE: f64 = 0.1;
/// Heartbeats out of turn (a drain that begins or ends) keep this distance, whatever the front ends say.
const URGENT_GAP_MS: u64 = 100;
/// A goodbye is said twice: a datagram may be lost.
const GOODBYES: u8 = 2;
const FAILURES_MIN: u32 = 2;
const GOODBYE_GAP_MS: u64 = 100;
/// Front ends whose words and wishes are kept, by id: what a heartbeat may hold.
const WORDS_MAX: usize = 64;
/// A word that is older is no longer repeated. Its wish to drain is.
const WORD_MS_MAX: u64 = 600_000;
/// A correction by less is not worth a line in the log.
const CLOCK_NOTICE_MS: u128 = 1_000;
const REFUSED_NOTICE_GAP_MS: u64 = 60_000;
/// The envelope's first line: magic, key name of two labels, MAC.
const HEAD_BYTES_MAX: usize = 256;

/// The agent of one member.
#[derive(Debug)]
pub struct Agent {
    profile: Profile,
    key: MemberKey,
    draws: Draws,
    peers: Vec<Peer>,
    words: BTreeMap<Id, Word>,
    wishes: BTreeSet<Id>,
    stones: Stones,
    /// The tombstones of this period: the same to every front end.
    batch: Vec<Tombstone>,
    started: Now,
    inc: u64,
    seq: u64,
    /// Some front end has accepted a heartbeat of this incarnation.
    accepted: bool,
    is_saved: bool,
    reading: Option<(Reading, Mono)>,
    /// Failures of the load source since its last answer.
    failures: u32,
    operator_drain: bool,
    /// What the machine's landlord says of its end.
    machine: Option<heartbeat::Notice>,
    drain_by: Vec<Id>,
    /// Front ends are being told that the member lives.
    speaking: bool,
    /// They were told so, and no goodbye since.
    announced: bool,
    next_beat: Mono,
    /// The load source is being asked; after this time the heartbeat goes out without its answer.
    read_until: Option<Mono>,
    urgent: bool,
    last_sent: Option<Mono>,
    refused: (u64, Mono),
    /// What became of the last wish of a failure drill, for redirectors.
    killed: Option<KillWord>,
    /// Wishes that were obeyed or refused, the newest last: each is looked at once.
    wished: VecDeque<Id>,
    leaving: Option<(Mono, u8)>,
    has_ended: bool,
}

impl Agent {
    /// An agent that has said nothing yet. `saved` is what its predecessor left; `fronts` is how many front ends are configured.
    pub fn new(profile: Profile, key: MemberKey, fronts: usize, saved: Saved, now: Now, draws: Draws) -> Self {
        let inc = now.wall.0.max(saved.inc.saturating_add(1)).max(1);
        let mut agent = Self {
            profile,
            key,
            draws,
            peers: (0..fronts).map(|_| Peer::new()).collect(),
            words: BTreeMap::new(),
            wishes: saved.drain_by.into_iter().take(WORDS_MAX - 1).collect(),
            stones: Stones::default(),
            batch: Vec::new(),
            started: now,
            inc,
            seq: 0,
            accepted: false,
            is_saved: false,
            reading: None,
            failures: 0,
            operator_drain: false,
            machine: None,
            drain_by: Vec::new(),
            speaking: false,
            announced: false,
            next_beat: now.mono,
            read_until: None,
            urgent: false,
            last_sent: None,
            refused: (0, now.mono),
            killed: None,
            wished: saved.wished,
            leaving: None,
            has_ended: false,
        };
        agent.drain_by = agent.union();
        agent
    }

    /// When the next [`Event::Tick`] is due.
    pub fn deadline(&self) -> Mono {
        if let Some((at, _)) = self.leaving {
            return if self.has_ended { Mono::NEVER } else { at };
        }
        let urgent = if self.urgent { self.urgent_at() } else { Mono::NEVER };
        let beat = self.read_until.unwrap_or(self.next_beat);
        let stale = if self.speaking && self.failures >= FAILURES_MIN { self.stale_at() } else { Mono::NEVER };
        beat.min(urgent).min(stale)
    }

    /// The incarnation, milliseconds since the epoch.
    pub fn incarnation(&self) -> u64 {
        self.inc
    }

    /// Who wants the member drained; empty: nobody.
    pub fn drain_by(&self) -> &[Id] {
        &self.drain_by
    }

    /// One event. The effects are to be carried out in their order.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.has_ended {
            return effects;
        }
        match event {
            Event::Tick => {}
            Event::Load(Ok(reading)) => self.load_read(now, reading, &mut effects),
            Event::Load(Err(error)) => {
                self.load_failed(error, &mut effects);
                self.read_ends(now, &mut effects);
            }
            Event::OperatorDrain(wish) => self.operator_drain = wish,
            Event::Machine(notice) => self.machine_noticed(notice, &mut effects),
            Event::Route { front, source } => self.route(now, front, source, &mut effects),
            Event::Reply { front, mac, body } => self.reply(now, front, &mac, &body, &mut effects),
            Event::FrontError { front, why } => {
                if let Some(peer) = self.peers.get_mut(front) {
                    peer.error = Some(why);
                }
            }
            Event::Killed { key, count } => self.killed(&key, count, &mut effects),
            Event::Stop => {
                self.leaving.get_or_insert((now.mono, if self.announced { GOODBYES } else { 0 }));
            }
        }
        self.advance(now, &mut effects);
        if !self.is_saved {
            self.is_saved = true;
            // Before anything is sent: an incarnation or a wish that was told to others must not be lost in a crash.
            effects.insert(
                0,
                Effect::Persist(Saved { v: 1, inc: self.inc, drain_by: self.wishes.clone(), wished: self.wished.clone() }),
            );
        }
        effects
    }

    fn advance(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.note_drain(effects);
        if self.leaving.is_some() {
            self.leave(now, effects);
            return;
        }
        if self.read_until.is_some_and(|until| now.mono >= until) {
            self.load_failed(LoadError("no answer within half a period".to_owned()), effects);
            self.read_ends(now, effects);
        }
        if self.speaking && !self.may_speak(now) {
            self.speaking = false;
            effects.push(Effect::Notice(Notice::BackendDead));
            if self.profile.on_load_failure == OnLoadFailure::Goodbye {
                self.send_all(now, State::Goodbye, effects);
            }
        }
        if self.urgent && now.mono >= self.urgent_at() {
            self.urgent = false;
            if self.may_speak(now) {
                self.send_all(now, State::Up, effects);
            }
        }
        if self.read_until.is_none() && now.mono >= self.next_beat {
            self.next_beat = now.mono.plus_ms(self.draws.jitter_ms(self.profile.period_ms, JITTER_SHARE).max(1));
            self.read_until = Some(now.mono.plus_ms((self.profile.period_ms / 2).max(1)));
            effects.push(Effect::Read);
        }
    }

    fn leave(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some((at, left)) = self.leaving else { return };
        if now.mono < at {
            return;
        }
        if left > 0 {
            self.send_all(now, State::Goodbye, effects);
        }
        self.leaving = Some((now.mono.plus_ms(GOODBYE_GAP_MS), left.saturating_sub(1)));
        if left <= 1 {
            self.has_ended = true;
            effects.push(Effect::Exit);
        }
    }

    fn load_read(&mut self, now: Now, reading: Reading, effects: &mut Vec<Effect>) {
        let was_dead = !self.may_speak(now);
        self.reading = Some((reading, now.mono));
        if std::mem::take(&mut self.failures) > 0 || was_dead {
            effects.push(Effect::Notice(Notice::LoadRead));
        }
        self.note_drain(effects);
        if self.read_until.is_none() && was_dead {
            self.urgent = true;
        }
        self.read_ends(now, effects);
    }

    fn load_failed(&mut self, error: LoadError, effects: &mut Vec<Effect>) {
        if self.failures == 0 {
            effects.push(Effect::Notice(Notice::LoadFailed(error)));
        }
        self.failures = self.failures.saturating_add(1);
    }

    /// The load source has answered, or will not: the heartbeat goes out with the latest load there is.
    fn read_ends(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.read_until.take().is_none() || self.leaving.is_some() {
            return;
        }
        self.stones.expire(now.mono);
        self.words.retain(|_, word| word.age_ms(now.mono) < WORD_MS_MAX);
        if !self.may_speak(now) {
            return;
        }
        for peer in &mut self.peers {
            peer.challenged = false;
        }
        self.batch = self.stones.next_batch();
        self.send_all(now, State::Up, effects);
        let patience_ms = (5 * self.profile.period_ms).max(2_000);
        for (front, peer) in self.peers.iter_mut().enumerate() {
            if let Some(silent_ms) = peer.complain(now.mono, patience_ms) {
                effects.push(Effect::Notice(Notice::FrontSilent { front, silent_ms, why: peer.error.clone() }));
            }
        }
    }

    fn route(&mut self, now: Now, front: usize, source: Option<std::net::IpAddr>, effects: &mut Vec<Effect>) {
        let may_speak = self.may_speak(now) && self.leaving.is_none();
        let Some(peer) = self.peers.get_mut(front) else { return };
        let is_new = peer.source.is_none() && source.is_some();
        peer.source = source;
        if is_new && may_speak {
            self.send(now, front, State::Up, effects);
        }
    }

    fn reply(&mut self, now: Now, front: usize, mac: &[u8], body: &[u8], effects: &mut Vec<Effect>) {
        match self.open(front, mac, body) {
            Ok(reply) if reply.challenge => self.challenge(now, front, &reply, effects),
            Ok(reply) => self.believe(now, front, reply, effects),
            Err(reason) => {
                self.refused.0 += 1;
                if now.mono >= self.refused.1 {
                    effects.push(Effect::Notice(Notice::RepliesRefused { front, reason, count: self.refused.0 }));
                    self.refused = (0, now.mono.plus_ms(REFUSED_NOTICE_GAP_MS));
                }
            }
        }
    }

    fn open(&mut self, front: usize, mac: &[u8], body: &[u8]) -> Result<Reply, &'static str> {
        let peer = self.peers.get_mut(front).ok_or("unknown_front")?;
        let reply = self.key.open_reply(mac, body).map_err(|refusal| refusal.reason())?;
        if reply.farm != self.profile.farm || reply.to != self.profile.id {
            return Err("wrong_identity");
        }
        if reply.re_inc != self.inc {
            return Err("old_incarnation");
        }
        if peer.answered(reply.re_seq) { Ok(reply) } else { Err("replayed") }
    }

    /// The front end's clock is far from ours: follow it, and say again at once what was refused. Nothing else in a challenge
    /// counts: it is written before the front end has looked up what it wants of this member.
    fn challenge(&mut self, now: Now, front: usize, reply: &Reply, effects: &mut Vec<Effect>) {
        let Some(peer) = self.peers.get_mut(front) else { return };
        peer.heard();
        let offset_ms = i128::from(reply.time_ms) - i128::from(now.wall.0);
        if offset_ms.abs_diff(std::mem::replace(&mut peer.offset_ms, offset_ms)) >= CLOCK_NOTICE_MS {
            effects.push(Effect::Notice(Notice::ClockCorrected { front, offset_ms }));
        }
        let is_first = !std::mem::replace(&mut peer.challenged, true);
        // A machine that booted with its clock in the past and no memory may have taken an incarnation that its predecessor
        // has outdone. Nobody has accepted it yet, so it may still be raised.
        let began = peer.time_ms(Wall(now.wall.0.saturating_sub(now.mono.since_ms(self.started.mono))));
        if !self.accepted && began > self.inc.saturating_add(SKEW_MS_MAX) {
            self.inc = began;
            self.is_saved = false;
            self.peers.iter_mut().for_each(Peer::forget_awaited);
        }
        if is_first && self.leaving.is_none() && self.may_speak(now) {
            self.send(now, front, State::Up, effects);
        }
    }

    fn believe(&mut self, now: Now, front: usize, reply: Reply, effects: &mut Vec<Effect>) {
        self.accepted = true;
        let Some(peer) = self.peers.get_mut(front) else { return };
        let identity = (reply.from.clone(), reply.kind);
        if peer.heard() | (peer.identity.as_ref() != Some(&identity)) {
            effects.push(Effect::Notice(Notice::FrontHeard { front, id: reply.from.clone() }));
            peer.identity = Some(identity);
        }
        if self.words.len() < WORDS_MAX || self.words.contains_key(&reply.from) {
            self.words.insert(reply.from.clone(), Word::new(now.mono, &reply));
        }
        let changed = if reply.drain {
            // One place is the member's own. A farm has far fewer front ends than there are places.
            self.wishes.len() < WORDS_MAX - 1 && self.wishes.insert(reply.from)
        } else {
            self.wishes.remove(&reply.from)
        };
        self.is_saved &= !changed;
        if reply.kind == Kind::Redirector {
            if let Some(wish) = reply.kill {
                self.drill(now, wish, effects);
            }
            self.stones.take(now.mono, reply.tombstones);
        }
    }

    /// Everybody hears of it at once: a spot instance has two minutes left.
    fn machine_noticed(&mut self, notice: Option<heartbeat::Notice>, effects: &mut Vec<Effect>) {
        if self.machine == notice {
            return;
        }
        self.machine = notice;
        self.urgent = true;
        effects.push(Effect::Notice(Notice::Machine(notice)));
    }

    fn note_drain(&mut self, effects: &mut Vec<Effect>) {
        let by = self.union();
        if by == self.drain_by {
            return;
        }
        let was_draining = !self.drain_by.is_empty();
        self.urgent |= was_draining == by.is_empty();
        self.drain_by.clone_from(&by);
        effects.push(Effect::Notice(Notice::Drain { by }));
    }

    fn union(&self) -> Vec<Id> {
        // An interruption leaves no time to ask: every front end sees it draining from the next heartbeat on. What leaves more
        // time is the scaler's to order: a replacement first, then the drain.
        let is_interrupted = self.machine.is_some_and(|notice| notice.kind == NoticeKind::Interruption);
        let asked = self.reading.is_some_and(|(reading, _)| reading.draining);
        let own = self.operator_drain || is_interrupted || asked;
        let mut by = self.wishes.clone();
        if own {
            by.insert(self.profile.id.clone());
        }
        by.into_iter().collect()
    }

    fn stale_at(&self) -> Mono {
        self.reading.map_or(Mono(0), |(_, at)| at.plus_ms(self.profile.load_stale_ms))
    }

    /// A backend counts as dead when its load is old and more than one attempt to read it has failed. Age alone is no proof: we
    /// may have been stopped, or starved, ourselves.
    fn may_speak(&self, now: Now) -> bool {
        self.reading.is_some() && (self.failures < FAILURES_MIN || now.mono < self.stale_at())
    }

    fn urgent_at(&self) -> Mono {
        self.last_sent.map_or(Mono(0), |at| at.plus_ms(URGENT_GAP_MS))
    }

    fn send_all(&mut self, now: Now, state: State, effects: &mut Vec<Effect>) {
        self.announced = state == State::Up;
        if !std::mem::replace(&mut self.speaking, self.announced) {
            self.peers.iter_mut().for_each(Peer::begin);
        }
        self.last_sent = Some(now.mono);
        for front in 0..self.peers.len() {
            self.send(now, front, state, effects);
        }
    }

    fn send(&mut self, now: Now, front: usize, state: State, effects: &mut Vec<Effect>) {
        let Some(peer) = self.peers.get_mut(front) else { return };
        // A front end that there is no way to owes an answer, too: its name may be misspelt.
        peer.owe(now.mono);
        let Some(source) = peer.source else { return };
        let to_redirector = matches!(peer.identity, Some((_, Kind::Redirector)));
        let time_ms = peer.time_ms(now.wall);
        self.seq += 1;
        let mut heartbeat = Heartbeat {
            v: VERSION,
            farm: self.profile.farm.clone(),
            id: self.profile.id.clone(),
            role: self.profile.role,
            inc: self.inc,
            seq: self.seq,
            time_ms,
            period_ms: self.profile.period_ms,
            addrs: if self.profile.addrs.is_empty() { vec![source] } else { self.profile.addrs.clone() },
            port: self.profile.port,
            zone: self.profile.zone.clone(),
            state,
            drain_by: self.drain_by.clone(),
            notice: self.machine,
            load: self.reading.map(|(reading, _)| reading.load).unwrap_or_default(),
            heard: self.words.values().map(|word| word.as_of(now.mono, to_redirector)).collect(),
            tombstones: if to_redirector { Vec::new() } else { self.batch.clone() },
            killed: self.killed.clone().filter(|_| to_redirector),
        };
        let body = fit(&mut heartbeat);
        let mac = self.key.sign(&body);
        if let Some(peer) = self.peers.get_mut(front) {
            peer.sent(self.seq);
        }
        effects.push(Effect::Send { front, mac, body });
    }
}

/// The JSON text, short enough for a datagram: what others can learn elsewhere goes first, a drain never.
fn fit(heartbeat: &mut Heartbeat) -> Vec<u8> {
    loop {
        let body = serde_json::to_vec(heartbeat).unwrap_or_default();
        if body.len() + HEAD_BYTES_MAX <= UDP_BYTES_MAX || (heartbeat.tombstones.is_empty() && heartbeat.heard.is_empty()) {
            return body;
        }
        if heartbeat.heard.iter().any(|h| h.room.is_some()) {
            heartbeat.heard.iter_mut().for_each(|h| h.room = None);
        } else if heartbeat.tombstones.is_empty() {
            heartbeat.heard.truncate(heartbeat.heard.len() / 2);
        } else {
            heartbeat.tombstones.truncate(heartbeat.tombstones.len() / 2);
        }
    }
}

#[cfg(test)]
mod tests;

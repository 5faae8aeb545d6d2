//! Heartbeats and silence: who is a member, and what each is told.

use super::seen::Seen;
use super::{Control, Effect, Topic};
use farm_shared::heartbeat::{Heartbeat, Kind, NoticeKind, Refusal, Reply, Role, Tombstone};
use farm_shared::id::Id;
use farm_shared::member::Change;
use farm_shared::time::{Mono, Now};
use std::collections::VecDeque;

/// Tombstones in one reply, the newest first.
const TOMBSTONES_PER_REPLY: usize = 16;
/// Tombstones are spread for so long, in milliseconds.
const TOMBSTONE_MS: u64 = 3_600_000;
const TOMBSTONES_MAX: usize = 1_024;
/// From a launch to its answer, at most, in milliseconds.
const ANSWER_MS: u64 = 30_000;
/// Boot times that the 95th percentile is taken from.
const BOOTS_MAX: usize = 100;

impl Control {
    pub(super) fn heartbeat(&mut self, heartbeat: Heartbeat, dispatched: u32, now: Now, effects: &mut Vec<Effect>) {
        if heartbeat.farm != self.spec.farm {
            effects.push(Effect::Refused(Refusal::UnknownFarm));
            return;
        }
        let mut reply = Reply::new(&self.spec.id, Kind::Redirector, &heartbeat, now.wall);
        let (id, role, killed) = (heartbeat.id.clone(), heartbeat.role, heartbeat.killed.clone());
        let changes = match self.roster.observe(now, heartbeat) {
            Ok(changes) => changes,
            Err(refusal) => {
                if refusal == Refusal::OldIncarnation {
                    self.notice(Topic::Alarm, now, format!("two incarnations of {id} are alive"), effects);
                }
                effects.push(Effect::Refused(refusal));
                return;
            }
        };
        self.dirty = true;
        if let Some(word) = &killed {
            self.agent_told(&id, word, now, effects);
        }
        reply.kill = self.ward.wish(&id);
        if let Some(member) = self.roster.get(&id) {
            let slots = &mut self.slots;
            let new = || Seen::new(slots.take(), &member.heartbeat, &self.spec, now.mono, false);
            let seen = self.seen.entry(id.clone()).or_insert_with(new);
            let flow = seen.observe(&member.heartbeat, &self.spec, dispatched, self.doors_known, now.mono);
            seen.moved_if(&changes, &member.heartbeat, &self.spec);
            self.arrivals += flow.arrivals;
            self.completions += flow.completions;
            self.rooms.hear(&self.spec.id, &member.heartbeat, now.mono);
            reply.drain = member.wants_drain();
            reply.lease_ms = member.lease_ms();
        }
        let scales = self.spec.scaler.enabled && !self.spec.scaler.dry_run;
        reply.scaler = scales.then(|| self.spec.id.clone());
        reply.room = self.room.word().cloned();
        reply.tombstones = self.tombstones.iter().rev().take(TOMBSTONES_PER_REPLY).map(|(_, stone)| stone.clone()).collect();
        effects.push(Effect::Reply(Box::new(reply)));
        if changes.contains(&Change::Joined) && role == Role::Backend {
            self.booted(&id, now);
        }
        for change in changes {
            self.changed(&id, change, now, effects);
        }
    }

    pub(super) fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for (id, change) in self.roster.tick(now) {
            self.changed(&id, change, now, effects);
        }
        while self.tombstones.front().is_some_and(|(until, _)| *until <= now.mono) {
            self.tombstones.pop_front();
        }
    }

    fn changed(&mut self, id: &Id, change: Change, now: Now, effects: &mut Vec<Effect>) {
        self.dirty = true;
        let text = match change {
            Change::Late => return,
            Change::Joined => "joined",
            Change::Returned => "is heard again",
            Change::Silent => "fell silent",
            Change::Moved => "moved",
            Change::Drain => "began or ended draining",
            Change::Notice => match self.roster.get(id).and_then(|m| m.heartbeat.notice) {
                Some(notice) => notice_text(notice.kind),
                None => "is to stay, after all",
            },
            Change::Forced => "is forced by an operator",
            Change::Forgotten => "is forgotten",
        };
        self.unsaved = true;
        if change == Change::Forgotten
            && let Some(seen) = self.seen.remove(id)
        {
            self.slots.give_back(seen.slot);
        }
        self.notice(Topic::Server, now, format!("{id} {text}"), effects);
    }

    /// The provider stopped a member, or found it gone: nobody is to believe it any more.
    pub(super) fn bury(&mut self, id: &Id, now: Now, effects: &mut Vec<Effect>) {
        // Of a member that was not heard here, every incarnation that began before now.
        let inc = self.roster.get(id).map_or(now.wall.0, |m| m.heartbeat.inc);
        let stone: Tombstone = self.keys.current.bury(&self.spec.farm, id, inc, now.wall);
        self.tombstones.push_back((now.mono.plus_ms(TOMBSTONE_MS), stone));
        if self.tombstones.len() > TOMBSTONES_MAX {
            self.tombstones.pop_front();
        }
        self.unsaved = true;
        if let Some(change) = self.roster.bury(now, id, inc) {
            self.changed(id, change, now, effects);
        }
    }

    /// The first heartbeat of a server that was launched: how long did it take?
    fn booted(&mut self, id: &Id, now: Now) {
        let of_member = |i: &&crate::scale::Instance| i.member_id.as_ref() == Some(id);
        let (launched_ms, boot_ms) = if let Some(instance) = self.exec.running().find(of_member) {
            // A clock that is set must not make a boot long or short: by the monotonic clock since its launch was answered, and
            // by the other one what was before.
            let Some(known) = self.known.get(&instance.instance_id) else { return };
            let least_ms = now.mono.since_ms(*known);
            let boot_ms = now.wall.0.saturating_sub(instance.launched_wall_ms);
            (instance.launched_wall_ms, boot_ms.clamp(least_ms, least_ms.saturating_add(ANSWER_MS)))
        } else if let Some(asked_ms) = self.exec.launch_asked_ms(id) {
            (asked_ms, now.wall.0.saturating_sub(asked_ms))
        } else {
            return;
        };
        // One that was heard before and forgotten did not boot just now.
        if boot_ms == 0 || boot_ms > self.spec.scaler.boot_deadline_ms || launched_ms < self.started.wall.0 {
            return;
        }
        self.late_launches = 0;
        self.boots_ms.push_back(boot_ms);
        if self.boots_ms.len() > BOOTS_MAX {
            self.boots_ms.pop_front();
        }
        self.unsaved = true;
    }
}

fn notice_text(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Interruption => "loses its machine: a spot interruption",
        NoticeKind::Maintenance => "is to lose its machine: scheduled maintenance",
        NoticeKind::Rebalance => "may lose its machine: a rebalance recommendation",
    }
}

/// Tombstones of an earlier life that are not too old, each until it would have been dropped then.
pub(super) fn still_told(saved: Vec<Tombstone>, now: Now) -> VecDeque<(Mono, Tombstone)> {
    let left_ms =
        |stone: &Tombstone| stone.time_ms.saturating_add(TOMBSTONE_MS).saturating_sub(now.wall.0).min(TOMBSTONE_MS);
    let told = saved.into_iter().map(|stone| (now.mono.plus_ms(left_ms(&stone)), stone));
    told.filter(|(until, _)| *until > now.mono).take(TOMBSTONES_MAX).collect()
}

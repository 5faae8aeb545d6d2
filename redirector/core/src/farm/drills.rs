//! Failure drills within the control loop: who may be hit now, and what becomes of each hit.
//!
//! A hit goes to the provider past the executor on purpose: the scaler must find out by itself, as it would if the server had failed. It
//! must never be made before its record is on disk, nor while the scaler stands still for want of knowledge.

use super::{Control, DrillCommand, Effect, FaultCall, Topic};
use crate::drill::{HitRequest, Scene, WardEffect};
use crate::scale::{Entry, ErrorKind, ExecEvent, ProviderError};
use farm_shared::heartbeat::{KillWord, Role};
use farm_shared::id::Id;
use farm_shared::member::Standing;
use farm_shared::time::Now;

impl Control {
    pub(super) fn drill(&mut self, command: DrillCommand, now: Now, effects: &mut Vec<Effect>) -> Result<String, String> {
        match command {
            DrillCommand::Hit(hit) => self.hit(hit, now, effects),
            DrillCommand::Heal(drill) => {
                let count = self.ward.heal(drill.as_ref(), now);
                self.drill_tick(now, effects);
                Ok(format!("{count} are being healed"))
            }
        }
    }

    fn hit(&mut self, hit: HitRequest, now: Now, effects: &mut Vec<Effect>) -> Result<String, String> {
        let spec = &self.spec.drill;
        if !spec.enabled {
            return Err("drills are not allowed here: drill.enabled is false".into());
        }
        if let Some(why) = self.freeze(now.mono) {
            return Err(format!("no drill while scaling is frozen: {why}"));
        }
        let instance = self.exec.running().find(|i| i.member_id.as_ref() == Some(&hit.member));
        let instance_id = instance.map(|i| i.instance_id.clone());
        let (key, member, radius) = (hit.key.clone(), hit.member.clone(), spec.blast_radius_max);
        let scene = self.scene();
        match self.ward.hit(hit, instance_id, &scene, radius, now)? {
            Some(effect) => {
                self.ward_effect(effect, now, effects);
                Ok(format!("{member} is hit ({key})"))
            }
            None => Ok(format!("{key} was let through before")),
        }
    }

    /// Who is healthy and who is down, by the roster as of now rather than by the last snapshot.
    fn scene(&self) -> Scene {
        let mut scene = Scene::default();
        for (id, member) in self.roster.members().iter().filter(|(_, m)| m.heartbeat.role == Role::Backend) {
            let standing = member.standing();
            let hindered = self.seen.get(id).is_none_or(|s| s.hindrance(&member.heartbeat, &self.spec).is_some());
            if standing.takes_new() && standing != Standing::Unknown && !hindered {
                scene.healthy.insert(id.clone());
            } else if matches!(standing, Standing::Silent | Standing::AdminDown) {
                scene.down.insert(id.clone());
            }
        }
        scene
    }

    pub(super) fn drill_tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let scene = self.scene();
        for effect in self.ward.tick(&scene, now) {
            self.ward_effect(effect, now, effects);
        }
    }

    /// What came of an [`Effect::Fault`].
    pub(super) fn fault_done(&mut self, key: &Id, result: Result<(), ProviderError>, now: Now, effects: &mut Vec<Effect>) {
        let is_gone = matches!(&result, Err(error) if error.kind == ErrorKind::NotFound);
        if let Some(effect) = self.ward.outcome(key, result.map_err(|e| e.message), is_gone, now) {
            self.ward_effect(effect, now, effects);
        }
    }

    /// A record of a drill is on disk, or is not. False: it is no drill's.
    pub(super) fn drill_journalled(&mut self, seq: u64, ok: bool, now: Now, effects: &mut Vec<Effect>) {
        let Some(key) = self.drill_records.remove(&seq) else { return };
        if let Some(effect) = self.ward.journalled(&key, ok, now) {
            self.ward_effect(effect, now, effects);
        }
    }

    pub(super) fn agent_told(&mut self, member: &Id, word: &KillWord, now: Now, effects: &mut Vec<Effect>) {
        if let Some(effect) = self.ward.told(member, word, now) {
            self.ward_effect(effect, now, effects);
        }
    }

    fn ward_effect(&mut self, effect: WardEffect, now: Now, effects: &mut Vec<Effect>) {
        self.unsaved = true;
        match effect {
            WardEffect::Journal(hit, instance_id) => {
                let key = hit.key.clone();
                self.note(Entry::Drill { hit, instance_id }, now, effects);
                self.drill_records.insert(self.exec.seq, key);
            }
            WardEffect::JournalHealed(key) => {
                self.notice(Topic::Drill, now, format!("drill {key}: healed"), effects);
                self.note(Entry::Healed { key }, now, effects);
            }
            WardEffect::Act(key, instance_id, fault) => {
                effects.push(Effect::Fault(FaultCall { key, instance_id, fault: Some(fault) }));
            }
            WardEffect::Heal(key, instance_id) => {
                effects.push(Effect::Fault(FaultCall { key, instance_id, fault: None }));
            }
            WardEffect::Notice(text) => self.notice(Topic::Drill, now, text, effects),
        }
    }

    fn note(&mut self, entry: Entry, now: Now, effects: &mut Vec<Effect>) {
        self.execute(ExecEvent::Note(Box::new(entry)), now, effects);
    }
}

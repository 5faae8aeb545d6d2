//! The control loop's half of drills: which hits it lets through, how far each is, and the healing of what was cut off.
//!
//! A hit happens once per key, after its record is on disk; one whose record may or may not have been acted upon before a restart is
//! not made again. What was cut off is healed at its deadline by this loop alone, and at once after a restart, so that no crash of
//! an operator's command can leave a server cut off. It must never let the last healthy server go.

use super::{Census, Fault, Model, Radius};
use farm_shared::heartbeat::{KillWish, KillWord, PROCESS_BYTES_MAX, is_process_name};
use farm_shared::id::Id;
use farm_shared::time::{Mono, Now};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};

/// Hits that are remembered, the newest.
const WOUNDS_MAX: usize = 256;
/// A hit that nobody has replaced counts as down for so long, in milliseconds.
const OPEN_MS_MAX: u64 = 1_800_000;
/// What is cut off is healed after this at the latest, in milliseconds.
const HEAL_MS_MAX: u64 = 3_600_000;
/// An agent is asked for so long to end a process, in milliseconds.
const WISH_MS_MAX: u64 = 30_000;
/// A server that was hit and still gets sessions after so long was never missed, in milliseconds. Longer than leases last: until one
/// ends, a dead server looks alive.
const MISSED_MS_MAX: u64 = 600_000;
/// Between two attempts to heal, in milliseconds.
const HEAL_RETRY_MS: u64 = 2_000;

/// What the operator's command asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HitRequest {
    /// Makes a repeated request the same hit: the drill's name and a number.
    pub key: Id,
    /// The model that chose it.
    pub model: Model,
    /// What is to be done.
    pub fault: Fault,
    /// To whom.
    pub member: Id,
    /// What is cut off is healed after so long, in milliseconds; an hour at most.
    #[serde(default)]
    pub heal_ms: Option<u64>,
}

/// What the control loop must do about a hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WardEffect {
    /// Journal that the hit is about to be made, and report [`Ward::journalled`].
    Journal(HitRequest, Option<String>),
    /// Do it to this instance, and report [`Ward::outcome`].
    Act(Id, String, Fault),
    /// Heal this instance, and report [`Ward::outcome`].
    Heal(Id, String),
    /// Journal that it is healed.
    JournalHealed(Id),
    /// One line for the log.
    Notice(String),
}

/// How far a hit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WoundState {
    /// Its record is on the way to the disk.
    Journalling,
    /// The provider or the agent was asked.
    Asked,
    /// It is done: ended, or cut off.
    Done,
    /// It was cut off and is being healed.
    Healing,
    /// It was cut off and is healed.
    Healed,
    /// It could not be done, or it is not known whether it was.
    Failed,
}

impl WoundState {
    /// The word in the status.
    pub fn label(self) -> &'static str {
        match self {
            Self::Journalling => "journalling",
            Self::Asked => "asked",
            Self::Done => "done",
            Self::Healing => "healing",
            Self::Healed => "healed",
            Self::Failed => "failed",
        }
    }
}

/// One hit, for status and report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillStatus {
    /// The hit's key.
    pub key: String,
    /// The model.
    pub model: Model,
    /// What was done.
    pub fault: Fault,
    /// To whom.
    pub member: String,
    /// Its instance.
    pub instance_id: Option<String>,
    /// When it was asked for, milliseconds since the epoch.
    pub wall_ms: u64,
    /// How far it is.
    pub state: WoundState,
    /// From the request until it was made: at once, or when the agent accepted it. Milliseconds.
    pub acted_ms: Option<u64>,
    /// From the hit until the member got no new sessions, in milliseconds.
    pub noticed_ms: Option<u64>,
    /// From the hit until as many servers as before got new sessions, in milliseconds.
    pub restored_ms: Option<u64>,
    /// From the hit until what was cut off was healed, in milliseconds.
    pub healed_ms: Option<u64>,
    /// Why it failed, or what the agent said.
    pub word: Option<String>,
}

/// Totals since the start, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrillTotals {
    /// Hits let through, in the order of [`Model::ALL`].
    pub hits: [u64; 4],
    /// Hits refused.
    pub refused: u64,
    /// Hits that could not be done.
    pub failed: u64,
    /// Hits that stand: not replaced, or cut off still.
    pub open: u64,
    /// Of the last hit that was noticed, in milliseconds.
    pub noticed_ms: Option<u64>,
    /// Of the last hit after which capacity was restored, in milliseconds.
    pub restored_ms: Option<u64>,
}

#[derive(Clone, Debug)]
struct Wound {
    hit: HitRequest,
    instance_id: Option<String>,
    wall_ms: u64,
    asked: Mono,
    acted: Option<Mono>,
    state: WoundState,
    /// Healthy servers before it.
    baseline: usize,
    heal_at: Mono,
    noticed_ms: Option<u64>,
    restored_ms: Option<u64>,
    healed_ms: Option<u64>,
    word: Option<String>,
}

/// What survives a restart: the keys of hits, and who may be cut off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedWard {
    /// Keys of hits that were let through, the newest last.
    #[serde(default)]
    keys: VecDeque<Id>,
    /// Hits that cut an instance off and are not known to be healed.
    #[serde(default)]
    cut_off: Vec<(HitRequest, String)>,
}

impl SavedWard {
    /// Applies a journal record of a hit that is about to be made.
    pub fn hit(&mut self, hit: &HitRequest, instance_id: Option<&str>) {
        if self.keys.contains(&hit.key) {
            return;
        }
        if self.keys.len() >= WOUNDS_MAX {
            self.keys.pop_front();
        }
        self.keys.push_back(hit.key.clone());
        if let (Fault::Isolate, Some(instance_id)) = (&hit.fault, instance_id) {
            self.cut_off.push((hit.clone(), instance_id.to_owned()));
        }
    }

    /// Applies a journal record of a healed instance.
    pub fn healed(&mut self, key: &Id) {
        self.cut_off.retain(|(hit, _)| hit.key != *key);
    }
}

/// Who is healthy and who is down, as the control loop sees it now.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// Backends that get new sessions.
    pub healthy: BTreeSet<Id>,
    /// Backends that are silent or forced down.
    pub down: BTreeSet<Id>,
}

/// The ward.
#[derive(Clone, Debug, Default)]
pub struct Ward {
    saved: SavedWard,
    wounds: VecDeque<Wound>,
    totals: DrillTotals,
}

impl Ward {
    /// After a restart: whatever may be cut off is healed at once.
    pub fn restore(saved: SavedWard, now: Now) -> Self {
        let wound = |(hit, instance_id): &(HitRequest, String)| Wound {
            hit: hit.clone(),
            instance_id: Some(instance_id.clone()),
            wall_ms: now.wall.0,
            asked: now.mono,
            acted: None,
            state: WoundState::Done,
            baseline: 0,
            heal_at: now.mono,
            noticed_ms: None,
            restored_ms: None,
            healed_ms: None,
            word: Some("found after a restart".into()),
        };
        Self { wounds: saved.cut_off.iter().map(wound).collect(), saved, totals: DrillTotals::default() }
    }

    /// What must survive a restart.
    pub fn save(&self) -> SavedWard {
        self.saved.clone()
    }

    /// A request to hit a member whose instance is `instance_id`. `Ok(None)`: that very hit was let through before.
    pub fn hit(
        &mut self,
        hit: HitRequest,
        instance_id: Option<String>,
        scene: &Scene,
        radius: Radius,
        now: Now,
    ) -> Result<Option<WardEffect>, String> {
        let admitted = self.admit(&hit, instance_id.as_deref(), scene, radius, now.mono);
        match admitted {
            Err(why) => {
                self.totals.refused += 1;
                Err(why)
            }
            Ok(false) => Ok(None),
            Ok(true) => {
                let heal_ms = hit.heal_ms.unwrap_or(HEAL_MS_MAX).min(HEAL_MS_MAX);
                let at = Model::ALL.iter().position(|m| *m == hit.model).unwrap_or_default();
                if let Some(count) = self.totals.hits.get_mut(at) {
                    *count += 1;
                }
                if self.wounds.len() >= WOUNDS_MAX {
                    self.wounds.pop_front();
                }
                let baseline = self.census(scene, now.mono).healthy;
                self.saved.hit(&hit, instance_id.as_deref());
                self.wounds.push_back(Wound {
                    hit: hit.clone(),
                    instance_id: instance_id.clone(),
                    wall_ms: now.wall.0,
                    asked: now.mono,
                    acted: None,
                    state: WoundState::Journalling,
                    baseline,
                    heal_at: now.mono.plus_ms(heal_ms),
                    noticed_ms: None,
                    restored_ms: None,
                    healed_ms: None,
                    word: None,
                });
                Ok(Some(WardEffect::Journal(hit, instance_id)))
            }
        }
    }

    fn admit(
        &self,
        hit: &HitRequest,
        instance_id: Option<&str>,
        scene: &Scene,
        radius: Radius,
        now: Mono,
    ) -> Result<bool, String> {
        if self.saved.keys.contains(&hit.key) {
            return Ok(false);
        }
        if let Fault::KillProcess(process) = &hit.fault
            && !is_process_name(process)
        {
            return Err(format!("a process's name has 1 to {PROCESS_BYTES_MAX} printable characters without a slash"));
        }
        let id = &hit.member;
        if !scene.healthy.contains(id) {
            return Err(format!("{id} gets no new sessions: only healthy servers are hit"));
        }
        if self.wounds.iter().any(|w| w.hit.member == *id && is_open(w, now)) {
            return Err(format!("{id} was hit already, and the farm has not recovered from it"));
        }
        if instance_id.is_none() && !matches!(hit.fault, Fault::KillProcess(_)) {
            return Err(format!("no instance of the provider is known to run {id}"));
        }
        if self.wounds.len() >= WOUNDS_MAX && self.wounds.front().is_some_and(|w| is_open(w, now)) {
            return Err("too many hits stand already".into());
        }
        radius.allows_one_more(self.census(scene, now)).map(|()| true)
    }

    /// The farm, counted so that what is doubtful is down.
    pub fn census(&self, scene: &Scene, now: Mono) -> Census {
        let open: Vec<&Wound> = self.wounds.iter().filter(|w| is_open(w, now)).collect();
        // One that was missed already and is back counts as what it is.
        let unnoticed = |id: &Id| open.iter().any(|w| w.hit.member == *id && w.noticed_ms.is_none());
        let healthy = scene.healthy.iter().filter(|id| !unnoticed(id)).count();
        let is_back = |id: &Id| scene.healthy.contains(id) && !unnoticed(id);
        let hit = open.iter().map(|w| &w.hit.member).filter(|id| !is_back(id));
        let down: BTreeSet<&Id> = scene.down.iter().chain(hit).collect();
        Census { healthy, down: down.len() }
    }

    /// The record of a hit is on disk, or it is not.
    pub fn journalled(&mut self, key: &Id, ok: bool, now: Now) -> Option<WardEffect> {
        let wound = self.wounds.iter_mut().find(|w| w.hit.key == *key && w.state == WoundState::Journalling)?;
        if !ok {
            wound.fail("its record could not be written".into());
            self.totals.failed += 1;
            self.saved.healed(key);
            return None;
        }
        wound.state = WoundState::Asked;
        if matches!(wound.hit.fault, Fault::KillProcess(_)) {
            // The wish travels in the replies to the member's heartbeats.
            return None;
        }
        wound.acted = Some(now.mono);
        Some(WardEffect::Act(key.clone(), wound.instance_id.clone()?, wound.hit.fault.clone()))
    }

    /// What the provider said to [`WardEffect::Act`] or [`WardEffect::Heal`]. `is_gone`: there is no such instance any more.
    pub fn outcome(&mut self, key: &Id, result: Result<(), String>, is_gone: bool, now: Now) -> Option<WardEffect> {
        let wound = self.wounds.iter_mut().find(|w| w.hit.key == *key)?;
        match (wound.state, result) {
            (WoundState::Asked, Ok(())) => {
                wound.state = WoundState::Done;
                let text = format!("drill {key}: {} {}", wound.hit.member, done(&wound.hit.fault));
                Some(WardEffect::Notice(text))
            }
            (WoundState::Asked, Err(why)) => {
                self.totals.failed += 1;
                if wound.hit.fault == Fault::Isolate && !is_gone {
                    // It may be cut off although the answer says otherwise: heal what can be healed.
                    (wound.state, wound.heal_at) = (WoundState::Done, now.mono);
                    wound.word = Some(why.clone());
                } else {
                    wound.fail(why.clone());
                    self.saved.healed(key);
                }
                Some(WardEffect::Notice(format!("drill {key}: {} could not be hit: {why}", wound.hit.member)))
            }
            (WoundState::Healing, Err(why)) if !is_gone => {
                (wound.state, wound.heal_at) = (WoundState::Done, now.mono.plus_ms(HEAL_RETRY_MS));
                let news = wound.word.as_ref() != Some(&why);
                wound.word = Some(why.clone());
                news.then(|| WardEffect::Notice(format!("drill {key}: {} is not healed yet: {why}", wound.hit.member)))
            }
            (WoundState::Healing, _) => {
                wound.state = WoundState::Healed;
                wound.healed_ms = Some(now.mono.since_ms(wound.acted.unwrap_or(wound.asked)));
                self.saved.healed(key);
                Some(WardEffect::JournalHealed(key.clone()))
            }
            _ => None,
        }
    }

    /// Time passes: deadlines to heal, who was missed, who was replaced.
    pub fn tick(&mut self, scene: &Scene, now: Now) -> Vec<WardEffect> {
        let mut effects = Vec::new();
        let healthy = self.census(scene, now.mono).healthy;
        let totals = &mut self.totals;
        for wound in &mut self.wounds {
            if let (WoundState::Asked, Fault::KillProcess(_)) = (wound.state, &wound.hit.fault)
                && now.mono.since_ms(wound.asked) > WISH_MS_MAX
                && wound.word.is_none()
            {
                totals.failed += 1;
                wound.fail("its agent did not answer in time".into());
                effects.push(WardEffect::Notice(format!("drill {}: {} did not answer", wound.hit.key, wound.hit.member)));
            }
            if wound.state == WoundState::Done && wound.hit.fault == Fault::Isolate && now.mono >= wound.heal_at {
                wound.state = WoundState::Healing;
                if let Some(instance_id) = wound.instance_id.clone() {
                    effects.push(WardEffect::Heal(wound.hit.key.clone(), instance_id));
                }
            }
            let Some(acted) = wound.acted.filter(|_| wound.state != WoundState::Failed) else { continue };
            if wound.noticed_ms.is_none() && !scene.healthy.contains(&wound.hit.member) {
                wound.noticed_ms = Some(now.mono.since_ms(acted));
                totals.noticed_ms = wound.noticed_ms;
            } else if wound.noticed_ms.is_none() && wound.restored_ms.is_none() && !wound.is_cut_off() {
                // What was cut off and is healed lives: there is no lease to wait for.
                if wound.state == WoundState::Healed || now.mono.since_ms(acted) >= MISSED_MS_MAX {
                    wound.restored_ms = Some(0);
                    wound.word.get_or_insert("was never missed".into());
                }
            } else if wound.noticed_ms.is_some() && wound.restored_ms.is_none() && healthy >= wound.baseline {
                wound.restored_ms = Some(now.mono.since_ms(acted));
                totals.restored_ms = wound.restored_ms;
            }
        }
        effects
    }

    /// Heals everything that is cut off, or that of one drill. Returns how many.
    pub fn heal(&mut self, drill: Option<&Id>, now: Now) -> usize {
        let mut count = 0;
        let prefix = drill.map(|d| format!("{d}-"));
        for wound in &mut self.wounds {
            let is_meant = prefix.as_ref().is_none_or(|p| wound.hit.key.as_str().starts_with(p.as_str()));
            let may_be_cut_off = matches!(wound.state, WoundState::Journalling | WoundState::Asked | WoundState::Done);
            if is_meant && may_be_cut_off && wound.hit.fault == Fault::Isolate {
                wound.heal_at = now.mono;
                count += 1;
            }
        }
        count
    }

    /// What the agent of a member is asked to end.
    pub fn wish(&self, member: &Id) -> Option<KillWish> {
        let is_asked = |w: &&Wound| w.hit.member == *member && w.state == WoundState::Asked && w.acted.is_none();
        let wound = self.wounds.iter().find(is_asked)?;
        let Fault::KillProcess(process) = &wound.hit.fault else { return None };
        Some(KillWish { key: wound.hit.key.clone(), process: process.clone() })
    }

    /// What the agent of a member said about it.
    pub fn told(&mut self, member: &Id, word: &KillWord, now: Now) -> Option<WardEffect> {
        let is_meant = |w: &&mut Wound| w.hit.key == word.key && w.hit.member == *member;
        let wound = self.wounds.iter_mut().find(is_meant)?;
        if !matches!(wound.hit.fault, Fault::KillProcess(_)) || wound.state == WoundState::Failed {
            return None;
        }
        let text = word.outcome.words();
        if wound.word.as_ref() == Some(&text) {
            return None;
        }
        if word.outcome.is_refusal() {
            self.totals.failed += 1;
            wound.fail(text.clone());
        } else {
            wound.acted.get_or_insert(now.mono);
            wound.state = WoundState::Done;
            wound.word = Some(text.clone());
        }
        Some(WardEffect::Notice(format!("drill {}: {member} {text}", word.key)))
    }

    /// All hits that are remembered, the newest last.
    pub fn status(&self) -> Vec<DrillStatus> {
        let status = |w: &Wound| DrillStatus {
            key: w.hit.key.to_string(),
            model: w.hit.model,
            fault: w.hit.fault.clone(),
            member: w.hit.member.to_string(),
            instance_id: w.instance_id.clone(),
            wall_ms: w.wall_ms,
            state: w.state,
            acted_ms: w.acted.map(|at| at.since_ms(w.asked)),
            noticed_ms: w.noticed_ms,
            restored_ms: w.restored_ms,
            healed_ms: w.healed_ms,
            word: w.word.clone(),
        };
        self.wounds.iter().map(status).collect()
    }

    /// For metrics.
    pub fn totals(&self, now: Mono) -> DrillTotals {
        DrillTotals { open: self.wounds.iter().filter(|w| is_open(w, now)).count() as u64, ..self.totals }
    }
}

impl Wound {
    fn is_cut_off(&self) -> bool {
        self.hit.fault == Fault::Isolate && matches!(self.state, WoundState::Asked | WoundState::Done | WoundState::Healing)
    }

    fn fail(&mut self, why: String) {
        self.state = WoundState::Failed;
        self.word = Some(why);
    }
}

/// Whether a hit counts against the blast radius.
fn is_open(wound: &Wound, now: Mono) -> bool {
    // One of an earlier life: what capacity there was before it, nobody knows any more.
    let is_forgotten = wound.state == WoundState::Healed && wound.acted.is_none();
    let is_young = now.since_ms(wound.asked) < OPEN_MS_MAX && !is_forgotten;
    wound.state != WoundState::Failed && (wound.is_cut_off() || (wound.restored_ms.is_none() && is_young))
}

fn done(fault: &Fault) -> String {
    match fault {
        Fault::Kill => "is ended".into(),
        Fault::Isolate => "is cut off".into(),
        Fault::KillProcess(process) => format!("was asked to end {process}"),
    }
}

#[cfg(test)]
mod tests;

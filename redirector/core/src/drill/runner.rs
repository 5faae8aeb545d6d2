//! One drill from its start to its end: `step(now, look) -> acts`.
//!
//! Rounds come at their distance and only when the schedule is open; each hits as many servers as it may. Whatever the farm looks
//! like, it must never ask for a hit above the blast radius or on the last healthy server, nor after it was told to stop.

use super::stop::{Counts, StopRule, Watch};
use super::{Census, DrillStatus, Fault, Filter, Graph, HitRequest, Model, Radius, Schedule, Target, WoundState, hit_key};
use farm_shared::draw::Draws;
use farm_shared::id::Id;
use farm_shared::time::{Mono, Now};
use std::collections::{BTreeSet, VecDeque};

const POINTS_MAX: usize = 64;

/// What the operator wants.
#[derive(Clone, Debug)]
pub struct Order {
    /// The drill's name, the beginning of its hits' keys; at most 40 octets.
    pub drill: Id,
    /// The model.
    pub model: Model,
    /// What is done to a server.
    pub fault: Fault,
    /// Which servers may be hit.
    pub filter: Filter,
    /// The graph of model graph.
    pub graph: Option<Graph>,
    /// Servers hit in each round.
    pub count: u32,
    /// Rounds; 0 for no end.
    pub repeat: u32,
    /// From one round to the next at least, in milliseconds.
    pub every_ms: u64,
    /// When rounds may begin; none: always.
    pub schedule: Option<Schedule>,
    /// How much may be down at once.
    pub radius: Radius,
    /// What is cut off is healed after so long, in milliseconds.
    pub heal_ms: u64,
    /// When to stop by itself.
    pub stop: Option<StopRule>,
    /// How long the farm may take to recover after the last hit, in milliseconds.
    pub settle_ms_max: u64,
    /// Watch the users so long before the first hit, in milliseconds.
    pub lead_ms: u64,
    /// And so long after the farm has recovered, in milliseconds.
    pub trail_ms: u64,
    /// Say what would be hit, and hit nothing.
    pub dry_run: bool,
}

/// What is seen of the farm and its users.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Every backend.
    pub servers: Vec<Target>,
    /// Hits that the redirector remembers.
    pub hits: Vec<DrillStatus>,
    /// What users saw so far.
    pub counts: Counts,
    /// What the front door counted since then: requests of everybody, and those that were told to come again.
    pub door: Counts,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Ask the redirector for this hit; the reason why this server was chosen is for the report.
    Hit(HitRequest, String),
    /// A dry run would hit this one.
    Would(String, String),
    /// Ask the redirector to heal what this drill cut off.
    Heal,
    /// Tell the operator.
    Say(String),
    /// It is over, and how.
    End(String),
}

/// The drill.
#[derive(Clone, Debug)]
pub struct Runner {
    order: Order,
    draws: Draws,
    watches: Option<(Watch, Watch)>,
    began: Mono,
    next_round: Mono,
    points: VecDeque<u64>,
    rounds: u32,
    /// Hits still to be made in this round.
    due: u32,
    due_since: Mono,
    /// The round began by an open window, and must not hit behind its end.
    in_window: bool,
    hits: u32,
    /// Hits that were asked for, and are not in the redirector's list yet or stand there as open.
    asked: Vec<Asked>,
    /// Names that were hit: the graph loses them.
    removed: BTreeSet<String>,
    last_hit: Mono,
    settled: Option<Mono>,
    stopping: Option<String>,
    said: String,
}

/// A hit that was asked for.
#[derive(Clone, Debug)]
struct Asked {
    key: Id,
    member: Id,
    at: Mono,
}

/// A request that the redirector does not show within this was lost, in milliseconds.
const SHOWN_MS_MAX: u64 = 5_000;

impl Runner {
    /// A drill that begins now.
    pub fn new(order: Order, now: Now, draws: Draws) -> Self {
        Self {
            watches: order.stop.map(|rule| (Watch::new(rule), Watch::new(rule))),
            draws,
            began: now.mono,
            next_round: now.mono.plus_ms(order.lead_ms),
            points: VecDeque::new(),
            rounds: 0,
            due: 0,
            due_since: now.mono,
            in_window: false,
            hits: 0,
            asked: Vec::new(),
            removed: BTreeSet::new(),
            last_hit: now.mono,
            settled: None,
            stopping: None,
            said: String::new(),
            order,
        }
    }

    /// No more hits: heal, wait until the farm has recovered, end. The first reason stays.
    pub fn stop(&mut self, why: String) -> Vec<Act> {
        if self.stopping.is_some() {
            return Vec::new();
        }
        self.due = 0;
        let said = Act::Say(format!("stopping: {why}"));
        self.stopping = Some(why);
        vec![said, Act::Heal]
    }

    /// A hit was refused by the redirector, or could not be asked for.
    pub fn refused(&mut self, key: &Id) {
        self.asked.retain(|asked| asked.key != *key);
    }

    /// One look at the farm.
    pub fn step(&mut self, now: Now, look: &Look) -> Vec<Act> {
        let mut acts = Vec::new();
        let over = self.watches.as_mut().and_then(|(users, door)| {
            let told = door.look(now.mono, look.door).map(|why| format!("told to wait at the door: {why}"));
            users.look(now.mono, look.counts).or(told)
        });
        if let Some(why) = over
            && self.stopping.is_none()
        {
            acts.extend(self.stop(format!("users see errors: {why}")));
        }
        if self.stopping.is_none() {
            self.begin_round(now);
            self.hit_due(now, look, &mut acts);
        }
        self.end_if_over(now, look, &mut acts);
        acts
    }

    fn begin_round(&mut self, now: Now) {
        let all = self.order.repeat != 0 && self.rounds >= self.order.repeat;
        if all || self.due > 0 || now.mono < self.next_round {
            return;
        }
        self.in_window = false;
        if let Some(schedule) = &self.order.schedule {
            let point = schedule.point(now.wall).filter(|at| !self.points.contains(at));
            if let Some(at) = point {
                self.points.push_back(at);
                if self.points.len() > POINTS_MAX {
                    self.points.pop_front();
                }
            } else if !schedule.is_open(now.wall) {
                return;
            } else {
                self.in_window = true;
            }
        }
        self.rounds += 1;
        (self.due, self.due_since) = (self.order.count, now.mono);
        self.next_round = now.mono.plus_ms(self.order.every_ms);
    }

    fn hit_due(&mut self, now: Now, look: &Look, acts: &mut Vec<Act>) {
        if self.in_window && self.order.schedule.as_ref().is_some_and(|s| !s.is_open(now.wall)) {
            self.due = 0;
        }
        while self.due > 0 {
            match self.choose(now, look) {
                Ok((target, why)) => {
                    self.due -= 1;
                    self.hits += 1;
                    self.last_hit = now.mono;
                    // One that had to wait for the farm moves what follows.
                    self.next_round = now.mono.plus_ms(self.order.every_ms);
                    self.settled = None;
                    self.removed.insert(target.id.clone());
                    self.removed.extend(target.role.clone());
                    self.removed.extend(target.instance_id.clone());
                    let key = hit_key(&self.order.drill, self.hits);
                    let (Some(key), Ok(member)) = (key, Id::new(&target.id)) else { continue };
                    // A dry run counts its hits as down for ever: nobody will replace them.
                    let at = if self.order.dry_run { Mono::NEVER } else { now.mono };
                    self.asked.push(Asked { key: key.clone(), member: member.clone(), at });
                    if self.order.dry_run {
                        acts.push(Act::Would(target.id, why));
                        continue;
                    }
                    let heal_ms = (self.order.fault == Fault::Isolate).then_some(self.order.heal_ms);
                    let (model, fault) = (self.order.model, self.order.fault.clone());
                    acts.push(Act::Hit(HitRequest { key, model, fault, member, heal_ms }, why));
                }
                Err(why) => {
                    if self.said != why {
                        acts.push(Act::Say(format!("waits: {why}")));
                        self.said.clone_from(&why);
                    }
                    if self.order.dry_run || now.mono.since_ms(self.due_since) >= self.order.settle_ms_max {
                        acts.extend(self.stop(format!("nothing more could be hit: {why}")));
                    }
                    return;
                }
            }
        }
    }

    /// The next server to hit, and why it.
    fn choose(&mut self, now: Now, look: &Look) -> Result<(Target, String), String> {
        let open = self.open(now.mono, look);
        let is_healthy = |t: &Target| t.is_healthy && !open.iter().any(|id| id.as_str() == t.id);
        let healthy = look.servers.iter().filter(|t| is_healthy(t));
        let down: BTreeSet<&str> =
            look.servers.iter().filter(|t| t.is_down).map(|t| t.id.as_str()).chain(open.iter().map(Id::as_str)).collect();
        self.order.radius.allows_one_more(Census { healthy: healthy.clone().count(), down: down.len() })?;
        let needs_instance = !matches!(self.order.fault, Fault::KillProcess(_));
        let mut targets: Vec<&Target> =
            healthy.filter(|t| self.order.filter.admits(t) && (t.instance_id.is_some() || !needs_instance)).collect();
        // The order of the list must not matter to what a seed draws.
        targets.sort_by(|a, b| a.id.cmp(&b.id));
        let Some(graph) = &self.order.graph else {
            let at = self.draws.below(targets.len());
            let target = targets.get(at).ok_or("no healthy server fits the filter")?;
            return Ok(((*target).clone(), format!("drawn from {}", targets.len())));
        };
        let ranking = graph.ranking(&self.removed);
        let named = |name: &str| {
            targets
                .iter()
                .find(|t| t.id == name || t.role.as_deref() == Some(name) || t.instance_id.as_deref() == Some(name))
        };
        let found = ranking.iter().find_map(|(name, degree)| Some((named(name)?, degree)));
        let (target, degree) = found.ok_or("no server of the graph with connections left is healthy and fits the filter")?;
        Ok(((*target).clone(), format!("{degree} connections")))
    }

    /// Members whose hit is not over, as the redirector tells it, and those that it does not show yet.
    fn open(&mut self, now: Mono, look: &Look) -> Vec<Id> {
        let shown = |key: &Id| look.hits.iter().any(|h| h.key == key.as_str());
        self.asked.retain(|a| !shown(&a.key) && now.since_ms(a.at) < SHOWN_MS_MAX);
        let stands = look.hits.iter().filter(|h| is_open(h)).filter_map(|h| Id::new(&h.member).ok());
        self.asked.iter().map(|a| a.member.clone()).chain(stands).collect()
    }

    fn end_if_over(&mut self, now: Now, look: &Look, acts: &mut Vec<Act>) {
        let all = self.order.repeat != 0 && self.rounds >= self.order.repeat && self.due == 0;
        if !all && self.stopping.is_none() {
            return;
        }
        let how = self.stopping.clone().unwrap_or_else(|| "done".to_owned());
        if self.order.dry_run || (self.hits == 0 && self.stopping.is_some()) {
            acts.push(Act::End(how));
            return;
        }
        let prefix = format!("{}-", self.order.drill);
        let unseen = !self.open(now.mono, look).is_empty() && !self.asked.is_empty();
        let is_open_still = unseen || look.hits.iter().any(|h| h.key.starts_with(&prefix) && is_open(h));
        if is_open_still {
            self.settled = None;
            if now.mono.since_ms(self.last_hit.max(self.began))
                >= self.order.settle_ms_max.saturating_add(self.order.heal_ms)
            {
                acts.push(Act::Heal);
                acts.push(Act::End(format!("{how}; the farm has not recovered in time")));
            }
            return;
        }
        let since = *self.settled.get_or_insert(now.mono);
        if now.mono.since_ms(since) >= self.order.trail_ms {
            acts.push(Act::End(how));
        }
    }
}

/// A hit after which the farm has not recovered: capacity is missing, or a server is cut off.
fn is_open(hit: &DrillStatus) -> bool {
    let is_cut_off = hit.fault == Fault::Isolate && hit.state != WoundState::Healed;
    hit.state != WoundState::Failed && (hit.restored_ms.is_none() || is_cut_off)
}

#[cfg(test)]
mod tests;

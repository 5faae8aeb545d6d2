//! What other name servers measured, beside our own checks: votes about each static member of pools with `check.agree`.
//!
//! Only what a viewpoint measured itself counts, and only within its lease. Nothing that it says may make a member known that the
//! configuration does not have.

use super::Control;
use super::event::{Effect, Notice, NoticeKind};
use super::pool_state::{PoolState, StaticState};
use crate::config::PoolSpec;
use crate::health::{Measured, Report, Votes};
use farm_shared::id::Id;
use farm_shared::time::Mono;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Another viewpoint.
#[derive(Clone, Debug)]
pub(super) struct Viewpoint {
    report: Report,
    /// When it was asked for that.
    asked: Mono,
    /// Until when that counts.
    until: Mono,
}

/// Another viewpoint, in words.
#[derive(Clone, Debug, Serialize)]
pub struct ViewpointStatus {
    /// Its id.
    pub name: Id,
    /// Whether what it said last counts.
    pub heard: bool,
    /// Age of what it said last, in milliseconds; none if it was never heard.
    pub age_ms: Option<u64>,
}

impl StaticState {
    /// What checks say of it, ours or those of all viewpoints.
    pub(super) fn measured(&self, spec: &PoolSpec) -> Measured {
        if agree(spec).is_some() { self.agreed.votes().verdict() } else { self.check.measured() }
    }

    /// When it came back; none if it was never seen down.
    pub(super) fn since(&self, spec: &PoolSpec) -> Option<Mono> {
        if agree(spec).is_some() { self.agreed.since() } else { self.check.since() }
    }

    /// Whether it is served and the next failure takes it out.
    pub(super) fn may_fall(&self, spec: &PoolSpec) -> bool {
        let Some(check) = &spec.check else { return false };
        self.check.may_fall_next(check.fall) && (check.agree.is_none() || self.agreed.votes().tips())
    }

    /// The votes about it, if there are any.
    pub(super) fn votes(&self, spec: &PoolSpec) -> Option<Votes> {
        agree(spec).map(|_| self.agreed.votes())
    }

    /// Why it stands as it does, in words; empty if all is well.
    pub(super) fn why(&self, spec: &PoolSpec) -> String {
        let own = self.check.why();
        let Some(votes) = self.votes(spec).filter(|votes| votes.down > 0) else { return own.to_owned() };
        let colon = if own.is_empty() { "" } else { ": " };
        format!("{} of {} viewpoints say down, {} must{colon}{own}", votes.down, votes.heard(), votes.needed)
    }

    fn addr(&self) -> Option<IpAddr> {
        self.spec.v4.map(IpAddr::V4).or(self.spec.v6.map(IpAddr::V6))
    }

    /// Counts anew. `Some` if the verdict changed.
    pub(super) fn vote(&mut self, pool: &PoolSpec, others: &BTreeMap<Id, Viewpoint>, now: Mono) -> Option<Measured> {
        let agree = agree(pool)?;
        let key = (pool.name.clone(), self.spec.name.clone());
        let fresh = others.values().filter(|viewpoint| viewpoint.until > now);
        // Who checks another address under the same name says nothing about this one.
        let about = |viewpoint: &Viewpoint| viewpoint.report.0.get(&key).copied();
        let votes = fresh.filter_map(about).filter(|(addr, _)| Some(*addr) == self.addr()).map(|(_, up)| up);
        self.agreed.take(now, Votes::count(agree, self.check.measured(), votes))
    }
}

fn agree(spec: &PoolSpec) -> Option<u32> {
    spec.check.as_ref().and_then(|check| check.agree)
}

/// The line for the log about a verdict that changed.
pub(super) fn notice(pool: &PoolSpec, member: &StaticState, verdict: Measured) -> Effect {
    let kind = if verdict == Measured::Down { NoticeKind::Down } else { NoticeKind::Up };
    Notice::of(kind, &pool.name, &member.spec.name, member.why(pool))
}

impl Control {
    /// What another viewpoint answered to a question of `asked`.
    pub(super) fn viewpoint(&mut self, now: Mono, from: Id, asked: Mono, report: Report) -> Vec<Effect> {
        let viewpoints = &self.spec.viewpoints;
        if !viewpoints.peers.iter().any(|peer| peer.name == from) {
            return Vec::new();
        }
        let until = asked.plus_ms(viewpoints.lease_ms);
        let before = self.viewpoints.get(&from);
        // One that was overtaken on its way.
        if until <= now || before.is_some_and(|before| before.asked > asked) {
            return Vec::new();
        }
        let same = before.is_some_and(|before| before.until > now && before.report == report);
        let heard = before.is_some_and(|before| before.until > now);
        self.viewpoints.insert(from.clone(), Viewpoint { report, asked, until });
        let mut effects = Vec::new();
        if !heard {
            effects.push(Notice::pool(NoticeKind::ViewpointHeard, &from, ""));
        }
        if !same {
            effects.extend(self.vote(now));
        }
        effects
    }

    /// Viewpoints whose last word counts no longer.
    pub(super) fn lapse(&mut self, now: Mono) -> Vec<Effect> {
        let lapsed =
            self.viewpoints.iter().filter(|(_, viewpoint)| viewpoint.until <= now && !viewpoint.report.0.is_empty());
        let lapsed: Vec<Id> = lapsed.map(|(name, _)| name.clone()).collect();
        if lapsed.is_empty() {
            return Vec::new();
        }
        let mut effects = Vec::new();
        for name in lapsed {
            effects.push(Notice::pool(NoticeKind::ViewpointSilent, &name, "its reports count no longer"));
            if let Some(viewpoint) = self.viewpoints.get_mut(&name) {
                viewpoint.report = Report::default();
            }
        }
        effects.extend(self.vote(now));
        effects
    }

    /// Counts all votes anew.
    pub(super) fn vote(&mut self, now: Mono) -> Vec<Effect> {
        let mut effects = Vec::new();
        for PoolState { spec, statics, dirty, .. } in &mut self.pools {
            for member in statics {
                let before = member.agreed.votes();
                let verdict = member.vote(spec, &self.viewpoints, now);
                *dirty |= before != member.agreed.votes();
                self.marks.persist |= verdict.is_some();
                effects.extend(verdict.map(|verdict| notice(spec, member, verdict)));
            }
        }
        effects
    }

    /// What we measured ourselves, if that is something else than when it was taken last.
    pub fn take_report(&mut self) -> Option<Report> {
        if !std::mem::take(&mut self.marks.report) {
            return None;
        }
        let word = |pool: &PoolState, member: &StaticState| {
            let up = match member.check.measured() {
                // What was there before a restart may be what others had said.
                _ if !member.check.is_seen() => return None,
                Measured::Unknown => return None,
                Measured::Up => true,
                Measured::Down => false,
            };
            Some(((pool.spec.name.clone(), member.spec.name.clone()), (member.addr()?, up)))
        };
        let words = self.pools.iter().flat_map(|pool| pool.statics.iter().filter_map(move |member| word(pool, member)));
        Some(Report(words.collect()))
    }

    pub(super) fn viewpoints_status(&self, now: Mono) -> Vec<ViewpointStatus> {
        let status = |name: &Id| {
            let known = self.viewpoints.get(name);
            ViewpointStatus {
                name: name.clone(),
                heard: known.is_some_and(|known| known.until > now),
                age_ms: known.map(|known| now.since_ms(known.asked)),
            }
        };
        self.spec.viewpoints.peers.iter().map(|peer| status(&peer.name)).collect()
    }
}

//! What a plan is made from, and what it says. All of it goes into the journal, so that it can be replayed.

use farm_shared::id::Id;
use serde::{Deserialize, Serialize};

/// The farm at one time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// When, milliseconds since the epoch.
    pub wall_ms: u64,
    /// Every member, ordered by id.
    pub servers: Vec<ServerLoad>,
    /// Launches under way that no heartbeat has come from yet.
    pub pending: u32,
    /// Members whose instance runs but was not heard from for too long: to be stopped and replaced.
    #[serde(default)]
    pub overdue: Vec<Id>,
    /// Instances that are stopped and can be started again.
    #[serde(default)]
    pub warm: u32,
    /// Instances that failed and are kept for inspection: they run, and count towards the maximum.
    #[serde(default)]
    pub kept: u32,
    /// Instances whose member an operator holds out of service: they run, and count towards the maximum.
    #[serde(default)]
    pub held: u32,
    /// Fixed roles without an instance.
    #[serde(default)]
    pub roles_missing: Vec<Id>,
    /// Sessions begun in the whole farm since this redirector began to watch.
    pub arrivals: u64,
    /// Sessions ended, likewise.
    pub completions: u64,
    /// Sessions that wait to begin: requests turned away for want of a server that will come again.
    #[serde(default)]
    pub waiting: u32,
    /// From the launch call to the first heartbeat, 95th percentile, in milliseconds.
    pub boot_ms_p95: u64,
    /// The longest heartbeat period of the farm, in milliseconds.
    pub heartbeat_ms: u64,
    /// What everything that the provider runs for the farm costs, in US dollars an hour; none if a price is not known.
    #[serde(default)]
    pub usd_h: Option<f64>,
    /// What launches and starts whose fate is not known will add to that; none if there are none. While one of their prices is not
    /// known, `usd_h_launch` is none.
    #[serde(default)]
    pub usd_h_open: Option<f64>,
    /// What one more server may cost, likewise: the dearest of what may be bought.
    #[serde(default)]
    pub usd_h_launch: Option<f64>,
    /// What was spent in this calendar month so far (UTC), in US dollars, as far as prices are known.
    #[serde(default)]
    pub usd_month: Option<f64>,
    /// Failure domains that servers can be launched in; none if the provider knows none.
    #[serde(default)]
    pub zones: Vec<Id>,
    /// Nothing may be changed, and why.
    pub frozen: Option<String>,
    /// Nothing may be taken out of service, and why.
    pub frozen_in: Option<String>,
}

impl Observation {
    /// Servers there are or will be, as the maximum counts them: whatever is live, all that the provider runs, launches under way,
    /// and instances that were never heard. If heartbeats do not arrive, no instance may be stopped and each launch stays unheard: not
    /// counting those would launch without end.
    pub(crate) fn servers_there(&self) -> u32 {
        let heard = self.servers.iter().filter(|s| s.managed || s.state == ServerState::Live).count();
        let unheard = self.overdue.iter().filter(|id| self.servers.binary_search_by(|s| s.id.cmp(id)).is_err()).count();
        ((heard + unheard) as u32).saturating_add(self.pending).saturating_add(self.kept).saturating_add(self.held)
    }
}

/// One member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerLoad {
    /// Its id.
    pub id: Id,
    /// What it does.
    pub state: ServerState,
    /// The scaler's provider runs it, so it may be terminated.
    pub managed: bool,
    /// Run queue.
    pub queue: f64,
    /// Cores.
    pub cores: f64,
    /// Busy share of them, 0 to 1.
    pub busy: f64,
    /// Live sessions.
    pub sessions: u32,
    /// Sessions it is willing to hold.
    pub limit: Option<u32>,
    /// Milliseconds since its youngest session was active.
    pub youngest_ms: Option<u64>,
    /// Its failure domain.
    pub zone: Option<Id>,
    /// It fills a fixed role: never part of elastic scale-in.
    #[serde(default)]
    pub role: bool,
    /// How long the scaler has wanted it drained, in milliseconds.
    #[serde(default)]
    pub draining_ms: Option<u64>,
    /// No cache names it any more.
    pub ttl_clear: bool,
}

/// What a server does, as far as the scaler minds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerState {
    /// Takes sessions.
    Live,
    /// Drains, because the scaler wants it.
    Draining,
    /// Drains, because somebody else wants it: an operator, another front end.
    Held,
    /// It is about to be lost (a notice of its provider, or failing status checks): no capacity any more, whether it still takes sessions or drains already (then `draining_ms` says since when the
    /// scaler wants that).
    Leaving,
    /// Its lease ran out, or it is forced down.
    Silent,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// So many servers more.
    pub launch: u32,
    /// Let these take sessions again.
    pub undrain: Vec<Id>,
    /// Send these nothing new.
    pub drain: Vec<Id>,
    /// Terminate these; they are drained.
    pub terminate: Vec<Id>,
    /// Stop these, to be started again when one is wanted; they are drained.
    #[serde(default)]
    pub stop: Vec<Id>,
    /// Launch these fixed roles.
    #[serde(default)]
    pub launch_roles: Vec<Id>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.launch == 0
            && [&self.undrain, &self.drain, &self.terminate, &self.stop, &self.launch_roles].iter().all(|ids| ids.is_empty())
    }
}

/// Why a plan is as it is, for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// One sentence.
    pub reason: String,
    /// The formula with its numbers.
    pub formula: String,
    /// What was considered and refused, and why.
    pub refused: Vec<String>,
    /// Servers that would be drained next: they get fewer new sessions.
    #[serde(default)]
    pub victims: Vec<Id>,
    /// Servers wanted.
    pub desired: u32,
    /// The plan in a few words: `launch 2`, `drain b3`, `nothing`.
    pub action: String,
    /// Sessions on the servers that are stopped by this plan, since their drain deadline has passed.
    #[serde(default)]
    pub lost: u32,
    /// The steepest ramp that could be met now: see [`super::survivable_growth`].
    #[serde(default)]
    pub survivable_growth: f64,
    /// What another policy would have done, if one runs beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
}

/// What a policy that only watches would have done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// Which.
    pub policy: String,
    /// Servers it wanted.
    pub desired: u32,
    /// Its plan in a few words, after the check.
    pub action: String,
    /// Why.
    pub reason: String,
}

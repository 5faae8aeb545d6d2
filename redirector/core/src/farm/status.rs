//! What an operator sees: the JSON status API, the status page, its event stream and the metrics all show this.

use crate::drill::{DrillStatus, DrillTotals};
use crate::room::RoomStatus;
use crate::scale::{Offering, Report};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The farm as this redirector sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// This redirector.
    pub id: String,
    /// The farm.
    pub farm: String,
    /// When this was asked, milliseconds since the epoch.
    pub wall_ms: u64,
    /// Milliseconds since the start.
    pub up_ms: u64,
    /// Of the snapshot published last.
    pub generation: u64,
    /// `weighted`, `paper` or `random`.
    pub policy: &'static str,
    /// Live doors (K).
    pub doors: u32,
    /// Run queue that one session adds, as measured (r).
    pub queue_per_session: f64,
    /// Every member, ordered by id.
    pub servers: Vec<ServerStatus>,
    /// The waiting room.
    pub room: RoomStatus,
    /// The scaler.
    pub scaler: ScalerStatus,
    /// Hits of failure drills, the newest last.
    pub drills: Vec<DrillStatus>,
    /// Hits of failure drills, counted.
    #[serde(skip)]
    pub drill_totals: DrillTotals,
    /// Alarms that stand now: freezes, two scalers, two incarnations of one id.
    pub alarms: Vec<String>,
    /// The last lines of [`super::Effect::Notice`], newest last: wall milliseconds and text.
    pub notices: Vec<(u64, String)>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServerStatus {
    /// Its id.
    pub id: String,
    /// Its slot.
    pub slot: u32,
    /// Where its sessions are sent.
    pub location: String,
    /// [`farm_shared::member::Standing::label`].
    pub standing: &'static str,
    /// What it would be without an operator's word.
    pub measured: &'static str,
    /// What an operator forced, and why.
    pub forced: Option<(String, String)>,
    /// It gets new sessions.
    pub takes_new: bool,
    /// Why it gets none, if so.
    pub why_not: Option<String>,
    /// Run queue as reported.
    pub queue: f64,
    /// Cores as reported.
    pub cores: f64,
    /// Busy share of them, 0 to 1.
    pub busy: f64,
    /// Live sessions.
    pub sessions: u32,
    /// Sessions it is willing to hold.
    pub limit: Option<u32>,
    /// Sessions begun in its incarnation.
    pub arrivals: u64,
    /// Sessions ended in its incarnation.
    pub completions: u64,
    /// Milliseconds since its youngest session was active.
    pub youngest_ms: Option<u64>,
    /// Age of its last heartbeat in milliseconds.
    pub heard_ms_ago: u64,
    /// Milliseconds since it joined or returned.
    pub in_service_ms: u64,
    /// Its share of new sessions at the last publication, 0 to 1.
    pub share: f64,
    /// This redirector wants it drained.
    pub drain_wish: bool,
    /// Milliseconds until no cache can name it; none if it does not drain.
    pub ttl_left_ms: Option<u64>,
    /// Two incarnations of it are alive.
    pub twins: bool,
    /// Its machine is to go: `interruption`, `maintenance` or `rebalance`, and when, milliseconds since the epoch.
    pub notice: Option<(&'static str, u64)>,
    /// Its failure domain.
    pub zone: Option<String>,
    /// New sessions that this door sent to it in the last minute; 0 from the control loop, filled in by who counts them.
    pub new_1m: u64,
    /// How many its shares in that minute would have given it; likewise.
    pub expected_1m: f64,
}

/// The scaler.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScalerStatus {
    /// It runs.
    pub enabled: bool,
    /// It plans but does nothing.
    pub dry_run: bool,
    /// `paper` or `sizing`.
    pub policy: &'static str,
    /// Fewest servers.
    pub min: u32,
    /// Most servers.
    pub max: u32,
    /// Why it stands still, if it does.
    pub frozen: Option<String>,
    /// Servers the last plan wanted.
    pub desired: u32,
    /// Sessions that a server holds, unless its heartbeats say.
    pub sessions_per_server: u32,
    /// The steepest ramp that could be met now: see [`crate::scale::survivable_growth`].
    pub survivable_growth: f64,
    /// Spent in this calendar month (UTC) as far as prices are known, in US dollars.
    pub usd_month: Option<f64>,
    /// What everything that runs costs, in US dollars an hour, if prices are known.
    pub usd_h: Option<f64>,
    /// Servers that take sessions.
    pub live: u32,
    /// Launches under way.
    pub pending: u32,
    /// Servers that drain.
    pub draining: u32,
    /// Servers whose machine is to go.
    pub leaving: u32,
    /// Boot time that plans use, 95th percentile, in milliseconds.
    pub boot_ms_p95: u64,
    /// Boots it was measured from; below 3 it is the configured one.
    pub boots: u32,
    /// What is assumed until then.
    pub boot_ms_prior: u64,
    /// What the provider is told to wait before an instance starts, in milliseconds, where it is told.
    pub boot_ms_delay: Option<u64>,
    /// The provider's instances as last listed.
    pub instances: Vec<InstanceStatus>,
    /// What the provider ran out of.
    pub shortages: Vec<ShortageStatus>,
    /// Intents whose fate is not known, by what is called.
    pub intents: BTreeMap<&'static str, u32>,
    /// Calls per second that are allowed at present: less while the provider is in trouble.
    pub calls_per_s: f64,
    /// Retries that may leave at once: successes earn them.
    pub retries: f64,
    /// Instances with the farm's tag that nothing here launched and nobody adopted.
    pub unknown: u32,
    /// Instances that failed and are kept for inspection.
    pub kept: u32,
    /// A launch that was not heard after this is given up, in milliseconds.
    pub boot_ms_deadline: u64,
    /// Instances that are stopped and can be started again.
    pub warm: u32,
    /// Why a launch that was wanted could not be asked for.
    pub problem: Option<String>,
    /// What the provider said last, if it failed.
    pub provider_error: Option<String>,
    /// The last decisions, newest last.
    pub decisions: Vec<DecisionStatus>,
    /// Journal records that could not be written.
    pub journal_failures: u64,
}

/// One instance of the provider.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceStatus {
    /// The provider's name for it.
    pub instance_id: String,
    /// Its member id.
    pub member_id: Option<String>,
    /// `pending`, `running`, `stopping`, `stopped` or `gone`.
    pub state: &'static str,
    /// When it was launched, or started last, milliseconds since the epoch.
    pub launched_wall_ms: u64,
    /// The fixed role that it fills.
    pub role: Option<String>,
    /// What was bought, where the provider tells.
    pub offering: Option<String>,
    /// Its addresses, private ones first.
    pub addrs: Vec<IpAddr>,
    /// The status check that it fails.
    pub impaired: Option<String>,
    /// It failed and is kept for inspection.
    pub kept: bool,
    /// The executor knows it: it launched it or took it in.
    pub known: bool,
    /// The call about it that is open: `terminate`, `start`, …
    pub call: Option<&'static str>,
}

/// What the provider ran out of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShortageStatus {
    /// Market, type and zone; none where the provider has no choice.
    pub offering: Option<Offering>,
    /// Refusals in a row.
    pub refusals: u32,
    /// Not asked for before, milliseconds since the epoch.
    pub until_wall_ms: u64,
}

/// One decision of the scaler.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecisionStatus {
    /// When, milliseconds since the epoch.
    pub wall_ms: u64,
    /// Why.
    pub report: Report,
}

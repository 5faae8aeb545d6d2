//! What the control loop shows the outside: one picture a few times a second, shared by status API, status page and metrics.
//!
//! Readers take the last picture and never reach into the control loop, so that no number of them can slow it down.

use crate::door::TallySum;
use redirector_core::drill::DrillTotals;
use redirector_core::farm::{DecisionStatus, InstanceStatus, ScalerStatus, Status};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

/// Milliseconds between two samples of the history.
pub const SAMPLE_MS: u64 = 1_000;
/// Samples kept: ten minutes.
pub const SAMPLES_MAX: usize = 600;

const ACTS_MAX: usize = 20;

/// The farm at one time, in few numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// When, milliseconds since the epoch.
    pub wall_ms: u64,
    /// Servers that take new sessions.
    pub live: u32,
    /// Servers that drain.
    pub draining: u32,
    /// Launches under way.
    pub pending: u32,
    /// Servers that are silent or forced down.
    pub down: u32,
    /// Live sessions of all servers.
    pub sessions: u32,
    /// Run queues of all servers together.
    pub queue: f64,
    /// Redirects of this door since the sample before.
    pub redirects: u64,
    /// Requests that were told to wait since the sample before.
    pub waits: u64,
}

/// Counters of the shell itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShellCounts {
    /// Reloads that were taken over.
    pub reloads_ok: u64,
    /// Reloads that were refused.
    pub reloads_failed: u64,
    /// When the last one was taken over, milliseconds since the epoch; 0 for none.
    pub reload_wall_ms: u64,
    /// States that could not be written to `state_dir`.
    pub persist_failures: u64,
    /// Journal records that could not be written.
    pub journal_failures: u64,
    /// Provider calls, by [`redirector_core::scale::ProviderCall::label`] and how they ended.
    pub calls: BTreeMap<(&'static str, &'static str), u64>,
}

/// One picture.
#[derive(Clone, Debug)]
pub struct View {
    /// As the control loop tells it.
    pub status: Status,
    /// The front door's counters.
    pub door: TallySum,
    /// Connections open at the front door.
    pub connections: usize,
    /// The shell's counters.
    pub counts: ShellCounts,
    /// The last ten minutes, oldest first.
    pub history: VecDeque<Sample>,
    /// The scaler's last decisions that changed something, newest last.
    pub acts: VecDeque<DecisionStatus>,
}

impl View {
    /// The provider's instances, each with what its server says.
    pub fn farm_json(&self) -> serde_json::Value {
        let row = |instance: &InstanceStatus| {
            let mut row = serde_json::to_value(instance).unwrap_or_default();
            let server =
                self.status.servers.iter().find(|s| instance.member_id.as_ref().is_some_and(|id| s.id.as_str() == id));
            if let (Some(fields), Some(server)) = (row.as_object_mut(), server) {
                fields.insert("standing".into(), server.standing.into());
                fields.insert("sessions".into(), server.sessions.into());
            }
            row
        };
        let instances: Vec<_> = self.status.scaler.instances.iter().map(row).collect();
        serde_json::json!({ "farm": self.status.farm, "instances": instances })
    }

    /// A picture of nothing: what the table of metrics is made from.
    pub fn empty() -> Self {
        let scaler = ScalerStatus {
            enabled: false,
            dry_run: false,
            policy: "sizing",
            min: 0,
            max: 0,
            frozen: None,
            desired: 0,
            sessions_per_server: 0,
            survivable_growth: 0.0,
            usd_month: None,
            usd_h: None,
            live: 0,
            pending: 0,
            draining: 0,
            leaving: 0,
            boot_ms_p95: 0,
            boots: 0,
            boot_ms_prior: 0,
            boot_ms_delay: None,
            instances: Vec::new(),
            shortages: Vec::new(),
            intents: BTreeMap::new(),
            calls_per_s: 0.0,
            retries: 0.0,
            unknown: 0,
            kept: 0,
            boot_ms_deadline: 0,
            warm: 0,
            problem: None,
            provider_error: None,
            decisions: Vec::new(),
            journal_failures: 0,
        };
        let status = Status {
            id: String::new(),
            farm: String::new(),
            wall_ms: 0,
            up_ms: 0,
            generation: 0,
            policy: "weighted",
            doors: 1,
            queue_per_session: 0.0,
            servers: Vec::new(),
            scaler,
            drills: Vec::new(),
            drill_totals: DrillTotals::default(),
            alarms: Vec::new(),
            notices: Vec::new(),
        };
        Self {
            status,
            door: TallySum::default(),
            connections: 0,
            counts: ShellCounts::default(),
            history: VecDeque::new(),
            acts: VecDeque::new(),
        }
    }

    /// The document of `GET /v1/status`.
    pub fn json(&self) -> serde_json::Value {
        let mut document = serde_json::to_value(&self.status).unwrap_or_default();
        if let Some(fields) = document.as_object_mut() {
            let [get_new, get_back, other_new, other_back] = self.door.redirects;
            let door = serde_json::json!({
                "redirects_new": get_new + other_new,
                "redirects_returning": get_back + other_back,
                "rejects": self.door.rejects.iter().sum::<u64>(),
                "waits": self.door.waits,
                "connections": self.connections,
            });
            fields.insert("door".into(), door);
        }
        document
    }
}

/// The samples of the last ten minutes, and the decisions that changed something.
#[derive(Clone, Debug, Default)]
pub struct History {
    samples: VecDeque<Sample>,
    acts: VecDeque<DecisionStatus>,
    last: TallySum,
}

impl History {
    /// Adds one sample if it is time for one.
    pub fn add(&mut self, status: &Status, door: TallySum) {
        let since = self.acts.back().map_or(0, |act| act.wall_ms);
        let acts = status.scaler.decisions.iter().filter(|d| d.wall_ms > since && d.report.action != "nothing");
        for act in acts {
            if self.acts.len() >= ACTS_MAX {
                self.acts.pop_front();
            }
            self.acts.push_back(act.clone());
        }
        let due = self.samples.back().is_none_or(|last| status.wall_ms.abs_diff(last.wall_ms) >= SAMPLE_MS);
        if !due {
            return;
        }
        if self.samples.len() >= SAMPLES_MAX {
            self.samples.pop_front();
        }
        let standing = |labels: &[&str]| status.servers.iter().filter(|s| labels.contains(&s.standing)).count() as u32;
        let redirects = |sum: &TallySum| sum.redirects.iter().sum::<u64>();
        self.samples.push_back(Sample {
            wall_ms: status.wall_ms,
            live: standing(&["in_service", "unknown"]),
            draining: standing(&["draining"]),
            pending: status.scaler.pending,
            down: standing(&["silent", "admin_down"]),
            sessions: status.servers.iter().map(|s| s.sessions).fold(0, u32::saturating_add),
            queue: status.servers.iter().map(|s| s.queue).sum(),
            redirects: redirects(&door).saturating_sub(redirects(&self.last)),
            waits: door.waits.saturating_sub(self.last.waits),
        });
        self.last = door;
    }

    /// A copy of the decisions that changed something.
    pub fn acts(&self) -> VecDeque<DecisionStatus> {
        self.acts.clone()
    }

    /// A copy for a picture.
    pub fn samples(&self) -> VecDeque<Sample> {
        self.samples.clone()
    }
}

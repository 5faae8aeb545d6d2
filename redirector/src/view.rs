//! What the control loop shows the outside: one picture a few times a second, shared by status API, status page and metrics.
//!
//! Readers take the last picture and never reach into the control loop, so that no number of them can slow it down.

use crate::access_log::AccessCounts;
use crate::acme::OUTCOMES;
use crate::door::{Limits, TallySum};
use crate::history::{Events, Ranges};
use redirector_core::acme;
use redirector_core::drill::DrillTotals;
use redirector_core::farm::{DecisionStatus, InstanceStatus, ScalerStatus, Status};
use redirector_core::room::RoomStatus;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

const ACTS_MAX: usize = 20;

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

/// Certificates that are ordered and renewed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcmeView {
    /// How each stands.
    pub statuses: Arc<Vec<acme::Status>>,
    /// Attempts so far, in the order of [`OUTCOMES`].
    pub outcomes: [u64; OUTCOMES.len()],
}

/// A certificate in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateView {
    /// The names that it is for.
    pub names: Vec<String>,
    /// When it ends, milliseconds since the epoch.
    pub not_after_wall_ms: u64,
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
    /// What a connection may take.
    pub limits: Arc<Limits>,
    /// The certificates of HTTPS.
    pub certificates_in_force: Vec<CertificateView>,
    /// What became of lines of the access log.
    pub access_log: AccessCounts,
    /// The shell's counters.
    pub counts: ShellCounts,
    /// The farm over time.
    pub ranges: Ranges,
    /// What happened.
    pub events: Events,
    /// The scaler's last decisions that changed something.
    pub acts: Acts,
    /// The names of all farms of this door.
    pub farms: Arc<[String]>,
    /// Certificates that are ordered and renewed.
    pub certificates: AcmeView,
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
            room: RoomStatus::default(),
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
            limits: Arc::default(),
            certificates_in_force: Vec::new(),
            access_log: AccessCounts::default(),
            counts: ShellCounts::default(),
            ranges: Ranges::default(),
            events: Events::default(),
            acts: Acts::default(),
            farms: Arc::from([]),
            certificates: AcmeView::default(),
        }
    }

    /// The document of `GET /v1/status`.
    pub fn json(&self) -> serde_json::Value {
        let mut document = serde_json::to_value(&self.status).unwrap_or_default();
        if let Some(fields) = document.as_object_mut() {
            let (new, returning) = self.door.sessions();
            let door = serde_json::json!({
                "redirects_new": new,
                "redirects_returning": returning,
                "rejects": self.door.rejects.iter().sum::<u64>(),
                "waits": self.door.waits,
                "connections": self.connections,
                "connections_max": self.limits.connections_max,
            });
            fields.insert("door".into(), door);
            fields.insert("certificates".into(), serde_json::to_value(&*self.certificates.statuses).unwrap_or_default());
            fields.insert(
                "certificates_in_force".into(),
                serde_json::to_value(&self.certificates_in_force).unwrap_or_default(),
            );
        }
        document
    }
}

/// The scaler's last decisions that changed something.
#[derive(Clone, Debug, Default)]
pub struct Acts(Arc<VecDeque<DecisionStatus>>);

impl Acts {
    /// Takes over those that are new.
    pub fn add(&mut self, status: &Status) {
        let since = self.0.back().map_or(0, |act| act.wall_ms);
        let acts = status.scaler.decisions.iter().filter(|d| d.wall_ms > since && d.report.action != "nothing");
        for act in acts {
            let kept = Arc::make_mut(&mut self.0);
            if kept.len() >= ACTS_MAX {
                kept.pop_front();
            }
            kept.push_back(act.clone());
        }
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &DecisionStatus> {
        self.0.iter()
    }
}

//! This front door as a member of the farm's pool of doors: heartbeats to every dnslb, sent by the agent's library.
//!
//! It must never speak for a door that is not open: the sender starts when the sockets listen, and says goodbye when they close.

use crate::view::View;
use farm_agent::{AsyncLoadSource, Front, LoadError, OnLoadFailure, Profile, Reading, Settings};
use farm_shared::heartbeat::{FarmKey, Load, Role};
use redirector_core::config::Spec;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// A load older than this many milliseconds means that the control loop hangs.
const LOAD_STALE_MS: u64 = 5_000;

/// The control loop shows a picture twice a second; so many readings of the same one mean that it hangs.
const SAME_MAX: u32 = 20;

/// What the sender needs; none if no front end is configured. `door` is the first address that was bound.
pub fn settings(spec: &Spec, key: &FarmKey, door: SocketAddr, state_dir: &Path) -> Result<Option<Settings>, String> {
    let announce = &spec.announce;
    if announce.fronts.is_empty() {
        return Ok(None);
    }
    let fronts = announce.fronts.iter().map(|front| front.parse::<Front>()).collect::<Result<Vec<_>, _>>()?;
    let id = announce.id.clone().unwrap_or_else(|| spec.id.clone());
    let addrs: Vec<IpAddr> = match (announce.addresses.is_empty(), door.ip().is_unspecified()) {
        (true, false) => vec![door.ip()],
        _ => announce.addresses.clone(),
    };
    Ok(Some(Settings {
        profile: Profile {
            drill_allow: Vec::new(),
            farm: spec.farm.clone(),
            id: id.clone(),
            role: Role::Door,
            zone: None,
            addrs,
            port: if announce.port == 0 { door.port() } else { announce.port },
            period_ms: announce.period_ms,
            load_stale_ms: LOAD_STALE_MS,
            on_load_failure: OnLoadFailure::Silent,
        },
        key: key.member(&spec.farm, &id),
        fronts,
        bind: None,
        state_file: Some(state_dir.join("announce.json")),
        drain_file: None,
        imds: None,
    }))
}

/// The load of a door: its connections, as the control loop last showed them.
pub struct DoorLoad {
    views: watch::Receiver<Arc<View>>,
    cores: f64,
    same: u32,
}

impl DoorLoad {
    /// The load that `views` shows.
    pub fn new(views: watch::Receiver<Arc<View>>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { views, cores: cores as f64, same: 0 }
    }
}

impl AsyncLoadSource for DoorLoad {
    async fn read(&mut self) -> Result<Reading, LoadError> {
        let changed = self.views.has_changed().map_err(|_| LoadError("the redirector is stopping".to_owned()))?;
        self.same = if changed { 0 } else { self.same.saturating_add(1) };
        if self.same > SAME_MAX {
            return Err(LoadError("the control loop shows nothing new".to_owned()));
        }
        let view = self.views.borrow_and_update();
        let arrivals = view.door.redirects.iter().sum();
        let load = Load {
            cores: self.cores,
            sessions: u32::try_from(view.connections).unwrap_or(u32::MAX),
            arrivals,
            completions: arrivals.saturating_sub(view.connections as u64),
            ..Load::default()
        };
        Ok(Reading { load, draining: false })
    }
}

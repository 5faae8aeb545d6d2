//! `dnslb serve`: everything is read, bound and published before the first question is answered, and stopped in the reverse order.

use arc_swap::ArcSwap;
use dnslb_core::control::{Control, Effect, Saved};
use dnslb_core::rrl::Table;
use farm_daemon::admin::{Admin, AdminListener, Ready};
use farm_daemon::clock::{Clock, draws_from_os};
use farm_daemon::limits::raise_open_files;
use farm_daemon::listen::{self, Announcer};
use farm_daemon::receiver::{Receiver, ReceiverOptions};
use farm_daemon::settings;
use farm_daemon::signals::Signals;
use farm_daemon::state_dir::StateDir;
use farm_daemon::systemd::Notifier;
use farm_shared::config::Problem;
use farm_shared::heartbeat::Kind;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::{mpsc, watch};

use crate::admin;
use crate::answering::Answering;
use crate::checks::{self, Checker};
use crate::encrypted;
use crate::load::{Loaded, load};
use crate::meters::Meters;
use crate::metrics::Metrics;
use crate::persist::{self, Persister};
use crate::query_log::QueryLog;
use crate::requests::{Lane, Rules};
use crate::shares::Shares;
use crate::shell::{Parts, Shell, live};
use crate::store::{self, Keeper};
use crate::tally::Tallies;
use crate::tcp_clients::Clients;
use crate::transfers::{self, Followed};
use crate::transports::{Bound, Shared};
use crate::viewpoints;
use farm_daemon::certificates::Certificates;

/// Heartbeats that may wait for the control loop: two for each of 2,000 members.
const HEARTBEATS_MAX: usize = 4_096;
/// Connections with heartbeats over HTTP.
const HEARTBEAT_CONNECTIONS_MAX: usize = 1_024;
/// Open files beside connections and checks: listeners, workers' sockets, the admin interface's connections, the state.
const OTHER_FILES: usize = 512;
/// Check outcomes that may wait.
const OUTCOMES_MAX: usize = 1_024;
/// Reports of other viewpoints that may wait.
const VIEWPOINTS_MAX: usize = 32;
/// Requests of operators that may wait.
const ASKS_MAX: usize = 64;

/// Panics that are written to standard error.
const PANICS_SHOWN_MAX: u64 = 16;

/// Why the daemon does not serve.
#[derive(Debug)]
pub enum ServeError {
    /// The configuration is refused.
    Config(Vec<Problem>),
    /// Something that it needs cannot be had.
    Unavailable(String),
}

impl ServeError {
    fn of(what: &str, error: impl fmt::Display) -> Self {
        Self::Unavailable(format!("{what}: {error}"))
    }
}

/// Serves until SIGTERM or SIGINT. Runs on a multi-threaded tokio runtime.
pub async fn serve(config: PathBuf, ports_file: Option<PathBuf>) -> Result<(), ServeError> {
    let loaded = load(&config).map_err(ServeError::Config)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let Loaded { spec, zones, keyring, tls, pair, token_path, state_dir, .. } = loaded;
    bound_panic_output();
    let encrypted_max = if spec.server.encrypted.is_wanted() { spec.server.encrypted.connections_max } else { 0 };
    raise_open_files(
        (spec.server.tcp_connections_max
            + encrypted_max
            + HEARTBEAT_CONNECTIONS_MAX
            + checks::RUNNING_MAX
            + viewpoints::CONNECTIONS_MAX
            + OTHER_FILES) as u64,
    );
    let clock = Clock::start();
    let draws = draws_from_os().map_err(|e| ServeError::of("random seed", e))?;
    let signals = Signals::new().map_err(|e| ServeError::of("signals", e))?;
    let state_dir = state_dir.map(|path| open_state(&path)).transpose()?;
    let saved = state_dir.as_deref().map(saved).transpose()?.unwrap_or_default();

    // All listeners first: a daemon that cannot have its second address must not answer on its first.
    let mut announcer = Announcer::new(ports_file);
    let bound = Bound::bind(&spec.server).map_err(|e| ServeError::of("dns", e))?;
    for (name, n, addr) in bound.local_addrs() {
        announcer.add_nth(name, n, addr);
    }
    let mut heartbeat_udp = Vec::new();
    for (n, addr) in spec.heartbeat.udp.iter().enumerate() {
        let socket = listen::udp(*addr).map_err(|e| ServeError::of("heartbeat", e))?;
        announcer.add_nth("heartbeat_udp", n, socket.local_addr().unwrap_or(*addr));
        heartbeat_udp.push(socket);
    }
    let mut heartbeat_http = Vec::new();
    for (n, addr) in spec.heartbeat.http.iter().enumerate() {
        let listener = listen::tcp(*addr).map_err(|e| ServeError::of("heartbeat", e))?;
        announcer.add_nth("heartbeat_http", n, listener.local_addr().unwrap_or(*addr));
        heartbeat_http.push(listener);
    }
    let mut viewpoint_listeners = Vec::new();
    for (n, addr) in spec.viewpoints.listen.iter().enumerate() {
        let listener = listen::tcp(*addr).map_err(|e| ServeError::of("viewpoints", e))?;
        announcer.add_nth("viewpoints", n, listener.local_addr().unwrap_or(*addr));
        viewpoint_listeners.push(listener);
    }
    let admin_listener = spec.admin.listen.as_ref().map(AdminListener::bind).transpose();
    let admin_listener = admin_listener.map_err(|e| ServeError::of("admin", e))?;
    if let Some(listener) = &admin_listener {
        announcer.add("admin", listener.addr());
    }

    let token = token_path.map(|path| {
        let token = settings::token(&path, draws.child("admin token", 0));
        token.map_err(|e| ServeError::of(&path.display().to_string(), e))
    });
    let token = token.transpose()?;
    let keyring = Arc::new(ArcSwap::from_pointee(keyring));
    let options = ReceiverOptions {
        id: spec.server.id.clone(),
        kind: Kind::Dnslb,
        keyring: Arc::clone(&keyring),
        clock,
        queue_max: HEARTBEATS_MAX,
        connections_max: HEARTBEAT_CONNECTIONS_MAX,
    };
    let receiver = Receiver::start(options, heartbeat_udp, heartbeat_http).map_err(|e| ServeError::of("heartbeat", e))?;
    let (outcomes_sender, outcomes) = mpsc::channel(OUTCOMES_MAX);
    let (ask, asks) = mpsc::channel(ASKS_MAX);
    let checker = Checker::new(outcomes_sender);
    let meters = Arc::new(Meters::default());
    meters.configured(clock.now().wall);
    let shares = Arc::new(Shares::new(bound.tallies()));
    let tallies = Tallies::new(bound.tallies());
    let clients = Arc::new(Clients::default());
    let encrypted = encrypted::Counters::default();
    let certificates = pair.map(|pair| Arc::new(Certificates::new(pair)));
    let log = QueryLog::start(u64::from(spec.server.query_log_sample)).map_err(|e| ServeError::of("query log", e))?;

    let (served, served_now) = watch::channel(0);
    let parts = store::Parts {
        config: config.clone(),
        state_dir: state_dir.as_ref().map(|dir| dir.path().into()),
        clock,
        served: served_now,
    };
    let (keeper_spec, files) = (Arc::clone(&spec), Arc::clone(&zones));
    // Zones that were updated come back from their journals.
    let keeper = tokio::task::block_in_place(|| Keeper::start(parts, keeper_spec, files));
    let keeper = keeper.map_err(|problems| ServeError::Unavailable(problems.join("\n")))?;
    let (number, zones) = keeper.zones();

    let mut control = Control::new(Arc::clone(&spec), zones, saved, clock.now(), draws.child("control", 0));
    let mut first = None;
    let mut later = Vec::new();
    for effect in control.flush(clock.now()) {
        match effect {
            Effect::Publish(snapshot) => first = Some(snapshot),
            effect => later.push(effect),
        }
    }
    let first = first.ok_or_else(|| ServeError::Unavailable("the control loop published nothing at its start".into()))?;
    let published = Arc::new(ArcSwap::from_pointee(live(&shares, &control, first, None)));
    meters.published();
    served.send_replace(number);

    let sent = spec.service.rrl.as_ref().map(|rrl| Arc::new(Table::new(rrl.table_entries)));
    let answering =
        Answering { published: Arc::clone(&published), clock, tallies: tallies.clone(), log: log.clone(), draws, sent };
    let lane = Lane::start(&answering, bound.tallies() - 1, Rules::of(&spec), Some(keeper.updates()));
    let followed = Followed { spec: Arc::clone(&spec), zones: Arc::clone(&published.load().snapshot.zones) };
    let (followed, follower) = watch::channel(followed);
    let transfers = Arc::<transfers::Counters>::default();
    transfers::start(transfers::Parts {
        followed: follower,
        keeper: keeper.clone(),
        lane: lane.clone(),
        clock,
        draws: answering.draws.child("transfers", 0),
        config: config.clone(),
        counters: Arc::clone(&transfers),
    });

    let (heard_sender, heard) = mpsc::channel(VIEWPOINTS_MAX);
    let (report, report_now) = watch::channel(Arc::default());
    let viewpoints = Arc::<viewpoints::Counters>::default();
    let parts = viewpoints::Parts {
        followed: followed.subscribe(),
        report: report_now,
        heard: heard_sender,
        clock,
        counters: Arc::clone(&viewpoints),
    };
    viewpoints::start(parts, viewpoint_listeners).map_err(|e| ServeError::of("viewpoints", e))?;

    let metrics = Metrics {
        tallies,
        shares: Arc::clone(&shares),
        clients: Arc::clone(&clients),
        encrypted: encrypted.clone(),
        certificates: certificates.clone(),
        checker: checker.clone(),
        meters: Arc::clone(&meters),
        refusals: Arc::clone(&receiver.refusals),
        state_dir: state_dir.clone(),
        log,
        requests: Arc::clone(lane.counters()),
        store: Arc::clone(keeper.counters()),
        transfers,
        viewpoints,
        signed: Arc::clone(keeper.signed()),
        ask: ask.clone(),
    };
    let notifier = Notifier::from_env();
    let shell = Shell::new(
        Parts {
            control,
            clock,
            published,
            lane: lane.clone(),
            followed,
            shares,
            checker,
            outcomes,
            tls,
            certificates: certificates.clone(),
            receiver,
            keyring,
            persister: state_dir.map(Persister::start),
            asks,
            heard,
            report,
            signals,
            config,
            meters,
            notifier,
            keeper: keeper.clone(),
            zones: keeper.changes(),
            served,
        },
        later,
    );
    let shared = Shared {
        answering: &answering,
        lane: &lane,
        clients: &clients,
        certificates: certificates.as_ref(),
        encrypted: &encrypted,
    };
    let transports = bound.start(&spec.server, &shared).map_err(|e| ServeError::of("dns", e))?;
    let ready = Ready::default();
    let metrics = Arc::new(metrics);
    let admin_task = admin_listener.map(|listener| {
        let admin = Admin {
            router: admin::router(ask, keeper),
            token,
            ready: ready.clone(),
            metrics: Arc::new(move || metrics.text()),
        };
        tokio::spawn(listener.serve(admin))
    });
    announcer.publish().map_err(|e| ServeError::of("ports file", e))?;
    ready.set(true);
    shell.run().await;
    ready.set(false);
    transports.stop().await;
    if let Some(task) = admin_task {
        task.abort();
    }
    tracing::info!("stopped");
    Ok(())
}

/// A defect that a stranger's question can reach must not fill the disk: the first panics are shown whole, later ones are counted by
/// whoever catches them.
fn bound_panic_output() {
    static SHOWN: AtomicU64 = AtomicU64::new(0);
    let show = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if SHOWN.fetch_add(1, Relaxed) < PANICS_SHOWN_MAX {
            show(info);
        }
    }));
}

fn open_state(path: &Path) -> Result<Arc<StateDir>, ServeError> {
    StateDir::open(path).map(Arc::new).map_err(|e| ServeError::of(&path.display().to_string(), e))
}

/// What was saved before. A state that cannot be read is an error: starting without it would undo what operators said.
fn saved(dir: &StateDir) -> Result<Saved, ServeError> {
    let text = dir.read(persist::FILE, persist::OCTETS_MAX).map_err(|e| e.to_string());
    let saved = text.and_then(|text| text.map(|text| Saved::from_json(&text)).transpose());
    let file = dir.path().join(persist::FILE);
    saved.map(Option::unwrap_or_default).map_err(|e| {
        ServeError::Unavailable(format!("{}: {e} (move the file away to start without what it remembers)", file.display()))
    })
}

//! `redirector serve`: puts the parts together, in an order in which nothing is promised before it holds.
//!
//! State directory and ports first (another redirector must stop us before we touch anything), then state, provider and front
//! door, and only then heartbeats and readiness.

use crate::access_log::AccessLog;
use crate::acme::{Acme, Surroundings};
use crate::admin::Admin as Routes;
use crate::announce::{self, DoorLoad};
use crate::door::{ALPN, Door, Limits, Listening, Workers};
use crate::farms::{self, Opened, Shown};
use crate::lead::{Lead, Other};
use crate::load::{self, Loaded};
use crate::metrics;
use crate::shell::Ask;
use arc_swap::ArcSwap;
use farm_daemon::admin::{Admin, AdminListener, Ready, Token};
use farm_daemon::certificates::Certificates;
use farm_daemon::clock::{Clock, draws_from_os};
use farm_daemon::limits::raise_open_files;
use farm_daemon::listen::{self, Announcer};
use farm_daemon::receiver::{Receiver, ReceiverOptions};
use farm_daemon::settings;
use farm_daemon::signals::{Signal, Signals};
use farm_daemon::systemd::Notifier;
use farm_shared::draw::Draws;
use farm_shared::heartbeat::{Keyring, Kind};
use redirector_core::config::Spec;
use redirector_core::door::{Front, Rules};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

const QUEUE_MAX: usize = 4096;
const ASKS_MAX: usize = 64;
const HEARTBEAT_CONNECTIONS_MAX: usize = 1024;
/// Open files beside those connections: listeners, the admin interface's connections, backends' logs, the journal.
const OTHER_FILES: usize = 512;
const STOP_MS_MAX: u64 = 8_000;
const RUNTIME_THREADS: usize = 2;
const GOODBYE_TIME_MAX: Duration = Duration::from_secs(2);

/// The command line of `serve`.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Where to write which addresses were bound.
    pub ports_file: Option<PathBuf>,
    /// Plans are made, and nothing is done about them.
    pub dry_run: bool,
}

/// Why the redirector does not run.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is refused.
    Config(load::Refused),
    /// Something outside is not as it must be.
    Unavailable(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(refused) => refused.fmt(f),
            Self::Unavailable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Failure {}

pub(crate) fn unavailable(what: &str) -> impl Fn(&dyn fmt::Display) -> Failure {
    let what = what.to_owned();
    move |why| Failure::Unavailable(format!("{what}: {why}"))
}

/// Runs the redirector until it is told to stop.
pub fn run(options: &Options) -> Result<(), Failure> {
    let loaded = load::load(&options.config, options.dry_run).map_err(Failure::Config)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .map_err(|e| unavailable("the runtime")(&e))?;
    let outcome = runtime.block_on(serve(options, loaded));
    // A blocked disk must not keep a stopped daemon alive.
    runtime.shutdown_timeout(Duration::from_millis(STOP_MS_MAX / 8));
    outcome
}

async fn serve(options: &Options, loaded: Loaded) -> Result<(), Failure> {
    let Loaded { farm, others, pairs, .. } = loaded;
    let spec = Arc::clone(&farm.spec);
    let mut keyring = Keyring::default();
    for farm in std::iter::once(&farm).chain(&others) {
        load::trust(&mut keyring, &farm.spec, &farm.keys);
    }
    raise_open_files((spec.door.connections_max + HEARTBEAT_CONNECTIONS_MAX + OTHER_FILES) as u64);
    let mut signals = Signals::new().map_err(|e| unavailable("signals")(&e))?;
    let clock = Clock::start();
    let draws = draws_from_os().map_err(|e| unavailable("randomness")(&e))?;
    // The state directory comes before the ports: another redirector must stop us before we touch anything.
    let first = Opened::open(farm, 0, &draws, clock)?;
    let mut announcer = Announcer::new(options.ports_file.clone());
    let encrypted = !spec.listeners.tls.is_empty() || !spec.listeners.http3.is_empty();
    let held = Arc::new(Certificates::of(pairs));
    let certificates = encrypted.then(|| Arc::clone(&held));
    let sockets = Sockets::bind(&spec, certificates.as_deref(), &mut announcer)?;
    let others = others.into_iter().zip(1..).map(|(farm, place)| Opened::open(farm, place, &draws, clock));
    let others = others.collect::<Result<Vec<_>, _>>()?;
    let snapshots = std::iter::once(&first).chain(&others).map(|farm| Arc::clone(&farm.first));
    let workers = sockets.door.len();
    let door = Door::new(
        Front::new(Arc::new(Rules::new(&spec)), snapshots),
        Limits::from(&*spec),
        workers,
        clock,
        draws.child("sources", 0),
    )
    .with_http3(sockets.http3_port);
    let access_log = AccessLog::start(&spec.access_log, workers).map_err(|e| unavailable("the access log")(&e))?;
    let door = Arc::new(door.with_access_log(access_log.as_ref().map(|writer| Arc::clone(writer.log()))));
    let threads = Workers::start(&door, sockets.door, &draws).map_err(|e| unavailable("threads of the front door")(&e))?;
    let keyring = Arc::new(ArcSwap::from_pointee(keyring));
    let receiver_options = ReceiverOptions {
        id: spec.id.clone(),
        kind: Kind::Redirector,
        keyring: Arc::clone(&keyring),
        clock,
        queue_max: QUEUE_MAX,
        connections_max: HEARTBEAT_CONNECTIONS_MAX,
    };
    let mut receiver = Receiver::start(receiver_options, sockets.udp, sockets.http)
        .map_err(|e| unavailable("the heartbeat receiver")(&e))?;
    let notifier = Arc::new(Notifier::from_env());
    let surroundings = Surroundings {
        state_dir: Arc::clone(&first.state_dir),
        door: Arc::clone(&door),
        certificates: held,
        clock,
        farm: spec.farm.clone(),
        keyring: Arc::clone(&keyring),
        agents: sockets.agents,
    };
    let acme = Acme::start(spec.acme.clone(), surroundings, draws.child("acme", 0));
    let (stop, stopped) = watch::channel(false);
    let names: Arc<[String]> = spec.farm_names().into_iter().map(str::to_owned).collect();
    let mut tasks = JoinSet::new();
    let mut keepers = JoinSet::new();
    let mut queues = BTreeMap::new();
    let mut shown = Vec::new();
    let mut told = Vec::new();
    for farm in others {
        let (queue, heartbeats) = mpsc::channel(QUEUE_MAX);
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let (name, spec) = (farm.spec.farm.clone(), Arc::clone(&farm.spec));
        let (provider, state_dir) = (farm.provider.clone(), farm.state_dir.path().to_owned());
        let (shell, views) = farm.shell(&door, &names, clock, None);
        queues.insert(name.clone(), queue);
        told.push(Other { asks: asks.clone(), spec });
        shown.push(Shown { name, views, asks, state_dir, provider: provider.clone() });
        keepers.spawn(async move { provider.keep().await });
        tasks.spawn(shell.run(heartbeats, asked, stopped.clone()));
    }
    let lead = Lead {
        keyring,
        config_file: options.config.clone(),
        dry_run: options.dry_run,
        acme,
        certificates: certificates.clone(),
        notifier: Arc::clone(&notifier),
        others: told,
    };
    let (provider, state_dir) = (first.provider.clone(), Arc::clone(&first.state_dir));
    let door_key = first.key.clone();
    let (shell, views) = first.shell(&door, &names, clock, Some(lead));
    let (asks, asked) = mpsc::channel(ASKS_MAX);
    let first = Shown {
        name: spec.farm.clone(),
        views: views.clone(),
        asks: asks.clone(),
        state_dir: state_dir.path().to_owned(),
        provider: provider.clone(),
    };
    shown.insert(0, first);
    let ready = Ready::default();
    if let Some(listener) = sockets.admin {
        let refusals = Arc::clone(&receiver.refusals);
        let token = spec.admin.token_file.as_deref().map(|file| admin_token(file, &draws)).transpose()?;
        let router = Routes::of_farms(&shown);
        let metrics = Arc::new(move || metrics::of_farms(&shown, &door.tally(), &refusals).finish());
        tokio::spawn(listener.serve(Admin { router, token, ready: ready.clone(), metrics }));
    }
    if let Some(certificates) = certificates {
        tokio::spawn(certificates.watch(clock));
    }
    keepers.spawn(async move { provider.keep().await });
    let announcing = announce::settings(&spec, &door_key, sockets.door_addr, state_dir.path())
        .map_err(|e| unavailable("announce")(&e))?;
    let (goodbye, leave) = oneshot::channel::<()>();
    let announcing = announcing.map(|settings| {
        let stop = async {
            let _ = leave.await;
        };
        tokio::spawn(farm_agent::run(settings, DoorLoad::new(views.clone()), stop))
    });
    announcer.publish().map_err(|e| unavailable("the ports file")(&e))?;
    ready.set(true);
    notifier.ready();
    tracing::info!(id = %spec.id, farm = %spec.farm, workers, "the front door is open");
    let (_, empty) = mpsc::channel(1);
    let mut queue = std::mem::replace(&mut receiver.queue, empty);
    if !queues.is_empty() {
        let (mine, heartbeats) = mpsc::channel(QUEUE_MAX);
        queues.insert(spec.farm.clone(), mine);
        tokio::spawn(farms::sort(std::mem::replace(&mut queue, heartbeats), queues, Arc::clone(&receiver.refusals)));
    }
    tasks.spawn(shell.run(queue, asked, stopped));
    let mut broken = Ok(());
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Stop => break,
                Signal::Reload => drop(asks.send(Ask::Reload(oneshot::channel().0)).await),
            },
            // A control loop ends only when it is told to; one that panicked must not leave a door that nobody steers.
            _ = tasks.join_next() => {
                broken = Err(Failure::Unavailable("a control loop ended by itself: see the log".to_owned()));
                break;
            }
        }
    }
    let _ = stop.send(true);
    while tasks.join_next().await.is_some() {}
    ready.set(false);
    // Whoever asks a name server should hear of our end before the door closes.
    let _ = goodbye.send(());
    if let Some(task) = announcing {
        let _ = tokio::time::timeout(GOODBYE_TIME_MAX, task).await;
    }
    receiver.close();
    keepers.abort_all();
    let _ = tokio::task::spawn_blocking(move || threads.stop()).await;
    // After the last request: whoever wrote it has ended.
    drop(access_log);
    tracing::info!("stopped; instances go on running");
    broken
}

/// Everything that is bound, before anything is served.
struct Sockets {
    /// One set for each worker.
    door: Vec<Vec<Listening>>,
    door_addr: SocketAddr,
    http3_port: Option<u16>,
    udp: Vec<std::net::UdpSocket>,
    http: Vec<std::net::TcpListener>,
    admin: Option<AdminListener>,
    /// Where backends fetch certificates from.
    agents: Vec<std::net::TcpListener>,
}

impl Sockets {
    fn bind(spec: &Spec, certificates: Option<&Certificates>, announcer: &mut Announcer) -> Result<Self, Failure> {
        let failed = |e: listen::ListenError| Failure::Unavailable(e.to_string());
        let local = |e: std::io::Error| Failure::Unavailable(e.to_string());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = if spec.workers == 0 { cores } else { spec.workers };
        let mut door: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        // One for all: a ticket that one worker gave is good at every other.
        let tls = certificates.map(|certificates| certificates.server_config(&ALPN, false)).transpose();
        let tls = tls.map_err(Failure::Unavailable)?.map(|config| TlsAcceptor::from(Arc::new(config)));
        let plain = spec.listen.iter().enumerate().map(|(n, addr)| ("door", n, addr, None));
        let encrypted = spec.listeners.tls.iter().enumerate().map(|(n, addr)| ("door_tls", n, addr, tls.clone()));
        let mut door_addr = None;
        for (name, n, addr, tls) in plain.chain(encrypted) {
            let sockets = listen::tcp_workers(*addr, workers).map_err(failed)?;
            let bound = sockets.first().map(std::net::TcpListener::local_addr).transpose().map_err(local)?.unwrap_or(*addr);
            for (worker, socket) in door.iter_mut().zip(sockets) {
                worker.push(Listening::Tcp(socket, tls.clone()));
            }
            announcer.add_nth(name, n, bound);
            door_addr.get_or_insert(bound);
        }
        let http3_port = bind_http3(spec, certificates, announcer, &mut door)?;
        let door_addr = door_addr.ok_or_else(|| Failure::Unavailable("server.listen names no address".to_owned()))?;
        let mut udp = Vec::new();
        for (n, addr) in spec.heartbeat.udp.iter().enumerate() {
            let socket = listen::udp(*addr).map_err(failed)?;
            announcer.add_nth("heartbeat_udp", n, socket.local_addr().map_err(local)?);
            udp.push(socket);
        }
        let mut http = Vec::new();
        for (n, addr) in spec.heartbeat.http.iter().enumerate() {
            let listener = listen::tcp(*addr).map_err(failed)?;
            announcer.add_nth("heartbeat_http", n, listener.local_addr().map_err(local)?);
            http.push(listener);
        }
        let mut agents = Vec::new();
        for (n, addr) in spec.acme.listen_agents.iter().enumerate() {
            let listener = listen::tcp(*addr).map_err(failed)?;
            announcer.add_nth("agents", n, listener.local_addr().map_err(local)?);
            agents.push(listener);
        }
        let mut admin = None;
        if let Some(addr) = &spec.admin.listen {
            let listener = AdminListener::bind(addr).map_err(failed)?;
            announcer.add("admin", listener.addr());
            admin = Some(listener);
        }
        Ok(Self { door, door_addr, http3_port, udp, http, admin, agents })
    }
}

/// Sockets for HTTP/3, all for the first worker; the port of the first.
#[cfg(feature = "http3")]
fn bind_http3(
    spec: &Spec,
    certificates: Option<&Certificates>,
    announcer: &mut Announcer,
    door: &mut [Vec<Listening>],
) -> Result<Option<u16>, Failure> {
    let (Some(certificates), Some(worker)) = (certificates, door.first_mut()) else { return Ok(None) };
    let mut port = None;
    for (n, addr) in spec.listeners.http3.iter().enumerate() {
        let socket = listen::udp(*addr).map_err(|e| Failure::Unavailable(e.to_string()))?;
        let bound = socket.local_addr().map_err(|e| Failure::Unavailable(e.to_string()))?;
        let config = certificates.server_config(&crate::door::ALPN_HTTP3, true).map_err(Failure::Unavailable)?;
        worker.push(Listening::Quic(socket, Box::new(config)));
        announcer.add_nth("door_http3", n, bound);
        port.get_or_insert(bound.port());
    }
    Ok(port)
}

/// Without the feature a configuration that names such an address is refused before.
#[cfg(not(feature = "http3"))]
#[allow(clippy::unnecessary_wraps, reason = "with the feature it can fail")]
fn bind_http3(
    _: &Spec,
    _: Option<&Certificates>,
    _: &mut Announcer,
    _: &mut [Vec<Listening>],
) -> Result<Option<u16>, Failure> {
    Ok(None)
}

/// The token of a loopback admin listener: without one it would be open to every local user.
fn admin_token(file: &str, draws: &Draws) -> Result<Token, Failure> {
    settings::token(Path::new(file), draws.child("admin token", 0)).map_err(|e| Failure::Unavailable(format!("{file}: {e}")))
}

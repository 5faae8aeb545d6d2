//! Instances that are local processes: a farm on one machine, for the demo, for tests, and to try a policy before it costs money.
//!
//! It behaves like a cloud where that matters: launching takes time, a repeated launch with the same token is the same launch, what
//! was launched is found again after a restart, and what died is gone. It must never start an instance twice, and never signal a
//! process that it cannot identify.

use super::identity::{self, Identity};
use super::record::{Phase, Record, Shelf};
use super::{ErrorKind, Instance, InstanceState, LaunchRequest, Provider, ProviderError, error};
use farm_shared::draw::Draws;
use farm_shared::heartbeat::FarmKey;
use farm_shared::id::Id;
use farm_shared::time::Wall;
use redirector_core::config::ProcessSpec;
use redirector_core::drill::Fault;
use redirector_core::scale::ProviderCall;
use rustix::process::Signal;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod power;

const LOOK_MS: u64 = 100;
const STOP_LOOK_MS: u64 = 20;
const STOP_MS_MAX: u64 = 3_000;
const KILL_WAIT_MS_MAX: u64 = 5_000;
/// What died is listed as gone for so long, as clouds do: absence alone proves nothing about a young instance. Milliseconds.
const GONE_MS: u64 = 120_000;
const GONE_MAX: usize = 256;
const MARK: &str = "FARM_INSTANCE";
const NOBODY: Identity = Identity { pid: 0, start_ticks: 0 };

/// How instances are made.
#[derive(Clone, Debug)]
pub struct ProcessSettings {
    /// The farm.
    pub farm: Id,
    /// Its secret, from which each instance gets its own member's key.
    pub key: FarmKey,
    /// Argument vectors, with `{id}`, `{ip}`, `{port}`, `{n}`, `{key_file}`, `{dir}` and `{bin}` (the directory of this program).
    pub commands: Vec<Vec<String>>,
    /// The lowest address; instances take the lowest free one from there on.
    pub first_address: Ipv4Addr,
    /// Instances at a time.
    pub count_max: u32,
    /// The port of the service, on each instance's own address.
    pub port: u16,
    /// Time from launch to the start of the commands, in milliseconds.
    pub boot_delay_ms: u64,
    /// How much that varies, as a share of it.
    pub boot_delay_jitter: f64,
    /// Time from SIGTERM to SIGKILL, in milliseconds.
    pub stop_ms_max: u64,
}

impl ProcessSettings {
    /// From the configuration.
    pub fn new(farm: Id, key: FarmKey, spec: &ProcessSpec) -> Self {
        Self {
            farm,
            key,
            commands: spec.commands.clone(),
            first_address: spec.first_address,
            count_max: spec.count_max,
            port: spec.port,
            boot_delay_ms: spec.boot_delay_ms,
            boot_delay_jitter: spec.boot_delay_jitter,
            stop_ms_max: STOP_MS_MAX,
        }
    }
}

struct State {
    records: BTreeMap<Id, Record>,
    children: BTreeMap<i32, Child>,
    /// What died by itself, and when: the oldest first.
    gone: VecDeque<(u64, Instance)>,
    draws: Draws,
}

struct Inner {
    settings: ProcessSettings,
    shelf: Shelf,
    boot: String,
    wall: Box<dyn Fn() -> Wall + Send + Sync>,
    state: Mutex<State>,
}

/// The provider. Clones share the instances.
#[derive(Clone)]
pub struct ProcessProvider(Arc<Inner>);

impl ProcessProvider {
    /// Finds the instances of an earlier run again. `wall` is the daemon's clock.
    pub fn open(
        settings: ProcessSettings,
        state_dir: &Path,
        draws: Draws,
        wall: impl Fn() -> Wall + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let shelf = Shelf::open(state_dir)?;
        let (records, damaged) = shelf.load()?;
        for what in damaged {
            tracing::error!(what, "an instance's record cannot be read; its processes, if any, are left alone");
        }
        let records = records.into_iter().filter(|r| r.farm == settings.farm).map(|r| (r.member_id.clone(), r)).collect();
        let state = Mutex::new(State { records, children: BTreeMap::new(), gone: VecDeque::new(), draws });
        let inner = Inner { settings, shelf, boot: identity::boot_id(), wall: Box::new(wall), state };
        inner.settle_after_restart();
        Ok(Self(Arc::new(inner)))
    }

    /// Starts what is due and notices what died, until the task is dropped.
    pub async fn keep(&self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(LOOK_MS));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.0.look();
        }
    }

    /// What a failure drill does to an instance: SIGKILL, SIGSTOP, and without a fault SIGCONT, to every process group of it. Its record
    /// stays as it is: that it died is for [`Self::keep`] to find out.
    pub(super) fn fault(&self, instance: &str, fault: Option<&Fault>) -> Result<(), ProviderError> {
        let signal = match fault {
            Some(Fault::Kill) => Signal::KILL,
            Some(Fault::Isolate) => Signal::STOP,
            Some(Fault::KillProcess(_)) => return Err(error(ErrorKind::Denied, "processes are ended by their agent")),
            None => Signal::CONT,
        };
        let state = self.0.lock();
        let record = state.records.values().find(|r| instance_id(&r.member_id) == instance);
        let record = record.ok_or_else(|| error(ErrorKind::NotFound, instance))?;
        record.processes.iter().for_each(|p| p.signal(signal));
        Ok(())
    }

    /// Terminates everything: what `redirector stop-farm` does. Returns how many there were.
    pub async fn stop_all(&self) -> Result<usize, ProviderError> {
        let ids: Vec<Id> = self.0.lock().records.keys().cloned().collect();
        let stops: Vec<_> = ids
            .iter()
            .map(|id| {
                let (provider, instance) = (self.clone(), instance_id(id));
                tokio::spawn(async move { provider.terminate(&instance).await })
            })
            .collect();
        for stop in stops {
            stop.await.map_err(|e| error(ErrorKind::Transient, e.to_string()))??;
        }
        Ok(ids.len())
    }
}

impl ProcessProvider {
    /// Starts one instance; the same token again gives the same instance.
    pub fn launch(&self, request: &LaunchRequest) -> Result<Instance, ProviderError> {
        self.0.launch(request)
    }

    /// Ends one instance, and returns when it is gone.
    pub async fn terminate(&self, instance: &str) -> Result<(), ProviderError> {
        let Record { member_id: id, token, processes, .. } = self.0.begin_stop(instance)?;
        self.end_processes(instance, &processes).await?;
        self.0.forget(&id, &token).map_err(|e| disk(&e))
    }

    async fn end_processes(&self, instance: &str, processes: &[Identity]) -> Result<(), ProviderError> {
        let signal_all = |signal| processes.iter().for_each(|p| p.signal(signal));
        signal_all(Signal::TERM);
        let mut waited_ms = 0;
        let mut killed = false;
        loop {
            self.0.reap();
            if !processes.iter().any(Identity::is_alive) {
                return Ok(());
            }
            if waited_ms >= self.0.settings.stop_ms_max && !killed {
                tracing::warn!(instance, "did not stop in time: killed");
                signal_all(Signal::KILL);
                killed = true;
            }
            if waited_ms >= self.0.settings.stop_ms_max + KILL_WAIT_MS_MAX {
                return Err(error(ErrorKind::Transient, format!("{instance} does not die")));
            }
            tokio::time::sleep(Duration::from_millis(STOP_LOOK_MS)).await;
            waited_ms += STOP_LOOK_MS;
        }
    }
}

impl Provider for ProcessProvider {
    async fn call(&self, call: &ProviderCall) -> Result<Option<Instance>, ProviderError> {
        match call {
            ProviderCall::Launch(request) => self.launch(request).map(Some),
            ProviderCall::Terminate(request) => self.terminate(&request.instance_id).await.map(|()| None),
            ProviderCall::Start(request) => self.start(&request.instance_id).map(Some),
            ProviderCall::Stop(request) => self.stop(&request.instance_id).await.map(Some),
            ProviderCall::Reboot(request) => self.reboot(&request.instance_id).await.map(Some),
            ProviderCall::Keep(request) => self.mark_kept(&request.instance_id).map(Some),
            ProviderCall::Attach(_) => {
                Err(error(ErrorKind::Denied, "local processes have no addresses or volumes to attach"))
            }
        }
    }

    async fn list(&self) -> Result<Vec<Instance>, ProviderError> {
        self.0.look();
        let state = self.0.lock();
        let is_new = |gone: &&Instance| !state.records.values().any(|r| instance_id(&r.member_id) == gone.instance_id);
        let gone = state.gone.iter().map(|(_, instance)| instance).filter(is_new).cloned();
        Ok(state.records.values().map(instance).chain(gone).collect())
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn launch(&self, request: &LaunchRequest) -> Result<Instance, ProviderError> {
        if request.farm != self.settings.farm {
            return Err(error(ErrorKind::Denied, format!("instances here are of farm {}", self.settings.farm)));
        }
        let mut state = self.lock();
        if let Some(record) = state.records.get(&request.member_id) {
            return if record.token == request.token {
                Ok(instance(record))
            } else {
                Err(error(ErrorKind::Mismatch, format!("{} exists, launched by another call", request.member_id)))
            };
        }
        let address = self
            .free_address(&state)
            .ok_or_else(|| error(ErrorKind::NoCapacity, format!("all {} addresses are in use", self.settings.count_max)))?;
        let now = (self.wall)().0;
        let delay_ms = state.draws.jitter_ms(self.settings.boot_delay_ms, self.settings.boot_delay_jitter);
        let record = Record {
            v: 1,
            farm: self.settings.farm.clone(),
            member_id: request.member_id.clone(),
            intent: request.intent.clone(),
            token: request.token.clone(),
            address,
            launched_wall_ms: now,
            due_wall_ms: now + delay_ms,
            started_wall_ms: 0,
            boot: self.boot.clone(),
            phase: Phase::Booting,
            processes: Vec::new(),
            kept: false,
        };
        self.shelf.save(&record).map_err(|e| disk(&e))?;
        let launched = instance(&record);
        state.records.insert(request.member_id.clone(), record);
        Ok(launched)
    }

    fn free_address(&self, state: &State) -> Option<Ipv4Addr> {
        let first = self.settings.first_address.to_bits();
        let used = |a: &Ipv4Addr| state.records.values().any(|r| r.address == *a);
        (0..self.settings.count_max).filter_map(|n| Some(Ipv4Addr::from_bits(first.checked_add(n)?))).find(|a| !used(a))
    }

    /// What a crash left half done: commands that were started but not written down are stopped and started again.
    fn settle_after_restart(&self) {
        let mut state = self.lock();
        for record in state.records.values_mut() {
            if record.boot != self.boot && !matches!(record.phase, Phase::Booting | Phase::Stopped) {
                // The machine was restarted: whatever has these pids now is somebody else.
                record.processes = vec![NOBODY];
            }
            if record.phase == Phase::Starting {
                for process in identity::with_environment(MARK, &mark(record)) {
                    process.signal(Signal::KILL);
                }
                record.processes.clear();
                record.phase = Phase::Booting;
            }
            tracing::info!(id = %record.member_id, address = %record.address, phase = ?record.phase, "instance found again");
        }
    }

    /// One look at everything: start what is due, bury what died.
    fn look(&self) {
        self.reap();
        let now = (self.wall)().0;
        let mut state = self.lock();
        let State { records, children, gone: listed, .. } = &mut *state;
        while listed.front().is_some_and(|(at, _)| listed.len() > GONE_MAX || at.saturating_add(GONE_MS) < now) {
            listed.pop_front();
        }
        let mut gone = Vec::new();
        for record in records.values_mut() {
            match record.phase {
                // A clock that was set back behind the launch says nothing about the delay any more.
                Phase::Booting if record.due_wall_ms <= now || now < record.launched_wall_ms => {
                    self.start(record, children, now);
                }
                Phase::Running if !record.processes.iter().all(Identity::is_alive) => {
                    tracing::warn!(id = %record.member_id, "a process of the instance ended: the instance is gone");
                    record.processes.iter().for_each(|p| p.signal(Signal::KILL));
                    listed.push_back((now, Instance { state: InstanceState::Gone, ..instance(record) }));
                    gone.push((record.member_id.clone(), record.token.clone()));
                }
                // Stopped by a call that nobody waits for any more.
                Phase::Halting if !record.processes.iter().any(Identity::is_alive) => {
                    let stopped = Record { phase: Phase::Stopped, processes: Vec::new(), ..record.clone() };
                    match self.shelf.save(&stopped) {
                        Ok(()) => *record = stopped,
                        Err(error) => {
                            tracing::error!(id = %record.member_id, %error, "the instance's record cannot be written");
                        }
                    }
                }
                // Told to stop before a restart of ours: nobody else waits for it.
                Phase::Stopping if !record.processes.iter().any(Identity::is_alive) => {
                    gone.push((record.member_id.clone(), record.token.clone()));
                }
                _ => {}
            }
        }
        drop(state);
        for (id, token) in gone {
            if let Err(error) = self.forget(&id, &token) {
                tracing::error!(%id, %error, "the record of a dead instance cannot be removed");
            }
        }
    }

    fn start(&self, record: &mut Record, children: &mut BTreeMap<i32, Child>, now_ms: u64) {
        record.phase = Phase::Starting;
        record.boot.clone_from(&self.boot);
        let outcome = self.shelf.save(record).and_then(|()| {
            let key_file = self.prepare_home(record)?;
            for (number, words) in self.settings.commands.iter().enumerate() {
                let child = self.spawn(record, number, words, &key_file)?;
                let pid = child.id() as i32;
                children.insert(pid, child);
                // A command that ended at once has no identity; pid with tick 0 is nobody, so that the next look finds it dead.
                record.processes.push(Identity::of(pid).unwrap_or(Identity { pid, start_ticks: 0 }));
            }
            Ok(())
        });
        if let Err(error) = outcome {
            tracing::error!(id = %record.member_id, %error, "the instance cannot be started");
            // Without all of its commands it is dead, and the next look says so.
            record.processes.push(NOBODY);
        }
        record.phase = Phase::Running;
        record.started_wall_ms = now_ms;
        if let Err(error) = self.shelf.save(record) {
            tracing::error!(id = %record.member_id, %error, "the instance's record cannot be written");
        }
    }

    fn prepare_home(&self, record: &Record) -> io::Result<String> {
        let home = self.shelf.home(&record.member_id);
        std::fs::create_dir_all(&home)?;
        let path = home.join("member.key");
        let key = self.settings.key.member(&record.farm, &record.member_id).to_hex();
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        io::Write::write_all(&mut file, format!("{key}\n").as_bytes())?;
        Ok(path.display().to_string())
    }

    fn spawn(&self, record: &Record, number: usize, words: &[String], key_file: &str) -> io::Result<Child> {
        let home = self.shelf.home(&record.member_id);
        let bin = std::env::current_exe()?.parent().map(|p| p.display().to_string()).unwrap_or_default();
        let n = record.address.to_bits().wrapping_sub(self.settings.first_address.to_bits()) + 1;
        let values = [
            ("{id}", record.member_id.to_string()),
            ("{ip}", record.address.to_string()),
            ("{port}", self.settings.port.to_string()),
            ("{n}", n.to_string()),
            ("{key_file}", key_file.to_owned()),
            ("{dir}", home.display().to_string()),
            ("{bin}", bin),
        ];
        let fill = |word: &String| values.iter().fold(word.clone(), |text, (name, value)| text.replace(name, value));
        let mut words = words.iter().map(fill);
        let program = words.next().ok_or_else(|| io::Error::other("an empty command"))?;
        let name = Path::new(&program).file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let log = std::fs::OpenOptions::new().append(true).create(true).open(home.join(format!("{number}-{name}.log")))?;
        Command::new(&program)
            .args(words)
            .env(MARK, mark(record))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("{program}: {e}")))
    }

    fn begin_stop(&self, wanted: &str) -> Result<Record, ProviderError> {
        let mut state = self.lock();
        let record = state.records.values_mut().find(|r| instance_id(&r.member_id) == wanted);
        let record = record.ok_or_else(|| error(ErrorKind::NotFound, wanted))?;
        record.phase = Phase::Stopping;
        self.shelf.save(record).map_err(|e| disk(&e))?;
        Ok(record.clone())
    }

    /// Forgets that launch of an instance; a later one of the same name stays.
    fn forget(&self, id: &Id, token: &str) -> io::Result<()> {
        let mut state = self.lock();
        if state.records.get(id).is_some_and(|r| r.token == token) {
            self.shelf.remove(id)?;
            state.records.remove(id);
        }
        Ok(())
    }

    /// Takes the exit status of our own children; those of an earlier run are init's.
    fn reap(&self) {
        self.lock().children.retain(|_, child| matches!(child.try_wait(), Ok(None)));
    }
}

fn disk(error: &io::Error) -> ProviderError {
    super::error(ErrorKind::Transient, format!("the instance's record cannot be written: {error}"))
}

fn mark(record: &Record) -> String {
    format!("{}/{}/{}", record.farm, record.member_id, record.token)
}

fn instance_id(member: &Id) -> String {
    format!("process-{member}")
}

fn instance(record: &Record) -> Instance {
    let state = match record.phase {
        Phase::Booting | Phase::Starting => InstanceState::Pending,
        Phase::Running => InstanceState::Running,
        Phase::Halting | Phase::Stopping => InstanceState::Stopping,
        Phase::Stopped => InstanceState::Stopped,
    };
    Instance {
        member_id: Some(record.member_id.clone()),
        intent: Some(record.intent.clone()),
        addrs: vec![record.address.into()],
        kept: record.kept,
        ..Instance::new(instance_id(&record.member_id), record.farm.clone(), state, record.launched_wall_ms)
    }
}

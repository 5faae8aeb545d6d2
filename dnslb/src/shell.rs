//! The control loop's shell: one task that owns [`Control`], brings it events and does what it says.
//!
//! It decides nothing, and it never waits for a disk, a check or a builder: those run elsewhere and come back as events. A burst of
//! events leads to one flush, and so to one snapshot at most.

use dnslb_core::config::Spec;
use dnslb_core::control::{AdminCommand, Control, Effect, Event, Notice, NoticeKind, Saved, Status};
use dnslb_core::health::Report;
use dnslb_core::snapshot::Snapshot;
use dnslb_core::zone::Zones;
use farm_daemon::clock::Clock;
use farm_daemon::receiver::{Received, Receiver, ReplyHandle};
use farm_daemon::signals::{Signal, Signals};
use farm_daemon::systemd::Notifier;
use farm_shared::config::{Place, Problem};
use farm_shared::heartbeat::Keyring;
use farm_shared::member::Change;
use farm_shared::time::Wall;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use crate::answering::Published;
use crate::check_tls::TlsConfigs;
use crate::checks::{Checker, Outcome};
use crate::load::{Loaded, load, restart_needed};
use crate::meters::Meters;
use crate::named::Live;
use crate::persist::Persister;
use crate::requests::{Lane, Rules};
use crate::shares::Shares;
use crate::store::{Keeper, Numbered};
use crate::transfers::Followed;
use farm_daemon::certificates::Certificates;

/// Events that one flush may follow; more wait for the next, so that a flood cannot hold up publication.
const BURST: usize = 256;

/// How often time passes for the core.
const TICK: Duration = Duration::from_millis(100);

/// Ticks between two looks at the shares that were served.
const ACCOUNT_TICKS: u128 = 10;

/// And between two words on who was named.
const SERVED_TICKS: u128 = 100;

/// Builders and loads that may have ended and wait to be heard.
const RESULTS_MAX: usize = 64;

/// What others ask of the control loop.
pub enum Ask {
    /// The state in words and numbers, and the specification in force.
    Status(oneshot::Sender<(Status, Arc<Spec>)>),
    /// An operator's word.
    Command(AdminCommand, Operator),
    /// Read the configuration anew; the generation then, or all problems.
    Reload(oneshot::Sender<Result<u64, Vec<Problem>>>),
}

/// Who said a word.
type Operator = oneshot::Sender<Result<String, String>>;

/// Who waits for a reload.
type Waiting = oneshot::Sender<Result<u64, Vec<Problem>>>;

/// What came of reading the configuration.
type LoadResult = Result<Box<Loaded>, Vec<Problem>>;

/// What the shell is made of.
pub struct Parts {
    /// The state.
    pub control: Control,
    /// The daemon's clock.
    pub clock: Clock,
    /// Where snapshots go.
    pub published: Published,
    /// The lane of requests, which has rules of its own.
    pub lane: Lane,
    /// What is in force and served, for those who tell others of it.
    pub followed: watch::Sender<Followed>,
    /// The counters of pools.
    pub shares: Arc<Shares>,
    /// Runs checks.
    pub checker: Checker,
    /// Their outcomes.
    pub outcomes: mpsc::Receiver<Outcome>,
    /// Whom HTTPS checks trust.
    pub tls: Arc<TlsConfigs>,
    /// The certificate of encrypted transports, if any is configured.
    pub certificates: Option<Arc<Certificates>>,
    /// Heartbeats.
    pub receiver: Receiver,
    /// The keys of the receiver.
    pub keyring: Arc<ArcSwap<Keyring>>,
    /// Writes the state down, if there is a directory for it.
    pub persister: Option<Persister<Saved>>,
    /// What others ask.
    pub asks: mpsc::Receiver<Ask>,
    /// What other viewpoints say.
    pub heard: mpsc::Receiver<Event>,
    /// What is told them.
    pub report: watch::Sender<Arc<Report>>,
    /// The process's signals.
    pub signals: Signals,
    /// The configuration file.
    pub config: PathBuf,
    /// Counters.
    pub meters: Arc<Meters>,
    /// The service manager.
    pub notifier: Notifier,
    /// Keeps the zones that change.
    pub keeper: Keeper,
    /// What it says is to be served.
    pub zones: watch::Receiver<Numbered>,
    /// Where it hears what is.
    pub served: watch::Sender<u64>,
}

/// The running shell.
pub struct Shell {
    parts: Parts,
    /// What was built or signed off the loop.
    built: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    loaded: (mpsc::Sender<LoadResult>, mpsc::Receiver<LoadResult>),
    /// Those who wait for the reload under way; none if there is none under way.
    reloading: Option<Vec<Waiting>>,
    /// Those who asked since it began: they want what the file says now.
    again: Vec<Waiting>,
    again_wanted: bool,
    /// The generation that the shares have seen.
    accounted: u64,
    /// Operators whose word is in force, and what they are told once it is on the disk: an answer is a promise to survive a restart.
    promised: Vec<(Operator, String)>,
}

#[expect(clippy::large_enum_variant, reason = "moved once from its queue to the core, which boxes it")]
enum Input {
    Signal(Signal),
    Heartbeat(Received),
    Outcome(Outcome),
    Ask(Ask),
    Built(Event),
    Loaded(LoadResult),
    Zones,
    Tick,
}

impl Shell {
    /// A shell around a control whose first flush was done: `later` is what that left to do beside publishing.
    pub fn new(parts: Parts, later: Vec<Effect>) -> Self {
        let mut shell = Self {
            parts,
            built: mpsc::channel(RESULTS_MAX),
            loaded: mpsc::channel(1),
            reloading: None,
            again: Vec::new(),
            again_wanted: false,
            accounted: 0,
            promised: Vec::new(),
        };
        for effect in later {
            shell.apply(effect, &mut To::default());
        }
        shell.account();
        shell
    }

    /// Runs until SIGTERM or SIGINT, and then writes the state down.
    pub async fn run(mut self) {
        self.parts.notifier.ready();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watchdog_ticks =
            self.parts.notifier.watchdog_period().map(|period| (period.as_millis() / TICK.as_millis()).max(1));
        let mut ticks = 0_u128;
        loop {
            let input = tokio::select! {
                signal = self.parts.signals.next() => Input::Signal(signal),
                Some(received) = self.parts.receiver.queue.recv() => Input::Heartbeat(received),
                Some(outcome) = self.parts.outcomes.recv() => Input::Outcome(outcome),
                Some(ask) = self.parts.asks.recv() => Input::Ask(ask),
                Some(built) = self.built.1.recv() => Input::Built(built),
                Some(heard) = self.parts.heard.recv() => Input::Built(heard),
                Some(loaded) = self.loaded.1.recv() => Input::Loaded(loaded),
                Ok(()) = self.parts.zones.changed() => Input::Zones,
                _ = tick.tick() => Input::Tick,
            };
            if matches!(input, Input::Signal(Signal::Stop)) {
                break;
            }
            if matches!(input, Input::Tick) {
                ticks += 1;
                if ticks.is_multiple_of(ACCOUNT_TICKS) {
                    self.account();
                }
                if ticks.is_multiple_of(SERVED_TICKS) {
                    self.served();
                }
                if watchdog_ticks.is_some_and(|period| ticks.is_multiple_of(period)) {
                    self.parts.notifier.watchdog();
                }
            }
            self.take(input);
            for _ in 1..BURST {
                let Some(input) = self.waiting() else { break };
                self.take(input);
            }
            self.flush();
        }
        self.parts.notifier.stopping();
        self.parts.receiver.close();
        if let Some(persister) = self.parts.persister.take() {
            persister.write(self.parts.control.save());
            persister.finish().await;
        }
    }

    /// The next event of a burst, if one is there already.
    fn waiting(&mut self) -> Option<Input> {
        let parts = &mut self.parts;
        let heartbeat = parts.receiver.queue.try_recv().ok().map(Input::Heartbeat);
        heartbeat
            .or_else(|| parts.outcomes.try_recv().ok().map(Input::Outcome))
            .or_else(|| self.built.1.try_recv().ok().map(Input::Built))
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Signal(Signal::Stop) => {}
            Input::Signal(Signal::Reload) => self.reload(None),
            Input::Heartbeat(received) => {
                let event = Event::Heartbeat(Box::new(received.heartbeat));
                self.step(event, To { heartbeat: Some(received.reply), operator: None });
            }
            Input::Outcome(outcome) => self.step(Event::Checked { job: outcome.id, result: outcome.result }, To::default()),
            Input::Ask(Ask::Status(to)) => {
                let control = &self.parts.control;
                let _ = to.send((control.status(self.parts.clock.now()), Arc::clone(control.spec())));
            }
            Input::Ask(Ask::Command(command, to)) => {
                tracing::info!(target = command.target, force = ?command.force, why = command.why, "an operator's word");
                self.step(Event::Admin(command), To { heartbeat: None, operator: Some(to) });
            }
            Input::Ask(Ask::Reload(to)) => self.reload(Some(to)),
            Input::Built(event) => self.step(event, To::default()),
            Input::Loaded(loaded) => self.reloaded(loaded),
            Input::Zones => {
                let zones = Arc::clone(&self.parts.zones.borrow_and_update().1);
                self.step(Event::Zones(zones), To::default());
            }
            Input::Tick => self.step(Event::Tick, To::default()),
        }
    }

    fn step(&mut self, event: Event, mut to: To) {
        let now = self.parts.clock.now();
        for effect in self.parts.control.step(now, event) {
            self.apply(effect, &mut to);
        }
    }

    fn flush(&mut self) {
        let now = self.parts.clock.now();
        for effect in self.parts.control.flush(now) {
            self.apply(effect, &mut To::default());
        }
        if let Some(report) = self.parts.control.take_report() {
            self.parts.report.send_replace(Arc::new(report));
        }
        for (operator, said) in self.promised.drain(..) {
            let _ = operator.send(Ok(said));
        }
    }

    fn apply(&mut self, effect: Effect, to: &mut To) {
        match effect {
            Effect::Reply(reply) => {
                if let Some(handle) = to.heartbeat.take() {
                    handle.send(&reply);
                }
            }
            Effect::Refused(refusal) => {
                if let Some(handle) = to.heartbeat.take() {
                    handle.refuse(&refusal);
                }
            }
            Effect::Publish(snapshot) => self.publish(snapshot),
            Effect::Persist(saved) => self.persist(saved),
            Effect::Build(job) => {
                let built = self.built.0.clone();
                tokio::task::spawn_blocking(move || {
                    // The loop has ended when nobody listens.
                    let _ = built.blocking_send(Event::Scheduled(Box::new(job.run())));
                });
            }
            Effect::Sign(job) => {
                let built = self.built.0.clone();
                tokio::task::spawn_blocking(move || {
                    let _ = built.blocking_send(Event::Signatures(Box::new(job.run())));
                });
            }
            Effect::Check(job) => self.parts.checker.start(job, &self.parts.tls),
            Effect::Answer(answer) => {
                let Some(operator) = to.operator.take() else { return };
                match answer {
                    Ok(said) => self.promised.push((operator, said)),
                    Err(why) => drop(operator.send(Err(why))),
                }
            }
            Effect::Notice(notice) => log(&notice),
        }
    }

    fn persist(&mut self, saved: Saved) {
        let Some(persister) = &self.parts.persister else { return };
        if self.promised.is_empty() {
            persister.write(saved);
            return;
        }
        let (promised, written) = (std::mem::take(&mut self.promised), persister.write_now(saved));
        tokio::spawn(async move {
            let failed = written.await.err().map(|e| format!(", but a restart would forget it: {e}")).unwrap_or_default();
            for (operator, said) in promised {
                let _ = operator.send(Ok(said + &failed));
            }
        });
    }

    fn publish(&mut self, snapshot: Arc<Snapshot>) {
        tracing::debug!(generation = snapshot.generation, "published");
        let zones = Arc::clone(&snapshot.zones);
        let live = live(&self.parts.shares, &self.parts.control, snapshot, Some(&self.parts.published.load()));
        self.parts.published.store(Arc::new(live));
        let (number, latest) = &*self.parts.zones.borrow();
        if Arc::ptr_eq(latest, &zones) {
            self.parts.served.send_replace(*number);
        }
        self.follow(zones);
        self.parts.meters.published();
    }

    /// Says what is in force and served, if that is something else.
    fn follow(&self, zones: Arc<Zones>) {
        let now = Followed { spec: Arc::clone(self.parts.control.spec()), zones };
        self.parts.followed.send_if_modified(|before| {
            let differs = !Arc::ptr_eq(&before.spec, &now.spec) || !Arc::ptr_eq(&before.zones, &now.zones);
            *before = now;
            differs
        });
    }

    /// Has the shares look at what changed, so that a scrape compares like with like however late it comes.
    fn account(&mut self) {
        let control = &self.parts.control;
        if self.accounted != control.generation() {
            self.accounted = control.generation();
            self.parts.shares.account(&control.status(self.parts.clock.now()).pools);
        }
    }

    /// Tells the control loop who was named, where it wants to know.
    fn served(&mut self) {
        for (pool, slots) in self.parts.control.counts_wanted() {
            let served = self.parts.shares.served(pool, &slots);
            self.step(Event::Served(served), To::default());
        }
    }

    fn reload(&mut self, to: Option<Waiting>) {
        if self.reloading.is_some() {
            self.again.extend(to);
            self.again_wanted = true;
            return;
        }
        self.parts.notifier.reloading();
        self.reloading = Some(to.into_iter().collect());
        let (config, sender) = (self.parts.config.clone(), self.loaded.0.clone());
        let (spec, keeper) = (Arc::clone(self.parts.control.spec()), self.parts.keeper.clone());
        let (certificates, now) = (self.parts.certificates.clone(), self.parts.clock.now().wall);
        tokio::task::spawn_blocking(move || {
            let _ = sender.blocking_send(load_and_keep(&config, &spec, &keeper, certificates.as_deref(), now));
        });
    }

    /// All or nothing: everything was read and checked when this is called.
    fn reloaded(&mut self, loaded: LoadResult) {
        self.parts.meters.reloaded(loaded.is_ok());
        let answer = match loaded {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    tracing::warn!("{warning}");
                }
                let Loaded { spec, keyring, tls, pair, .. } = *loaded;
                // The store has them already, those that follow updates among them, and may have changed some since.
                let zones = Arc::clone(&self.parts.zones.borrow_and_update().1);
                if let (Some(certificates), Some(pair)) = (&self.parts.certificates, pair) {
                    certificates.replace(pair);
                }
                self.parts.keyring.store(Arc::new(keyring));
                self.parts.tls = tls;
                self.parts.lane.set_rules(Rules::of(&spec));
                self.step(Event::Reload { spec, zones }, To::default());
                self.flush();
                let zones = Arc::clone(&self.parts.published.load().snapshot.zones);
                self.follow(zones);
                self.parts.meters.configured(self.parts.clock.now().wall);
                let generation = self.parts.control.generation();
                tracing::info!(generation, "reloaded");
                Ok(generation)
            }
            Err(problems) => {
                for problem in &problems {
                    tracing::error!("{problem}");
                }
                tracing::error!(problems = problems.len(), "the reload is refused; what was served before is served on");
                Err(problems)
            }
        };
        self.parts.notifier.ready();
        for waiting in self.reloading.take().unwrap_or_default() {
            let _ = waiting.send(answer.clone());
        }
        if std::mem::take(&mut self.again_wanted) {
            let again = std::mem::take(&mut self.again);
            self.reload(None);
            self.reloading = Some(again);
        }
    }
}

/// Reads a configuration and has the store take its zones: the last step, which nothing that can fail may follow.
fn load_and_keep(config: &Path, old: &Spec, keeper: &Keeper, certificates: Option<&Certificates>, now: Wall) -> LoadResult {
    let loaded = load(config)?;
    // At a start such a pair is better than none; here there is a better one.
    if let (Some(certificates), Some(pair)) = (certificates, &loaded.pair)
        && certificates.is_worse(pair, now)
    {
        let place = Place { file: config.display().to_string(), line: 1, key: "server.tls_cert_file".to_owned() };
        return Err(vec![place.problem("a certificate that is out of date", "one that is valid, as the one in force is")]);
    }
    let problems = restart_needed(old, &loaded.spec, config);
    if !problems.is_empty() {
        return Err(problems);
    }
    keeper.configure_blocking(Arc::clone(&loaded.spec), Arc::clone(&loaded.zones)).map_err(|problems| {
        let place = Place { file: config.display().to_string(), line: 1, key: "zone".to_owned() };
        problems.into_iter().map(|found| place.problem(found, "a journal that holds")).collect::<Vec<_>>()
    })?;
    Ok(Box::new(loaded))
}

/// Who waits for the first effect of an event.
#[derive(Default)]
struct To {
    heartbeat: Option<ReplyHandle>,
    operator: Option<Operator>,
}

/// A snapshot with its counters.
pub fn live(shares: &Shares, control: &Control, snapshot: Arc<Snapshot>, before: Option<&Live>) -> Live {
    let names: Vec<_> = control.spec().pools.iter().map(|pool| pool.name.clone()).collect();
    shares.live(snapshot, &names, before)
}

fn log(notice: &Notice) {
    let (subject, what, detail) = (notice.subject.as_str(), notice.kind.label(), notice.detail.as_str());
    match notice.kind {
        NoticeKind::Member(Change::Silent)
        | NoticeKind::Twins
        | NoticeKind::Down
        | NoticeKind::Expiry
        | NoticeKind::FailOpen
        | NoticeKind::ViewpointSilent
        | NoticeKind::NameTaken => tracing::warn!(subject, what, detail, "member"),
        NoticeKind::Member(Change::Late) => tracing::debug!(subject, what, detail, "member"),
        NoticeKind::Member(_) | NoticeKind::Up | NoticeKind::FailClosed | NoticeKind::ViewpointHeard => {
            tracing::info!(subject, what, detail, "member");
        }
    }
}

//! The control loop's shell: one task that owns `redirector_core::farm::Control`, feeds it events and carries out its effects.
//!
//! It must never wait for a provider, a client or a slow disk write other than the journal's: whatever takes time runs beside it and
//! comes back as an event. The journal is the exception on purpose, since no call may be made before its record is on disk.

use crate::access_log::{AccessCounts, AccessLog};
use crate::door::Door;
use crate::history::{HISTORY_FILE, History, Minute};
use crate::journal::JournalFile;
use crate::lead::Lead;
use crate::load::Farm;
use crate::provider::AnyProvider;
use crate::view::{AcmeView, Acts, CertificateView, ShellCounts, View};
use farm_daemon::certificates::Pair;
use farm_daemon::clock::Clock;
use farm_daemon::receiver::{Received, ReplyHandle};
use farm_daemon::state_dir::StateDir;
use farm_shared::time::Mono;
use redirector_core::config::Spec;
use redirector_core::door::Dispatched as _;
use redirector_core::farm::{AdminCommand, Control, Effect, Event, FaultCall, Saved, Topic};
use redirector_core::room;
use redirector_core::scale::{CallOutcome, ErrorKind, Instance, ProviderCall, ProviderError};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// The name of the state file in `state_dir`.
pub const STATE_FILE: &str = "redirector.json";

const TICK_MS: u64 = 100;
const VIEW_MS: u64 = 500;
const BURST_MAX: usize = 256;
const LISTING_MS_MAX: u64 = 60_000;
const CALL_MS_MAX: u64 = 120_000;
const FAULT_MS_MAX: u64 = 30_000;
/// The history on disk is at most this old: what a crash loses of it is worth no more writes.
const HISTORY_MS: u64 = 300_000;
const HISTORY_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What the admin interface asks of the loop.
#[derive(Debug)]
pub enum Ask {
    /// An operator's command.
    Admin(AdminCommand, oneshot::Sender<Result<String, String>>),
    /// Read the configuration again.
    Reload(oneshot::Sender<Result<String, String>>),
    /// Take these settings over: the first farm's loop has read them.
    TakeOver(Box<Farm>),
}

/// What comes back from tasks beside the loop.
enum Back {
    Outcome(Box<CallOutcome>),
    Fault(farm_shared::id::Id, Result<(), ProviderError>),
    Listing(Result<Vec<Instance>, String>),
    Persisted(Result<(), String>),
}

/// What the loop is made of.
pub struct Parts {
    /// The farm, by its place in the published picture.
    pub farm: u16,
    /// The names of all farms, in their order.
    pub farms: Arc<[String]>,
    /// The state machine.
    pub control: Control,
    /// The front door.
    pub door: Arc<Door>,
    /// Where servers come from.
    pub provider: AnyProvider,
    /// The decision journal.
    pub journal: JournalFile,
    /// Where state is kept.
    pub state_dir: Arc<StateDir>,
    /// The configuration as loaded.
    pub spec: Arc<Spec>,
    /// The process's clock.
    pub clock: Clock,
    /// Of the first farm only.
    pub lead: Option<Lead>,
    /// What the control loop wanted at its start, beside the first snapshot.
    pub first_effects: Vec<Effect>,
}

/// The loop.
pub struct Shell {
    parts: Parts,
    views: watch::Sender<Arc<View>>,
    viewed: Mono,
    history: History,
    minute: Minute,
    acts: Acts,
    history_at: Mono,
    counts: ShellCounts,
    back: mpsc::UnboundedSender<Back>,
    backs: mpsc::UnboundedReceiver<Back>,
    answers: BTreeMap<u64, oneshot::Sender<Result<String, String>>>,
    next_ticket: u64,
    listing: bool,
    ticks: u64,
    list_at: Mono,
    persisting: bool,
    to_persist: Option<Box<Saved>>,
    /// Operators' words that `to_persist` holds, and those that are being written: their answers wait for the disk.
    unsaved_words: Vec<(u64, String)>,
    words_on_their_way: Vec<(u64, String)>,
}

impl Shell {
    /// A loop that does not run yet, and the pictures it will show.
    pub fn new(parts: Parts) -> (Self, watch::Receiver<Arc<View>>) {
        let (back, backs) = mpsc::unbounded_channel();
        let now = parts.clock.now();
        let mut history = History::from_bytes(&read_history(&parts.state_dir));
        let status = parts.control.status(now);
        history.events.add(now.wall.0, Topic::Config, "the redirector started");
        history.add(&status, &parts.door.tally());
        let view = View {
            status,
            door: parts.door.tally(),
            connections: 0,
            limits: parts.door.limits(),
            certificates_in_force: Vec::new(),
            access_log: AccessCounts::default(),
            counts: ShellCounts::default(),
            ranges: history.ranges(),
            events: history.events.clone(),
            acts: Acts::default(),
            certificates: AcmeView::default(),
            farms: Arc::clone(&parts.farms),
        };
        let (views, viewers) = watch::channel(Arc::new(view));
        let shell = Self {
            parts,
            views,
            viewed: now.mono,
            history,
            minute: Minute::default(),
            acts: Acts::default(),
            history_at: now.mono.plus_ms(HISTORY_MS),
            counts: ShellCounts::default(),
            back,
            backs,
            answers: BTreeMap::new(),
            next_ticket: 0,
            listing: false,
            ticks: 0,
            list_at: now.mono,
            persisting: false,
            to_persist: None,
            unsaved_words: Vec::new(),
            words_on_their_way: Vec::new(),
        };
        (shell, viewers)
    }

    /// Runs until it is told to stop; state is on disk when it returns.
    pub async fn run(
        mut self,
        mut heartbeats: mpsc::Receiver<Received>,
        mut asks: mpsc::Receiver<Ask>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut ticks = interval(Duration::from_millis(TICK_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let notifier = self.parts.lead.as_ref().map(|lead| Arc::clone(&lead.notifier));
        let watchdog_ms = notifier.as_ref().and_then(|n| n.watchdog_period()).map(|p| p.as_millis() as u64);
        let mut watchdog_at = Mono(0);
        let first = std::mem::take(&mut self.parts.first_effects);
        self.carry_out(first, None);
        loop {
            tokio::select! {
                Some(received) = heartbeats.recv() => {
                    self.heartbeat(received);
                    for _ in 1..BURST_MAX {
                        let Ok(received) = heartbeats.try_recv() else { break };
                        self.heartbeat(received);
                    }
                }
                Some(back) = self.backs.recv() => self.came_back(back),
                Some(ask) = asks.recv() => self.ask(ask),
                _ = stop.wait_for(|stop| *stop) => break,
                _ = ticks.tick() => {
                    let waited = self.parts.door.dispatches.waits(self.parts.farm);
                    let room = self.room();
                    self.step(Event::Tick { waited, room });
                    self.list_if_due();
                }
            }
            let effects = self.parts.control.flush(self.parts.clock.now());
            self.carry_out(effects, None);
            self.show(false);
            let mono = self.parts.clock.now().mono;
            if let (Some(period_ms), Some(notifier)) = (watchdog_ms.filter(|_| mono >= watchdog_at), &notifier) {
                notifier.watchdog();
                watchdog_at = mono.plus_ms(period_ms);
            }
        }
        self.end().await;
    }

    fn step(&mut self, event: Event) {
        let effects = self.parts.control.step(self.parts.clock.now(), event);
        self.carry_out(effects, None);
    }

    /// Who waits, if there is a waiting room.
    fn room(&mut self) -> Option<Box<room::Tick>> {
        let (spec, farm) = (&self.parts.spec.room, self.parts.farm);
        if !spec.enabled {
            return None;
        }
        self.ticks = self.ticks.wrapping_add(1);
        let (door, now) = (&self.parts.door, self.parts.clock.now().mono);
        let front = door.front.load();
        let digest = door.dispatches.waiting(farm)?.digest(&front, farm, spec.waiting_max, self.ticks, now)?;
        Some(Box::new(room::Tick { digest, free: front.room(farm, &door.dispatches) }))
    }

    fn heartbeat(&mut self, received: Received) {
        let Received { heartbeat, reply, .. } = received;
        let slot = self.parts.control.slot(&heartbeat.id);
        let dispatched = slot.map_or(0, |slot| self.parts.door.dispatches.total(self.parts.farm, slot));
        let effects =
            self.parts.control.step(self.parts.clock.now(), Event::Heartbeat { heartbeat: Box::new(heartbeat), dispatched });
        self.carry_out(effects, Some(reply));
    }

    /// Does what the control loop says, in its order. A journal record is written and reported before what follows it.
    fn carry_out(&mut self, effects: Vec<Effect>, mut reply: Option<ReplyHandle>) {
        let mut left = VecDeque::from(effects);
        while let Some(effect) = left.pop_front() {
            match effect {
                Effect::Reply(message) => {
                    if let Some(handle) = reply.take() {
                        handle.send(&message);
                    }
                }
                Effect::Refused(refusal) => {
                    if let Some(handle) = reply.take() {
                        handle.refuse(&refusal);
                    }
                }
                Effect::Publish(snapshot) => {
                    self.parts.door.front.rcu(|front| front.with_farm(self.parts.farm, Arc::clone(&snapshot)));
                }
                Effect::Persist(saved) => {
                    self.to_persist = Some(saved);
                    self.persist();
                }
                Effect::Journal(record) => {
                    let ok = self.journal(&record);
                    let event = Event::Journalled { seq: record.seq, ok };
                    left.extend(self.parts.control.step(self.parts.clock.now(), event));
                }
                Effect::Call(call) => self.call(call),
                Effect::Fault(call) => self.fault(call),
                Effect::Answer { ticket, result: Ok(done) } => self.unsaved_words.push((ticket, done)),
                Effect::Answer { ticket, result } => self.answer(ticket, result),
                Effect::Notice(topic, text) => self.tell(topic, &text),
            }
        }
    }

    fn journal(&mut self, record: &redirector_core::scale::Record) -> bool {
        let line = match serde_json::to_string(record) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!(%error, "a journal record cannot be written as JSON");
                self.counts.journal_failures += 1;
                return false;
            }
        };
        let outcome = self.parts.journal.append(&line);
        if let Err(error) = &outcome {
            if self.counts.journal_failures == 0 {
                tracing::error!(%error, "the journal cannot be written: nothing is launched or terminated until it can");
            }
            self.counts.journal_failures += 1;
        }
        outcome.is_ok()
    }

    fn call(&mut self, call: ProviderCall) {
        let (provider, back) = (self.parts.provider.clone(), self.back.clone());
        tokio::spawn(async move {
            let limit = Duration::from_millis(CALL_MS_MAX);
            let outcome = timeout(limit, provider.call(call.clone())).await.unwrap_or_else(|_| {
                // Its fate is unknown: the executor asks again.
                let message = "no answer in time".to_owned();
                CallOutcome { call, result: Err(ProviderError { kind: ErrorKind::Transient, message }) }
            });
            let _ = back.send(Back::Outcome(Box::new(outcome)));
        });
    }

    fn fault(&mut self, call: FaultCall) {
        let (provider, back) = (self.parts.provider.clone(), self.back.clone());
        let group = self.parts.spec.drill.isolate_group.clone();
        tokio::spawn(async move {
            let limit = Duration::from_millis(FAULT_MS_MAX);
            let result = timeout(limit, provider.fault(&call.instance_id, call.fault.as_ref(), group.as_deref())).await;
            let too_slow = || ProviderError { kind: ErrorKind::Transient, message: "no answer in time".to_owned() };
            let result = result.unwrap_or_else(|_| Err(too_slow()));
            let _ = back.send(Back::Fault(call.key, result));
        });
    }

    fn list_if_due(&mut self) {
        let now = self.parts.clock.now().mono;
        if self.listing || now < self.list_at {
            return;
        }
        self.listing = true;
        self.list_at = now.plus_ms(self.parts.spec.scaler.poll_ms);
        let (provider, back) = (self.parts.provider.clone(), self.back.clone());
        tokio::spawn(async move {
            let listing = timeout(Duration::from_millis(LISTING_MS_MAX), provider.list()).await;
            let _ = back.send(Back::Listing(listing.unwrap_or_else(|_| Err("the listing took too long".to_owned()))));
        });
    }

    fn came_back(&mut self, back: Back) {
        match back {
            Back::Outcome(outcome) => {
                let what = outcome.call.label();
                let how = outcome.result.as_ref().map_or_else(|e| e.kind.label(), |_| "ok");
                *self.counts.calls.entry((what, how)).or_default() += 1;
                self.step(Event::Provider(outcome));
            }
            Back::Fault(key, result) => self.step(Event::Fault { key, result }),
            Back::Listing(listing) => {
                self.listing = false;
                self.step(Event::Listing(listing));
            }
            Back::Persisted(outcome) => {
                self.persisting = false;
                self.persisted(outcome);
                self.persist();
            }
        }
    }

    /// Writes the newest state, one write at a time.
    fn persist(&mut self) {
        if self.persisting {
            return;
        }
        let Some(saved) = self.to_persist.take() else { return };
        self.persisting = true;
        self.words_on_their_way = std::mem::take(&mut self.unsaved_words);
        let (state_dir, back) = (Arc::clone(&self.parts.state_dir), self.back.clone());
        tokio::task::spawn_blocking(move || {
            let _ = back.send(Back::Persisted(write(&state_dir, &saved)));
        });
    }

    fn persisted(&mut self, outcome: Result<(), String>) {
        for (ticket, done) in std::mem::take(&mut self.words_on_their_way) {
            let told = match &outcome {
                Ok(()) => Ok(done),
                Err(error) => {
                    Err(format!("{done}; but a restart will not know, since the state cannot be written: {error}"))
                }
            };
            self.answer(ticket, told);
        }
        if let Err(error) = outcome {
            if self.counts.persist_failures == 0 {
                tracing::error!(error, "the state cannot be written: a restart now would know less");
            }
            self.counts.persist_failures += 1;
        }
    }

    fn answer(&mut self, ticket: u64, result: Result<String, String>) {
        if let Some(answer) = self.answers.remove(&ticket) {
            let _ = answer.send(result);
        }
    }

    fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Admin(command, answer) => {
                let ticket = self.next_ticket;
                self.next_ticket += 1;
                self.answers.insert(ticket, answer);
                self.step(Event::Admin { ticket, command });
                let effects = self.parts.control.flush(self.parts.clock.now());
                self.carry_out(effects, None);
                // An operator's word is on disk before it is answered.
                if !self.unsaved_words.is_empty() {
                    self.to_persist = Some(Box::new(self.parts.control.save()));
                    self.persist();
                }
                self.show(true);
            }
            Ask::Reload(answer) => {
                let _ = answer.send(self.reload());
            }
            Ask::TakeOver(farm) => self.take_over(*farm),
        }
    }

    /// The first farm's part of [`Lead`]; the others' loops are told by it.
    fn reload(&mut self) -> Result<String, String> {
        if let Some(log) = self.parts.door.access_log() {
            log.reopen();
        }
        let Some(lead) = &mut self.parts.lead else {
            return Err("only the first farm's loop reads the configuration".into());
        };
        match lead.read(&self.parts.spec) {
            Ok(loaded) => {
                let (farm, needs_restart) = lead.take_over(&self.parts.door, &self.parts.spec, loaded);
                self.take_over(farm);
                if needs_restart.is_empty() {
                    return Ok("reloaded".to_owned());
                }
                let text = format!("reloaded; these take effect at the next start: {}", needs_restart.join(", "));
                tracing::warn!("{text}");
                Ok(text)
            }
            Err(refused) => {
                self.counts.reloads_failed += 1;
                let (topic, text) =
                    (Topic::Config, format!("the new configuration is refused, the old one stays:\n{refused}"));
                tracing::error!(topic = topic.label(), "{text}");
                self.history.events.add(self.parts.clock.now().wall.0, topic, &text);
                Err(refused.to_string())
            }
        }
    }

    fn take_over(&mut self, farm: Farm) {
        self.counts.reloads_ok += 1;
        self.counts.reload_wall_ms = self.parts.clock.now().wall.0;
        self.tell(Topic::Config, "the configuration was read again");
        let Farm { spec, keys, blueprint } = farm;
        self.parts.spec = Arc::clone(&spec);
        self.step(Event::Reload { spec, keys, blueprint });
    }

    /// A line for the log and the status page.
    fn tell(&mut self, topic: Topic, text: &str) {
        tracing::info!(topic = topic.label(), farm = %self.parts.spec.farm, "{text}");
        self.history.events.add(self.parts.clock.now().wall.0, topic, text);
    }

    /// Shows a new picture if the last one is old, or at once.
    fn show(&mut self, at_once: bool) {
        let now = self.parts.clock.now();
        if !at_once && now.mono.since_ms(self.viewed) < VIEW_MS {
            return;
        }
        self.viewed = now.mono;
        let mut status = self.parts.control.status(now);
        let door = self.parts.door.tally();
        if self.history.add(&status, &door) {
            self.minute.add(&status.servers, now.mono.0, |slot| self.parts.door.dispatches.total(self.parts.farm, slot));
            self.acts.add(&status);
        }
        self.minute.fill(&mut status.servers);
        let certificates_in_force = self.certificates_in_force();
        if now.mono >= self.history_at {
            self.history_at = now.mono.plus_ms(HISTORY_MS);
            let (state_dir, history) = (Arc::clone(&self.parts.state_dir), self.history.clone());
            tokio::task::spawn_blocking(move || write_history(&state_dir, &history.to_bytes()));
        }
        let view = View {
            status,
            door,
            connections: self.parts.door.connections(),
            limits: self.parts.door.limits(),
            certificates_in_force,
            access_log: self.parts.door.access_log().map(AccessLog::counts).unwrap_or_default(),
            counts: self.counts.clone(),
            ranges: self.history.ranges(),
            events: self.history.events.clone(),
            acts: self.acts.clone(),
            certificates: self.parts.lead.as_ref().map(Lead::certificates).unwrap_or_default(),
            farms: Arc::clone(&self.parts.farms),
        };
        self.views.send_replace(Arc::new(view));
    }

    /// The certificates in force; one that was not there before is told of.
    fn certificates_in_force(&mut self) -> Vec<CertificateView> {
        let pairs = self.parts.lead.as_ref().map(Lead::pairs).unwrap_or_default();
        let one = |pair: &Arc<Pair>| CertificateView { names: pair.names().to_vec(), not_after_wall_ms: pair.not_after().0 };
        let now: Vec<CertificateView> = pairs.iter().map(one).collect();
        let before = self.views.borrow().certificates_in_force.clone();
        for certificate in now.iter().filter(|certificate| !before.contains(certificate)) {
            let text = format!("a certificate for {} is in force", certificate.names.join(", "));
            self.tell(Topic::Certificate, &text);
        }
        now
    }

    /// The last state on disk. Instances are left running.
    async fn end(mut self) {
        if let Some(lead) = &self.parts.lead {
            lead.notifier.stopping();
        }
        write_history(&self.parts.state_dir, &self.history.to_bytes());
        self.to_persist = Some(Box::new(self.parts.control.save()));
        self.persist();
        while self.persisting {
            match self.backs.recv().await {
                Some(Back::Persisted(outcome)) => {
                    self.persisting = false;
                    self.persisted(outcome);
                    self.persist();
                }
                // Too late to be acted upon: the journal has the intent, and the next start settles it.
                Some(_) => {}
                None => return,
            }
        }
    }
}

/// The pictures of an earlier run; without them the charts begin empty.
fn read_history(state_dir: &StateDir) -> Vec<u8> {
    let read = state_dir.read(HISTORY_FILE, HISTORY_BYTES_MAX);
    let read = read.inspect_err(|error| tracing::warn!(%error, "{HISTORY_FILE} cannot be read: the charts begin empty"));
    read.ok().flatten().unwrap_or_default()
}

fn write_history(state_dir: &StateDir, bytes: &[u8]) {
    if let Err(error) = state_dir.write(HISTORY_FILE, bytes) {
        tracing::warn!(%error, "{HISTORY_FILE} cannot be written: a restart now would begin with older charts");
    }
}

fn write(state_dir: &StateDir, saved: &Saved) -> Result<(), String> {
    let bytes = serde_json::to_vec(saved).map_err(|e| e.to_string())?;
    state_dir.write(STATE_FILE, &bytes).map_err(|e| e.to_string())
}

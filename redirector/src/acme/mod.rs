//! The shell around `redirector_core::acme`: one task that keeps every certificate of `[acme]` in being. It decides nothing.
//!
//! It must never stand in the way of a redirect or a heartbeat, and never end because an authority, a name server or a disk fails.

mod client;
mod dns;
mod files;
mod hand_out;
mod order;

use crate::door::Door;
use arc_swap::ArcSwap;
use client::{Carrier, Said};
use dns::Updates;
use farm_daemon::certificates::{Certificates, Pair};
use farm_daemon::clock::Clock;
use farm_daemon::state_dir::{StateDir, read_capped};
use farm_shared::draw::Draws;
use farm_shared::heartbeat::Keyring;
use farm_shared::id::Id;
use files::Files;
use hand_out::HandOut;
use instant_acme::{Account, AccountCredentials, CertificateIdentifier};
use order::{Job, Tools, attempt, local, note, persist, pull};
use redirector_core::acme::{Effect, Event, Failure, FailureKind, Machine, Policy, RenewalWindow, Stage, Status, key_file};
use redirector_core::config::{AcmeSpec, OrderSpec};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An attempt that takes longer than this beside its waiting for name servers is given up, and gone on with later.
const ATTEMPT_MAX: Duration = Duration::from_mins(10);
const KEY_BYTES_MAX: u64 = 4_096;

/// Ends of attempts, by what became of them.
pub const OUTCOMES: [&str; 5] = ["issued", "rehearsed", "local", "refused", "rate_limited"];

/// The keeper, as others see it.
#[derive(Debug)]
pub struct Acme {
    spec: watch::Sender<Arc<AcmeSpec>>,
    statuses: Mutex<Arc<Vec<Status>>>,
    outcomes: [AtomicU64; OUTCOMES.len()],
}

impl Acme {
    /// Starts the task. Needs a tokio runtime; the task ends with it.
    pub fn start(spec: AcmeSpec, surroundings: Surroundings, draws: Draws) -> Arc<Self> {
        let (sender, receiver) = watch::channel(Arc::new(spec.clone()));
        let acme = Arc::new(Self { spec: sender, statuses: Mutex::default(), outcomes: Default::default() });
        let Surroundings { state_dir, door, certificates, clock, farm, keyring, agents } = surroundings;
        let files = Files::new(state_dir);
        // What is there is served before the first handshake.
        for order in &spec.certificates {
            put(&certificates, &files.certificate_file(&order.id));
        }
        let hand_out = Arc::new(HandOut::new(receiver.clone(), files.clone(), farm, keyring, clock));
        for listener in agents {
            match certificates.server_config(&[b"http/1.1"], false) {
                Ok(tls) => drop(tokio::spawn(Arc::clone(&hand_out).serve(listener, Arc::new(tls)))),
                Err(why) => tracing::error!(why, "no certificates are handed out"),
            }
        }
        let keeper = Keeper { acme: Arc::clone(&acme), files, door, certificates, clock, draws, machines: BTreeMap::new() };
        tokio::spawn(keeper.run(receiver));
        acme
    }

    /// Another configuration, from now on.
    pub fn reload(&self, spec: &AcmeSpec) {
        self.spec.send_if_modified(|old| {
            let differs = **old != *spec;
            if differs {
                *old = Arc::new(spec.clone());
            }
            differs
        });
    }

    /// How every certificate stands.
    pub fn statuses(&self) -> Arc<Vec<Status>> {
        Arc::clone(&self.statuses.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Attempts so far, in the order of [`OUTCOMES`].
    pub fn outcomes(&self) -> [u64; OUTCOMES.len()] {
        self.outcomes.each_ref().map(|n| n.load(Relaxed))
    }

    fn count(&self, outcome: usize) {
        if let Some(counter) = self.outcomes.get(outcome) {
            counter.fetch_add(1, Relaxed);
        }
    }
}

/// The key that updates are signed with. Blocks on the disk.
///
/// # Errors
/// Why not, without what the file holds.
pub fn read_update_key(file: &Path) -> Result<key_file::UpdateKey, String> {
    let text = read_capped(file, KEY_BYTES_MAX).map_err(|error| format!("{}: {error}", file.display()))?;
    key_file::read(&String::from_utf8_lossy(&text)).map_err(|expected| format!("{}: expected {expected}", file.display()))
}

/// Whether the certificates of a file can be used to check the authority's. Blocks on the disk.
///
/// # Errors
/// Why not.
pub fn check_ca_file(file: &Path) -> Result<(), String> {
    client::trust(Some(file)).map(drop)
}

/// What a keeper works with.
pub struct Surroundings {
    /// Where certificates and their history are kept.
    pub state_dir: Arc<StateDir>,
    /// Where answers to http-01 are shown.
    pub door: Arc<Door>,
    /// What listeners serve.
    pub certificates: Arc<Certificates>,
    /// The process's clock.
    pub clock: Clock,
    /// The farm, whose members may fetch what is theirs to have.
    pub farm: Id,
    /// Its key.
    pub keyring: Arc<ArcSwap<Keyring>>,
    /// Where they ask.
    pub agents: Vec<std::net::TcpListener>,
}

/// Has a certificate served, if it is there. Blocks on the disk.
fn put(certificates: &Certificates, file: &Path) {
    if !file.exists() {
        return;
    }
    match Pair::read(file, file) {
        Ok(pair) => certificates.put(pair),
        Err(why) => tracing::error!(why, "a certificate that was obtained cannot be served"),
    }
}

struct Keeper {
    certificates: Arc<Certificates>,
    acme: Arc<Acme>,
    door: Arc<Door>,
    files: Files,
    clock: Clock,
    draws: Draws,
    machines: BTreeMap<Id, Machine>,
}

fn policy(spec: &AcmeSpec, certificate: &OrderSpec) -> Policy {
    Policy { names: certificate.names.clone(), rehearses: spec.rehearsal.is_some(), retry_ms: spec.retry_ms }
}

impl Keeper {
    async fn run(mut self, mut specs: watch::Receiver<Arc<AcmeSpec>>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let spec = Arc::clone(&specs.borrow_and_update());
            self.machines.retain(|id, _| spec.certificates.iter().any(|c| c.id == *id));
            for certificate in &spec.certificates {
                let mut machine = self.machine(&spec, certificate).await;
                let effects = machine.step(self.clock.now(), Event::Tick);
                if !effects.is_empty() {
                    self.keep(certificate.id.clone(), machine.clone());
                    self.carry_out(&spec, certificate, &mut machine, effects).await;
                }
                self.keep(certificate.id.clone(), machine);
            }
            tokio::select! {
                _ = ticks.tick() => {}
                changed = specs.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn machine(&mut self, spec: &AcmeSpec, certificate: &OrderSpec) -> Machine {
        let policy = policy(spec, certificate);
        if let Some(mut machine) = self.machines.remove(&certificate.id) {
            if *machine.policy() != policy {
                machine.step(self.clock.now(), Event::Policy(policy));
            }
            return machine;
        }
        let state = self.files.state(&certificate.id).await;
        let mut machine = Machine::new(policy, state, self.draws.child(certificate.id.as_str(), 0));
        let found = self.files.facts(&certificate.id).await;
        machine.step(self.clock.now(), Event::Found(found));
        machine
    }

    /// Puts a machine back, and shows how all stand.
    fn keep(&mut self, id: Id, machine: Machine) {
        self.machines.insert(id, machine);
        let now = self.clock.now();
        let statuses = self.machines.iter().map(|(id, machine)| machine.status(id.as_str(), now)).collect();
        *self.acme.statuses.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(statuses);
    }

    async fn carry_out(&self, spec: &AcmeSpec, certificate: &OrderSpec, machine: &mut Machine, effects: Vec<Effect>) {
        let id = &certificate.id;
        let (tls, updates) = match self.means(spec).await {
            Ok(means) => means,
            Err(why) => return self.fail(id, machine, local(why)).await,
        };
        let said = Arc::default();
        let tools = Tools {
            spec,
            certificate,
            files: &self.files,
            tls,
            said: &said,
            door: &self.door,
            updates: updates.as_ref(),
            clock: self.clock,
        };
        for effect in effects {
            match effect {
                Effect::Persist => {
                    if let Err(failure) = persist(&self.files, id, machine).await {
                        // What could not be noted must not be done.
                        return self.fail(id, machine, failure).await;
                    }
                }
                Effect::Attempt { stage, resume, replaces } => {
                    self.attempt(&tools, machine, Job { stage, resume, replaces }).await;
                }
                Effect::AskRenewalInfo { id } => {
                    let answer = renewal_info(&tools, &id).await;
                    if let Err(why) = &answer {
                        tracing::debug!(why, "no renewal information");
                    }
                    let _ = note(&tools, machine, Event::RenewalInfo(answer)).await;
                }
                Effect::Pull(planted) => pull(&tools, machine, &planted).await,
            }
        }
    }

    /// Whom we believe, and the way to put records into zones. The files are read each time, so that new ones need no restart.
    async fn means(&self, spec: &AcmeSpec) -> Result<(Arc<ClientConfig>, Option<Updates>), String> {
        let (ca_file, key_file, server) = (spec.ca_file.clone(), spec.update_key_file.clone(), spec.update_server);
        let clock = self.clock;
        let read = move || {
            let tls = client::trust(ca_file.as_deref().map(Path::new))?;
            let updates = match server.zip(key_file) {
                Some((server, file)) => Some(Updates::new(server, read_update_key(Path::new(&file))?, clock)?),
                None => None,
            };
            Ok((tls, updates))
        };
        tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
    }

    async fn attempt(&self, tools: &Tools<'_>, machine: &mut Machine, job: Job) {
        let id = &tools.certificate.id;
        let names = tools.certificate.names.join(", ");
        tracing::info!(%id, names, stage = ?job.stage, resumes = job.resume.is_some(), "a certificate is asked for");
        let patience = ATTEMPT_MAX + Duration::from_millis(tools.spec.propagation_ms);
        let outcome = timeout(patience, attempt(tools, machine, &job)).await;
        match outcome.unwrap_or_else(|_| Err(local("the attempt did not come to an end"))) {
            Ok(facts) => {
                tracing::info!(%id, names, stage = ?job.stage, not_after_ms = facts.not_after_ms, "a certificate came");
                self.acme.count(usize::from(job.stage == Stage::Rehearsal));
                if let Err(failure) = note(tools, machine, Event::Issued(facts)).await {
                    tracing::error!(%id, why = failure.message, "the certificate is on the disk, but not its history");
                }
                tools.files.remove(format!("acme-{id}.key")).await;
                let (certificates, file) = (Arc::clone(&self.certificates), tools.files.certificate_file(id));
                let _ = tokio::task::spawn_blocking(move || put(&certificates, &file)).await;
            }
            Err(failure) => self.fail(id, machine, failure).await,
        }
    }

    async fn fail(&self, id: &Id, machine: &mut Machine, failure: Failure) {
        tracing::error!(%id, why = failure.message, kind = ?failure.kind, "no certificate could be had; the old one, if any, is served on");
        self.acme.count(match failure.kind {
            FailureKind::Local => 2,
            FailureKind::Refused => 3,
            FailureKind::RateLimited => 4,
        });
        machine.step(self.clock.now(), Event::Failed(failure));
        if let Err(failure) = persist(&self.files, id, machine).await {
            tracing::error!(%id, why = failure.message, "a restart now would know less");
        }
    }
}

async fn renewal_info(tools: &Tools<'_>, id: &str) -> Result<RenewalWindow, String> {
    let (authority, serial) = id.split_once('.').ok_or("a certificate without a name for it")?;
    let id = CertificateIdentifier { authority_key_identifier: Cow::Borrowed(authority), serial: Cow::Borrowed(serial) };
    let file = order::account_file(&tools.spec.directory);
    let bytes = tools.files.read(file).await?.ok_or("no account")?;
    let credentials: AccountCredentials = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let carrier = Carrier::new(Arc::clone(&tools.tls), Arc::<Said>::default());
    let account = Account::builder_with_http(Box::new(carrier)).from_credentials(credentials).await;
    let (info, again) =
        account.map_err(|error| error.to_string())?.renewal_info(&id).await.map_err(|error| error.to_string())?;
    let ms = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000);
    Ok(RenewalWindow {
        start_ms: ms(info.suggested_window.start.unix_timestamp()),
        end_ms: ms(info.suggested_window.end.unix_timestamp()),
        ask_again_ms: u64::try_from(again.as_millis()).unwrap_or(u64::MAX),
    })
}

//! The farms behind the door: each with a control loop, a provider, a journal and a state directory of its own, so that whatever one of
//! them waits for keeps no other.

use crate::door::Door;
use crate::journal::{self, JournalFile};
use crate::lead::Lead;
use crate::load::Farm;
use crate::provider::{AnyProvider, Ec2Provider, NoProvider, ProcessProvider, ProcessSettings};
use crate::serve::{Failure, unavailable};
use crate::shell::{Ask, Parts, STATE_FILE, Shell};
use crate::view::View;
use farm_daemon::clock::Clock;
use farm_daemon::receiver::Received;
use farm_daemon::refusals::Refusals;
use farm_daemon::state_dir::StateDir;
use farm_shared::draw::Draws;
use farm_shared::heartbeat::FarmKey;
use farm_shared::id::Id;
use redirector_core::config::{ProviderSpec, Spec};
use redirector_core::door::Snapshot;
use redirector_core::farm::{Control, Effect, Saved};
use redirector_core::scale::Record;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

const STATE_BYTES_MAX: u64 = 256 * 1024 * 1024;
const JOURNAL_LINES_MAX: usize = 200_000;

/// One farm, opened: nothing runs yet.
pub struct Opened {
    /// Its settings.
    pub spec: Arc<Spec>,
    /// Its secret.
    pub key: FarmKey,
    /// Where its servers come from.
    pub provider: AnyProvider,
    /// Its state directory.
    pub state_dir: Arc<StateDir>,
    /// What the door sees of it first.
    pub first: Arc<Snapshot>,
    place: u16,
    control: Control,
    journal: JournalFile,
    first_effects: Vec<Effect>,
}

impl Opened {
    /// Reads the state of the last run. `place` is the farm's among all.
    ///
    /// # Errors
    /// Its directory or its provider's records cannot be used.
    pub fn open(farm: Farm, place: u16, draws: &Draws, clock: Clock) -> Result<Self, Failure> {
        let Farm { spec, keys, blueprint } = farm;
        let state_dir = open_state_dir(Path::new(&spec.state_dir))?;
        let saved = read_state(&state_dir);
        let records = read_journal(state_dir.path());
        let journal = JournalFile::open(state_dir.path(), journal::BYTES_MAX).map_err(|e| unavailable("the journal")(&e))?;
        // The first farm has the streams that it had when it was the only one.
        let draws = if place == 0 { draws.clone() } else { draws.child("farm", u64::from(place)) };
        let provider = open_provider(&spec, &keys.current, state_dir.path(), &draws, clock)
            .map_err(|e| unavailable("the provider's records")(&e))?;
        let key = keys.current.clone();
        let draws = draws.child("control", 0);
        let mut control = Control::new(Arc::clone(&spec), keys, blueprint, saved, &records, clock.now(), draws);
        let (first, first_effects) = first_snapshot(control.flush(clock.now()))?;
        Ok(Self { spec, key, provider, state_dir, first, place, control, journal, first_effects })
    }

    /// Its control loop, which does not run yet, and the pictures it will show.
    pub fn shell(
        self,
        door: &Arc<Door>,
        farms: &Arc<[String]>,
        clock: Clock,
        lead: Option<Lead>,
    ) -> (Shell, watch::Receiver<Arc<View>>) {
        Shell::new(Parts {
            farm: self.place,
            farms: Arc::clone(farms),
            control: self.control,
            door: Arc::clone(door),
            provider: self.provider,
            journal: self.journal,
            state_dir: self.state_dir,
            spec: self.spec,
            clock,
            lead,
            first_effects: self.first_effects,
        })
    }
}

/// A farm as the admin interface and the metrics know it.
#[derive(Clone)]
pub struct Shown {
    /// Its name.
    pub name: Id,
    /// The last picture.
    pub views: watch::Receiver<Arc<View>>,
    /// The way to its control loop.
    pub asks: mpsc::Sender<Ask>,
    /// Where its journal is.
    pub state_dir: PathBuf,
    /// For the counters of its calls.
    pub provider: AnyProvider,
}

/// Brings each heartbeat to its farm. A farm whose queue is full loses it; no other waits.
pub async fn sort(mut all: mpsc::Receiver<Received>, farms: BTreeMap<Id, mpsc::Sender<Received>>, refusals: Arc<Refusals>) {
    while let Some(received) = all.recv().await {
        // A farm without a queue has no key either, so that its messages do not come this far.
        if let Some(farm) = farms.get(&received.heartbeat.farm)
            && farm.try_send(received).is_err()
        {
            refusals.count_queue_full();
        }
    }
}

/// Opens and locks the state directory.
pub fn open_state_dir(path: &Path) -> Result<Arc<StateDir>, Failure> {
    let state_dir = StateDir::open(path).map_err(|error| {
        Failure::Unavailable(match error.kind() {
            std::io::ErrorKind::WouldBlock => format!("{}: another redirector uses this state directory", path.display()),
            _ => format!("{}: {error}", path.display()),
        })
    })?;
    Ok(Arc::new(state_dir))
}

/// The provider that the configuration names.
pub fn open_provider(
    spec: &Spec,
    key: &FarmKey,
    state_dir: &Path,
    draws: &Draws,
    clock: Clock,
) -> std::io::Result<AnyProvider> {
    let process = match &spec.provider {
        ProviderSpec::None => return Ok(AnyProvider::None(NoProvider)),
        ProviderSpec::Ec2(ec2) => return Ok(AnyProvider::Ec2(Ec2Provider::new(spec.farm.clone(), ec2, clock))),
        ProviderSpec::Process(process) => process,
    };
    let settings = ProcessSettings::new(spec.farm.clone(), key.clone(), process);
    let provider = ProcessProvider::open(settings, state_dir, draws.child("provider", 0), move || clock.now().wall)?;
    Ok(AnyProvider::Process(provider))
}

/// The state of the last run. A damaged one is set aside: members come back by their heartbeats, intents by the journal.
fn read_state(state_dir: &StateDir) -> Saved {
    let read = state_dir.read(STATE_FILE, STATE_BYTES_MAX).map_err(|e| e.to_string());
    let parsed = read.and_then(|bytes| match bytes {
        None => Ok(Saved::default()),
        Some(bytes) => serde_json::from_slice::<Saved>(&bytes).map_err(|e| e.to_string()),
    });
    parsed.unwrap_or_else(|error| {
        tracing::error!(error, "{STATE_FILE} cannot be read: beginning without the state of the last run");
        let path = state_dir.path().join(STATE_FILE);
        if let Err(error) = std::fs::rename(&path, path.with_extension("damaged")) {
            tracing::error!(%error, "and it cannot be set aside");
        }
        Saved::default()
    })
}

fn read_journal(state_dir: &Path) -> Vec<Record> {
    let lines = journal::read(state_dir, JOURNAL_LINES_MAX).unwrap_or_else(|error| {
        tracing::error!(%error, "the journal cannot be read");
        Vec::new()
    });
    let mut records = Vec::with_capacity(lines.len());
    for line in lines {
        match serde_json::from_str(&line) {
            Ok(record) => records.push(record),
            Err(error) => tracing::warn!(%error, "a line of the journal is skipped"),
        }
    }
    records
}

fn first_snapshot(effects: Vec<Effect>) -> Result<(Arc<Snapshot>, Vec<Effect>), Failure> {
    let mut first = None;
    let mut rest = Vec::new();
    for effect in effects {
        match effect {
            Effect::Publish(snapshot) => first = Some(snapshot),
            effect => rest.push(effect),
        }
    }
    let first = first.ok_or_else(|| Failure::Unavailable("the control loop published nothing at its start".to_owned()))?;
    Ok((first, rest))
}

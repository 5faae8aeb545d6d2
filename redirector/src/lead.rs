//! What the first farm's control loop does for the whole door: it reads the configuration again, for all farms.
//!
//! All or nothing: the old configuration stays, in every farm, unless the new one passes every check. What only a start can change is
//! never changed by half.

use crate::acme::Acme;
use crate::certificates;
use crate::door::{Door, Limits};
use crate::load::{self, Farm, Loaded, Refused};
use crate::shell::Ask;
use crate::view::AcmeView;
use arc_swap::ArcSwap;
use farm_daemon::certificates::{Certificates, Pair};
use farm_daemon::systemd::Notifier;
use farm_shared::heartbeat::Keyring;
use redirector_core::config::Spec;
use redirector_core::door::Rules;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What belongs to no farm.
pub struct Lead {
    /// The heartbeat receiver's keys.
    pub keyring: Arc<ArcSwap<Keyring>>,
    /// The configuration's file.
    pub config_file: PathBuf,
    /// `--dry-run` was given: it wins over the configuration.
    pub dry_run: bool,
    /// The keeper of certificates.
    pub acme: Arc<Acme>,
    /// The certificates of HTTPS, if that is spoken.
    pub certificates: Option<Arc<Certificates>>,
    /// The service manager.
    pub notifier: Arc<Notifier>,
    /// The other farms, in their order.
    pub others: Vec<Other>,
}

/// Another farm, to its lead.
pub struct Other {
    /// The way to its loop.
    pub asks: mpsc::Sender<Ask>,
    /// What it runs by.
    pub spec: Arc<Spec>,
}

impl Lead {
    /// Reads the configuration again. `old` is what the first farm runs by.
    ///
    /// # Errors
    /// Everything that is wrong with the new one.
    pub fn read(&self, old: &Spec) -> Result<Loaded, Refused> {
        self.notifier.reloading();
        let loaded = load::load(&self.config_file, self.dry_run).and_then(|loaded| {
            let held = self.certificates.as_deref();
            match held.and_then(|held| certificates::worse(held, &loaded.pairs, &self.config_file)) {
                Some(problem) => Err(Refused(vec![problem])),
                None => Ok(loaded),
            }
        });
        self.notifier.ready();
        let mut loaded = loaded?;
        let names = |spec: &Spec| -> Vec<String> { spec.others.iter().map(|o| o.name.to_string()).collect() };
        let (running, wanted) = (names(old), names(&loaded.farm.spec));
        if running != wanted {
            let found = if wanted.is_empty() { "none".to_owned() } else { wanted.join(", ") };
            let expected = format!("the farms that run ({}): farms come and go with a restart", running.join(", "));
            return Err(Refused(vec![loaded.farm.spec.others_place.problem(found, expected)]));
        }
        loaded.farm = loaded.farm.beside(old)?;
        let others = loaded.others.into_iter().zip(&self.others);
        loaded.others = others.map(|(farm, other)| farm.beside(&other.spec)).collect::<Result<_, _>>()?;
        Ok(loaded)
    }

    /// The certificates that the door gets by itself.
    pub fn certificates(&self) -> AcmeView {
        AcmeView { statuses: self.acme.statuses(), outcomes: self.acme.outcomes() }
    }

    /// The certificates in force.
    pub fn pairs(&self) -> Vec<Arc<Pair>> {
        self.certificates.as_deref().map(Certificates::pairs).unwrap_or_default()
    }

    /// Puts in force what belongs to no farm, and tells the other farms theirs. Gives the first farm's part, and the settings that only
    /// a start can change.
    pub fn take_over(&mut self, door: &Door, old: &Spec, loaded: Loaded) -> (Farm, Vec<String>) {
        let Loaded { farm, others, pairs, .. } = loaded;
        let mut needs_restart: Vec<String> = load::needs_restart(old, &farm.spec).into_iter().map(Into::into).collect();
        let spec = Arc::new(load::in_force(old, &farm.spec));
        door.set_limits(Limits::from(&*spec));
        let rules = Arc::new(Rules::new(&spec));
        door.front.rcu(|front| front.with_rules(Arc::clone(&rules)));
        if let Some(certificates) = &self.certificates {
            certificates.configure(pairs);
        }
        self.acme.reload(&spec.acme);
        let mut keyring = Keyring::default();
        load::trust(&mut keyring, &spec, &farm.keys);
        for (farm, other) in others.into_iter().zip(&mut self.others) {
            let (name, changes) = (&other.spec.farm, load::needs_restart(&other.spec, &farm.spec));
            // The door's own settings, which stand in every farm's, were told above.
            let own = changes.iter().filter(|change| change.starts_with("farm") || **change == "provider");
            needs_restart.extend(own.map(|change| format!("{change} of {name}")));
            let farm = Farm { spec: Arc::new(load::in_force(&other.spec, &farm.spec)), ..farm };
            load::trust(&mut keyring, &farm.spec, &farm.keys);
            other.spec = Arc::clone(&farm.spec);
            if other.asks.try_send(Ask::TakeOver(Box::new(farm))).is_err() {
                needs_restart.push(format!("everything of {}, whose control loop is too busy to be told", other.spec.farm));
            }
        }
        self.keyring.store(Arc::new(keyring));
        (Farm { spec, ..farm }, needs_restart)
    }
}

//! From a configuration file to everything that a start or a reload needs: settings and keys, checked whole.
//!
//! `redirector check`, a start and a reload all come through here, so that what passes the check also starts.

use crate::certificates;
use crate::profiles;
use farm_daemon::certificates::Pair;
use farm_daemon::settings::{check_token, read_config, resolve, warn_if_open};
use farm_daemon::state_dir::read_capped;
use farm_shared::config::{Document, Problem, Section, has_errors};
use farm_shared::heartbeat::{FarmKey, Keyring};
use redirector_core::config::{Ec2Spec, ListenSpec, ProviderSpec, Spec};
use redirector_core::farm::Keys;
use redirector_core::room::Pages;
use redirector_core::scale::Blueprint;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

const KEY_BYTES_MAX: u64 = 4096;
/// A page or its texts, in octets.
const TEXT_BYTES_MAX: u64 = 256 * 1024;
const UNREADABLE: &str = "a file that can be read";

/// One farm of a configuration that passed.
#[derive(Clone, Debug)]
pub struct Farm {
    /// The settings.
    pub spec: Arc<Spec>,
    /// The farm's secrets.
    pub keys: Keys,
    /// What the provider can launch.
    pub blueprint: Arc<dyn Blueprint>,
}

/// A configuration that passed.
pub struct Loaded {
    /// The first farm, whose settings hold those of the door as well.
    pub farm: Farm,
    /// The others, in the order of [`Spec::others`].
    pub others: Vec<Farm>,
    /// The certificates of HTTPS, the default first.
    pub pairs: Vec<Pair>,
    /// What is allowed but looks wrong.
    pub warnings: Vec<Problem>,
}

impl Farm {
    /// With the blueprint of what a reload puts in force: launches must not speak of a farm or a region that only a start can change.
    ///
    /// # Errors
    /// The profiles do not fit the settings that stay.
    pub fn beside(self, old: &Spec) -> Result<Self, Refused> {
        if needs_restart(old, &self.spec).is_empty() {
            return Ok(self);
        }
        let launchable = profiles::launchable(&in_force(old, &self.spec), &self.keys.current).map_err(Refused)?;
        Ok(Self { blueprint: launchable.blueprint, ..self })
    }
}

/// All reasons why a configuration is refused; displayed one a line.
#[derive(Debug)]
pub struct Refused(pub Vec<Problem>);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if n == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// Reads and checks `file`. `dry_run` is the command line's, which wins over the file's.
pub fn load(file: &Path, dry_run: bool) -> Result<Loaded, Refused> {
    let name = file.display().to_string();
    let text = read_config(file).map_err(|problem| Refused(vec![problem]))?;
    let document = Document::parse(&name, &text);
    let root = document.root();
    let spec = Spec::read(&root);
    let mut more = Vec::new();
    let loaded = spec.and_then(|mut spec| {
        more.extend(check_token(&spec.admin, file));
        spec.admin.token_file = spec.admin.token_file.map(|path| beside(file, &path));
        spec.access_log.file = spec.access_log.file.map(|path| if path == "-" { path } else { beside(file, &path) });
        spec.state_dir = beside(file, &spec.state_dir);
        more.extend(check_acme(&root, file, &mut spec));
        let keys = farm_files(&root, file, dry_run, &mut spec, &mut more);
        check_announce(&root, &spec);
        let pairs = certificates::read(&root.table("tls", ""), &spec.tls, file, &mut more);
        check_features(&root, &spec);
        Some((spec, keys?, pairs))
    });
    let mut problems = document.finish();
    problems.extend(more);
    // Read even if an option is wrong, so that all problems come at once.
    let loaded = loaded.and_then(|(mut spec, keys, pairs)| {
        let others: Vec<_> =
            (0..spec.others.len()).map(|n| load_other(&mut spec, n, file, dry_run, &mut problems)).collect();
        let farm = launchable(spec, keys, &mut problems);
        Some((farm?, others.into_iter().collect::<Option<Vec<_>>>()?, pairs))
    });
    match loaded {
        Some((farm, others, pairs)) if !has_errors(&problems) => Ok(Loaded { farm, others, pairs, warnings: problems }),
        _ => Err(Refused(problems)),
    }
}

/// One of the other farms, from a file of its own.
fn load_other(main: &mut Spec, n: usize, config: &Path, dry_run: bool, problems: &mut Vec<Problem>) -> Option<Farm> {
    let other = main.others.get(n)?.clone();
    let file = resolve(config, &other.file);
    let text = read_config(&file).map_err(|problem| problems.push(problem)).ok()?;
    let document = Document::parse(&file.display().to_string(), &text);
    let root = document.root();
    let spec = Spec::read_farm(&root, main, &other);
    let mut more = Vec::new();
    let loaded = spec.and_then(|mut spec| {
        let keys = farm_files(&root, &file, dry_run, &mut spec, &mut more);
        Some((spec, keys?))
    });
    problems.extend(document.finish());
    problems.extend(more);
    let (spec, keys) = loaded?;
    if let Some(other) = main.others.get_mut(n) {
        other.target.clone_from(&spec.door.target);
    }
    launchable(spec, keys, problems)
}

/// The files that a farm's settings name: their paths made whole, its secrets read.
fn farm_files(root: &Section, file: &Path, dry_run: bool, spec: &mut Spec, more: &mut Vec<Problem>) -> Option<Keys> {
    let farm = root.table("farm", "The farm of servers behind it.");
    spec.scaler.dry_run |= dry_run;
    if let ProviderSpec::Ec2(ec2) = &mut spec.provider
        && !ec2.profile_file.is_empty()
    {
        ec2.profile_file = beside(file, &ec2.profile_file);
    }
    let room = root.table("waiting_room", "What new sessions get while no server has a place.");
    let text = |option: &str, path: &Option<String>| {
        let path = beside(file, path.as_ref()?);
        let bytes = read_capped(Path::new(&path), TEXT_BYTES_MAX);
        match bytes.map_err(|e| e.to_string()).and_then(|b| String::from_utf8(b).map_err(|e| e.to_string())) {
            Ok(text) => Some((path, text)),
            Err(error) => {
                room.problem(option, format!("{path:?}: {error}"), UNREADABLE);
                None
            }
        }
    };
    let template = text("template_file", &spec.room.template_file);
    let texts = text("texts_file", &spec.room.texts_file);
    match Pages::new(pair(template.as_ref()), pair(texts.as_ref())) {
        Ok(pages) => spec.room.pages = Arc::new(pages),
        Err(found) => more.extend(found),
    }
    let key = |option: &str, path: &String| {
        read_key(Path::new(&beside(file, path)))
            .map_err(|(found, expected)| farm.problem(option, format!("{path:?}: {found}"), expected))
            .ok()
    };
    let current = key("key_file", &spec.key_file);
    let former = spec.key_files_former.iter().map(|path| key("key_files_former", path)).collect::<Option<Vec<_>>>();
    more.extend(warn_if_open(Path::new(&beside(file, &spec.key_file)), &farm.place("key_file")));
    Some(Keys { current: current?, former: former? })
}

fn launchable(spec: Spec, keys: Keys, problems: &mut Vec<Problem>) -> Option<Farm> {
    match profiles::launchable(&spec, &keys.current) {
        Ok(launchable) => {
            problems.extend(launchable.warnings);
            Some(Farm { spec: Arc::new(spec), keys, blueprint: launchable.blueprint })
        }
        Err(found) => {
            problems.extend(found);
            None
        }
    }
}

/// The table of docs/configuration.md.
pub fn options_markdown() -> String {
    let document = Document::describe();
    // What is missing in a description is no problem of anybody's.
    let _ = Spec::read(&document.root());
    farm_shared::config::table_markdown(&document.options())
}

/// Settings that a reload cannot change, of those that differ.
pub fn needs_restart(old: &Spec, new: &Spec) -> Vec<&'static str> {
    let changes = [
        (old.id != new.id, "server.id"),
        (old.listen != new.listen, "server.listen"),
        (old.listeners.tls != new.listeners.tls, "server.listen_tls"),
        (old.listeners.http3 != new.listeners.http3, "server.listen_http3"),
        (old.workers != new.workers, "server.workers"),
        (old.state_dir != new.state_dir, "server.state_dir"),
        (old.farm != new.farm, "farm.name"),
        (old.heartbeat != new.heartbeat, "heartbeat"),
        ((&old.admin.listen, &old.admin.token_file) != (&new.admin.listen, &new.admin.token_file), "admin"),
        (old.announce != new.announce, "announce"),
        (old.acme.listen_agents != new.acme.listen_agents, "acme.listen_agents"),
        (old.access_log != new.access_log, "access_log"),
        (provider(old, new) != new.provider, "provider"),
    ];
    changes.into_iter().filter_map(|(differs, name)| differs.then_some(name)).collect()
}

/// The provider after a reload: the old one, with the new profiles.
fn provider(old: &Spec, new: &Spec) -> ProviderSpec {
    match (&old.provider, &new.provider) {
        (ProviderSpec::Ec2(old), ProviderSpec::Ec2(new)) => {
            let (profile_file, profile) = (new.profile_file.clone(), new.profile.clone());
            ProviderSpec::Ec2(Ec2Spec { profile_file, profile, ..old.clone() })
        }
        (old, _) => old.clone(),
    }
}

/// What a reload puts in force: the new settings, but the old ones where only a start can change them. A farm renamed by half would
/// refuse all its members.
pub fn in_force(old: &Spec, new: &Spec) -> Spec {
    let (provider, old) = (provider(old, new), old.clone());
    Spec {
        id: old.id,
        listen: old.listen,
        listeners: ListenSpec { proxies: new.listeners.proxies.clone(), ..old.listeners },
        workers: old.workers,
        state_dir: old.state_dir,
        farm: old.farm,
        heartbeat: old.heartbeat,
        admin: old.admin,
        announce: old.announce,
        access_log: old.access_log,
        provider,
        ..new.clone()
    }
}

/// What the heartbeat receiver opens messages with.
pub fn trust(keyring: &mut Keyring, spec: &Spec, keys: &Keys) {
    keyring.insert(spec.farm.clone(), keys.current.clone(), spec.allowed_prefixes.clone());
}

/// A file's name and its text.
fn pair(file: Option<&(String, String)>) -> Option<(&str, &str)> {
    file.map(|(name, text)| (name.as_str(), text.as_str()))
}

/// The farm's key from a file of hexadecimal digits.
fn read_key(path: &Path) -> Result<FarmKey, (String, &'static str)> {
    let bytes = read_capped(path, KEY_BYTES_MAX).map_err(|e| (e.to_string(), UNREADABLE))?;
    FarmKey::from_hex(&String::from_utf8_lossy(&bytes)).map_err(|expected| ("no key in it".to_owned(), expected))
}

/// What this build can do is not for the core to know.
fn check_features(root: &Section, spec: &Spec) {
    if !spec.listeners.http3.is_empty() && !cfg!(feature = "http3") {
        let section = root.table("server", "This redirector.");
        section.problem("listen_http3", "HTTP/3", "a redirector built with `--features http3`; this one is not");
    }
}

/// Files that certificates need: their paths made whole, and what is in them looked at.
fn check_acme(root: &Section, config: &Path, spec: &mut Spec) -> Option<Problem> {
    let section = root.table("acme", "Certificates that the front door gets by itself.");
    let acme = &mut spec.acme;
    if let Some(file) = &mut acme.ca_file {
        *file = beside(config, file);
        if let Err(why) = crate::acme::check_ca_file(Path::new(file)) {
            section.problem("ca_file", why, "a file of certificates in PEM form");
        }
    }
    let file = acme.update_key_file.as_mut()?;
    *file = beside(config, file);
    if let Err(why) = crate::acme::read_update_key(Path::new(file)) {
        section.problem("update_key_file", why, "a key as `tsig-keygen` prints it");
    }
    warn_if_open(Path::new(file), &section.place("update_key_file"))
}

/// The core does not know how the agent writes front ends; the agent's own reader does.
fn check_announce(root: &Section, spec: &Spec) {
    let section = root.table("announce", "How this door makes itself known to dnslb.");
    for front in &spec.announce.fronts {
        if let Err(problem) = front.parse::<farm_agent::Front>() {
            section.problem("fronts", problem, "`udp:HOST:PORT` or `http://HOST:PORT/v1/heartbeat`");
        }
    }
    let unspecified = spec.listen.first().is_none_or(|a| a.ip().is_unspecified());
    if !spec.announce.fronts.is_empty() && spec.announce.addresses.is_empty() && unspecified {
        section.warning(
            "addresses",
            "none",
            "the addresses that clients reach this door by; the heartbeat's source is announced",
        );
    }
}

fn beside(config: &Path, path: &str) -> String {
    resolve(config, path).display().to_string()
}

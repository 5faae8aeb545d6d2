//! From a configuration file to everything that it names, read from the disk: zones, keys, the admin token, certificates.
//!
//! Start, `dnslb check`, `dnslb ask` and reload all come through here, so that what one of them accepts the others accept too.
//! Nothing is put in force here, and the content of a secret never shows in a problem.

use dnslb_core::config::{self, Spec};
use dnslb_core::zone::{Files, Zones};
use farm_daemon::admin::{AdminAddr, Token};
use farm_daemon::settings::{AdminListen, read_config, resolve};
use farm_daemon::state_dir::read_capped;
use farm_shared::config::{Place, Problem, has_errors};
use farm_shared::heartbeat::Keyring;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::check_tls::TlsConfigs;

/// Octets of one zone file or key file.
const FILE_OCTETS_MAX: u64 = 256 << 20;

/// Everything that a configuration stands for.
pub struct Loaded {
    /// What it says.
    pub spec: Arc<Spec>,
    /// Its zones.
    pub zones: Arc<Zones>,
    /// The keys of its farms.
    pub keyring: Keyring,
    /// Whom its HTTPS checks trust.
    pub tls: Arc<TlsConfigs>,
    /// Where the admin interface listens, if it does.
    pub admin: Option<AdminAddr>,
    /// What the admin interface asks for on a loopback address.
    pub token: Option<Token>,
    /// The token's file, if it is not there yet: `dnslb serve` makes it.
    pub token_missing: Option<PathBuf>,
    /// Where the state is kept, if it is.
    pub state_dir: Option<PathBuf>,
    /// What is worth a look.
    pub warnings: Vec<Problem>,
}

/// Files beside the configuration: relative paths start at its directory.
struct Beside<'a>(&'a Path);

impl Files for Beside<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let path = resolve(self.0, path);
        read_capped(&path, FILE_OCTETS_MAX).map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// Reads the configuration and what it names. Blocks on the disk.
///
/// # Errors
/// Every problem at once, warnings among them.
pub fn load(path: &Path) -> Result<Loaded, Vec<Problem>> {
    let text = read_config(path).map_err(|problem| vec![problem])?;
    let file = path.display().to_string();
    let loaded = config::load(&file, &text, &Beside(path));
    let (core, mut problems) = match loaded {
        Ok(core) => (Some((core.spec, core.zones)), core.warnings),
        Err(problems) => (None, problems),
    };
    let Some((spec, zones)) = core else { return Err(problems) };
    let place = |key: &str| Place { file: file.clone(), line: line_of(&text, key), key: key.to_owned() };

    let admin = spec.admin.listen.as_ref().and_then(|listen| listen.parse::<AdminAddr>().ok());
    let token_file = spec.admin.token_file.as_ref().map(|token| resolve(path, token));
    let listen = AdminListen { listen: admin.clone(), token_file, token_place: place("admin.token_file") };
    let token_missing = listen.token_file.clone().filter(|file| matches!(admin, Some(AdminAddr::Tcp(_))) && !file.exists());
    let token = if token_missing.is_none() { listen.token(&mut problems) } else { None };
    let mut keyring = Keyring::default();
    for farm in &spec.farms {
        warn_if_open(&resolve(path, &farm.key_file), &place("farm.key_file"), &mut problems);
        if let Some(key) = &farm.key {
            keyring.insert(farm.name.clone(), key.clone(), farm.allowed_prefixes.clone());
        }
    }
    let tls = TlsConfigs::load(&spec, path).unwrap_or_else(|found| {
        let place = place("pool.check.ca_file");
        problems.extend(found.into_iter().map(|found| place.problem(found, "a PEM file with certificates")));
        TlsConfigs::default()
    });
    if has_errors(&problems) {
        return Err(problems);
    }
    let state_dir = spec.server.state_dir.as_ref().map(|dir| resolve(path, dir));
    Ok(Loaded { spec, zones, keyring, tls: Arc::new(tls), admin, token, token_missing, state_dir, warnings: problems })
}

/// The first line on which an option of that name is set, by its last part; 1 if there is none.
fn line_of(text: &str, key: &str) -> usize {
    let option = key.rsplit('.').next().unwrap_or(key);
    let sets = |line: &str| line.trim_start().strip_prefix(option).is_some_and(|rest| rest.trim_start().starts_with('='));
    text.lines().position(sets).map_or(1, |index| index + 1)
}

fn warn_if_open(secret: &Path, place: &Place, problems: &mut Vec<Problem>) {
    let mode = std::fs::metadata(secret).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        let found = format!("{} with the mode {:04o}", secret.display(), mode & 0o7777);
        problems.push(place.warning(found, "a secret that only its owner reads (chmod 0600)"));
    }
}

/// What a reload would have to change and only a restart can: sockets, threads and directories are made once.
pub fn restart_needed(old: &Spec, new: &Spec, config: &Path) -> Vec<Problem> {
    let (a, b) = (&old.server, &new.server);
    let same = [
        ("server.id", a.id == b.id),
        ("server.listen", a.listen == b.listen),
        ("server.workers", a.workers == b.workers),
        ("server.pin_workers", a.pin_workers == b.pin_workers),
        ("server.tcp_connections_max", a.tcp_connections_max == b.tcp_connections_max),
        ("server.tcp_connections_per_client_max", a.tcp_connections_per_client_max == b.tcp_connections_per_client_max),
        ("server.tcp_idle_timeout", a.tcp_idle_timeout_ms == b.tcp_idle_timeout_ms),
        ("server.tcp_total_timeout", a.tcp_total_timeout_ms == b.tcp_total_timeout_ms),
        ("server.state_dir", a.state_dir == b.state_dir),
        ("server.query_log_sample", a.query_log_sample == b.query_log_sample),
        ("heartbeat.listen_udp", old.heartbeat.listen_udp == new.heartbeat.listen_udp),
        ("heartbeat.listen_http", old.heartbeat.listen_http == new.heartbeat.listen_http),
        ("admin.listen", old.admin.listen == new.admin.listen),
        ("admin.token_file", old.admin.token_file == new.admin.token_file),
    ];
    let text = read_config(config).unwrap_or_default();
    let changed = same.into_iter().filter(|(_, same)| !same);
    changed
        .map(|(key, _)| {
            let place = Place { file: config.display().to_string(), line: line_of(&text, key), key: key.into() };
            place.problem(
                "another value than the daemon was started with",
                "the same value, or a restart instead of a reload",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_by_line() {
        let text = "[admin]\nlisten = 'x'\n# token_file\n  token_file='t'\n";
        for (key, expect) in [("admin.listen", 2), ("admin.token_file", 4), ("farm.key_file", 1)] {
            assert_eq!(line_of(text, key), expect, "{key}");
        }
    }
}

//! From a configuration file to everything that it names, read from the disk: zones, keys, the admin token, certificates.
//!
//! Start, `dnslb check`, `dnslb ask` and reload all come through here, so that what one of them accepts the others accept too.
//! Nothing is put in force here, and the content of a secret never shows in a problem.

use dnslb_core::config::{self, FarmSpec, Spec};
use dnslb_core::name::Name;
use dnslb_core::zone::{self, Files, Zone, Zones};
use farm_daemon::clock::Clock;
use farm_daemon::settings::{check_token, read_config, resolve, token_path, warn_if_open};
use farm_daemon::state_dir::read_capped;
use farm_shared::config::{Place, Problem, has_errors};
use farm_shared::heartbeat::Keyring;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::check_tls::TlsConfigs;
use crate::signing;
use farm_daemon::certificates::Pair;

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
    /// The certificate of encrypted transports, if any is configured.
    pub pair: Option<Pair>,
    /// The file of what the admin interface asks for on a loopback address; `dnslb serve` makes it.
    pub token_path: Option<PathBuf>,
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
    problems.extend(check_token(&spec.admin, path));
    if let Some((file, place)) = &spec.service.secret_file {
        problems.extend(warn_if_open(&resolve(path, file), place));
    }
    for key in &spec.key_specs {
        problems.extend(warn_if_open(&resolve(path, &key.secret_file), &key.place));
    }
    if !spec.viewpoints.key_file.is_empty() {
        problems.extend(warn_if_open(&resolve(path, &spec.viewpoints.key_file), &spec.viewpoints.key_place));
    }
    let mut keyring = Keyring::default();
    for FarmSpec { trust, key, .. } in &spec.farms {
        problems.extend(warn_if_open(&resolve(path, &trust.key_file), &trust.key_place));
        if let Some(key) = key {
            keyring.insert(trust.name.clone(), key.clone(), trust.allowed_prefixes.clone());
        }
    }
    let tls = TlsConfigs::load(&spec, path).unwrap_or_else(|found| {
        let key = "pool.check.ca_file";
        let place = Place { file: file.clone(), line: line_of(&text, key), key: key.to_owned() };
        problems.extend(found.into_iter().map(|found| place.problem(found, "a PEM file with certificates")));
        TlsConfigs::default()
    });
    let place =
        Place { file: file.clone(), line: line_of(&text, "dnssec_policy.key_dir"), key: "dnssec_policy.key_dir".into() };
    let (errors, warnings) = signing::inspect(&spec, path);
    problems.extend(
        errors.into_iter().map(|found| place.problem(found, "keys and schedules of the zones that are signed here")),
    );
    problems
        .extend(warnings.into_iter().map(|found| place.warning(found, "a secret that only its owner reads (chmod 0600)")));
    let pair = pair(&spec, path, &text, &mut problems);
    if has_errors(&problems) {
        return Err(problems);
    }
    let state_dir = spec.server.state_dir.as_ref().map(|dir| resolve(path, dir));
    let token_path = token_path(&spec.admin, path);
    Ok(Loaded { spec, zones, keyring, tls: Arc::new(tls), pair, token_path, state_dir, warnings: problems })
}

/// The certificate and key of encrypted transports.
fn pair(spec: &Spec, path: &Path, text: &str, problems: &mut Vec<Problem>) -> Option<Pair> {
    let encrypted = &spec.server.encrypted;
    let (Some(cert), Some(key)) = (&encrypted.cert_file, &encrypted.key_file) else { return None };
    let place = |key: &str| Place { file: path.display().to_string(), line: line_of(text, key), key: key.to_owned() };
    let key = resolve(path, key);
    problems.extend(warn_if_open(&key, &place("server.tls_key_file")));
    match Pair::read(&resolve(path, cert), &key) {
        Ok(pair) => {
            if pair.not_after() < Clock::start().now().wall {
                let expected = "one that is valid: clients refuse this one";
                problems.push(place("server.tls_cert_file").warning("a certificate that is out of date", expected));
            }
            Some(pair)
        }
        Err(why) => {
            problems.push(place("server.tls_cert_file").problem(why, "a certificate and its key in PEM form"));
            None
        }
    }
}

/// Reads one zone from its master file. Blocks on the disk.
///
/// # Errors
/// Every problem at once, warnings among them.
pub fn load_zone(apex: &Name, file: &str, config: &Path) -> Result<Zone, Vec<zone::Problem>> {
    zone::load(apex, &Beside(config), file).map(|loaded| loaded.zone)
}

/// The first line on which an option of that name is set, by its last part; 1 if there is none.
fn line_of(text: &str, key: &str) -> usize {
    let option = key.rsplit('.').next().unwrap_or(key);
    let sets = |line: &str| line.trim_start().strip_prefix(option).is_some_and(|rest| rest.trim_start().starts_with('='));
    text.lines().position(sets).map_or(1, |index| index + 1)
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
        ("server.listen_tls", a.encrypted.listen_tls == b.encrypted.listen_tls),
        ("server.listen_https", a.encrypted.listen_https == b.encrypted.listen_https),
        ("server.listen_quic", a.encrypted.listen_quic == b.encrypted.listen_quic),
        ("server.https_path", a.encrypted.https_path == b.encrypted.https_path),
        ("server.encrypted_connections_max", a.encrypted.connections_max == b.encrypted.connections_max),
        (
            "server.encrypted_connections_per_client_max",
            a.encrypted.connections_per_client_max == b.encrypted.connections_per_client_max,
        ),
        ("server.tls_handshake_timeout", a.encrypted.handshake_timeout_ms == b.encrypted.handshake_timeout_ms),
        ("server.state_dir", a.state_dir == b.state_dir),
        ("rrl.table_entries", table_entries(old) == table_entries(new)),
        ("server.query_log_sample", a.query_log_sample == b.query_log_sample),
        ("heartbeat.listen_udp", old.heartbeat.udp == new.heartbeat.udp),
        ("heartbeat.listen_http", old.heartbeat.http == new.heartbeat.http),
        ("viewpoints.listen", old.viewpoints.listen == new.viewpoints.listen),
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

/// The table of the rate limit, if there is one.
fn table_entries(spec: &Spec) -> Option<usize> {
    spec.service.rrl.as_ref().map(|rrl| rrl.table_entries)
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

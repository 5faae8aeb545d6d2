//! `dnslb keygen` and `dnslb ds`: keys for those who schedule them by hand, and what a parent is to be told.
//!
//! Keys never leave the directory that they are made in, and only public data is printed.

use clap::Args;
use dnslb_core::dnssec::{Algorithm, DigestType, Dnskey, Ds, FLAG_SEP, FLAG_ZONE, KEY_FILE_LEN_MAX, KeyTimes, read_public};
use dnslb_core::name::Name;
use farm_daemon::clock::Clock;
use farm_daemon::state_dir::read_capped;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::key_dir;

/// `dnslb keygen`
#[derive(Debug, Args)]
pub struct Keygen {
    /// The zone.
    zone: Name,
    /// ecdsap256sha256 or ed25519.
    #[arg(short, long, value_parser = algorithm, default_value = "ecdsap256sha256")]
    algorithm: Algorithm,
    /// A key that signs the whole zone and that the parent knows (the default).
    #[arg(long, conflicts_with_all = ["ksk", "zsk"])]
    csk: bool,
    /// A key that signs the DNSKEY set and that the parent knows.
    #[arg(long, conflicts_with = "zsk")]
    ksk: bool,
    /// A key that signs everything else.
    #[arg(long)]
    zsk: bool,
    /// Where the key goes.
    #[arg(short = 'K', long, value_name = "DIR", default_value = ".")]
    key_dir: PathBuf,
}

/// `dnslb ds`
#[derive(Debug, Args)]
pub struct DsOf {
    /// The zone, or a .key file.
    #[arg(value_name = "ZONE|KEYFILE")]
    of: String,
    /// Where the zone's keys are.
    #[arg(short = 'K', long, value_name = "DIR", default_value = ".")]
    key_dir: PathBuf,
    /// With the longer digest as well.
    #[arg(long)]
    sha384: bool,
    /// As CDS and CDNSKEY records.
    #[arg(long)]
    cds: bool,
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    text.parse().map_err(|expected| format!("expected {expected}"))
}

/// Makes a key, and returns what is printed: the name that its files start with, as dnssec-keygen does.
///
/// # Errors
/// In words.
pub fn keygen(command: &Keygen) -> Result<String, String> {
    let flags = if command.zsk { FLAG_ZONE } else { FLAG_ZONE | FLAG_SEP };
    let now_s = Some(Clock::start().now().wall.0 / 1_000);
    let times = KeyTimes { created_s: now_s, publish_s: now_s, activate_s: now_s, ..KeyTimes::default() };
    let dir = &command.key_dir;
    let fail = |error: std::io::Error| format!("{}: {error}", dir.display());
    let taken: Vec<u16> =
        key_dir::read(dir, &command.zone).map_err(fail)?.keys.iter().map(|(_, key)| key.key.tag()).collect();
    let key = key_dir::make(&command.zone, command.algorithm, flags, times, &|tag| taken.contains(&tag)).map_err(fail)?;
    key_dir::write(dir, &key).map_err(fail)?;
    Ok(format!("{}\n", key.base_name()))
}

/// The DS records of a zone's keys, or of one key.
///
/// # Errors
/// In words.
pub fn ds(command: &DsOf) -> Result<String, String> {
    let keys = if Path::new(&command.of).extension().is_some_and(|extension| extension == "key") {
        vec![public(Path::new(&command.of))?]
    } else {
        let zone: Name = command.of.parse().map_err(|error| format!("{:?}: {error}", command.of))?;
        entry_keys(&command.key_dir, &zone)?
    };
    let mut out = String::new();
    for (zone, key) in keys {
        let digests = [Some(DigestType::Sha256), command.sha384.then_some(DigestType::Sha384)];
        for digest in digests.into_iter().flatten() {
            let rtype = if command.cds { "CDS" } else { "DS" };
            let _ = writeln!(out, "{zone} IN {rtype} {}", Ds::new(&zone, &key, digest));
        }
        if command.cds {
            let _ = writeln!(out, "{zone} IN CDNSKEY {key}");
        }
    }
    Ok(out)
}

/// The keys of a zone that a parent can know.
fn entry_keys(dir: &Path, zone: &Name) -> Result<Vec<(Name, Dnskey)>, String> {
    let fail = |error: std::io::Error| format!("{}: {error}", dir.display());
    let prefix = dnslb_core::dnssec::base_name(zone, 0, 0);
    let prefix = prefix.strip_suffix("000+00000").unwrap_or(&prefix).to_owned();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)
        .map_err(fail)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "key"))
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&prefix)))
        .collect();
    paths.sort_unstable();
    let keys: Vec<(Name, Dnskey)> = paths.iter().map(|path| public(path)).collect::<Result<_, _>>()?;
    let entries: Vec<_> = keys.into_iter().filter(|(_, key)| key.flags() & FLAG_SEP != 0).collect();
    if entries.is_empty() {
        return Err(format!("{}: no key of {zone} that a parent can know (KSK or CSK)", dir.display()));
    }
    Ok(entries)
}

fn public(path: &Path) -> Result<(Name, Dnskey), String> {
    let fail = |text: String| format!("{}: {text}", path.display());
    let octets = read_capped(path, KEY_FILE_LEN_MAX as u64).map_err(|error| fail(error.to_string()))?;
    let text = String::from_utf8(octets).map_err(|_| fail("octets that are no UTF-8".to_owned()))?;
    read_public(&text).map_err(|error| fail(error.to_string()))
}

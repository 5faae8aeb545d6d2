//! The certificates that a configuration names: read, judged, and put in force.
//!
//! A reload must never leave the front door with a worse certificate than it had.

use farm_daemon::certificates::{Certificates, Pair};
use farm_daemon::clock::Clock;
use farm_daemon::settings::{resolve, warn_if_open};
use farm_shared::config::{Problem, Section};
use redirector_core::config::TlsSpec;
use std::path::Path;

/// Reads all pairs of `[tls]`, relative to the file `config`. What is wrong is noted in the section's document; what is noted in
/// `warnings` is not.
pub fn read(tls: &Section, spec: &TlsSpec, config: &Path, warnings: &mut Vec<Problem>) -> Vec<Pair> {
    let now = Clock::start().now().wall;
    let more = tls.tables("certificate", "");
    let sections = tls.has("cert_file").then_some(tls).into_iter().chain(&more);
    let mut pairs = Vec::new();
    for (certificate, section) in spec.certificates.iter().zip(sections) {
        let [cert, key] = [&certificate.cert_file, &certificate.key_file].map(|file| resolve(config, file));
        warnings.extend(warn_if_open(&key, &section.place("key_file")));
        match Pair::read(&cert, &key) {
            Ok(pair) => {
                if pair.not_after() < now {
                    let expected = "one that is valid: clients refuse this one";
                    section.warning("cert_file", "a certificate that is out of date", expected);
                }
                if pair.names().is_empty() {
                    section.warning("cert_file", "a certificate without DNS names", "names: clients look for them");
                }
                pairs.push(pair);
            }
            Err(why) => section.problem("cert_file", why, "a certificate and its key in PEM form"),
        }
    }
    pairs
}

/// Why a reload must not put these pairs in force: one is out of date, where the one in force is not.
pub fn worse(certificates: &Certificates, pairs: &[Pair], config: &Path) -> Option<Problem> {
    let now = Clock::start().now().wall;
    let bad = pairs.iter().find(|pair| certificates.is_worse(pair, now))?;
    let place = farm_shared::config::Place { file: config.display().to_string(), line: 1, key: "tls.cert_file".to_owned() };
    let found = format!("{}: a certificate that is out of date", bad.files()[0].display());
    Some(place.problem(found, "one that is valid, as the one in force is"))
}

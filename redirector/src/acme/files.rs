//! What the keeper of certificates has on the disk, all of it 0600 and replaced whole:
//!
//! * `acme-ID.pem`: key and chain in one file, so that no reader ever sees one of a pair;
//! * `acme-ID.json`: the state of its machine;
//! * `acme-ID.key`: the key of an order under way;
//! * `acme-account-….json`: the account at one directory.

use farm_daemon::state_dir::StateDir;
use farm_shared::id::Id;
use redirector_core::acme::{Facts, State};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

const FILE_BYTES_MAX: u64 = 1 << 20;

/// The state directory, off the event loop.
#[derive(Clone, Debug)]
pub(super) struct Files(Arc<StateDir>);

impl Files {
    pub(super) fn new(state_dir: Arc<StateDir>) -> Self {
        Self(state_dir)
    }

    /// Replaces a file, durable when this returns.
    pub(super) async fn write(&self, name: String, bytes: Vec<u8>) -> Result<(), String> {
        let state_dir = Arc::clone(&self.0);
        let shown = name.clone();
        let outcome = tokio::task::spawn_blocking(move || state_dir.write(&name, &bytes)).await;
        outcome.map_err(|error| error.to_string())?.map_err(|error| format!("{shown} cannot be written: {error}"))
    }

    /// A file's octets; none if there is none.
    pub(super) async fn read(&self, name: String) -> Result<Option<Vec<u8>>, String> {
        let state_dir = Arc::clone(&self.0);
        let shown = name.clone();
        let outcome = tokio::task::spawn_blocking(move || state_dir.read(&name, FILE_BYTES_MAX)).await;
        outcome.map_err(|error| error.to_string())?.map_err(|error| format!("{shown} cannot be read: {error}"))
    }

    /// Takes a file away, if it is there.
    pub(super) async fn remove(&self, name: String) {
        let path = self.0.path().join(name);
        let _ = tokio::task::spawn_blocking(move || std::fs::remove_file(path)).await;
    }

    /// The state of a machine; a damaged file is set aside, since a certificate matters more than the history of one.
    pub(super) async fn state(&self, id: &Id) -> State {
        let name = format!("acme-{id}.json");
        match self.read(name.clone()).await {
            Ok(None) => State::default(),
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::error!(%error, "{name} cannot be understood: beginning without it");
                State::default()
            }),
            Err(error) => {
                tracing::error!(error, "beginning without the state of certificate {id}");
                State::default()
            }
        }
    }

    /// The file that has key and chain of a certificate, whether it is there yet or not.
    pub(super) fn certificate_file(&self, id: &Id) -> PathBuf {
        self.0.path().join(certificate_name(id))
    }

    /// What the certificate on the disk says; none if there is none.
    pub(super) async fn facts(&self, id: &Id) -> Option<Facts> {
        let text = self.read(certificate_name(id)).await.ok()??;
        facts_of(&text).ok()
    }
}

/// The file of a certificate and its key, in the state directory.
pub(super) fn certificate_name(id: &Id) -> String {
    format!("acme-{id}.pem")
}

fn first_der(pem: &[u8]) -> Result<CertificateDer<'static>, String> {
    let first = CertificateDer::pem_slice_iter(pem).next().ok_or("no certificate in PEM form")?;
    first.map_err(|error| format!("a certificate that cannot be read: {error}"))
}

/// What the first certificate of a chain says.
///
/// # Errors
/// It cannot be read.
pub(super) fn facts_of(pem: &[u8]) -> Result<Facts, String> {
    let der = first_der(pem)?;
    let (_, certificate) =
        X509Certificate::from_der(&der).map_err(|error| format!("a certificate that cannot be read: {error}"))?;
    let validity = certificate.validity();
    let ms = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0).saturating_mul(1_000);
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let mut names: Vec<String> = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    names.sort();
    names.dedup();
    let id = instant_acme::CertificateIdentifier::try_from(&der).ok().map(|id| id.to_string());
    Ok(Facts { names, not_before_ms: ms(validity.not_before), not_after_ms: ms(validity.not_after), id })
}

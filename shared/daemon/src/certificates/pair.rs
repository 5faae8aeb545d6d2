//! A certificate and its key: read from two files, known by the names in it.
//!
//! What is read here is what an operator configured or a certificate authority sent. It must never show a key in an error.

use crate::state_dir::read_capped;
use farm_shared::time::Wall;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Octets of one file. Chains of more than a few certificates are longer than a client takes.
const FILE_OCTETS_MAX: u64 = 1 << 20;
/// Names of one certificate that are looked at; certificate authorities allow a hundred.
const NAMES_MAX: usize = 1_000;

/// What tells that a file was replaced or written: device, inode, length, time of the last change in nanoseconds.
pub(super) type Stamp = Option<[u64; 4]>;

/// A certificate with its key, and whence they came.
#[derive(Clone)]
pub struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) names: Vec<String>,
    pub(super) not_after: Wall,
    pub(super) files: [PathBuf; 2],
    pub(super) stamps: [Stamp; 2],
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("names", &self.names).field("files", &self.files).finish_non_exhaustive()
    }
}

impl Pair {
    /// Reads both files. Blocks on the disk.
    ///
    /// # Errors
    /// In words, for whoever configured the files; never with their content.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, String> {
        let files = [cert.to_path_buf(), key.to_path_buf()];
        // Before the files are read: what changes meanwhile is seen at the next look.
        let stamps = stamps(&files);
        let text = |file: &Path| read_capped(file, FILE_OCTETS_MAX).map_err(|error| format!("{}: {error}", file.display()));
        let (cert_text, key_text) = (text(cert)?, text(key)?);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&cert_text).collect();
        let chain = chain.map_err(|error| format!("{}: {error}", cert.display()))?;
        let first = chain.first().ok_or_else(|| format!("{}: no certificate in PEM form", cert.display()))?;
        let (names, not_after) =
            names_and_end(first).ok_or_else(|| format!("{}: a certificate that cannot be read", cert.display()))?;
        // The reason stays out: it could show what the file holds.
        let der = PrivateKeyDer::from_pem_slice(&key_text)
            .map_err(|_| format!("{}: no private key in PEM form", key.display()))?;
        let certified = CertifiedKey::from_der(chain, der, &aws_lc_rs::default_provider());
        let certified =
            certified.map_err(|error| format!("{} and {} make no pair: {error}", cert.display(), key.display()))?;
        Ok(Self { key: Arc::new(certified), names, not_after, files, stamps })
    }

    /// When the certificate ends.
    pub fn not_after(&self) -> Wall {
        self.not_after
    }

    /// The DNS names that it holds for, in lower case; a wildcard begins with `*.`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The files of the certificate and of the key.
    pub fn files(&self) -> &[PathBuf; 2] {
        &self.files
    }
}

/// The names (RFC 5280 4.2.1.6; the subject's common name counts no more, RFC 9525 2) and the end of validity.
fn names_and_end(der: &[u8]) -> Option<(Vec<String>, Wall)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let end_s = u64::try_from(certificate.validity().not_after.timestamp().max(0)).ok()?;
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names = alternatives.iter().flat_map(|extension| &extension.value.general_names).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    Some((names.take(NAMES_MAX).collect(), Wall(end_s.saturating_mul(1_000))))
}

pub(super) fn stamps(files: &[PathBuf; 2]) -> [Stamp; 2] {
    files.each_ref().map(|file| stamp(file))
}

fn stamp(file: &Path) -> Stamp {
    let metadata = std::fs::metadata(file).ok()?;
    let changed_ns = metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec());
    Some([metadata.dev(), metadata.ino(), metadata.len(), changed_ns as u64])
}

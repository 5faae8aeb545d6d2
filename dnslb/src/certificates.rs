//! The certificate of the encrypted transports: read from its two files, and read again when they change.
//!
//! What is served must never get worse by a reload: a pair that cannot be read, does not fit together or is out of date leaves the
//! old one in place, and is said once. Connections that are open go on with what they began with.

use arc_swap::ArcSwap;
use dnslb_core::health::not_after;
use farm_daemon::clock::Clock;
use farm_daemon::state_dir::read_capped;
use farm_shared::time::Wall;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};

/// Octets of one file. Chains of more than a few certificates are longer than a client takes.
const FILE_OCTETS_MAX: u64 = 1 << 20;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What tells that a file was replaced or written: device, inode, length, time of the last change in nanoseconds.
type Stamp = Option<[u64; 4]>;

/// A certificate with its key, and whence they came.
pub struct Pair {
    key: Arc<CertifiedKey>,
    not_after: Wall,
    files: [PathBuf; 2],
    stamps: [Stamp; 2],
}

impl Pair {
    /// Reads both files. Blocks on the disk.
    ///
    /// # Errors
    /// In words, for whoever configured the files; never with their content.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, String> {
        let files = [cert.to_path_buf(), key.to_path_buf()];
        // Before the files are read: what changes meanwhile is seen at the next look.
        let stamps = files.each_ref().map(|file| stamp(file));
        let text = |file: &Path| read_capped(file, FILE_OCTETS_MAX).map_err(|error| format!("{}: {error}", file.display()));
        let (cert_text, key_text) = (text(cert)?, text(key)?);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&cert_text).collect();
        let chain = chain.map_err(|error| format!("{}: {error}", cert.display()))?;
        let first = chain.first().ok_or_else(|| format!("{}: no certificate in PEM form", cert.display()))?;
        let not_after = not_after(first).ok_or_else(|| format!("{}: a certificate that cannot be read", cert.display()))?;
        // The reason stays out: it could show what the file holds.
        let der = PrivateKeyDer::from_pem_slice(&key_text)
            .map_err(|_| format!("{}: no private key in PEM form", key.display()))?;
        let certified = CertifiedKey::from_der(chain, der, &aws_lc_rs::default_provider());
        let certified =
            certified.map_err(|error| format!("{} and {} make no pair: {error}", cert.display(), key.display()))?;
        Ok(Self { key: Arc::new(certified), not_after, files, stamps })
    }

    /// When the certificate ends.
    pub fn not_after(&self) -> Wall {
        self.not_after
    }
}

fn stamp(file: &Path) -> Stamp {
    let metadata = std::fs::metadata(file).ok()?;
    let changed_ns = metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec());
    Some([metadata.dev(), metadata.ino(), metadata.len(), changed_ns as u64])
}

/// The pair in force.
pub struct Certificates {
    current: Arc<Current>,
    /// Stamps of the files at the last attempt to read them, good or bad.
    tried: Mutex<[Stamp; 2]>,
    loads: [AtomicU64; 2],
}

#[derive(Debug)]
struct Current(ArcSwap<Held>);

struct Held(Pair);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Held").field(&self.0.files).finish()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().0.key))
    }
}

impl Certificates {
    /// Begins with a pair.
    pub fn new(pair: Pair) -> Self {
        let tried = Mutex::new(pair.stamps);
        Self { current: Arc::new(Current(ArcSwap::from_pointee(Held(pair)))), tried, loads: Default::default() }
    }

    /// Puts another pair in force, from other files perhaps.
    pub fn replace(&self, pair: Pair) {
        *self.tried.lock().unwrap_or_else(PoisonError::into_inner) = pair.stamps;
        self.current.0.store(Arc::new(Held(pair)));
        self.counter(true).fetch_add(1, Relaxed);
    }

    /// When the certificate in force ends.
    pub fn not_after(&self) -> Wall {
        self.current.0.load().0.not_after
    }

    /// Whether a pair is out of date and would take the place of one that is not.
    pub fn is_worse(&self, pair: &Pair, now: Wall) -> bool {
        pair.not_after < now && self.not_after() >= now
    }

    /// Pairs that were put in force after the first one, and changes of the files that were not.
    pub fn loads(&self) -> [u64; 2] {
        [true, false].map(|ok| self.counter(ok).load(Relaxed))
    }

    fn counter(&self, ok: bool) -> &AtomicU64 {
        let [good, bad] = &self.loads;
        if ok { good } else { bad }
    }

    /// Reads the files again if they changed since the last look. Blocks on the disk.
    ///
    /// # Errors
    /// Why the old pair stays.
    pub fn look(&self, now: Wall) -> Result<bool, String> {
        let files = self.current.0.load().0.files.clone();
        let stamps = files.each_ref().map(|file| stamp(file));
        {
            let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
            if *tried == stamps {
                return Ok(false);
            }
            *tried = stamps;
        }
        let [cert, key] = &files;
        let pair = Pair::read(cert, key).and_then(|pair| {
            let over = pair.not_after < now;
            if over { Err(format!("{}: the certificate is out of date", cert.display())) } else { Ok(pair) }
        });
        match pair {
            Ok(pair) => {
                self.replace(pair);
                Ok(true)
            }
            Err(why) => {
                self.counter(false).fetch_add(1, Relaxed);
                Err(why)
            }
        }
    }

    /// Looks at the files every second, until dropped.
    pub async fn watch(self: Arc<Self>, clock: Clock) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let this = Arc::clone(&self);
            let look = tokio::task::spawn_blocking(move || this.look(clock.now().wall));
            match look.await {
                Ok(Ok(true)) => tracing::info!("the new certificate is in force"),
                Ok(Err(why)) => tracing::error!(why, "the changed certificate is refused; the old one is served on"),
                Ok(Ok(false)) | Err(_) => {}
            }
        }
    }

    /// What a listener shakes hands with. All share one certificate; `alpn` is what is spoken there, the preferred first.
    ///
    /// # Errors
    /// If the provider lacks what a configuration needs.
    pub fn server_config(&self, alpn: &[&[u8]], quic: bool) -> Result<ServerConfig, String> {
        let versions = if quic { &[&TLS13][..] } else { &[&TLS13, &TLS12] };
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .map_err(|error| format!("TLS: {error}"))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        // Tickets instead of a table: a client's session costs it memory, not us. Early data stays off, since whoever replays it
        // would be answered again (RFC 9250 4.5).
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| format!("TLS: {error}"))?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::test_certificate::{TestFolder, make};

    #[test]
    fn a_bad_pair_leaves_the_old_one_in_place() {
        let Some(folder) = TestFolder::new("reload") else { return };
        let [cert, key, other] = ["cert.pem", "key.pem", "other.pem"].map(|name| folder.path().join(name));
        assert!(make(folder.path(), "cert.pem", "key.pem", "a.example"));
        assert!(make(folder.path(), "other.pem", "other-key.pem", "b.example"));
        let now = Wall(0);
        let certificates = Certificates::new(Pair::read(&cert, &key).unwrap());
        let served = || certificates.current.0.load().0.key.cert.first().unwrap().to_vec();
        let first = served();
        assert_eq!(certificates.look(now), Ok(false));
        // The new certificate is there before its key: no pair, and said once.
        std::fs::rename(&other, &cert).unwrap();
        assert!(certificates.look(now).unwrap_err().contains("make no pair"));
        assert_eq!(certificates.look(now), Ok(false));
        assert_eq!(served(), first);
        std::fs::rename(folder.path().join("other-key.pem"), &key).unwrap();
        assert_eq!(certificates.look(now), Ok(true));
        let second = served();
        assert_ne!(second, first);
        for (file, text) in [(&key, &b"no key"[..]), (&cert, b""), (&cert, &[0xff; 64])] {
            std::fs::write(file, text).unwrap();
            assert!(certificates.look(now).is_err());
        }
        std::fs::remove_file(&cert).unwrap();
        assert!(certificates.look(now).is_err());
        assert!(make(folder.path(), "cert.pem", "key.pem", "c.example"));
        assert!(certificates.look(Wall(u64::MAX)).unwrap_err().contains("out of date"));
        let end = certificates.not_after();
        let same = Pair::read(&certificates.current.0.load().0.files[0], &certificates.current.0.load().0.files[1]).unwrap();
        assert!(!certificates.is_worse(&same, end), "valid");
        assert!(!certificates.is_worse(&same, Wall(end.0 + 1)), "as bad as the one in force");
        assert!(certificates.is_worse(&Pair { not_after: Wall(1), ..same }, Wall(2)));
        assert_eq!(served(), second);
        assert_eq!(certificates.loads(), [1, 6]);
    }

    #[test]
    fn a_key_never_shows_in_an_error() {
        let Some(folder) = TestFolder::new("secret") else { return };
        assert!(make(folder.path(), "cert.pem", "key.pem", "a.example"));
        let key = folder.path().join("key.pem");
        std::fs::write(&key, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n").unwrap();
        let why = Pair::read(&folder.path().join("cert.pem"), &key).err().unwrap();
        assert!(why.ends_with("no private key in PEM form"), "{why}");
    }
}

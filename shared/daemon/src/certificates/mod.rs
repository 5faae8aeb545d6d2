//! The certificates of encrypted transports: read from their files, chosen by the name that a client asks for (SNI, RFC 6066 3), and
//! read again when the files change.
//!
//! What is served must never get worse by a reload: a pair that cannot be read, does not fit together or is out of date leaves the
//! old one in place, and is said once. Connections that are open go on with what they began with.

mod pair;
#[cfg(test)]
mod tests;

pub use pair::Pair;

use crate::clock::Clock;
use arc_swap::ArcSwap;
use farm_shared::time::Wall;
use pair::{Stamp, stamps};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ServerConfig, SignatureScheme};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The pairs in force.
pub struct Certificates {
    current: Arc<Current>,
    /// What `current` is made from. Locked when something changes, never for a handshake.
    pairs: Mutex<Pairs>,
    loads: [AtomicU64; 2],
}

#[derive(Debug)]
struct Current(ArcSwap<Index>);

/// All pairs, and which of them hold for a name. The first is for whoever names none that is known.
#[derive(Debug, Default)]
struct Index {
    pairs: Vec<Arc<Pair>>,
    by_name: BTreeMap<String, Vec<usize>>,
}

#[derive(Default)]
struct Pairs {
    configured: Vec<Entry>,
    obtained: Vec<Entry>,
}

struct Entry {
    pair: Arc<Pair>,
    /// Stamps of the files at the last attempt to read them, good or bad.
    tried: [Stamp; 2],
}

impl From<Pair> for Entry {
    fn from(pair: Pair) -> Self {
        Self { tried: pair.stamps, pair: Arc::new(pair) }
    }
}

impl Pairs {
    fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.configured.iter().chain(&self.obtained)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.configured.iter_mut().chain(&mut self.obtained)
    }

    fn index(&self) -> Index {
        let mut index = Index::default();
        for (n, entry) in self.iter().enumerate() {
            for name in &entry.pair.names {
                index.by_name.entry(name.clone()).or_default().push(n);
            }
            index.pairs.push(Arc::clone(&entry.pair));
        }
        index
    }
}

impl Index {
    /// The pair for a client: of those that hold for the name it asks for, the first whose key it can check.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<Pair>> {
        let fit = |places: &[usize]| {
            let pairs = || places.iter().filter_map(|n| self.pairs.get(*n));
            pairs().find(|pair| pair.key.key.choose_scheme(schemes).is_some()).or_else(|| pairs().next())
        };
        name.and_then(|name| self.named(name)).map_or_else(|| self.pairs.first(), fit)
    }

    fn named(&self, name: &str) -> Option<&[usize]> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Some(places) = self.by_name.get(&name) {
            return Some(places);
        }
        // A wildcard stands for one whole label (RFC 6125 6.4.3).
        let (_, parent) = name.split_once('.')?;
        self.by_name.get(&format!("*.{parent}")).map(Vec::as_slice)
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let index = self.0.load();
        index.choose(client.server_name(), client.signature_schemes()).map(|pair| Arc::clone(&pair.key))
    }
}

impl Certificates {
    /// Begins with one pair.
    pub fn new(pair: Pair) -> Self {
        Self::of(vec![pair])
    }

    /// Begins with several pairs, the default first; none is allowed, and no handshake succeeds until there is one.
    pub fn of(pairs: Vec<Pair>) -> Self {
        let pairs = Pairs { configured: pairs.into_iter().map(Entry::from).collect(), obtained: Vec::new() };
        let current = Arc::new(Current(ArcSwap::from_pointee(pairs.index())));
        Self { current, pairs: Mutex::new(pairs), loads: Default::default() }
    }

    /// Puts another pair in force in place of the configured ones, from other files perhaps.
    pub fn replace(&self, pair: Pair) {
        self.configure(vec![pair]);
    }

    /// Puts other configured pairs in force; what [`Certificates::put`] brought stays.
    pub fn configure(&self, pairs: Vec<Pair>) {
        let mut held = self.lock();
        self.counter(true).fetch_add(pairs.len() as u64, Relaxed);
        held.configured = pairs.into_iter().map(Entry::from).collect();
        self.current.0.store(Arc::new(held.index()));
    }

    /// Puts a pair in force that the daemon obtained by itself: in place of the one of the same files, or beside all others.
    pub fn put(&self, pair: Pair) {
        let mut held = self.lock();
        match held.obtained.iter_mut().find(|entry| entry.pair.files == pair.files) {
            Some(entry) => *entry = pair.into(),
            None => held.obtained.push(pair.into()),
        }
        self.counter(true).fetch_add(1, Relaxed);
        self.current.0.store(Arc::new(held.index()));
    }

    /// The pairs in force, the default first.
    pub fn pairs(&self) -> Vec<Arc<Pair>> {
        self.current.0.load().pairs.clone()
    }

    /// When the first of the certificates in force ends; with none, the end of time.
    pub fn not_after(&self) -> Wall {
        self.current.0.load().pairs.iter().map(|pair| pair.not_after).min().unwrap_or(Wall(u64::MAX))
    }

    /// Whether a pair is out of date and would take the place of one that is not.
    pub fn is_worse(&self, pair: &Pair, now: Wall) -> bool {
        let index = self.current.0.load();
        let of_files = index.pairs.iter().find(|held| held.files == pair.files).or(index.pairs.first());
        pair.not_after < now && of_files.is_some_and(|held| held.not_after >= now)
    }

    /// Pairs that were put in force after the first ones, and changes of the files that were not.
    pub fn loads(&self) -> [u64; 2] {
        [true, false].map(|ok| self.counter(ok).load(Relaxed))
    }

    fn counter(&self, ok: bool) -> &AtomicU64 {
        let [good, bad] = &self.loads;
        if ok { good } else { bad }
    }

    fn lock(&self) -> MutexGuard<'_, Pairs> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads those files again that changed since the last look. Blocks on the disk. Whether a new pair is in force.
    ///
    /// # Errors
    /// Why an old pair stays; others may have been replaced.
    pub fn look(&self, now: Wall) -> Result<bool, String> {
        let mut changed = Vec::new();
        for entry in self.lock().iter_mut() {
            let stamps = stamps(&entry.pair.files);
            if entry.tried != stamps {
                entry.tried = stamps;
                changed.push(entry.pair.files.clone());
            }
        }
        let (mut replaced, mut refused) = (false, Vec::new());
        for files in changed {
            let [cert, key] = &files;
            let pair = Pair::read(cert, key).and_then(|pair| {
                let over = pair.not_after < now;
                if over { Err(format!("{}: the certificate is out of date", cert.display())) } else { Ok(pair) }
            });
            match pair {
                Ok(pair) => replaced |= self.renew(pair),
                Err(why) => {
                    self.counter(false).fetch_add(1, Relaxed);
                    refused.push(why);
                }
            }
        }
        if refused.is_empty() { Ok(replaced) } else { Err(refused.join("; ")) }
    }

    /// In place of the pair of the same files, if it is still there.
    fn renew(&self, pair: Pair) -> bool {
        let mut held = self.lock();
        let Some(entry) = held.iter_mut().find(|entry| entry.pair.files == pair.files) else { return false };
        *entry = pair.into();
        self.counter(true).fetch_add(1, Relaxed);
        self.current.0.store(Arc::new(held.index()));
        true
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

    /// What a listener shakes hands with. All share the certificates; `alpn` is what is spoken there, the preferred first.
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

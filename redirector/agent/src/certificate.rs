//! Fetches the farm's certificate from a front door, puts it where the backend's server finds it, and has that server told.
//!
//! It must never hold up a heartbeat, never write what it cannot prove to come from a door of its farm, and never run a shell.

use crate::clock::Clock;
use crate::http::exchange_over;
use crate::settings::HttpsUrl;
use bytes::Bytes;
use farm_shared::certificate::{ANSWER_BYTES_MAX, ANSWERING, ASKING, Answer, Ask, PATH, Pair};
use farm_shared::draw::Draws;
use farm_shared::heartbeat::MemberKey;
use farm_shared::hex;
use farm_shared::id::Id;
use http_body_util::Full;
use hyper::Request;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const EXCHANGE_MAX: Duration = Duration::from_secs(10);
const HOOK_MAX: Duration = Duration::from_mins(1);
const RETRY_MS_MIN: u64 = 1_000;
const RETRY_MS_MAX: u64 = 300_000;
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What is to be fetched, whence, and where it goes.
#[derive(Clone, Debug)]
pub struct CertificateSettings {
    /// Doors that hand it out; the first that answers is enough.
    pub from: Vec<HttpsUrl>,
    /// The name that the door's certificate must have, where it is not the host of its address.
    pub name: Option<String>,
    /// Certificates (PEM) that the door's may be signed by, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Which certificate; the first that backends may have unless given.
    pub certificate: Option<Id>,
    /// Where `fullchain.pem` and `key.pem` are written.
    pub dir: PathBuf,
    /// Program and arguments that run after a change. Empty: nothing.
    pub hook: Vec<String>,
    /// How often it is asked for, in milliseconds.
    pub every_ms: u64,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The farm.
    pub farm: Id,
    /// The member.
    pub id: Id,
    /// Its key.
    pub key: MemberKey,
}

/// Keeps the files up to date, until dropped. `has` turns true once they are there.
pub async fn keep(settings: CertificateSettings, asker: Asker, has: watch::Sender<bool>) {
    let clock = Clock::start();
    let mut draws = Draws::from_u64(clock.now().wall.0 ^ u64::from(std::process::id()) << 44).child("certificate", 0);
    let mut retry_ms = RETRY_MS_MIN;
    let mut offset_ms = 0;
    // A hook that failed is owed still; so is one after a crash between the files and it, which cannot be told from the files.
    let mut owed = false;
    has.send_replace(files(&settings.dir).is_some());
    loop {
        let outcome = once(&settings, &asker, &clock, &mut offset_ms, &mut owed).await;
        has.send_if_modified(|has| !std::mem::replace(has, *has || outcome.is_ok()));
        let pause_ms = match outcome {
            Ok(()) => {
                retry_ms = RETRY_MS_MIN;
                settings.every_ms
            }
            Err(error) => {
                tracing::warn!(%error, "the farm's certificate could not be fetched; what is there stays");
                retry_ms = (retry_ms * 2).min(RETRY_MS_MAX);
                retry_ms.min(settings.every_ms)
            }
        };
        sleep(Duration::from_millis(draws.jitter_ms(pause_ms, 0.1))).await;
    }
}

async fn once(
    settings: &CertificateSettings,
    asker: &Asker,
    clock: &Clock,
    offset_ms: &mut i64,
    owed: &mut bool,
) -> io::Result<()> {
    let mut outcome = Err(io::Error::other("no door is named"));
    for url in &settings.from {
        outcome = fetch(settings, asker, url, clock, offset_ms).await;
        match &outcome {
            Ok(_) => break,
            Err(error) => tracing::debug!(door = %url, %error, "no certificate from this door"),
        }
    }
    let pair = outcome?;
    let dir = settings.dir.clone();
    let written = tokio::task::spawn_blocking(move || put(&dir, &pair)).await.map_err(io::Error::other)??;
    *owed |= written;
    if written {
        tracing::info!(dir = %settings.dir.display(), "the farm's certificate is new");
    }
    if *owed {
        run_hook(&settings.hook).await?;
        *owed = false;
    }
    Ok(())
}

async fn fetch(
    settings: &CertificateSettings,
    asker: &Asker,
    url: &HttpsUrl,
    clock: &Clock,
    offset_ms: &mut i64,
) -> io::Result<Pair> {
    let ca_file = settings.ca_file.clone();
    let tls = tokio::task::spawn_blocking(move || trust(ca_file.as_deref())).await.map_err(io::Error::other)??;
    // Twice: a door tells a member whose clock is wrong what time it is.
    for _ in 0..2 {
        let answer = timeout(EXCHANGE_MAX, ask(settings, asker, url, &tls, clock, *offset_ms)).await;
        let answer = answer.map_err(|_| io::Error::other("no answer in time"))??;
        match answer.pair {
            Some(pair) => return Ok(pair),
            None => *offset_ms = answer.time_ms.cast_signed().wrapping_sub(clock.now().wall.0.cast_signed()),
        }
    }
    Err(io::Error::other("the door has no certificate for backends yet"))
}

async fn ask(
    settings: &CertificateSettings,
    asker: &Asker,
    url: &HttpsUrl,
    tls: &TlsConnector,
    clock: &Clock,
    offset_ms: i64,
) -> io::Result<Answer> {
    let mut nonce = [0; 16];
    let random = default_provider().secure_random;
    random.fill(&mut nonce).map_err(|_| io::Error::other("the operating system gave no random octets"))?;
    let question = Ask {
        farm: asker.farm.clone(),
        id: asker.id.clone(),
        time_ms: clock.now().wall.0.saturating_add_signed(offset_ms),
        nonce: hex::encode(&nonce),
        certificate: settings.certificate.clone(),
    };
    let body = serde_json::to_vec(&question).map_err(io::Error::other)?;
    let name = settings.name.as_deref().unwrap_or(&url.host);
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
    let stream = tls.connect(ServerName::try_from(name.to_owned()).map_err(io::Error::other)?, stream).await?;
    let request = Request::post(PATH)
        .header("host", name)
        .header("content-type", "application/json")
        .header("connection", "close")
        .header("farm-key", format!("{}/{}", asker.farm, asker.id))
        .header("farm-mac", asker.key.sign_for(ASKING, &body))
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)?;
    let response = exchange_over(stream, request, ANSWER_BYTES_MAX).await?;
    let mac = response.headers().get("farm-mac").and_then(|value| value.to_str().ok()).and_then(hex::decode);
    let status = response.status().as_u16();
    let mac = mac.ok_or_else(|| io::Error::other(format!("HTTP status {status} without a signed answer")))?;
    if !asker.key.is_signed_for(ANSWERING, response.body(), &mac) {
        return Err(io::Error::other("an answer that is not signed by a door of this farm"));
    }
    let answer: Answer = serde_json::from_slice(response.body()).map_err(io::Error::other)?;
    if answer.nonce == question.nonce { Ok(answer) } else { Err(io::Error::other("an answer to another question")) }
}

fn trust(ca_file: Option<&Path>) -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca_file {
        for certificate in CertificateDer::pem_slice_iter(&read(file)?) {
            roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Chain and key as they are on the disk, if they make a pair.
fn files(dir: &Path) -> Option<[Vec<u8>; 2]> {
    let [chain, key] = ["fullchain.pem", "key.pem"].map(|name| read(&dir.join(name)).ok());
    let (chain, key) = chain.zip(key)?;
    check(&chain, &key).ok()?;
    Some([chain, key])
}

fn check(chain: &[u8], key: &[u8]) -> io::Result<()> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| io::Error::other("no private key in PEM form"))?;
    let pair = CertifiedKey::from_der(chain.map_err(io::Error::other)?, key, &default_provider());
    pair.map(drop).map_err(io::Error::other)
}

/// Writes what differs; whether anything did.
fn put(dir: &Path, pair: &Pair) -> io::Result<bool> {
    check(pair.fullchain.as_bytes(), pair.key.as_bytes())?;
    if files(dir).is_some_and(|[chain, key]| chain == pair.fullchain.as_bytes() && key == pair.key.as_bytes()) {
        return Ok(false);
    }
    fs::create_dir_all(dir)?;
    for (name, text) in [("key.pem", &pair.key), ("fullchain.pem", &pair.fullchain)] {
        let (path, temporary) = (dir.join(name), dir.join(format!(".{name}.new")));
        // Whoever made it before us, and with whatever mode, is out.
        let _ = fs::remove_file(&temporary);
        let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
    }
    fs::File::open(dir)?.sync_all()?;
    Ok(true)
}

async fn run_hook(hook: &[String]) -> io::Result<()> {
    let Some((program, arguments)) = hook.split_first() else { return Ok(()) };
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let status = timeout(HOOK_MAX, command.status()).await;
    let status =
        status.map_err(|_| io::Error::other(format!("{program} did not end within {} s", HOOK_MAX.as_secs())))??;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{program} ended with {status}"))) }
}

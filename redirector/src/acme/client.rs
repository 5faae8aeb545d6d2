//! The way to the certificate authority: HTTPS with a time limit and a size limit, and a memory of what `Retry-After` said last.
//!
//! A connection for each request is enough for the few dozen of an order.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{HOST, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const REQUEST_MAX: Duration = Duration::from_secs(30);
const BODY_BYTES_MAX: usize = 1 << 20;
const HTTPS_PORT: u16 = 443;
const TOO_MANY_REQUESTS: u64 = 429;

/// What the last answer that was no success said: status, and seconds of `Retry-After`.
#[derive(Debug, Default)]
pub(super) struct Said {
    status: AtomicU64,
    retry_after_s: AtomicU64,
}

impl Said {
    /// Whether it was that there were too many requests.
    pub(super) fn too_many(&self) -> bool {
        self.status.load(Relaxed) == TOO_MANY_REQUESTS
    }

    /// For how long it wants to be left alone, in milliseconds.
    pub(super) fn retry_after_ms(&self) -> Option<u64> {
        let seconds = self.retry_after_s.load(Relaxed);
        (seconds > 0).then(|| seconds.saturating_mul(1_000))
    }

    /// Begins anew.
    pub(super) fn forget(&self) {
        self.status.store(0, Relaxed);
        self.retry_after_s.store(0, Relaxed);
    }

    fn note<B>(&self, response: &Response<B>) {
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            self.status.store(u64::from(status.as_u16()), Relaxed);
            self.retry_after_s.store(seconds.unwrap_or(0), Relaxed);
        }
    }
}

/// Carries requests of instant-acme.
pub(super) struct Carrier {
    tls: TlsConnector,
    said: Arc<Said>,
}

impl Carrier {
    pub(super) fn new(tls: Arc<ClientConfig>, said: Arc<Said>) -> Self {
        Self { tls: TlsConnector::from(tls), said }
    }
}

/// Whom we believe: what the system trusts, and `ca_file`. Blocks on the disk.
pub(super) fn trust(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca_file {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let text = farm_daemon::state_dir::read_capped(file, BODY_BYTES_MAX as u64).map_err(|error| failed(&error))?;
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|error| failed(&error))?;
            roots.add(certificate).map_err(|error| failed(&error))?;
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

impl HttpClient for Carrier {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (tls, said) = (self.tls.clone(), Arc::clone(&self.said));
        Box::pin(async move {
            let late = || io::Error::new(io::ErrorKind::TimedOut, "the authority did not answer in time");
            let response = timeout(REQUEST_MAX, exchange(tls, request)).await.unwrap_or_else(|_| Err(late().into()));
            let response = response.map_err(Error::Other)?;
            said.note(&response);
            Ok(BytesResponse::from(response))
        })
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(tls: TlsConnector, request: Request<BodyWrapper<Bytes>>) -> Result<Response<Full<Bytes>>, Failed> {
    let (mut parts, body) = request.into_parts();
    let authority = parts.uri.authority().cloned().ok_or("an address without a host")?;
    if parts.uri.scheme_str() != Some("https") {
        return Err("the authority is asked by https only".into());
    }
    let port = authority.port_u16().unwrap_or(HTTPS_PORT);
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, port)).await?;
    let stream = tls.connect(ServerName::try_from(host.to_owned())?, stream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    parts.headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
    parts.uri = parts.uri.path_and_query().map_or_else(|| Uri::from_static("/"), |path| Uri::from(path.clone()));
    let body = body.collect().await.map_err(|never| match never {})?.to_bytes();
    let response = sender.send_request(Request::from_parts(parts, Full::new(body))).await?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(parts, Full::new(body)))
}

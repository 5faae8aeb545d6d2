//! Hands the farm's certificate, key and all, to members of the farm: over TLS, to signed questions, each answered once.
//!
//! It must never say why a stranger is refused, and never hand out a certificate that is not marked for backends.

use super::files::{Files, certificate_name};
use arc_swap::ArcSwap;
use bytes::Bytes;
use farm_daemon::clock::Clock;
use farm_shared::certificate::{ANSWERING, ASK_BYTES_MAX, Answer, Ask, Denied, Gate, PATH, Pair};
use farm_shared::heartbeat::Keyring;
use farm_shared::hex;
use farm_shared::id::Id;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use redirector_core::config::AcmeSpec;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

const CONNECTIONS_MAX: usize = 64;
const CONNECTION_MAX: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What hands out.
pub(super) struct HandOut {
    pub(super) spec: watch::Receiver<Arc<AcmeSpec>>,
    pub(super) files: Files,
    pub(super) farm: Id,
    pub(super) keyring: Arc<ArcSwap<Keyring>>,
    pub(super) clock: Clock,
    gate: Mutex<Gate>,
}

impl HandOut {
    pub(super) fn new(
        spec: watch::Receiver<Arc<AcmeSpec>>,
        files: Files,
        farm: Id,
        keyring: Arc<ArcSwap<Keyring>>,
        clock: Clock,
    ) -> Self {
        Self { spec, files, farm, keyring, clock, gate: Mutex::default() }
    }

    /// Serves until the runtime ends.
    pub(super) async fn serve(self: Arc<Self>, listener: std::net::TcpListener, tls: Arc<ServerConfig>) {
        let listener = match listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "no certificates are handed out"),
        };
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let acceptor = TlsAcceptor::from(tls);
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors: accepting again at once would spin.
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
            let (this, acceptor) = (Arc::clone(&self), acceptor.clone());
            tokio::spawn(async move {
                let _ = timeout(CONNECTION_MAX, this.connection(acceptor, stream)).await;
                drop(place);
            });
        }
    }

    async fn connection(self: Arc<Self>, acceptor: TlsAcceptor, stream: TcpStream) {
        let Ok(stream) = acceptor.accept(stream).await else { return };
        let service = service_fn(move |request| {
            let this = Arc::clone(&self);
            async move { Ok::<_, Infallible>(this.answer(request).await) }
        });
        let _ = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() != PATH {
            return plain(StatusCode::NOT_FOUND);
        }
        if request.method() != Method::POST {
            return plain(StatusCode::METHOD_NOT_ALLOWED);
        }
        let (parts, body) = request.into_parts();
        let field = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(name), Some(mac)) = (field("farm-key"), field("farm-mac").and_then(hex::decode)) else {
            return plain(StatusCode::FORBIDDEN);
        };
        let Ok(body) = Limited::new(body, ASK_BYTES_MAX).collect().await else { return plain(StatusCode::FORBIDDEN) };
        let keyring = self.keyring.load_full();
        let Some(key) = keyring.farm(&self.farm) else { return plain(StatusCode::FORBIDDEN) };
        let now = self.clock.now().wall;
        let opened = {
            let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            gate.open(&self.farm, key, name, &mac, &body.to_bytes(), now)
        };
        let (ask, status) = match opened {
            Ok(ask) => (ask, StatusCode::OK),
            Err(Denied::Stale(ask)) => (ask, StatusCode::CONFLICT),
            Err(Denied::TooMany) => return plain(StatusCode::TOO_MANY_REQUESTS),
            Err(Denied::Malformed | Denied::BadMac | Denied::Replayed) => return plain(StatusCode::FORBIDDEN),
        };
        let pair = if status == StatusCode::OK { self.pair(&ask).await } else { None };
        let status = if status == StatusCode::OK && pair.is_none() { StatusCode::SERVICE_UNAVAILABLE } else { status };
        if let Some(pair) = &pair {
            tracing::info!(member = %ask.id, certificate = %pair.id, "a certificate is handed out");
        }
        let answer = Answer { nonce: ask.nonce, time_ms: now.0, pair };
        let body = serde_json::to_vec(&answer).unwrap_or_default();
        let mac = key.member(&self.farm, &ask.id).sign_for(ANSWERING, &body);
        let mut response = plain(status);
        if let Ok(mac) = HeaderValue::from_str(&mac) {
            response.headers_mut().insert("farm-mac", mac);
        }
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *response.body_mut() = Full::new(Bytes::from(body));
        response
    }

    /// The certificate that is asked for, if it is there and backends may have it.
    async fn pair(&self, ask: &Ask) -> Option<Pair> {
        let spec = Arc::clone(&self.spec.borrow());
        let wanted = |id: &Id| ask.certificate.as_ref().is_none_or(|wanted| wanted == id);
        let order = spec.certificates.iter().find(|order| order.agents && wanted(&order.id))?;
        let text = self.files.read(certificate_name(&order.id)).await.ok()??;
        let text = String::from_utf8(text).ok()?;
        // The file begins with the key, as it was written.
        let at = text.find("-----BEGIN CERTIFICATE-----")?;
        let (key, fullchain) = text.split_at(at);
        Some(Pair { id: order.id.clone(), fullchain: fullchain.to_owned(), key: key.to_owned() })
    }
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

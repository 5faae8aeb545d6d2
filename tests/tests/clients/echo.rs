//! A server behind the door that keeps what each request brought: method, target, length and SHA-256 of the body, fields that matter.
//!
//! It must note a request only when its whole body has come, and must never judge.

use ::aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A request as it came to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Which server.
    pub(crate) server: usize,
    pub(crate) method: String,
    /// Path and query, octet for octet.
    pub(crate) target: String,
    pub(crate) version: Version,
    pub(crate) body_bytes: usize,
    pub(crate) body_hash: String,
    pub(crate) origin: Option<String>,
    pub(crate) cookie: Option<String>,
}

/// What all servers have seen.
pub(crate) type Notes = Arc<Mutex<Vec<Seen>>>;

/// A running server, which ends with the value.
pub(crate) struct Echo {
    pub(crate) addr: SocketAddr,
    _stop: oneshot::Sender<()>,
}

/// The hash as clients are compared by it.
pub(crate) fn hash(body: &[u8]) -> String {
    farm_shared::hex::encode(digest(&SHA256, body).as_ref())
}

impl Echo {
    /// Starts it on a free port, by HTTPS if there is a certificate: `leaf.pem` and `leaf.key` in this folder.
    pub(crate) fn start(server: usize, tls: Option<&Path>, notes: &Notes) -> Self {
        let acceptor = tls.map(|folder| TlsAcceptor::from(Arc::new(server_config(folder))));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let addr = listener.local_addr().expect("its address");
        let (stop, stopped) = oneshot::channel::<()>();
        let notes = Arc::clone(notes);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = accept(listener, acceptor, server, notes) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { addr, _stop: stop }
    }
}

fn server_config(folder: &Path) -> ServerConfig {
    let chain = vec![CertificateDer::from_pem_file(folder.join("leaf.pem")).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(folder.join("leaf.key")).expect("a key");
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

async fn accept(listener: tokio::net::TcpListener, acceptor: Option<TlsAcceptor>, server: usize, notes: Notes) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (acceptor, notes) = (acceptor.clone(), Arc::clone(&notes));
        tokio::spawn(async move {
            match acceptor {
                None => talk(stream, server, notes).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        talk(stream, server, notes).await;
                    }
                }
            }
        });
    }
}

async fn talk(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, server: usize, notes: Notes) {
    let service = service_fn(move |request| answer(request, server, Arc::clone(&notes)));
    // A client that goes away in the middle is seen by what is not noted.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(TokioIo::new(io), service).await;
}

async fn answer(request: Request<Incoming>, server: usize, notes: Notes) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let field = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let origin = field("origin");
    let target = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let Ok(body) = body.collect().await else {
        return Ok(Response::builder().status(400).body(Full::default()).expect("an answer"));
    };
    let body = body.to_bytes();
    notes.lock().expect("notes").push(Seen {
        server,
        method: head.method.to_string(),
        target,
        version: head.version,
        body_bytes: body.len(),
        body_hash: hash(&body),
        origin: origin.clone(),
        cookie: field("cookie"),
    });
    let page = "<!doctype html><title>here</title><form method=post enctype=text/plain><input name=text></form>";
    let answer = Response::builder()
        .header("content-type", "text/html; charset=utf-8")
        // An application that lets scripts of other origins in, and says so to whoever asks.
        .header("access-control-allow-origin", origin.as_deref().unwrap_or("*"))
        .header("access-control-allow-methods", "GET, HEAD, POST, PUT, DELETE")
        .header("access-control-allow-headers", "content-type")
        .header("cache-control", "no-store");
    let page = if head.method == Method::HEAD { "" } else { page };
    Ok(answer.body(Full::from(page)).expect("an answer"))
}

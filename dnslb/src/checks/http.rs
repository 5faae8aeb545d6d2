//! Checks that ask over HTTP: a GET and its status, node_exporter's metrics, gRPC's health service.
//!
//! What comes back is a stranger's: head and body are bounded, and nothing of them is kept beyond what the check is about.

use bytes::Bytes;
use dnslb_core::health::{CheckSpec, Finding, grpc_health_request, parse_grpc_health, parse_node_exporter};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Body, Incoming};
use hyper::{Request, Response, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

/// Octets of a response's body that are looked at. A health page is short; a long one counts by its status.
const BODY_OCTETS_MAX: usize = 64 * 1024;

/// Octets of node_exporter's metrics: some 200 for each of some thousands of lines, on a large machine.
const METRICS_OCTETS_MAX: usize = 4 << 20;

/// Octets of a response's header.
const HEADER_OCTETS_MAX: usize = 16 * 1024;

const USER_AGENT: &str = concat!("dnslb/", env!("CARGO_PKG_VERSION"));

/// A GET whose status counts.
pub(super) async fn get<S>(stream: S, to: SocketAddr, spec: &CheckSpec) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut driver = JoinSet::new();
    let response = response(stream, to, spec, &mut driver).await?;
    // Reads the body, since a server that stalls in the middle of it is not well.
    body(response, BODY_OCTETS_MAX).await.map(|_| ())
}

/// The run queue that node_exporter tells.
pub(super) async fn node_exporter<S>(stream: S, to: SocketAddr, spec: &CheckSpec) -> Result<Finding, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut driver = JoinSet::new();
    let response = response(stream, to, spec, &mut driver).await?;
    let text = body(response, METRICS_OCTETS_MAX).await?;
    Ok(Finding { run_queue: Some(parse_node_exporter(&text)?), ..Finding::default() })
}

/// What gRPC's health service says.
pub(super) async fn grpc<S>(stream: S, to: SocketAddr, spec: &CheckSpec) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let host = spec.host.clone().unwrap_or_else(|| to.to_string());
    let request = Request::post(format!("http://{host}/grpc.health.v1.Health/Check"))
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::new(Bytes::from(grpc_health_request(&spec.service))))
        .map_err(|e| format!("request: {e}"))?;
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(HEADER_OCTETS_MAX as u32)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| format!("http: {e}"))?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(|e| format!("http: {e}"))?;
    if response.status().as_u16() != 200 {
        return Err(format!("status {}", response.status().as_u16()));
    }
    // An error without a body stands in the header, any other in the trailers.
    let mut code = grpc_status(response.headers());
    let mut octets = Vec::new();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| format!("body: {e}"))?;
        code = code.or_else(|| frame.trailers_ref().and_then(grpc_status));
        octets.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
        if octets.len() > BODY_OCTETS_MAX {
            return Err("a health answer without end".into());
        }
    }
    match code.as_deref() {
        Some("0") => parse_grpc_health(&octets),
        Some("5") => Err("SERVICE_UNKNOWN".into()),
        Some("12") => Err("no health service".into()),
        Some(code) => Err(format!("gRPC status {}", code.chars().take(16).collect::<String>())),
        None => Err("no gRPC status".into()),
    }
}

fn grpc_status(headers: &hyper::HeaderMap) -> Option<String> {
    headers.get("grpc-status").and_then(|value| value.to_str().ok()).map(str::to_owned)
}

async fn response<S>(
    stream: S,
    to: SocketAddr,
    spec: &CheckSpec,
    driver: &mut JoinSet<hyper::Result<()>>,
) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let host = spec.host.clone().unwrap_or_else(|| to.to_string());
    let request = Request::get(&spec.path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| format!("request: {e}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEADER_OCTETS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| format!("http: {e}"))?;
    // Ends with whoever asked, whichever way that ends.
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(|e| format!("http: {e}"))?;
    let status = response.status().as_u16();
    let good = spec.expect_status.map_or((200..400).contains(&status), |expected| expected == status);
    if good { Ok(response) } else { Err(format!("status {status}")) }
}

/// The body, up to so many octets; what is behind them is left unread.
async fn body<B: Body<Data = Bytes, Error = hyper::Error> + Unpin>(
    response: Response<B>,
    octets_max: usize,
) -> Result<Vec<u8>, String> {
    let mut body = response.into_body();
    let mut octets = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| format!("body: {e}"))?;
        octets.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
        if octets.len() > octets_max {
            octets.truncate(octets_max);
            break;
        }
    }
    Ok(octets)
}

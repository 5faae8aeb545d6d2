//! The other end of the admin interface, for the command lines (`dnslb admin …`, `redirector status`): one request, one answer.

use crate::admin::AdminAddr;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const TIME_MAX: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody listens, or nobody may be asked.
    Connect(AdminAddr, io::Error),
    /// The connection broke, or the answer was no HTTP or too long.
    Exchange(Box<dyn std::error::Error + Send + Sync>),
    /// No answer in 30 seconds.
    TooSlow,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(addr, error) => write!(f, "cannot reach the daemon at {addr}: {error}"),
            Self::Exchange(error) => write!(f, "the daemon's answer broke off: {error}"),
            Self::TooSlow => f.write_str("no answer from the daemon in 30 seconds"),
        }
    }
}

impl std::error::Error for ClientError {}

/// Sends a request and returns status and body. An empty `body` is none; another one is sent as JSON.
pub async fn request(
    addr: &AdminAddr,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: &str,
) -> Result<(u16, String), ClientError> {
    let host = match addr {
        AdminAddr::Unix(_) => "localhost".to_owned(),
        AdminAddr::Tcp(tcp) => tcp.to_string(),
    };
    let mut request = Request::builder().method(method).uri(path).header(HOST, host);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).map_err(exchange)?;
    let unreachable = |e| ClientError::Connect(addr.clone(), e);
    let answer = async {
        match addr {
            AdminAddr::Unix(path) => send(UnixStream::connect(path).await.map_err(unreachable)?, request).await,
            AdminAddr::Tcp(tcp) => send(TcpStream::connect(tcp).await.map_err(unreachable)?, request).await,
        }
    };
    tokio::time::timeout(TIME_MAX, answer).await.unwrap_or(Err(ClientError::TooSlow))
}

async fn send<I>(io: I, request: Request<Full<Bytes>>) -> Result<(u16, String), ClientError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(exchange)?;
    let driver = tokio::spawn(connection);
    let answer = async {
        let (head, body) = sender.send_request(request).await.map_err(exchange)?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(ClientError::Exchange)?;
        Ok((head.status.as_u16(), String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    let answer = answer.await;
    driver.abort();
    answer
}

fn exchange(error: impl std::error::Error + Send + Sync + 'static) -> ClientError {
    ClientError::Exchange(Box::new(error))
}

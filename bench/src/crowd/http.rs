//! Why: one client's connection to one server: kept alive, opened again when the server has closed it, and every request
//! bounded in time and size.
//! Never: no redirect is followed and no cookie is read here; bodies are counted and thrown away.

use super::place::Place;
use super::stats::Reason;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{COOKIE, HOST, HeaderMap};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest body that is read, bytes.
const BODY_LEN_MAX: usize = 1 << 20;

/// Status and headers of an answer whose body has been read.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
}

/// A connection to one address, made when it is first needed.
#[derive(Debug)]
pub(super) struct Link {
    address: SocketAddr,
    sender: Option<SendRequest<Empty<Bytes>>>,
}

impl Link {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, sender: None }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// One GET of `place.path` with `host` and `cookies`, answered within `limit`, connecting included.
    pub(super) async fn get(
        &mut self,
        place: &Place,
        host: &str,
        cookies: Option<&str>,
        limit: Duration,
    ) -> Result<Reply, Reason> {
        match timeout(limit, self.try_get(place, host, cookies)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(reason)) => {
                self.sender = None;
                Err(reason)
            }
            Err(_) => {
                self.sender = None;
                Err(Reason::Timeout)
            }
        }
    }

    async fn try_get(&mut self, place: &Place, host: &str, cookies: Option<&str>) -> Result<Reply, Reason> {
        loop {
            let (mut sender, is_fresh) = match self.sender.take().filter(|sender| !sender.is_closed()) {
                Some(sender) => (sender, false),
                None => (self.connect().await?, true),
            };
            let mut request = Request::get(place.path.as_str()).header(HOST, host);
            if let Some(cookies) = cookies {
                request = request.header(COOKIE, cookies);
            }
            let request = request.body(Empty::new()).map_err(|_| Reason::Protocol)?;
            let sent = match sender.ready().await {
                Ok(()) => sender.send_request(request).await,
                Err(error) => Err(error),
            };
            let response = match sent {
                Ok(response) => response,
                // A server may close an idle connection just as the next request leaves; browsers then try once more.
                Err(error) if !is_fresh && !error.is_parse() => continue,
                Err(error) if error.is_parse() => return Err(Reason::Protocol),
                Err(_) => return Err(Reason::Reset),
            };
            let (head, body) = response.into_parts();
            if Limited::new(body, BODY_LEN_MAX).collect().await.is_err() {
                return Err(Reason::Reset);
            }
            self.sender = Some(sender);
            return Ok(Reply { status: head.status.as_u16(), headers: head.headers });
        }
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, Reason> {
        let stream = TcpStream::connect(self.address).await.map_err(|_| Reason::Refused)?;
        // Requests are small and written at once; a delay could only add to the latency that is measured.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(64 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Reason::Reset)?;
        // Ends when the sender is dropped or the server closes; an error shows at the request.
        tokio::spawn(connection);
        Ok(sender)
    }
}

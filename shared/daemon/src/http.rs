//! A small HTTP/1.1 server with the limits that a public listener needs: connections in all, time for a request's head, size
//! of the head. For the admin interface and HTTP heartbeats; the redirector's front door has a loop of its own.

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address.
    Tcp(SocketAddr),
    /// Somebody whom the socket's mode let in.
    Unix,
}

/// What a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; more are closed unread.
    pub connections_max: usize,
    /// Time for the head of a request, which is also how long a connection may idle.
    pub head_ms_max: u64,
}

/// Octets of a request's head, and so of its path.
const HEAD_BYTES_MAX: usize = 16 * 1024;

impl Listener {
    /// From a bound TCP listener, as [`crate::listen::tcp`] makes it.
    pub fn from_tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self::Tcp)
    }

    /// From a bound Unix listener.
    pub fn from_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener).map(Self::Unix)
    }
}

/// Serves until the future is dropped; connections that are open then go on until they are done. `refused` counts connections
/// above the limit.
pub async fn serve<S, F, B>(listener: Listener, limits: Limits, refused: Arc<AtomicU64>, service: S)
where
    S: Fn(Request<Incoming>, Peer) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let mut failing = false;
    loop {
        let accepted = match &listener {
            Listener::Tcp(tcp) => tcp.accept().await.map(|(stream, from)| (Stream::Tcp(stream), Peer::Tcp(from))),
            Listener::Unix(unix) => unix.accept().await.map(|(stream, _)| (Stream::Unix(stream), Peer::Unix)),
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: accepting again at once would spin. Said once per series of failures.
                if !failing {
                    tracing::warn!(%error, "connections are not accepted");
                }
                failing = true;
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        failing = false;
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let service = service.clone();
        match stream {
            Stream::Tcp(stream) => {
                let _ = stream.set_nodelay(true);
                tokio::spawn(connection(stream, peer, limits, place, service));
            }
            Stream::Unix(stream) => {
                tokio::spawn(connection(stream, peer, limits, place, service));
            }
        }
    }
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

async fn connection<I, S, F, B>(io: I, peer: Peer, limits: Limits, place: OwnedSemaphorePermit, service: S)
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Fn(Request<Incoming>, Peer) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let answer = service_fn(move |request| {
        let response = service(request, peer);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let result = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.head_ms_max))
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(io), answer)
        .await;
    if let Err(error) = result {
        tracing::debug!(%error, ?peer, "a connection ended early");
    }
    drop(place);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    fn start(limits: Limits) -> (SocketAddr, Arc<AtomicU64>, tokio::task::JoinHandle<()>) {
        let listener = crate::listen::tcp("127.0.0.1:0".parse().expect("address")).expect("listener");
        let addr = listener.local_addr().expect("address");
        let refused = Arc::new(AtomicU64::new(0));
        let service = async |_: Request<Incoming>, _: Peer| Response::new(Full::new(Bytes::from_static(b"hello")));
        let service = move |request, peer| Box::pin(service(request, peer));
        let listener = Listener::from_tcp(listener).expect("listener");
        (addr, Arc::clone(&refused), tokio::spawn(serve(listener, limits, refused, service)))
    }

    async fn exchange(addr: SocketAddr, send: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(addr).await.expect("connected");
        let mut answer = Vec::new();
        // A server that refuses may close before it has read all.
        let _ = stream.write_all(send).await;
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn connections_are_bounded_in_number() {
        let (addr, refused, _server) = start(Limits { connections_max: 1, head_ms_max: 600_000 });
        let mut first = TcpStream::connect(addr).await.expect("connected");
        first.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        first.read_exact(&mut [0; 12]).await.expect("the first is served");
        assert_eq!(exchange(addr, b"").await, b"", "the second is closed unread");
        assert_eq!(refused.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn connections_are_bounded_in_time_and_size() {
        let (addr, _, _server) = start(Limits { connections_max: 9, head_ms_max: 50 });
        let slow = exchange(addr, b"GET / HTTP/1.1\r\nhost").await;
        assert!(!String::from_utf8_lossy(&slow).contains("hello"));
        let (addr, _, _server) = start(Limits { connections_max: 9, head_ms_max: 600_000 });
        let long = exchange(addr, format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(HEAD_BYTES_MAX)).as_bytes()).await;
        assert!(!String::from_utf8_lossy(&long).contains("hello"));
        let good = exchange(addr, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(String::from_utf8_lossy(&good).ends_with("hello"));
    }
}

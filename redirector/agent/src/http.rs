//! One HTTP/1.1 exchange on one connection, bounded in time by the caller and in bytes here: for the HTTP carrier and for an
//! application's own load report. It follows no redirects and trusts no length that it is told.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// Sends `request` to `address` (from `bind`, if given) and reads at most `bytes_max` of the answer's body.
pub(crate) async fn exchange(
    address: SocketAddr,
    bind: Option<IpAddr>,
    request: Request<Full<Bytes>>,
    bytes_max: usize,
) -> io::Result<Response<Bytes>> {
    exchange_over(connect(address, bind).await?, request, bytes_max).await
}

/// The same on a connection that is made already, encrypted or not.
pub(crate) async fn exchange_over<I>(
    stream: I,
    request: Request<Full<Bytes>>,
    bytes_max: usize,
) -> io::Result<Response<Bytes>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // Aborted when this exchange ends or is cancelled.
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // What goes wrong on the connection shows in the exchange itself.
        let _ = connection.await;
    });
    let (parts, body) = sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
    let body = Limited::new(body, bytes_max).collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(Response::from_parts(parts, body))
}

async fn connect(address: SocketAddr, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(bind) = bind {
        socket.bind(SocketAddr::new(bind, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

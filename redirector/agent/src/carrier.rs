//! The two ways a heartbeat travels. Each front end has its own task or socket, so that one that hangs holds up no other.
//!
//! What comes back is handed on unjudged: whether an answer is to be believed is [`crate::logic`]'s part.

use crate::http::exchange;
use crate::settings::{Carrier, Front, HttpUrl};
use bytes::Bytes;
use farm_shared::heartbeat::{Envelope, UDP_BYTES_MAX};
use farm_shared::id::Id;
use http_body_util::Full;
use hyper::Request;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdUdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

const REPLY_BYTES_MAX: usize = 16 * 1024;
const POST_TIMEOUT: Duration = Duration::from_secs(2);
const ROUTE_EVERY: Duration = Duration::from_secs(30);
const ROUTE_RETRY: Duration = Duration::from_secs(3);
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the carriers tell the shell.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A datagram from somewhere.
    Datagram { source: SocketAddr, mac: [u8; 32], body: Vec<u8> },
    /// The answer to a POST.
    Posted { front: usize, mac: [u8; 32], body: Vec<u8> },
    /// Where a front end is, and our address on the way there.
    Route { front: usize, way: io::Result<(SocketAddr, IpAddr)> },
    /// A POST failed.
    Failed { front: usize, why: String },
}

/// A heartbeat on its way by HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) address: SocketAddr,
    pub(crate) mac: String,
    pub(crate) body: Vec<u8>,
}

/// The UDP sockets, one for each address family that can be had.
#[derive(Debug)]
pub(crate) struct Sockets {
    v4: Option<Arc<UdpSocket>>,
    v6: Option<Arc<UdpSocket>>,
}

impl Sockets {
    /// Binds them; with `bind`, only the one of its family. No family at all is an error.
    pub(crate) async fn open(bind: Option<IpAddr>) -> io::Result<Self> {
        if let Some(bind) = bind {
            let socket = Some(udp_socket(bind).await?);
            return Ok(if bind.is_ipv4() { Self { v4: socket, v6: None } } else { Self { v4: None, v6: socket } });
        }
        let v4 = udp_socket(Ipv4Addr::UNSPECIFIED.into()).await;
        let v6 = udp_socket(Ipv6Addr::UNSPECIFIED.into()).await;
        match (v4, v6) {
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => Ok(Self { v4: v4.ok(), v6: v6.ok() }),
        }
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = Arc<UdpSocket>> + '_ {
        self.v4.iter().chain(&self.v6).cloned()
    }

    /// Sends now or not at all: a heartbeat that had to wait would be old news.
    pub(crate) fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        let socket = socket.as_ref().ok_or_else(|| io::Error::other("no socket of that address family"))?;
        socket.try_send_to(datagram, to).map(|_| ())
    }
}

/// A socket that the runtime already knows to be writable: until then, [`Sockets::send`] would refuse the first heartbeat.
async fn udp_socket(bind: IpAddr) -> io::Result<Arc<UdpSocket>> {
    let socket = UdpSocket::bind(SocketAddr::new(bind, 0)).await?;
    socket.writable().await?;
    Ok(Arc::new(socket))
}

/// Hands on what a socket receives. Datagrams that are no envelope, or whose key is another member's, end here.
pub(crate) async fn receive(socket: Arc<UdpSocket>, key: (Id, Id), arrivals: mpsc::Sender<Arrival>) {
    let mut buffer = vec![0; UDP_BYTES_MAX + 1];
    loop {
        let Ok((len, source)) = socket.recv_from(&mut buffer).await else {
            // Errors of earlier sends may be reported here; a socket that has nothing but errors must not spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(envelope) = Envelope::from_datagram(buffer.get(..len).unwrap_or_default()) else { continue };
        if (&envelope.farm, &envelope.id) != (&key.0, &key.1) {
            continue;
        }
        let arrival = Arrival::Datagram { source, mac: envelope.mac, body: envelope.body.to_vec() };
        if arrivals.send(arrival).await.is_err() {
            return;
        }
    }
}

/// Posts to one front end, always the latest heartbeat only. Ends when the sender is gone and its last one is posted.
pub(crate) async fn post_loop(
    front: usize,
    url: HttpUrl,
    key_name: String,
    bind: Option<IpAddr>,
    mut posts: watch::Receiver<Option<Post>>,
    arrivals: mpsc::Sender<Arrival>,
) {
    while posts.changed().await.is_ok() {
        let Some(post) = posts.borrow_and_update().clone() else { continue };
        let posted = tokio::time::timeout(POST_TIMEOUT, post_one(&url, &key_name, bind, post)).await;
        let arrival = match posted {
            Ok(Ok((mac, body))) => Arrival::Posted { front, mac, body },
            Ok(Err(error)) => Arrival::Failed { front, why: error.to_string() },
            Err(_) => Arrival::Failed { front, why: format!("no HTTP response within {} s", POST_TIMEOUT.as_secs()) },
        };
        // Nobody listens any more when the agent ends; the last heartbeat is still to be posted.
        let _ = arrivals.send(arrival).await;
    }
}

async fn post_one(url: &HttpUrl, key_name: &str, bind: Option<IpAddr>, post: Post) -> io::Result<([u8; 32], Vec<u8>)> {
    let request = Request::post(&url.path)
        .header("host", url.authority())
        .header("content-type", "application/json")
        .header("connection", "close")
        .header("farm-key", key_name)
        .header("farm-mac", post.mac)
        .body(Full::new(Bytes::from(post.body)))
        .map_err(io::Error::other)?;
    let response = exchange(post.address, bind, request, REPLY_BYTES_MAX).await?;
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let refused = || io::Error::other(format!("HTTP status {} without a signed answer", response.status().as_u16()));
    let (key, mac) = header("farm-key").zip(header("farm-mac")).ok_or_else(refused)?;
    let envelope = Envelope::from_parts(key, mac, response.body()).map_err(|_| io::Error::other("a malformed answer"))?;
    Ok((envelope.mac, envelope.body.to_vec()))
}

/// Finds a front end and our address on the way there, now and again every half minute.
pub(crate) async fn route_loop(number: usize, front: Front, bind: Option<IpAddr>, arrivals: mpsc::Sender<Arrival>) {
    let mut current = None;
    loop {
        let way = match tokio::time::timeout(RESOLVE_TIMEOUT, find(&front, bind, current)).await {
            Ok(way) => way,
            Err(_) => Err(io::Error::other(format!("{} could not be resolved within 10 s", front.host))),
        };
        current = way.as_ref().ok().map(|(address, _)| *address).or(current);
        let pause = if way.is_ok() { ROUTE_EVERY } else { ROUTE_RETRY };
        if arrivals.send(Arrival::Route { front: number, way }).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Keeps to the current address while the name still has it: one front end behind a name of many must be the same one always.
async fn find(front: &Front, bind: Option<IpAddr>, current: Option<SocketAddr>) -> io::Result<(SocketAddr, IpAddr)> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host((front.host.as_str(), front.port))
        .await?
        .filter(|address| bind.is_none_or(|bind| bind.is_ipv4() == address.is_ipv4()))
        .take(64)
        .collect();
    let current = current.filter(|address| found.contains(address));
    let address = current
        .or(found.first().copied())
        .ok_or_else(|| io::Error::other(format!("{} has no usable address", front.host)))?;
    // Connecting a datagram socket sends nothing: it asks the routing table.
    let local = bind.unwrap_or(if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() });
    let probe = StdUdpSocket::bind(SocketAddr::new(local, 0))?;
    probe.connect(address)?;
    Ok((address, probe.local_addr()?.ip()))
}

/// The HTTP address of a front end; none for one that is told by datagram.
pub(crate) fn url_of(front: &Front) -> Option<HttpUrl> {
    match &front.carrier {
        Carrier::Udp => None,
        Carrier::Http(path) => Some(HttpUrl { host: front.host.clone(), port: front.port, path: path.clone() }),
    }
}

//! The loop that takes connections for every transport over TCP: plain, TLS and HTTPS.
//!
//! It never waits for a client: what a connection needs (a handshake above all) runs in a task of its own, which ends when the
//! client must make room, or the daemon stops.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::tcp_clients::{Admitted, Clients};
use crate::udp::mmsg::client_ip;

/// How long accepting rests after a failure such as "too many open files".
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// In all; one more closes the one that was idle longest.
    pub connections_max: usize,
    /// Of one client; one more is refused.
    pub connections_per_client_max: usize,
}

/// A connection that was taken.
pub struct Taken {
    /// The connection, without Nagle's delay.
    pub stream: TcpStream,
    /// Who is at the other end.
    pub client: IpAddr,
    /// Its place.
    pub admitted: Arc<Admitted>,
}

/// Accepts, and runs what `serve` makes of each connection, until `stop` is set.
pub async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    clients: Arc<Clients>,
    caps: Caps,
    mut stop: watch::Receiver<bool>,
    mut serve: impl FnMut(Taken) -> F,
) {
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if !failing {
                    tracing::error!(%error, "accepting over TCP fails");
                }
                failing = true;
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        failing = false;
        let client = client_ip(peer);
        let Some(admitted) = clients.admit(client, caps.connections_max, caps.connections_per_client_max) else {
            continue;
        };
        let admitted = Arc::new(admitted);
        let _ = stream.set_nodelay(true);
        let connection = serve(Taken { stream, client, admitted: Arc::clone(&admitted) });
        let mut stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = connection => {}
                () = admitted.evicted() => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
    }
}

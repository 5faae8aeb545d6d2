//! The TLS layer of a listener: what it shakes hands with, and how long that may take.
//!
//! Half a handshake must cost a stranger as much as us: it holds a place among the connections, and ends by a timer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

/// Handshakes by outcome.
#[derive(Debug, Default)]
pub struct Handshakes {
    ok: AtomicU64,
    failed: AtomicU64,
    late: AtomicU64,
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shaken {
    /// With keys.
    Ok,
    /// With an error.
    Failed,
    /// Not in time.
    Late,
}

impl Handshakes {
    /// The labels of [`Self::counts`].
    pub const OUTCOMES: [&str; 3] = ["ok", "failed", "timeout"];

    /// One more.
    pub fn count(&self, outcome: Shaken) {
        let counter = match outcome {
            Shaken::Ok => &self.ok,
            Shaken::Failed => &self.failed,
            Shaken::Late => &self.late,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// So far, in the order of [`Self::OUTCOMES`].
    pub fn counts(&self) -> [u64; 3] {
        [&self.ok, &self.failed, &self.late].map(|counter| counter.load(Relaxed))
    }
}

/// What a listener does before it speaks.
pub struct Security {
    acceptor: TlsAcceptor,
    timeout: Duration,
    handshakes: Arc<Handshakes>,
}

impl Security {
    /// Shakes hands by `config` within `timeout`.
    pub fn new(config: ServerConfig, timeout: Duration, handshakes: &Arc<Handshakes>) -> Self {
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), timeout, handshakes: Arc::clone(handshakes) }
    }

    /// The stream once keys are agreed on; none if they are not, or not in time.
    pub async fn handshake(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        // On the heap: the state of a handshake would otherwise be part of every connection's task for as long as it lives.
        let shaken = timeout(self.timeout, Box::pin(self.acceptor.accept(stream))).await;
        self.handshakes.count(match &shaken {
            Ok(Ok(_)) => Shaken::Ok,
            Ok(Err(_)) => Shaken::Failed,
            Err(_) => Shaken::Late,
        });
        shaken.ok()?.ok()
    }
}

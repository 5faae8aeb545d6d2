//! The rules of RFC 9250, broken one by one by a client of our own: each ends the connection with DOQ_PROTOCOL_ERROR.

use crate::setup::{HOST, answers, block_on, client_config, question, server};
use farm_tests::daemon::SOON;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// DOQ_PROTOCOL_ERROR (RFC 9250 8.4).
const PROTOCOL_ERROR: u64 = 2;

struct Client {
    endpoint: Endpoint,
    server: SocketAddr,
}

impl Client {
    fn new(cert: &Path, alpn: &[u8], server: SocketAddr) -> Self {
        let crypto = QuicClientConfig::try_from(client_config(&[cert], alpn)).expect("TLS 1.3");
        let mut endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a socket");
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
        Self { endpoint, server }
    }

    async fn connect(&self) -> Result<Connection, ConnectionError> {
        self.endpoint.connect(self.server, HOST).expect("a connection begun").await
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

async fn exchange(connection: &Connection, octets: &[u8]) -> Option<Vec<u8>> {
    let (mut send, mut recv) = connection.open_bi().await.ok()?;
    send.write_all(octets).await.ok()?;
    send.finish().ok()?;
    let answer = recv.read_to_end(70_000).await.ok()?;
    let (prefix, message) = answer.split_first_chunk::<2>()?;
    (usize::from(u16::from_be_bytes(*prefix)) == message.len()).then(|| message.to_vec())
}

#[test]
fn rules_of_streams() {
    let Some((scratch, daemon)) = server("doq", "") else { return };
    let cert = scratch.path().join("cert.pem");
    block_on(async {
        let client = Client::new(&cert, b"doq", daemon.port("dns_quic"));
        let good = framed(&question(0));
        let opt = |options: &[u8]| {
            let mut message = question(0);
            message[11] = 1;
            message.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0]);
            message.extend_from_slice(&framed(options));
            framed(&message)
        };
        let mut response = question(0);
        response[2] |= 0x80;
        for (what, octets) in [
            ("a message id", framed(&question(7))),
            ("two messages", [good.clone(), good.clone()].concat()),
            ("octets behind the message", [&good[..], b"x"].concat()),
            ("half a message", good[..good.len() - 1].to_vec()),
            ("half a length", vec![0]),
            ("nothing at all", Vec::new()),
            ("a message of no octets", vec![0, 0]),
            ("a response", framed(&response)),
            ("edns-tcp-keepalive", opt(&[0, 11, 0, 0])),
        ] {
            let connection = client.connect().await.expect("a connection");
            assert!(exchange(&connection, &good).await.is_some_and(|m| answers(&m)), "before {what}");
            let _ = exchange(&connection, &octets).await;
            let closed = timeout(SOON, connection.closed()).await.expect("the connection ends");
            let ConnectionError::ApplicationClosed(closed) = closed else { panic!("{what}: {closed}") };
            assert_eq!(u64::from(closed.error_code), PROTOCOL_ERROR, "{what}");
        }
        // What is no mistake: another option, a question of many octets, and as many questions at once as there may be streams.
        let connection = client.connect().await.expect("a connection");
        let answer = exchange(&connection, &opt(&[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8])).await;
        assert!(answer.is_some_and(|m| m.get(2..4) == Some(&[0x84, 0])));
        let long = [question(0), vec![0; 60_000]].concat();
        assert!(exchange(&connection, &framed(&long)).await.is_some());
        let mut tasks = JoinSet::new();
        for _ in 0..200 {
            let (connection, good) = (connection.clone(), good.clone());
            tasks.spawn(async move { exchange(&connection, &good).await });
        }
        while let Some(answer) = tasks.join_next().await {
            assert!(answer.expect("a task").is_some_and(|m| answers(&m)));
        }
        assert!(connection.close_reason().is_none());
        // Streams of one direction have no use: none may be opened, so asking for one waits.
        let mut waits = std::pin::pin!(connection.open_uni());
        std::future::poll_fn(|context| {
            assert!(waits.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
    });
}

#[test]
fn only_doq_is_spoken() {
    let Some((scratch, daemon)) = server("doq-alpn", "") else { return };
    let cert = scratch.path().join("cert.pem");
    block_on(async {
        let client = Client::new(&cert, b"h3", daemon.port("dns_quic"));
        assert!(client.connect().await.is_err());
        // One connection above the share of a client is refused, and said so.
        let client = Client::new(&cert, b"doq", daemon.port("dns_quic"));
        let mut open = Vec::new();
        for _ in 0..20 {
            let connection = client.connect().await.expect("a connection");
            assert!(exchange(&connection, &framed(&question(0))).await.is_some());
            open.push(connection);
        }
        let refused = match client.connect().await {
            Ok(connection) => timeout(SOON, connection.closed()).await.expect("an end"),
            Err(error) => error,
        };
        assert!(matches!(refused, ConnectionError::ApplicationClosed(_)), "{refused}");
    });
    assert!(daemon.metric("dnslb_encrypted_refused_total") >= Some(1.0));
}

//! Half-open handshakes: bounded in number, in time and in memory, and nobody else's loss.

use crate::setup::{HOST, answers, block_on, client_config, question, server};
use farm_tests::daemon::{Daemon, SOON};
use farm_tests::wait;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

/// Resident memory of a process, in KiB.
fn resident_kib(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

/// One question over TLS; whether it was answered.
pub(crate) async fn ask(server: SocketAddr, connector: &TlsConnector) -> Result<bool, std::io::Error> {
    let stream = tokio::net::TcpStream::connect(server).await?;
    let mut stream = connector.connect(HOST.try_into().expect("a name"), stream).await?;
    let question = question(9);
    stream.write_all(&[&(question.len() as u16).to_be_bytes()[..], &question].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answers(&answer))
}

pub(crate) fn connector(certificates: &[&Path]) -> TlsConnector {
    TlsConnector::from(Arc::new(client_config(certificates, b"dot")))
}

/// Half of what a client says first: the head of a record of 500 octets, and some of them.
const HALF_HELLO: &[u8] = b"\x16\x03\x01\x01\xf4\x01\x00\x01\xf0\x03\x03";

#[test]
fn five_hundred_half_open_handshakes() {
    let more =
        "encrypted_connections_max = 1000\nencrypted_connections_per_client_max = 600\ntls_handshake_timeout = \"2s\"";
    let Some((scratch, daemon)) = server("half-open", more) else { return };
    let connector = connector(&[&scratch.path().join("cert.pem")]);
    let servers = ["dns_tls", "dns_https"].map(|name| daemon.port(name));
    assert!(block_on(ask(servers[0], &connector)).expect("an answer"));
    let before_kib = resident_kib(&daemon);
    let mut open: Vec<TcpStream> = (0..500)
        .map(|n| {
            let mut stream = TcpStream::connect(servers[n % 2]).expect("a connection");
            stream.write_all(HALF_HELLO).expect("half a hello");
            stream
        })
        .collect();
    wait::until("all to be taken", SOON, || {
        (daemon.metric("dnslb_encrypted_connections_total") >= Some(501.0)).then_some(())
    });
    let grown_kib = resident_kib(&daemon).saturating_sub(before_kib);
    println!("500 half-open handshakes: {grown_kib} KiB");
    assert!(grown_kib < 32 * 1024, "{grown_kib} KiB for 500 half-open handshakes");
    // Others are served meanwhile, by TLS and without it.
    assert!(block_on(ask(servers[0], &connector)).expect("an answer"));
    for stream in &mut open {
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        // Closed, politely or not.
        assert!(matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_)));
    }
    let late = |transport| format!("dnslb_tls_handshakes_total{{transport=\"{transport}\",outcome=\"timeout\"}}");
    wait::until("all to be counted", SOON, || {
        (["tls", "https"].map(|t| daemon.metric(&late(t))) == [Some(250.0); 2]).then_some(())
    });
    wait::until("all to be gone", SOON, || (daemon.metric("dnslb_encrypted_connections") == Some(0.0)).then_some(()));
}

#[test]
fn a_client_has_its_share_and_strangers_make_room() {
    let more = "encrypted_connections_max = 10\nencrypted_connections_per_client_max = 8\ntls_handshake_timeout = \"30s\"";
    let Some((scratch, daemon)) = server("shares", more) else { return };
    let connector = connector(&[&scratch.path().join("cert.pem")]);
    let server = daemon.port("dns_tls");
    let from = |local: &str| {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(local.parse().expect("an address"), 0)).expect("a local address");
        socket
    };
    block_on(async {
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(from("127.0.0.2").connect(server).await.expect("a connection"));
        }
        // One more of the same client is refused; others get in, and the longest idle makes room.
        let mut ninth = from("127.0.0.2").connect(server).await.expect("a connection");
        assert!(matches!(ninth.read(&mut [0; 1]).await, Ok(0) | Err(_)));
        for n in 3..9 {
            held.push(from(&format!("127.0.0.{n}")).connect(server).await.expect("a connection"));
        }
        assert!(ask(server, &connector).await.expect("an answer"));
    });
    assert_eq!(daemon.metric("dnslb_encrypted_refused_total"), Some(1.0));
    assert!(daemon.metric("dnslb_encrypted_evicted_total") >= Some(4.0));
}

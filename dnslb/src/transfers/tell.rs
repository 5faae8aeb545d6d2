//! One notification to one secondary (RFC 1996), over UDP.
//!
//! Whoever answers has understood, even if it refuses: telling it again would not help.

use dnslb_core::message::{Header, opcode};
use dnslb_core::tsig::{Signer, TsigKey};
use dnslb_core::zone::{Rtype, Zone};
use farm_daemon::clock::Clock;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Tells; whether an answer came.
pub(super) async fn tell(zone: &Zone, to: SocketAddr, key: Option<Arc<TsigKey>>, id: u16, clock: Clock) -> bool {
    let mut message = notification(zone, id);
    let mut checker = key.map(|key| Signer::request(key, &mut message, clock.now().wall));
    let any = if to.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let exchange = async {
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(to).await?;
        socket.send(&message).await?;
        let mut answer = vec![0; 4_096];
        loop {
            let len = socket.recv(&mut answer).await?;
            let answer = answer.get(..len).unwrap_or_default();
            let Ok(header) = Header::read(answer) else { continue };
            if header.id != id || !header.is_response() || header.opcode() != opcode::NOTIFY {
                continue;
            }
            let trusted = checker.as_mut().is_none_or(|checker| checker.check(answer, clock.now().wall).is_ok());
            if header.rcode() != 0 || !trusted {
                tracing::warn!(zone = %zone.apex(), %to, rcode = header.rcode(), trusted, "a notification was not welcome");
            }
            return Ok::<(), std::io::Error>(());
        }
    };
    matches!(timeout(ANSWER_TIMEOUT, exchange).await, Ok(Ok(())))
}

/// The message: the zone in question and, as a hint, its SOA record.
fn notification(zone: &Zone, id: u16) -> Vec<u8> {
    let flags = u16::from(opcode::NOTIFY) << 11 | Header::AA;
    let mut message = Header { id, flags, counts: [1, 1, 0, 0] }.octets().to_vec();
    message.extend_from_slice(zone.apex().wire());
    message.extend_from_slice(&Rtype::SOA.0.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    for soa in zone.records().take(1) {
        message.extend_from_slice(&[0xc0, 0x0c]);
        message.extend_from_slice(&Rtype::SOA.0.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        message.extend_from_slice(&soa.ttl_s.to_be_bytes());
        message.extend_from_slice(&(soa.rdata.len() as u16).to_be_bytes());
        message.extend_from_slice(soa.rdata);
    }
    message
}

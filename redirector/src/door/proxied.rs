//! Reads the header of the PROXY protocol from a connection, and not one octet more.
//!
//! It must never wait for more than the header: the octets behind it are TLS or HTTP, and somebody else's to read.

use redirector_core::door::proxy_protocol::{HEADER_BYTES_MAX, Parsed, parse};
use std::io;
use std::net::IpAddr;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// Whom a proxy speaks for, and whether the client came to it by TLS; the proxy itself if it speaks for itself.
///
/// # Errors
/// The connection ended, or what came is no header.
pub(super) async fn source(stream: &mut TcpStream, proxy: IpAddr) -> io::Result<(IpAddr, bool)> {
    let mut octets = vec![0; HEADER_BYTES_MAX];
    let mut taken = 0;
    loop {
        let room = octets.get_mut(taken..).unwrap_or_default();
        // Seen, not taken: where the header ends is known only then.
        let seen = stream.peek(room).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let parsed = parse(octets.get(..taken + seen).unwrap_or_default());
        let end = match parsed {
            Parsed::Partial => taken + seen,
            Parsed::Header { len, .. } => len,
            Parsed::Bad => return Err(io::ErrorKind::InvalidData.into()),
        };
        stream.read_exact(octets.get_mut(taken..end).unwrap_or_default()).await?;
        taken = end;
        if let Parsed::Header { source, secure, .. } = parsed {
            return Ok((source.unwrap_or(proxy), secure));
        }
    }
}

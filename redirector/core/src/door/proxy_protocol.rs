//! The header that a proxy sends before all else to say whom it speaks for: PROXY protocol version 1 and 2 (haproxy,
//! doc/proxy-protocol.txt, 2020/03/05).
//!
//! Octets from the network: never a panic, never more looked at than [`HEADER_BYTES_MAX`]. Whether the sender may send one is for
//! the shell to know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest header that is read, in octets. Version 2 could announce 64 KB of extensions; nobody sends more than a client
/// certificate's names.
pub const HEADER_BYTES_MAX: usize = 4_096;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const V1_BYTES_MAX: usize = 107;
const V2_FIXED: usize = 16;
/// `PP2_TYPE_SSL`, and its first octet's flag for "the client came by TLS".
const TYPE_SSL: u8 = 0x20;
const CLIENT_SSL: u8 = 1;

/// What the octets so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header.
    Partial,
    /// A whole header.
    Header {
        /// Its octets; what follows is the client's.
        len: usize,
        /// The client's address; `None` if the proxy speaks for itself (`LOCAL`) or does not know.
        source: Option<IpAddr>,
        /// The proxy says that the client came by TLS.
        secure: bool,
    },
    /// No header.
    Bad,
}

const LOCAL: Option<IpAddr> = None;

/// Reads the header that a connection begins with.
pub fn parse(octets: &[u8]) -> Parsed {
    let known = octets.len().min(SIGNATURE.len());
    if octets.get(..known) == SIGNATURE.get(..known) {
        return if known < SIGNATURE.len() { Parsed::Partial } else { version_2(octets) };
    }
    version_1(octets)
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443` and CR LF.
fn version_1(octets: &[u8]) -> Parsed {
    const BEGIN: &[u8] = b"PROXY ";
    let known = octets.len().min(BEGIN.len());
    if octets.get(..known) != BEGIN.get(..known) {
        return Parsed::Bad;
    }
    let line = octets.get(..octets.len().min(V1_BYTES_MAX)).unwrap_or_default();
    let Some(end) = line.windows(2).position(|two| two == b"\r\n") else {
        return if octets.len() < V1_BYTES_MAX { Parsed::Partial } else { Parsed::Bad };
    };
    let line = line.get(BEGIN.len()..end).and_then(|line| std::str::from_utf8(line).ok());
    match line.map(v1_source) {
        Some(Ok(source)) => Parsed::Header { len: end + 2, source, secure: false },
        _ => Parsed::Bad,
    }
}

/// The source that a line names; the error is that it is no such line.
fn v1_source(line: &str) -> Result<Option<IpAddr>, ()> {
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        // Whatever follows is to be ignored.
        return Ok(LOCAL);
    }
    let mut words = [""; 5];
    let mut found = line.split(' ');
    for word in &mut words {
        *word = found.next().ok_or(())?;
    }
    let [family, source, to, ports @ ..] = words;
    let is_port = |port: &str| {
        let plain = port.bytes().all(|b| b.is_ascii_digit()) && (port == "0" || !port.starts_with('0'));
        plain && port.parse::<u16>().is_ok()
    };
    if found.next().is_some() || !ports.into_iter().all(is_port) {
        return Err(());
    }
    let address = |text: &str| text.parse::<IpAddr>().map_err(drop);
    let (source, to) = (address(source)?, address(to)?);
    let fits = match family {
        "TCP4" => source.is_ipv4() && to.is_ipv4(),
        "TCP6" => source.is_ipv6() && to.is_ipv6(),
        _ => false,
    };
    if fits { Ok(Some(source.to_canonical())) } else { Err(()) }
}

fn version_2(octets: &[u8]) -> Parsed {
    let Some(&[version_command, family, high, low]) = octets.get(SIGNATURE.len()..V2_FIXED) else { return Parsed::Partial };
    let len = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    if version_command >> 4 != 2 || len > HEADER_BYTES_MAX {
        return Parsed::Bad;
    }
    let Some(body) = octets.get(V2_FIXED..len) else { return Parsed::Partial };
    match version_command & 0xf {
        0 => Parsed::Header { len, source: LOCAL, secure: false },
        1 => v2_proxied(family, body).map_or(Parsed::Bad, |(source, secure)| Parsed::Header { len, source, secure }),
        _ => Parsed::Bad,
    }
}

/// The source of a version 2 header with command PROXY, and what its extensions say about TLS.
fn v2_proxied(family: u8, body: &[u8]) -> Option<(Option<IpAddr>, bool)> {
    let (source, addresses) = match family {
        0x11 => (Some(Ipv4Addr::from(*body.first_chunk::<4>()?).into()), 12),
        0x21 => (Some(IpAddr::from(Ipv6Addr::from(*body.first_chunk::<16>()?)).to_canonical()), 36),
        // Unspecified: addresses of any length, which nobody can skip to find extensions.
        0x00 => return Some((LOCAL, false)),
        // A socket file of the proxy's machine.
        0x31 => (LOCAL, 216),
        // Datagrams cannot come by a stream.
        _ => return None,
    };
    Some((source, says_tls(body.get(addresses..)?)?))
}

/// Walks the extensions; `None` if they do not add up.
fn says_tls(mut extensions: &[u8]) -> Option<bool> {
    let mut secure = false;
    while let Some((&[kind, high, low], rest)) = extensions.split_first_chunk::<3>() {
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
        if kind == TYPE_SSL {
            secure = value.first()? & CLIENT_SSL != 0;
        }
        extensions = rest;
    }
    extensions.is_empty().then_some(secure)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where it cannot go on")]
    use super::*;
    use proptest::prelude::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &len, body].concat()
    }

    #[test]
    fn version_1_lines() {
        let check = |text: &str, expect: Option<Option<&str>>| {
            let octets = [text.as_bytes(), b"GET / HTTP/1.1\r\n"].concat();
            let expect = expect.map_or(Parsed::Bad, |source| Parsed::Header {
                len: text.len(),
                source: source.map(|source| source.parse().unwrap()),
                secure: false,
            });
            assert_eq!(parse(&octets), expect, "{text:?}");
        };
        check("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", Some(Some("192.0.2.1")));
        check("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", Some(Some("2001:db8::1")));
        check("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 0 1\r\n", Some(Some("192.0.2.1")));
        check("PROXY UNKNOWN\r\n", Some(None));
        check("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", Some(None));
        check("PROXY UNKNOWNS\r\n", None);
        check("PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", None);
        check("PROXY TCP4 192.0.2.1 198.51.100.7 56324 65536\r\n", None);
        check("PROXY TCP4 192.0.2.1 198.51.100.7 056324 443\r\n", None);
        check("PROXY TCP4 192.0.2.1 198.51.100.7 +1 443\r\n", None);
        check("PROXY TCP4 192.0.2.1  198.51.100.7 1 443\r\n", None);
        check("PROXY TCP4 192.0.2.01 198.51.100.7 1 443\r\n", None);
        check("PROXY TCP4 192.0.2.1 198.51.100.7 1 443 \r\n", None);
        check("PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n", None);
        check("PROXY\r\n", None);
        check("proxy UNKNOWN\r\n", None);
        check("", None);
        check(&format!("PROXY UNKNOWN {}\r\n", "x".repeat(91)), Some(None));
        check(&format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)), None);
    }

    #[test]
    fn version_2_headers() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 7, 0, 80, 1, 187];
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        let check = |octets: &[u8], expect: Option<(Option<&str>, bool)>| {
            let expect = expect.map_or(Parsed::Bad, |(source, secure)| Parsed::Header {
                len: octets.len(),
                source: source.map(|source| source.parse().unwrap()),
                secure,
            });
            assert_eq!(parse(&[octets, b"GET"].concat()), expect, "{octets:?}");
        };
        let with = |extensions: &[u8]| v2(1, 0x11, &[&v4[..], extensions].concat());
        check(&v2(1, 0x11, &v4), Some((Some("192.0.2.1"), false)));
        check(&v2(1, 0x21, &v6), Some((Some("2001:db8::1"), false)));
        check(&v2(0, 0x00, &[]), Some((None, false)));
        check(&v2(0, 0x11, &v4), Some((None, false)));
        check(&v2(1, 0x00, &[1, 2, 3]), Some((None, false)));
        check(&v2(1, 0x31, &[0; 216]), Some((None, false)));
        check(&v2(1, 0x31, &[0; 215]), None);
        check(&v2(1, 0x12, &v4), None);
        check(&v2(1, 0x11, &v4[..11]), None);
        check(&v2(1, 0x21, &v4), None);
        check(&v2(2, 0x11, &v4), None);
        check(&with(&[TYPE_SSL, 0, 5, 1, 0, 0, 0, 0]), Some((Some("192.0.2.1"), true)));
        check(&with(&[4, 0, 1, 9, TYPE_SSL, 0, 5, 0, 0, 0, 0, 0]), Some((Some("192.0.2.1"), false)));
        check(&with(&[TYPE_SSL, 0, 0]), None);
        check(&with(&[4, 0, 2, 9]), None);
        check(&with(&[4, 0]), None);
        check(&v2(0, 0, &[0; HEADER_BYTES_MAX - V2_FIXED]), Some((None, false)));
        check(&v2(0, 0, &[0; HEADER_BYTES_MAX - V2_FIXED + 1]), None);
        let mut version_3 = v2(1, 0x11, &v4);
        version_3[12] = 0x31;
        check(&version_3, None);
    }

    proptest! {
        #[test]
        fn a_header_is_partial_until_it_is_whole(family in 0_u8..2, extension: Vec<u8>) {
            let body = [&[7; 36][..], &[4], &(extension.len() as u16).to_be_bytes(), &extension].concat();
            let second = v2(1, 0x21, &body);
            let whole = if family == 0 { b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n".to_vec() } else { second };
            for end in 0..whole.len() {
                prop_assert_eq!(parse(&whole[..end]), Parsed::Partial);
            }
            let whole_len = whole.len();
            let is_whole = matches!(parse(&whole), Parsed::Header { len, .. } if len == whole_len);
            prop_assert!(is_whole);
        }

        #[test]
        fn nothing_makes_it_panic(mut octets: Vec<u8>, v2_begins: bool, at: usize, with: u8) {
            if v2_begins {
                octets.splice(0..0, SIGNATURE);
            }
            let len = octets.len().max(1);
            if let Some(octet) = octets.get_mut(at % len) {
                *octet = with;
            }
            match parse(&octets) {
                Parsed::Header { len, .. } => prop_assert!(len <= octets.len() && len <= HEADER_BYTES_MAX),
                Parsed::Partial => prop_assert!(octets.len() < HEADER_BYTES_MAX),
                Parsed::Bad => {}
            }
        }
    }
}

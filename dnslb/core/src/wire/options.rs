//! The options of a query's OPT record, read in place.
//!
//! Options that are not ours are passed over (RFC 6891 section 6.1.2). Nothing is copied, and no octets may panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::cookie::{CLIENT_COOKIE_LEN, COOKIE_LEN};

/// Option codes (RFC 6891 section 9; the registry of EDNS0 option codes).
pub(crate) mod code {
    /// Name server identifier (RFC 5001).
    pub(crate) const NSID: u16 = 3;
    /// Client subnet (RFC 7871).
    pub(crate) const CLIENT_SUBNET: u16 = 8;
    /// Cookie (RFC 7873).
    pub(crate) const COOKIE: u16 = 10;
    /// Idle timeout of a stream (RFC 7828).
    pub(crate) const TCP_KEEPALIVE: u16 = 11;
    /// Padding (RFC 7830).
    pub(crate) const PADDING: u16 = 12;
    /// Extended error (RFC 8914).
    pub(crate) const EXTENDED_ERROR: u16 = 15;
}

/// What a query's options say; of one that comes twice, the first (RFC 7873 section 5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options<'q> {
    /// The client wants to know who answers.
    pub(crate) nsid: bool,
    /// The client wants to know how long it may keep a connection.
    pub(crate) keepalive: bool,
    /// The client pads its queries.
    pub(crate) padding: bool,
    /// Client cookie, perhaps with a server cookie behind it; of permitted length.
    pub(crate) cookie: Option<&'q [u8]>,
    /// A cookie has a length that none can have: the query is malformed (RFC 7873 section 5.2.2).
    pub(crate) bad_cookie: bool,
    /// Client subnet, as it came.
    pub(crate) subnet: Option<&'q [u8]>,
}

/// Longest server cookie that anybody may make, with its client cookie, in octets (RFC 7873 section 4).
const COOKIE_LEN_MAX: usize = 40;
/// Shortest.
const COOKIE_LEN_MIN: usize = 16;

const _: () = assert!(COOKIE_LEN >= COOKIE_LEN_MIN && COOKIE_LEN <= COOKIE_LEN_MAX);

impl<'q> Options<'q> {
    /// Reads the data of an OPT record; `None` when the options do not fill it exactly.
    pub(super) fn read(mut rest: &'q [u8]) -> Option<Self> {
        let mut options = Self::default();
        while let Some((&[code_high, code_low, len_high, len_low], tail)) = rest.split_first_chunk::<4>() {
            let (data, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes([len_high, len_low])))?;
            rest = tail;
            match u16::from_be_bytes([code_high, code_low]) {
                code::NSID => options.nsid = true,
                code::TCP_KEEPALIVE => options.keepalive = true,
                code::PADDING => options.padding = true,
                code::CLIENT_SUBNET => options.subnet = options.subnet.or(Some(data)),
                code::COOKIE => {
                    let valid = data.len() == CLIENT_COOKIE_LEN || (COOKIE_LEN_MIN..=COOKIE_LEN_MAX).contains(&data.len());
                    options.bad_cookie |= !valid;
                    options.cookie = options.cookie.or(Some(data).filter(|_| valid));
                }
                _ => {}
            }
        }
        rest.is_empty().then_some(options)
    }
}

/// The network that a query was asked for (RFC 7871 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientSubnet {
    /// Its address, zeros behind the prefix.
    pub address: IpAddr,
    /// Length of the prefix, in bits; 0 when the client wants none to be used.
    pub prefix_bits: u8,
}

impl ClientSubnet {
    /// Reads the option's data. `None` when it is malformed: an unknown family, a prefix that is too long, a scope in a query, octets
    /// too many or too few, or bits behind the prefix (RFC 7871 section 7.1.2).
    pub fn read(data: &[u8]) -> Option<Self> {
        let (&[family_high, family, prefix_bits, scope], given) = data.split_first_chunk::<4>()?;
        let octets = usize::from(prefix_bits).div_ceil(8);
        if family_high != 0 || scope != 0 || given.len() != octets {
            return None;
        }
        let mut whole = [0; 16];
        whole.get_mut(..octets)?.copy_from_slice(given);
        let bits = u128::from_be_bytes(whole);
        if bits & u128::MAX.checked_shr(u32::from(prefix_bits)).unwrap_or(0) != 0 {
            return None;
        }
        let address = match family {
            1 if prefix_bits <= 32 => IpAddr::V4(Ipv4Addr::from_bits((bits >> 96) as u32)),
            2 if prefix_bits <= 128 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
            _ => return None,
        };
        Some(Self { address, prefix_bits })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn option(code: u8, data: &[u8]) -> Vec<u8> {
        [&[0, code, 0, data.len() as u8], data].concat()
    }

    #[test]
    fn options_are_read_and_unknown_ones_passed_over() {
        let all =
            [option(3, b""), option(99, b"x"), option(8, b"net"), option(12, &[0; 5]), option(10, &[7; 8]), option(11, b"")];
        let all = all.concat();
        let expect = Options {
            nsid: true,
            keepalive: true,
            padding: true,
            cookie: Some(&[7; 8]),
            subnet: Some(b"net"),
            bad_cookie: false,
        };
        assert_eq!(Options::read(&all), Some(expect));
        let twice = [option(10, &[1; 8]), option(10, &[2; 8])].concat();
        assert_eq!(Options::read(&twice).unwrap().cookie, Some(&[1; 8][..]));
        assert_eq!(Options::read(b""), Some(Options::default()));
        for len in 0..50 {
            let valid = len == 8 || (16..=40).contains(&len);
            let data = option(10, &vec![0; len]);
            let options = Options::read(&data).unwrap();
            assert_eq!((options.cookie.is_some(), options.bad_cookie), (valid, !valid), "{len}");
        }
        for malformed in [&b"\0"[..], b"\0\x63\0", b"\0\x63\0\x01", b"\0\x63\0\0\0"] {
            assert_eq!(Options::read(malformed), None, "{malformed:?}");
        }
    }

    #[test]
    fn client_subnets() {
        let check = |data: &[u8], expect: Option<(&str, u8)>| {
            let expect = expect.map(|(text, prefix_bits)| ClientSubnet { address: text.parse().unwrap(), prefix_bits });
            assert_eq!(ClientSubnet::read(data), expect, "{data:?}");
        };
        check(&[0, 1, 24, 0, 192, 0, 2], Some(("192.0.2.0", 24)));
        check(&[0, 1, 32, 0, 192, 0, 2, 1], Some(("192.0.2.1", 32)));
        check(&[0, 1, 20, 0, 192, 0, 0x20], Some(("192.0.32.0", 20)));
        check(&[0, 1, 0, 0], Some(("0.0.0.0", 0)));
        check(&[0, 2, 56, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 1], Some(("2001:db8:0:100::", 56)));
        check(&[0, 2, 0, 0], Some(("::", 0)));
        check(&[0, 1, 24, 0, 192, 0], None);
        check(&[0, 1, 24, 0, 192, 0, 2, 0], None);
        check(&[0, 1, 20, 0, 192, 0, 0x21], None);
        check(&[0, 1, 24, 24, 192, 0, 2], None);
        check(&[0, 1, 33, 0, 192, 0, 2, 0, 0], None);
        check(&[0, 3, 0, 0], None);
        check(&[1, 1, 0, 0], None);
        check(&[0, 1, 0], None);
        check(&[], None);
    }

    proptest! {
        #[test]
        fn no_octets_panic(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Options::read(&octets);
            let _ = ClientSubnet::read(&octets);
        }
    }
}

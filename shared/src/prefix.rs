//! Address prefixes (CIDR), as they stand in configurations.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// All addresses that share the first `bits` bits with `addr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    addr: IpAddr,
    bits: u8,
}

/// Why a text is no [`Prefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPrefix;

impl fmt::Display for BadPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected an address or ADDRESS/BITS with no bit set behind the prefix, like \"10.1.0.0/16\"")
    }
}

impl std::error::Error for BadPrefix {}

impl Prefix {
    /// A prefix; host bits must be zero, since a set one is a typing error more often than a wish.
    pub fn new(addr: IpAddr, bits: u8) -> Result<Self, BadPrefix> {
        let prefix = Self { addr, bits };
        let width = prefix.width();
        if bits > width || prefix.masked(addr) != number(addr) { Err(BadPrefix) } else { Ok(prefix) }
    }

    /// Whether an address lies in it. An IPv4 prefix holds no IPv6 address, mapped ones included.
    pub fn contains(self, addr: IpAddr) -> bool {
        addr.is_ipv4() == self.addr.is_ipv4() && self.masked(addr) == number(self.addr)
    }

    /// How many bits all its addresses share.
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// Its first and its last address as numbers.
    pub fn bounds(self) -> [u128; 2] {
        let first = number(self.addr);
        let host_bits = u32::from(self.width().saturating_sub(self.bits));
        [first, first | u128::MAX.checked_shr(128 - host_bits).unwrap_or(0)]
    }

    /// Bits of an address of its family.
    pub fn width(self) -> u8 {
        if self.addr.is_ipv4() { 32 } else { 128 }
    }

    fn masked(self, addr: IpAddr) -> u128 {
        let host_bits = u32::from(self.width().saturating_sub(self.bits));
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        number(addr) & mask
    }
}

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl FromStr for Prefix {
    type Err = BadPrefix;
    fn from_str(text: &str) -> Result<Self, BadPrefix> {
        let (addr, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let addr: IpAddr = addr.parse().map_err(|_| BadPrefix)?;
        let full = if addr.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(full), |b| b.parse().map_err(|_| BadPrefix))?;
        Self::new(addr, bits)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(prefix: &str, addr: &str, expect: bool) {
        let prefix: Prefix = prefix.parse().unwrap_or_else(|_| panic!("{prefix}"));
        assert_eq!(prefix.contains(addr.parse().expect("address")), expect, "{prefix} {addr}");
    }

    #[test]
    fn containment() {
        check("10.1.0.0/16", "10.1.255.255", true);
        check("10.1.0.0/16", "10.2.0.0", false);
        check("0.0.0.0/0", "255.1.2.3", true);
        check("0.0.0.0/0", "::1", false);
        check("::/0", "::1", true);
        check("127.0.0.1", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.2", false);
        check("2001:db8::/33", "2001:db8:8000::1", false);
    }

    #[test]
    fn typing_errors() {
        for bad in ["", "10.1.0.0/33", "10.1.0.1/16", "::1/64", "x/8", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }
}

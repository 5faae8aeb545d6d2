//! `[access_log]`: one line a request, for whoever must have them. Off unless a file is named.
//!
//! What is logged of people is the operator's to answer for, so the defaults say little: addresses can be cut and queries left out.

use farm_shared::config::Section;
use std::net::IpAddr;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessFormat {
    /// Apache's combined log format.
    #[default]
    Combined,
    /// One JSON object a line.
    Json,
}

/// The access log.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLogSpec {
    /// Where lines go: a path, or `-` for standard output; none is no log.
    pub file: Option<String>,
    /// How they look.
    pub format: AccessFormat,
    /// The share of requests that are logged, 0 to 1.
    pub sample: f64,
    /// Answers from 400 on are logged whatever the share.
    pub errors: bool,
    /// The query is logged, too.
    pub query: bool,
    /// Bits of an IPv4 address that are logged; the others are zero.
    pub ipv4_bits: u8,
    /// Bits of an IPv6 address that are logged.
    pub ipv6_bits: u8,
}

impl Default for AccessLogSpec {
    fn default() -> Self {
        Self {
            file: None,
            format: AccessFormat::Combined,
            sample: 1.0,
            errors: true,
            query: false,
            ipv4_bits: 32,
            ipv6_bits: 128,
        }
    }
}

impl AccessLogSpec {
    pub(super) fn read(section: &Section) -> Self {
        let d = Self::default();
        let format = section.choice(
            "format",
            "combined",
            &["combined", "json"],
            "Apache's combined log format, or one JSON object a line.",
        );
        Self {
            file: section.optional_string(
                "file",
                "Where a line for each request goes: a path, or `-` for standard output. Without it there is no access log. Opened anew at SIGHUP.",
            ),
            format: if format == "json" { AccessFormat::Json } else { AccessFormat::Combined },
            sample: section.float("sample", d.sample, 0.0..=1.0, "The share of requests that are logged."),
            errors: section.boolean("errors", d.errors, "Answers from 400 on are logged whatever the share is."),
            query: section.boolean("query", d.query, "The query of the address is logged, too. It may hold what nobody should read."),
            ipv4_bits: section.integer("ipv4_bits", 32, 0..=32, "Leading bits of IPv4 addresses that are logged; the others are zero.")
                as u8,
            ipv6_bits: section.integer("ipv6_bits", 128, 0..=128, "Leading bits of IPv6 addresses that are logged.") as u8,
        }
    }

    /// What is logged of an address.
    pub fn shown(&self, addr: IpAddr) -> IpAddr {
        match addr.to_canonical() {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.ipv4_bits.min(32))).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.ipv6_bits.min(128))).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_cut() {
        for (ipv4_bits, ipv6_bits, addr, expect) in [
            (32, 128, "192.0.2.77", "192.0.2.77"),
            (24, 128, "192.0.2.77", "192.0.2.0"),
            (24, 128, "::ffff:192.0.2.77", "192.0.2.0"),
            (0, 0, "192.0.2.77", "0.0.0.0"),
            (0, 0, "2001:db8::1", "::"),
            (24, 48, "2001:db8:1:2::3", "2001:db8:1::"),
        ] {
            let spec = AccessLogSpec { ipv4_bits, ipv6_bits, ..AccessLogSpec::default() };
            let shown = addr.parse().map(|addr| spec.shown(addr).to_string());
            assert_eq!(shown.as_deref(), Ok(expect), "{addr}");
        }
    }
}

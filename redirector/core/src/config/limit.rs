//! `[limit]`: how many requests one source may make.
//!
//! It is off unless a rate is given: what is much for one source depends on who sits behind one address.

use farm_shared::config::Section;
use farm_shared::prefix::Prefix;

/// What one source may ask.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitSpec {
    /// Requests a second in the long run; 0 is no limit.
    pub requests_per_s: f64,
    /// Requests at once.
    pub burst: u32,
    /// So many first bits of an IPv4 address are one source.
    pub ipv4_bits: u8,
    /// So many first bits of an IPv6 address are one source.
    pub ipv6_bits: u8,
    /// Who has no limit.
    pub exempt: Vec<Prefix>,
}

impl Default for LimitSpec {
    fn default() -> Self {
        Self { requests_per_s: 0.0, burst: 50, ipv4_bits: 32, ipv6_bits: 64, exempt: Vec::new() }
    }
}

impl LimitSpec {
    pub(super) fn read(section: &Section) -> Self {
        let d = Self::default();
        let spec = Self {
            requests_per_s: section.float(
                "requests_per_s",
                d.requests_per_s,
                0.0..=10_000.0,
                "Requests a second of one source in the long run; more get 429. 0 is no limit. Sessions that are under way have as many beside.",
            ),
            burst: section.integer("burst", d.burst.into(), 1..=100_000, "Requests of one source at once.") as u32,
            ipv4_bits: section.integer("ipv4_bits", d.ipv4_bits.into(), 8..=32, "So many first bits of an IPv4 address are one source.") as u8,
            ipv6_bits: section.integer("ipv6_bits", d.ipv6_bits.into(), 16..=128, "The same of an IPv6 address.") as u8,
            exempt: section.list("exempt", &[], "a prefix like \"192.0.2.0/24\"", "Who has no limit: a monitor, a large office, a proxy of one's own."),
        };
        if spec.requests_per_s > 0.0 && spec.requests_per_s < 0.01 {
            section.problem(
                "requests_per_s",
                spec.requests_per_s.to_string(),
                "0 for no limit, or 0.01 (one in 100 seconds) at least",
            );
        }
        spec
    }
}

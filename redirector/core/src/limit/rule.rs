//! What the configuration says of one source's requests, and whether a request keeps to it.
//!
//! A source has two accounts: the ordinary one, and one for sessions that are under way (they show a cookie of ours), which is asked
//! for only when the first is empty. So a flood from behind a shared address does not lock out who works there already, and a stolen
//! cookie is worth no more than the same rate again.

use super::debts::{Allowance, Debts, TICKS_PER_MS};
use crate::config::LimitSpec;
use farm_shared::prefix::Prefix;
use farm_shared::time::Mono;
use std::net::IpAddr;

/// What one source may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    allowance: Allowance,
    ipv4_mask: u32,
    ipv6_mask: u128,
    exempt: Box<[Prefix]>,
}

impl Limit {
    /// From the configuration; `None` if there is no limit.
    pub fn new(spec: &LimitSpec) -> Option<Self> {
        if spec.requests_per_s <= 0.0 {
            return None;
        }
        let cost = (1_000.0 * TICKS_PER_MS as f64 / spec.requests_per_s).round().max(1.0) as u64;
        Some(Self {
            allowance: Allowance { cost, debt_max: cost.saturating_mul(u64::from(spec.burst.max(1))) },
            ipv4_mask: u32::MAX.checked_shl(32 - u32::from(spec.ipv4_bits.min(32))).unwrap_or(0),
            ipv6_mask: u128::MAX.checked_shl(128 - u32::from(spec.ipv6_bits.min(128))).unwrap_or(0),
            exempt: spec.exempt.clone().into(),
        })
    }

    /// Counts a request. `Err` if it is one too many: seconds until its source may ask again, at least one. `has_session` is asked
    /// only then.
    pub fn pay(&self, debts: &Debts, source: IpAddr, now: Mono, has_session: impl FnOnce() -> bool) -> Result<(), u32> {
        let source = source.to_canonical();
        let ticks = now.0.wrapping_mul(TICKS_PER_MS);
        let counted = self.counted_as(source);
        let Err(wait) = debts.pay(counted, ticks, self.allowance) else { return Ok(()) };
        if self.exempt.iter().any(|prefix| prefix.contains(source)) {
            return Ok(());
        }
        if has_session() && debts.pay(!counted, ticks, self.allowance).is_ok() {
            return Ok(());
        }
        Err(wait.div_ceil(1_000 * TICKS_PER_MS).clamp(1, u64::from(u32::MAX)) as u32)
    }

    /// The part of an address that is one source. IPv4 has numbers of its own (RFC 4291 2.5.5.2), which are no IPv6 client's.
    fn counted_as(&self, source: IpAddr) -> u128 {
        match source {
            IpAddr::V4(v4) => 0xffff_0000_0000 | u128::from(v4.to_bits() & self.ipv4_mask),
            IpAddr::V6(v6) => v6.to_bits() & self.ipv6_mask,
        }
    }
}

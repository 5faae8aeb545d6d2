//! The point of time at which a certificate is renewed: drawn from the authority's window, or after two thirds of its life.
//!
//! Whatever an authority suggests, it must leave time to fail in: an eighth of the certificate's life at least.

use super::{DAY, Facts, HOUR, MINUTE};

/// The pause before renewal information is asked for again, if the answer failed or said nothing, in milliseconds.
pub(super) const ASK_MS_FAILED: u64 = HOUR;
/// The longest pause that is believed.
pub(super) const ASK_MS_MAX: u64 = DAY;

/// How long a certificate is valid, in milliseconds.
pub(super) fn lifetime_ms(facts: &Facts) -> u64 {
    facts.not_after_ms.saturating_sub(facts.not_before_ms)
}

/// Two thirds of the life, less up to a twentieth of it: certificates of one day must not be renewed in one second.
pub(super) fn two_thirds(facts: &Facts, draw: f64) -> u64 {
    let life_ms = lifetime_ms(facts);
    let early_ms = (life_ms as f64 / 20.0 * draw) as u64;
    facts.not_before_ms.saturating_add(life_ms / 3 * 2).saturating_sub(early_ms)
}

/// A point in the authority's window (RFC 9773 4.2), but never in the certificate's last eighth.
pub(super) fn within(facts: &Facts, (start_ms, end_ms): (u64, u64), draw: f64) -> u64 {
    let chosen = start_ms.saturating_add((end_ms.saturating_sub(start_ms) as f64 * draw) as u64);
    chosen.min(facts.not_after_ms.saturating_sub(lifetime_ms(facts) / 8))
}

/// RFC 9773 4.3.2: not more than once a minute, not less than once a day.
pub(super) fn ask_again_ms(told_ms: u64) -> u64 {
    told_ms.clamp(MINUTE, ASK_MS_MAX)
}

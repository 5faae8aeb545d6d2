//! `[[dnssec_policy]]`: how zones are signed and their keys rolled, as plain data.
//!
//! Durations are seconds. What a zone's data can make longer (its highest TTL) is taken from the zone, never below what stands here.

use farm_shared::id::Id;

use super::active::Validity;
use super::schedule::{KeyRules, Timing};
use super::sign_zone::Denial;

/// How zones are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnssecPolicy {
    /// Its name.
    pub name: Id,
    /// Where private keys and schedules are.
    pub key_dir: String,
    /// Whether this server makes the keys and the schedule; others of the same zone read them.
    pub manage_keys: bool,
    /// Which keys there are, and for how long.
    pub rules: KeyRules,
    /// What rollovers wait for.
    pub timing: Timing,
    /// How long signatures hold.
    pub validity: Validity,
    /// How absence is proven; none for whatever fits a zone: ahead of time where only its file speaks, else for each answer.
    pub denial: Option<Denial>,
}

impl DnssecPolicy {
    /// What rollovers of a zone wait for whose records have a TTL of up to `zone_ttl_s_max`.
    pub fn timing_of(&self, zone_ttl_s_max: u32) -> Timing {
        Timing { zone_ttl_s_max: self.timing.zone_ttl_s_max.max(u64::from(zone_ttl_s_max)), ..self.timing }
    }
}

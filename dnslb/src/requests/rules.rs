//! What an operator allows: who may have a zone, who may say that it has changed.
//!
//! Made whole from a configuration, replaced whole by a reload.

use dnslb_core::config::{PrimarySpec, Spec, ZoneSpec};
use dnslb_core::name::Name;
use dnslb_core::transfer::{Grant, is_granted};
use dnslb_core::tsig::Keys;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The rules.
#[derive(Debug, Default)]
pub struct Rules {
    pub(super) keys: Keys,
    zones: BTreeMap<Name, ZoneRules>,
}

#[derive(Debug)]
struct ZoneRules {
    transfer: Vec<Grant>,
    primaries: Vec<PrimarySpec>,
}

fn zones(specs: &[ZoneSpec]) -> BTreeMap<Name, ZoneRules> {
    let rules = |zone: &ZoneSpec| ZoneRules { transfer: zone.transfer.clone(), primaries: zone.primaries.clone() };
    specs.iter().map(|zone| (zone.name.clone(), rules(zone))).collect()
}

impl Rules {
    /// What a configuration says.
    pub fn of(spec: &Spec) -> Self {
        Self { keys: spec.keys.clone(), zones: zones(&spec.zones) }
    }

    /// What catalogs say of their zones; the keys are those of the configuration.
    pub(super) fn of_members(members: &[ZoneSpec]) -> Self {
        Self { keys: Keys::default(), zones: zones(members) }
    }

    /// Whether a client may have the zone whole.
    pub(super) fn may_have(&self, apex: &Name, key: Option<&Name>, client: IpAddr) -> bool {
        self.zones.get(apex).is_some_and(|zone| is_granted(&zone.transfer, key, client))
    }

    /// Whether a client may say that the zone has changed; `None` if it is no secondary of ours. A primary may, by its address or
    /// by its key: all that follows is a question to it.
    pub(super) fn may_notify(&self, apex: &Name, key: Option<&Name>, client: IpAddr) -> Option<bool> {
        let primaries = &self.zones.get(apex)?.primaries;
        let is_one = |primary: &PrimarySpec| primary.addr.ip() == client || (key.is_some() && primary.key.as_ref() == key);
        (!primaries.is_empty()).then(|| primaries.iter().any(is_one))
    }
}

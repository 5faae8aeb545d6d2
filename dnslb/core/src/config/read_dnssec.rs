//! The reader of `[[dnssec_policy]]` and `[zone.dnssec]`.
//!
//! As in the other readers, all options are read before any is judged. What would let a signature expire before it is made anew is
//! a problem here and not a surprise at night.

use super::read::Unique;
use super::spec::ZoneDnssec;
use crate::dnssec::schedule::{KeyRules, Timing};
use crate::dnssec::{Algorithm, Denial, DnssecPolicy, Validity};
use farm_shared::config::Section;
use farm_shared::id::Id;
use farm_shared::settings::{LABEL, SOCKET};
use std::sync::Arc;

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;
const YEAR_S: u64 = 365 * DAY_S;

/// Policies with their sections.
pub(super) fn policies(root: &Section) -> Vec<Arc<DnssecPolicy>> {
    let mut policies = Vec::new();
    let mut seen = Unique::default();
    for s in root.tables("dnssec_policy", "How zones are signed, and how their keys come and go.") {
        let Some(policy) = policy(&s) else { continue };
        seen.note(&s, "name", &policy.name);
        policies.push(Arc::new(policy));
    }
    policies
}

fn policy(s: &Section) -> Option<DnssecPolicy> {
    let name: Option<Id> = s.parsed("name", None, LABEL, "Its name, for `[zone.dnssec]`.");
    let key_dir =
        s.required_string("key_dir", "Directory of the private keys and key schedules. Only the daemon may read it.");
    let about =
        "Whether this server makes keys and schedules. One server of a zone does; the others get copies of `key_dir`.";
    let manage_keys = s.boolean("manage_keys", false, about);
    let algorithm: Option<Algorithm> = s.parsed(
        "algorithm",
        Some("ecdsap256sha256"),
        "\"ecdsap256sha256\" or \"ed25519\"",
        "Algorithm of new keys: ecdsap256sha256 or ed25519.",
    );
    let keys = s.choice("keys", "csk", &["csk", "ksk-zsk"], "One key for everything, or two that share the work.");
    let entry_lifetime_s = s.duration_s(
        "ksk_lifetime",
        0,
        0..=20 * YEAR_S,
        "How long a CSK or KSK serves before it is replaced; 0 until `dnslb keys roll`.",
    );
    let zone_lifetime_s =
        s.duration_s("zsk_lifetime", 90 * DAY_S, 0..=20 * YEAR_S, "How long a ZSK signs before it is replaced; 0 for ever.");
    let denial = s.choice(
        "denial",
        "auto",
        &["auto", "nsec", "nsec3", "online"],
        "How absence is proven: by NSEC or NSEC3 records signed ahead, or for each answer (RFC 9824). `auto` is `online` for zones \
         with pools or members, whose names come and go, else `nsec`.",
    );
    let validity = validity(s);
    let timing = Timing {
        dnskey_ttl_s: s.duration_s("dnskey_ttl", HOUR_S, 1..=7 * DAY_S, "TTL of the DNSKEY, CDS and CDNSKEY sets."),
        zone_ttl_s_max: s.duration_s(
            "zone_ttl_max",
            DAY_S,
            1..=30 * DAY_S,
            "What rollovers take for the zone's highest TTL, unless its data has a higher one.",
        ),
        ds_ttl_s: s.duration_s("ds_ttl", DAY_S, 1..=30 * DAY_S, "TTL of the DS set at the parent."),
        propagation_s: s.duration_s(
            "propagation",
            2 * HOUR_S,
            60..=30 * DAY_S,
            "How long it takes until all servers of the zone serve a change.",
        ),
        parent_propagation_s: s.duration_s(
            "parent_propagation",
            2 * HOUR_S,
            60..=30 * DAY_S,
            "How long it takes until all servers of the parent serve a change that one was seen with.",
        ),
        lead_s: s.duration_s(
            "lead",
            DAY_S,
            0..=365 * DAY_S,
            "How long before its first use a key is made: in this time it must reach the other servers.",
        ),
    };
    let denial = match denial {
        "nsec" => Some(Denial::Nsec),
        "nsec3" => Some(Denial::Nsec3),
        "online" => Some(Denial::Online),
        _ => None,
    };
    let rules = KeyRules { algorithm: algorithm?, split: keys == "ksk-zsk", entry_lifetime_s, zone_lifetime_s };
    let roll_s = timing.lead_s + timing.dnskey_ttl_s + timing.zone_ttl_s_max + 2 * timing.propagation_s;
    for (key, lifetime_s) in [("ksk_lifetime", entry_lifetime_s), ("zsk_lifetime", zone_lifetime_s)] {
        if lifetime_s > 0 && lifetime_s < roll_s {
            s.problem(key, format!("{lifetime_s} s"), format!("0, or the {roll_s} s of a rollover at least"));
        }
    }
    Some(DnssecPolicy { name: name?, key_dir, manage_keys, rules, timing, validity, denial })
}

fn validity(s: &Section) -> Validity {
    let default = Validity::default();
    let validity = Validity {
        lifetime_s: s.duration_s(
            "signature_lifetime",
            u64::from(default.lifetime_s),
            HOUR_S..=YEAR_S,
            "How long a signature holds.",
        ) as u32,
        jitter_s: s.duration_s(
            "signature_jitter",
            u64::from(default.jitter_s),
            0..=YEAR_S,
            "Most by which it holds shorter, so that not all expire together.",
        ) as u32,
        refresh_s: s.duration_s(
            "signature_refresh",
            u64::from(default.refresh_s),
            60..=YEAR_S,
            "A signature with less time left than this is made anew.",
        ) as u32,
        backdate_s: s.duration_s(
            "signature_backdate",
            u64::from(default.backdate_s),
            0..=7 * DAY_S,
            "By how much it begins before it is made, for clocks that are slow.",
        ) as u32,
    };
    if validity.lifetime_s <= validity.jitter_s.saturating_add(validity.refresh_s) {
        let least = u64::from(validity.jitter_s) + u64::from(validity.refresh_s) + 1;
        let found = format!("{} s", validity.lifetime_s);
        s.problem("signature_lifetime", found, format!("{least} s at least: signature_jitter and signature_refresh"));
    }
    validity
}

/// `[zone.dnssec]`
pub(super) fn zone(zone: &Section, policies: &[Arc<DnssecPolicy>]) -> Option<ZoneDnssec> {
    let s = zone.table("dnssec", "Makes this a zone that is signed here.");
    let name = s.optional_string("policy", "The name of a [[dnssec_policy]].");
    let about = "Servers of the parent zone, which are asked for its DS set before a key is retired; all must agree. Without them \
                 `dnslb keys ds-seen` and `ds-gone` say it.";
    let parents = s.list("parent", &[], SOCKET, about);
    let found = name.as_ref().and_then(|name| policies.iter().find(|policy| policy.name.as_str() == name));
    match (&name, found) {
        (Some(name), None) => s.problem("policy", format!("{name:?}"), "the name of a [[dnssec_policy]]"),
        (None, _) if s.is_present() => s.problem("policy", "nothing", "the name of a [[dnssec_policy]]"),
        _ => {}
    }
    let denial = |policy: &DnssecPolicy| policy.denial.unwrap_or_default();
    found.map(|policy| ZoneDnssec { denial: denial(policy), policy: Arc::clone(policy), parents })
}

/// Fits how zones prove absence to what is laid over them: `dynamic` are names that pools and members are answered at, with the
/// section that says so. A chain of denials that is signed ahead would deny them.
pub(super) fn fit_denial<'a>(zone: &mut super::ZoneSpec, dynamic: impl Iterator<Item = (&'a Section, &'static str)>) {
    let Some(dnssec) = &mut zone.dnssec else { return };
    for (section, key) in dynamic {
        match dnssec.policy.denial {
            None | Some(Denial::Online) => dnssec.denial = Denial::Online,
            Some(_) => section.problem(
                key,
                format!("a name in {}, whose dnssec_policy {} denies ahead of time", zone.name, dnssec.policy.name),
                "`denial = \"auto\"` or `\"online\"` in that policy",
            ),
        }
    }
}

//! The reader of `[[zone]]` and `[[key]]`.
//!
//! As in the other readers, all options are read before any is judged. Who may do something is never implied: an entry that names
//! neither key nor prefix is a problem, not a grant to everybody.

use super::read::{NAME, Unique};
use super::read_dnssec;
use super::spec::{CatalogGroup, CatalogSpec, KeySpec, NotifySpec, PrimarySpec, ZoneKind, ZoneSpec};
use crate::dnssec::DnssecPolicy;
use crate::name::Name;
use crate::transfer::Grant;
use crate::tsig::HmacAlgorithm;
use crate::update;
use farm_shared::config::Section;
use farm_shared::prefix::Prefix;
use farm_shared::settings::SOCKET;
use std::net::SocketAddr;
use std::sync::Arc;

const PREFIX: &str = "an address or ADDRESS/BITS";

/// Keys with their sections.
pub(super) fn keys(root: &Section) -> Vec<(KeySpec, Section)> {
    let mut keys = Vec::new();
    let mut seen = Unique::default();
    for s in root.tables("key", "A secret that is shared with a peer, for TSIG (RFC 8945).") {
        let name: Option<Name> = s.parsed("name", None, NAME, "Its name. Both sides must use the same.");
        let algorithm: Option<HmacAlgorithm> = s.optional_parsed(
            "algorithm",
            "one of `hmac-sha256`, `hmac-sha384`, `hmac-sha512`, `hmac-sha224`, `hmac-sha1`",
            "Its algorithm. Without it, what the file says, or hmac-sha256 for a bare secret.",
        );
        let about = "The file of its secret: the key clause that `tsig-keygen` prints, or the secret alone in base64.";
        let secret_file = s.required_string("secret_file", about);
        let Some(name) = name else { continue };
        seen.note(&s, "name", &name);
        keys.push((KeySpec { name, algorithm, secret_file, place: s.place("secret_file") }, s));
    }
    keys
}

/// Zones with their sections. `keys` are those that may be named.
pub(super) fn zones(
    root: &Section,
    keys: &[(KeySpec, Section)],
    policies: &[Arc<DnssecPolicy>],
) -> Vec<(ZoneSpec, Section)> {
    let known = |name: &Name| keys.iter().any(|(key, _)| key.name == *name);
    let mut zones = Vec::new();
    let mut seen = Unique::default();
    for s in root.tables("zone", "A zone that is served.") {
        let name: Option<Name> = s.parsed("name", None, NAME, "Its apex.");
        let kind = s.choice(
            "kind",
            "primary",
            &["primary", "secondary"],
            "Where its data comes from: a master file and updates, or another server.",
        );
        let about = "Its master file (RFC 1035), for a primary. A relative path starts at this file's directory.";
        let file = s.optional_string("file", about);
        let transfer = grants(&s, &known);
        let update = updates(&s, &known);
        let notify = notify(&s, &known);
        let primaries = primaries(&s, &known);
        let about = "Most records of a transfer that a secondary takes; its messages may have 512 octets for each.";
        let records_max = s.integer("records_max", 5_000_000, 1..=1_000_000_000, about) as usize;
        let dnssec = read_dnssec::zone(&s, policies);
        let kind = if kind == "secondary" { ZoneKind::Secondary } else { ZoneKind::Primary };
        match (kind, &file) {
            (ZoneKind::Primary, None) => s.problem("file", "nothing", "a string"),
            (ZoneKind::Secondary, Some(_)) => {
                s.problem("file", "a file of a secondary", "none: its data is kept in `state_dir`");
            }
            _ => {}
        }
        match (kind, primaries.is_empty()) {
            (ZoneKind::Secondary, true) => s.problem("primary", "no primary", "one [[zone.primary]] at least"),
            (ZoneKind::Primary, false) => s.problem("primary", "a primary of a primary", "`kind = \"secondary\"`, or none"),
            _ => {}
        }
        if kind == ZoneKind::Secondary && !update.is_empty() {
            s.problem("update", "updates of a secondary", "none: they are its primary's to take");
        }
        let Some(name) = name else { continue };
        seen.note(&s, "name", &name);
        zones.push((
            ZoneSpec {
                name,
                file: file.unwrap_or_default(),
                kind,
                transfer,
                notify,
                primaries,
                records_max,
                update,
                dnssec,
            },
            s,
        ));
    }
    if zones.is_empty() {
        root.problem("zone", "no zone", "one [[zone]] at least");
    }
    zones
}

/// Who may update a zone.
fn updates(zone: &Section, known: &impl Fn(&Name) -> bool) -> Vec<update::Grant> {
    let mut grants = Vec::new();
    for s in zone.tables("update", "Who may change the zone by dynamic updates (RFC 2136); needs `server.state_dir`.") {
        let key = key(&s, known, "The TSIG key that must have signed the update, by its name in [[key]].");
        let prefixes =
            s.list("prefixes", &[], "a prefix", "Addresses from which it may come. Without a key they alone decide.");
        let names = s.list(
            "names",
            &[],
            "a domain name, with * or ** for labels",
            "Names that may be changed: `*` stands for any one label but a wildcard's, `**` for any number, `\\*` for a wildcard's. All if \
             empty.",
        );
        let types = s.list(
            "types",
            &[],
            "a record type that can be updated",
            "Types that may be changed; ANY for all. All but NS and SOA if empty.",
        );
        if key.is_none() && prefixes.is_empty() && !s.has("key") && !s.has("prefixes") {
            s.problem("", "neither `key` nor `prefixes`", "at least one of them: nobody would be allowed anything");
        }
        grants.push(update::Grant { key, prefixes, names, types });
    }
    grants
}

/// Catalogs, each of which must be one of `zones`.
pub(super) fn catalogs(root: &Section, keys: &[(KeySpec, Section)], zones: &[(ZoneSpec, Section)]) -> Vec<CatalogSpec> {
    let known = |name: &Name| keys.iter().any(|(key, _)| key.name == *name);
    let mut catalogs = Vec::new();
    let mut seen = Unique::default();
    for s in root.tables("catalog", "A zone whose records say which zones are served beside it (RFC 9432).") {
        let zone: Option<Name> = s.parsed("zone", None, NAME, "The catalog: the name of a [[zone]], usually a secondary.");
        let primaries = primaries(&s, &known);
        let transfer = grants(&s, &known);
        let about = "Most records of each of its zones.";
        let records_max = s.integer("records_max", 5_000_000, 1..=1_000_000_000, about) as usize;
        let mut groups = Vec::new();
        for group in s.tables("group", "Other primaries for the zones that the catalog puts in a group.") {
            let name = group.required_string("name", "The value of the group property.");
            groups.push(CatalogGroup { name, primaries: self::primaries(&group, &known) });
            if groups.last().is_some_and(|group| group.primaries.is_empty()) {
                group.problem("primary", "no primary", "one [[catalog.group.primary]] at least");
            }
        }
        if primaries.is_empty() {
            s.problem("primary", "no primary", "one [[catalog.primary]] at least");
        }
        let Some(zone) = zone else { continue };
        seen.note(&s, "zone", &zone);
        if !zones.iter().any(|(spec, _)| spec.name == zone) {
            s.problem("zone", zone.to_string(), "the name of a [[zone]]");
        }
        catalogs.push(CatalogSpec { zone, primaries, transfer, records_max, groups });
    }
    catalogs
}

/// A key that is named somewhere.
fn key(s: &Section, known: &impl Fn(&Name) -> bool, about: &'static str) -> Option<Name> {
    let key: Option<Name> = s.optional_parsed("key", NAME, about);
    if let Some(name) = &key
        && !known(name)
    {
        s.problem("key", name.to_string(), "the name of a [[key]]");
    }
    key
}

fn grants(zone: &Section, known: &impl Fn(&Name) -> bool) -> Vec<Grant> {
    let sections = zone.tables("transfer", "Who may have the zone by AXFR and IXFR; nobody without an entry.");
    let read = |s: Section| {
        let key = key(&s, known, "The key that must sign the request.");
        let prefix: Option<Prefix> = s.optional_parsed("prefix", PREFIX, "The prefix that the client must lie in.");
        if !s.has("key") && !s.has("prefix") {
            s.problem("", "an entry that names nobody", "`key`, `prefix` or both");
        }
        Grant { key, prefix }
    };
    sections.into_iter().map(read).collect()
}

fn notify(zone: &Section, known: &impl Fn(&Name) -> bool) -> Vec<NotifySpec> {
    let mut targets = Vec::new();
    for s in zone.tables("notify", "Who is told at once when the zone changes (RFC 1996).") {
        let addr: Option<SocketAddr> = s.parsed("addr", None, SOCKET, "Where it listens.");
        let key = key(&s, known, "The key that signs the notifications.");
        targets.extend(addr.map(|addr| NotifySpec { addr, key }));
    }
    targets
}

fn primaries(zone: &Section, known: &impl Fn(&Name) -> bool) -> Vec<PrimarySpec> {
    let mut primaries = Vec::new();
    for s in zone.tables("primary", "A server that a secondary has its data from; asked in this order.") {
        let addr: Option<SocketAddr> = s.parsed("addr", None, SOCKET, "Where it listens.");
        let key = key(&s, known, "The key that signs the requests; its answers must be signed too.");
        let about = "The name in its certificate: it is then asked over TLS (RFC 9103), and never without.";
        let tls_name = s.optional_string("tls_name", about);
        let about = "A file of the certificates to trust, in place of the system's.";
        let tls_ca_file = s.optional_string("tls_ca_file", about);
        if tls_ca_file.is_some() && tls_name.is_none() {
            s.problem("tls_ca_file", "certificates without a name", "`tls_name` beside it");
        }
        primaries.extend(addr.map(|addr| PrimarySpec { addr, key, tls_name, tls_ca_file }));
    }
    primaries
}

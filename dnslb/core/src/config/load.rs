//! From the text of a configuration to everything that it stands for: specification, keys and zones, checked against each
//! other.
//!
//! All or nothing, and every problem at once. A file's content must never show in a problem, since it may be a key.

use super::read;
use super::read_dnssec;
use super::read_pool;
use super::read_site;
use super::read_viewpoint;
use super::read_zone;
use super::spec::{FarmSpec, KeySpec, PoolSpec, Spec, ZoneKind, ZoneSpec};
use crate::name::Name;
use crate::store::is_dynamic;
use crate::tsig::{Keys, TsigKey};
use crate::zone::{self, Files, Rtype, Zones, ZonesError};
use farm_shared::config::{Document, OptionDoc, Problem, Section, Severity, has_errors};
use farm_shared::heartbeat::FarmKey;
use farm_shared::settings::{AdminListen, HeartbeatListen, read_lease};
use std::cell::Cell;
use std::sync::Arc;

const PROBLEMS_MAX: usize = 200;

/// A configuration that can be put in force.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub spec: Arc<Spec>,
    /// The zones that it names.
    pub zones: Arc<Zones>,
    /// What is worth a look.
    pub warnings: Vec<Problem>,
}

/// Reads the configuration `text` of the file `file`, and through `files` the keys and zones that it names; paths go to
/// `files` as they stand in the text.
///
/// # Errors
/// Every problem at once: those of the configuration by line, then those of the zones; warnings among them.
pub fn load(file: &str, text: &str, files: &dyn Files) -> Result<Loaded, Vec<Problem>> {
    let document = Document::parse(file, text);
    let root = document.root();
    let (mut spec, mut parts) = read(&root);
    let mut keys = Keys::default();
    for (spec, section) in &parts.keys {
        if let Some(key) = tsig_key(spec, section, files) {
            keys.insert(key);
        }
    }
    if let Some(spec) = &mut spec {
        spec.service.read_secrets(&root, files);
        read_viewpoint::read_key(&mut spec.viewpoints, &root, files);
        for (pool, section) in &parts.pools {
            read_viewpoint::judge_pool(pool, section, spec.viewpoints.peers.len());
        }
    }
    if let Some(spec) = &spec
        && spec.server.state_dir.is_none()
    {
        for (_, section) in parts.zones.iter().filter(|(zone, _)| is_dynamic(zone)) {
            section.problem("", "no `server.state_dir`", "a directory to keep what changes the zone");
        }
    }
    let mut zone_problems = Vec::new();
    let zones = load_zones(&parts, files, &mut zone_problems);
    for (farm, section) in &mut parts.farms {
        farm.key = key(farm, section, files);
    }
    if let Ok(zones) = &zones {
        let deaf = HeartbeatListen::is_absent(&root);
        let within = Within { zones, deaf, declared: parts.zones.iter().map(|(zone, _)| zone).collect() };
        for (farm, section) in &parts.farms {
            check_farm(farm, section, &within);
        }
        for (pool, section) in &parts.pools {
            check_pool(pool, section, &within);
        }
        for (zone, _) in &mut parts.zones {
            let here = |name: &Name| zones.find(name).is_some_and(|found| *found.apex() == zone.name);
            let of_pools = parts.pools.iter().filter(|(pool, _)| pool.publish.iter().any(here)).map(|(_, s)| (s, "publish"));
            let members = parts.farms.iter().filter(|(farm, _)| farm.member_zone.as_ref().is_some_and(here));
            let dynamic: Vec<_> = of_pools.chain(members.map(|(_, section)| (section, "member_zone"))).collect();
            read_dnssec::fit_denial(zone, dynamic.into_iter());
        }
    } else {
        root.problem("zone", "a zone for the second time", "each once");
    }
    let places = Arc::new(parts.places.build(files));
    let mut problems = document.finish();
    problems.append(&mut zone_problems);
    problems.truncate(PROBLEMS_MAX);
    match (spec, zones) {
        (Some(spec), Ok(zones)) if !has_errors(&problems) => {
            let farms = parts.farms.into_iter().map(|(farm, _)| farm).collect();
            let pools = parts.pools.into_iter().map(|(pool, _)| pool).collect();
            let zone_specs = parts.zones.into_iter().map(|(zone, _)| zone).collect();
            let key_specs = parts.keys.into_iter().map(|(key, _)| key).collect();
            let spec = Arc::new(Spec { farms, pools, zones: zone_specs, key_specs, keys, places, ..spec });
            Ok(Loaded { spec, zones: Arc::new(zones), warnings: problems })
        }
        _ => Err(problems),
    }
}

/// Every option, for the documentation.
pub fn options() -> Vec<OptionDoc> {
    let document = Document::describe();
    let _ = read(&document.root());
    document.options()
}

struct Parts {
    farms: Vec<(FarmSpec, Section)>,
    keys: Vec<(KeySpec, Section)>,
    zones: Vec<(ZoneSpec, Section)>,
    pools: Vec<(PoolSpec, Section)>,
    places: read_site::Parts,
}

/// The lists come apart, with their sections; the specification gets them when they are complete.
fn read(root: &Section) -> (Option<Spec>, Parts) {
    let server = read::server(root).map(|(server, mut service)| {
        service.read_rrl(root);
        (server, service)
    });
    let heartbeat = HeartbeatListen::read(root);
    let admin = AdminListen::read(root, server.as_ref().and_then(|(server, _)| server.state_dir.as_deref()));
    let lease = read_lease(root);
    let farms = read::farms(root);
    let keys = read_zone::keys(root);
    let policies = read_dnssec::policies(root);
    let zones = read_zone::zones(root, &keys, &policies);
    let catalogs = read_zone::catalogs(root, &keys, &zones);
    let places = read_site::places(root);
    let pools = read_pool::pools(root, &farms, &places);
    let viewpoints = read_viewpoint::viewpoints(root, server.as_ref().map(|(server, _)| &server.id));
    let empty = |(server, service)| Spec {
        server,
        service,
        heartbeat,
        admin,
        lease,
        farms: Vec::new(),
        key_specs: Vec::new(),
        keys: Keys::default(),
        zones: Vec::new(),
        catalogs: Vec::new(),
        pools: Vec::new(),
        places: Arc::default(),
        viewpoints,
    };
    let with = |spec: Spec| Spec { catalogs, ..spec };
    (server.map(empty).map(with), Parts { farms, keys, zones, pools, places })
}

/// The files, the first of which was read already: what cannot be read at all is the configuration's problem.
struct Main<'a> {
    path: &'a str,
    octets: Cell<Vec<u8>>,
    files: &'a dyn Files,
}

impl Files for Main<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let octets = if path == self.path { self.octets.take() } else { Vec::new() };
        if octets.is_empty() { self.files.read(path) } else { Ok(octets) }
    }
}

fn load_zones(parts: &Parts, files: &dyn Files, problems: &mut Vec<Problem>) -> Result<Zones, ZonesError> {
    let mut loaded = Vec::new();
    for (spec, section) in parts.zones.iter().filter(|(spec, _)| spec.kind == ZoneKind::Primary) {
        let octets = match files.read(&spec.file) {
            Ok(octets) => Cell::new(octets),
            Err(_) if spec.file.is_empty() => continue,
            Err(why) => {
                section.problem("file", why, "a zone file that can be read");
                continue;
            }
        };
        let files = Main { path: &spec.file, octets, files };
        let (zone, found) = match zone::load(&spec.name, &files, &spec.file) {
            Ok(zone) => (Some(zone.zone), zone.warnings),
            Err(found) => (None, found),
        };
        problems.extend(found.into_iter().map(|problem| Problem {
            file: problem.file,
            line: problem.line.max(1) as usize,
            key: String::new(),
            found: problem.found,
            expected: problem.expected,
            severity: match problem.severity {
                zone::Severity::Warning => Severity::Warning,
                zone::Severity::Error => Severity::Error,
            },
        }));
        // One that comes twice is a problem that the reader has noted.
        let twice = |zone: &zone::Zone| loaded.iter().any(|other: &Arc<zone::Zone>| other.apex() == zone.apex());
        loaded.extend(zone.filter(|zone| !twice(zone)).map(Arc::new));
    }
    Zones::new(loaded)
}

fn key(farm: &FarmSpec, section: &Section, files: &dyn Files) -> Option<FarmKey> {
    if farm.trust.key_file.is_empty() {
        return None;
    }
    let found: (String, &str) = match files.read(&farm.trust.key_file) {
        Err(why) => (why, "a file that can be read"),
        Ok(text) => match std::str::from_utf8(&text).map_err(|_| "hexadecimal digits").and_then(FarmKey::from_hex) {
            Ok(key) => return Some(key),
            Err(expected) => (format!("the content of {:?}", farm.trust.key_file), expected),
        },
    };
    section.problem("key_file", found.0, found.1);
    None
}

fn tsig_key(spec: &KeySpec, section: &Section, files: &dyn Files) -> Option<TsigKey> {
    if spec.secret_file.is_empty() {
        return None;
    }
    let text = match files.read(&spec.secret_file) {
        Ok(octets) => String::from_utf8(octets).unwrap_or_default(),
        Err(why) => {
            section.problem("secret_file", why, "a file that can be read");
            return None;
        }
    };
    let key = TsigKey::from_file(&spec.name, spec.algorithm, &text).inspect_err(|why| {
        let found = format!("{why} in {:?}", spec.secret_file);
        section.problem("secret_file", found, "a key clause of that name and algorithm, or a secret in base64");
    });
    key.ok()
}

fn check_farm(farm: &FarmSpec, section: &Section, within: &Within<'_>) {
    if let Some(name) = &farm.member_zone {
        check_in_zone(section, "member_zone", name, within);
    }
    if within.deaf {
        section.warning("", "a farm, and no listener for its heartbeats", "[heartbeat] with `listen_udp` or `listen_http`");
    }
}

fn check_pool(pool: &PoolSpec, section: &Section, within: &Within<'_>) {
    for name in &pool.publish {
        if !check_in_zone(section, "publish", name, within) {
            continue;
        }
        let ours = [Rtype::A, Rtype::AAAA, Rtype::CNAME, Rtype::HTTPS];
        // HTTPS records stay the zone's if the pool makes none.
        check_free(section, "publish", name, if pool.https.is_some() { &ours } else { &ours[..3] }, within);
    }
    for service in &pool.services {
        if check_in_zone(section, "service", &service.name, within) {
            check_free(section, "service", &service.name, &[Rtype::SRV, Rtype::CNAME], within);
        }
    }
    if let Some(name) = &pool.target_zone {
        check_in_zone(section, "target_zone", name, within);
    }
    for name in pool.targets().filter_map(|(_, name)| name) {
        check_free(section, "target_zone", &name, &[Rtype::A, Rtype::AAAA, Rtype::CNAME], within);
    }
}

/// What a pool answers at a name, the zone must not have there.
fn check_free(section: &Section, key: &str, name: &Name, ours: &[Rtype], within: &Within<'_>) {
    let types = within.zones.find(name).map(|zone| zone.types_at(name)).unwrap_or_default();
    if let Some(rtype) = types.iter().find(|rtype| ours.contains(rtype)) {
        let names: Vec<String> = ours.iter().map(ToString::to_string).collect();
        let (last, rest) = names.split_last().map_or((String::new(), String::new()), |(l, r)| (l.clone(), r.join(", ")));
        section.problem(
            key,
            format!("{name}, where the zone has {rtype} records"),
            format!("a name without {rest} and {last} records"),
        );
    }
}

/// What the rest of a configuration must fit: the zones as loaded, and those that it names.
struct Within<'a> {
    zones: &'a Zones,
    /// No heartbeat can come in.
    deaf: bool,
    declared: Vec<&'a ZoneSpec>,
}

fn check_in_zone(section: &Section, key: &str, name: &Name, within: &Within<'_>) -> bool {
    let Some(zone) = within.zones.find(name) else {
        // A zone that cannot be used is a problem of its own.
        if !within.declared.iter().any(|zone| name.is_at_or_below(&zone.name)) {
            section.problem(key, name.to_string(), "a name in one of the zones");
        }
        return false;
    };
    if let Some(cut) = zone.cut_above(name) {
        section.problem(key, format!("{name}, delegated by {cut}"), "a name that is not delegated to another server");
        return false;
    }
    let is_signed_here = within.declared.iter().any(|spec| spec.name == *zone.apex() && spec.dnssec.is_some());
    // Not refused: whoever asks without validation is served well, and a zone may be signed before its parent says so.
    if !is_signed_here && zone.types_at(zone.apex()).contains(&Rtype::DNSKEY) {
        section.warning(
            key,
            format!("{name}, in {}, which is signed elsewhere", zone.apex()),
            "a zone that is signed here (`[zone.dnssec]`) or not at all: resolvers that validate refuse an answer without a signature",
        );
    }
    true
}

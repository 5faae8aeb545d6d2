//! The reader of `[[site]]`, `[[view]]`, `[ecs]` and `[geo]`, and of the database that the last one names.
//!
//! A database is read whole, once, into the same ranges as prefixes: no query ever looks into it. What is broken in it is a
//! problem of the configuration, never a panic.

use super::places::{Places, SiteSpec, ViewSpec, distance_km};
use super::read::Unique;
use crate::site::{ClientMap, Ranges};
use crate::zone::Files;
use farm_shared::config::Section;
use farm_shared::id::Id;
use farm_shared::prefix::Prefix;
use farm_shared::settings::LABEL;
use maxminddb::{LookupResult, PathElement, Reader};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sites, and so answers of one pool: one for each site and for nobody's, inside and outside.
const SITES_MAX: usize = 64;
/// Views.
const VIEWS_MAX: usize = 16;
const PREFIX: &str = "an address prefix like \"10.1.0.0/16\"";

/// What was read, before the database is.
pub(super) struct Parts {
    sites: Vec<(SiteSpec, Section)>,
    pub(super) views: Vec<ViewSpec>,
    trusted: Option<Vec<Prefix>>,
    databases: Vec<String>,
    geo: Section,
}

pub(super) fn places(root: &Section) -> Parts {
    let sites = sites(root);
    let views = views(root);
    let s = root.table("ecs", "Client subnets in queries (RFC 7871): where the client of a resolver is.");
    let enabled = s.boolean("enabled", false, "Whether they are looked at, and answered with the scope of the answer.");
    let resolvers: Vec<Prefix> =
        s.list("trusted", &[], PREFIX, "Resolvers whose client subnets are believed; those of others are ignored.");
    if enabled && resolvers.is_empty() {
        s.problem("trusted", "no resolver", "a prefix at least; 0.0.0.0/0 and ::/0 for all");
    }
    let geo = root.table("geo", "Where addresses are on earth.");
    let databases = geo.list(
        "databases",
        &[],
        "a file",
        "MaxMind databases (countries, cities, autonomous systems): files, read anew by a reload.",
    );
    Parts { sites, views, trusted: enabled.then_some(resolvers), databases, geo }
}

fn sites(root: &Section) -> Vec<(SiteSpec, Section)> {
    let mut sites: Vec<(SiteSpec, Section)> = Vec::new();
    let mut seen = Unique::default();
    for s in root.tables("site", "A place where members and clients are.") {
        let name: Option<Id> = s.parsed("name", None, LABEL, "Its name.");
        let prefixes =
            s.list("prefixes", &[], PREFIX, "Addresses that are there; of several sites that of the longest prefix holds.");
        let zones = s.list("zones", &[], LABEL, "Failure domains of members that are there, as heartbeats name them.");
        let near = s.list("near", &[], LABEL, "The sites whose members come next, in this order.");
        let code = "two letters";
        let countries: Vec<Code> =
            s.list("countries", &[], code, "Countries whose clients are there (ISO 3166), by database.");
        let continents: Vec<Code> =
            s.list("continents", &[], code, "Continents whose clients are there: AF, AN, AS, EU, NA, OC, SA; by database.");
        let asns = s.list("asns", &[], "a number", "Autonomous systems whose clients are there, by database.");
        let latitude = s.optional_float("latitude", -90.0..=90.0, "Degrees north. With a longitude: clients that no other rule places are at the nearest such site, by database, and sites are ranked by distance.");
        let longitude = s.optional_float("longitude", -180.0..=180.0, "Degrees east.");
        if latitude.is_some() != longitude.is_some() {
            s.problem("latitude", "one coordinate", "latitude and longitude, or neither");
        }
        let Some(name) = name else { continue };
        seen.note(&s, "name", &name);
        let letters = |codes: Vec<Code>| codes.into_iter().map(|code| code.0).collect();
        let site = SiteSpec {
            name: Some(name),
            prefixes,
            zones,
            near,
            countries: letters(countries),
            continents: letters(continents),
            asns,
            at: latitude.zip(longitude),
        };
        sites.push((site, s));
    }
    for (site, s) in &sites {
        for near in &site.near {
            if !sites.iter().any(|(other, _)| other.name.as_ref() == Some(near)) {
                s.problem("near", format!("\"{near}\""), "the name of a [[site]]");
            }
        }
    }
    if let Some((_, s)) = sites.get(SITES_MAX) {
        s.problem("", format!("{} sites", sites.len()), format!("{SITES_MAX} at most"));
    }
    sites
}

fn views(root: &Section) -> Vec<ViewSpec> {
    let mut views = Vec::new();
    let mut seen = Unique::default();
    for s in root.tables("view", "Clients that reach members by their private addresses.") {
        let name: Option<Id> = s.parsed("name", None, LABEL, "Its name, for `private_views` of pools.");
        let prefixes: Vec<Prefix> =
            s.list("prefixes", &[], PREFIX, "Its clients; of several views that of the longest prefix holds.");
        if prefixes.is_empty() {
            s.problem("prefixes", "no prefix", "one at least");
        }
        let Some(name) = name else { continue };
        seen.note(&s, "name", &name);
        views.push(ViewSpec { name, prefixes });
        if views.len() > VIEWS_MAX {
            s.problem("", format!("{} views", views.len()), format!("{VIEWS_MAX} at most"));
        }
    }
    views
}

/// Two letters, in any case.
struct Code(String);

impl std::str::FromStr for Code {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let letters = text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic());
        if letters { Ok(Self(text.to_ascii_uppercase())) } else { Err(()) }
    }
}

impl Parts {
    /// Everything worked out; the databases come through `files`.
    pub(super) fn build(self, files: &dyn Files) -> Places {
        let sites: Vec<SiteSpec> = self.sites.into_iter().map(|(site, _)| site).collect();
        let all = sites.iter().zip(0..).flat_map(|(site, index)| site.prefixes.iter().map(move |prefix| (*prefix, index)));
        let all: Vec<(Prefix, u16)> = all.collect();
        let mut found = [32, 128].map(|width| Ranges::of_prefixes(width, all.iter().copied()));
        let rules = Rules { sites: &sites };
        // Each database is asked where those before it had nothing to say, the sharper rules of all before the blunter ones.
        let mut layers: Vec<[Vec<(Prefix, u16)>; 4]> = Vec::new();
        for file in &self.databases {
            let read = files.read(file).and_then(|octets| rules.read(octets).map_err(|why| format!("{file:?}: {why}")));
            match read {
                Ok(layer) => layers.push(layer),
                Err(why) => self.geo.problem("databases", why, "a MaxMind database that can be read"),
            }
        }
        for rule in 0..4 {
            for layer in layers.iter().filter_map(|layer| layer.get(rule)) {
                for (ranges, width) in found.iter_mut().zip([32, 128]) {
                    *ranges = ranges.or(&Ranges::of_prefixes(width, layer.iter().copied()));
                }
            }
        }
        let all =
            self.views.iter().zip(0..).flat_map(|(view, index)| view.prefixes.iter().map(move |prefix| (*prefix, index)));
        let all: Vec<(Prefix, u16)> = all.collect();
        let views = [32, 128].map(|width| Ranges::of_prefixes(width, all.iter().copied()));
        let clients = ClientMap::new((&found[0], &found[1]), (&views[0], &views[1]), self.trusted.as_deref());
        let names = sites.iter().filter_map(|site| site.name.as_ref().map(ToString::to_string)).collect();
        let clients = clients.with_names(names);
        Places { ranks: Places::rank_all(&sites), sites, views: self.views, clients: Arc::new(clients) }
    }
}

/// What sites say of a database's records.
struct Rules<'a> {
    sites: &'a [SiteSpec],
}

impl Rules<'_> {
    /// The networks of a database with their sites, by each rule: autonomous system, country, continent, coordinates.
    fn read(&self, octets: Vec<u8>) -> Result<[Vec<(Prefix, u16)>; 4], String> {
        let reader = Reader::from_source(octets).map_err(|e| e.to_string())?;
        let mut found = [const { Vec::new() }; 4];
        // Millions of networks share some ten thousand records.
        let mut known: BTreeMap<usize, [Option<u16>; 4]> = BTreeMap::new();
        for network in reader.networks(maxminddb::WithinOptions::default()).map_err(|e| e.to_string())? {
            let network = network.map_err(|e| e.to_string())?;
            let Some(offset) = network.offset() else { continue };
            let sites = if let Some(sites) = known.get(&offset) {
                *sites
            } else {
                let sites = self.judge(&network)?;
                known.insert(offset, sites);
                sites
            };
            if sites == [None; 4] {
                continue;
            }
            let block = network.network().map_err(|e| e.to_string())?;
            let Ok(prefix) = Prefix::new(block.network(), block.prefix()) else { continue };
            for (list, site) in found.iter_mut().zip(sites) {
                list.extend(site.map(|site| (prefix, site)));
            }
        }
        Ok(found)
    }

    fn judge(&self, network: &LookupResult<'_, Vec<u8>>) -> Result<[Option<u16>; 4], String> {
        let text = |path: &[PathElement<'_>]| network.decode_path::<&str>(path).map_err(|e| e.to_string());
        let number = |path: &[PathElement<'_>]| network.decode_path::<f64>(path).map_err(|e| e.to_string());
        let asn = network.decode_path::<u32>(&maxminddb::path!["autonomous_system_number"]).map_err(|e| e.to_string())?;
        let country = text(&maxminddb::path!["country", "iso_code"])?;
        let continent = text(&maxminddb::path!["continent", "code"])?;
        let at = number(&maxminddb::path!["location", "latitude"])?.zip(number(&maxminddb::path!["location", "longitude"])?);
        let first = |holds: &dyn Fn(&SiteSpec) -> bool| self.sites.iter().position(holds).map(|index| index as u16);
        let has = |codes: &[String], code: Option<&str>| codes.iter().any(|own| Some(own.as_str()) == code);
        let placed = self.sites.iter().zip(0..).filter_map(|(site, index)| Some((site.at?, index)));
        let nearest = at.and_then(|at| placed.min_by(|a, b| distance_km(at, a.0).total_cmp(&distance_km(at, b.0))));
        Ok([
            first(&|site| asn.is_some_and(|asn| site.asns.contains(&asn))),
            first(&|site| has(&site.countries, country)),
            first(&|site| has(&site.continents, continent)),
            nearest.map(|(_, index)| index),
        ])
    }
}

impl Parts {
    /// The index of a site by its name.
    pub(super) fn site(&self, name: &Id) -> Option<u16> {
        self.sites.iter().position(|(site, _)| site.name.as_ref() == Some(name)).map(|index| index as u16)
    }

    /// Whether clients can be told apart by where they are.
    pub(super) fn has_sites(&self) -> bool {
        !self.sites.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use farm_shared::config::Document;
    use std::net::IpAddr;

    /// A text, a map, a number or an empty array in the MaxMind format.
    enum Value {
        Text(&'static str),
        Short(u16),
        Number(u32),
        Long(u64),
        Nothing,
        Float(f64),
        Map(Vec<(&'static str, Value)>),
    }

    fn encode(value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Text(text) => {
                out.push(2 << 5 | text.len() as u8);
                out.extend_from_slice(text.as_bytes());
            }
            Value::Short(number) => {
                out.push(5 << 5 | 2);
                out.extend_from_slice(&number.to_be_bytes());
            }
            // Types from 8 on stand in an octet of their own, less 7.
            Value::Long(number) => {
                out.extend_from_slice(&[8, 9 - 7]);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Value::Nothing => out.extend_from_slice(&[0, 11 - 7]),
            Value::Number(number) => {
                out.push(6 << 5 | 4);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Value::Float(number) => {
                out.push(3 << 5 | 8);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Value::Map(entries) => {
                out.push(7 << 5 | entries.len() as u8);
                for (key, value) in entries {
                    encode(&Value::Text(key), out);
                    encode(value, out);
                }
            }
        }
    }

    /// A database of IPv4 networks with 24-bit records, as the format's specification 2.0 has it.
    fn database(networks: &[(&str, Value)]) -> Vec<u8> {
        let mut data = Vec::new();
        // Each node has two ends: another node, or an offset into the data, or nothing.
        let mut nodes: Vec<[Result<usize, Option<usize>>; 2]> = vec![[Err(None); 2]];
        for (network, value) in networks {
            let offset = data.len();
            encode(value, &mut data);
            let prefix: Prefix = network.parse().unwrap();
            let mut node = 0;
            for bit in 0..prefix.bits() {
                let side = (prefix.bounds()[0] >> (31 - bit) & 1) as usize;
                if bit + 1 == prefix.bits() {
                    nodes[node][side] = Err(Some(offset));
                } else {
                    let next = nodes.len();
                    node = if let Ok(known) = nodes[node][side] {
                        known
                    } else {
                        nodes[node][side] = Ok(next);
                        nodes.push([Err(None); 2]);
                        next
                    };
                }
            }
        }
        let count = nodes.len();
        let mut out = Vec::new();
        for end in nodes.into_iter().flatten() {
            let number = match end {
                Ok(node) => node,
                Err(None) => count,
                Err(Some(offset)) => count + 16 + offset,
            };
            out.extend_from_slice(&(number as u32).to_be_bytes()[1..]);
        }
        out.extend_from_slice(&[0; 16]);
        out.extend_from_slice(&data);
        out.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
        let metadata = Value::Map(vec![
            ("binary_format_major_version", Value::Short(2)),
            ("binary_format_minor_version", Value::Short(0)),
            ("build_epoch", Value::Long(1)),
            ("database_type", Value::Text("Test")),
            ("description", Value::Map(vec![])),
            ("ip_version", Value::Short(4)),
            ("languages", Value::Nothing),
            ("node_count", Value::Number(count as u32)),
            ("record_size", Value::Short(24)),
        ]);
        encode(&metadata, &mut out);
        out
    }

    struct One(Vec<u8>);

    impl Files for One {
        fn read(&self, _: &str) -> Result<Vec<u8>, String> {
            Ok(self.0.clone())
        }
    }

    const SITES: &str = r#"
[[site]]
name = "vienna"
prefixes = ["100.64.0.0/10"]
countries = ["at"]
latitude = 48.2
longitude = 16.4
[[site]]
name = "tokyo"
continents = ["AS"]
asns = ["64500"]
latitude = 35.7
longitude = 139.7
[geo]
databases = ["x.mmdb"]
"#;

    fn city(country: &'static str, continent: &'static str, lat: f64, lon: f64) -> Value {
        Value::Map(vec![
            ("country", Value::Map(vec![("iso_code", Value::Text(country))])),
            ("continent", Value::Map(vec![("code", Value::Text(continent))])),
            ("location", Value::Map(vec![("latitude", Value::Float(lat)), ("longitude", Value::Float(lon))])),
        ])
    }

    fn read(octets: Vec<u8>) -> (Places, usize) {
        let document = Document::parse("x.toml", SITES);
        let built = places(&document.root()).build(&One(octets));
        (built, document.finish().len())
    }

    #[test]
    fn a_database_tells_where_clients_are() {
        let octets = database(&[
            ("1.0.0.0/8", city("AT", "EU", 35.0, 139.0)),
            ("2.0.0.0/8", city("DE", "EU", 52.5, 13.4)),
            ("3.0.0.0/8", city("JP", "AS", 48.0, 16.0)),
            ("4.4.0.0/16", Value::Map(vec![("autonomous_system_number", Value::Number(64_500))])),
            ("5.0.0.0/8", Value::Map(vec![])),
            ("100.0.0.0/8", city("JP", "AS", 0.0, 0.0)),
        ]);
        let (places, problems) = read(octets);
        assert_eq!(problems, 0);
        let check = |addr: &str, expect: Option<u16>| {
            let addr: IpAddr = addr.parse().unwrap();
            assert_eq!(places.clients.class(places.clients.class_of(addr)).site, expect, "{addr}");
        };
        check("1.2.3.4", Some(0));
        check("2.2.3.4", Some(0));
        check("3.2.3.4", Some(1));
        check("4.4.3.4", Some(1));
        check("4.5.3.4", None);
        check("5.5.3.4", None);
        // What the configuration says of addresses comes before the database.
        check("100.65.0.1", Some(0));
        check("100.1.0.1", Some(1));
        check("200.1.0.1", None);
    }

    #[test]
    fn a_broken_database_is_a_problem_and_never_a_panic() {
        let whole = database(&[("1.0.0.0/8", city("AT", "EU", 1.0, 2.0)), ("9.9.0.0/16", city("JP", "AS", 1.0, 2.0))]);
        assert_eq!(read(whole.clone()).1, 0);
        let mut refused = 0;
        for cut in 0..whole.len() {
            refused += read(whole[..cut].to_vec()).1;
        }
        assert!(refused > 0);
        for at in 0..whole.len() {
            for flip in [1, 0x80, 0xff] {
                let mut broken = whole.clone();
                broken[at] ^= flip;
                let _ = read(broken);
            }
        }
    }
}

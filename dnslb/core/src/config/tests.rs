//! Configurations, good and bad, as a user writes them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
use super::*;
use crate::zone::Files;
use farm_shared::config::Problem;
use farm_shared::heartbeat::Role;
use std::collections::BTreeMap;

struct Map(BTreeMap<&'static str, String>);

impl Files for Map {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.0.get(path).map(|text| text.clone().into_bytes()).ok_or_else(|| format!("{path:?}: no such file"))
    }
}

const ZONE: &str = "$TTL 60\n@ SOA ns1 host 1 2 3 9 5\n@ NS ns1\nns1 A 192.0.2.1\nold A 192.0.2.2\nsub NS ns1\n";

fn run(text: &str) -> Result<Loaded, Vec<String>> {
    let files = Map(BTreeMap::from([
        ("lb.zone", ZONE.into()),
        ("farm.key", "0123456789abcdef".repeat(4)),
        ("short.key", "0123".into()),
    ]));
    load("dnslb.toml", text, &files).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn check(text: &str, expect: &str) {
    let text = format!("{text}\n[[zone]]\nname = \"lb.example.com\"\nfile = \"lb.zone\"\n");
    let problems = run(&text).expect_err(&text);
    assert!(problems.iter().any(|p| p.contains(expect)), "{expect:?} is not among {problems:#?}");
}

const WHOLE: &str = r#"
[server]
id = "ns1"
listen = ["127.0.0.1:5300"]
state_dir = "/var/lib/dnslb"
[heartbeat]
listen_udp = ["127.0.0.1:5310"]
[admin]
listen = "unix:/run/dnslb.sock"
[lease]
periods = 4
grace = "5s"
[[farm]]
name = "mail"
key_file = "farm.key"
allowed_prefixes = ["127.0.0.0/8"]
member_zone = "farm.lb.example.com"
[[zone]]
name = "lb.example.com"
file = "lb.zone"
[[pool]]
name = "www"
publish = ["www.lb.example.com", "lb.example.com"]
k = 2
ttl_max = "5s"
farm = "mail"
[[pool.member]]
name = "s1"
addresses = ["192.0.2.10", "2001:db8::10"]
weight = 2
[pool.check]
kind = "http"
port = 8080
path = "/healthz"
[[pool]]
name = "doors"
publish = ["mail.lb.example.com"]
farm = "mail"
role = "door"
"#;

#[test]
fn a_whole_configuration() {
    let loaded = run(WHOLE).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let spec = &loaded.spec;
    assert_eq!((spec.server.id.as_str(), spec.lease.lease_periods, spec.lease.grace_ms), ("ns1", 4.0, 5_000));
    assert!(spec.farms.iter().all(|farm| farm.key.is_some()));
    let pool = spec.pools.first().unwrap();
    assert_eq!((pool.k, pool.ttl_s_min, pool.ttl_s_max, pool.members.len()), (2, 1, 5, 1));
    assert_eq!(pool.check.as_ref().unwrap().port, 8_080);
    assert_eq!(spec.pools.get(1).unwrap().role, Role::Door);
    assert_eq!(loaded.zones.len(), 1);
}

#[test]
fn names_that_change_in_a_zone_signed_elsewhere_are_pointed_out() {
    const SIGNED: &str =
        "@ DNSKEY 257 3 13 AQIDBAUGBwgBAgMEBQYHCAECAwQFBgcIAQIDBAUGBwgBAgMEBQYHCAECAwQFBgcIAQIDBAUGBwgBAgMEBQYHCA==\n";
    for (more, expect) in
        [("", vec![]), (SIGNED, vec!["farm[0].member_zone", "pool[0].publish", "pool[0].publish", "pool[1].publish"])]
    {
        let files = Map(BTreeMap::from([("lb.zone", ZONE.to_owned() + more), ("farm.key", "0123456789abcdef".repeat(4))]));
        let loaded = load("dnslb.toml", WHOLE, &files).unwrap();
        let keys: Vec<&str> = loaded.warnings.iter().map(|warning| warning.key.as_str()).collect();
        let about = |warning: &Problem| warning.found.ends_with("in lb.example.com., which is signed elsewhere");
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        assert!(sorted == expect && loaded.warnings.iter().all(about), "{:?}", loaded.warnings);
    }
}

#[test]
fn what_is_wrong_is_said() {
    check("[server]\nlisten = []", "dnslb.toml:2: server.listen: found no address");
    check("[server]\nkay = 1", "kay");
    check("[admin]\nlisten = \"0.0.0.0:80\"", "loopback");
    check("[admin]\nlisten = \"127.0.0.1:80\"", "admin.token_file");
    check("[[farm]]\nname = \"a\"\nkey_file = \"none.key\"", "farm[0].key_file: found \"none.key\": no such file");
    check("[[farm]]\nname = \"a\"\nkey_file = \"short.key\"", "expected 32 octets");
    check("[[farm]]\nname = \"A\"\nkey_file = \"farm.key\"", "farm[0].name");
    check("[[farm]]\nname = \"a\"\nkey_file = \"farm.key\"\nmember_zone = \"else.where\"", "a name in one of the zones");
    let pool = |more: &str| format!("[[pool]]\nname = \"p\"\npublish = [\"p.lb.example.com\"]\n{more}");
    check(&pool(""), "neither members nor a farm");
    check(&pool("farm = \"x\""), "the name of a [[farm]]");
    check(&pool("k = 0"), "pool[0].k: found the integer 0");
    check(&pool("ttl_min = \"20s\""), "no more than ttl_max, 10 s");
    check(&pool("ttl_min = \"1500ms\""), "whole seconds");
    check(&pool("sort_share = 1.5"), "pool[0].sort_share");
    check(&pool("[[pool.member]]\nname = \"a\"\naddresses = []"), "0 IPv4 and 0 IPv6");
    check(&pool("[[pool.member]]\nname = \"a\"\naddresses = [\"0.0.0.0\"]"), "clients can connect");
    check(&pool("[pool.check]\ntimeout = \"9s\""), "no more than the interval");
    check(&pool("[pool.check]\npath = \"x\\r\\ny\""), "pool[0].check.path");
    check(&pool("[[pool]]\nname = \"p\"\npublish = [\"p.lb.example.com\"]"), "\"p\" for the second time");
    check("[[pool]]\nname = \"p\"\npublish = [\"old.lb.example.com\"]", "where the zone has A records");
    check("[[pool]]\nname = \"p\"\npublish = [\"a.sub.lb.example.com\"]", "delegated by sub.lb.example.com.");
    check("[[pool]]\nname = \"p\"\npublish = [\"other.org\"]", "a name in one of the zones");
    check("[[zone]]\nname = \"b.org\"\nfile = \"gone.zone\"", "gone.zone");
}

#[test]
fn every_problem_at_once() {
    let problems = run("[server]\nworkers = -1\nidd = 2\n[[pool]]\nk = 0\n").unwrap_err();
    assert!(problems.len() >= 5, "{problems:#?}");
}

#[test]
fn every_option_is_described() {
    let options = options();
    for key in
        ["server.listen", "farm[].key_file", "zone[].file", "pool[].k", "pool[].member[].addresses", "pool[].check.interval"]
    {
        assert!(options.iter().any(|option| option.key == key), "{key}");
    }
    assert!(options.iter().all(|option| !option.about.is_empty()));
}

const PLACES: &str = r#"
[[site]]
name = "vienna"
prefixes = ["198.51.100.0/24"]
near = ["zurich"]
[[site]]
name = "zurich"
zones = ["zrh-1"]
latitude = 47.4
longitude = 8.5
[[view]]
name = "office"
prefixes = ["10.0.0.0/8"]
[ecs]
enabled = true
trusted = ["192.0.2.53"]
"#;

#[test]
fn places_services_and_nested_pools() {
    let text = format!(
        "{PLACES}\n[[zone]]\nname = \"lb.example.com\"\nfile = \"lb.zone\"\n
[[pool]]
name = \"outer\"
publish = [\"lb.example.com\", \"*.lb.example.com\"]
nearest_site = true
private_views = [\"office\"]
spill_below = 0.7
[pool.https]
alpn = [\"h2\"]
[[pool.member]]
name = \"in\"
pool = \"inner\"
tier = 1
[[pool.member]]
name = \"s\"
addresses = [\"192.0.2.1\"]
private_addresses = [\"10.1.0.1\"]
site = \"zurich\"
[[pool]]
name = \"inner\"
publish = [\"inner.lb.example.com\"]
target_zone = \"hosts.lb.example.com\"
[[pool.service]]
name = \"_imap._tcp.lb.example.com\"
port = 143
[[pool.member]]
name = \"i\"
addresses = [\"192.0.2.9\"]
"
    );
    let spec = run(&text).unwrap().spec;
    let [outer, inner] = &spec.pools[..] else { panic!("two pools") };
    assert_eq!((outer.nested[0].tier, outer.members[0].site, &outer.private_views[..]), (1, Some(1), &[0][..]));
    assert_eq!(inner.services[0].port, Some(143));
    let places = &spec.places;
    let class = |addr: &str| places.clients.class(places.clients.class_of(addr.parse().unwrap()));
    assert_eq!((class("198.51.100.9").site, class("10.2.3.4").view), (Some(0), Some(0)));
    assert!(places.clients.trusts("192.0.2.53".parse().unwrap()));
    assert_eq!(places.site_of(Some(&"zrh-1".to_owned().try_into().unwrap()), None), Some(1));
}

#[test]
fn places_services_and_nested_pools_that_do_not_fit() {
    let with = |more: &str| format!("{PLACES}\n{more}");
    check("[ecs]\nenabled = true", "ecs.trusted");
    check(&with("[[site]]\nname = \"vienna\""), "for the second time");
    check(&with("[[site]]\nname = \"x\"\nnear = [\"moon\"]"), "the name of a [[site]]");
    check(&with("[[site]]\nname = \"x\"\nlatitude = 3"), "latitude and longitude, or neither");
    check(&with("[[site]]\nname = \"x\"\ncountries = [\"AUT\"]"), "two letters");
    check(&with("[[view]]\nname = \"x\""), "view[1].prefixes");
    check("[geo]\ndatabases = [\"nowhere.mmdb\"]", "no such file");
    check("[geo]\ndatabases = [\"lb.zone\"]", "a MaxMind database that can be read");
    let many: String = (0..65).fold(String::new(), |text, i| text + &format!("[[site]]\nname = \"s{i}\"\n"));
    check(&many, "64 at most");
    check(&pool("nearest_site = true\n[[pool.member]]\nname = \"a\"\naddresses = [\"192.0.2.9\"]"), "[[site]] sections");
    check(&pool("private_views = [\"x\"]"), "the name of a [[view]]");
    check(&pool("[[pool.member]]\nname = \"a\"\npool = \"b\""), "the name of a [[pool]]");
    check(&pool("[[pool.member]]\nname = \"a\"\npool = \"www\""), "inside itself");
    let both = "[[pool.member]]\nname = \"a\"\npool = \"www\"\naddresses = [\"192.0.2.9\"]";
    check(&pool(both), "one of them");
    let service = |more: &str| {
        let member = "[[pool.member]]\nname = \"a\"\naddresses = [\"192.0.2.9\"]";
        pool(&format!("[[pool.service]]\nname = \"_x._tcp.lb.example.com\"\n{more}\n{member}"))
    };
    check(&service("port = 1"), "the name below which members get names");
    check(&service(""), "members without heartbeats say none");
    let target = |zone: &str, more: &str| {
        let member = "[[pool.member]]\nname = \"old\"\naddresses = [\"192.0.2.9\"]";
        pool(&format!("target_zone = \"{zone}\"\n{member}\n{more}"))
    };
    check(&target("lb.example.com", ""), "old.lb.example.com., where the zone has A records");
    let other = "[[pool]]\nname = \"p\"\ntarget_zone = \"x.lb.example.com\"\npublish = [\"old.x.lb.example.com\"]\n\
                 [[pool.member]]\nname = \"old\"\naddresses = [\"192.0.2.8\"]";
    check(&target("x.lb.example.com", other), "old.x.lb.example.com., which the pool p answers");
    check(&target("x.lb.example.com", other), "old.x.lb.example.com. for members with different addresses");
    let long = format!("{}lb.example.com", "x.".repeat(119));
    check(&target(&long, ""), "too long for the member old");
    check(
        &pool("sort_share_auto = true\n[[pool.member]]\nname = \"a\"\naddresses = [\"192.0.2.9\"]"),
        "only heartbeats tell",
    );
}

fn pool(more: &str) -> String {
    format!("[[pool]]\nname = \"www\"\npublish = [\"www.lb.example.com\"]\n{more}")
}

//! Configurations, good and bad, as a user writes them.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::zone::Files;
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

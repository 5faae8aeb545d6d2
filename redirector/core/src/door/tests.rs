#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
use super::*;
use crate::config::Spec;
use crate::farm::Keys;
use crate::route::{Candidate, RoutePolicy, Table};
use farm_shared::draw::Draws;
use farm_shared::heartbeat::FarmKey;
use farm_shared::id::Id;
use farm_shared::member::Standing;
use farm_shared::time::{Mono, Now, Wall};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn key(digit: &str) -> FarmKey {
    FarmKey::from_hex(&digit.repeat(64)).unwrap()
}

fn keys() -> Keys {
    Keys { current: key("a"), former: vec![key("b")] }
}

pub(super) const NOW: Now = Now { mono: Mono(5_000), wall: Wall(1_700_000_000_000) };

pub(super) fn spec(target: &str, hosts: &[&str]) -> Spec {
    let mut spec = Spec::new(id("door1"), id("mail"));
    spec.hosts = hosts.iter().map(ToString::to_string).collect();
    spec.door.target = target.into();
    spec
}

fn front(target: &str, hosts: &[&str], servers: &[(&str, Standing)]) -> Front {
    front_of(&spec(target, hosts), Rules::new, servers)
}

/// A published picture of one farm.
pub(super) fn front_of(spec: &Spec, rules: impl Fn(&Spec) -> Rules, servers: &[(&str, Standing)]) -> Front {
    let target = spec.door.target.as_str();
    let prefix = |i: usize, id: &str| target.replace("{id}", id).replace("{ip}", &format!("10.0.0.{}", i + 1));
    let servers: Vec<Server> = servers
        .iter()
        .enumerate()
        .map(|(i, (name, standing))| Server {
            slot: i as u32,
            id: id(name),
            location_prefix: prefix(i, name).into(),
            addrs: vec![format!("10.0.0.{}", i + 1).parse().unwrap()],
            standing: *standing,
            takes_new: standing.takes_new(),
            heard: Mono(0),
            dispatch_base: 0,
        })
        .collect();
    let candidates: Vec<Candidate> = servers
        .iter()
        .enumerate()
        .filter(|(_, s)| s.takes_new)
        .map(|(i, s)| Candidate { server: i as u32, slot: s.slot, ..Candidate::default() })
        .collect();
    let farm = Snapshot {
        generation: 1,
        built: Mono(0),
        retry_after_s: 5,
        cookies: CookieKeys::new(&spec.farm, &keys(), 3_600),
        by_slot: Snapshot::index_slots(&servers),
        servers,
        table: Table::build(RoutePolicy::Weighted, 1.0, 1, &candidates),
        room: None,
    };
    Front::new(Arc::new(rules(spec)), [Arc::new(farm)])
}

pub(super) const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

fn usual() -> Front {
    front("http://{ip}:8000", &["mail.example.com"], &[("b1", Standing::InService)])
}

/// The decision as a short text: `302 LOCATION`, `wait`, or `400 reason`.
pub(super) fn outcome(front: &Front, method: &str, target: &str, host: Option<&str>, cookies: &[&str]) -> String {
    said(front, &Request { method, target, host, cookies, secure: false, source: SOURCE, fields: &() })
}

/// The decision as a short text.
pub(super) fn said(front: &Front, request: &Request<'_>) -> String {
    match decide(front, &(), request, NOW, &mut Pickers::new(Draws::from_u64(1))) {
        Decision::Redirect { status, location_prefix, path_and_query, returning, set_cookie, .. } => {
            assert_ne!(set_cookie, returning);
            format!("{status} {location_prefix}{path_and_query}{}", if returning { " again" } else { "" })
        }
        Decision::Wait(Wait { told, .. }) => format!("wait {}", told.retry_after_s),
        Decision::Reject { status, reason } => {
            assert!(REJECT_REASONS.contains(&reason));
            format!("{status} {reason}")
        }
        Decision::Challenge { body } => format!("200 {body}"),
        Decision::Moved { status, location_prefix, path_and_query } => format!("{status} {location_prefix}{path_and_query}"),
        Decision::Home { status, front, from, path_and_query } => {
            format!("{status} {front}{REENTER_PREFIX}{from}{REENTER_TO}{path_and_query}")
        }
        Decision::Assign { slot, returning, .. } => format!("assign {slot} {returning}"),
        Decision::Preflight => "preflight".into(),
        Decision::Unfollowable { grpc } => format!("unfollowable {grpc}"),
        Decision::Maintenance { retry_after_s } => format!("maintenance {retry_after_s}"),
        Decision::Limited { retry_after_s } => format!("limited {retry_after_s}"),
    }
}

#[test]
fn methods_and_targets() {
    let front = usual();
    let long = format!("/{}", "x".repeat(8_192));
    let cases = [
        ("GET", "/", "302 http://10.0.0.1:8000/"),
        ("HEAD", "/a/../b?c=%0d%0a&d=\"|{}", "302 http://10.0.0.1:8000/a/../b?c=%0d%0a&d=\"|{}"),
        ("POST", "/x", "307 http://10.0.0.1:8000/x"),
        ("BREW", "/x", "307 http://10.0.0.1:8000/x"),
        ("GET", "//evil.example/", "302 http://10.0.0.1:8000//evil.example/"),
        ("GET", "/\\evil.example", "302 http://10.0.0.1:8000/\\evil.example"),
        ("GET", "/@evil.example", "302 http://10.0.0.1:8000/@evil.example"),
        ("GET", "\\evil.example", "400 target"),
        ("GET", "@evil.example/", "400 target"),
        ("GET", ".evil.example/", "400 target"),
        ("GET", "", "400 target"),
        ("OPTIONS", "*", "400 target"),
        ("GET", "/a\r\nSet-Cookie: x=y", "400 target"),
        ("GET", "/a b", "400 target"),
        ("GET", "/\u{e9}", "400 target"),
        ("GET", "/a#b", "400 target"),
        ("GET", "javascript:alert(1)", "400 target"),
        ("GET", "http://mail.example.com/x?y", "302 http://10.0.0.1:8000/x?y"),
        ("GET", "HTTPS://Mail.Example.COM:443?y", "302 http://10.0.0.1:8000?y"),
        ("GET", "http://mail.example.com", "302 http://10.0.0.1:8000/"),
        ("GET", "http://evil.example/x", "421 host"),
        ("GET", "http://mail.example.com@evil.example/x", "421 host"),
        ("GET", "http://mail.example.com\\@evil.example/x", "400 target"),
        ("GET", "ftp://mail.example.com/x", "400 target"),
        ("CONNECT", "evil.example:443", "405 method"),
        ("TRACE", "/", "405 method"),
        ("GET", &long, "414 target_length"),
    ];
    for (method, target, expect) in cases {
        assert_eq!(outcome(&front, method, target, Some("mail.example.com"), &[]), expect, "{method} {target}");
    }
}

#[test]
fn hosts() {
    let check = |target: &str, hosts: &[&str], host: Option<&str>, expect: &str| {
        let front = front(target, hosts, &[("b1", Standing::InService)]);
        assert!(outcome(&front, "GET", "/", host, &[]).starts_with(expect), "{host:?} at {target} serving {hosts:?}");
    };
    let (by_ip, by_name) = ("http://{ip}:8000", "http://{id}.farm.example.com:8000");
    let mail = ["mail.example.com"];
    for good in ["mail.example.com", "MAIL.example.com.", "mail.example.com:8080"] {
        check(by_ip, &mail, Some(good), "302");
    }
    for bad in [
        "",
        "example.com",
        "mail.example.com.evil.example",
        "mail.example.com:80:80",
        "mail.example.com/",
        "x@mail.example.com",
    ] {
        check(by_ip, &mail, Some(bad), "421 host");
    }
    check(by_ip, &mail, None, "400 host_missing");
    check(by_ip, &["*"], Some("anything.example"), "302");
    check(by_ip, &["*.example.com"], Some("a.b.Example.com:81"), "302");
    check(by_ip, &["*.example.com"], Some("example.com"), "421 host");
    check(by_ip, &["*.example.com"], Some("x\u{e9}.example.com"), "421 host");
    check(by_ip, &["*"], Some("any thing"), "421 host");
    check(by_ip, &["*"], Some("10.0.0.1:8000"), "421 host_loop");
    check(by_ip, &["10.0.0.1"], Some("10.0.0.1:8080"), "302");
    for own in ["b1.farm.example.com", "b9.farm.example.com:8000", "B1.Farm.example.com."] {
        check(by_name, &["*"], Some(own), "421 host_loop");
        check(by_name, &mail, Some(own), "302 http://mail.example.com/.well-known/farm/reenter?from=");
    }
    check(by_name, &["*"], Some("x.b1.farm.example.com"), "302");
    check(by_name, &["www.farm.example.com"], Some("www.farm.example.com"), "302");
}

#[test]
fn cookies_bring_a_session_back() {
    let servers =
        [("b1", Standing::InService), ("b2", Standing::Draining), ("b3", Standing::Silent), ("b4", Standing::AdminDown)];
    let front = front("http://{ip}:8000", &["*"], &servers);
    let cookie = |slot: u32| {
        let set = front.farms[0].set_cookie(slot, false, NOW).unwrap();
        assert!(set.ends_with("; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax"), "{set}");
        set.split(';').next().unwrap().to_owned()
    };
    let go = |fields: &[&str]| outcome(&front, "GET", "/", Some("x"), fields);
    assert_eq!(go(&[&cookie(0)]), "302 http://10.0.0.1:8000/ again");
    assert_eq!(go(&[&cookie(1)]), "302 http://10.0.0.2:8000/ again", "draining servers keep their sessions");
    assert_eq!(go(&["a=b", &format!("farm=x; c=d; {};e", cookie(1))]), "302 http://10.0.0.2:8000/ again");
    let new = "302 http://10.0.0.1:8000/";
    // As Java's CookieManager brings it.
    let quoted = format!("$Version=\"1\"; {}\";$Path=\"/\";$Domain=\"mail\"", cookie(1).replacen('=', "=\"", 1));
    assert_eq!(go(&[&quoted]), "302 http://10.0.0.2:8000/ again");
    assert_eq!(go(&[&quoted.replacen("b2", "b1", 1)]), new);
    assert_eq!(go(&["farm=\"", "farm=\"\"", "farm"]), new);
    assert_eq!(go(&[&cookie(2)]), new);
    assert_eq!(go(&[&cookie(3)]), new);
    let genuine = cookie(1);
    let forgeries = [
        genuine.replace("b2", "b1"),
        genuine.replace(".b2.", ".b2.9"),
        genuine.replace("v1", "v2"),
        genuine[..genuine.len() - 1].to_owned(),
        format!("{genuine}A"),
        genuine.replace("farm=", "farm2="),
        "farm=v1.b2.99999999999".into(),
        "farm=....".into(),
        format!("farm={}", "x".repeat(9_000)),
        format!("{}; {genuine}", "farm=x; ".repeat(4)),
    ];
    for forged in &forgeries {
        assert_eq!(go(&[forged]), new, "{forged}");
    }
}

#[test]
fn cookies_expire_and_keys_rotate() {
    let mail = id("mail");
    let old = CookieKeys::new(&mail, &Keys { current: key("b"), former: vec![] }, 3_600);
    let text = old.set_cookie(&id("b2"), false, NOW.wall);
    let pair = text.split(';').next().unwrap();
    let at = |keys: &CookieKeys, s: u64| keys.backend(&[pair], false, Wall(NOW.wall.0 + s * 1_000)).is_some();
    let (both, other) =
        (CookieKeys::new(&mail, &keys(), 3_600), CookieKeys::new(&mail, &Keys { current: key("a"), former: vec![] }, 3_600));
    assert!(at(&old, 0) && at(&both, 3_600) && !at(&both, 3_601) && !at(&other, 0));
    assert!(!at(&CookieKeys::new(&id("web"), &keys(), 3_600), 0), "another farm's");
    let shorter = CookieKeys::new(&mail, &keys(), 600);
    assert!(!at(&shorter, 0) && at(&shorter, 3_000), "no longer than is configured now");
}

#[test]
fn nobody_there() {
    let none = front("http://{ip}:8000", &["*"], &[("b1", Standing::Draining)]);
    assert_eq!(outcome(&none, "GET", "/", Some("x"), &[]), "wait 5");
}

#[test]
fn a_certificate_authority_is_answered_whatever_name_it_uses() {
    let mut front = front("http://{ip}:8000", &["mail.example.com"], &[("b1", Standing::InService)]);
    front = front.with_challenges(Arc::new([("tok".into(), "tok.print".into())].into()));
    let ask = |target: &str, host| outcome(&front, "GET", target, host, &[]);
    let path = "/.well-known/acme-challenge/tok";
    assert_eq!(ask(path, Some("mail.example.com")), "200 tok.print");
    assert_eq!(ask(path, Some("b1.farm.example.com")), "200 tok.print");
    assert_eq!(ask("/.well-known/acme-challenge/tok2", Some("b1.farm.example.com")), "421 host");
    let plain = "302 http://10.0.0.1:8000/.well-known/acme-challenge/";
    assert_eq!(ask("/.well-known/acme-challenge/", Some("mail.example.com")), plain);
}

proptest! {
    #[test]
    fn the_authority_is_always_one_of_the_registry(
        method in "[A-Z]{3,7}",
        target in prop_oneof![
            ".{0,60}",
            "[/\\\\?#@:a-z.%\r\n]{0,40}",
            "(http|https|HTTP)://[a-z@:/\\\\.?#]{0,40}",
            "https?://mail.example.com[a-z@:/\\\\.?#]{0,20}",
        ],
        host in prop_oneof![Just("mail.example.com".to_owned()), ".{0,40}"],
        cookie in ".{0,80}",
        any in any::<bool>(),
    ) {
        let hosts: &[&str] = if any { &["*"] } else { &["mail.example.com"] };
        let front = front("http://{ip}:8000", hosts, &[("b1", Standing::InService), ("b2", Standing::Unknown)]);
        let cookies = [cookie.as_str()];
        let request = Request {
            method: &method,
            target: &target,
            host: Some(&host),
            cookies: &cookies,
            secure: false,
            source: SOURCE,
            fields: &(),
        };
        let decision = decide(&front, &(), &request, NOW, &mut Pickers::new(Draws::from_u64(2)));
        if let Decision::Redirect { location_prefix, path_and_query, .. } = decision {
            let location = format!("{location_prefix}{path_and_query}");
            // As browsers read it: a backslash is a slash.
            let rest = location.replace('\\', "/");
            let rest = rest.strip_prefix("http://").unwrap();
            let authority = rest.split(['/', '?', '#']).next().unwrap();
            prop_assert!(["10.0.0.1:8000", "10.0.0.2:8000"].contains(&authority), "{}", location);
            prop_assert!(location.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert!(target.ends_with(path_and_query) || path_and_query == "/");
        }
    }
}

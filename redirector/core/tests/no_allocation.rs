//! A redirect costs no allocation until its `Set-Cookie` is written, and that one only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use farm_shared::draw::Draws;
use farm_shared::heartbeat::FarmKey;
use farm_shared::id::Id;
use farm_shared::member::Standing;
use farm_shared::time::{Mono, Now, Wall};
use redirector_core::config::{LimitSpec, RedirectStatus, RouteSpec, RouteTo, Spec};
use redirector_core::door::{CookieKeys, Decision, Dispatched, Front, Pickers, Request, Rules, Server, Snapshot, decide};
use redirector_core::farm::Keys;
use redirector_core::limit::{Debts, Limit};
use redirector_core::route::{Candidate, RoutePolicy, Table};
use std::net::Ipv4Addr;
use std::sync::Arc;

const NOW: Now = Now { mono: Mono(5_000), wall: Wall(1_000_000) };

fn routed() -> Vec<RouteSpec> {
    let route = |host: &str, path: &str, to| {
        let (host, path, strip) = (host.into(), path.into(), path.into());
        RouteSpec { host, path, to, status: RedirectStatus::Auto, drop_query: true, strip }
    };
    vec![
        route("*", "/a", RouteTo::Bucket("https://s3.example.net/bucket".into())),
        route("mail.example.com", "/site", RouteTo::Site("https://www.example.org".into())),
        route("*.example.com", "/farm", RouteTo::Farm(Id::new("mail").unwrap())),
    ]
}

fn front(policy: RoutePolicy) -> Front {
    let farm = Id::new("mail").unwrap();
    let mut spec = Spec::new(Id::new("d1").unwrap(), farm.clone());
    spec.hosts = vec!["mail.example.com".into(), "*".into()];
    spec.routes = routed();
    spec.assign = Some("/assign".into());
    spec.door.target = "https://{id}.farm.example.com".into();
    let keys = Keys {
        current: FarmKey::from_hex(&"5a".repeat(32)).unwrap(),
        former: vec![FarmKey::from_hex(&"a5".repeat(32)).unwrap()],
    };
    let server = |slot: u32| {
        let id = Id::new(&format!("b{slot}")).unwrap();
        let location_prefix = format!("https://{id}.farm.example.com").into();
        Server {
            slot,
            id,
            location_prefix,
            addrs: Vec::new(),
            standing: Standing::InService,
            takes_new: true,
            heard: Mono(0),
            dispatch_base: 0,
        }
    };
    let candidate = |server: u32| Candidate {
        server,
        slot: server,
        queue: f64::from(server),
        drain_per_s: 1.0,
        age_ms: 100,
        ..Candidate::default()
    };
    let candidates: Vec<Candidate> = (0..8).map(candidate).collect();
    let servers: Vec<Server> = (0..8).map(server).collect();
    let farm = Snapshot {
        generation: 1,
        built: Mono(0),
        retry_after_s: 5,
        cookies: CookieKeys::new(&farm, &keys, 3_600),
        by_slot: Snapshot::index_slots(&servers),
        servers,
        table: Table::build(policy, 1.0, 1, &candidates),
        room: None,
    };
    Front::new(Arc::new(Rules::new(&spec)), [Arc::new(farm)])
}

fn request<'a>(method: &'a str, target: &'a str, host: Option<&'a str>, cookies: &'a [&'a str]) -> Request<'a> {
    Request { method, target, host, cookies, secure: true, source: Ipv4Addr::LOCALHOST.into(), fields: &() }
}

/// What sources owe, for decisions that count requests.
struct Counting(Debts);

impl Dispatched for Counting {
    fn total(&self, _farm: u16, _slot: u32) -> u32 {
        0
    }

    fn debts(&self) -> Option<&Debts> {
        Some(&self.0)
    }
}

#[test]
fn a_limit_allocates_nothing() {
    let mut front = front(RoutePolicy::Weighted);
    let limit = LimitSpec { requests_per_s: 1.0, burst: 10, ..LimitSpec::default() };
    front.rules = Arc::new(Rules { limit: Limit::new(&limit), ..Rules::clone(&front.rules) });
    let cookie = front.farms[0].set_cookie(3, true, NOW).unwrap();
    let cookies = [cookie.as_str()];
    let mut pickers = Pickers::new(Draws::from_u64(7));
    let dispatched = Counting(Debts::new([1, 2]));
    decide(&front, &(), &request("GET", "/", Some("mail.example.com"), &[]), NOW, &mut pickers);
    let (mut redirects, mut returning, mut limited) = (0, 0, 0);
    let counted = allocation_counter::measure(|| {
        for shown in [&[][..], &cookies] {
            for _ in 0..100 {
                let request = request("GET", "/", Some("mail.example.com"), shown);
                match decide(&front, &dispatched, &request, NOW, &mut pickers) {
                    Decision::Redirect { returning: false, .. } => redirects += 1,
                    Decision::Redirect { .. } => returning += 1,
                    Decision::Limited { retry_after_s: 1 } => limited += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
    });
    assert_eq!((redirects, returning, limited), (10, 10, 180));
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_decision_allocates_nothing() {
    let long = format!("/{}", "a".repeat(8_000));
    let targets = [
        "/a/b?b=c",
        "/site/x",
        "/farm/x?y",
        "/assign",
        "/.well-known/farm/reenter?from=b1&to=/x",
        "/",
        "/b?b=c",
        "//evil.test",
        "http://mail.example.com/x",
        "http://evil.test\\@x",
        "*",
        long.as_str(),
    ];
    let hosts =
        [None, Some("mail.example.com"), Some("MAIL.example.com.:8080"), Some("b1.farm.example.com"), Some("[::1]:80")];
    for policy in RoutePolicy::CONFIGURABLE {
        let front = front(policy);
        let cookie = front.farms[0].set_cookie(3, true, NOW).unwrap();
        let forged = format!("{}x", cookie.split(';').next().unwrap());
        let crowd = "farm=v1.b1.1.AAAA; ".repeat(100);
        let cookies: [&[&str]; 4] = [&[], &[&cookie], &[&forged, "other=1; farm=x"], &[&crowd]];
        let mut pickers = Pickers::new(Draws::from_u64(7));
        let first = request("GET", "/", Some("mail.example.com"), &[]);
        decide(&front, &(), &first, NOW, &mut pickers);
        let (mut redirects, mut returning, mut moved, mut assigned, mut home) = (0, 0, 0, 0, 0);
        let counted = allocation_counter::measure(|| {
            for method in ["GET", "POST", "CONNECT"] {
                for target in targets {
                    for host in hosts {
                        for cookies in cookies {
                            let request = request(method, target, host, cookies);
                            match decide(&front, &(), &request, NOW, &mut pickers) {
                                Decision::Redirect { returning: back, .. } => {
                                    redirects += 1;
                                    returning += u32::from(back);
                                }
                                Decision::Moved { .. } => moved += 1,
                                Decision::Assign { .. } => assigned += 1,
                                Decision::Home { .. } => home += 1,
                                _ => {}
                            }
                        }
                    }
                }
            }
        });
        assert!(redirects > 50 && returning > 10, "{redirects} redirects, {returning} returning");
        assert!(moved > 10 && assigned > 5 && home > 5, "{moved} moved, {assigned} assigned, {home} home");
        assert_eq!(counted.count_total, 0, "allocations in {redirects} redirects");
        let counted = allocation_counter::measure(|| drop(front.farms[0].set_cookie(3, true, NOW)));
        assert_eq!(counted.count_total, 1, "one for the cookie");
    }
}

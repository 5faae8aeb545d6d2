#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test stops where it cannot go on")]
use super::rules::Https;
use super::tests::{NOW, SOURCE, front_of, outcome, said, spec};
use super::*;
use crate::config::{CorsSpec, Maintenance, RedirectStatus, RouteSpec, RouteTo, Spec};
use farm_shared::draw::Draws;
use farm_shared::member::Standing;
use proptest::prelude::*;

const MAIL: &[&str] = &["mail.example.com", "www.example.com", "*.apps.example.com"];
const ONE: &[(&str, Standing)] = &[("b1", Standing::InService)];
const TWO: &[(&str, Standing)] = &[("b1", Standing::InService), ("b2", Standing::Draining)];
const BY_NAME: &str = "http://{id}.farm.example.com";

fn route(host: &str, path: &str, to: RouteTo) -> RouteSpec {
    let (host, path) = (host.into(), path.into());
    RouteSpec { host, path, to, status: RedirectStatus::Auto, drop_query: false, strip: String::new() }
}

fn farm() -> RouteTo {
    RouteTo::Farm(farm_shared::id::Id::new("mail").unwrap())
}

fn site(location: &str) -> RouteTo {
    RouteTo::Site(location.into())
}

fn routed() -> Spec {
    let mut spec = spec("http://{ip}:8000", MAIL);
    let bucket = |path| RouteTo::Bucket(format!("https://s3.example.net{path}"));
    spec.routes = vec![
        route("*", "/static", bucket("/bucket/v1")),
        RouteSpec { strip: "/img".into(), ..route("*", "/img", bucket("/pictures")) },
        route("mail.example.com", "/help", site("https://help.example.org")),
        RouteSpec {
            drop_query: true,
            status: RedirectStatus::Fixed(308),
            ..route("mail.example.com", "/help/old/", site("https://old.example.org"))
        },
        route("mail.example.com", "/static/live", farm()),
        route("*.apps.example.com", "/", site("https://apps.example.org")),
        RouteSpec {
            strip: "/in".into(),
            status: RedirectStatus::Fixed(303),
            ..route("one.apps.example.com", "/in", farm())
        },
        route("www.example.com", "/closed", RouteTo::Maintenance { retry_after_s: 60 }),
    ];
    spec
}

#[test]
fn routes_by_host_and_path() {
    let front = front_of(&routed(), Rules::new, ONE);
    let server = "http://10.0.0.1:8000";
    let cases = [
        ("GET", "mail.example.com", "/", format!("302 {server}/")),
        ("GET", "mail.example.com", "/statics", format!("302 {server}/statics")),
        ("GET", "mail.example.com", "/static", "302 https://s3.example.net/bucket/v1/static".into()),
        ("GET", "mail.example.com", "/static?a=/b", "302 https://s3.example.net/bucket/v1/static?a=/b".into()),
        ("HEAD", "MAIL.example.com.:80", "/static/x", "302 https://s3.example.net/bucket/v1/static/x".into()),
        ("GET", "mail.example.com", "/static/live/1", format!("302 {server}/static/live/1")),
        ("GET", "www.example.com", "/static/live/1", "302 https://s3.example.net/bucket/v1/static/live/1".into()),
        ("POST", "mail.example.com", "/static/x", "405 read_only".into()),
        ("GET", "mail.example.com", "/static/../../other", "400 target".into()),
        ("GET", "mail.example.com", "/static/%2E%2e/.%2e/other", "400 target".into()),
        ("GET", "mail.example.com", "/static/..\\other", "400 target".into()),
        (
            "GET",
            "mail.example.com",
            "/static/a..b/...?../..",
            "302 https://s3.example.net/bucket/v1/static/a..b/...?../..".into(),
        ),
        ("GET", "mail.example.com", "/img", "302 https://s3.example.net/pictures".into()),
        ("GET", "mail.example.com", "/img?w=1", "302 https://s3.example.net/pictures?w=1".into()),
        ("GET", "mail.example.com", "/img//evil.example/", "302 https://s3.example.net/pictures//evil.example/".into()),
        ("POST", "mail.example.com", "/help?q=1", "307 https://help.example.org/help?q=1".into()),
        ("GET", "mail.example.com", "/help/old", "302 https://help.example.org/help/old".into()),
        ("POST", "mail.example.com", "/help/old/x?q=1", "308 https://old.example.org/help/old/x".into()),
        ("GET", "www.example.com", "/help", format!("302 {server}/help")),
        ("GET", "www.example.com", "/closed/x", "maintenance 60".into()),
        ("GET", "two.apps.example.com", "/x", "302 https://apps.example.org/x".into()),
        ("GET", "one.apps.example.com", "/x", "302 https://apps.example.org/x".into()),
        ("POST", "One.Apps.example.com", "/in/x?y", format!("303 {server}/x?y")),
        ("GET", "one.apps.example.com", "/in", format!("303 {server}/")),
        ("GET", "one.apps.example.com", "/in?a", format!("303 {server}?a")),
        ("GET", "one.apps.example.com", "http://mail.example.com/help", "302 https://help.example.org/help".into()),
        ("GET", "evil.example", "/static", "421 host".into()),
    ];
    for (method, host, target, expect) in cases {
        assert_eq!(outcome(&front, method, target, Some(host), &[]), expect, "{method} {host} {target}");
    }
}

#[test]
fn the_status_is_configured() {
    let mut spec = spec("http://{ip}:8000", MAIL);
    for (status, get, post) in
        [(RedirectStatus::Auto, 302, 307), (RedirectStatus::Fixed(303), 303, 303), (RedirectStatus::Fixed(308), 308, 308)]
    {
        spec.door.status = status;
        let front = front_of(&spec, Rules::new, ONE);
        for (method, expect) in [("GET", get), ("HEAD", get), ("POST", post), ("OPTIONS", post)] {
            let said = outcome(&front, method, "/", Some("mail.example.com"), &[]);
            assert_eq!(said, format!("{expect} http://10.0.0.1:8000/"), "{method}");
        }
    }
}

#[test]
fn maintenance_turns_away() {
    let mut spec = spec("http://{ip}:8000", MAIL);
    let cookie = front_of(&spec, Rules::new, ONE).farms[0].set_cookie(0, false, NOW).unwrap();
    let again = "302 http://10.0.0.1:8000/ again";
    for (closed, new, old) in [
        (Maintenance::Off, "302 http://10.0.0.1:8000/", again),
        (Maintenance::New, "maintenance 5", again),
        (Maintenance::All, "maintenance 5", "maintenance 5"),
    ] {
        spec.door.maintenance = closed;
        let front = front_of(&spec, Rules::new, ONE);
        assert_eq!(outcome(&front, "GET", "/", Some("mail.example.com"), &[]), new, "{closed:?}");
        assert_eq!(outcome(&front, "GET", "/", Some("mail.example.com"), &[&cookie]), old, "{closed:?}");
    }
}

fn https(redirect_http: bool) -> impl Fn(&Spec) -> Rules {
    move |spec| Rules::with(spec, Some(Https { redirect_http, hsts_s: Some(86_400) }))
}

#[test]
fn plain_requests_go_to_https() {
    let mut spec = spec("https://{id}.farm.example.com", MAIL);
    let ask = |front: &Front, method, host, target, secure| {
        said(front, &Request { method, target, host: Some(host), cookies: &[], secure, source: SOURCE, fields: &() })
    };
    let front = front_of(&spec, https(true), ONE);
    assert_eq!(front.rules.hsts.as_deref(), Some("max-age=86400"));
    let server = "https://b1.farm.example.com";
    let cases = [
        ("GET", "mail.example.com:8080", "/a?b", false, "301 https://mail.example.com/a?b".to_owned()),
        ("HEAD", "WWW.example.com.", "/", false, "301 https://www.example.com/".into()),
        ("POST", "mail.example.com", "/a", false, "308 https://mail.example.com/a".into()),
        ("GET", "evil.example", "/", false, "421 host".into()),
        (
            "GET",
            "evil.example",
            "http://mail.example.com//evil.example",
            false,
            "301 https://mail.example.com//evil.example".into(),
        ),
        (
            "GET",
            "mail.example.com",
            "/.well-known/acme-challenge/x",
            false,
            format!("302 {server}/.well-known/acme-challenge/x"),
        ),
        ("GET", "x.apps.example.com", "/", false, format!("302 {server}/")),
        ("GET", "mail.example.com", "/a", true, format!("302 {server}/a")),
        (
            "GET",
            "b7.farm.example.com",
            "/a",
            false,
            "302 https://mail.example.com/.well-known/farm/reenter?from=b7&to=/a".into(),
        ),
    ];
    for (method, host, target, secure, expect) in cases {
        assert_eq!(ask(&front, method, host, target, secure), expect, "{method} {host} {target}");
    }
    let front = front_of(&spec, https(false), ONE);
    assert_eq!(ask(&front, "GET", "mail.example.com", "/", false), format!("302 {server}/"));
    spec.door.url = Some("https://www.example.com:8443".into());
    let front = front_of(&spec, https(true), ONE);
    assert_eq!(ask(&front, "GET", "mail.example.com", "/", false), "301 https://mail.example.com:8443/");
}

#[test]
fn a_servers_own_name_leads_back_and_ends() {
    let spec = spec(BY_NAME, MAIL);
    let ask = |servers: &[(&str, Standing)], host: &str, target: &str, cookies: &[&str]| {
        outcome(&front_of(&spec, Rules::new, servers), "GET", target, Some(host), cookies)
    };
    let home = "302 http://mail.example.com/.well-known/farm/reenter?from=";
    assert_eq!(ask(ONE, "b17.farm.example.com", "/a?b=c&d", &[]), format!("{home}b17&to=/a?b=c&d"));
    assert_eq!(ask(ONE, "B1.farm.example.com:81", "//e/", &[]), format!("{home}B1&to=//e/"));
    assert_eq!(ask(ONE, "x_y.farm.example.com", "/", &[]), "421 host_loop");
    let front = front_of(&spec, Rules::new, TWO);
    let keys = &front.farms[0].cookies;
    let (on_b1, on_b2) =
        (front.farms[0].set_cookie(0, false, NOW).unwrap(), front.farms[0].set_cookie(1, false, NOW).unwrap());
    let mark = |hops| keys.set_mark(hops, false, NOW.wall);
    let go = |target: &str, cookies: &[&str]| ask(TWO, "mail.example.com", target, cookies);
    let reenter = |from: &str| format!("/.well-known/farm/reenter?from={from}&to=/a?b=c&d");
    let b1 = "302 http://b1.farm.example.com/a?b=c&d";
    assert_eq!(go(&reenter("b17"), &[]), b1);
    assert_eq!(go(&reenter("b2"), &[&on_b2]), b1, "a session leaves the server that sends it away");
    assert_eq!(go(&reenter("B2"), &[&on_b2]), b1);
    assert_eq!(go(&reenter("b9"), &[&on_b2]), "302 http://b2.farm.example.com/a?b=c&d again", "and no other server");
    assert_eq!(go(&reenter("b1"), &[&on_b1]), b1, "where there is no other");
    for hops in 0..HOPS_MAX {
        assert_eq!(go(&reenter("b17"), &[&mark(hops)]), b1);
    }
    assert_eq!(go(&reenter("b17"), &[&mark(HOPS_MAX)]), "503 host_loop");
    assert_eq!(go("/a", &[&mark(HOPS_MAX)]), "302 http://b1.farm.example.com/a", "elsewhere it says nothing");
    assert_eq!(go(&reenter("b17"), &[&mark(HOPS_MAX).replace("v1.3", "v1.9")]), b1, "a forged one says nothing");
    for bad in ["reenter", "reenter?from=b1", "reenter?from=b1&to=", "reenter?from=b/1&to=/", "x"] {
        assert_eq!(go(&format!("{}{bad}", super::reentry::OWN_PATH), &[]), "404 not_found", "{bad}");
    }
    assert_eq!(
        go("/.well-known/farm/reenter?from=b9&to=//evil.example/", &[]),
        "302 http://b1.farm.example.com//evil.example/"
    );
    assert_eq!(go("/.well-known/farm/reenter?from=b9&to=https://evil.example/", &[]), "404 not_found");
}

#[test]
fn how_often_a_client_came_back_is_counted() {
    let front = front_of(&spec(BY_NAME, MAIL), Rules::new, ONE);
    let mut pair = String::new();
    let mut counts = Vec::new();
    loop {
        let request = Request {
            method: "GET",
            target: "/.well-known/farm/reenter?from=b9&to=/",
            host: Some("mail.example.com"),
            cookies: &[&pair],
            secure: true,
            source: SOURCE,
            fields: &(),
        };
        let decision = decide(&front, &(), &request, NOW, &mut Pickers::new(Draws::from_u64(1)));
        let Decision::Redirect { reentries, .. } = decision else { break };
        counts.push(reentries);
        pair = front.farms[0].cookies.set_mark(reentries, true, NOW.wall);
    }
    assert_eq!(counts, [1, 2, 3]);
}

#[test]
fn cookies_by_https() {
    let front = front_of(&spec(BY_NAME, MAIL), Rules::new, TWO);
    let farm = &front.farms[0];
    let (plain, host) = (farm.set_cookie(0, false, NOW).unwrap(), farm.set_cookie(1, true, NOW).unwrap());
    assert!(
        host.starts_with("__Host-farm=v1.b2.") && host.ends_with("; Max-Age=3600; Path=/; Secure; HttpOnly; SameSite=Lax"),
        "{host}"
    );
    assert!(farm.cookies.is_for(host.as_bytes(), "b2") && !farm.cookies.is_for(host.as_bytes(), "b"));
    let both = format!("{}; {}", plain.split(';').next().unwrap(), host.split(';').next().unwrap());
    let renamed = plain.replace("farm=", "__Host-farm=");
    let cases: [(&str, bool, &str); 6] = [
        (&plain, false, "b1 again"),
        (&plain, true, "b1 again"),
        (&host, true, "b2 again"),
        (&host, false, "b1"),
        (&both, true, "b2 again"),
        (&renamed, true, "b1"),
    ];
    for (cookie, secure, expect) in cases {
        let request = Request {
            method: "GET",
            target: "/",
            host: Some("mail.example.com"),
            cookies: &[cookie],
            secure,
            source: SOURCE,
            fields: &(),
        };
        let (server, again) = expect.split_once(' ').map_or((expect, ""), |(server, _)| (server, " again"));
        assert_eq!(said(&front, &request), format!("302 http://{server}.farm.example.com/{again}"), "{cookie} {secure}");
    }
}

#[test]
fn what_a_redirect_would_break() {
    let mut spec = spec("http://{ip}:8000", MAIL);
    spec.assign = Some("/assign".into());
    let front = front_of(&spec, Rules::new, ONE);
    let ask = |method, target, fields: &dyn Fields| {
        said(
            &front,
            &Request { method, target, host: Some("mail.example.com"), cookies: &[], secure: false, source: SOURCE, fields },
        )
    };
    let server = "http://10.0.0.1:8000";
    let preflight = [("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT")];
    assert_eq!(ask("OPTIONS", "/x", &preflight), "preflight");
    assert_eq!(ask("GET", "/x", &preflight), format!("302 {server}/x"));
    assert_eq!(ask("OPTIONS", "/x", &[("Origin", "https://a.example")]), format!("307 {server}/x"));
    assert_eq!(ask("GET", "/x", &[("Upgrade", "h2c, WebSocket")]), "unfollowable false");
    assert_eq!(ask("GET", "/x", &[("Upgrade", "h2c")]), format!("302 {server}/x"));
    for (kind, grpc) in [
        ("application/grpc", true),
        ("application/gRPC+proto", true),
        ("application/grpc-web", false),
        ("text/plain", false),
    ] {
        let expect = if grpc { "unfollowable true".to_owned() } else { format!("307 {server}/x") };
        assert_eq!(ask("POST", "/x", &[("Content-Type", kind)]), expect, "{kind}");
    }
    for path in ["/assign", "/assign?x", ASSIGN_PATH] {
        assert_eq!(ask("GET", path, &()), "assign 0 false", "{path}");
        assert_eq!(ask("POST", path, &()), "405 read_only", "{path}");
    }
    assert_eq!(ask("GET", "/assigned", &()), format!("302 {server}/assigned"));
}

#[test]
fn origins() {
    let cors = |origins: &[&str]| {
        let origins = origins.iter().map(ToString::to_string).collect();
        super::cors::Cors::new(&CorsSpec { origins, ..CorsSpec::default() })
    };
    assert!(cors(&[]).is_none());
    let listed = cors(&["https://app.example.com", "https://*.farm.example.com:8443", "http://localhost:3000"]).unwrap();
    for good in ["https://app.example.com", "https://b1.farm.example.com:8443", "http://localhost:3000"] {
        assert_eq!(listed.allowed(good), Some(good));
    }
    for bad in [
        "null",
        "https://app.example.com.evil.example",
        "http://app.example.com",
        "https://b1.farm.example.com",
        "https://evil.example/.farm.example.com:8443",
        "https://.farm.example.com:8443x",
        "",
    ] {
        assert_eq!(listed.allowed(bad), None, "{bad}");
    }
    assert_eq!(cors(&["*"]).unwrap().allowed("null"), Some("*"));
}

proptest! {
    #[test]
    fn no_request_names_the_authority_of_a_location(
        method in prop_oneof!["GET", "POST", "OPTIONS", "[A-Z]{3,7}"],
        target in prop_oneof![
            ".{0,60}",
            "/(static|img|help|help/old|in|x)?[/\\\\?#@:a-z.%]{0,30}",
            "/.well-known/(farm|acme-challenge)/(reenter|assign)?[?]?(from=)?[b0-9]{0,3}(&to=)?[/\\\\?@:a-z.]{0,20}",
            "(http|https)://(mail|b1.farm|one.apps).example.com[a-z@:/\\\\.?#]{0,20}",
        ],
        host in prop_oneof![
            Just("mail.example.com".to_owned()),
            "[a-z0-9@:/.-]{0,12}[.](farm|apps)[.]example[.]com[.:0-9]{0,4}",
            ".{0,40}",
        ],
        cookie in ".{0,80}",
        secure in any::<bool>(),
    ) {
        let mut spec = routed();
        spec.door.target = BY_NAME.into();
        let front = front_of(&spec, https(true), TWO);
        let request = Request { method: &method, target: &target, host: Some(&host), cookies: &[&cookie], secure, source: SOURCE, fields: &() };
        let location = match decide(&front, &(), &request, NOW, &mut Pickers::new(Draws::from_u64(2))) {
            Decision::Redirect { location_prefix, path_and_query, .. } | Decision::Moved { location_prefix, path_and_query, .. } => {
                format!("{location_prefix}{path_and_query}")
            }
            Decision::Home { front, from, path_and_query, .. } => format!("{front}{REENTER_PREFIX}{from}{REENTER_TO}{path_and_query}"),
            _ => return Ok(()),
        };
        prop_assert!(location.bytes().all(|b| b.is_ascii_graphic() && b != b'#'), "{}", location);
        // As browsers read it: a backslash is a slash.
        let read = location.replace('\\', "/");
        let (scheme, rest) = read.split_once("://").unwrap();
        let authority = rest.split(['/', '?', '#']).next().unwrap();
        let known = ["b1.farm.example.com", "b2.farm.example.com", "mail.example.com", "www.example.com", "s3.example.net",
            "help.example.org", "old.example.org", "apps.example.org"];
        prop_assert!(matches!(scheme, "http" | "https") && known.contains(&authority), "{}", location);
        if authority == "s3.example.net" {
            let path = rest.split(['?', '#']).next().unwrap();
            prop_assert!(path.starts_with("s3.example.net/bucket/v1") || path.starts_with("s3.example.net/pictures"));
            prop_assert!(!path.split('/').any(|s| matches!(s.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")), "{}", path);
        }
    }
}

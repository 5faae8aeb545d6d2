//! The front door of the real binary: redirects, cookies, refusals, hostile requests, leases.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Member, Redirector, Scratch, send, until};

fn beat(redirector: &Redirector, members: &mut [Member]) {
    for member in members {
        member.beat(redirector);
    }
}

fn in_service(redirector: &Redirector, members: &mut [Member]) {
    until("the members in service", || {
        beat(redirector, members);
        let response = redirector.door("GET", "/", "");
        (response.status == 302).then_some(())
    });
}

#[test]
fn a_farm_of_one_is_redirected_to() {
    let scratch = Scratch::new();
    let redirector = Redirector::start(&scratch, &scratch.config(""));
    let waiting = redirector.door("GET", "/", "accept: text/html\r\n");
    assert_eq!(waiting.status, 503);
    assert!(waiting.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    assert!(waiting.text().contains("<html lang=\"en\">"));

    let mut members = [Member::new("b1", "127.0.1.11")];
    in_service(&redirector, &mut members);
    let check = |method: &str, target: &str, status: u16, location: &str| {
        let response = redirector.door(method, target, "content-length: 0\r\n");
        assert_eq!((response.status, response.header("location")), (status, Some(location)), "{method} {target}");
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert_eq!(response.header("content-length"), Some("0"));
        assert!(response.header("set-cookie").is_some());
    };
    check("GET", "/inbox?folder=1&x=%2F..", 302, "http://127.0.1.11:9000/inbox?folder=1&x=%2F..");
    check("HEAD", "/a//b/", 302, "http://127.0.1.11:9000/a//b/");
    check("POST", "/login?", 307, "http://127.0.1.11:9000/login?");
    check("DELETE", "/x", 307, "http://127.0.1.11:9000/x");
    assert_eq!(redirector.metric("redirector_redirects_total{status=\"307\",session=\"new\"}") as u64, 2);
}

#[test]
fn a_cookie_brings_the_session_back() {
    let scratch = Scratch::new();
    let redirector = Redirector::start(&scratch, &scratch.config(""));
    let mut members = [Member::new("b1", "127.0.1.11"), Member::new("b2", "127.0.1.12"), Member::new("b3", "127.0.1.13")];
    in_service(&redirector, &mut members);
    let first = redirector.door("GET", "/", "");
    let location = first.header("location").unwrap().to_owned();
    let cookie = first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    for _ in 0..20 {
        beat(&redirector, &mut members);
        let again = redirector.door("GET", "/", &format!("cookie: a=b; {cookie}\r\n"));
        assert_eq!(again.header("location"), Some(location.as_str()));
        assert_eq!(again.header("set-cookie"), None);
    }
    // Its backend drains: new sessions go elsewhere, this one stays.
    let backend = members.iter().position(|m| location.contains(&m.heartbeat.addrs[0].to_string())).unwrap();
    let id = members[backend].heartbeat.id.clone();
    assert_eq!(redirector.admin("POST", &format!("/v1/admin/drain/{id}?why=a+test")).status, 200);
    assert!(members[backend].beat(&redirector).drain, "the reply says so");
    until("the drain at the door", || {
        beat(&redirector, &mut members);
        (0..30).all(|_| redirector.door("GET", "/", "").header("location") != Some(&location)).then_some(())
    });
    let again = redirector.door("GET", "/", &format!("cookie: {cookie}\r\n"));
    assert_eq!(again.header("location"), Some(location.as_str()));
    let forged = redirector.door("GET", "/", &format!("cookie: {}x\r\n", &cookie[..cookie.len() - 1]));
    assert!(forged.header("set-cookie").is_some(), "a forged cookie is none");
}

#[test]
fn no_request_leads_off_the_farm() {
    let scratch = Scratch::new();
    let redirector = Redirector::start(&scratch, &scratch.config(""));
    let mut members = [Member::new("b1", "127.0.1.11")];
    in_service(&redirector, &mut members);
    let long = "x".repeat(64 * 1024);
    let targets: [(&str, &[u16]); 14] = [
        ("//evil.example/", &[302, 400]),
        ("/\\evil.example", &[302, 400]),
        ("\\\\evil.example", &[400]),
        ("http://evil.example/", &[421]),
        ("http://mail.test/x", &[302]),
        ("http://mail.test@evil.example/", &[400, 421]),
        ("evil.example:443", &[400, 405]),
        ("*", &[302, 400]),
        ("/a b", &[400]),
        ("/\u{e4}", &[302, 400]),
        ("/%0d%0aset-cookie:x=y", &[302]),
        ("/\r\nlocation: http://evil.example", &[0, 302, 400]),
        ("@evil.example/", &[400]),
        (&long, &[400, 414, 431]),
    ];
    for (target, expect) in targets {
        let shown = target.get(..40).unwrap_or(target);
        members[0].beat(&redirector);
        let response = send(
            redirector.port("door"),
            format!("GET {target} HTTP/1.1\r\nhost: mail.test\r\nconnection: close\r\n\r\n").as_bytes(),
        );
        assert!(expect.contains(&response.status), "{shown}: {}", response.head);
        for line in response.head.lines().filter(|l| l.to_ascii_lowercase().starts_with("location:")) {
            let rest = line[9..].trim().strip_prefix("http://127.0.1.11:9000").unwrap_or_else(|| panic!("{shown}: {line}"));
            assert!(rest.starts_with('/'), "{shown}: {line}");
        }
    }
    let long = format!("/{long}");
    for (request, expect) in [
        (format!("GET {long} HTTP/1.1\r\nhost: mail.test\r\n\r\n"), &[414, 431][..]),
        (format!("GET / HTTP/1.1\r\nhost: mail.test\r\nx: {long}\r\n\r\n"), &[431]),
        ("GET / HTTP/1.1\r\nhost: other.test\r\nconnection: close\r\n\r\n".into(), &[421]),
        ("GET / HTTP/1.1\r\nhost: 127.0.1.11:9000\r\nconnection: close\r\n\r\n".into(), &[421]),
        ("GET / HTTP/1.1\r\nconnection: close\r\n\r\n".into(), &[400]),
        ("GET / HTTP/1.1\r\nhost: mail.test\r\nhost: evil\r\nconnection: close\r\n\r\n".into(), &[400]),
        ("TRACE / HTTP/1.1\r\nhost: mail.test\r\nconnection: close\r\n\r\n".into(), &[405]),
        ("CONNECT evil:443 HTTP/1.1\r\nhost: evil:443\r\nconnection: close\r\n\r\n".into(), &[405]),
        ("\0\u{1}\u{2}\r\n\r\n".into(), &[0, 400]),
    ] {
        let response = send(redirector.port("door"), request.as_bytes());
        assert!(expect.contains(&response.status), "{:?}: {}", request.get(..60), response.head);
        assert_eq!(response.header("location"), None);
    }
}

#[test]
fn silence_moves_traffic_and_forgeries_change_nothing() {
    let scratch = Scratch::new();
    let redirector = Redirector::start(&scratch, &scratch.config("[lease]\nmin = \"600ms\"\n[door]\npanic_share = 1.0\n"));
    let mut members = vec![Member::new("b1", "127.0.1.11"), Member::new("b2", "127.0.1.12")];
    in_service(&redirector, &mut members);
    let both = |redirector: &Redirector| {
        let mut seen: Vec<String> =
            (0..40).filter_map(|_| redirector.door("GET", "/", "").header("location").map(str::to_owned)).collect();
        seen.sort();
        seen.dedup();
        seen
    };
    until("both get sessions", || {
        for member in &mut members {
            member.beat_udp(&redirector, None);
        }
        (both(&redirector).len() == 2).then_some(())
    });
    // b2 falls silent; somebody without its key speaks for it.
    let mut b2 = members.pop().unwrap();
    until("only b1 gets sessions", || {
        members[0].beat_udp(&redirector, None);
        b2.beat_udp(&redirector, Some(&"ab".repeat(32)));
        (both(&redirector) == ["http://127.0.1.11:9000/"]).then_some(())
    });
    assert!(redirector.metric("farm_heartbeats_refused_total{reason=\"bad_mac\"}") > 0.0);
    until("nobody is left", || {
        let response = redirector.door("GET", "/", "");
        (response.status == 503 && response.header("retry-after").is_some()).then_some(())
    });
    assert!(redirector.metric("redirector_waits_total") >= 1.0);
    members[0].beat(&redirector);
    until("b1 is back", || {
        members[0].beat(&redirector);
        (redirector.door("GET", "/", "").status == 302).then_some(())
    });
}

#[test]
fn connections_have_their_limits() {
    let scratch = Scratch::new();
    let config = scratch.config("[door]\nconnections_max = 2\nheader_timeout = \"300ms\"\n");
    let redirector = Redirector::start(&scratch, &config);
    // Fresh ones at each look: on a busy machine those of the first may be late, and closed, before the knock.
    let held = until("the cap", || {
        let hold = |_| std::net::TcpStream::connect(redirector.port("door")).unwrap();
        let held: Vec<_> = (0..2).map(hold).collect();
        (redirector.door("GET", "/", "").status == 0).then_some(held)
    });
    until("late ones are closed", || (redirector.door("GET", "/", "").status == 503).then_some(()));
    until("the counters", || {
        let count = |outcome| redirector.metric(&format!("redirector_connections_total{{outcome=\"{outcome}\"}}"));
        (count("over_cap") >= 1.0 && count("no_request") >= 2.0).then_some(())
    });
    drop(held);
}

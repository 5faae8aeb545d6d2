//! EDNS as resolvers and the DNS flag days try it, over UDP and TCP: what an answer must be is said here for each probe, and compared
//! with Knot, NSD and BIND; cookies and rate limits against the real binary, cookies exchanged with Knot and BIND.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::daemon::{Daemon, Scratch};
use farm_tests::dns::Octets;
use farm_tests::edns::{Opt, option};
use farm_tests::peer::{Kind, Peer, installed, skipped};
use farm_tests::question::{Question, labels};
use std::net::SocketAddr;
use std::process::Command;

const ZONE: &str = "$TTL 300\n@ SOA ns1 admin 7 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.53\nwww A 192.0.2.1\n\
                    long TXT aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n\
                    long TXT bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n\
                    long TXT cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc\n";

const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

const NOERROR: u16 = 0;
const FORMERR: u16 = 1;
const REFUSED: u16 = 5;
const BADVERS: u16 = 16;
const BADCOOKIE: u16 = 23;

/// Our daemon with these lines in `[server]`, and these behind it.
fn serve(scratch: &Scratch, server: &str, more: &str) -> Daemon {
    let (zone, token) = (scratch.write("zone", ZONE), scratch.path().join("token"));
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n{server}\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"{}\"\n\
         [[zone]]\nname = \"example\"\nfile = \"{}\"\n{more}\n",
        token.display(),
        zone.display()
    );
    Daemon::serve("dnslb", scratch, &scratch.write("dnslb.toml", &config), &[])
}

fn query(name: &str, rtype: u16, opt: Option<&Opt>) -> Vec<u8> {
    let mut octets = Question { name: labels(name, &Vec::new()), rtype }.octets(0x1234, None);
    if let Some(opt) = opt {
        octets[11] = 1;
        octets.extend_from_slice(&opt.octets());
    }
    octets
}

/// What is judged of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Verdict {
    rcode: u16,
    authoritative: bool,
    truncated: bool,
    answers: u16,
    /// Version and flags of OPT, if there is one.
    opt: Option<(u8, u16)>,
    /// An option that the query had and nobody knows.
    echoes: bool,
}

const UNKNOWN: u16 = 100;

fn verdict(answer: &[u8]) -> Verdict {
    let opt = Opt::of(answer);
    Verdict {
        rcode: opt.as_ref().map_or(0, |opt| u16::from(opt.rcode_high) << 4) | u16::from(answer[3] & 0xf),
        authoritative: answer[2] & 4 != 0,
        truncated: answer[2] & 2 != 0,
        answers: u16::from_be_bytes([answer[6], answer[7]]),
        opt: opt.as_ref().map(|opt| (opt.version, opt.flags)),
        echoes: opt.is_some_and(|opt| opt.option(UNKNOWN).is_some()),
    }
}

struct Probe {
    name: &'static str,
    query: Vec<u8>,
    /// Over UDP; over TCP nothing is truncated.
    udp: Verdict,
    tcp: Verdict,
}

/// The probes of <https://ednscomp.isc.org> by the names they have there, and some more.
fn probes() -> Vec<Probe> {
    let good = |answers| Verdict {
        rcode: NOERROR,
        authoritative: true,
        truncated: false,
        answers,
        opt: Some((0, 0)),
        echoes: false,
    };
    let refused =
        |rcode| Verdict { rcode, authoritative: false, truncated: false, answers: 0, opt: Some((0, 0)), echoes: false };
    let soa = |name, opt: Option<&Opt>, expect: Verdict| Probe {
        name,
        query: query("example.", 6, opt),
        udp: expect.clone(),
        tcp: expect,
    };
    let with = |options: &[(u16, &[u8])]| {
        let options = options.iter().map(|(code, data)| (*code, data.to_vec())).collect();
        Opt { options, ..Opt::default() }
    };
    let unknown: (u16, &[u8]) = (UNKNOWN, b"");
    let subnet: &[u8] = &[0, 1, 24, 0, 192, 0, 2];
    let list = with(&[
        (option::NSID, b""),
        (option::CLIENT_SUBNET, subnet),
        (option::EXPIRE, b""),
        (option::COOKIE, b"8 octets"),
        unknown,
    ]);
    let long = |name, size, answers: u16| {
        let opt = Opt { size, ..Opt::default() };
        let tcp = good(3);
        let udp = Verdict { truncated: answers == 0, answers, ..good(3) };
        Probe { name, query: query("long.example.", 16, Some(&opt)), udp, tcp }
    };
    vec![
        soa("dns", None, Verdict { opt: None, ..good(1) }),
        soa("edns", Some(&Opt::default()), good(1)),
        soa("edns1", Some(&Opt { version: 1, ..Opt::default() }), refused(BADVERS)),
        soa("edns255", Some(&Opt { version: 255, ..Opt::default() }), refused(BADVERS)),
        soa("edns@512", Some(&Opt { size: 512, ..Opt::default() }), good(1)),
        soa("edns@0", Some(&Opt { size: 0, ..Opt::default() }), good(1)),
        soa("ednsopt", Some(&with(&[unknown])), good(1)),
        soa("edns1opt", Some(&Opt { version: 1, ..with(&[unknown]) }), refused(BADVERS)),
        soa("do", Some(&Opt { flags: 0x8000, ..Opt::default() }), Verdict { opt: Some((0, 0x8000)), ..good(1) }),
        soa("ednsflags", Some(&Opt { flags: 0x0040, ..Opt::default() }), good(1)),
        soa("edns1flags", Some(&Opt { version: 1, flags: 0x0040, ..Opt::default() }), refused(BADVERS)),
        soa("optlist", Some(&list), good(1)),
        soa("cookie", Some(&with(&[(option::COOKIE, b"8 octets")])), good(1)),
        soa("keepalive", Some(&with(&[(option::KEEPALIVE, b"")])), good(1)),
        soa("short cookie", Some(&with(&[(option::COOKIE, b"7 octet")])), refused(FORMERR)),
        soa("cookie of no length", Some(&with(&[(option::COOKIE, b"12 octets...")])), refused(FORMERR)),
        long("truncated", 512, 0),
        long("whole", 1_232, 3),
    ]
}

/// Probes of which the peers' majority says something else, and why we do not.
const EXCEPTIONS: [(&str, &str); 2] = [
    (
        "short cookie",
        "FORMERR by RFC 7873 section 5.2.2, as BIND says; Knot and NSD know no cookies as they are configured here",
    ),
    ("cookie of no length", "the same"),
];

#[test]
fn every_probe_has_the_right_answer_and_that_of_others() {
    let scratch = Scratch::new("edns");
    let file = scratch.write("peer.zone", ZONE);
    let zones = [("example", file.as_path())];
    let peers: Vec<Peer> = Kind::ALL.into_iter().filter_map(|kind| Peer::start(kind, &scratch, &zones)).collect();
    let compare = peers.len() >= 2 || peers.iter().any(|peer| peer.kind == Kind::Knot);
    if !compare {
        skipped("neither Knot nor two other name servers to compare with: only our own expectations");
    }
    let daemon = serve(&scratch, "", "");
    let client = |server: SocketAddr| Octets::to(server).expect("a socket");
    let mut ours = client(daemon.port("dns"));
    let mut theirs: Vec<(Kind, Octets)> = peers.iter().map(|peer| (peer.kind, client(peer.addr))).collect();
    let mut problems = Vec::new();
    for Probe { name, query, udp, tcp } in probes() {
        for (transport, expect) in [("UDP", udp), ("TCP", tcp)] {
            let ask = |client: &mut Octets| match transport {
                "UDP" => client.udp(&query),
                _ => client.tcp(&query),
            };
            let said = ask(&mut ours).map(|answer| verdict(&answer));
            if said.as_ref() != Some(&expect) {
                problems.push(format!("{name} over {transport}\n  ours     {said:?}\n  expected {expect:?}"));
            }
            // A server may keep what cannot be an answer to itself; then it has no say.
            let others: Vec<_> =
                theirs.iter_mut().map(|(kind, client)| (*kind, ask(client).map(|answer| verdict(&answer)))).collect();
            let same = others.iter().filter(|(_, other)| *other == said);
            let agreed = same.clone().any(|(kind, _)| *kind == Kind::Knot) || same.count() >= 2;
            if compare && !agreed && !EXCEPTIONS.iter().any(|(probe, _)| *probe == name) {
                problems.push(format!("{name} over {transport}\n  ours {said:?}\n  {others:?}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn who_answers_is_told_to_those_who_ask_if_it_is_configured() {
    let scratch = Scratch::new("identity");
    let daemon = serve(&scratch, "identity = \"ns1.here\"\nnsid = \"ns1\"", "");
    let mut client = Octets::to(daemon.port("dns")).unwrap();
    let chaos = |name| {
        let mut octets = query(name, 16, None);
        let class = octets.len() - 1;
        octets[class] = 3;
        octets
    };
    let answer = client.udp(&chaos("id.server.")).unwrap();
    assert!(answer.windows(9).any(|octets| octets == b"\x08ns1.here"), "{answer:02x?}");
    assert_eq!(verdict(&client.udp(&chaos("version.bind.")).unwrap()).rcode, REFUSED);
    let asked = Opt { options: vec![(option::NSID, Vec::new()), (option::KEEPALIVE, Vec::new())], ..Opt::default() };
    let udp = Opt::of(&client.udp(&query("www.example.", 1, Some(&asked))).unwrap()).unwrap();
    assert_eq!(udp.options, [(option::NSID, b"ns1".to_vec())]);
    let tcp = Opt::of(&client.tcp(&query("www.example.", 1, Some(&asked))).unwrap()).unwrap();
    assert_eq!(tcp.option(option::KEEPALIVE), Some(&[0, 100][..]), "ten seconds");
    let refused = Opt::of(&client.udp(&query("else.test.", 1, Some(&asked))).unwrap()).unwrap();
    assert_eq!(refused.option(option::EXTENDED_ERROR), Some(&[0, 20][..]), "not authoritative");

    if let Some(dig) = installed("dig") {
        let addr = daemon.port("dns");
        let said = Command::new(dig)
            .args(["+nsid", "+cookie", "+tries=1", "-p", &addr.port().to_string(), "@127.0.0.1", "www.example", "A"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("NSID: 6e 73 31 (\"ns1\")") && said.contains("(good)"), "{said}");
    }
}

fn cookie_of(answer: &[u8]) -> Vec<u8> {
    Opt::of(answer).and_then(|opt| opt.option(option::COOKIE).map(<[u8]>::to_vec)).expect("a cookie")
}

fn with_cookie(cookie: &[u8]) -> Opt {
    Opt { options: vec![(option::COOKIE, cookie.to_vec())], ..Opt::default() }
}

#[test]
fn cookies_are_those_of_knot_and_bind() {
    let scratch = Scratch::new("cookies");
    let secret = scratch.write("secret", &format!("{SECRET}\n"));
    let server = format!("[server.cookies]\nsecret_file = \"{}\"", secret.display());
    let daemon = serve(&scratch, &server, "");
    let ours = Octets::to(daemon.port("dns")).unwrap();
    let ask = |client: &Octets, cookie: &[u8]| client.udp(&query("www.example.", 1, Some(&with_cookie(cookie)))).unwrap();
    let valid = || daemon.metric("dnslb_cookies_total{cookie=\"valid\"}").unwrap();
    let first = cookie_of(&ask(&ours, b"a client"));
    assert_eq!((first.len(), &first[..8], valid()), (24, &b"a client"[..], 0.0));
    assert_eq!(cookie_of(&ask(&ours, &first)), first);
    assert_eq!(valid(), 1.0);
    assert_eq!(verdict(&ask(&ours, &[7; 24])).rcode, NOERROR);
    assert_eq!(daemon.metric("dnslb_cookies_total{cookie=\"invalid\"}"), Some(1.0));

    let file = scratch.write("peer.zone", ZONE);
    let zones = [("example", file.as_path())];
    let knot = format!(
        "mod-cookies:\n  - id: default\n    secret: 0x{SECRET}\n    badcookie-slip: 1\ntemplate:\n  - id: default\n    global-module: mod-cookies/default\n"
    );
    let bind = format!("cookie-algorithm siphash24; cookie-secret \"{SECRET}\"; require-server-cookie yes;");
    for (kind, more) in [(Kind::Knot, knot), (Kind::Bind, bind)] {
        let Some(peer) = Peer::start_with(kind, &scratch, &zones, &more) else { continue };
        let theirs = Octets::to(peer.addr).unwrap();
        let refused = ask(&theirs, b"a client");
        assert_eq!(verdict(&refused).rcode, BADCOOKIE, "{kind:?} is to want a server cookie");
        let before = valid();
        assert_eq!(cookie_of(&ask(&ours, &cookie_of(&refused))), cookie_of(&refused), "{kind:?}: theirs, shown to us");
        assert_eq!(valid(), before + 1.0);
        let answer = ask(&theirs, &cookie_of(&ask(&ours, b"a client")));
        assert_eq!(verdict(&answer).rcode, NOERROR, "{kind:?}: ours, shown to them");
    }
}

#[test]
fn a_flood_is_cut_short_but_not_for_clients_with_cookies_nor_over_tcp() {
    let scratch = Scratch::new("rrl");
    let daemon = serve(&scratch, "", "[rrl]\nresponses_per_second = 5\nwindow = \"1h\"\nslip = 2");
    let mut client = Octets::to(daemon.port("dns")).unwrap();
    let plain = query("www.example.", 1, None);
    // Another kind of answer, whose own rate the few that are needed here do not reach.
    let probe = Question { name: labels("example.", &Vec::new()), rtype: 6 };
    let (mut whole, mut short, mut silent) = (0, 0, 0);
    for _ in 0..200 {
        client
            .udp(&plain)
            .map_or_else(|| silent += 1, |answer| if verdict(&answer).truncated { short += 1 } else { whole += 1 });
        if silent >= 2 && short >= 2 {
            break;
        }
    }
    assert!(silent >= 2 && short >= 2 && whole >= 5, "{whole} whole, {short} short, {silent} unanswered");
    let cookie = loop {
        let Some(answer) = client.udp(&query("www.example.", 1, Some(&with_cookie(b"a client")))) else { continue };
        if verdict(&answer).rcode == BADCOOKIE {
            break cookie_of(&answer);
        }
    };
    for _ in 0..50 {
        let answer =
            client.udp(&query("www.example.", 1, Some(&with_cookie(&cookie)))).expect("an answer to a proven client");
        assert_eq!((verdict(&answer).rcode, verdict(&answer).answers), (NOERROR, 1));
        assert_eq!(verdict(&client.tcp(&plain).expect("an answer over TCP")).answers, 1);
    }
    assert_eq!(verdict(&client.udp(&probe.octets(0x77, None)).expect("another question's answer")).answers, 1);
    let limited = |action: &str| daemon.metric(&format!("dnslb_rate_limited_total{{action=\"{action}\"}}")).unwrap();
    assert!(limited("dropped") >= 2.0 && limited("truncated") >= 2.0 && limited("badcookie") >= 1.0);
    assert_eq!(limited("logged"), 0.0);
}

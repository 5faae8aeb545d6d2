//! Questions to the real binary over UDP and TCP.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};

fn pool(n: u8, k: usize) -> String {
    let mut text = format!("[[pool]]\nname = \"www\"\npublish = [\"www.lb.example.com\"]\nk = {k}\nttl_max = \"5s\"\n");
    for i in 1..=n {
        let _ = writeln!(text, "[[pool.member]]\nname = \"b{i}\"\naddresses = [\"192.0.2.{}\"]", 100 + i);
    }
    text
}

#[test]
fn a_zone_and_a_pool_over_both_transports() {
    let daemon = Daemon::start(&format!("{SERVER}{}", pool(4, 2)));
    let dns = daemon.addr("dns");
    for ask in [udp, tcp] {
        let check = |name: &str, record_type, expect: ResponseCode, count: usize| {
            let answer = ask(dns, &query(name, record_type)).unwrap();
            assert_eq!((rcode(&answer), answer.answers.len()), (expect, count), "{name} {record_type}: {answer}");
            assert_eq!(answer.metadata.authoritative, expect != ResponseCode::Refused, "{name}");
            answer
        };
        check("fixed.lb.example.com.", RecordType::A, ResponseCode::NoError, 1);
        check("FIXED.lb.EXAMPLE.com.", RecordType::A, ResponseCode::NoError, 1);
        check("nothing.lb.example.com.", RecordType::A, ResponseCode::NXDomain, 0);
        check("www.lb.example.com.", RecordType::AAAA, ResponseCode::NoError, 0);
        check("web.lb.example.com.", RecordType::A, ResponseCode::NoError, 3);
        check("example.org.", RecordType::A, ResponseCode::Refused, 0);
        let mut subsets = BTreeSet::new();
        for _ in 0..60 {
            let answer = check("www.lb.example.com.", RecordType::A, ResponseCode::NoError, 2);
            assert!(answer.answers.iter().all(|record| record.ttl == 5), "{answer}");
            subsets.insert(addresses(&answer).into_iter().collect::<BTreeSet<_>>());
        }
        assert!(subsets.len() > 1 && subsets.iter().all(|subset| subset.len() == 2), "{subsets:?}");
        assert_eq!(subsets.into_iter().flatten().collect::<BTreeSet<_>>().len(), 4);
    }
    let named: f64 =
        (1..=4).map(|i| daemon.metric(&format!("dnslb_pool_named_total{{pool=\"www\",member=\"b{i}\"}}"))).sum();
    assert_eq!(named, 2.0 * 122.0, "60 questions and one through the alias over each transport");
    for transport in ["udp", "tcp"] {
        assert_eq!(daemon.metric(&format!("dnslb_answers_total{{transport=\"{transport}\",rcode=\"NXDOMAIN\"}}")), 1.0);
    }
    let shares = ["target", "served"].map(|kind| {
        (1..=4).map(|i| daemon.metric(&format!("dnslb_pool_share_{kind}{{pool=\"www\",member=\"b{i}\"}}"))).sum::<f64>()
    });
    assert!(shares.iter().all(|sum| (sum - 1.0).abs() < 1e-9), "{shares:?}");
    assert!(daemon.stop().0.success());
}

#[test]
fn on_wildcard_sockets_the_answer_leaves_from_the_address_asked() {
    let config = SERVER.replace("listen = [\"127.0.0.1:0\"]", "listen = [\"0.0.0.0:0\", \"[::]:0\"]");
    let daemon = Daemon::start(&config);
    for (listener, asked) in [("dns", "127.0.0.1"), ("dns", "127.0.0.2"), ("dns_2", "::1")] {
        let server = SocketAddr::new(asked.parse().unwrap(), daemon.addr(listener).port());
        for ask in [udp, tcp] {
            let answer = ask(server, &query("fixed.lb.example.com.", RecordType::A)).unwrap();
            assert_eq!(addresses(&answer), ["192.0.2.1".parse::<IpAddr>().unwrap()], "{server}");
        }
    }
}

#[test]
fn questions_in_one_stream_are_all_answered() {
    let daemon = Daemon::start(&format!("{SERVER}{}", pool(12, 3)));
    let mut stream = tcp_client(daemon.addr("dns"));
    let queries: Vec<_> = (0..200).map(|_| query("www.lb.example.com.", RecordType::A)).collect();
    let octets: Vec<u8> = queries.iter().flat_map(framed).collect();
    // Pieces of an odd length: frames and their lengths are cut anywhere.
    for piece in octets.chunks(37) {
        stream.write_all(piece).unwrap();
    }
    let mut ids: BTreeSet<u16> = queries.iter().map(|query| query.metadata.id).collect();
    while !ids.is_empty() {
        let answer = read_framed(&mut stream).unwrap();
        assert!(ids.remove(&answer.metadata.id), "answered twice");
        assert_eq!(addresses(&answer).len(), 3);
    }
}

#[test]
fn a_large_answer_is_truncated_over_udp_and_whole_over_tcp() {
    let scratch = Scratch::new();
    let mut zone = ZONE.to_owned();
    for i in 0..2_200 {
        let _ = writeln!(zone, "many A 10.0.{}.{}", i / 250, i % 250);
    }
    scratch.write("lb.zone", &zone);
    let daemon = Daemon::start_in(scratch, SERVER);
    let question = query("many.lb.example.com.", RecordType::A);
    let short = udp(daemon.addr("dns"), &question).unwrap();
    assert!(short.metadata.truncation && short.answers.is_empty(), "{short}");
    let whole = tcp(daemon.addr("dns"), &question).unwrap();
    assert_eq!(addresses(&whole).into_iter().collect::<BTreeSet<_>>().len(), 2_200);
    assert_eq!(daemon.metric("dnslb_truncated_total{transport=\"udp\"}"), 1.0);
}

#[test]
fn a_client_has_its_share_of_connections() {
    let config = SERVER.replace("workers = 2", "workers = 1\ntcp_connections_per_client_max = 3");
    let daemon = Daemon::start(&config);
    let dns = daemon.addr("dns");
    let question = query("fixed.lb.example.com.", RecordType::A);
    let mut taken: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = tcp_client(dns);
            stream.write_all(&framed(&question)).unwrap();
            read_framed(&mut stream).unwrap();
            stream
        })
        .collect();
    let mut refused = tcp_client(dns);
    assert_eq!(refused.read(&mut [0; 1]).unwrap_or(0), 0, "the fourth is closed unread");
    taken[0].write_all(&framed(&question)).unwrap();
    read_framed(&mut taken[0]).expect("the first still works");
    assert_eq!(daemon.metric("dnslb_tcp_refused_total"), 1.0);
    drop(taken);
    until("room for another", || tcp(dns, &question).ok());
}

#[test]
fn too_many_connections_close_the_longest_idle() {
    let config = SERVER.replace("workers = 2", "workers = 1\ntcp_connections_max = 2");
    let daemon = Daemon::start(&config);
    let question = query("fixed.lb.example.com.", RecordType::A);
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = tcp_client(daemon.addr("dns"));
        stream.write_all(&framed(&question)).unwrap();
        read_framed(&mut stream).unwrap();
        streams.push(stream);
    }
    assert_eq!(streams[0].read(&mut [0; 1]).unwrap_or(0), 0, "the first made room");
    for stream in &mut streams[1..] {
        stream.write_all(&framed(&question)).unwrap();
        read_framed(stream).unwrap();
    }
    assert_eq!(daemon.metric("dnslb_tcp_evicted_total"), 1.0);
}

#[test]
fn connections_without_whole_questions_end() {
    let config = SERVER.replace("workers = 2", "workers = 1\ntcp_idle_timeout = \"100ms\"");
    let daemon = Daemon::start(&config);
    for sent in [&b""[..], b"\x00", b"\x00\x20abc", b"\xff\xff", b"\x00\x00", b"\x00\x03abc"] {
        let mut stream = tcp_client(daemon.addr("dns"));
        stream.write_all(sent).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "{sent:?}");
    }
    assert_eq!(daemon.metric("dnslb_tcp_connections"), 0.0);
}

#[test]
fn what_is_no_question_gets_no_answer_and_stops_nothing() {
    let daemon = Daemon::start(SERVER);
    let client = udp_client(daemon.addr("dns"));
    let mut response = query("fixed.lb.example.com.", RecordType::A).to_vec().unwrap();
    response[2] |= 0x80;
    let long = [7; 5_000];
    for junk in [&b""[..], b"x", &[0; 11], &response, &long] {
        client.send(junk).unwrap();
    }
    // FORMERR, but an answer: it came from somebody who speaks DNS, more or less.
    let mut broken = query("fixed.lb.example.com.", RecordType::A).to_vec().unwrap();
    broken.truncate(20);
    client.send(&broken).unwrap();
    let question = query("fixed.lb.example.com.", RecordType::A);
    client.send(&question.to_vec().unwrap()).unwrap();
    let mut buffer = [0; 512];
    let len = client.recv(&mut buffer).unwrap();
    assert_eq!((buffer[3] & 0x0f, len), (1, 12));
    let len = client.recv(&mut buffer).unwrap();
    assert_eq!(buffer[..2], question.metadata.id.to_be_bytes());
    assert!(len > 12);
    assert_eq!(daemon.metric("dnslb_dropped_total{reason=\"not_a_query\"}"), 4.0);
    assert_eq!(daemon.metric("dnslb_dropped_total{reason=\"too_long\"}"), 1.0);
}

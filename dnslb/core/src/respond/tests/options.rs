//! EDNS options in replies, questions of class CH, cookies without a question, and what a rate limit sends instead.

use std::sync::Arc;

use farm_shared::prefix::Prefix;
use farm_shared::time::{Now, Wall};

use super::{CLIENT, NOW, example, query};
use crate::cookie::{Proof, Secrets};
use crate::respond::{Reply, Transport, respond, respond_limited};
use crate::rrl::{Kind, Policy, Response};
use crate::service::Service;
use crate::site::{ClientMap, Ranges};
use crate::snapshot::Snapshot;
use crate::wire::{ede, rcode};

fn telling() -> Snapshot {
    let service = Service {
        nsid: Some(b"ns1"[..].into()),
        identity: Some(Service::text("ns1.example")),
        cookies: Some(Secrets::one([7; 16])),
        keepalive_100ms: 100,
        ..Service::default()
    };
    Snapshot { service: Arc::new(service), ..example() }
}

/// A query whose OPT record holds these options.
fn with_options(question: &str, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut message = query(question, Some(1_232));
    let mut data = Vec::new();
    for (code, octets) in options {
        data.extend_from_slice(&code.to_be_bytes());
        data.extend_from_slice(&(octets.len() as u16).to_be_bytes());
        data.extend_from_slice(octets);
    }
    let len = message.len();
    message[len - 2..].copy_from_slice(&(data.len() as u16).to_be_bytes());
    message.extend_from_slice(&data);
    message
}

fn ask<'s>(snapshot: &'s Snapshot, transport: Transport, query: &[u8]) -> (Reply<'s>, Vec<u8>) {
    let mut out = vec![0xaa; 65_535];
    let reply = respond(snapshot, transport, CLIENT, query, NOW, 0, &mut out).unwrap();
    out.truncate(reply.len);
    (reply, out)
}

/// The options of a reply whose OPT record is its last, as code and data.
fn options(message: &[u8]) -> Vec<(u16, Vec<u8>)> {
    // No other octets of these replies look like the fixed part of our OPT record.
    let opt = message.windows(5).rposition(|head| head == [0, 0, 41, 4, 0xd0]).expect("an OPT record");
    let mut rest = &message[opt + 11..];
    let len = u16::from_be_bytes([message[opt + 9], message[opt + 10]]);
    assert_eq!(rest.len(), usize::from(len), "options fill the rest of the message");
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (code, len) = (u16::from_be_bytes([rest[0], rest[1]]), usize::from(u16::from_be_bytes([rest[2], rest[3]])));
        found.push((code, rest[4..4 + len].to_vec()));
        rest = &rest[4 + len..];
    }
    found
}

#[test]
fn options_are_answered_where_they_belong() {
    let zone = telling();
    let all: [(u16, &[u8]); 5] = [(3, b""), (8, &[0, 1, 24, 0, 192, 0, 2]), (11, b""), (12, &[0; 9]), (99, b"x")];
    let message = with_options("www.example A", &all);
    let codes = |transport| options(&ask(&zone, transport, &message).1).iter().map(|(code, _)| *code).collect::<Vec<_>>();
    assert_eq!(codes(Transport::Udp), [3]);
    assert_eq!(codes(Transport::Tcp), [3, 11]);
    assert_eq!(codes(Transport::Tls), [3, 11, 12]);
    assert_eq!(codes(Transport::Https), [3, 12]);
    assert_eq!(codes(Transport::Quic), [3, 12]);
    let (_, reply) = ask(&zone, Transport::Tls, &message);
    assert_eq!(reply.len() % 468, 0);
    assert_eq!(options(&reply)[..2], [(3, b"ns1".to_vec()), (11, vec![0, 100])]);
    // Nobody asked.
    assert_eq!(options(&ask(&zone, Transport::Tls, &with_options("www.example A", &[])).1), []);
    assert_eq!(options(&ask(&example(), Transport::Tcp, &with_options("www.example A", &[(3, b"")])).1), []);
}

#[test]
fn client_subnets_are_repeated_when_they_are_looked_at() {
    let zone = telling();
    let service = Service { client_subnet: true, ..(*zone.service).clone() };
    let all: Vec<Prefix> = ["0.0.0.0/0", "::/0"].iter().map(|prefix| prefix.parse().unwrap()).collect();
    let (v4, v6) = (Ranges::whole(32), Ranges::whole(128));
    let clients = ClientMap::new((&v4, &v6), (&v4, &v6), Some(&all));
    let zone = Snapshot { service: Arc::new(service), clients: Arc::new(clients), ..zone };
    let subnet = [0, 1, 24, 0, 192, 0, 2];
    let (reply, message) = ask(&zone, Transport::Udp, &with_options("www.example A", &[(8, &subnet)]));
    assert_eq!((reply.rcode, options(&message)), (rcode::NOERROR, vec![(8, subnet.to_vec())]));
    let (reply, message) = ask(&zone, Transport::Udp, &with_options("www.example A", &[(8, &[0, 1, 24, 0, 192, 0])]));
    assert_eq!((reply.rcode, options(&message)), (rcode::FORMERR, vec![]));
}

#[test]
fn a_cookie_is_given_and_proves() {
    let zone = telling();
    let (reply, message) = ask(&zone, Transport::Udp, &with_options("www.example A", &[(10, b"a client")]));
    assert_eq!((reply.rcode, reply.proof), (rcode::NOERROR, Proof::Asks));
    let [(10, cookie)] = &options(&message)[..] else { panic!("one cookie") };
    assert_eq!((cookie.len(), &cookie[..8]), (24, &b"a client"[..]));
    let (reply, message) = ask(&zone, Transport::Udp, &with_options("www.example A", &[(10, cookie)]));
    assert_eq!((reply.proof, options(&message)), (Proof::Valid, vec![(10, cookie.clone())]));
    let (reply, _) = ask(&zone, Transport::Udp, &with_options("www.example A", &[(10, &[1; 24])]));
    assert_eq!((reply.rcode, reply.proof), (rcode::NOERROR, Proof::Invalid), "an answer never depends on a cookie");
    let (reply, _) = ask(&zone, Transport::Udp, &with_options("www.example A", &[(10, &[1; 9])]));
    assert_eq!(reply.rcode, rcode::FORMERR);
    let zone = example();
    let (reply, _) = ask(&zone, Transport::Udp, &with_options("www.example A", &[(10, &[1; 24])]));
    assert_eq!(reply.proof, Proof::None, "without secrets the option is an unknown one");
}

#[test]
fn a_cookie_without_a_question() {
    let zone = telling();
    let bare = |options: &[(u16, &[u8])]| {
        let mut message = with_options(". A", options);
        message[5] = 0;
        message.drain(12..17);
        message
    };
    let check = |cookie: &[u8], expect: u16| {
        let (reply, message) = ask(&zone, Transport::Udp, &bare(&[(10, cookie)]));
        assert_eq!((reply.rcode, &message[4..12]), (expect, &[0, 0, 0, 0, 0, 0, 0, 1][..]));
        options(&message)[0].1.clone()
    };
    let cookie = check(b"a client", rcode::NOERROR);
    check(&cookie, rcode::NOERROR);
    check(&[1; 24], rcode::BADCOOKIE);
    let (reply, _) = ask(&zone, Transport::Udp, &bare(&[(3, b"")]));
    assert_eq!(reply.rcode, rcode::FORMERR);
}

#[test]
fn options_of_another_version_are_not_read() {
    let mut message = with_options("www.example A", &[(10, b"odd"), (3, b"")]);
    let version = query("www.example A", Some(1_232)).len() - 5;
    assert_eq!(message[version - 3..=version], [4, 0xd0, 0, 0]);
    message[version] = 1;
    let zone = telling();
    let (reply, message) = ask(&zone, Transport::Udp, &message);
    assert_eq!((reply.rcode, options_len(&message)), (rcode::BADVERS, 0));
}

fn options_len(message: &[u8]) -> usize {
    usize::from(u16::from_be_bytes(*message.last_chunk().unwrap()))
}

#[test]
fn room_for_options_is_kept_and_an_extended_error_takes_what_is_left() {
    let zone = telling();
    // 1,232 octets hold 72 records beside 39 octets of OPT: 12 + 18 + 16 * 72 + 39 = 1,221.
    let many = (0..73).fold(String::from(super::EXAMPLE), |text, i| format!("{text}many A 10.0.0.{i}\n"));
    let many = super::snapshot(&[("example", &many)], &[], Vec::new());
    let many = Snapshot { service: Arc::clone(&zone.service), ..many };
    let cookie: [(u16, &[u8]); 1] = [(10, b"a client")];
    let (reply, message) = ask(&many, Transport::Udp, &with_options("many.example A", &cookie));
    assert!(reply.truncated && options(&message)[0].1.len() == 24);
    let (reply, message) = ask(&many, Transport::Udp, &with_options("many.example A", &[]));
    assert!(!reply.truncated && message.len() == 12 + 18 + 73 * 16 + 11);

    let (reply, message) = ask(&zone, Transport::Udp, &with_options("else.test A", &[]));
    assert_eq!((reply.rcode, options(&message)), (rcode::REFUSED, vec![(15, vec![0, ede::NOT_AUTHORITATIVE as u8])]));
    let (_, message) = ask(&zone, Transport::Udp, &with_options("empty.example A", &[]));
    assert_eq!(options(&message), [(15, vec![0, ede::NOT_READY as u8])]);
    let (_, message) = ask(&zone, Transport::Udp, &with_options("www.example AXFR", &[]));
    assert_eq!(options(&message), [(15, vec![0, ede::PROHIBITED as u8])]);
}

#[test]
fn who_we_are_is_told_only_if_it_shall_be() {
    let zone = telling();
    let check = |name: &str, rtype: &str, expect: Option<&[u8]>| {
        let mut message = query(&format!("{name} {rtype}"), None);
        let class = message.len() - 1;
        message[class] = 3;
        let (reply, octets) = ask(&zone, Transport::Udp, &message);
        match expect {
            None => assert_eq!((reply.rcode, octets.len()), (rcode::REFUSED, message.len()), "{name} {rtype}"),
            Some(text) => {
                assert_eq!((reply.rcode, octets[2] & 4, octets[7]), (rcode::NOERROR, 4, 1), "{name} {rtype}");
                let head = [0xc0, 12, 0, 16, 0, 3, 0, 0, 0, 0, 0, text.len() as u8 + 1, text.len() as u8];
                assert_eq!(octets[message.len()..], [&head[..], text].concat());
            }
        }
    };
    check("ID.server", "TXT", Some(b"ns1.example"));
    check("hostname.bind", "ANY", Some(b"ns1.example"));
    check("hostname.bind", "A", None);
    check("version.bind", "TXT", None);
    check("version.server", "TXT", None);
    check("www.example", "TXT", None);
}

#[test]
fn responses_are_counted_by_what_a_flood_can_vary() {
    let service = Service { rrl: Some(Policy::new([9; 16])), ..Service::default() };
    let zone = Snapshot { service: Arc::new(service), ..example() };
    let of = |question: &str| ask(&zone, Transport::Udp, &query(question, None)).0.response;
    let kind = |question: &str, expect: Kind| assert_eq!(of(question).kind, expect, "{question}");
    kind("www.example A", Kind::Answer);
    kind("alias.example A", Kind::Answer);
    kind("pool.example A", Kind::Answer);
    kind("www.example MX", Kind::NoData);
    kind("nope.example A", Kind::NxDomain);
    kind("dangling.example A", Kind::NxDomain);
    kind("x.sub.example A", Kind::Referral);
    kind("else.test A", Kind::Error);
    assert_eq!(of("www.example A"), of("WWW.example A"));
    assert_ne!(of("www.example A"), of("www.example TXT"));
    assert_ne!(of("www.example A"), of("mail.example A"));
    assert_eq!(of("a.wild.example A"), of("b.wild.example A"), "names of one wildcard are one subject");
    assert_eq!(of("a.old.example CNAME"), of("x.old.example CNAME"), "so are those of a DNAME record");
    assert_eq!(of("nope.example A"), of("nada.example AAAA"));
    assert_eq!(of("else.test A"), of("other.test MX"));
    assert_eq!(ask(&zone, Transport::Tcp, &query("nope.example A", None)).0.response, Response::default());
}

#[test]
fn what_a_rate_limit_sends_is_short() {
    let zone = telling();
    let limited = |message: &[u8]| {
        let mut out = vec![0; 1_232];
        let later = Now { wall: Wall(9), ..NOW };
        let reply = respond_limited(&zone, CLIENT, message, later, &mut out).unwrap();
        out.truncate(reply.len);
        (reply, out)
    };
    let plain = query("www.example A", None);
    let (reply, message) = limited(&plain);
    assert_eq!((reply.rcode, reply.truncated, message.len()), (rcode::NOERROR, true, plain.len()));
    assert_eq!(message[2..12], [0x83, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let (reply, message) = limited(&with_options("www.example A", &[(10, b"a client")]));
    assert_eq!((reply.rcode, reply.truncated, options(&message)[0].1.len()), (rcode::BADCOOKIE, false, 24));
}

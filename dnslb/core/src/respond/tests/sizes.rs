//! Answers at the limits of their transport: whole RRsets, TC, and OPT kept.

use std::fmt::Write as _;

use farm_shared::time::Mono;
use hickory_proto::op::Message;

use super::{answer, dump, query, snapshot};
use crate::overlay::OverlayTarget;
use crate::respond::Transport;
use crate::snapshot::{AnswerSets, FamilyAnswers, PoolAnswers, Snapshot};

const HEAD: &str = "$ORIGIN example.\n$TTL 60\n@ SOA ns.else. admin 1 1 1 1 1\n@ NS ns.else.\n";

fn zone(records: &str) -> Snapshot {
    snapshot(&[("example", &format!("{HEAD}{records}"))], &[], Vec::new())
}

/// `count` A records at `many`.
fn many(count: u32) -> String {
    (0..count).fold(String::new(), |mut text, i| {
        let _ = writeln!(text, "many A 10.{}.{}.{}", i >> 16, i >> 8 & 255, i & 255);
        text
    })
}

#[test]
fn two_thousand_two_hundred_addresses_fit_a_stream() {
    let zone = zone(&many(2_200));
    let (reply, message) = answer(&zone, Transport::Tcp, &query("many.example A", Some(1_232)));
    assert!(!reply.truncated);
    assert_eq!(Message::from_vec(&message).unwrap().answers.len(), 2_200);
    let (reply, message) = answer(&zone, Transport::Udp, &query("many.example A", Some(65_535)));
    assert!(reply.truncated && message.len() < 60);
    assert_eq!(dump(&message), "NOERROR aa tc");
    assert!(Message::from_vec(&message).unwrap().edns.is_some());
}

#[test]
fn the_limit_is_met_to_the_octet() {
    // 12 + 18 + 16n without EDNS, 11 more with.
    let check = |count: u32, edns: Option<u16>, expect: bool| {
        let zone = zone(&many(count));
        let (reply, message) = answer(&zone, Transport::Udp, &query("many.example A", edns));
        assert_eq!(reply.truncated, expect, "{count} {edns:?}");
        assert!(message.len() <= usize::from(edns.unwrap_or(512).clamp(512, 1_232)));
    };
    check(30, None, false);
    check(31, None, true);
    check(29, Some(512), false);
    check(30, Some(100), true);
    check(74, Some(1_232), false);
    check(75, Some(1_232), true);
    check(75, Some(4_096), true);
}

#[test]
fn an_alias_is_kept_when_its_target_does_not_fit() {
    let zone = zone(&format!("{}alias CNAME many\n", many(100)));
    let (_, message) = answer(&zone, Transport::Udp, &query("alias.example A", Some(1_232)));
    assert_eq!(dump(&message), "NOERROR aa tc | AN alias.example. 60 CNAME many.example.");
}

#[test]
fn only_glue_that_is_needed_sets_tc() {
    let servers = |inside: bool| {
        (0..12).fold(String::new(), |mut text, i| {
            let server = format!("a-rather-long-name-server-name-{i}{}", if inside { ".sub" } else { "" });
            let _ = writeln!(text, "sub NS {server}\n{server} A 192.0.2.{i}");
            text
        })
    };
    let check = |inside: bool, edns: u16, truncated: bool, all_glue: bool| {
        let zone = zone(&servers(inside));
        let (reply, message) = answer(&zone, Transport::Udp, &query("x.sub.example A", Some(edns)));
        let message = Message::from_vec(&message).unwrap();
        assert_eq!((reply.truncated, message.authorities.len()), (truncated, 12), "{inside} {edns}");
        assert_eq!(message.additionals.len() == 12, all_glue, "{inside} {edns}");
    };
    check(true, 1_232, false, true);
    check(false, 1_232, false, true);
    // 31 octets, 12 servers in 566, as many addresses in 192, and OPT: 800.
    check(true, 800, false, true);
    check(true, 799, true, false);
    check(false, 799, false, false);
}

#[test]
fn additional_addresses_far_behind_still_have_their_owner() {
    // Beyond offset 16383 no pointer reaches the name, so it is written out.
    let records = (0..500).fold(String::new(), |mut text, i| {
        let _ =
            writeln!(text, "@ MX {i} a-rather-long-mail-server-name-{i}\na-rather-long-mail-server-name-{i} A 192.0.2.1");
        text
    });
    let zone = zone(&records);
    let (reply, message) = answer(&zone, Transport::Tcp, &query("example MX", None));
    let message = Message::from_vec(&message).unwrap();
    assert_eq!((reply.truncated, message.answers.len(), message.additionals.len()), (false, 500, 500));
    assert_eq!(message.additionals[499].name.to_string(), "a-rather-long-mail-server-name-499.example.");
}

#[test]
fn a_truncated_pool_answer_names_nobody() {
    let members: Vec<_> = (0..200).map(super::member).collect();
    let pool = PoolAnswers {
        sets: AnswerSets { v4: FamilyAnswers::v4([(&members[..], Mono::NEVER)]), ..AnswerSets::default() },
        ttl_s_min: 1,
        ttl_s_max: 9,
        ..PoolAnswers::default()
    };
    let zone = snapshot(&[("example", HEAD)], &[("pool.example", OverlayTarget::Pool(0))], vec![pool]);
    let (reply, message) = answer(&zone, Transport::Udp, &query("pool.example A", Some(1_232)));
    assert_eq!((reply.truncated, reply.pool, reply.named), (true, Some(0), &[][..]));
    assert_eq!(dump(&message), "NOERROR aa tc");
    let (reply, message) = answer(&zone, Transport::Tcp, &query("pool.example A", None));
    assert_eq!((reply.truncated, reply.named.len()), (false, 200));
    assert_eq!(Message::from_vec(&message).unwrap().answers.len(), 200);
}

#[test]
fn chains_end_at_their_cap() {
    let records = (0..20).fold(String::new(), |mut text, i| {
        let _ = writeln!(text, "c{i} CNAME c{}", i + 1);
        text
    });
    let (_, message) = answer(&zone(&records), Transport::Tcp, &query("c0.example A", None));
    assert_eq!(Message::from_vec(&message).unwrap().answers.len(), 8);
}

#[test]
fn a_referral_to_thirteen_servers_fits_a_plain_datagram() {
    let servers = ('a'..='m').fold(String::new(), |mut text, letter| {
        let _ = writeln!(text, "com. NS {letter}.gtld-servers.net.\n{letter}.gtld-servers.net. A 192.0.2.1");
        text
    });
    let root = format!("$TTL 60\n. SOA a.root. admin.root. 1 1 1 1 1\n. NS a.root.\n{servers}");
    let zone = snapshot(&[(".", &root)], &[], Vec::new());
    let (reply, message) = answer(&zone, Transport::Udp, &query("www.example.com A", None));
    assert!(!reply.truncated && message.len() <= 512);
    let message = Message::from_vec(&message).unwrap();
    assert_eq!(message.authorities.len(), 13);
    assert!(message.additionals.len() >= 10, "{}", message.additionals.len());
    for (server, letter) in message.authorities.iter().zip('a'..) {
        assert_eq!(server.data.to_string(), format!("{letter}.gtld-servers.net."));
    }
    for (address, letter) in message.additionals.iter().zip('a'..) {
        assert_eq!(address.name.to_string(), format!("{letter}.gtld-servers.net."));
    }
}

#[test]
fn names_in_data_are_pointers_into_the_question_whatever_its_case_and_wildcards() {
    let zone = zone("*.w MX 5 mail\nmail A 192.0.2.1\n");
    let (_, message) = answer(&zone, Transport::Udp, &query("Some.Label.W.ExAmple MX", None));
    // 12 + 26, then MX: 12 + 2 + 5 and a pointer, then the address.
    assert_eq!(message.len(), 12 + 26 + 12 + 2 + 5 + 2 + 16);
    assert!(dump(&message).contains("5 mail.ExAmple. | AD mail.ExAmple. 60 A 192.0.2.1"), "{}", dump(&message));
    let (_, message) = answer(&zone, Transport::Udp, &query("a.mail.example A", None));
    assert_eq!(dump(&message), "NXDOMAIN aa | AU example. 1 SOA ns.else. admin.example. 1 1 1 1 1");
}

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
    check(true, 800, true, false);
    check(false, 800, false, false);
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

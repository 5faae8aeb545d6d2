//! Headers, EDNS, and messages that are no proper query.

use hickory_proto::op::Message;

use std::sync::Arc;

use super::{CLIENT, NOW, answer, check, example, name, query};
use crate::respond::{Transport, respond};
use crate::wire::rcode;
use crate::zone::Hosted;

fn rcode_of(message: &[u8]) -> u16 {
    answer(&example(), Transport::Udp, message).0.rcode
}

#[test]
fn what_is_never_answered() {
    let zone = example();
    let mut out = [0; 1_232];
    let mut ask = |message: &[u8]| respond(&zone, Transport::Udp, CLIENT, message, NOW, 0, &mut out).map(|reply| reply.len);
    let whole = query("www.example A", None);
    for len in 0..12 {
        assert_eq!(ask(&whole[..len]), None);
    }
    let mut response = whole.clone();
    response[2] |= 0x80;
    assert_eq!(ask(&response), None);
    assert!(ask(&whole).is_some());
}

#[test]
fn a_buffer_that_is_too_small_is_no_panic() {
    let zone = example();
    let whole = query("www.example A", Some(1_232));
    for len in 0..100 {
        let mut out = vec![0; len];
        if let Some(reply) = respond(&zone, Transport::Tcp, CLIENT, &whole, NOW, 0, &mut out) {
            assert!(reply.len <= len);
        }
    }
}

#[test]
fn header_bits() {
    let zone = example();
    let mut message = query("wWw.ExAmple A", None);
    message[3] |= 0x30; // AD and CD are not ours to repeat
    let (_, reply) = answer(&zone, Transport::Udp, &message);
    assert_eq!(reply[..4], [0x12, 0x34, 0x85, 0]);
    assert_eq!(reply[12..message.len()], message[12..]);
    message[2] &= !1;
    let (_, reply) = answer(&zone, Transport::Udp, &message);
    assert_eq!(reply[2], 0x84);
}

#[test]
fn malformed_queries() {
    let whole = query("www.example A", Some(1_232));
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut message = whole.clone();
        change(&mut message);
        rcode_of(&message)
    };
    assert_eq!(changed(&|_| {}), rcode::NOERROR);
    assert_eq!(changed(&|m| m[5] = 0), rcode::FORMERR);
    assert_eq!(changed(&|m| m[5] = 2), rcode::FORMERR);
    assert_eq!(changed(&|m| m[12] = 0xc0), rcode::FORMERR, "a compressed question");
    assert_eq!(changed(&|m| m[12] = 64), rcode::FORMERR, "an unknown label type");
    assert_eq!(changed(&|m| m.truncate(20)), rcode::FORMERR);
    assert_eq!(changed(&|m| m.push(0)), rcode::FORMERR, "octets behind the end");
    assert_eq!(changed(&|m| m[11] = 2), rcode::FORMERR, "a record announced and missing");
    assert_eq!(changed(&|m| *m.last_mut().unwrap() = 1), rcode::FORMERR, "an OPT that is too long");
    let two_opts = |m: &mut Vec<u8>| {
        m[11] = 2;
        let opt = m[m.len() - 11..].to_vec();
        m.extend_from_slice(&opt);
    };
    assert_eq!(changed(&two_opts), rcode::FORMERR);
    let option = |len: u8| {
        move |m: &mut Vec<u8>| {
            *m.last_mut().unwrap() = 6;
            m.extend_from_slice(&[0, 99, 0, len, 1, 2]);
        }
    };
    assert_eq!(changed(&option(2)), rcode::NOERROR, "an unknown option");
    assert_eq!(changed(&option(1)), rcode::FORMERR);
    assert_eq!(changed(&option(3)), rcode::FORMERR);
    assert_eq!(changed(&|m| m[2] = 0x28), rcode::NOTIMP, "UPDATE");
    assert_eq!(changed(&|m| m[28] = 3), rcode::REFUSED, "class CH");
}

#[test]
fn a_broken_question_is_not_echoed() {
    let zone = example();
    let mut message = query("www.example A", None);
    message[12] = 0xc0;
    let (reply, octets) = answer(&zone, Transport::Udp, &message);
    assert_eq!((reply.len, reply.rcode), (12, rcode::FORMERR));
    assert_eq!(octets, [0x12, 0x34, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn edns() {
    let zone = example();
    let ask = |message: &[u8]| Message::from_vec(&answer(&zone, Transport::Udp, message).1).unwrap();
    assert!(ask(&query("www.example A", None)).edns.is_none());
    let mut message = query("www.example A", Some(4_096));
    let reply = ask(&message).edns.unwrap();
    assert_eq!((reply.max_payload(), reply.version(), reply.flags().dnssec_ok), (1_232, 0, false));
    let at = message.len() - 11;
    message[at + 7] = 0x80;
    assert!(ask(&message).edns.unwrap().flags().dnssec_ok);
    message[at + 6] = 1;
    let reply = ask(&message);
    assert_eq!((reply.answers.len(), reply.edns.unwrap().version()), (0, 0));
    assert_eq!(rcode_of(&message), rcode::BADVERS);
}

#[test]
fn records_before_the_opt_are_passed_over() {
    let mut message = query("www.example IXFR", Some(1_232));
    let opt = message.split_off(message.len() - 11);
    message[9] = 1;
    message.extend_from_slice(&[0xc0, 0x0c, 0, 6, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0]);
    message.extend_from_slice(&opt);
    assert_eq!(rcode_of(&message), rcode::REFUSED);
    let (_, reply) = answer(&example(), Transport::Udp, &message);
    assert!(Message::from_vec(&reply).unwrap().edns.is_some());
}

#[test]
fn an_expired_zone_answers_nothing() {
    let mut zone = example();
    let hosted = zone.zones.hosted_at(&name("example")).unwrap().clone();
    zone.zones = Arc::new(zone.zones.with(Hosted { expired: true, ..hosted }));
    check(&zone, "www.example A", "SERVFAIL");
    check(&zone, "back.lb.else.test A", "NOERROR aa | AN back.lb.else.test. 60 CNAME alias2.example.");
}

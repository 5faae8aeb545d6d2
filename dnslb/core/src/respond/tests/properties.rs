//! What holds for every message, however broken.

use std::sync::LazyLock;

use hickory_proto::op::Message;
use proptest::prelude::*;

use super::{CLIENT, NOW, example, query};
use crate::respond::{Transport, respond};
use crate::snapshot::Snapshot;

static EXAMPLE: LazyLock<Snapshot> = LazyLock::new(example);

const QUESTIONS: &[&str] = &[
    "www.example A",
    "nope.example A",
    "alias2.example A",
    "a.wild.example MX",
    "x.sub.example A",
    "example NS",
    "pool.example A",
    "x.old.example A",
    "loop1.example A",
    "example ANY",
    "lb.else.test AAAA",
    "a.chain.example A",
    "back.lb.else.test A",
];

/// Asks, and checks what every reply must be.
fn holds(message: &[u8], transport: Transport, draw: u64, room: usize) {
    let mut out = vec![0; room];
    let Some(reply) = respond(&EXAMPLE, transport, CLIENT, message, NOW, draw, &mut out) else { return };
    assert!(reply.len <= room);
    let answer = &out[..reply.len];
    if transport == Transport::Udp {
        assert!(reply.len <= 1_232);
    }
    let read = Message::from_vec(answer).expect("a reply that parses");
    assert_eq!(answer[..2], message[..2]);
    assert_eq!(answer[2] & 0xf8, 0x80 | message[2] & 0x78);
    assert_eq!(read.metadata.truncation, reply.truncated);
    if read.queries.len() == 1 {
        let end = 12 + answer[12..].iter().position(|&octet| octet == 0).unwrap() + 5;
        // The name ends at the first zero length octet only if no label holds a zero; compare what both have.
        assert_eq!(answer[12..end.min(message.len())], message[12..end.min(message.len())]);
    }
    // An RRset is there as a whole or not at all.
    let www = read.answers.iter().filter(|record| {
        record.record_type().to_string() == "A" && record.name.to_string().eq_ignore_ascii_case("www.example.")
    });
    assert!(matches!(www.count(), 0 | 2));
}

proptest! {
    #[test]
    fn random_octets(message in proptest::collection::vec(any::<u8>(), 0..600), tcp: bool, draw: u64) {
        holds(&message, if tcp { Transport::Tcp } else { Transport::Udp }, draw, 65_535);
    }

    #[test]
    fn mutated_queries(
        which in 0..QUESTIONS.len(),
        edns in proptest::option::of(any::<u16>()),
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        cut in proptest::option::of(0_usize..80),
        tcp: bool,
        draw: u64,
    ) {
        let mut message = query(QUESTIONS[which], edns);
        for (at, octet) in changes {
            let at = at % message.len();
            message[at] = octet;
        }
        if let Some(cut) = cut {
            message.truncate(cut);
        }
        holds(&message, if tcp { Transport::Tcp } else { Transport::Udp }, draw, 65_535);
    }

    #[test]
    fn small_buffers(which in 0..QUESTIONS.len(), room in 0_usize..400, edns in proptest::option::of(any::<u16>()), draw: u64) {
        holds(&query(QUESTIONS[which], edns), Transport::Tcp, draw, room);
    }

    #[test]
    fn random_names(labels in proptest::collection::vec("[a-c*.]{0,3}|www|wild|sub|old|pool|example", 0..8), rtype in 0_u16..260) {
        let text: Vec<&str> = labels.iter().map(String::as_str).filter(|label| !label.is_empty()).collect();
        holds(&query(&format!("{}.example TYPE{rtype}", text.join(".")), Some(1_232)), Transport::Udp, 0, 65_535);
    }
}

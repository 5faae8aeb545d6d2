//! A packet from anybody to a server with a tricky zone and a pool: no panic, no answer over its limit, ID and question echoed.
#![no_main]

use dnslb_core::name::Name;
use dnslb_core::overlay::{Overlay, OverlayTarget};
use dnslb_core::respond::{Transport, respond};
use dnslb_core::snapshot::{AnswerSets, FamilyAnswers, Limits, PoolAnswers, Snapshot};
use dnslb_core::zone::{self, Files, Zones};
use farm_shared::time::{Mono, Now};
use libfuzzer_sys::fuzz_target;
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

struct Example;

impl Files for Example {
    fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
        Ok(include_bytes!("../tricky.zone").to_vec())
    }
}

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let origin = Name::from_text("example.com.").expect("a name");
    let zone = zone::load(&origin, &Example, "tricky.zone").expect("a zone").zone;
    let zones = Zones::new([Arc::new(zone)]).expect("zones");
    let pool = Name::from_text("www.example.com.").expect("a name");
    let host = Name::from_text("b1.farm.example.com.").expect("a name");
    let targets =
        [(pool, OverlayTarget::Pool(0)), (host, OverlayTarget::Host { v4: Some(Ipv4Addr::LOCALHOST), v6: None, ttl_s: 60 })];
    let overlay = Overlay::build(&zones, targets);
    let subset: Vec<(u32, Ipv4Addr)> = (0..3).map(|i| (i, Ipv4Addr::new(192, 0, 2, i as u8))).collect();
    let pool = PoolAnswers {
        sets: AnswerSets { v4: FamilyAnswers::v4([(&subset[..], Mono::NEVER)]), ..AnswerSets::default() },
        ttl_s_max: 60,
        negative_ttl_s: 5,
        ..PoolAnswers::default()
    };
    let (zones, overlay) = (Arc::new(zones), Arc::new(overlay));
    let (pools, clients) = (vec![Arc::new(pool)], Arc::default());
    Snapshot {
        generation: 1,
        zones,
        overlay,
        pools,
        clients,
        signed: Arc::default(),
        limits: Limits::default(),
        service: Arc::default(),
    }
});

fuzz_target!(|query: &[u8]| {
    let client = "192.0.2.1".parse().expect("an address");
    let mut out = vec![0; 65_535];
    for (transport, limit) in [(Transport::Udp, 1_232), (Transport::Tcp, 65_535)] {
        let Some(reply) = respond(&SNAPSHOT, transport, client, query, Now::default(), 7, &mut out) else { continue };
        assert!((12..=limit).contains(&reply.len), "{} octets", reply.len);
        assert_eq!(out[..2], query[..2], "the ID");
        assert!(out[2] & 0x80 != 0 && query[2] & 0x80 == 0, "QR");
        check(&out[..reply.len], query);
    }
});

fn u16_at(message: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([message[at], message[at + 1]]))
}

/// Walks an answer: the counts are true, names are whole and point backwards, and the last record ends where the message does.
fn check(answer: &[u8], query: &[u8]) {
    let mut at = 12;
    assert!(u16_at(answer, 4) <= 1, "questions");
    if u16_at(answer, 4) == 1 {
        at = name_end(answer, at) + 4;
        assert_eq!(answer[12..at], query[12..at], "the question, octet for octet");
    }
    let mut opts = 0;
    for _ in 0..u16_at(answer, 6) + u16_at(answer, 8) + u16_at(answer, 10) {
        let fixed = name_end(answer, at);
        opts += usize::from(u16_at(answer, fixed) == 41);
        at = fixed + 10 + u16_at(answer, fixed + 8);
    }
    assert_eq!(at, answer.len(), "what the counts say");
    assert!(opts <= 1, "OPT records");
}

/// Where a name's octets at `at` end.
fn name_end(message: &[u8], at: usize) -> usize {
    let (mut place, mut end, mut octets) = (at, None, 0);
    loop {
        match message[place] {
            0 => return end.unwrap_or(place + 1),
            length @ 1..64 => {
                place += 1 + usize::from(length);
                octets += 1 + usize::from(length);
                assert!(octets < 255, "a name that is too long");
            }
            _ => {
                let target = u16_at(message, place) & 0x3fff;
                assert!(message[place] >= 0xc0 && (12..place).contains(&target), "a pointer from {place} to {target}");
                end = end.or(Some(place + 2));
                place = target;
            }
        }
    }
}

//! A packet from anybody to a server with a tricky zone and a pool: no panic, no answer over its limit, ID and question echoed.
#![no_main]

use dnslb_core::name::Name;
use dnslb_core::overlay::{Overlay, OverlayTarget};
use dnslb_core::respond::{Transport, respond};
use dnslb_core::snapshot::{FamilyAnswers, Limits, PoolAnswers, Snapshot};
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
    let targets = [
        (pool, OverlayTarget::Pool(0)),
        (host, OverlayTarget::Host { v4: Some(Ipv4Addr::LOCALHOST), v6: None, ttl_s: 60 }),
    ];
    let overlay = Overlay::build(&zones, targets);
    let subset: Vec<(u32, Ipv4Addr)> = (0..3).map(|i| (i, Ipv4Addr::new(192, 0, 2, i as u8))).collect();
    let pool = PoolAnswers {
        v4: FamilyAnswers::v4([(&subset[..], Mono::NEVER)]),
        ttl_s_max: 60,
        negative_ttl_s: 5,
        ..PoolAnswers::default()
    };
    let (zones, overlay) = (Arc::new(zones), Arc::new(overlay));
    Snapshot { generation: 1, zones, overlay, pools: vec![Arc::new(pool)], limits: Limits::default() }
});

fuzz_target!(|query: &[u8]| {
    let client = "192.0.2.1".parse().expect("an address");
    let mut out = vec![0; 65_535];
    for (transport, limit) in [(Transport::Udp, 1_232), (Transport::Tcp, 65_535)] {
        let Some(reply) = respond(&SNAPSHOT, transport, client, query, Now::default(), 7, &mut out) else { continue };
        assert!((12..=limit).contains(&reply.len), "{} octets", reply.len);
        assert_eq!(out[..2], query[..2], "the ID");
        assert!(out[2] & 0x80 != 0 && query[2] & 0x80 == 0, "QR");
    }
});

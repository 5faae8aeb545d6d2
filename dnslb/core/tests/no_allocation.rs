//! An answer costs no allocation, whatever is asked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use dnslb_core::cookie::Secrets;
use dnslb_core::name::Name;
use dnslb_core::overlay::{Overlay, OverlayTarget};
use dnslb_core::pool::{Endpoint, ScheduleMember, build, https, srv};
use dnslb_core::respond::{Transport, respond, respond_limited};
use dnslb_core::rrl::{self, KINDS, Policy, Table, Verdict};
use dnslb_core::service::Service;
use dnslb_core::site::{ClientMap, Ranges};
use dnslb_core::snapshot::{AnswerSets, FamilyAnswers, Limits, PoolAnswers, Snapshot};
use dnslb_core::zone::{self, Files, Zones, rtype_from_text};
use farm_shared::draw::Draws;
use farm_shared::prefix::Prefix;
use farm_shared::time::{Mono, Now};
use std::net::Ipv4Addr;
use std::sync::Arc;

const ZONE: &str = "$TTL 60
@ SOA ns1 admin 1 2 3 4 5
@ NS ns1
@ MX 10 ns1
ns1 A 192.0.2.53
ns1 AAAA 2001:db8::53
alias CNAME www
loop1 CNAME loop2
loop2 CNAME loop1
*.wild A 192.0.2.9
a.b.ent TXT deep
sub NS ns.sub
sub DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000
ns.sub A 192.0.2.99
old DNAME new
x.new CNAME www
";

struct Text(String);

impl Files for Text {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.clone().into_bytes())
    }
}

fn snapshot() -> Snapshot {
    let name = |text: &str| Name::from_text(text).unwrap();
    let big: Vec<String> = (0..2_000).map(|i| format!("big A 10.0.{}.{}\n", i >> 8, i & 255)).collect();
    let zone = zone::load(&name("example."), &Text(format!("{ZONE}{}", big.concat())), "test").unwrap().zone;
    let zones = Zones::new([Arc::new(zone)]).unwrap();
    let host = OverlayTarget::Host { v4: Some(Ipv4Addr::LOCALHOST), v6: None, ttl_s: 9 };
    let overlay = Overlay::build(
        &zones,
        [
            (name("www.example."), OverlayTarget::Pool(0)),
            (name("b1.farm.example."), host),
            (name("_x._tcp.example."), OverlayTarget::Service { pool: 0, service: 0 }),
        ],
    );
    let sites = Ranges::of_prefixes(32, [("127.0.0.0/8".parse().unwrap(), 0)]);
    let none = (Ranges::whole(32), Ranges::whole(128));
    let all: Vec<Prefix> = vec!["0.0.0.0/0".parse().unwrap()];
    let clients = ClientMap::new((&sites, &none.1), (&none.0, &none.1), Some(&all));
    let subset: Vec<(u32, Ipv4Addr)> = (0..4).map(|i| (i, Ipv4Addr::from(i))).collect();
    let sets = AnswerSets { v4: FamilyAnswers::v4([(&subset[..], Mono::NEVER)]), ..AnswerSets::default() };
    let near = AnswerSets {
        https: https(&["h2".to_owned()], Some(8_443), &sets.v4, &sets.v6),
        srv: vec![service()],
        ..sets.clone()
    };
    let pool = PoolAnswers {
        sets: near.clone(),
        others: vec![near],
        classes: [0, 1].into(),
        has_https: true,
        ttl_s_max: 9,
        ..PoolAnswers::default()
    };
    let mut policy = Policy::new([8; 16]);
    (policy.per_second, policy.all_per_second) = ([1; KINDS], 100);
    Snapshot {
        generation: 1,
        zones: Arc::new(zones),
        overlay: Arc::new(overlay),
        pools: vec![Arc::new(pool)],
        clients: Arc::new(clients),
        signed: Arc::default(),
        limits: Limits::default(),
        service: Arc::new(Service {
            nsid: Some(b"ns1"[..].into()),
            identity: Some(Service::text("ns1")),
            cookies: Some(Secrets::one([7; 16])),
            client_subnet: true,
            rrl: Some(policy),
            ..Service::default()
        }),
    }
}

fn service() -> FamilyAnswers {
    let member = ScheduleMember { slot: 0, addr: Ipv4Addr::LOCALHOST.into(), weight: 1.0, zone: None };
    let schedule = build(&[member], 1, 0.0, 64, &mut Draws::from_u64(1));
    let endpoint = Endpoint {
        target: Name::from_text("b1.farm.example").unwrap(),
        v4: Some(Ipv4Addr::LOCALHOST),
        v6: None,
        port: 993,
        weight: 1,
        change_at: Mono::NEVER,
    };
    srv(&schedule, |_| Some(&endpoint), &[], 0)
}

/// With a client subnet, as a resolver sends it.
fn with_subnet(query: &[u8]) -> Vec<u8> {
    let mut query = query.to_vec();
    let len = query.len();
    query[len - 2..].copy_from_slice(&[0, 11]);
    query.extend_from_slice(&[0, 8, 0, 7, 0, 1, 24, 0, 127, 0, 0]);
    query
}

fn query(name: &str, rtype: &str) -> Vec<u8> {
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    message.extend_from_slice(Name::from_text(name).unwrap().wire());
    message.extend_from_slice(&rtype_from_text(rtype).unwrap().0.to_be_bytes());
    message.extend_from_slice(&[0, 1, 0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
    message
}

#[test]
fn an_answer_allocates_nothing() {
    let names = [
        ".",
        "example.",
        "www.example.",
        "WWW.Example.",
        "b1.farm.example.",
        "farm.example.",
        "_x._tcp.example.",
        "alias.example.",
        "loop1.example.",
        "q.wild.example.",
        "b.ent.example.",
        "nope.example.",
        "x.sub.example.",
        "sub.example.",
        "x.old.example.",
        "big.example.",
        "else.test.",
    ];
    let types = ["A", "AAAA", "NS", "SOA", "MX", "TXT", "DS", "CNAME", "HTTPS", "SRV", "ANY", "TYPE65280", "AXFR"];
    let mut queries: Vec<Vec<u8>> = names.iter().flat_map(|name| types.map(|rtype| query(name, rtype))).collect();
    let subnets: Vec<Vec<u8>> = queries.iter().map(|query| with_subnet(query)).collect();
    queries.extend(subnets);
    // Every option that we know, one that is unknown, and one that is malformed.
    let options: [&[u8]; 9] = [
        &[0, 3, 0, 0],
        &[0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2],
        &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0, 10, 0, 24, 1, 2, 3, 4, 5, 6, 7, 8, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0, 10, 0, 1, 1],
        &[0, 11, 0, 0],
        &[0, 12, 0, 2, 0, 0],
        &[0, 99, 0, 1, 0],
        &[0, 99, 0, 1],
    ];
    queries.extend(options.iter().flat_map(|option| {
        ["www.example.", "nope.example.", "else.test."].map(|name| {
            let mut query = query(name, "A");
            *query.last_mut().unwrap() = option.len() as u8;
            query.extend_from_slice(option);
            query
        })
    }));
    // Those that are refused cost nothing either.
    let whole = query("www.example.", "A");
    queries.extend((0..whole.len()).map(|len| whole.iter().copied().take(len).collect()));
    queries.extend((2..whole.len()).flat_map(|at| {
        [0x01, 0x10, 0x80, 0xff]
            .map(|bits| whole.iter().enumerate().map(|(i, b)| if i == at { b ^ bits } else { *b }).collect())
    }));

    let snapshot = snapshot();
    let client = Ipv4Addr::LOCALHOST.into();
    let mut out = vec![0; 65_535];
    let (mut answered, mut limited) = (0, 0);
    let sent = Table::new(1_024);
    let policy = snapshot.service.rrl.clone().unwrap();
    let counted = allocation_counter::measure(|| {
        for query in &queries {
            for transport in Transport::ALL {
                let reply = respond(&snapshot, transport, client, query, Now::default(), 7, &mut out);
                answered += u32::from(reply.is_some());
                let response = reply.map_or_else(Default::default, |reply| reply.response);
                let verdict = rrl::decide(&sent, &policy, Mono(5), client, response, 0);
                limited += u32::from(verdict == Verdict::Slip);
            }
            respond_limited(&snapshot, client, query, Now::default(), &mut out);
        }
    });
    assert!(answered > 500 && limited > 100, "{answered} {limited}");
    assert_eq!(counted.count_total, 0, "allocations in {answered} answers");
    // The counter does count.
    assert_eq!(allocation_counter::measure(|| drop(std::hint::black_box(Box::new(7)))).count_total, 1);
}

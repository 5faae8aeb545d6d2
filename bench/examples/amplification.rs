//! What a question can be made to send to somebody else: octets out over octets in, for every name, type and form of EDNS of the
//! zones that the tests have, and what rate limits leave of the worst of them. Writes the table of `bench/results/amplification.md`.
//!
//! It measures the answer path as it is; nothing here may decide what is answered. Usage: `cargo run --release -p farm-bench --example
//! amplification`.
#![allow(clippy::expect_used, reason = "a measurement stops where it cannot go on")]

use dnslb_core::dnssec::{ActiveKeys, Algorithm, Denial, SigningKey, SigningPlan, Validity, sign_zone};
use dnslb_core::name::Name;
use dnslb_core::overlay::Overlay;
use dnslb_core::respond::{Transport, respond, respond_limited};
use dnslb_core::rrl::{KINDS, Policy, Table, Verdict, decide};
use dnslb_core::service::Service;
use dnslb_core::snapshot::{Limits, Snapshot};
use dnslb_core::zone::{self, Files, Zone, Zones, rtype_from_text};
use farm_shared::draw::Draws;
use farm_shared::time::{Mono, Now, Wall};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// IPv4 and UDP headers of a datagram, in octets.
const HEADERS: usize = 28;
const VICTIM: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const WALL: Wall = Wall(1_800_000_000_000);
const ZONES: [(&str, &str, &str); 4] = [
    ("parent", "example", include_str!("../../tests/zones/parent.zone")),
    ("child", "child.example", include_str!("../../tests/zones/child.zone")),
    ("types", "example", include_str!("../../tests/zones/types.zone")),
    ("lb.example.com", "lb.example.com", include_str!("../../zones/lb.example.com.zone")),
];
const TYPES: [&str; 17] = [
    "A", "NS", "CNAME", "SOA", "PTR", "MX", "TXT", "AAAA", "SRV", "DNAME", "DS", "RRSIG", "NSEC", "DNSKEY", "HTTPS", "ANY",
    "CAA",
];

/// How a question is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Edns,
    Dnssec,
}

impl Form {
    const ALL: [Self; 3] = [Self::Plain, Self::Edns, Self::Dnssec];

    fn label(self) -> &'static str {
        match self {
            Self::Plain => "no EDNS",
            Self::Edns => "EDNS 4096",
            Self::Dnssec => "EDNS 4096, DO",
        }
    }
}

struct Text(String);

impl Files for Text {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.clone().into_bytes())
    }
}

struct Worst {
    octets_in: usize,
    octets_out: usize,
    question: String,
    query: Vec<u8>,
}

impl Worst {
    fn factor(&self, headers: usize) -> f64 {
        (self.octets_out + headers) as f64 / (self.octets_in + headers) as f64
    }
}

fn snapshot(zone: Arc<Zone>, policy: Policy) -> Snapshot {
    let zones = Zones::new([zone]).expect("one zone");
    Snapshot {
        generation: 1,
        overlay: Arc::new(Overlay::build(&zones, [])),
        zones: Arc::new(zones),
        pools: Vec::new(),
        clients: Arc::default(),
        signed: Arc::default(),
        limits: Limits::default(),
        service: Arc::new(Service { rrl: Some(policy), ..Service::default() }),
    }
}

fn signed(zone: &Zone) -> Option<Zone> {
    let key = Arc::new(SigningKey::from_private(Algorithm::EcdsaP256Sha256, 257, &[9; 32]).ok()?);
    let entry = vec![Arc::clone(&key)];
    let keys = ActiveKeys { apex: zone.apex().clone(), entry, zone: vec![key], validity: Validity::default() };
    let plan = SigningPlan {
        published: keys.entry.iter().map(|key| key.dnskey().clone()).collect(),
        keys,
        wished: Vec::new(),
        dnskey_ttl_s: 300,
        denial: Denial::Nsec,
        serial: None,
    };
    sign_zone(zone, &plan, None, WALL).map(|signed| signed.zone).ok()
}

fn query(name: &Name, rtype: u16, form: Form) -> Vec<u8> {
    let mut octets = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(form != Form::Plain)];
    octets.extend_from_slice(name.wire());
    octets.extend_from_slice(&[rtype, 1].map(u16::to_be_bytes).concat());
    if form != Form::Plain {
        let dnssec_ok = if form == Form::Dnssec { 0x80 } else { 0 };
        octets.extend_from_slice(&[0, 0, 41, 0x10, 0, 0, 0, dnssec_ok, 0, 0, 0]);
    }
    octets
}

/// The worst question of a zone in one form, by octets of the messages alone.
fn worst(snapshot: &Snapshot, names: &[Name], form: Form) -> Worst {
    let mut worst = Worst { octets_in: 1, octets_out: 0, question: String::new(), query: Vec::new() };
    let mut out = [0; 4_096];
    let now = Now { mono: Mono(1), wall: WALL };
    for name in names {
        for text in TYPES {
            let query = query(name, rtype_from_text(text).expect("a type").0, form);
            let Some(reply) = respond(snapshot, Transport::Udp, VICTIM, &query, now, 0, &mut out) else { continue };
            let found = Worst { octets_in: query.len(), octets_out: reply.len, question: format!("{name} {text}"), query };
            if found.factor(0) > worst.factor(0) {
                worst = found;
            }
        }
    }
    worst
}

/// Octets out over octets in, headers counted, of a flood with one question in the name of one address: 10 s at 10,000 a second. And how
/// many answers it got.
fn flood(snapshot: &Snapshot, query: &[u8]) -> (f64, u64) {
    let policy = snapshot.service.rrl.as_ref().expect("limits");
    let (table, mut draws, mut out) = (Table::new(65_536), Draws::from_u64(1), [0; 4_096]);
    let (mut octets_in, mut octets_out, mut sent) = (0, 0, 0);
    for i in 0..100_000_u64 {
        let now = Now { mono: Mono(1_000 + i / 10), wall: WALL };
        let draw = draws.u64();
        octets_in += query.len() + HEADERS;
        let Some(reply) = respond(snapshot, Transport::Udp, VICTIM, query, now, draw, &mut out) else { continue };
        let len = match decide(&table, policy, now.mono, VICTIM, reply.response, draw) {
            Verdict::Pass => reply.len,
            Verdict::Slip => respond_limited(snapshot, VICTIM, query, now, &mut out).map_or(0, |reply| reply.len),
            Verdict::Drop => continue,
        };
        octets_out += len + HEADERS;
        sent += 1;
    }
    (octets_out as f64 / octets_in as f64, sent)
}

fn main() {
    println!(
        "| zone | names | asked with | worst question | octets in | out | out/in | with headers | flood, limited | answers to 100,000 |"
    );
    println!("|---|---:|---|---|---:|---:|---:|---:|---:|---:|");
    let mut policy = Policy::new([7; 16]);
    (policy.per_second, policy.all_per_second) = ([20; KINDS], 1_000);
    for (label, origin, text) in ZONES {
        let origin = Name::from_text(origin).expect("a name");
        let plain = zone::load(&origin, &Text(text.to_owned()), "zone").expect("a zone").zone;
        let mut names: Vec<Name> = plain.names().map(|at| at.name().clone()).collect();
        for name in plain.names() {
            names.extend([&b"nx"[..], b"a"].iter().filter_map(|label| name.name().child(label).ok()));
        }
        let with_signatures = signed(&plain);
        for (zone, kind) in [(Some(plain), ""), (with_signatures, ", signed")] {
            let Some(zone) = zone else { continue };
            let snapshot = snapshot(Arc::new(zone), policy.clone());
            for form in Form::ALL.into_iter().filter(|form| !kind.is_empty() || *form != Form::Dnssec) {
                let worst = worst(&snapshot, &names, form);
                let (limited, sent) = flood(&snapshot, &worst.query);
                println!(
                    "| {label}{kind} | {} | {} | {} | {} | {} | {:.1} | {:.1} | {limited:.2} | {sent} |",
                    names.len(),
                    form.label(),
                    worst.question,
                    worst.octets_in,
                    worst.octets_out,
                    worst.factor(0),
                    worst.factor(HEADERS)
                );
            }
        }
    }
}

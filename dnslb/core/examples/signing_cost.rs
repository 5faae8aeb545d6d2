//! What live signatures cost: a health change on a signed pool of 1,000 members, and a flood of names that do not exist.
//!
//! `cargo run --release -p dnslb-core --example signing_cost`; the results are in bench/results/signing.md. It measures and decides
//! nothing.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement: it reads the clock and stops where it cannot go on"
)]

use dnslb_core::config;
use dnslb_core::control::{AdminCommand, Control, Effect, Event, Saved};
use dnslb_core::dnssec::{ActiveKeys, Algorithm, Denial, SigningKey, SigningPlan, Validity, sign_zone};
use dnslb_core::name::Name;
use dnslb_core::online::{Accounts, OnlineSigner};
use dnslb_core::respond::{Transport, respond_signing};
use dnslb_core::snapshot::Snapshot;
use dnslb_core::zone::{Files, Hosted, Zones};
use farm_shared::draw::Draws;
use farm_shared::member::Forced;
use farm_shared::time::{Mono, Now, Wall};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

const MEMBERS: u32 = 1_000;
const K: u32 = 8;

struct Text;

impl Files for Text {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(b"$TTL 60\n@ SOA ns1 host 1 2 3 4 60\n@ NS ns1\nns1 A 192.0.2.1\n".to_vec())
    }
}

fn configuration() -> String {
    let mut text = format!(
        "[[zone]]\nname = 'lb.example'\nfile = 'z'\n[[pool]]\nname = 'www'\npublish = ['www.lb.example']\nk = {K}\n"
    );
    for member in 0..MEMBERS {
        let (high, low) = (member >> 8, member & 255);
        let _ = write!(text, "[[pool.member]]\nname = 'm{member}'\naddresses = ['10.0.{high}.{low}']\n");
    }
    text
}

struct World {
    control: Control,
    now: Now,
    snapshot: Option<Arc<Snapshot>>,
    jobs_ms: Vec<(String, f64)>,
}

impl World {
    /// Follows what a flush says; jobs run one after the other, timed.
    fn flush(&mut self) -> f64 {
        let start = Instant::now();
        let effects = self.control.flush(self.now);
        let flush_ms = start.elapsed().as_secs_f64() * 1e3;
        for effect in effects {
            let start = Instant::now();
            match effect {
                Effect::Publish(snapshot) => self.snapshot = Some(snapshot),
                Effect::Build(job) => {
                    let event = Event::Scheduled(Box::new(job.run()));
                    self.jobs_ms.push(("schedule".into(), start.elapsed().as_secs_f64() * 1e3));
                    self.control.step(self.now, event);
                }
                Effect::Sign(job) => {
                    let about = format!("{} signatures", job.len());
                    let event = Event::Signatures(Box::new(job.run()));
                    self.jobs_ms.push((about, start.elapsed().as_secs_f64() * 1e3));
                    self.control.step(self.now, event);
                }
                _ => {}
            }
        }
        flush_ms
    }

    /// Flushes until nothing is left to do.
    fn settle(&mut self, what: &str) {
        println!("{what}");
        for _ in 0..8 {
            let before = self.jobs_ms.len();
            let flush_ms = self.flush();
            println!("  flush {flush_ms:.1} ms, jobs after it {:.1?}", self.jobs_ms.get(before..).unwrap_or_default());
            if self.jobs_ms.len() == before {
                return;
            }
        }
    }
}

fn query(name: &str, rtype: u16) -> Vec<u8> {
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    message.extend_from_slice(Name::from_text(name).unwrap().wire());
    message.extend_from_slice(&rtype.to_be_bytes());
    message.extend_from_slice(&[0, 1, 0, 0, 41, 4, 0xd0, 0, 0, 0x80, 0, 0, 0]);
    message
}

fn main() {
    for algorithm in [Algorithm::EcdsaP256Sha256, Algorithm::Ed25519] {
        println!("== {algorithm}");
        measure(algorithm);
    }
}

fn measure(algorithm: Algorithm) {
    let loaded = config::load("bench", &configuration(), &Text).unwrap();
    let key = Arc::new(SigningKey::from_private(algorithm, 257, &[7; 32]).unwrap());
    let apex = Name::from_text("lb.example").unwrap();
    let entry = vec![Arc::clone(&key)];
    let keys = ActiveKeys { apex: apex.clone(), entry, zone: vec![key], validity: Validity::default() };
    let now = Now { mono: Mono(1_000_000), wall: Wall(1_800_000_000_000) };
    let plan = SigningPlan {
        published: vec![keys.entry[0].dnskey().clone()],
        keys: keys.clone(),
        wished: Vec::new(),
        dnskey_ttl_s: 60,
        denial: Denial::Online,
        serial: None,
    };
    let zone = sign_zone(loaded.zones.get(&apex).unwrap(), &plan, None, now.wall).unwrap().zone;
    let zones = Zones::of([Hosted { keys: Some(Arc::new(keys)), ..Hosted::new(Arc::new(zone)) }]).unwrap();
    let control = Control::new(loaded.spec, Arc::new(zones), Saved::default(), now, Draws::from_u64(1));
    let mut world = World { control, now, snapshot: None, jobs_ms: Vec::new() };
    world.settle("start: 1,000 members, k = 8");
    let down = AdminCommand { target: "www/m7".into(), force: Some(Forced::Down), ..AdminCommand::default() };
    let start = Instant::now();
    world.control.step(world.now, Event::Admin(down));
    println!(
        "one member goes down: step {:.3} ms; in the first flush below it leaves every answer",
        start.elapsed().as_secs_f64() * 1e3
    );
    world.settle("its flushes");
    flood(&world.snapshot.unwrap(), now);
}

/// Nanoseconds for each answer of so many.
fn timed(count: u32, mut answer: impl FnMut(u32)) -> f64 {
    let start = Instant::now();
    (0..count).for_each(&mut answer);
    start.elapsed().as_secs_f64() * 1e9 / f64::from(count)
}

fn flood(snapshot: &Snapshot, now: Now) {
    let accounts = Arc::new(Accounts::default());
    let mut signer = OnlineSigner::keeping(Arc::clone(&accounts));
    let mut out = vec![0; 65_535];
    let client = std::net::Ipv4Addr::LOCALHOST.into();
    let mut ask = |query: &[u8], now: Now, draw: u64| {
        let reply = respond_signing(snapshot, Transport::Udp, client, query, now, draw, Some(&mut signer), &mut out);
        reply.unwrap().truncated
    };
    let (pool, no_data) = (query("www.lb.example", 1), query("www.lb.example", 28));
    let draw = |number: u32| u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    println!(
        "pool A with signature {:.0} ns",
        timed(200_000, |number| {
            ask(&pool, now, draw(number));
        })
    );
    println!(
        "pool AAAA, kept denial {:.0} ns",
        timed(200_000, |_| {
            ask(&no_data, now, 0);
        })
    );
    // Ten seconds of a flood at 100,000 names a second, in the time that answers are told, whatever they take.
    let names: Vec<Vec<u8>> = (0..1_000_000_u32).map(|number| query(&format!("x{number}.lb.example"), 1)).collect();
    let (mut cut, made) = (0, accounts.made());
    let flood_ns = timed(1_000_000, |number| {
        let now = Now { mono: Mono(now.mono.0 + u64::from(number) / 100), wall: now.wall };
        cut += u32::from(ask(&names[number as usize], now, 0));
    });
    let signed = accounts.made() - made;
    println!("flood of 1,000,000 names in 10 s: {flood_ns:.0} ns each, {signed} signed, {cut} told to come by TCP");
}

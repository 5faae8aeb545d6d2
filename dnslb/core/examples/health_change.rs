//! How long a health change takes until answers without the member are published, and until the schedules are full again: a pool
//! of 1,000 members, alone and at five sites.
//!
//! `cargo run --release -p dnslb-core --example health_change`
// It measures time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::print_stdout)]

use dnslb_core::config::load;
use dnslb_core::control::{Control, Effect, Event, Saved};
use dnslb_core::zone::Files;
use farm_shared::draw::Draws;
use farm_shared::heartbeat::{Heartbeat, Load, Role, State, VERSION};
use farm_shared::id::Id;
use farm_shared::time::{Mono, Now, Wall};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const ZONE: &str = "$TTL 60\n@ SOA ns1 admin 1 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.1\n";
const CONFIG: &str = r#"
[heartbeat]
listen_udp = ["127.0.0.1:5310"]
[[farm]]
name = "mail"
key_file = "key"
[[zone]]
name = "lb.example.com"
file = "zone"
[[pool]]
name = "www"
publish = ["www.lb.example.com"]
k = 3
slow_start = "0ms"
farm = "mail"
"#;

struct Memory;

impl Files for Memory {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        Ok(if path == "key" { "0123456789abcdef".repeat(4).into() } else { ZONE.into() })
    }
}

fn beat(i: u32, seq: u64) -> Heartbeat {
    Heartbeat {
        v: VERSION,
        farm: Id::new("mail").unwrap(),
        id: Id::new(&format!("m{i}")).unwrap(),
        role: Role::Backend,
        inc: 1,
        seq,
        time_ms: 0,
        period_ms: 60_000,
        addrs: vec![Ipv4Addr::from_bits(0x0a00_0000 + ((i % 5) << 16) + i).into()],
        port: 80,
        zone: None,
        state: State::Up,
        drain_by: Vec::new(),
        load: Load::default(),
        heard: Vec::new(),
        notice: None,
        tombstones: Vec::new(),
        killed: None,
    }
}

/// One change; the time until its publication, and all the work until nothing is left to build.
fn change(control: &mut Control, now: Now, heartbeat: Heartbeat) -> (Duration, Duration, usize) {
    let begin = Instant::now();
    control.step(now, Event::Heartbeat(Box::new(heartbeat)));
    let mut effects = control.flush(now);
    let published = begin.elapsed();
    let mut builds = 0;
    while !effects.is_empty() {
        let jobs = effects.into_iter().filter_map(|effect| if let Effect::Build(job) = effect { Some(job) } else { None });
        let built: Vec<_> = jobs.map(|job| job.run()).collect();
        builds += built.len();
        for built in built {
            control.step(now, Event::Scheduled(Box::new(built)));
        }
        effects = control.flush(now).into_iter().filter(|effect| matches!(effect, Effect::Build(_))).collect();
    }
    (published, begin.elapsed(), builds)
}

fn main() {
    let site = |i: u8| format!("[[site]]\nname = \"s{i}\"\nprefixes = [\"10.{i}.0.0/16\"]\n");
    let sites = (0..5).map(site).collect::<Vec<_>>().concat();
    for (name, config) in [("one site", CONFIG.to_owned()), ("five sites", format!("{CONFIG}nearest_site = true\n{sites}"))]
    {
        let loaded = load("x.toml", &config, &Memory).expect("a configuration");
        let now = Now { mono: Mono(1_000), wall: Wall(1_700_000_000_000) };
        let mut control = Control::new(loaded.spec, loaded.zones, Saved::default(), now, Draws::from_u64(1));
        control.flush(now);
        for i in 0..1_000 {
            control.step(now, Event::Heartbeat(Box::new(beat(i, 1))));
        }
        let (_, full, builds) = change(&mut control, now, beat(0, 2));
        println!("{name}: 1,000 members join: {full:?} with {builds} builds");
        let mut published = Vec::new();
        for i in 100..120 {
            let drains = Heartbeat { drain_by: vec![Id::new("x").unwrap()], ..beat(i, 2) };
            let (at, full, builds) = change(&mut control, now, drains);
            published.push((at, full, builds));
        }
        published.sort_unstable();
        let (median, worst) = (published[published.len() / 2], published[published.len() - 1]);
        println!(
            "{name}: one drains: published after {:?} (worst {:?}), full again after {:?}, {} builds",
            median.0, worst.0, median.1, median.2
        );
    }
}

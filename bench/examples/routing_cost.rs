//! What routing costs in a farm of 10,000 servers that each send a heartbeat a second: CPU time of a decision, of a snapshot, and of
//! the control loop. Writes the table of `bench/results/routing.md`.
//!
//! It measures the production code with production's pace of ticks and snapshots; nothing here may decide anything. Usage: `cargo run
//! --release -p farm-bench --example routing_cost`.
#![allow(clippy::expect_used, reason = "a measurement stops where it cannot go on")]

use farm_shared::draw::Draws;
use farm_shared::heartbeat::{FarmKey, Heartbeat, Load, Role, State};
use farm_shared::id::Id;
use farm_shared::time::{Mono, Now, Wall};
use redirector_core::config::Spec;
use redirector_core::farm::{Control, Effect, Event, Keys, Saved};
use redirector_core::route::{Candidate, FarmDispatched, Picker, RoutePolicy, Table};
use redirector_core::scale::Plain;
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const SERVERS: u32 = 10_000;
const START_MS: u64 = 1_800_000_000_000;
const SECONDS: u64 = 10;

/// Dispatches by slot.
struct Counters(Vec<Cell<u32>>);

impl FarmDispatched for Counters {
    fn total(&self, slot: u32) -> u32 {
        self.0.get(slot as usize).map_or(0, Cell::get)
    }
}

/// CPU time of this thread, in nanoseconds.
fn cpu_ns() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn spent_ns(work: impl FnOnce()) -> f64 {
    let before = cpu_ns();
    work();
    cpu_ns() - before
}

fn main() {
    println!("| rule | ns a decision | ... of a farm of 20 | us to take in a new snapshot |\n|---|---|---|---|");
    for policy in RoutePolicy::CONFIGURABLE.into_iter().filter(|p| *p != RoutePolicy::Auto) {
        let [(large, fill), (small, _)] = [SERVERS, 20].map(|servers| decision(policy, servers));
        println!("| `{}` | {large:.0} | {small:.0} | {:.0} |", policy.label(), fill / 1e3);
    }
    control();
}

/// Nanoseconds of one decision and of the first one after a new snapshot.
fn decision(policy: RoutePolicy, servers: u32) -> (f64, f64) {
    let candidate = |i: u32| Candidate {
        server: i,
        slot: i,
        queue: f64::from(i % 50) / 10.0,
        sessions: f64::from(i % 30),
        ..Candidate::default()
    };
    let all: Vec<_> = (0..servers).map(candidate).collect();
    let table = Table::build(policy, 1.0, 1, &all);
    let counters = Counters(vec![Cell::new(0); servers as usize]);
    let mut picker = Picker::new(Draws::from_u64(1));
    let mut generation = 0;
    picker.pick(&table, generation, &counters);
    let mut fill = 0.0;
    for _ in 0..50 {
        generation += 1;
        fill += spent_ns(|| {
            picker.pick(&table, generation, &counters);
        }) / 50.0;
    }
    // As many as come to each server between two of its heartbeats, and some more.
    let decisions = 500_000;
    let spent = spent_ns(|| {
        for number in 0..decisions {
            if let Some(count) = picker.pick(&table, generation, &counters).and_then(|at| counters.0.get(at)) {
                count.set(count.get() + 1);
            }
            if number % (20 * servers) == 0 {
                counters.0.iter().for_each(|count| count.set(0));
                generation += 1;
            }
        }
    });
    (spent / f64::from(decisions), fill)
}

fn heartbeat(at: u32, seq: u64) -> Heartbeat {
    Heartbeat {
        v: 1,
        farm: Id::new("farm").expect("an id"),
        id: Id::new(&format!("b{at}")).expect("an id"),
        role: Role::Backend,
        inc: START_MS,
        seq,
        time_ms: START_MS,
        period_ms: 1_000,
        addrs: vec![IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + at))],
        port: 8_000,
        zone: None,
        state: State::Up,
        drain_by: Vec::new(),
        load: Load {
            queue: f64::from((at + seq as u32) % 50) / 10.0,
            busy: 0.8,
            sessions: 30,
            arrivals: seq * 2,
            completions: seq * 2,
            ..Load::default()
        },
        heard: Vec::new(),
        notice: None,
        tombstones: Vec::new(),
        killed: None,
    }
}

/// The control loop under 10,000 heartbeats a second, already opened (their MACs are another core's work).
fn control() {
    let farm = Id::new("farm").expect("an id");
    let spec = Spec::new(Id::new("door").expect("an id"), farm);
    let keys = Keys { current: FarmKey::from_hex(&"5a".repeat(32)).expect("a key"), former: Vec::new() };
    let now = |us: u64| Now { mono: Mono(us / 1_000), wall: Wall(START_MS + us / 1_000) };
    let saved = Saved::default();
    let mut control = Control::new(Arc::new(spec), keys, Arc::new(Plain), saved, &[], now(0), Draws::from_u64(1));
    let (mut heard_ns, mut published_ns, mut tick_ns, mut snapshots) = (0.0, 0.0, 0.0, 0_u32);
    for second in 0..=SECONDS {
        for at in 0..SERVERS {
            let us = second * 1_000_000 + u64::from(at) * 1_000_000 / u64::from(SERVERS);
            let heartbeat = Box::new(heartbeat(at, second + 1));
            let heard = spent_ns(|| drop(control.step(now(us), Event::Heartbeat { heartbeat, dispatched: 0 })));
            let mut published = false;
            let flushed = spent_ns(|| {
                published = control.flush(now(us)).iter().any(|effect| matches!(effect, Effect::Publish(_)));
            });
            let tick = if at % (SERVERS / 10) == 0 {
                spent_ns(|| drop(control.step(now(us), Event::Tick { waited: 0, room: None })))
            } else {
                0.0
            };
            // The first second is that in which the farm joins.
            if second > 0 {
                (heard_ns, tick_ns) = (heard_ns + heard, tick_ns + tick);
                (published_ns, snapshots) = (published_ns + flushed, snapshots + u32::from(published));
            }
        }
    }
    let seconds = SECONDS as f64;
    println!("\n| the control loop, 10,000 heartbeats a second | |\n|---|---|");
    println!("| us a heartbeat | {:.2} |", heard_ns / seconds / f64::from(SERVERS) / 1e3);
    println!("| snapshots a second | {:.1} |", f64::from(snapshots) / seconds);
    println!("| us a snapshot | {:.0} |", published_ns / f64::from(snapshots.max(1)) / 1e3);
    println!("| share of a core: heartbeats | {:.1} % |", heard_ns / seconds / 1e7);
    println!("| share of a core: snapshots and state | {:.1} % |", published_ns / seconds / 1e7);
    println!("| share of a core: ticks | {:.1} % |", tick_ns / seconds / 1e7);
}

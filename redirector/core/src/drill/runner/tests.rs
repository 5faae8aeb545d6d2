//! Drills in virtual time against a small farm that notices, replaces and heals.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use farm_shared::time::Wall;
use proptest::prelude::*;

fn order(model: Model, fault: Fault) -> Order {
    Order {
        drill: Id::new("d1").unwrap(),
        model,
        fault,
        filter: Filter::default(),
        graph: None,
        count: 1,
        repeat: 1,
        every_ms: 60_000,
        schedule: None,
        radius: Radius::new(0.5).unwrap(),
        heal_ms: 10_000,
        stop: None,
        settle_ms_max: 120_000,
        lead_ms: 1_000,
        trail_ms: 1_000,
        dry_run: false,
    }
}

/// A farm: servers by id, those that fell with the time since when, and the list of hits as the redirector would show it.
struct World {
    now: Now,
    servers: Vec<Target>,
    hits: Vec<(DrillStatus, Mono)>,
    counts: Counts,
    notice_ms: u64,
    restore_ms: u64,
}

impl World {
    fn new(count: usize) -> Self {
        let server = |n: usize| Target {
            id: format!("b{n}"),
            zone: Some(if n.is_multiple_of(2) { "a".into() } else { "b".into() }),
            is_healthy: true,
            instance_id: Some(format!("i-{n}")),
            ..Target::default()
        };
        let now = Now { mono: Mono(0), wall: Wall(20_773 * 86_400_000) };
        Self {
            now,
            servers: (1..=count).map(server).collect(),
            hits: Vec::new(),
            counts: Counts::default(),
            notice_ms: 1_500,
            restore_ms: 8_000,
        }
    }

    fn look(&mut self) -> Look {
        for (hit, at) in &mut self.hits {
            let age_ms = self.now.mono.since_ms(*at);
            let server = self.servers.iter_mut().find(|s| s.id == hit.member).unwrap();
            if age_ms >= self.notice_ms && hit.noticed_ms.is_none() {
                hit.noticed_ms = Some(self.notice_ms);
                server.is_healthy = false;
                server.is_down = true;
            }
            if age_ms >= self.restore_ms && hit.restored_ms.is_none() {
                hit.restored_ms = Some(self.restore_ms);
                (server.is_healthy, server.is_down) = (true, false);
                if hit.fault == Fault::Isolate {
                    hit.state = WoundState::Healed;
                }
            }
        }
        Look {
            servers: self.servers.clone(),
            hits: self.hits.iter().map(|(h, _)| h.clone()).collect(),
            counts: self.counts,
            door: Counts::default(),
        }
    }

    fn take(&mut self, request: &HitRequest) {
        let status = DrillStatus {
            key: request.key.to_string(),
            model: request.model,
            fault: request.fault.clone(),
            member: request.member.to_string(),
            instance_id: None,
            wall_ms: self.now.wall.0,
            state: WoundState::Done,
            acted_ms: Some(0),
            noticed_ms: None,
            restored_ms: None,
            healed_ms: None,
            word: None,
        };
        self.hits.push((status, self.now.mono));
    }

    /// Runs to the end, at most an hour. Hits as `(time, member)`, and how it ended.
    fn run(&mut self, order: Order) -> (Vec<(u64, String)>, String) {
        let mut runner = Runner::new(order, self.now, Draws::from_u64(3));
        let mut hits = Vec::new();
        for _ in 0..18_000 {
            let look = self.look();
            for act in runner.step(self.now, &look) {
                match act {
                    Act::Hit(request, _) => {
                        self.take(&request);
                        hits.push((self.now.mono.0, request.member.to_string()));
                    }
                    Act::Would(member, _) => hits.push((self.now.mono.0, member)),
                    Act::End(how) => return (hits, how),
                    Act::Heal | Act::Say(_) => {}
                }
            }
            self.now = self.now.plus_ms(200);
        }
        (hits, "never".into())
    }
}

#[test]
fn one_server_falls_and_the_drill_ends_when_it_is_replaced() {
    let mut world = World::new(4);
    let (hits, how) = world.run(order(Model::Random, Fault::Kill));
    assert_eq!((hits.len(), how.as_str(), hits[0].0), (1, "done", 1_000));
    assert!((10_000..12_000).contains(&world.now.mono.0), "{:?}", world.now);
}

#[test]
fn rounds_keep_their_distance_and_the_filter() {
    let mut world = World::new(6);
    let filter = "zone=a".parse().unwrap();
    let (hits, how) = world.run(Order {
        repeat: 3,
        count: 2,
        filter,
        radius: Radius::new(0.34).unwrap(),
        ..order(Model::Random, Fault::Kill)
    });
    let times: Vec<u64> = hits.iter().map(|h| h.0).collect();
    assert_eq!((times, how.as_str()), (vec![1_000, 1_000, 61_000, 61_000, 121_000, 121_000], "done"));
    assert!(hits.iter().all(|(_, id)| ["b2", "b4", "b6"].contains(&id.as_str())), "{hits:?}");
}

#[test]
fn the_radius_makes_it_wait_and_then_give_up() {
    let mut world = World::new(4);
    let (hits, how) = world.run(Order { count: 3, ..order(Model::Random, Fault::Isolate) });
    // Two at once; the third when the first ones are back.
    assert_eq!((hits.len(), how.as_str()), (3, "done"), "{hits:?}");
    assert!(hits[2].0 >= 9_000, "{hits:?}");
    let mut world = World::new(3);
    let (hits, how) = world.run(Order { radius: Radius::DEFAULT, ..order(Model::Random, Fault::Kill) });
    assert_eq!(hits.len(), 0);
    assert!(how.contains("blast radius 25% allows 0"), "{how}");
    let (hits, how) = World::new(3).run(Order { filter: "role=db".parse().unwrap(), ..order(Model::Random, Fault::Kill) });
    assert!(hits.is_empty() && how.contains("fits the filter"), "{how}");
}

#[test]
fn the_graph_leads_from_hub_to_hub() {
    let graph =
        Graph::from_json(r#"{"edges":[["b1","b2"],["b1","b3"],["b1","b4"],["b2","b3"],["b3","b4"],["b9","b1"]]}"#).unwrap();
    let mut world = World::new(8);
    let (hits, how) = world.run(Order { graph: Some(graph), count: 3, ..order(Model::Graph, Fault::Kill) });
    let ids: Vec<&str> = hits.iter().map(|h| h.1.as_str()).collect();
    // After b1 and b3 nothing is connected to anything but b9, which is no server.
    assert_eq!(ids, ["b1", "b3"]);
    assert!(how.contains("no server of the graph"), "{how}");
}

#[test]
fn errors_stop_it_and_nothing_is_hit_after_that() {
    let mut world = World::new(8);
    let order =
        Order { repeat: 50, every_ms: 2_000, stop: Some("errors>5%".parse().unwrap()), ..order(Model::Random, Fault::Kill) };
    let mut runner = Runner::new(order, world.now, Draws::from_u64(1));
    let (mut stopped, mut hits_after, mut ended) = (false, 0, String::new());
    for step in 0..500_u64 {
        world.counts = Counts { requests: step * 10, errors: step.saturating_sub(40) };
        let look = world.look();
        let acts = runner.step(world.now, &look);
        hits_after += acts.iter().filter(|a| stopped && matches!(a, Act::Hit(..))).count();
        stopped |= acts.contains(&Act::Heal);
        for act in acts {
            match act {
                Act::Hit(request, _) => world.take(&request),
                Act::End(how) => ended = how,
                _ => {}
            }
        }
        if !ended.is_empty() {
            break;
        }
        world.now = world.now.plus_ms(200);
    }
    assert_eq!(hits_after, 0);
    assert!(stopped && ended.contains("users see errors"), "{ended}");
}

#[test]
fn a_dry_run_names_as_many_as_the_radius_allows_and_ends() {
    let mut world = World::new(4);
    let (hits, how) = world.run(Order { dry_run: true, count: 2, ..order(Model::Random, Fault::Kill) });
    assert_eq!((hits.len(), how.as_str(), world.hits.len()), (2, "done", 0));
    assert_ne!(hits[0].1, hits[1].1);
}

proptest! {
    /// Wall clocks jump, servers come and go: rounds keep their distance on the other clock, begin only in the schedule, and never
    /// leave fewer than one healthy server.
    #[test]
    fn whatever_the_clock_does(
        steps in prop::collection::vec((0_u64..40_000, -90_000_000_i64..90_000_000, any::<u8>()), 1..150),
        seed in any::<u64>(),
        count in 1_usize..8,
    ) {
        let schedule: Schedule = "mon-fri 09:00-17:00, sat 03:30".parse().unwrap();
        let order = Order {
            repeat: 0,
            every_ms: 30_000,
            schedule: Some(schedule),
            radius: Radius::new(0.4).unwrap(),
            ..order(Model::Random, Fault::Kill)
        };
        let mut world = World::new(count);
        let mut runner = Runner::new(order, world.now, Draws::from_u64(seed));
        let mut last: Option<Mono> = None;
        for (pause_ms, jump_ms, bits) in steps {
            world.now = world.now.plus_ms(pause_ms);
            if bits % 3 == 0 {
                world.now.wall = Wall(world.now.wall.0.saturating_add_signed(jump_ms));
            }
            if bits % 7 == 0 {
                let n = usize::from(bits) % count;
                world.servers[n].is_healthy ^= true;
                world.servers[n].is_down = !world.servers[n].is_healthy;
            }
            let look = world.look();
            let healthy = look.servers.iter().filter(|s| s.is_healthy).count();
            for act in runner.step(world.now, &look) {
                if let Act::Hit(request, _) = act {
                    prop_assert!(healthy > 1);
                    prop_assert!(look.servers.iter().any(|s| s.id == request.member.as_str() && s.is_healthy));
                    let down = look.servers.iter().filter(|s| s.is_down).count();
                    prop_assert!((down + 1) as f64 <= 0.4 * look.servers.len() as f64 + 1e-6);
                    prop_assert!(last.is_none_or(|at| world.now.mono.since_ms(at) >= 30_000));
                    last = Some(world.now.mono);
                    world.take(&request);
                }
            }
        }
    }
}

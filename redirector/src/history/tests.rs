#![allow(clippy::unwrap_used, clippy::expect_used, clippy::float_cmp, reason = "a test stops where it cannot go on")]
use super::*;
use crate::page::testing::server;
use crate::view::View;
use redirector_core::room::LaneStatus;

fn status(up_ms: u64, wall_ms: u64) -> Status {
    let mut status = View::empty().status;
    (status.up_ms, status.wall_ms) = (up_ms, wall_ms);
    status.servers = vec![server("b1", "in_service"), server("b2", "draining")];
    status
}

#[test]
fn every_range_is_filled_and_bounded() {
    let mut history = History::default();
    let mut door = TallySum::default();
    let seconds = 90_000;
    for n in 1..=seconds {
        door.redirects[0] += 2;
        door.waits += u64::from(n % 60 == 0);
        assert!(history.add(&status(n * 1_000, 5_000_000 + n * 1_000), &door));
        assert!(!history.add(&status(n * 1_000 + 500, 5_000_500 + n * 1_000), &door), "twice in a second");
    }
    let ranges = history.ranges();
    for (n, range) in RANGES.iter().enumerate() {
        let samples = ranges.samples(n);
        assert_eq!(samples.len(), range.samples_max, "{}", range.name);
        let last = samples.back().unwrap();
        assert_eq!(last.span_ms, range.step_ms);
        assert_eq!(last.rate(Column::New), 2.0);
        assert_eq!((last.get(Column::Live), last.get(Column::Draining)), (1.0, 1.0));
    }
    let day: f64 = ranges.samples(2).iter().map(|s| s.get(Column::Waits)).sum();
    assert_eq!(day, 1_440.0, "one a minute, none lost by merging");
}

#[test]
fn a_clock_that_is_set_back_makes_no_knot() {
    let mut history = History::default();
    for (up, wall) in [(1_000, 100_000), (2_000, 101_000), (3_000, 50_000), (4_000, 51_000)] {
        history.add(&status(up, wall), &TallySum::default());
    }
    let walls: Vec<u64> = history.ranges().samples(0).iter().map(|s| s.wall_ms).collect();
    assert_eq!(walls, [50_000, 51_000]);
}

#[test]
fn a_restart_keeps_it() {
    let mut history = History::default();
    for n in 1..=300 {
        history.add(&status(n * 1_000, n * 1_000), &TallySum::default());
    }
    let kept = History::from_bytes(&history.to_bytes());
    for n in 0..RANGES.len() {
        assert_eq!(kept.ranges().samples(n), history.ranges().samples(n));
        assert!(!kept.ranges().samples(n).is_empty());
    }
}

#[test]
fn any_file_is_read() {
    let wild = r#"{"ranges":[{"range":"10m","columns":["span_ms","live","wall_ms","new"],
        "rows":[[1000,3,2000],[1000,3,1000],[0,3,9],["x"],7,[1000,-4,3000,1e300]]},{"range":"1y","rows":[[1]]},3]}"#;
    let history = History::from_bytes(wild.as_bytes());
    let ranges = history.ranges();
    let seen: Vec<(u64, f64, f64)> =
        ranges.samples(0).iter().map(|s| (s.wall_ms, s.get(Column::Live), s.get(Column::New))).collect();
    assert_eq!(seen, [(1_000, 3.0, 0.0), (3_000, 0.0, 0.0)]);
    for bytes in ["", "[]", "{\"ranges\":{}}", "{\"ranges\":[{\"range\":\"2h\"}]}"] {
        assert!(History::from_bytes(bytes.as_bytes()).ranges().samples(1).is_empty());
    }
}

#[test]
fn a_minute_compares_what_came_with_what_was_due() {
    let mut servers = vec![server("b1", "in_service"), server("b2", "in_service")];
    (servers[0].slot, servers[1].slot) = (0, 1);
    (servers[0].share, servers[1].share) = (0.75, 0.25);
    let mut minute = Minute::default();
    for second in 0..=200_u32 {
        minute.add(
            &servers,
            u64::from(second) * 1_000,
            |slot| if slot == 0 { second * 3 } else { u32::MAX.wrapping_add(second) },
        );
    }
    minute.fill(&mut servers);
    // The oldest part has just begun anew: the window is between 50 and 60 seconds.
    assert!((150..=180).contains(&servers[0].new_1m) && (50..=60).contains(&servers[1].new_1m), "{servers:?}");
    assert!((servers[0].expected_1m - servers[0].new_1m as f64).abs() < 1e-6);
    servers[1].id = "b3".into();
    minute.add(&servers, 201_000, |_| 7);
    minute.fill(&mut servers);
    assert_eq!(servers[1].new_1m, 0, "another server in the same slot begins at nothing");
    minute.add(&servers, 900_000, |_| 7);
    minute.fill(&mut servers);
    assert_eq!(servers[0].new_1m, 0, "a long pause empties it");
}

#[test]
fn capacity_counts_limits_and_launches() {
    let mut status = status(1_000, 1_000);
    status.scaler.enabled = true;
    (status.scaler.max, status.scaler.pending, status.scaler.sessions_per_server) = (10, 2, 50);
    let mut third = server("b3", "in_service");
    third.limit = None;
    status.servers.push(third);
    status.room.room = 6;
    status.room.lanes = [4, 5].map(|waiting| LaneStatus { waiting, ..LaneStatus::default() }).into();
    let sample = levels(&status);
    let got = [Column::Capacity, Column::CapacityPending, Column::CapacityMax, Column::Sessions].map(|c| sample.get(c));
    assert_eq!(got, [90.0, 180.0, 450.0, 36.0]);
    assert_eq!([Column::Waiting, Column::Places].map(|c| sample.get(c)), [9.0, 6.0]);
}

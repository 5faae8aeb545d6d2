//! A flash crowd before several doors in virtual time: who enters before whom, how full the farm is, and how often people ask.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
use super::*;
use std::collections::VecDeque;

const TICK_MS: u64 = 100;
const BEAT_MS: u64 = 1_000;
const BOOKED_MS: u64 = 150_000;

/// What is tried.
#[derive(Clone, Copy)]
struct Case {
    doors: usize,
    /// How far the doors' clocks are apart at most.
    skew_ms: u64,
    visitors: usize,
    /// Visitors change doors with every request.
    roam: bool,
    /// Everybody loads the page again much sooner than told.
    hasty: bool,
}

/// What came of it.
struct Outcome {
    /// Pairs that entered in the wrong order although they came more than the skew and a second apart, of all pairs.
    inversions: usize,
    /// The longest time by which somebody passed somebody.
    worst_ms: u64,
    entered: usize,
    /// The share of places that were taken while people waited.
    used: f64,
    polls_per_s: f64,
}

struct Visitor {
    came_ms: u64,
    text: Option<String>,
    due_ms: u64,
    door: usize,
}

fn run(case: Case) -> Outcome {
    const PLACES: usize = 400;
    let mut draws = Draws::from_u64(5 + case.doors as u64);
    let skews: Vec<u64> = (0..case.doors)
        .map(|d| if case.doors > 1 { case.skew_ms * d as u64 / (case.doors as u64 - 1) } else { 0 })
        .collect();
    let now = |door: usize, ms: u64| Now { mono: Mono(ms), wall: Wall(START_MS + ms + skews[door]) };
    let spec = RoomSpec { polls_per_s_max: 300.0, ..spec() };
    let mut doors: Vec<Farm> =
        (0..case.doors).map(|d| Farm::new(spec.clone(), &SavedRoom::default(), d as u64, now(d, 0))).collect();
    // Sessions of 40 s on a farm that is full; each door knows of ends by heartbeats, and of what it has sent since.
    let mut ends: Vec<u64> = (0..PLACES).map(|_| (draws.unit() * 40_000.0) as u64).collect();
    let mut reported = 0;
    let mut sent = vec![0_usize; case.doors];
    let mut ended = 0_u64;
    let mut coming: VecDeque<u64> = {
        let mut times: Vec<u64> = (0..case.visitors).map(|_| (draws.unit() * 60_000.0) as u64).collect();
        times.sort_unstable();
        times.into()
    };
    let mut visitors: Vec<Visitor> = Vec::new();
    let mut entered: Vec<(u64, u64)> = Vec::new();
    let (mut polls, mut busy_ms, mut idle) = (0_u64, 0_u64, 0_usize);
    let mut words: Vec<Option<RoomWord>> = vec![None; case.doors];
    for ms in (0..BOOKED_MS).step_by(TICK_MS as usize) {
        let before = ends.len();
        ends.retain(|end| *end > ms);
        ended += (before - ends.len()) as u64;
        if ms % BEAT_MS == 0 {
            reported = ends.len();
            sent.fill(0);
            words = doors.iter().map(|door| door.room.word().cloned()).collect();
        }
        for (d, door) in doors.iter_mut().enumerate() {
            door.free = PLACES.saturating_sub(reported + case.doors * sent[d]) as u32;
            door.ended = ended;
            let others: Vec<RoomWord> =
                words.iter().enumerate().filter(|(other, _)| *other != d).filter_map(|(_, w)| w.clone()).collect();
            door.tick(&others, now(d, ms));
        }
        while coming.front().is_some_and(|came| *came <= ms) {
            let came_ms = coming.pop_front().unwrap();
            visitors.push(Visitor { came_ms, text: None, due_ms: ms, door: draws.below(case.doors) });
        }
        let mut stay = Vec::with_capacity(visitors.len());
        for mut visitor in visitors.drain(..) {
            if visitor.due_ms > ms {
                stay.push(visitor);
                continue;
            }
            if case.roam {
                visitor.door = draws.below(case.doors);
            }
            polls += 1;
            let d = visitor.door;
            match doors[d].ask(visitor.text.as_deref(), "/", now(d, ms)) {
                Ok(_) => {
                    sent[d] += 1;
                    ends.push(ms + (draws.unit().max(1e-9).ln() * -40_000.0) as u64);
                    entered.push((visitor.came_ms, ms));
                }
                Err((wait, text)) => {
                    assert!(visitor.text.is_none() || wait.whence == Whence::Kept, "{wait:?}");
                    let told_ms = u64::from(wait.retry_after_s) * 1_000;
                    visitor.due_ms = ms + if case.hasty { told_ms.min(500) } else { told_ms };
                    visitor.text = Some(text);
                    stay.push(visitor);
                }
            }
        }
        visitors = stay;
        assert!(ends.len() <= PLACES, "{} sessions at {ms}", ends.len());
        if !visitors.is_empty() && ms > 10_000 {
            busy_ms += TICK_MS;
            idle += PLACES - ends.len();
        }
    }
    let mut inversions = 0;
    let mut worst_ms = 0;
    for (i, (came, _)) in entered.iter().enumerate() {
        // Whoever came earlier and entered later.
        for (other, _) in &entered[i + 1..] {
            worst_ms = worst_ms.max(came.saturating_sub(*other));
            inversions += usize::from(came.saturating_sub(*other) > case.skew_ms + 3_000);
        }
    }
    let used = 1.0 - idle as f64 / (busy_ms / TICK_MS).max(1) as f64 / PLACES as f64;
    Outcome { inversions, worst_ms, entered: entered.len(), used, polls_per_s: polls as f64 / (BOOKED_MS as f64 / 1_000.0) }
}

#[test]
fn first_come_first_served_at_one_two_and_four_doors() {
    let case = Case { doors: 1, skew_ms: 0, visitors: 1_500, roam: false, hasty: false };
    for case in [
        case,
        Case { hasty: true, ..case },
        Case { doors: 2, ..case },
        Case { doors: 4, ..case },
        Case { doors: 4, roam: true, ..case },
        Case { doors: 2, skew_ms: 2_000, ..case },
        Case { doors: 4, skew_ms: 2_000, roam: true, ..case },
    ] {
        let Case { doors, skew_ms, roam, hasty, .. } = case;
        let outcome = run(case);
        let Outcome { inversions, worst_ms, entered, used, polls_per_s } = outcome;
        println!(
            "{doors} doors, skew {skew_ms} ms, roam {roam}, hasty {hasty}: {entered} entered, {inversions} pairs out of order by more than the skew and 3 s, \
             worst {worst_ms} ms, {:.1} % of places used, {polls_per_s:.0} polls/s",
            used * 100.0
        );
        assert!(entered > 1_000, "{entered}");
        assert_eq!(inversions, 0, "worst {worst_ms} ms");
    }
}

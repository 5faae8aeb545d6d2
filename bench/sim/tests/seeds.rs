//! A few seeds of the simulated world, and that a seed replays exactly.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use farm_sim::{Setup, World};

fn run(seed: u64, minutes: u64) -> farm_sim::Outcome {
    World::new(Setup::draw(seed, minutes * 60_000), None, false).unwrap().run()
}

#[test]
fn a_seed_replays_exactly() {
    assert_eq!(run(1, 5), run(1, 5));
}

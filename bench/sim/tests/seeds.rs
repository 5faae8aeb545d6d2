//! Some seeds of the simulated world, that a seed replays exactly, and that the checkers catch every planted bug.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use farm_sim::{Bug, Rule, Wanted, World, run_seeds};

fn wanted(minutes: u64, bug: Option<Bug>) -> Wanted {
    Wanted { from: 1, count: 1, jobs: 2, minutes, bug, without: vec![] }
}

#[test]
fn a_seed_replays_exactly() {
    let run = || wanted(4, None).world(3, false).map(World::run).unwrap();
    assert_eq!(run(), run());
}

#[test]
fn no_rule_is_broken() {
    let summary = run_seeds(&Wanted { count: 12, ..wanted(20, None) }, |_, _| {}).unwrap();
    assert!(summary.broken.is_empty(), "{summary}");
    assert!(summary.counts["checks"] > 1_000 && summary.faults.values().sum::<u64>() > 100, "{summary}");
}

/// Each bug is caught in one of the first seeds, as what it is.
#[test]
fn planted_bugs_are_caught() {
    let table: [(Bug, &[Rule]); 12] = [
        (Bug::DoubledAttempt, &[Rule::Duplicate]),
        (Bug::LostFsync, &[Rule::Unjournalled]),
        (Bug::ListingBelieved, &[Rule::AboveMax, Rule::Twins, Rule::StoppedEarly, Rule::Duplicate]),
        (Bug::TokenIgnored, &[Rule::Duplicate]),
        (Bug::DrainForgotten, &[Rule::DrainLost]),
        (Bug::TombstoneIgnored, &[Rule::NamedDead]),
        (Bug::MaxIgnored, &[Rule::AboveMax]),
        (Bug::GateSkipped, &[Rule::StoppedNamed]),
        (Bug::SnapshotStale, &[Rule::SentToSilent, Rule::SentToDraining, Rule::Affinity]),
        (Bug::AnswersStale, &[Rule::Named, Rule::NamedDead]),
        (Bug::RetryStorm, &[Rule::CallStorm]),
        (Bug::SessionsHidden, &[Rule::StoppedEarly]),
    ];
    for (bug, rules) in table {
        let found = (1..=30).find_map(|seed| wanted(60, Some(bug)).world(seed, false).map(World::run).unwrap().broken);
        let found = found.unwrap_or_else(|| panic!("{bug:?} is not caught"));
        assert!(rules.contains(&found.rule), "{bug:?} is caught as {found}");
    }
}

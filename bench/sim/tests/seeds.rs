//! Some seeds of the simulated world, that a seed replays exactly, and that the checkers catch every planted bug.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use farm_sim::{Bug, Fault, Rule, Setup, Wanted, World, run_seeds};

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
    let summary = run_seeds(&Wanted { count: 8, ..wanted(20, None) }, |_, _| {}).unwrap();
    assert!(summary.broken.is_empty(), "{summary}");
    assert!(summary.counts["checks"] > 1_000 && summary.faults.values().sum::<u64>() > 100, "{summary}");
}

/// Each bug is caught as what it is, in a seed that is known to show it. A world ends with its first violation.
#[test]
fn planted_bugs_are_caught() {
    let table: [(Bug, &[u64], &[Rule]); 12] = [
        (Bug::DoubledAttempt, &[1, 2], &[Rule::Duplicate]),
        (Bug::LostFsync, &[1, 2], &[Rule::Unjournalled]),
        (Bug::ListingBelieved, &[5, 10], &[Rule::AboveMax, Rule::Twins, Rule::StoppedEarly, Rule::Duplicate]),
        (Bug::TokenIgnored, &[24, 31, 32], &[Rule::Duplicate]),
        (Bug::DrainForgotten, &[1, 2, 3, 4, 5, 6, 7, 8], &[Rule::DrainLost]),
        (Bug::TombstoneIgnored, &[5, 10, 12], &[Rule::NamedDead]),
        (Bug::MaxIgnored, &[5, 7, 12], &[Rule::AboveMax]),
        (Bug::GateSkipped, &[5, 7, 16], &[Rule::StoppedNamed]),
        (Bug::SnapshotStale, &[1, 6, 10], &[Rule::SentToSilent, Rule::SentToDraining, Rule::Affinity]),
        (Bug::AnswersStale, &[3, 11], &[Rule::Named, Rule::NamedDead]),
        (Bug::RetryStorm, &[4, 8], &[Rule::CallStorm]),
        (Bug::SessionsHidden, &[2, 4, 11], &[Rule::StoppedEarly]),
    ];
    for (bug, seeds, rules) in table {
        let run = |seed| {
            let mut setup = Setup::draw(seed, 25 * 60_000);
            // Few agents crash while they drain: here nothing else happens, and often.
            if bug == Bug::DrainForgotten {
                setup.fault_gap_ms = 1_000;
                setup.without = Fault::ALL.into_iter().filter(|fault| *fault != Fault::AgentCrash).collect();
            }
            World::new(setup, Some(bug), false).unwrap().run().broken
        };
        // One of them suffices: a change elsewhere may shift what happens in a seed.
        let found = seeds.iter().find_map(|seed| run(*seed)).unwrap_or_else(|| panic!("{bug:?} is not caught"));
        assert!(rules.contains(&found.rule), "{bug:?} is caught as {found}");
    }
}

/// Seeds that once broke a rule.
#[test]
fn what_was_found_stays_mended() {
    // 154: an instance was taken for gone although there had been no lists to leave it out.
    // 265: a checker judged a termination by the start of the door that sent it, not of the one that decided it.
    for (seed, minutes) in [(154, 72), (265, 29)] {
        let outcome = wanted(minutes, None).world(seed, false).map(World::run).unwrap();
        assert_eq!(outcome.broken, None, "seed {seed}");
    }
}

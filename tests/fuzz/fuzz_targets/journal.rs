//! What an operator gives to `replay`, `simulate` and `chaos graph`: journals, scenarios, graphs. Read or refused, never a panic and
//! never more than the bounds that keep a run within a machine.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redirector_core::drill::Graph;
use redirector_core::whatif::{Scenario, read_journal};

fuzz_target!(|text: &str| {
    if let Ok(replay) = read_journal(text.lines(), 1) {
        assert!(replay.problems.len() <= 20 && replay.problem_count >= replay.problems.len());
        assert!(replay.demand.sessions.iter().all(|s| s.at_ms <= replay.demand.duration_ms));
        assert!(replay.scenario.boot.p95_s() <= 86_400.0 && replay.scenario.session_s.is_finite());
    }
    match Scenario::parse("fuzz.toml", text) {
        Ok(scenario) => assert!(scenario.rate_per_s.is_finite() && scenario.min <= scenario.max && scenario.servers > 0),
        Err(problems) => assert!(!problems.is_empty()),
    }
    let _ = Graph::from_json(text);
});

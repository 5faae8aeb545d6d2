#![allow(clippy::unwrap_used)]
use super::*;
use crate::config::{ScalePolicy, ScalerSpec};
use farm_shared::config::Document;

const TEXT: &str = r#"
name = "mine"
duration = "1h"
clients = 260
session = "2m"
zones = 2
[boot]
kind = "lognormal"
median = "70s"
p95 = "3m"
[[shape]]
kind = "ramp"
at = "10m"
over = "10m"
factor = 6
[[shape]]
kind = "noise"
share = 0.1
over = "30s"
[[fault]]
kind = "zone-loss"
at = "30m"
zone = 1
[[fault]]
kind = "server-loss"
at = "20m"
"#;

#[test]
fn scenarios_are_read() {
    let scenario = Scenario::parse("s.toml", TEXT).unwrap();
    assert_eq!((scenario.servers, scenario.rate_per_s), (4, 260.0 / 120.0));
    assert_eq!(scenario.boot, BootTime::LogNormal { median_s: 70.0, p95_s: 180.0 });
    assert_eq!(scenario.shapes.len(), 2);
    assert_eq!(
        scenario.faults,
        [Fault::ServerLoss { at_s: 1_200.0, servers: 1 }, Fault::ZoneLoss { at_s: 1_800.0, zone: 1 }]
    );
}

#[test]
fn every_problem_of_a_scenario_at_once() {
    for (text, expect) in [
        ("", vec!["s.toml:1: name: found nothing", "rate: found both or none"]),
        (
            "name='x'\nrate=1\nclients=1\nmin=9\nmax=3",
            vec!["rate: found both", "s.toml:4: min: found 9, expected at most max, 3"],
        ),
        (
            "name='x'\nrate=1\n[[shape]]\n[[fault]]\n[[shape]]\nkind='cliff'",
            vec![
                "s.toml:3: shape[0].kind: found nothing",
                "s.toml:4: fault[0].kind: found nothing",
                "s.toml:6: shape[1].kind: found \"cliff\"",
            ],
        ),
        ("name='x'\nrate=1000000\nduration='30d'", vec!["rate: found up to"]),
        ("name='x'\nrate=1\n[[fault]]\nkind='zone-loss'\nzone=5", vec!["fault: found zone 5"]),
        ("name='x'\nrate=1\n[boot]\nkind='uniform'\nfrom='9s'\nto='5s'", vec!["s.toml:5: boot.from: found 9 s"]),
    ] {
        let problems: Vec<String> = Scenario::parse("s.toml", text).unwrap_err().iter().map(ToString::to_string).collect();
        for part in expect {
            assert!(problems.iter().any(|p| p.contains(part)), "{part} is missing in {problems:#?}");
        }
    }
}

#[test]
fn all_scenario_options_are_described() {
    let document = Document::describe();
    let _ = Scenario::read(&document.root());
    assert!(document.options().len() > 30 && document.options().iter().all(|o| !o.about.is_empty()));
}

#[test]
fn built_in_scenarios() {
    for name in NAMES {
        let scenario = Scenario::builtin(name).unwrap();
        assert_eq!(scenario.name, name);
        assert!(scenario.servers >= 1 && scenario.faults.iter().all(|f| f.at_s() < scenario.duration_s as f64));
    }
    assert_eq!(Scenario::builtin("nothing"), None);
}

#[test]
fn boot_times() {
    let mut draws = farm_shared::draw::Draws::from_u64(5);
    for boot in [BootTime::Fixed(25.0), BootTime::Uniform(10.0, 30.0), BootTime::LogNormal { median_s: 70.0, p95_s: 180.0 }]
    {
        let mut all: Vec<u64> = (0..20_000).map(|_| boot.draw_ms(&mut draws)).collect();
        all.sort_unstable();
        let mean_s = all.iter().sum::<u64>() as f64 / 20e6;
        assert!((mean_s / boot.mean_s() - 1.0).abs() < 0.03, "{boot:?}: {mean_s}");
        assert!((all[19_000] as f64 / 1e3 / boot.p95_s() - 1.0).abs() < 0.05, "{boot:?}: {}", all[19_000]);
    }
}

fn play(scenario: &Scenario, rule: ScalePolicy, seed: u64) -> Outcome {
    let policy = scenario.policy(&ScalerSpec { policy: rule, ..ScalerSpec::default() });
    scenario.simulate(&policy, Rules::default(), &scenario.demand(seed), seed)
}

#[test]
fn runs_repeat_and_account_for_every_session() {
    let scenario = Scenario::builtin("zone-loss").unwrap();
    for rule in ScalePolicy::ALL {
        let outcome = play(&scenario, rule, 7);
        assert_eq!(outcome, play(&scenario, rule, 7), "{rule:?}");
        assert_eq!(outcome.sessions, scenario.demand(7).sessions.len() as u64);
        assert!(outcome.aborted > 0, "sessions of the lost zone: {outcome:?}");
        assert_eq!(outcome.stopped_plans, 0, "{rule:?}");
    }
}

#[test]
fn ours_lets_nobody_wait_where_the_papers_rule_does() {
    let scenario = Scenario::builtin("ramp").unwrap();
    let demand = scenario.demand(1);
    let known = scenario.all_knowing(&demand);
    let [paper, ours] = [ScalePolicy::Paper, ScalePolicy::Sizing].map(|rule| play(&scenario, rule, 1));
    assert_eq!((ours.waited, ours.aborted), (0, 0), "{:?}", Outcome { series: vec![], ..ours.clone() });
    assert!(paper.waited > 1_000);
    assert!(ours.server_h >= known.bound_server_h, "nobody is better than the bound");
    assert!(ours.server_h < 1.6 * known.schedule_server_h, "{} {}", ours.server_h, known.schedule_server_h);
}

//! `--log-format json`: every line of a running door is one object that a machine can read.

use farm_tests::daemon::SOON;
use farm_tests::farm::{Farm, Options};
use farm_tests::wait;
use rustix::process::Signal;
use serde_json::Value;

#[test]
fn every_line_of_the_log_is_an_object() {
    let door_args = &["--log-format", "json"];
    let mut farm = Farm::start(Options { min: 2, door_args, ..Options::default() });
    farm.wait_for(2);
    // Quotes, line ends and control characters of somebody else must stay inside one text.
    let why = "a \"new\" disk \\ \u{1b}[31m\u{85}";
    farm.commanded("redirector", &["drain", "b1", "--why", why], "door0.toml");
    farm.door(0).signal(Signal::HUP);
    let lines = || -> Vec<Value> {
        let log = farm.door(0).log();
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"))).collect()
    };
    let said = |line: &Value, words: &str| line["message"].as_str().is_some_and(|text| text.contains(words));
    let told = |topic: &str, words: &str| {
        wait::until(words, SOON, || lines().into_iter().find(|line| line["topic"] == topic && said(line, words)))
    };
    told("operator", "b1");
    told("config", "");
    wait::until("the metric", SOON, || {
        (farm.door(0).metric("redirector_reloads_total{outcome=\"ok\"}")? == 1.0).then_some(())
    });
    for line in lines() {
        assert!(line["message"].is_string() && line["target"].is_string(), "{line}");
        assert!(line["timestamp"].as_str().is_some_and(|t| t.ends_with('Z')), "{line}");
        assert!(["INFO", "WARN", "ERROR"].contains(&line["level"].as_str().unwrap_or_default()), "{line}");
    }
}

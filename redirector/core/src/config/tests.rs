#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use farm_shared::config::Document;

fn problems(text: &str) -> (Option<Spec>, Vec<String>) {
    let document = Document::parse("redirector.toml", text);
    let spec = Spec::read(&document.root());
    (spec, document.finish().iter().map(ToString::to_string).collect())
}

const GOOD: &str = r#"
hosts = ["mail.example.com"]
[server]
id = "door1"
[farm]
name = "mail"
key_file = "demo.key"
[heartbeat]
listen_udp = ["127.0.0.1:8081"]
"#;

#[test]
fn a_short_configuration_is_enough() {
    let (spec, problems) = problems(GOOD);
    assert_eq!(problems, Vec::<String>::new());
    let spec = spec.unwrap();
    assert_eq!(spec.door, DoorSpec::default());
    assert_eq!(spec.scaler, ScalerSpec::default());
    assert_eq!(spec.lease, farm_shared::member::LeasePolicy::default());
}

#[test]
fn every_problem_at_once() {
    let cases: [(&str, &[&str]); 7] = [
        ("", &["server.id", "farm.name", "farm.key_file", "hosts", "heartbeat"]),
        (
            "[scaler]\nmin = 5\nmax = 3\nenabled = true\nboot_deadline = \"1s\"",
            &["scaler.min", "scaler.boot_deadline", "provider"],
        ),
        ("[door]\ntarget = \"http://{ip}/x\"\npolicy = \"best\"", &["door.target", "door.policy"]),
        ("[door]\ntarget = \"http://front:{port}\"", &["door.target"]),
        ("[admin]\nlisten = \"0.0.0.0:80\"", &["admin.listen"]),
        (
            "[provider]\nkind = \"ec2\"\n[provider.ec2]\nendpoint = \"http://x/y\"\ncall_timeout = \"1ms\"\nkey = 1",
            &["ec2.region", "ec2.endpoint", "ec2.profile_file", "ec2.call_timeout", "ec2.key"],
        ),
        (
            "[provider]\nkind = \"process\"\n[provider.process]\nfirst_address = \"10.0.0.1\"\ncount_max = 2",
            &["no [[provider.process.command]]", "provider.process.first_address", "provider.process.count_max"],
        ),
    ];
    for (text, expect) in cases {
        let (_, found) = problems(text);
        for key in expect {
            assert!(found.iter().any(|p| p.contains(key)), "{key} is missing in {found:#?}");
        }
    }
}

#[test]
fn all_options_are_described() {
    let document = Document::describe();
    Spec::read(&document.root());
    let options = document.options();
    assert!(options.len() > 50);
    assert!(options.iter().all(|o| !o.about.is_empty()), "{options:?}");
}

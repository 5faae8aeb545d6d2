//! Launch profiles against an independent judge: cloud-init itself takes their user data apart, and the tables say what the program does.
//!
//! Where cloud-init is missing, its test says `SKIPPED`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::daemon::{Scratch, bins, root};
use farm_tests::ec2::moto::python_or_skip;
use farm_tests::ec2::validate;
use farm_tests::farm::{KEY, secret};
use farm_tests::peer::skipped;
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

fn redirector(scratch: &Scratch, words: &[&str]) -> Output {
    Command::new(bins().join("redirector")).args(words).current_dir(scratch.path()).output().expect("redirector")
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// A Python that has cloud-init, which Debian installs for the system's own.
fn python() -> Option<&'static str> {
    let has = |python: &&str| {
        let tried = Command::new(python).args(["-c", "import cloudinit.user_data"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    let found = ["/usr/bin/python3", "python3"].into_iter().find(has);
    if found.is_none() {
        skipped("cloud-init is not installed: user data was not judged");
    }
    found
}

fn judged(python: &str, scratch: &Scratch, user_data: &str) -> Value {
    let folder = scratch.path().join("cloud");
    // Where cloud-init keeps what belongs to this boot's instance.
    std::fs::create_dir_all(folder.join("instance/scripts")).unwrap();
    let mut judge = Command::new(python)
        .arg(root().join("tests/ec2/cloud_init.py"))
        .arg(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python");
    judge.stdin.take().unwrap().write_all(user_data.as_bytes()).unwrap();
    let output = judge.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn cloud_init_reads_the_shipped_profiles() {
    let Some(python) = python() else { return };
    let scratch = Scratch::new("cloud-init");
    let file = root().join("zones/profiles/web.toml").display().to_string();
    let render = ["profile", "render", "web", "--file", &file, "--region", "eu-central-1", "--id", "b7", "--secrets"];
    let judged = judged(python, &scratch, &printed(&redirector(&scratch, &render)));
    let parts = json!([
        ["text/cloud-config", "01-cloud-config.yaml"],
        ["text/x-shellscript", "02-deploy.sh"],
        ["text/x-shellscript", "03-agent.sh"]
    ]);
    assert_eq!(judged["parts"], parts, "{judged}");
    assert_eq!(judged["scripts"], json!({"02-deploy.sh": "0o700", "03-agent.sh": "0o700"}), "they run in this order");
    assert_eq!(judged["config"]["packages"], json!(["chrony", "nginx-light"]));
    assert_eq!(judged["warnings"], json!([]));
}

#[test]
fn cloud_init_merges_parts_as_the_profile_says() {
    let Some(python) = python() else { return };
    let scratch = Scratch::new("cloud-init-merge");
    let part = |text: &str, merge: &str| {
        format!("[[profile.user_data]]\nkind = 'cloud-config'\ntext = \"\"\"\n{text}\"\"\"\n{merge}")
    };
    let profile = [
        "[[profile]]\nname = 'x'\nami = { us-east-1 = 'ami-01234567' }\n[[profile.type]]\nname = 't3.small'\n".to_owned(),
        part("#cloud-config\npackages: [one]\n", ""),
        part(
            "#cloud-config\npackages: [two]\nbootcmd: ['echo größer']\n",
            "merge_type = 'list(append)+dict(recurse_list)+str()'\n",
        ),
    ];
    scratch.write("p.toml", &profile.concat());
    let render = ["profile", "render", "x", "--file", "p.toml", "--region", "us-east-1"];
    let judged = judged(python, &scratch, &printed(&redirector(&scratch, &render)));
    assert_eq!(judged["config"]["packages"], json!(["one", "two"]), "{judged}");
    assert_eq!(judged["config"]["bootcmd"], json!(["echo größer"]), "what is not ASCII comes through");
}

/// botocore's model of the API is the judge: fields, types, lists, sizes.
#[test]
fn botocore_reads_the_requests() {
    let Some(python) = python_or_skip("requests of profiles") else { return };
    let scratch = Scratch::new("profile-requests");
    let file = root().join("zones/profiles/web.toml");
    let text =
        std::fs::read_to_string(&file).unwrap().replace("parts/", &format!("{}/parts/", file.parent().unwrap().display()));
    scratch.write("p.toml", &text);
    let fleet = text.replace("name = \"web\"\n", "name = \"web\"\nfleet = true\nfleet_per_zone = true\n");
    scratch.write("fleet.toml", &fleet);
    let mut calls = String::new();
    for (file, name) in [("p.toml", "web"), ("p.toml", "names"), ("fleet.toml", "web")] {
        let words = ["profile", "render", name, "--file", file, "--region", "eu-central-1", "--request"];
        for body in printed(&redirector(&scratch, &words)).lines() {
            let headers = json!({"content-type": "application/x-www-form-urlencoded; charset=utf-8"});
            calls += &json!({"method": "POST", "path": "/", "headers": headers, "body": body}).to_string();
            calls.push('\n');
        }
    }
    let report = validate::report(&python, &scratch.write("calls.jsonl", &calls), false);
    assert_eq!(validate::problems(&report), Vec::<String>::new());
    assert_eq!(report["actions"], json!({"RunInstances": 2, "CreateLaunchTemplate": 1, "CreateFleet": 1}));
}

#[test]
fn keys_are_masked_unless_asked_for() {
    let scratch = Scratch::new("profile-keys");
    secret(&scratch, "farm.key", KEY);
    std::fs::create_dir_all(scratch.path().join("parts")).unwrap();
    for file in ["web.toml", "parts/base.yaml", "parts/deploy.sh"] {
        std::fs::copy(root().join("zones/profiles").join(file), scratch.path().join(file)).unwrap();
    }
    scratch.write(
        "redirector.toml",
        "hosts = [\"*\"]\n[server]\nid = \"door1\"\n[farm]\nname = \"mail\"\nkey_file = \"farm.key\"\n[heartbeat]\n\
         listen_udp = [\"127.0.0.1:0\"]\n[provider]\nkind = \"ec2\"\n[provider.ec2]\nregion = \"eu-central-1\"\n\
         profile_file = \"web.toml\"\nprofile = \"web\"\n[[role]]\nname = \"ns1\"\nprofile = \"names\"\nzone = \"eu-central-1b\"\n",
    );
    let key = printed(&redirector(&scratch, &["key", "--id", "b7"]));
    let render = |words: &[&str]| {
        let all = [&["profile", "render", "web", "--id", "b7"], words].concat();
        printed(&redirector(&scratch, &all))
    };
    let (masked, open) = (render(&["--decoded"]), render(&["--decoded", "--secrets"]));
    assert!(!masked.contains(key.trim()) && masked.contains(&"*".repeat(64)), "{masked}");
    assert_eq!(
        open.replace(key.trim(), &"*".repeat(64)).split_once('\n').unwrap().1.lines().count(),
        masked.lines().count() - 1
    );
    assert!(open.contains(key.trim()));
    let request = render(&["--request", "--zone", "eu-central-1b", "--type", "c6i.large"]);
    assert!(request.starts_with("Action=RunInstances&Version=2016-11-15&ClientToken="), "{request}");
    assert!(
        request.contains("&InstanceType=c6i.large&") && request.contains("&SubnetId=subnet-0123456789abcdef1&"),
        "{request}"
    );
    let role = printed(&redirector(&scratch, &["profile", "render", "names", "--role", "ns1", "--request"]));
    assert!(role.contains("farm%3Arole&") && role.contains("Value=ns1.farm.lb.example.com"), "{role}");
    let wrong = redirector(&scratch, &["profile", "render", "web", "--zone", "eu-central-1c"]);
    assert!(
        String::from_utf8_lossy(&wrong.stderr).contains("that is not offered; there are: spot c7i.large in eu-central-1a")
    );

    // A profile that would fail at night is refused when the configuration is read, with everything else that is wrong.
    scratch.write("parts/deploy.sh", "echo {{ colour }}\n");
    let refused = redirector(&scratch, &["check", "redirector.toml"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{told}");
    for part in ["\"echo {{ colour }}\" as the first line", "deploy.sh:1: ", "the unknown placeholder \"colour\""] {
        assert!(told.contains(part), "{part} is missing in {told}");
    }
}

#[test]
fn profiles_check_themselves() {
    let scratch = Scratch::new("profile-check");
    let file = root().join("zones/profiles/web.toml").display().to_string();
    assert!(printed(&redirector(&scratch, &["profile", "check", &file])).ends_with("web.toml: good: web, names\n"));
    let elsewhere = redirector(&scratch, &["profile", "check", &file, "--region", "ap-south-1"]);
    assert_eq!(elsewhere.status.code(), Some(78));
    scratch.write("p.toml", "[[profile]]\nname = 'X'\ntype = 3\n");
    let bad = redirector(&scratch, &["profile", "check", "p.toml"]);
    let told = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(told.contains("p.toml:2: profile[0].name: found \"X\"") && told.contains("p.toml:3: profile[0].type"), "{told}");
}

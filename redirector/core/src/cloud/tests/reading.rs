//! Profiles good and bad.

use super::*;

fn problems(text: &str) -> Vec<String> {
    match Profiles::load("p.toml", text, &files()) {
        Ok(profiles) => profiles.warnings.iter().map(ToString::to_string).collect(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_good_profile_has_no_problem() {
    assert_eq!(problems(WEB), Vec::<String>::new());
    let profiles = Profiles::load("p.toml", WEB, &files()).unwrap();
    assert_eq!(profiles.get(None).unwrap().name, id("web"));
    assert_eq!(profiles.get(Some("mail")).unwrap_err(), "one of \"web\"");
}

#[test]
fn every_problem_at_once() {
    let cases: [(&str, &[&str]); 12] = [
        ("", &["p.toml:1: profile: found nothing, expected a [[profile]]"]),
        ("[[profile]]", &["profile[0].name", "profile[0].type: found nothing", "profile[0].ami: found no image"]),
        (
            "[[profile]]\nname = 'X'\nspot = true\nami = { useast1 = 'ami-01234567', us-east-1 = 'ami-1' }\n\n[[profile.type]]\nname = 'large'\nprice_usd = 2",
            &[
                "p.toml:2: profile[0].name: found \"X\"",
                "p.toml:3: profile[0].spot: found an unknown key",
                "p.toml:4: profile[0].ami.useast1: found this key, expected a region",
                "p.toml:4: profile[0].ami.us-east-1: found \"ami-1\"",
                "p.toml:7: profile[0].type[0].name: found \"large\", expected an instance type",
                "p.toml:8: profile[0].type[0].price_usd: found an unknown key, expected `price_usd_h` (did you mean that?)",
            ],
        ),
        (
            "[[profile]]\n[[profile.user_data]]\nkind = 'shel'\ntext = 'x'\n[[profile.user_data]]\nkind = 'shell'\nfile = 'none.sh'\n\
             [[profile.user_data]]\nkind = 'shell'\ntext = 'echo'\n[[profile.user_data]]\nkind = 'shell'\n[[profile.user_data]]\nkind='agent'\ntext='x'",
            &[
                "p.toml:3: profile[0].user_data[0].kind: found \"shel\", expected \"agent\", \"cloud-config\"",
                "p.toml:7: profile[0].user_data[1].file: found \"none.sh\": No such file or directory",
                "p.toml:10: profile[0].user_data[2].text: found \"echo\" as the first line, expected an interpreter",
                "user_data[3]: found neither `file` nor `text`",
                "user_data[4].kind: found \"agent\" with a text",
            ],
        ),
        (
            "[[profile]]\n[[profile.user_data]]\nkind = 'shell'\nfile = 'bad.sh'\ntemplate = true",
            &[
                "bad.sh:3: profile[0].user_data[0].kind: found the unknown placeholder \"hostname\", expected one of `agent_folder`",
                "bad.sh:4: profile[0].user_data[0].kind: found \"{{\" without \"}}\" in its line",
            ],
        ),
        (
            "[[profile]]\n[[profile.user_data]]\nkind = 'shell'\ntemplate = true\ntext = '''\n#!/bin/sh\n{{ zone }} {{ host }}'''",
            &["found `{{ zone }}`, which EC2 chooses"],
        ),
        (
            "[[profile]]\nfleet = true\n[profile.launch_template]\nversion = '0'",
            &["launch_template.name", "launch_template.version"],
        ),
        (
            "[[profile]]\n[profile.network]\nsecurity_groups = ['web']\npublic_address = true\nzones = ['east']\nsubnets = { us-east-1a = 'net' }",
            &["network.security_groups: found names", "network.zones", "network.subnets.us-east-1a"],
        ),
        (
            "[[profile]]\n[profile.tags]\n'farm:role' = 'x'\n'a b' = 'y'",
            &["tags.\"farm:role\"", "tags.\"a b\": found a key that EC2 does not show"],
        ),
        ("[[profile]]\n[profile.vars]\nzone = 'x'\nBig = 'y'", &["vars.zone: found a placeholder that exists", "vars.Big"]),
        (
            "[[profile]]\n[profile.agent]\nload = \"$(x)\"\nfronts = [\"a b\"]\nmore = 'END_OF_SETTINGS'",
            &["agent.load", "agent.fronts", "agent.more"],
        ),
        (
            "[[profile]]\n[[profile.device]]\nname = '/dev/xvda;'\nsnapshot = 'x'\nvirtual_name = 'ephemeral0'\nsize_gib = 0",
            &["device[0].name", "device[0].snapshot", "device[0].virtual_name", "device[0].size_gib"],
        ),
    ];
    for (text, expect) in cases {
        let found = problems(text);
        for part in expect {
            assert!(found.iter().any(|p| p.contains(part)), "{part} is missing in {found:#?}");
        }
    }
}

#[test]
fn what_would_fail_at_the_launch_fails_at_the_check() {
    let load = |text: &str| Profiles::load("p.toml", text, &files()).unwrap();
    let elsewhere = Ec2Settings { region: "ap-south-1".into(), ..settings(vec![]) };
    let problems = Ec2Blueprint::new(elsewhere, &load(WEB)).unwrap_err();
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(told[0].contains("ami: found no image for \"c7i.large\" in ap-south-1"), "{told:#?}");
    assert!(told[2].contains("network: found no zone in ap-south-1"), "{told:#?}");

    let wrong = RoleSpec { zone: Some(id("us-east-1f")), ..role("web-1") };
    let other = RoleSpec { profile: Some("db".into()), ..role("db-1") };
    let told = Ec2Blueprint::new(settings(vec![wrong, other]), &load(WEB)).unwrap_err();
    assert!(
        told[0].to_string().contains("r.toml:3: role[0]: found the zone us-east-1f, expected one of the profile's"),
        "{told:#?}"
    );
    assert!(told[1].to_string().contains("the profile \"db\", expected one of \"web\""), "{told:#?}");

    let mut x = 7_u64;
    let noise: String = (0..30_000)
        .map(|_| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'A' + (x >> 33) as u8 % 26)
        })
        .collect();
    let text = format!("{WEB}\n[[profile.user_data]]\nkind = 'shell'\ntext = \"#!/bin/sh\\n# {noise}\"\n");
    let told = Ec2Blueprint::new(settings(vec![]), &load(&text)).unwrap_err();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].found.contains("more than the 16384 that EC2 takes; the largest part is \"04-shell.sh\""), "{told:#?}");
}

#[test]
fn all_options_are_described() {
    let options = Profiles::options();
    assert!(options.len() > 50, "{}", options.len());
    assert!(options.iter().all(|o| !o.about.is_empty()), "{options:?}");
}

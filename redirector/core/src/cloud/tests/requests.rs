//! The bytes of launches.

use super::*;
use proptest::prelude::*;

/// A body as lines of decoded fields, its user data as the instance reads it.
fn shown(body: &str) -> String {
    let line = |(key, value): (String, String)| {
        if key.ends_with("UserData") {
            return format!("{key}:\n{}\n", decoded(&value).unwrap());
        }
        format!("{key}={value}\n")
    };
    fields(body).unwrap().into_iter().map(line).collect()
}

/// Compares with a file; `UPDATE_GOLDEN=1` is for its author, and the difference is in the commit.
fn golden(name: &str, found: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cloud/tests/golden").join(name);
    #[expect(clippy::disallowed_methods, reason = "a test compares with a file beside it")]
    let expected = {
        if std::env::var("UPDATE_GOLDEN").is_ok() {
            std::fs::write(&path, found).unwrap();
        }
        std::fs::read_to_string(&path).unwrap_or_default()
    };
    assert!(found == expected, "{name} is not what is asked for:\n{found}");
}

#[test]
fn run_instances_on_the_spot_market_with_a_network_interface() {
    let blueprint = blueprint(WEB, vec![]);
    let spot = offering("c7g.large", "us-east-1a", Market::Spot);
    let bodies = blueprint.body(&request("b7", Some(spot))).unwrap();
    assert_eq!(bodies.len(), 1);
    golden("run-instances.txt", &shown(&bodies[0]));
}

#[test]
fn a_role_is_a_tag_and_owns_what_it_is_given() {
    let blueprint = blueprint(WEB, vec![role("web-1")]);
    assert_eq!(blueprint.roles(), [id("web-1")]);
    let role = id("web-1");
    assert!(blueprint.offerings(Some(&role)).iter().all(|o| o.zone == "us-east-1a"));
    let asked = LaunchRequest { role: Some(role.clone()), ..request("web-1", None) };
    let body = blueprint.body(&asked).unwrap().concat();
    let fields = fields(&body).unwrap();
    let has = |key: &str, value: &str| fields.iter().any(|(k, v)| k == key && v == value);
    assert!(
        has("TagSpecification.1.Tag.5.Key", "farm:profile") && has("TagSpecification.1.Tag.6.Value", "web-1"),
        "{fields:?}"
    );
    let attach = blueprint.attach(&role, "i-1", "i5").unwrap();
    assert_eq!((attach.addresses.len(), attach.volumes[0].device.as_str()), (1, "/dev/sdf"));
    assert_eq!(blueprint.attach(&id("db-1"), "i-1", "i5"), None);
    let unknown = LaunchRequest { role: Some(id("db-1")), ..request("db-1", None) };
    assert!(blueprint.body(&unknown).unwrap_err().contains("no role db-1"));
}

#[test]
fn a_fleet_is_a_template_and_a_request_over_types_and_zones() {
    let text = WEB.replace("monitoring = true", "fleet = true").replace("{{ zone }}", "");
    let profiles = |text: &str| {
        let files = Files(BTreeMap::from([("base.yaml", "#cloud-config\n{}\n"), ("web.sh", "#!/bin/sh\n")]));
        Profiles::load("web.toml", text, &files).unwrap()
    };
    let blueprint = Ec2Blueprint::new(settings(vec![]), &profiles(&text)).unwrap();
    let any = |market| offering(ANY_TYPE, ANY_ZONE, market);
    assert_eq!(blueprint.offerings(None), [any(Market::Spot), any(Market::OnDemand)]);
    let bodies = blueprint.body(&request("b7", Some(any(Market::Spot)))).unwrap();
    golden("create-fleet-spot.txt", &bodies.iter().map(|b| shown(b) + "----\n").collect::<String>());
    let bodies = blueprint.body(&request("b7", Some(any(Market::OnDemand)))).unwrap();
    golden("create-fleet-on-demand.txt", &shown(&bodies[1]));
    let per_zone = text.replace("fleet = true", "fleet = true\nfleet_per_zone = true");
    let blueprint = Ec2Blueprint::new(settings(vec![]), &profiles(&per_zone)).unwrap();
    assert_eq!(blueprint.offerings(None).len(), 4);
    assert_eq!(blueprint.price_usd_h(&any(Market::OnDemand)), Some(0.09));
}

#[test]
fn a_launch_template_is_named_with_what_the_profile_adds() {
    let text = "[[profile]]\nname = 'x'\n[[profile.type]]\nname = 'm5.large'\n[profile.launch_template]\nname = 'web'\nversion = '3'\n";
    let blueprint = blueprint(text, vec![]);
    let body = blueprint.body(&request("b7", None)).unwrap().concat();
    for part in ["LaunchTemplate.LaunchTemplateName=web", "LaunchTemplate.Version=3", "InstanceType=m5.large"] {
        assert!(body.contains(part), "{body}");
    }
    assert!(!body.contains("ImageId") && !body.contains("UserData") && !body.contains("Placement"), "{body}");
}

#[test]
fn offerings_come_in_the_order_of_preference() {
    let blueprint = blueprint(WEB, vec![]);
    let [first, .., last] = blueprint.offerings(None) else { panic!() };
    assert_eq!(*first, offering("c7i.large", "us-east-1b", Market::Spot));
    assert_eq!(*last, offering("c7g.large", "us-east-1a", Market::OnDemand));
    assert_eq!(blueprint.offerings(None).len(), 8);
    for (instance_type, market, price) in [
        ("c7i.large", Market::OnDemand, Some(0.09)),
        ("c7i.large", Market::Spot, Some(0.05)),
        ("c7g.large", Market::Spot, Some(0.03)),
        ("m5.large", Market::OnDemand, None),
    ] {
        assert_eq!(blueprint.price_usd_h(&offering(instance_type, "us-east-1a", market)), price, "{instance_type}");
    }
    let refused = blueprint.body(&request("b7", Some(offering("m5.large", "us-east-1a", Market::Spot)))).unwrap_err();
    assert_eq!(refused, "the profile web does not offer spot m5.large in us-east-1a");
}

#[test]
fn the_base_is_on_demand_and_the_share_above_it_on_the_spot_market() {
    for (base, share, expect) in
        [(2, 0.5, "oososos o"), (0, 1.0, "sssssss s"), (0, 0.0, "ooooooo o"), (3, 0.75, "ooosssoss"), (1, 0.7, "osssosso")]
    {
        let market = MarketSpec { on_demand_base: base, spot_share: share, fallback: true, spot_price_usd_h_max: None };
        let (mut on_demand, mut spot, mut bought) = (0, 0, String::new());
        let expect = expect.replace(' ', "");
        while bought.len() < expect.len() {
            match market.next(on_demand, spot) {
                Market::Spot => (spot, bought) = (spot + 1, bought + "s"),
                Market::OnDemand => (on_demand, bought) = (on_demand + 1, bought + "o"),
            }
        }
        assert_eq!(bought, expect, "base {base}, share {share}");
    }
}

#[test]
fn every_member_gets_its_own_key_and_nobody_the_farms() {
    let blueprint = blueprint(WEB, vec![]);
    let text = |member: &str| {
        let body = blueprint.body(&request(member, None)).unwrap().concat();
        let data = fields(&body).unwrap().into_iter().find(|(key, _)| key == "UserData").unwrap().1;
        decoded(&data).unwrap()
    };
    let own = key().member(&id("mail"), &id("b7")).to_hex();
    assert!(text("b7").contains(&own) && !text("b8").contains(&own) && !text("b7").contains(&"5a".repeat(32)));
    let parts = blueprint.parts(&request("b7", None), &blueprint.offerings(None)[0], true).unwrap();
    assert!(parts.iter().all(|part| !part.text.contains(&own)));
}

proptest! {
    #[test]
    fn a_request_is_a_function_of_its_launch(member in "[a-z][a-z0-9-]{0,40}[a-z0-9]", n in 0_usize..8, token in "[0-9a-f]{32}") {
        let blueprint = blueprint(WEB, vec![]);
        let chosen = blueprint.offerings(None)[n].clone();
        let request = LaunchRequest { token: token.clone(), ..request(&member, Some(chosen.clone())) };
        let body = blueprint.body(&request).unwrap();
        prop_assert_eq!(&body, &blueprint.body(&request).unwrap());
        let fields = fields(&body[0]).unwrap();
        let mut keys: Vec<_> = fields.iter().map(|(key, _)| key.clone()).collect();
        keys.sort();
        prop_assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "a field stands twice: {keys:?}");
        let value = |wanted: &str| fields.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.as_str());
        prop_assert_eq!(value("ClientToken"), Some(token.as_str()));
        prop_assert_eq!((value("MinCount"), value("MaxCount")), (Some("1"), Some("1")));
        prop_assert_eq!(value("InstanceType"), Some(chosen.instance_type.as_str()));
        let tags: Vec<_> = fields.windows(2).filter(|w| w[0].1 == "farm:member").map(|w| w[1].1.as_str()).collect();
        prop_assert_eq!(tags, vec![member.as_str(), member.as_str()]);
    }
}

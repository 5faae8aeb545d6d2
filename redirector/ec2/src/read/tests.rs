//! Answers in the shapes that EC2 gives them, cut down to what is read.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

const INSTANCE: &str = "<instanceId>i-0a</instanceId><imageId>ami-1</imageId>\
    <instanceState><code>16</code><name>running</name></instanceState><instanceType>m5.large</instanceType>\
    <launchTime>2026-11-21T12:01:53.000Z</launchTime><placement><availabilityZone>eu-central-1a</availabilityZone>\
    <groupName/><tenancy>default</tenancy></placement><privateIpAddress>10.0.1.7</privateIpAddress><ipAddress>3.4.5.6</ipAddress>\
    <instanceLifecycle>spot</instanceLifecycle>\
    <groupSet><item><groupId>sg-1</groupId><groupName>web</groupName></item></groupSet>\
    <networkInterfaceSet><item><ipv6AddressesSet><item><ipv6Address>2001:db8::7</ipv6Address></item></ipv6AddressesSet></item>\
    </networkInterfaceSet>";

fn tag(key: &str, value: &str) -> String {
    format!("<item><key>{key}</key><value>{value}</value></item>")
}

fn page(items: &[String]) -> Element {
    let set = |item: &String| format!("<item><instancesSet><item>{item}</item></instancesSet></item>");
    let sets = items.iter().map(set).collect::<Vec<_>>().concat();
    let text = format!(
        "<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r</requestId>\
         <reservationSet>{sets}</reservationSet><nextToken>t</nextToken></DescribeInstancesResponse>"
    );
    Element::parse(text.as_bytes()).unwrap()
}

fn farm() -> Id {
    Id::new("mail").unwrap()
}

#[test]
fn an_instance_is_read_with_all_that_is_known() {
    let tags = [
        tag(TAG_FARM, "mail"),
        tag(TAG_MEMBER, "b7"),
        tag(TAG_INTENT, "i1-2"),
        tag(TAG_ROLE, "web-1"),
        tag("Name", "b7.mail"),
    ]
    .concat();
    let page = page(&[format!("{INSTANCE}<tagSet>{tags}</tagSet>")]);
    let expect = Instance {
        member_id: Some(Id::new("b7").unwrap()),
        intent: Some("i1-2".into()),
        offering: Some(Offering { instance_type: "m5.large".into(), zone: "eu-central-1a".into(), market: Market::Spot }),
        role: Some(Id::new("web-1").unwrap()),
        addrs: vec!["10.0.1.7".parse().unwrap(), "2001:db8::7".parse().unwrap(), "3.4.5.6".parse().unwrap()],
        ..Instance::new("i-0a", farm(), InstanceState::Running, 1_795_262_513_000)
    };
    assert_eq!(instances(&page, &farm()).unwrap(), [expect]);
    assert_eq!(next_token(&page), Some("t"));
    assert_eq!(security_groups(&page).unwrap(), ["sg-1"]);
}

#[test]
fn states_are_mapped_and_none_is_guessed() {
    let cases = [
        ("pending", Some(InstanceState::Pending)),
        ("running", Some(InstanceState::Running)),
        ("shutting-down", Some(InstanceState::Stopping)),
        ("stopping", Some(InstanceState::Stopping)),
        ("stopped", Some(InstanceState::Stopped)),
        ("terminated", Some(InstanceState::Gone)),
        ("hibernating", None),
        ("", None),
    ];
    for (name, expect) in cases {
        let item = INSTANCE.replace("<name>running</name>", &format!("<name>{name}</name>"));
        let page = page(&[format!("{item}<tagSet>{}</tagSet>", tag(TAG_FARM, "mail"))]);
        let state = instances(&page, &farm()).ok().map(|list| list[0].state);
        assert_eq!(state, expect, "{name}");
    }
}

#[test]
fn half_an_instance_spoils_the_listing_and_a_stranger_does_not() {
    let ours = format!("<tagSet>{}</tagSet>", tag(TAG_FARM, "mail"));
    for missing in ["instanceId", "launchTime", "instanceState"] {
        let item = INSTANCE.replace(&format!("<{missing}>"), "<x>").replace(&format!("</{missing}>"), "</x>");
        assert!(instances(&page(&[format!("{INSTANCE}{ours}"), format!("{item}{ours}")]), &farm()).is_err(), "{missing}");
    }
    let other = format!("{INSTANCE}<tagSet>{}</tagSet>", tag(TAG_FARM, "web"));
    assert_eq!(instances(&page(&[other, INSTANCE.to_owned()]), &farm()).unwrap(), []);
}

#[test]
fn a_bad_member_tag_is_no_member_and_a_kept_one_is_kept() {
    let tags = [tag(TAG_FARM, "mail"), tag(TAG_MEMBER, "not an id!"), tag(TAG_INTENT, ""), tag(TAG_KEPT, "")].concat();
    let list = instances(&page(&[format!("{INSTANCE}<tagSet>{tags}</tagSet>")]), &farm()).unwrap();
    assert_eq!((list[0].member_id.clone(), list[0].intent.clone(), list[0].kept), (None, None, true));
}

#[test]
fn a_launch_is_read() {
    let text = format!("<RunInstancesResponse><instancesSet><item>{INSTANCE}</item></instancesSet></RunInstancesResponse>");
    assert_eq!(launched(&Element::parse(text.as_bytes()).unwrap(), &farm()).unwrap().instance_id, "i-0a");
    let empty = Element::parse(b"<RunInstancesResponse><instancesSet/></RunInstancesResponse>").unwrap();
    assert!(launched(&empty, &farm()).is_err());
}

#[test]
fn a_fleet_launches_or_says_why_not() {
    let launched = "<CreateFleetResponse><fleetId>f</fleetId><errorSet><item><errorCode>InsufficientInstanceCapacity</errorCode>\
        </item></errorSet><fleetInstanceSet><item><lifecycle>spot</lifecycle><instanceType>c5.large</instanceType>\
        <instanceIds><item>i-1</item></instanceIds></item></fleetInstanceSet></CreateFleetResponse>";
    let refused = "<CreateFleetResponse><fleetInstanceSet/><errorSet><item><errorCode>InsufficientInstanceCapacity</errorCode>\
        <errorMessage>none left</errorMessage></item></errorSet></CreateFleetResponse>";
    let cases = [
        (
            launched,
            Fleet::Launched { instance_id: "i-1".into(), instance_type: Some("c5.large".into()), market: Market::Spot },
        ),
        (refused, Fleet::Refused("InsufficientInstanceCapacity".into(), "none left".into())),
        ("<CreateFleetResponse/>", Fleet::Nothing),
    ];
    for (text, expect) in cases {
        assert_eq!(fleet(&Element::parse(text.as_bytes()).unwrap()), expect);
    }
}

#[test]
fn status_checks_that_fail_are_named() {
    let item = |id: &str, system: &str, instance: &str| {
        format!(
            "<item><instanceId>{id}</instanceId><systemStatus><status>{system}</status></systemStatus>\
             <instanceStatus><status>{instance}</status></instanceStatus></item>"
        )
    };
    let items = [
        item("i-1", "ok", "ok"),
        item("i-2", "impaired", "impaired"),
        item("i-3", "ok", "initializing"),
        item("i-4", "ok", "impaired"),
    ];
    let text = format!("<R><instanceStatusSet>{}</instanceStatusSet></R>", items.concat());
    let found = impaired(&Element::parse(text.as_bytes()).unwrap());
    assert_eq!(found.keys().collect::<Vec<_>>(), ["i-2", "i-4"]);
    assert_eq!(found["i-2"], "EC2's system and instance status check fails");
}

#[test]
fn holders_types_zones_images_and_templates() {
    let parse = |text: &str| Element::parse(text.as_bytes()).unwrap();
    let volume = parse(
        "<R><volumeSet><item><attachmentSet><item><instanceId>i-0</instanceId><status>detached</status></item><item>\
         <instanceId>i-1</instanceId><status>attached</status></item></attachmentSet></item></volumeSet></R>",
    );
    assert_eq!(volume_holder(&volume), Some("i-1"));
    let address = parse("<R><addressesSet><item><instanceId>i-2</instanceId></item></addressesSet></R>");
    assert_eq!(address_holder(&address), Some("i-2"));
    assert_eq!(address_holder(&parse("<R><addressesSet><item><instanceId/></item></addressesSet></R>")), None);
    let types = parse(
        "<R><instanceTypeSet><item><instanceType>m5.large</instanceType><vCpuInfo><defaultVCpus>2</defaultVCpus></vCpuInfo>\
         <memoryInfo><sizeInMiB>8192</sizeInMiB></memoryInfo></item></instanceTypeSet></R>",
    );
    let expect = TypeInfo { instance_type: "m5.large".into(), vcpus: 2, memory_mib: 8192 };
    assert_eq!(instance_types(&types).unwrap(), [expect]);
    assert!(instance_types(&parse("<R><instanceTypeSet><item/></instanceTypeSet></R>")).is_err());
    let subnets = parse(
        "<R><subnetSet><item><subnetId>subnet-1</subnetId><availabilityZone>x-1a</availabilityZone></item></subnetSet></R>",
    );
    assert_eq!(subnet_zones(&subnets)["subnet-1"], "x-1a");
    let pictures = parse(
        "<R><imagesSet><item><imageId>ami-1</imageId><imageState>available</imageState></item><item><imageId>ami-2</imageId>\
         <imageState>failed</imageState></item></imagesSet></R>",
    );
    assert_eq!(images(&pictures), ["ami-1"]);
    let made = parse(
        "<R><launchTemplates><item><launchTemplateId>lt-1</launchTemplateId><createTime>2026-11-21T12:01:53.000Z</createTime>\
         <launchTemplateName>farm-mail-0123456789abcdef0123456789abcdef</launchTemplateName></item><item/><item><launchTemplateId>lt-2</launchTemplateId>\
         <createTime>2026-11-21T12:01:53.000Z</createTime><launchTemplateName>farm-mail-base</launchTemplateName></item>\
         </launchTemplates></R>",
    );
    // An operator's own template may carry the farm's tag: it stays.
    assert_eq!(
        templates(&made, &Id::new("mail").unwrap()),
        [Template { template_id: "lt-1".into(), created: Wall(1_795_262_513_000) }]
    );
}

//! The harness itself: that duplicates do appear where nobody prevents them, and that what the proxy adds behaves as EC2 does.

use farm_tests::daemon::Scratch;
use farm_tests::ec2::fault::Fault;
use farm_tests::ec2::form;
use farm_tests::ec2::moto::{Moto, Network, ZONES, call, python_or_skip, send};
use farm_tests::ec2::proxy::{Proxy, instance_ids};
use farm_tests::ec2::validate::{problems, report};
use std::collections::BTreeSet;
use std::path::PathBuf;

struct Cloud {
    python: PathBuf,
    moto: Moto,
    network: Network,
    proxy: Proxy,
    _scratch: Scratch,
}

fn cloud(what: &str) -> Option<Cloud> {
    let python = python_or_skip(what)?;
    let scratch = Scratch::new("ec2");
    let moto = Moto::start(&python);
    let network = moto.network([127, 2, 3]);
    let zones = network.subnets.iter().cloned().zip(ZONES.map(String::from)).collect();
    let proxy = Proxy::start(moto.addr(), zones, &scratch.path().join("calls.jsonl"), 1);
    Some(Cloud { python, moto, network, proxy, _scratch: scratch })
}

impl Cloud {
    fn launch_body(&self, token: &str, kind: &str) -> String {
        form::encode([
            ("Action", "RunInstances"),
            ("ClientToken", token),
            ("ImageId", &self.network.image),
            ("InstanceType", kind),
            ("MaxCount", "1"),
            ("MinCount", "1"),
            ("SubnetId", &self.network.subnets[1]),
        ])
    }

    /// Sends a body until it is answered, as a client does that must know what became of it.
    fn insist(&self, body: &str) -> BTreeSet<String> {
        for _ in 0..10 {
            if let Ok(Ok(answer)) = send(self.proxy.addr(), body) {
                return instance_ids(&answer);
            }
        }
        panic!("no answer in ten tries");
    }
}

#[test]
fn a_lost_answer_makes_duplicates_unless_tokens_are_kept() {
    let Some(cloud) = cloud("tokens") else { return };
    let alive = |cloud: &Cloud| cloud.moto.instances().len();
    let mut before = 0;
    for (idempotent, fault, expect) in [
        (false, Fault::ResetAfter, 2),
        (false, Fault::InternalAfter, 2),
        (false, Fault::ResetBefore, 1),
        (true, Fault::ResetAfter, 1),
        (true, Fault::InternalAfter, 1),
        (true, Fault::Throttle, 1),
    ] {
        cloud.proxy.idempotent(idempotent);
        cloud.proxy.next("RunInstances", fault);
        let body = cloud.launch_body(&format!("token-{idempotent}-{fault:?}"), "c7g.large");
        let told = cloud.insist(&body);
        let launched = alive(&cloud) - before;
        assert_eq!(launched, expect, "tokens kept: {idempotent}, {fault:?}");
        assert_eq!(cloud.insist(&body) == told, idempotent, "the same answer again");
        before = alive(&cloud);
    }
    println!("a lost answer and a second try: 2 instances at moto, 1 behind the proxy");
}

#[test]
fn tokens_and_shortages_are_refused_as_ec2_does() {
    let Some(cloud) = cloud("refusals") else { return };
    let code = |body: &str| send(cloud.proxy.addr(), body).unwrap().err().map(|e| (e.status, e.code));
    let first = cloud.launch_body("t1", "c7g.large");
    assert_eq!(code(&first), None);
    let other = cloud.launch_body("t1", "m7g.large");
    assert_eq!(code(&other), Some((400, "IdempotentParameterMismatch".into())));
    let id = cloud.insist(&first).into_iter().next().unwrap();
    call(cloud.proxy.addr(), "TerminateInstances", &[("InstanceId.1", &id)]).unwrap();
    assert_eq!(code(&first), Some((400, "IdempotentInstanceTerminated".into())));

    let refused = |kind: &str, zone: &str, market: &str| {
        cloud.proxy.faults(|f| f.no_capacity = vec![(kind.into(), zone.into(), market.into())]);
    };
    let short = cloud.launch_body("t2", "c7g.large");
    for (kind, zone, market, expect) in [
        ("c7g.large", ZONES[0], "", None),
        ("", ZONES[1], "spot", None),
        ("", ZONES[1], "on-demand", Some((500, "InsufficientInstanceCapacity".to_owned()))),
        ("c7g.large", "", "", Some((500, "InsufficientInstanceCapacity".to_owned()))),
    ] {
        refused(kind, zone, market);
        let body = short.replace("=t2", &format!("=t2-{kind}-{zone}-{market}"));
        assert_eq!(code(&body), expect, "{kind} {zone} {market}");
        cloud.proxy.faults(|f| f.no_capacity.clear());
        assert_eq!(code(&body), None, "a refusal does not use the token up");
    }
    let image = cloud.launch_body("t3", "c7g.large").replace(&cloud.network.image, "ami-00000000");
    assert_eq!(code(&image), Some((400, "InvalidAMIID.NotFound".into())));
    cloud.proxy.faults(|f| _ = f.denied.insert("RunInstances".into()));
    assert_eq!(code(&cloud.launch_body("t4", "c7g.large")), Some((403, "UnauthorizedOperation".into())));
    cloud.proxy.faults(|f| f.down = true);
    assert!(send(cloud.proxy.addr(), &first).is_err());
    assert_eq!(cloud.proxy.calls().last().unwrap().status, 0);
}

/// Without faults, the proxy's own DescribeInstances says what moto's says.
#[test]
fn the_view_agrees_with_moto() {
    let Some(cloud) = cloud("the view") else { return };
    let ids: Vec<String> = (0..8).flat_map(|n| cloud.insist(&cloud.launch_body(&format!("t{n}"), "c7g.large"))).collect();
    let tag = [("ResourceId.1", ids[2].as_str()), ("Tag.1.Key", "farm:name"), ("Tag.1.Value", "a & b <c>")];
    call(cloud.proxy.addr(), "CreateTags", &tag).unwrap();
    call(cloud.proxy.addr(), "TerminateInstances", &[("InstanceId.1", &ids[0])]).unwrap();
    call(cloud.proxy.addr(), "StopInstances", &[("InstanceId.1", &ids[1])]).unwrap();
    let stopped =
        [("Filter.1.Name", "instance-state-name"), ("Filter.1.Value.1", "stopped"), ("Filter.1.Value.2", "terminated")];
    let tagged = [("Filter.1.Name", "tag:farm:name"), ("Filter.1.Value.1", "a & b <c>")];
    let one = [("InstanceId.1", ids[3].as_str())];
    for (params, count) in [(&[][..], 8), (&stopped, 2), (&tagged, 1), (&one, 1)] {
        let told = [cloud.moto.addr(), cloud.proxy.addr()].map(|addr| {
            let answer = call(addr, "DescribeInstances", params).unwrap();
            let reservations = answer.items("reservationSet").cloned().collect::<Vec<_>>();
            assert!(reservations.iter().all(|r| r.items("instancesSet").count() == 1));
            reservations
        });
        assert_eq!(told[0], told[1], "{params:?}");
        assert_eq!(told[0].len(), count, "{params:?}");
    }
}

/// A validator that finds nothing proves nothing: each planted mistake is found, and only those.
#[test]
fn planted_mistakes_are_found() {
    let Some(cloud) = cloud("the validator") else { return };
    let good = cloud.launch_body("t1", "c7g.large");
    let listing = form::encode([
        ("Action", "DescribeInstances"),
        ("Filter.1.Name", "tag:farm:name"),
        ("Filter.1.Value.1", "mail"),
        ("MaxResults", "100"),
    ]);
    for body in [&good, &listing] {
        cloud.insist(body);
    }
    let clean = report(&cloud.python, &cloud.proxy.log(), false);
    assert_eq!((problems(&clean), &clean["requests"]), (Vec::new(), &2.into()), "{clean}");

    let swap = |from: &str, to: &str| good.replace(from, to);
    let planted = [
        (format!("{good}&Colour=red"), "Colour: unknown to the model"),
        (swap("MinCount=1", "MinCount=one"), "'one' is no integer"),
        (swap("&MinCount=1", ""), "Missing required parameter in input: \"MinCount\""),
        (swap("c7g.large", "c7g.lagre"), "'c7g.lagre' is none of the model's"),
        (format!("{good}&SecurityGroupId.2=sg-1"), "SecurityGroupId: a list with the numbers"),
        (format!("{good}&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tags.1.Key=a"), "Tags: unknown"),
        (format!("{good}&Placement=eu-central-1a"), "the bare value"),
        (format!("{good}&EbsOptimized=1"), "'1' is no boolean"),
        (format!("{good}&UserData=@"), "UserData: not base64"),
        (format!("{good}&MaxCount=1"), "MaxCount: twice"),
        (swap("t1", &"t".repeat(65)), "ClientToken: more than 64"),
        (swap("2016-11-15", "2015-10-01"), "Version: "),
        (swap("RunInstances", "RunInstance"), "no such action"),
    ];
    for (body, _) in &planted {
        let _ = send(cloud.proxy.addr(), body);
    }
    let found = problems(&report(&cloud.python, &cloud.proxy.log(), false));
    for (number, (body, expect)) in planted.iter().enumerate() {
        let prefix = format!("request {}, ", number + 3);
        let of_this: Vec<&String> = found.iter().filter(|p| p.starts_with(&prefix)).collect();
        assert!(of_this.iter().any(|p| p.contains(expect)), "{body}: {of_this:?}");
    }
    let unsigned = problems(&report(&cloud.python, &cloud.proxy.log(), true));
    assert!(unsigned.iter().any(|p| p.contains("the signature is")), "{unsigned:?}");
}

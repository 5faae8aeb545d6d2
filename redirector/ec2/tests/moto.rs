//! Every call against a real implementation of the protocol: moto, as a server of its own.
//!
//! Without `moto_server` these tests say so loudly and prove nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Moto, ec2, request, run_body, tags};
use redirector_core::scale::{
    AttachRequest, ErrorKind, InstanceRequest, InstanceState, LaunchRequest, Market, Offering, ProviderCall,
    VolumeAttachment,
};
use redirector_ec2::{Ec2, Form};

fn about(instance_id: &str) -> InstanceRequest {
    InstanceRequest { intent: "i1-9".into(), instance_id: instance_id.into() }
}

async fn launch(ec2: &Ec2, moto: &Moto, farm: &str, name: &str) -> redirector_core::scale::Instance {
    let request = request(farm, name, vec![run_body(&moto.image, farm, name)]);
    ec2.call(&ProviderCall::Launch(request)).await.unwrap().unwrap()
}

async fn state(ec2: &Ec2, id: &str) -> InstanceState {
    ec2.list().await.unwrap().into_iter().find(|i| i.instance_id == id).unwrap().state
}

#[tokio::test]
async fn the_life_of_an_instance() {
    let Some(moto) = Moto::start().await else { return };
    let ec2 = ec2(&moto.endpoint, "life");
    assert_eq!(ec2.list().await.unwrap(), []);
    let launched = launch(&ec2, &moto, "life", "b1").await;
    assert_eq!(launched.member_id.as_ref().unwrap().as_str(), "b1");
    assert_eq!(launched.offering.as_ref().unwrap().instance_type, "t3.micro");
    let id = launched.instance_id.as_str();
    let listed = ec2.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].instance_id, id);
    assert_eq!(listed[0].intent.as_deref(), Some("intent-b1"));
    assert_eq!(listed[0].state, InstanceState::Running);
    assert!(!listed[0].addrs.is_empty() && !listed[0].kept);

    assert_eq!(ec2.call(&ProviderCall::Stop(about(id))).await, Ok(None));
    assert_eq!(state(&ec2, id).await, InstanceState::Stopped);
    assert_eq!(ec2.call(&ProviderCall::Start(about(id))).await, Ok(None));
    assert_eq!(state(&ec2, id).await, InstanceState::Running);
    assert_eq!(ec2.call(&ProviderCall::Reboot(about(id))).await, Ok(None));
    assert_eq!(ec2.call(&ProviderCall::Keep(about(id))).await, Ok(None));
    assert!(ec2.list().await.unwrap()[0].kept);
    assert_eq!(ec2.call(&ProviderCall::Terminate(about(id))).await, Ok(None));
    assert_eq!(state(&ec2, id).await, InstanceState::Gone);
    let unknown = ec2.call(&ProviderCall::Terminate(about("i-0123456789abcdef0"))).await.unwrap_err();
    assert_eq!(unknown.kind, ErrorKind::NotFound, "{unknown:?}");

    let meters = ec2.meters();
    assert_eq!(meters.calls[&("RunInstances", "ok")].calls, 1);
    assert_eq!(meters.calls[&("TerminateInstances", "not_found")].calls, 1);
}

#[tokio::test]
async fn a_listing_is_complete_over_pages_and_only_ours() {
    let Some(moto) = Moto::start().await else { return };
    let ec2 = ec2(&moto.endpoint, "pages");
    let client = common::client(&moto.endpoint).await;
    for reservation in 0..12 {
        let count = if reservation == 0 { "219" } else { "1" };
        let some = Form::new("RunInstances")
            .with("ImageId", &moto.image)
            .with("InstanceType", "t3.micro")
            .with("MinCount", count)
            .with("MaxCount", count);
        client.send(&tags(some, "instance", "pages", "b").body()).await.unwrap();
    }
    let few = Form::new("RunInstances").with("ImageId", &moto.image).with("MinCount", "3").with("MaxCount", "3");
    client.send(&tags(few, "instance", "another", "b").body()).await.unwrap();
    assert_eq!(ec2.list().await.unwrap().len(), 230);
    let pages = ec2.meters().calls[&("DescribeInstances", "ok")].calls;
    assert_eq!(pages, 3, "moto counts reservations");
    let checked = ec2.meters().calls[&("DescribeInstanceStatus", "ok")].calls;
    assert_eq!(checked, 3, "230 instances are asked after by 100");
}

#[tokio::test]
async fn a_fleet_of_one() {
    let Some(moto) = Moto::start().await else { return };
    let ec2 = ec2(&moto.endpoint, "fleet");
    let template = Form::new("CreateLaunchTemplate")
        .with("LaunchTemplateName", "farm-fleet")
        .with("ClientToken", "token")
        .with("LaunchTemplateData.ImageId", &moto.image)
        .with("LaunchTemplateData.InstanceType", "t3.micro");
    let fleet = Form::new("CreateFleet")
        .with("Type", "instant")
        .with("ClientToken", "token")
        .with("TargetCapacitySpecification.TotalTargetCapacity", "1")
        .with("TargetCapacitySpecification.DefaultTargetCapacityType", "on-demand")
        .with("LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateName", "farm-fleet")
        .with("LaunchTemplateConfigs.1.LaunchTemplateSpecification.Version", "1");
    let bodies =
        vec![tags(template, "launch-template", "fleet", "b1").body(), tags(fleet, "instance", "fleet", "b1").body()];
    let asked = Offering { instance_type: "m5.large".into(), zone: "us-east-1a".into(), market: Market::Spot };
    let call = ProviderCall::Launch(LaunchRequest { offering: Some(asked), ..request("fleet", "b1", bodies) });
    let launched = ec2.call(&call).await.unwrap().unwrap();
    let bought = launched.offering.unwrap();
    assert_eq!((bought.instance_type.as_str(), bought.market), ("t3.micro", Market::OnDemand), "what was bought, not asked");
    let listed = ec2.list().await.unwrap();
    assert_eq!(listed.iter().map(|i| &i.instance_id).collect::<Vec<_>>(), [&launched.instance_id]);
    // Sent again, the template is there already, and that stops nothing.
    assert!(ec2.call(&call).await.is_ok());
    assert_eq!(ec2.meters().calls[&("CreateLaunchTemplate", "denied")].calls, 1);
}

#[tokio::test]
async fn what_belongs_to_a_role_is_attached_once() {
    let Some(moto) = Moto::start().await else { return };
    let ec2 = ec2(&moto.endpoint, "roles");
    let client = common::client(&moto.endpoint).await;
    let launched = launch(&ec2, &moto, "roles", "db1").await;
    let zone = launched.offering.unwrap().zone;
    let volume = Form::new("CreateVolume").with("AvailabilityZone", &zone).with("Size", "1");
    let volume = client.send(&volume.body()).await.unwrap().text_at("volumeId").unwrap().to_owned();
    let address = client.send(&Form::new("AllocateAddress").with("Domain", "vpc").body()).await.unwrap();
    let address = address.text_at("allocationId").unwrap().to_owned();
    let attach = |instance_id: &str| {
        ProviderCall::Attach(AttachRequest {
            intent: "i1-2".into(),
            instance_id: instance_id.to_owned(),
            addresses: vec![address.clone()],
            volumes: vec![VolumeAttachment { volume_id: volume.clone(), device: "/dev/sdf".into() }],
        })
    };
    for _ in 0..2 {
        assert_eq!(ec2.call(&attach(&launched.instance_id)).await, Ok(None));
    }
    let meters = ec2.meters();
    assert_eq!(meters.calls[&("AttachVolume", "ok")].calls, 1);
    assert_eq!(meters.calls[&("AssociateAddress", "ok")].calls, 1);
    let other = launch(&ec2, &moto, "roles", "db2").await;
    let busy = ec2.call(&attach(&other.instance_id)).await.unwrap_err();
    assert_eq!(busy.kind, ErrorKind::Transient);
    assert!(busy.message.contains(&launched.instance_id), "{}", busy.message);
}

#[tokio::test]
async fn groups_types_zones_and_images() {
    let Some(moto) = Moto::start().await else { return };
    let ec2 = ec2(&moto.endpoint, "kinds");
    let client = common::client(&moto.endpoint).await;
    let launched = launch(&ec2, &moto, "kinds", "b1").await;
    let mut groups = Vec::new();
    for name in ["home", "cut-off"] {
        let group = Form::new("CreateSecurityGroup").with("GroupName", name).with("GroupDescription", "drill");
        groups.push(client.send(&group.body()).await.unwrap().text_at("groupId").unwrap().to_owned());
    }
    let (before, group) = (vec![groups[0].clone()], groups[1].clone());
    ec2.set_security_groups(&launched.instance_id, &before).await.unwrap();
    assert_eq!(ec2.security_groups(&launched.instance_id).await.unwrap(), before);

    // A drill cuts it off and gives it back, each twice; another life that knows nothing can give it back, too.
    let id = launched.instance_id.as_str();
    ec2.rejoin(id).await.unwrap();
    assert_eq!(ec2.security_groups(id).await.unwrap(), before, "there was nothing to undo");
    ec2.isolate(id, &group).await.unwrap();
    ec2.isolate(id, &group).await.unwrap();
    assert_eq!(ec2.security_groups(id).await.unwrap(), std::slice::from_ref(&group));
    let another_life = self::ec2(&moto.endpoint, "kinds");
    another_life.rejoin(id).await.unwrap();
    another_life.rejoin(id).await.unwrap();
    assert_eq!(ec2.security_groups(id).await.unwrap(), before);
    assert_eq!(ec2.rejoin("i-0123456789abcdef0").await.unwrap_err().kind, ErrorKind::NotFound);

    let types = ec2.instance_types(&["t3.micro".into(), "m5.large".into()]).await.unwrap();
    assert_eq!(types.iter().map(|t| (t.instance_type.as_str(), t.vcpus)).max(), Some(("t3.micro", 2)));
    let unknown = ec2.instance_types(&["x9.nothing".into()]).await.unwrap_err();
    assert_eq!(unknown.kind, ErrorKind::Denied, "{unknown}");
    assert_eq!(ec2.images(std::slice::from_ref(&moto.image)).await.unwrap(), std::slice::from_ref(&moto.image));
    let subnets = client.send(&Form::new("DescribeSubnets").body()).await.unwrap();
    let subnet = subnets.items("subnetSet").next().unwrap().text_at("subnetId").unwrap().to_owned();
    let zones = ec2.subnet_zones(std::slice::from_ref(&subnet)).await.unwrap();
    assert!(zones[&subnet].starts_with("us-east-1"), "{zones:?}");
}

#[tokio::test]
async fn refusals_are_definite_and_say_why() {
    let Some(moto) = Moto::start().await else { return };
    let ec2 = ec2(&moto.endpoint, "refusals");
    let wrong = request("refusals", "b1", vec![run_body("ami-0123456789abcdef0", "refusals", "b1")]);
    let error = ec2.call(&ProviderCall::Launch(wrong)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error:?}");
    assert!(error.message.contains("image does not exist"), "{}", error.message);
    for body in [vec![], vec!["Action=TerminateInstances&InstanceId.1=i-1".to_owned()]] {
        let error = ec2.call(&ProviderCall::Launch(request("refusals", "b1", body))).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied);
    }
    assert_eq!(ec2.list().await.unwrap(), []);
}

//! Instances that are launched by hand become servers, and cease to be when they are stopped or terminated.

use farm_tests::daemon::SOON;
use farm_tests::ec2::farm::{Cloud, CloudFarm};
use farm_tests::ec2::fault::Faults;
use farm_tests::ec2::machines::Boots;
use farm_tests::ec2::moto::call;
use farm_tests::ec2::proxy::instance_ids;
use farm_tests::farm::{Options, takers};
use farm_tests::wait;

#[test]
fn instances_boot_stop_start_and_go() {
    let cloud = Cloud {
        farm: Options { scaler: "dry_run = true\nsessions_per_server = 10", min: 1, ..Options::default() },
        boots: Boots { boot_ms_min: 100, boot_ms_max: 300, mute_next: 0 },
        faults: Faults::default(),
        seed: 1,
        provider: "[provider]\nkind = \"none\"\n",
        profile: "",
    };
    let Some(mut cloud) = CloudFarm::start("played instances", cloud) else { return };
    let launch = |cloud: &CloudFarm, member: &str, zone: usize| {
        let params = [
            ("ImageId", cloud.network.image.as_str()),
            ("InstanceType", "c7g.large"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("SubnetId", &cloud.network.subnets[zone]),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "farm:member"),
            ("TagSpecification.1.Tag.1.Value", member),
        ];
        let answer = call(cloud.proxy.addr(), "RunInstances", &params).unwrap();
        instance_ids(&answer).into_iter().next().unwrap()
    };
    let ids: Vec<String> = (0..3).map(|n| launch(&cloud, &format!("b{n}"), n)).collect();
    cloud.farm.wait_for(3);
    assert_eq!(cloud.alive().len(), 3);
    let servers = cloud.farm.status(0)["servers"].clone();
    assert_eq!(servers[1]["zone"], "eu-central-1b", "{servers}");

    let act = |action: &str, id: &str| call(cloud.proxy.addr(), action, &[("InstanceId.1", id)]).unwrap();
    act("StopInstances", &ids[0]);
    act("TerminateInstances", &ids[1]);
    let serving = |cloud: &CloudFarm| takers(&cloud.farm.status(0)).into_iter().collect::<Vec<_>>();
    wait::until("one server left", SOON, || (serving(&cloud) == ["b2"] && cloud.machines.booted() == 1).then_some(()));
    act("StartInstances", &ids[0]);
    wait::until("the stopped one back", SOON, || (serving(&cloud) == ["b0", "b2"]).then_some(()));
    assert_eq!(cloud.machines.most(), 3);
    cloud.machines.crash(&ids[0]);
    wait::until("it is silent although moto calls it running", SOON, || (serving(&cloud) == ["b2"]).then_some(()));
    assert!(cloud.alive().contains_key(&ids[0]));
    assert_eq!(cloud.duplicates(), Vec::<String>::new());
    launch(&cloud, "b2", 0);
    assert_eq!(cloud.duplicates(), ["farm:member b2"], "a duplicate that was made on purpose is seen");
}

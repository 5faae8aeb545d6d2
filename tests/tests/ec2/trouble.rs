//! One trouble at a time: what is refused, what is missing, what nobody knows, what does not answer.

use crate::common::{Crowd, LATER, PROFILE, cloud, serve, settles, tally};
use farm_tests::daemon::{Daemon, SOON};
use farm_tests::ec2::farm::CloudFarm;
use farm_tests::ec2::fault::Fault;
use farm_tests::ec2::moto::ZONES;
use farm_tests::wait;
use farm_tests::watch::Watch;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

fn intents(cloud: &CloudFarm) -> usize {
    cloud.farm.journal().iter().filter(|record| record["kind"] == "intent").count()
}

/// A few more polls of the scaler, told by the calls that it makes.
fn polls(cloud: &CloudFarm, count: usize) {
    let from = cloud.proxy.count("DescribeInstances");
    wait::until("more listings", LATER, || (cloud.proxy.count("DescribeInstances") >= from + count).then_some(()));
}

/// What the redirector says of its trouble: the provider's last error, alarms and notices.
fn told(cloud: &CloudFarm) -> String {
    let status = cloud.farm.status(0);
    format!("{} {} {}", status["scaler"]["provider_error"], status["alarms"], status["notices"])
}

#[test]
fn a_zone_without_capacity_is_left_in_the_same_tick() {
    let mut settings = cloud(6, 12);
    settings.faults.no_capacity = vec![(String::new(), ZONES[0].into(), String::new())];
    let Some(mut cloud) = CloudFarm::start("a zone without capacity", settings) else { return };
    serve(&mut cloud, 6, LATER);
    let zones: BTreeSet<String> = cloud.alive().values().map(|i| i.text_at("placement/availabilityZone").into()).collect();
    assert_eq!(zones, BTreeSet::from([ZONES[1].to_owned(), ZONES[2].to_owned()]), "spread over what is left");
    let refused: Vec<Value> = cloud.farm.journal();
    let refused = refused.windows(2).filter(|w| w[0]["outcome"]["result"]["Err"]["kind"] == "no-capacity");
    let mut fell_over = 0;
    for pair in refused {
        let (tried, next) = (&pair[0]["outcome"]["call"]["launch"], &pair[1]["call"]["launch"]);
        assert_eq!(pair[0]["wall_ms"], pair[1]["wall_ms"], "the next offering in the same tick: {pair:#?}");
        assert_eq!(next["attempt"].as_u64(), tried["attempt"].as_u64().map(|n| n + 1), "{pair:#?}");
        assert_ne!(next["offering"], tried["offering"], "{pair:#?}");
        fell_over += usize::from(next["offering"]["zone"] != ZONES[0]);
    }
    assert!(fell_over > 0, "nothing was refused");
    let refusals = cloud.proxy.calls().iter().filter(|c| c.code == "InsufficientInstanceCapacity").count();
    println!("{refusals} refusals, {fell_over} at once elsewhere, 6 servers in {zones:?}");
    settles(&cloud, 6, 12);
}

/// Instant fleets: one call names every offering, and EC2 passes over those without capacity.
#[test]
fn fleets_launch_what_is_to_be_had() {
    let mut settings = cloud(4, 8);
    settings.profile = Box::leak(PROFILE.replace("name = \"web\"\n", "name = \"web\"\nfleet = true\n").into_boxed_str());
    settings.faults.no_capacity = vec![(String::new(), ZONES[0].into(), String::new())];
    let Some(mut cloud) = CloudFarm::start("fleets", settings) else { return };
    cloud.proxy.next("CreateFleet", Fault::ResetAfter);
    cloud.proxy.next("CreateLaunchTemplate", Fault::InternalAfter);
    serve(&mut cloud, 4, LATER);
    assert!(cloud.alive().values().all(|i| i.text_at("placement/availabilityZone") != ZONES[0]));
    assert!(cloud.proxy.count("CreateFleet") >= 5 && cloud.proxy.count("RunInstances") == 0, "{}", tally(&cloud));
    settles(&cloud, 4, 8);
}

/// Serving goes on without the API, and the first while after is no storm.
#[test]
fn an_outage_of_the_api_is_not_followed_by_a_storm() {
    let Some(mut cloud) = CloudFarm::start("an outage", cloud(3, 10)) else { return };
    serve(&mut cloud, 3, LATER);
    let watch = Watch::start(&cloud.farm);
    polls(&cloud, 10);
    cloud.proxy.faults(|faults| faults.down = true);
    let crowd = Crowd::start(&cloud, "0:6,3:60,600:60");
    let sent = |cloud: &CloudFarm| cloud.proxy.calls().iter().filter(|c| c.action == "RunInstances").count();
    wait::until("launches into the void", LATER, || (sent(&cloud) >= 12).then_some(()));
    watch.goes_on(100);
    assert!(cloud.alive().len() == 3 && watch.seen().wrong.is_empty(), "{:?}", watch.seen().wrong);
    cloud.proxy.faults(|faults| faults.down = false);
    let up = std::time::Instant::now();
    serve(&mut cloud, 10, LATER);
    let seconds = up.elapsed().as_secs_f64();
    let launches: Vec<_> = cloud.proxy.calls().into_iter().filter(|c| c.action == "RunInstances" && c.at >= up).collect();
    assert!(launches.len() <= 14, "{} calls for 7 launches", launches.len());
    let listings = cloud.proxy.calls().iter().filter(|c| c.action == "DescribeInstances" && c.at >= up).count();
    println!("{} launch calls and {listings} listings in the {seconds:.1} s after the outage", launches.len());
    assert!(listings as f64 <= 10.0 + seconds / 0.3, "{listings} listings in {seconds:.1} s at one per 300 ms");
    crowd.end();
    drop(watch);
    settles(&cloud, 3, 10);
}

#[test]
fn what_is_denied_or_missing_is_said() {
    let mut settings = cloud(2, 4);
    settings.faults.denied.insert("RunInstances".into());
    let Some(cloud) = CloudFarm::start("a denied action", settings) else { return };
    wait::until("the exact action and the policy", SOON, || {
        let told = told(&cloud);
        (told.contains("ec2:RunInstances") && told.contains("iam-policy.json")).then_some(())
    });
    polls(&cloud, 10);
    let tried = cloud.proxy.count("RunInstances");
    assert!(tried <= 4, "{tried} tries of what is denied for 2 servers");
    drop(cloud);

    let mut settings = super::common::cloud(2, 4);
    settings.profile = Box::leak(PROFILE.replace("{image}", "ami-00000000").into_boxed_str());
    let Some(cloud) = CloudFarm::start("a missing image", settings) else { return };
    wait::until("the image's name", SOON, || {
        let told = told(&cloud);
        (told.contains("InvalidAMIID.NotFound") && told.contains("ami-00000000")).then_some(())
    });
    assert_eq!(cloud.alive().len(), 0);
}

#[test]
fn the_impaired_the_vanished_and_the_mute_are_replaced_and_strangers_are_not_touched() {
    let mut settings = cloud(3, 8);
    settings.farm.boot_deadline = "8s";
    let Some(mut cloud) = CloudFarm::start("replacements", settings) else { return };
    serve(&mut cloud, 3, LATER);
    let first = |cloud: &CloudFarm| cloud.alive().into_keys().next().expect("an instance");

    let vanished = first(&cloud);
    cloud.moto.call("TerminateInstances", &[("InstanceId.1", &vanished)]).unwrap();
    wait::until("a replacement of the vanished", LATER, || (cloud.alive().len() == 3).then_some(()));
    serve(&mut cloud, 3, LATER);

    let impaired = first(&cloud);
    cloud.proxy.faults(|faults| _ = faults.impaired.insert(impaired.clone()));
    wait::until("the impaired one's end", LATER, || (!cloud.alive().contains_key(&impaired)).then_some(()));
    serve(&mut cloud, 3, LATER);

    cloud.machines.boots(|boots| boots.mute_next = 1);
    let vanished = first(&cloud);
    cloud.moto.call("TerminateInstances", &[("InstanceId.1", &vanished)]).unwrap();
    let mute = wait::until("a launch that never boots", LATER, || cloud.machines.mute().into_iter().next());
    wait::until("its end", LATER, || (!cloud.alive().contains_key(&mute)).then_some(()));
    serve(&mut cloud, 3, LATER);
    settles(&cloud, 3, 8);

    let tags = [
        ("ImageId", cloud.network.image.as_str()),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "farm:name"),
        ("TagSpecification.1.Tag.1.Value", "mail"),
    ];
    let answer = cloud.moto.call("RunInstances", &tags).unwrap();
    let stranger = farm_tests::ec2::proxy::instance_ids(&answer).into_iter().next().unwrap();
    let before = intents(&cloud);
    wait::until("an alarm, and a notice that names it", SOON, || {
        let told = told(&cloud);
        (told.contains("nothing here launched") && told.contains(&stranger)).then_some(())
    });
    polls(&cloud, 10);
    assert!(cloud.alive().contains_key(&stranger), "a stranger was killed");
    assert_eq!(intents(&cloud), before, "something was done about a stranger");
}

/// A second scaler for the same farm by mistake: both stand still, whatever the crowd.
#[test]
fn two_scalers_stand_still() {
    let mut settings = cloud(3, 10);
    settings.farm.doors = 2;
    let Some(mut cloud) = CloudFarm::start("two scalers", settings) else { return };
    serve(&mut cloud, 3, LATER);
    let path = |name: &str| cloud.farm.scratch.path().join(name);
    let first = std::fs::read_to_string(path("door0.toml")).unwrap();
    let second = std::fs::read_to_string(path("door1.toml")).unwrap();
    let scaler = &first[first.find("[scaler]").unwrap()..];
    cloud.farm.scratch.write("door1.toml", &format!("{second}{scaler}"));
    assert!(cloud.farm.doors[1].as_mut().is_some_and(|door: &mut Daemon| door.stop().success()));
    cloud.farm.start_door(1);
    let frozen = |cloud: &CloudFarm, door: usize| cloud.farm.status(door)["scaler"]["frozen"].to_string();
    wait::until("both frozen", SOON, || (0..2).all(|door| frozen(&cloud, door).contains("scales this farm")).then_some(()));
    let launched = cloud.proxy.count("RunInstances");
    let crowd = Crowd::start(&cloud, "0:6,2:60,600:60");
    wait::while_holds("nobody launches", Duration::from_secs(3), || cloud.proxy.count("RunInstances") == launched);
    crowd.end();
    assert_eq!((cloud.alive().len(), cloud.proxy.count("TerminateInstances")), (3, 0));
    assert!(cloud.farm.doors[1].as_mut().is_some_and(|door| door.stop().success()));
    cloud.farm.doors[1] = None;
    wait::until("the first goes on", LATER, || (frozen(&cloud, 0) == "null").then_some(()));
}

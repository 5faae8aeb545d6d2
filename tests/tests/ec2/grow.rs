//! A crowd comes and goes over a farm on EC2: from 3 servers to 30 and back.

use crate::common::{Crowd, LATER, cloud, serve, settles};
use farm_tests::ec2::farm::CloudFarm;
use farm_tests::ec2::fault::Faults;
use farm_tests::wait;
use std::time::Instant;

/// Up under a crowd, and down when it is gone.
fn up_and_down(cloud: &mut CloudFarm) {
    serve(cloud, 3, LATER);
    let began = Instant::now();
    let crowd = Crowd::start(cloud, "0:6,5:120,600:120");
    serve(cloud, 30, LATER);
    println!("30 servers in service after {} ms", began.elapsed().as_millis());
    let summary = crowd.end();
    println!("{} completed, {} delayed, {} aborted", summary["completed"], summary["delayed"], summary["aborted"]);
    assert_eq!(summary["aborted"], 0, "{summary}");
    let over = Instant::now();
    serve(cloud, 3, LATER);
    println!("3 servers in service {} ms after the crowd's end", over.elapsed().as_millis());
    wait::until("3 instances at moto", LATER, || (cloud.alive().len() == 3).then_some(()));
    println!("3 instances {} ms after the crowd's end", over.elapsed().as_millis());
}

#[test]
fn from_3_to_30_and_back() {
    let Some(mut cloud) = CloudFarm::start("3 to 30 and back", cloud(3, 30)) else { return };
    up_and_down(&mut cloud);
    settles(&cloud, 3, 30);
}

#[test]
fn from_3_to_30_and_back_with_every_fault() {
    let mut settings = cloud(3, 30);
    settings.seed = 2;
    settings.faults = Faults { pending_ms: 1_000, ..Faults::all(30_000, 5_000) };
    let Some(mut cloud) = CloudFarm::start("3 to 30 and back with faults", settings) else { return };
    up_and_down(&mut cloud);
    cloud.proxy.faults(|faults| *faults = Faults::default());
    settles(&cloud, 3, 30);
}

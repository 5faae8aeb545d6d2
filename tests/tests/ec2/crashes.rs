//! The redirector is killed again and again while everything goes wrong at once.

use crate::common::{Crowd, LATER, cloud, serve, settles};
use farm_shared::draw::Draws;
use farm_tests::ec2::farm::CloudFarm;
use farm_tests::ec2::fault::Faults;
use farm_tests::wait;

/// Kills it after so many more calls to the API as the draw says, and starts it again.
fn kill_at_random(cloud: &mut CloudFarm, draws: &mut Draws) -> String {
    let more = 1 + draws.below(6);
    let from = cloud.proxy.calls().len();
    wait::until("more calls", LATER, || (cloud.proxy.calls().len() >= from + more).then_some(()));
    let last = cloud.proxy.calls().last().map_or_else(String::new, |call| call.action.clone());
    cloud.farm.doors[0].take().expect("it runs").kill();
    cloud.farm.start_door(0);
    last
}

#[test]
fn killed_at_random_moments_with_every_fault() {
    let mut settings = cloud(3, 20);
    settings.seed = 3;
    settings.faults = Faults { pending_ms: 1_000, ..Faults::all(15_000, 5_000) };
    let Some(mut cloud) = CloudFarm::start("kills", settings) else { return };
    let mut draws = Draws::from_u64(3).child("kills", 0);
    serve(&mut cloud, 3, LATER);
    let crowd = Crowd::start(&cloud, "0:6,3:80,600:80");
    let mut after: Vec<String> = (0..6).map(|_| kill_at_random(&mut cloud, &mut draws)).collect();
    wait::until("growth", LATER, || (cloud.alive().len() >= 15).then_some(()));
    let summary = crowd.end();
    after.extend((0..4).map(|_| kill_at_random(&mut cloud, &mut draws)));
    cloud.proxy.faults(|faults| *faults = Faults::default());
    settles(&cloud, 3, 20);
    println!("killed ten times, after {after:?}; {} sessions completed", summary["completed"]);
}

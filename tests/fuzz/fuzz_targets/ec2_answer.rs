//! An answer of EC2, or of somebody who pretends: read within its bounds, or refused, never a panic; and an error in it has a meaning.
#![no_main]

use farm_shared::id::Id;
use farm_shared::time::Wall;
use libfuzzer_sys::fuzz_target;
use redirector_ec2::xml::{DEPTH_MAX, Element};
use redirector_ec2::{CallError, read};

fn depth(element: &Element) -> usize {
    1 + element.children.iter().map(depth).max().unwrap_or(0)
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(answer) = Element::parse(bytes) else { return };
    assert!(depth(&answer) <= DEPTH_MAX);
    let Ok(farm) = Id::new("mail") else { return };
    if let Ok(instances) = read::instances(&answer, &farm) {
        assert!(instances.iter().all(|i| i.farm == farm && !i.instance_id.is_empty()));
    }
    let _ = read::launched(&answer, &farm);
    let _ = (read::fleet(&answer), read::impaired(&answer), read::templates(&answer, &farm), read::instance_types(&answer));
    let _ = (read::volume_holder(&answer), read::address_holder(&answer), read::former_groups(&answer));
    for status in [400, 403, 500, 503] {
        let error = CallError::of_answer("RunInstances", status, &answer, Some(Wall(0)), Wall(u64::MAX));
        assert!(error.message.len() < 8_192, "{} octets", error.message.len());
    }
});

//! A file of launch profiles: accepted or refused with a bounded list of problems, never a panic; and what was accepted either
//! cannot be launched here, with a reason, or gives requests that read back as forms.
#![no_main]

use farm_shared::heartbeat::FarmKey;
use farm_shared::id::Id;
use libfuzzer_sys::fuzz_target;
use redirector_core::cloud::{Ec2Blueprint, Ec2Settings, PartFiles, Profiles, fields};
use redirector_core::scale::Blueprint;

struct Parts;

impl PartFiles for Parts {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        match path.rsplit('.').next() {
            Some("sh") => Ok(b"#!/bin/sh\necho {{ id }} {{ zone }}\n".to_vec()),
            Some("yaml") => Ok(b"#cloud-config\npackages: [nginx]\n".to_vec()),
            Some("bin") => Ok(vec![0xff; 64]),
            _ => Err("no such file".into()),
        }
    }
}

fuzz_target!(|text: &str| {
    let profiles = match Profiles::load("fuzz.toml", text, &Parts) {
        Ok(profiles) => profiles,
        Err(problems) => {
            assert!(!problems.is_empty() && problems.len() <= 200, "{} problems", problems.len());
            return;
        }
    };
    let (Ok(farm), Ok(member), Ok(key)) = (Id::new("mail"), Id::new("b7"), FarmKey::from_hex(&"5a".repeat(32))) else {
        return;
    };
    for profile in profiles.profiles.iter().take(4) {
        let settings = Ec2Settings {
            farm: farm.clone(),
            key: key.clone(),
            redirector: farm.clone(),
            region: "us-east-1".into(),
            profile: Some(profile.name.to_string()),
            roles: Vec::new(),
        };
        let Ok(blueprint) = Ec2Blueprint::new(settings, &profiles) else { continue };
        for offering in blueprint.offerings(None).iter().take(4) {
            let bodies =
                blueprint.body(&blueprint.sample(&member, None, offering)).expect("what is offered can be asked for");
            assert!(bodies.iter().all(|body| fields(body).is_some_and(|fields| fields.len() > 5)));
        }
    }
});

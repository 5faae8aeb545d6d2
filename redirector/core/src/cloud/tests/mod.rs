#![allow(clippy::unwrap_used, clippy::expect_used)]
//! Profiles read, requests built: against files of expected requests, and properties that hold for any launch.

use super::*;
use crate::config::{RoleSpec, VolumeSpec};
use crate::scale::{Blueprint, LaunchRequest, Market, Offering};
use farm_shared::config::Place;
use farm_shared::heartbeat::FarmKey;
use farm_shared::id::Id;
use std::collections::BTreeMap;

mod reading;
mod requests;

/// Files of user data, by path.
pub(super) struct Files(pub(super) BTreeMap<&'static str, &'static str>);

impl PartFiles for Files {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.0.get(path).map(|text| text.as_bytes().to_vec()).ok_or_else(|| "No such file or directory".into())
    }
}

pub(super) fn files() -> Files {
    Files(BTreeMap::from([
        ("base.yaml", "#cloud-config\npackages: [nginx]\n"),
        ("web.sh", "#!/bin/sh\necho {{ id }} {{ zone }} {{ colour }} > /etc/motd\n"),
        ("bad.sh", "#!/bin/sh\n\necho {{ hostname }}\n{{ id\n"),
    ]))
}

pub(super) const WEB: &str = r#"
[[profile]]
name = "web"
host_zone = "farm.lb.example.com"
key_name = "ops"
instance_profile = "web-server"
monitoring = true
ami = { us-east-1 = "ami-0123456789abcdef0", eu-west-1 = "ami-01234567" }

[[profile.type]]
name = "c7i.large"
price_usd_h = 0.09

[[profile.type]]
name = "c7g.large"
price_usd_h = 0.08
spot_price_usd_h = 0.03
ami = { us-east-1 = "ami-0fedcba9876543210" }

[profile.network]
zones = ["us-east-1b"]
security_groups = ["sg-01234567"]
public_address = true
[profile.network.subnets]
us-east-1a = "subnet-01234567"

[profile.market]
spot_share = 0.5
spot_price_usd_h_max = 0.05

[profile.tags]
team = "mail+web"

[profile.vars]
colour = "blue"

[profile.agent]
fronts = ["udp:192.0.2.1:8081", "udp:192.0.2.2:8081"]
port = 8080

[[profile.device]]
name = "/dev/xvda"
size_gib = 20
type = "gp3"
encrypted = true

[[profile.user_data]]
kind = "cloud-config"
file = "base.yaml"

[[profile.user_data]]
kind = "shell"
name = "motd.sh"
file = "web.sh"
template = true

[[profile.user_data]]
kind = "agent"
"#;

pub(super) fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

pub(super) fn key() -> FarmKey {
    FarmKey::from_hex(&"5a".repeat(32)).unwrap()
}

pub(super) fn settings(roles: Vec<RoleSpec>) -> Ec2Settings {
    Ec2Settings { farm: id("mail"), key: key(), redirector: id("door1"), region: "us-east-1".into(), profile: None, roles }
}

pub(super) fn role(name: &str) -> RoleSpec {
    RoleSpec {
        name: id(name),
        profile: None,
        zone: Some(id("us-east-1a")),
        addresses: vec!["eipalloc-01234567".into()],
        volumes: vec![VolumeSpec { volume_id: "vol-01234567".into(), device: "/dev/sdf".into() }],
        place: Place { file: "r.toml".into(), line: 3, key: "role[0]".into() },
    }
}

pub(super) fn blueprint(text: &str, roles: Vec<RoleSpec>) -> Ec2Blueprint {
    let profiles = Profiles::load("web.toml", text, &files()).unwrap();
    Ec2Blueprint::new(settings(roles), &profiles).unwrap()
}

pub(super) fn request(member: &str, offering: Option<Offering>) -> LaunchRequest {
    LaunchRequest {
        intent: "i1700000000000-7".into(),
        attempt: 1,
        token: "00112233445566778899aabbccddeeff".into(),
        farm: id("mail"),
        member_id: id(member),
        role: None,
        offering,
        body: Vec::new(),
    }
}

pub(super) fn offering(instance_type: &str, zone: &str, market: Market) -> Offering {
    Offering { instance_type: instance_type.into(), zone: zone.into(), market }
}

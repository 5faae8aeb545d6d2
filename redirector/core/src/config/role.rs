//! `[[role]]`: servers that must exist, each with a name, and with addresses and volumes that are its own.
//!
//! A name server's glue must not move, nor a database's disk: what belongs to a role is given to whichever instance fills it. It must
//! never name the same address or volume twice.

use farm_shared::config::{Place, Section};
use farm_shared::id::Id;
use farm_shared::settings::LABEL;
use std::collections::BTreeSet;

const ROLES_MAX: usize = 100;
const OWNED_MAX: usize = 16;

/// A server that must exist.
#[derive(Clone, Debug, PartialEq)]
pub struct RoleSpec {
    /// Its name: also its server's member id, and so its DNS label.
    pub name: Id,
    /// Its launch profile; that of servers without a role unless given.
    pub profile: Option<String>,
    /// The availability zone that it lives in.
    pub zone: Option<Id>,
    /// Allocation ids of its Elastic IP addresses.
    pub addresses: Vec<String>,
    /// Its volumes.
    pub volumes: Vec<VolumeSpec>,
    /// Where it stands in the configuration.
    pub place: Place,
}

/// A volume of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSpec {
    /// `vol-…`.
    pub volume_id: String,
    /// The device name on the instance, as `/dev/sdf`.
    pub device: String,
}

/// Reads all roles.
pub(super) fn read_roles(root: &Section) -> Vec<RoleSpec> {
    let sections =
        root.tables("role", "A server that must exist; one that is missing is launched again with the same name.");
    if sections.len() > ROLES_MAX {
        root.problem("role", format!("{} roles", sections.len()), format!("at most {ROLES_MAX}"));
    }
    let mut seen = BTreeSet::new();
    sections.iter().filter_map(|section| read_role(section, &mut seen)).collect()
}

fn read_role(section: &Section, seen: &mut BTreeSet<String>) -> Option<RoleSpec> {
    let name = section.parsed::<Id>("name", None, LABEL, "Its name: also its server's member id, and so its DNS label.");
    let profile = section.optional_string("profile", "Its launch profile; that of servers without a role unless given.");
    let zone = section.optional_parsed::<Id>("zone", LABEL, "The availability zone that it lives in; needed with volumes.");
    let addresses = section.list::<String>(
        "addresses",
        &[],
        "`eipalloc-…`",
        "Allocation ids of its Elastic IP addresses, which go with the role.",
    );
    for bad in addresses.iter().filter(|a| !is_resource(a, "eipalloc-")) {
        section.problem("addresses", format!("{bad:?}"), "allocation ids, `eipalloc-…`");
    }
    let volumes: Vec<VolumeSpec> =
        section.tables("volume", "An EBS volume that goes with the role.").iter().map(read_volume).collect();
    if !volumes.is_empty() && zone.is_none() && section.is_present() && !section.keys().is_empty() {
        section.problem("zone", "none, with volumes", "the zone where the volumes are");
    }
    if addresses.len().max(volumes.len()) > OWNED_MAX {
        section.problem("", "too many addresses or volumes", format!("at most {OWNED_MAX} of each"));
    }
    let owned = addresses.iter().chain(volumes.iter().map(|v| &v.volume_id)).cloned();
    let names = name.iter().map(ToString::to_string);
    for twice in names.chain(owned).filter(|word| !word.is_empty() && !seen.insert(word.clone())) {
        section.problem("", format!("{twice:?} for the second time"), "each name, address and volume in one role, once");
    }
    Some(RoleSpec { name: name?, profile, zone, addresses, volumes, place: section.place("") })
}

fn read_volume(section: &Section) -> VolumeSpec {
    let volume_id = section.required_string("id", "The volume: `vol-…`.");
    if section.has("id") && !volume_id.is_empty() && !is_resource(&volume_id, "vol-") {
        section.problem("id", format!("{volume_id:?}"), "a volume, `vol-…`");
    }
    let device = section.required_string("device", "The device name on the instance: `/dev/sdf`.");
    let good = (1..=32).contains(&device.len()) && device.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'/');
    if section.has("device") && !device.is_empty() && !good {
        section.problem("device", format!("{device:?}"), "a device's name, like \"/dev/sdf\"");
    }
    VolumeSpec { volume_id, device }
}

fn is_resource(text: &str, prefix: &str) -> bool {
    let digits = text.strip_prefix(prefix);
    digits.is_some_and(|d| matches!(d.len(), 8 | 17) && d.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use farm_shared::config::Document;

    fn read(text: &str) -> (Vec<RoleSpec>, Vec<String>) {
        let document = Document::parse("r.toml", text);
        let roles = read_roles(&document.root());
        (roles, document.finish().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_role_owns_addresses_and_volumes() {
        let (roles, problems) = read(
            "[[role]]\nname = 'ns1'\nprofile = 'names'\nzone = 'us-east-1a'\naddresses = ['eipalloc-01234567']\n\
             [[role.volume]]\nid = 'vol-0123456789abcdef0'\ndevice = '/dev/sdf'\n[[role]]\nname = 'web-1'",
        );
        assert_eq!(problems, Vec::<String>::new());
        let [ns1, web1] = roles.as_slice() else { panic!("{roles:?}") };
        assert_eq!((ns1.name.as_str(), ns1.zone.as_ref().unwrap().as_str()), ("ns1", "us-east-1a"));
        assert_eq!(ns1.volumes, [VolumeSpec { volume_id: "vol-0123456789abcdef0".into(), device: "/dev/sdf".into() }]);
        assert_eq!((web1.name.as_str(), web1.addresses.len()), ("web-1", 0));
    }

    #[test]
    fn every_problem_is_told() {
        let (_, problems) = read(
            "[[role]]\nname = 'Web'\naddresses = ['198.51.100.1']\n[[role]]\nname = 'a'\n[[role.volume]]\nid = 'vol-1'\n\
             [[role]]\nname = 'a'\nadresses = []",
        );
        let expect = [
            "role[0].name",
            "role[0].addresses",
            "role[1].zone",
            "role[1].volume[0].id",
            "role[1].volume[0].device",
            "role[2]: found \"a\" for the second time",
            "`addresses` (did you mean that?)",
        ];
        for part in expect {
            assert!(problems.iter().any(|p| p.contains(part)), "{part} is missing in {problems:#?}");
        }
    }
}

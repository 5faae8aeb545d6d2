//! The requests that ask EC2 for one instance: `RunInstances`, or `CreateLaunchTemplate` and `CreateFleet`.
//!
//! Source: Amazon EC2 API Reference 2016-11-15. Everything that a server needs is in the launch call itself, tags included: an instance
//! must never exist for a moment without them, or a crash would make it an orphan.

use super::form::Form;
use super::profile::{ANY_TYPE, ANY_ZONE, DeviceSpec, Profile, TypeSpec};
use crate::scale::{LaunchRequest, Market, Offering};
use std::collections::BTreeMap;

/// One launch, with everything that was decided about it.
pub(super) struct Launch<'a> {
    pub(super) profile: &'a Profile,
    pub(super) region: &'a str,
    pub(super) request: &'a LaunchRequest,
    pub(super) offering: &'a Offering,
    pub(super) user_data: Option<String>,
}

impl Launch<'_> {
    /// The bodies, in the order in which they are sent.
    pub(super) fn bodies(&self) -> Vec<String> {
        if self.profile.fleet {
            vec![self.create_launch_template(), self.create_fleet()]
        } else {
            vec![self.run_instances()]
        }
    }

    fn run_instances(&self) -> String {
        let mut form = Form::new("RunInstances");
        form.push("ClientToken", &self.request.token);
        form.push("MinCount", "1");
        form.push("MaxCount", "1");
        if let Some(template) = &self.profile.launch_template {
            let key = if template.name.starts_with("lt-") { "LaunchTemplateId" } else { "LaunchTemplateName" };
            form.push(&format!("LaunchTemplate.{key}"), &template.name);
            form.push("LaunchTemplate.Version", &template.version);
        }
        let of = self.profile.types.iter().find(|t| t.name == self.offering.instance_type);
        form.push("InstanceType", &self.offering.instance_type);
        form.push_some("ImageId", of.and_then(|of| self.profile.image(of, self.region)));
        let subnet = self.profile.subnets.get(&self.offering.zone).map(String::as_str);
        if subnet.is_none() && self.offering.zone != ANY_ZONE {
            form.push("Placement.AvailabilityZone", &self.offering.zone);
        }
        self.instance(&mut form, "", subnet);
        if self.offering.market == Market::Spot {
            form.push("InstanceMarketOptions.MarketType", "spot");
            form.push_some("InstanceMarketOptions.SpotOptions.MaxPrice", self.price_max().as_deref());
            form.push("InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time");
            form.push("InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior", "terminate");
        }
        form.finish()
    }

    /// Each launch has a template of its own, since the user data holds the member's own key.
    fn create_launch_template(&self) -> String {
        let mut form = Form::new("CreateLaunchTemplate");
        form.push("ClientToken", &self.request.token);
        form.push("LaunchTemplateName", &self.template_name());
        self.tag_specification(&mut form, "", 1, "launch-template");
        let image = self.profile.types.first().and_then(|of| self.profile.image(of, self.region));
        form.push_some("LaunchTemplateData.ImageId", image);
        self.instance(&mut form, "LaunchTemplateData.", None);
        form.finish()
    }

    fn create_fleet(&self) -> String {
        let spot = self.offering.market == Market::Spot;
        let mut form = Form::new("CreateFleet");
        form.push("ClientToken", &self.request.token);
        form.push("Type", "instant");
        form.push("TargetCapacitySpecification.TotalTargetCapacity", "1");
        form.push("TargetCapacitySpecification.OnDemandTargetCapacity", if spot { "0" } else { "1" });
        form.push("TargetCapacitySpecification.SpotTargetCapacity", if spot { "1" } else { "0" });
        form.push("TargetCapacitySpecification.DefaultTargetCapacityType", if spot { "spot" } else { "on-demand" });
        if spot {
            form.push("SpotOptions.AllocationStrategy", "price-capacity-optimized");
            form.push("SpotOptions.InstanceInterruptionBehavior", "terminate");
        } else {
            form.push("OnDemandOptions.AllocationStrategy", "prioritized");
        }
        form.push("LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateName", &self.template_name());
        form.push("LaunchTemplateConfigs.1.LaunchTemplateSpecification.Version", "1");
        let mut zones = self.profile.zones_in(self.region);
        if self.offering.zone != ANY_ZONE {
            zones = vec![&self.offering.zone];
        }
        let zones: Vec<Option<&str>> = if zones.is_empty() { vec![None] } else { zones.into_iter().map(Some).collect() };
        let wanted = |of: &&TypeSpec| self.offering.instance_type == ANY_TYPE || of.name == self.offering.instance_type;
        let mut n = 0;
        for (priority, of) in self.profile.types.iter().filter(wanted).enumerate() {
            for zone in &zones {
                n += 1;
                let key = |name: &str| format!("LaunchTemplateConfigs.1.Overrides.{n}.{name}");
                form.push(&key("InstanceType"), &of.name);
                match zone.map(|zone| (zone, self.profile.subnets.get(zone))) {
                    Some((_, Some(subnet))) => form.push(&key("SubnetId"), subnet),
                    Some((zone, None)) => form.push(&key("AvailabilityZone"), zone),
                    None => {}
                }
                form.push_some(&key("ImageId"), of.images.get(self.region).map(String::as_str));
                if spot {
                    form.push_some(&key("MaxPrice"), self.price_max().as_deref());
                } else {
                    form.push(&key("Priority"), &priority.to_string());
                }
            }
        }
        self.tag_specification(&mut form, "", 1, "instance");
        self.tag_specification(&mut form, "", 2, "fleet");
        form.finish()
    }

    /// What an instance is, in a launch or in a launch template, where the same fields have a prefix.
    fn instance(&self, form: &mut Form, prefix: &str, subnet: Option<&str>) {
        let profile = self.profile;
        let key = |name: &str| format!("{prefix}{name}");
        form.push_some(&key("KeyName"), profile.key_name.as_deref());
        self.network(form, prefix, subnet);
        if let Some(name) = &profile.instance_profile {
            let field = if name.starts_with("arn:") { "IamInstanceProfile.Arn" } else { "IamInstanceProfile.Name" };
            form.push(&key(field), name);
        }
        form.push_some(&key("Placement.Tenancy"), profile.tenancy.as_deref());
        form.push(&key("Monitoring.Enabled"), if profile.monitoring { "true" } else { "false" });
        if profile.ebs_optimized {
            form.push(&key("EbsOptimized"), "true");
        }
        // A server that powers itself off is gone, but one with a role keeps its disks.
        let shutdown =
            if self.request.role.is_some() && self.offering.market == Market::OnDemand { "stop" } else { "terminate" };
        form.push(&key("InstanceInitiatedShutdownBehavior"), shutdown);
        form.push(&key("MetadataOptions.HttpEndpoint"), "enabled");
        form.push(
            &key("MetadataOptions.HttpTokens"),
            if profile.metadata.tokens_required { "required" } else { "optional" },
        );
        form.push(&key("MetadataOptions.HttpPutResponseHopLimit"), &profile.metadata.hop_limit.to_string());
        let shown = if profile.metadata.instance_tags { "enabled" } else { "disabled" };
        form.push(&key("MetadataOptions.InstanceMetadataTags"), shown);
        for (n, device) in profile.devices.iter().enumerate() {
            device_fields(form, &key(&format!("BlockDeviceMapping.{}.", n + 1)), device);
        }
        self.tag_specification(form, prefix, 1, "instance");
        self.tag_specification(form, prefix, 2, "volume");
        form.push_some(&key("UserData"), self.user_data.as_deref());
    }

    /// A network interface is described only where an address is asked for: EC2 takes either its fields or the plain ones.
    fn network(&self, form: &mut Form, prefix: &str, subnet: Option<&str>) {
        let profile = self.profile;
        let described = profile.public_address.is_some() || profile.ipv6_addresses > 0;
        let prefix = if described { format!("{prefix}NetworkInterface.1.") } else { prefix.to_owned() };
        if described {
            form.push(&format!("{prefix}DeviceIndex"), "0");
        }
        form.push_some(&format!("{prefix}SubnetId"), subnet);
        for (n, group) in profile.security_groups.iter().enumerate() {
            let field = if group.starts_with("sg-") { "SecurityGroupId" } else { "SecurityGroup" };
            form.push(&format!("{prefix}{field}.{}", n + 1), group);
        }
        if let Some(public) = profile.public_address {
            form.push(&format!("{prefix}AssociatePublicIpAddress"), if public { "true" } else { "false" });
        }
        if profile.ipv6_addresses > 0 {
            form.push(&format!("{prefix}Ipv6AddressCount"), &profile.ipv6_addresses.to_string());
        }
        if described {
            form.push(&format!("{prefix}DeleteOnTermination"), "true");
        }
    }

    fn tag_specification(&self, form: &mut Form, prefix: &str, n: usize, resource: &str) {
        let specification = format!("{prefix}TagSpecification.{n}.");
        form.push(&format!("{specification}ResourceType"), resource);
        for (m, (tag, value)) in self.tags().iter().enumerate() {
            form.push(&format!("{specification}Tag.{}.Key", m + 1), tag);
            form.push(&format!("{specification}Tag.{}.Value", m + 1), value);
        }
    }

    fn tags(&self) -> BTreeMap<&str, String> {
        let request = self.request;
        let mut tags: BTreeMap<&str, String> = self.profile.tags.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        tags.insert("farm:name", request.farm.to_string());
        tags.insert("farm:member", request.member_id.to_string());
        tags.insert("farm:intent", request.intent.clone());
        tags.insert("farm:profile", self.profile.name.to_string());
        if let Some(role) = &request.role {
            tags.insert("farm:role", role.to_string());
        }
        let name = match &self.profile.host_zone {
            Some(zone) => format!("{}.{zone}", request.member_id),
            None => format!("{}-{}", request.farm, request.member_id),
        };
        tags.insert("Name", name);
        tags
    }

    fn template_name(&self) -> String {
        format!("farm-{}-{}", self.request.farm, self.request.token)
    }

    fn price_max(&self) -> Option<String> {
        self.profile.market.spot_price_usd_h_max.map(|price| price.to_string())
    }
}

fn device_fields(form: &mut Form, prefix: &str, device: &DeviceSpec) {
    let key = |name: &str| format!("{prefix}{name}");
    form.push(&key("DeviceName"), &device.name);
    if let Some(name) = &device.virtual_name {
        form.push(&key("VirtualName"), name);
        return;
    }
    let flag = |on: bool| if on { "true" } else { "false" };
    form.push_some(&key("Ebs.SnapshotId"), device.snapshot.as_deref());
    form.push_some(&key("Ebs.VolumeSize"), device.size_gib.map(|n| n.to_string()).as_deref());
    form.push_some(&key("Ebs.VolumeType"), device.kind.as_deref());
    form.push_some(&key("Ebs.Iops"), device.iops.map(|n| n.to_string()).as_deref());
    form.push_some(&key("Ebs.Throughput"), device.throughput_mib_s.map(|n| n.to_string()).as_deref());
    form.push_some(&key("Ebs.Encrypted"), device.encrypted.map(flag));
    form.push(&key("Ebs.DeleteOnTermination"), flag(device.delete_on_termination));
}

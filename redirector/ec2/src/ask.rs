//! The bodies of all calls but launches: pure functions from what is wanted to the octets that ask for it.
//!
//! Launch bodies are not made here: the blueprint in redirector-core makes them, and the executor journals them first.
//! Source: Amazon EC2 API reference, version 2016-11-15.

use crate::form::Form;
use farm_shared::id::Id;

/// The tag that says whose an instance is.
pub const TAG_FARM: &str = "farm:name";
/// The tag with the member id.
pub const TAG_MEMBER: &str = "farm:member";
/// The tag with the intent of the launch.
pub const TAG_INTENT: &str = "farm:intent";
/// The tag with the fixed role.
pub const TAG_ROLE: &str = "farm:role";
/// The tag of instances that are kept for inspection.
pub const TAG_KEPT: &str = "farm:kept";

/// The tag with the security groups that a drill took an instance out of, with commas between.
pub const TAG_GROUPS: &str = "farm:groups";

/// One page of the farm's instances, in whatever state.
pub fn describe_instances(farm: &Id, page_items: u16, next_token: Option<&str>) -> String {
    page("DescribeInstances", farm, page_items, next_token)
}

/// One instance.
pub fn describe_instance(instance_id: &str) -> String {
    Form::new("DescribeInstances").list("InstanceId", [instance_id]).body()
}

/// The status checks of at most 100 instances.
pub fn describe_instance_status(instance_ids: &[&str]) -> String {
    Form::new("DescribeInstanceStatus").list("InstanceId", instance_ids).body()
}

/// `TerminateInstances`, `StartInstances`, `StopInstances` or `RebootInstances` for one instance.
pub fn change_state(action: &'static str, instance_id: &str) -> String {
    Form::new(action).list("InstanceId", [instance_id]).body()
}

/// The tag that keeps an instance for inspection.
pub fn keep(instance_id: &str, intent: &str) -> String {
    Form::new("CreateTags").list("ResourceId", [instance_id]).with("Tag.1.Key", TAG_KEPT).with("Tag.1.Value", intent).body()
}

/// Where an elastic address is.
pub fn describe_address(allocation_id: &str) -> String {
    Form::new("DescribeAddresses").list("AllocationId", [allocation_id]).body()
}

/// An elastic address for an instance, wherever it is now.
pub fn associate_address(allocation_id: &str, instance_id: &str) -> String {
    Form::new("AssociateAddress")
        .with("AllocationId", allocation_id)
        .with("InstanceId", instance_id)
        .with("AllowReassociation", "true")
        .body()
}

/// Where a volume is.
pub fn describe_volume(volume_id: &str) -> String {
    Form::new("DescribeVolumes").list("VolumeId", [volume_id]).body()
}

/// A volume for an instance.
pub fn attach_volume(volume_id: &str, instance_id: &str, device: &str) -> String {
    Form::new("AttachVolume").with("VolumeId", volume_id).with("InstanceId", instance_id).with("Device", device).body()
}

/// Other security groups for the primary interface of an instance.
pub fn set_security_groups(instance_id: &str, groups: &[String]) -> String {
    Form::new("ModifyInstanceAttribute").with("InstanceId", instance_id).list("GroupId", groups).body()
}

/// The tag that says which security groups an instance is to get back.
pub fn remember_groups(instance_id: &str, groups: &str) -> String {
    Form::new("CreateTags")
        .list("ResourceId", [instance_id])
        .with("Tag.1.Key", TAG_GROUPS)
        .with("Tag.1.Value", groups)
        .body()
}

/// Without that tag.
pub fn forget_groups(instance_id: &str) -> String {
    Form::new("DeleteTags").list("ResourceId", [instance_id]).with("Tag.1.Key", TAG_GROUPS).body()
}

/// Cores and memory of instance types, at most 100.
pub fn describe_instance_types(types: &[String]) -> String {
    Form::new("DescribeInstanceTypes").list("InstanceType", types).body()
}

/// The zones of subnets.
pub fn describe_subnets(subnet_ids: &[String]) -> String {
    Form::new("DescribeSubnets").list("SubnetId", subnet_ids).body()
}

/// Whether images exist and can be used.
pub fn describe_images(image_ids: &[String]) -> String {
    Form::new("DescribeImages").list("ImageId", image_ids).body()
}

/// One page of the launch templates that carry the farm's tag.
pub fn describe_launch_templates(farm: &Id, page_items: u16, next_token: Option<&str>) -> String {
    page("DescribeLaunchTemplates", farm, page_items, next_token)
}

/// The end of a launch template.
pub fn delete_launch_template(template_id: &str) -> String {
    Form::new("DeleteLaunchTemplate").with("LaunchTemplateId", template_id).body()
}

fn page(action: &str, farm: &Id, items: u16, next_token: Option<&str>) -> String {
    let form = Form::new(action).filter(1, &format!("tag:{TAG_FARM}"), &[farm.as_str()]);
    let form = form.with("MaxResults", items.to_string());
    next_token.into_iter().fold(form, |form, token| form.with("NextToken", token)).body()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn bodies_are_what_the_reference_says() {
        let farm = Id::new("mail").unwrap();
        let groups = ["sg-1".to_owned(), "sg-2".to_owned()];
        let cases = [
            (
                describe_instances(&farm, 200, None),
                "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=tag%3Afarm%3Aname&Filter.1.Value.1=mail&MaxResults=200",
            ),
            (
                describe_instances(&farm, 200, Some("a/b=")),
                "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=tag%3Afarm%3Aname&Filter.1.Value.1=mail\
                 &MaxResults=200&NextToken=a%2Fb%3D",
            ),
            (describe_instance("i-1"), "Action=DescribeInstances&Version=2016-11-15&InstanceId.1=i-1"),
            (
                describe_instance_status(&["i-1", "i-2"]),
                "Action=DescribeInstanceStatus&Version=2016-11-15&InstanceId.1=i-1&InstanceId.2=i-2",
            ),
            (change_state("TerminateInstances", "i-1"), "Action=TerminateInstances&Version=2016-11-15&InstanceId.1=i-1"),
            (
                keep("i-1", "i9-1"),
                "Action=CreateTags&Version=2016-11-15&ResourceId.1=i-1&Tag.1.Key=farm%3Akept&Tag.1.Value=i9-1",
            ),
            (describe_address("eipalloc-1"), "Action=DescribeAddresses&Version=2016-11-15&AllocationId.1=eipalloc-1"),
            (
                associate_address("eipalloc-1", "i-1"),
                "Action=AssociateAddress&Version=2016-11-15&AllocationId=eipalloc-1&InstanceId=i-1&AllowReassociation=true",
            ),
            (describe_volume("vol-1"), "Action=DescribeVolumes&Version=2016-11-15&VolumeId.1=vol-1"),
            (
                attach_volume("vol-1", "i-1", "/dev/sdf"),
                "Action=AttachVolume&Version=2016-11-15&VolumeId=vol-1&InstanceId=i-1&Device=%2Fdev%2Fsdf",
            ),
            (
                set_security_groups("i-1", &groups),
                "Action=ModifyInstanceAttribute&Version=2016-11-15&InstanceId=i-1&GroupId.1=sg-1&GroupId.2=sg-2",
            ),
            (
                describe_instance_types(&["m5.large".to_owned()]),
                "Action=DescribeInstanceTypes&Version=2016-11-15&InstanceType.1=m5.large",
            ),
            (describe_subnets(&["subnet-1".to_owned()]), "Action=DescribeSubnets&Version=2016-11-15&SubnetId.1=subnet-1"),
            (describe_images(&["ami-1".to_owned()]), "Action=DescribeImages&Version=2016-11-15&ImageId.1=ami-1"),
            (
                describe_launch_templates(&farm, 200, None),
                "Action=DescribeLaunchTemplates&Version=2016-11-15&Filter.1.Name=tag%3Afarm%3Aname&Filter.1.Value.1=mail\
                 &MaxResults=200",
            ),
            (delete_launch_template("lt-1"), "Action=DeleteLaunchTemplate&Version=2016-11-15&LaunchTemplateId=lt-1"),
        ];
        for (body, expect) in cases {
            assert_eq!(body, expect);
        }
    }
}

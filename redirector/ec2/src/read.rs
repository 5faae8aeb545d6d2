//! From answers to data. What an answer must say and does not is an error: half a listing would look like servers that vanished.
//!
//! Pure. Nothing here believes a list to be complete; whoever asks follows the tokens.

use crate::ask::{TAG_FARM, TAG_GROUPS, TAG_INTENT, TAG_KEPT, TAG_MEMBER, TAG_ROLE};
use crate::xml::Element;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use farm_shared::id::Id;
use farm_shared::time::Wall;
use redirector_core::scale::{Instance, InstanceState, Market, Offering};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What an instance type is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeInfo {
    /// Its name, as in `m5.large`.
    pub instance_type: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory, in mebibytes.
    pub memory_mib: u64,
}

/// A launch template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its id.
    pub template_id: String,
    /// When it was made.
    pub created: Wall,
}

/// What became of an instant fleet of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fleet {
    /// An instance, and what was bought.
    Launched {
        /// Its id.
        instance_id: String,
        /// Its type.
        instance_type: Option<String>,
        /// How it is paid for.
        market: Market,
    },
    /// The first refusal: code and message.
    Refused(String, String),
    /// Neither instance nor refusal.
    Nothing,
}

/// The instances of a page, those of other farms left out.
pub fn instances(page: &Element, farm: &Id) -> Result<Vec<Instance>, String> {
    let mut found = Vec::new();
    for reservation in page.items("reservationSet") {
        for item in reservation.items("instancesSet") {
            let tags = tags(item);
            if tags.get(TAG_FARM).copied() == Some(farm.as_str()) {
                found.push(instance(item, &tags, farm)?);
            }
        }
    }
    Ok(found)
}

/// The instance that a launch made. Its tags were in the request, so they are not needed here.
pub fn launched(answer: &Element, farm: &Id) -> Result<Instance, String> {
    let item = answer.items("instancesSet").next().ok_or("the answer to the launch names no instance")?;
    instance(item, &tags(item), farm)
}

/// Security groups of the first instance of a page.
pub fn security_groups(page: &Element) -> Option<Vec<String>> {
    let item = page.items("reservationSet").next()?.items("instancesSet").next()?;
    Some(item.items("groupSet").filter_map(|g| g.text_at("groupId")).map(str::to_owned).collect())
}

/// The security groups that a drill took the first instance of a page out of.
pub fn former_groups(page: &Element) -> Option<Vec<String>> {
    let item = page.items("reservationSet").next()?.items("instancesSet").next()?;
    let groups = tags(item).get(TAG_GROUPS)?.split(',').filter(|g| !g.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    (!groups.is_empty()).then_some(groups)
}

/// Whether the first instance of a page is terminated or about to be.
pub fn is_terminated(page: &Element) -> bool {
    let item = page.items("reservationSet").next().and_then(|r| r.items("instancesSet").next());
    item.and_then(|i| i.text_at("instanceState/name")).is_some_and(|s| matches!(s, "terminated" | "shutting-down"))
}

/// Failing status checks by instance id, in words; those that pass are not named.
pub fn impaired(answer: &Element) -> BTreeMap<String, String> {
    const CHECKS: [(&str, &str); 3] =
        [("systemStatus", "system"), ("instanceStatus", "instance"), ("attachedEbsStatus", "volume")];
    let mut found = BTreeMap::new();
    for item in answer.items("instanceStatusSet") {
        let Some(id) = item.text_at("instanceId") else { continue };
        let is_bad = |check: &&(&str, &str)| item.child(check.0).and_then(|c| c.text_at("status")) == Some("impaired");
        let bad: Vec<&str> = CHECKS.iter().filter(is_bad).map(|check| check.1).collect();
        if !bad.is_empty() {
            found.insert(id.to_owned(), format!("EC2's {} status check fails", bad.join(" and ")));
        }
    }
    found
}

/// The token of the next page.
pub fn next_token(page: &Element) -> Option<&str> {
    page.text_at("nextToken")
}

/// What became of a fleet.
pub fn fleet(answer: &Element) -> Fleet {
    for item in answer.items("fleetInstanceSet") {
        let id = item.items("instanceIds").next().map(|i| i.text.as_str()).filter(|id| !id.is_empty());
        if let Some(id) = id {
            let market = if item.text_at("lifecycle") == Some("spot") { Market::Spot } else { Market::OnDemand };
            let instance_type = item.text_at("instanceType").map(str::to_owned);
            return Fleet::Launched { instance_id: id.to_owned(), instance_type, market };
        }
    }
    let refusal = answer.items("errorSet").next();
    let said = |name| refusal.and_then(|r| r.text_at(name)).unwrap_or_default().to_owned();
    match refusal {
        Some(_) => Fleet::Refused(said("errorCode"), said("errorMessage")),
        None => Fleet::Nothing,
    }
}

/// Instance types.
pub fn instance_types(answer: &Element) -> Result<Vec<TypeInfo>, String> {
    let number = |item: &Element, path: &str| item.text_at(path).and_then(|t| t.parse::<u64>().ok());
    let read = |item: &Element| {
        Some(TypeInfo {
            instance_type: item.text_at("instanceType")?.to_owned(),
            vcpus: u32::try_from(number(item, "vCpuInfo/defaultVCpus")?).ok()?,
            memory_mib: number(item, "memoryInfo/sizeInMiB")?,
        })
    };
    answer
        .items("instanceTypeSet")
        .map(|item| read(item).ok_or_else(|| "an instance type without its size".into()))
        .collect()
}

/// Zone names by subnet id.
pub fn subnet_zones(answer: &Element) -> BTreeMap<String, String> {
    let pair = |item: &Element| Some((item.text_at("subnetId")?.to_owned(), item.text_at("availabilityZone")?.to_owned()));
    answer.items("subnetSet").filter_map(pair).collect()
}

/// Ids of images that are there and ready.
pub fn images(answer: &Element) -> Vec<String> {
    let is_ready = |item: &&Element| item.text_at("imageState").is_none_or(|s| s == "available");
    answer.items("imagesSet").filter(is_ready).filter_map(|i| i.text_at("imageId")).map(str::to_owned).collect()
}

/// The instance that an address is associated with.
pub fn address_holder(answer: &Element) -> Option<&str> {
    answer.items("addressesSet").next()?.text_at("instanceId")
}

/// The instance that a volume is attached to, or is being attached to.
pub fn volume_holder(answer: &Element) -> Option<&str> {
    let volume = answer.items("volumeSet").next()?;
    let holds = |a: &&Element| matches!(a.text_at("status"), Some("attached" | "attaching" | "busy"));
    volume.items("attachmentSet").find(holds)?.text_at("instanceId")
}

/// Hexadecimal digits of a launch's client token.
const TOKEN_LEN: usize = 32;

/// The launch templates of a page that launches of the farm made (`farm-FARM-TOKEN`). Those of an operator are not ours to delete,
/// whatever tags they carry.
pub fn templates(page: &Element, farm: &Id) -> Vec<Template> {
    let ours = format!("farm-{farm}-");
    let read = |item: &Element| {
        let token = item.text_at("launchTemplateName")?.strip_prefix(&ours)?;
        if token.len() != TOKEN_LEN || !token.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        Some(Template {
            template_id: item.text_at("launchTemplateId")?.to_owned(),
            created: time(item.text_at("createTime")?)?,
        })
    };
    page.items("launchTemplates").filter_map(read).collect()
}

fn tags(item: &Element) -> BTreeMap<&str, &str> {
    item.items("tagSet").filter_map(|t| Some((t.text_at("key")?, t.text_at("value").unwrap_or_default()))).collect()
}

fn instance(item: &Element, tags: &BTreeMap<&str, &str>, farm: &Id) -> Result<Instance, String> {
    let id = item.text_at("instanceId").ok_or("an instance without an id")?;
    let state = match item.text_at("instanceState/name") {
        Some("pending") => InstanceState::Pending,
        Some("running") => InstanceState::Running,
        Some("shutting-down" | "stopping") => InstanceState::Stopping,
        Some("stopped") => InstanceState::Stopped,
        Some("terminated") => InstanceState::Gone,
        other => return Err(format!("instance {id} in the state {other:?}, which is none")),
    };
    let launched = item.text_at("launchTime").and_then(time);
    let launched = launched.ok_or_else(|| format!("instance {id} without a time of launch"))?;
    let id_in = |tag: &str| tags.get(tag).and_then(|value| Id::new(value).ok());
    let market = if item.text_at("instanceLifecycle") == Some("spot") { Market::Spot } else { Market::OnDemand };
    let offering = |instance_type: &str| {
        let zone = item.text_at("placement/availabilityZone")?.to_owned();
        Some(Offering { instance_type: instance_type.to_owned(), zone, market })
    };
    Ok(Instance {
        member_id: id_in(TAG_MEMBER),
        intent: tags.get(TAG_INTENT).filter(|v| !v.is_empty()).map(|v| (*v).to_owned()),
        offering: item.text_at("instanceType").and_then(offering),
        role: id_in(TAG_ROLE),
        addrs: addresses(item),
        kept: tags.contains_key(TAG_KEPT),
        ..Instance::new(id, farm.clone(), state, launched.0)
    })
}

/// Private addresses first, then IPv6 ones, then the public one.
fn addresses(item: &Element) -> Vec<IpAddr> {
    let of_interfaces =
        item.items("networkInterfaceSet").flat_map(|i| i.items("ipv6AddressesSet")).filter_map(|a| a.text_at("ipv6Address"));
    let texts = item.text_at("privateIpAddress").into_iter().chain(of_interfaces).chain(item.text_at("ipAddress"));
    texts.filter_map(|t| t.parse().ok()).collect()
}

fn time(text: &str) -> Option<Wall> {
    let at = DateTime::from_str(text, Format::DateTime).ok()?;
    u64::try_from(at.to_millis().ok()?).ok().map(Wall)
}

#[cfg(test)]
mod tests;

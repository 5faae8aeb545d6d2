//! What a shortage does to an instant fleet: overrides without capacity are passed over, and one that finds none at all is an answer
//! with errors in it, not an error.

use super::form::{self, Params};
use super::xml::Element;

/// A CreateFleet without the overrides that lack capacity, or the answer of a fleet that got nothing.
pub fn without_short(
    params: &Params,
    zone_of: impl Fn(&str) -> String,
    has_capacity: impl Fn([&str; 3]) -> bool,
) -> Result<String, Element> {
    let count = |key: &str| params.get(key).and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    let default = params.get("TargetCapacitySpecification.DefaultTargetCapacityType").map(String::as_str);
    let spot = count("TargetCapacitySpecification.SpotTargetCapacity") > 0
        || (default == Some("spot") && count("TargetCapacitySpecification.OnDemandTargetCapacity") == 0);
    let market = if spot { "spot" } else { "on-demand" };
    let mut kept: Params =
        params.iter().filter(|(k, _)| override_of(k).is_none()).map(|(k, v)| (k.clone(), v.clone())).collect();
    let (mut errors, mut fits) = (Vec::new(), !params.keys().any(|k| override_of(k).is_some()));
    for config in (1..).take_while(|n| params.keys().any(|k| k.starts_with(&format!("LaunchTemplateConfigs.{n}.")))) {
        let mut next = 1;
        for number in 1.. {
            let prefix = format!("LaunchTemplateConfigs.{config}.Overrides.{number}.");
            let of_this: Vec<(&str, &String)> =
                params.iter().filter_map(|(k, v)| Some((k.strip_prefix(&prefix)?, v))).collect();
            if of_this.is_empty() {
                break;
            }
            let get = |name: &str| of_this.iter().find(|(k, _)| *k == name).map_or("", |(_, v)| v.as_str());
            let zone = Some(get("AvailabilityZone").to_owned()).filter(|z| !z.is_empty());
            let zone = zone.unwrap_or_else(|| zone_of(get("SubnetId")));
            let kind = get("InstanceType");
            if has_capacity([kind, &zone, market]) {
                fits = true;
                let moved = |(k, v): &(&str, &String)| {
                    (format!("LaunchTemplateConfigs.{config}.Overrides.{next}.{k}"), (*v).clone())
                };
                kept.extend(of_this.iter().map(moved));
                next += 1;
            } else {
                let words = format!("We currently do not have sufficient {kind} capacity in zone {zone}.");
                errors.push(Element::node(
                    "item",
                    vec![
                        Element::leaf("errorCode", "InsufficientInstanceCapacity"),
                        Element::leaf("errorMessage", &words),
                        Element::leaf("lifecycle", market),
                    ],
                ));
            }
        }
    }
    if fits {
        return Ok(form::encode(kept.iter().filter(|(k, _)| *k != "Version").map(|(k, v)| (k.as_str(), v.as_str()))));
    }
    let token = params.get("ClientToken").map_or("none", String::as_str);
    Err(Element::node(
        "CreateFleetResponse",
        vec![
            Element::leaf("fleetId", &format!("fleet-{token}")),
            Element::node("errorSet", errors),
            Element::node("fleetInstanceSet", Vec::new()),
        ],
    ))
}

/// The number of the override that a parameter belongs to.
fn override_of(key: &str) -> Option<&str> {
    let mut parts = key.strip_prefix("LaunchTemplateConfigs.")?.split('.').skip(1);
    (parts.next()? == "Overrides").then(|| parts.next())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_without_capacity_are_passed_over() {
        let body = "Action=CreateFleet&ClientToken=t&Version=2016-11-15&LaunchTemplateConfigs.1.LaunchTemplateSpecification.Version=1\
                    &LaunchTemplateConfigs.1.Overrides.1.InstanceType=a&LaunchTemplateConfigs.1.Overrides.1.SubnetId=s1\
                    &LaunchTemplateConfigs.1.Overrides.2.InstanceType=b&LaunchTemplateConfigs.1.Overrides.2.SubnetId=s2\
                    &TargetCapacitySpecification.DefaultTargetCapacityType=spot";
        let params = form::decode(body);
        let zone = |subnet: &str| subnet.replace('s', "z");
        assert_eq!(form::decode(&without_short(&params, zone, |_| true).unwrap()), params);
        let one = form::decode(&without_short(&params, zone, |o| o != ["a", "z1", "spot"]).unwrap());
        assert_eq!(one["LaunchTemplateConfigs.1.Overrides.1.InstanceType"], "b");
        assert!(!one.keys().any(|k| k.contains("Overrides.2")));
        assert_eq!(one["LaunchTemplateConfigs.1.LaunchTemplateSpecification.Version"], "1");
        let none = without_short(&params, zone, |o| o[2] != "spot").unwrap_err();
        assert_eq!(none.items("errorSet").count(), 2);
        assert_eq!(none.items("fleetInstanceSet").count(), 0);
    }
}

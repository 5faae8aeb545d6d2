//! From what a rule wants to what it may have: spare, floors, zones, limits and money, in this order.
//!
//! Whatever is changed is said. It must never look at how the rule came to its number.

use super::observation::Observation;
use super::plan::Policy;
use super::schedule::floor_at;
use super::spend::hours_left;

/// So many servers may be wanted.
pub(super) fn bounded(policy: &Policy, observation: &Observation, wanted: u32, have: u32, refused: &mut Vec<String>) -> u32 {
    let limits = &policy.limits;
    let mut servers = wanted.saturating_add(policy.spare);
    let floor = floor_at(&policy.floors, observation.wall_ms, policy.lead_ms(observation));
    let zones = zone_count(observation) * limits.min_per_zone;
    for (least, why) in [(floor, "a scheduled floor"), (zones, "the minimum of each zone")] {
        if least > servers {
            refused.push(format!("{servers} servers: {why} wants {least}"));
            servers = least;
        }
    }
    let within = servers.clamp(limits.min, limits.max.max(limits.min));
    if within != servers {
        refused.push(format!("{servers} servers: limits are {} to {}", limits.min, limits.max));
    }
    let affordable = affordable(policy, observation, have);
    if let Some((most, why)) = affordable.filter(|(most, _)| *most < within) {
        let servers = most.max(limits.min);
        refused.push(format!("{within} servers: {why}"));
        return servers;
    }
    within
}

fn zone_count(observation: &Observation) -> u32 {
    observation.zones.len() as u32
}

/// The most servers that money allows, and which cap says so; none without caps. What there is may stay by the hourly cap.
fn affordable(policy: &Policy, observation: &Observation, have: u32) -> Option<(u32, String)> {
    let limits = &policy.limits;
    if limits.usd_h_max.is_none() && limits.usd_month_max.is_none() {
        return None;
    }
    let (Some(running), Some(each)) = (running_usd_h(observation), observation.usd_h_launch.filter(|p| *p > 0.0)) else {
        return Some((have, "prices are not known, and there is a cap on cost".into()));
    };
    let by_hour = limits.usd_h_max.map(|cap| {
        let more = ((cap - running) / each + 1e-9).max(0.0) as u32;
        (have.saturating_add(more), format!("{running:.2} USD an hour now, {each:.3} more for each, the cap is {cap:.2}"))
    });
    let by_month = limits.usd_month_max.map(|cap| {
        let spent = observation.usd_month.unwrap_or(0.0);
        // What the minimum costs until the end of the month is not there to be spent.
        let kept_back = f64::from(limits.min) * each * hours_left(observation.wall_ms);
        // At least one more hour of each server must be left.
        let extra = ((cap - spent - kept_back) / each).max(0.0) as u32;
        let most = limits.min.saturating_add(extra);
        (most, format!("{spent:.2} USD this month, {kept_back:.2} kept back for the minimum, the cap is {cap:.2}"))
    });
    by_hour.into_iter().chain(by_month).min_by_key(|(most, _)| *most)
}

/// What runs now and what is being launched costs; nothing if there is nothing.
pub(super) fn running_usd_h(observation: &Observation) -> Option<f64> {
    let none = observation.pending == 0 && observation.warm == 0 && !observation.servers.iter().any(|s| s.managed);
    let running = observation.usd_h.filter(|p| p.is_finite()).or(none.then_some(0.0))?;
    Some(running + observation.usd_h_open.filter(|p| p.is_finite()).unwrap_or(0.0))
}

//! What DescribeInstances shows: the past, in pages, through filters.
//!
//! moto answers at once and with everything; EC2 does not. An instance that was launched a moment ago may not be listed yet, one that
//! was terminated may still be listed as running, and two calls may see different moments.

use super::form::{self, Params};
use super::xml::Element;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Moments older than this are forgotten, but for the newest of them: more than any lag.
const KEPT: Duration = Duration::from_mins(1);
/// EC2's limits of `MaxResults`.
const PAGE: std::ops::RangeInclusive<usize> = 5..=1_000;

/// One instance at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The reservation, without its instances.
    reservation: Element,
    /// The instance.
    pub instance: Element,
}

impl Shown {
    fn id(&self) -> &str {
        self.instance.text_at("instanceId")
    }

    fn state(&self) -> &str {
        self.instance.text_at("instanceState/name")
    }
}

/// What was seen of moto's instances over time.
#[derive(Debug, Default)]
pub struct View {
    moments: VecDeque<(Instant, Vec<Shown>)>,
    /// When each instance was seen first, and its place in the order of lists.
    first: BTreeMap<String, (Instant, usize)>,
}

/// A refusal: EC2's code and words.
pub type Refusal = (&'static str, String);

impl View {
    /// Notes moto's answer to an unfiltered DescribeInstances.
    pub fn note(&mut self, answer: &Element, now: Instant) {
        let mut all = Vec::new();
        for reservation in answer.items("reservationSet") {
            let mut bare = reservation.clone();
            bare.children.retain(|c| c.name != "instancesSet");
            for instance in reservation.items("instancesSet") {
                all.push(Shown { reservation: bare.clone(), instance: instance.clone() });
            }
        }
        for shown in &all {
            let place = self.first.len();
            self.first.entry(shown.id().into()).or_insert((now, place));
        }
        if self.moments.back().is_none_or(|(_, last)| *last != all) {
            self.moments.push_back((now, all));
        }
        while self.moments.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) > KEPT) {
            self.moments.pop_front();
        }
    }

    /// What is terminated by now.
    pub fn terminated(&self) -> BTreeSet<String> {
        let now = self.moments.back().map_or(&[][..], |(_, all)| all);
        now.iter().filter(|s| s.state() == "terminated").map(|s| s.id().to_owned()).collect()
    }

    /// The instances as they were shown a while ago, in the order of their launches.
    pub fn at(&self, now: Instant, lag_ms: u64, pending_ms: u64) -> Vec<Shown> {
        let lag = Duration::from_millis(lag_ms);
        let then = self.moments.iter().rev().find(|(at, _)| *at + lag <= now);
        let mut all: Vec<Shown> = then.map_or_else(Vec::new, |(_, all)| all.clone());
        for shown in &mut all {
            let age = self.first.get(shown.id()).map_or(Duration::ZERO, |(at, _)| now.saturating_duration_since(*at));
            if shown.state() == "running" && age < lag + Duration::from_millis(pending_ms) {
                set_state(&mut shown.instance, "0", "pending");
            }
        }
        all.sort_by_key(|shown| self.first.get(shown.id()).map(|(_, place)| *place));
        all
    }

    /// The answer to DescribeInstances.
    pub fn describe(&self, params: &Params, shown: Vec<Shown>, page_max: usize) -> Result<Element, Refusal> {
        let wanted: BTreeSet<&str> = form::list(params, "InstanceId").collect();
        let missing: Vec<&str> = wanted.iter().copied().filter(|id| !shown.iter().any(|s| s.id() == *id)).collect();
        if !missing.is_empty() {
            let words = format!("The instance IDs '{}' do not exist", missing.join(", "));
            return Err(("InvalidInstanceID.NotFound", words));
        }
        let mut found: Vec<Shown> = shown.into_iter().filter(|s| wanted.is_empty() || wanted.contains(s.id())).collect();
        for (name, values) in form::filters(params) {
            let mut kept = Vec::new();
            for shown in found {
                if passes(&shown.instance, name, &values)? {
                    kept.push(shown);
                }
            }
            found = kept;
        }
        let asked = match params.get("MaxResults") {
            None => *PAGE.end(),
            Some(_) if !wanted.is_empty() => {
                let words = "The parameter instancesSet cannot be used with the parameter maxResults";
                return Err(("InvalidParameterCombination", words.into()));
            }
            Some(text) => text.parse().ok().filter(|n| PAGE.contains(n)).ok_or_else(|| {
                (
                    "InvalidParameterValue",
                    format!("Value ( {text} ) for parameter maxResults is invalid. Expecting 5 to 1000."),
                )
            })?,
        };
        // Without MaxResults, EC2 may still answer in pages; a token goes on behind the last instance that was shown.
        let page = if page_max == 0 { asked } else { asked.min(page_max) };
        let place = |s: &Shown| self.first.get(s.id()).map_or(0, |(_, place)| *place);
        if let Some(token) = params.get("NextToken") {
            let after: usize = token
                .strip_prefix("after-")
                .and_then(|n| n.parse().ok())
                .ok_or_else(|| ("InvalidParameterValue", format!("Unable to parse pagination token: {token}")))?;
            found.retain(|s| place(s) > after);
        }
        let more = found.len() > page && wanted.is_empty();
        if more {
            found.truncate(page);
        }
        let next = found.last().filter(|_| more).map(|last| Element::leaf("nextToken", &format!("after-{}", place(last))));
        let reservations = found.into_iter().map(|Shown { mut reservation, instance }| {
            reservation.children.push(Element::node("instancesSet", vec![instance]));
            reservation
        });
        let list = Element::node("reservationSet", reservations.collect());
        let children = [Some(Element::leaf("requestId", "proxy")), Some(list), next];
        Ok(Element::node("DescribeInstancesResponse", children.into_iter().flatten().collect()))
    }
}

fn set_state(instance: &mut Element, code: &str, name: &str) {
    if let Some(state) = instance.child_mut("instanceState") {
        state.children = vec![Element::leaf("code", code), Element::leaf("name", name)];
    }
}

/// Whether an instance passes a filter; a filter that nobody taught us is an error, not a wide gate.
fn passes(instance: &Element, name: &str, values: &[&str]) -> Result<bool, Refusal> {
    let found = match (name, name.strip_prefix("tag:")) {
        (_, Some(key)) => instance.tag(key),
        ("tag-key", _) => return Ok(values.iter().any(|key| instance.tag(key).is_some())),
        ("instance-state-name", _) => Some(instance.text_at("instanceState/name")),
        ("instance-id", _) => Some(instance.text_at("instanceId")),
        ("client-token", _) => Some(instance.text_at("clientToken")),
        _ => return Err(("InvalidParameterValue", format!("The filter '{name}' is invalid"))),
    };
    Ok(found.is_some_and(|found| values.contains(&found)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ec2::form::decode;

    fn answer(instances: &[(&str, &str)]) -> Element {
        let item = |(id, state): &(&str, &str)| {
            format!(
                "<item><reservationId>r</reservationId><instancesSet><item><instanceId>{id}</instanceId><instanceState><code>1</code>\
                 <name>{state}</name></instanceState><tagSet><item><key>farm:name</key><value>m</value></item></tagSet></item>\
                 </instancesSet></item>"
            )
        };
        let items: String = instances.iter().map(item).collect();
        Element::parse(&format!("<R><reservationSet>{items}</reservationSet></R>")).unwrap()
    }

    fn told(view: &View, body: &str, shown: Vec<Shown>, page: usize) -> (Vec<String>, String) {
        let answer = view.describe(&decode(body), shown, page).unwrap();
        let ids = answer
            .items("reservationSet")
            .flat_map(|r| r.items("instancesSet"))
            .map(|i| format!("{} {}", i.text_at("instanceId"), i.text_at("instanceState/name")));
        (ids.collect(), answer.text_at("nextToken").into())
    }

    #[test]
    fn a_lagging_list_shows_the_past() {
        let mut view = View::default();
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        view.note(&answer(&[("i-1", "running")]), at(0));
        view.note(&answer(&[("i-1", "running"), ("i-2", "running")]), at(10));
        view.note(&answer(&[("i-1", "terminated"), ("i-2", "running")]), at(20));
        for (now, lag_ms, pending_ms, expect) in [
            (20, 0, 0, vec!["i-1 terminated", "i-2 running"]),
            (20, 1, 0, vec!["i-1 running", "i-2 running"]),
            (20, 10_001, 0, vec!["i-1 running"]),
            (20, 20_001, 0, vec![]),
            (12, 0, 5_000, vec!["i-1 running", "i-2 pending"]),
            (22, 10_000, 5_000, vec!["i-1 running", "i-2 pending"]),
            (22, 0, 5_000, vec!["i-1 terminated", "i-2 running"]),
        ] {
            let shown = view.at(at(now), lag_ms, pending_ms);
            assert_eq!(told(&view, "", shown, 0).0, expect, "at {now} s, lag {lag_ms} ms");
        }
        assert_eq!(view.terminated(), BTreeSet::from(["i-1".into()]));
    }

    #[test]
    fn filters_and_pages_follow_the_api() {
        let mut view = View::default();
        let now = Instant::now();
        let names: Vec<String> = (0..12).map(|n| format!("i-{n}")).collect();
        let all: Vec<(&str, &str)> =
            names.iter().map(|n| (n.as_str(), if n == "i-3" { "stopped" } else { "running" })).collect();
        view.note(&answer(&all), now);
        let ask = |body: &str, page| told(&view, body, view.at(now, 0, 0), page);
        let mut seen = Vec::new();
        let mut token = String::new();
        for _ in 0..3 {
            let next = if token.is_empty() { String::new() } else { format!("&NextToken={token}") };
            let (ids, more) = ask(&format!("MaxResults=5{next}"), 0);
            seen.extend(ids);
            token = more;
        }
        assert_eq!((seen.len(), token.as_str()), (12, ""));
        assert_eq!(ask("Filter.1.Name=tag:farm:name&Filter.1.Value.1=m", 7).0.len(), 7);
        assert_eq!(ask("Filter.1.Name=instance-state-name&Filter.1.Value.1=stopped", 0).0, ["i-3 stopped"]);
        assert_eq!(ask("Filter.1.Name=tag:farm:name&Filter.1.Value.1=other", 0).0.len(), 0);
        assert_eq!(ask("InstanceId.1=i-4", 0).0, ["i-4 running"]);
        for (body, code) in [
            ("InstanceId.1=i-99", "InvalidInstanceID.NotFound"),
            ("MaxResults=4", "InvalidParameterValue"),
            ("MaxResults=5&InstanceId.1=i-1", "InvalidParameterCombination"),
            ("NextToken=x", "InvalidParameterValue"),
            ("Filter.1.Name=colour&Filter.1.Value.1=red", "InvalidParameterValue"),
        ] {
            let refused = view.describe(&decode(body), view.at(now, 0, 0), 0);
            assert_eq!(refused.unwrap_err().0, code, "{body}");
        }
    }
}

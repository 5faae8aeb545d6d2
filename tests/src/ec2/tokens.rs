//! What EC2 does with a `ClientToken` and moto does not: the same request again is the same launch.
//!
//! Source: EC2's user guide, "Ensure idempotency in Amazon EC2 API requests", and its list of error codes. A refusal is not remembered,
//! so that a request may be sent again with its token once there is capacity.

use super::form::Params;
use super::xml::Element;
use std::collections::{BTreeMap, BTreeSet};

/// What a token says about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is new: do it, then [`Tokens::done`].
    New,
    /// It was done, and this was the answer.
    Same(String),
    /// It was used with other parameters: `IdempotentParameterMismatch`.
    Mismatch,
    /// What it launched is terminated: `IdempotentInstanceTerminated`.
    Terminated,
}

#[derive(Debug)]
struct Launch {
    params: Params,
    answer: String,
    instances: BTreeSet<String>,
}

/// The tokens that were used.
#[derive(Debug, Default)]
pub struct Tokens(BTreeMap<(String, String), Launch>);

impl Tokens {
    /// Looks a request up. `terminated` is what is terminated by now.
    pub fn look(&self, params: &Params, terminated: &BTreeSet<String>) -> Verdict {
        let Some(launch) = key(params).and_then(|key| self.0.get(&key)) else { return Verdict::New };
        if launch.params != *params {
            return Verdict::Mismatch;
        }
        if launch.instances.iter().any(|id| terminated.contains(id)) {
            return Verdict::Terminated;
        }
        Verdict::Same(launch.answer.clone())
    }

    /// Remembers what a request led to.
    pub fn done(&mut self, params: &Params, answer: &str) {
        let mut instances = BTreeSet::new();
        if let Ok(tree) = Element::parse(answer) {
            collect(&tree, &mut instances);
        }
        if let Some(key) = key(params) {
            self.0.insert(key, Launch { params: params.clone(), answer: answer.into(), instances });
        }
    }
}

/// Tokens of one action are none of another's.
fn key(params: &Params) -> Option<(String, String)> {
    Some((params.get("Action")?.clone(), params.get("ClientToken").filter(|t| !t.is_empty())?.clone()))
}

/// `instanceId` in an answer to RunInstances, the items of `instanceIds` in one to CreateFleet.
fn collect(element: &Element, into: &mut BTreeSet<String>) {
    if element.text.starts_with("i-") {
        into.insert(element.text.clone());
    }
    element.children.iter().for_each(|child| collect(child, into));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ec2::form::decode;

    #[test]
    fn tokens_follow_the_documents() {
        let mut tokens = Tokens::default();
        let first = decode("Action=RunInstances&ClientToken=t1&MinCount=1");
        let answer = "<A><instancesSet><item><instanceId>i-1</instanceId></item></instancesSet></A>";
        let none = BTreeSet::new();
        assert_eq!(tokens.look(&first, &none), Verdict::New);
        tokens.done(&first, answer);
        let gone = BTreeSet::from(["i-1".to_owned()]);
        for (body, terminated, expect) in [
            ("Action=RunInstances&ClientToken=t1&MinCount=1", &none, Verdict::Same(answer.into())),
            ("MinCount=1&ClientToken=t1&Action=RunInstances", &none, Verdict::Same(answer.into())),
            ("Action=RunInstances&ClientToken=t1&MinCount=2", &none, Verdict::Mismatch),
            ("Action=RunInstances&ClientToken=t1&MinCount=2", &gone, Verdict::Mismatch),
            ("Action=RunInstances&ClientToken=t1&MinCount=1", &gone, Verdict::Terminated),
            ("Action=RunInstances&ClientToken=t2&MinCount=1", &none, Verdict::New),
            ("Action=CreateFleet&ClientToken=t1&MinCount=1", &none, Verdict::New),
            ("Action=RunInstances&ClientToken=&MinCount=1", &none, Verdict::New),
        ] {
            assert_eq!(tokens.look(&decode(body), terminated), expect, "{body}");
        }
    }
}

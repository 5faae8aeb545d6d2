//! What can go wrong between a client and EC2, and which of it happens to a call: shares drawn from a seed, or one by one by script.
//!
//! It must never invent an error that EC2 does not have.

use super::form::Params;
use farm_shared::draw::Draws;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `RequestLimitExceeded`, and nothing is done.
    Throttle,
    /// `InternalError`, and nothing is done.
    InternalBefore,
    /// It is done, and the answer is `InternalError`.
    InternalAfter,
    /// The connection is reset, and nothing is done.
    ResetBefore,
    /// It is done, and the connection is reset.
    ResetAfter,
}

/// Everything that can be switched while the proxy runs.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The share of calls that each fault hits.
    pub shares: BTreeMap<Fault, f64>,
    /// The share of calls that are late.
    pub late: f64,
    /// How late at most, in milliseconds.
    pub late_ms_max: u64,
    /// Lists are up to this old, in milliseconds; each call draws anew, so that lists also go back in time.
    pub lag_ms_max: u64,
    /// Instances are `pending` for this long after their launch, in milliseconds.
    pub pending_ms: u64,
    /// Pages of lists are this short at most; 0 leaves it to the request.
    pub page_max: usize,
    /// Offerings without capacity: type, zone, market (`on-demand`, `spot`); an empty word stands for any.
    pub no_capacity: Vec<(String, String, String)>,
    /// Nobody answers: every connection is reset.
    pub down: bool,
    /// Actions that the policy of the caller does not allow.
    pub denied: BTreeSet<String>,
    /// The caller's clock is taken to be wrong.
    pub skewed: bool,
    /// Instances whose status checks fail.
    pub impaired: BTreeSet<String>,
}

impl Faults {
    /// Everything at once: every fifth call meets a fault, every tenth is late.
    pub fn all(lag_ms_max: u64, late_ms_max: u64) -> Self {
        let shares = [
            (Fault::Throttle, 0.06),
            (Fault::InternalBefore, 0.03),
            (Fault::InternalAfter, 0.04),
            (Fault::ResetBefore, 0.03),
            (Fault::ResetAfter, 0.04),
        ];
        Self { shares: shares.into(), late: 0.1, late_ms_max, lag_ms_max, page_max: 25, ..Self::default() }
    }

    /// Whether an offering has capacity.
    pub fn has_capacity(&self, offering: [&str; 3]) -> bool {
        let meant = |(a, b, c): &(String, String, String)| {
            [a, b, c].iter().zip(offering).all(|(rule, word)| rule.is_empty() || rule.as_str() == word)
        };
        !self.no_capacity.iter().any(meant)
    }
}

/// What a call gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// The fault, if any.
    pub fault: Option<Fault>,
    /// It is held back so long, in milliseconds.
    pub late_ms: u64,
    /// A list that it asks for is so old, in milliseconds.
    pub lag_ms: u64,
}

/// Draws fates.
#[derive(Debug)]
pub struct Fates {
    draws: Draws,
    script: BTreeMap<String, VecDeque<Fault>>,
}

impl Fates {
    /// From a seed. Calls that come in another order meet other faults.
    pub fn new(seed: u64) -> Self {
        Self { draws: Draws::from_u64(seed).child("ec2-faults", 0), script: BTreeMap::new() }
    }

    /// The next call of an action meets this fault; several are queued.
    pub fn next(&mut self, action: &str, fault: Fault) {
        self.script.entry(action.into()).or_default().push_back(fault);
    }

    /// The fate of the next call. As many draws whatever the outcome.
    pub fn draw(&mut self, faults: &Faults, params: &Params) -> Fate {
        let (which, late, how_late, lag) = (self.draws.unit(), self.draws.unit(), self.draws.unit(), self.draws.unit());
        let scripted = params.get("Action").and_then(|a| self.script.get_mut(a)).and_then(VecDeque::pop_front);
        let mut below = 0.0;
        let hit = |(fault, share): (&Fault, &f64)| {
            below += share;
            (which < below).then_some(*fault)
        };
        let drawn = faults.shares.iter().find_map(hit);
        let scale = |ms: u64, unit: f64| (ms as f64 * unit) as u64;
        Fate {
            fault: scripted.or(drawn),
            late_ms: if late < faults.late { scale(faults.late_ms_max, how_late) } else { 0 },
            lag_ms: scale(faults.lag_ms_max, lag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates_follow_the_seed_and_the_shares() {
        let faults = Faults::all(30_000, 5_000);
        let draw = |seed| {
            let mut fates = Fates::new(seed);
            (0..2_000).map(|_| fates.draw(&faults, &Params::new())).collect::<Vec<_>>()
        };
        let fates = draw(1);
        assert_eq!(fates, draw(1));
        assert_ne!(fates, draw(2));
        let hit = fates.iter().filter(|f| f.fault.is_some()).count();
        assert!((330..470).contains(&hit), "{hit} of 2,000 at 20 %");
        assert!(fates.iter().any(|f| f.lag_ms > 25_000) && fates.iter().any(|f| f.late_ms > 4_000));
        let calm = Fates::new(1).draw(&Faults::default(), &Params::new());
        assert_eq!(calm, Fate { fault: None, late_ms: 0, lag_ms: 0 });
    }

    #[test]
    fn a_script_comes_first() {
        let mut fates = Fates::new(1);
        fates.next("RunInstances", Fault::ResetAfter);
        let call = |action: &str| Params::from([("Action".into(), action.into())]);
        let calm = Faults::default();
        assert_eq!(fates.draw(&calm, &call("DescribeInstances")).fault, None);
        assert_eq!(fates.draw(&calm, &call("RunInstances")).fault, Some(Fault::ResetAfter));
        assert_eq!(fates.draw(&calm, &call("RunInstances")).fault, None);
    }

    #[test]
    fn an_empty_word_is_any() {
        let rule = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        let faults = Faults { no_capacity: vec![rule("", "z1", ""), rule("c7g.large", "", "spot")], ..Faults::default() };
        for (offering, expect) in [
            (["m7g.large", "z1", "on-demand"], false),
            (["m7g.large", "z2", "spot"], true),
            (["c7g.large", "z2", "spot"], false),
            (["c7g.large", "z2", "on-demand"], true),
        ] {
            assert_eq!(faults.has_capacity(offering), expect, "{offering:?}");
        }
    }
}

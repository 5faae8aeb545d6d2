//! When a drill stops by itself: users see more errors than its operator bears.
//!
//! Counts come in as totals, so a lost or late sample loses nothing. Too few requests decide nothing, and say so in the report.

use farm_shared::time::Mono;
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

/// Errors are counted over so long, in milliseconds.
const WINDOW_MS: u64 = 30_000;
/// Fewer requests in the window decide nothing.
const REQUESTS_MIN: u64 = 20;

/// `errors>1%`: the largest share of requests that may fail within the window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StopRule {
    share: f64,
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRule(String);

impl fmt::Display for BadRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "found {:?}, expected errors>PERCENT%, like errors>1%", self.0)
    }
}

impl std::error::Error for BadRule {}

impl FromStr for StopRule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let plain: String = text.chars().filter(|c| !c.is_whitespace()).take(40).collect();
        let percent = plain.strip_prefix("errors>").and_then(|p| p.strip_suffix('%')).and_then(|p| p.parse::<f64>().ok());
        match percent {
            Some(percent) if (0.0..100.0).contains(&percent) => Ok(Self { share: percent / 100.0 }),
            _ => Err(BadRule(plain)),
        }
    }
}

impl fmt::Display for StopRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "errors>{}%", (self.share * 10_000.0).round() / 100.0)
    }
}

/// Totals since the drill's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests of users.
    pub requests: u64,
    /// Those that failed as the user saw it.
    pub errors: u64,
}

/// The sliding window.
#[derive(Clone, Debug)]
pub struct Watch {
    rule: StopRule,
    seen: VecDeque<(Mono, Counts)>,
}

impl Watch {
    /// A watch that has seen nothing.
    pub fn new(rule: StopRule) -> Self {
        Self { rule, seen: VecDeque::new() }
    }

    /// Why to stop, if so.
    pub fn look(&mut self, now: Mono, counts: Counts) -> Option<String> {
        self.seen.push_back((now, counts));
        // The newest sample at or before the window's begin stays: differences are taken from it.
        while self.seen.get(1).is_some_and(|(at, _)| now.since_ms(*at) >= WINDOW_MS) {
            self.seen.pop_front();
        }
        let (_, from) = self.seen.front()?;
        let requests = counts.requests.saturating_sub(from.requests);
        let errors = counts.errors.saturating_sub(from.errors);
        let is_over = requests >= REQUESTS_MIN && errors as f64 > self.rule.share * requests as f64;
        is_over.then(|| {
            let share = errors as f64 / requests as f64 * 100.0;
            format!(
                "{errors} of {requests} requests in the last {} s failed: {share:.1}%, rule {}",
                WINDOW_MS / 1_000,
                self.rule
            )
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rules() {
        assert_eq!("errors > 1.5%".parse::<StopRule>().unwrap().to_string(), "errors>1.5%");
        for text in ["", "errors", "errors>1", "errors>-1%", "errors>100%", "errors>NaN%", "waits>1%", "errors<1%"] {
            assert!(text.parse::<StopRule>().is_err(), "{text}");
        }
    }

    #[test]
    fn errors_of_the_last_window_alone_count() {
        let check = |samples: &[(u64, u64, u64)], expect: bool| {
            let mut watch = Watch::new("errors>10%".parse().unwrap());
            let mut last = None;
            for (at_s, requests, errors) in samples {
                last = watch.look(Mono(at_s * 1_000), Counts { requests: *requests, errors: *errors });
            }
            assert_eq!(last.is_some(), expect, "{samples:?}: {last:?}");
        };
        check(&[(0, 0, 0), (1, 100, 10)], false);
        check(&[(0, 0, 0), (1, 100, 11)], true);
        check(&[(0, 0, 0), (1, 10, 10)], false);
        check(&[(0, 0, 0), (1, 100, 50), (29, 200, 50)], true);
        check(&[(0, 0, 0), (1, 100, 50), (31, 200, 50)], false);
        check(&[(0, 0, 0), (1, 100, 50), (31, 110, 50), (62, 130, 52)], false);
    }
}

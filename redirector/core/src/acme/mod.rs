//! When a certificate is asked for, renewed and asked for again after a failure: `step(event) -> effects`, without a socket, a file or
//! a clock.
//!
//! It must never ask more than [`budget`] allows, whatever fails and however often the daemon restarts; and never give up a
//! certificate that is held for one that is only hoped for.

pub mod budget;
pub mod key_file;
mod renewal;
#[cfg(test)]
mod tests;

use budget::Budget;
use farm_shared::draw::Draws;
use farm_shared::time::Now;
use serde::{Deserialize, Serialize};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A failure that the authority did not see is tried again after this, doubling, in milliseconds.
const LOCAL_MS_MIN: u64 = 30_000;
const LOCAL_MS_MAX: u64 = HOUR;
const REFUSED_MS_MAX: u64 = 6 * HOUR;
/// `Retry-After` is believed up to here.
const RATE_LIMITED_MS_MAX: u64 = 8 * DAY;
const RATE_LIMITED_MS: u64 = HOUR;
/// How often the removal of a challenge record is tried.
const PULL_EVERY_MS: u64 = MINUTE;
/// Failures in a row that raise the alarm.
const FAILURES_ALARM: u32 = 3;

/// What is wanted of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The names in it, sorted.
    pub names: Vec<String>,
    /// An order at the staging directory must succeed before the first real one for these names.
    pub rehearses: bool,
    /// The pause after the first refusal, in milliseconds; three times as long after each further one.
    pub retry_ms: u64,
}

/// What is known of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The names in it, sorted.
    pub names: Vec<String>,
    /// When it begins, in milliseconds since the epoch.
    pub not_before_ms: u64,
    /// When it ends.
    pub not_after_ms: u64,
    /// Its name for renewal information (RFC 9773 4.1); none if the issuer left the key identifier out.
    pub id: Option<String>,
}

/// Which directory an order goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The staging directory: what comes of it is thrown away.
    Rehearsal,
    /// The directory whose certificate is served.
    Real,
}

/// A challenge record that we added, or were about to add, to a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planted {
    /// Where it stands, as in `_acme-challenge.example.com`.
    pub name: String,
    /// The text.
    pub value: String,
}

/// An order under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// At which directory.
    pub stage: Stage,
    /// Its address; none until the authority gave it one.
    pub url: Option<String>,
    /// The names that are ordered.
    pub names: Vec<String>,
}

/// What is kept of one certificate across restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The certificate that is served.
    #[serde(default)]
    pub certificate: Option<Facts>,
    /// When it is renewed, in milliseconds since the epoch.
    #[serde(default)]
    pub renew_at_ms: u64,
    /// The window that the authority suggested, and from which `renew_at_ms` was drawn.
    #[serde(default)]
    pub window_ms: Option<(u64, u64)>,
    /// When the authority is asked for a window again.
    #[serde(default)]
    pub ask_info_at_ms: u64,
    /// The names that a rehearsal succeeded for.
    #[serde(default)]
    pub rehearsed: Vec<String>,
    /// Failures since the last success.
    #[serde(default)]
    pub failures: u32,
    /// Nothing is tried before this.
    #[serde(default)]
    pub next_try_ms: u64,
    /// What went wrong last, for people.
    #[serde(default)]
    pub last_error: Option<String>,
    /// The order under way.
    #[serde(default)]
    pub under_way: Option<UnderWay>,
    /// Challenge records to be removed.
    #[serde(default)]
    pub planted: Vec<Planted>,
    /// What was asked lately.
    #[serde(default)]
    pub budget: Budget,
}

/// What a failure costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The authority did not see it, or could not be reached: the order goes on where it stopped.
    Local,
    /// The authority says no, or gave something useless: the order is given up.
    Refused,
    /// The authority says that it was asked too often.
    RateLimited,
}

/// Why an attempt ended without a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it costs.
    pub kind: FailureKind,
    /// How long the authority wants to be left alone, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// What happened, for people.
    pub message: String,
}

/// The answer to a question for renewal information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewalWindow {
    /// When the window begins, in milliseconds since the epoch.
    pub start_ms: u64,
    /// When it ends.
    pub end_ms: u64,
    /// When to ask again, in milliseconds from now.
    pub ask_again_ms: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time went by.
    Tick,
    /// The configuration changed.
    Policy(Policy),
    /// This certificate lies on the disk; none if there is none that can be used.
    Found(Option<Facts>),
    /// The order has an address.
    Ordered {
        /// Which.
        url: String,
    },
    /// A record is about to be added to a zone.
    Planting(Planted),
    /// A record is gone from its zone.
    Pulled(Planted),
    /// The authority is about to be told that challenges can be looked at.
    Validating,
    /// It looked, and was content.
    Validated,
    /// The certificate of the order under way is on the disk.
    Issued(Facts),
    /// The attempt failed.
    Failed(Failure),
    /// What the authority suggests.
    RenewalInfo(Result<RenewalWindow, String>),
}

/// What is to be done, in this order. Whatever follows an [`Effect::Persist`] that failed must not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write the state to the disk.
    Persist,
    /// Order a certificate, or go on with an order.
    Attempt {
        /// At which directory.
        stage: Stage,
        /// The address of an order that was begun.
        resume: Option<String>,
        /// The certificate that is replaced, by its name for renewal information.
        replaces: Option<String>,
    },
    /// Ask when this certificate should be renewed.
    AskRenewalInfo {
        /// Its name.
        id: String,
    },
    /// Remove a record that an earlier attempt left behind.
    Pull(Planted),
}

/// For status page and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The certificate's id in the configuration.
    pub id: String,
    /// The names wanted.
    pub names: Vec<String>,
    /// When the one that is served ends, in milliseconds since the epoch; 0 for none.
    pub not_after_ms: u64,
    /// When it is renewed.
    pub renew_at_ms: u64,
    /// When the next attempt may be.
    pub next_try_ms: u64,
    /// Failures since the last success.
    pub failures: u32,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// Whether an order is under way.
    pub is_ordering: bool,
    /// Why somebody should look; none if all is well.
    pub alarm: Option<&'static str>,
}

/// One certificate's machine.
#[derive(Clone, Debug)]
pub struct Machine {
    policy: Policy,
    state: State,
    draws: Draws,
    is_running: bool,
    pull_at_ms: u64,
}

impl Machine {
    /// Goes on from a state.
    pub fn new(policy: Policy, state: State, draws: Draws) -> Self {
        Self { policy, state, draws, is_running: false, pull_at_ms: 0 }
    }

    /// What is to be kept.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What is wanted.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// One event, and what follows from it.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        match event {
            Event::Tick => self.tick(now),
            Event::Policy(policy) => {
                if policy.names != self.policy.names {
                    // What stood in the way of the old names need not stand in the way of the new ones.
                    self.state.next_try_ms = 0;
                    self.state.failures = 0;
                }
                self.policy = policy;
                Vec::new()
            }
            Event::Found(facts) => self.found(now, facts),
            Event::Ordered { url } => {
                if let Some(under_way) = &mut self.state.under_way {
                    under_way.url = Some(url);
                }
                vec![Effect::Persist]
            }
            Event::Planting(planted) => {
                if !self.state.planted.contains(&planted) {
                    self.state.planted.push(planted);
                }
                vec![Effect::Persist]
            }
            Event::Pulled(planted) => {
                self.state.planted.retain(|p| *p != planted);
                vec![Effect::Persist]
            }
            Event::Validating => {
                self.state.budget.trim(now);
                self.state.budget.validation(now);
                vec![Effect::Persist]
            }
            Event::Validated => {
                self.state.budget.validated();
                vec![Effect::Persist]
            }
            Event::Issued(facts) => self.issued(now, facts),
            Event::Failed(failure) => self.failed(now, failure),
            Event::RenewalInfo(answer) => self.renewal_info(now, answer),
        }
    }

    fn tick(&mut self, now: Now) -> Vec<Effect> {
        let wall = now.wall.0;
        // A clock that was ahead must not hold up anything for years.
        self.state.next_try_ms = self.state.next_try_ms.min(wall.saturating_add(RATE_LIMITED_MS_MAX));
        self.state.ask_info_at_ms = self.state.ask_info_at_ms.min(wall.saturating_add(renewal::ASK_MS_MAX));
        self.state.budget.trim(now);
        if self.is_running {
            return Vec::new();
        }
        let mut effects = Vec::new();
        let is_due = self.is_due(now);
        // An order for other names than those wanted now, or for what is there already, is of no use.
        self.state.under_way = self.state.under_way.take().filter(|order| is_due && order.names == self.policy.names);
        if is_due && wall >= self.state.next_try_ms {
            let resume = self.state.under_way.as_ref().and_then(|order| order.url.clone());
            if self.state.budget.allows(&self.policy.names, resume.is_none()) {
                effects.extend(self.begin(now, resume));
            }
        } else if self.state.under_way.is_none() && !self.state.planted.is_empty() && wall >= self.pull_at_ms {
            self.pull_at_ms = wall + PULL_EVERY_MS;
            effects.extend(self.state.planted.iter().cloned().map(Effect::Pull));
        }
        if let Some(id) = self.state.certificate.as_ref().and_then(|facts| facts.id.clone())
            && wall >= self.state.ask_info_at_ms
            && effects.is_empty()
        {
            // Should the answer be lost, the next question waits all the same.
            self.state.ask_info_at_ms = wall + renewal::ASK_MS_FAILED;
            effects.push(Effect::AskRenewalInfo { id });
        }
        effects
    }

    /// Whether there is a reason to order.
    fn is_due(&self, now: Now) -> bool {
        self.state
            .certificate
            .as_ref()
            .is_none_or(|facts| facts.names != self.policy.names || now.wall.0 >= self.state.renew_at_ms)
    }

    fn begin(&mut self, now: Now, resume: Option<String>) -> [Effect; 2] {
        let rehearse = self.policy.rehearses && self.state.rehearsed != self.policy.names;
        let stage = match &self.state.under_way {
            Some(order) => order.stage,
            None if rehearse => Stage::Rehearsal,
            None => Stage::Real,
        };
        if resume.is_none() {
            self.state.budget.order(now);
        }
        self.state.under_way = Some(UnderWay { stage, url: resume.clone(), names: self.policy.names.clone() });
        self.is_running = true;
        // An authority that does not take the replacement must not keep us from a certificate.
        let replaces = self.state.certificate.as_ref().filter(|_| stage == Stage::Real && self.state.failures == 0);
        let replaces = replaces.and_then(|facts| facts.id.clone());
        [Effect::Persist, Effect::Attempt { stage, resume, replaces }]
    }

    fn found(&mut self, now: Now, facts: Option<Facts>) -> Vec<Effect> {
        if facts != self.state.certificate {
            self.state.certificate = facts;
            self.choose(now);
        }
        Vec::new()
    }

    /// A point of time for the renewal of the certificate, without the authority's advice.
    fn choose(&mut self, now: Now) {
        self.state.window_ms = None;
        self.state.ask_info_at_ms = now.wall.0;
        self.state.renew_at_ms =
            self.state.certificate.as_ref().map_or(0, |facts| renewal::two_thirds(facts, self.draws.unit()));
    }

    fn issued(&mut self, now: Now, facts: Facts) -> Vec<Effect> {
        self.is_running = false;
        let stage = self.state.under_way.take().map_or(Stage::Real, |order| order.stage);
        self.state.failures = 0;
        self.state.last_error = None;
        self.state.next_try_ms = 0;
        match stage {
            Stage::Rehearsal => self.state.rehearsed = facts.names,
            Stage::Real => {
                self.state.budget.issued(now, &facts.names);
                self.state.certificate = Some(facts);
                self.choose(now);
            }
        }
        vec![Effect::Persist]
    }

    fn failed(&mut self, now: Now, failure: Failure) -> Vec<Effect> {
        self.is_running = false;
        self.state.failures = self.state.failures.saturating_add(1);
        let step = self.state.failures.min(20) - 1;
        let times = |base_ms: u64, factor: u64, max_ms: u64| base_ms.saturating_mul(factor.saturating_pow(step)).min(max_ms);
        let pause_ms = match failure.kind {
            FailureKind::Local => times(LOCAL_MS_MIN.min(self.policy.retry_ms), 2, LOCAL_MS_MAX),
            FailureKind::Refused => times(self.policy.retry_ms, 3, REFUSED_MS_MAX),
            FailureKind::RateLimited => times(RATE_LIMITED_MS, 2, DAY),
        };
        // Jitter only adds: a farm of doors that failed together must not come back together, nor earlier than told.
        let jittered = pause_ms + (pause_ms as f64 * 0.2 * self.draws.unit()) as u64;
        let told = failure.retry_after_ms.unwrap_or(0).min(RATE_LIMITED_MS_MAX);
        self.state.next_try_ms = now.wall.0.saturating_add(jittered.max(told));
        self.state.last_error = Some(failure.message);
        if failure.kind != FailureKind::Local {
            self.state.under_way = None;
        }
        vec![Effect::Persist]
    }

    fn renewal_info(&mut self, now: Now, answer: Result<RenewalWindow, String>) -> Vec<Effect> {
        let (Ok(window), Some(facts)) = (answer, &self.state.certificate) else { return Vec::new() };
        self.state.ask_info_at_ms = now.wall.0.saturating_add(renewal::ask_again_ms(window.ask_again_ms));
        let bounds = (window.start_ms, window.end_ms);
        if window.start_ms < window.end_ms && self.state.window_ms != Some(bounds) {
            self.state.window_ms = Some(bounds);
            self.state.renew_at_ms = renewal::within(facts, bounds, self.draws.unit());
        }
        vec![Effect::Persist]
    }

    /// How it stands.
    pub fn status(&self, id: &str, now: Now) -> Status {
        let wall = now.wall.0;
        let ends_soon = |facts: &Facts| facts.not_after_ms.saturating_sub(wall) < renewal::lifetime_ms(facts) / 6;
        let alarm = match &self.state.certificate {
            Some(facts) if wall >= facts.not_after_ms => Some("the certificate is out of date"),
            Some(facts) if ends_soon(facts) => Some("the certificate ends soon"),
            None if self.state.failures > 0 => Some("there is no certificate, and none could be had"),
            _ if self.state.failures >= FAILURES_ALARM => Some("the certificate cannot be renewed"),
            _ => None,
        };
        Status {
            id: id.to_owned(),
            names: self.policy.names.clone(),
            not_after_ms: self.state.certificate.as_ref().map_or(0, |facts| facts.not_after_ms),
            renew_at_ms: self.state.renew_at_ms,
            next_try_ms: self.state.next_try_ms,
            failures: self.state.failures,
            last_error: self.state.last_error.clone(),
            is_ordering: self.is_running,
            alarm,
        }
    }
}
